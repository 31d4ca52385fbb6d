"""Tones: their frequencies, lengths and levels, and that every country has its own."""

import numpy as np
import pytest

from media.country import COUNTRIES, cadence
from media.order import (
    Tone,
)
from media.tone import Piece, ToneSource, amplitude, sines
from tests.media.sound import frequency, roughness, samples

RATE = 8000


def sound(tone: Tone, country: str, repeat: int = 1) -> bytes:
    source = ToneSource(cadence(tone, country), repeat)
    pieces = []
    while (piece := source.pcm(RATE)) is not None:
        pieces.append(piece)
    return b"".join(pieces)


def on_and_off(pcm: bytes) -> list[int]:
    """Milliseconds of sound and silence in turn, to 10 ms."""
    block = RATE // 100
    power = np.abs(samples(pcm)[: len(pcm) // 2 // block * block].reshape(-1, block)).max(axis=1)
    edges = np.flatnonzero(np.diff((power > 100).astype(int)))
    return [int(x) * 10 for x in np.diff(np.concatenate(([-1], edges, [len(power) - 1])))]


@pytest.mark.parametrize(
    ("tone", "country", "expected"),
    [
        (Tone.RINGBACK, "DE", [1000, 4000]),
        (Tone.BUSY, "DE", [480, 480]),
        (Tone.RINGBACK, "us", [2000, 4000]),
        (Tone.RINGBACK, "GB", [400, 200, 400, 2000]),
        (Tone.CONGESTION, "GB", [400, 350, 230, 530]),
        (Tone.BUSY, "", [500, 500]),
        (Tone.BUSY, "??", [500, 500]),
    ],
)
def test_a_cadence_lasts_as_long_as_it_should(
    tone: Tone, country: str, expected: list[int]
) -> None:
    assert on_and_off(sound(tone, country)) == pytest.approx(expected, abs=20)


def test_a_cadence_is_repeated_without_drift() -> None:
    pcm = sound(Tone.BUSY, "BE", 20)
    assert len(pcm) / 2 / RATE == 20.0
    assert on_and_off(sound(Tone.CONGESTION, "BE", 60)) == pytest.approx([167] * 120, abs=20)


@pytest.mark.parametrize(("country", "hertz"), [("DE", 425), ("FR", 440), ("GB", 400), ("CN", 450)])
def test_a_tone_has_its_countrys_pitch(country: str, hertz: int) -> None:
    pcm = sound(Tone.BUSY, country)[: 2 * RATE // 4]
    assert frequency(pcm, RATE) == pytest.approx(hertz, abs=2)


def test_special_information_is_three_notes_that_rise() -> None:
    pcm = sound(Tone.INFORMATION, "DE")
    notes = [pcm[2 * RATE * i * 330 // 1000 :][: 2 * RATE * 300 // 1000] for i in range(3)]
    assert [frequency(n, RATE) for n in notes] == pytest.approx([950, 1400, 1800], abs=5)


def test_two_frequencies_are_heard_at_once() -> None:
    spectrum = np.abs(np.fft.rfft(samples(sound(Tone.BUSY, "US")[: 2 * RATE // 2]), RATE))
    strongest = np.sort(np.argsort(spectrum)[-2:])
    assert list(strongest) == pytest.approx([480, 620], abs=2)


@pytest.mark.parametrize("country", sorted(COUNTRIES))
def test_every_country_has_every_tone_at_a_bearable_level(country: str) -> None:
    assert len(country) == 2
    for tone in Tone:
        pieces = cadence(tone, country)
        assert all(p.length_ms >= 100 for p in pieces)
        assert all(100 <= f <= 3400 for p in pieces for f in p.frequencies)
        source = ToneSource(pieces, 1)
        peak = max(np.abs(samples(source.pcm(RATE) or b"")).max() for _ in range(10))
        assert amplitude(-25) < peak <= amplitude(-10) + 1


def test_there_are_at_least_fifteen_countries() -> None:
    assert len(COUNTRIES) >= 15


def test_a_piece_may_be_longer_than_a_second() -> None:
    source = ToneSource((Piece((440,), 3000),), 1)
    pcm = b"".join(source.pcm(RATE) or b"" for _ in range(150))
    assert len(pcm) == 2 * RATE * 3
    assert source.pcm(RATE) is None
    one = sines(((440, amplitude(-10)),), 0, 1000, RATE)
    assert roughness(pcm[100:-100]) == pytest.approx(roughness(one), rel=0.02)
    assert sines(((440, amplitude(-10)),), 990, 20, RATE) == one[2 * 7920 :] + one[: 2 * 80]
