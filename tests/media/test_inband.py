"""Digits that are tones in the sound, through whole directions."""

import numpy as np
import pytest

from media.codec import RATES, decoder
from media.dtmf import Pressed, Released
from media.format import Format
from media.rtp import RtpPacket
from tests.media.sound import samples, tone
from tests.media.test_detector import key
from tests.media.test_direction import DTMF_SINKS, Run, direction, read_digits, talk

TONED = {
    "pcmu": Format("pcmu", 0, 8000),
    "pcma": Format("pcma", 8, 8000),
    "g722": Format("g722", 9, 8000),
    "opus": Format("opus", 111, 48000),
}


def dialled(form: Format, digits: str = "5", milliseconds: int = 100) -> list[RtpPacket | None]:
    """A quiet hum, the keys, and the hum again."""
    rate = RATES[form.codec][0]
    hum = samples(tone(300.0, rate, 0.5, 500.0))
    parts = [hum]
    for digit in digits:
        parts += [key(digit, milliseconds, rate=rate), hum[: rate // 10]]
    parts.append(hum)
    return [*talk(form, np.concatenate(parts).round().astype("<i2").tobytes())]


def share_of_tone(run: Run, sink: Format, hertz: float) -> float:
    """Seconds in which the far end hears a frequency loud."""
    rate = RATES[sink.codec][0]
    pcm = samples(run.heard(sink, rate))
    block = rate // 100
    blocks = pcm[: len(pcm) // block * block].reshape(-1, block)
    reference = np.exp(-2j * np.pi * hertz * np.arange(block) / rate)
    return float(np.count_nonzero(np.abs(blocks @ reference) * 2 / block > 2000)) / 100


@pytest.mark.parametrize(
    ("source", "sink"), [("pcmu", "opus"), ("pcma", "opus"), ("g722", "opus"), ("opus", "pcmu")]
)
def test_a_tone_is_told_and_becomes_an_event_and_is_not_heard_twice(source: str, sink: str) -> None:
    to = DTMF_SINKS[sink]
    run = Run(direction(TONED[source], to))
    run.feed(dialled(TONED[source], "58"))
    run.idle(20)
    assert [digit for digit, _ in run.digits] == ["5", "8"]
    told = read_digits(run.events(to), to.dtmf_clock)
    assert [e.digit for e in told if isinstance(e, Released)] == ["5", "8"]
    assert all(100 <= e.duration_ms <= 160 for e in told if isinstance(e, Released))
    assert share_of_tone(run, to, 1336.0) <= 0.06  # twice 30 ms at most


@pytest.mark.parametrize("source", ["pcmu", "opus"])
def test_where_the_far_end_takes_tones_it_hears_one_of_our_own(source: str) -> None:
    to = Format("pcma", 8, 8000)
    run = Run(direction(TONED[source], to))
    run.feed(dialled(TONED[source]))
    run.idle(20)
    assert [digit for digit, _ in run.digits] == ["5"]
    assert 0.09 <= share_of_tone(run, to, 1336.0) <= 0.19


def test_a_tone_that_is_passed_on_as_it_is_is_told_only() -> None:
    to = DTMF_SINKS["pcmu"]
    run = Run(direction(TONED["pcmu"], to))
    packets = dialled(TONED["pcmu"])
    run.feed(packets)
    assert [digit for digit, _ in run.digits] == ["5"]
    assert run.events(to) == []
    assert [p.payload for p in run.audio(to)] == [p.payload for p in packets if p is not None]


def test_a_sound_that_stops_within_a_digit_ends_it() -> None:
    run = Run(direction(TONED["pcmu"], DTMF_SINKS["pcmu"]))
    run.feed(dialled(TONED["pcmu"])[:28])
    assert run.digits == []
    run.idle(10)
    assert [digit for digit, _ in run.digits] == ["5"]


@pytest.mark.parametrize("source", ["pcmu", "opus"])
def test_a_tone_is_told_though_nobody_is_at_the_other_end(source: str) -> None:
    run = Run(direction(TONED[source], DTMF_SINKS["pcma"]))
    run.subject.set_sending(False)
    run.feed(dialled(TONED[source]))
    assert [digit for digit, _ in run.digits] == ["5"]
    assert run.sent == []


def test_a_tone_that_is_said_beside_the_media_too_is_one_digit() -> None:
    to = DTMF_SINKS["opus"]
    run = Run(direction(TONED["pcmu"], to))
    packets = dialled(TONED["pcmu"])
    run.feed(packets[:32])
    run.subject.take_digit("5", 100, run.now)
    run.feed(packets[32:])
    run.idle(20)
    assert [digit for digit, _ in run.digits] == ["5"]
    assert read_digits(run.events(to), 48000)[0] == Pressed("5")
    assert len(read_digits(run.events(to), 48000)) == 2
    run.subject.take_digit("6", 100, run.now)
    run.idle(20)
    assert [digit for digit, _ in run.digits] == ["5", "6"]


def test_a_source_with_events_is_not_searched_for_tones() -> None:
    form = Format("pcmu", 0, 8000, 101)
    run = Run(direction(form, DTMF_SINKS["opus"]))
    run.feed(dialled(form))
    assert run.digits == []
    listener = decoder("opus", 48000)
    assert any(np.abs(samples(listener.decode(p.payload))).max() > 5000 for _, p in run.sent)
