"""What a session does beside carrying the call, in virtual time: digits, prompts, recordings."""

from itertools import pairwise

import pytest

from media.attendant import Captured
from media.codec import encoder
from media.order import (
    Accept,
    Collect,
    Collected,
    CollectEnd,
    Level,
    Listen,
    Play,
    Played,
    PlayEnd,
    Press,
    Record,
    Recorded,
    RecordEnd,
    SoundFile,
    StopCollecting,
    StopPlaying,
    StopRecording,
    TakeDigit,
    Tone,
    ToneSignal,
)
from media.plane import (
    AnswerReady,
    AudioLost,
    Closed,
    Digit,
    Failed,
    Failure,
    OfferReady,
    SessionSettings,
    Side,
)
from media.recorder import SILENCE
from media.rtp import build
from media.sound import RATE, Sound, pack
from tests.media.party import Browser
from tests.media.session_lab import BROWSER, PBX, Lab
from tests.media.sound import frames, tone

RINGBACK = ToneSignal(Tone.RINGBACK, "DE")


def calling(settings: SessionSettings | None = None) -> Lab:
    """A call of the browser's that both have spoken in."""
    lab = Lab(settings, sounds={"/hum": hum(), "/broken": broken()})
    lab.call_out()
    lab.talk(0.5)
    return lab


def hum(seconds: float = 0.6) -> Sound:
    sound = Sound()
    coder = encoder("opus", RATE, {})
    sound.add(pack([coder.encode(frame) for frame in frames(tone(440.0, RATE, seconds), RATE)]))
    sound.is_whole = True
    return sound


def broken() -> Sound:
    sound = Sound()
    sound.is_whole, sound.error = True, "It is broken."
    return sound


# --- digits


def test_a_digit_of_ours_is_sent_and_one_said_beside_the_media_is_told_and_passed_on() -> None:
    lab = calling()
    lab.session.perform(Press(Side.SDES, "4", 160), lab.now)
    lab.session.perform(TakeDigit(Side.SDES, "5", 160), lab.now)
    lab.talk(0.5)
    assert [e for e in lab.events if isinstance(e, Digit)] == [Digit(Side.SDES, "5", 160)]
    assert {p.payload[0] for p in lab.pbx.ear.of(101)} == {4}
    assert {p.payload[0] for p in lab.browser.ear.of(110)} == {5}


def test_a_digit_of_ours_waits_while_a_side_holds_us() -> None:
    lab = calling()
    lab.pbx.direction = "sendonly"
    lab.session.offer(Side.SDES, lab.pbx.offer(), lab.now)
    lab.talk(0.1)
    count = len(lab.pbx.ear.packets)
    lab.session.perform(Press(Side.SDES, "4", 160), lab.now)
    lab.talk(0.5)
    assert len(lab.pbx.ear.packets) == count
    lab.pbx.direction = "sendrecv"
    lab.session.offer(Side.SDES, lab.pbx.offer(), lab.now)
    lab.talk(0.5)
    assert {p.payload[0] for p in lab.pbx.ear.of(101)} == {4}


def test_a_pbx_without_telephone_event_hears_a_digit_as_tones() -> None:
    lab = Lab()
    lab.pbx.formats = ("0 PCMU/8000",)
    lab.spoken["browser"] = False
    lab.call_out()
    lab.talk(0.3)
    lab.session.perform(Press(Side.SDES, "5", 1000), lab.now)
    lab.talk(0.8)
    assert lab.pbx.ear.frequency("pcmu", 0) == pytest.approx(1336, abs=5)


def test_a_trunk_that_is_told_of_digits_by_other_means_hears_none() -> None:
    lab = calling(SessionSettings(digits_in_media=False))
    for packet in lab.voices["browser"].digit(110, 5, 4800):
        lab.put(lab.browser.say(packet, lab.now), BROWSER)
    lab.talk(0.3)
    assert [e for e in lab.events if isinstance(e, Digit)] == [Digit(Side.WEBRTC, "5", 100)]
    assert lab.pbx.ear.of(101) == []


# --- playing


