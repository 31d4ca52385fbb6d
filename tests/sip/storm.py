"""Storms: two user agents that call, text, change and hang up across each other in bad weather.

A seed decides everything: the transport, what the wire does to messages, which flows are cut or
fall silent and when they come back, whether a proxy in the path challenges or demands reliable
ringing, and what both users do at which moment. When the weather is good again, the invariants
must hold:

- both ends agree about which calls stand;
- each call that a user began or was told of was told to end exactly once, nothing after that;
- each text arrived once at the most, and its sender was told; one that was answered did arrive;
- where no flow was cut and few datagrams were lost, nobody heard of a timeout or a failure;
- nothing is left: no session, no transaction, no deadline.

    python -m tests.sip.storm [FIRST] [COUNT]

`make storm` plays a thousand seeds; one that fails is played again by its number.
"""

import sys
from collections import Counter
from collections.abc import Callable

from sip.events import (
    Body,
    Event,
    IncomingSession,
    MessageReceived,
    MessageSent,
    SessionEnded,
    SessionOffered,
    SessionReanswered,
)
from sip.headers import Headers
from sip.message import Message, Request, Response, response_to
from sip.session import Session
from sip.uri import Uri
from tests.sip.world import ANSWER, EARLY, OFFER, Link, Phone, Weather, World

STORM = 20.0  # seconds in which things happen
CALM = 100.0  # longer than any transaction: whoever was not told has found out

# What only a broken wire explains: timeouts, lost flows, no PRACK. (481 is told where a re-INVITE
# crosses a BYE.)
FAILURES = (408, 503, 504)

# Below this a request or its answer is lost eleven times in a row once in a million.
FEW_LOST = 0.12

# Within a dialog a challenge is not answered: those requests go to another host than the trunk's.
CHALLENGED = ("INVITE", "MESSAGE")


class User:
    """One who uses a phone without patience; what is done when is drawn from the world's dice."""

    def __init__(self, world: World, phone: Phone, other: str) -> None:
        self.world = world
        self.phone = phone
        self.other = other
        self.sessions: list[Session] = []
        self.texts: list[str] = []
        self.give_up: Callable[[str], None] = lambda call_id: None  # what the other one does
        phone.react = self.react

    def within(self, seconds: float, verb: Callable[[], object]) -> None:
        """Do something at a moment to come."""

        def act() -> None:
            verb()
            self.phone.pump()

        self.world.at(self.world.now + seconds * self.world.random.random(), act)

    def call(self) -> None:
        session = self.phone.call(self.other)
        self.sessions.append(session)
        self._play(session)

    def text(self) -> None:
        body = f"{self.phone.name} {len(self.texts)}"
        self.texts.append(body)
        self.phone.agent.send_message(
            Uri("sip", self.other, "example.net"),
            Body("text/plain", body.encode()),
            now=self.world.now,
        )

    def react(self, event: Event) -> None:
        chance, now = self.world.random, self.world.now
        match event:
            case IncomingSession(session=session):
                self.sessions.append(session)
                self.within(0.3, lambda: session.ring(now=self.world.now))
                if chance.random() < 0.4:
                    self.within(0.5, lambda: session.progress(EARLY, now=self.world.now))
                if chance.random() < 0.1:
                    self.within(3.0, lambda: session.reject(486, now=self.world.now))
                elif chance.random() < 0.9:
                    moment = now + 3.0 * chance.random()
                    self.world.at(moment, lambda: self._answer(session))
                self._play(session)
            case SessionOffered(session=session):
                if chance.random() < 0.2:
                    session.reject_offer(488, now=now)
                elif chance.random() < 0.3:
                    self.within(1.0, lambda: session.accept_offer(ANSWER, now=self.world.now))
                else:
                    session.accept_offer(ANSWER, now=now)
            case MessageReceived(id=id):
                self.within(0.2, lambda: self.phone.agent.answer_message(id, 200, now=now))
            case _:
                pass

    def end_call(self, call_id: str) -> None:
        for session in self.sessions:
            if session.call_id == call_id:
                self._end(session)

    def hang_up(self) -> None:
        for session in self.sessions:
            session.hang_up(now=self.world.now)
        self.phone.pump()

    def _play(self, session: Session) -> None:
        """Change the call now and then, and hang up some day; often just when the other does."""
        chance = self.world.random
        for _ in range(chance.choice((0, 0, 1, 2))):
            moment = chance.choice((4.0, 6.0))  # the same at both ends makes glare
            self.world.at(self.world.now + moment, lambda: self._change(session))
        if chance.random() < 0.6:
            moment = chance.choice((0.4, 3.0, 7.0, 8.0, 8.0))
            spread = chance.choice((0.0, 0.05, 1.0)) * chance.random()
            self.world.at(self.world.now + moment + spread, lambda: self._end(session))

    def _answer(self, session: Session) -> None:
        session.answer(ANSWER, now=self.world.now)
        self.phone.pump()
        if self.world.random.random() < 0.2:  # CANCEL crosses 200
            self.give_up(session.call_id)

    def _change(self, session: Session) -> None:
        if session.established:
            session.reoffer(OFFER, now=self.world.now)
            self.phone.pump()

    def _end(self, session: Session) -> None:
        session.hang_up(now=self.world.now)
        self.phone.pump()


