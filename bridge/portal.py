"""Portals: the rooms in which a user speaks with a number, on one line.

A portal is a direct chat of exactly two, ghost and user: Element offers the legacy call only while
at most two members are joined, so the bot stays out. It is unencrypted and of room version 11, and
lets its user send the state that Element wants to see permitted before it shows a call button.

Whoever has opened a chat with a ghost has a portal too: it is adopted. A user may so have several
rooms with one number; the newest is where calls come in.

The portal of a group text has the bot and the ghosts of all members in it, and takes no calls.

A homeserver knows no repeat of a `createRoom`. So that one is about to be made is noted first.
Where we are killed, or the answer is lost, before it is noted that it was, it is looked for among
the rooms of its creator, by what it says of itself (`m.bridge`), and adopted.
"""

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any

from bridge import wording
from bridge.config import LineSection
from bridge.db.interface import DatabaseAway
from bridge.db.patience import CALL_LIMIT
from bridge.db.portals import Party, PortalRow, PortalTable
from bridge.ghost import Ghosts
from bridge.matrix.client import MatrixClient
from bridge.matrix.homeserver import MatrixError, MatrixRefused
from bridge.numbers import PhoneNumber

log = logging.getLogger(__name__)

# Of the rooms of one of our users; it is in few that we do not know.
MAX_LOOKED_AT = 50

# The default levels of a room, with what a call button asks for and what is the user's own taste
# let down to everybody. Keys of `events` replace the homeserver's as a whole, so they are all here.
_POWER_LEVELS: dict[str, Any] = {
    "events": {
        "org.matrix.msc3401.call.member": 0,
        "im.vector.modular.widgets": 0,
        "m.room.name": 0,
        "m.room.avatar": 0,
        "m.room.canonical_alias": 50,
        "m.room.encryption": 100,
        "m.room.history_visibility": 100,
        "m.room.power_levels": 100,
        "m.room.server_acl": 100,
        "m.room.tombstone": 100,
    }
}


@dataclass(frozen=True, slots=True)
class Portal:
    """A room for one number on one line with one user.

    Attributes:
        line: name of the line.
    """

    room_id: str
    line: str
    number: PhoneNumber
    user: str

    @property
    def party(self) -> Party:
        """What it is found by."""
        return Party(self.line, self.number.text, self.user)


