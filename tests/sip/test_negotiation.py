"""The states of offer and answer, and every place where RFC 6337 (table 1) allows an offer.

In the second part two of our agents talk to each other over a wire, so that each place is tried in
both roles at once; what is written on the wire is checked besides.
"""

import pytest

from sip.events import (
    Body,
    IncomingSession,
    SessionAnswered,
    SessionConfirmed,
    SessionOffered,
    SessionProgressed,
    SessionReanswered,
)
from sip.message import Request, Response
from sip.negotiation import Negotiation, State
from sip.session import Session
from sip.uri import Uri
from tests.sip.test_session import answered
from tests.sip.world import ANSWER, EARLY, OFFER, Phone, Script, World

SECOND = Body("application/sdp", b"v=0\r\ns=second\r\n")
THIRD = Body("application/sdp", b"v=0\r\ns=third\r\n")
BOB = Uri("sip", "bob", "example.net")


def test_an_exchange_goes_from_stable_to_stable() -> None:
    ours, theirs = Negotiation(), Negotiation()
    ours.make_offer(OFFER)
    theirs.take_offer(OFFER)
    assert (ours.state, theirs.state) == (State.LOCAL_OFFER, State.REMOTE_OFFER)
    theirs.make_answer(ANSWER)
    ours.take_answer(ANSWER)
    assert ours.stable
    assert theirs.stable
    assert ours.agreed == (OFFER, ANSWER)
    assert theirs.agreed == (ANSWER, OFFER)
    assert (ours.rounds, theirs.rounds) == (1, 1)


def test_a_refused_offer_leaves_what_was_agreed_on() -> None:
    negotiation = Negotiation()
    negotiation.make_offer(OFFER)
    negotiation.take_answer(ANSWER)
    negotiation.take_offer(EARLY)
    negotiation.roll_back()
    assert negotiation.stable
    assert negotiation.agreed == (OFFER, ANSWER)
    assert negotiation.rounds == 1


def test_a_failed_change_is_undone_even_if_it_was_answered() -> None:
    negotiation = Negotiation()
    negotiation.make_offer(OFFER)
    negotiation.take_answer(ANSWER)
    before = negotiation.agreed
    negotiation.make_offer(SECOND)
    negotiation.take_answer(THIRD)
    negotiation.restore(before)
    assert negotiation.agreed == (OFFER, ANSWER)


@pytest.mark.parametrize("answer", [Negotiation.make_answer, Negotiation.take_answer])
def test_there_is_no_answer_without_its_offer(answer: object) -> None:
    assert callable(answer)
    with pytest.raises(AssertionError):
        answer(Negotiation(), ANSWER)


# --- the places


class Pair:
    """Alice calls bob; both are ours."""

    def __init__(self, world: World, transport: str) -> None:
        self.world = world
        self.alice, self.bob = world.phone("alice"), world.phone("bob")
        world.link(self.alice, self.bob, transport)

    def call(self, offer: Body | None) -> Session:
        session = self.alice.agent.invite(BOB, offer, now=self.world.now)
        self.settle()
        return session

    def settle(self) -> None:
        for _ in range(3):
            self.alice.pump()
            self.bob.pump()
            self.world.settle()

    @property
    def callee(self) -> Session:
        return self.bob.incoming()

    def wire(self, what: str) -> list[tuple[str, bytes]]:
        """Sender and body of each message of a kind: a method, or status and method."""
        return [(who, m.body) for _, who, m in self.world.wire if kind(m) == what]

    def end(self) -> None:
        """The call stands; hang it up and see that nothing is left."""
        (caller,) = self.alice.agent.sessions
        assert caller.established
        assert self.callee.established
        caller.hang_up(now=self.world.now)
        self.settle()
        self.world.run(60)
        for phone in (self.alice, self.bob):
            assert phone.agent.sessions == []
            assert phone.agent.deadline() is None


def kind(message: Request | Response) -> str:
    if isinstance(message, Request):
        return message.method
    return f"{message.status} {message.headers.cseq.method}"


@pytest.fixture(params=["TLS", "UDP"])
def pair(world: World, request: pytest.FixtureRequest) -> Pair:
    return Pair(world, request.param)


def early(pair: Pair, offer: Body | None = OFFER) -> tuple[Session, Session]:
    """A call whose first exchange was completed by a reliable response."""
    caller = pair.call(offer)
    pair.callee.progress(EARLY, now=pair.world.now)
    pair.settle()
    if offer is None:
        caller.accept_offer(ANSWER, now=pair.world.now)
        pair.settle()
    return caller, pair.callee


