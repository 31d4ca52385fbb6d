"""A live call: its inbox, its senders, and the loop that carries events through it.

Nothing is awaited between taking an event and telling SIP what follows from it; what goes to the
homeserver goes by senders of its own, in order per room, so that a slow homeserver delays neither
the phone nor another room. How a send went comes back as an event.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from bridge.call.call import Call, Expired, Source, State, Stopped
from bridge.call.events import EndReason
from bridge.call.fork import ForkLeg
from bridge.call.matrix_leg import CallSend, MatrixLeg
from bridge.call.record import CallRecord
from bridge.call.sip_leg import SipLeg
from bridge.config import LineSection
from bridge.matrix.events import CallAnswer, CallEvent
from bridge.matrix.homeserver import MatrixError
from bridge.numbers import PhoneNumber
from bridge.task import Tasks
from media.plane import (
    AudioLost,
    Digit,
    MediaEvent,
    MediaPlane,
    SessionSettings,
    Side,
    Unencrypted,
)
from sip.agent import UserAgent
from sip.events import (
    DigitReceived,
    DigitsRefused,
    SessionAnswered,
    SessionConfirmed,
    SessionEnded,
    SessionOffered,
    SessionProgressed,
    SessionReanswered,
    TransferRequested,
)
from sip.identity import Verstat
from sip.io.client import TrunkStatus
from sip.session import Session

log = logging.getLogger(__name__)

INBOX = 256  # events of one call that are not handled yet; a call makes some dozens in all
OUTBOX = 64  # sends of one call to one room that the homeserver has not taken yet
REPORT_LIMIT = 5.0  # for the media session to close
SEND_LIMIT = 30.0  # for the homeserver to take an event of a call

SessionEvent = (
    SessionProgressed
    | SessionAnswered
    | SessionConfirmed
    | SessionOffered
    | SessionReanswered
    | SessionEnded
    | DigitReceived
    | DigitsRefused
    | TransferRequested
)

# What a call's user is told of while it lasts.
Trouble = Unencrypted | AudioLost | DigitsRefused


class TrunkPort(Protocol):
    """What a call needs of `sip.io.client.TrunkClient`."""

    agent: UserAgent

    @property
    def status(self) -> TrunkStatus: ...

    def pump(self) -> None: ...


# --- what arrives in a call's inbox beside SIP and media events


@dataclass(frozen=True, slots=True)
class FromRoom:
    room_id: str
    sender: str
    event: CallEvent


@dataclass(frozen=True, slots=True)
class Delivered:
    """The homeserver took a send, or `error` says why not."""

    leg: MatrixLeg
    txn_id: str
    error: str | None


@dataclass(frozen=True, slots=True)
class Found:
    """The rooms of those who are called, or why there are none."""

    legs: tuple[MatrixLeg, ...]
    reason: EndReason = EndReason.UNAVAILABLE
    text: str = ""


@dataclass(frozen=True, slots=True)
class Left:
    """A user left a room."""

    room_id: str
    user: str


@dataclass(frozen=True, slots=True)
class Outdone:
    """A user makes a call of their own in a room where ours may ring."""

    room_id: str
    user: str


Item = SessionEvent | MediaEvent | FromRoom | Delivered | Found | Left | Outdone | Stopped


class CallLog(logging.LoggerAdapter[logging.Logger]):
    """Begins every line with the call that it is about."""

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        return f"[call {(self.extra or {}).get('call')}] {msg}", kwargs


class LiveCall:
    """A call with its inbox and its senders; the exchange runs it.

    Args:
        find: for a call to users, finds their rooms and makes their legs; raises MatrixError, or
            TimeoutError where that takes too long.
        tell: takes what the user should know while the call goes on.
    """

    def __init__(
        self,
        *,
        record: CallRecord,
        line: LineSection,
        number: PhoneNumber,
        caller: MatrixLeg | SipLeg,
        callee: SipLeg | ForkLeg,
        trunk: TrunkPort,
        deliver: Callable[[CallSend], Awaitable[None]],
        find: Callable[[], Awaitable[tuple[MatrixLeg, ...]]] | None,
        tell: Callable[["LiveCall", Trouble], None],
        clock: Callable[[], float],
    ) -> None:
        self.record = record
        self.line = line
        self.number = number
        self.name = ""
        self.verstat: Verstat | None = None
        # In the room of which number it rings, for each user that is called.
        self.rooms: Mapping[str, PhoneNumber] = {}
        self.caller = caller
        self.callee = callee
        self.call: Call
        self._is_open = False
        self.log = CallLog(log, {"call": record.id})
        self._trunk = trunk
        self._deliver = deliver
        self._find = find
        self._tell = partial(tell, self)
        self._told: set[Side] = set()
        self._clock = clock
        self._inbox: asyncio.Queue[Item] = asyncio.Queue(INBOX)
        self._outboxes: dict[str, asyncio.Queue[CallSend]] = {}
        self._tasks = Tasks()
        self._overflow = False
        self._finding = False
        self._linger: float | None = None

    @property
    def key(self) -> str:
        """Names the call over restarts."""
        return f"{self.record.started_at.isoformat()}:{self.record.id}"

    @property
    def sip_leg(self) -> SipLeg:
        return self.caller if isinstance(self.caller, SipLeg) else self._callee_sip

    @property
    def speaking(self) -> MatrixLeg | None:
        """The leg of the user who speaks, None before the call is answered and after its end."""
        if not self._is_open or self.call.state not in (State.CONNECTING, State.ACTIVE):
            return None
        return self.caller if isinstance(self.caller, MatrixLeg) else self._winner

    @property
    def _winner(self) -> MatrixLeg | None:
        return self.callee.winner if isinstance(self.callee, ForkLeg) else None

    @property
    def _callee_sip(self) -> SipLeg:
        assert isinstance(self.callee, SipLeg), "a call has exactly one SIP leg"
        return self.callee

    @property
    def matrix_legs(self) -> list[MatrixLeg]:
        if isinstance(self.caller, MatrixLeg):
            return [self.caller]
        return self.callee.legs if isinstance(self.callee, ForkLeg) else []

    def open(
        self, plane: MediaPlane, settings: SessionSettings, *, ring_limit: float, early_media: bool
    ) -> None:
        """Open the media session and join the two legs on it."""
        self._is_open = True
        self._digits_by_info = not settings.digits_in_media
        self._media = plane.open(settings, self.post)
        self.call = Call(
            id=self.record.id,
            caller=self.caller,
            callee=self.callee,
            media=self._media,
            caller_side=Side.WEBRTC if isinstance(self.caller, MatrixLeg) else Side.SDES,
            ring_limit=ring_limit,
            early_media=early_media,
        )

    def post(self, item: Item) -> None:
        """Hand the call an event; returns at once."""
        try:
            self._inbox.put_nowait(item)
        except asyncio.QueueFull:
            self._overflow = True

    async def run(self, on_session: Callable[[Session], None]) -> None:
        """Live until both sides know that it is over."""
        try:
            try:
                await self._loop(on_session)
            except Exception:  # the top of the call's task
                # A mistake of ours must not leave a phone off the hook or a client ringing.
                self.log.exception("the call failed in state %s", self.call.state)
                self.call.handle(Source.OURS, Stopped(EndReason.ERROR), self._clock())
                self._speak()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SEND_LIMIT):
                    for outbox in self._outboxes.values():
                        await outbox.join()
        finally:
            await self._tasks.stop()

    # --- the loop and its parts

    async def _loop(self, on_session: Callable[[Session], None]) -> None:
        while True:
            self._settle(on_session)
            if self.call.state is State.ENDED and self._is_over():
                return
            item = await self._next()
            if item is not None:
                self._take(item)

    async def _next(self) -> Item | None:
        """The next event; None when a limit has passed first."""
        limit = self.call.deadline if self._linger is None else self._linger
        timeout = None if limit is None else max(0.0, limit - self._clock())
        try:
            async with asyncio.timeout(timeout):
                return await self._inbox.get()
        except TimeoutError:
            if self._linger is None:
                self.call.handle(Source.OURS, Expired(), self._clock())
            return None

    def _take(self, item: Item) -> None:
        now = self._clock()
        match item:
            case FromRoom(room_id, sender, event):
                if isinstance(event, CallAnswer):
                    self.record.mark("answer_received", now)
                for leg in self._legs_in(room_id):
                    leg.receive(sender, event, now)
            case Delivered(leg, txn, error):
                if error is None:
                    leg.sent(txn, now)
                else:
                    leg.failed(txn, error, now)
            case Left(room_id, user):
                for leg in self._legs_in(room_id, user):
                    leg.left(now)
            case Outdone(room_id, user):
                for leg in self._legs_in(room_id, user):
                    leg.give_way(now)
            case Found(legs, reason, text):
                assert isinstance(self.callee, ForkLeg), "only users are looked for"
                if legs:
                    self.callee.add(legs, now)
                else:
                    self.callee.fail(reason, text)
            case Stopped():
                self.call.handle(Source.OURS, item, now)
            case _ if isinstance(item, MediaEvent):
                self.call.handle(Source.MEDIA, item, now)
                if isinstance(item, Unencrypted) and self.call.state is not State.ENDED:
                    self._tell(item)
                if isinstance(item, AudioLost) and self.speaking is not None:
                    self._tell_once(item)
                if isinstance(item, Digit) and item.side is Side.WEBRTC and self._digits_by_info:
                    self.sip_leg.press(item.digit, item.duration_ms, now)
            case DigitsRefused():
                self._tell(item)
            case _:
                if isinstance(item, SessionAnswered):
                    self.record.mark("ok_received", now)
                self.sip_leg.receive(item, now)

    def _tell_once(self, lost: AudioLost) -> None:
        """One line for each side of a call: more would not help."""
        if lost.side not in self._told:
            self._told.add(lost.side)
            self._tell(lost)

    def _settle(self, on_session: Callable[[Session], None]) -> None:
        """Carry what was said through the call until all is quiet, then let both sides speak."""
        now = self._clock()
        if self._overflow:
            self._overflow = False
            self.log.error("more events than anybody could handle")
            self.call.handle(Source.OURS, Stopped(EndReason.ERROR), now)
        while True:
            said = [(Source.CALLER, event) for event in self.caller.poll(now)]
            said += [(Source.CALLEE, event) for event in self.callee.poll(now)]
            if not said:
                break
            for source, event in said:
                self.call.handle(source, event, now)
        if isinstance(self.callee, SipLeg) and self.callee.session is not None:
            on_session(self.callee.session)
        self._speak()
        if isinstance(self.callee, ForkLeg) and self.callee.waiting and not self._finding:
            self._finding = True
            self._tasks.start("find users", self._find_users())

    def _speak(self) -> None:
        """Let both sides say what they have to: SIP at once, Matrix by the senders."""
        self._trunk.pump()
        if "placed" in self.call.instants and isinstance(self.callee, SipLeg):
            self.record.mark("invite_sent", self._clock())
        if "caller_answered" in self.call.instants and isinstance(self.caller, SipLeg):
            self.record.mark("ok_sent", self._clock())
        for leg in self.matrix_legs:
            if (candidates := leg.take_candidates()) and self.call.state is not State.ENDED:
                self._media.add_candidates(Side.WEBRTC, candidates)
            for send in leg.take_sends():
                self._send(leg, send)

    def _is_over(self) -> bool:
        """Whether an ended call has its report, or has waited for it long enough."""
        if self._linger is None:
            self._linger = self._clock() + REPORT_LIMIT
        return self.call.report is not None or self._clock() >= self._linger

    def _legs_in(self, room_id: str, user: str | None = None) -> list[MatrixLeg]:
        """The legs in a room, or a user's there."""
        here = [leg for leg in self.matrix_legs if leg.room_id == room_id]
        return [leg for leg in here if user in (None, leg.user)]

    async def _find_users(self) -> None:
        assert self._find is not None, "a call to users knows how to find them"
        try:
            self.post(Found(await self._find()))
        except TimeoutError:
            self.post(Found((), EndReason.MATRIX_DOWN, "the homeserver is too slow"))
        except MatrixError as error:
            self.post(Found((), EndReason.MATRIX_DOWN, str(error)))
        except Exception:  # the database, say; the caller must not wait for it in silence
            self.log.exception("the called users' rooms could not be found")
            self.post(Found((), EndReason.ERROR))

    # --- sending

    def _send(self, leg: MatrixLeg, send: CallSend) -> None:
        outbox = self._outboxes.get(send.room_id)
        if outbox is None:
            outbox = self._outboxes[send.room_id] = asyncio.Queue(OUTBOX)
            self._tasks.start("send to a room", self._send_all(leg, outbox))
        try:
            outbox.put_nowait(send)
        except asyncio.QueueFull:
            self._overflow = True

    async def _send_all(self, leg: MatrixLeg, outbox: asyncio.Queue[CallSend]) -> None:
        while True:
            send = await outbox.get()
            name = send.type.removeprefix("m.call.")
            self.record.mark(f"matrix_{name}_out", self._clock())
            error = None
            try:
                await self._deliver(send)
            except MatrixError as problem:
                error = str(problem)
                self.log.warning("%s was not sent: %s", send.type, problem)
            else:
                self.record.mark(f"matrix_{name}_sent", self._clock())
            self.post(Delivered(leg, send.txn_id, error))
            outbox.task_done()
