"""The live calls: finds the call of each event, opens new ones, and gives each an inbox and a task.

    Matrix call events ─┐
    SIP session events ─┼─▶ inbox of the call ─▶ legs ─▶ `Call` ─▶ legs ─┬─▶ trunk.pump(), at once
    media events ───────┘        (bounded)                               └─▶ one sender per room

The exchange decides about a new call what is not the call's own business: whether it is fresh,
whose line it is, whether it may be dialled at all. A call of the user's own always wins over one
that is ringing in the same room.
"""

import asyncio
import contextlib
import logging
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Protocol

from bridge import wording
from bridge.call.call import Source, Stopped
from bridge.call.events import EndReason
from bridge.call.fork import ForkLeg
from bridge.call.live import (
    SEND_LIMIT,
    FromRoom,
    Left,
    LiveCall,
    Outdone,
    SessionEvent,
    Trouble,
    TrunkPort,
)
from bridge.call.matrix_leg import CallSend, MatrixLeg, stale
from bridge.call.record import CallRecord
from bridge.call.sip_leg import SipLeg
from bridge.call.transfer import Transfers
from bridge.config import LineSection, TrunkSection
from bridge.ghost import Ghosts
from bridge.matrix.client import MatrixClient
from bridge.matrix.events import (
    CallCandidates,
    CallEvent,
    CallHangup,
    CallInvite,
    CallReject,
    RoomEvent,
)
from bridge.matrix.homeserver import MatrixError, MatrixRefused, MatrixUnavailable
from bridge.numbers import ANONYMOUS, PhoneNumber
from bridge.portal import Portal, Portals
from bridge.routing import Remote, Routing
from bridge.task import Tasks
from bridge.txn import txn_id
from media.plane import IceServer, MediaPlane, SessionSettings, Unencrypted
from sip.events import (
    Body,
    DigitsRefused,
    IncomingSession,
    TransferEnded,
    TransferProgressed,
)
from sip.session import Session

log = logging.getLogger(__name__)
records = logging.getLogger("bridge.call.record")

MAX_CALLS = 200  # a bound for us; what a trunk carries, the trunk says
RING_LIMIT = 60.0  # seconds that a user's own call may ring; clients give up then as well
ANSWER_MARGIN = 1.0  # we end a ringing call this long before the client does: ours says why
ALL_LIMIT = 1.5  # for the rooms of all who are called; then those that are there ring alone
FIND_LIMIT = 3.5  # for the rooms of those who are called: the caller hears nothing until then
BRIEF_LIMIT = 3.5  # for an invite to reach the homeserver, repeats included
TURN_LIMIT = 1.0  # for the homeserver to name its TURN servers; then those known from before
EARLY_EVENTS = 32  # events kept for a call whose invite has not come yet
EARLY_CALLS = 256
WITHHOLD_LIMIT = 300.0  # for a call that is to be anonymous to be made
REMEMBERED = 4096  # call ids that shall not be acted upon again


class Notices(Protocol):
    """Leaves a line about a number with a user, whatever it takes; see `bridge.texting`."""

    async def leave_notice(
        self, line: LineSection, number: PhoneNumber, user: str, text: str, *, name: str, key: str
    ) -> None: ...


class Strangers(Protocol):
    """Knows how many strangers get a room; see `bridge.burst`."""

    def admits(self, line: LineSection, number: PhoneNumber) -> bool: ...


