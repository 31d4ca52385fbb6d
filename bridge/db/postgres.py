"""PostgreSQL, over a few connections of asyncpg's that share what waits.

A statement by itself is a transaction by itself, one round trip and one fsync. Each connection has
a task, its lane, that takes what waits for as long as anything does. While all lanes are busy more
comes to wait, and then a lane takes all of the same statement at once: one write to the socket, one
transaction, one fsync, and each is answered after the commit. If such a crowd fails, each of it is
tried alone, so that a failure is its own.

asyncpg's pool was not enough: it is as long about handing a connection out and taking it back as
the statement takes, and cannot let statements share a commit.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, cast

import asyncpg

from bridge.db.interface import Connection, Database, DatabaseError, Result, Row, Work

log = logging.getLogger(__name__)

# Few, so that much waits for them at once and shares its commit; more only when one is slow.
CONNECTIONS = 4
CONNECT_LIMIT = 5.0
# A statement takes a millisecond; beyond this the server hangs.
STATEMENT_LIMIT = 10.0
# A connection that was idle for longer may be gone without a word.
IDLE_LIMIT = 300.0
# What waits for the lanes; more is a server that cannot keep up.
MAX_WAITING = 10_000
# In one transaction, so that the first does not wait for a crowd behind it.
MAX_TOGETHER = 100

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


class _Kind(Enum):
    WORK = "a transaction of several statements"
    ROWS = "a statement and all its rows"
    ROW = "a statement about one row, which its first argument and first column name"
    NOTHING = "a statement without rows"


@dataclass(frozen=True, slots=True)
class _Job:
    """What somebody waits for: a piece of work, or a statement."""

    kind: _Kind
    answer: asyncio.Future[Any]
    work: Work[Any] | None = None
    query: str = ""
    arguments: tuple[object, ...] = ()


class PostgresDatabase(Database):
    """A database of a server.

    Args:
        before_connecting: what it raises is a failure to connect.
    """

    def __init__(
        self, url: str, *, before_connecting: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        super().__init__()
        self._url = url
        self._before_connecting = before_connecting
        self._waiting: deque[_Job] = deque()
        # Since when each is idle, by the loop's clock.
        self._idle: list[tuple[asyncpg.Connection[asyncpg.Record], float]] = []
        self._lanes: set[asyncio.Task[None]] = set()
        self._is_open = False

    async def start(self) -> None:
        """Connect.

        Raises:
            DatabaseError: it cannot be reached, or is not durable.
        """
        self._is_open = True
        try:
            setting = await self.fetchval("SHOW synchronous_commit")
            fsync = await self.fetchval("SHOW fsync")
        except Exception as error:  # the driver has two families of errors, and the system a third
            await self.stop()
            cause = error.__cause__ or error
            raise DatabaseError(f"{type(cause).__name__}: {cause}") from error
        if setting == "off":
            await self.stop()
            raise DatabaseError("PostgreSQL is not durable: synchronous_commit is off")
        if fsync == "off":  # of the whole server, whose owner must have meant it
            log.warning("PostgreSQL runs without fsync: a power cut can lose texts and more")

    async def stop(self) -> None:
        """Finish what was asked for, within the limit, and close."""
        self._is_open = False
        if self._lanes:
            await asyncio.wait(self._lanes, timeout=STATEMENT_LIMIT)
        for lane in self._lanes:
            lane.cancel()
        await asyncio.gather(*self._lanes, return_exceptions=True)
        while self._idle:
            connection, _ = self._idle.pop()
            try:
                await connection.close(timeout=1.0)
            except _AWAY:
                connection.terminate()

    async def commit(self, work: Work[Result]) -> Result:
        result: Result = await self._ask(_Kind.WORK, work=work)
        return result

    async def write(self, query: str, *arguments: object) -> list[Row]:
        rows: list[Row] = await self._ask(_Kind.ROWS, query=query, arguments=arguments)
        return rows

    async def change(self, query: str, key: str, *arguments: object) -> Row | None:
        row: Row | None = await self._ask(_Kind.ROW, query=query, arguments=(key, *arguments))
        return row

    async def execute(self, query: str, *arguments: object) -> None:
        await self._ask(_Kind.NOTHING, query=query, arguments=arguments)

    async def fetch(self, query: str, *arguments: object) -> list[Row]:
        return await self.write(query, *arguments)

    async def _ask(
        self,
        kind: _Kind,
        *,
        work: Work[Any] | None = None,
        query: str = "",
        arguments: tuple[object, ...] = (),
    ) -> Any:
        if not self._is_open:
            raise RuntimeError("the database is closed")
        if len(self._waiting) >= MAX_WAITING:
            raise self._note_away("it is too slow: too much waits for it")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        self._waiting.append(_Job(kind, answer, work, query, arguments))
        if len(self._lanes) < CONNECTIONS:
            lane = loop.create_task(self._work_off(), name="database")
            self._lanes.add(lane)
            lane.add_done_callback(self._lanes.discard)
        return await answer

    # --- lanes

    async def _work_off(self) -> None:
        """Do what waits, until nothing does."""
        connection = self._take_idle()
        try:
            while self._waiting:
                jobs = self._take()
                try:
                    if connection is None or connection.is_closed():
                        connection = await self._connect()
                    await _do(connection, jobs)
                    self._note_there()
                except _AWAY as error:
                    if connection is None or connection.is_closed() or _is_silent(error):
                        # All that waits would only find the same, and later.
                        jobs += self._waiting
                        self._waiting.clear()
                    self._refuse(jobs, error)
                    if connection is not None:
                        connection.terminate()
                        connection = None
                except Exception as error:  # noqa: BLE001 (it is raised to those who asked)
                    for job in jobs:
                        if not job.answer.done():
                            job.answer.set_exception(error)
        finally:
            if connection is not None:
                self._idle.append((connection, asyncio.get_running_loop().time()))

    def _take_idle(self) -> "asyncpg.Connection[asyncpg.Record] | None":
        """The connection that was used last, if something on the way may not have dropped it."""
        if not self._idle:
            return None
        connection, since = self._idle.pop()
        if asyncio.get_running_loop().time() - since <= IDLE_LIMIT:
            return connection
        connection.terminate()
        return None

    async def _connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        try:
            if self._before_connecting is not None:
                await self._before_connecting()
            made: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(
                self._url, timeout=CONNECT_LIMIT, command_timeout=STATEMENT_LIMIT
            )
        except asyncpg.PostgresError as error:  # it refuses us, which its owner can mend
            raise ConnectionError(f"{type(error).__name__}: {error}") from error
        return made

    def _take(self) -> list[_Job]:
        """The first that waits, and all that can share its transaction."""
        first = self._waiting.popleft()
        jobs = [first]
        if first.kind not in (_Kind.ROW, _Kind.NOTHING):
            return jobs
        keys, left = {first.arguments[:1]}, []
        while self._waiting and len(jobs) < MAX_TOGETHER:
            job = self._waiting.popleft()
            same = job.kind is first.kind and job.query == first.query
            if same and job.arguments[:1] not in keys:  # the rows are told apart by it
                keys.add(job.arguments[:1])
                jobs.append(job)
            else:
                left.append(job)
        self._waiting.extendleft(reversed(left))
        return jobs

    def _refuse(self, jobs: Sequence[_Job], error: Exception) -> None:
        for job in jobs:
            if not job.answer.done():
                away = self._note_away(f"{type(error).__name__}: {error}")
                away.__cause__ = error
                job.answer.set_exception(away)


async def _do(connection: "asyncpg.Connection[asyncpg.Record]", jobs: Sequence[_Job]) -> None:
    """Do these together and answer them.

    Raises:
        one of `_AWAY`: those that have no answer yet were not done, or nobody knows.
    """
    if len(jobs) > 1:
        try:
            await _do_together(connection, jobs)
            return
        except Exception as error:
            if _is_away(error):
                raise
    for job in jobs:
        try:
            outcome = await _do_alone(connection, job)
        except Exception as error:
            if _is_away(error):
                raise
            if not job.answer.done():
                job.answer.set_exception(error)
        else:
            if not job.answer.done():
                job.answer.set_result(outcome)


async def _do_together(
    connection: "asyncpg.Connection[asyncpg.Record]", jobs: Sequence[_Job]
) -> None:
    """The same statement for each, in one transaction."""
    query, arguments = jobs[0].query, [job.arguments for job in jobs]
    rows: dict[object, Row] = {}
    if jobs[0].kind is _Kind.NOTHING:
        await connection.executemany(query, arguments)
    else:
        rows = {row[0]: row for row in await connection.fetchmany(query, arguments)}
    for job in jobs:
        if not job.answer.done():
            job.answer.set_result(rows.get(job.arguments[0]) if job.arguments else None)


async def _do_alone(connection: "asyncpg.Connection[asyncpg.Record]", job: _Job) -> Any:
    if job.work is not None:
        async with connection.transaction():
            return await job.work(cast(Connection, connection))
    if job.kind is _Kind.NOTHING:
        await connection.execute(job.query, *job.arguments)
        return None
    rows = await connection.fetch(job.query, *job.arguments)
    if job.kind is _Kind.ROWS:
        return rows
    return rows[0] if rows else None


def _is_away(error: BaseException) -> bool:
    # Of the driver's own errors those about what we asked with are ValueErrors as well.
    return isinstance(error, _AWAY) and not isinstance(error, ValueError)


def _is_silent(error: BaseException) -> bool:
    return isinstance(error, TimeoutError)
