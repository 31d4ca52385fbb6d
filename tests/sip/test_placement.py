"""Our INVITE and its forks: an early dialog each, with its own offers and its own PRACKs."""

import pytest

from sip.events import (
    Body,
    SessionAnswered,
    SessionEnded,
    SessionOffered,
    SessionProgressed,
    SessionReanswered,
)
from sip.message import Request
from sip.session import Session
from sip.uri import Uri
from tests.sip.test_session import answered, ended
from tests.sip.world import ANSWER, EARLY, OFFER, Phone, Script, World

SECOND = Body("application/sdp", b"v=0\r\ns=second\r\n")
ALLOW = ("Allow", "INVITE, UPDATE, PRACK")


def reliable(number: int) -> list[tuple[str, str]]:
    return [("Require", "100rel"), ("RSeq", str(number)), ALLOW]


def place(alice: Phone, offer: Body | None = OFFER) -> Session:
    session = alice.agent.invite(Uri("sip", "bob", "example.net"), offer, now=alice.now)
    alice.pump()
    alice.world.settle()
    return session


def settle(alice: Phone) -> None:
    alice.pump()
    alice.world.settle()


def from_fork(
    pbx: Script, invite: Request, method: str, fork: str, seq: int, **rest: object
) -> int:
    pbx.request(
        method,
        seq=seq,
        call_id=invite.headers.call_id,
        from_tag=fork,
        to_tag=invite.headers.from_.tag,
        **rest,  # type: ignore[arg-type]  # passed through as they are
    )
    return pbx.last_response(method).status


def test_each_fork_has_its_numbers_and_its_prack(alice: Phone, pbx: Script) -> None:
    place(alice)
    invite = pbx.last_request("INVITE")
    pbx.reply(invite, 183, EARLY, tag="one", headers=reliable(7))
    pbx.reply(invite, 183, SECOND, tag="two", headers=reliable(90))
    pbx.reply(invite, 183, SECOND, tag="two", headers=reliable(92))  # one was lost: wait for it
    pbx.reply(invite, 180, tag="one", headers=reliable(8))
    pracks = [(p.headers.to.tag, p.headers.get("RAck")) for p in pbx.requests("PRACK")]
    assert pracks == [("one", "7 1 INVITE"), ("two", "90 1 INVITE"), ("one", "8 1 INVITE")]
    assert [event.early for event in alice.all(SessionProgressed)] == [EARLY, SECOND, None]
    pbx.reply(invite, 200, tag="two")
    assert alice.last(SessionAnswered).answer == SECOND


def test_after_a_reliable_answer_no_other_description_counts(alice: Phone, pbx: Script) -> None:
    place(alice)
    invite = pbx.last_request("INVITE")
    pbx.reply(invite, 183, EARLY, headers=reliable(1))
    pbx.reply(invite, 183, SECOND)
    pbx.reply(invite, 200, SECOND)
    assert [event.early for event in alice.all(SessionProgressed)] == [EARLY, None]
    assert alice.last(SessionAnswered).answer == EARLY


def test_an_early_update_is_refused_until_the_first_exchange_is_complete(
    alice: Phone, pbx: Script
) -> None:
    session = place(alice)
    invite = pbx.last_request("INVITE")
    pbx.reply(invite, 183, EARLY, tag="one")  # a preview
    assert from_fork(pbx, invite, "UPDATE", "one", 1, body=SECOND) == 491
    pbx.reply(invite, 183, EARLY, tag="one", headers=reliable(1))
    from_fork(pbx, invite, "UPDATE", "one", 2, body=SECOND)
    assert alice.last(SessionOffered).offer == SECOND
    assert from_fork(pbx, invite, "UPDATE", "one", 3, body=SECOND) == 500
    assert pbx.last_response("UPDATE").headers.retry_after in range(11)
    assert from_fork(pbx, invite, "INVITE", "one", 4, body=SECOND) == 500
    session.accept_offer(ANSWER, now=alice.now)
    settle(alice)
    assert pbx.last_response("UPDATE").body == ANSWER.data
    assert from_fork(pbx, invite, "INVITE", "one", 5, body=SECOND) == 491
    pbx.reply(invite, 200, tag="one")
    assert alice.last(SessionAnswered).answer == SECOND