def test_a_tone_takes_the_place_of_the_other_side_and_is_told_when_it_ends() -> None:
    lab = calling()
    lab.session.perform(Play(Side.SDES, ToneSignal(Tone.BUSY, "DE"), repeat=2), lab.now)
    lab.talk(0.4)
    assert lab.pbx.ear.frequency("pcmu", 0) == pytest.approx(425, abs=5)
    assert lab.browser.ear.frequency("opus", 111) == pytest.approx(1000, abs=1)
    assert lab.of(Played) == []
    lab.talk(2.2)
    (played,) = lab.of(Played)
    assert (played.side, played.reason) == (Side.SDES, PlayEnd.FINISHED)
    assert played.seconds == pytest.approx(1.92, abs=0.03)
    assert lab.pbx.ear.frequency("pcmu", 0) == pytest.approx(600, abs=1)


def test_a_file_is_heard_as_often_as_wanted_on_either_side() -> None:
    lab = calling()
    lab.session.perform(Play(Side.WEBRTC, SoundFile("/hum"), repeat=3), lab.now)
    lab.session.perform(Play(Side.SDES, SoundFile("/hum")), lab.now)
    lab.talk(0.6)
    assert lab.pbx.ear.frequency("pcmu", 0) == pytest.approx(440, abs=5)
    lab.talk(0.9)
    assert lab.browser.ear.frequency("opus", 111) == pytest.approx(440, abs=5)
    lab.talk(1.0)
    assert [(p.side, p.reason, p.seconds) for p in lab.of(Played)] == [
        (Side.SDES, PlayEnd.FINISHED, 0.6),
        (Side.WEBRTC, PlayEnd.FINISHED, 1.8),
    ]


def test_the_stream_that_leaves_stays_one() -> None:
    lab = calling()
    lab.session.perform(Play(Side.SDES, SoundFile("/hum")), lab.now)
    lab.talk(1.5)
    packets = lab.pbx.ear.of(0)
    assert len({p.ssrc for p in packets}) == 1
    steps = {(b.sequence - a.sequence) & 0xFFFF for a, b in pairwise(packets)}
    assert steps == {1}
    for a, b in pairwise(packets):
        assert (b.timestamp - a.timestamp) & 0xFFFFFFFF == 160


def test_a_relay_is_played_over_too() -> None:
    lab = Lab(sounds={"/hum": hum()})
    lab.browser.formats = ("0 PCMU/8000", "126 telephone-event/8000")
    lab.call_out()
    lab.talk(0.5, browser="pcmu")
    lab.session.perform(Play(Side.SDES, SoundFile("/hum")), lab.now)
    lab.talk(0.6, browser="pcmu")
    assert lab.pbx.ear.frequency("pcmu", 0) == pytest.approx(440, abs=5)
    lab.talk(0.6, browser="pcmu")
    assert lab.pbx.ear.frequency("pcmu", 0) == pytest.approx(600, abs=1)
    packets = lab.pbx.ear.of(0)
    assert {(b.sequence - a.sequence) & 0xFFFF for a, b in pairwise(packets)} == {1}


def test_music_goes_on_until_it_is_stopped() -> None:
    lab = calling()
    lab.session.perform(Play(Side.SDES, SoundFile("/hum"), repeat=None), lab.now)
    lab.talk(3.0)
    assert lab.of(Played) == []
    lab.session.perform(StopPlaying(Side.SDES), lab.now)
    lab.session.perform(StopPlaying(Side.SDES), lab.now)
    (played,) = lab.of(Played)
    assert played.reason is PlayEnd.STOPPED
    assert played.seconds == pytest.approx(3.0, abs=0.05)


def test_what_is_played_next_ends_what_was_played() -> None:
    lab = calling()
    lab.session.perform(Play(Side.SDES, RINGBACK, repeat=None), lab.now)
    lab.talk(0.5)
    lab.session.perform(Play(Side.SDES, SoundFile("/hum")), lab.now)
    lab.talk(1.0)
    assert [p.reason for p in lab.of(Played)] == [PlayEnd.REPLACED, PlayEnd.FINISHED]


