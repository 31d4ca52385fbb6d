"""PostgreSQL, by a pool of asyncpg's connections.

A statement by itself is a transaction by itself, and one round trip. The server lets commits that
come together share an fsync, so several connections are worth having even for one process.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from bridge.db.interface import Connection, Database, DatabaseError, Result, Row, Work

# More than the control process can keep busy.
CONNECTIONS = 20
CONNECT_LIMIT = 5.0
# A statement takes a millisecond; beyond this the server hangs.
STATEMENT_LIMIT = 10.0

# The server is stopped, starts, stops, is a stand-by for now, or has no room (SQLSTATE classes 08,
# 40, 53, 57, 58).
_AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.TransactionRollbackError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresSystemError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


class PostgresDatabase(Database):
    """A database of a server."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._opened: asyncpg.Pool[asyncpg.Record] | None = None

    async def start(self) -> None:
        """Connect.

        Raises:
            DatabaseError: it cannot be reached, or is not durable.
        """
        try:
            self._opened = await asyncpg.create_pool(
                self._url,
                min_size=1,
                max_size=CONNECTIONS,
                timeout=CONNECT_LIMIT,
                command_timeout=STATEMENT_LIMIT,
                reset=_leave_as_it_is,
            )
            setting = await self.fetchval("SHOW synchronous_commit")
        except Exception as error:  # the driver has two families of errors, and the system a third
            await self.stop()
            raise DatabaseError(f"{type(error).__name__}: {error}") from error
        if setting == "off":
            await self.stop()
            raise DatabaseError("PostgreSQL is not durable: synchronous_commit is off")

    async def stop(self) -> None:
        """Finish what was asked for, within the limit, and close."""
        if self._opened is None:
            return
        try:
            async with asyncio.timeout(STATEMENT_LIMIT):
                await self._opened.close()
        except TimeoutError:
            self._opened.terminate()

    async def commit(self, work: Work[Result]) -> Result:
        async def transact(connection: "PoolConnectionProxy[asyncpg.Record]") -> Result:
            async with connection.transaction():
                return await work(cast(Connection, connection))

        return await asyncio.shield(asyncio.create_task(self._ask(transact)))

    async def write(self, query: str, *arguments: object) -> list[Row]:
        return await self.fetch(query, *arguments)

    async def fetch(self, query: str, *arguments: object) -> list[Row]:
        rows: list[Any] = await self._ask(lambda connection: connection.fetch(query, *arguments))
        return rows

    async def _ask(
        self, work: "Callable[[PoolConnectionProxy[asyncpg.Record]], Awaitable[Result]]"
    ) -> Result:
        assert self._opened is not None, "not started"
        try:
            async with self._opened.acquire(timeout=STATEMENT_LIMIT) as connection:
                result = await work(connection)
        except _AWAY as error:
            if isinstance(error, asyncpg.DataError | ValueError):
                raise  # what we asked with, and not the server
            raise self._note_away(f"{type(error).__name__}: {error}") from error
        self._note_there()
        return result


async def _leave_as_it_is(connection: object) -> None:
    """A connection that comes back has nothing to be reset: we set nothing on it."""
