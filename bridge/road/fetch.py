"""Fetches pictures and files of arriving texts from addresses that strangers had a hand in.

Such an address may lead into our own network: to the homeserver, a router, a cloud's metadata. So a
connection is made only to what is a public address *after* the name was looked up, in the very
lookup that the connection uses: a second one could be answered otherwise. Every redirection is
looked at in the same way, and few are followed. Only HTTPS on its own port, no proxies of the
environment, no cookies; what a road sends along to prove itself goes to no other host.
"""

import ipaddress
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from bridge.unreached import why_unreached

MAX_OCTETS = 20 * 1024 * 1024
FETCH_LIMIT = 10.0  # seconds for all of it, redirections included
MAX_REDIRECTS = 3

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# All that IPv6 has given out so far, and the prefix by which a gateway reaches IPv4 (RFC 6052).
_UNICAST = ipaddress.ip_network("2000::/3")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class NotFetched(Exception):
    """The address is not to be fetched, or could not be; the text says why.

    Attributes:
        final: whether another attempt is useless.
    """

    def __init__(self, reason: str, *, final: bool) -> None:
        super().__init__(reason)
        self.final = final


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was there.

    Attributes:
        content_type: as the server says, without parameters, in lower case.
    """

    content_type: str
    data: bytes = field(repr=False)


def is_public(address: Address) -> bool:
    """Whether an address is one of the internet at large, whatever it is wrapped in."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        if address not in _UNICAST:
            return False
    return address.is_global and not address.is_multicast


class Fetcher:
    """One HTTP client for what strangers point at, from first use to `close`.

    Args:
        allowed: which addresses may be connected to.
        port: the only port that is.
    """

    def __init__(
        self,
        *,
        allowed: Callable[[Address], bool] = is_public,
        scheme: str = "https",
        port: int = 443,
        limit: float = FETCH_LIMIT,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._allowed = allowed
        self._scheme = scheme
        self._port = port
        self._limit = limit
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def fetch(self, url: str, headers: Mapping[str, str] | None = None) -> Fetched:
        """Fetch a file.

        Args:
            headers: sent to the host of `url`, and to no other that it may redirect to.

        Raises:
            NotFetched: nothing was fetched.
        """
        try:
            return await self._fetch(url, headers or {})
        except aiohttp.ClientConnectorError as error:
            refused = isinstance(error.os_error, _Refused)
            reason = str(error.os_error) if refused else why_unreached(error)
            raise NotFetched(reason, final=refused) from error
        except TimeoutError:
            raise NotFetched("no answer in time", final=False) from None
        except (aiohttp.ClientError, ValueError) as error:
            raise NotFetched(type(error).__name__, final=False) from error

    async def _fetch(self, url: str, headers: Mapping[str, str]) -> Fetched:
        target = self._checked(url)
        home = target.host
        timeout = aiohttp.ClientTimeout(total=self._limit)
        for _ in range(MAX_REDIRECTS + 1):
            async with self._open().get(
                target,
                headers=headers if target.host == home else {},
                allow_redirects=False,
                timeout=timeout,
            ) as response:
                if response.status in (301, 302, 303, 307, 308):
                    target = self._checked(response.headers.get("Location", ""), target)
                    continue
                if response.status != 200:
                    gone = 400 <= response.status < 500 and response.status not in (404, 408, 429)
                    raise NotFetched(f"the server answered {response.status}", final=gone)
                return Fetched(response.content_type.lower(), await _read(response))
        raise NotFetched("too many redirections", final=True)

    def _checked(self, url: str, base: URL | None = None) -> URL:
        """An address that may be tried; its host's addresses are looked at when it is."""
        try:
            target = URL(url) if base is None else base.join(URL(url))
        except ValueError:
            raise NotFetched("no web address", final=True) from None
        if target.scheme != self._scheme or target.port != self._port or not target.host:
            raise NotFetched("not an ordinary HTTPS address", final=True)
        if target.user is not None or target.password is not None:
            raise NotFetched("an address with a user name", final=True)
        try:
            literal = ipaddress.ip_address(target.host)
        except ValueError:
            return target  # a name: the resolver decides
        # aiohttp asks no resolver about an address.
        if not self._allowed(literal):
            raise NotFetched("not a public address", final=True)
        return target

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            resolver = _PublicResolver(self._resolver or ThreadedResolver(), self._allowed)
            self._session = aiohttp.ClientSession(
                headers={"User-Agent": "Ringback"},
                connector=aiohttp.TCPConnector(
                    resolver=resolver, use_dns_cache=False, force_close=True, limit=8
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return self._session


class _Refused(OSError):
    """A name leads where we do not go."""


class _PublicResolver(AbstractResolver):
    """Looks names up and lets through what may be connected to; one bad address spoils the name."""

    def __init__(self, inner: AbstractResolver, allowed: Callable[[Address], bool]) -> None:
        self._inner = inner
        self._allowed = allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        for result in found:
            address = ipaddress.ip_address(result["host"].partition("%")[0])
            if not self._allowed(address):
                raise _Refused("not a public address")
        return found

    async def close(self) -> None:
        await self._inner.close()


async def _read(response: aiohttp.ClientResponse) -> bytes:
    if (response.content_length or 0) > MAX_OCTETS:
        raise NotFetched("larger than 20 MiB", final=True)
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > MAX_OCTETS:
            raise NotFetched("larger than 20 MiB", final=True)
    return bytes(data)
