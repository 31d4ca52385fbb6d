"""A telephone made of our user agent, which does what a test says."""

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

from sip.events import (
    Body,
    Event,
    IncomingSession,
    MessageSent,
    Reason,
    Registered,
    SessionAnswered,
    SessionConfirmed,
    SessionEnded,
    SessionOffered,
)
from sip.io.client import TrunkClient, TrunkDown, TrunkUp
from sip.session import Session
from sip.trunk import TlsSettings, Trunk
from sip.uri import Uri
from tests.interop.rtp import Rtp
from tests.lab.certificate import Authority
from tests.lab.ports import HOST
from tests.lab.process import PATIENCE, eventually

E = TypeVar("E")


def account(
    authority: Authority, name: str, *, domain: str, port: int, password: str, **settings: Any
) -> Trunk:
    """An account at a server of the lab."""
    trunk = Trunk(
        name=name,
        domain=domain,
        host=HOST,
        port=port,
        username=name,
        password=password,
        tls=TlsSettings(ca_file=authority.certificate),
    )
    return dataclasses.replace(trunk, **settings)


class Phone:
    """One account's telephone. It answers nothing by itself but what the agent must."""

    def __init__(self, trunk: Trunk) -> None:
        self.trunk = trunk
        self.events: list[Event | TrunkUp | TrunkDown] = []
        self.react: Callable[[Event | TrunkUp | TrunkDown], None] = lambda event: None
        self.client = TrunkClient(trunk, listener=self._hear)
        self.rtp = Rtp()

    async def start(self) -> None:
        await self.rtp.start()
        await self.client.start()

    async def rest(self) -> None:
        """End every call and forget what happened."""
        for session in self.client.agent.sessions:
            self.do(session.hang_up)
        await self.over()
        self.events.clear()
        self.react = lambda event: None

    async def stop(self) -> None:
        for session in self.client.agent.sessions:
            self.do(session.hang_up)
        await self.client.stop()
        self.rtp.stop()

    def _hear(self, event: Event | TrunkUp | TrunkDown) -> None:
        self.events.append(event)
        self.react(event)

    @property
    def now(self) -> float:
        return self.client.now()

    @property
    def mark(self) -> int:
        """A place among the events, for `since`."""
        return len(self.events)

    # --- what happened

    def all(
        self, kind: type[E], where: Callable[[E], object] = lambda event: True, *, since: int = 0
    ) -> list[E]:
        return [e for e in self.events[since:] if isinstance(e, kind) and where(e)]

    async def expect(
        self,
        kind: type[E],
        where: Callable[[E], object] = lambda event: True,
        *,
        since: int = 0,
        within: float = PATIENCE,
    ) -> E:
        """The first event of this kind for which `where` holds."""
        try:
            found = await eventually(
                lambda: self.all(kind, where, since=since), within=within, every=0.01
            )
        except AssertionError:
            seen = "\n".join(f"    {event}" for event in self.events[since:]) or "    nothing"
            raise AssertionError(
                f"no such {kind.__name__} at {self.trunk.name} in {within:g} s, but:\n{seen}"
            ) from None
        return found[0]

    async def registered(self, *, since: int = 0, within: float = PATIENCE) -> Registered:
        return await self.expect(Registered, since=since, within=within)

    async def says(self, words: str, *, within: float = PATIENCE) -> None:
        """Wait until the account's status has these words in it."""
        try:
            await eventually(lambda: words in self.client.status.text, within=within)
        except AssertionError:
            raise AssertionError(f"not {words!r}, but {self.client.status}") from None

    async def ended(self, session: Session, *, within: float = PATIENCE) -> SessionEnded:
        """The end of a call, which is said once."""
        ended = await self.expect(SessionEnded, lambda e: e.session is session, within=within)
        assert len(self.all(SessionEnded, lambda e: e.session is session)) == 1
        return ended

    async def over(self, *, within: float = PATIENCE) -> None:
        """Wait until nothing of any call is left on the wire."""
        await eventually(lambda: not self.client.agent.busy, within=within, what="idle agent")

    # --- what it does

    def uri(self, user: str) -> Uri:
        return Uri("sip", user, self.trunk.domain)

    def dial(self, user: str, offer: Body | None = None, **options: Any) -> Session:
        """Call someone; returns at once."""
        session = self.client.agent.invite(
            self.uri(user), offer or self.rtp.description(), now=self.now, **options
        )
        self.client.pump()
        return session

    async def call(self, user: str, **options: Any) -> Session:
        """Call someone who answers."""
        session = self.dial(user, **options)
        answered = await self.expect(SessionAnswered, lambda e: e.session is session)
        self.rtp.learn(answered.answer)
        return session

    async def rung(self, *, since: int = 0, within: float = PATIENCE) -> IncomingSession:
        """The call that comes in."""
        return await self.expect(IncomingSession, since=since, within=within)

    async def take(self, call: IncomingSession) -> Session:
        """Answer a call, and wait for the ACK."""
        call.session.answer(self.rtp.answer(call.offer), now=self.now)
        self.client.pump()
        await self.expect(SessionConfirmed, lambda e: e.session is call.session)
        return call.session

    def agrees(self) -> None:
        """Take every offer of the peer from here on, as phones do."""

        def take(event: object) -> None:
            if isinstance(event, SessionOffered):
                self.do(event.session.accept_offer, self.rtp.answer(event.offer))

        self.react = take

    def do(self, verb: Callable[..., object], *arguments: Any, **options: Any) -> None:
        """A verb of the agent or of a session, now."""
        verb(*arguments, now=self.now, **options)
        self.client.pump()

    async def hang_up(self, session: Session, *, reason: Reason | None = None) -> SessionEnded:
        """End a call, and wait until the peer has agreed."""
        self.do(session.hang_up, reason=reason)
        ended = await self.ended(session)
        await eventually(lambda: session.finished, what="answer to BYE or CANCEL")
        return ended

    async def text(self, user: str, body: str) -> MessageSent:
        """Send a MESSAGE; how it ended."""
        id = self.client.agent.send_message(
            self.uri(user), Body("text/plain;charset=UTF-8", body.encode()), now=self.now
        )
        self.client.pump()
        return await self.expect(MessageSent, lambda e: e.id == id)

    async def echoes(self) -> None:
        """Say something to an echo, at the pace at which a person is heard."""
        since = self.rtp.heard
        for _ in range(25):
            self.rtp.say()
            await asyncio.sleep(0.02)
        await eventually(lambda: self.rtp.heard >= since + 10, what="echo")

    async def hears(self, packets: int = 10, *, within: float = PATIENCE) -> None:
        """Wait until so many authentic packets have come."""
        since = self.rtp.heard
        await eventually(lambda: self.rtp.heard >= since + packets, within=within, what="sound")
