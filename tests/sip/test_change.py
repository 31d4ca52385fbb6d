"""Offers and refreshes within an established session."""

import pytest

from sip.events import Reason, SessionConfirmed, SessionEnded, SessionOffered, SessionReanswered
from sip.session import Session
from tests.sip.test_session import acknowledge, answered, ended, taken
from tests.sip.world import ANSWER, EARLY, OFFER, Phone, Script, World

HOLD = EARLY


def reoffer(alice: Phone, session: Session) -> None:
    session.reoffer(HOLD, now=alice.now)
    alice.pump()
    alice.world.settle()


def accept(alice: Phone, session: Session) -> None:
    session.accept_offer(ANSWER, now=alice.now)
    alice.pump()
    alice.world.settle()


def test_our_offer_is_answered(alice: Phone, pbx: Script) -> None:
    session = answered(alice, pbx)
    reoffer(alice, session)
    invite = pbx.last_request("INVITE")
    assert str(invite.uri) == "sip:pbx@192.0.2.9:5061;transport=tls"
    assert (invite.body, invite.headers.to.tag) == (HOLD.data, "pbx-tag")
    pbx.reply(invite, 100)
    pbx.reply(invite, 200, ANSWER)
    event = alice.last(SessionReanswered)
    assert (event.status, event.answer) == (200, ANSWER)
    assert pbx.last_request("ACK").headers.cseq.number == invite.headers.cseq.number
    pbx.reply(invite, 200, ANSWER)
    assert len(pbx.requests("ACK")) == 3
    assert len(alice.all(SessionReanswered)) == 1


def test_a_refused_offer_leaves_the_session(alice: Phone, pbx: Script) -> None:
    session = answered(alice, pbx)
    reoffer(alice, session)
    pbx.reply(pbx.last_request("INVITE"), 488)
    assert alice.last(SessionReanswered).status == 488
    assert session.established


def test_a_bye_that_overtakes_our_offer_is_the_end_and_the_only_one(
    alice: Phone, pbx: Script
) -> None:
    session = answered(alice, pbx)
    reoffer(alice, session)
    pbx.within(session, "BYE", seq=1)
    (end,) = alice.all(SessionEnded)
    assert (end.status, end.by_peer) == (200, True)
    assert pbx.requests("BYE") == []
    assert alice.agent.sessions == []


@pytest.mark.parametrize(("incoming", "least", "most"), [(False, 2.1, 4.0), (True, 0.0, 2.0)])
def test_glare_is_settled_by_offering_again(
    alice: Phone, pbx: Script, world: World, incoming: bool, least: float, most: float
) -> None:
    session = taken(alice, pbx) if incoming else answered(alice, pbx)
    reoffer(alice, session)
    first = pbx.last_request("INVITE")
    pbx.reply(first, 491)
    refused_at = world.now
    assert alice.all(SessionReanswered) == []
    pbx.inbox.clear()
    world.run(5)
    again = pbx.last_request("INVITE")
    at = next(t for t, _, m in world.wire if m.headers.cseq == again.headers.cseq)
    assert least - 0.02 <= at - refused_at <= most
    assert again.body == HOLD.data
    pbx.reply(again, 200, ANSWER)
    assert alice.last(SessionReanswered).status == 200


def test_endless_glare_is_given_up(alice: Phone, pbx: Script, world: World) -> None:
    session = answered(alice, pbx)
    reoffer(alice, session)
    for _ in range(5):
        pbx.reply(pbx.last_request("INVITE"), 491)
        world.run(5)
    assert alice.last(SessionReanswered).status == 491
    assert session.established


def test_a_peer_that_asks_us_to_come_back_is_asked_again(
    alice: Phone, pbx: Script, world: World
) -> None:
    session = answered(alice, pbx)
    reoffer(alice, session)
    pbx.reply(pbx.last_request("INVITE"), 500, headers=[("Retry-After", "3")])
    world.run(4)
    assert len(pbx.requests("INVITE")) == 3
    pbx.reply(pbx.last_request("INVITE"), 500)
    assert alice.last(SessionReanswered).status == 500