def answer(pair: Pair) -> None:
    pair.callee.answer(ANSWER, now=pair.world.now)
    pair.settle()


def test_1_offer_in_invite_answer_in_2xx(pair: Pair) -> None:
    pair.call(OFFER)
    answer(pair)
    assert pair.bob.last(IncomingSession).offer == OFFER
    assert pair.alice.last(SessionAnswered).answer == ANSWER
    assert pair.bob.last(SessionConfirmed).body is None
    assert pair.wire("200 INVITE") == [("bob", ANSWER.data)]
    pair.end()


def test_2_offer_in_2xx_answer_in_ack(pair: Pair) -> None:
    caller = pair.call(None)
    assert pair.bob.last(IncomingSession).offer is None
    pair.callee.answer(OFFER, now=pair.world.now)
    pair.settle()
    assert pair.alice.last(SessionAnswered).answer is None
    assert pair.alice.last(SessionOffered).offer == OFFER
    assert pair.wire("ACK") == []
    pair.world.run(3)  # bob repeats his 2xx meanwhile
    assert len(pair.alice.all(SessionOffered)) == 1
    caller.accept_offer(ANSWER, now=pair.world.now)
    pair.settle()
    assert pair.bob.last(SessionConfirmed).body == ANSWER
    assert pair.wire("ACK") == [("alice", ANSWER.data)]
    pair.end()


def test_3_offer_in_invite_answer_in_a_reliable_response(pair: Pair) -> None:
    early(pair)
    assert pair.alice.last(SessionProgressed).early == EARLY
    assert pair.wire("PRACK") == [("alice", b"")]
    answer(pair)
    # What was said reliably stands: the 2xx says nothing else (RFC 6337 §2.2).
    assert pair.wire("200 INVITE") == [("bob", b"")]
    assert pair.alice.last(SessionAnswered).answer == EARLY
    pair.end()


def test_4_offer_in_a_reliable_response_answer_in_prack(pair: Pair) -> None:
    caller = pair.call(None)
    pair.callee.progress(OFFER, now=pair.world.now)
    pair.settle()
    assert pair.alice.last(SessionProgressed).early is None
    assert pair.alice.last(SessionOffered).offer == OFFER
    pair.callee.answer(THIRD, now=pair.world.now)  # waits for the PRACK
    pair.settle()
    assert pair.wire("PRACK") == []
    assert not caller.established
    caller.accept_offer(ANSWER, now=pair.world.now)
    pair.settle()
    assert pair.wire("PRACK") == [("alice", ANSWER.data)]
    assert pair.bob.last(SessionReanswered).answer == ANSWER
    assert pair.wire("200 INVITE") == [("bob", b"")]
    assert pair.alice.last(SessionAnswered).answer == OFFER
    pair.end()


@pytest.fixture(params=["TLS", "UDP"])
def wired(world: World, alice: Phone, request: pytest.FixtureRequest) -> Script:
    """A peer that is no agent of ours, for what ours never do to each other."""
    script = Script(world)
    world.link(alice, script, request.param)
    return script


def test_5_our_offer_in_prack_where_the_peer_has_no_update(
    alice: Phone, wired: Script, world: World
) -> None:
    session = alice.call()
    world.settle()
    invite = wired.last_request("INVITE")
    wired.reply(invite, 183, EARLY, headers=[("Require", "100rel"), ("RSeq", "1")])
    wired.reply(wired.last_request("PRACK"), 200)
    session.reoffer(SECOND, now=world.now)
    alice.pump()
    wired.reply(invite, 180, headers=[("Require", "100rel"), ("RSeq", "2")])
    prack = wired.last_request("PRACK")
    assert (prack.headers.get("RAck"), prack.body) == ("2 1 INVITE", SECOND.data)
    wired.reply(prack, 200, THIRD)
    assert alice.last(SessionReanswered) == SessionReanswered(session, 200, THIRD)
    wired.reply(invite, 200)
    assert alice.last(SessionAnswered).answer == THIRD


