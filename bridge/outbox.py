"""Texts from rooms to phones, from the moment that they are stored until it is known what became of
them.

    waiting ──▶ sending ──▶ sent ──▶ delivered
       ▲           │  │               or failed       (receipts)
       └── later ──┘  ├──▶ refused
                      └──▶ doubt ──▶ …                (a receipt settles it)

What was refused, failed or is in doubt leaves again when its author asks for it, as a departure
with a key of its own. What is still waiting can be changed and taken back. What costs more than
its author may think is held until it is asked for in the same way.

"sending" is committed before the bytes leave. A row that a start finds there was cut off by a crash
at the one unsafe instant: it is sent again where the other side knows a repeat by our key, and else
its author is told that it may not have arrived. An answer that never came is treated in the same
two ways. What was certainly not taken waits, and is tried again with growing, jittered pauses for
an hour.

Texts of one number keep their order, by a queue for each. What became of a text is shown on it
(`com.beeper.message_send_status`, for clients that know it); success is quiet otherwise, everything
else is told where the text was written.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Protocol

from bridge import wording
from bridge.config import LineSection
from bridge.db.interface import DatabaseAway
from bridge.db.patience import persist
from bridge.db.texts import AGAIN, OutgoingText, OutgoingTexts
from bridge.ghost import Ghosts
from bridge.matrix.client import MatrixClient
from bridge.matrix.events import parse_text
from bridge.matrix.file import RoomFile
from bridge.matrix.homeserver import MatrixError, MatrixUnavailable
from bridge.numbers import PhoneNumber
from bridge.portal import Portals
from bridge.road.road import Delivery, Later, Outcome, Receipt, Refused, Taken, Unsure
from bridge.road.settings import SIP
from bridge.road.way import Way
from bridge.road.writing import read_number
from bridge.routing import Routing
from bridge.task import Queues, Tasks
from bridge.txn import txn_id

log = logging.getLogger(__name__)

FIRST_DELAY = 1.0  # seconds between two attempts; doubled each time
LONGEST_DELAY = 60.0
TELL_AFTER = 10.0  # a text that could not leave for so long: its author is told that it waits
KEEP_TRYING = 3600.0  # then it is given up: a text that leaves hours later is worse than none
# Receipts that came before the answer which names their text, or that wait for the database.
MAX_EARLY = 1024
MAX_NOTICES = 1024  # notices of which it is known which text they are about
PRUNE_MS = 3600 * 1000  # between two times that old texts are forgotten
STATUS = "com.beeper.message_send_status"
OUTCOME = "text outcome"
CUT_OFF = "the bridge was stopped while it was sent"  # a reason; the words of a doubt leave it out
IN_DOUBT = "it may not have been sent"


class Notices(Protocol):
    """Leaves a word about a number for a user, which waits for the homeserver if need be."""

    async def leave_notice(
        self, line: LineSection, number: PhoneNumber, user: str, text: str, *, name: str, key: str
    ) -> None:
        """Keep it; a repeat with the same key is the same notice."""


class _Overtaken(Exception):
    """Its author changed a text or took it back at the last moment."""


class Outbox:
    """Sends what is stored, once.

    Args:
        find_way: finds how a text leaves by the name that `Way.name` has; None if it is gone.
        sleep: waits between attempts; replaced by tests.
    """

    def __init__(
        self,
        *,
        matrix: MatrixClient,
        ghosts: Ghosts,
        portals: Portals,
        routing: Routing,
        texts: OutgoingTexts,
        find_way: Callable[[str], Way | None],
        notices: Notices,
        tasks: Tasks,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._matrix = matrix
        self._ghosts = ghosts
        self._portals = portals
        self._routing = routing
        self._texts = texts
        self._find_way = find_way
        self._notices = notices
        self._tasks = tasks
        self._sleep = sleep
        self._queues = Queues(tasks, "texts of a number")
        self._early: dict[tuple[str, str], Receipt] = {}
        self._notices_about: dict[str, str] = {}
        self._receipts = 0
        self._pruned_ms = 0

    async def start(self) -> None:
        """Take up what an earlier run left."""
        await self._prune()
        for text in await self._texts.open("sending"):
            way = self._find_way(text.road)
            if way is not None and way.repeatable:
                self._queue(text)
            else:
                await self._texts.done(text.event_id, "doubt", keep_body=True, untold=CUT_OFF)
        for text, reason in await self._texts.untold():
            self._tell(text, reason)
        await self.resume()

    async def resume(self) -> None:
        """Take up what waits in the database and is not under way: at a start, and after the
        database was away, when it may have stored a text without having said so.

        Raises:
            DatabaseAway: it is still away.
        """
        for text in await self._texts.open("waiting"):
            self._queue(text)

    async def submit(self, text: OutgoingText, user: str) -> None:
        """Store a text; it leaves when those before it are done.

        Args:
            user: who wrote it, and hears of its failure.
        """
        if (refusal := self._refusal(text, text.body, user)) is not None:
            await self._reply(text, refusal)
            return
        await self._prune()
        way = self._find_way(self._road(text))
        warning = None if way is None or text.file is not None else way.warning(text.body)
        if warning is not None:
            await self._texts.store(replace(text, state="held"))
            await self._show(text, "PENDING", warning)
            await self._reply(text, warning, about="warning")
            return
        stored = await self._texts.store(text) or await self._texts.latest(text.event_id)
        if stored is not None and stored.state == "waiting":
            self._queue(stored)

    def file_refusal(self, line: LineSection, file: RoomFile) -> str | None:
        """Why a file cannot leave on a line, as a part of a sentence; None if it can."""
        way = self._find_way(way_name(line))
        return None if way is None else way.file_refusal(file)

    async def find(self, event_id: str) -> OutgoingText | None:
        """The last departure of the text that an event is, or that a notice of ours is about."""
        return await self._texts.latest(self._notices_about.get(event_id, event_id))

    async def look_up(self, room_id: str, event_id: str) -> OutgoingText | None:
        """The same, with notices of earlier runs, which the homeserver is asked for."""
        written = await self.find(event_id)
        if written is not None:
            return written
        portal = self._portals.by_room(room_id)
        reader = self._matrix.bot_id if portal is None else self._ghosts.speaker(portal.number)
        try:
            notice = await self._matrix.event(room_id, event_id, user=reader)
        except MatrixError as error:
            log.info("what an answer is about could not be read: %s", error)
            return None
        said = None if notice is None else parse_text(notice)
        if notice is None or notice.sender != reader or said is None or said.replies_to is None:
            return None
        return await self.find(said.replies_to)

    async def is_departure(self, event_id: str) -> bool:
        """Whether this event has made a text leave."""
        text = await self._texts.latest(event_id)
        return text is not None and text.event_id == event_id

    async def find_failed(self, room_id: str) -> OutgoingText | None:
        """The last text written in a room that may be sent again."""
        return await self._texts.latest_failed(room_id)

    async def retry(self, text: OutgoingText, user: str, *, asked_by: str) -> None:
        """Let a text leave again, behind those that wait; says why if that cannot be.

        Args:
            asked_by: the event that asks; a repeat of it asks for nothing new.
        """
        if text.event_id == asked_by:
            if text.state == "waiting":
                self._queue(text)
            return  # that departure is under way
        if text.state not in AGAIN:
            await self._reply(text, wording.not_again(text.state), about=f"not again {asked_by}")
            return
        if (refusal := self._refusal(text, text.body, user)) is not None:
            await self._reply(text, refusal, about=f"not again {asked_by}")
            return
        departure = await self._texts.again(text, asked_by, now_ms=now_ms())
        if departure is None:
            await self._reply(text, wording.not_again("gone"), about=f"not again {asked_by}")
            return
        await self._show(departure, "PENDING")
        if text.state == "doubt":
            await self._reply(departure, wording.AGAIN_IN_DOUBT, about="again")
        self._queue(departure)

    async def change(self, text: OutgoingText, body: str, user: str, *, asked_by: str) -> bool:
        """Give a text another body; False if it may be on the phone already."""
        if (refusal := self._refusal(text, body, user)) is not None:
            await self._reply(text, refusal, about=f"not changed {asked_by}")
            return True
        if not await self._texts.change(text.event_id, body):
            return False
        if text.state != "waiting":
            await self._reply(text, wording.CHANGED, about=f"changed {asked_by}")
        return True

    async def withdraw(self, text: OutgoingText) -> bool:
        """Take a text back; False if it may be on the phone already."""
        return await self._texts.withdraw(text.event_id)

    def receive_receipt(self, road: str, receipt: Receipt) -> None:
        """Take what a road says later about a text of ours and does not repeat."""
        if self._receipts >= MAX_EARLY:
            log.warning("a receipt is lost: too many wait for the database")
            return
        self._receipts += 1
        self._tasks.start("a receipt", self._keep_receipt(road, receipt))

    # ---

    async def _prune(self) -> None:
        now = now_ms()
        if now - self._pruned_ms >= PRUNE_MS:
            self._pruned_ms = now
            await self._texts.prune(now_ms=now)

    def _refusal(self, text: OutgoingText, body: str, user: str) -> str | None:
        """Why the text cannot leave with this body, in words; None if nothing speaks against it."""
        line = self._routing.line(text.line)
        if line is None:
            return wording.line_gone(text.line)
        refusal = self._routing.refusal(line, PhoneNumber(text.number), user, by_text=True)
        if refusal is not None:
            return refusal.text
        way = self._find_way(way_name(line))
        if way is None:
            return None
        if len(PhoneNumber(text.number).members) > way.recipients:
            return wording.NO_GROUP_TEXTS
        return way.refusal(body, text.file)

    def _queue(self, text: OutgoingText) -> None:
        """Let a text leave behind those before it, unless it is about to already."""
        key = (text.line, text.number)
        self._queues.add(key, text.event_id, lambda: self._see_through(text))

    async def _see_through(self, text: OutgoingText) -> None:
        outcome = await self._attempts(text)
        number = PhoneNumber(text.number)
        match outcome:
            case None:
                return
            case Taken(id):
                # A receipt may say that it was lost after all.
                keep_body = bool(id) and self._has_receipts(text)
                await self._done(text, "sent", remote_id=id, keep_body=keep_body)
                await self._show(text, "SUCCESS")
                if self._portals.by_room(text.room_id) is None:
                    await self._reply(text, wording.text_sent(number))
            case Unsure(reason, id):
                log.info("a text to %s is in doubt: %s", number.short(), reason)
                await self._done(text, "doubt", remote_id=id, untold=reason)
                self._tell(replace(text, state="doubt"), reason)
            case Refused(reason) | Later(reason):
                log.info("a text to %s was not taken: %s", number.short(), reason)
                await self._done(text, "refused", untold=reason)
                self._tell(replace(text, state="refused"), reason)
                return
        if (receipt := self._early.pop((self._road(text), outcome.id), None)) is not None:
            self.receive_receipt(self._road(text), receipt)

    async def _done(
        self,
        text: OutgoingText,
        state: str,
        *,
        remote_id: str = "",
        keep_body: bool = True,
        untold: str | None = None,
    ) -> None:
        """Note what became of a text, which nobody would learn otherwise."""
        done = partial(
            self._texts.done,
            text.event_id,
            state,
            remote_id=remote_id,
            keep_body=keep_body,
            untold=untold,
        )
        await persist("what became of a text", done, sleep=self._sleep)

    async def _attempts(self, text: OutgoingText) -> Outcome | None:
        """Try until the text is taken, refused, in doubt, or too old to be tried again; None if its
        author has taken it back."""
        # The wall clock is all that an earlier run has left; from here on it may jump.
        earlier = max(0.0, (now_ms() - text.created_ms) / 1000)
        began, slept = time.monotonic(), 0.0
        delay, told = FIRST_DELAY, False
        doubt: Unsure | None = None  # then it stays "sending": what may have left is not changed
        while True:
            try:
                outcome = await self._attempt(text)
            except _Overtaken:
                outcome = None
            except DatabaseAway:  # so it has not left
                outcome = Later(wording.DATABASE_AWAY)
            if isinstance(outcome, Unsure) and self._is_repeatable(text):
                doubt, outcome = outcome, Later(outcome.reason)
            if outcome is not None and not isinstance(outcome, Later):
                return outcome
            if doubt is None:
                wait = partial(self._texts.waiting, text)
                current = await persist("a text that could not leave", wait, sleep=self._sleep)
                if current is None:
                    return None
                text = current
            if outcome is None:
                continue
            waited = earlier + max(slept, time.monotonic() - began)
            if waited >= KEEP_TRYING:
                return doubt or outcome
            if waited >= TELL_AFTER and not told:
                told = True
                number, minutes = PhoneNumber(text.number), round((KEEP_TRYING - waited) / 60)
                await self._show(text, "PENDING", outcome.reason)
                words = wording.text_waits(number, outcome.reason, minutes)
                await self._reply(text, words, about="text waits")
            pause = max(delay * random.uniform(0.75, 1.0), outcome.after or 0.0)
            await self._sleep(pause)
            slept += pause
            delay = min(LONGEST_DELAY, 2 * delay)

    async def _attempt(self, text: OutgoingText) -> Outcome:
        line = self._routing.line(text.line)
        way = None if line is None else self._find_way(way_name(line))
        if line is None or way is None:
            return Refused("the line does not exist any more")
        if len(PhoneNumber(text.number).members) > way.recipients:
            return Refused("texts of this line go to one number each")

        async def leaving() -> None:
            if not await self._texts.sending(text, way.name):
                raise _Overtaken

        return await way.send(line, text, leaving)

    def _is_repeatable(self, text: OutgoingText) -> bool:
        way = self._find_way(self._road(text))
        return way is not None and way.repeatable

    def _has_receipts(self, text: OutgoingText) -> bool:
        way = self._find_way(self._road(text))
        return way is not None and way.has_receipts

    def _road(self, text: OutgoingText) -> str:
        line = self._routing.line(text.line)
        return "" if line is None else way_name(line)

    # --- what became of it

    async def _keep_receipt(self, road: str, receipt: Receipt) -> None:
        try:
            take = partial(self.take_receipt, road, receipt)
            await persist("a receipt", take, sleep=self._sleep)
        finally:
            self._receipts -= 1

    async def take_receipt(self, road: str, receipt: Receipt) -> None:
        """Take what a road says later about a text of ours; returns when it is stored.

        Raises:
            DatabaseAway: it is not, and shall come again.
        """
        text = await self._texts.by_remote_id(road, receipt.id)
        if text is None:
            # The answer that names its text may still be on its way.
            self._early[road, receipt.id] = receipt
            while len(self._early) > MAX_EARLY:
                del self._early[next(iter(self._early))]
            return
        if PhoneNumber(text.number).is_group:
            self._tasks.start("tell of a group text", self._tell_of_member(text, receipt))
            return
        match receipt.state:
            case Delivery.FAILED if text.state not in ("failed", "delivered"):
                reason = receipt.reason or wording.LOST
                await self._texts.done(text.event_id, "failed", keep_body=True, untold=reason)
                self._tell(replace(text, state="failed"), reason)
            case Delivery.DELIVERED | Delivery.READ if text.state not in ("failed", "delivered"):
                await self._texts.done(text.event_id, "delivered")
                shown = self._show(text, "SUCCESS", delivered=True)
                self._tasks.start("show that a text arrived", shown)
            case _:
                pass  # a step on the way, or what is known already
        if receipt.state is Delivery.READ and text.state != "failed":
            reader = PhoneNumber(text.number)
            self._tasks.start("show that a text was read", self._show_read(text, reader))

    async def _show_read(self, text: OutgoingText, reader: PhoneNumber) -> None:
        """Let a ghost's read receipt stand on the text; nothing hangs on it."""
        portal = self._portals.by_room(text.room_id)
        if portal is None or reader not in portal.number.members:
            return
        ghost = self._ghosts.user_id(reader)
        try:
            await self._matrix.mark_read(text.room_id, text.message_id, user=ghost)
        except MatrixError as error:
            log.info("it could not be shown that a text was read: %s", error)

    async def _tell_of_member(self, text: OutgoingText, receipt: Receipt) -> None:
        """What became of a text at one of its group: it may be with the others all the same, so
        that it is not sent again, and what one has is not delivered to all."""
        line = self._routing.line(text.line)
        region = None if line is None else line.region
        member = read_number(receipt.to, self._routing.writing(text.road), region)
        if receipt.state is Delivery.READ:
            await self._show_read(text, member)
        if receipt.state is not Delivery.FAILED:
            return
        who = member if receipt.to else PhoneNumber(text.number)
        words = wording.text_refused(who, receipt.reason or wording.LOST)
        await self._reply(text, words, about=f"text lost {receipt.to}")

    def _tell(self, text: OutgoingText, reason: str) -> None:
        """Have its author know that a text did not arrive, or may not have."""
        self._tasks.start("tell what became of a text", self._tell_of(text, reason))

    async def _tell_of(self, text: OutgoingText, reason: str) -> None:
        """However long the homeserver is away; a start does it again, until it is noted here."""
        words = wording.text_refused(PhoneNumber(text.number), reason)
        if text.state == "doubt":
            words, reason = wording.text_in_doubt(PhoneNumber(text.number)), IN_DOUBT
        about = "text lost" if text.state == "failed" else OUTCOME
        await self._show(text, "FAIL_PERMANENT", reason)
        delay = FIRST_DELAY
        while not await self._reply(text, words, about=about):
            await self._sleep(delay)
            delay = min(LONGEST_DELAY, 2 * delay)
        told = partial(self._texts.told, text.event_id)
        await persist("that a text's author knows", told, sleep=self._sleep)

    async def _show(
        self, text: OutgoingText, status: str, reason: str = "", *, delivered: bool = False
    ) -> None:
        """Show on the text itself what became of it; nothing hangs on it."""
        portal = self._portals.by_room(text.room_id)
        if portal is None:
            return  # a text by command: the command is answered in words
        ghost = self._ghosts.speaker(portal.number)
        content = {
            "m.relates_to": {"rel_type": "m.reference", "event_id": text.message_id},
            "network": "ringback",
            "status": status,
        }
        if status == "FAIL_PERMANENT":
            content |= {"reason": "m.foreign_network_error"}
        if reason:
            content["message"] = reason
        if status == "SUCCESS":
            content["delivered_to_users"] = [ghost] if delivered else []
        step = txn_id("text status", status, str(delivered), text.event_id)
        try:
            await self._matrix.send_event(text.room_id, STATUS, content, sender=ghost, txn_id=step)
        except MatrixError as error:
            log.info("the state of a text could not be shown: %s", error)

    async def _reply(self, text: OutgoingText, words: str, *, about: str = OUTCOME) -> bool:
        """A notice that answers the text, by the ghost in a portal and by the bot elsewhere.

        Args:
            about: there is one of each kind for each text.

        Returns:
            Whether nothing is left to be done: it was told, will be, or cannot be.
        """
        portal = self._portals.by_room(text.room_id)
        sender = self._matrix.bot_id if portal is None else self._ghosts.speaker(portal.number)
        content = {
            "msgtype": "m.notice",
            "body": words,
            "m.relates_to": {"m.in_reply_to": {"event_id": text.message_id}},
        }
        try:
            notice = await self._matrix.send_event(
                text.room_id,
                "m.room.message",
                content,
                sender=sender,
                txn_id=txn_id(about, text.event_id),
            )
        except MatrixError as error:
            line = self._routing.line(text.line)
            if portal is None or line is None:
                log.warning("what became of a text could not be told: %s", error)
                return not isinstance(error, MatrixUnavailable)
            # It waits in the database for the homeserver, or for a room that takes it.
            key, to = f"{about}:{text.event_id}", portal.user
            await self._notices.leave_notice(line, portal.number, to, words, name="", key=key)
            return True
        self._notices_about[notice] = text.message_id
        while len(self._notices_about) > MAX_NOTICES:
            del self._notices_about[next(iter(self._notices_about))]
        return True


def way_name(line: LineSection) -> str:
    """The name of the way by which texts of a line leave."""
    return f"{SIP}:{line.trunk}" if line.texts_out == SIP else line.texts_out


def now_ms() -> int:
    """Wall clock, milliseconds since 1970."""
    return time.time_ns() // 1_000_000
