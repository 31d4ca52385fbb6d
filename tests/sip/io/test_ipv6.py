"""A line over IPv6, from the socket to Via and Contact, on each transport."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sip.events import Body, Registered, SessionEnded
from sip.io.client import TrunkClient
from sip.message import Request
from sip.trunk import TlsSettings, Trunk
from sip.uri import Uri
from tests.sip.io.authority import Authority
from tests.sip.io.registrar import Registrar, answer_with, datagrams, peering
from tests.sip.io.tls_server import server_context
from tests.sip.io.wiring import Inbox


def is_there() -> bool:
    """Whether this machine has IPv6 on its loopback."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as tried:
            tried.bind(("::1", 0))
    except OSError:
        return False
    return True


pytestmark = pytest.mark.skipif(not is_there(), reason="this machine has no IPv6")


@asynccontextmanager
async def serving(transport: str, authority: Authority, registrar: Registrar) -> AsyncIterator[int]:
    if transport == "udp":
        async with datagrams(registrar, host="::1") as server:
            yield server.port
        return
    context = server_context(authority.issue("::1")) if transport == "tls" else None
    async with peering(context, registrar, host="::1") as peer:
        yield peer.port


@pytest.mark.parametrize("transport", ["tls", "tcp", "udp"])
async def test_line_and_call_over_ipv6(
    transport: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    authority = Authority(tmp_path_factory.mktemp("ca"))
    registrar = Registrar(answers={"INVITE": answer_with(100, 486)})
    async with asyncio.timeout(10), serving(transport, authority, registrar) as port:
        trunk = Trunk(
            name="test",
            domain="::1",
            port=port,
            username="bridge",
            password="secret",
            tls=TlsSettings(ca_file=authority.file),
            insecure_transport=None if transport == "tls" else transport,
        )
        inbox = Inbox()
        client = TrunkClient(trunk, listener=inbox)
        await client.start()
        await inbox.expect(Registered)
        client.agent.invite(
            Uri.parse(f"sip:1@[::1]:{port}"), Body("application/sdp", b"v=0"), now=client.now()
        )
        client.pump()
        assert (await inbox.expect(SessionEnded)).status == 486
        await client.stop()
    for request in (registrar.of("REGISTER")[0], registrar.of("INVITE")[0]):
        named(request, transport)
    assert str(registrar.of("REGISTER")[0].uri) == "sip:[::1]"


def named(request: Request, transport: str) -> None:
    """Via and Contact name our end, in brackets."""
    via = request.headers.via
    assert (via.transport, via.host) == (transport.upper(), "::1")
    assert f"/{via.transport} [::1]:{via.port};" in (request.headers.get("Via") or "")
    contact = request.headers.contact
    assert contact is not None
    assert (contact.uri.host, contact.uri.port) == ("::1", via.port)
    assert f"sip:bridge@[::1]:{via.port};transport={transport}" in str(contact)
