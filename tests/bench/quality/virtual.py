"""A call through the audio path in virtual time: every run is the same, and takes no time.

What sockets, SRTP and the worker's loop do is not in it; the runs beside other engines have that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from media.codec import RATES, Encoder, common_rate, encoder
from media.codec.opus import OpusEncoder
from media.direction import Direction
from media.format import Format
from media.rtp import RtpPacket
from media.transcode import Transcoder
from tests.bench.quality.network import FRAME, Network
from tests.bench.quality.speech import Talker, say

LEAD = 1.0  # seconds of silence before the speech, in which a call finds its feet
TAIL = 0.6
BROWSER_FMTP = {"useinbandfec": "1"}
BROWSER_BITRATE = "32000"  # bit/s, where the far end asks for nothing else
NARROW_FMTP = {**BROWSER_FMTP, "maxplaybackrate": "8000", "maxaveragebitrate": "40000"}
FORMATS: Mapping[str, Format] = {
    "opus": Format("opus", 111, 48000, 110, 48000, BROWSER_FMTP),
    "g722": Format("g722", 9, 8000, 101),
    "pcmu": Format("pcmu", 0, 8000, 101),
}


@dataclass(frozen=True, slots=True)
class Arrival:
    """A packet and when it came."""

    at: float
    packet: RtpPacket


def spoken(
    talker: Talker, codec: str, expected_loss: float, fmtp: Mapping[str, str] = BROWSER_FMTP
) -> list[bytes]:
    """The payloads that a far end sends.

    Args:
        expected_loss: that a browser knows of from the engine's reports (RTCP).
        fmtp: what the engine says of its Opus; browsers heed `maxplaybackrate` and
            `maxaveragebitrate`, as libwebrtc does.
    """
    return _spoken(talker, codec, expected_loss, tuple(sorted(fmtp.items())))


@cache
def _spoken(
    talker: Talker, codec: str, expected_loss: float, fmtp: tuple[tuple[str, str], ...]
) -> list[bytes]:
    rate = RATES[codec][0]
    pcm = bytes(2 * int(LEAD * rate)) + say(talker, rate) + bytes(2 * int(TAIL * rate))
    coder: Encoder
    if codec == "opus":
        # As browsers set it, who find the bits for copies in what they have.
        said = {"maxaveragebitrate": BROWSER_BITRATE, **dict(fmtp)}
        coder = OpusEncoder(rate, said, bitrate=int(said["maxaveragebitrate"]), complexity=9)
    else:
        coder = encoder(codec, rate, {})
    coder.expect_loss(expected_loss)
    size = 2 * int(FRAME * rate)
    return [coder.encode(pcm[i : i + size]) for i in range(0, len(pcm), size)]


def sent(payloads: Sequence[bytes], form: Format) -> list[RtpPacket]:
    step = int(FRAME * form.clock_rate)
    return [
        RtpPacket(form.payload_type, 100 + i, 5000 + i * step, 77, payload, i == 0)
        for i, payload in enumerate(payloads)
    ]


def impair(packets: Sequence[RtpPacket], network: Network, seed: int) -> list[Arrival]:
    fates = network.fates(len(packets), seed)
    arrivals = [
        Arrival(i * FRAME + delay, packet)
        for i, (packet, delay) in enumerate(zip(packets, fates, strict=True))
        if delay is not None
    ]
    return sorted(arrivals, key=lambda arrival: arrival.at)


def bridge(
    arrivals: Sequence[Arrival], source: Format, sink: Format, expected_loss: float = 0.0
) -> list[Arrival]:
    """Through one direction of a call."""
    direction = Direction(
        sources={source.payload_type: source}, sink=sink, ssrc=1, sequence=1, timestamp=0
    )
    direction.set_sending(True)
    direction.expect_loss(expected_loss)
    left: list[Arrival] = []
    waiting = list(reversed(arrivals))
    end = arrivals[-1].at + 0.5
    tick = 0.013  # the far end's clock and ours do not strike together
    while tick < end:
        while waiting and waiting[-1].at <= tick:
            arrival = waiting.pop()
            for data in direction.push(arrival.packet, arrival.at):
                left.append(Arrival(arrival.at, RtpPacket.parse(data)))
        for data in direction.tick(tick):
            left.append(Arrival(tick, RtpPacket.parse(data)))
        tick += FRAME
    return left


def heard(arrivals: Sequence[Arrival], form: Format, other: str) -> bytes:
    """What a listener with a playout buffer, concealment and FEC makes of a stream, as PCM.

    Args:
        other: the codec that the sound had on its way, which decides the rate.
    """
    rate = common_rate(form.codec, other)
    listener = Transcoder(form, FORMATS[other])
    waiting = list(reversed(arrivals))
    pcm = b""
    tick = arrivals[0].at + 0.007
    while tick < arrivals[-1].at + 0.4:
        while waiting and waiting[-1].at <= tick:
            arrival = waiting.pop()
            listener.push(arrival.packet, arrival.at)
        pcm += listener.pull(tick)[0]
        tick += FRAME
    assert listener.rate == rate, "the listener runs at the rate that both codecs have"
    return pcm
