"""Ghosts: the Matrix users that stand for phone numbers.

A ghost is made when it is first needed and named after what the network or the number says. Its
user id can be computed from the number and back (`bridge.numbers`), so that a chat with a number
can be opened from any client by typing it.
"""

import asyncio
import logging
from collections import OrderedDict

from bridge.db.ghosts import GhostTable
from bridge.db.interface import DatabaseAway
from bridge.db.patience import CALL_LIMIT
from bridge.matrix.client import MatrixClient
from bridge.numbers import PhoneNumber, clean_name, from_localpart, to_localpart

log = logging.getLogger(__name__)

_MAX_KNOWN = 4096


class Ghosts:
    """Makes and names ghosts.

    Args:
        prefix: what their local parts begin with.
    """

    def __init__(self, *, matrix: MatrixClient, table: GhostTable, prefix: str) -> None:
        self._matrix = matrix
        self._table = table
        self._prefix = prefix
        self._names: OrderedDict[str, str] = OrderedDict()

    def user_id(self, number: PhoneNumber) -> str:
        return f"@{to_localpart(number, self._prefix)}:{self._matrix.domain}"

    def speaker(self, number: PhoneNumber) -> str:
        """Who says in the room of a number what we have to say there: its ghost, or the bot in the
        room of a group."""
        return self._matrix.bot_id if number.is_group else self.user_id(number)

    def number(self, user_id: str) -> PhoneNumber | None:
        """The number that a user stands for; None if it is no ghost of ours."""
        localpart, _, domain = user_id.removeprefix("@").partition(":")
        if domain != self._matrix.domain or not user_id.startswith("@"):
            return None
        return from_localpart(localpart, self._prefix)

    def is_ours(self, user_id: str) -> bool:
        """Whether this is a ghost or the bot."""
        return user_id == self._matrix.bot_id or self.number(user_id) is not None

    async def make(self, number: PhoneNumber) -> str:
        """Make sure that the ghost exists, and no more: the quickest way to let it act."""
        user_id = self.user_id(number)
        if number.text not in self._names:
            await self._matrix.ensure_user(user_id)
        return user_id

    async def name(self, number: PhoneNumber, name: str = "") -> str:
        """Make sure that the ghost exists and bears a name.

        Args:
            name: what the network says; without one a ghost keeps the name that it has.
        """
        try:
            async with asyncio.timeout(CALL_LIMIT):
                known = self._names.get(number.text) or await self._table.name(number.text)
        except (DatabaseAway, TimeoutError):
            log.info("a ghost keeps its name: the database, which knows that, is away")
            return await self.make(number)
        user_id = self.user_id(number)
        wanted = clean_name(name) or known or number.show()
        if wanted != known:
            await self._matrix.ensure_user(user_id, wanted)
            try:
                async with asyncio.timeout(CALL_LIMIT):
                    await self._table.put(number.text, wanted)
            except (DatabaseAway, TimeoutError):
                return user_id  # named again the next time
        self._names[number.text] = wanted
        self._names.move_to_end(number.text)
        while len(self._names) > _MAX_KNOWN:
            self._names.popitem(last=False)
        return user_id

    def shown(self, number: PhoneNumber, name: str = "") -> str:
        """How a caller is called in a sentence: name and number."""
        cleaned = clean_name(name)
        if not cleaned or cleaned in (number.show(), number.text):
            return number.show() if not number.is_anonymous else "a withheld number"
        return f"{cleaned} ({number.show()})"
