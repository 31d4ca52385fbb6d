"""Tones made and tones found: what proves that two ends hear each other.

Levels are RMS in dB below a full-scale square wave (dBFS as in dBov, RFC 6464): a sine of amplitude
0.25 has −15.05.
"""

import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float64]

DTMF_LOW = (697, 770, 852, 941)
DTMF_HIGH = (1209, 1336, 1477, 1633)
DTMF_KEYS = ("123A", "456B", "789C", "*0#D")
GAP = 6
"""Steps of 5 ms for which a tone may be interrupted and still be one digit (Q.24, annex A)."""


@dataclass(frozen=True, slots=True)
class Sound:
    """Mono samples in −1…1."""

    samples: Samples
    rate: int

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate

    def part(self, start: float, end: float | None = None) -> "Sound":
        """From `start` to `end` seconds; negative ones count from the end."""
        stop = None if end is None else int(end * self.rate)
        return Sound(self.samples[int(start * self.rate) : stop], self.rate)

    @property
    def level(self) -> float:
        """RMS in dBFS, −100 for silence."""
        if not len(self.samples):
            return -100.0
        power = float(np.mean(self.samples**2))
        return max(-100.0, 10 * np.log10(power)) if power else -100.0

    @property
    def frequency(self) -> float:
        """The strongest frequency in Hz, between the bins by a parabola through the log spectrum; 0
        in silence.
        """
        if self.level < -60 or len(self.samples) < self.rate // 50:
            return 0.0
        spectrum = np.abs(np.fft.rfft(self.samples * np.hanning(len(self.samples)))) + 1e-12
        peak = int(np.argmax(spectrum[1:-1])) + 1
        left, middle, right = np.log(spectrum[peak - 1 : peak + 2])
        offset = 0.5 * (left - right) / (left - 2 * middle + right)
        return float((peak + offset) * self.rate / len(self.samples))

    def steady(self, seconds: float = 2.0) -> "Sound":
        """The loudest stretch of this length: the tone without the silence and set-up around it."""
        size = int(seconds * self.rate)
        if len(self.samples) <= size:
            return self
        power = np.concatenate(([0.0], np.cumsum(self.samples**2)))
        energy = power[size:] - power[:-size]
        # The middle of everything that is nearly as loud as the loudest, away from both edges.
        loud = np.flatnonzero(energy > 0.98 * energy.max())
        start = int(loud[len(loud) // 2])
        return Sound(self.samples[start : start + size], self.rate)

    def heard(self, frequency: float, *, within: float = 25.0) -> Sequence[tuple[float, float]]:
        """Stretches (start, end) in seconds in which this tone is what is heard."""
        block = self.rate // 20
        found: list[tuple[float, float]] = []
        for index in range(len(self.samples) // block):
            piece = Sound(self.samples[index * block : (index + 1) * block], self.rate)
            start, end = index * block / self.rate, (index + 1) * block / self.rate
            if abs(piece.frequency - frequency) < within:
                if found and start - found[-1][1] < 1e-6:
                    found[-1] = (found[-1][0], end)
                else:
                    found.append((start, end))
        return found

    def save(self, path: Path) -> Path:
        with wave.open(str(path), "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(self.rate)
            out.writeframes((np.clip(self.samples, -1, 1) * 32767).astype("<i2").tobytes())
        return path


def tone(
    *frequencies: float, seconds: float = 60.0, rate: int = 48_000, amplitude: float = 0.25
) -> Sound:
    """A steady tone, or several at once with the same amplitude each."""
    time = np.arange(int(seconds * rate)) / rate
    return Sound(
        sum((amplitude * np.sin(2 * np.pi * f * time) for f in frequencies), 0 * time), rate
    )


def load(path: Path) -> Sound:
    """A WAV file; of several channels the first. A file still being written is read as far as it
    goes.
    """
    data = path.read_bytes()
    with wave.open(str(path), "rb") as source:
        rate, channels = source.getframerate(), source.getnchannels()
    body = data[44 : len(data) - (len(data) - 44) % (2 * channels)]
    samples = np.frombuffer(body, "<i2").astype(np.float64) / 32768
    return Sound(samples[::channels], rate)


def from_pcm(data: bytes, rate: int) -> Sound:
    """Little-endian 16-bit samples."""
    return Sound(np.frombuffer(data, "<i2").astype(np.float64) / 32768, rate)


def digits(sound: Sound) -> str:
    """The DTMF digits that are heard (ITU-T Q.23), by Goertzel's filters over 20 ms every 5 ms."""
    size, step = sound.rate // 50, sound.rate // 200
    if len(sound.samples) < size:
        return ""
    time = np.arange(size) / sound.rate
    filters = np.exp(-2j * np.pi * np.outer([*DTMF_LOW, *DTMF_HIGH], time)) * np.hanning(size)
    windows = np.lib.stride_tricks.sliding_window_view(sound.samples, size)[::step]
    powers = np.abs(windows @ filters.T) ** 2
    energy = np.sum((windows * np.hanning(size)) ** 2, axis=1) * size
    heard: list[str] = []
    run, last, gap = 0, "", 0
    for row, total in zip(powers, energy, strict=True):
        low, high = int(np.argmax(row[:4])), int(np.argmax(row[4:]))
        key = ""
        both = row[low] + row[4 + high]
        # Two lines of like strength that hold most of the energy (a third is all of it under this
        # window).
        alike = 0.1 < row[low] / (row[4 + high] + 1e-12) < 10
        if alike and total > 1e-5 * size**2 and both > 0.2 * total:
            key = DTMF_KEYS[low][high]
        if not key and last and gap < GAP:
            gap += 1
            continue
        gap = 0
        if key and key == last:
            run += 1
            if run == 3:
                heard.append(key)
        else:
            run = 1 if key else 0
        last = key
    return "".join(heard)