@pytest.mark.parametrize("status", [408, 481])
def test_an_offer_that_finds_no_dialog_ends_the_session(
    alice: Phone, pbx: Script, status: int
) -> None:
    session = answered(alice, pbx)
    reoffer(alice, session)
    pbx.reply(pbx.last_request("INVITE"), status)
    assert ended(alice) == (status, status == 481)
    assert len(pbx.requests("BYE")) == (1 if status == 408 else 0)


def test_the_peers_offer_is_answered_and_acknowledged(
    alice: Phone, pbx: Script, world: World
) -> None:
    session = taken(alice, pbx)
    pbx.within(session, "INVITE", seq=2, body=HOLD)
    assert pbx.last_response("INVITE").status == 100
    assert alice.last(SessionOffered).offer == HOLD
    accept(alice, session)
    ok = pbx.last_response("INVITE")
    assert (ok.status, ok.body) == (200, ANSWER.data)
    acknowledge(pbx, session, seq=2)
    assert len(alice.all(SessionConfirmed)) == 2
    accept(alice, session)  # nothing is open: does nothing
    world.run(60)
    assert session.established
    assert len([r for r in pbx.responses("INVITE") if r.headers.cseq.number == 2]) == 2


def test_the_peer_asks_for_our_offer_and_answers_in_the_ack(alice: Phone, pbx: Script) -> None:
    session = taken(alice, pbx)
    pbx.within(session, "INVITE", seq=2)
    assert alice.last(SessionOffered).offer is None
    accept(alice, session)
    acknowledge(pbx, session, seq=2, body=HOLD)
    assert alice.last(SessionConfirmed).body == HOLD


def test_the_peers_offer_is_refused_and_the_session_goes_on(
    alice: Phone, pbx: Script, world: World
) -> None:
    session = taken(alice, pbx)
    pbx.within(session, "INVITE", seq=2, body=HOLD)
    session.reject_offer(488, now=world.now)
    alice.pump()
    world.settle()
    assert pbx.last_response("INVITE").status == 488
    assert session.established


def test_a_reinvite_without_ack_ends_the_session(alice: Phone, pbx: Script, world: World) -> None:
    session = taken(alice, pbx)
    pbx.within(session, "INVITE", seq=2, body=HOLD)
    accept(alice, session)
    world.run(33)
    assert ended(alice) == (408, False)
    assert len(pbx.requests("BYE")) == 1


def test_the_peers_offer_is_491_while_ours_is_open(alice: Phone, pbx: Script) -> None:
    session = taken(alice, pbx)
    reoffer(alice, session)
    pbx.within(session, "INVITE", seq=2, body=HOLD)
    assert pbx.last_response("INVITE").status == 491
    pbx.within(session, "UPDATE", seq=3, body=HOLD)
    assert pbx.last_response("UPDATE").status == 491
    assert alice.all(SessionOffered) == []


def test_the_peers_second_offer_is_to_come_back(alice: Phone, pbx: Script, world: World) -> None:
    session = taken(alice, pbx)
    pbx.within(session, "INVITE", seq=2, body=HOLD)
    pbx.within(session, "INVITE", seq=3, body=HOLD)
    refusal = next(r for r in pbx.responses("INVITE") if r.headers.cseq.number == 3)
    assert refusal.status == 500
    assert refusal.headers.retry_after in range(11)
    accept(alice, session)
    pbx.within(session, "INVITE", seq=4, body=HOLD)  # the 200 has no ACK yet
    assert pbx.last_response("INVITE").status == 500
    # An UPDATE needs no more than that no offer is open (RFC 3311 §5.2).
    pbx.within(session, "UPDATE", seq=5, body=HOLD)
    accept(alice, session)
    assert pbx.last_response("UPDATE").status == 200


