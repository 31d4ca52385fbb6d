"""What holds for every codec; each has a file of its own besides."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.codec import RATES, CodecError, common_rate, decoder, encoder
from tests.media.sound import frames, frequency, level_db, roughness, tone

each = [(name, rate) for name, rates in RATES.items() for rate in rates]
every_codec = pytest.mark.parametrize(("name", "rate"), each)


@every_codec
@pytest.mark.parametrize("hertz", [300.0, 1004.0, 2600.0])
def test_a_tone_comes_through(name: str, rate: int, hertz: float) -> None:
    sound = tone(hertz, rate, 1.0)
    coder, listener = encoder(name, rate, {}), decoder(name, rate)
    heard = b"".join(listener.decode(coder.encode(frame)) for frame in frames(sound, rate))
    assert len(heard) == len(sound)
    settled = heard[len(heard) // 4 :]
    assert frequency(settled, rate) == pytest.approx(hertz, abs=1.0)
    assert level_db(settled, sound) == pytest.approx(0.0, abs=3.0)


@pytest.mark.parametrize(("one", "other"), [(16000, 8000), (8000, 16000)])
@pytest.mark.parametrize("name", ["opus", "g722"])
def test_both_ends_may_run_at_different_rates(name: str, one: int, other: int) -> None:
    sound = tone(1004.0, one, 1.0)
    coder, listener = encoder(name, one, {}), decoder(name, other)
    heard = b"".join(listener.decode(coder.encode(frame)) for frame in frames(sound, one))
    settled = heard[len(heard) // 4 :]
    assert frequency(settled, other) == pytest.approx(1004.0, abs=1.0)
    assert level_db(settled, sound) == pytest.approx(0.0, abs=3.0)


@every_codec
@pytest.mark.parametrize("lost", [{20}, {20, 21}, {20, 22, 24}, set(range(20, 40))])
def test_a_gap_is_filled_without_a_click(name: str, rate: int, lost: set[int]) -> None:
    sound = tone(440.0, rate, 1.2)
    coder, listener = encoder(name, rate, {}), decoder(name, rate)
    payloads = [coder.encode(frame) for frame in frames(sound, rate)]
    intact = b"".join(decode_all(name, rate, payloads, set()))
    pieces = decode_all(name, rate, payloads, lost)
    assert {len(piece) for piece in pieces} == {2 * rate // 50}
    # once a codec has settled, the tone itself bends by so much; a click would be many times that
    smooth = roughness(intact[len(intact) // 5 :])
    heard = b"".join(pieces)
    assert roughness(heard[len(heard) // 5 :]) < 3.0 * smooth + 700
    assert listener.rate == coder.rate == rate


def decode_all(name: str, rate: int, payloads: list[bytes], lost: set[int]) -> list[bytes]:
    listener = decoder(name, rate)
    pieces = []
    for i, payload in enumerate(payloads):
        if i not in lost:
            pieces.append(listener.decode(payload))
        else:
            after = payloads[i + 1] if i + 1 < len(payloads) and i + 1 not in lost else None
            pieces.append(listener.conceal(rate // 50, after))
    return pieces


@every_codec
def test_a_single_gap_keeps_the_sound_up(name: str, rate: int) -> None:
    sound = tone(440.0, rate, 1.0)
    coder = encoder(name, rate, {})
    payloads = [coder.encode(frame) for frame in frames(sound, rate)]
    pieces = decode_all(name, rate, payloads, {30})
    assert level_db(pieces[30], pieces[29]) == pytest.approx(0.0, abs=7.0)  # Opus fades early


@every_codec
def test_a_long_gap_falls_silent(name: str, rate: int) -> None:
    sound = tone(440.0, rate, 1.0)
    coder = encoder(name, rate, {})
    payloads = [coder.encode(frame) for frame in frames(sound, rate)]
    pieces = decode_all(name, rate, payloads, set(range(15, 45)))
    # the last piece leads up to the sound that is known to follow
    assert level_db(pieces[43] + tone(1000.0, rate, 0.001, 3.0), pieces[14]) < -20.0


@every_codec
@settings(max_examples=30, deadline=None)
@given(payload=st.binary(max_size=300))
def test_any_payload_is_sound_or_a_codec_error(name: str, rate: int, payload: bytes) -> None:
    listener = decoder(name, rate)
    try:
        pcm = listener.decode(payload)
    except CodecError:
        pcm = b""
    assert len(pcm) % 2 == 0
    assert len(listener.conceal(rate // 50, payload)) == 2 * rate // 50


@pytest.mark.parametrize(
    ("one", "other", "rate"),
    [
        ("opus", "pcmu", 8000),
        ("opus", "g722", 16000),
        ("g722", "pcma", 8000),
        ("pcma", "pcmu", 8000),
        ("opus", "opus", 48000),
    ],
)
def test_two_codecs_meet_at_the_highest_rate_of_both(one: str, other: str, rate: int) -> None:
    assert common_rate(one, other) == common_rate(other, one) == rate


def test_unknown_codecs_and_rates_are_our_mistake() -> None:
    for make in (lambda: encoder("speex", 8000, {}), lambda: decoder("speex", 8000)):
        with pytest.raises(ValueError, match="unknown codec"):
            make()
    for name in ("opus", "g722"):
        with pytest.raises(ValueError, match="no rate of 11025"):
            encoder(name, 11025, {})
        with pytest.raises(ValueError, match="no rate of 11025"):
            decoder(name, 11025)
