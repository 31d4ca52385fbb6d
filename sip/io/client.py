"""A trunk's line, kept up: connect, let the agent register, notice a loss, come back.

Attempts go through the addresses that RFC 3263 gives, one after the other, each with a limit; when
a round has failed, or the line was lost, `Backoff` says when the next begins. Liveness: whatever is
received proves it; after silence the agent asks (`sip.keepalive`), and reports the flow as failed
when no answer comes. Half a minute of silence and ten seconds of waiting are the longest that a
dead line goes unnoticed.

A server that answers 503, or falls silent under a standing line, is left for the next address and
tried last for a while (RFC 3263 §4.3); it is not left while a call goes on. What it refused is the
user's to repeat.

A peer may connect to us as well (`sip.io.listener`, which knows who it is). Its connections carry
what it sends on them and our answers; our own requests go there only while we have none. A trunk
with `connect: False` never has one, and is up as soon as it is started.

`TrunkDown` is said when the line has been down for `GRACE` seconds, since a repair within that time
is not worth a word; `TrunkUp` when it stands for the first time. After a `TrunkDown` it must stand
for `STEADY` seconds, so that a line which falls again and again is told once.
"""

import asyncio
import errno
import logging
import os
import random
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from sip.agent import Ids, UserAgent
from sip.events import Event, MessageSent, Registered, RegistrationFailed, SessionEnded
from sip.io.backoff import Backoff, Pace
from sip.io.certificate import SOON_DAYS
from sip.io.driver import Driver
from sip.io.flow import Connection, Dialer, FlowListener
from sip.io.resolver import DnsResolver, ResolveError, Resolver, Target
from sip.io.tls import TlsSettingsError, explain, peer_certificate
from sip.trunk import Trunk

logger = logging.getLogger(__name__)

GRACE = 5.0  # a line that is back within this time was never down for anybody
STEADY = 10.0  # a line that falls within this time was never back
PING_AFTER = 30.0  # of silence; most NATs forget a TCP binding after minutes
PING_SPREAD = 0.2  # of that is left to chance (RFC 5626 §4.4.1)
CLOSE_LIMIT = 1.0  # for the farewell of TLS
MAX_INBOUND = 32  # connections that a peer may hold to us at once; clusters have a handful
SHUN_TIME = 300.0  # an address that failed us is tried last for so long
REFUSAL_HOLD = 600.0  # longest that a refused registration keeps us from connecting anew
CAUSES_SHOWN = 3


@dataclass(frozen=True, slots=True)
class TrunkUp:
    """The line stands: registered, connected where the trunk does not register, or waiting for the
    peer where it is the peer that connects."""


@dataclass(frozen=True, slots=True)
class TrunkDown:
    """The line is down; the client goes on trying.

    Attributes:
        text: why, in plain words.
    """

    text: str


@dataclass(frozen=True, slots=True)
class TrunkStatus:
    """How the line is now.

    Attributes:
        up: whether calls and texts can pass.
        since: when `up` last changed.
        text: in plain words.
    """

    up: bool
    since: datetime
    text: str


class Connector(Protocol):
    """Opens a flow; `sip.io.flow.Dialer` is the real one."""

    def __call__(
        self, trunk: Trunk, target: Target, *, id: int, listener: FlowListener
    ) -> Awaitable[Connection]:
        """Return a connection that the listener knows; raise OSError or `TlsSettingsError`."""
        ...


class RandomIds:
    """Identifiers that nobody can guess: 80 bits and more, where RFC 3261 §19.3 asks for 32."""

    def branch(self) -> str:
        return f"z9hG4bK{os.urandom(12).hex()}"

    def tag(self) -> str:
        return os.urandom(10).hex()

    def call_id(self) -> str:
        return os.urandom(16).hex()

    def cnonce(self) -> str:
        return os.urandom(16).hex()


