"""Tells who wrote to us that their text was read, where a trunk's setting wants it (RFC 5438).

A sender that asks ("display") is told when a user of the line has read the text in the room: the
homeserver pushes public read receipts to us (application service API, "Pushing ephemeral data"),
if our registration asks for them. A receipt stands on one event and means all before it. Whoever
reads first is the one who counts; private receipts are never seen here, and say nothing.

Unlike texts this is not worth doing twice: what was asked is forgotten before the answer is sent.
It waits for a database that is away, and for a trunk that is down until the user reads the next.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from bridge.config import LineSection
from bridge.db.patience import persist
from bridge.db.texts import IncomingTexts
from bridge.matrix.events import ReadReceipt
from bridge.portal import Portal, Portals
from bridge.road.way import TrunkPort
from bridge.routing import Routing
from bridge.task import Tasks
from sip.errors import RemoteError
from sip.imdn import NotificationsWanted, Wish
from sip.uri import NameAddr

log = logging.getLogger(__name__)

# A client may have read a text before we have written down by which event it was said.
AGAIN_AFTER = 2.0
# Receipts that are looked up, or wait for the database; more are left out, and say nothing.
MAX_AT_ONCE = 100


def keep_wanted(line_trunk: str, wanted: NotificationsWanted | None) -> str:
    """What is stored of a sender's wish to know that its text was read; "" if it has none."""
    if wanted is None or Wish.DISPLAY not in wanted.wishes:
        return ""
    return json.dumps(
        {
            "trunk": line_trunk,
            "message_id": wanted.message_id,
            "sent_at": wanted.sent_at,
            "sender": str(wanted.sender),
            "author": wanted.author,
            "recipient": str(wanted.recipient),
            "route": list(wanted.route),
        }
    )


def _read_wanted(kept: str) -> tuple[str, NotificationsWanted]:
    """Trunk and wish, of what `keep_wanted` made."""
    read = json.loads(kept)
    return read["trunk"], NotificationsWanted(
        read["message_id"],
        frozenset({Wish.DISPLAY}),
        read["sent_at"],
        NameAddr.parse(read["sender"]),
        read["author"],
        NameAddr.parse(read["recipient"]),
        tuple(read["route"]),
    )


class Reading:
    """Follows what users read.

    Args:
        trunks: by name; may be filled after construction.
        sleep: waits for what is being written; replaced by tests.
    """

    def __init__(
        self,
        *,
        portals: Portals,
        routing: Routing,
        texts: IncomingTexts,
        trunks: Mapping[str, TrunkPort],
        tasks: Tasks,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._portals = portals
        self._routing = routing
        self._texts = texts
        self._trunks = trunks
        self._tasks = tasks
        self._sleep = sleep
        self._at_once = 0

    def receive(self, receipt: ReadReceipt) -> None:
        """Take a read receipt of anybody; returns at once."""
        portal = self._portals.by_room(receipt.room_id)
        if portal is None or portal.user != receipt.user or portal.number.is_group:
            return
        line = self._routing.line(portal.line)
        if line is None or not self._routing.trunks[line.trunk].read_receipts:
            return
        trunk = self._trunks.get(line.trunk)
        if trunk is None or not trunk.status.up:
            return  # the next receipt of the room means this text too
        if self._at_once >= MAX_AT_ONCE:
            log.warning("too many read receipts at once: one is left out")
            return
        self._at_once += 1
        self._tasks.start("a read receipt", self._take(line, portal, receipt.event_id))

    async def _take(self, line: LineSection, portal: Portal, event_id: str) -> None:
        read = partial(self._texts.read, portal.party, event_id)
        try:
            asked = await persist("a read receipt", read, sleep=self._sleep)
            if asked is None:
                await self._sleep(AGAIN_AFTER)
                asked = await persist("a read receipt", read, sleep=self._sleep)
        finally:
            self._at_once -= 1
        for kept in asked or ():
            self._notify(line, kept)

    def _notify(self, line: LineSection, kept: str) -> None:
        try:
            name, wanted = _read_wanted(kept)
        except RemoteError as error:
            log.warning("what a sender wanted to know cannot be read any more: %s", error)
            return
        trunk = self._trunks.get(name)
        if trunk is None or not trunk.status.up:
            return
        presentation = self._routing.presentation(line)
        trunk.agent.notify_displayed(wanted, now=trunk.now(), sender=presentation)
        trunk.pump()
