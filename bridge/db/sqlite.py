"""SQLite, with commits that share their way to the disk.

A commit costs an fsync, and everything else in it next to nothing. So there is one connection, in
one thread, and what is asked for while it is busy waits and is done in one transaction:

    waiting: work, work, work ──▶ BEGIN, (SAVEPOINT, work, RELEASE)…, COMMIT ──▶ each is answered

Each piece of work has a savepoint, so that one's failure is its own, and hears of its success after
the COMMIT only. The work is written once for both databases, as coroutines that await the
connection: here its methods never really wait, so the thread runs each to its end in one go.

mautrix's wrapper, which makes the tables, was not enough beyond that: a thread turn for each
statement and another for each of its cursor's steps, one transaction at a time, and a COMMIT that
fails is not rolled back, which leaves the only connection inside of it.
"""

import asyncio
import functools
import os
import re
import sqlite3
from collections import deque
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from bridge.db.interface import Connection, Database, DatabaseError, Result, Row, Work

# How long another process may hold the lock before we say that the database is away.
BUSY_SECONDS = 5.0
# What waits for the thread; more is a disk that cannot keep up.
MAX_WAITING = 10_000
# Done in one transaction, so that the first does not wait for a crowd behind it.
MAX_TOGETHER = 256

# The file is locked, the disk full or in trouble, or its file system read-only.
_AWAY = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PROTOCOL,
    }
)


@dataclass(frozen=True, slots=True)
class _Job:
    work: Work[Any]
    writes: bool
    answer: asyncio.Future[Any]


class SqliteDatabase(Database):
    """One file, one connection, one thread."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._file = _File(path)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="database")
        self._waiting: deque[_Job] = deque()
        self._working: asyncio.Task[None] | None = None
        self._is_open = False

    async def start(self) -> None:
        """Open the file, which is there and has its tables.

        Raises:
            DatabaseError: it cannot be opened, or would not be durable.
        """
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._file.open)
        except (sqlite3.Error, DatabaseError) as error:
            self._thread.shutdown()
            raise DatabaseError(str(error)) from error
        self._is_open = True

    async def stop(self) -> None:
        """Finish what was asked for, and close."""
        self._is_open = False
        if self._working is not None:
            await asyncio.wait({self._working})
        await asyncio.get_running_loop().run_in_executor(self._thread, self._file.close)
        self._thread.shutdown()

    async def commit(self, work: Work[Result]) -> Result:
        return await self._ask(work, writes=True)

    async def write(self, query: str, *arguments: object) -> list[Row]:
        return await self._ask(_Statement(query, arguments), writes=True)

    async def fetch(self, query: str, *arguments: object) -> list[Row]:
        return await self._ask(_Statement(query, arguments), writes=False)

    async def _ask(self, work: Work[Result], *, writes: bool) -> Result:
        if not self._is_open:
            raise RuntimeError("the database is closed")
        if len(self._waiting) >= MAX_WAITING:
            raise self._note_away("it is too slow: too much waits for it")
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Job(work, writes, answer))
        if self._working is None:
            self._working = asyncio.create_task(self._work_off(), name="database")
        return await answer

    async def _work_off(self) -> None:
        """Hand to the thread what waits, until nothing does."""
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                together = min(len(self._waiting), MAX_TOGETHER)
                jobs = [self._waiting.popleft() for _ in range(together)]
                outcomes = await loop.run_in_executor(self._thread, self._file.do, jobs)
                for job, outcome in zip(jobs, outcomes, strict=True):
                    self._answer(job, outcome)
        finally:
            self._working = None

    def _answer(self, job: _Job, outcome: Any) -> None:
        error: BaseException | None = outcome if isinstance(outcome, Exception) else None
        if error is not None and _is_away(error):
            away = self._note_away(str(error))
            away.__cause__ = error
            error = away
        elif error is None and job.writes:  # a locked file can be read
            self._note_there()
        if job.answer.done():
            return  # nobody waits for it any more
        if error is None:
            job.answer.set_result(outcome)
        else:
            job.answer.set_exception(error)


@dataclass(frozen=True, slots=True)
class _Statement:
    """A piece of work that is one statement."""

    query: str
    arguments: tuple[object, ...]

    async def __call__(self, connection: Connection) -> list[Row]:
        return await connection.fetch(self.query, *self.arguments)


class _File:
    """The thread's side; only the thread calls it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def open(self) -> sqlite3.Connection:
        """The connection, made again if it had to be dropped."""
        if self._connection is None:
            # "rw": a file that has vanished is trouble, and not to be made anew without its tables.
            address = f"file:{quote(os.path.abspath(self._path))}?mode=rw"
            made = sqlite3.connect(address, uri=True, isolation_level=None, timeout=BUSY_SECONDS)
            try:
                _make_durable(made)
            except BaseException:
                made.close()
                raise
            made.row_factory = sqlite3.Row
            self._connection = made
        return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def do(self, jobs: Sequence[_Job]) -> list[Any]:
        """Do them: what each returns, or the exception that it raised. Reads go first, because
        nobody who reads should have to wait for the disk."""
        outcomes: dict[int, Any] = {}
        writes = [index for index, job in enumerate(jobs) if job.writes]
        for index, job in enumerate(jobs):
            if not job.writes:
                outcomes[index] = self._read(job.work)
        if writes:
            done = self._write([jobs[index].work for index in writes])
            outcomes |= zip(writes, done, strict=True)
        return [outcomes[index] for index in range(len(jobs))]

    def _read(self, work: Work[Any]) -> Any:
        try:
            return _run(work, _Inside(self.open()))
        except Exception as error:  # noqa: BLE001 (it is raised to the one who asked)
            self._drop_if_broken(error)
            return error

    def _write(self, works: Sequence[Work[Any]]) -> list[Any]:
        """All in one transaction; if that fails as a whole, each has failed."""
        try:
            connection = self.open()
            connection.execute("BEGIN IMMEDIATE")
            inside = _Inside(connection)
            outcomes = [_savepoint(connection, work, inside) for work in works]
            connection.execute("COMMIT")
            return outcomes
        except Exception as error:  # noqa: BLE001 (it is raised to those who asked)
            self._roll_back()
            self._drop_if_broken(error)
            return [error] * len(works)

    def _roll_back(self) -> None:
        """Leave the transaction, if SQLite has not done so itself."""
        if self._connection is None or not self._connection.in_transaction:
            return
        try:
            self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            self.close()  # and with the connection its transaction is gone

    def _drop_if_broken(self, error: Exception) -> None:
        """A connection that had trouble with its file is made again the next time."""
        if _code(error) in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            self.close()


