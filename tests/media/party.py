"""The two parties of a call, made of parts: a browser and a PBX that speak SDP and RTP.

Sans-IO like what they test, so that the same ones serve in virtual time and over real sockets.
"""

import os
from dataclasses import dataclass, field

from media import codec, crypto
from media.dtls import Certificate
from media.ice.events import Transmit
from media.negotiate import read_sdes, read_webrtc
from media.rtcp import ReceiverReport, ReportBlock, RtcpPacket
from media.rtcp import parse as parse_rtcp
from media.rtp import RtpPacket, build, is_rtcp
from media.sdp import Crypto, Format
from media.srtp import Srtp
from media.webrtc import LocalSocket, WebrtcEnd
from tests.media import sound

FRAME = 0.020
CLOCKS = {"opus": 48000, "g722": 8000, "pcma": 8000, "pcmu": 8000}
RATES = {"opus": 48000, "g722": 16000, "pcma": 8000, "pcmu": 8000}


@dataclass
class Voice:
    """An endless tone as RTP packets."""

    name: str
    payload_type: int
    frequency: float
    sequence: int = 100
    timestamp: int = 5000
    _count: int = 0

    def __post_init__(self) -> None:
        rate = RATES[self.name]
        self._frames = sound.frames(sound.tone(self.frequency, rate, 1.0), rate)
        self._encoder = codec.encoder(self.name, rate, {})

    def next(self) -> bytes:
        payload = self._encoder.encode(self._frames[self._count % len(self._frames)])
        packet = build(self.payload_type, self.sequence, self.timestamp, 77, payload, False)
        self._count += 1
        self.skip()
        return packet

    def skip(self) -> None:
        """Lose one packet."""
        self.sequence = (self.sequence + 1) & 0xFFFF
        self.timestamp += int(CLOCKS[self.name] * FRAME)

    def digit(self, payload_type: int, event: int, duration: int) -> list[bytes]:
        """A whole digit: three packets of its end, as a hurried browser sends them."""
        body = bytes([event, 0x8A]) + duration.to_bytes(2)
        packets = []
        for _ in range(3):
            packets.append(build(payload_type, self.sequence, self.timestamp, 77, body, True))
            self.sequence = (self.sequence + 1) & 0xFFFF
        return packets


@dataclass
class Ear:
    """What arrived, in order, and how it sounds."""

    packets: list[RtpPacket] = field(default_factory=list)
    control: list[RtcpPacket] = field(default_factory=list)
    _reported: int = 0

    def take(self, plain: bytes) -> None:
        if is_rtcp(plain):
            self.control += parse_rtcp(plain)
        else:
            self.packets.append(RtpPacket.parse(plain))

    def report(self) -> bytes:
        """A receiver report on what came since the last one (RFC 3550 §6.4.2)."""
        fresh, self._reported = self.packets[self._reported :], len(self.packets)
        blocks = [ReportBlock(p.ssrc, 0, 0, p.sequence, 0, 0, 0) for p in fresh[-1:]]
        return bytes(ReceiverReport(77, tuple(blocks)))

    def of(self, payload_type: int) -> list[RtpPacket]:
        return [p for p in self.packets if p.payload_type == payload_type]

    def pcm(self, name: str, payload_type: int) -> tuple[bytes, int]:
        rate = RATES[name]
        decoder = codec.decoder(name, rate)
        return b"".join(decoder.decode(p.payload) for p in self.of(payload_type)), rate

    def frequency(self, name: str, payload_type: int) -> float:
        """Of the last half second."""
        pcm, rate = self.pcm(name, payload_type)
        return sound.frequency(pcm[-rate:], rate)

    def level_db(self, name: str, payload_type: int) -> float:
        """Of the last half second, against what a `Voice` says."""
        pcm, rate = self.pcm(name, payload_type)
        return sound.level_db(pcm[-rate:], sound.tone(1000.0, rate, 0.5))


