"""DTLS records as somebody forges them who knows the addresses of a call and not its handshake."""

import random
from collections.abc import Iterator

ALERT = bytes.fromhex("15fefd0000000000000000 0002 0228")

_KINDS = {
    "HelloRequest": (0, 0), "ClientHello": (1, 44), "ServerHello": (2, 40),
    "HelloVerifyRequest": (3, 11), "NewSessionTicket": (4, 20), "Certificate": (11, 300),
    "ServerKeyExchange": (12, 143), "CertificateRequest": (13, 25), "ServerHelloDone": (14, 0),
    "CertificateVerify": (15, 76), "ClientKeyExchange": (16, 33), "Finished": (20, 12),
    "CertificateStatus": (22, 30), "unknown": (99, 5),
}  # fmt: skip


def record(kind: int, body: bytes, *, epoch: int = 0, number: int = 0) -> bytes:
    """RFC 6347 §4.1."""
    head = bytes((kind, 0xFE, 0xFD)) + epoch.to_bytes(2) + number.to_bytes(6)
    return head + len(body).to_bytes(2) + body


def fragment(kind: int, number: int, body: bytes, *, length: int, offset: int = 0) -> bytes:
    """RFC 6347 §4.2.2."""
    head = bytes((kind,)) + length.to_bytes(3) + number.to_bytes(2)
    return head + offset.to_bytes(3) + len(body).to_bytes(3) + body


def forgeries(seed: int, *, hello: bool = True) -> Iterator[bytes]:
    """Messages of each kind at each place: whole, begun, huge, at odds with themselves; records of
    other epochs, with high numbers, empty, and of other kinds.

    Args:
        hello: whether ClientHellos that could be the peer's are among them.
    """
    chance = random.Random(seed)
    for name, (kind, size) in _KINDS.items():
        for place in range(6):
            if name == "ClientHello" and place == 0 and not hello:
                continue
            body = chance.randbytes(size)
            number = chance.choice((0, 1, 7, 1000, 2**48 - 1))
            for inside in (
                fragment(kind, place, body, length=size),
                fragment(kind, place, body[:5], length=size + 200),
                fragment(kind, place, body[:5], length=0xFFFFF0, offset=0xFFFE00),
                fragment(kind, place, body, length=max(0, size - 1)),
                fragment(kind, place, body, length=size)[:-1],
            ):
                yield record(22, inside, number=number)
    for epoch in (1, 2, 0xFFFF):
        for kind in (20, 21, 22, 23):
            yield record(kind, chance.randbytes(40), epoch=epoch, number=chance.randrange(2**20))
    for kind in (20, 21, 22, 23):
        for body in (b"", b"\1", b"\2", b"\1\0", b"\2\x28", chance.randbytes(8000)):
            yield record(kind, body, number=chance.randrange(2**48))
    yield ALERT
    yield ALERT + record(20, b"\1") + record(23, b"hello")
