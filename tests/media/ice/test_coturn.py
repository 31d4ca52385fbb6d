"""A call's path through a real TURN server, coturn, over UDP, TCP and TLS, on real sockets."""

import os
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from media.ice.agent import IceAgent
from media.ice.events import CloseStream, Connected, OpenStream, Transmit
from media.ice.server import Server
from tests.lab.ports import HOST
from tests.media.coturn import Coturn, serving

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def coturn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coturn]:
    with serving(tmp_path_factory.mktemp("coturn")) as coturn:
        yield coturn


class End:
    """An agent on real sockets. What `barred` names is not sent: the path that does not exist."""

    def __init__(self, *, controlling: bool, authority: Path) -> None:
        self.agent = IceAgent(controlling=controlling, random=os.urandom, now=time.monotonic())
        self.connected: list[Connected] = []
        self.received: list[bytes] = []
        self.barred: set[int] = set()
        self._tls = ssl.create_default_context(cafile=authority)
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind((HOST, 0))
        self._streams: dict[int, socket.socket] = {}
        self.port = self._udp.getsockname()[1]
        self.agent.add_socket(0, HOST, self.port)

    @property
    def sockets(self) -> list[socket.socket]:
        return [self._udp, *self._streams.values()]

    def read(self, ready: socket.socket) -> None:
        now = time.monotonic()
        if ready is self._udp:
            data, source = ready.recvfrom(2048)
            payload = self.agent.receive(data, source, 0, now)
            self.received += [payload] if payload is not None else []
        for number, stream in self._streams.items():
            if stream is ready:
                chunk = stream.recv(13)  # cut small, so that frames are put together
                while isinstance(stream, ssl.SSLSocket) and stream.pending():
                    chunk += stream.recv(stream.pending())
                self.received += self.agent.receive_stream(chunk, number, now)

    def send(self, data: bytes) -> None:
        transmit = self.agent.send(data, time.monotonic())
        assert transmit is not None
        self._transmit(transmit)

    def work(self) -> None:
        now = time.monotonic()
        deadline = self.agent.deadline()
        if deadline is not None and deadline <= now:
            self.agent.handle_timer(now)
        while outputs := self.agent.poll():
            for output in outputs:
                match output:
                    case Transmit():
                        self._transmit(output)
                    case OpenStream(number, address, port, tls_name):
                        stream = socket.create_connection((address, port))
                        if tls_name is not None:
                            stream = self._tls.wrap_socket(stream, server_hostname=tls_name)
                        self._streams[number] = stream
                        self.agent.stream_opened(number, now)
                    case CloseStream(number):
                        self._streams.pop(number).close()
                    case Connected():
                        self.connected.append(output)

    def _transmit(self, transmit: Transmit) -> None:
        if transmit.socket < 0:
            self._streams[transmit.socket].sendall(transmit.data)
        elif transmit.destination[1] not in self.barred:
            self._udp.sendto(transmit.data, transmit.destination)

    def close(self) -> None:
        self.agent.close(time.monotonic())
        self.work()
        for each in self.sockets:
            each.close()


def run(ends: tuple[End, ...], until: Callable[[], bool], *, limit: float = 8.0) -> None:
    give_up = time.monotonic() + limit
    while True:
        for end in ends:
            end.work()
        if until():
            return
        now = time.monotonic()
        assert now < give_up, "nothing came of it in time"
        deadlines = [at for end in ends if (at := end.agent.deadline()) is not None]
        wait = max(0.0, min([give_up, *deadlines]) - now)
        ready, _, _ = select.select([each for end in ends for each in end.sockets], [], [], wait)
        for end in ends:
            for each in set(ready).intersection(end.sockets):
                end.read(each)


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
@pytest.mark.parametrize("relays", [1, 2])
def test_call_through_the_relay_alone(coturn: Coturn, transport: str, relays: int) -> None:
    uri = {
        "udp": f"turn:turn.lab.test:{coturn.port}?transport=udp",
        "tcp": f"turn:turn.lab.test:{coturn.port}?transport=tcp",
        "tls": f"turns:turn.lab.test:{coturn.tls_port}",
    }[transport]
    a = End(controlling=True, authority=coturn.authority)
    b = End(controlling=False, authority=coturn.authority)
    for end in (a, b)[:relays]:
        end.agent.add_server(Server.parse(uri, "lab", "lab-turn"), HOST, time.monotonic())
    run((a, b), lambda: a.agent.gathering_complete and b.agent.gathering_complete)
    relayed = [
        each.port for end in (a, b) for each in end.agent.local_candidates() if each.type == "relay"
    ]
    assert len(relayed) == relays
    a.barred = {b.port, *relayed}
    b.barred = {a.port} if relays == 1 else {a.port, *relayed}
    now = time.monotonic()
    for end, other in ((a, b), (b, a)):
        end.agent.set_remote(other.agent.local.ufrag, other.agent.local.pwd, now)
        for candidate in other.agent.local_candidates():
            end.agent.add_remote(str(candidate), now)
    run((a, b), lambda: bool(a.connected and b.connected))
    assert str(a.connected[-1].pair) == ("udp relay→host" if relays == 1 else "udp relay→relay")
    for number in range(20):
        packet = b"\x80" + bytes([number]) * 172
        a.send(packet)
        b.send(packet)
        expected = number + 1
        run((a, b), lambda: min(len(a.received), len(b.received)) == expected)  # noqa: B023  # used at once
        assert a.received[-1] == b.received[-1] == packet
    for end in (a, b):
        end.close()
