"""The playout buffer: packets in as the network brings them, one frame out whenever one is wanted.

Three things that sound alike are kept apart, since each needs another answer:

- LOST: the frame is missing and later ones are here. It will not come; conceal it, perhaps from
  the copy that the next packet carries.
- LATE: nothing is here, though sound was going on. Stretch what was heard; the frame may still
  come, and is then played, not thrown away: that is how the delay grows.
- SILENCE: the sender has nothing to say (its timestamps jump and its sequence numbers do not), or
  has stopped, or has not begun.

One lost packet never holds up the next. How much delay is aimed at follows the lateness of the
packets, relative to the fastest packet of the last seconds, which also keeps up with a clock that
drifts. It is a slow estimate of the 97th percentile, or what was the worst of late, whichever is
more: the worst is believed at once and forgotten over half a minute, for stalls come in company.
Where packets get lost, the aim is a frame at least, so that the next packet is here with its copy
of the lost one. Delay goes up by LATE frames, and at the start of each spell of sound; `surplus`
and `deficit` tell how much there is too much or too little, and whoever plays the sound shortens or
stretches it where that is not heard. What a stall has held up is played, not thrown away, unless it
is older than `MAX_DELAY`.

Sequence numbers that carried no sound (telephone-events) are declared with `skip`, so that they
are not taken for loss. Everything is bounded, and `now` comes from outside.
"""

from dataclasses import dataclass
from enum import Enum

from media.rtp import RtpPacket, sequence_difference, timestamp_difference

MIN_TARGET = 0.020
MAX_TARGET = 0.200
MAX_DELAY = 0.300  # what is older, when a jam dissolves, is thrown away
CAPACITY = 64  # packets

_QUANTILE = 0.97
_QUANTILE_STEP = 0.010  # seconds: how fast the estimate moves
_MARGIN = 0.005
_PEAK_FALL = 0.001  # of the worst lateness, forgotten with each packet: half in 14 s
_COPY_TIME = 1500  # packets after a loss, in which the next packet is waited for
_WINDOW = 100  # packets in each half of the window for the fastest
_WAIT_WINDOW = 25  # frames in each half of the window for the shortest wait
_LATE_LIMIT = 0.100  # seconds of LATE, after which it is SILENCE
_LOST_LIMIT = 0.200  # a longer gap is not concealed: it is SILENCE up to where sound goes on
_EARLY = 0.0025  # seconds: a frame is wanted so much before its time, when a packet brings the tick
_REBASE = 1.0  # seconds: packets that are off by more have another clock, and not another delay
_MAX_AHEAD = 500  # sequence numbers; beyond, the sender has started anew
_MAX_BEHIND = 100
_MAX_STALE = 5  # packets in a row that are too late: the sender has gone back


class Outcome(Enum):
    """Why there is no packet to play."""

    LOST = "lost"
    LATE = "late"
    SILENCE = "silence"


@dataclass(slots=True)
class _Entry:
    packet: RtpPacket | None  # None: a sequence number without sound
    rests: bool  # behind it, the sender is silent
    arrival: float
    media: float  # its timestamp in seconds, on an axis of its own


class _Minimum:
    """The smallest of the last one to two windows of values."""

    __slots__ = ("_before", "_count", "_current", "_window")

    def __init__(self, window: int) -> None:
        self._window = window
        self.clear()

    def clear(self) -> None:
        self._before = self._current = float("inf")
        self._count = 0

    def add(self, value: float) -> None:
        if value < self._current:
            self._current = value
        self._count += 1
        if self._count >= self._window:
            self._before, self._current = self._current, value
            self._count = 0

    @property
    def value(self) -> float:
        return min(self._before, self._current)


