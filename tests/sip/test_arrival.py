"""The peer's INVITE until its answer: what is said reliably, what waits, what is given up."""

import pytest

from sip.events import (
    Body,
    IncomingSession,
    SessionConfirmed,
    SessionEnded,
    SessionOffered,
    SessionReanswered,
)
from sip.message import Response
from sip.session import Session
from tests.sip.test_multipart import ISUP_PART, SDP_PART, joined
from tests.sip.test_session import acknowledge, ended, prack
from tests.sip.world import ANSWER, EARLY, OFFER, Phone, Script, World

SUPPORTED = [("Supported", "100rel, timer"), ("Allow", "INVITE, UPDATE, PRACK")]


def arrive(
    alice: Phone, pbx: Script, *, body: Body | None = OFFER, supported: bool = True
) -> Session:
    pbx.request("INVITE", body=body, headers=SUPPORTED if supported else [])
    return alice.incoming()


def settle(alice: Phone) -> None:
    alice.pump()
    alice.world.settle()


def provisional(pbx: Script) -> Response:
    return [r for r in pbx.responses("INVITE") if 100 < r.status < 200][-1]


def rseq(pbx: Script) -> str:
    return provisional(pbx).headers.get("RSeq") or ""


def test_a_caller_that_supports_100rel_gets_a_description_reliably_and_ringing_not(
    alice: Phone, pbx: Script, world: World
) -> None:
    session = arrive(alice, pbx)
    session.ring(now=world.now)
    settle(alice)
    assert "Require" not in provisional(pbx).headers
    session.progress(EARLY, now=world.now)
    settle(alice)
    early = provisional(pbx)
    assert (early.status, early.body) == (183, EARLY.data)
    assert "100rel" in early.headers.tokens("Require")
    session.answer(ANSWER, now=world.now)
    settle(alice)
    assert not session.established
    assert prack(pbx, session, rseq(pbx), seq=2) == 200
    ok = pbx.last_response("INVITE")
    assert (ok.status, ok.body) == (200, b"")
    acknowledge(pbx, session)
    assert alice.last(SessionConfirmed).body is None


def test_a_caller_without_100rel_gets_a_preview_and_the_answer_in_the_2xx(
    alice: Phone, pbx: Script, world: World
) -> None:
    session = arrive(alice, pbx, supported=False)
    session.progress(EARLY, now=world.now)
    settle(alice)
    assert provisional(pbx).body == EARLY.data
    assert "RSeq" not in provisional(pbx).headers
    session.answer(ANSWER, now=world.now)
    settle(alice)
    assert pbx.last_response("INVITE").body == ANSWER.data


def test_an_offer_may_not_be_lost_so_without_100rel_it_waits_for_the_2xx(
    alice: Phone, pbx: Script, world: World
) -> None:
    session = arrive(alice, pbx, body=None, supported=False)
    session.progress(EARLY, now=world.now)
    settle(alice)
    assert (provisional(pbx).status, provisional(pbx).body) == (183, b"")
    session.answer(OFFER, now=world.now)
    settle(alice)
    assert pbx.last_response("INVITE").body == OFFER.data


def test_reliable_ringing_without_prack_does_not_hold_the_answer_back(
    alice: Phone, pbx: Script, world: World
) -> None:
    pbx.request("INVITE", body=OFFER, headers=[("Require", "100rel")])
    session = alice.incoming()
    session.ring(now=world.now)
    session.answer(ANSWER, now=world.now)
    settle(alice)
    assert pbx.last_response("INVITE").status == 200
    acknowledge(pbx, session)
    world.run(60)
    assert session.established


def test_reliable_ringing_is_left_out_where_it_would_have_to_make_our_offer(
    alice: Phone, pbx: Script, world: World
) -> None:
    pbx.request("INVITE", headers=[("Require", "100rel")])
    session = alice.incoming()
    session.ring(now=world.now)
    settle(alice)
    assert [r.status for r in pbx.responses("INVITE")] == [100]
    session.progress(EARLY, now=world.now)
    settle(alice)
    assert (provisional(pbx).status, provisional(pbx).body) == (183, EARLY.data)


def test_an_early_answer_that_is_never_acknowledged_ends_with_504(
    alice: Phone, pbx: Script, world: World
) -> None:
    session = arrive(alice, pbx)
    session.progress(EARLY, now=world.now)
    session.answer(ANSWER, now=world.now)
    alice.pump()
    world.run(33)
    assert pbx.last_response("INVITE").status == 504
    assert ended(alice) == (504, False)


