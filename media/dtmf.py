"""Digits as telephone-events (RFC 4733), both ways.

What arrives is told twice: `Pressed` as soon as a digit is heard of, `Released` once it is over,
each exactly once. Real senders make that harder than the standard: some send nothing but end
packets (three at once, all marked), ends get lost, a key pressed quickly overlaps the one before,
and at a clock of 48 kHz the 16 bits of the duration are over after 1.4 s, so that a long digit
comes in segments (§2.5.1.3). The timestamp is what identifies a digit.

What leaves is always made anew and never copied, so that the far end gets it in the ordinary form:
at least 100 ms, an update every 20 ms, the end three times, a pause before the next. The end is
repeated in the pause, 20 ms apart: a burst of loss does not take all three.
"""

from collections import deque
from dataclasses import dataclass
from struct import Struct

from media.rtp import RtpPacket, sequence_difference, timestamp_difference

DIGITS = "0123456789*#ABCD"
SLOT_MS = 20
MIN_DURATION_MS = 100  # PBXs take shorter ones for noise
PAUSE_SLOTS = 3  # after the first end packet: 60 ms; the two repetitions are in it
MAX_QUEUE = 64
MAX_DURATION_MS = 10_000  # nobody holds a key longer on purpose

END_TIMEOUT = 0.2  # seconds without an update, after which the end must have been lost
_SHORTEST_PERIOD = 0.040  # seconds from one digit to the next: no key and no person is faster
_VOLUME = 10  # -10 dBm0
_MAX_DURATION = 0xFFFF
_END = 0x80
_PAYLOAD = Struct("!BBH")


@dataclass(frozen=True, slots=True)
class Pressed:
    """A digit began."""

    digit: str


@dataclass(frozen=True, slots=True)
class Released:
    """A digit is over."""

    digit: str
    duration_ms: int


@dataclass(slots=True)
class _Heard:
    """A digit as it is being received."""

    digit: str
    timestamp: int  # of the present segment
    clock: int
    duration: int  # of the present segment, in units of the clock
    before_ms: int  # duration of earlier segments
    updated_at: float

    @property
    def duration_ms(self) -> int:
        return self.before_ms + self.duration * 1000 // self.clock


class DigitReceiver:
    """Makes digits out of the telephone-event packets of one far end."""

    def __init__(self) -> None:
        self._heard: _Heard | None = None
        self._last: RtpPacket | None = None  # the newest packet of the digit that ended last
        self._last_digit = ""
        self._cut_off = False  # it was ended by time, and may still go on

    @property
    def active(self) -> bool:
        """Whether a digit is going on."""
        return self._heard is not None

    def receive(self, packet: RtpPacket, clock: int, now: float) -> list[Pressed | Released]:
        """Take one packet of the event's payload type; `clock` is what was negotiated for it."""
        if len(packet.payload) < _PAYLOAD.size:
            return []
        code, flags, duration = _PAYLOAD.unpack_from(packet.payload)
        if code >= len(DIGITS):
            return []  # flash, fax and modem tones: none of ours
        digit = DIGITS[code]
        if self._is_over(packet, digit, clock):
            return []
        if self._goes_on(packet, digit, clock):
            self._last = packet
            return []
        self._cut_off = False
        told: list[Pressed | Released] = []
        heard = self._heard
        if heard is None or not self._continues(heard, packet, digit):
            told.extend(self._release())
            told.append(Pressed(digit))
            heard = self._heard = _Heard(digit, packet.timestamp, clock, duration, 0, now)
        heard.duration = max(heard.duration, duration)
        heard.updated_at = now
        self._last, self._last_digit = packet, digit
        if flags & _END:
            told.extend(self._release())
        return told

    def poll(self, now: float) -> list[Pressed | Released]:
        """To be called now and then: ends a digit whose end was lost."""
        if self._heard is not None and now - self._heard.updated_at > END_TIMEOUT:
            self._cut_off = True
            return self._release()
        return []

    def _is_over(self, packet: RtpPacket, digit: str, clock: int) -> bool:
        """Whether this belongs to a digit that has been told: a repeated end, or something
        late."""
        last = self._last
        if last is None or packet.ssrc != last.ssrc:
            return False
        heard = self._heard
        if heard is not None and packet.timestamp == heard.timestamp:
            return False
        if packet.timestamp == last.timestamp:
            return True
        ahead = timestamp_difference(packet.timestamp, last.timestamp)
        if ahead < 0:
            return sequence_difference(packet.sequence, last.sequence) < 0
        return heard is None and digit == self._last_digit and ahead < _SHORTEST_PERIOD * clock

    def _goes_on(self, packet: RtpPacket, digit: str, clock: int) -> bool:
        """Whether this is the next segment of a digit that was cut off and is over for us."""
        last = self._last
        if not self._cut_off or last is None or packet.marker or digit != self._last_digit:
            return False
        ahead = timestamp_difference(packet.timestamp, last.timestamp)
        slack = clock // 5
        return packet.ssrc == last.ssrc and abs(ahead - _MAX_DURATION) <= slack

    def _continues(self, heard: _Heard, packet: RtpPacket, digit: str) -> bool:
        """Whether the packet is of the digit that is going on; moves to its next segment."""
        if packet.timestamp == heard.timestamp:
            return True
        if digit != heard.digit or packet.marker:
            return False
        elapsed = timestamp_difference(packet.timestamp, heard.timestamp)
        slack = heard.clock // 5
        if heard.duration < _MAX_DURATION - slack or not 0 < elapsed <= _MAX_DURATION + slack:
            return False
        heard.before_ms += elapsed * 1000 // heard.clock
        heard.timestamp = packet.timestamp
        heard.duration = 0
        return True

    def _release(self) -> list[Pressed | Released]:
        heard, self._heard = self._heard, None
        return [] if heard is None else [Released(heard.digit, heard.duration_ms)]