@pytest.mark.parametrize("path", ["/broken", "/nowhere"])
def test_a_file_that_cannot_be_played_is_told(path: str) -> None:
    lab = calling()
    lab.session.perform(Play(Side.SDES, SoundFile(path)), lab.now)
    lab.talk(0.1)
    (played,) = lab.of(Played)
    assert (played.reason, bool(played.text)) == (PlayEnd.FAILED, True)


def test_the_sides_own_digit_ends_a_prompt_if_wanted() -> None:
    lab = calling()
    lab.session.perform(Play(Side.SDES, RINGBACK, repeat=None), lab.now)
    lab.session.perform(Play(Side.WEBRTC, RINGBACK, repeat=None, until_digit=True), lab.now)
    lab.talk(0.3)
    lab.session.perform(TakeDigit(Side.SDES, "1", 100), lab.now)
    assert lab.of(Played) == []
    for packet in lab.voices["browser"].digit(110, 5, 4800):
        lab.put(lab.browser.say(packet, lab.now), BROWSER)
    lab.talk(0.3)
    assert [(p.side, p.reason) for p in lab.of(Played)] == [(Side.WEBRTC, PlayEnd.DIGIT)]


def test_a_key_that_is_held_down_ends_a_prompt_at_once() -> None:
    lab = calling()
    lab.session.perform(Play(Side.SDES, RINGBACK, repeat=None, until_digit=True), lab.now)
    lab.talk(0.1)
    voice = lab.voices["pbx"]
    for duration in range(160, 1600, 160):
        body = bytes((5, 0x0A)) + duration.to_bytes(2)
        lab.put(lab.pbx.say(build(101, voice.sequence, 77, 77, body, duration == 160)), PBX)
        voice.skip()
        lab.run(0.02)
        assert [p.reason for p in lab.of(Played)] == [PlayEnd.DIGIT]
    assert lab.of(Digit) == []


def test_a_key_that_was_down_before_a_prompt_does_not_end_it() -> None:
    """Who presses any key to go on has not heard yet what comes next."""
    lab = calling()
    prompt = Play(Side.SDES, RINGBACK, repeat=None, until_digit=True)
    lab.session.perform(prompt, lab.now)
    lab.talk(0.1)
    voice = lab.voices["pbx"]

    def hold(first: int, last: int) -> None:
        for count in range(first, last):
            body = bytes((5, 0x8A if count == 19 else 0x0A)) + (160 * count).to_bytes(2)
            lab.put(lab.pbx.say(build(101, voice.sequence, 77, 77, body, count == 1)), PBX)
            voice.skip()
            lab.run(0.02)

    hold(1, 5)
    assert [p.reason for p in lab.of(Played)] == [PlayEnd.DIGIT]
    lab.session.perform(prompt, lab.now)
    hold(5, 20)
    lab.talk(0.3)
    assert [d.digit for d in lab.of(Digit)] == ["5"]
    assert len(lab.of(Played)) == 1
    for packet in voice.digit(101, 1, 800):
        lab.put(lab.pbx.say(packet), PBX)
    lab.run(0.02)
    assert [p.reason for p in lab.of(Played)] == [PlayEnd.DIGIT] * 2


def test_closing_ends_what_is_played() -> None:
    lab = calling()
    lab.session.perform(Play(Side.SDES, RINGBACK, repeat=None), lab.now)
    lab.talk(0.1)
    lab.session.close(lab.now)
    assert [p.reason for p in lab.of(Played)] == [PlayEnd.STOPPED]


def test_without_terms_there_is_nobody_to_play_to() -> None:
    lab = Lab()
    lab.session.perform(Play(Side.SDES, RINGBACK), lab.now)
    (played,) = lab.of(Played)
    assert played.reason is PlayEnd.FAILED


# --- taking a call ourselves


