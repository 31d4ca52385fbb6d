"""An attendant and voice mail, as a user of the plane would write it: what the phone hears, what is
told of it, and what is in the file afterwards. In virtual time."""

import numpy as np
import pytest

from media.attendant import Captured
from media.codec import encoder
from media.ogg import OggOpus
from media.order import (
    Accept,
    Collect,
    Collected,
    CollectEnd,
    Play,
    Played,
    PlayEnd,
    Record,
    Recorded,
    RecordEnd,
    SoundFile,
    Tone,
    ToneSignal,
)
from media.plane import (
    Digit,
    MediaEvent,
    Side,
)
from media.rtp import build
from media.sound import RATE, Sound, pack
from tests.media import sound
from tests.media.party import Voice
from tests.media.session_lab import PBX, Lab
from tests.media.test_recorder import pitch, played

GREETING, WRONG, CODE = SoundFile("/greeting"), SoundFile("/wrong"), "4711"
BEEP = ToneSignal(Tone.BEEP)


def said(hertz: float, seconds: float) -> Sound:
    made, coder = Sound(), encoder("opus", RATE, {})
    pieces = sound.frames(sound.tone(hertz, RATE, seconds), RATE)
    made.add(pack([coder.encode(piece) for piece in pieces]))
    made.is_whole = True
    return made