def test_an_early_update_moves_the_target_of_its_fork_alone(alice: Phone, pbx: Script) -> None:
    place(alice)
    invite = pbx.last_request("INVITE")
    pbx.reply(invite, 180, tag="one")
    pbx.reply(invite, 180, tag="two")
    moved = [("Contact", "<sip:moved@192.0.2.77>")]
    assert from_fork(pbx, invite, "UPDATE", "one", 1, headers=moved, contact=False) == 200
    pbx.reply(invite, 183, EARLY, tag="two", headers=reliable(1))
    assert pbx.last_request("PRACK").uri.host == "192.0.2.9"


def test_glare_between_early_updates_is_settled_by_the_owner_of_the_call(
    alice: Phone, pbx: Script, world: World
) -> None:
    session = place(alice)
    invite = pbx.last_request("INVITE")
    pbx.reply(invite, 183, EARLY, headers=reliable(1))
    session.reoffer(SECOND, now=world.now)
    settle(alice)
    first = pbx.last_request("UPDATE")
    assert from_fork(pbx, invite, "UPDATE", "pbx-tag", 1, body=OFFER) == 491
    pbx.reply(first, 491)
    refused_at = world.now
    world.run(4.5)
    second = pbx.last_request("UPDATE")
    at = next(t for t, _, m in world.wire if m.headers.cseq == second.headers.cseq)
    assert 2.1 <= at - refused_at + 0.02 <= 4.1
    pbx.reply(second, 200, ANSWER)
    assert alice.last(SessionReanswered) == SessionReanswered(session, 200, ANSWER)


@pytest.mark.parametrize("status", [408, 481, 488])
def test_a_refused_early_update_leaves_the_call(alice: Phone, pbx: Script, status: int) -> None:
    session = place(alice)
    invite = pbx.last_request("INVITE")
    pbx.reply(invite, 183, EARLY, headers=reliable(1))
    session.reoffer(SECOND, now=alice.now)
    settle(alice)
    pbx.reply(pbx.last_request("UPDATE"), status)
    assert alice.last(SessionReanswered) == SessionReanswered(session, status, None)
    pbx.reply(invite, 200)
    assert alice.last(SessionAnswered).answer == EARLY


def test_a_change_in_a_fork_that_loses_is_told_to_be_lost(alice: Phone, pbx: Script) -> None:
    session = place(alice)
    invite = pbx.last_request("INVITE")
    pbx.reply(invite, 183, EARLY, tag="one", headers=reliable(1))
    session.reoffer(SECOND, now=alice.now)
    settle(alice)
    pbx.reply(invite, 200, ANSWER, tag="two")
    assert alice.last(SessionReanswered) == SessionReanswered(session, 487, None)
    assert alice.last(SessionAnswered).answer == ANSWER


def test_offers_of_several_forks_are_answered_one_after_the_other(
    alice: Phone, pbx: Script
) -> None:
    session = place(alice, None)
    invite = pbx.last_request("INVITE")
    assert invite.body == b""
    pbx.reply(invite, 183, EARLY, tag="one", headers=reliable(1))
    pbx.reply(invite, 183, SECOND, tag="two", headers=reliable(5))
    pbx.reply(invite, 183, EARLY, tag="one", headers=reliable(1))  # repeated: no PRACK came
    assert [event.offer for event in alice.all(SessionOffered)] == [EARLY]
    session.accept_offer(ANSWER, now=alice.now)
    settle(alice)
    assert [event.offer for event in alice.all(SessionOffered)] == [EARLY, SECOND]
    session.accept_offer(OFFER, now=alice.now)
    settle(alice)
    pracks = [(p.headers.to.tag, p.body) for p in pbx.requests("PRACK")]
    assert pracks == [("one", ANSWER.data), ("two", OFFER.data)]
    pbx.reply(invite, 200, tag="two")
    pbx.reply(invite, 200, tag="one")
    assert alice.last(SessionAnswered).answer == SECOND
    assert pbx.last_request("BYE").headers.to.tag == "one"


def test_an_early_offer_refused_ends_the_call(alice: Phone, pbx: Script) -> None:
    session = place(alice, None)
    invite = pbx.last_request("INVITE")
    pbx.reply(invite, 183, EARLY, headers=reliable(1))
    session.reject_offer(488, now=alice.now)
    settle(alice)
    assert pbx.last_request("PRACK").body == b""
    assert len(pbx.requests("CANCEL")) == 1
    assert ended(alice) == (488, False)


