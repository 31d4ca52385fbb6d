"""The digits of one direction: heard in whatever way its source says them, told once, and said anew
in the way that its sink takes them.

A digit may come in the media, as telephone-events or, from a source that has none of those, as the
tones that it stands for; or beside the media, in a SIP INFO. Some PBXs say each digit both ways, so
what is said beside the media counts only as long as the media bring none.
It leaves as telephone-events (RFC 4733) where the sink agreed on them, and else as the two tones
that it stands for.
"""

from media.dtmf import DigitReceiver, DigitSender, KeyQueue, Pressed, Released
from media.format import Format
from media.outlet import Outlet
from media.rtp import RtpPacket
from media.tone import digit_slot
from media.voice import Voice

_MAX_DIGITS = 64  # not collected by the caller
_SAME = 1.0  # seconds within which a digit that was said beside the media may come in them too


class Keypad:
    """Digits of one direction.

    Args:
        sink: where they go.
        sends: whether they go anywhere; else they are only told.
    """

    def __init__(self, sink: Format, *, sends: bool) -> None:
        self.sending = True  # the direction is not on hold
        self._sends = sends
        self._sink = sink
        self._keys = KeyQueue()
        self._sender = self._make_sender()
        self._voice: Voice | None = None
        self._receiver = DigitReceiver()
        self._told: list[tuple[str, int]] = []
        self._in_media = False  # the source says digits as events
        self._tone: tuple[str, float] | None = None  # the last one heard as tones, and when
        self._beside: tuple[str, float] | None = None  # the last one said otherwise, and when
        self._is_double = False  # the digit that goes on in the media was said otherwise before

    def change(self, sink: Format) -> None:
        """The sink takes another format from here on."""
        before, self._sink = self._sink, sink
        if _events(before) != _events(sink):
            self._keys = KeyQueue()
            self._sender = self._make_sender()
        if sink != before:
            self._voice = None

    def _make_sender(self) -> DigitSender | None:
        if self._sink.dtmf_payload_type is None:
            return None
        return DigitSender(self._sink.dtmf_clock, self._keys)

    # --- in

    def receive(self, packet: RtpPacket, clock: int, now: float) -> None:
        """Take a telephone-event packet; `clock` is what was negotiated for it."""
        self._hear(self._receiver.receive(packet, clock, now), now)

    def poll(self, now: float) -> None:
        """To be called with each tick: ends a digit whose end was lost."""
        if self._receiver.active:
            self._hear(self._receiver.poll(now), now)

    def take(self, digit: str, duration_ms: int, now: float) -> None:
        """A digit that the source said beside its media."""
        if self._in_media or _is_recent(self._tone, digit, now):
            return
        self._beside = (digit, now)
        self._tell(digit, duration_ms)
        if self.sending:
            self.press(digit, duration_ms)

    def hear_tones(self, told: list[Pressed | Released], now: float, *, passed: bool) -> None:
        """Take what was found in the sound of a source without telephone-events.

        Args:
            passed: the sound goes on to the sink with the tones in it.
        """
        for event in told:
            if isinstance(event, Pressed):
                self._is_double = _is_recent(self._beside, event.digit, now)
                self._press(event.digit, wanted=not passed)
            else:
                self._release(event)
            self._tone = (event.digit, now)

    def _hear(self, told: list[Pressed | Released], now: float) -> None:
        for event in told:
            if isinstance(event, Pressed):
                said = _is_recent(self._beside, event.digit, now)
                self._is_double = said and not self._in_media
                self._in_media = True
                self._press(event.digit, wanted=True)
            else:
                self._release(event)

    def _press(self, digit: str, *, wanted: bool) -> None:
        if wanted and self.sending and self._sends and not self._is_double:
            self._keys.press(digit)

    def _release(self, event: Released) -> None:
        if not self._is_double:
            self._tell(event.digit, event.duration_ms)
            self._keys.release(event.duration_ms)

    def _tell(self, digit: str, duration_ms: int) -> None:
        if len(self._told) < _MAX_DIGITS:
            self._told.append((digit, duration_ms))

    def told(self) -> list[tuple[str, int]]:
        """Digits that ended since the last call of this, with their duration in milliseconds."""
        told, self._told = self._told, []
        return told

    @property
    def has_told(self) -> bool:
        """Whether `told` has any."""
        return bool(self._told)

    @property
    def is_active(self) -> bool:
        """Whether a digit is heard or said: time matters to it."""
        return self._receiver.active or self._keys.busy

    @property
    def covers(self) -> bool:
        """Whether a digit of the source is going on that is said anew: its sound is not wanted."""
        return self._sends and self._receiver.active

    @property
    def is_heard(self) -> bool:
        """Whether a telephone-event of the source is going on."""
        return self._receiver.active

    # --- out

    def press(self, digit: str, duration_ms: int) -> None:
        """Send a digit; those that go out already come first."""
        if self._sends:
            self._keys.press(digit, duration_ms)

    @property
    def busy(self) -> bool:
        """Whether a digit, or the pause after it, goes out: no audio meanwhile."""
        return self._keys.busy

    def dial(self, outlet: Outlet) -> list[bytes]:
        """Packets for the present slot."""
        sink = self._sink
        if self._sender is None or sink.dtmf_payload_type is None:
            return self._sound(outlet)
        return [
            outlet.send(
                sink.dtmf_payload_type,
                event.payload,
                timestamp=event.timestamp,
                marker=event.marker,
            )
            for event in self._sender.step(outlet.timestamp)
        ]

    def _sound(self, outlet: Outlet) -> list[bytes]:
        """The slot as the digit's tones."""
        slot = self._keys.next()
        if slot is None:
            return []
        if self._voice is None:
            self._voice = Voice(self._sink)
        pcm = digit_slot(slot, self._voice.rate)
        payload = self._voice.encode(pcm)
        marker = slot.begins
        return [outlet.send(self._sink.payload_type, payload, marker=marker)] if payload else []


def _is_recent(said: tuple[str, float] | None, digit: str, now: float) -> bool:
    return said is not None and said[0] == digit and now - said[1] < _SAME


def _events(sink: Format) -> tuple[int | None, int]:
    return sink.dtmf_payload_type, sink.dtmf_clock
