"""What a session does itself beside carrying the call: it plays to a side, and presses digits.

The attendant stands beside the junction and uses its directions: what it plays takes the place of
what the other side says, which goes on unheard. The junction calls it with every tick and every
digit; what happened waits in `poll`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from media.country import cadence
from media.direction import Direction
from media.plane import (
    Digit,
    Order,
    Play,
    Played,
    PlayEnd,
    Press,
    Side,
    SoundFile,
    StopPlaying,
    TakeDigit,
)
from media.player import Player
from media.sound import Sound, SoundSource
from media.tone import ToneSource

AttendantOutput = Digit | Played


@dataclass(frozen=True, slots=True)
class _Playing:
    order: Play
    player: Player
    direction: Direction


class Attendant:
    """See the module's head.

    Args:
        toward: gives the direction whose packets go to a side; None before there are terms.
        sounds: files that were read for us, by their paths.
    """

    def __init__(
        self, *, toward: Callable[[Side], Direction | None], sounds: Mapping[str, Sound]
    ) -> None:
        self._toward = toward
        self._sounds = sounds
        self._playing: dict[Side, _Playing] = {}
        self._outputs: list[AttendantOutput] = []

    @property
    def is_busy(self) -> bool:
        """Whether it needs the tick."""
        return bool(self._playing)

    def perform(self, order: Order, now: float) -> None:
        """Do what is asked; without terms with the side there is nobody to do it for."""
        match order:
            case Press(side, digit, duration_ms):
                if (direction := self._toward(side)) is not None:
                    direction.press(digit, duration_ms)
            case TakeDigit(side, digit, duration_ms):
                if (direction := self._toward(side.other)) is not None:
                    direction.take_digit(digit, duration_ms, now)
                    self.collect_digits(side)
            case Play():
                self._play(order)
            case StopPlaying(side):
                self._end_playing(side, PlayEnd.STOPPED)

    def poll(self) -> list[AttendantOutput]:
        outputs, self._outputs = self._outputs, []
        return outputs

    def collect_digits(self, side: Side) -> None:
        """Take the digits that `side` has pressed."""
        direction = self._toward(side.other)
        for digit, duration_ms in direction.digits() if direction is not None else ():
            self._outputs.append(Digit(side, digit, duration_ms))
            playing = self._playing.get(side)
            if playing is not None and playing.order.until_digit:
                self._end_playing(side, PlayEnd.DIGIT)

    def tick(self) -> None:
        """The directions have sent what this tick is for."""
        for side, playing in list(self._playing.items()):
            if playing.player.is_over:
                error = playing.player.error
                self._end_playing(side, PlayEnd.FAILED if error else PlayEnd.FINISHED, error)

    def close(self) -> None:
        """The session ends."""
        for side in list(self._playing):
            self._end_playing(side, PlayEnd.STOPPED)

    # --- playing

    def _play(self, order: Play) -> None:
        side = order.side
        self._end_playing(side, PlayEnd.REPLACED)
        direction = self._toward(side)
        if direction is None:
            text = "Nothing has been agreed on with that side yet."
            self._outputs.append(Played(side, PlayEnd.FAILED, 0.0, text))
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

    def _end_playing(self, side: Side, reason: PlayEnd, text: str = "") -> None:
        playing = self._playing.pop(side, None)
        if playing is not None:
            playing.direction.play(None)
            seconds = round(playing.player.seconds, 2)
            self._outputs.append(Played(side, reason, seconds, text))


def _missing() -> Sound:
    sound = Sound()
    sound.error = "The file was not read."
    return sound
