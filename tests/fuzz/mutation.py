"""Mutations of the corpus, seeded: the same number gives the same bytes on every machine.

In the manner of PROTOS c07-sip: each is one message that went wrong in a few places, by pieces that
parsers have stumbled over.
"""

import random
from collections.abc import Iterator

from tests.corpus import messages

_PIECES = [
    b"", b"\x00", b"\r\n", b"\r\n ", b"\n", b"\r", b" ", b"\t", b",", b";", b":", b"@", b"%", b"=",
    b'"', b"\\", b"<", b">", b"[", b"]", b"?", b"%00", b"%n%s", b"\xff\xfe", b"\xc3\xa4", b"-1",
    b"4294967296", b"99999999999999999999", b"0" * 300, b"a" * 2000, b";lr" * 200, b"<" * 500,
    b"," * 500, b"(" * 300, b"../" * 50, b"sip:" * 100, b"Via: x\r\n" * 300, b"\r\nl: 5",
    b"SIP/2.0/TLS a,", b"SIP/2.0 200 OK\r\n", b"\r\n\r\n",
    b"a=crypto:1 ", b"|2^31|1:4", b"RTP/SAVP", b"m=audio 9 RTP/AVP 0\r\n", b"\x80\xc9", b"\xff\xff",
]  # fmt: skip


def invites() -> list[bytes]:
    """The INVITEs of the corpus, those that are lawful and those that are not."""
    corpus = messages("rfc4475") | messages("rfc5118")
    return [data for data in corpus.values() if data.lstrip().startswith(b"INVITE")]


def mutated(seeds: list[bytes], count: int, *, first: int = 0) -> Iterator[bytes]:
    for number in range(first, first + count):
        chance = random.Random(number)
        data = chance.choice(seeds)
        for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
            data = _mutate(data, chance, seeds)
        yield data[:65_535]


def _mutate(data: bytes, chance: random.Random, seeds: list[bytes]) -> bytes:
    at = chance.randrange(len(data) + 1)
    end = min(len(data), at + chance.choice((0, 0, 1, 1, 2, 8, 60)))
    match chance.randrange(7):
        case 0:  # one octet
            return data[:at] + bytes((chance.randrange(256),)) + data[at + 1 :]
        case 1 | 2:  # a piece instead of what stood there
            return data[:at] + chance.choice(_PIECES) + data[end:]
        case 3:  # a piece twice
            return data[:end] + data[at:end] * chance.choice((1, 2, 20)) + data[end:]
        case 4:  # a line less, or twice, or at another place
            lines = data.split(b"\r\n")
            line = lines.pop(chance.randrange(len(lines)))
            for _ in range(chance.choice((0, 2, 1))):
                lines.insert(chance.randrange(len(lines) + 1), line)
            return b"\r\n".join(lines)
        case 5:  # the end of another message
            other = chance.choice(seeds)
            return data[:at] + other[chance.randrange(len(other)) :]
        case _:  # a field with the value of another
            lines = data.split(b"\r\n")
            one, two = chance.randrange(len(lines)), chance.randrange(len(lines))
            name, value = lines[one].partition(b":")[0], lines[two].partition(b":")[2]
            lines[one] = name + b":" + value
            return b"\r\n".join(lines)
