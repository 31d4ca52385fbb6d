"""Bad weather: lost and doubled datagrams, connections cut after every message.

Only invariants are asserted: each call that was told of is told to end exactly once at each end,
both ends agree in the end, and nothing is left behind.
"""

from collections.abc import Callable
from functools import partial

import pytest

from sip.events import (
    Event,
    IncomingSession,
    MessageReceived,
    MessageSent,
    SessionAnswered,
    SessionEnded,
    SessionOffered,
)
from sip.session import Session
from tests.sip.test_pager import BOB, TEXT
from tests.sip.world import ANSWER, OFFER, Phone, Weather, World


class Callee:
    """Answers calls after a while, takes offers, hangs up if told to."""

    def __init__(self, phone: Phone, *, hang_up_after: float | None = None) -> None:
        self.phone = phone
        self.hang_up_after = hang_up_after
        self.sessions: list[Session] = []
        phone.react = self.react

    def react(self, event: Event) -> None:
        world = self.phone.world
        if isinstance(event, IncomingSession):
            session = event.session
            self.sessions.append(session)
            self.do(0.05, lambda: session.ring(now=world.now))
            self.do(0.4, lambda: session.answer(ANSWER, now=world.now))
            if self.hang_up_after is not None:
                self.do(self.hang_up_after, lambda: session.hang_up(now=world.now))
        elif isinstance(event, SessionOffered):
            event.session.accept_offer(ANSWER, now=world.now)
        elif isinstance(event, MessageReceived):
            self.phone.agent.answer_message(event.id, 200, now=world.now)

    def do(self, after: float, verb: Callable[[], None]) -> None:
        world = self.phone.world

        def act() -> None:
            verb()
            self.phone.pump()

        world.at(world.now + after, act)


def change(phone: Phone, session: Session) -> None:
    if session.established:
        session.reoffer(OFFER, now=phone.now)
        phone.pump()


def check_quiet(world: World, *phones: Phone) -> None:
    """Nothing waits, nothing is left, each call ended once."""
    for phone in phones:
        told = {event.session.id for event in phone.all(IncomingSession)}
        told |= {event.session.id for event in phone.all(SessionAnswered)}
        ends = [event.session.id for event in phone.all(SessionEnded)]
        assert len(ends) == len(set(ends)), world.ladder()
        assert told <= set(ends), world.ladder()
        assert phone.agent.sessions == [], world.ladder()
        assert not phone.agent.busy, world.ladder()
        assert phone.agent.deadline() is None, world.ladder()


@pytest.mark.parametrize("block", range(10))
def test_calls_over_lossy_datagrams_end_once_at_both_ends(block: int) -> None:
    for seed in range(block * 30, block * 30 + 30):
        world = World(seed)
        alice, bob = world.phone("alice"), world.phone("bob")
        chance = world.random
        weather = Weather(
            delay=0.02, jitter=0.6 * chance.random(), loss=0.4 * chance.random(), duplication=0.2
        )
        world.link(alice, bob, "UDP", weather)
        early = chance.random() < 0.3
        callee = Callee(bob, hang_up_after=chance.choice([None, 0.3, 0.45, 3.0]))
        Callee(alice)
        session = alice.call()
        if chance.random() < 0.5:
            world.at(world.now + 5, partial(change, alice, session))
        world.run(chance.random() * (1.0 if early else 60.0))
        session.hang_up(now=world.now)
        alice.pump()
        world.run(60)
        for other in callee.sessions:  # whom the BYE never reached
            other.hang_up(now=world.now)
        bob.pump()
        world.run(250)
        check_quiet(world, alice, bob)


@pytest.mark.parametrize("seed", range(10))
def test_texts_over_lossy_datagrams_arrive_once_or_are_told(seed: int) -> None:
    world = World(seed)
    alice, bob = world.phone("alice"), world.phone("bob")
    world.link(alice, bob, "UDP", Weather(jitter=0.3, loss=0.3, duplication=0.3))
    Callee(bob)
    for _ in range(10):
        alice.agent.send_message(BOB, TEXT, now=world.now)
        alice.pump()
        world.run(1)
    world.run(100)
    sent = alice.all(MessageSent)
    assert len(sent) == 10
    keys = [event.key for event in bob.all(MessageReceived)]
    assert len(keys) == len(set(keys))
    assert len(keys) >= sum(event.answered for event in sent)


def whole_call(world: World, alice: Phone, bob: Phone) -> Session:
    """INVITE, 100, 180, 200, ACK, a change, and a BYE: 12 messages in all."""
    Callee(bob)
    Callee(alice)
    session = alice.call()
    world.run(1)
    change(alice, session)
    world.run(1)
    session.hang_up(now=world.now)
    alice.pump()
    world.run(1)
    return session


@pytest.mark.parametrize("reconnects", [True, False])
@pytest.mark.parametrize("cut_after", range(14))
def test_a_call_cut_after_each_of_its_messages(cut_after: int, reconnects: bool) -> None:
    world = World()
    alice, bob = world.phone("alice"), world.phone("bob")
    link = world.link(alice, bob, weather=Weather(cut_after=cut_after))

    def reconnect() -> None:
        if reconnects and not link.open:
            world.link(alice, bob)
        elif not link.open:
            return
        else:
            world.at(world.now + 0.5, reconnect)

    world.at(world.now + 0.5, reconnect)
    whole_call(world, alice, bob)
    world.run(40)
    if reconnects:
        # The end was said by one side; a connection is enough for the other to hear of it,
        # unless it was lost before anything was answered.
        assert alice.agent.sessions == []
        survivors = bob.agent.sessions
        assert survivors == [], world.ladder()
    for other in bob.agent.sessions:
        other.hang_up(now=world.now)
    bob.pump()
    world.run(4000)
    check_quiet(world, alice, bob)


def test_a_call_survives_one_cut_after_another(world: World, alice: Phone, bob: Phone) -> None:
    link = world.link(alice, bob)
    Callee(bob)
    session = alice.call()
    world.run(1)
    (other,) = bob.agent.sessions
    for _ in range(5):
        link.cut()
        world.run(100)
        link = world.link(alice, bob)
        world.run(1)
    assert session.established
    assert other.established
    other.hang_up(now=world.now)
    bob.pump()
    world.run(40)
    check_quiet(world, alice, bob)
    assert alice.last(SessionEnded).by_peer
