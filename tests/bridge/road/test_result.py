import pytest

from bridge.road.result import LONGEST_AFTER, by_status
from bridge.road.road import ApiAnswer, Later, Unsure

NOW = "Sat, 28 Nov 2026 10:00:00 GMT"


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("7", 7.0),
        (" 120 ", 120.0),
        ("999999", LONGEST_AFTER),
        ("Sat, 28 Nov 2026 10:00:30 GMT", 30.0),
        ("Saturday, 28-Nov-26 10:01:00 GMT", 60.0),
        ("Sat, 28 Nov 2026 09:00:00 GMT", 0.0),
        ("Sun, 28 Nov 2027 10:00:00 GMT", LONGEST_AFTER),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("Sat, 99 Nov 2026 10:00:30 GMT", None),
        ("", None),
    ],
)
def test_when_to_ask_again_is_read_in_both_spellings(told: str, seconds: float | None) -> None:
    for status in (429, 503):
        outcome = by_status(ApiAnswer(status, {"retry-after": told, "date": NOW}))
        assert isinstance(outcome, Later)
        assert outcome.after == seconds


def test_a_date_without_the_providers_clock_says_nothing() -> None:
    outcome = by_status(ApiAnswer(429, {"retry-after": "Sat, 28 Nov 2026 10:00:30 GMT"}))
    assert isinstance(outcome, Later)
    assert outcome.after is None


def test_what_may_have_been_taken_is_no_reason_to_ask_again() -> None:
    for status in (500, 502, 504):
        assert isinstance(by_status(ApiAnswer(status, {"retry-after": "7"})), Unsure)
