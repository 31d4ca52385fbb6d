import random

from sip.io.backoff import CAP, SETTLED_AFTER, Backoff


def waits(backoff: Backoff, count: int, *, now: float = 0.0) -> list[float]:
    """Fail `count` times, each as soon as it may be tried; return the waits."""
    found = []
    for _ in range(count):
        backoff.failed(now)
        found.append(backoff.due - now)
        now = backoff.due
    return found


def test_first_attempt_is_due_at_once() -> None:
    assert Backoff(chance=lambda: 0.9).due == 0.0


def test_longest_waits_double_from_two_seconds_to_a_minute() -> None:
    assert waits(Backoff(chance=lambda: 1.0), 9) == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_shortest_waits_are_half_of_it() -> None:
    assert waits(Backoff(chance=lambda: 0.0), 8) == [0, 1, 2, 4, 8, 16, 30, 30]


def test_waits_are_spread_by_lot() -> None:
    chance = random.Random(7).random
    last = [waits(Backoff(chance=chance), 8)[-1] for _ in range(200)]
    assert CAP / 2 <= min(last) < CAP * 0.55
    assert CAP * 0.95 < max(last) <= CAP


def test_failure_that_comes_early_does_not_shorten_the_wait() -> None:
    backoff = Backoff(chance=lambda: 1.0)
    waits(backoff, 6)
    due = backoff.due
    backoff.hold(due - 5)
    assert backoff.due == due
    backoff.failed(due - 60)
    assert backoff.due >= due


def test_line_that_stood_for_a_while_starts_anew() -> None:
    backoff = Backoff(chance=lambda: 1.0)
    waits(backoff, 6)
    now = backoff.due
    backoff.up(now)
    assert waits(backoff, 2, now=now + SETTLED_AFTER) == [1, 2]


def test_line_that_stood_only_for_a_moment_goes_on_where_it_was() -> None:
    backoff = Backoff(chance=lambda: 1.0)
    waits(backoff, 3)
    now = backoff.due
    backoff.up(now)
    assert waits(backoff, 1, now=now + 1.0) == [8]


def test_refresh_of_a_standing_line_does_not_restart_its_age() -> None:
    backoff = Backoff(chance=lambda: 1.0)
    waits(backoff, 3)
    now = backoff.due
    backoff.up(now)
    backoff.up(now + SETTLED_AFTER - 1)
    assert waits(backoff, 1, now=now + SETTLED_AFTER) == [1]


def test_hold_puts_off() -> None:
    backoff = Backoff(chance=lambda: 0.0)
    backoff.hold(600.0)
    assert backoff.due == 600.0


def test_thousand_failures_do_not_overflow() -> None:
    assert waits(Backoff(chance=lambda: 1.0), 2000)[-1] == CAP