def test_5_their_offer_in_prack_is_answered_in_its_200(
    alice: Phone, wired: Script, world: World
) -> None:
    wired.request("INVITE", body=OFFER, headers=[("Supported", "100rel")])
    session = alice.incoming()
    session.progress(EARLY, now=world.now)
    alice.pump()
    world.settle()
    number = wired.last_response("INVITE").headers.get("RSeq")
    rack = [("RAck", f"{number} 1 INVITE")]
    wired.within(session, "PRACK", seq=2, body=SECOND, headers=rack)
    assert alice.last(SessionOffered).offer == SECOND
    session.answer(ANSWER, now=world.now)  # waits: an offer is open
    alice.pump()
    world.settle()
    assert wired.last_response("INVITE").status == 183
    session.accept_offer(THIRD, now=world.now)
    alice.pump()
    world.settle()
    assert wired.last_response("PRACK").body == THIRD.data
    assert session.established
    assert wired.last_response("INVITE").body == b""


def test_6_offer_in_update_answer_in_its_200(pair: Pair) -> None:
    caller, callee = early(pair)
    caller.reoffer(SECOND, now=pair.world.now)
    pair.settle()
    assert pair.wire("UPDATE") == [("alice", SECOND.data)]
    assert pair.bob.last(SessionOffered).offer == SECOND
    callee.accept_offer(THIRD, now=pair.world.now)
    pair.settle()
    assert pair.alice.last(SessionReanswered) == SessionReanswered(caller, 200, THIRD)
    callee.reoffer(OFFER, now=pair.world.now)
    pair.settle()
    caller.accept_offer(SECOND, now=pair.world.now)
    pair.settle()
    assert pair.bob.last(SessionReanswered) == SessionReanswered(callee, 200, SECOND)
    answer(pair)
    assert pair.wire("200 INVITE") == [("bob", b"")]
    assert pair.alice.last(SessionAnswered).answer == OFFER
    pair.end()


@pytest.mark.parametrize("ours", [True, False])
def test_7_reinvite_with_an_offer(pair: Pair, ours: bool) -> None:
    caller = pair.call(OFFER)
    answer(pair)
    one, other, ears = (
        (caller, pair.callee, pair.bob) if ours else (pair.callee, caller, pair.alice)
    )
    mouth = pair.alice if ours else pair.bob
    one.reoffer(SECOND, now=pair.world.now)
    pair.settle()
    assert ears.last(SessionOffered).offer == SECOND
    other.accept_offer(THIRD, now=pair.world.now)
    pair.settle()
    assert mouth.last(SessionReanswered).answer == THIRD
    pair.end()


@pytest.mark.parametrize("ours", [True, False])
def test_8_reinvite_without_an_offer(pair: Pair, ours: bool) -> None:
    caller = pair.call(OFFER)
    answer(pair)
    one, other, ears = (
        (caller, pair.callee, pair.bob) if ours else (pair.callee, caller, pair.alice)
    )
    mouth = pair.alice if ours else pair.bob
    one.reoffer(None, now=pair.world.now)
    pair.settle()
    assert ears.last(SessionOffered).offer is None
    other.accept_offer(SECOND, now=pair.world.now)
    pair.settle()
    assert mouth.last(SessionOffered).offer == SECOND
    assert mouth.all(SessionReanswered) == []
    one.accept_offer(THIRD, now=pair.world.now)
    pair.settle()
    assert ears.last(SessionConfirmed).body == THIRD
    pair.end()


def test_a_reinvite_answered_reliably_or_offered_back_so(
    alice: Phone, wired: Script, world: World
) -> None:
    session = answered(alice, wired)
    session.reoffer(SECOND, now=world.now)
    alice.pump()
    world.settle()
    invite = wired.last_request("INVITE")
    wired.reply(invite, 183, THIRD, headers=[("Require", "100rel"), ("RSeq", "1")])
    assert alice.last(SessionReanswered) == SessionReanswered(session, 183, THIRD)
    wired.reply(wired.last_request("PRACK"), 200)
    wired.within(session, "UPDATE", seq=1, body=OFFER)  # the exchange is complete: allowed
    session.accept_offer(ANSWER, now=world.now)
    alice.pump()
    world.settle()
    assert wired.last_response("UPDATE").status == 200
    wired.reply(invite, 200)
    assert len(alice.all(SessionReanswered)) == 1
    session.reoffer(None, now=world.now)
    alice.pump()
    world.settle()
    invite = wired.last_request("INVITE")
    wired.reply(invite, 183, SECOND, headers=[("Require", "100rel"), ("RSeq", "1")])
    assert alice.last(SessionOffered).offer == SECOND
    session.accept_offer(THIRD, now=world.now)
    alice.pump()
    world.settle()
    assert wired.last_request("PRACK").body == THIRD.data
    wired.reply(invite, 200)
    assert session.established
