"""Reads from the rooms what the homeserver has never pushed.

A homeserver can lose events on their way to us: Synapse notes the events behind a push in flight
nowhere, so that they are gone for application services when it is killed. They are in the rooms all
the same. So after each absence of the homeserver, be it seen by a request of ours that failed or by
a push of its that was cut (`bridge.matrix.pusher`), and after a start of ours, every room is read
backwards until what we know; what is missing goes the way of a pushed event, by the inbox, which
takes each event once.

How far back is "what we know": events that came after the gap may be known already, so a known
event ends the search only if it was there before the last time that everything was read. That mark
is in the database, since we may be killed in the middle of it. What was said before the ghost
joined, or longer ago than `MAX_AGE_MS`, is not looked at.

Texts of a conversation keep their order all the same: after an absence a room is read before the
first new text of it is handled (`Reconciliation.settle`), so that what was forgotten comes first.

Signalling of calls is not made up for, since its time is over, but a hang-up is. Of what the bot
was told only what concerns texts is: a command that is late might meet another call.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from bridge.bot import Bot
from bridge.db.inbox import Inbox
from bridge.db.interface import DatabaseAway
from bridge.ghost import Ghosts
from bridge.matrix.client import MatrixClient
from bridge.matrix.events import RoomEvent, parse_event, parse_membership, parse_text
from bridge.matrix.homeserver import MatrixError, MatrixRefused
from bridge.portal import Portal, Portals

log = logging.getLogger(__name__)

# Between two looks at whether the homeserver is there. Synapse takes longer than that to start.
PROBE_PAUSE = 3.0
# After everything was read, before it may be read again: a homeserver that staggers is not helped.
SWEEP_PAUSE = 15.0
# Read at once; a thousand rooms are read in some seconds, and calls have their connections.
ROOMS_AT_ONCE = 4
# Until a room is read; then its new texts go on without what may be missing.
SETTLE_LIMIT = 10.0
# In one room; more than that is no conversation.
MAX_EVENTS = 1000
# A text that is older surprises more than it helps. The inbox remembers longer.
MAX_AGE_MS = 7 * 24 * 3600 * 1000

_ENDS_OF_CALLS = ("m.call.hangup", "m.call.reject")
_LATE_COMMANDS = ("text", "retry")


@dataclass(frozen=True, slots=True)
class _Room:
    """What is read, and as whom.

    Attributes:
        is_bots: a user's direct chat with the bot.
    """

    room_id: str
    reader: str
    is_bots: bool


class Taker(Protocol):
    """What takes events as if they had been pushed: `bridge.matrix.appservice.Appservice`."""

    async def take(self, name: str, events: Sequence[object]) -> int: ...

    async def resume(self) -> None: ...


class Reconciliation:
    """Keeps the portals, the bot's rooms and the inbox in agreement.

    Args:
        sleep: waits; replaced by tests.
    """

    def __init__(
        self,
        *,
        matrix: MatrixClient,
        ghosts: Ghosts,
        portals: Portals,
        bot: Bot,
        inbox: Inbox,
        taker: Taker,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._matrix = matrix
        self._ghosts = ghosts
        self._portals = portals
        self._bot = bot
        self._inbox = inbox
        self._taker = taker
        self._sleep = sleep
        self._read_at: dict[str, int] = {}  # absences of the homeserver that a room is read after

    async def settle(self, room_id: str) -> bool:
        """Read a room that was not read since the homeserver was away; never raises.

        Returns:
            Whether it was read now, so that something may have come that was said earlier.
        """
        absences = self._matrix.absences
        room = None if self._read_at.get(room_id) == absences else self._find(room_id)
        if room is None:
            return False
        try:
            async with asyncio.timeout(SETTLE_LIMIT):
                await self._read(room, await self._inbox.reconciled())
        except (MatrixError, DatabaseAway, TimeoutError) as error:
            log.info("a room could not be read before its new texts: %s", error)
            return False
        except Exception:  # of one room, which must not end the work on it; the sweep comes to it
            log.exception("a room could not be read before its new texts")
            return False
        self._read_at[room_id] = absences
        return True

    async def run(self) -> None:
        """Read everything now and after each absence of the homeserver; never returns."""
        seen: int | None = None
        while True:
            pause = PROBE_PAUSE
            if await self._matrix.is_there() and (absences := self._matrix.absences) != seen:
                if await self.sweep():
                    seen = absences
                pause = SWEEP_PAUSE
            await self._sleep(pause)

    async def sweep(self) -> bool:
        """Read every room back to what we know.

        Returns:
            Whether all could be read; if not, it is to be done again.
        """
        absences = self._matrix.absences
        try:
            mark, newest = await self._inbox.reconciled(), await self._inbox.newest()
            few = asyncio.Semaphore(ROOMS_AT_ONCE)

            async def read(room: _Room) -> int:
                async with few:
                    count = await self._read(room, mark)
                    self._read_at[room.room_id] = absences
                    return count

            found = await asyncio.gather(
                *(read(room) for room in self._rooms()), return_exceptions=True
            )
            troubles = [one for one in found if isinstance(one, BaseException)]
            if troubles:
                raise troubles[0]
            await self._inbox.note_reconciled(newest)
            await self._taker.resume()  # what could not be handled without the homeserver
            rooms = {room.room_id for room in self._rooms()}
            self._read_at = {room: at for room, at in self._read_at.items() if room in rooms}
        except (MatrixError, DatabaseAway) as error:
            log.info("the rooms could not all be read: %s", error)
            return False
        except Exception:  # the top of a sweep; it is done again after a pause
            log.exception("the rooms could not all be read")
            return False
        missed = sum(one for one in found if isinstance(one, int))
        log.log(
            logging.WARNING if missed else logging.INFO,
            "read %d rooms for what the homeserver did not push: %d events",
            len(found),
            missed,
        )
        return True

    def _rooms(self) -> list[_Room]:
        bots = [_Room(room, self._bot.user_id, True) for room in self._bot.rooms]
        return [*map(self._portal, self._portals.all()), *bots]

    def _find(self, room_id: str) -> _Room | None:
        portal = self._portals.by_room(room_id)
        if portal is not None:
            return self._portal(portal)
        return _Room(room_id, self._bot.user_id, True) if room_id in self._bot.rooms else None

    def _portal(self, portal: Portal) -> _Room:
        return _Room(portal.room_id, self._ghosts.speaker(portal.number), False)

    async def _read(self, room: _Room, mark: int | None) -> int:
        """Take what one room has and we do not; how many events that was."""
        try:
            missing = await self._missing(room, mark)
        except MatrixRefused as refusal:
            if not refusal.is_of_room:
                raise
            log.info("a room cannot be read: %s", refusal)
            return 0
        if not missing:
            return 0
        return await self._taker.take(f"read:{room.room_id}", missing)

    async def _missing(self, room: _Room, mark: int | None) -> list[object]:
        """Oldest first."""
        missing: list[object] = []
        looked_at, start = 0, None
        while True:
            page = await self._matrix.history(room.room_id, user=room.reader, start=start)
            events = [(raw, _parse(raw, room.room_id)) for raw in page.events]
            known = await self._inbox.known([e.event_id for _, e in events if e is not None])
            for raw, event in events:
                if event is None:
                    continue
                seq = known.get(event.event_id)
                is_settled = seq is not None and (mark is None or seq <= mark)
                if is_settled or _is_entry(event, room.reader) or (event.age_ms or 0) > MAX_AGE_MS:
                    return missing[::-1]
                if seq is None and self._matters(room, event):
                    missing.append(raw)
            looked_at += len(events)
            if page.end is None:
                return missing[::-1]
            if looked_at >= MAX_EVENTS:
                log.warning("a room has more than %d events that we do not know", MAX_EVENTS)
                return missing[::-1]
            start = page.end

    def _matters(self, room: _Room, event: RoomEvent) -> bool:
        if self._ghosts.is_ours(event.sender):
            return False
        if room.is_bots and (text := parse_text(event)) is not None:
            command, _, _ = text.words.strip().removeprefix("!").partition(" ")
            return command.lower() in _LATE_COMMANDS
        return not event.type.startswith("m.call.") or event.type in _ENDS_OF_CALLS


def _parse(raw: object, room_id: str) -> RoomEvent | None:
    return parse_event(
        raw,
        received_at=time.monotonic(),
        now_ms=time.time_ns() // 1_000_000,
        room_id=room_id,
    )


def _is_entry(event: RoomEvent, reader: str) -> bool:
    """Whether the reader came into the room by this; what is older is not for it."""
    membership = parse_membership(event)
    return (
        membership is not None
        and membership.user == reader
        and membership.membership in ("invite", "join")
        and membership.previous != "join"
    )
