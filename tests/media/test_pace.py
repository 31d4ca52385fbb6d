"""Whether a worker rests between rounds, by what comes."""

from media.pace import Pace


def _play(pace: Pace, start: float, seconds: float, rate: int) -> None:
    """So many packets a second, each by itself."""
    for i in range(1, int(seconds * rate) + 1):
        pace.took(1, start + i / rate)


def test_a_few_calls_are_served_at_once() -> None:
    pace = Pace(0.0)
    _play(pace, 0.0, 1.0, 900)
    assert not pace.rests


def test_many_calls_are_served_together_and_few_that_remain_at_once_again() -> None:
    pace = Pace(0.0)
    _play(pace, 0.0, 0.5, 1100)
    assert pace.rests
    _play(pace, 0.5, 0.6, 500)
    assert not pace.rests


def test_rounds_of_several_packets_count_as_what_they_are() -> None:
    pace = Pace(0.0)
    for i in range(1, 400):
        pace.took(3, i / 400)
    assert pace.rests


def test_a_burst_is_not_many_calls() -> None:
    pace = Pace(0.0)
    _play(pace, 0.0, 0.2, 100)
    pace.took(200, 0.2)
    _play(pace, 0.2, 0.5, 100)
    assert not pace.rests


def test_after_a_silence_the_first_packet_does_not_find_it_resting() -> None:
    pace = Pace(0.0)
    _play(pace, 0.0, 0.5, 2000)
    pace.took(1, 3.0)
    assert not pace.rests
