import asyncio
import logging
import socket
from dataclasses import replace

import pytest

from sip.framing import Malformed
from sip.io.flow import MAX_DATAGRAM, REST_LIMIT, SAFE_DATAGRAM, WRITE_LIMIT, Connection, connect
from sip.io.resolver import Target
from sip.message import Message, Request, parse_message
from sip.trunk import Trunk
from tests.sip.io.tls_server import listening
from tests.sip.io.wiring import Ear, FakeTransport, run_virtually

OPTIONS = (
    b"OPTIONS sip:bridge@192.0.2.1 SIP/2.0\r\n"
    b"Via: SIP/2.0/TLS 192.0.2.9:5061;branch=z9hG4bKabc\r\n"
    b"From: <sip:pbx@pbx.example>;tag=1\r\n"
    b"To: <sip:bridge@pbx.example>\r\n"
    b"Call-ID: one\r\n"
    b"CSeq: 1 OPTIONS\r\n"
    b"Content-Length: 0\r\n\r\n"
)


def a_trunk(insecure_transport: str | None = None) -> Trunk:
    return Trunk(
        name="test",
        domain="pbx.example",
        username="bridge",
        password="secret",
        insecure_transport=insecure_transport,
    )


class Flow:
    """A connection over a fake transport."""

    def __init__(self) -> None:
        self.ear = Ear()
        self.connection = Connection(id=7, trunk=a_trunk(), listener=self.ear)
        self.transport = FakeTransport(self.connection)
        self.connection.connection_made(self.transport)


@pytest.fixture
async def flow() -> Flow:
    return Flow()


def a_message() -> Message:
    return parse_message(OPTIONS)


async def test_messages_arrive_however_the_stream_is_cut(flow: Flow) -> None:
    for byte in OPTIONS * 2:
        flow.transport.deliver(bytes([byte]))
    assert [type(message) for message in flow.ear.heard] == [Request, Request]


async def test_message_is_written_as_it_is(flow: Flow) -> None:
    flow.connection.send(a_message())
    assert bytes(flow.transport.written) == OPTIONS


async def test_ping_is_answered_with_pong(flow: Flow) -> None:
    flow.transport.deliver(b"\r\n\r\n" + OPTIONS + b"\r\n\r\n")
    assert bytes(flow.transport.written) == b"\r\n\r\n"
    assert len(flow.ear.heard) == 1


async def test_pong_is_not_answered(flow: Flow) -> None:
    flow.transport.deliver(b"\r\n")
    assert flow.transport.written == b""


async def test_malformed_request_reaches_the_agent_and_the_flow_goes_on(flow: Flow) -> None:
    flow.transport.deliver(OPTIONS.replace(b"CSeq: 1 OPTIONS", b"CSeq: one OPTIONS") + OPTIONS)
    assert [type(message) for message in flow.ear.heard] == [Malformed, Request]


async def test_lost_framing_closes_the_flow(flow: Flow) -> None:
    flow.transport.deliver(OPTIONS.replace(b"Content-Length: 0", b"Content-Length: many"))
    flow.transport.deliver(OPTIONS)
    await flow.connection.wait_lost()
    (heard,) = flow.ear.heard  # so that it can be answered before the close
    assert isinstance(heard, Malformed)
    assert len(flow.ear.lost) == 1
    assert flow.ear.lost[0].startswith("the other side sent what is not SIP (")


async def test_peer_that_does_not_read_loses_the_flow(flow: Flow) -> None:
    assert flow.transport.high == WRITE_LIMIT
    flow.connection.pause_writing()
    await flow.connection.wait_lost()
    assert flow.ear.lost == ["the other side does not read what we send"]


async def test_nothing_is_sent_after_close(flow: Flow) -> None:
    flow.connection.close("done")
    flow.connection.send(a_message())
    flow.connection.close("done again")
    await flow.connection.wait_lost()
    assert flow.transport.written == b""
    assert flow.ear.lost == ["done"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (None, "the connection was closed"),
        (ConnectionResetError(104, "x"), "the connection was reset by the other side"),
    ],
)
async def test_loss_is_said_once_with_its_reason(
    flow: Flow, error: Exception | None, reason: str
) -> None:
    flow.transport.lose(error)
    await flow.connection.wait_lost()
    assert flow.ear.lost == [reason]


async def test_end_of_stream_is_the_peers_farewell(flow: Flow) -> None:
    flow.connection.eof_received()
    flow.transport.close()
    await flow.connection.wait_lost()
    assert flow.ear.lost == ["the other side closed the connection"]


async def test_flow_tells_the_agent_both_ends(flow: Flow) -> None:
    seen = flow.connection.flow()
    assert (seen.id, seen.transport) == (7, "TLS")
    assert (seen.local_host, seen.local_port) == ("192.0.2.1", 40000)
    assert (seen.remote_host, seen.remote_port) == ("192.0.2.9", 5061)


