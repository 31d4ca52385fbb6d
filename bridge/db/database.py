"""Opens the database: SQLite by default, PostgreSQL by URL.

What is acknowledged must survive a power cut, so durability is set and then asserted rather than
hoped for: WAL with `synchronous = FULL` on SQLite, `synchronous_commit` on PostgreSQL. mautrix
makes the tables and remembers their version; what is asked later goes by `bridge.db.sqlite` and
`bridge.db.postgres`.
"""

import asyncio
import os
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from urllib.parse import quote

from mautrix.util import async_db

from bridge.db.interface import Database, DatabaseError
from bridge.db.postgres import PostgresDatabase
from bridge.db.sqlite import SqliteDatabase
from bridge.db.upgrade import upgrade_table

__all__ = ["Database", "DatabaseError", "open"]


async def open(
    url: str, *, before_connecting: Callable[[], Awaitable[None]] | None = None
) -> Database:
    """Connect, migrate and check durability.

    Args:
        url: `sqlite:PATH` or `postgres://user:password@host/name`.
        before_connecting: to a server; what it raises is a failure to connect. Where nothing but
            us should use the database: `bridge.db.claim.Claim.hold`.

    Raises:
        DatabaseError: no such place, no permission, made by a newer version, or not durable.
    """
    database: SqliteDatabase | PostgresDatabase
    if url.startswith("sqlite:"):
        path = url.removeprefix("sqlite:")
        await asyncio.to_thread(_try_sqlite, path)
        # Escaped, since mautrix takes the path of a URL and a file's name may hold anything.
        await _migrate(f"sqlite:{quote(path)}")
        database = SqliteDatabase(path)
    else:
        await _migrate(url)
        database = PostgresDatabase(url, before_connecting=before_connecting)
    await database.start()
    return database


async def _migrate(url: str) -> None:
    """Bring the tables to our version."""
    is_sqlite = url.startswith("sqlite:")
    # Its default on SQLite is a migration that a power cut may undo.
    arguments = (
        {"init_commands": ["PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL"]}
        if is_sqlite
        else {"min_size": 1, "max_size": 1, "command_timeout": 600}
    )
    database = async_db.Database.create(url, upgrade_table=upgrade_table, db_args=arguments)
    try:
        await database.start()
    except Exception as error:  # two drivers and mautrix: three families of errors
        raise DatabaseError(f"{type(error).__name__}: {error}") from error
    finally:
        await database.stop()


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
