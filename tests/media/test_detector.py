"""Digits found in sound, held against ITU-T Q.24, and speech that is none."""

import numpy as np
import pytest
from numpy.typing import NDArray

from media.detector import ToneDetector
from media.dtmf import DIGITS, Pressed, Released
from media.tone import COLUMNS, KEYS, ROWS, amplitude

Sound = NDArray[np.float64]
RATE = 8000


def key(
    digit: str,
    milliseconds: int,
    *,
    rate: int = RATE,
    low_dbm0: float = -10.0,
    high_dbm0: float = -10.0,
    low_off: float = 0.0,
    high_off: float = 0.0,
    phases: tuple[float, float] = (0.3, 1.1),
) -> Sound:
    row = next(i for i, keys in enumerate(KEYS) if digit in keys)
    time = np.arange(rate * milliseconds // 1000) / rate
    low = 2 * np.pi * ROWS[row] * (1 + low_off) * time + phases[0]
    high = 2 * np.pi * COLUMNS[KEYS[row].index(digit)] * (1 + high_off) * time + phases[1]
    return amplitude(low_dbm0) * np.sin(low) + amplitude(high_dbm0) * np.sin(high)


def silence(milliseconds: int, rate: int = RATE) -> Sound:
    return np.zeros(rate * milliseconds // 1000)


def hear(*parts: Sound, rate: int = RATE, noise: float = 0.0) -> tuple[str, Sound, list[int]]:
    """Digits found, the sound that is left, and how long each digit was."""
    sound = np.concatenate([*parts, silence(100, rate)])
    sound += np.random.default_rng(5).normal(0.0, noise, len(sound)) if noise else 0.0
    detector = ToneDetector(rate)
    digits, left, lengths = "", [], []
    pcm = sound.round().clip(-32768, 32767).astype("<i2").tobytes()
    frame = 2 * rate // 50
    for start in range(0, len(pcm) - frame + 1, frame):
        told, rest = detector.listen(pcm[start : start + frame])
        left.append(rest)
        for event in told:
            if isinstance(event, Released):
                lengths.append(event.duration_ms)
            else:
                digits += event.digit
    return digits, np.frombuffer(b"".join(left), "<i2").astype(np.float64), lengths


def share(found: str, **changes: float) -> float:
    """How often each digit is heard as itself, wherever it begins."""
    milliseconds = int(changes.pop("milliseconds", 60))
    noise = changes.pop("noise", 0.0)
    heard = []
    for index, digit in enumerate(found):
        for before in (20, 23, 27, 36):
            phases = (0.4 * index + before, 0.9 * index)
            sound = key(digit, milliseconds, phases=phases, **changes)  # type: ignore[arg-type]
            heard.append(hear(silence(before), sound, noise=noise)[0] == digit)
    return sum(heard) / len(heard)


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_every_digit_is_heard_as_itself_and_as_long_as_it_was(rate: int) -> None:
    for digit in DIGITS:
        digits, _, lengths = hear(silence(27, rate), key(digit, 120, rate=rate), rate=rate)
        assert digits == digit
        assert lengths == [pytest.approx(120, abs=20)]


def test_40_ms_are_a_digit_and_23_are_none() -> None:
    assert share(DIGITS, milliseconds=40) == 1.0
    assert share(DIGITS, milliseconds=23) == 0.0


@pytest.mark.parametrize("off", [-0.015, 0.015])
def test_a_frequency_may_be_off_by_one_and_a_half_percent(off: float) -> None:
    assert share("147*0#", low_off=off) == 1.0
    assert share("123ABCD", high_off=off) == 1.0
    assert share("159D", low_off=off, high_off=-off) == 1.0


@pytest.mark.parametrize("off", [-0.05, -0.04, -0.035, 0.035, 0.04, 0.05])
def test_a_frequency_may_not_be_off_by_three_and_a_half(off: float) -> None:
    assert share("147*0#", low_off=off) == 0.0
    assert share("123ABCD", high_off=off) == 0.0


def test_the_tones_may_differ_by_as_much_as_lines_make_them() -> None:
    assert share("159D", low_dbm0=-14.0, high_dbm0=-10.0) == 1.0
    assert share("159D", low_dbm0=-10.0, high_dbm0=-18.0) == 1.0
    assert share("159D", low_dbm0=-18.0, high_dbm0=-10.0) == 0.0
    assert share("159D", low_dbm0=-10.0, high_dbm0=-22.0) == 0.0


@pytest.mark.parametrize("level", [0.0, -10.0, -25.0, -30.0])
def test_loud_and_faint_digits_are_heard(level: float) -> None:
    assert share("159D", low_dbm0=level, high_dbm0=level) == 1.0


def test_what_is_too_faint_is_left_alone() -> None:
    assert share("159D", low_dbm0=-50.0, high_dbm0=-50.0) == 0.0


@pytest.mark.parametrize("snr", [24.0, 15.0, 12.0])
def test_noise_does_not_matter_much(snr: float) -> None:
    assert share("159D", noise=amplitude(-10.0) * 10 ** (-snr / 20)) == 1.0


def test_an_interruption_of_10_ms_is_none_and_40_ms_part_two_digits() -> None:
    for before in (20, 23, 27, 36):
        short = [silence(before), key("5", 80), silence(10), key("5", 80)]
        assert hear(*short)[0] == "5"
        long = [silence(before), key("5", 80), silence(40), key("5", 80)]
        assert hear(*long)[0] == "55"


def test_another_key_at_once_is_another_digit() -> None:
    assert hear(silence(20), key("1", 100), key("2", 100), key("3", 100))[0] == "123"


def test_a_digit_is_taken_out_of_the_sound_before_anybody_takes_it_for_one() -> None:
    for before in (20, 23, 27, 36):
        _, left, _ = hear(silence(before), key("8", 200))
        assert np.count_nonzero(np.abs(left) > 300) < 0.030 * RATE
        again = ToneDetector(RATE).listen(left.astype("<i2").tobytes())[0]
        assert again == []


@pytest.mark.parametrize("hertz", [425, 697, 1209, 1400, 2100])
def test_one_tone_alone_is_no_digit(hertz: int) -> None:
    tone = 8000 * np.sin(2 * np.pi * hertz * np.arange(RATE) / RATE)
    digits, left, _ = hear(tone)
    assert digits == ""
    assert np.array_equal(left[: len(tone)], tone.round())


@pytest.mark.parametrize("pair", [(440, 480), (480, 620), (350, 440), (941, 1477 + 80)])
def test_other_pairs_of_tones_are_no_digit(pair: tuple[int, int]) -> None:
    time = np.arange(RATE) / RATE
    one, other = (5000 * np.sin(2 * np.pi * f * time) for f in pair)
    assert hear(one + other)[0] == ""


def test_noise_is_no_digit() -> None:
    noise = np.random.default_rng(1).normal(0.0, 5000.0, 60 * RATE)
    assert hear(noise)[0] == ""


def test_a_voice_is_no_digit() -> None:
    """A minute of vowels: harmonics of a pitch that glides, and trembles by one percent as
    that of people does, under three formants."""
    random = np.random.default_rng(2)
    sounds = []
    for _ in range(120):
        time = np.arange(RATE // 2) / RATE
        glide = random.uniform(-0.2, 0.2)
        pitch = random.uniform(80, 350) * (1 + glide * time)
        tremble = np.repeat(random.normal(0.0, 0.01, len(time) // 40), 40)
        turned = 2 * np.pi * np.cumsum(pitch * (1 + tremble)) / RATE
        formants = np.sort(random.uniform([250, 800, 2200], [900, 2300, 3200]))
        sound = np.zeros(len(time))
        for harmonic in range(1, int(3600 / pitch.max())):
            at = harmonic * pitch.mean()
            poles = [1 - (at / f) ** 2 + 1j * at * 90 / f**2 for f in formants]
            gain = 1 / abs(np.prod(poles)) / harmonic  # the glottis falls by 12 dB, lips give 6
            sound += gain * np.sin(harmonic * turned + random.uniform(0, 6))
        sounds.append(6000 * sound / np.abs(sound).max())
    assert hear(np.concatenate(sounds))[0] == ""


def test_a_piece_may_have_any_length() -> None:
    detector = ToneDetector(RATE)
    for size in (0, 1, 2, 79, 160, 161, 480):
        told, left = detector.listen(bytes(2 * size))
        assert (told, len(left)) == ([], 2 * size)


def test_a_press_and_its_release_come_in_turn() -> None:
    pcm = np.concatenate([key("1", 60), silence(60)] * 20).astype("<i2").tobytes()
    detector = ToneDetector(RATE)
    told = [e for i in range(0, len(pcm), 320) for e in detector.listen(pcm[i : i + 320])[0]]
    assert [type(e) for e in told] == [Pressed, Released] * 20
