"""What strangers and far ends can send to `media`, as targets: functions of bytes that raise only
when we are at fault.

A parser may raise its own error for a peer's bytes; it is swallowed here, and nothing else is. The
last ones are played: `call` is a whole session that is shot at from everywhere, and that hears
nonsense from those who have its keys; `audio` is what one of them says, packet by packet.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress

from media import crypto, negotiate
from media.codec import RATES, CodecError, decoder
from media.direction import Direction
from media.format import Format
from media.ice import stun
from media.ice.candidate import Candidate
from media.ice.events import Transmit
from media.ice.stun import StunError
from media.ice.turn import StreamFramer
from media.negotiate import NegotiationError
from media.plane import (
    Closed,
    IceCandidate,
    Side,
)
from media.rtcp import parse as parse_rtcp
from media.rtp import RtpError, RtpPacket, build, is_rtcp
from media.sdp import Crypto, Sdp, SdpError
from media.srtp import SUITES
from tests.fuzz import handshake, terms
from tests.media.ice.test_stun import LONG_TERM, REQUEST, RESPONSE_IPV4, RESPONSE_IPV6
from tests.media.party import Pbx
from tests.media.session_lab import BRIDGE, BROWSER, PBX, Lab
from tests.media.test_negotiate import ASTERISK, CHROMIUM, NHEKO

_SUITES = tuple(SUITES)


def rtp(data: bytes) -> None:
    """One packet of RTP or RTCP in clear, as an authentic one may be."""
    with suppress(RtpError):
        packet = RtpPacket.parse(data)
        assert RtpPacket.parse(bytes(packet)) == packet
    with suppress(RtpError):
        for control in parse_rtcp(data):
            parse_rtcp(bytes(control))
    if data:
        is_rtcp(data)


def description(data: bytes) -> None:
    """A session description, with all that is read from it for either side."""
    text = data.decode(errors="replace")
    with suppress(SdpError):
        sdp = Sdp.parse(text)
        assert str(Sdp.parse(str(sdp))) == str(sdp)
        for media in sdp.media:
            for line in media.values("crypto"):
                _crypto(line)
            for candidate in media.candidates():
                with suppress(ValueError):
                    Candidate.parse(candidate)
    with suppress(NegotiationError):
        remote = negotiate.read_sdes(text, negotiate.is_keyed, negotiate.is_clear)
        crypto.choose(remote.cryptos, _SUITES)
        negotiate.choose_sdes(remote, tuple(negotiate.CODECS))
    with suppress(NegotiationError):
        negotiate.choose_webrtc(negotiate.read_webrtc(text), "pcmu")
    _crypto(text)


def _crypto(line: str) -> None:
    with suppress(SdpError):
        read = Crypto.parse(line)
        assert Crypto.parse(str(read)) == read
        crypto.read(line, _SUITES)


def stun_message(data: bytes) -> None:
    with suppress(StunError):
        message = stun.Message.parse(data)
        message.verify(b"key")
        for attribute, value in message.attributes:
            assert message.has(attribute), value
    with suppress(StunError):
        framer = StreamFramer()
        for start in range(0, len(data), 1000):
            framer.feed(data[start : start + 1000])


def _records(data: bytes) -> Iterator[tuple[int, bytes]]:
    """A number and some bytes, again and again: `number, length / 2, bytes`."""
    at = 0
    while at + 2 <= len(data):
        size = data[at + 1] * 2
        yield data[at], data[at + 2 : at + 2 + size]
        at += 2 + size


class _Play:
    """A call that is up, and what can be done to it."""

    def __init__(self) -> None:
        self.lab = Lab()
        self.lab.pbx = Pbx(address=PBX)
        self.lab.call_out()
        self.lab.run(0.2)
        self.verbs: tuple[Callable[[bytes], None], ...] = (
            lambda data: self._shoot(data, ("203.0.113.9", 4711), 40002),
            lambda data: self._shoot(data, BROWSER, 40002),
            lambda data: self._shoot(data, (BROWSER[0], 9), 40002),
            lambda data: self._shoot(data, PBX, 40000),
            lambda data: self._shoot(data, (PBX[0], PBX[1] + 1), 40001),
            lambda data: self._shoot(data, ("203.0.113.9", 4711), 40000),
            self._browser_says,
            self._pbx_says,
            self._checks,
            lambda data: self.lab.run(min(30.0, len(data) / 10)),
            self._trickles,
            self._re_offers,
        )

    def _shoot(self, data: bytes, source: tuple[str, int], port: int) -> None:
        self.lab.put([Transmit(0, (BRIDGE, port), data)], source)
        self.lab.run(0.01)

    def _browser_says(self, data: bytes) -> None:
        """Authentic, so that it gets past the first door."""
        if not data or self.lab.browser.end.srtp is None:
            return
        packet = data if is_rtcp(data) else build(data[0] & 127, len(data), 960, 5, data[1:])
        send = self.lab.browser.end.send_rtcp if is_rtcp(data) else self.lab.browser.end.send
        transmit = send(packet, self.lab.now)
        if transmit is not None:
            self.lab.put([transmit], BROWSER)
        self.lab.run(0.02)

    def _pbx_says(self, data: bytes) -> None:
        srtp = self.lab.pbx.srtp
        assert srtp is not None
        secret = srtp.protect_rtcp(data) if data and is_rtcp(data) else srtp.protect(data)
        if secret is not None:
            self._shoot(secret, PBX, 40000)

    def _checks(self, data: bytes) -> None:
        """A check with the right password and odd attributes."""
        ours = negotiate.read_webrtc(self.lab.answers(Side.WEBRTC)[0].sdp)
        theirs = self.lab.browser.end.credentials
        name = (stun.USERNAME, f"{ours.ufrag}:{theirs.ufrag}")
        request = stun.Message(stun.Method.BINDING, stun.Kind.REQUEST, data[:12].ljust(12), (name,))
        head = bytearray(request.encode(None, fingerprint=False) + data[12:])
        head += bytes(-len(head) % 4)
        head[2:4] = (len(head) - stun.HEADER_SIZE).to_bytes(2, "big")
        self._shoot(bytes(head), BROWSER, 40002)

    def _trickles(self, data: bytes) -> None:
        text = data.decode(errors="replace")
        self.lab.session.add_candidates(Side.WEBRTC, [IceCandidate(text)], self.lab.now)
        self.lab.run(0.05)

    def _re_offers(self, data: bytes) -> None:
        side = Side.WEBRTC if len(data) % 2 else Side.SDES
        good = self.lab.browser.offer() if side is Side.WEBRTC else self.lab.pbx.offer()
        cut = data[0] * 4 if data else 0
        text = good[:cut] + data[1:].decode(errors="replace") + good[cut:]
        self.lab.session.offer(side, text, self.lab.now)
        self.lab.run(0.05)


def call(data: bytes) -> None:
    play = _Play()
    for number, argument in list(_records(data))[:40]:
        play.verbs[number % len(play.verbs)](argument)
    play.lab.session.close(play.lab.now)
    assert len(play.lab.of(Closed)) == 1


_FORMATS = {
    111: Format("opus", 111, 48000, 110, 48000, {"useinbandfec": "1"}),
    9: Format("g722", 9, 8000, 101),
    8: Format("pcma", 8, 8000, 101),
    0: Format("pcmu", 0, 8000, 101),
}
_TYPES = (111, 111, 0, 8, 9, 110, 101, 13)
_SINKS = (0, 111, 9, 8)


def audio(data: bytes) -> None:
    """Packets with numbers, times and sizes of every kind, and a tick between them."""
    if len(data) < 4:
        return
    sink = _FORMATS[_SINKS[data[0] % len(_SINKS)]]
    direction = Direction(sources=_FORMATS, sink=sink, ssrc=1, sequence=7, timestamp=9)
    now, sequence, timestamp = 100.0, int.from_bytes(data[1:3]), data[3] << 24
    for number, payload in list(_records(data[4:]))[:200]:
        sequence += (1, 1, 1, 2, -1, 100, 0, 3000)[number & 7]
        timestamp += (960, 160, 960, 0, -960, 1 << 31, 48000, 2880)[number >> 3 & 7]
        kind = _TYPES[(number >> 4 ^ len(payload)) % len(_TYPES)]
        packet = RtpPacket(kind, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, number >> 7, payload)
        sent = direction.push(packet, now)
        now += (0.02, 0.0, 0.005, 0.3)[number >> 6]
        sent += direction.tick(now)
        assert len(sent) < 50
        for each in sent:
            assert RtpPacket.parse(each).ssrc == 1
        direction.digits()


def codec(data: bytes) -> None:
    """A payload for each decoder."""
    for name, rates in RATES.items():
        for rate in rates:
            one = decoder(name, rate)
            with suppress(CodecError):
                one.decode(data)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "rtp": rtp,
    "description": description,
    "terms": terms.terms,
    "handshake": handshake.handshake,
    "stun": stun_message,
    "codec": codec,
    "call": call,
    "audio": audio,
}

_CRYPTO = b"1 AES_CM_128_HMAC_SHA1_80 inline:" + b"QJ0VB7BeOjnqIvd5gf2p5NbPj6xF5pOM4zBnoOJY"


def _record(number: int, data: bytes) -> bytes:
    padded = data[:510] + bytes(len(data[:510]) % 2)
    return bytes((number, len(padded) // 2)) + padded


SEEDS: dict[str, list[bytes]] = {
    "rtp": [
        bytes.fromhex("80 6f 00 01 00 00 03 c0 00 00 00 07") + b"x" * 60,
        bytes.fromhex(
            "b1 00 00 01 00 00 03 c0 00 00 00 07 00 00 00 08 be de 00 01 10 ff 00 00 aa 01"
        ),
        bytes.fromhex("80 c8 00 06 4d617273 4e545031 4e545032 52545020 0000042a 0000e930"),
        bytes.fromhex("81 c9 00 07 00000001 00000002 40000003 00000064 00000005 00000000 00000000")
        + bytes.fromhex("81 ca 00 04 00000001 01 05 61 62 63 64 65 00 00 00")
        + bytes.fromhex("81 cb 00 02 00000001 03 62 79 65"),
    ],
    "description": [
        ASTERISK.encode(),
        CHROMIUM.encode() + b"a=candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host\r\n",
        NHEKO.encode(),
        _CRYPTO,
        _CRYPTO + b"|2^31|1:4 WSH=64",
        *(
            line.encode()
            for line in (
                "1 AES_CM_128_HMAC_SHA1_80 inline:",
                "0 AES_CM_128_HMAC_SHA1_80 inline:AAAA",
                "01 AES_CM_128_HMAC_SHA1_32 inline:AAAA|2^48|1:128",
                "99999999999 AEAD_AES_256_GCM inline:AAAA",
                "1 AES_256_CM_HMAC_SHA1_80 inline:AAAA|1:4;inline:BBBB|2:4 KDR=1",
            )
        ),
    ],
    "terms": terms.SEEDS,
    "handshake": handshake.SEEDS,
    "stun": [REQUEST, RESPONSE_IPV4, RESPONSE_IPV6, LONG_TERM],
    "codec": [bytes.fromhex("f8fffe"), bytes.fromhex("080be4b99c353686"), b"\xff" * 160, b"\0"],
    "call": [
        b"".join(_record(number, data) for number in range(12))
        for data in (
            REQUEST,
            b"\x80\xc8\x00\x06" + bytes(24),
            b"\x16\xfe\xfd" + bytes(30),
            b"a=x\r\n",
        )
    ],
    "audio": [
        bytes((first, 255, 250, 255))
        + b"".join(_record(number % 64, payload) for number in range(0, 250, step))
        for first in range(4)
        for step, payload in (
            (5, bytes.fromhex("f8fffe00")),
            (7, b"\xff" * 160),
            (3, b"\x05\x8a\x03\x20"),
        )
    ],
}
"""What a run of each begins with."""