def test_a_phone_is_answered_by_us_and_the_browser_joins_later() -> None:
    lab = Lab(sounds={"/hum": hum()})
    lab.browser = Browser(offers=False, address=BROWSER, now=lab.now)
    lab.session.offer(Side.SDES, lab.pbx.offer(), lab.now)
    lab.session.perform(Accept(Side.SDES), lab.now)
    lab.session.perform(Accept(Side.SDES), lab.now)
    lab.pbx.accept(lab.answer(Side.SDES))
    lab.session.perform(Play(Side.SDES, SoundFile("/hum"), repeat=None), lab.now)
    lab.spoken["browser"] = False
    lab.talk(1.0, pbx="pcma")
    assert lab.pbx.ear.frequency("pcma", 8) == pytest.approx(440, abs=5)
    lab.session.answer(Side.WEBRTC, lab.browser.answer(lab.of(OfferReady)[0].sdp, lab.now), lab.now)
    lab.run(0.5)
    lab.session.perform(StopPlaying(Side.SDES), lab.now)
    lab.spoken["browser"] = True
    lab.talk(1.0, pbx="pcma")
    assert lab.pbx.ear.frequency("pcma", 8) == pytest.approx(600, abs=1)
    assert lab.browser.ear.frequency("opus", 111) == pytest.approx(1000, abs=1)
    assert len(lab.of(AnswerReady)) == 1
    assert lab.of(Failed) == []


def test_a_browser_is_answered_by_us_and_hears_ringing_before_the_phone_answers() -> None:
    lab = Lab()
    lab.session.offer(Side.WEBRTC, lab.browser.offer(), lab.now)
    lab.session.perform(Accept(Side.WEBRTC), lab.now)
    lab.browser.accept(lab.answer(Side.WEBRTC), lab.now)
    lab.session.perform(Play(Side.WEBRTC, RINGBACK, repeat=None), lab.now)
    lab.run(1.0)
    assert lab.browser.ear.frequency("opus", 111) == pytest.approx(425, abs=5)
    lab.session.answer(Side.SDES, lab.pbx.answer(lab.offer(Side.SDES)), lab.now)
    lab.session.perform(StopPlaying(Side.WEBRTC), lab.now)
    lab.talk(1.0)
    assert lab.browser.ear.frequency("opus", 111) == pytest.approx(1000, abs=1)
    assert lab.pbx.ear.frequency("pcmu", 0) == pytest.approx(600, abs=1)
    assert len(lab.of(AnswerReady)) == 1


def test_a_phone_that_was_answered_by_us_is_heard() -> None:
    lab = Lab()
    lab.session.offer(Side.SDES, lab.pbx.offer(), lab.now)
    lab.session.perform(Accept(Side.SDES), lab.now)
    lab.pbx.accept(lab.answer(Side.SDES))
    lab.session.perform(Play(Side.SDES, RINGBACK, repeat=None, until_digit=True), lab.now)
    lab.spoken["browser"] = False
    lab.talk(0.2)
    for packet in lab.voices["pbx"].digit(101, 5, 800):
        lab.put(lab.pbx.say(packet), lab.pbx.address)
    lab.talk(0.2)
    assert lab.of(Digit) == [Digit(Side.SDES, "5", 100)]
    assert [p.reason for p in lab.of(Played)] == [PlayEnd.DIGIT]


def test_a_phone_that_was_answered_by_us_may_hold_and_change_its_codec() -> None:
    lab = Lab()
    lab.session.offer(Side.SDES, lab.pbx.offer(), lab.now)
    lab.session.perform(Accept(Side.SDES), lab.now)
    lab.pbx.accept(lab.answer(Side.SDES))
    lab.session.perform(Play(Side.SDES, RINGBACK, repeat=None), lab.now)
    lab.run(0.2)
    lab.pbx.direction, lab.pbx.formats = "sendonly", ("8 PCMA/8000",)
    lab.session.offer(Side.SDES, lab.pbx.offer(), lab.now)
    lab.run(0.1)
    count = len(lab.pbx.ear.packets)
    lab.run(0.5)
    assert len(lab.pbx.ear.packets) == count
    lab.pbx.direction = "sendrecv"
    lab.session.offer(Side.SDES, lab.pbx.offer(), lab.now)
    lab.run(0.5)
    assert {p.payload_type for p in lab.pbx.ear.packets[count:]} == {8}
    assert len(lab.pbx.ear.packets[count:]) == pytest.approx(25, abs=2)


