"""The client against a scripted peer over real TLS: the line, a text and a call, each way."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from sip.events import (
    Body,
    IncomingSession,
    MessageReceived,
    MessageSent,
    Registered,
    SessionAnswered,
    SessionConfirmed,
    SessionEnded,
    SessionProgressed,
    Unregistered,
)
from sip.io.client import TrunkClient, TrunkDown, TrunkUp
from sip.io.resolver import DnsResolver
from sip.message import Message, Request, Response, response_to
from sip.trunk import TlsSettings, Trunk
from sip.uri import Uri
from tests.sip.io.authority import Authority
from tests.sip.io.name_server import NameServer, serving
from tests.sip.io.registrar import Registrar, TlsPeer, a_request, answer_with, datagrams, peering
from tests.sip.io.tls_server import server_context
from tests.sip.io.wiring import Inbox

SDP = Body("application/sdp", b"v=0\r\n")
TEXT = Body("text/plain;charset=utf-8", "Grüße 🎈".encode())
NUMBER = Uri.parse("sip:+15550100@pbx.example")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def context(authority: Authority) -> ssl.SSLContext:
    return server_context(authority.issue("pbx.example"))


@asynccontextmanager
async def line(
    authority: Authority, context: ssl.SSLContext, registrar: Registrar | None = None
) -> AsyncIterator[tuple[TlsPeer, TrunkClient, Inbox]]:
    """A registered client, its peer, and what it says."""
    async with asyncio.timeout(10), peering(context, registrar) as peer:
        trunk = Trunk(
            name="test",
            domain="pbx.example",
            host="127.0.0.1",
            port=peer.port,
            username="bridge",
            password="secret",
            tls=TlsSettings(ca_file=authority.file),
        )
        inbox = Inbox()
        # The first retry comes within a second; the lot decides when, here at once.
        client = TrunkClient(trunk, listener=inbox, chance=lambda: 0.0)
        await client.start()
        await inbox.expect(TrunkUp)
        try:
            yield peer, client, inbox
        finally:
            await client.stop()


async def test_line_registers_with_digest_and_unregisters(
    authority: Authority, context: ssl.SSLContext
) -> None:
    registrar = Registrar()
    async with line(authority, context, registrar) as (_, client, inbox):
        assert (await inbox.expect(Registered)).expires == 300
        assert len(registrar.bindings) == 1
        assert registrar.bindings[0].startswith("sip:bridge@127.0.0.1:")
        await client.stop()
        await inbox.expect(Unregistered)
        assert registrar.bindings == []


async def test_line_registers_over_udp_though_a_datagram_is_lost() -> None:
    registrar = Registrar()
    async with asyncio.timeout(10), datagrams(registrar, lossy=True) as server:
        trunk = Trunk(
            name="test",
            domain="pbx.example",
            host="127.0.0.1",
            port=server.port,
            username="bridge",
            password="secret",
            insecure_transport="udp",
        )
        inbox = Inbox()
        client = TrunkClient(trunk, listener=inbox)
        await client.start()
        await inbox.expect(Registered)
        assert registrar.bindings[0].endswith(";transport=udp")
        await client.stop()
        assert registrar.bindings == []


async def test_line_registers_over_tcp() -> None:
    async with asyncio.timeout(10), peering(None) as peer:
        trunk = Trunk(
            name="test",
            domain="pbx.example",
            host="127.0.0.1",
            port=peer.port,
            username="bridge",
            password="secret",
            insecure_transport="tcp",
        )
        inbox = Inbox()
        client = TrunkClient(trunk, listener=inbox)
        await client.start()
        await inbox.expect(Registered)
        assert peer.registrar.bindings[0].endswith(";transport=tcp")
        await client.stop()


async def test_cut_flow_is_registered_again(authority: Authority, context: ssl.SSLContext) -> None:
    async with line(authority, context) as (peer, client, inbox):
        await inbox.expect(Registered)
        began = client.now()
        peer.cut()
        await inbox.expect(Registered)
        assert client.now() - began < 3
        assert len(peer.registrar.bindings) == 1
        assert peer.connections == 2
        assert not any(isinstance(event, TrunkDown | TrunkUp) for event in inbox.said)


async def test_text_goes_out(authority: Authority, context: ssl.SSLContext) -> None:
    registrar = Registrar(answers={"MESSAGE": answer_with(202)})
    async with line(authority, context, registrar) as (_, client, inbox):
        id = client.agent.send_message(NUMBER, TEXT, now=client.now())
        client.pump()
        sent = await inbox.expect(MessageSent)
        assert (sent.id, sent.status, sent.answered) == (id, 202, True)
        assert registrar.of("MESSAGE")[0].body == TEXT.data


async def test_text_comes_in_and_is_answered_when_it_is_stored(
    authority: Authority, context: ssl.SSLContext
) -> None:
    async with line(authority, context) as (peer, client, inbox):
        request = a_request("MESSAGE", uri=peer.registrar.bindings[0])
        request.headers.set("Content-Type", TEXT.content_type)
        peer.send(replace(request, body=TEXT.data))
        received = await inbox.expect(MessageReceived)
        assert received.body == TEXT
        assert received.sender.uri.user == "+15550100"
        client.agent.answer_message(received.id, 200, now=client.now())
        client.pump()
        await peer.expect("200")


async def test_call_out(authority: Authority, context: ssl.SSLContext) -> None:
    def callee(invite: Request) -> list[Message]:
        ringing = response_to(invite, 180, to_tag="peer")
        answer = response_to(invite, 200, to_tag="peer")
        answer.headers.add("Contact", "<sip:pbx@127.0.0.1:5061;transport=tls>")
        answer.headers.set("Content-Type", SDP.content_type)
        return [ringing, replace(answer, body=b"v=1\r\n")]

    registrar = Registrar(answers={"INVITE": callee})
    async with line(authority, context, registrar) as (peer, client, inbox):
        session = client.agent.invite(NUMBER, SDP, now=client.now())
        client.pump()
        assert (await inbox.expect(SessionProgressed)).status == 180
        assert (await inbox.expect(SessionAnswered)).answer == Body(SDP.content_type, b"v=1\r\n")
        await peer.expect("ACK")
        session.hang_up(now=client.now())
        client.pump()
        await peer.expect("BYE")
        ended = await inbox.expect(SessionEnded)
        assert (ended.session, ended.status, ended.by_peer) == (session, 200, False)


async def test_call_in(authority: Authority, context: ssl.SSLContext) -> None:
    async with line(authority, context) as (peer, client, inbox):
        invite = a_request("INVITE", uri=peer.registrar.bindings[0])
        invite.headers.set("Content-Type", SDP.content_type)
        peer.send(replace(invite, body=SDP.data))
        call = await inbox.expect(IncomingSession)
        assert call.offer == SDP
        call.session.ring(now=client.now())
        client.pump()
        await peer.expect("180")
        call.session.answer(SDP, now=client.now())
        client.pump()
        answer = await peer.expect("200")
        assert isinstance(answer, Response)
        ack = a_request("ACK", uri=peer.registrar.bindings[0])
        ack.headers.set("To", answer.headers.to)
        peer.send(ack)
        await inbox.expect(SessionConfirmed)
        bye = a_request("BYE", uri=peer.registrar.bindings[0], seq=2)
        bye.headers.set("To", answer.headers.to)
        peer.send(bye)
        ended = await inbox.expect(SessionEnded)
        assert (ended.session, ended.by_peer) == (call.session, True)
        await peer.expect("200")


async def test_last_word_is_sent_before_the_line_closes(
    authority: Authority, context: ssl.SSLContext
) -> None:
    async with line(authority, context) as (peer, client, inbox):
        invite = a_request("INVITE", uri=peer.registrar.bindings[0])
        invite.headers.set("Content-Type", SDP.content_type)
        peer.send(replace(invite, body=SDP.data))
        call = await inbox.expect(IncomingSession)
        call.session.reject(480, now=client.now())
        await client.stop()
        await peer.expect("480")
        assert peer.registrar.bindings == []


async def test_certificate_that_ends_soon_is_warned_of(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    async with line(authority, server_context(authority.issue("pbx.example", days=(-9, 3.5)))):
        pass
    assert "the other side's certificate is for pbx.example; valid until" in caplog.text
    assert "which is in 3 days: renew it" in caplog.text


async def test_peer_without_registration_is_asked_and_calls_over_our_connection(
    authority: Authority, context: ssl.SSLContext
) -> None:
    async with asyncio.timeout(10), peering(context) as peer:
        trunk = Trunk(
            name="test",
            domain="pbx.example",
            host="127.0.0.1",
            port=peer.port,
            username="bridge",
            password="secret",
            register=False,
            tls=TlsSettings(ca_file=authority.file),
        )
        inbox = Inbox()
        client = TrunkClient(trunk, listener=inbox)
        await client.start()
        await inbox.expect(TrunkUp)
        client.agent.ping(now=client.now())
        client.pump()
        await peer.expect("OPTIONS")
        peer.send(a_request("INVITE", uri="sip:bridge@127.0.0.1"))
        call = await inbox.expect(IncomingSession)
        call.session.reject(486, now=client.now())
        client.pump()
        await peer.expect("486")
        assert peer.registrar.of("REGISTER") == []
        await client.stop()


@pytest.mark.parametrize("names", [("sip1.provider.example",), ("attacker.example",)])
async def test_name_that_dns_gave_is_not_whom_we_want_to_talk_to(
    authority: Authority, names: tuple[str, ...]
) -> None:
    async with asyncio.timeout(10), peering(server_context(authority.issue(*names))) as false:
        good = server_context(authority.issue("pbx.example"))
        async with peering(good) as true:
            zone = f"""
                _sips._tcp.pbx.example. SRV 1 0 {false.port} {names[0]}.
                _sips._tcp.pbx.example. SRV 2 0 {true.port} other.example.
            """
            async with serving(NameServer(zone)) as name_server:

                async def here(host: str) -> list[str]:
                    return ["127.0.0.1"]

                trunk = Trunk(
                    name="test",
                    domain="pbx.example",
                    username="bridge",
                    password="secret",
                    tls=TlsSettings(ca_file=authority.file),
                )
                inbox = Inbox()
                resolver = DnsResolver(nameservers=[name_server], addresses=here)
                client = TrunkClient(trunk, listener=inbox, resolver=resolver)
                await client.start()
                await inbox.expect(Registered)
                assert false.received == []
                await client.stop()