@pytest.mark.parametrize("verb", ["reject", "hang up", "nothing"])
def test_an_offer_in_the_2xx_without_our_answer_is_acknowledged_and_ended(
    alice: Phone, pbx: Script, world: World, verb: str
) -> None:
    session = place(alice, None)
    invite = pbx.last_request("INVITE")
    pbx.reply(invite, 200, EARLY)
    pbx.reply(invite, 200, EARLY)
    assert len(alice.all(SessionOffered)) == 1
    assert pbx.requests("ACK") == []
    if verb == "reject":
        session.reject_offer(488, now=world.now)
    elif verb == "hang up":
        session.hang_up(now=world.now)
    alice.pump()
    world.run(31)
    assert [ack.body for ack in pbx.requests("ACK")] == [b""]
    assert len({bye.headers.cseq.number for bye in pbx.requests("BYE")}) == 1
    assert ended(alice) == ({"reject": 488, "hang up": 200, "nothing": 500}[verb], False)


def test_an_offer_in_a_2xx_that_crosses_our_cancel_is_acknowledged_and_ended(
    alice: Phone, pbx: Script
) -> None:
    session = place(alice, None)
    invite = pbx.last_request("INVITE")
    pbx.reply(invite, 180)
    session.hang_up(now=alice.now)
    alice.pump()
    pbx.reply(invite, 200, EARLY)
    assert [ack.body for ack in pbx.requests("ACK")] == [b""]
    assert len(pbx.requests("BYE")) == 1
    assert alice.all(SessionOffered) == []


def test_a_2xx_that_makes_no_offer_when_asked_is_taken_as_it_is(alice: Phone, pbx: Script) -> None:
    session = place(alice, None)
    pbx.reply(pbx.last_request("INVITE"), 200)
    assert alice.last(SessionAnswered).answer is None
    assert len(pbx.requests("ACK")) == 1
    pbx.within(session, "INVITE", seq=1, body=OFFER)
    session.accept_offer(ANSWER, now=alice.now)
    settle(alice)
    assert pbx.last_response("INVITE").body == ANSWER.data


def test_an_ack_carries_the_credentials_of_its_invite(alice: Phone, pbx: Script) -> None:
    place(alice)
    challenge = [("Proxy-Authenticate", 'Digest realm="r", nonce="1", qop="auth"')]
    pbx.reply(pbx.last_request("INVITE"), 407, headers=challenge)
    invite = pbx.last_request("INVITE")
    home = [("Contact", "<sip:pbx@example.net>")]
    pbx.reply(invite, 200, ANSWER, headers=home, contact=False)
    ack = pbx.last_request("ACK")
    credentials = invite.headers.get("Proxy-Authorization")
    assert credentials is not None
    assert ack.headers.get("Proxy-Authorization") == credentials


def test_a_failed_change_that_was_answered_early_is_undone(
    alice: Phone, pbx: Script, world: World
) -> None:
    session = answered(alice, pbx)
    session.reoffer(SECOND, now=world.now)
    settle(alice)
    invite = pbx.last_request("INVITE")
    pbx.reply(invite, 183, EARLY, headers=reliable(1))
    pbx.reply(invite, 488)
    assert [event.status for event in alice.all(SessionReanswered)] == [183, 488]
    assert session.established
    assert alice.all(SessionEnded) == []
    session.reoffer(OFFER, now=world.now)
    settle(alice)
    assert pbx.last_request("INVITE").body == OFFER.data


def test_their_offer_outlives_the_failure_of_our_change(
    alice: Phone, pbx: Script, world: World
) -> None:
    session = answered(alice, pbx)
    session.reoffer(SECOND, now=world.now)
    settle(alice)
    invite = pbx.last_request("INVITE")
    pbx.reply(invite, 183, EARLY, headers=reliable(1))
    pbx.within(session, "UPDATE", seq=1, body=OFFER)
    pbx.reply(invite, 488)
    session.accept_offer(ANSWER, now=world.now)
    settle(alice)
    assert pbx.last_response("UPDATE").body == ANSWER.data
    pbx.within(session, "UPDATE", seq=2, body=EARLY)  # nothing of ours is open
    assert alice.last(SessionOffered).offer == EARLY
