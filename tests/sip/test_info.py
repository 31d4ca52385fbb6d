"""Digits in the bodies of INFO; with a session around them, see test_session."""

import pytest

from sip.errors import LocalError, RemoteError
from sip.events import Body
from sip.info import DURATION_MS, MAX_DURATION_MS, read_digit, write_digit


@pytest.mark.parametrize(
    ("kind", "text", "digit", "duration_ms"),
    [
        ("application/dtmf-relay", "Signal=5\r\nDuration=160", "5", 160),
        ("application/dtmf-relay", "Signal= #\r\nDuration= 100\r\n", "#", 100),
        ("Application/DTMF-Relay; x=y", "signal = d\nDURATION = 90", "D", 90),
        ("application/dtmf-relay", "Signal=10\r\nDuration=0", "*", DURATION_MS),
        ("application/dtmf-relay", "Signal=11", "#", DURATION_MS),
        ("application/dtmf-relay", "Signal=1\r\nDuration=999999999", "1", MAX_DURATION_MS),
        ("application/dtmf-relay", "Signal=1\r\nDuration=soon", "1", DURATION_MS),
        ("application/dtmf", "7", "7", DURATION_MS),
        ("application/dtmf", " * \r\n", "*", DURATION_MS),
        ("application/dtmf", "Signal=9\r\nDuration=80", "9", 80),
    ],
)
def test_both_habits_are_read(kind: str, text: str, digit: str, duration_ms: int) -> None:
    assert read_digit(Body(kind, text.encode())) == (digit, duration_ms)


@pytest.mark.parametrize(
    ("kind", "data", "status"),
    [
        ("application/dtmf-relay", b"5", 400),
        ("application/dtmf-relay", b"Duration=100", 400),
        ("application/dtmf-relay", b"Signal=16", 400),
        ("application/dtmf-relay", b"Signal=!", 400),
        ("application/dtmf", b"55", 400),
        ("application/dtmf", b"\xff", 400),
        ("application/dtmf", "٣".encode(), 400),
        ("application/broadsoft", b"play tone CallWaitingTone1", 415),
        ("", b"5", 415),
    ],
)
def test_what_is_no_digit_is_refused(kind: str, data: bytes, status: int) -> None:
    with pytest.raises(RemoteError) as caught:
        read_digit(Body(kind, data))
    assert caught.value.status == status


@pytest.mark.parametrize("digit", "0123456789*#ABCD")
def test_what_is_written_is_read(digit: str) -> None:
    assert read_digit(write_digit(digit, 160)) == (digit, 160)
    assert read_digit(write_digit(digit, 10**9)) == (digit, MAX_DURATION_MS)


@pytest.mark.parametrize("digit", ["", "12", "x", "1\r\nSignal=2"])
def test_what_is_no_digit_is_not_written(digit: str) -> None:
    with pytest.raises(LocalError):
        write_digit(digit, 100)