@dataclass(frozen=True, slots=True)
class Event:
    """One packet to send."""

    timestamp: int
    marker: bool
    payload: bytes


@dataclass(slots=True)
class _Key:
    """A digit as it waits or goes out."""

    digit: str
    wanted_ms: int | None  # None: the key is still down
    sent_ms: int = 0
    pause: int = 0  # slots since the end


@dataclass(frozen=True, slots=True)
class KeySlot:
    """What a slot of 20 ms is for, while digits go out.

    Attributes:
        at_ms: since the digit began.
        begins, ends: whether it is the first or the last in which the digit sounds.
        pause: of the slots after the end, which; 0 while the digit sounds.
    """

    digit: str
    at_ms: int
    begins: bool
    ends: bool
    pause: int


class KeyQueue:
    """Digits that wait for each other, one slot of 20 ms at a time: each lasts as long as it did
    at its source, 100 ms at least, and a pause follows."""

    def __init__(self) -> None:
        self._queue: deque[_Key] = deque()

    @property
    def busy(self) -> bool:
        """Whether a digit, or the pause after it, is going on or waiting: no audio meanwhile."""
        return bool(self._queue)

    def press(self, digit: str, duration_ms: int | None = None) -> None:
        """Send a digit; without a duration it lasts until `release`.

        Raises:
            ValueError: it is not one of `DIGITS`.
        """
        if len(digit) != 1 or digit not in DIGITS:
            raise ValueError(f"not a DTMF digit: {digit!r}")
        if len(self._queue) < MAX_QUEUE:
            self._queue.append(_Key(digit, duration_ms))

    def release(self, duration_ms: int) -> None:
        """End the digit that was pressed without a duration; it lasted that long at its source."""
        for key in self._queue:
            if key.wanted_ms is None:
                key.wanted_ms = duration_ms
                return

    def next(self) -> KeySlot | None:
        """Go on by a slot; None: there is nothing to send."""
        if not self._queue:
            return None
        key = self._queue[0]
        if key.pause:
            slot = KeySlot(key.digit, key.sent_ms, False, False, key.pause)
            key.pause += 1
            if slot.pause >= PAUSE_SLOTS:
                self._queue.popleft()
            return slot
        begins = key.sent_ms == 0
        key.sent_ms += SLOT_MS
        wanted = MAX_DURATION_MS if key.wanted_ms is None else key.wanted_ms
        ends = key.sent_ms >= min(max(wanted, MIN_DURATION_MS), MAX_DURATION_MS)
        if ends:
            key.pause = 1
        return KeySlot(key.digit, key.sent_ms - SLOT_MS, begins, ends, 0)


class DigitSender:
    """Makes telephone-event packets for one far end, one slot of 20 ms at a time.

    Args:
        clock: of the event's payload type at the far end.
        keys: the digits that wait.
    """

    def __init__(self, clock: int, keys: KeyQueue | None = None) -> None:
        self.keys = KeyQueue() if keys is None else keys
        self._clock = clock
        self._timestamp = 0  # of the present segment
        self._segment_ms = 0

    def step(self, timestamp: int) -> list[Event]:
        """What goes out in this slot; `timestamp` is the outgoing stream's, at its beginning."""
        slot = self.keys.next()
        if slot is None:
            return []
        if slot.pause:
            return [self._event(slot.digit, False, True)] if slot.pause <= 2 else []
        longest_ms = _MAX_DURATION * 1000 // self._clock
        if slot.begins or self._segment_ms + SLOT_MS > longest_ms:
            self._timestamp = timestamp
            self._segment_ms = 0
        self._segment_ms += SLOT_MS
        return [self._event(slot.digit, slot.begins, slot.ends)]

    def _event(self, digit: str, marker: bool, ended: bool) -> Event:
        flags = _VOLUME | _END if ended else _VOLUME
        duration = self._segment_ms * self._clock // 1000
        payload = _PAYLOAD.pack(DIGITS.index(digit), flags, duration)
        return Event(self._timestamp, marker, payload)
