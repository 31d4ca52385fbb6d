"""What is played: sounds kept as Opus frames, and how they and tones reach each codec."""

import pytest

from media.codec import RATES, decoder, encoder
from media.format import Format
from media.player import Player
from media.sound import RATE, Sound, SoundSource, pack
from media.tone import Piece, ToneSource
from tests.media.sound import frames, frequency, tone

SINKS = {
    "pcmu": Format("pcmu", 0, 8000),
    "g722": Format("g722", 9, 8000),
    "opus": Format("opus", 111, 48000, fmtp={"maxaveragebitrate": "64000"}),
}


def hum(seconds: float = 0.5) -> Sound:
    sound = Sound()
    coder = encoder("opus", RATE, {})
    sound.add(pack([coder.encode(frame) for frame in frames(tone(440.0, RATE, seconds), RATE)]))
    sound.is_whole = True
    return sound


def play(player: Player, sink: Format, limit: int = 1000) -> list[bytes]:
    payloads: list[bytes] = []
    while len(payloads) < limit:
        payload = player.pull(sink)
        if player.is_over:
            break
        payloads.append(payload)
    return payloads


def heard(payloads: list[bytes], sink: Format) -> float:
    rate = RATES[sink.codec][0]
    listener = decoder(sink.codec, rate)
    return frequency(b"".join(listener.decode(p) for p in payloads[5:]), rate)


@pytest.mark.parametrize("name", SINKS)
def test_a_sound_is_heard_in_every_codec(name: str) -> None:
    player = Player(SoundSource(hum(), 2))
    payloads = play(player, SINKS[name])
    assert len(payloads) == 50
    assert player.seconds == pytest.approx(1.0)
    assert heard(payloads, SINKS[name]) == pytest.approx(440, abs=2)
    assert player.error == ""


@pytest.mark.parametrize("name", SINKS)
def test_a_tone_is_heard_in_every_codec(name: str) -> None:
    payloads = play(Player(ToneSource((Piece((425,), 1000),), 1)), SINKS[name])
    assert len(payloads) == 50
    assert heard(payloads, SINKS[name]) == pytest.approx(425, abs=2)


def test_an_opus_end_is_sent_the_frames_as_they_are_unless_it_wants_less() -> None:
    sound = hum()
    assert play(Player(SoundSource(sound, 1)), SINKS["opus"]) == sound.frames
    thin = Format("opus", 111, 48000, fmtp={"maxaveragebitrate": "12000"})
    payloads = play(Player(SoundSource(sound, 1)), thin)
    assert sum(map(len, payloads)) <= 12_000 / 8 * 0.6
    assert heard(payloads, thin) == pytest.approx(440, abs=2)


@pytest.mark.parametrize("limit", ["", "x", "\N{SUPERSCRIPT TWO}", "99999999999999"])
def test_a_limit_that_makes_no_sense_is_none(limit: str) -> None:
    sound, sink = hum(), Format("opus", 111, 48000, fmtp={"maxaveragebitrate": limit})
    assert play(Player(SoundSource(sound, 1)), sink) == sound.frames


def test_what_is_played_goes_on_when_the_codec_changes() -> None:
    player = Player(SoundSource(hum(), None))
    assert len(play(player, SINKS["pcmu"], 20)) == 20
    assert heard(play(player, SINKS["opus"], 40), SINKS["opus"]) == pytest.approx(440, abs=2)
    assert heard(play(player, SINKS["g722"], 40), SINKS["g722"]) == pytest.approx(440, abs=2)


def test_frames_that_have_not_come_yet_are_waited_for() -> None:
    whole, sound = hum(), Sound()
    player = Player(SoundSource(sound, 1))
    assert [player.pull(SINKS["opus"]) for _ in range(3)] == [b""] * 3
    sound.add(pack(whole.frames[:2]))
    assert player.pull(SINKS["opus"]) == whole.frames[0]
    sound.add(pack(whole.frames[2:4]))
    sound.is_whole = True
    assert play(player, SINKS["opus"]) == whole.frames[1:4]


@pytest.mark.parametrize("name", SINKS)
def test_a_sound_that_cannot_be_had_is_over_at_once(name: str) -> None:
    sound = Sound()
    sound.is_whole, sound.error = True, "broken"
    player = Player(SoundSource(sound, None))
    assert play(player, SINKS[name]) == []
    assert player.error == "broken"


def test_an_empty_sound_does_not_go_round_for_ever() -> None:
    sound = Sound()
    sound.is_whole = True
    assert play(Player(SoundSource(sound, None)), SINKS["pcmu"]) == []


def test_a_broken_frame_is_silence() -> None:
    sound = Sound()
    sound.add(pack([b"\xff\xff\xff", *hum().frames]))
    sound.is_whole = True
    assert len(play(Player(SoundSource(sound, 1)), SINKS["pcmu"])) == 26


@pytest.mark.parametrize("packed", [b"\0", b"\0\5abc"])
def test_cut_frames_are_our_mistake(packed: bytes) -> None:
    with pytest.raises(ValueError, match="a frame without"):
        Sound().add(packed)
