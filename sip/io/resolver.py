"""Where to connect: RFC 3263, from the name of a trunk to an ordered list of addresses.

NAPTR (where a domain has it) names the SRV record, SRV names hosts and ports, the system's own
resolver names their addresses. A numeric host, a host with a port, and a name that cannot stand in
public DNS ("localhost", "pbx") skip the steps that would ask for records of theirs.

Only NAPTR and SRV go through dnspython. Addresses come from `getaddrinfo`, since that is where
/etc/hosts, a container's names, mDNS and the preference between IPv4 and IPv6 (RFC 6724) live.
Nothing is cached: a lookup happens once for each connection, and so the lifetimes of records are
honoured without counting them.

What DNS says is never an identity: the certificate is checked against `Trunk.domain`, whatever host
a record names (RFC 5922 §4).
"""

import asyncio
import ipaddress
import logging
import random
import socket
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from itertools import zip_longest
from typing import Protocol

import dns.asyncresolver
import dns.exception
import dns.name
import dns.rdatatype
import dns.resolver

from sip.trunk import Trunk

logger = logging.getLogger(__name__)

DNS_LIMIT = 3.0  # for NAPTR and SRV together: a network that drops such queries must not cost more
ADDRESS_LIMIT = 5.0  # for each host name
MAX_RECORDS = 16  # SRV records that are looked at; more is somebody's mistake or somebody's attack
MAX_TARGETS = 16  # addresses that one round of attempts goes through

# Transport → (NAPTR service, SRV prefix, default port): RFC 3263 §4.1, §4.2 and RFC 3261 §19.1.2.
_SERVICES = {
    "tls": ("SIPS+D2T", "_sips._tcp", 5061),
    "tcp": ("SIP+D2T", "_sip._tcp", 5060),
    "udp": ("SIP+D2U", "_sip._udp", 5060),
}


class ResolveError(Exception):
    """No address to connect to; the text says in plain words why."""


@dataclass(frozen=True, slots=True)
class Target:
    """One address to try.

    Attributes:
        host: the name that led here, for people.
        port: port to connect to.
        address: numeric address.
        family: AF_INET or AF_INET6.
    """

    host: str
    port: int
    address: str
    family: socket.AddressFamily

    def __str__(self) -> str:
        shown = f"[{self.address}]" if self.family == socket.AF_INET6 else self.address
        return (
            f"{shown}:{self.port}"
            if self.host == self.address
            else f"{self.host} ({shown}:{self.port})"
        )


class Resolver(Protocol):
    """Turns a trunk into addresses."""

    async def resolve(self, trunk: Trunk) -> list[Target]:
        """Return addresses in the order in which to try them; without any raise `ResolveError`."""
        ...


