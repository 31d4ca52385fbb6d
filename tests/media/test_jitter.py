"""The playout buffer on a virtual network: packets sent every 20 ms, a frame wanted every 20 ms."""

from collections.abc import Callable, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.jitter import CAPACITY, MAX_TARGET, MIN_TARGET, Outcome, PlayoutBuffer
from media.rtp import RtpPacket

FRAME = 0.020
EARLY = 0.0025  # a tick may come so much before its time
Arrival = tuple[float, RtpPacket]
Played = list[int | Outcome]

LOST, LATE, SILENCE = Outcome.LOST, Outcome.LATE, Outcome.SILENCE


def packet(number: int, *, timestamp: int | None = None, ssrc: int = 1) -> RtpPacket:
    """The payload tells the number, so that one can see what is played."""
    when = number * 160 if timestamp is None else timestamp
    return RtpPacket(0, number & 0xFFFF, when & 0xFFFFFFFF, ssrc, str(number).encode())


def stream(
    numbers: Iterable[int], delay: Callable[[int], float] = lambda number: 0.0, start: int = 0
) -> list[Arrival]:
    return [((number - start) * FRAME + delay(number), packet(number)) for number in numbers]


def play(
    arrivals: list[Arrival],
    *,
    buffer: PlayoutBuffer | None = None,
    until: float | None = None,
    phase: float = 0.013,
    frame: float = FRAME,
) -> Played:
    """Run until the last arrival (or `until`), and half a second more."""
    buffer = buffer or PlayoutBuffer(8000)
    waiting = sorted(arrivals, key=lambda arrival: arrival[0])
    end = until if until is not None else waiting[-1][0] + 0.5
    played: Played = []
    now = phase
    while now < end:
        while waiting and waiting[0][0] <= now:
            at, arriving = waiting.pop(0)
            buffer.push(arriving, at)
        result = buffer.pop(now)
        if isinstance(result, RtpPacket):
            buffer.played(frame)
            played.append(int(result.payload))
        else:
            played.append(result)
        now += FRAME
    return played


def sound(played: Played) -> Played:
    """Without the silence before and after, and the stretch that tells of the end."""
    first = next(i for i, outcome in enumerate(played) if outcome is not SILENCE)
    last = max(i for i, outcome in enumerate(played) if isinstance(outcome, int))
    return played[first : last + 1]


# --- at rest


@pytest.mark.parametrize("phase", [0.001, 0.0099, 0.019])
@pytest.mark.parametrize("start", [0, 40_000, 65_530])
def test_a_steady_stream_is_played_whole_and_in_time(start: int, phase: float) -> None:
    numbers = range(start, start + 200)
    buffer = PlayoutBuffer(8000)
    played = play(stream(numbers, start=start), buffer=buffer, phase=phase)
    assert sound(played) == list(numbers)
    assert MIN_TARGET - EARLY <= buffer.delay < MIN_TARGET + FRAME
    assert (buffer.lost, buffer.discarded) == (0, 0)


def test_nothing_is_played_before_there_is_anything() -> None:
    assert PlayoutBuffer(8000).pop(0.0) is SILENCE


def test_the_end_of_a_stream_is_stretched_and_then_silence() -> None:
    played = play(stream(range(20)))
    assert played[played.index(19) + 1 :][:7] == [LATE] * 5 + [SILENCE] * 2


def test_the_ordinary_jitter_of_a_network_is_not_heard() -> None:
    numbers = range(500)
    played = play(stream(numbers, lambda n: (n * 7919 % 13) / 1000))  # 0 to 12 ms
    assert sound(played) == list(numbers)


# --- loss


def test_one_lost_packet_holds_up_nothing() -> None:
    numbers = [n for n in range(60) if n != 20]
    played = sound(play(stream(numbers)))
    assert played == [LOST if n == 20 else n for n in range(60)]


@pytest.mark.parametrize("gap", [2, 3, 5, 9])
def test_a_burst_of_loss_costs_its_own_length(gap: int) -> None:
    lost = range(20, 20 + gap)
    buffer = PlayoutBuffer(8000)
    numbers = [n for n in range(100) if n not in lost]
    played = sound(play(stream(numbers), buffer=buffer))
    assert len(played) == 100
    assert [outcome for outcome in played if isinstance(outcome, int)] == numbers
    assert buffer.lost == gap
    assert buffer.late == 5  # the end of the stream, nothing else