class Path:
    """The way between both: cut, silent, and new again; a proxy may sit in it."""

    def __init__(self, world: World, one: Phone, other: Phone) -> None:
        self.world = world
        chance = world.random
        self.ends = (one, other)
        self.datagrams = chance.random() < 0.4
        self.weather = Weather(delay=0.02)
        if self.datagrams:
            self.weather = Weather(
                delay=0.02,
                jitter=0.6 * chance.random(),
                loss=chance.choice((FEW_LOST, 0.4)) * chance.random(),
                duplication=0.2 * chance.random(),
            )
        self.proxy = Proxy(challenges=chance.random() < 0.3, wants_prack=chance.random() < 0.3)
        breaks = 0 if self.datagrams else chance.choice((0, 1, 1, 2, 3))
        for _ in range(breaks):
            world.at(world.now + STORM * chance.random(), self._break)
        self.fair = breaks == 0 and self.weather.loss <= FEW_LOST
        self.link = self._open()

    def clear_up(self) -> None:
        """From now on the weather is good, and a flow stands."""
        self.weather = Weather(delay=0.02)
        self.link.weather = self.weather
        if not self.link.open:
            self.link = self._open()

    def _open(self) -> Link:
        transport = "UDP" if self.datagrams else "TLS"
        return self.world.link(*self.ends, transport, self.weather, proxy=self.proxy.pass_on)

    def _break(self) -> None:
        chance, link = self.world.random, self.link
        silence = chance.choice((0.0, 0.0, 0.5, 10.0, 45.0)) * chance.random()
        link.silent = True  # half-open first: nothing arrives and nobody knows
        self.world.at(self.world.now + silence, link.cut)
        away = silence + chance.choice((0.1, 1.0, 10.0)) * (0.1 + chance.random())
        self.world.at(self.world.now + away, self._return)

    def _return(self) -> None:
        if not self.link.open:
            self.link = self._open()


class Proxy:
    """What an element in the path does: asks callers who they are, wants ringing acknowledged."""

    def __init__(self, *, challenges: bool, wants_prack: bool) -> None:
        self.challenges = challenges
        self.wants_prack = wants_prack

    def pass_on(self, message: Message) -> tuple[Message | None, Response | None]:
        """Return what goes on, and what is answered in its place."""
        if not isinstance(message, Request):
            return message, None
        if (
            self.challenges
            and message.method in CHALLENGED
            and message.headers.to.tag is None
            and "Proxy-Authorization" not in message.headers
        ):
            challenge = response_to(message, 407, to_tag="proxy")
            challenge.headers.add(
                "Proxy-Authenticate", 'Digest realm="storm", nonce="n", algorithm=SHA-256'
            )
            return None, challenge
        if self.wants_prack and message.method == "INVITE" and message.headers.to.tag is None:
            headers = Headers(message.headers)
            headers.add("Require", "100rel")
            return Request(message.method, message.uri, headers, message.body), None
        return message, None


def play(seed: int) -> World:
    """Let one storm pass, and check what must hold after it."""
    world = World(seed)
    alice, bob = world.phone("alice"), world.phone("bob")
    path = Path(world, alice, bob)
    users = [User(world, alice, "bob"), User(world, bob, "alice")]
    for user, other in zip(users, reversed(users), strict=True):
        user.give_up = other.end_call
        for _ in range(world.random.choice((0, 1, 1, 2))):
            user.within(STORM / 2, user.call)
        for _ in range(world.random.choice((0, 1, 2))):
            user.within(STORM, user.text)
    world.run(STORM + 5.0)
    path.clear_up()
    world.run(CALM)
    check_agreement(world, alice, bob)
    for user in users:
        user.hang_up()
    world.run(200)
    check_ends(world, users)
    check_texts(world, *users)
    check_texts(world, *reversed(users))
    if path.fair:
        check_no_failure(world, alice, bob)
    check_quiet(world, alice, bob)
    return world


def check_agreement(world: World, one: Phone, other: Phone) -> None:
    standing = [sorted(s.call_id for s in phone.agent.sessions) for phone in (one, other)]
    assert standing[0] == standing[1], world.ladder()


def check_ends(world: World, users: list[User]) -> None:
    for user in users:
        over: Counter[str] = Counter()
        for event in user.phone.events:
            session = getattr(event, "session", None)
            if isinstance(session, Session):
                assert not over[session.id], f"{event} after the end\n{world.ladder()}"
                over[session.id] += isinstance(event, SessionEnded)
        assert over == Counter(session.id for session in user.sessions), world.ladder()


def check_texts(world: World, sender: User, receiver: User) -> None:
    told = sender.phone.all(MessageSent)
    assert len(told) == len(sender.texts), world.ladder()
    assert len({event.id for event in told}) == len(told), world.ladder()
    arrived = Counter(event.body.data.decode() for event in receiver.phone.all(MessageReceived))
    assert all(count == 1 for count in arrived.values()), world.ladder()
    assert len(arrived) >= sum(event.status == 200 for event in told), world.ladder()


def check_no_failure(world: World, *phones: Phone) -> None:
    for phone in phones:
        ends = {event.status for event in phone.all(SessionEnded)}
        changes = {event.status for event in phone.all(SessionReanswered)}
        texts = {event.status for event in phone.all(MessageSent)}
        assert not ends.intersection(FAILURES), world.ladder()
        assert changes <= {200, 487, 488}, world.ladder()
        assert texts <= {200}, world.ladder()


def check_quiet(world: World, *phones: Phone) -> None:
    """Nothing waits, nothing is left."""
    for phone in phones:
        assert phone.agent.sessions == [], world.ladder()
        assert not phone.agent.busy, world.ladder()
        assert phone.agent.transactions == 0, world.ladder()
        assert phone.agent.deadline() is None, world.ladder()


def main(first: int = 0, count: int = 1000) -> None:
    messages = 0
    for seed in range(first, first + count):
        try:
            messages += len(play(seed).wire)
        except BaseException:
            print(f"seed {seed}", file=sys.stderr)  # noqa: T201  (the number that plays it again)
            raise
    print(f"{count} storms passed, {messages} messages")  # noqa: T201


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
