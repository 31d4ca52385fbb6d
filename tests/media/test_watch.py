"""Sound that passes in one direction only: noticed within five seconds, and nothing else is taken
for it. In virtual time."""

import pytest

from media.order import (
    Expect,
)
from media.plane import (
    AudioBack,
    AudioLost,
    Failed,
    Side,
)
from media.rtp import RtpPacket
from media.watch import Watch
from tests.media.party import FRAME
from tests.media.session_lab import BRIDGE, BROWSER, PBX, Lab

BROWSER_HOST, PBX_HOST = BROWSER[0], PBX[0]
CUTS = [
    ((BROWSER_HOST, BRIDGE), AudioLost(Side.WEBRTC, outward=False)),
    ((BRIDGE, BROWSER_HOST), AudioLost(Side.WEBRTC, outward=True)),
    ((PBX_HOST, BRIDGE), AudioLost(Side.SDES, outward=False)),
    ((BRIDGE, PBX_HOST), AudioLost(Side.SDES, outward=True)),
]


def make() -> Lab:
    lab = Lab()
    lab.browser.formats = lab.pbx.formats = ("0 PCMU/8000",)
    return lab


def lost(lab: Lab) -> list[AudioLost]:
    return lab.of(AudioLost)


@pytest.mark.parametrize("direction", ["out", "in"])
@pytest.mark.parametrize(("cut", "expected"), CUTS)
def test_a_direction_that_is_cut_is_noticed(
    cut: tuple[str, str], expected: AudioLost, direction: str
) -> None:
    lab = make()
    lab.reports_every = 2.5
    lab.call_out() if direction == "out" else lab.call_in()
    lab.run(0.5)
    lab.talk(6.0, browser="pcmu")
    assert not lost(lab)
    lab.cut.add(cut)
    start = lab.now
    while expected not in lost(lab) and lab.now - start < 10:
        lab.talk(0.1)
    assert lab.now - start <= 5
    lab.cut.clear()
    lab.talk(5.0)
    assert AudioBack(expected.side, expected.outward) in lab.of(AudioBack)
    assert not lab.of(Failed)


@pytest.mark.parametrize("side", Side)
def test_a_side_that_is_never_heard_is_noticed(side: Side) -> None:
    lab = make()
    lab.spoken["browser" if side is Side.WEBRTC else "pbx"] = False
    lab.call_out()
    lab.run(0.5)
    lab.talk(4.5, browser="pcmu")
    assert lost(lab) == [AudioLost(side, outward=False)]


def test_one_that_is_silent_while_it_rings_is_judged_anew_when_it_answers() -> None:
    lab = make()
    lab.spoken["pbx"] = False
    lab.call_out()
    lab.run(0.5)
    lab.talk(10.0, browser="pcmu")
    lab.session.perform(Expect(Side.SDES), lab.now)
    lab.talk(3.0)
    assert len(lost(lab)) == 1
    lab.talk(1.5)
    assert len(lost(lab)) == 2


def test_hold_is_no_alarm() -> None:
    lab = make()
    lab.call_out()
    lab.run(0.5)
    lab.talk(1.0, browser="pcmu")
    for direction in ("inactive", "sendonly"):
        lab.pbx.direction = direction
        lab.session.offer(Side.SDES, lab.pbx.offer(), lab.now)
        lab.pump()
        lab.spoken["pbx"] = False
        lab.talk(40.0)
        lab.pbx.direction = "sendrecv"
        lab.session.offer(Side.SDES, lab.pbx.offer(), lab.now)
        lab.spoken["pbx"] = True
        lab.talk(5.0)
    assert not lost(lab)
    assert not lab.of(Failed)


def test_who_sends_a_packet_now_and_then_is_no_alarm() -> None:
    """Opus with DTX, in the browser."""
    lab = make()
    lab.call_out()
    lab.run(0.5)
    lab.talk(1.0, browser="pcmu")
    lab.spoken["browser"] = False
    for _ in range(50):
        for said in lab.browser.say(lab.voices["browser"].next(), lab.now):
            lab.put([said], BROWSER)
        lab.talk(0.4)
    assert not lost(lab)


# --- a side alone


def packet(sequence: int, payload_type: int = 0) -> RtpPacket:
    return RtpPacket(
        payload_type=payload_type,
        sequence=sequence,
        timestamp=sequence * 160,
        ssrc=1,
        payload=bytes(160),
        marker=False,
    )


def speaking(watch: Watch, first: int, count: int, now: float) -> float:
    for sequence in range(first, first + count):
        watch.audio(packet(sequence), now)
        now += FRAME
    return now