class Exchange:
    """The table of live calls.

    Args:
        strangers: asked when somebody calls who has no room; None lets everybody in.
        trunks: by name; may be filled after construction, since a trunk's listener is ours.
        clock: monotonic seconds, the same that the trunks' agents go by.
        token: returns an identifier that nobody can guess.
    """

    def __init__(
        self,
        *,
        plane: MediaPlane,
        matrix: MatrixClient,
        ghosts: Ghosts,
        portals: Portals,
        routing: Routing,
        notices: Notices,
        trunks: Mapping[str, TrunkPort],
        strangers: Strangers | None = None,
        clock: Callable[[], float] = time.monotonic,
        token: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        self._strangers = strangers
        self._plane = plane
        self._matrix = matrix
        self._ghosts = ghosts
        self._portals = portals
        self._routing = routing
        self._notices = notices
        self._trunks = trunks
        self._clock = clock
        self._token = token
        self._tasks = Tasks()
        self._calls: set[LiveCall] = set()
        self._by_room: dict[tuple[str, str], LiveCall] = {}
        self._by_session: dict[tuple[str, str], LiveCall] = {}
        self._over: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._early: OrderedDict[tuple[str, str], deque[tuple[str, CallEvent]]] = OrderedDict()
        self._withheld: dict[tuple[str, str], float] = {}  # number and user: until when
        self._transfers = Transfers(
            routing=routing,
            trunks=trunks,
            calls=self._calls,
            say=self._say_soon,
            clock=clock,
            token=token,
        )
        self._ice: tuple[IceServer, ...] = ()
        self._stopping = False
        self._empty = asyncio.Event()  # no more calls, and none can come

    async def start(self) -> None:
        """Ask for the TURN servers ahead of the first call, which then finds them remembered."""
        await self._ice_servers()

    @property
    def live(self) -> int:
        """How many calls there are."""
        return len(self._calls)

    async def drain(self, limit: float) -> int:
        """Take no more calls, and let those that are come to their end.

        Args:
            limit: seconds to wait for that.

        Returns:
            How many calls are left.
        """
        self._stopping = True
        if not self._calls:
            self._empty.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await self._empty.wait()
        return len(self._calls)

    async def stop(self, *, limit: float = 5.0) -> None:
        """Take no more calls and end those that are; both sides of each are told."""
        self._stopping = True
        for live in self._calls:
            live.post(Stopped(EndReason.SHUTDOWN))
        await self._tasks.stop(grace=limit)

    # --- Matrix

    async def receive(self, portal: Portal, event: RoomEvent, call_event: CallEvent) -> None:
        """Take a call event of a portal. Returns when it is handed on, not when it is done."""
        key = (portal.room_id, call_event.call_id)
        live = self._by_room.get(key)
        if live is not None:
            live.post(FromRoom(portal.room_id, event.sender, call_event))
        elif isinstance(call_event, CallInvite):
            await self._receive_invite(portal, event, call_event)
        elif isinstance(call_event, CallHangup | CallReject):
            self._forget_call(key)
        elif isinstance(call_event, CallCandidates) and key not in self._over:
            early = self._early.setdefault(key, deque(maxlen=EARLY_EVENTS))
            early.append((event.sender, call_event))
            while len(self._early) > EARLY_CALLS:
                self._early.popitem(last=False)

    def left(self, room_id: str, user: str) -> None:
        """A user left a portal, which ends the user's call there."""
        for live in self._calls:
            live.post(Left(room_id, user))

    def withhold_next(self, portal: Portal) -> None:
        """Let the user's next call to a number, if it comes soon, not show who calls: from
        whichever of their rooms with that number."""
        now = self._clock()
        self._withheld = {party: until for party, until in self._withheld.items() if until > now}
        self._withheld[portal.number.text, portal.user] = now + WITHHOLD_LIMIT

    def is_speaking(self, user: str, room_id: str) -> bool:
        """Whether a user has an answered call in a room."""
        return self._transfers.is_speaking(user, room_id)

    def transfer(self, user: str, words: str, *, room_id: str) -> str:
        """Send a user's call elsewhere, or join two; see `Transfers.ask`."""
        return self._transfers.ask(user, words, room_id=room_id)

    def _say_soon(self, room_id: str, text: str, about: str) -> None:
        portal = self._portals.by_room(room_id)
        if portal is not None:
            self._tasks.start("say", self._say_or_log(portal, text, about))

    async def _say_or_log(self, portal: Portal, text: str, about: str) -> None:
        try:
            await self._say(portal, text, about)
        except MatrixError as error:
            log.warning("a user could not be told of a call: %s", error)

    async def _receive_invite(self, portal: Portal, event: RoomEvent, invite: CallInvite) -> None:
        now = self._clock()
        key = (portal.room_id, invite.call_id)
        ghost = self._ghosts.user_id(portal.number)
        if key in self._over or invite.invitee not in (None, ghost):
            return
        early = self._early.pop(key, deque())
        self._forget_call(key)  # an invite that comes again is the same call
        if stale(invite, now):
            log.info("dropped a stale invite: a phone must not ring for it")
            return
        leg = MatrixLeg.answering(
            invite,
            room_id=portal.room_id,
            ghost=ghost,
            user=event.sender,
            party_id=self._token(),
        )
        refusal = self._why_not(portal, event.sender)
        if refusal is not None:
            reason, text = refusal
            log.info("refused a call to %s: %s", portal.number.short(), reason.value)
            self._tasks.start("refuse", self._refuse(portal, leg, reason, text))
            return
        for ringing in self._calls:  # glare: the user's own call wins over one that rings there
            ringing.post(Outdone(portal.room_id, event.sender))
        line = self._routing.line(portal.line)
        assert line is not None, "a refusal says so otherwise"
        trunk, target = self._trunks[line.trunk], self._routing.target(line, portal.number)
        withheld = self._withheld.pop((portal.number.text, event.sender), now) > now
        caller = self._routing.presentation(line, withheld=withheld)

        def dial(offer: Body, now: float) -> Session:
            return trunk.agent.invite(target, offer, now=now, caller=caller)

        live = self._make("out", line, portal.number, leg, SipLeg.calling(dial), find=None, name="")
        live.record.mark("invite_received", event.received_at - event.waited_ms / 1000)
        self._by_room[key] = live
        for sender, call_event in early:
            live.post(FromRoom(portal.room_id, sender, call_event))
        settings = self._routing.trunks[line.trunk]
        remaining = invite.remaining_ms(now) / 1000 - ANSWER_MARGIN
        await self._start(
            live,
            settings,
            ring_limit=min(RING_LIMIT - ANSWER_MARGIN, remaining),
            early_media=settings.early_media,
        )

    def _why_not(self, portal: Portal, user: str) -> tuple[EndReason, str] | None:
        line = self._routing.line(portal.line)
        if line is None:
            return EndReason.NOT_ALLOWED, wording.line_gone(portal.line)
        if self._stopping:
            return EndReason.SHUTDOWN, wording.STOPPING
        refusal = self._routing.refusal(line, portal.number, user)
        if refusal is not None:
            return refusal.reason, refusal.text
        status = self._trunks[line.trunk].status
        if not status.up:
            return EndReason.TRUNK_DOWN, wording.line_down(line.trunk, status.text)
        if len(self._calls) >= MAX_CALLS:
            return EndReason.BUSY, wording.TOO_MANY
        return None

    async def _refuse(self, portal: Portal, leg: MatrixLeg, reason: EndReason, text: str) -> None:
        leg.hang_up(reason, self._clock())
        try:
            for send in leg.take_sends():
                await self._deliver(send)
            await self._say(portal, text, leg.call_id)
        except MatrixError as error:
            log.warning("a call was refused, and the user could not be told: %s", error)

    async def _say(self, portal: Portal, text: str, about: str) -> None:
        ghost = self._ghosts.user_id(portal.number)
        txn = txn_id("call notice", portal.room_id, about)
        await self._matrix.send_notice(portal.room_id, text, sender=ghost, txn_id=txn)

    # --- SIP

    def receive_sip(
        self, trunk: str, event: IncomingSession | SessionEvent | TransferProgressed | TransferEnded
    ) -> None:
        """Take a session event of a trunk; returns at once."""
        if isinstance(event, IncomingSession):
            self._receive_session(trunk, event)
            return
        if isinstance(event, TransferProgressed | TransferEnded):
            self._transfers.receive(trunk, event)
            return
        live = self._by_session.get((trunk, event.session.id))
        if live is not None:
            live.post(event)
        else:
            log.debug("%s of no call of ours", type(event).__name__)

    def _receive_session(self, trunk: str, event: IncomingSession) -> None:
        now = self._clock()
        line = self._routing.called_line(trunk, event)
        status = None
        if line is None:
            status = 404
        elif self._stopping:
            status = 503  # a trunk with another way to the number takes it
        elif len(self._calls) >= MAX_CALLS:
            status = 486
        if line is None or status is not None:
            log.info("refused a call on trunk %s with %s", trunk, status)
            event.session.reject(status or 404, now=now)
            self._trunks[trunk].pump()
            return
        remote = self._routing.remote(event, line)
        caller = SipLeg.answering(event, now)
        live = self._make(
            "in",
            line,
            remote.number,
            caller,
            ForkLeg(),
            find=lambda: self._find_users(live, line, remote),
            name=remote.name,
        )
        live.verstat = remote.verstat
        live.record.mark("invite_received", now)
        self._by_session[(trunk, event.session.id)] = live
        settings = self._routing.trunks[trunk]
        self._tasks.start(
            f"call {live.record.id}",
            self._start(live, settings, ring_limit=float(line.ring_seconds), early_media=False),
        )

    async def _find_users(
        self, live: LiveCall, line: LineSection, remote: Remote
    ) -> tuple[MatrixLeg, ...]:
        """The rooms of the line's users, made where there are none, and a leg in each. Whose room
        cannot be made in time keeps nobody else from ringing."""
        live.rooms = self._rooms(line, remote.number)
        opening = [
            asyncio.create_task(self._portals.open(line, number, user, _name_in(live, number)))
            for user, number in live.rooms.items()
        ]
        portals: list[Portal] = []
        try:
            for limit in (ALL_LIMIT, FIND_LIMIT - ALL_LIMIT):
                done, _ = await asyncio.wait(opening, timeout=limit)
                found = [task for task in opening if task in done and not task.exception()]
                if portals := [task.result() for task in found]:
                    break
        finally:
            for task in opening:
                task.cancel()  # a room is made all the same, for the next call
        if not portals:
            errors = (error for task in done if (error := task.exception()) is not None)
            raise next(errors, TimeoutError())
        legs = []
        for portal in portals:
            leg = MatrixLeg(
                room_id=portal.room_id,
                ghost=self._ghosts.user_id(portal.number),
                user=portal.user,
                call_id=f"~{self._token()}",
                party_id=self._token(),
                lifetime_ms=line.ring_seconds * 1000,
            )
            self._by_room[(leg.room_id, leg.call_id)] = live
            legs.append(leg)
        self._tasks.start("tell of a caller", self._tell_of_caller(live, remote))
        return tuple(legs)

    def _rooms(self, line: LineSection, number: PhoneNumber) -> dict[str, PhoneNumber]:
        """In the room of which number it rings for each user: the caller's, and that of withheld
        numbers for a stranger who is not let in now."""
        strange = {
            user for user in line.users if self._portals.find(line.name, number, user) is None
        }
        if not strange or self._strangers is None or self._strangers.admits(line, number):
            strange = set()
        return {user: ANONYMOUS if user in strange else number for user in line.users}

    async def _tell_of_caller(self, live: LiveCall, remote: Remote) -> None:
        """Say what the phone shows of a caller and the room does not, while it rings."""
        shown = wording.caller_comes(remote)
        for user, number in live.rooms.items():
            text = shown
            if number != live.number:
                caller = self._ghosts.shown(live.number, live.name)
                text = " ".join(filter(None, [wording.stranger_calls(caller), shown]))
            if text is not None:
                await self._leave_notice(live, user, text, f"caller:{live.key}")

    async def _leave_notice(self, live: LiveCall, user: str, text: str, key: str) -> None:
        """Say something about a call where it rings, or rang."""
        number = live.rooms.get(user, live.number)
        await self._notices.leave_notice(
            live.line, number, user, text, name=_name_in(live, number), key=key
        )

    # --- both

    def _make(
        self,
        direction: str,
        line: LineSection,
        number: PhoneNumber,
        caller: MatrixLeg | SipLeg,
        callee: SipLeg | ForkLeg,
        *,
        find: Callable[[], Awaitable[tuple[MatrixLeg, ...]]] | None,
        name: str,
    ) -> LiveCall:
        record = CallRecord(
            id=self._token()[:6],
            direction=direction,
            line=line.name,
            number=number.short(),
            started_at=datetime.now(UTC),
        )
        live = LiveCall(
            record=record,
            line=line,
            number=number,
            caller=caller,
            callee=callee,
            trunk=self._trunks[line.trunk],
            deliver=self._deliver,
            find=find,
            tell=self._tell_meanwhile,
            clock=self._clock,
        )
        live.name = name
        self._calls.add(live)
        return live

    async def _start(
        self, live: LiveCall, settings: TrunkSection, *, ring_limit: float, early_media: bool
    ) -> None:
        session_settings = SessionSettings(
            ice_servers=await self._ice_servers(),
            codecs=settings.codecs,
            encryption=settings.encryption,
            suites=settings.suites,
            digits_in_media=settings.digits == "media",
            thin_link=live.line.thin_link,
        )
        live.open(self._plane, session_settings, ring_limit=ring_limit, early_media=early_media)
        live.log.info("%s, line %s, %s", live.record.direction, live.line.name, live.number.short())
        if self._stopping:
            live.post(Stopped(EndReason.SHUTDOWN))
        self._tasks.start(f"call {live.record.id}", self._run(live))

    async def _run(self, live: LiveCall) -> None:
        def on_session(session: Session) -> None:
            self._by_session[(live.line.trunk, session.id)] = live

        try:
            await live.run(on_session)
        finally:
            self._calls.discard(live)
            if self._stopping and not self._calls:
                self._empty.set()
            for table in (self._by_room, self._by_session):
                for key in [key for key, value in table.items() if value is live]:
                    del table[key]
            for leg in live.matrix_legs:
                self._forget_call((leg.room_id, leg.call_id))
            live.log.info("%s", live.record.describe(live.call))
            records.info("%s", live.record.to_json(live.call))
        await self._tell(live)

    async def _ice_servers(self) -> tuple[IceServer, ...]:
        try:
            async with asyncio.timeout(TURN_LIMIT):
                servers = await self._matrix.turn_servers(self._matrix.bot_id)
        except (TimeoutError, MatrixError) as error:
            log.warning("no TURN servers from the homeserver: %s", error or "too slow")
            return self._ice
        if servers is None:
            self._ice = ()
        else:
            self._ice = (IceServer(servers.uris, servers.username, servers.password),)
        return self._ice

    async def _deliver(self, send: CallSend) -> None:
        within = BRIEF_LIMIT if send.brief else SEND_LIMIT
        try:
            await self._matrix.send_event(
                send.room_id,
                send.type,
                send.content,
                sender=send.sender,
                txn_id=send.txn_id,
                within=within,
            )
        except MatrixRefused as error:
            if error.is_of_room:  # the next call makes a new one
                await self._portals.forget(send.room_id)
            raise

    def _tell_meanwhile(self, live: LiveCall, what: Trouble) -> None:
        leg = live.caller if isinstance(live.caller, MatrixLeg) else live.speaking
        if leg is None:
            return
        if isinstance(what, Unencrypted):
            self._say_soon(leg.room_id, wording.UNENCRYPTED, f"{leg.call_id} unencrypted")
        elif isinstance(what, DigitsRefused):
            self._say_soon(leg.room_id, wording.DIGITS_REFUSED, f"{leg.call_id} digits")
        else:
            text = wording.audio_lost(what)
            self._say_soon(leg.room_id, text, f"{leg.call_id} lost {what.side.value}")

    def _forget_call(self, key: tuple[str, str]) -> None:
        """Nothing that still comes for this call id may start a call."""
        self._over[key] = None
        self._early.pop(key, None)
        while len(self._over) > REMEMBERED:
            self._over.popitem(last=False)

    async def _tell(self, live: LiveCall) -> None:
        """One line in the room where the user would otherwise wonder."""
        call, line = live.call, live.line
        reason = call.reason or EndReason.ERROR
        answered = "answered" in call.instants
        if isinstance(live.caller, MatrixLeg):
            if call.ended_by is Source.CALLER:
                return
            text = wording.call_out_ended(
                reason, live.number, line.trunk, call.text, answered=answered
            )
            portal = self._portals.by_room(live.caller.room_id)
            if text is not None and portal is not None:
                try:
                    await self._say(portal, text, live.caller.call_id)
                except MatrixUnavailable:
                    key = f"call:{live.caller.room_id}:{live.caller.call_id}"
                    await self._notices.leave_notice(
                        line, live.number, portal.user, text, name="", key=key
                    )
                except MatrixError as error:
                    live.log.warning("the user could not be told why: %s", error)
            return
        await self._tell_called(live, reason, answered=answered)

    async def _tell_called(self, live: LiveCall, reason: EndReason, *, answered: bool) -> None:
        rang = "placed" in live.call.instants or reason is EndReason.NO_SRTP
        if not rang or not isinstance(live.callee, ForkLeg):
            return  # nobody could have heard of it, but for what an administrator can mend
        caller = self._ghosts.shown(live.number, live.name)
        winner = live.callee.winner.user if live.callee.winner is not None else None
        for user in live.line.users:
            if winner is not None and user != winner:
                text: str | None = wording.answered_elsewhere(caller, winner)
            else:
                said = live.call.text
                mark = wording.checked(live.verstat)
                text = wording.call_in_ended(reason, caller, said, answered=answered, mark=mark)
            if text is not None:
                await self._leave_notice(live, user, text, f"call:{live.key}")


def _name_in(live: LiveCall, number: PhoneNumber) -> str:
    """What the ghost is called in whose room it rings: a stranger lends its name to no other's."""
    return live.name if number == live.number else ""
