"""One bridge at a time has a database.

Two that share one would send each other's texts a second time. So a start claims the database
before it touches anything, and keeps the claim for as long as it runs:

    SQLite        a lock on a file beside it (`flock`), which the kernel drops with the process
    PostgreSQL    an advisory lock of a connection that does nothing else, which the server drops
                  with the connection

A server that was stopped has forgotten the claim. No other connection is made again before that one
is, so that nothing is asked of a database that may be another's by now; if it stays another's, we
have lost it for good and end.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable

import asyncpg

from bridge.db.interface import DatabaseError
from bridge.task import Tasks

log = logging.getLogger(__name__)

# Until a claim that is taken ends a start, or us. One that was killed with its machine, or cut off
# from the server, keeps it until the server has noticed; see `_KEEPALIVE`.
PATIENCE = 15.0
PAUSE = 0.5  # seconds between two attempts
CONNECT_LIMIT = 5.0
# "Ring"; of the two halves of a lock's number the one that says that it is ours.
_KEY = 0x52696E67
_LOCK = "SELECT pg_try_advisory_lock($1, hashtext(current_schema()))"
# Has the server notice within some eleven seconds that our machine is gone; its default is hours.
_KEEPALIVE = (
    "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3"
)


class DatabaseTaken(DatabaseError):
    """Another bridge uses the database; the text is for a person."""

    def __init__(self) -> None:
        super().__init__("another Ringback uses this database")


class Claim(ABC):
    """On one database.

    Args:
        sleep: waits between attempts; replaced by tests.

    Attributes:
        lost: set when another bridge has taken what was ours.
    """

    def __init__(self, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self.lost = asyncio.Event()
        self._sleep = sleep

    async def take(self) -> None:
        """Claim it, before it is opened.

        Raises:
            DatabaseTaken: another bridge has it, and does not end within `PATIENCE`.
            DatabaseError: it cannot be reached.
        """
        waited = 0.0
        while not await self._try():
            if waited >= PATIENCE:
                raise DatabaseTaken
            if not waited:
                log.warning("another Ringback uses this database; waiting %g s for it", PATIENCE)
            await self._sleep(PAUSE)
            waited += PAUSE

    @abstractmethod
    async def hold(self) -> None:
        """Make sure that it is ours still.

        Raises:
            OSError, TimeoutError, asyncpg.PostgresError: it is not, or nobody knows.
        """

    @abstractmethod
    async def release(self) -> None:
        """Let others have it; nothing if it is not ours."""

    @abstractmethod
    async def _try(self) -> bool:
        """Whether it is ours now."""


def claim_on(url: str) -> Claim:
    """The claim on a database; see `bridge.db.database.open` for its URL."""
    if url.startswith("sqlite:"):
        return FileClaim(url.removeprefix("sqlite:"))
    return ServerClaim(url)


class FileClaim(Claim):
    """On a database that is a file.

    Its own file is locked and not the database: whoever closes that, by whichever descriptor, drops
    SQLite's locks on it.
    """

    def __init__(
        self, path: str, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        super().__init__(sleep=sleep)
        self._path = os.path.realpath(path) + ".lock"
        self._file: int | None = None

    async def hold(self) -> None:
        """What the kernel holds for us nobody else can take."""

    async def release(self) -> None:
        if self._file is not None:
            os.close(self._file)  # the file stays: somebody may be about to lock it
            self._file = None

    async def _try(self) -> bool:
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise DatabaseError(f"{self._path}: {error.strerror}") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        except OSError as error:
            os.close(file)
            raise DatabaseError(f"{self._path} cannot be locked: {error.strerror}") from error
        self._file = file
        return True


class ServerClaim(Claim):
    """On a database of a PostgreSQL server: on one schema of it."""

    def __init__(
        self, url: str, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        super().__init__(sleep=sleep)
        self._url = url
        self._lock = asyncio.Lock()
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._refused_at: float | None = None  # since when it is another's, by the loop's clock
        self._tasks = Tasks()

    async def release(self) -> None:
        await self._tasks.stop()
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await connection.close(timeout=1.0)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                connection.terminate()

    async def hold(self) -> None:
        async with self._lock:
            if self.lost.is_set():
                raise ConnectionError(str(DatabaseTaken()))
            if self._connection is not None and not self._connection.is_closed():
                return
            connection = await self._locked()
            if connection is None:
                self._note_refusal()
                raise ConnectionError(str(DatabaseTaken()))
            self._refused_at = None
            self._keep(connection)

    async def _try(self) -> bool:
        try:
            connection = await self._locked()
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise DatabaseError(f"{type(error).__name__}: {error}") from error
        if connection is not None:
            self._keep(connection)
        return connection is not None

    async def _locked(self) -> "asyncpg.Connection[asyncpg.Record] | None":
        """A connection that has the lock; None if it is another's."""
        connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(
            self._url, timeout=CONNECT_LIMIT, command_timeout=CONNECT_LIMIT
        )
        try:
            await connection.execute(_KEEPALIVE)
            if await connection.fetchval(_LOCK, _KEY):
                return connection
        except BaseException:
            connection.terminate()
            raise
        await connection.close(timeout=CONNECT_LIMIT)
        return None

    def _note_refusal(self) -> None:
        """Whoever has it may be ourselves: a server does not notice at once that a connection broke
        on the way."""
        now = asyncio.get_running_loop().time()
        if self._refused_at is None:
            self._refused_at = now
        if now - self._refused_at >= PATIENCE:
            log.error("another Ringback has taken the database while it was away")
            self.lost.set()

    def _keep(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection
        connection.add_termination_listener(self._ended)

    def _ended(self, connection: object) -> None:
        if connection is self._connection:
            self._connection = None
            self._tasks.start("claim", self._take_again())

    async def _take_again(self) -> None:
        """Be the first to lock it when the server is back; so that no other is, it does not wait
        until somebody asks for something."""
        while not self.lost.is_set():
            with contextlib.suppress(
                OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError
            ):
                await self.hold()
                return
            await self._sleep(PAUSE)