def test_glare_between_two_agents_ends_with_both_offers_answered(
    alice: Phone, bob: Phone, world: World
) -> None:
    world.link(alice, bob)
    session = alice.call()
    world.settle()
    other = bob.incoming()
    other.answer(ANSWER, now=world.now)
    bob.pump()
    world.settle()
    for phone in (alice, bob):
        phone.react = lambda event, phone=phone: (  # type: ignore[misc]
            event.session.accept_offer(ANSWER, now=world.now)
            if isinstance(event, SessionOffered)
            else None
        )
    session.reoffer(HOLD, now=world.now)
    other.reoffer(HOLD, now=world.now)
    alice.pump()
    bob.pump()
    world.run(10)
    assert alice.last(SessionReanswered).status == 200
    assert bob.last(SessionReanswered).status == 200
    assert session.established
    assert other.established


def test_our_offer_waits_for_the_peers(alice: Phone, pbx: Script, world: World) -> None:
    session = taken(alice, pbx)
    pbx.within(session, "INVITE", seq=2, body=HOLD)
    reoffer(alice, session)
    assert pbx.requests("INVITE") == []
    accept(alice, session)
    assert pbx.requests("INVITE") == []
    acknowledge(pbx, session, seq=2)
    assert len(pbx.requests("INVITE")) == 1


def test_an_offer_before_the_answer_has_to_wait(alice: Phone, pbx: Script, world: World) -> None:
    session = alice.call()
    world.settle()
    pbx.reply(pbx.last_request("INVITE"), 180)
    pbx.within(session, "UPDATE", seq=1, body=HOLD)
    assert pbx.last_response("UPDATE").status == 491
    pbx.request("INVITE", call_id="in", body=OFFER)
    incoming = alice.incoming()
    incoming.ring(now=world.now)
    alice.pump()
    world.settle()
    pbx.within(incoming, "UPDATE", seq=2, body=HOLD)
    assert pbx.last_response("UPDATE").status == 500


def test_an_update_with_an_offer_is_answered_at_once(alice: Phone, pbx: Script) -> None:
    session = taken(alice, pbx)
    pbx.within(session, "UPDATE", seq=2, body=HOLD)
    assert alice.last(SessionOffered).offer == HOLD
    accept(alice, session)
    assert pbx.last_response("UPDATE").body == ANSWER.data
    assert session.established


def test_an_offer_still_open_is_answered_when_the_session_ends(
    alice: Phone, pbx: Script, world: World
) -> None:
    session = taken(alice, pbx)
    pbx.within(session, "INVITE", seq=2, body=HOLD)
    session.hang_up(now=world.now)
    alice.pump()
    world.settle()
    assert pbx.last_response("INVITE").status == 487
    pbx.within(session, "INVITE", seq=3, body=HOLD)
    assert pbx.last_response("INVITE").status == 481
    pbx.within(session, "BYE", seq=4)
    assert ended(alice) == (200, False)


def test_an_offer_on_a_lost_flow_is_forgotten(alice: Phone, pbx: Script, world: World) -> None:
    session = taken(alice, pbx)
    pbx.within(session, "INVITE", seq=2, body=HOLD)
    assert pbx.link is not None
    pbx.link.cut()
    world.run(1)
    accept(alice, session)
    world.link(alice, pbx)
    world.settle()
    pbx.within(session, "INVITE", seq=3, body=HOLD)
    assert pbx.last_response("INVITE").status in (100, 491)


def test_our_offer_on_a_lost_flow_is_made_over_the_next(
    alice: Phone, pbx: Script, world: World
) -> None:
    session = answered(alice, pbx)
    reoffer(alice, session)
    assert pbx.link is not None
    pbx.link.cut()
    world.settle()
    assert not alice.all(SessionReanswered)
    assert session.established
    world.link(alice, pbx)
    world.settle()
    again = pbx.last_request("INVITE")
    assert again.body == HOLD.data
    pbx.reply(again, 200, ANSWER)
    assert alice.last(SessionReanswered) == SessionReanswered(session, 200, ANSWER)