class TrunkClient:
    """One account's user agent on the network, from `start` to `stop`, once.

    Args:
        trunk: where and who.
        listener: gets the agent's events (all but `Send` and `FlowFailed`), `TrunkUp` and
            `TrunkDown`, within the event loop; it may use the agent's verbs and `pump`, and must
            not block.
        resolver: finds addresses.
        ids: source of identifiers.
        connector: opens flows.
        chance: returns a number in [0, 1), for jitter.
        instance: see `UserAgent`.
        pace: shared by all accounts of a process.

    Attributes:
        agent: takes the verbs; call `pump` after each, on it or on its sessions.
    """

    def __init__(
        self,
        trunk: Trunk,
        *,
        listener: Callable[[Event | TrunkUp | TrunkDown], None],
        resolver: Resolver | None = None,
        ids: Ids | None = None,
        connector: Connector | None = None,
        chance: Callable[[], float] = random.random,
        instance: str | None = None,
        pace: Pace | None = None,
    ) -> None:
        self.trunk = trunk
        self.agent = UserAgent(trunk, ids=ids or RandomIds(), instance=instance)
        self._listener = listener
        self._resolver = resolver or DnsResolver()
        self._connector = connector or Dialer(trunk.tls)
        self._chance = chance
        self._driver = Driver(
            agent=self.agent,
            listener=self._hear,
            on_made=self._made,
            on_lost=self._lost,
            on_failed=self._failed,
        )
        self._backoff = Backoff(chance=chance)
        self._pace = pace or Pace()
        self._status = TrunkStatus(False, datetime.now(UTC), "not started")
        self._told: bool | None = None  # what the listener was told last
        self._started = False
        self._task: asyncio.Task[None] | None = None
        self._notice: asyncio.TimerHandle | None = None
        self._ping: asyncio.TimerHandle | None = None
        self._flows = 0
        self._stood = False  # whether the line stood on the flow of now
        self._refusal: RegistrationFailed | None = None  # of the flow of now
        self._target: Target | None = None  # of the flow of now
        self._targets_left = 0
        self._alternatives = 0  # other addresses of this round
        self._shunned: dict[Target, float] = {}  # until when they are tried last
        self._leaving = False  # for another address, as soon as no call goes on

    # --- for the user

    @property
    def status(self) -> TrunkStatus:
        """How the line is now."""
        return self._status

    def now(self) -> float:
        """The agent's clock, for its verbs."""
        return self._driver.now()

    def listens_at(self, host: str | None, port: int) -> None:
        """Let Via and Contact name where we listen, from the next connection on; not of an account
        that registers, whose peer is to come back over the connection that we opened.

        Args:
            host: None for the address of each connection's own end.
        """
        if not self.trunk.register:
            self._driver.sent_by = (host, port)

    def adopt(self, connection: Connection) -> bool:
        """Take a connection that the peer opened and proved to be its own; False if it has too
        many."""
        inbound = sum(other.inbound for other in self._driver.connections)
        if not self._started or inbound >= MAX_INBOUND:
            return False
        self._flows += 1
        connection.hand_over(id=self._flows, trunk=self.trunk, listener=self._driver)
        return True

    def readdress(self) -> None:
        """The machine's addresses changed. A connection that leaves from one that is gone is dead,
        which nothing would say for a while; it is given up at once."""
        connection = self._driver.connection
        address = None if connection is None else connection.extra("sockname")
        if connection is not None and address and not _is_ours(address):
            connection.abort("the address of this machine changed")

    def renew(self, reason: str) -> None:
        """The connection is dead and does not say so, as after the machine slept: it is given up,
        and the line comes up anew.

        Args:
            reason: for the status.
        """
        if (connection := self._driver.connection) is not None:
            connection.abort(reason)

    def pump(self) -> None:
        """Carry out what a verb set going."""
        self._driver.pump()

    async def start(self) -> None:
        """Begin to keep the line up; returns at once."""
        if self._started:
            return
        self._started = True
        if not self.trunk.connect:
            self._set(True, "waiting for the other side to connect")
            return
        self._set(False, "connecting")
        self._task = asyncio.create_task(self._keep_up(), name=f"trunk {self.trunk.name}")

    async def stop(self, grace_seconds: float = 3.0) -> None:
        """Unregister, wait for the answer at most `grace_seconds`, and close.

        Calls are the user's to hang up before; what their BYEs still wait for is waited for here.
        """
        if not self._started:
            return
        if self._driver.connections:
            await self._say_farewell(grace_seconds)
        self._started = False
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        connections = self._driver.connections
        for connection in connections:
            connection.close("stopped")
        try:
            async with asyncio.timeout(CLOSE_LIMIT):
                for connection in connections:
                    await connection.wait_lost()
        except TimeoutError:
            for connection in connections:
                connection.abort("stopped")
        self._driver.stop()
        self._cancel_timers()
        self._status = TrunkStatus(False, datetime.now(UTC), "stopped")

    # --- keeping the line up

    async def _keep_up(self) -> None:
        while True:
            await asyncio.sleep(max(0.0, self._backoff.due - self.now()))
            await asyncio.sleep(self._pace.turn(self.now()) - self.now())
            try:
                await self._round()
            except Exception:
                # Whatever this is, a line that stays down for ever would be worse.
                logger.exception("trunk %s: an attempt to connect failed", self.trunk.name)
                self._set(False, "an internal error, see the log")
            self._backoff.failed(self.now())
            if self._refusal is not None and self._refusal.retry_in is not None:
                self._backoff.hold(self.now() + min(self._refusal.retry_in, REFUSAL_HOLD))
            logger.info(
                "trunk %s: next attempt in %.1f s", self.trunk.name, self._backoff.due - self.now()
            )

    async def _round(self) -> None:
        """Go through the addresses until one holds the line, and return when that is lost."""
        self._refusal = None
        try:
            found = await self._resolver.resolve(self.trunk)
        except ResolveError as error:
            self._set(False, str(error))
            return
        causes: list[str] = []
        self._shunned = {t: until for t, until in self._shunned.items() if until > self.now()}
        targets = sorted(found, key=self._shunned.__contains__)
        self._alternatives = len(targets) - 1
        for number, target in enumerate(targets, start=1):
            self._targets_left = len(targets) - number
            self._target = target
            self._leaving = False
            self._stood = False
            self._refusal = None
            if (cause := await self._try(target)) is not None:
                causes.append(cause)
                self._set(False, "; ".join(list(dict.fromkeys(causes))[:CAUSES_SHOWN]))
                continue
            if self._stood or self._settled():
                return

    async def _try(self, target: Target) -> str | None:
        """Connect to `target` and wait until the flow is lost; or return why there was none."""
        self._flows += 1
        try:
            connection = await self._connector(
                self.trunk, target, id=self._flows, listener=self._driver
            )
        except TlsSettingsError as error:
            return str(error)
        except OSError as error:
            return f"{target}: {explain(error)}"
        await connection.wait_lost()
        return None

    def _settled(self) -> bool:
        """Whether the flow of now brought an answer that another address would give as well."""
        return self._refusal is not None and self._refusal.status not in (408, 503)

    def _made(self, connection: Connection) -> None:
        if self._ping is None:
            self._schedule_ping()
        if connection.inbound:
            logger.info("trunk %s: it connected to us, flow %d", self.trunk.name, connection.id)
            return
        logger.info("trunk %s: connected, flow %d", self.trunk.name, connection.id)
        self._look_at_certificate(connection)
        if self.trunk.register:
            self._set(False, "connected, registering")
        else:
            self._stand("connected")

    def _look_at_certificate(self, connection: Connection) -> None:
        """Warn of a certificate whose end will break the line."""
        secure = connection.extra("ssl_object")
        certificate = peer_certificate(secure) if isinstance(secure, ssl.SSLObject) else None
        if certificate is not None and certificate.days_left() < SOON_DAYS:
            logger.warning(
                "trunk %s: the other side's certificate is %s", self.trunk.name, certificate
            )

    def _lost(self, connection: Connection, reason: str) -> None:
        if connection.inbound:
            logger.info("trunk %s: flow %d ended: %s", self.trunk.name, connection.id, reason)
        elif self._refusal is None:
            self._set(False, reason)

    def _hear(self, event: Event) -> None:
        match event:
            case Registered():
                self._refusal = None
                self._stand("registered")
                if (self.agent.ping_interval or PING_AFTER) < PING_AFTER:
                    self._schedule_ping()
            case RegistrationFailed():
                self._refused(event)
            case SessionEnded(status=503, by_peer=True) | MessageSent(status=503, answered=True):
                self._shun()
                self._leaving = self._alternatives > 0
            case _:
                pass
        self._listener(event)
        self._leave()

    def _failed(self, connection: Connection) -> None:
        if not connection.inbound:
            self._shun()

    def _shun(self) -> None:
        """Try the address of now last for a while."""
        if self._target is not None:
            self._shunned[self._target] = self.now() + SHUN_TIME

    def _leave(self) -> None:
        """Go to another address, if we want to and nobody speaks."""
        connection = self._driver.connection
        resting = not self.agent.sessions and not self.agent.busy
        if self._leaving and connection is not None and resting:
            connection.close("the server is overloaded or being serviced (503)")

    def _refused(self, event: RegistrationFailed) -> None:
        connection = self._driver.connection
        if connection is None:
            return  # a lost flow says so itself
        self._refusal = event
        text = refusal(event.status, event.reason, event.objection)
        self._set(False, text)
        # 503 sends us to another server, if there is one and no call stands on this (RFC 3263
        # §4.3). An agent that waits for a new flow gets one.
        another = event.status == 503 and self._targets_left > 0 and not self._stood
        if another or event.retry_in is None:
            connection.close(text)

    def _stand(self, text: str) -> None:
        self._stood = True
        self._backoff.up(self.now())
        self._set(True, text)

    # --- what the user is told

    def _set(self, up: bool, text: str) -> None:
        since = self._status.since if self._status.up == up else datetime.now(UTC)
        if (self._status.up, self._status.text) != (up, text):
            logger.info("trunk %s: %s: %s", self.trunk.name, "up" if up else "down", text)
        self._status = TrunkStatus(up, since, text)
        if up is self._told or (self._told is None and up):
            if self._notice is not None:
                self._notice.cancel()
                self._notice = None
            if self._told is None:
                self._announce(up=True)
        elif self._notice is None:
            after = STEADY if up else GRACE
            self._notice = asyncio.get_running_loop().call_later(
                after, lambda: self._announce(up=up)
            )

    def _announce(self, *, up: bool) -> None:
        self._notice = None
        self._told = up
        self._tell(TrunkUp() if up else TrunkDown(self._status.text))

    def _tell(self, event: TrunkUp | TrunkDown) -> None:
        try:
            self._listener(event)
        except Exception:
            # The line itself must not suffer from one who cannot bear to hear of it.
            logger.exception("the listener failed on %s", type(event).__name__)

    # --- liveness

    def _schedule_ping(self) -> None:
        if self._ping is not None:
            self._ping.cancel()
        longest = min(PING_AFTER, self.agent.ping_interval or PING_AFTER)
        wait = longest * (1 - PING_SPREAD * self._chance())
        self._ping = asyncio.get_running_loop().call_later(wait, self._ping_if_silent, wait)

    def _ping_if_silent(self, wait: float) -> None:
        self._ping = None
        # The one that the agent would ask over: our own, or else the latest of the peer's.
        connection = self._driver.connection or next(reversed(self._driver.connections), None)
        if connection is None:
            return  # the next one that is made begins anew
        self._leave()
        left = connection.heard_at + wait - self.now()
        if left > 0.1 and self.agent.ping_interval is None:
            self._ping = asyncio.get_running_loop().call_later(left, self._ping_if_silent, wait)
            return
        self.agent.ping(now=self.now())
        self.pump()
        self._schedule_ping()

    # --- the end

    async def _say_farewell(self, limit: float) -> None:
        if self.trunk.register:
            self.agent.unregister(now=self.now())
        self.pump()
        try:
            async with asyncio.timeout(limit):
                await self._driver.idle.wait()
        except TimeoutError:
            logger.info("trunk %s: no answer to our farewell", self.trunk.name)

    def _cancel_timers(self) -> None:
        for timer in (self._notice, self._ping):
            if timer is not None:
                timer.cancel()
        self._notice = self._ping = None


def _is_ours(address: object) -> bool:
    """Whether the machine has the address of a socket's own end (still); it can be bound then."""
    match address:
        case (str(host), int(_), *_):
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            try:
                with socket.socket(family, socket.SOCK_DGRAM) as probe:
                    probe.bind((host, 0))
            except OSError as error:
                return error.errno != errno.EADDRNOTAVAIL
    return True


def refusal(status: int, reason: str, objection: str = "") -> str:
    """Say what a refused registration means and what to do about it (RFC 3261 §10.2.7, §21).

    Args:
        objection: why we did not answer its challenge, if that is what it was.
    """
    if objection:
        return f"the registration was refused with {status}: {objection}"
    match status:
        case 200:
            return "the registrar accepts us, but for no time at all"
        case 401 | 407 | 403:
            advice = "check username, auth_username and password of this trunk"
        case 404:
            advice = "the other side knows no such account: check username and domain of this trunk"
        case 408:
            return "the registrar does not answer"
        case 423 | 503:
            advice = "it will be tried again"
        case _ if 300 <= status < 400:
            advice = "it sends us to another server: set domain or host of this trunk to that"
        case _:
            advice = "see the other side's log"
    return f"the registration was refused with {status} {reason}: {advice}"