class Browser:
    """The Matrix client's end."""

    formats: tuple[str, ...] = (
        "111 opus/48000/2",
        "0 PCMU/8000",
        "8 PCMA/8000",
        "110 telephone-event/48000",
        "126 telephone-event/8000",
    )
    parameters: tuple[str, ...] = ()  # of formats, as in a=fmtp

    def __init__(self, *, offers: bool, address: tuple[str, int], now: float) -> None:
        self.ear = Ear()
        self.direction = "sendrecv"
        self.remote_sdp = ""
        self._offers = offers
        self._version = 1
        self._certificate = Certificate.generate()
        self.end = WebrtcEnd(
            certificate=self._certificate,
            controlling=offers,
            sockets=(LocalSocket(0, *address),),
            advertise=None,
            limit=20.0,
            random=os.urandom,
            now=now,
        )

    def sdp(self, setup: str, *, candidates: bool = True, mid: str = "0") -> str:
        local = self.end.credentials
        lines = [
            "v=0",
            f"o=- 1 {self._version} IN IP4 127.0.0.1",
            "s=-",
            "t=0 0",
            f"a=group:BUNDLE {mid}",
            "m=audio 9 UDP/TLS/RTP/SAVPF " + " ".join(f.split()[0] for f in self.formats),
            "c=IN IP4 0.0.0.0",
            f"a=mid:{mid}",
            f"a=ice-ufrag:{local.ufrag}",
            f"a=ice-pwd:{local.pwd}",
            "a=ice-options:trickle",
            f"a=fingerprint:{self.end.fingerprint}",
            f"a=setup:{setup}",
            f"a={self.direction}",
            "a=rtcp-mux",
            *(f"a=rtpmap:{f}" for f in self.formats),
            *(f"a=fmtp:{p}" for p in self.parameters),
        ]
        if candidates:
            lines += [f"a={c}" for c in self.end.candidates()]
        self._version += 1
        return "".join(f"{line}\r\n" for line in lines)

    def offer(self, *, candidates: bool = True) -> str:
        return self.sdp("actpass", candidates=candidates)

    def accept(self, sdp: str, now: float) -> None:
        """The bridge's answer."""
        self.remote_sdp = sdp
        remote = read_webrtc(sdp)
        self.end.set_remote(remote.ufrag, remote.pwd, remote.candidates, now)
        self.end.begin(client=remote.setup == "passive", fingerprints=remote.fingerprints, now=now)

    def answer(self, sdp: str, now: float) -> str:
        """Take the bridge's offer, and answer as the active end."""
        self.remote_sdp = sdp
        remote = read_webrtc(sdp)
        offered = {f.payload_type for f in remote.formats}
        self.formats = tuple(f for f in self.formats if int(f.split()[0]) in offered)
        self.end.set_remote(remote.ufrag, remote.pwd, remote.candidates, now)
        text = self.sdp("active")
        self.end.begin(client=True, fingerprints=remote.fingerprints, now=now)
        return text

    def receive(self, data: bytes, source: tuple[str, int], now: float, *, socket: int = 0) -> None:
        plain = self.end.receive(data, source, socket, now)
        if plain is not None:
            self.ear.take(plain)

    def poll(self) -> list[Transmit]:
        return [o for o in self.end.poll() if isinstance(o, Transmit)]

    def say(self, packet: bytes, now: float) -> list[Transmit]:
        transmit = self.end.send(packet, now)
        return [transmit] if transmit is not None else []

    def say_rtcp(self, packet: bytes, now: float) -> list[Transmit]:
        transmit = self.end.send_rtcp(packet, now)
        return [transmit] if transmit is not None else []


class Pbx:
    """The trunk's end; its RTP port is even and RTCP one above."""

    def __init__(self, *, address: tuple[str, int], suite: str = "AES_CM_128_HMAC_SHA1_80") -> None:
        self.ear = Ear()
        self.formats: tuple[str, ...] = (
            "0 PCMU/8000",
            "8 PCMA/8000",
            "101 telephone-event/8000",
        )
        self.direction = "sendrecv"
        self.packet_ms = 20
        self.address = address
        self.suite = suite
        self.far: tuple[str, int] = ("", 0)
        self.srtp: Srtp | None = None
        self.key = crypto.make(1, suite, os.urandom)
        self._version = 0

    def sdp(self, crypto_line: Crypto) -> str:
        self._version += 1
        host, port = self.address
        version = "IP6" if ":" in host else "IP4"
        lines = [
            "v=0",
            f"o=- 9 {self._version} IN {version} {host}",
            "s=pbx",
            f"c=IN {version} {host}",
            "t=0 0",
            f"m=audio {port} RTP/SAVP " + " ".join(f.split()[0] for f in self.formats),
            f"a=crypto:{crypto_line}",
            *(f"a=rtpmap:{f}" for f in self.formats),
            f"a=ptime:{self.packet_ms}",
            f"a={self.direction}",
        ]
        return "".join(f"{line}\r\n" for line in lines)

    def offer(self) -> str:
        return self.sdp(self.key)

    def accept(self, sdp: str) -> None:
        """The bridge's answer."""
        remote = read_sdes(sdp)
        (line,) = remote.cryptos
        self._key(Crypto.parse(line))
        self.far = (remote.address, remote.port)

    def answer(self, sdp: str) -> str:
        remote = read_sdes(sdp)
        theirs = next(c for line in remote.cryptos if (c := Crypto.parse(line)).suite == self.suite)
        self.key = Crypto(theirs.tag, theirs.suite, self.key.key)
        numbers = {(f.key, f.clock_rate): f.payload_type for f in remote.formats}
        self.formats = tuple(_renumber(f, numbers) for f in self.formats)
        self._key(theirs)
        self.far = (remote.address, remote.port)
        return self.sdp(self.key)

    def _key(self, theirs: Crypto) -> None:
        self.srtp = Srtp(self.suite, self.key.key, theirs.key)

    def receive(self, data: bytes) -> None:
        assert self.srtp is not None
        plain = self.srtp.unprotect_rtcp(data) if is_rtcp(data) else self.srtp.unprotect(data)
        assert plain is not None, "the bridge sent what its keys do not open"
        self.ear.take(plain)

    def say(self, packet: bytes) -> list[Transmit]:
        assert self.srtp is not None
        protected = self.srtp.protect(packet)
        assert protected is not None
        return [Transmit(0, self.far, protected)]

    def say_rtcp(self, packet: bytes) -> list[Transmit]:
        assert self.srtp is not None
        protected = self.srtp.protect_rtcp(packet)
        assert protected is not None
        return [Transmit(0, (self.far[0], self.far[1] + 1), protected)]


def _renumber(text: str, numbers: dict[tuple[str, int], int]) -> str:
    number, _, rest = text.partition(" ")
    name, clock = rest.split("/")[:2]
    return f"{numbers.get((name.lower(), int(clock)), int(number))} {rest}"


def audio_formats(sdp: str) -> list[Format]:
    return list(read_webrtc(sdp).formats if "TLS" in sdp else read_sdes(sdp).formats)