async def system_addresses(host: str) -> list[str]:
    """Ask the system's resolver for the addresses of `host`, best first."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for _, _, _, _, sockaddr in found]


class DnsResolver:
    """RFC 3263 over the network's DNS.

    Args:
        nameservers: (address, port) to ask for NAPTR and SRV; None reads /etc/resolv.conf anew for
            each lookup.
        addresses: finds the addresses of a host name; raises OSError.
        chance: returns a number in [0, 1), for the weights of SRV records.
        dns_limit: seconds for NAPTR and SRV together.
        address_limit: seconds for the addresses of one host.
    """

    def __init__(
        self,
        *,
        nameservers: Iterable[tuple[str, int]] | None = None,
        addresses: Callable[[str], Awaitable[list[str]]] = system_addresses,
        chance: Callable[[], float] = random.random,
        dns_limit: float = DNS_LIMIT,
        address_limit: float = ADDRESS_LIMIT,
    ) -> None:
        self._nameservers = None if nameservers is None else list(nameservers)
        self._addresses = addresses
        self._chance = chance
        self._dns_limit = dns_limit
        self._address_limit = address_limit

    async def resolve(self, trunk: Trunk) -> list[Target]:
        """Find the addresses of `trunk` (RFC 3263 §4.2)."""
        name = (trunk.host or trunk.domain).strip().strip("[]").rstrip(".")
        service, prefix, default_port = _SERVICES[trunk.insecure_transport or "tls"]
        if not name:
            raise ResolveError("there is no host to connect to")
        if _is_address(name):
            return [_target(name, trunk.port or default_port, name)]
        if trunk.port is not None:
            hosts = [(name, trunk.port)]
        elif _in_public_dns(name):
            hosts = await self._services(name, service, prefix) or [(name, default_port)]
        else:
            hosts = [(name, default_port)]
        return await self._locate(hosts)

    # --- NAPTR and SRV

    async def _services(self, name: str, service: str, prefix: str) -> list[tuple[str, int]]:
        """Hosts and ports from SRV; empty when there is no such record or nobody to ask."""
        try:
            resolver = self._dns()
            async with asyncio.timeout(self._dns_limit):
                # Both at once: most domains have no NAPTR, and the second question costs nothing.
                naptr, srv = await asyncio.gather(
                    self._naptr(resolver, name, service), self._srv(resolver, f"{prefix}.{name}")
                )
                for replacement in naptr:
                    if found := await self._srv(resolver, replacement):
                        return found
                return srv
        except (TimeoutError, dns.exception.DNSException, OSError) as error:
            # A network without SRV (some home routers) can still reach the host itself.
            logger.info("no SRV answer for %s: %s", name, str(error) or "no answer in time")
            return []

    def _dns(self) -> dns.asyncresolver.Resolver:
        resolver = dns.asyncresolver.Resolver(configure=self._nameservers is None)
        if self._nameservers is not None:
            resolver.nameservers = [address for address, _ in self._nameservers]
            resolver.nameserver_ports = dict(self._nameservers)
        resolver.lifetime = self._dns_limit
        return resolver

    async def _naptr(
        self, resolver: dns.asyncresolver.Resolver, name: str, service: str
    ) -> list[str]:
        try:
            answer = await resolver.resolve(name, dns.rdatatype.NAPTR, search=False)
        except (dns.exception.DNSException, OSError):
            return []  # NAPTR is a refinement: its absence, for whatever reason, leaves SRV
        records = sorted(answer, key=lambda record: (record.order, record.preference))
        return [
            record.replacement.to_text()
            for record in records[:MAX_RECORDS]
            if record.flags.lower() == b"s" and record.service.upper() == service.encode()
        ]

    async def _srv(self, resolver: dns.asyncresolver.Resolver, name: str) -> list[tuple[str, int]]:
        try:
            answer = await resolver.resolve(name, dns.rdatatype.SRV, search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        records = [
            (
                record.priority,
                record.weight,
                record.target.to_text(omit_final_dot=True),
                record.port,
            )
            for record in answer
        ]
        if [target for _, _, target, _ in records] == ["."]:
            raise ResolveError(f"{name} says that this service is not offered (RFC 2782)")
        return [
            (target, port) for _, _, target, port in _by_weight(records[:MAX_RECORDS], self._chance)
        ]

    # --- A and AAAA

    async def _locate(self, hosts: list[tuple[str, int]]) -> list[Target]:
        targets: list[Target] = []
        failures: list[str] = []
        located = await asyncio.gather(*(self._addresses_of(host) for host, _ in hosts))
        for (host, port), found in zip(hosts, located, strict=True):
            if isinstance(found, str):
                failures.append(found)
                continue
            targets.extend(_target(host, port, address) for address in _alternating(found))
        if not targets:
            raise ResolveError("; ".join(dict.fromkeys(failures)) or "no address found")
        return targets[:MAX_TARGETS]

    async def _addresses_of(self, host: str) -> list[str] | str:
        """Addresses, or why there are none."""
        if _is_address(host):
            return [host]
        try:
            async with asyncio.timeout(self._address_limit):
                return await self._addresses(host) or f"the name {host} has no address"
        except TimeoutError:
            return f"nobody answered for the name {host} within {self._address_limit:g} s"
        except (OSError, UnicodeError) as error:
            return f"the name {host} has no address ({_plain(error)})"


def _plain(error: OSError | UnicodeError) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.lower() if text.isascii() else text


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _in_public_dns(name: str) -> bool:
    """Whether a query for records of `name` can make sense (RFC 6761, RFC 6762, RFC 8375)."""
    labels = name.lower().split(".")
    return len(labels) > 1 and labels[-1] not in {"localhost", "local", "internal"}


def _target(host: str, port: int, address: str) -> Target:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return Target(host=host, port=port, address=address, family=family)


def _alternating(addresses: list[str]) -> list[str]:
    """IPv4 and IPv6 in turns, the preferred kind first (RFC 8305 §4): where one of them is broken,
    the other gets its chance as the second."""
    distinct = list(dict.fromkeys(addresses))
    kinds: list[list[str]] = [[], []]
    for address in distinct:
        kinds[(":" in address) != (":" in distinct[0])].append(address)
    turns = zip_longest(*kinds)
    return [address for turn in turns for address in turn if address is not None]


def _by_weight(
    records: list[tuple[int, int, str, int]], chance: Callable[[], float]
) -> list[tuple[int, int, str, int]]:
    """Order SRV records by priority, and within one by lot in proportion to weight (RFC 2782)."""
    ordered: list[tuple[int, int, str, int]] = []
    for priority in sorted({record[0] for record in records}):
        # Weightless ones stand first in the urn, so that they have a small chance too.
        urn = sorted((r for r in records if r[0] == priority), key=lambda r: (r[1] > 0, r[2], r[3]))
        while urn:
            lot = int(chance() * (sum(record[1] for record in urn) + 1))
            passed = 0
            for record in urn:
                passed += record[1]
                if passed >= lot:
                    ordered.append(record)
                    urn.remove(record)
                    break
    return ordered
