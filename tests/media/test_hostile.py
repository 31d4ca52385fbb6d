"""Input of an enemy: nothing breaks, nothing takes long, nothing stays.

Short, seeded runs of the targets in tests/fuzz, which `make fuzz` runs for as long as one likes.
"""

import pytest

from tests.fuzz.target import MEDIA, PLAYED, SLOW, inputs, time_of

SIZE = 65_000

# What 64 KiB of one thing is put behind, and the things: whatever makes many of something.
BEFORE = [
    b"", b"\x80\xc9", b"\x81\xca\x3f\xff", b"v=0\r\no=- 1 1 IN IP4 a\r\ns=-\r\n",
    b"v=0\r\no=- 1 1 IN IP4 a\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nm=audio 9 RTP/SAVP 0\r\n",
    b"v=0\r\no=- 1 1 IN IP4 a\r\nm=audio 9 RTP/SAVP 0 ", b"1 AES_CM_128_HMAC_SHA1_80 inline:",
    bytes.fromhex("0001fdd4 2112a442") + bytes(12), bytes.fromhex("0101fdd4 2112a442") + bytes(12),
]  # fmt: skip
THINGS = [
    b"\0", b"9", b"9 ", b"A", b"|", b":", b";", b" ", b"=", b"\xff", b"\r\n", b"a=x\r\n",
    b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAAA\r\n", b"a=rtpmap:0 PCMU/8000\r\n",
    b"a=fmtp:0 a=b;\r\n", b"a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n", b"m=a 1 RTP/AVP 0\r\n",
    b"a=fingerprint:sha-256 AA:BB\r\n", b"\x80\xcb\0\0", b"\x81\xc9\0\1\0\0\0\1", b"\1\1a",
    b"\0\6\0\0", b"\0\x20\0\x08\0\1\0\1\1\2\3\4", b"\0\x09\0\x04\0\0\4\0", b"\x80\x22\0\0",
]  # fmt: skip


@pytest.mark.parametrize("name", [name for name in MEDIA if name not in PLAYED])
def test_no_input_takes_long(name: str) -> None:
    target = MEDIA[name]
    for before in BEFORE[:1] if name == "codec" else BEFORE:
        for thing in THINGS:
            data = before + thing * ((SIZE - len(before)) // len(thing))
            took = time_of(target, data)
            if took > SLOW:
                took = min(took, time_of(target, data))  # the machine may have been elsewhere
            assert took <= SLOW, (before, thing)


@pytest.mark.parametrize("name", MEDIA)
def test_no_mutation_breaks_anything(name: str) -> None:
    for data in inputs(name, 20 if name in PLAYED else 300):
        MEDIA[name](data)
