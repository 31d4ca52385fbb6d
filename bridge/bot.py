"""The bot: its direct chats with users, where it takes commands and says what concerns a line.

A user has one such chat that we speak in: the one opened last. It is made when we have something to
say and there is none.
"""

import asyncio
import logging
from collections.abc import Collection

from bridge.db.interface import DatabaseAway
from bridge.db.portals import BotRoomTable
from bridge.matrix.client import MatrixClient
from bridge.matrix.homeserver import MatrixError, MatrixRefused
from bridge.txn import txn_id

log = logging.getLogger(__name__)

NAME = "Ringback"


class Bot:
    """The bot's own rooms."""

    def __init__(self, *, matrix: MatrixClient, table: BotRoomTable) -> None:
        self._matrix = matrix
        self._table = table
        self._rooms: dict[str, str] = {}
        self._making = asyncio.Lock()  # or two who speak to one user at once make two rooms
        # What the database does not know yet, by room; None for one that was left.
        self._unsaved: dict[str, str | None] = {}

    @property
    def user_id(self) -> str:
        return self._matrix.bot_id

    async def start(self) -> None:
        """Read what earlier runs have made, and name the bot."""
        self._rooms = await self._table.all()
        await self._matrix.ensure_user(self.user_id, NAME)

    @property
    def rooms(self) -> Collection[str]:
        """Of direct chats with users."""
        return self._rooms.values()

    def user_in(self, room_id: str) -> str | None:
        """Whose direct chat this room is; None if it is none."""
        return next((user for user, room in self._rooms.items() if room == room_id), None)

    async def join(self, room_id: str, user: str) -> None:
        """Take a user's invitation: from now on this is their chat with us."""
        await self._matrix.join(room_id, self.user_id)
        await self._keep(user, room_id)

    async def forget(self, room_id: str) -> None:
        """The user left."""
        user = self.user_in(room_id)
        if user is not None:
            del self._rooms[user]
            self._unsaved[room_id] = None
            await self._try_to_save()

    async def answer(self, room_id: str, text: str, *, to: str) -> None:
        """Answer the event `to`; the same answer again is said once."""
        txn = txn_id("answer", to)
        await self._matrix.send_notice(room_id, text, sender=self.user_id, txn_id=txn)

    async def say(self, user: str, text: str, *, key: str) -> None:
        """Say something to a user, in a room that is made for it if need be; logs a failure.

        Args:
            key: what it is about; the same again is said once.
        """
        try:
            room_id = await self._room(user)
            txn = txn_id("say", key, user)
            try:
                await self._matrix.send_notice(room_id, text, sender=self.user_id, txn_id=txn)
            except MatrixRefused as error:
                if not error.is_of_room:
                    raise
                room_id = await self._room(user, instead_of=room_id)
                await self._matrix.send_notice(room_id, text, sender=self.user_id, txn_id=txn)
        except MatrixError as error:
            log.warning("a user could not be told something: %s", error)

    async def _room(self, user: str, *, instead_of: str | None = None) -> str:
        """The user's chat with us, made if there is none besides one that we are out of."""
        async with self._making:
            room_id = self._rooms.get(user)
            if room_id is None or room_id == instead_of:
                room_id = await self._matrix.create_room(
                    creator=self.user_id, name=NAME, invite=[user], is_direct=True
                )
                await self._keep(user, room_id)
            return room_id

    async def _keep(self, user: str, room_id: str) -> None:
        self._rooms[user] = room_id
        self._unsaved[room_id] = user
        await self._try_to_save()

    async def save(self) -> None:
        """Write what the database does not know yet.

        Raises:
            DatabaseAway: it is still away.
        """
        for room_id, user in list(self._unsaved.items()):
            if user is None:
                await self._table.delete(room_id)
            else:
                await self._table.put(user, room_id)
            if self._unsaved.get(room_id, user) == user:
                self._unsaved.pop(room_id, None)

    async def _try_to_save(self) -> None:
        try:
            await self.save()
        except DatabaseAway as error:
            log.warning("a room is in memory alone, until the database is back: %s", error)
