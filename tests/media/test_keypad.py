"""Digits of one direction, in every way in which they come and leave."""

import numpy as np
import pytest

from media.codec import RATES, decoder
from media.dtmf import DIGITS, DigitReceiver, Released
from media.format import Format
from media.keypad import Keypad
from media.outlet import SLOT, Outlet
from media.rtp import RtpPacket
from media.tone import COLUMNS, KEYS, ROWS
from tests.media.sound import samples

EVENTS = Format("pcmu", 0, 8000, 101)
SINKS = {
    "pcmu": Format("pcmu", 0, 8000),
    "pcma": Format("pcma", 8, 8000),
    "g722": Format("g722", 9, 8000),
    "opus": Format("opus", 111, 48000),
}


class Run:
    """A keypad with its outlet, a slot of 20 ms at a time."""

    def __init__(self, sink: Format, *, sends: bool = True) -> None:
        self.keypad = Keypad(sink, sends=sends)
        self.sink = sink
        self.now = 50.0
        self.packets: list[RtpPacket] = []
        self._outlet = Outlet(1, 1, 1, sink.clock_rate)

    def slots(self, count: int) -> None:
        for _ in range(count):
            self.keypad.poll(self.now)
            self._outlet.advance(1, self.now)
            if self.keypad.busy:
                dialled = self.keypad.dial(self._outlet)
                self.packets += [RtpPacket.parse(data) for data in dialled]
            self.now += SLOT

    def event(self, digit: str, number: int, *, ends: bool = False) -> None:
        """A telephone-event from the source."""
        flags = 0x8A if ends else 0x0A
        payload = bytes((DIGITS.index(digit), flags)) + (number * 160).to_bytes(2)
        packet = RtpPacket(101, number, 5000, 9, payload, number == 1)
        self.keypad.receive(packet, 8000, self.now)

    def sent(self) -> list[tuple[str, int]]:
        """Digits that left as telephone-events."""
        receiver = DigitReceiver()
        told = [event for p in self.packets for event in receiver.receive(p, 8000, 0.0)]
        return [(e.digit, e.duration_ms) for e in told if isinstance(e, Released)]

    def heard(self) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], int]:
        rate = RATES[self.sink.codec][0]
        listener = decoder(self.sink.codec, rate)
        return samples(b"".join(listener.decode(p.payload) for p in self.packets)), rate


def _strongest(sound: np.ndarray[tuple[int], np.dtype[np.float64]], rate: int) -> tuple[float, ...]:
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), 1 << 16))
    hertz = np.fft.rfftfreq(1 << 16, 1 / rate)
    low, high = (hertz > 600) & (hertz < 1080), (hertz > 1100) & (hertz < 1800)
    return tuple(float(hertz[band][np.argmax(spectrum[band])]) for band in (low, high))


@pytest.mark.parametrize("name", SINKS)
@pytest.mark.parametrize("digit", "19#D")
def test_a_sink_without_events_hears_a_digit_as_its_tones(name: str, digit: str) -> None:
    run = Run(SINKS[name])
    run.keypad.press(digit, 160)
    run.slots(20)
    assert len(run.packets) == 8 + 3  # and the pause after it
    sound, rate = run.heard()
    middle = sound[int(0.04 * rate) : int(0.14 * rate)]
    row = next(i for i, keys in enumerate(KEYS) if digit in keys)
    low, high = _strongest(middle, rate)
    assert low == pytest.approx(ROWS[row], rel=0.01)
    assert high == pytest.approx(COLUMNS[KEYS[row].index(digit)], rel=0.01)
    loud = np.abs(sound) > 2000
    assert (np.flatnonzero(loud)[-1] - np.flatnonzero(loud)[0]) / rate == pytest.approx(
        0.16, abs=0.01
    )


def test_tones_of_digits_are_apart_and_as_long_as_their_keys_are_down() -> None:
    run = Run(SINKS["pcmu"])
    for number in range(1, 16):
        run.event("7", number)
        run.slots(1)
    run.event("7", 15, ends=True)
    run.keypad.press("8", 100)
    run.slots(30)
    sound, rate = run.heard()
    loud = np.sqrt(np.mean(sound.reshape(-1, rate // 50) ** 2, axis=1)) > 1000
    assert list(np.flatnonzero(np.diff(loud.astype(int)))) == [
        15,
        18,
        23,
    ]  # it lasts until it is released
    assert run.keypad.told() == [("7", 300)]


def test_a_digit_said_beside_the_media_is_told_and_sent() -> None:
    run = Run(EVENTS)
    run.keypad.take("5", 180, run.now)
    run.slots(20)
    assert run.keypad.told() == [("5", 180)]
    assert run.sent() == [("5", 180)]


def test_a_digit_said_both_ways_is_one() -> None:
    run = Run(EVENTS)
    run.event("1", 1)
    run.slots(3)
    run.keypad.take("1", 60, run.now)
    run.event("1", 4, ends=True)
    run.slots(10)
    run.keypad.take("1", 60, run.now)
    run.slots(10)
    assert run.keypad.told() == [("1", 80)]
    assert run.sent() == [("1", 100)]


def test_a_digit_said_beside_the_media_a_little_earlier_is_one() -> None:
    run = Run(EVENTS)
    run.keypad.take("5", 100, run.now)
    run.slots(2)
    run.event("5", 1)
    run.slots(4)
    run.event("5", 5, ends=True)
    run.slots(20)
    assert run.keypad.told() == [("5", 100)]
    assert run.sent() == [("5", 100)]


def test_from_then_on_only_the_media_count() -> None:
    run = Run(EVENTS)
    run.keypad.take("5", 100, run.now)
    run.event("5", 1)
    run.event("5", 5, ends=True)
    run.slots(20)
    run.keypad.take("6", 100, run.now)
    run.slots(20)
    assert run.sent() == [("5", 100)]


def test_another_digit_in_the_media_is_not_that_one() -> None:
    run = Run(EVENTS)
    run.keypad.take("5", 100, run.now)
    run.event("6", 1)
    run.event("6", 5, ends=True)
    run.slots(30)
    assert run.sent() == [("5", 100), ("6", 100)]


def test_a_sink_that_is_sent_no_digits_gets_none_and_they_are_told() -> None:
    run = Run(EVENTS, sends=False)
    run.event("5", 1)
    assert not run.keypad.covers
    run.event("5", 5, ends=True)
    run.keypad.press("6", 100)
    run.keypad.take("7", 100, run.now)
    run.slots(20)
    assert run.packets == []
    assert run.keypad.told() == [("5", 100)]


def test_a_sink_that_takes_events_later_gets_them() -> None:
    run = Run(SINKS["pcmu"])
    run.keypad.press("1", 100)
    run.slots(3)
    run.sink = EVENTS
    run.keypad.change(EVENTS)
    assert not run.keypad.busy
    run.packets.clear()
    run.keypad.press("2", 100)
    run.slots(10)
    assert run.sent() == [("2", 100)]