def test_a_long_gap_is_silence_and_the_delay_stays() -> None:
    numbers = [n for n in range(150) if not 20 <= n < 70]
    played = sound(play(stream(numbers)))
    assert len(played) == pytest.approx(150, abs=2)
    assert played.count(SILENCE) > 40
    assert [outcome for outcome in played if isinstance(outcome, int)] == numbers


def test_every_tenth_packet_lost() -> None:
    numbers = [n for n in range(300) if n % 10 != 5]
    played = sound(play(stream(numbers)))
    assert played == [LOST if n % 10 == 5 else n for n in range(300)]


def test_the_packet_behind_a_gap_is_offered_for_its_copy() -> None:
    buffer = PlayoutBuffer(8000)
    buffer.push(packet(0), 0.0)
    assert isinstance(buffer.pop(0.03), RtpPacket)
    for number in (1, 4):
        buffer.push(packet(number), 0.04)
    assert isinstance(buffer.pop(0.05), RtpPacket)
    assert buffer.pop(0.07) is LOST
    assert buffer.following() is None  # it is behind another gap
    assert buffer.pop(0.09) is LOST
    assert buffer.following() == b"4"
    assert isinstance(buffer.pop(0.11), RtpPacket)


# --- lateness


def test_a_late_packet_is_played_late() -> None:
    played = sound(play(stream(range(60), lambda n: 0.055 if n == 20 else 0.0)))
    # number 21 was here, so 20 was given up, once, and nothing else was touched
    assert played == [LOST if n == 20 else n for n in range(60)]


def test_a_stall_delays_what_follows_and_loses_nothing() -> None:
    """All packets of 80 ms arrive together after them: stretched, then played."""

    def delay(number: int) -> float:
        return (24 - number) * FRAME if 20 <= number < 24 else 0.0

    played = sound(play(stream(range(100), delay)))
    assert [outcome for outcome in played if isinstance(outcome, int)] == list(range(100))
    assert 1 <= played.count(LATE) <= 4
    assert LOST not in played


def test_a_packet_too_late_is_thrown_away_and_not_loss_twice() -> None:
    buffer = PlayoutBuffer(8000)
    played = sound(play(stream(range(60), lambda n: 0.3 if n == 20 else 0.0), buffer=buffer))
    assert played == [LOST if n == 20 else n for n in range(60)]
    assert (buffer.lost, buffer.discarded) == (1, 1)


def test_delay_grows_with_jitter_and_shrinks_after_it() -> None:
    buffer = PlayoutBuffer(8000)

    def delay(number: int) -> float:
        return (number * 7919 % 83) / 1000 if 100 <= number < 600 else 0.0

    arrivals = stream(range(1500), delay)
    play(arrivals[:600], buffer=buffer, until=12.0)
    assert 0.06 < buffer.target < 0.11
    play(arrivals[600:], buffer=buffer, until=30.0)
    assert buffer.target == pytest.approx(0.082 / 2.4, abs=0.015)  # a third after eighteen seconds


def test_after_adapting_jitter_is_not_heard() -> None:
    buffer = PlayoutBuffer(8000)
    arrivals = stream(range(1000), lambda n: (n * 7919 % 61) / 1000)
    play(arrivals[:300], buffer=buffer, until=6.0)
    late = buffer.late + buffer.lost
    played = play(arrivals[300:], buffer=buffer, until=19.9, phase=6.0)
    assert buffer.late + buffer.lost - late <= 0.02 * len(played)


def test_the_target_has_bounds() -> None:
    buffer = PlayoutBuffer(8000)
    play(stream(range(500), lambda n: 3.0 * (n % 2)), buffer=buffer)
    assert MIN_TARGET <= buffer.target <= MAX_TARGET


def test_surplus_shows_after_a_stall_and_not_at_rest() -> None:
    buffer = PlayoutBuffer(8000)
    arrivals = stream(range(1000), lambda n: max(0, 55 - n) * FRAME if 50 <= n < 55 else 0.0)
    play(arrivals[:50], buffer=buffer, until=1.0)
    assert buffer.surplus < FRAME
    play(arrivals[50:100], buffer=buffer, until=2.0, phase=1.013)
    assert buffer.surplus < FRAME  # another stall is to be feared
    play(arrivals[100:], buffer=buffer, until=19.0, phase=2.013)
    assert buffer.surplus > 0.04


