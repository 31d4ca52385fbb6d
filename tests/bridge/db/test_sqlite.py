"""What is particular to SQLite: commits that share a transaction, and a file in trouble."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bridge.db import database as databases
from bridge.db import sqlite
from bridge.db.interface import Connection, Database, DatabaseAway


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.001)
    return tmp_path / "test.db"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    opened = await databases.open(f"sqlite:{path}")
    await opened.execute("CREATE TABLE t (n INTEGER UNIQUE)")
    yield opened
    await opened.stop()


@pytest.fixture
def other(path: Path, database: Database) -> Iterator[sqlite3.Connection]:
    """Another process's connection."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


async def numbers(database: Database) -> list[int]:
    return [row["n"] for row in await database.fetch("SELECT n FROM t ORDER BY n")]


async def test_what_comes_together_shares_few_commits(database: Database, path: Path) -> None:
    size = (path.parent / "test.db-wal").stat().st_size
    await asyncio.gather(*(database.execute("INSERT INTO t VALUES ($1)", n) for n in range(200)))
    # A commit writes each page that it changed: 200 commits would be 200 pages at the least.
    pages = ((path.parent / "test.db-wal").stat().st_size - size) / 4096
    assert pages < 20
    assert await numbers(database) == list(range(200))


async def test_a_failure_is_its_own_and_not_its_neighbours(database: Database) -> None:
    async def halfway(connection: Connection) -> None:
        await connection.execute("INSERT INTO t VALUES (50)")
        raise ZeroDivisionError

    outcomes = await asyncio.gather(
        database.execute("INSERT INTO t VALUES (1)"),
        database.commit(halfway),
        database.execute("INSERT INTO t VALUES (1)"),
        database.execute("INSERT INTO t VALUES (2)"),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [
        type(None),
        ZeroDivisionError,
        sqlite3.IntegrityError,
        type(None),
    ]
    assert await numbers(database) == [1, 2]


async def test_nobody_is_answered_before_the_commit(
    database: Database, other: sqlite3.Connection
) -> None:
    seen = []

    async def store(number: int) -> None:
        await database.execute("INSERT INTO t VALUES ($1)", number)
        seen.append(other.execute("SELECT COUNT(*) FROM t WHERE n = ?", [number]).fetchone()[0])

    await asyncio.gather(*(store(number) for number in range(20)))
    assert seen == [1] * 20


async def test_a_commit_that_fails_is_rolled_back(database: Database) -> None:
    await database.execute("CREATE TABLE parent (n INTEGER PRIMARY KEY)")
    await database.execute(
        "CREATE TABLE child (n INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED)"
    )
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
        await database.execute("INSERT INTO child VALUES (1)")
    # mautrix's wrapper stayed inside the transaction here, and each later one failed.
    await database.execute("INSERT INTO t VALUES (7)")
    assert await numbers(database) == [7]
    assert await database.fetch("SELECT * FROM child") == []


async def test_a_locked_file_is_away_and_comes_back(
    database: Database, other: sqlite3.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    other.execute("BEGIN IMMEDIATE")
    for number in range(3):
        with pytest.raises(DatabaseAway, match="locked"):
            await database.execute("INSERT INTO t VALUES ($1)", number)
    assert await numbers(database) == []  # reading goes on
    assert database.absences == 3
    other.execute("ROLLBACK")
    await database.execute("INSERT INTO t VALUES (1)")
    assert await numbers(database) == [1]
    said = [record.getMessage() for record in caplog.records]
    assert [line for line in said if "away" in line] == ["the database is away: database is locked"]


async def test_a_full_disk_is_away_and_comes_back(database: Database) -> None:
    size = await database.fetchval("PRAGMA page_count")
    await database.fetch(f"PRAGMA max_page_count = {size}")
    text = "x" * 100_000
    with pytest.raises(DatabaseAway, match="full"):
        await database.execute("INSERT INTO poll VALUES ('road', $1)", text)
    await database.fetch("PRAGMA max_page_count = 100000")
    await database.execute("INSERT INTO poll VALUES ('road', $1)", text)
    assert await database.fetchval("SELECT LENGTH(cursor) FROM poll") == 100_000


def test_a_file_that_vanished_is_not_made_anew(path: Path) -> None:
    file = sqlite._File(str(path))
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        file.open()
    assert not path.exists()


async def test_work_that_waits_for_anything_else_is_refused(database: Database) -> None:
    async def wait(connection: Connection) -> None:
        await connection.execute("INSERT INTO t VALUES (1)")
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="not the database"):
        await database.commit(wait)
    assert await numbers(database) == []


async def test_too_much_that_waits_is_refused(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "MAX_WAITING", 3)
    outcomes = await asyncio.gather(
        *(database.execute("INSERT INTO t VALUES ($1)", n) for n in range(5)),
        return_exceptions=True,
    )
    assert [isinstance(outcome, DatabaseAway) for outcome in outcomes] == [False] * 3 + [True] * 2
    assert await numbers(database) == [0, 1, 2]


async def test_stop_finishes_what_was_asked_for(path: Path) -> None:
    opened = await databases.open(f"sqlite:{path}")
    asked = asyncio.create_task(opened.execute("CREATE TABLE kept (n INTEGER)"))
    await asyncio.sleep(0)
    await opened.stop()
    await asked
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT COUNT(*) FROM kept").fetchone() == (0,)
