"""Sound to send and the measures of what was heard."""

from array import array
from functools import lru_cache
from math import pi, sin

import numpy as np
from numpy.typing import NDArray


@lru_cache(64)  # a call takes two of them, and most calls the same
def tone(frequency: float, rate: int, seconds: float, level: float = 10_000.0) -> bytes:
    """A steady tone; `level` is its peak."""
    count = int(rate * seconds)
    return array(
        "h", [int(level * sin(2 * pi * frequency * i / rate)) for i in range(count)]
    ).tobytes()


def frames(pcm: bytes, rate: int, frame_ms: int = 20) -> list[bytes]:
    size = 2 * rate * frame_ms // 1000
    return [pcm[i : i + size] for i in range(0, len(pcm) - size + 1, size)]


def samples(pcm: bytes) -> NDArray[np.float64]:
    return np.frombuffer(pcm, np.int16).astype(np.float64)


def frequency(pcm: bytes, rate: int) -> float:
    """Of the strongest tone, in Hz, to a tenth or so."""
    x = samples(pcm)
    size = 1 << 17
    spectrum = np.abs(np.fft.rfft(x * np.hanning(len(x)), size))
    return float(np.argmax(spectrum)) * rate / size


def level_db(pcm: bytes, reference: bytes) -> float:
    """How much louder `pcm` is than `reference`."""
    return float(20 * np.log10(np.std(samples(pcm)) / np.std(samples(reference))))


def roughness(pcm: bytes) -> float:
    """The largest bend from one sample to the next two: what a click is made of."""
    return float(np.max(np.abs(np.diff(samples(pcm), 2)), initial=0.0))