class Portals:
    """Finds, makes and forgets portals. All of them are held in memory, a few hundred bytes each,
    because a call must not wait for the database."""

    def __init__(self, *, matrix: MatrixClient, ghosts: Ghosts, table: PortalTable) -> None:
        self._matrix = matrix
        self._ghosts = ghosts
        self._table = table
        self._by_room: dict[str, Portal] = {}
        self._by_party: dict[Party, list[Portal]] = {}
        self._making: dict[Party, asyncio.Task[Portal]] = {}
        # For whom a room may have been made of which we do not know.
        self._begun: set[Party] = set()
        # What the database does not know yet; None for a room that is none any more.
        self._unsaved: dict[str, PortalRow | None] = {}

    async def load(self) -> None:
        """Read what earlier runs have made."""
        for row in await self._table.all():
            self._keep(Portal(row.room_id, row.line, PhoneNumber(row.number), row.user_id))
        self._begun = set(await self._table.begun())

    async def take_up(self) -> None:
        """Adopt the rooms that earlier runs have made and not noted, before anything of them comes;
        never raises."""
        for party in list(self._begun):
            try:
                if await self._find_made(party) is None:
                    await self._forget_begun(party)
            except MatrixError as error:  # looked for again when it is needed
                log.warning("a room that may have been made could not be looked for: %s", error)

    def all(self) -> list[Portal]:
        """Every portal, the oldest first."""
        return list(self._by_room.values())

    def by_room(self, room_id: str) -> Portal | None:
        return self._by_room.get(room_id)

    def find(self, line: str, number: PhoneNumber, user: str) -> Portal | None:
        """The newest room of this user with this number on this line."""
        found = self._by_party.get(Party(line, number.text, user))
        return found[-1] if found else None

    def line_between(
        self, user: str, number: PhoneNumber, lines: Sequence[LineSection]
    ) -> LineSection:
        """The line on which a user speaks with a number: that of their newest room, so that an
        answer does not come from another number of ours; else the user's first.

        Args:
            lines: of the user.
        """
        by_name = {line.name: line for line in lines}
        for portal in reversed(self._by_room.values()):
            if portal.number == number and portal.user == user and portal.line in by_name:
                return by_name[portal.line]
        return lines[0]

    async def open(
        self,
        line: LineSection,
        number: PhoneNumber,
        user: str,
        name: str = "",
        *,
        topic: str | None = None,
    ) -> Portal:
        """Find or create the portal.

        Creation goes on when the one who waits for it gives up, so that no room is made twice.

        Args:
            name: of the remote party, as the network says.
            topic: of the room, if it is made.

        Raises:
            MatrixError: the homeserver did not let us.
        """
        found = self.find(line.name, number, user)
        if found is not None:
            if not number.is_group:
                await self._ghosts.name(number, name)
            return found
        party = Party(line.name, number.text, user)
        making = self._making.get(party)
        if making is None:
            making = asyncio.create_task(self._create(line, number, user, name, topic))
            self._making[party] = making
            making.add_done_callback(lambda task: self._made(party, task))
        return await asyncio.shield(making)

    async def adopt(self, room_id: str, line: str, number: PhoneNumber, user: str) -> Portal:
        """Take a room that the user has opened with the ghost."""
        portal = Portal(room_id, line, number, user)
        self._keep(portal)
        self._begun.discard(portal.party)
        self._unsaved[room_id] = PortalRow(room_id, line, number.text, user)
        await self._try_to_save(room_id)
        return portal

    async def forget(self, room_id: str) -> None:
        """The room is no portal any more: somebody left, or the homeserver has lost it."""
        if self._drop(room_id):
            self._unsaved[room_id] = None
            await self._try_to_save(room_id)

    async def save(self) -> None:
        """Write what the database does not know yet.

        Raises:
            DatabaseAway: it is still away.
        """
        for room_id in list(self._unsaved):
            await self._save(room_id)

    async def _save(self, room_id: str) -> None:
        if room_id not in self._unsaved:
            return  # somebody else was quicker
        row = self._unsaved[room_id]
        if row is None:
            await self._table.delete(room_id)
        else:
            await self._table.put(row)
        if self._unsaved.get(room_id, row) is row:
            self._unsaved.pop(room_id, None)

    async def _try_to_save(self, room_id: str) -> None:
        await _briefly(
            self._save(room_id), "a portal is in memory alone, until the database is back"
        )

    def _keep(self, portal: Portal) -> None:
        self._drop(portal.room_id)  # it may have been another party's
        self._by_room[portal.room_id] = portal
        self._by_party.setdefault(portal.party, []).append(portal)

    def _drop(self, room_id: str) -> bool:
        """Whether it was a portal."""
        portal = self._by_room.pop(room_id, None)
        if portal is None:
            return False
        rooms = self._by_party[portal.party]
        rooms.remove(portal)
        if not rooms:
            del self._by_party[portal.party]
        return True

    def _made(self, party: Party, task: asyncio.Task[Portal]) -> None:
        self._making.pop(party, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("a portal on line %s could not be made: %s", party.line, error)

    async def _create(
        self, line: LineSection, number: PhoneNumber, user: str, name: str, topic: str | None
    ) -> Portal:
        party = Party(line.name, number.text, user)
        for member in number.members:
            await self._ghosts.name(member, "" if number.is_group else name)
        if party in self._begun and (found := await self._find_made(party)) is not None:
            return found
        await self._note_begun(party)
        try:
            room_id = await self._make_room(line, number, user, name, topic)
        except MatrixRefused:
            await self._forget_begun(party)
            raise
        log.info("made a portal for %s on line %s", number.short(), line.name)
        return await self._adopt_made(room_id, party)

    async def _make_room(
        self, line: LineSection, number: PhoneNumber, user: str, name: str, topic: str | None
    ) -> str:
        creator, ghosts = self._ghosts.speaker(number), []
        if number.is_group:
            name, topic = number.show(), wording.GROUP_TOPIC
            ghosts = [self._ghosts.user_id(member) for member in number.members]
        else:
            name = self._ghosts.shown(number, name)
        return await self._matrix.create_room(
            creator=creator,
            name=name,
            topic=topic,
            invite=[user, *ghosts],
            is_direct=not number.is_group,
            power_levels=_POWER_LEVELS,
            initial_state=_bridge_state(self._matrix.bot_id, creator, line.name, number),
        )

    async def _adopt_made(self, room_id: str, party: Party) -> Portal:
        """Take a room that we have made."""
        number = PhoneNumber(party.number)
        if number.is_group:
            for member in number.members:
                await self._matrix.join(room_id, self._ghosts.user_id(member))
        return await self.adopt(room_id, party.line, number, party.user_id)

    # --- rooms of which it is not known whether they were made

    async def _find_made(self, party: Party) -> Portal | None:
        """Adopt the room that was made for a party without our knowing; None if there is none."""
        number = PhoneNumber(party.number)
        creator = self._ghosts.speaker(number)
        rooms = await self._matrix.joined_rooms(creator)
        for room_id in [room for room in rooms if room not in self._by_room][:MAX_LOOKED_AT]:
            if await self._is_made_for(party, room_id, creator):
                log.info("found the portal for %s on line %s", number.short(), party.line)
                return await self._adopt_made(room_id, party)
        return None

    async def _is_made_for(self, party: Party, room_id: str, creator: str) -> bool:
        key = _bridge_key(party.line, PhoneNumber(party.number))
        try:
            state = await self._matrix.room_state(room_id, "m.bridge", key, user=creator)
            if state is None or state.get("creator") != creator:
                return False
            member = await self._matrix.room_state(
                room_id, "m.room.member", party.user_id, user=creator
            )
        except MatrixRefused:
            return False  # it has left meanwhile
        return member is not None and member.get("membership") in ("invite", "join")

    async def _note_begun(self, party: Party) -> None:
        self._begun.add(party)
        await _briefly(self._table.begin(party), "a portal is made while the database is away")

    async def _forget_begun(self, party: Party) -> None:
        self._begun.discard(party)
        await _briefly(
            self._table.forget_begun(party),
            "that a portal was not made is noted at the next start",
        )


async def _briefly(work: Awaitable[None], otherwise: str) -> None:
    """Have the database do something, but no call wait for it long.

    Args:
        otherwise: for the log, what it means that it is away.
    """
    try:
        async with asyncio.timeout(CALL_LIMIT):
            await work
    except (DatabaseAway, TimeoutError):
        log.warning("%s", otherwise)


def _bridge_key(line: str, number: PhoneNumber) -> str:
    return f"ringback://{line}/{number.text or 'anonymous'}"


def _bridge_state(bot: str, ghost: str, line: str, number: PhoneNumber) -> list[dict[str, Any]]:
    """What the room is, for clients that show it (MSC2346), under both of its names."""
    content = {
        "bridgebot": bot,
        "creator": ghost,
        "protocol": {"id": "tel", "displayname": "Telephone"},
        "network": {"id": line, "displayname": line},
        "channel": {"id": number.text or "anonymous", "displayname": number.show()},
    }
    return [
        {"type": type_, "state_key": _bridge_key(line, number), "content": content}
        for type_ in ("m.bridge", "uk.half-shot.bridge")
    ]
