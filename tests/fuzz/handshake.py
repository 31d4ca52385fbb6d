"""Records of a stranger in a DTLS handshake, under the peer's address, as a target: both ends get
their keys all the same."""

from tests.media.forged import forgeries
from tests.media.test_dtls import Wire, ends

_MOST = 40
_CLIENT_HELLO = 1


def handshake(data: bytes) -> None:
    """Some bytes after each datagram, to either end: `number, length / 2, bytes`."""
    wire = Wire(*ends())
    pieces = _pieces(data)

    def shoot(source: str, number: int) -> bool:
        for _ in range(4):
            if pieces:
                name, piece = pieces.pop()
                wire.ends[name].receive(piece, wire.now)
        return False

    wire.lose = shoot
    wire.start()
    shoot("", 0)
    wire.run(4.0)
    assert wire.connected, wire.events


def _pieces(data: bytes) -> list[tuple[str, bytes]]:
    pieces: list[tuple[str, bytes]] = []
    at = 0
    while at + 2 <= len(data) and len(pieces) < _MOST:
        size = data[at + 1] * 2
        name, piece = ("client", "server")[data[at] & 1], data[at + 2 : at + 2 + size]
        at += 2 + size
        if name == "client" or not _has_hello(piece):
            pieces.append((name, piece))
    return pieces


def _has_hello(datagram: bytes) -> bool:
    """Whether it could be taken for the client's hello, which nothing is held against."""
    at = 0
    while at + 13 < len(datagram):
        if datagram[at] == 22 and datagram[at + 13] == _CLIENT_HELLO:
            return True
        at += 13 + int.from_bytes(datagram[at + 11 : at + 13])
    return False


def _seed(first: int) -> bytes:
    seed = b""
    for number, piece in enumerate(list(forgeries(first))[first : first + _MOST]):
        padded = piece[:500] + bytes(len(piece[:500]) % 2)
        seed += bytes((number, len(padded) // 2)) + padded
    return seed


SEEDS = [_seed(first) for first in range(0, 400, 50)]
