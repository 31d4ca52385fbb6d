from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.dtmf import (
    DIGITS,
    END_TIMEOUT,
    MAX_QUEUE,
    DigitReceiver,
    DigitSender,
    Event,
    Pressed,
    Released,
)
from media.rtp import RtpPacket

Told = list[Pressed | Released]


def packet(
    sequence: int,
    timestamp: int,
    digit: str,
    duration: int,
    end: bool = False,
    marker: bool = False,
) -> RtpPacket:
    payload = bytes((DIGITS.index(digit), 0x8A if end else 0x0A)) + duration.to_bytes(2, "big")
    return RtpPacket(101, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, 7, payload, marker)


def press(
    digit: str, duration_ms: int = 100, *, clock: int = 8000, start: int = 1000, sequence: int = 1
) -> list[RtpPacket]:
    """A digit as the standard has it: updates each 20 ms, the end three times."""
    step = clock // 50
    count = duration_ms // 20
    packets = [
        packet(sequence + i, start, digit, step * (i + 1), marker=i == 0) for i in range(count - 1)
    ]
    end = [packet(sequence + count - 1 + i, start, digit, step * count, True) for i in range(3)]
    return packets + end


def receive(
    receiver: DigitReceiver, packets: Sequence[RtpPacket], clock: int = 8000, now: float = 0.0
) -> Told:
    told: Told = []
    for i, each in enumerate(packets):
        told.extend(receiver.receive(each, clock, now + i * 0.02))
    return told


def assert_one(told: Told, digit: str, duration_ms: int) -> None:
    pressed, released = told
    assert pressed == Pressed(digit)
    assert isinstance(released, Released)
    assert released.digit == digit
    assert released.duration_ms == pytest.approx(duration_ms, abs=40)


# --- receiving


@pytest.mark.parametrize("clock", [8000, 16000, 48000])
def test_an_ordinary_digit_is_told_once(clock: int) -> None:
    for digit in DIGITS:
        told = receive(DigitReceiver(), press(digit, clock=clock), clock)
        assert told == [Pressed(digit), Released(digit, 100)]


def test_a_digit_begins_with_its_first_packet() -> None:
    receiver = DigitReceiver()
    packets = press("5")
    assert receiver.receive(packets[0], 8000, 0.0) == [Pressed("5")]
    assert receiver.active
    receive(receiver, packets[1:])
    assert not receiver.active


def test_nothing_but_end_packets_is_one_digit() -> None:
    """What Chromium sends for telephone-event/8000 beside Opus: three at once, all marked."""
    ends = [packet(i, 4711, "7", 960, end=True, marker=True) for i in range(3)]
    receiver = DigitReceiver()
    told = [event for end in ends for event in receiver.receive(end, 8000, 1.0)]
    assert told == [Pressed("7"), Released("7", 120)]


def test_a_key_pressed_again_is_another_digit() -> None:
    packets = press("1") + press("1", start=1000 + 1600, sequence=20)
    assert receive(DigitReceiver(), packets) == [Pressed("1"), Released("1", 100)] * 2


def test_end_packets_of_one_key_pressed_twice_are_two_digits() -> None:
    ends = [packet(i, 1000, "7", 160, end=True, marker=True) for i in range(3)]
    again = [packet(3 + i, 1000 + 1600, "7", 160, end=True, marker=True) for i in range(3)]
    told = receive(DigitReceiver(), ends + again)
    assert told == [Pressed("7"), Released("7", 20)] * 2


def test_end_packets_whose_timestamp_creeps_are_one_digit() -> None:
    ends = [packet(i, 1000 + i * 20, "7", 160, end=True, marker=True) for i in range(3)]
    assert receive(DigitReceiver(), ends) == [Pressed("7"), Released("7", 20)]


def test_a_lost_end_is_made_up_for_by_time() -> None:
    receiver = DigitReceiver()
    told = receive(receiver, press("9")[:4])
    assert told == [Pressed("9")]
    assert receiver.poll(0.06 + END_TIMEOUT) == []
    assert receiver.poll(0.07 + END_TIMEOUT) == [Released("9", 80)]
    assert receiver.poll(9.0) == []


def test_what_comes_after_that_is_not_told_again() -> None:
    receiver = DigitReceiver()
    packets = press("9")
    receive(receiver, packets[:4])
    receiver.poll(1.0)
    assert receive(receiver, packets[4:], now=1.1) == []
    assert not receiver.active


def test_a_lost_end_is_made_up_for_by_the_next_digit() -> None:
    packets = press("1")[:4] + press("2", start=3000, sequence=20)
    told = receive(DigitReceiver(), packets)
    assert told == [Pressed("1"), Released("1", 80), Pressed("2"), Released("2", 100)]