def test_our_offer_without_a_flow_waits_for_one(alice: Phone, pbx: Script, world: World) -> None:
    session = answered(alice, pbx)
    assert pbx.link is not None
    pbx.link.cut()
    world.settle()
    before = len(pbx.requests("INVITE"))
    reoffer(alice, session)
    world.run(20)
    assert not alice.all(SessionReanswered)
    world.link(alice, pbx)
    world.settle()
    (again,) = pbx.requests("INVITE")[before:]
    assert again.body == HOLD.data


# --- session timer (RFC 4028)


def timed(alice: Phone, pbx: Script, refresher: str, *, allow: str = "INVITE, UPDATE") -> Session:
    session = alice.call()
    alice.world.settle()
    pbx.reply(
        pbx.last_request("INVITE"),
        200,
        ANSWER,
        headers=[("Session-Expires", f"90;refresher={refresher}"), ("Allow", allow)],
    )
    return session


def test_we_refresh_with_update_after_half_the_interval(
    alice: Phone, pbx: Script, world: World
) -> None:
    session = timed(alice, pbx, "uac")
    world.run(44)
    assert pbx.requests("UPDATE") == []
    for _ in range(5):
        world.run(2)
        update = pbx.last_request("UPDATE")
        assert update.headers.get("Session-Expires") == "90;refresher=uac"
        assert update.body == b""
        pbx.reply(update, 200, headers=[("Session-Expires", "90;refresher=uac")])
        world.run(43.5)
    assert len(pbx.requests("UPDATE")) == 5
    assert session.established


def test_we_refresh_with_reinvite_where_there_is_no_update(
    alice: Phone, pbx: Script, world: World
) -> None:
    timed(alice, pbx, "uac", allow="INVITE")
    world.run(46)
    refresh = pbx.last_request("INVITE")
    assert refresh.body == OFFER.data
    pbx.reply(refresh, 200, ANSWER, headers=[("Session-Expires", "90;refresher=uac")])
    assert alice.all(SessionReanswered) == []
    world.run(46)
    pbx.reply(pbx.last_request("INVITE"), 200, HOLD, headers=[("Session-Expires", "90")])
    assert alice.last(SessionReanswered).answer == HOLD


def test_the_peers_refresh_keeps_the_session_and_its_absence_ends_it(
    alice: Phone, pbx: Script, world: World
) -> None:
    session = timed(alice, pbx, "uas")
    refresh = [("Session-Expires", "90;refresher=uac"), ("Supported", "timer")]
    for seq in (1, 2, 3):
        world.run(45)
        pbx.within(session, "UPDATE", seq=seq, headers=refresh)
        response = pbx.last_response("UPDATE")
        assert response.status == 200
        assert response.headers.get("Session-Expires") == "90;refresher=uac"
        assert response.headers.contact is not None
    world.run(59)
    assert session.established
    world.run(2)
    assert ended(alice) == (408, False)
    reason = pbx.last_request("BYE").headers.reason
    assert reason == Reason("SIP", 408, "session timer expired")


def test_a_refresh_that_nobody_answers_ends_the_session(
    alice: Phone, pbx: Script, world: World
) -> None:
    timed(alice, pbx, "uac")
    world.run(90)
    assert ended(alice) == (408, False)


def test_a_refused_refresh_is_tried_again_until_the_end(
    alice: Phone, pbx: Script, world: World
) -> None:
    session = timed(alice, pbx, "uac")
    pbx.react = lambda m: None
    world.run(46)
    pbx.reply(pbx.last_request("UPDATE"), 500)
    assert session.established
    world.run(12)
    assert len(pbx.requests("UPDATE")) == 2
    pbx.reply(pbx.last_request("UPDATE"), 481)
    assert ended(alice) == (481, True)


