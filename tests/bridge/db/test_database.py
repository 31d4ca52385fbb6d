import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.db import database as databases
from bridge.db.ghosts import GhostTable
from bridge.db.inbox import Inbox
from bridge.db.interface import Connection, Database
from bridge.db.portals import BotRoomTable, PortalRow, PortalTable
from bridge.db.texts import IncomingTexts, OutgoingTexts
from bridge.db.upgrade import upgrade_table


async def test_opening_migrates_to_the_newest_version(database: Database) -> None:
    assert await database.fetchval("SELECT version FROM version") == len(upgrade_table.upgrades)
    assert await database.fetch("SELECT * FROM inbox") == []


async def test_opening_again_finds_what_was_written(database_url: str) -> None:
    first = await databases.open(database_url)
    await first.execute("CREATE TABLE kept (word TEXT)")
    await first.execute("INSERT INTO kept VALUES ($1)", "here")
    await first.stop()
    second = await databases.open(database_url)
    assert await second.fetchval("SELECT word FROM kept") == "here"
    await second.stop()


async def test_what_the_first_versions_wrote_is_read_by_the_newest(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every migration after the second finds rows in the tables that it changes."""
    with monkeypatch.context() as patch:
        patch.setattr(upgrade_table, "upgrades", upgrade_table.upgrades[:2])
        old = await databases.open(database_url)
    await Inbox(old).store("t1", [{"event_id": "$e", "room_id": "!r:x"}], now_ms=1)
    party = ("house", "+15551234567", "@alice:x")
    for table, columns, values in (
        ("portal", "room_id, line, number, user_id", ("!r:x", *party)),
        ("ghost", "number, display_name", ("+15551234567", "Carol")),
        ("bot_room", "user_id, room_id", ("@alice:x", "!bot:x")),
        (
            "text_out",
            "event_id, room_id, line, number, body, state, created_ms",
            ("$t", "!r:x", *party[:2], "out", "waiting", 1),
        ),
        (
            "text_in",
            "key, line, number, user_id, name, msgtype, body, state, created_ms",
            ("k", *party, "Carol", "m.text", "in", "waiting", 1),
        ),
    ):
        places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
        await old.execute(f"INSERT INTO {table} ({columns}) VALUES ({places})", *values)
    await old.stop()
    new = await databases.open(database_url)
    assert await new.fetchval("SELECT version FROM version") == len(upgrade_table.upgrades)
    assert [event.event_id for event in await Inbox(new).pending("!r:x")] == ["$e"]
    assert await PortalTable(new).all() == [PortalRow("!r:x", *party)]
    assert await GhostTable(new).name("+15551234567") == "Carol"
    assert await BotRoomTable(new).all() == {"@alice:x": "!bot:x"}
    (out,) = await OutgoingTexts(new).open("waiting")
    assert (out.event_id, out.body, out.road, out.origin, out.file) == ("$t", "out", "", "", None)
    (received,) = await IncomingTexts(new).open()
    assert (received.key, received.body, received.sender) == ("k", "in", "")
    await new.stop()


async def test_a_database_of_a_newer_version_is_refused(database_url: str) -> None:
    opened = await databases.open(database_url)
    await opened.execute("UPDATE version SET version = 999")
    await opened.stop()
    with pytest.raises(databases.DatabaseError, match="999"):
        await databases.open(database_url)


async def test_sqlite_commits_to_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "with space?%20.db"
    opened = await databases.open(f"sqlite:{path}")
    assert await opened.fetchval("PRAGMA synchronous") == 2
    assert await opened.fetchval("PRAGMA journal_mode") == "wal"
    assert path.exists()
    await opened.stop()


async def test_sqlite_is_for_its_owner_alone(tmp_path: Path) -> None:
    opened = await databases.open(f"sqlite:{tmp_path / 'test.db'}")
    with os.scandir(tmp_path) as entries:
        modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in entries}
    assert modes == {"test.db": 0o600, "test.db-wal": 0o600, "test.db-shm": 0o600}
    await opened.stop()


async def test_a_folder_that_does_not_exist_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(databases.DatabaseError, match="No such file"):
        await databases.open(f"sqlite:{tmp_path / 'nowhere' / 'test.db'}")


async def test_a_file_that_is_no_database_is_said_plainly(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear Sir or Madam, " * 100)
    with pytest.raises(databases.DatabaseError, match="not a database"):
        await databases.open(f"sqlite:{path}")


async def test_postgres_that_does_not_commit_to_the_disk_is_refused(postgres: str) -> None:
    url = f"{postgres}&synchronous_commit=off&search_path=pg_temp"
    with pytest.raises(databases.DatabaseError, match="not durable"):
        await databases.open(url)


async def test_postgres_that_is_not_there_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(databases.DatabaseError):
        await databases.open(f"postgres://ringback@/postgres?host={tmp_path}")


def test_the_process_ends_after_a_failed_opening(tmp_path: Path) -> None:
    # A thread that was left behind once kept `ringback check` from ever ending.
    path = tmp_path / "letter.txt"
    path.write_text("Dear Sir or Madam, " * 100)
    program = (
        "import asyncio, sys; from bridge.db import database\n"
        "try: asyncio.run(database.open(sys.argv[1]))\n"
        "except database.DatabaseError: print('refused')"
    )
    for url in (f"sqlite:{path}", f"sqlite:{tmp_path}/nowhere/test.db"):
        command = [sys.executable, "-c", program, url]
        ended = subprocess.run(command, capture_output=True, timeout=20, check=True)
        assert ended.stdout == b"refused\n"


async def test_a_transaction_that_fails_leaves_nothing(database: Database) -> None:
    await database.execute("CREATE TABLE t (n INTEGER)")

    async def fail(connection: Connection) -> None:
        await connection.execute("INSERT INTO t VALUES (1)")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await database.commit(fail)
    assert await database.fetchval("SELECT COUNT(*) FROM t") == 0


async def test_a_transaction_is_finished_though_nobody_waits_for_it_any_more(
    database: Database,
) -> None:
    await database.execute("CREATE TABLE t (n INTEGER)")

    async def work(connection: Connection) -> None:
        for number in range(100):
            await connection.execute("INSERT INTO t VALUES ($1)", number)

    task = asyncio.create_task(database.commit(work))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    # On PostgreSQL the two are on different connections, so the first may need a moment.
    counts = {0}
    async with asyncio.timeout(10):
        while 100 not in counts:
            counts.add(await database.fetchval("SELECT COUNT(*) FROM t"))
    assert counts == {0, 100}


async def test_a_commit_is_seen_by_another_connection(tmp_path: Path) -> None:
    opened = await databases.open(f"sqlite:{tmp_path / 'a.db'}")

    async def work(connection: Connection) -> None:
        await connection.execute("CREATE TABLE t (n INTEGER)")

    await opened.commit(work)
    with sqlite3.connect(tmp_path / "a.db") as other:
        assert other.execute("SELECT COUNT(*) FROM t").fetchone() == (0,)
    other.close()
    await opened.stop()