class _Inside:
    """The connection as the work sees it. Nothing here ever suspends."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def execute(self, query: str, *arguments: object) -> None:
        self._connection.execute(_translated(query), arguments).close()

    async def fetch(self, query: str, *arguments: object) -> list[Any]:
        with closing(self._connection.execute(_translated(query), arguments)) as cursor:
            return cursor.fetchall()

    async def fetchrow(self, query: str, *arguments: object) -> Any:
        rows = await self.fetch(query, *arguments)
        return rows[0] if rows else None

    async def fetchval(self, query: str, *arguments: object) -> Any:
        row = await self.fetchrow(query, *arguments)
        return None if row is None else row[0]


def _savepoint(connection: sqlite3.Connection, work: Work[Any], inside: Connection) -> Any:
    """Do one piece of work: what it returns, or the exception after which nothing is left of it."""
    connection.execute("SAVEPOINT work")
    outcome: Any
    try:
        outcome = _run(work, inside)
    except Exception as error:
        if _is_away(error) or not connection.in_transaction:
            raise  # the transaction is lost, and the others with it
        connection.execute("ROLLBACK TO work")
        outcome = error
    connection.execute("RELEASE work")
    return outcome


def _run(work: Work[Result], connection: Connection) -> Result:
    """Run a coroutine that never waits."""
    coroutine: Coroutine[Any, Any, Result] = work(connection)
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: Result = end.value
        return result
    coroutine.close()
    raise RuntimeError("a transaction waits for something that is not the database")


def _make_durable(connection: sqlite3.Connection) -> None:
    """WAL with an fsync at each commit: asserted, since a build of SQLite may be without."""
    for command in ("foreign_keys = ON", "journal_mode = WAL", "synchronous = FULL"):
        connection.execute(f"PRAGMA {command}").close()
    level = connection.execute("PRAGMA synchronous").fetchone()[0]
    mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
    if level != 2 or mode != "wal":
        raise DatabaseError(f"SQLite is not durable: synchronous={level}, journal_mode={mode}")


def _code(error: BaseException) -> int:
    """SQLite's primary result code, -1 if it is not SQLite's error."""
    code = getattr(error, "sqlite_errorcode", None)
    return code & 0xFF if isinstance(code, int) else -1


def _is_away(error: BaseException) -> bool:
    return _code(error) in _AWAY


@functools.lru_cache(maxsize=256)
def _translated(query: str) -> str:
    """With places as SQLite numbers them."""
    return re.sub(r"\$(\d+)", r"?\1", query)
