"""No spelling of an inner address, no redirection and no change of mind of a name server gets a
connection (B30)."""

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.test_utils import TestServer

from bridge.road.fetch import MAX_OCTETS, Address, Fetched, Fetcher, NotFetched, is_public

INNER = [
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::7f00:1",
    "100::1",
    "2001:db8::1",
    "2001:0:7f00:1::1",
    "2002:7f00:1::1",
    "2002:c0a8:1::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]
# Names that the system reads as loopback or that lead there.
SPELLINGS = [
    "localhost",
    "LOCALHOST",
    "localhost.",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "017700000001",
    "0",
    "0x0",
    "127.0.0.1.",
]


@pytest.mark.parametrize("address", INNER)
def test_inner_addresses_are_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address", ["9.9.9.9", "2620:fe::fe", "::ffff:9.9.9.9", "64:ff9b::909:909"]
)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


class Names(AbstractResolver):
    """Answers for each name what it is told, in turn."""

    def __init__(self, **answers: list[list[str]]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        self.asked.append(host)
        turns = self.answers[host.partition(".")[0]]
        addresses = turns.pop(0) if len(turns) > 1 else turns[0]
        return [
            {
                "hostname": host,
                "host": address,
                "port": port,
                "family": socket.AF_INET,
                "proto": 0,
                "flags": 0,
            }
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing is open."""


class Server:
    """Serves files on loopback, and counts who comes."""

    def __init__(self) -> None:
        self.requests: list[web.Request] = []
        self.answer: Callable[[web.Request], web.StreamResponse] = lambda request: web.Response(
            body=b"picture", content_type="image/png"
        )
        self.silent = False

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        if self.silent:
            await asyncio.sleep(3600)
        return self.answer(request)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def port(server: Server) -> AsyncIterator[int]:
    app = web.Application()
    app.router.add_get("/{tail:.*}", server.handle)
    listening = TestServer(app, host="127.0.0.1")
    await listening.start_server()
    assert listening.port is not None
    yield listening.port
    await listening.close()


def loopback_is_fine(address: Address) -> bool:
    """As if 127.0.0.1 were the internet, and all else were not."""
    return str(address) == "127.0.0.1"


def fetcher(port: int, names: Names | None = None, **settings: Any) -> Fetcher:
    settings.setdefault("allowed", loopback_is_fine)
    return Fetcher(scheme="http", port=port, resolver=names, **settings)


async def refused(fetching: Fetcher, url: str) -> NotFetched:
    try:
        with pytest.raises(NotFetched) as caught:
            await fetching.fetch(url)
    finally:
        await fetching.close()
    return caught.value


@pytest.mark.parametrize("host", [*SPELLINGS, *(a if "." in a else f"[{a}]" for a in INNER)])
async def test_no_spelling_of_an_inner_address_is_connected_to(
    server: Server, port: int, host: str
) -> None:
    error = await refused(fetcher(port, allowed=is_public), f"http://{host}:{port}/latest")
    assert error.final or "address" not in str(error)
    assert server.requests == []


@pytest.mark.parametrize(
    "url",
    [
        "ftp://files.example/x",
        "file:///etc/passwd",
        "gopher://files.example/x",
        "data:text/plain,x",
        "http://user:password@files.example/x",
        "http://files.example:22/x",
        "//files.example/x",
        "/x",
        "",
        "http://",
        "http:///x",
        "http://[::1/x",
    ],
)
async def test_other_kinds_of_addresses_are_not_tried(server: Server, port: int, url: str) -> None:
    names = Names(files=[["127.0.0.1"]])
    assert (await refused(fetcher(port, names), url)).final
    assert names.asked == []
    assert server.requests == []


async def test_plain_http_is_not_tried_by_default() -> None:
    assert (await refused(Fetcher(), "http://files.example/x")).final


async def test_a_file_is_fetched(server: Server, port: int) -> None:
    fetching = fetcher(port, Names(files=[["127.0.0.1"]]))
    found = await fetching.fetch(f"http://files.example:{port}/a?b=c")
    await fetching.close()
    assert found == Fetched("image/png", b"picture")
    assert "Cookie" not in server.requests[0].headers


async def test_a_name_with_one_inner_address_is_not_connected_to(server: Server, port: int) -> None:
    names = Names(files=[["127.0.0.1", "10.0.0.1"]])
    assert (await refused(fetcher(port, names), f"http://files.example:{port}/")).final
    assert server.requests == []


async def test_a_name_that_changes_its_mind_is_looked_at_each_time(
    server: Server, port: int
) -> None:
    names = Names(files=[["127.0.0.1"], ["10.0.0.1"]])
    fetching = fetcher(port, names)
    await fetching.fetch(f"http://files.example:{port}/")
    assert (await refused(fetching, f"http://files.example:{port}/")).final
    assert names.asked == ["files.example"] * 2
    assert len(server.requests) == 1


def redirecting(to: str) -> Callable[[web.Request], web.StreamResponse]:
    def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/start":
            return web.Response(status=302, headers={"Location": to})
        return web.Response(body=b"picture", content_type="image/png")

    return answer


@pytest.mark.parametrize("to", ["http://10.0.0.1:{port}/", "http://inner:{port}/", "file:///etc"])
async def test_a_redirection_inwards_is_not_followed(server: Server, port: int, to: str) -> None:
    names = Names(files=[["127.0.0.1"]], inner=[["192.168.1.1"]])
    server.answer = redirecting(to.format(port=port))
    assert (await refused(fetcher(port, names), f"http://files.example:{port}/start")).final
    assert len(server.requests) == 1


@pytest.mark.parametrize(("to", "told"), [("/x", True), ("http://other.example:{port}/x", False)])
async def test_credentials_go_to_their_own_host_only(
    server: Server, port: int, to: str, told: bool
) -> None:
    names = Names(files=[["127.0.0.1"]], other=[["127.0.0.1"]])
    server.answer = redirecting(to.format(port=port))
    fetching = fetcher(port, names)
    url = f"http://files.example:{port}/start"
    assert (await fetching.fetch(url, {"Authorization": "Basic x"})).data == b"picture"
    await fetching.close()
    assert [("Authorization" in request.headers) for request in server.requests] == [True, told]


async def test_redirections_end(server: Server, port: int) -> None:
    server.answer = lambda request: web.Response(status=302, headers={"Location": "/again"})
    error = await refused(fetcher(port, Names(f=[["127.0.0.1"]])), f"http://f.example:{port}/")
    assert "too many" in str(error)
    assert len(server.requests) == 4


async def test_a_large_file_is_not_kept(server: Server, port: int) -> None:
    server.answer = lambda request: web.Response(body=bytes(MAX_OCTETS + 1))
    error = await refused(fetcher(port, Names(f=[["127.0.0.1"]])), f"http://f.example:{port}/")
    assert "20 MiB" in str(error)


async def test_a_silent_server_is_given_up(server: Server, port: int) -> None:
    server.silent = True
    fetching = fetcher(port, Names(f=[["127.0.0.1"]]), limit=0.05)
    error = await refused(fetching, f"http://f.example:{port}/")
    assert not error.final


@pytest.mark.parametrize(("status", "final"), [(403, True), (404, False), (503, False)])
async def test_a_refusal_says_whether_to_try_again(
    server: Server, port: int, status: int, final: bool
) -> None:
    server.answer = lambda request: web.Response(status=status)
    error = await refused(fetcher(port, Names(f=[["127.0.0.1"]])), f"http://f.example:{port}/")
    assert error.final == final
