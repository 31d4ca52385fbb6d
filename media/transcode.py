"""One direction of one call: packets of one side in, packets for the other side out.

(The stages follow; these are the signatures that a session composes.)
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from media.rtp import RtpPacket


@dataclass(frozen=True, slots=True)
class Format:
    """One payload format of one side, as negotiated there.

    Attributes:
        codec: "opus", "g722", "pcma" or "pcmu".
        payload_type: the number by which the receiving end knows it (RFC 3264 §5.1).
        clock_rate: of RTP timestamps: 48000 for Opus, 8000 for the others (G.722 too, RFC 3551 §4.5.2).
        dtmf_payload_type: of the telephone-event that goes with it; None: the side takes no events.
        dtmf_clock: clock of those events' durations.
        fmtp: parameters that the side gave for the codec (RFC 7587 §6.1).
        ptime_ms: packet time that we send with.
    """

    codec: str
    payload_type: int
    clock_rate: int
    dtmf_payload_type: int | None = None
    dtmf_clock: int = 8000
    fmtp: Mapping[str, str] = field(default_factory=dict)
    ptime_ms: int = 20


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a direction has done since it was made."""

    packets_received: int = 0
    packets_sent: int = 0
    octets_sent: int = 0  # payload only, as in a sender report
    frames_lost: int = 0  # never came, concealed
    frames_late: int = 0  # had not come in time; the sound was stretched
    packets_discarded: int = 0  # unknown payload type, too late, undecodable
    delay_ms: float = 0.0  # of the playout buffer, now
    level_dbov: float | None = None  # mean level of what was decoded; None when passed through


def pass_through(source: Format, sink: Format) -> bool:
    """Whether packets of `source` can go to `sink` without decoding."""
    return source.codec == sink.codec and source.clock_rate == sink.clock_rate


class Direction:
    """Packets of one side in, packets for the other side out.

    Args:
        sources: what the sending side may send, by payload type (telephone-event is inside each `Format`).
        sink: the one format that goes out.
        ssrc, sequence, timestamp: where our outgoing stream starts; random, chosen by the caller (RFC 3550 §5.1).
    """

    def __init__(
        self,
        *,
        sources: Mapping[int, Format],
        sink: Format,
        ssrc: int,
        sequence: int,
        timestamp: int,
    ) -> None:
        raise NotImplementedError

    def push(self, packet: RtpPacket, now: float) -> list[bytes]:
        """Take one authentic packet; returns RTP packets that are to be sent at once (pass-through)."""
        raise NotImplementedError

    def tick(self, now: float) -> list[bytes]:
        """To be called every 20 ms; returns RTP packets to send (transcoded audio, digits)."""
        raise NotImplementedError

    def digits(self) -> list[tuple[str, int]]:
        """Digits that ended since the last call of this, with their duration in milliseconds."""
        raise NotImplementedError

    def press(self, digit: str, duration_ms: int = 100) -> None:
        """Send a digit of our own to the sink."""
        raise NotImplementedError

    def set_sending(self, sending: bool) -> None:
        """Hold (False) or go on: while held, nothing comes out and what comes in is thrown away."""
        raise NotImplementedError

    def change(self, sources: Mapping[int, Format], sink: Format) -> None:
        """Go on with other formats on the same outgoing stream (a re-offer)."""
        raise NotImplementedError

    def expect_loss(self, fraction: float) -> None:
        """Tell the encoder what share of our packets the far end reports as lost (RTCP)."""
        raise NotImplementedError

    def rtp_timestamp(self, now: float) -> int:
        """The outgoing stream's timestamp at `now`, for a sender report (RFC 3550 §6.4.1)."""
        raise NotImplementedError

    @property
    def statistics(self) -> Statistics:
        raise NotImplementedError
