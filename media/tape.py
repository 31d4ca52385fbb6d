"""What one side says, laid out in time by its RTP timestamps: for recording, where delay is no
matter and a second must stay a second.

Packets wait for 200 ms, which puts them in order; what has not come by then is a gap. So there is
no guessing whether a packet is late, as the playout buffer must: recordings neither stretch nor
shrink. A source that starts anew, or whose clock has run away, is joined at the time of its
arrival.
"""

import heapq
from dataclasses import dataclass

from media.format import Format
from media.rtp import RtpPacket, timestamp_difference

DELAY = 0.2  # seconds
GAP = 0.020  # seconds: the pieces that a gap is made of
_CAPACITY = 256  # packets
_AWAY = 0.5  # seconds between arrival and timestamp, from where on the source is joined anew
_BYTES_PER_SECOND = 8000  # of G.711 and G.722
_FRAME_MS = (10, 20, 40, 60)  # of Opus by its configuration: SILK (RFC 6716 §3.1)
_CELT_FRAME_MS = (2.5, 5, 10, 20)


@dataclass(frozen=True, slots=True)
class Piece:
    """A packet's payload, or an empty one for 20 ms that never came."""

    payload: bytes
    form: Format
    seconds: float


class Tape:
    """See the module's head. `pull` gives everything exactly once, in order, without holes.

    Args:
        form: what the side is expected to send.
        now: where the tape begins.
    """

    def __init__(self, form: Format, now: float) -> None:
        self._form = form
        self._position = now  # the end of what was given
        self._given_at = now - GAP  # where the last packet began
        self._waiting: list[tuple[float, int, Piece]] = []
        self._count = 0  # of packets, so that two of one time are told apart
        self._ssrc: int | None = None
        self._newest_timestamp = 0
        self._newest_at = 0.0  # when that timestamp is, on our clock
        self._clock_rate = 0

    def push(self, packet: RtpPacket, form: Format, now: float) -> None:
        """Take a packet of sound."""
        seconds = duration(form, packet.payload)
        if seconds == 0.0 or len(self._waiting) >= _CAPACITY:
            return
        at = self._place(packet, form, now)
        self._count += 1
        heapq.heappush(self._waiting, (at, self._count, Piece(packet.payload, form, seconds)))

    def _place(self, packet: RtpPacket, form: Format, now: float) -> float:
        """When the packet's sound is, on our clock."""
        same = packet.ssrc == self._ssrc and form.clock_rate == self._clock_rate
        ahead = timestamp_difference(packet.timestamp, self._newest_timestamp) if same else 0
        at = self._newest_at + ahead / form.clock_rate
        if not same or abs(now - at) > _AWAY:
            self._ssrc, self._clock_rate, at = packet.ssrc, form.clock_rate, now
        elif ahead <= 0:
            return at
        self._newest_timestamp, self._newest_at = packet.timestamp, at
        return at

    def pull(self, now: float) -> list[Piece]:
        """What was said up to 200 ms ago."""
        due = now - DELAY
        pieces: list[Piece] = []
        waiting = self._waiting
        while self._position < due:
            if waiting and waiting[0][0] < self._position + GAP:
                at, _, piece = heapq.heappop(waiting)
                if at <= self._given_at or at + piece.seconds <= self._position:
                    continue  # its place was given, to itself or to a gap
                self._form, self._given_at = piece.form, at
            else:
                piece = Piece(b"", self._form, GAP)
            pieces.append(piece)
            self._position += piece.seconds
        return pieces


def duration(form: Format, payload: bytes) -> float:
    """Seconds of sound in a payload; 0 if it is none."""
    if form.codec != "opus":
        return len(payload) / _BYTES_PER_SECOND
    return opus_duration(payload)


def opus_duration(payload: bytes) -> float:
    """Seconds of sound in an Opus packet (RFC 6716 §3.1, §3.2); 0 if it is none."""
    if not payload:
        return 0.0
    config, code = payload[0] >> 3, payload[0] & 3
    if config < 12:
        frame_ms: float = _FRAME_MS[config % 4]
    elif config < 16:
        frame_ms = _FRAME_MS[config % 2]
    else:
        frame_ms = _CELT_FRAME_MS[config % 4]
    many = payload[1] & 0x3F if len(payload) > 1 else 0
    count = (1, 2, 2, many)[code]
    milliseconds = count * frame_ms
    return milliseconds / 1000 if milliseconds <= 120 else 0.0