def test_an_interval_too_small_for_the_peer_is_raised(
    alice: Phone, pbx: Script, world: World
) -> None:
    session = alice.call()
    world.settle()
    first = pbx.last_request("INVITE")
    assert first.headers.get("Session-Expires") == "1800"
    pbx.reply(first, 422, headers=[("Min-SE", "3600")])
    second = pbx.last_request("INVITE")
    assert second.headers.get("Session-Expires") == "3600"
    assert second.headers.get("Min-SE") == "3600"
    assert second.headers.cseq.number > first.headers.cseq.number
    assert second.headers.call_id == first.headers.call_id
    pbx.reply(second, 200, ANSWER, headers=[("Session-Expires", "3600;refresher=uac")])
    assert session.established
    reoffer(alice, session)
    pbx.reply(pbx.last_request("INVITE"), 422, headers=[("Min-SE", "4000")])
    assert pbx.last_request("INVITE").headers.get("Session-Expires") == "4000;refresher=uac"


def test_a_refresh_with_too_small_an_interval_is_sent_again_at_once(
    alice: Phone, pbx: Script, world: World
) -> None:
    session = timed(alice, pbx, "uac")
    world.run(46)
    pbx.reply(pbx.last_request("UPDATE"), 422, headers=[("Min-SE", "120")])
    update = pbx.last_request("UPDATE")
    assert len(pbx.requests("UPDATE")) == 2
    assert update.headers.get("Session-Expires") == "120;refresher=uac"
    assert update.headers.get("Min-SE") == "120"
    pbx.reply(update, 200, headers=[("Session-Expires", "120;refresher=uac")])
    world.run(55)
    assert session.established


@pytest.mark.parametrize("min_se", ["60", "none", "999999999"])
def test_a_422_that_asks_for_nothing_new_is_a_refusal(
    alice: Phone, pbx: Script, world: World, min_se: str
) -> None:
    alice.call()
    world.settle()
    pbx.reply(pbx.last_request("INVITE"), 422, headers=[("Min-SE", min_se)])
    assert ended(alice) == (422, True)


def test_the_peers_interval_is_taken_or_refused(alice: Phone, pbx: Script, world: World) -> None:
    timer = ("Supported", "timer")
    pbx.request("INVITE", body=OFFER, headers=[("Session-Expires", "30"), timer])
    refusal = pbx.last_response("INVITE")
    assert (refusal.status, refusal.headers.get("Min-SE")) == (422, "90")
    pbx.request("INVITE", seq=2, body=OFFER, headers=[("Session-Expires", "1800"), timer])
    session = alice.incoming()
    session.answer(ANSWER, now=world.now)
    alice.pump()
    world.settle()
    ok = pbx.last_response("INVITE")
    assert ok.headers.get("Session-Expires") == "1800;refresher=uac"
    assert ok.headers.get("Require") == "timer"


def test_a_peer_that_only_could_have_a_timer_is_refreshed_by_us(
    alice: Phone, pbx: Script, world: World
) -> None:
    pbx.request("INVITE", body=OFFER, headers=[("Supported", "timer"), ("Allow", "UPDATE")])
    session = alice.incoming()
    session.answer(ANSWER, now=world.now)
    alice.pump()
    world.settle()
    expires = pbx.last_response("INVITE").headers.get("Session-Expires")
    assert expires == "1800;refresher=uas"
    acknowledge(pbx, session)
    world.run(901)
    assert len(pbx.requests("UPDATE")) == 1


def test_a_peer_without_timers_gets_none(alice: Phone, pbx: Script, world: World) -> None:
    session = taken(alice, pbx)
    assert "Session-Expires" not in pbx.last_response("INVITE").headers
    world.run(10_000)
    assert session.established
    assert alice.all(SessionEnded) == []


def test_a_proxys_wish_for_a_timer_is_ours_to_keep(alice: Phone, pbx: Script, world: World) -> None:
    pbx.request("INVITE", body=OFFER, headers=[("Session-Expires", "600;refresher=uac")])
    session = alice.incoming()
    session.answer(ANSWER, now=world.now)
    alice.pump()
    world.settle()
    expires = pbx.last_response("INVITE").headers.get("Session-Expires")
    assert expires == "600;refresher=uas"
