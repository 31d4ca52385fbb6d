"""Peers that send us datagrams: which are read, and where the answers go."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest

from sip.events import IncomingSession, MessageReceived
from sip.io.client import TrunkClient, TrunkUp
from sip.io.datagram import MAX_FLOWS
from sip.io.listener import Listener, ListenerSettings
from sip.message import Message, Request, Response, parse_message, response_to
from sip.trunk import Inbound, Trunk
from tests.sip.io.registrar import a_request
from tests.sip.io.wiring import Inbox

HERE = Inbound(networks=("127.0.0.0/8", "::1"))


def a_trunk(inbound: Inbound = HERE) -> Trunk:
    return Trunk(
        name="test",
        domain="pbx.example",
        username="bridge",
        password="secret",
        register=False,
        connect=False,
        inbound=inbound,
        insecure_transport="udp",
    )


class Peer(asyncio.DatagramProtocol):
    """A PBX on a UDP port of its own."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._received: asyncio.Queue[Message] = asyncio.Queue()
        self.transport: asyncio.DatagramTransport | None = None

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._received.put_nowait(parse_message(data))

    def send(self, message: Message) -> None:
        assert self.transport is not None
        self.transport.sendto(bytes(message), self._target)

    @property
    def port(self) -> int:
        assert self.transport is not None
        return int(self.transport.get_extra_info("sockname")[1])

    async def receive(self) -> Message:
        return await self._received.get()

    @property
    def heard(self) -> bool:
        return not self._received.empty()


@asynccontextmanager
async def listening(
    trunk: Trunk, *, host: str = "127.0.0.1"
) -> AsyncIterator[tuple[Listener, TrunkClient, Inbox]]:
    inbox = Inbox()
    client = TrunkClient(trunk, listener=inbox)
    settings = ListenerSettings(host, 0, insecure_transport="udp")
    listener = Listener(settings, clients=[client])
    async with asyncio.timeout(10):
        await client.start()
        await listener.start()
        try:
            yield listener, client, inbox
        finally:
            await listener.stop()
            await client.stop()


@asynccontextmanager
async def peer_of(listener: Listener, *, host: str = "127.0.0.1") -> AsyncIterator[Peer]:
    loop = asyncio.get_running_loop()
    transport, peer = await loop.create_datagram_endpoint(
        lambda: Peer((host, listener.port)), local_addr=(host, 0)
    )
    peer.transport = transport
    try:
        yield peer
    finally:
        transport.close()


def options(seq: int = 1, *, via: str) -> Request:
    request = a_request("OPTIONS", uri="sip:bridge@us.example", seq=seq)
    request.headers.set("Via", f"SIP/2.0/UDP {via};branch=z9hG4bKpeer{seq}")
    return request


async def test_datagram_of_the_peer_is_answered_where_it_came_from() -> None:
    async with listening(a_trunk()) as (listener, _, _), peer_of(listener) as peer:
        request = options(via="192.0.2.9:5060")
        request.headers.set("Via", f"{request.headers.get('Via')};rport")
        peer.send(request)
        answer = await peer.receive()
        assert isinstance(answer, Response)
        assert answer.status == 200
        parameters = answer.headers.via.parameters
        assert parameters.get("received") == "127.0.0.1"
        assert parameters.get("rport") == str(peer.port)


async def test_without_rport_the_answer_goes_to_the_port_that_via_names() -> None:
    async with (
        listening(a_trunk()) as (listener, _, _),
        peer_of(listener) as peer,
        peer_of(listener) as other,
    ):
        peer.send(options(via=f"192.0.2.9:{other.port}"))
        answer = await other.receive()
        assert isinstance(answer, Response)
        assert answer.status == 200
        assert not peer.heard


