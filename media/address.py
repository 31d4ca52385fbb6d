"""Which addresses of this machine media uses: as ICE candidates and in SDP towards trunks."""

import ipaddress
import socket
from collections.abc import Sequence

import ifaddr

_MOST = 8  # each costs a socket per call, and the peer a check per candidate of its own


def is_wildcard(address: str) -> bool:
    return ipaddress.ip_address(address).is_unspecified


def is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback


def local_addresses(listen: Sequence[str]) -> tuple[str, ...]:
    """The addresses that `listen` stands for, the default route's first.

    A wildcard stands for every address of the machine that somebody else could reach: not loopback
    and not link-local, unless there is nothing else.
    """
    found = [a for a in listen if not is_wildcard(a)]
    if len(found) < len(listen):
        everything = [ip for adapter in ifaddr.get_adapters() for ip in _texts(adapter)]
        reachable = [a for a in everything if not _is_local(a)]
        preferred = [a for a in (default_address(4), default_address(6)) if a in reachable]
        found += preferred + reachable or ["127.0.0.1"]
    return tuple(dict.fromkeys(found))[:_MOST]


def _texts(adapter: ifaddr.Adapter) -> list[str]:
    return [ip.ip if isinstance(ip.ip, str) else ip.ip[0] for ip in adapter.ips]


def _is_local(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    return parsed.is_loopback or parsed.is_link_local or parsed.is_unspecified


def default_address(version: int) -> str | None:
    """Our address on the default route; asks the routing table and sends nothing."""
    family, far = (
        (socket.AF_INET, "192.0.2.1") if version == 4 else (socket.AF_INET6, "2001:db8::1")
    )
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((far, 9))
            return str(probe.getsockname()[0])
    except OSError:
        return None


def trunk_address(listen: Sequence[str]) -> str:
    """Ours in descriptions for trunks: the first that `listen` names or stands for."""
    return local_addresses(listen)[0]
