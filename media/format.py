"""One payload format of one side of a call, and when a packet of it can pass as it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Format:
    """One payload format of one side, as negotiated there.

    Attributes:
        codec: "opus", "g722", "pcma" or "pcmu".
        payload_type: the number by which the receiving end knows it (RFC 3264 §5.1).
        clock_rate: of RTP timestamps: 48000 for Opus, 8000 for the others (RFC 3551 §4.5.2).
        dtmf_payload_type: of the telephone-event that goes with it; None: the side takes none.
        dtmf_clock: clock of those events' durations.
        fmtp: parameters that the side gave for the codec (RFC 7587 §6.1).
        ptime_ms: how much sound we send in a packet, see `packet_time_ms`.
    """

    codec: str
    payload_type: int
    clock_rate: int
    dtmf_payload_type: int | None = None
    dtmf_clock: int = 8000
    fmtp: Mapping[str, str] = field(default_factory=dict)
    ptime_ms: int = 20

    def __str__(self) -> str:
        return f"{self.codec}/{self.clock_rate}"


_PACKET_TIMES_MS = (10, 20, 30, 40, 60)
_OPUS_HAS_NONE_OF_MS = 30  # (RFC 6716 §2.1.4)


def packet_time_ms(codec: str, wish: int | None) -> int:
    """The packet time that comes nearest to a far end's wish from below, in milliseconds.

    From 10 to 60: shorter packets are headers for the most part, longer ones are heard as delay.
    """
    if wish is None:
        return 20
    times = [t for t in _PACKET_TIMES_MS if codec != "opus" or t != _OPUS_HAS_NONE_OF_MS]
    return max((t for t in times if t <= wish), default=times[0])


def pass_through(source: Format, sink: Format) -> bool:
    """Whether packets of `source` can go to `sink` without decoding."""
    return source.codec == sink.codec and source.clock_rate == sink.clock_rate