async def test_wire_log_has_both_directions_without_secrets(
    flow: Flow, caplog: pytest.LogCaptureFixture
) -> None:
    secret = OPTIONS.replace(b"Call-ID", b"Authorization: Digest c0ffee\r\nCall-ID")
    with caplog.at_level(logging.DEBUG, "sip.wire"):
        flow.transport.deliver(secret)
        flow.connection.send(parse_message(secret))
    lines = [record.getMessage() for record in caplog.records if record.name == "sip.wire"]
    assert [line.splitlines()[0] for line in lines] == ["test 7 <", "test 7 >"]
    assert not any("c0ffee" in line for line in lines)
    assert all("OPTIONS sip:bridge@192.0.2.1" in line for line in lines)


async def test_tcp_connects_without_tls_and_tunes_the_socket() -> None:
    ear = Ear()
    async with listening(None) as seen:
        target = Target("pbx.example", seen.port, "127.0.0.1", socket.AF_INET)
        connection = await connect(a_trunk("tcp"), target, id=1, listener=ear)
        assert connection.flow().transport == "TCP"
        sock = connection.extra("socket")
        assert hasattr(sock, "getsockopt")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        connection.send(a_message())
        await seen.hear(len(OPTIONS))
        connection.close("done")
        await connection.wait_lost()
    assert bytes(seen.heard) == OPTIONS


class Echo(asyncio.DatagramProtocol):
    """Sends each datagram back, then half of a message, then a keep-alive."""

    transport: asyncio.DatagramTransport | None = None

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self.transport is not None
        for piece in (OPTIONS[:90], b"\r\n\r\n", data):
            self.transport.sendto(piece, addr)


async def test_udp_takes_each_datagram_as_a_whole() -> None:
    loop = asyncio.get_running_loop()
    transport, echo = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    echo.transport = transport
    ear = Ear()
    port = transport.get_extra_info("sockname")[1]
    target = Target("pbx.example", port, "127.0.0.1", socket.AF_INET)
    connection = await connect(a_trunk("udp"), target, id=1, listener=ear)
    connection.send(a_message())
    await ear.hear(2)
    transport.close()
    connection.close("done")
    await connection.wait_lost()
    assert connection.flow().transport == "UDP"
    assert [type(message) for message in ear.heard] == [Malformed, Request]
    assert ear.lost == ["done"]


async def test_udp_hears_nobody_but_the_peer() -> None:
    loop = asyncio.get_running_loop()
    transport, echo = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    echo.transport = transport
    ear = Ear()
    port = transport.get_extra_info("sockname")[1]
    target = Target("pbx.example", port, "127.0.0.1", socket.AF_INET)
    connection = await connect(a_trunk("udp"), target, id=1, listener=ear)
    flow = connection.flow()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(OPTIONS, (flow.local_host, flow.local_port))
    connection.send(a_message())
    await ear.hear(2)  # half a message, and our own
    transport.close()
    connection.close("done")
    await connection.wait_lost()
    assert [type(message) for message in ear.heard] == [Malformed, Request]


async def test_udp_says_once_that_a_message_goes_in_fragments_and_sends_none_that_is_too_long(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop = asyncio.get_running_loop()
    transport, echo = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    echo.transport = transport
    ear = Ear()
    port = transport.get_extra_info("sockname")[1]
    target = Target("pbx.example", port, "127.0.0.1", socket.AF_INET)
    connection = await connect(a_trunk("udp"), target, id=1, listener=ear)
    for length in (SAFE_DATAGRAM, SAFE_DATAGRAM, MAX_DATAGRAM):
        connection.send(replace(a_message(), body=b"x" * length))
    connection.send(a_message())
    await ear.hear(6)
    transport.close()
    connection.close("done")
    await connection.wait_lost()
    assert [type(message) for message in ear.heard] == [Malformed, Request] * 3
    assert caplog.text.count("goes in fragments") == 1
    assert caplog.text.count("fit no datagram") == 1


async def test_udp_port_that_nobody_has_loses_the_flow() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        port = gone.getsockname()[1]
    ear = Ear()
    target = Target("pbx.example", port, "127.0.0.1", socket.AF_INET)
    connection = await connect(a_trunk("udp"), target, id=1, listener=ear)
    connection.send(a_message())
    async with asyncio.timeout(20):
        await connection.wait_lost()
    assert ear.lost == ["connection refused: nothing listens at this address and port"]


def test_a_message_that_does_not_come_to_its_end_loses_the_flow() -> None:
    async def main() -> None:
        flow = Flow()
        loop = asyncio.get_running_loop()
        flow.transport.deliver(OPTIONS[:-4])
        await asyncio.sleep(REST_LIMIT - 1)
        flow.transport.deliver(OPTIONS[-4:] + OPTIONS[:9])  # another one: the limit begins anew
        began = loop.time()
        await asyncio.sleep(REST_LIMIT - 1)
        assert flow.ear.lost == []
        await flow.connection.wait_lost()
        assert loop.time() - began == pytest.approx(REST_LIMIT)
        assert len(flow.ear.heard) == 1

    run_virtually(main())


def test_a_flow_that_is_silent_between_messages_is_kept() -> None:
    async def main() -> None:
        flow = Flow()
        flow.transport.deliver(OPTIONS[:-4])
        flow.transport.deliver(OPTIONS[-4:] + b"\r\n")
        await asyncio.sleep(3 * REST_LIMIT)
        assert flow.ear.lost == []

    run_virtually(main())
