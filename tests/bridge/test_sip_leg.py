from dataclasses import replace

import pytest

from bridge.call.events import (
    Answered,
    Dialled,
    Ended,
    EndReason,
    OfferAnswered,
    Offered,
    Progress,
    Reoffered,
    Ringing,
)
from bridge.call.sip_leg import SipLeg
from sip.errors import LocalError
from sip.events import (
    Body,
    DigitReceived,
    Reason,
    SessionAnswered,
    SessionConfirmed,
    SessionEnded,
    SessionOffered,
    SessionProgressed,
    SessionReanswered,
    SipWarning,
    TransferRequested,
)
from sip.session import Session
from sip.uri import NameAddr, Uri
from tests.bridge.fakes import FakeSession, incoming, sdp_body


def calling() -> tuple[SipLeg, FakeSession]:
    session = FakeSession()
    offers: list[Body] = []

    def invite(offer: Body, now: float) -> Session:
        offers.append(offer)
        return session.real

    leg = SipLeg.calling(invite)
    leg.place("offer", 1.0)
    assert offers == [sdp_body("offer")]
    return leg, session


def answering() -> tuple[SipLeg, FakeSession]:
    session = FakeSession()
    leg = SipLeg.answering(incoming(session), 1.0)
    assert leg.poll(1.0) == [Offered("sip-offer")]
    return leg, session


def test_progress_and_answer_become_neutral_events() -> None:
    leg, session = calling()
    leg.receive(SessionProgressed(session.real, 180, None), 1.0)
    leg.receive(SessionProgressed(session.real, 183, sdp_body("early")), 2.0)
    leg.receive(SessionProgressed(session.real, 181, None), 2.5)
    leg.receive(SessionAnswered(session.real, sdp_body("answer")), 3.0)
    assert leg.poll(3.0) == [Ringing(), Progress("early"), Answered("answer")]
    assert leg.poll(3.0) == []


def test_a_body_that_is_no_sdp_is_no_answer() -> None:
    leg, session = calling()
    leg.receive(SessionAnswered(session.real, Body("text/plain", b"hello")), 3.0)
    assert leg.poll(3.0) == [Answered(None)]


@pytest.mark.parametrize(
    ("status", "cause", "reason"),
    [
        (486, None, EndReason.BUSY),
        (600, None, EndReason.BUSY),
        (603, None, EndReason.DECLINED),
        (404, None, EndReason.UNKNOWN_NUMBER),
        (484, None, EndReason.UNKNOWN_NUMBER),
        (604, None, EndReason.UNKNOWN_NUMBER),
        (410, None, EndReason.UNKNOWN_NUMBER),
        (408, None, EndReason.NO_ANSWER),
        (480, None, EndReason.UNAVAILABLE),
        (480, 19, EndReason.NO_ANSWER),
        (500, None, EndReason.TRUNK_DOWN),
        (503, None, EndReason.TRUNK_DOWN),
        (488, None, EndReason.MEDIA_INCOMPATIBLE),
        (606, None, EndReason.MEDIA_INCOMPATIBLE),
        (403, None, EndReason.NOT_ALLOWED),
        (403, 21, EndReason.NOT_ALLOWED),
        (603, 21, EndReason.DECLINED),
        (603, 57, EndReason.NOT_ALLOWED),
        (487, None, EndReason.CANCELLED),
        (302, None, EndReason.FORWARDED),
        (499, None, EndReason.ERROR),
    ],
)
def test_refusals_mean_what_a_pbx_means(status: int, cause: int | None, reason: EndReason) -> None:
    leg, session = calling()
    told = Reason("Q.850", cause, "words") if cause is not None else None
    leg.receive(SessionEnded(session.real, status, True, told), 2.0)
    assert leg.poll(2.0) == [Ended(reason, "words" if cause is not None else "")]


def test_the_words_of_an_end_are_the_reasons_the_warnings_or_the_place() -> None:
    words = {
        "busy": SessionEnded(
            FakeSession().real, 486, True, Reason("Q.850", 17, "busy"), None, SipWarning(399, "x")
        ),
        "no codec": SessionEnded(
            FakeSession().real, 488, True, Reason("Q.850", 88), None, SipWarning(304, "no codec")
        ),
        "+15550100": SessionEnded(
            FakeSession().real, 302, True, contacts=(NameAddr.parse("<sip:+15550100@pbx>"),)
        ),
        "": SessionEnded(FakeSession().real, 486, True),
    }
    for text, event in words.items():
        leg, _ = calling()
        leg.receive(event, 2.0)
        (end,) = leg.poll(2.0)
        assert isinstance(end, Ended)
        assert end.text == text


def test_a_refusal_for_want_of_srtp_says_so() -> None:
    leg, session = answering()
    leg.hang_up(EndReason.NO_SRTP, 2.0)
    assert session.warned is not None
    assert session.warned.code == 302
    leg, session = answering()
    leg.hang_up(EndReason.BUSY, 2.0)
    assert session.warned is None


