"""Texts between rooms and phones: `m.room.message` and SIP MESSAGE (RFC 3428).

Both ways a text is in the database before anybody is told that we have it, and each effect has an
id of ours, so that a repeat does its work once.

    room → phone   stored when the homeserver hands it on; "sending" is committed before the bytes
                   leave; then sent, refused, or in doubt: a MESSAGE without an answer, or one that
                   a crash cut off, is never sent again by itself, since it may have arrived
    phone → room   stored, then 200, then said by the ghost in each user's portal under a
                   transaction id derived from the row, again and again until the homeserver has it

Texts of one number keep their order, by a queue for each; different numbers do not wait for each
other. Success is quiet, everything else is told where the text was written.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

from bridge import wording
from bridge.charset import decode_text
from bridge.config import LineSection
from bridge.db.texts import IncomingText, IncomingTexts, OutgoingText, OutgoingTexts
from bridge.ghost import Ghosts
from bridge.matrix.client import MatrixClient, MatrixError, MatrixRefused, MatrixUnavailable
from bridge.matrix.events import RoomEvent, Text
from bridge.numbers import PhoneNumber
from bridge.portal import Portal, Portals
from bridge.routing import Routing
from bridge.task import Tasks
from bridge.txn import txn_id
from sip.agent import UserAgent
from sip.errors import LocalError
from sip.events import Body, MessageNotified, MessageReceived, MessageSent
from sip.imdn import Status, Wish
from sip.io.client import TrunkStatus
from sip.presentation import ACCOUNT, Presentation

log = logging.getLogger(__name__)

PLAIN = "text/plain;charset=UTF-8"
ANSWER_LIMIT = 45.0  # beyond the agent's own 32 s: then something is wrong with us
UP_CHECKS = 10  # looks at a trunk that is down, before a text is given up
UP_PAUSE = 1.0  # between two of them
FIRST_DELAY = 1.0  # between two attempts to reach a homeserver that is down
LONGEST_DELAY = 60.0
MAX_STORING = 100  # MESSAGEs that wait for the database at once; more are told to come again
MAX_TOLD = 4096
MAX_UNCONFIRMED = 1024  # texts whose receipt may still come; a recipient may be offline for days
DELIVERY = frozenset({Wish.POSITIVE_DELIVERY, Wish.NEGATIVE_DELIVERY})


class TrunkPort(Protocol):
    """What texting needs of `sip.io.client.TrunkClient`."""

    agent: UserAgent

    @property
    def status(self) -> TrunkStatus: ...

    def now(self) -> float: ...

    def pump(self) -> None: ...


class _Queues:
    """Work in order per key: a queue and a task for each key that has any."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._queues: dict[tuple[str, ...], deque[Callable[[], Coroutine[Any, Any, None]]]] = {}

    def add(self, key: tuple[str, ...], work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        queue = self._queues.get(key)
        if queue is not None:
            queue.append(work)
            return
        self._queues[key] = deque([work])
        self._tasks.start("texts of a number", self._work_off(key))

    async def _work_off(self, key: tuple[str, ...]) -> None:
        queue = self._queues[key]
        try:
            while queue:
                try:
                    await queue[0]()
                except Exception:  # the top of one text's work; the row stays for the next start
                    log.exception("a text could not be handled")
                queue.popleft()
        finally:
            del self._queues[key]


class Texting:
    """Carries texts both ways.

    Args:
        trunks: by name; may be filled after construction.
        sleep: waits between attempts; replaced by tests.
    """

    def __init__(
        self,
        *,
        matrix: MatrixClient,
        ghosts: Ghosts,
        portals: Portals,
        routing: Routing,
        outgoing: OutgoingTexts,
        incoming: IncomingTexts,
        trunks: Mapping[str, TrunkPort],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._matrix = matrix
        self._ghosts = ghosts
        self._portals = portals
        self._routing = routing
        self._outgoing = outgoing
        self._incoming = incoming
        self._trunks = trunks
        self._sleep = sleep
        self._tasks = Tasks()
        self._queues = _Queues(self._tasks)
        self._answers: dict[tuple[str, str], asyncio.Future[MessageSent]] = {}
        self._unconfirmed: dict[tuple[str, str], OutgoingText] = {}  # wait for their receipt
        self._told: dict[str, None] = {}
        self._storing = 0

    async def start(self) -> None:
        """Take up what an earlier run left."""
        now_ms = _now_ms()
        await self._outgoing.prune(now_ms=now_ms)
        await self._incoming.prune(now_ms=now_ms)
        for text in await self._outgoing.open("sending"):
            await self._outgoing.done(text.event_id, "doubt")
            self._tasks.start("tell of a doubt", self._tell_doubt(text))
        for text in await self._outgoing.open("waiting"):
            self._queue_out(text)
        for arrived in await self._incoming.open():
            self._queue_in(arrived)

    async def stop(self) -> None:
        """Stop at once: whatever is not done stays in the database."""
        await self._tasks.stop()

    # --- room to phone

    async def receive(self, portal: Portal, event: RoomEvent, text: Text) -> None:
        """Take a message of a user in a portal; returns when it is stored."""
        if text.msgtype == "m.notice":
            return  # a bot's words are not meant for people on the phone
        if text.msgtype not in ("m.text", "m.emote"):
            await self._tell_once(portal, wording.NOT_A_TEXT)
            return
        if text.edits is not None:
            await self._tell_once(portal, wording.NO_EDITS)
            return
        await self.submit(
            portal.line,
            portal.number,
            _without_quote(text) if text.replies_to else text.body,
            event_id=event.event_id,
            room_id=portal.room_id,
            user=event.sender,
        )

    async def submit(
        self,
        line_name: str,
        number: PhoneNumber,
        body: str,
        *,
        event_id: str,
        room_id: str,
        user: str,
    ) -> None:
        """Store a text for a phone; it leaves when those before it are done.

        Args:
            event_id: the event that asked for it; a repeat is the same text.
            room_id: where it was asked for, and where its failure is told.
        """
        line = self._routing.line(line_name)
        text = OutgoingText(event_id, room_id, line_name, number.text, body, _now_ms())
        if line is None or (refusal := self._routing.refusal(line, number, user)) is not None:
            words = refusal.text if line is not None and refusal else wording.NOT_A_USER
            await self._reply(text, words)
            return
        stored = await self._outgoing.store(text)
        if stored is not None:
            self._queue_out(stored)

    def _queue_out(self, text: OutgoingText) -> None:
        self._queues.add(("out", text.line, text.number), lambda: self._send(text))

    async def _send(self, text: OutgoingText) -> None:
        number = PhoneNumber(text.number)
        outcome = await self._send_message(text, number)
        if not outcome.answered:
            await self._outgoing.done(text.event_id, "doubt")
            await self._tell_doubt(text)
        elif 200 <= outcome.status < 300:
            await self._outgoing.done(text.event_id, "sent")
            if self._portals.by_room(text.room_id) is None:
                await self._reply(text, wording.text_sent(number))
        else:
            log.info("a text to %s was refused with %d", number.short(), outcome.status)
            await self._outgoing.done(text.event_id, "refused")
            await self._reply(text, wording.text_refused(number, outcome.status, outcome.reason))

    async def _send_message(self, text: OutgoingText, number: PhoneNumber) -> MessageSent:
        """Send the MESSAGE and wait for its outcome; what could not leave has one of ours."""
        line = self._routing.line(text.line)
        if line is None:
            return MessageSent("", 480, "the line does not exist any more", True)
        trunk = self._trunks[line.trunk]
        for _ in range(UP_CHECKS):  # after a start, or in the moment of a repair
            if trunk.status.up:
                break
            await self._sleep(UP_PAUSE)
        if not trunk.status.up:
            return MessageSent("", 503, trunk.status.text, True)
        await self._outgoing.sending(text.event_id)
        body = Body(PLAIN, text.body.encode("utf-8", "replace"))
        wishes = DELIVERY if self._routing.trunks[line.trunk].delivery_receipts else frozenset()
        target = self._routing.target(line, number)
        try:
            id = trunk.agent.send_message(
                target,
                body,
                now=trunk.now(),
                sender=self._routing.presentation(line),
                key=text.event_id,
                wishes=wishes,
                sent_at=_iso_time(text.created_ms),
            )
        except LocalError as error:
            return MessageSent("", 500, str(error), True)
        key = (line.trunk, id)
        if wishes:
            self._unconfirmed[key] = text
            while len(self._unconfirmed) > MAX_UNCONFIRMED:
                del self._unconfirmed[next(iter(self._unconfirmed))]
        self._answers[key] = asyncio.get_running_loop().create_future()
        try:
            trunk.pump()
            async with asyncio.timeout(ANSWER_LIMIT):
                return await self._answers[key]
        except TimeoutError:
            return MessageSent(id, 408, "no outcome", False)
        finally:
            del self._answers[key]

    def _receive_notification(self, trunk: str, event: MessageNotified) -> None:
        """The recipient says whether one of our texts was delivered (RFC 5438)."""
        text = self._unconfirmed.get((trunk, event.id))
        if text is None or event.status not in (Status.DELIVERED, Status.FAILED):
            return
        del self._unconfirmed[trunk, event.id]
        delivered = event.status is Status.DELIVERED
        # Behind the sending itself, whose answer may still be on its way.
        work = partial(self._confirm, text, delivered=delivered)
        self._queues.add(("out", text.line, text.number), work)

    async def _confirm(self, text: OutgoingText, *, delivered: bool) -> None:
        await self._outgoing.done(text.event_id, "sent" if delivered else "refused")
        if not delivered:
            words = wording.text_lost(PhoneNumber(text.number))
            await self._reply(text, words, about="text lost")

    async def _tell_doubt(self, text: OutgoingText) -> None:
        await self._reply(text, wording.text_in_doubt(PhoneNumber(text.number)))

    async def _reply(self, text: OutgoingText, words: str, *, about: str = "text outcome") -> None:
        """A notice that answers the text, by the ghost in a portal and by the bot elsewhere.

        Args:
            about: there is one of each kind for each text.
        """
        portal = self._portals.by_room(text.room_id)
        sender = self._matrix.bot_id if portal is None else self._ghosts.user_id(portal.number)
        content = {
            "msgtype": "m.notice",
            "body": words,
            "m.relates_to": {"m.in_reply_to": {"event_id": text.event_id}},
        }
        try:
            await self._matrix.send_event(
                text.room_id,
                "m.room.message",
                content,
                sender=sender,
                txn_id=txn_id(about, text.event_id),
            )
        except MatrixUnavailable:
            await self._reply_later(text, words, portal, about)
        except MatrixError as error:
            log.warning("the outcome of a text could not be told: %s", error)

    async def _reply_later(
        self, text: OutgoingText, words: str, portal: Portal | None, about: str
    ) -> None:
        """The homeserver is away: leave the outcome as a notice, which waits in the database."""
        line = self._routing.line(text.line)
        if portal is None or line is None:
            log.warning("the homeserver is away, and the outcome of a text could not be told")
            return
        key = f"{about}:{text.event_id}"
        await self.leave_notice(line, portal.number, portal.user, words, name="", key=key)

    async def _tell_once(self, portal: Portal, words: str) -> None:
        txn = txn_id("once", portal.room_id, words)
        if txn in self._told:
            return
        self._told[txn] = None
        while len(self._told) > MAX_TOLD:
            del self._told[next(iter(self._told))]
        sender = self._ghosts.user_id(portal.number)
        try:
            await self._matrix.send_notice(portal.room_id, words, sender=sender, txn_id=txn)
        except MatrixError as error:
            log.warning("a notice could not be sent: %s", error)

    # --- phone to room

    def receive_sip(
        self, trunk: str, event: MessageReceived | MessageSent | MessageNotified
    ) -> None:
        """Take a text of a phone, or what became of one of ours; returns at once."""
        match event:
            case MessageSent():
                answer = self._answers.get((trunk, event.id))
                if answer is not None and not answer.done():
                    answer.set_result(event)
            case MessageNotified():
                self._receive_notification(trunk, event)
            case MessageReceived():
                self._receive_text(trunk, event)

    def _receive_text(self, trunk: str, event: MessageReceived) -> None:
        line = self._routing.called_line(trunk, event)
        text = decode_text(event.body)
        if line is None:
            self._answer(trunk, event, 404)
        elif text is None:
            self._answer(trunk, event, 415)
        elif self._storing >= MAX_STORING:
            self._answer(trunk, event, 503)
        else:
            self._storing += 1
            self._tasks.start("store a text", self._store(trunk, line, event, text))

    def _answer(
        self, trunk: str, event: MessageReceived, status: int, *, sender: Presentation = ACCOUNT
    ) -> None:
        port = self._trunks[trunk]
        port.agent.answer_message(event.id, status, now=port.now(), sender=sender)
        port.pump()

    async def _store(
        self, trunk: str, line: LineSection, event: MessageReceived, body: str
    ) -> None:
        remote = self._routing.remote(event, line)
        said = [("m.text", f"sip:{trunk}:{event.key}", body)]
        if (doubt := wording.sender_comes(remote)) is not None:
            said.insert(0, ("m.notice", f"sender:{trunk}:{event.key}", doubt))
        copies = [
            IncomingText(
                key=key,
                user_id=user,
                line=line.name,
                number=remote.number.text,
                name=remote.name,
                msgtype=msgtype,
                body=words,
                created_ms=_now_ms(),
            )
            for user in line.users
            for msgtype, key, words in said
        ]
        try:
            fresh = await self._incoming.store(copies if body.strip() else [])
        except Exception:  # whatever the database's driver raises: the sender keeps its text
            log.exception("a text could not be stored")
            self._answer(trunk, event, 500)
            return
        finally:
            self._storing -= 1
        self._answer(trunk, event, 200, sender=self._routing.presentation(line))
        for text in fresh:
            self._queue_in(text)

    async def leave_notice(
        self, line: LineSection, number: PhoneNumber, user: str, text: str, *, name: str, key: str
    ) -> None:
        """Say something about a number to one user of the line, as soon as the homeserver takes it.

        Args:
            key: a repeat with the same key is the same notice.
        """
        notice = IncomingText(
            key=key,
            user_id=user,
            line=line.name,
            number=number.text,
            name=name,
            msgtype="m.notice",
            body=text,
            created_ms=_now_ms(),
        )
        for stored in await self._incoming.store([notice]):
            self._queue_in(stored)

    def _queue_in(self, text: IncomingText) -> None:
        self._queues.add(("in", text.line, text.number, text.user_id), lambda: self._deliver(text))

    async def _deliver(self, text: IncomingText) -> None:
        """Say it in the portal, however long the homeserver is away."""
        line = self._routing.line(text.line)
        if line is None or text.user_id not in line.users:
            await self._incoming.done(text, "refused")
            return
        delay = FIRST_DELAY
        moved = False
        while True:
            portal = None
            try:
                number = PhoneNumber(text.number)
                portal = await self._portals.open(line, number, text.user_id, text.name)
                await self._matrix.send_event(
                    portal.room_id,
                    "m.room.message",
                    {"msgtype": text.msgtype, "body": text.body},
                    sender=self._ghosts.user_id(number),
                    txn_id=txn_id("text", text.key, text.user_id),
                )
            except MatrixUnavailable as error:
                log.info("a text waits for the homeserver: %s", error)
                await self._sleep(delay)
                delay = min(LONGEST_DELAY, delay * 2)
            except MatrixRefused as error:
                gone = error.errcode in ("M_FORBIDDEN", "M_NOT_FOUND")
                if portal is None or moved or not gone:
                    log.warning("the homeserver refused a text for good: %s", error)
                    await self._incoming.done(text, "refused")
                    return
                moved = True  # the ghost is not in that room any more: a new one
                await self._portals.forget(portal.room_id)
            else:
                await self._incoming.done(text, "sent")
                return


def _without_quote(text: Text) -> str:
    """A reply without the quotation that older clients put in front of it."""
    lines = text.body.split("\n")
    while lines and lines[0].startswith("> "):
        lines.pop(0)
    return "\n".join(lines).lstrip("\n") or text.body


def _iso_time(ms: int) -> str:
    """Date and time of RFC 3339."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