class PlayoutBuffer:
    """Puts one far end's audio packets back into order and time.

    Args:
        clock_rate: of their timestamps.
    """

    def __init__(self, clock_rate: int) -> None:
        self.lost = 0
        self.late = 0  # frames that were stretched over
        self.resting = False  # the sender has said that it is silent, and nothing more since
        self.discarded = 0  # packets that came too late, or twice, or were dropped to catch up
        self._clock_rate = clock_rate
        self._ssrc: int | None = None
        self._lateness = 0.0  # estimate of the percentile, seconds
        self._peak = 0.0  # the worst of late, seconds
        self._copies = 0  # packets, for which room is kept for copies
        self._frame = 0.020
        self._clear()

    def _clear(self) -> None:
        self._entries: dict[int, _Entry] = {}
        self._newest: int | None = None  # extended sequence number
        self._newest_timestamp = 0
        self._newest_media = 0.0
        self._next: int | None = None  # extended sequence number to play; None: resting
        self._next_media = 0.0
        self._done = -1 << 62  # everything up to here has been played or given up
        self._late_run = 0
        self._stale = 0
        self._lag = 0.0
        self._fastest = _Minimum(_WINDOW)
        self._shortest_wait = _Minimum(_WAIT_WINDOW)

    @property
    def target(self) -> float:
        """Delay aimed at for the fastest packet, in seconds."""
        return min(MAX_TARGET, max(self._usual, self._peak + _MARGIN))

    @property
    def _usual(self) -> float:
        """What the target would be without the worst of late."""
        least = MIN_TARGET if not self._copies else max(MIN_TARGET, self._frame + _MARGIN)
        return min(MAX_TARGET, max(least, self._lateness + _MARGIN))

    @property
    def delay(self) -> float:
        """How long the last frame that was played has been behind the fastest packet, in
        seconds."""
        return self._lag

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits to be played, nor to be given up."""
        return not self._entries and self._next is None

    @property
    def surplus(self) -> float:
        """Seconds of delay that are not needed, in the light of the last second; 0 or more."""
        if self._next is None:
            return 0.0
        return max(0.0, min(self._lag - self.target, self._shortest_wait.value))

    @property
    def deficit(self) -> float:
        """Seconds of delay that are missing; 0 or more. For the worst alone none is added: a stall
        adds it by itself, and it is only kept."""
        return 0.0 if self._next is None else max(0.0, self._usual - self._lag)

    # --- in

    def push(self, packet: RtpPacket, now: float) -> None:
        """Take an audio packet."""
        self._insert(packet, now, packet)

    def skip(self, packet: RtpPacket, now: float, *, rests: bool = False) -> None:
        """Note that this packet of the stream carried no sound to play.

        Args:
            rests: it says that the sender is silent from there on.
        """
        self._insert(packet, now, None, rests=rests)

    def _insert(
        self, packet: RtpPacket, now: float, sound: RtpPacket | None, *, rests: bool = False
    ) -> None:
        number = self._place(packet)
        if number <= self._done:
            self._discard_stale(packet, now, sound)
            return
        self._stale = 0
        if number in self._entries:
            self.discarded += 1
            return
        media = self._media(packet.timestamp)
        if sound is not None:
            self._follow(now - media)
        self._entries[number] = _Entry(sound, rests, now, media)
        if self._newest is None or number > self._newest:
            self._newest = number
            if sound is not None:
                self._newest_timestamp = packet.timestamp
                self._newest_media = media
        if len(self._entries) > CAPACITY:
            self._drop_oldest()

    def _place(self, packet: RtpPacket) -> int:
        """The packet's sequence number on an endless axis; starts anew after a wild jump."""
        if packet.ssrc != self._ssrc:
            self._clear()
            self._ssrc = packet.ssrc
        if self._newest is not None:
            ahead = sequence_difference(packet.sequence, self._newest & 0xFFFF)
            if -_MAX_BEHIND <= ahead <= _MAX_AHEAD:
                return self._newest + ahead
            self._clear()
        self._newest_timestamp = packet.timestamp
        return packet.sequence

    def _discard_stale(self, packet: RtpPacket, now: float, sound: RtpPacket | None) -> None:
        """Throw away what comes after its time, unless that goes on and on."""
        self.discarded += 1
        if sound is None:
            return
        self._stale += 1
        if self._stale >= _MAX_STALE:
            self._clear()
            self._insert(packet, now, sound)
        else:
            self._follow(now - self._media(packet.timestamp), is_stale=True)

    def _media(self, timestamp: int) -> float:
        step = timestamp_difference(timestamp, self._newest_timestamp)
        return self._newest_media + step / self._clock_rate

    def _follow(self, transit: float, *, is_stale: bool = False) -> None:
        """Move the estimate of lateness by one packet.

        A stale one may be from a sender that starts anew: it does not count as the worst.
        """
        fastest = self._fastest
        if abs(transit - fastest.value) > _REBASE:
            fastest.clear()
        fastest.add(transit)
        lateness = transit - fastest.value
        if lateness > self._lateness:
            self._lateness += _QUANTILE_STEP * _QUANTILE
        else:
            self._lateness -= _QUANTILE_STEP * (1.0 - _QUANTILE)
        self._lateness = min(MAX_TARGET, max(0.0, self._lateness))
        if lateness > self._peak and not is_stale:
            self._peak = min(MAX_TARGET, lateness)
        else:
            self._peak -= _PEAK_FALL * self._peak
        if self._copies:
            self._copies -= 1

    def _drop_oldest(self) -> None:
        number = min(self._entries)
        del self._entries[number]
        self._done = number
        self.discarded += 1
        if self._next is not None and self._next <= number:
            self._next = None

    # --- out

    def pop(self, now: float) -> RtpPacket | Outcome:
        """The next frame to play at `now`. After a packet, say how long it was with `played`."""
        while True:
            entry_or_outcome = self._advance(now)
            if isinstance(entry_or_outcome, Outcome):
                return entry_or_outcome
            packet = entry_or_outcome.packet
            if packet is not None:
                self._play(entry_or_outcome, now)
                return packet
            if entry_or_outcome.rests:
                self.resting = True
                self.rest()

    def played(self, duration: float) -> None:
        """Say how many seconds of sound the last packet held."""
        if duration > 0:
            self._next_media += duration - self._frame
            self._frame = duration

    def following(self) -> bytes | None:
        """After LOST: the payload of the packet right behind the gap, if the gap ends there."""
        entry = None if self._next is None else self._entries.get(self._next)
        return None if entry is None or entry.packet is None else entry.packet.payload

    def rest(self) -> None:
        """The sender has announced silence: what does not come now is not late."""
        if not self._entries:
            self._next = None
            self._late_run = 0

    def _advance(self, now: float) -> _Entry | Outcome:
        """Take the next entry out, or tell why there is none."""
        if self._next is None and not self._begin(now):
            return Outcome.SILENCE
        assert self._next is not None, "begun means that there is a next one"
        entry = self._entries.get(self._next)
        if entry is None:
            return self._missing(now)
        if entry.packet is not None and self._is_early(entry, now):
            return Outcome.SILENCE
        return self._take(self._next)

    def _begin(self, now: float) -> bool:
        """End a rest, once the first packet has waited as long as the target says."""
        while self._entries:
            first = min(self._entries)
            entry = self._entries[first]
            if entry.packet is None:
                self._take(first)
                self.resting = self.resting or entry.rests
                continue
            behind = now - entry.media - self._fastest.value
            if self._done < 0:  # of a new stream not much is known: the first may be the late one
                if now - entry.arrival < self._usual - _EARLY:
                    return False
            elif behind < self.target - _EARLY:
                return False
            if behind > MAX_DELAY:
                first, entry = self._clear_jam(now)
            self._count_gap(first, entry.media)
            self._next, self._next_media = first, entry.media
            self._late_run = 0
            self._shortest_wait.clear()
            return True
        self._next = None
        return False

    def _clear_jam(self, now: float) -> tuple[int, _Entry]:
        """A long jam has dissolved: go on with what is recent, which is returned."""
        newest = max(self._entries)
        for number in sorted(self._entries):
            entry = self._entries[number]
            if number == newest or now - entry.media - self._fastest.value <= self.target:
                break
            self._take(number)
            self.discarded += 1
        return number, entry

    def _count_gap(self, first: int, media: float) -> None:
        """After a rest: what had seemed late may have been lost, or a pause had begun."""
        frames = round((media - self._next_media) / self._frame)
        if self._late_run and frames >= self._late_run:
            self.late -= self._late_run
            self.lost += max(0, min(first - self._done - 1, frames))

    def _missing(self, now: float) -> _Entry | Outcome:
        """What to do when the next number is not here."""
        assert self._next is not None, "only called while playing"
        if not self._entries:
            return self._late()
        first = min(self._entries)
        entry = self._entries[first]
        if entry.packet is None:
            return self._take(first)  # whether sound was lost before it, the next packet will tell
        gap = entry.media - self._next_media
        if gap <= self._frame / 2:
            return self._take(first)  # nothing is missing but numbers
        if gap > _LOST_LIMIT:
            self._next, self._done = first, first - 1  # and it will be held until its time
            return self._advance(now)
        self.lost += 1
        self._copies = _COPY_TIME
        self._step()
        if self._late_run:
            self._late_run -= 1  # its time has been filled already, when it seemed to be only late
            self.late -= 1
            return self._advance(now)
        return Outcome.LOST

    def _late(self) -> Outcome:
        if (self._late_run + 1) * self._frame > _LATE_LIMIT:
            self._next = None
            return Outcome.SILENCE
        self._late_run += 1
        self.late += 1
        return Outcome.LATE

    def _is_early(self, entry: _Entry, now: float) -> bool:
        """Whether the sender was silent before this packet and its time has not come."""
        gap = entry.media - self._next_media
        return gap > self._frame / 2 and now - entry.arrival < min(gap, self.target) - _EARLY

    def _step(self) -> None:
        """Go over one frame that is not here."""
        assert self._next is not None, "only called while playing"
        self._done = self._next
        self._next += 1
        self._next_media += self._frame

    def _take(self, number: int) -> _Entry:
        entry = self._entries.pop(number)
        self._done = number
        if self._next is not None:
            self._next = number + 1
        return entry

    def _play(self, entry: _Entry, now: float) -> None:
        self._next_media = entry.media + self._frame
        self._late_run = 0
        self.resting = False
        self._lag = now - entry.media - self._fastest.value
        self._shortest_wait.add(now - entry.arrival)