def test_480_after_ringing_is_no_answer() -> None:
    leg, session = calling()
    leg.receive(SessionProgressed(session.real, 180, None), 1.0)
    leg.receive(SessionEnded(session.real, 480, True), 2.0)
    assert leg.poll(2.0)[-1] == Ended(EndReason.NO_ANSWER)


def test_bye_of_the_peer_is_a_hang_up_and_a_lost_flow_is_the_trunk() -> None:
    leg, session = calling()
    leg.receive(SessionAnswered(session.real, sdp_body("answer")), 1.0)
    leg.receive(SessionEnded(session.real, 200, True, Reason("Q.850", 16)), 2.0)
    assert leg.poll(2.0)[-1] == Ended(EndReason.HANGUP)
    leg, session = calling()
    leg.receive(SessionAnswered(session.real, sdp_body("answer")), 1.0)
    leg.receive(SessionEnded(session.real, 503, False), 2.0)
    assert leg.poll(2.0)[-1] == Ended(EndReason.TRUNK_DOWN)


def test_cancel_of_the_caller_and_answered_elsewhere() -> None:
    leg, session = answering()
    leg.receive(SessionEnded(session.real, 487, True), 2.0)
    assert leg.poll(2.0) == [Ended(EndReason.CANCELLED)]
    leg, session = answering()
    leg.receive(SessionEnded(session.real, 487, True, Reason("SIP", 200, "elsewhere")), 2.0)
    assert leg.poll(2.0) == [Ended(EndReason.ANSWERED_ELSEWHERE, "elsewhere")]


@pytest.mark.parametrize("reason", list(EndReason))
def test_every_reason_refuses_a_call_and_ends_one(reason: EndReason) -> None:
    leg, session = answering()
    leg.hang_up(reason, 2.0)
    ((verb, status),) = session.said
    assert verb == "reject"
    assert isinstance(status, int)
    assert 400 <= status < 700
    leg, session = answering()
    leg.answer("answer", 2.0)
    leg.hang_up(reason, 3.0)
    assert [verb for verb, _ in session.said] == ["answer", "hang_up"]


def test_refusals_carry_the_status_of_their_reason() -> None:
    for reason, status in [
        (EndReason.BUSY, 486),
        (EndReason.DECLINED, 603),
        (EndReason.UNKNOWN_NUMBER, 404),
        (EndReason.NO_SRTP, 488),
        (EndReason.NO_ANSWER, 480),
    ]:
        leg, session = answering()
        leg.hang_up(reason, 2.0)
        assert session.said == [("reject", status)]


def test_answered_twice_is_answered_once() -> None:
    leg, session = answering()
    leg.ring(1.0)
    leg.answer("answer", 2.0)
    leg.answer("answer", 2.0)
    assert session.said == [("ring", None), ("answer", "answer")]


def test_reoffers_pass_before_and_after_the_answer() -> None:
    leg, session = calling()
    leg.receive(SessionOffered(session.real, sdp_body("early-update")), 1.0)
    leg.receive(SessionAnswered(session.real, sdp_body("answer")), 1.0)
    leg.receive(SessionOffered(session.real, sdp_body("hold")), 2.0)
    assert leg.poll(2.0) == [Reoffered("early-update"), Answered("answer"), Reoffered("hold")]
    leg.update("held", 2.0)
    leg.receive(SessionOffered(session.real, Body("text/plain", b"hello")), 3.0)
    assert session.said == [("accept_offer", "held"), ("reject_offer", 488)]
    leg.update(None, 3.0)
    assert session.said[-1] == ("reject_offer", 488)


def test_a_reinvite_without_an_offer_gets_ours_and_its_ack_the_answer() -> None:
    leg, session = calling()
    leg.receive(SessionAnswered(session.real, sdp_body("answer")), 1.0)
    leg.receive(SessionOffered(session.real, None), 2.0)
    assert leg.poll(2.0) == [Answered("answer"), Reoffered(None)]
    leg.update("ours", 2.0)
    leg.receive(SessionConfirmed(session.real, sdp_body("theirs")), 3.0)
    assert leg.poll(3.0) == [OfferAnswered("theirs")]
    assert session.said == [("accept_offer", "ours")]


def test_an_offer_of_our_own_is_a_reinvite_and_its_answer_is_told() -> None:
    leg, session = calling()
    leg.receive(SessionAnswered(session.real, sdp_body("answer")), 1.0)
    leg.offer("moved", 2.0)
    assert session.said == [("reoffer", "moved")]
    leg.receive(SessionReanswered(session.real, 200, sdp_body("theirs")), 3.0)
    leg.receive(SessionReanswered(session.real, 488, None), 4.0)  # the call goes on as it was
    assert leg.poll(4.0) == [Answered("answer"), OfferAnswered("theirs")]


def test_an_offer_that_we_do_not_make_needs_no_answer() -> None:
    leg, session = calling()
    leg.receive(SessionAnswered(session.real, sdp_body("answer")), 1.0)
    leg.receive(SessionOffered(session.real, None), 2.0)
    leg.update(None, 2.0)
    leg.receive(SessionConfirmed(session.real, None), 3.0)
    assert leg.poll(3.0) == [Answered("answer"), Reoffered(None)]
    assert session.said == [("reject_offer", 488)]