def test_a_phone_that_was_answered_by_us_and_falls_silent_ends_the_call() -> None:
    lab = Lab()
    lab.session.offer(Side.SDES, lab.pbx.offer(), lab.now)
    lab.session.perform(Accept(Side.SDES), lab.now)
    lab.pbx.accept(lab.answer(Side.SDES))
    lab.spoken["browser"] = False
    lab.talk(1.0)
    lab.run(5.0)
    assert lab.of(AudioLost) == [AudioLost(Side.SDES, outward=False)]
    lab.run(26.0)
    (failed,) = lab.of(Failed)
    assert failed.failure is Failure.SILENCE


# --- recording


def captured(lab: Lab) -> list[bytes]:
    return [packet for more in lab.of(Captured) for packet in more.packets]


def test_what_a_side_says_is_recorded_and_told_with_its_outline() -> None:
    lab = calling()
    lab.session.perform(Record("/a.ogg", Side.WEBRTC), lab.now)
    lab.talk(2.0)
    assert captured(lab)[0] != SILENCE
    lab.session.perform(StopRecording(), lab.now)
    (recorded,) = lab.of(Recorded)
    assert (recorded.path, recorded.reason) == ("/a.ogg", RecordEnd.STOPPED)
    assert recorded.seconds == pytest.approx(2.0, abs=0.03)
    assert len(captured(lab)) == pytest.approx(100, abs=1)
    assert 90 <= len(recorded.waveform) <= 100
    assert 250 < max(recorded.waveform) < 400
    assert recorded.level_dbov is not None


def test_both_are_recorded_without_harm_to_the_call() -> None:
    lab = calling()
    lab.session.perform(Record("/a.ogg"), lab.now)
    lab.talk(1.0)
    lab.session.close(lab.now)
    (recorded,) = lab.of(Recorded)
    assert recorded.seconds == pytest.approx(1.0, abs=0.03)
    assert isinstance(lab.events[-1], Closed)
    assert lab.browser.ear.frequency("opus", 111) == pytest.approx(1000, abs=1)
    assert lab.pbx.ear.frequency("pcmu", 0) == pytest.approx(600, abs=1)


def test_a_digit_ends_a_recording_if_wanted() -> None:
    lab = calling()
    lab.session.perform(Record("/a.ogg", Side.SDES, until_digit=True), lab.now)
    lab.talk(0.5)
    lab.session.perform(TakeDigit(Side.WEBRTC, "#", 100), lab.now)
    assert lab.of(Recorded) == []
    lab.session.perform(TakeDigit(Side.SDES, "#", 100), lab.now)
    (recorded,) = lab.of(Recorded)
    assert recorded.reason is RecordEnd.DIGIT


def test_silence_and_limits_end_a_recording() -> None:
    lab = calling()
    lab.session.perform(Record("/a.ogg", Side.SDES, silence=1.0), lab.now)
    lab.talk(0.5)
    lab.spoken["pbx"] = False
    lab.talk(1.5)
    lab.session.perform(Record("/b.ogg", Side.WEBRTC, max_seconds=0.5), lab.now)
    lab.talk(1.0)
    reasons = [(r.path, r.reason) for r in lab.of(Recorded)]
    assert reasons == [("/a.ogg", RecordEnd.SILENCE), ("/b.ogg", RecordEnd.LIMIT)]


def test_a_second_recording_ends_the_first() -> None:
    lab = calling()
    lab.session.perform(Record("/a.ogg", Side.SDES), lab.now)
    lab.talk(0.3)
    lab.session.perform(Record("/b.ogg", Side.SDES), lab.now)
    lab.talk(0.3)
    lab.session.perform(StopRecording(), lab.now)
    lab.session.perform(StopRecording(), lab.now)
    assert [r.path for r in lab.of(Recorded)] == ["/a.ogg", "/b.ogg"]


def test_a_phone_leaves_a_message_though_nobody_is_at_the_browser() -> None:
    lab = Lab()
    lab.session.offer(Side.SDES, lab.pbx.offer(), lab.now)
    lab.session.perform(Accept(Side.SDES), lab.now)
    lab.pbx.accept(lab.answer(Side.SDES))
    lab.session.perform(Record("/a.ogg", Side.SDES), lab.now)
    lab.spoken["browser"] = False
    lab.talk(1.0, pbx="pcma")
    lab.session.close(lab.now)
    (recorded,) = lab.of(Recorded)
    assert recorded.seconds == pytest.approx(1.0, abs=0.03)
    assert max(recorded.waveform) > 250


