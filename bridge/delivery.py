"""Texts from phones to rooms, from the moment that they are stored until they are said.

They are acknowledged when they are stored, and then said by the ghost in each user's portal under a
transaction id derived from the row, again and again until the homeserver has it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from bridge import wording
from bridge.attachment import Attachments
from bridge.burst import FirstContacts
from bridge.config import LineSection
from bridge.db.interface import DatabaseAway
from bridge.db.patience import persist
from bridge.db.texts import IncomingText, IncomingTexts
from bridge.ghost import Ghosts
from bridge.matrix.client import MatrixClient
from bridge.matrix.homeserver import MatrixRefused, MatrixUnavailable
from bridge.numbers import PhoneNumber
from bridge.outbox import FIRST_DELAY, LONGEST_DELAY
from bridge.portal import Portal, Portals
from bridge.routing import Routing
from bridge.senders import Senders
from bridge.task import Queues, Tasks
from bridge.txn import txn_id

log = logging.getLogger(__name__)

MAX_KEPT = 1000  # notices that wait for the database
# What a homeserver says of one text, and would say again. Everything else that it says is about
# us or about itself (it does not know our token any more, a proxy answers in its place), and ends.
FINAL = ("M_TOO_LARGE", "M_BAD_JSON", "M_NOT_JSON", "M_INVALID_PARAM")
ATTACHMENT = "attachment"  # in the place of a msgtype: what it is shows when it has been fetched


class Deliveries:
    """Stores texts and says them, in order for each number and user.

    Args:
        attachments: needed where texts may have any.
        strangers: has those wait who have no room.
        sleep: waits between attempts; replaced by tests.
    """

    def __init__(
        self,
        *,
        matrix: MatrixClient,
        ghosts: Ghosts,
        portals: Portals,
        routing: Routing,
        texts: IncomingTexts,
        attachments: Attachments | None,
        senders: Senders,
        strangers: FirstContacts,
        tasks: Tasks,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._matrix = matrix
        self._ghosts = ghosts
        self._portals = portals
        self._routing = routing
        self._texts = texts
        self._attachments = attachments
        self._senders = senders
        self._tasks = tasks
        self._sleep = sleep
        self._queues = Queues(tasks, "texts for a user")
        self._strangers = strangers
        self._is_in_doubt = False
        self._kept = 0

    async def resume(self) -> None:
        """Take up what the database has and is not under way: at a start, and after it was away.

        Raises:
            DatabaseAway: it is still away.
        """
        for text in await self._texts.open():
            self.add(text)
        self._is_in_doubt = False

    async def store(self, texts: Sequence[IncomingText]) -> list[IncomingText]:
        """Store texts, all or none; returns those that are new, which are then to be added.

        Raises:
            DatabaseAway: they are not stored, or nobody knows.
        """
        try:
            if self._is_in_doubt:  # what may be stored goes before what comes now
                await self.resume()
            return await self._texts.store(texts)
        except DatabaseAway:
            self._is_in_doubt = True
            raise

    def add(self, text: IncomingText) -> None:
        """Let a text be said behind those before it, unless it is about to be said already."""
        queue = (text.line, text.number, text.user_id)
        self._queues.add(queue, (text.key, text.user_id), lambda: self._say(text))

    async def leave(self, notice: Sequence[IncomingText]) -> None:
        """Store a notice of ours and say it. Nobody repeats it if the database is away, so it waits
        here then; but who leaves it does not, which may be a call that ends."""
        try:
            await self._leave(notice)
        except DatabaseAway as error:
            if self._kept >= MAX_KEPT:
                log.error("a notice is lost, too many wait for the database: %s", error)
                return
            self._kept += 1
            self._tasks.start("keep a notice", self._leave_later(notice))

    # ---

    async def _leave(self, notice: Sequence[IncomingText]) -> None:
        for stored in await self.store(notice):
            self.add(stored)

    async def _leave_later(self, notice: Sequence[IncomingText]) -> None:
        try:
            await persist("a notice", partial(self._leave, notice), sleep=self._sleep)
        finally:
            self._kept -= 1

    async def _say(self, text: IncomingText) -> None:
        event_id = await self._deliver(text)
        state = "refused" if event_id is None else "sent"
        kept = event_id if self._is_watched(text) else None
        done = partial(self._texts.done, text, state, event_id=kept)
        await persist("the end of a text", done, sleep=self._sleep)

    async def _content(self, text: IncomingText, sender: str) -> dict[str, Any]:
        if text.msgtype != ATTACHMENT or self._attachments is None:
            return {"msgtype": text.msgtype, "body": text.body}
        return await self._attachments.content(text.body, sender=sender)

    def _is_watched(self, text: IncomingText) -> bool:
        """Whether it matters by which event a text was said: somebody is told that it is read."""
        line = self._routing.line(text.line)
        return line is not None and self._routing.trunks[line.trunk].read_receipts

    async def _deliver(self, text: IncomingText) -> str | None:
        """Say it in the portal, however long the homeserver is away or does not let us.

        Returns:
            The event by which it was said, or in the place of it that it cannot be; None if there
            is nobody to say it to.
        """
        line = self._routing.line(text.line)
        if line is None or text.user_id not in line.users:
            return None
        delay, moved, about = FIRST_DELAY, False, "text"
        while True:
            portal = None
            try:
                portal = await self._open(line, text)
                sender = self._ghosts.speaker(portal.number)
                if text.sender:
                    sender = self._ghosts.user_id(PhoneNumber(text.sender))
                return await self._matrix.send_event(
                    portal.room_id,
                    "m.room.message",
                    await self._content(text, sender),
                    sender=sender,
                    txn_id=txn_id(about, text.key, text.user_id),
                )
            except MatrixUnavailable as error:
                log.info("a text waits for the homeserver: %s", error)
            except MatrixRefused as error:
                if portal is not None and error.is_of_room and not moved:
                    moved = True  # into a new room
                    await self._portals.forget(portal.room_id)
                    continue
                log.warning("the homeserver refused a text: %s", error)
                if error.errcode in FINAL:
                    if portal is None or about != "text":
                        return None
                    words = wording.not_shown(error.text)
                    about, text = "not shown", replace(text, msgtype="m.notice", body=words)
                    continue
            await self._sleep(delay)
            delay = min(LONGEST_DELAY, delay * 2)

    async def _open(self, line: LineSection, text: IncomingText) -> Portal:
        """The room of a text, made if its number may have one now."""
        number = PhoneNumber(text.number)
        if self._portals.find(line.name, number, text.user_id) is None:
            await self._strangers.wait(line, number)
        topic = None
        if self._senders.is_code(line.name, number):
            topic = wording.code_topic(number)
        return await self._portals.open(line, number, text.user_id, text.name, topic=topic)