# --- order


@pytest.mark.parametrize("start", [0, 65_500])
def test_packets_out_of_order_are_played_in_order(start: int) -> None:
    numbers = list(range(start, start + 100))
    arrivals = [((n - start) * FRAME + (0.021 if n % 5 == 0 else 0.0), packet(n)) for n in numbers]
    played = sound(play(arrivals, phase=0.001))
    assert [outcome for outcome in played if isinstance(outcome, int)] == numbers


def test_duplicates_are_played_once() -> None:
    buffer = PlayoutBuffer(8000)
    arrivals = stream(range(60)) + stream(range(60), lambda n: 0.003)
    assert sound(play(arrivals, buffer=buffer)) == list(range(60))
    assert buffer.discarded == 60


# --- silence


def test_a_pause_of_the_sender_is_silence_and_no_loss() -> None:
    """Discontinuous transmission: time goes on, sequence numbers do not."""
    buffer = PlayoutBuffer(8000)
    before = stream(range(30))
    after = [((n + 50) * FRAME, packet(n, timestamp=(n + 50) * 160)) for n in range(30, 60)]
    played = sound(play(before + after, buffer=buffer))
    assert [outcome for outcome in played if isinstance(outcome, int)] == list(range(60))
    assert buffer.lost == 0
    assert played.count(SILENCE) + played.count(LATE) == pytest.approx(50, abs=2)
    assert MIN_TARGET <= buffer.delay < MIN_TARGET + 2 * FRAME


def test_a_short_pause_that_is_seen_in_advance_is_silence() -> None:
    buffer = PlayoutBuffer(8000)
    buffer.push(packet(0), 0.0)
    assert isinstance(buffer.pop(0.020), RtpPacket)
    buffer.push(packet(1, timestamp=480), 0.025)  # 40 ms of nothing between
    assert buffer.pop(0.040) is SILENCE
    assert isinstance(buffer.pop(0.060), RtpPacket)
    assert (buffer.late, buffer.lost) == (0, 0)


def test_a_sender_that_announces_its_silence_is_not_late() -> None:
    buffer = PlayoutBuffer(8000)
    buffer.push(packet(0), 0.0)
    assert isinstance(buffer.pop(0.03), RtpPacket)
    buffer.rest()
    assert buffer.pop(0.05) is SILENCE
    assert buffer.late == 0


def test_numbers_without_sound_are_no_loss() -> None:
    """A digit: ten packets of the stream that are not audio, one timestamp for all of them."""
    buffer = PlayoutBuffer(8000)
    results: Played = []
    for number in range(60):
        now = number * FRAME
        if 20 <= number < 30:
            buffer.skip(packet(number, timestamp=20 * 160), now)
        else:
            buffer.push(packet(number), now)
        result = buffer.pop(now + 0.013)
        results.append(result if isinstance(result, Outcome) else int(result.payload))
    assert LOST not in results
    assert buffer.lost == 0
    assert [r for r in results if isinstance(r, int)][-1] >= 57


def test_a_lost_packet_among_those_without_sound_is_no_loss() -> None:
    buffer = PlayoutBuffer(8000)
    for number in range(60):
        now = number * FRAME
        if 20 <= number < 30:
            if number != 25:
                buffer.skip(packet(number, timestamp=20 * 160), now)
        else:
            # the sender's clock stood still during the digit, as that of some does
            buffer.push(packet(number, timestamp=(number - 10 * (number >= 30)) * 160), now)
        buffer.pop(now + 0.013)
    assert buffer.lost == 0


# --- a sender that starts anew


def test_a_new_source_is_played_at_once() -> None:
    buffer = PlayoutBuffer(8000)
    old = stream(range(30))
    new = [(n * FRAME, packet(n + 5000, timestamp=n * 77, ssrc=2)) for n in range(30, 60)]
    played = play(old + new, buffer=buffer)
    heard = [outcome for outcome in played if isinstance(outcome, int)]
    assert heard[:28] == list(range(28))
    assert heard[-29:] == list(range(5031, 5060))
    assert buffer.lost == 0


