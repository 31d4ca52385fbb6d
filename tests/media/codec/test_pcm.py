import pytest

from media.codec.pcm import crossfade, fade, fade_in, find_lag, shorten
from tests.media.sound import frequency, roughness, samples, tone

ONES = (b"\xe8\x03") * 100  # 1000


def test_fades_in_a_straight_line() -> None:
    faded = samples(fade(ONES, 0.0, 1.0))
    assert list(faded[::25]) == [0, 250, 500, 750]
    assert fade(b"", 0.0, 1.0) == b""
    rising = samples(fade_in(ONES, 8000))
    assert rising[0] == 0
    assert list(rising[40:]) == [1000] * 60


def test_crossfades_to_the_end_of_the_shorter() -> None:
    mixed = samples(crossfade(bytes(200), ONES[:100]))
    assert len(mixed) == 50
    assert 0 < mixed[0] < mixed[25] < mixed[49] < 1000


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
@pytest.mark.parametrize("hertz", [100.0, 160.0, 250.0, 400.0])
def test_finds_a_period(rate: int, hertz: float) -> None:
    periods = find_lag(tone(hertz, rate, 0.05), rate) * hertz / rate
    assert periods == pytest.approx(round(periods), abs=0.06)
    assert periods > 0.5


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
@pytest.mark.parametrize("hertz", [100.0, 160.0, 250.0, 400.0, 997.0])
def test_shortens_without_a_click(rate: int, hertz: float) -> None:
    before, frame, after = (tone(hertz, rate, 0.06)[i:j] for i, j in cuts(rate))
    cut = shorten(frame, rate)
    assert 0.0025 * rate <= (len(frame) - len(cut)) / 2 <= 0.0151 * rate
    joined = before + cut + after
    assert roughness(joined) < 1.6 * roughness(before + frame + after) + 40
    assert frequency(joined, rate) == pytest.approx(hertz, rel=0.1)


def cuts(rate: int) -> list[tuple[int, int]]:
    step = 2 * rate // 50
    return [(i * step, (i + 1) * step) for i in range(3)]


@pytest.mark.parametrize("pcm", [bytes(320), b"\xff\x7f" * 160, b"\x00\x80\xff\x7f" * 80])
def test_silence_and_overload_do_no_harm(pcm: bytes) -> None:
    assert 80 <= len(shorten(pcm, 8000)) < 320
    assert 0 < find_lag(pcm + pcm, 8000) <= 120
