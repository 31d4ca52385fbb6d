"""What a session does itself beside carrying the call: it plays to a side, records what is said,
presses digits and collects them.

The attendant stands beside the junction and uses its directions: what it plays takes the place of
what the other side says, which goes on unheard. The junction calls it with every tick and every
digit; what happened waits in `poll`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from media.collector import Collector
from media.country import cadence
from media.direction import Direction
from media.format import Format
from media.meter import Meter
from media.order import (
    Collect,
    Collected,
    CollectEnd,
    Level,
    Listen,
    Order,
    Play,
    Played,
    PlayEnd,
    Press,
    Record,
    Recorded,
    RecordEnd,
    SoundFile,
    StopCollecting,
    StopPlaying,
    StopRecording,
    TakeDigit,
)
from media.plane import (
    Digit,
    Side,
)
from media.player import Player
from media.recorder import Recorder
from media.rtp import RtpPacket
from media.sound import Sound, SoundSource
from media.tone import ToneSource

_INTERVAL = 0.1  # seconds from one look at the recording and at patience to the next
_PACKETS = 25  # of a recording that are handed on at once


@dataclass(frozen=True, slots=True)
class Captured:
    """More of the recording, as Opus packets: for the file that somebody writes."""

    packets: list[bytes]


AttendantOutput = Digit | Played | Recorded | Captured | Collected | Level


@dataclass(frozen=True, slots=True)
class _Playing:
    order: Play
    player: Player
    direction: Direction


class Attendant:
    """See the module's head.

    Args:
        toward: gives the direction whose packets go to a side; None before there are terms.
        sources: gives what a side may send, by payload type; the expected codec comes first.
        sounds: files that were read for us, by their paths.

    Attributes:
        outputs: what `poll` will give; nothing, most of the time.
    """

    def __init__(
        self,
        *,
        toward: Callable[[Side], Direction | None],
        sources: Callable[[Side], Mapping[int, Format]],
        sounds: Mapping[str, Sound],
    ) -> None:
        self._toward = toward
        self._sources = sources
        self._sounds = sounds
        self._playing: dict[Side, _Playing] = {}
        self._held: set[Side] = set()  # sides whose key was down before what is played now
        self._recording: tuple[Record, Recorder] | None = None
        self._look_at: float | None = None
        self._captured: list[bytes] = []
        self._collecting: dict[Side, Collector] = {}
        self._meters: dict[Side, Meter] = {}
        self.outputs: list[AttendantOutput] = []

    @property
    def is_busy(self) -> bool:
        """Whether the sides that it serves count as connected, though nobody may speak to them."""
        return bool(self._playing or self._collecting) or self.is_listening

    @property
    def is_playing(self) -> bool:
        """Whether it wants `check_players` after each tick."""
        return bool(self._playing)

    @property
    def is_listening(self) -> bool:
        """Whether it needs the packets."""
        return self._recording is not None or bool(self._meters)

    def perform(self, order: Order, now: float) -> None:
        """Do what is asked; without terms with the side there is nobody to do it for."""
        match order:
            case Press(side, digit, duration_ms):
                if (direction := self._toward(side)) is not None:
                    direction.press(digit, duration_ms)
            case TakeDigit(side, digit, duration_ms):
                if (direction := self._toward(side.other)) is not None:
                    direction.take_digit(digit, duration_ms, now)
            case Play():
                self._play(order, now)
            case StopPlaying(side):
                self._end_playing(side, PlayEnd.STOPPED, now)
            case Record():
                self._record(order, now)
            case StopRecording():
                self._end_recording(RecordEnd.STOPPED, now)
            case Collect(side):
                self._end_collecting(side, CollectEnd.STOPPED)
                prompting = side in self._playing
                self._collecting[side] = Collector(order, now, is_prompting=prompting)
            case StopCollecting(side):
                self._end_collecting(side, CollectEnd.STOPPED)
            case Listen(side, interval):
                self._listen(side, interval, now)
        if self._look_at is None and (self.is_listening or self._collecting):
            self._look_at = now + _INTERVAL

    def poll(self) -> list[AttendantOutput]:
        outputs, self.outputs = self.outputs, []
        return outputs

    def hear(self, side: Side, packet: RtpPacket, now: float) -> None:
        """A packet of `side`."""
        form = self._sources(side).get(packet.payload_type)
        if form is None:
            return
        if self._recording is not None:
            self._recording[1].push(side, packet, form, now)
        if (meter := self._meters.get(side)) is not None:
            meter.push(packet, form, now)

    def digit(self, side: Side, digit: str, duration_ms: int, now: float) -> None:
        """`side` has pressed a digit, and released it."""
        self.outputs.append(Digit(side, digit, duration_ms))
        self.pressed(side, now)
        self._held.discard(side)
        if (collector := self._collecting.get(side)) is not None:
            collector.digit(digit, now)
            self._end_if_full(side, collector)
        if self._recording is not None:
            order = self._recording[0]
            if order.until_digit and order.side in (None, side):
                self._end_recording(RecordEnd.DIGIT, now)

    def pressed(self, side: Side, now: float) -> None:
        """`side` holds a key down: whoever presses one does not want to hear more first. A key that
        was down before says nothing about what is played since."""
        playing = self._playing.get(side)
        if playing is not None and playing.order.until_digit and side not in self._held:
            self._end_playing(side, PlayEnd.DIGIT, now)

    def check_players(self, now: float) -> None:
        """The directions have sent what a tick is for."""
        for side, playing in list(self._playing.items()):
            if playing.player.is_over:
                error = playing.player.error
                reason = PlayEnd.FAILED if error else PlayEnd.FINISHED
                self._end_playing(side, reason, now, error)

    def deadline(self) -> float | None:
        """When `handle_timer` is wanted next; nothing but orders and that itself moves it."""
        return self._look_at

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        if self._look_at is None or now < self._look_at:
            return
        if self._recording is not None:
            self._go_on_recording(self._recording[1], now)
        for side, collector in list(self._collecting.items()):
            collector.handle_timer(now)
            self._end_if_full(side, collector)
        for side, meter in self._meters.items():
            if (measured := meter.tick(now)) is not None:
                level, quiet = measured
                self.outputs.append(Level(side, round(level, 1), round(quiet, 2)))
        busy = self.is_listening or self._collecting
        self._look_at = now + _INTERVAL if busy else None

    def close(self, now: float) -> None:
        """The session ends."""
        self._end_recording(RecordEnd.STOPPED, now)
        for side in Side:
            self._end_playing(side, PlayEnd.STOPPED, now)
            self._end_collecting(side, CollectEnd.STOPPED)

    # --- playing

    def _play(self, order: Play, now: float) -> None:
        side = order.side
        self._end_playing(side, PlayEnd.REPLACED, now)
        direction = self._toward(side)
        if direction is None:
            text = "Nothing has been agreed on with that side yet."
            self.outputs.append(Played(side, PlayEnd.FAILED, 0.0, text))
            return
        source: ToneSource | SoundSource
        if isinstance(order.prompt, SoundFile):
            sound = self._sounds.get(order.prompt.path)
            source = SoundSource(sound if sound is not None else _missing(), order.repeat)
        else:
            tone = order.prompt
            source = ToneSource(cadence(tone.tone, tone.country), order.repeat)
        playing = _Playing(order, Player(source), direction)
        self._playing[side] = playing
        direction.play(playing.player)
        if (collector := self._collecting.get(side)) is not None:
            collector.prompt_began()
        inward = self._toward(side.other)
        if inward is not None and inward.is_pressed:
            self._held.add(side)

    def _end_playing(self, side: Side, reason: PlayEnd, now: float, text: str = "") -> None:
        playing = self._playing.pop(side, None)
        if playing is None:
            return
        self._held.discard(side)
        playing.direction.play(None)
        seconds = round(playing.player.seconds, 2)
        self.outputs.append(Played(side, reason, seconds, text))
        if reason is not PlayEnd.REPLACED and side in self._collecting:
            self._collecting[side].prompt_ended(now)

    # --- listening

    def _listen(self, side: Side, interval: float | None, now: float) -> None:
        self._meters.pop(side, None)
        form = next(iter(self._sources(side).values()), None)
        if interval is not None and form is not None:
            self._meters[side] = Meter(form, interval, now)

    # --- collecting

    def _end_if_full(self, side: Side, collector: Collector) -> None:
        if collector.end is not None:
            self._end_collecting(side, collector.end)

    def _end_collecting(self, side: Side, reason: CollectEnd) -> None:
        collector = self._collecting.pop(side, None)
        if collector is not None:
            collected = Collected(side, collector.digits, reason, collector.terminator)
            self.outputs.append(collected)

    # --- recording

    def _record(self, order: Record, now: float) -> None:
        self._end_recording(RecordEnd.STOPPED, now)
        sides = [order.side] if order.side is not None else list(Side)
        forms = {side: form for side in sides for form in list(self._sources(side).values())[:1]}
        if len(forms) < len(sides):
            text = "Nothing has been agreed on with that side yet."
            self.outputs.append(Recorded(None, RecordEnd.FAILED, text=text))
            return
        recorder = Recorder(
            sides=forms,
            max_seconds=order.max_seconds,
            max_bytes=order.max_bytes,
            silence=order.silence,
            now=now,
        )
        self._recording = order, recorder

    def _go_on_recording(self, recorder: Recorder, now: float) -> None:
        recorder.tick(now)
        self._capture(recorder)
        if recorder.end is not None:
            self._end_recording(recorder.end, now)

    def _capture(self, recorder: Recorder, at_least: int = _PACKETS) -> None:
        self._captured += recorder.take()
        if len(self._captured) >= at_least:
            self.outputs.append(Captured(self._captured))
            self._captured = []

    def _end_recording(self, reason: RecordEnd, now: float) -> None:
        if self._recording is None:
            return
        (order, recorder), self._recording = self._recording, None
        recorder.finish(reason, now)
        self._capture(recorder, 1)
        level = recorder.level_dbov
        self.outputs.append(
            Recorded(
                order.path,
                recorder.end or reason,
                round(recorder.seconds, 2),
                recorder.size,
                None if level is None else round(level, 1),
                recorder.waveform,
            )
        )


def _missing() -> Sound:
    sound = Sound()
    sound.error = "The file was not read."
    return sound