def test_the_ack_of_an_answer_of_ours_says_nothing() -> None:
    leg, session = answering()
    leg.answer("answer", 2.0)
    leg.receive(SessionConfirmed(session.real, None), 3.0)
    assert leg.poll(3.0) == []
    assert session.said == [("answer", "answer")]


def test_an_offer_made_before_the_answer_is_not_said_again_as_the_answer() -> None:
    leg, session = calling()
    leg.receive(SessionProgressed(session.real, 183, sdp_body("early")), 1.0)
    leg.receive(SessionOffered(session.real, sdp_body("moved")), 2.0)
    leg.receive(SessionAnswered(session.real, sdp_body("moved")), 3.0)
    assert leg.poll(3.0) == [Progress("early"), Reoffered("moved"), Answered(None)]


def test_hanging_up_an_unplaced_or_ended_leg_says_nothing() -> None:
    unplaced = SipLeg.calling(lambda offer, now: FakeSession().real)
    unplaced.hang_up(EndReason.CANCELLED, 1.0)
    unplaced.place("offer", 2.0)
    assert unplaced.session is None
    leg, session = calling()
    leg.receive(SessionEnded(session.real, 486, True), 2.0)
    leg.hang_up(EndReason.BUSY, 3.0)
    assert session.said == []


def test_after_our_hang_up_the_session_is_not_heard() -> None:
    leg, session = calling()
    leg.hang_up(EndReason.CANCELLED, 2.0)
    leg.receive(SessionAnswered(session.real, sdp_body("crossing")), 2.0)
    leg.receive(SessionEnded(session.real, 487, True), 2.0)
    assert leg.poll(2.0) == []
    assert session.said == [("hang_up", 16)]


def test_an_invite_that_cannot_be_sent_is_the_trunk() -> None:
    def invite(offer: Body, now: float) -> Session:
        raise LocalError("no flow")

    leg = SipLeg.calling(invite)
    leg.place("offer", 1.0)
    assert leg.poll(1.0) == [Ended(EndReason.TRUNK_DOWN, "no flow")]


def asking() -> tuple[SipLeg, FakeSession]:
    session = FakeSession()
    leg = SipLeg.answering(incoming(session, offer=None), 1.0)
    assert leg.poll(1.0) == [Offered(None)]
    leg.answer("ours", 2.0)
    return leg, session


def test_an_invite_without_an_offer_is_answered_with_ours_and_its_ack_is_the_answer() -> None:
    leg, session = asking()
    leg.receive(SessionConfirmed(session.real, sdp_body("theirs")), 3.0)
    assert leg.poll(3.0) == [OfferAnswered("theirs")]
    leg.receive(SessionConfirmed(session.real, None), 4.0)  # of a re-INVITE with an offer
    assert leg.poll(4.0) == []
    assert session.said == [("answer", "ours")]


@pytest.mark.parametrize("body", [None, Body("text/plain", b"hello")])
def test_an_ack_without_the_answer_that_it_owes_ends_the_call(body: Body | None) -> None:
    leg, session = asking()
    leg.receive(SessionConfirmed(session.real, body), 3.0)
    why = "our offer was left without an answer"
    assert leg.poll(3.0) == [Ended(EndReason.MEDIA_INCOMPATIBLE, why)]
    assert session.said == [("answer", "ours"), ("hang_up", 88)]


def test_an_offer_that_is_no_sdp_is_refused() -> None:
    session = FakeSession()
    event = replace(incoming(session), offer=Body("text/plain", b"hello"))
    leg = SipLeg.answering(event, 1.0)
    assert session.said == [("reject", 488)]
    assert leg.poll(1.0) == [Ended(EndReason.MEDIA_INCOMPATIBLE, "the call's offer is not SDP")]


def test_a_phone_system_that_wants_to_send_us_elsewhere_is_declined_at_once() -> None:
    leg, session = answering()
    leg.answer("answer", 1.0)
    target = Uri("sip", "1001", "pbx.example.org")
    leg.receive(TransferRequested(session.real, target, None, None), 2.0)
    assert session.said[-1] == ("decline transfer", 603)
    assert leg.poll(2.0) == []


def test_a_digit_in_an_info_request_is_told() -> None:
    leg, session = answering()
    leg.poll(1.0)
    leg.answer("answer", 1.0)
    leg.receive(DigitReceived(session.real, "7", 160), 2.0)
    assert leg.poll(2.0) == [Dialled("7", 160)]


def test_a_key_is_said_beside_the_media_once_the_call_is_answered() -> None:
    leg, session = answering()
    leg.press("1", 100, 1.0)
    leg.answer("answer", 1.0)
    leg.press("2", 100, 1.0)
    leg.hang_up(EndReason.HANGUP, 2.0)
    leg.press("3", 100, 2.0)
    assert [said for said in session.said if said[0] == "send_digit"] == [
        ("send_digit", ("2", 100))
    ]
