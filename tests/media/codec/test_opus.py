from collections.abc import Mapping

import numpy as np
import pytest

from media.codec import opus
from media.codec.base import CodecError
from media.codec.opus import OpusDecoder, OpusEncoder
from tests.media.sound import frames, samples, tone


def speechlike(rate: int, seconds: float) -> bytes:
    """A moving pitch with harmonics, in syllables: what the encoder takes for a voice."""
    t = np.arange(int(rate * seconds)) / rate
    phase = 2 * np.pi * np.cumsum(140 + 30 * np.sin(2 * np.pi * 0.7 * t)) / rate
    voice = sum(np.sin(n * phase) / n for n in range(1, 12))
    level = np.clip(np.sin(2 * np.pi * 2.5 * t), 0, 1) * 6000
    return bytes((level * voice).astype(np.int16).tobytes())


def sizes(fmtp: Mapping[str, str], sound: bytes, rate: int = 16000) -> list[int]:
    encoder = OpusEncoder(rate, fmtp)
    return [len(encoder.encode(frame)) for frame in frames(sound, rate)]


def bandwidth(payload: bytes) -> str:
    """From the first byte of a packet (RFC 6716 §3.1)."""
    config = payload[0] >> 3
    if config < 16:
        return ("nb", "mb", "wb", "swb", "fb")[
            config // 4 if config < 12 else 3 + (config - 12) // 2
        ]
    return ("nb", "wb", "swb", "fb")[(config - 16) // 4]


def test_the_rate_is_some_24_kbit() -> None:
    spent = sum(sizes({}, speechlike(16000, 4.0))) * 8 / 4.0
    assert 6_000 < spent < 28_000


@pytest.mark.parametrize(
    ("fmtp", "factor"),
    [
        ({"maxaveragebitrate": "10000"}, 0.75),
        ({"maxaveragebitrate": "1"}, 0.6),  # lifted to the least that Opus has
        ({"maxaveragebitrate": "510000"}, 1.0),  # more than we want to spend
        ({"maxaveragebitrate": "many"}, 1.0),
        ({"maxaveragebitrate": "٣"}, 1.0),
        ({"maxaveragebitrate": "9" * 40}, 1.0),
        ({"maxplaybackrate": "-5", "stereo": "1", "sprop-stereo": "1"}, 1.0),
    ],
)
def test_the_far_ends_limit_is_kept(fmtp: dict[str, str], factor: float) -> None:
    sound = speechlike(16000, 3.0)
    assert sum(sizes(fmtp, sound)) <= 1.03 * factor * sum(sizes({}, sound))


@pytest.mark.parametrize(
    ("playback", "band"), [("8000", "nb"), ("12000", "mb"), ("16000", "wb"), ("48000", "wb")]
)
def test_no_band_is_sent_that_is_not_played(playback: str, band: str) -> None:
    encoder = OpusEncoder(16000, {"maxplaybackrate": playback, "maxaveragebitrate": "40000"})
    payloads = [encoder.encode(frame) for frame in frames(speechlike(16000, 2.0), 16000)]
    assert bandwidth(payloads[-1]) == band


def test_a_telephone_costs_no_upper_band() -> None:
    encoder = OpusEncoder(8000)
    payloads = [encoder.encode(frame) for frame in frames(speechlike(8000, 1.0), 8000)]
    assert {bandwidth(payload) for payload in payloads[5:]} == {"nb"}


def test_constant_rate_on_request() -> None:
    assert len(set(sizes({"cbr": "1"}, speechlike(16000, 2.0)))) == 1


@pytest.mark.parametrize(
    ("fmtp", "thin", "spares"),
    [({"usedtx": "1"}, True, True), ({"usedtx": "1"}, False, False), ({}, True, False)],
)
def test_silence_is_not_sent_over_a_thin_link_on_request(
    fmtp: dict[str, str], thin: bool, spares: bool
) -> None:
    encoder = OpusEncoder(16000, fmtp)
    encoder.set_thin(thin)
    payloads = [encoder.encode(frame) for frame in frames(bytes(2 * 16000 * 3), 16000)]
    assert (payloads.count(b"") > 100) is spares


def test_a_tone_is_sent_to_its_end() -> None:
    """With DTX libopus takes one for noise after a second, and sends a piece of it now and then;
    Matrix clients ask for DTX."""
    assert sizes({"usedtx": "1"}, tone(440.0, 16000, 4.0)).count(0) == 0


def test_a_lost_frame_comes_back_from_its_copy() -> None:
    sound = speechlike(16000, 4.0)
    encoder = OpusEncoder(16000, {"useinbandfec": "1"})
    encoder.expect_loss(0.2)
    payloads = [encoder.encode(frame) for frame in frames(sound, 16000)]
    errors = {}
    for use_copy in (False, True):
        whole, broken = OpusDecoder(16000), OpusDecoder(16000)
        error = 0.0
        for i, payload in enumerate(payloads):
            right = samples(whole.decode(payload))
            if i % 5 != 4 or i + 1 == len(payloads):
                broken.decode(payload)
                continue
            filled = samples(broken.conceal(320, payloads[i + 1] if use_copy else None))
            error += float(np.sum((right - filled) ** 2))
        errors[use_copy] = error
    assert errors[True] < 0.4 * errors[False]


@pytest.mark.parametrize("frame_ms", [20, 60])
def test_a_thin_link_that_loses_gets_copies(frame_ms: int) -> None:
    encoder = OpusEncoder(8000, {"useinbandfec": "1"})
    encoder.set_thin(True)
    encoder.expect_loss(0.05)
    payloads = [encoder.encode(f) for f in frames(speechlike(8000, 4.0), 8000, frame_ms)]
    # RFC 6716 §4.2.4: behind a flag of speech for each 20 ms, one tells of copies.
    copies = [payload[1] >> (7 - frame_ms // 20) & 1 for payload in payloads if len(payload) > 8]
    assert len(copies) > len(payloads) / 2
    assert sum(copies) > 0.6 * len(copies)
    assert sum(map(len, payloads)) * 8 / 4.0 < 21_000


def test_any_length_of_packet_is_decoded() -> None:
    for frame_ms in (10, 20, 40, 60):
        payload = OpusEncoder(8000).encode(bytes(2 * 8 * frame_ms))
        assert len(OpusDecoder(8000).decode(payload)) == 2 * 8 * frame_ms
        assert len(OpusDecoder(48000).decode(payload)) == 2 * 48 * frame_ms


def test_an_empty_payload_is_no_sound() -> None:
    with pytest.raises(CodecError):
        OpusDecoder(8000).decode(b"")


def test_a_frame_of_odd_length_is_our_mistake() -> None:
    with pytest.raises(ValueError, match="101 samples"):
        OpusEncoder(8000).encode(tone(440.0, 8000, 101 / 8000))


def test_without_a_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opus, "_candidates", lambda: ["/nonexistent/libopus.so.0"])
    with pytest.raises(opus.OpusUnavailable, match="apt install libopus0"):
        opus.library.__wrapped__()


def test_the_library_of_the_av_package_is_found_without_importing_it() -> None:
    import subprocess
    import sys

    script = (
        "import sys; from media.codec import opus; opus.library(); "
        "print('av' in sys.modules, 'numpy' in sys.modules, opus._candidates()[0])"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    av_loaded, numpy_loaded, path = run.stdout.split()
    assert (av_loaded, numpy_loaded) == ("False", "False")
    assert "libopus" in path


def spent(encoder: OpusEncoder, sound: bytes, frame_ms: int = 20) -> float:
    """bit/s"""
    pieces = frames(sound, encoder.rate, frame_ms)
    return sum(len(encoder.encode(piece)) for piece in pieces) * 8000 / len(pieces) / frame_ms


def test_copies_of_lost_speech_have_bits_of_their_own() -> None:
    sound = speechlike(8000, 4.0)
    usual, wary = (OpusEncoder(8000, {"useinbandfec": "1"}) for _ in range(2))
    wary.expect_loss(0.05)
    assert spent(wary, sound) > 1.03 * spent(usual, sound)


def test_a_thin_link_gets_a_third_and_the_usual_again_when_it_has_recovered() -> None:
    sound = speechlike(8000, 4.0)
    encoder = OpusEncoder(8000, {"useinbandfec": "1"})
    usual = spent(encoder, sound)
    encoder.set_thin(True)
    assert spent(encoder, sound, 60) < 12_500
    encoder.expect_loss(0.05)
    assert spent(encoder, sound, 60) < 16_500
    encoder.expect_loss(0.0)
    encoder.set_thin(False)
    assert spent(encoder, sound) == pytest.approx(usual, rel=0.05)
