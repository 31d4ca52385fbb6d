"""Bad weather: storms drawn by a seed, and connections cut after every message of a call.

Only invariants are asserted: each call that was told of is told to end exactly once at each end,
both ends agree in the end, and nothing is left behind.
"""

from collections.abc import Callable

import pytest

from sip.events import (
    Event,
    IncomingSession,
    MessageReceived,
    SessionAnswered,
    SessionEnded,
    SessionOffered,
)
from sip.session import Session
from tests.sip import storm
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
    storm.check_quiet(world, *phones)


@pytest.mark.parametrize("block", range(8))
def test_after_a_storm_both_ends_agree_and_nothing_is_left(block: int) -> None:
    """`make storm` plays a thousand."""
    for seed in range(block * 10, block * 10 + 10):
        storm.play(seed)


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
