"""Digits as the tones that they are, found in the sound of a side that takes no telephone-events
(ITU-T Q.23, and Q.24 for what a receiver must accept and leave alone).

Each 10 ms are compared with the eight frequencies. From the phase by which one step follows the
other comes the true frequency, far more exactly than from the strength in so short a time: that is
what tells a key from a voice. A step counts if one tone of each group is there, at nearly the
right frequency, as strong as a step before, both not too different, and with little else beside
them. Two such steps in a row are a key pressed, which takes 40 ms of tone and cannot be had from
23; four without are a key released, so that an interruption of 10 ms is none and 40 ms are.

What has been found is taken out of the sound, from the first step that counts. So 7 to 17 ms of a
tone go through, which no receiver takes for a digit.

The comparison is audioop's (least squares in C): a hundredth of a millisecond for a frame of 20 ms
that is loud enough to look at.
"""

from cmath import phase, pi, rect
from functools import cache
from math import cos, sin

from media.codec.pcm import audioop
from media.dtmf import Pressed, Released
from media.tone import COLUMNS, KEYS, ROWS, amplitude

STEP = 0.010  # seconds

_FREQUENCIES = (*ROWS, *COLUMNS)
_FAINTEST = amplitude(-38.0)  # peak of a tone; Q.24 wants down to -25 or so accepted
_OFF = 0.025  # of a frequency: 1.5 % must be taken, 3.5 % must not
_NORMAL_TWIST = 10 ** (9.0 / 20)  # how much stronger the low tone may be (Q.24: 8 dB)
_REVERSE_TWIST = 10 ** (5.0 / 20)  # how much stronger the high one (Q.24: 4 dB)
_STEADY = 10 ** (2.0 / 20)  # how much a tone may change from step to step
_PURE = 0.82  # of the power is the two tones'
_HITS = 2
_MISSES = 4


@cache
def _references(rate: int) -> tuple[tuple[bytes, bytes], ...]:
    """A cosine and a sine of each frequency for one step, under a Hann window."""
    count = round(STEP * rate)
    window = [0.5 - 0.5 * cos(2 * pi * (i + 0.5) / count) for i in range(count)]

    def table(values: list[float]) -> bytes:
        scaled = [round(32767 * w * v) for w, v in zip(window, values, strict=True)]
        return b"".join(value.to_bytes(2, "little", signed=True) for value in scaled)

    pairs = []
    for frequency in _FREQUENCIES:
        angles = [2 * pi * frequency * i / rate for i in range(count)]
        pairs.append((table([cos(a) for a in angles]), table([sin(a) for a in angles])))
    return tuple(pairs)


# Turns a phase back by what it advances in a step at the nominal frequency.
_ADVANCE = tuple(rect(1.0, -2 * pi * frequency * STEP) for frequency in _FREQUENCIES)


class ToneDetector:
    """Finds digits in PCM, and takes them out.

    Args:
        rate: samples per second; 8000, 16000 or 48000.
    """

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._bytes = 2 * round(STEP * rate)
        self._references = _references(rate)
        # A least-squares fit to a windowed reference sees 4/3 of a tone under that window.
        self._scale = 32767 * 0.75
        self._before: list[complex] | None = None
        self._candidate = ""
        self._hits = 0
        self._misses = 0
        self._digit = ""
        self._steps = 0  # since it was pressed

    @property
    def active(self) -> bool:
        """Whether a digit is going on."""
        return bool(self._digit)

    def listen(self, pcm: bytes) -> tuple[list[Pressed | Released], bytes]:
        """What began and ended in a piece of sound, and the sound without it."""
        told: list[Pressed | Released] = []
        size = self._bytes
        muted = None
        for start in range(0, len(pcm) - size + 1, size):
            event = self._step(self._look(pcm[start : start + size]))
            if event is not None:
                told.append(event)
            if self._digit or self._hits:
                muted = bytearray(pcm) if muted is None else muted
                muted[start : start + size] = bytes(size)
        return told, pcm if muted is None else bytes(muted)

    def _step(self, found: str) -> Pressed | Released | None:
        """Go on by a step, in which a digit was found or none."""
        if self._digit:
            self._steps += 1
            self._misses = 0 if found == self._digit else self._misses + 1
            if self._misses < _MISSES:
                return None
            digit, self._digit, self._hits = self._digit, "", 0
            lasted = (self._steps - self._misses + _HITS + 1) * round(STEP * 1000)
            return Released(digit, lasted)
        self._hits = (self._hits + 1 if found == self._candidate else 1) if found else 0
        self._candidate = found
        if self._hits < _HITS:
            return None
        self._digit, self._steps, self._misses = found, 0, 0
        return Pressed(found)

    def _look(self, step: bytes) -> str:
        """The digit that a step and the one before are part of; empty if there is none."""
        power = audioop.rms(step, 2) ** 2
        if power < _FAINTEST**2:
            self._before = None
            return ""
        scale = self._scale
        now = [
            complex(audioop.findfactor(step, c), -audioop.findfactor(step, s)) * scale
            for c, s in self._references
        ]
        before, self._before = self._before, now
        if before is None:
            return ""
        strength = [abs(x) for x in now]
        low = max(range(4), key=strength.__getitem__)
        high = max(range(4, 8), key=strength.__getitem__)
        weak, strong = strength[low], strength[high]
        if weak < _FAINTEST or strong < _FAINTEST:
            return ""
        if weak > strong * _NORMAL_TWIST or strong > weak * _REVERSE_TWIST:
            return ""
        if (weak * weak + strong * strong) / 2 < _PURE * power:
            return ""
        if not (_follows(before, now, low) and _follows(before, now, high)):
            return ""
        return KEYS[low][high - 4]


def _follows(before: list[complex], now: list[complex], index: int) -> bool:
    """Whether a tone goes on from step to step, as strong and at its frequency."""
    old, new = before[index], now[index]
    was, is_now = abs(old), abs(new)
    if was > is_now * _STEADY or is_now > was * _STEADY:
        return False
    turned = phase(new * old.conjugate() * _ADVANCE[index])
    return abs(turned) < 2 * pi * STEP * _OFF * _FREQUENCIES[index]