@pytest.mark.parametrize("jump", [30_000, 1000, -300, -50])
def test_a_jump_of_the_sequence_is_survived(jump: int) -> None:
    base = 10_000
    old = [(n * FRAME, packet(base + n)) for n in range(50)]
    new = [(n * FRAME, packet(base + n + jump)) for n in range(50, 100)]
    played = play(old + new)
    heard = [outcome for outcome in played if isinstance(outcome, int)]
    assert heard[-1] == base + 99 + jump
    assert len(heard) >= 90


@pytest.mark.parametrize("step", [1 << 30, -(1 << 30), 8000 * 100, -8000 * 100, 4000, -4000])
def test_a_jump_of_the_timestamp_is_survived(step: int) -> None:
    old = stream(range(100))
    new = [(n * FRAME, packet(n, timestamp=n * 160 + step)) for n in range(100, 400)]
    buffer = PlayoutBuffer(8000)
    played = sound(play(old + new, buffer=buffer))
    heard = [outcome for outcome in played if isinstance(outcome, int)]
    assert len(heard) >= 380
    assert heard == sorted(heard)
    assert buffer.lost == 0
    if abs(step) > 8000:  # more than a second is another clock, and no delay
        assert buffer.target == MIN_TARGET


@pytest.mark.parametrize("drift", [0.9995, 1.0005])
def test_a_clock_that_drifts_never_runs_away(drift: float) -> None:
    buffer = PlayoutBuffer(8000)
    arrivals = [(n * FRAME * drift, packet(n)) for n in range(6000)]  # two minutes, 500 ppm
    waiting, dropped = arrivals, 0
    now = 0.013
    for number, (at, arriving) in enumerate(waiting):
        buffer.push(arriving, at)
        if at < now:
            continue
        result = buffer.pop(now)
        if isinstance(result, RtpPacket):
            buffer.played(FRAME)
            if buffer.surplus > FRAME + 0.005:
                buffer.pop(now)  # what plays the sound would cut it more gently
                dropped += 1
        now += FRAME
        if number > 300:
            assert buffer.delay < 0.12
    assert buffer.lost + buffer.late + dropped < 20


# --- bounds


def test_a_flood_is_bounded() -> None:
    buffer = PlayoutBuffer(8000)
    for number in range(10 * CAPACITY):
        buffer.push(packet(number), 0.0)
    assert buffer.discarded == 9 * CAPACITY
    result = buffer.pop(0.5)
    assert isinstance(result, RtpPacket)
    assert int(result.payload) >= 9 * CAPACITY


def test_after_a_long_jam_only_what_is_recent_is_played() -> None:
    """A second without packets, and then all of them at once."""
    arrivals = stream(range(200), lambda n: (100 - n) * FRAME if 50 <= n < 100 else 0.0)
    buffer = PlayoutBuffer(8000)
    played = play(arrivals, buffer=buffer, until=3.9)
    behind = [
        (0.013 + i * FRAME) - outcome * FRAME
        for i, outcome in enumerate(played)
        if isinstance(outcome, int) and outcome >= 110
    ]
    assert max(behind) < 0.25


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 0xFFFF),
            st.integers(0, 0xFFFFFFFF),
            st.sampled_from([1, 1, 1, 2]),
            st.booleans(),
            st.floats(0.0, 0.1),
        ),
        max_size=80,
    )
)
def test_any_packets_leave_it_in_order(
    steps: list[tuple[int, int, int, bool, float]],
) -> None:
    buffer = PlayoutBuffer(8000)
    now = 0.0
    for sequence, timestamp, ssrc, has_sound, wait in steps:
        arriving = RtpPacket(0, sequence, timestamp, ssrc, b"x")
        (buffer.push if has_sound else buffer.skip)(arriving, now)
        now += wait
        if isinstance(buffer.pop(now), RtpPacket):
            buffer.played(FRAME)
    assert 0.0 <= buffer.surplus < 1e9
    for _ in range(2 * CAPACITY + 100):
        now += FRAME
        outcome = buffer.pop(now)
    assert outcome is SILENCE


def test_one_packet_that_comes_late_adds_no_delay_for_good() -> None:
    buffer = PlayoutBuffer(8000)
    play(stream(range(100), lambda n: 0.15 if n == 50 else 0.0), buffer=buffer, until=1.9)
    assert buffer.deficit == 0.0
    assert buffer.delay < MIN_TARGET + 2 * FRAME
