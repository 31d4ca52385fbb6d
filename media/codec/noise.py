"""Comfort noise (RFC 3389): what a line sounds like while nobody speaks, in place of dead silence.

A sender that leaves pauses out says how loud they are in a packet of payload type 13 (RFC 3551 §6):
a byte of -dBov, and perhaps the shape of the spectrum, which is not made use of. The noise here
is soft, with less of the high tones than white noise has.
"""

from array import array
from functools import cache
from hashlib import shake_128
from math import sqrt

from media.codec.pcm import audioop

PAYLOAD_TYPE = 13  # static
CLOCK = 8000

LOUDEST = -30.0  # dBov: what is said to be louder is not a pause
_DEFAULT = -60.0  # dBov: for a packet that says nothing
_PERIOD = 1009  # samples between two places of the store, prime: it does not seem to repeat


def level_of(payload: bytes) -> float:
    """What a packet says of the loudness, in dBov (§3.1)."""
    return min(LOUDEST, -float(payload[0] & 0x7F)) if payload else _DEFAULT


class ComfortNoise:
    """Endless noise of one loudness.

    Args:
        level: in dBov: of an effective value of 32768.
    """

    def __init__(self, level: float) -> None:
        self.level = level
        self._place = 0

    def next(self, samples: int) -> bytes:
        """As many samples, at most 120 ms at 48 kHz."""
        store = _store()
        start = self._place % (len(store) // 2 - samples)
        self._place += samples + _PERIOD
        piece = store[2 * start : 2 * (start + samples)]
        return audioop.mul(piece, 2, 32768 * 10 ** (self.level / 20) / _loudness())


@cache
def _store() -> bytes:
    """Some noise to take pieces from; the same in every process."""
    drawn = array("h", shake_128(b"comfort noise").digest(2 * 32_000))
    soft, before = array("h"), 0.0
    for value in drawn:
        before = 0.6 * before + 0.4 * value
        soft.append(int(before))
    return soft.tobytes()


@cache
def _loudness() -> float:
    values = array("h", _store())
    return sqrt(sum(value * value for value in values) / len(values))