def test_without_terms_there_is_nobody_to_record() -> None:
    lab = calling()
    early = Lab()
    early.session.perform(Record("/a.ogg"), lab.now)
    (recorded,) = early.of(Recorded)
    assert (recorded.path, recorded.reason) == (None, RecordEnd.FAILED)


# --- collecting digits


def dial(lab: Lab, digits: str, pause: float = 0.3) -> None:
    """The phone presses keys; each is told when it is released."""
    for digit in digits:
        lab.session.perform(TakeDigit(Side.SDES, digit, 100), lab.now)
        lab.run(pause)


def test_digits_are_collected_up_to_a_terminator() -> None:
    lab = calling()
    lab.session.perform(Collect(Side.SDES, terminators="#*"), lab.now)
    dial(lab, "123*4")
    assert lab.of(Collected) == [Collected(Side.SDES, "123", CollectEnd.TERMINATOR, "*")]
    assert [d.digit for d in lab.of(Digit)] == list("123*4")


def test_digits_are_collected_up_to_a_number() -> None:
    lab = calling()
    lab.session.perform(Collect(Side.SDES, most=4), lab.now)
    dial(lab, "12345")
    assert lab.of(Collected) == [Collected(Side.SDES, "1234", CollectEnd.FULL)]


def test_digits_that_stop_are_collected() -> None:
    lab = calling()
    lab.session.perform(Collect(Side.SDES, digit_timeout=2.0), lab.now)
    dial(lab, "12", pause=1.9)
    assert lab.of(Collected) == []
    lab.run(0.2)
    assert lab.of(Collected) == [Collected(Side.SDES, "12", CollectEnd.TIMEOUT)]


def test_nobody_presses_anything() -> None:
    lab = calling()
    lab.session.perform(Collect(Side.SDES, first_timeout=3.0), lab.now)
    lab.run(2.9)
    assert lab.of(Collected) == []
    lab.run(0.2)
    assert lab.of(Collected) == [Collected(Side.SDES, "", CollectEnd.TIMEOUT)]


def test_patience_begins_when_the_prompt_has_ended() -> None:
    lab = calling()
    prompt = Play(Side.SDES, SoundFile("/hum"), repeat=3)
    lab.session.perform(prompt, lab.now)
    lab.session.perform(Collect(Side.SDES, first_timeout=1.0), lab.now)
    lab.talk(2.5)
    assert (len(lab.of(Played)), lab.of(Collected)) == (1, [])
    lab.talk(0.5)
    assert lab.of(Collected) == [Collected(Side.SDES, "", CollectEnd.TIMEOUT)]


def test_patience_waits_for_a_prompt_that_begins_later() -> None:
    lab = calling()
    lab.session.perform(Collect(Side.SDES, first_timeout=1.0, digit_timeout=0.5), lab.now)
    lab.talk(0.5)
    lab.session.perform(Play(Side.SDES, SoundFile("/hum"), repeat=3), lab.now)
    lab.talk(1.0)
    lab.session.perform(Play(Side.SDES, SoundFile("/hum"), repeat=2), lab.now)
    lab.talk(2.0)
    assert (len(lab.of(Played)), lab.of(Collected)) == (2, [])
    lab.session.perform(Play(Side.SDES, SoundFile("/hum")), lab.now)
    dial(lab, "1", pause=0.4)
    lab.session.perform(Play(Side.SDES, SoundFile("/hum")), lab.now)
    lab.talk(0.3)  # between digits nobody waits
    assert lab.of(Collected) == [Collected(Side.SDES, "1", CollectEnd.TIMEOUT)]


def test_the_first_digit_ends_a_prompt_and_is_collected() -> None:
    lab = calling()
    lab.session.perform(Play(Side.SDES, RINGBACK, None, until_digit=True), lab.now)
    lab.session.perform(Collect(Side.SDES, most=2, first_timeout=0.1), lab.now)
    lab.talk(1.0)
    dial(lab, "42")
    assert [p.reason for p in lab.of(Played)] == [PlayEnd.DIGIT]
    assert lab.of(Collected) == [Collected(Side.SDES, "42", CollectEnd.FULL)]


