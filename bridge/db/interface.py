"""What the repositories need of a database, be it `bridge.db.sqlite` or `bridge.db.postgres`.

A database that is away, because it is stopped, locked or full, says so by an exception of its own:
what was asked may be asked again, and will work some time. It is told apart from every other
failure, which would be the same the next time.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

log = logging.getLogger(__name__)

Result = TypeVar("Result")


class DatabaseError(Exception):
    """The database cannot be used; the text is for a person."""


class DatabaseAway(DatabaseError):
    """The database cannot do it now; the text is for a person.

    What was asked for was not done, or nobody can say whether it was: PostgreSQL may have committed
    and gone before it said so.
    """


class Row(Protocol):
    """A row of an answer; columns by name or by place."""

    def __getitem__(self, key: Any, /) -> Any: ...


class Connection(Protocol):
    """Asks within one transaction. Places in a query are written `$1`, `$2`."""

    async def execute(self, query: str, *arguments: object) -> object: ...

    async def fetch(self, query: str, *arguments: object) -> list[Any]: ...

    async def fetchrow(self, query: str, *arguments: object) -> Any: ...

    async def fetchval(self, query: str, *arguments: object) -> Any: ...


Work = Callable[[Connection], Coroutine[Any, Any, Result]]


class Database(ABC):
    """Reads, and commits so that it is on the disk.

    Attributes:
        absences: how many questions found it away; it grows.
        trouble: why it is away, as far as the last question knows; "" while it is there.
    """

    def __init__(self) -> None:
        self.absences = 0
        self.trouble = ""

    @abstractmethod
    async def commit(self, work: Work[Result]) -> Result:
        """Do `work` in one transaction, to its end even if we are cancelled meanwhile.

        Args:
            work: awaits nothing but the connection, touches nothing that others touch, and may be
                done in another thread.

        Raises:
            DatabaseAway: nothing of it was done, or it is not known.
        """

    @abstractmethod
    async def write(self, query: str, *arguments: object) -> list[Row]:
        """One statement in a transaction of its own; returns what its RETURNING gives.

        Raises:
            DatabaseAway: it was not done, or it is not known.
        """

    async def change(self, query: str, key: str, *arguments: object) -> Row | None:
        """One statement about one row, which may share its commit with others of its kind.

        Args:
            query: its first place and the first column that it returns are the row's key.

        Returns:
            What it returns; None if it did nothing.

        Raises:
            DatabaseAway: it was not done, or it is not known.
        """
        rows = await self.write(query, key, *arguments)
        return rows[0] if rows else None

    @abstractmethod
    async def fetch(self, query: str, *arguments: object) -> list[Row]:
        """Read what is committed.

        Raises:
            DatabaseAway: ask again later.
        """

    @abstractmethod
    async def stop(self) -> None:
        """Finish what was asked for, and close."""

    async def execute(self, query: str, *arguments: object) -> None:
        """One statement whose rows nobody wants; it may share its commit with others of its kind.

        Raises:
            DatabaseAway: it was not done, or it is not known.
        """
        await self.write(query, *arguments)

    async def fetchrow(self, query: str, *arguments: object) -> Row | None:
        """The first row, None if there is none."""
        rows = await self.fetch(query, *arguments)
        return rows[0] if rows else None

    async def fetchval(self, query: str, *arguments: object) -> Any:
        """The first column of the first row, None if there is none."""
        row = await self.fetchrow(query, *arguments)
        return None if row is None else row[0]

    def _note_away(self, reason: str) -> DatabaseAway:
        """Count an absence; returns what to raise. Said in the log once for each time."""
        self.absences += 1
        if not self.trouble:
            log.error("the database is away: %s", reason)
        self.trouble = reason
        return DatabaseAway(reason)

    def _note_there(self) -> None:
        if self.trouble:
            log.warning("the database is back")
            self.trouble = ""
