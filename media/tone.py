"""Sines: the tones of digits (ITU-T Q.23), and what makes tones of any kind, as 16-bit PCM.

Levels are dBm0 (ITU-T G.101): a full-scale sine is +3.14 dBm0 with G.711 (G.711 §4). All of the
telephone's frequencies are whole numbers, so that a tone repeats itself with each second.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import pi, sin

from media.codec.pcm import fade
from media.dtmf import SLOT_MS, KeySlot

ROWS = (697, 770, 852, 941)  # Hz (Q.23 §6)
COLUMNS = (1209, 1336, 1477, 1633)
KEYS = ("123A", "456B", "789C", "*0#D")  # by row, then column

_FULL_SCALE_DBM0 = 3.14
_LOW_DBM0, _HIGH_DBM0 = -10.0, -8.0  # the high group is sent louder, since lines lose more of it
_PROGRESS_DBM0 = -10.0  # of all frequencies together, at their peak (E.180 §7)
_RAMP_MS = 2


def amplitude(dbm0: float) -> float:
    """The peak of a sine of that level, as 16-bit samples."""
    return float(32767 * 10 ** ((dbm0 - _FULL_SCALE_DBM0) / 20))


@lru_cache(2048)
def _sines(parts: tuple[tuple[int, float], ...], start_ms: int, length_ms: int, rate: int) -> bytes:
    """Sines at once, each with its frequency in Hz and its peak. A frame costs 0.2 ms when it is
    made and nothing when it is heard again: a whole second at once would hold up other calls."""
    steps = [(2 * pi * frequency / rate, peak) for frequency, peak in parts]
    first = start_ms * rate // 1000
    last = (start_ms + length_ms) * rate // 1000
    samples = (sum(peak * sin(step * i) for step, peak in steps) for i in range(first, last))
    return array("h", [max(-32768, min(32767, round(sample))) for sample in samples]).tobytes()


def sines(parts: tuple[tuple[int, float], ...], start_ms: int, length_ms: int, rate: int) -> bytes:
    """A piece of an endless sound of sines, each with its frequency in Hz and its peak."""
    return _sines(parts, start_ms % 1000, length_ms, rate)


def digit_slot(slot: KeySlot, rate: int) -> bytes:
    """20 ms of a digit's two tones, or of the pause after it."""
    if slot.pause:
        return bytes(2 * SLOT_MS * rate // 1000)
    row = next(i for i, keys in enumerate(KEYS) if slot.digit in keys)
    low = ROWS[row], amplitude(_LOW_DBM0)
    high = COLUMNS[KEYS[row].index(slot.digit)], amplitude(_HIGH_DBM0)
    sound = sines((low, high), slot.at_ms, SLOT_MS, rate)
    return ramp(sound, slot.begins, slot.ends, rate)


def ramp(pcm: bytes, begins: bool, ends: bool, rate: int) -> bytes:
    """The sound with its first or last 2 ms softened, so that it does not click."""
    size = 2 * (_RAMP_MS * rate // 1000)
    if begins:
        pcm = fade(pcm[:size], 0.0, 1.0) + pcm[size:]
    if ends:
        pcm = pcm[:-size] + fade(pcm[-size:], 1.0, 0.0)
    return pcm


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a cadence: so many milliseconds of some frequencies at once, or of silence."""

    frequencies: tuple[int, ...]
    length_ms: int


class ToneSource:
    """A cadence as PCM, 20 ms at a time.

    Args:
        repeat: how often it is played; None: without end.
    """

    def __init__(self, pieces: Sequence[Piece], repeat: int | None) -> None:
        self._pieces = pieces
        self._left = repeat
        self._index = 0
        self._at_ms = 0  # within the piece

    def pcm(self, rate: int) -> bytes | None:
        """The next 20 ms; None at the end."""
        sound, missing = b"", SLOT_MS
        while missing:
            if self._index == len(self._pieces):
                if self._left is not None:
                    self._left -= 1
                self._index = 0
            if self._left == 0:
                break
            piece = self._pieces[self._index]
            length = min(missing, piece.length_ms - self._at_ms)
            sound += _play(piece, self._at_ms, length, rate)
            self._at_ms += length
            missing -= length
            if self._at_ms == piece.length_ms:
                self._index, self._at_ms = self._index + 1, 0
        if not sound:
            return None
        return sound + bytes(2 * SLOT_MS * rate // 1000 - len(sound))


def _play(piece: Piece, at_ms: int, length_ms: int, rate: int) -> bytes:
    if not piece.frequencies:
        return bytes(2 * (length_ms * rate // 1000))
    peak = amplitude(_PROGRESS_DBM0) / len(piece.frequencies)
    sound = sines(tuple((f, peak) for f in piece.frequencies), at_ms, length_ms, rate)
    return ramp(sound, at_ms == 0, at_ms + length_ms == piece.length_ms, rate)
