"""Opens the database: SQLite by default, PostgreSQL by URL; mautrix's pool speaks to both.

What is acknowledged must survive a power cut, so durability is set here and then asserted rather
than hoped for: WAL with `synchronous = FULL` on SQLite (mautrix's own default is NORMAL, under
which the last commits may be undone), `synchronous_commit` on PostgreSQL.

SQLite gets a single connection, so that writers queue up in the order in which they came instead of
failing as busy. Inside `async with db.acquire() as conn, conn.transaction():` everything that the
same task asks of `db` joins that transaction; so never start a task in there.
"""

import asyncio
import os
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, closing
from typing import Any, TypeVar, cast
from urllib.parse import quote

from mautrix.util.async_db import Connection, Database, Scheme

from bridge.db.upgrade import upgrade_table

_Result = TypeVar("_Result")
# PostgreSQL: more than the control process can keep busy.
_CONNECTIONS = 5


class DatabaseError(Exception):
    """The database cannot be used; the text is for a person."""


async def open(url: str) -> Database:
    """Connect, migrate and check durability.

    Args:
        url: `sqlite:PATH` or `postgres://user:password@host/name`.

    Raises:
        DatabaseError: no such place, no permission, made by a newer version, or not durable.
    """
    arguments: dict[str, Any]
    if url.startswith("sqlite:"):
        await asyncio.to_thread(_try_sqlite, url.removeprefix("sqlite:"))
        # Escaped, since mautrix takes the path of a URL and a file's name may hold anything.
        url = f"sqlite:{quote(url.removeprefix('sqlite:'))}"
        arguments = {
            "init_commands": [
                "PRAGMA foreign_keys = ON",
                "PRAGMA journal_mode = WAL",
                "PRAGMA synchronous = FULL",
                "PRAGMA busy_timeout = 5000",
            ]
        }
    else:
        arguments = {"min_size": 1, "max_size": _CONNECTIONS, "command_timeout": 30}
    database = Database.create(url, upgrade_table=upgrade_table, db_args=arguments)
    try:
        await database.start()
        await _assert_durable(database)
    except DatabaseError:
        await database.stop()
        raise
    except Exception as error:  # two drivers and mautrix: three families of errors
        await database.stop()
        raise DatabaseError(f"{type(error).__name__}: {error}") from error
    return database


def _try_sqlite(path: str) -> None:
    """See whether the file can be used at all.

    mautrix leaves a thread behind, which keeps the process from ever ending, when its connection
    fails half-way; so what can fail is made to fail here.
    """
    try:
        # People's messages are in there. SQLite gives its side files the mode of the main one.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()
    except OSError as error:
        raise DatabaseError(f"{path}: {error.strerror}") from error
    except sqlite3.Error as error:
        raise DatabaseError(f"{path}: {error}") from error


async def _assert_durable(database: Database) -> None:
    if database.scheme == Scheme.SQLITE:
        level = await database.fetchval("PRAGMA synchronous")
        mode = await database.fetchval("PRAGMA journal_mode")
        if level != 2 or mode != "wal":
            raise DatabaseError(f"SQLite is not durable: synchronous={level}, journal_mode={mode}")
    else:
        setting = await database.fetchval("SHOW synchronous_commit")
        if setting == "off":
            raise DatabaseError("PostgreSQL is not durable: synchronous_commit is off")


async def commit(database: Database, work: Callable[[Connection], Awaitable[_Result]]) -> _Result:
    """Do `work` in one transaction, to its end even if we are cancelled meanwhile.

    mautrix's SQLite transaction is neither committed nor rolled back when it is cancelled, which
    would leave the only connection inside of it for good.
    """

    async def transact() -> _Result:
        # mautrix annotates its context managers as what they yield.
        acquired: AbstractAsyncContextManager[Connection] = cast(Any, database.acquire())
        async with acquired as connection, cast(Any, connection.transaction()):
            return await work(connection)

    return await asyncio.shield(asyncio.create_task(transact()))
