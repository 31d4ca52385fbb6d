"""The sound of a call, as far as signalling is judged by it: packets go out and authentic ones come
in (RFC 4568 keys, one line, AES_CM_128_HMAC_SHA1_80, PCMU).
"""

import asyncio
import base64
import re
import secrets
import struct

from media.srtp import Srtp
from sip.events import Body
from tests.lab.ports import HOST

SUITE = "AES_CM_128_HMAC_SHA1_80"
SAMPLES = 160  # of 8 kHz in 20 ms


class Rtp(asyncio.DatagramProtocol):
    """One end of one stream. Its key stays the same through every offer and answer."""

    def __init__(self) -> None:
        self.heard = 0  # authentic packets
        self._key = secrets.token_bytes(30)
        self._session = secrets.randbits(31)
        self._version = 0
        self._sequence = 0
        self._transport: asyncio.DatagramTransport | None = None
        self._srtp: Srtp | None = None
        self._to: tuple[str, int] | None = None

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self, local_addr=(HOST, 0))

    def stop(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: object) -> None:
        if self._srtp is not None and self._srtp.unprotect(data) is not None:
            self.heard += 1

    # --- descriptions

    def description(
        self, direction: str = "sendrecv", *, address: str = HOST, tag: int = 1
    ) -> Body:
        """Our offer or answer. `address` 0.0.0.0 is hold as RFC 2543 spelt it."""
        assert self._transport is not None, "not started"
        port = self._transport.get_extra_info("sockname")[1]
        self._version += 1
        lines = [
            "v=0",
            f"o=- {self._session} {self._version} IN IP4 {HOST}",
            "s=-",
            f"c=IN IP4 {address}",
            "t=0 0",
            f"m=audio {port} RTP/SAVP 0 101",
            f"a=crypto:{tag} {SUITE} inline:{base64.b64encode(self._key).decode()}",
            "a=rtpmap:0 PCMU/8000",
            "a=rtpmap:101 telephone-event/8000",
            "a=fmtp:101 0-15",
            "a=ptime:20",
            f"a={direction}",
        ]
        return Body("application/sdp", ("\r\n".join(lines) + "\r\n").encode())

    def answer(self, offer: Body | None, direction: str = "sendrecv") -> Body:
        """Our answer: the tag is the offer's (RFC 4568 §5.1.2)."""
        self.learn(offer)
        return self.description(direction, tag=crypto_line(offer)[0] if offer else 1)

    def learn(self, theirs: Body | None) -> None:
        """Take the peer's address and key."""
        assert theirs is not None, "the peer described nothing"
        text = theirs.data.decode()
        port = re.search(r"(?m)^m=audio (\d+) ", text)
        assert port is not None, text
        self._to = (HOST, int(port[1]))
        self._srtp = Srtp(SUITE, self._key, crypto_line(theirs)[1])

    # --- packets

    def say(self) -> None:
        """Send 20 ms of silence."""
        assert self._transport is not None, "not started"
        assert self._srtp is not None, "the peer is not known"
        self._sequence += 1
        head = struct.pack("!BBHII", 0x80, 0, self._sequence, self._sequence * SAMPLES, 1)
        packet = self._srtp.protect(head + b"\xff" * SAMPLES)
        assert packet is not None
        self._transport.sendto(packet, self._to)


def crypto_line(body: Body) -> tuple[int, bytes]:
    """Tag and key of the line with our suite."""
    text = body.data.decode()
    found = re.search(rf"(?m)^a=crypto:(\d+) {SUITE} inline:([A-Za-z0-9+/]+)", text)
    assert found is not None, text
    return int(found[1]), base64.b64decode(found[2] + "=" * (-len(found[2]) % 4))


def direction(body: Body | None) -> str:
    """sendrecv, sendonly, recvonly or inactive."""
    assert body is not None, "no description"
    found = re.search(r"(?m)^a=(sendrecv|sendonly|recvonly|inactive)\r?$", body.data.decode())
    return found[1] if found else "sendrecv"