def test_who_paused_before_may_pause_longer() -> None:
    watch = Watch()
    watch.restart(0.0)
    now = speaking(watch, 1, 50, 0.0)
    now = speaking(watch, 51, 50, now + 2.0)
    watch.report(None, 0, now)
    watch.look(now + 14.0)
    assert not watch.is_lost[False]
    watch.look(now + 15.5)
    assert watch.is_lost[False]
    assert watch.is_silent(30.0, now + 31.0)


def test_a_gap_in_the_numbers_is_no_pause() -> None:
    watch = Watch()
    watch.restart(0.0)
    now = speaking(watch, 1, 50, 0.0)
    now = speaking(watch, 151, 50, now + 2.0)
    watch.look(now + 4.0)
    assert watch.is_lost[False]


def test_comfort_noise_without_reports_is_not_judged_and_lives_longer() -> None:
    watch = Watch()
    watch.restart(0.0)
    now = speaking(watch, 1, 50, 0.0)
    watch.audio(packet(51, payload_type=13), now)
    watch.look(now + 60.0)
    assert not watch.is_lost[False]
    assert not watch.is_silent(30.0, now + 100.0)
    assert watch.is_silent(30.0, now + 121.0)


@pytest.mark.parametrize("highest", [0, 65535, None])
def test_reports_that_never_made_sense_are_no_alarm(highest: int | None) -> None:
    watch = Watch()
    watch.restart(0.0)
    for second in range(1, 60):
        watch.report(highest, 30000 + 50 * second, float(second))
        assert not watch.is_lost[True]


def test_who_is_sent_nothing_reports_nothing_new() -> None:
    watch = Watch()
    watch.restart(0.0)
    watch.report(999, 1000, 1.0)
    for second in range(2, 60):
        watch.report(999, 1000, float(second))
        watch.report(None, 1000, float(second))
        assert not watch.is_lost[True]


def test_reports_that_stay_behind_or_leave_us_out_tell_of_loss() -> None:
    watch = Watch()
    watch.restart(0.0)
    watch.report(65530, 65535, 1.0)
    watch.report(65530, 40, 2.0)  # numbers wrap; that much may be under way
    assert not watch.is_lost[True]
    watch.report(65530, 200, 5.0)
    assert watch.is_lost[True]
    watch.report(190, 200, 6.0)
    assert not watch.is_lost[True]
    watch.report(None, 400, 11.0)
    assert watch.is_lost[True]


def test_whether_a_side_hears_is_not_known_until_it_says_so() -> None:
    watch = Watch()
    watch.restart(0.0)
    now = speaking(watch, 0, 500, 0.0)
    assert watch.hears is None  # that it speaks says nothing
    watch.report(None, 500, now)
    assert watch.hears is None
    hears: list[bool | None] = []
    for sequence in (500, 750):
        watch.report(498, sequence, now)
        hears.append(watch.hears)
    watch.restart(now)
    assert [*hears, watch.hears] == [True, False, None]


def test_a_record_says_unknown_where_no_reports_come() -> None:
    lab = make()
    lab.call_out()
    lab.run(0.5)
    lab.talk(8.0, browser="pcmu")
    assert lab.session._report().sdes.hears is None
    lab.reports_every = 1.0
    lab.talk(4.0)
    assert lab.session._report().sdes.hears is True
    assert lab.session._report().webrtc.hears is True


def reporting(watch: Watch, every: float, until: float, now: float) -> list[float]:
    """When it is lost, looked at twice a second, while reports come and nothing else."""
    lost, due = [], now + every
    while now < until:
        now += 0.5
        if now >= due:
            due += every
            watch.report(None, 0, now)
        watch.look(now)
        if watch.is_lost[False]:
            lost.append(now)
    return lost


@pytest.mark.parametrize("every", [1.0, 2.5, 5.0])
def test_a_phone_system_that_is_silent_and_reports_is_there(every: float) -> None:
    """Asterisk, when a phone behind it holds and there is no music: no hold is signalled to us."""
    watch = Watch()
    watch.restart(0.0)
    for turn in range(3):
        now = speaking(watch, 50 * turn, 50, every * turn)
        watch.report(None, 0, every * (turn + 1))
    assert reporting(watch, every, now + 60, 3 * every) == []


@pytest.mark.parametrize("after", [0.0, 1.0, 2.5, 4.5])
def test_one_that_reports_every_five_seconds_is_missed_within_six(after: float) -> None:
    """And within five, unless the path is lost right behind a report."""
    watch = Watch()
    watch.restart(0.0)
    for turn in range(3):
        watch.report(None, 0, 5.0 * turn)
    now = speaking(watch, 0, round(after / FRAME), 10.0)
    (first, *_) = reporting(watch, 1000.0, now + 20, 10.0 + after)
    assert first - now <= (6.0 if after < 1 else 5.0)
