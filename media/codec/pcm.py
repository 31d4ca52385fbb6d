"""Arithmetic on mono 16-bit PCM, and audioop kept in one place.

audioop is C and ten times faster than arithmetic in Python, but it left the standard library in
3.13 (PEP 594); the package audioop-lts carries it on. What it lacks (ramps, joints) is done here
in Python: it is needed only where the sound breaks, some tens of microseconds each time.
"""

import warnings
from array import array

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "'audioop' is deprecated", DeprecationWarning)
    import audioop

__all__ = [
    "audioop",
    "crossfade",
    "fade",
    "fade_in",
    "find_first_lag",
    "find_lag",
    "shorten",
    "stretch",
]

_SHORTEST_LAG = 0.0025  # seconds: a voice of 400 Hz
_LONGEST_LAG = 0.015  # a voice of 66 Hz
_JOINT = 0.005
_REFERENCE = 0.010  # how much must look alike for two places to be the same sound

LAG_CONTEXT = _LONGEST_LAG + _REFERENCE  # seconds of sound that `find_lag` looks at
FIRST_LAG_CONTEXT = _LONGEST_LAG + _JOINT  # and `find_first_lag`


def fade(pcm: bytes, start: float, end: float) -> bytes:
    """The sound with its gain going in a straight line from `start` to `end`."""
    samples = array("h", pcm)
    count = len(samples) or 1
    step = (end - start) / count
    return array("h", [int(x * (start + step * i)) for i, x in enumerate(samples)]).tobytes()


def fade_in(pcm: bytes, rate: int) -> bytes:
    """The sound with its first 5 ms rising from nothing."""
    joint = 2 * int(_JOINT * rate)
    return fade(pcm[:joint], 0.0, 1.0) + pcm[joint:]


def crossfade(old: bytes, new: bytes) -> bytes:
    """From `old` to `new`; as long as the shorter of them."""
    a, b = array("h", old), array("h", new)
    count = min(len(a), len(b))
    step = 1.0 / (count + 1)
    mixed = [int(a[i] + (b[i] - a[i]) * step * (i + 1)) for i in range(count)]
    return array("h", mixed).tobytes()


def shorten(pcm: bytes, rate: int) -> bytes:
    """The sound with one pitch period, or something like it, cut out; 20 ms or longer.

    Its beginning goes over into the place up to 15 ms later where it sounds most alike.
    """
    shortest, joint = 2 * int(_SHORTEST_LAG * rate), 2 * int(_JOINT * rate)
    latest = 2 * int((_LONGEST_LAG + _JOINT) * rate)
    cut = shortest + 2 * _find(pcm[:joint], pcm[shortest:latest])
    return crossfade(pcm[:joint], pcm[cut : cut + joint]) + pcm[cut + joint :]


def find_lag(pcm: bytes, rate: int) -> int:
    """How many samples back the end of `pcm` sounded most alike: the pitch period, or its like.

    `pcm` must hold at least `LAG_CONTEXT` seconds.
    """
    shortest, longest = int(_SHORTEST_LAG * rate), int(_LONGEST_LAG * rate)
    reference = int(_REFERENCE * rate)
    where = pcm[-2 * (longest + reference) : -2 * shortest]
    return longest - _find(pcm[-2 * reference :], where)


def stretch(pcm: bytes, rate: int) -> bytes:
    """The sound with one pitch period, or something like it, said twice; 20 ms or longer."""
    shortest, joint = 2 * int(_SHORTEST_LAG * rate), 2 * int(_JOINT * rate)
    latest = 2 * int((_LONGEST_LAG + _JOINT) * rate)
    cut = shortest + 2 * _find(pcm[:joint], pcm[shortest:latest])
    return pcm[:cut] + crossfade(pcm[cut : cut + joint], pcm[:joint]) + pcm[joint:]


def find_first_lag(pcm: bytes, rate: int) -> int:
    """How many samples on the beginning of `pcm` sounds most alike; as `find_lag`."""
    shortest, longest = int(_SHORTEST_LAG * rate), int(_LONGEST_LAG * rate)
    reference = int(_JOINT * rate)
    return shortest + _find(pcm[: 2 * reference], pcm[2 * shortest : 2 * (longest + reference)])


def _find(what: bytes, where: bytes) -> int:
    """The place, in samples, where something sounds most alike.

    findfit takes a sound upside down for as good a match; raised above zero it cannot be one.
    """
    raised = [audioop.bias(audioop.mul(pcm, 2, 0.5), 2, 16384) for pcm in (where, what)]
    return audioop.findfit(*raised)[0]