@pytest.mark.parametrize(
    "inbound",
    [
        Inbound(networks=("192.0.2.0/24",)),
        Inbound(certificate="pbx.example"),
        Inbound(certificate="pbx.example", networks=("127.0.0.1",)),
        Inbound(digest=True, networks=("127.0.0.1",)),
    ],
)
async def test_datagram_from_elsewhere_or_of_one_who_must_show_more_is_dropped(
    inbound: Inbound,
) -> None:
    async with listening(a_trunk(inbound)) as (listener, _, inbox), peer_of(listener) as peer:
        peer.send(options(via="127.0.0.1:9"))
        async with listening(a_trunk()) as (open_one, _, _), peer_of(open_one) as known:
            known.send(options(via=f"127.0.0.1:{known.port}"))
            await known.receive()  # by then the other port has been read as well
        assert not peer.heard
        assert [type(said) for said in inbox.said] == [TrunkUp]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_call_over_a_port_that_is_bound_to_every_address(host: str) -> None:
    every = "::" if host == "::1" else "0.0.0.0"
    async with (
        listening(a_trunk(), host=every) as (listener, client, inbox),
        peer_of(listener, host=host) as peer,
    ):
        invite = a_request("INVITE", uri="sip:bridge@us.example")
        shown = f"[{host}]" if ":" in host else host
        invite.headers.set("Via", f"SIP/2.0/UDP {shown}:{peer.port};rport;branch=z9hG4bKpeer")
        peer.send(invite)
        await inbox.expect(IncomingSession)
        client.agent.sessions[0].ring(now=client.now())
        client.pump()
        while isinstance(answer := await peer.receive(), Response) and answer.status < 180:
            pass
        contact = answer.headers.contact
        assert contact is not None
        assert (contact.uri.host, contact.uri.port) == (host, listener.port)
        assert f"{shown}:{listener.port}" in str(contact)
        client.agent.sessions[0].reject(486, now=client.now())
        client.pump()
        while isinstance(answer := await peer.receive(), Response) and answer.status < 200:
            pass
        ack = a_request("ACK", uri="sip:bridge@us.example")
        ack.headers.set("Via", invite.headers.get("Via") or "")
        ack.headers.set("To", str(answer.headers.to))
        peer.send(ack)


async def test_our_requests_go_to_the_latest_address_of_the_peer() -> None:
    async with (
        listening(a_trunk()) as (listener, client, _),
        peer_of(listener) as first,
        peer_of(listener) as second,
    ):
        for seq, peer in enumerate((first, second), start=1):
            peer.send(options(seq, via=f"127.0.0.1:{peer.port}"))
            await peer.receive()
        client.agent.ping(now=client.now())
        client.pump()
        asked = await second.receive()
        assert isinstance(asked, Request)
        assert asked.headers.via.port == listener.port
        assert "rport" in asked.headers.via.parameters
        second.send(response_to(asked, 200, to_tag="peer"))
        assert not first.heard


async def test_flows_are_bounded_and_the_most_silent_gives_way(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    # All stay open to the end: a port that is free again might be the next one's.
    async with listening(a_trunk()) as (listener, _, inbox), AsyncExitStack() as peers:
        for seq in range(1, MAX_FLOWS + 3):
            peer = await peers.enter_async_context(peer_of(listener))
            peer.send(options(seq, via=f"127.0.0.1:{peer.port}"))
            assert isinstance(await peer.receive(), Response)
        peer = await peers.enter_async_context(peer_of(listener))
        message = replace(a_request("MESSAGE", uri="sip:bridge@us.example"), body=b"x")
        message.headers.set("Via", f"SIP/2.0/UDP 127.0.0.1:{peer.port};branch=z9hG4bKm")
        peer.send(message)
        await inbox.expect(MessageReceived)
    assert caplog.text.count("another one took its place") == 3
    assert "flow 1 ended: another one took its place" in caplog.text


async def test_broken_datagram_costs_nobody_the_port() -> None:
    async with listening(a_trunk()) as (listener, _, _), peer_of(listener) as peer:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as raw:
            for data in (b"", b"\0", b"\r\n\r\n", b"INVITE", b"x" * 60_000):
                raw.sendto(data, ("127.0.0.1", listener.port))
        peer.send(options(via=f"127.0.0.1:{peer.port}"))
        assert isinstance(await peer.receive(), Response)