class Mailbox:
    """Greets; lets somebody with the code through; records everybody else."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.is_owner = False
        self.recorded: Recorded | None = None
        self.ogg = OggOpus(1)
        self.file = self.ogg.begin()
        self._read = 0

    def answer(self) -> None:
        lab = self.lab
        lab.session.offer(Side.SDES, lab.pbx.offer(), lab.now)
        lab.session.perform(Accept(Side.SDES), lab.now)
        lab.pbx.accept(lab.answer(Side.SDES))
        self._order(Collect(Side.SDES, most=4, first_timeout=2.0, digit_timeout=1.5))
        self._order(Play(Side.SDES, GREETING, until_digit=True))

    def _order(self, order: Play | Collect | Record) -> None:
        self.lab.session.perform(order, self.lab.now)

    def listen(self) -> None:
        """Take what has been told since the last time."""
        self.lab.pump()
        events, self._read = self.lab.events[self._read :], len(self.lab.events)
        for event in events:
            self._hear(event)

    def _hear(self, event: MediaEvent | Captured) -> None:
        match event:
            case Collected(digits=code) if code == CODE:
                self.is_owner = True
            case Collected(reason=CollectEnd.TIMEOUT, digits=""):
                self._order(Play(Side.SDES, BEEP))
            case Collected():
                self._order(Collect(Side.SDES, most=4, first_timeout=2.0, digit_timeout=1.5))
                self._order(Play(Side.SDES, WRONG, until_digit=True))
            case Played(reason=PlayEnd.FINISHED) if self._has_beeped:
                self._order(Record("/a.ogg", Side.SDES, silence=1.0, until_digit=True))
            case Captured(packets):
                self.file += b"".join(map(self.ogg.add, packets))
            case Recorded():
                self.file += self.ogg.end()
                self.recorded = event

    @property
    def _has_beeped(self) -> bool:
        collected = self.lab.of(Collected)
        return bool(collected) and collected[-1].reason is CollectEnd.TIMEOUT


class Caller:
    """Somebody at a phone who hears, waits, speaks and presses keys."""

    def __init__(self, mailbox: Mailbox) -> None:
        self.lab, self.mailbox = mailbox.lab, mailbox
        self.voice = Voice("pcma", 8, 1000.0)

    def wait(self, seconds: float, *, speaking: bool = False) -> None:
        for _ in range(round(seconds / 0.02)):
            if speaking:
                self.lab.put(self.lab.pbx.say(self.voice.next()), PBX)
            self.lab.run(0.02)
            self.mailbox.listen()

    def press(self, digit: str, seconds: float = 0.2) -> None:
        """Hold a key: telephone-events with their end, which nothing else comes between."""
        voice, code = self.voice, "0123456789*#".index(digit)
        timestamp = voice.timestamp
        for count in range(1, round(seconds / 0.02) + 1):
            ends = count == round(seconds / 0.02)
            body = bytes((code, 0x8A if ends else 0x0A)) + (160 * count).to_bytes(2)
            packet = build(101, voice.sequence, timestamp, 77, body, count == 1)
            self.lab.put(self.lab.pbx.say(packet), PBX)
            voice.skip()
            self.lab.run(0.02)
            self.mailbox.listen()

    def hears(self, seconds: float = 0.5) -> float:
        """The pitch of the last piece."""
        pcm, rate = self.lab.pbx.ear.pcm("pcma", 8)
        return sound.frequency(pcm[-2 * round(seconds * rate) :], rate)


@pytest.fixture
def caller() -> Caller:
    mailbox = Mailbox(Lab(sounds={"/greeting": said(440.0, 6.0), "/wrong": said(550.0, 6.0)}))
    mailbox.answer()
    return Caller(mailbox)


def test_a_caller_who_waits_leaves_a_message_up_to_the_silence_behind_it(caller: Caller) -> None:
    mailbox = caller.mailbox
    caller.wait(5.5)
    assert caller.hears() == pytest.approx(440, abs=1)
    caller.wait(2.2)  # nobody is hurried before the greeting is over
    assert mailbox.lab.of(Collected) == []
    caller.wait(0.7)
    assert caller.hears(0.2) == pytest.approx(1000, abs=2)
    caller.wait(0.3)
    caller.wait(3.0, speaking=True)
    assert mailbox.lab.of(Recorded) == []
    caller.wait(1.6)
    recorded = mailbox.recorded
    assert recorded is not None
    assert (recorded.path, recorded.reason) == ("/a.ogg", RecordEnd.SILENCE)
    pcm, rate = played(mailbox.file)
    assert len(pcm) / rate == pytest.approx(recorded.seconds, abs=0.01)
    assert recorded.seconds == pytest.approx(0.2 + 3.0 + 0.5, abs=0.2)
    spoken = np.flatnonzero(np.abs(pcm) > 1000)
    assert (spoken[-1] - spoken[0]) / rate == pytest.approx(3.03, abs=0.04)  # its end is concealed
    assert pitch(pcm[rate : 2 * rate]) == pytest.approx(1000, abs=1)
    loud = pcm[spoken[0] : spoken[-1]]
    assert 20 * np.log10(np.std(loud) / 32768) == pytest.approx(-13.3, abs=0.5)
    full = len(recorded.waveform) * 3.0 / recorded.seconds
    assert sum(value > 250 for value in recorded.waveform) == pytest.approx(full, abs=3)


def test_a_key_ends_the_greeting_and_a_code_lets_its_owner_in(caller: Caller) -> None:
    caller.wait(1.0)
    for digit in CODE:
        caller.press(digit)
        caller.wait(0.3)
    assert [p.reason for p in caller.lab.of(Played)] == [PlayEnd.DIGIT]
    assert caller.lab.of(Played)[0].seconds == pytest.approx(1.0, abs=0.1)
    assert caller.lab.of(Collected) == [Collected(Side.SDES, CODE, CollectEnd.FULL)]
    assert [d.digit for d in caller.lab.of(Digit)] == list(CODE)
    assert caller.mailbox.is_owner


def test_a_wrong_code_is_told_and_may_be_tried_again_into_the_prompt(caller: Caller) -> None:
    caller.wait(1.0)
    for digit in "4712":
        caller.press(digit)
        caller.wait(0.3)
    caller.wait(1.0)
    assert caller.hears() == pytest.approx(550, abs=1)
    for digit in CODE:
        caller.press(digit)
        caller.wait(0.3)
    reasons = [(c.digits, c.reason) for c in caller.lab.of(Collected)]
    assert reasons == [("4712", CollectEnd.FULL), (CODE, CollectEnd.FULL)]
    assert caller.mailbox.is_owner


def test_half_a_code_runs_out_of_time(caller: Caller) -> None:
    caller.wait(1.0)
    caller.press("4")
    caller.wait(1.4)
    assert caller.lab.of(Collected) == []
    caller.wait(0.3)
    assert caller.lab.of(Collected) == [Collected(Side.SDES, "4", CollectEnd.TIMEOUT)]


def test_a_key_ends_the_message_and_is_not_in_it(caller: Caller) -> None:
    caller.wait(9.0)
    caller.wait(2.0, speaking=True)
    caller.press("#")
    recorded = caller.mailbox.recorded
    assert recorded is not None
    assert recorded.reason is RecordEnd.DIGIT
    pcm, rate = played(caller.mailbox.file)
    assert len(pcm) / rate == pytest.approx(recorded.seconds, abs=0.01)
    spoken = np.flatnonzero(np.abs(pcm) > 1000)
    assert (spoken[-1] - spoken[0]) / rate == pytest.approx(2.03, abs=0.04)
    assert (len(pcm) - spoken[-1]) / rate == pytest.approx(0.17, abs=0.06)  # the key