def test_overlapping_digits_are_both_told() -> None:
    one, two = press("1", 200), press("2", 200, start=1000 + 800, sequence=8)
    told = receive(DigitReceiver(), one[:7] + two)
    assert told == [Pressed("1"), Released("1", 140), Pressed("2"), Released("2", 200)]


def test_late_packets_of_the_digit_before_change_nothing() -> None:
    one, two = press("1"), press("2", start=3000, sequence=20)
    told = receive(DigitReceiver(), one[:5] + two[:2] + one[5:] + two[2:])
    assert told == [Pressed("1"), Released("1", 100), Pressed("2"), Released("2", 100)]


@given(st.permutations(range(7)))
def test_order_does_not_matter(order: list[int]) -> None:
    packets = press("3")
    told = receive(DigitReceiver(), [packets[i] for i in order])
    assert told[0] == Pressed("3")
    assert len(told) == 2


@given(st.sets(st.integers(0, 6), min_size=1))
def test_any_part_of_a_digit_is_the_digit(kept: set[int]) -> None:
    receiver = DigitReceiver()
    told = receive(receiver, [each for i, each in enumerate(press("3")) if i in kept])
    told += receiver.poll(10.0)
    assert [type(event) for event in told] == [Pressed, Released]


@pytest.mark.parametrize("clock", [8000, 48000])
def test_a_long_digit_in_segments_is_one(clock: int) -> None:
    """RFC 4733 §2.5.1.3: after 65535 units a new segment begins where the last one ended."""
    receiver = DigitReceiver()
    total_ms = 20_000
    step = clock // 50
    start, elapsed, told = 0xFFFF_F000, 0, []
    for i in range(total_ms // 20):
        elapsed += step
        if elapsed > 0xFFFF:
            start += elapsed - step
            elapsed = step
        told += receiver.receive(packet(i, start, "8", elapsed, marker=i == 0), clock, i * 0.02)
    told += receiver.receive(packet(1000, start, "8", elapsed, end=True), clock, 20.0)
    assert_one(told, "8", total_ms)


@pytest.mark.parametrize("clock", [8000, 48000])
def test_a_long_digit_that_was_cut_off_for_a_while_is_still_one(clock: int) -> None:
    """A burst of loss at the end of a segment looks like a lost end; the next segment, which has no
    marker, is not another press."""
    receiver = DigitReceiver()
    step = clock // 50
    last = 0xFFFF // step * step
    told: Told = []
    now = 0.0
    for number, duration in enumerate(range(step, last + 1, step)):
        now += 0.02
        if duration < last - 20 * step:
            told += receiver.receive(
                packet(number, 0, "8", duration, marker=number == 0), clock, now
            )
        told += receiver.poll(now)
    for number in range(10):
        now += 0.02
        update = packet(5000 + number, last, "8", (number + 1) * step, end=number >= 7)
        told += receiver.receive(update, clock, now)
    assert [type(event) for event in told] == [Pressed, Released]
    again = packet(6000, last + 30 * step, "8", step, marker=True)
    assert receiver.receive(again, clock, now) == [Pressed("8")]


def test_a_sender_that_starts_anew_is_heard() -> None:
    receiver = DigitReceiver()
    receive(receiver, press("1", start=0x8000_0000))
    told = receive(receiver, press("2", start=5, sequence=100))
    assert told == [Pressed("2"), Released("2", 100)]
    other = [RtpPacket(101, p.sequence, p.timestamp, 8, p.payload, p.marker) for p in press("2")]
    assert receive(receiver, other) == [Pressed("2"), Released("2", 100)]


@pytest.mark.parametrize("payload", ["", "01", "018a00", "108a0140", "258a0140", "ff8a0140"])
def test_what_is_no_digit_is_left_alone(payload: str) -> None:
    receiver = DigitReceiver()
    event = RtpPacket(101, 1, 1, 7, bytes.fromhex(payload))
    assert receiver.receive(event, 8000, 0.0) == []
    assert not receiver.active


@given(
    st.lists(
        st.tuples(
            st.integers(0, 0xFFFF),
            st.integers(0, 0xFFFFFFFF),
            st.booleans(),
            st.one_of(st.binary(max_size=6), st.sampled_from([p.payload for p in press("4")])),
        ),
        max_size=30,
    )
)
def test_any_packets_are_told_in_pairs(packets: list[tuple[int, int, bool, bytes]]) -> None:
    receiver = DigitReceiver()
    told: Told = []
    for i, (sequence, timestamp, marker, payload) in enumerate(packets):
        event = RtpPacket(101, sequence, timestamp, 7, payload, marker)
        told += receiver.receive(event, 8000, i * 0.02)
    told += receiver.poll(1e9)
    assert [type(event) for event in told] == [Pressed, Released] * (len(told) // 2)
    assert [a.digit == b.digit for a, b in zip(told[::2], told[1::2], strict=True)].count(
        False
    ) == 0


# --- sending


def run(sender: DigitSender, slots: int = 1000, clock: int = 8000) -> list[list[Event]]:
    """Slots until the sender has nothing more to do."""
    sent = []
    for i in range(slots):
        if not sender.keys.busy:
            break
        sent.append(sender.step(i * clock // 50))
    return sent


def read(event: Event) -> tuple[str, bool, int]:
    code, flags = event.payload[:2]
    return DIGITS[code], bool(flags & 0x80), int.from_bytes(event.payload[2:], "big")


@pytest.mark.parametrize("clock", [8000, 16000, 48000])
def test_a_digit_is_sent_in_the_ordinary_form(clock: int) -> None:
    sender = DigitSender(clock)
    sender.keys.press("#", 100)
    slots = run(sender, clock=clock)
    events = [event for slot in slots for event in slot]
    step = clock // 50
    assert [read(event) for event in events] == [
        ("#", i >= 4, step * min(i + 1, 5)) for i in range(7)
    ]
    assert [event.marker for event in events] == [True] + [False] * 6
    assert {event.timestamp for event in events} == {0}
    assert [len(slot) for slot in slots] == [1] * 7 + [0]  # and 60 ms of pause since the end


@pytest.mark.parametrize(("wanted", "sent"), [(0, 100), (20, 100), (110, 120), (400, 400)])
def test_a_digit_is_never_shorter_than_100_ms(wanted: int, sent: int) -> None:
    sender = DigitSender(8000)
    sender.keys.press("1", wanted)
    last = [event for slot in run(sender) for event in slot][-1]
    assert read(last) == ("1", True, sent * 8)


def test_a_key_that_is_down_lasts_until_it_is_released() -> None:
    sender = DigitSender(8000)
    sender.keys.press("1")
    for i in range(20):
        assert [read(event)[1] for event in sender.step(i * 160)] == [False]
    sender.keys.release(390)
    assert [read(event) for event in sender.step(3200)] == [("1", True, 21 * 160)]


def test_digits_wait_for_each_other() -> None:
    sender = DigitSender(8000)
    for digit in "123":
        sender.keys.press(digit, 100)
    slots = run(sender)
    starts = [i for i, slot in enumerate(slots) if slot and slot[0].marker]
    assert starts == [0, 8, 16]
    told = []
    receiver = DigitReceiver()
    events = [event for slot in slots for event in slot]
    for i, event in enumerate(events):
        arriving = RtpPacket(101, i, event.timestamp, 7, event.payload, event.marker)
        told += receiver.receive(arriving, 8000, i * 0.02)
    assert told == [event for d in "123" for event in (Pressed(d), Released(d, 100))]


def test_a_release_belongs_to_the_first_key_that_is_down() -> None:
    sender = DigitSender(8000)
    sender.keys.press("1")
    sender.keys.press("2")
    sender.keys.release(100)
    sender.keys.release(100)
    assert len(run(sender)) == 16


@pytest.mark.parametrize("clock", [8000, 48000])
def test_a_long_digit_is_sent_in_segments(clock: int) -> None:
    sender = DigitSender(clock)
    sender.keys.press("5", 9000)
    receiver = DigitReceiver()
    told: Told = []
    events = [event for slot in run(sender, clock=clock) for event in slot]
    assert all(read(event)[2] <= 0xFFFF for event in events)
    assert len({event.timestamp for event in events}) == (2 if clock == 8000 else 7)
    for i, event in enumerate(events):
        arriving = RtpPacket(101, i, event.timestamp, 7, event.payload, event.marker)
        told += receiver.receive(arriving, clock, i * 0.02)
    assert_one(told, "5", 9000)


def test_a_key_that_is_never_released_ends() -> None:
    sender = DigitSender(8000)
    sender.keys.press("5")
    assert len(run(sender)) < 600


def test_the_queue_has_an_end() -> None:
    sender = DigitSender(8000)
    for _ in range(10 * MAX_QUEUE):
        sender.keys.press("1", 100)
    assert len(run(sender, 100_000)) == 8 * MAX_QUEUE


@pytest.mark.parametrize("digit", ["", "12", "E", "a", "١"])
def test_what_is_no_digit_is_our_mistake(digit: str) -> None:
    with pytest.raises(ValueError, match="not a DTMF digit"):
        DigitSender(8000).keys.press(digit)


def test_idle_sends_nothing() -> None:
    sender = DigitSender(8000)
    assert not sender.keys.busy
    assert sender.step(0) == []
    sender.keys.release(100)
    assert not sender.keys.busy