def test_collecting_can_be_stopped_or_begun_anew() -> None:
    lab = calling()
    lab.session.perform(Collect(Side.SDES), lab.now)
    dial(lab, "1")
    lab.session.perform(Collect(Side.SDES), lab.now)
    dial(lab, "2")
    lab.session.perform(StopCollecting(Side.SDES), lab.now)
    lab.session.perform(StopCollecting(Side.SDES), lab.now)
    lab.session.perform(Collect(Side.SDES), lab.now)
    lab.session.close(lab.now)
    collected = [(c.digits, c.reason) for c in lab.of(Collected)]
    assert collected == [(digits, CollectEnd.STOPPED) for digits in ("1", "2", "")]


def test_the_other_sides_digits_are_not_collected() -> None:
    lab = calling()
    lab.session.perform(Collect(Side.WEBRTC, first_timeout=1.0), lab.now)
    dial(lab, "1")
    lab.run(1.0)
    assert lab.of(Collected) == [Collected(Side.WEBRTC, "", CollectEnd.TIMEOUT)]


def test_an_attendant_takes_a_call_asks_and_is_answered() -> None:
    """Nobody at the browser: the phone hears a prompt and presses keys in its media."""
    lab = Lab(sounds={"/hum": hum()})
    lab.session.offer(Side.SDES, lab.pbx.offer(), lab.now)
    lab.session.perform(Accept(Side.SDES), lab.now)
    lab.pbx.accept(lab.answer(Side.SDES))
    lab.session.perform(Play(Side.SDES, SoundFile("/hum"), None, until_digit=True), lab.now)
    lab.session.perform(Collect(Side.SDES, most=3), lab.now)
    lab.spoken["browser"] = False
    lab.talk(0.5, pbx="pcma")
    for event in (7, 0, 7):
        for packet in lab.voices["pbx"].digit(101, event, 800):
            lab.put(lab.pbx.say(packet), lab.pbx.address)
        lab.talk(0.2, pbx="pcma")
    assert [p.reason for p in lab.of(Played)] == [PlayEnd.DIGIT]
    assert lab.of(Collected) == [Collected(Side.SDES, "707", CollectEnd.FULL)]


# --- listening


def test_how_loud_a_side_is_is_told_until_nobody_wants_to_know() -> None:
    lab = calling()
    lab.session.perform(Listen(Side.SDES, 0.5), lab.now)
    lab.talk(2.0)
    levels = lab.of(Level)
    assert 3 <= len(levels) <= 4
    assert {level.side for level in levels} == {Side.SDES}
    assert levels[-1].dbov == pytest.approx(-13.3, abs=1)
    assert levels[-1].quiet_seconds == 0.0
    lab.spoken["pbx"] = False
    lab.talk(2.0)
    last = lab.of(Level)[-1]
    assert last.dbov == -127.0
    assert last.quiet_seconds == pytest.approx(1.7, abs=0.3)
    lab.session.perform(Listen(Side.SDES, None), lab.now)
    count = len(lab.of(Level))
    lab.talk(1.0)
    assert len(lab.of(Level)) == count


def test_a_browser_is_listened_to_in_a_call_that_is_passed_through() -> None:
    lab = Lab()
    lab.browser.formats = ("0 PCMU/8000", "126 telephone-event/8000")
    lab.call_out()
    lab.talk(0.5, browser="pcmu")
    lab.session.perform(Listen(Side.WEBRTC), lab.now)
    lab.talk(1.5, browser="pcmu")
    (level,) = lab.of(Level)
    assert level.dbov == pytest.approx(-13.3, abs=1)
    assert lab.pbx.ear.frequency("pcmu", 0) == pytest.approx(600, abs=1)


def test_without_terms_nothing_is_listened_to() -> None:
    lab = Lab()
    lab.session.perform(Listen(Side.SDES), lab.now)
    lab.run(2.0)
    assert lab.of(Level) == []
