import pytest

from bridge.call.events import EndReason
from bridge.numbers import PhoneNumber
from bridge.wording import call_in_ended, call_out_ended, encrypted, message_refused

NUMBER = PhoneNumber("+15551234567")
QUIET_OUT = {EndReason.HANGUP, EndReason.CANCELLED, EndReason.ANSWERED_ELSEWHERE}


@pytest.mark.parametrize("reason", list(EndReason))
def test_every_end_of_a_call_out_has_a_line_or_is_quiet_on_purpose(reason: EndReason) -> None:
    words = call_out_ended(reason, NUMBER, "home", "said", answered=False)
    quiet = reason in QUIET_OUT or reason is EndReason.MATRIX_DOWN
    assert (words is None) == quiet
    assert words is None or ("{" not in words and words.endswith((".", "account.")))


def test_an_answered_call_that_was_hung_up_needs_no_words() -> None:
    for reason in (EndReason.HANGUP, EndReason.BUSY, EndReason.NO_ANSWER):
        assert call_out_ended(reason, NUMBER, "home", "", answered=True) is None
        assert call_in_ended(reason, "Carol", "", answered=True) is None
    for reason in (EndReason.MEDIA_FAILED, EndReason.TOO_LONG):
        assert call_out_ended(reason, NUMBER, "home", "", answered=True)
        assert call_in_ended(reason, "Carol", "", answered=True)


@pytest.mark.parametrize("reason", [EndReason.NO_SRTP, EndReason.MEDIA_INCOMPATIBLE])
def test_a_call_in_that_the_trunk_spoilt_after_the_answer_was_lost(reason: EndReason) -> None:
    words = call_in_ended(reason, "Carol", "why", answered=True)
    assert words == "The call was lost (why)."


@pytest.mark.parametrize("reason", list(EndReason))
def test_a_call_in_is_missed_or_quiet(reason: EndReason) -> None:
    words = call_in_ended(reason, "Carol", "", answered=False)
    quiet = {
        EndReason.BUSY, EndReason.DECLINED, EndReason.ANSWERED_ELSEWHERE, EndReason.TOO_LONG,
        EndReason.UNKNOWN_NUMBER, EndReason.NOT_ALLOWED, EndReason.FORWARDED,
    }  # fmt: skip
    assert (words is None) == (reason in quiet)


def test_an_unlisted_refusal_of_a_text_is_told_in_the_peers_words() -> None:
    assert message_refused(499, "Odd") == "Odd"
    assert message_refused(499, "") == "the phone system said 499"


@pytest.mark.parametrize(
    ("number", "end"),
    [("+15551234567", "tell @bot:x: call +15551234567"), ("", "room."), ("+1555,+1556", "room.")],
)
def test_an_encrypted_room_is_left_with_what_can_be_done(number: str, end: str) -> None:
    assert encrypted(PhoneNumber(number), "@bot:x").endswith(end)
