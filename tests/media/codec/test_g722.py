import pytest

from media.codec.g722 import G722Decoder, G722Encoder
from tests.media.sound import frames, frequency, level_db, tone


@pytest.mark.parametrize("rate", [8000, 16000])
def test_a_byte_is_an_eighth_of_a_millisecond_at_either_rate(rate: int) -> None:
    payload = G722Encoder(rate).encode(bytes(2 * rate // 50))
    assert len(payload) == 160
    assert len(G722Decoder(rate).decode(payload)) == 2 * rate // 50


def test_the_upper_band_is_carried_at_16_khz() -> None:
    sound = tone(5500.0, 16000, 1.0)
    coder, listener = G722Encoder(16000), G722Decoder(16000)
    heard = b"".join(listener.decode(coder.encode(frame)) for frame in frames(sound, 16000))[8000:]
    assert frequency(heard, 16000) == pytest.approx(5500.0, abs=1.0)
    assert level_db(heard, sound) == pytest.approx(0.0, abs=3.0)


def test_the_upper_band_does_not_fold_into_a_telephone() -> None:
    """What is above 4 kHz must vanish, and not turn up below it."""
    sound = tone(5500.0, 16000, 1.0)
    coder, listener = G722Encoder(16000), G722Decoder(8000)
    heard = b"".join(listener.decode(coder.encode(frame)) for frame in frames(sound, 16000))[4000:]
    assert level_db(heard, sound) < -35.0


def test_a_telephone_has_no_mirror_image_in_the_upper_band() -> None:
    sound = tone(2500.0, 8000, 1.0)
    coder, listener = G722Encoder(8000), G722Decoder(16000)
    heard = b"".join(listener.decode(coder.encode(frame)) for frame in frames(sound, 8000))[8000:]
    import numpy as np

    spectrum = np.abs(np.fft.rfft(np.frombuffer(heard, np.int16) * np.hanning(len(heard) // 2)))
    hertz = np.fft.rfftfreq(len(heard) // 2, 1 / 16000)
    mirror = spectrum[(hertz > 5400) & (hertz < 5600)].max()
    assert 20 * np.log10(mirror / spectrum.max()) < -35.0
