"""The wire under a call on the loopback: what passes, and what somebody puts on it under any name.

Both need the right to raw sockets (root, or CAP_NET_RAW). Without it nothing is heard, and what is
shot comes from ports of our own.
"""

import asyncio
import random
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from tests.lab.ports import HOST
from tests.media.forged import forgeries

Address = tuple[str, int]

_ALL_IPV4 = 0x0800
_UDP = 17


@dataclass(frozen=True, slots=True)
class Datagram:
    """One as it passed."""

    source: int
    destination: int
    data: bytes

    @property
    def is_media(self) -> bool:
        """RTP, RTCP or DTLS, and not STUN."""
        return bool(self.data) and self.data[0] > 19

    @property
    def is_check(self) -> bool:
        """STUN."""
        return bool(self.data) and self.data[0] < 4


class Wire:
    """Datagrams from and to some ports of the loopback, while the context lasts.

    Args:
        on_datagram: told of each.

    Attributes:
        is_open: whether we may look and forge.
    """

    def __init__(
        self, ports: range, on_datagram: Callable[["Wire", Datagram], None] | None = None
    ) -> None:
        self.passed: list[Datagram] = []
        self._on_datagram = on_datagram
        self._ports = ports
        self._own = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(8)]
        try:
            self._ear = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ALL_IPV4))
            self._mouth = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        except PermissionError:
            self.is_open = False
        else:
            self.is_open = True

    async def __aenter__(self) -> "Wire":
        if self.is_open:
            self._ear.setblocking(False)
            self._ear.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
            self._ear.bind(("lo", _ALL_IPV4))
            asyncio.get_running_loop().add_reader(self._ear, self._hear)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.is_open:
            asyncio.get_running_loop().remove_reader(self._ear)
            self._ear.close()
            self._mouth.close()
        for one in self._own:
            one.close()

    def _hear(self) -> None:
        for _ in range(64):
            try:
                packet = self._ear.recv(65536)
            except BlockingIOError:
                return
            if packet[9] != _UDP:
                continue
            head = 4 * (packet[0] & 15)
            source, destination = struct.unpack_from("!HH", packet, head)
            if source in self._ports or destination in self._ports:
                self.passed.append(Datagram(source, destination, packet[head + 8 :]))
                if self._on_datagram is not None:
                    self._on_datagram(self, self.passed[-1])

    def shoot(self, data: bytes, port: int, source: int | None = None) -> None:
        """Send to a port, under somebody's name or from a port of our own."""
        if source is None or not self.is_open:
            random.choice(self._own).sendto(data, (HOST, port))
            return
        size = 8 + len(data)
        here = socket.inet_aton(HOST)
        udp = struct.pack("!HHHH", source, port, size, 0)  # 0: no checksum
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + size, 0, 0, 64, _UDP, 0, here, here)
        self._mouth.sendto(ip + udp + data, (HOST, port))


async def besiege(wire: Wire, heard: list[Datagram], ports: list[int], rate: int) -> int:
    """Replay, change and forge what was heard, and send garbage, until cancelled; how often.

    Every shot comes under the name of the one whose packet it was, and from elsewhere, by turns.

    Args:
        ports: that are shot at, beside those that packets were heard at.
        rate: shots a second.
    """
    chance = random.Random(5)
    handshake = list(forgeries(5))
    shots = 0
    began = asyncio.get_running_loop().time()
    try:
        while True:
            for _ in range(5):
                data, port, source = _shot(chance, heard, ports, handshake)
                wire.shoot(data, port, source if chance.random() < 0.5 else None)
                shots += 1
            late = began + shots / rate - asyncio.get_running_loop().time()
            await asyncio.sleep(max(0.0, late))
    except asyncio.CancelledError:
        return shots


def _shot(
    chance: random.Random, heard: list[Datagram], ports: list[int], handshake: list[bytes]
) -> tuple[bytes, int, int | None]:
    """What, at which port, under whose."""
    if not heard or chance.random() < 0.2:
        garbage = chance.randbytes(chance.choice((1, 12, 60, 300)))
        return chance.choice((garbage, _plain(chance))), chance.choice(ports), None
    one = chance.choice(heard)
    return _changed(chance, one.data, handshake), one.destination, one.source


def _changed(chance: random.Random, data: bytes, handshake: list[bytes]) -> bytes:
    """What somebody makes of a packet that he saw."""
    at = chance.randrange(len(data))
    match chance.randrange(5):
        case 0:  # the same again
            return data
        case 1:  # a bit of it turned round
            return data[:at] + bytes((data[at] ^ 1 << chance.randrange(8),)) + data[at + 1 :]
        case 2:  # what might come next of the stream
            number = int.from_bytes(data[2:4]) + chance.choice((1, 50, 500, 30000))
            return data[:2] + (number & 0xFFFF).to_bytes(2) + data[4:]
        case 3:  # cut short, and other bytes after it
            return data[:at] + chance.randbytes(chance.randrange(8))
        case _:
            return chance.choice(handshake)


def _plain(chance: random.Random) -> bytes:
    """RTP in the clear, a goodbye, a check without a password."""
    return chance.choice(
        (
            bytes.fromhex("80000001000000a000000007") + b"\xd5" * 160,
            bytes.fromhex("81cb000100000007"),
            bytes.fromhex("000100002112a442") + chance.randbytes(12),
        )
    )