def test_the_answer_to_an_early_offer_comes_with_the_prack(
    alice: Phone, pbx: Script, world: World
) -> None:
    session = arrive(alice, pbx, body=None)
    session.progress(OFFER, now=world.now)
    settle(alice)
    rack = [("RAck", f"{rseq(pbx)} 1 INVITE")]
    pbx.within(session, "UPDATE", seq=2, body=EARLY)
    assert pbx.last_response("UPDATE").status == 491  # our offer is open
    pbx.within(session, "PRACK", seq=3, body=ANSWER, headers=rack)
    assert alice.last(SessionReanswered) == SessionReanswered(session, 200, ANSWER)
    pbx.within(session, "UPDATE", seq=4, body=EARLY)
    assert alice.last(SessionOffered).offer == EARLY


def test_a_prack_without_the_answer_agrees_on_nothing(
    alice: Phone, pbx: Script, world: World
) -> None:
    session = arrive(alice, pbx, body=None)
    session.progress(OFFER, now=world.now)
    settle(alice)
    assert prack(pbx, session, rseq(pbx), seq=2) == 200
    assert alice.last(SessionReanswered).answer is None
    session.answer(OFFER, now=world.now)
    settle(alice)
    assert pbx.last_response("INVITE").body == OFFER.data


def test_an_offer_in_a_prack_may_be_refused(alice: Phone, pbx: Script, world: World) -> None:
    session = arrive(alice, pbx)
    session.progress(EARLY, now=world.now)
    settle(alice)
    pbx.within(session, "PRACK", seq=2, body=OFFER, headers=[("RAck", f"{rseq(pbx)} 1 INVITE")])
    session.reject_offer(488, now=world.now)
    settle(alice)
    assert pbx.last_response("PRACK").status == 488
    world.run(40)  # the response counts as acknowledged all the same
    assert alice.all(SessionEnded) == []


def test_an_early_update_of_the_target_is_answered_at_once(
    alice: Phone, pbx: Script, world: World
) -> None:
    session = arrive(alice, pbx)
    moved = [("Contact", "<sip:moved@192.0.2.77>")]
    pbx.within(session, "UPDATE", seq=2, headers=moved, contact=False)
    update = pbx.last_response("UPDATE")
    assert update.status == 200
    assert "Session-Expires" not in update.headers  # there is no session yet (RFC 4028 §5)
    session.answer(ANSWER, now=world.now)
    settle(alice)
    acknowledge(pbx, session)
    session.hang_up(now=world.now)
    settle(alice)
    assert str(pbx.last_request("BYE").uri) == "sip:moved@192.0.2.77"


def test_an_offer_that_our_user_never_answers_is_refused_for_it(
    alice: Phone, pbx: Script, world: World
) -> None:
    session = arrive(alice, pbx)
    session.answer(ANSWER, now=world.now)
    settle(alice)
    acknowledge(pbx, session)
    pbx.within(session, "INVITE", seq=2, body=EARLY)
    world.run(31)
    assert pbx.last_response("INVITE").status == 500
    session.accept_offer(ANSWER, now=world.now)
    world.run(60)
    assert session.established


def test_an_invite_that_expires_is_no_longer_rung(alice: Phone, pbx: Script, world: World) -> None:
    pbx.request("INVITE", body=OFFER, headers=[("Expires", "20")])
    alice.incoming().ring(now=world.now)
    alice.pump()
    world.run(21)
    assert pbx.last_response("INVITE").status == 487
    assert ended(alice) == (487, False)


def test_a_reliable_call_is_rung_again_too(alice: Phone, pbx: Script, world: World) -> None:
    session = arrive(alice, pbx)
    session.progress(EARLY, now=world.now)
    settle(alice)
    assert prack(pbx, session, rseq(pbx), seq=2) == 200
    world.run(130)
    again = [r for r in pbx.responses("INVITE") if r.status == 183]
    assert [r.body for r in again] == [EARLY.data, b"", b""]


def test_a_description_among_other_parts_is_the_offer(alice: Phone, pbx: Script) -> None:
    pbx.request("INVITE", body=joined(ISUP_PART, SDP_PART))
    assert alice.last(IncomingSession).offer == OFFER


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_what_is_no_description_is_415(alice: Phone, pbx: Script, method: str) -> None:
    other = Body("application/x-other", b"x")
    if method == "INVITE":
        pbx.request("INVITE", body=other)
        assert alice.all(IncomingSession) == []
    else:
        session = arrive(alice, pbx)
        pbx.within(session, "UPDATE", seq=2, body=other)
    refusal = pbx.last_response(method)
    assert refusal.status == 415
    assert {"application/sdp", "multipart/mixed"} <= refusal.headers.tokens("Accept")
