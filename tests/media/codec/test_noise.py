from math import sqrt

import pytest

from media.codec.noise import LOUDEST, ComfortNoise, level_of
from tests.media.sound import samples


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("level", [-40.0, -60.0])
def test_noise_has_the_loudness_that_was_said(level: float, rate: int) -> None:
    noise = ComfortNoise(level)
    heard = samples(b"".join(noise.next(rate // 50) for _ in range(100)))
    assert len(heard) == 2 * rate
    assert sqrt((heard**2).mean()) == pytest.approx(32768 * 10 ** (level / 20), rel=0.08)


def test_a_packet_says_its_loudness_and_is_not_believed_when_it_shouts() -> None:
    assert level_of(bytes([55])) == -55.0
    assert level_of(bytes([0x80 | 55, 1, 2, 3])) == -55.0  # and a spectrum
    assert level_of(bytes([0])) == LOUDEST
    assert level_of(b"") == -60.0
