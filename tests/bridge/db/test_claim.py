"""One bridge at a time: claims on both databases, and a server that forgets them."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from bridge.db import database as databases
from bridge.db.claim import _KEY, PATIENCE, Claim, DatabaseTaken, ServerClaim, claim_on
from bridge.db.interface import DatabaseAway, DatabaseError
from bridge.db.postgres import PostgresDatabase


class Clock:
    """Time that passes by waiting alone; what shall happen at a time is done then."""

    def __init__(self) -> None:
        self.now = 0.0
        self.at: dict[float, Callable[[], object]] = {}

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        if (happen := self.at.pop(self.now, None)) is not None:
            done = happen()
            if asyncio.iscoroutine(done):
                await done
        await asyncio.sleep(0)


def claim(url: str, clock: Clock | None = None) -> Claim:
    made = claim_on(url)
    made._sleep = (clock or Clock()).sleep
    return made


async def test_a_second_one_waits_and_then_says_why_it_cannot_have_it(database_url: str) -> None:
    first, clock = claim(database_url), Clock()
    await first.take()
    second = claim(database_url, clock)
    with pytest.raises(DatabaseTaken, match="another Ringback uses this database"):
        await second.take()
    assert clock.now == PATIENCE
    await second.release()
    await first.release()


async def test_one_that_ends_meanwhile_is_followed(database_url: str) -> None:
    first, clock = claim(database_url), Clock()
    await first.take()
    clock.at[2.0] = first.release
    second = claim(database_url, clock)
    await second.take()
    assert 2.0 <= clock.now < PATIENCE
    await second.release()


async def test_another_database_is_nobody_elses(
    database_url: str, postgres: str, tmp_path: Path
) -> None:
    first = claim(database_url)
    await first.take()
    connection = await asyncpg.connect(postgres)
    await connection.execute("CREATE SCHEMA IF NOT EXISTS claimed")
    await connection.close()
    another = f"sqlite:{tmp_path / 'other.db'}"
    for url in (f"{postgres}&search_path=claimed", another):
        other, clock = claim(url), Clock()
        await other.take()
        assert not clock.now
        await other.release()
    await first.release()


def test_a_killed_process_leaves_no_claim_behind(tmp_path: Path) -> None:
    program = (
        "import asyncio, os, sys; from bridge.db.claim import claim_on\n"
        "asyncio.run(claim_on(sys.argv[1]).take()); os.kill(os.getpid(), 9)"
    )
    url = f"sqlite:{tmp_path / 'test.db'}"
    ended = subprocess.run([sys.executable, "-c", program, url], timeout=20, check=False)
    assert ended.returncode == -9
    asyncio.run(claim(url).take())


async def test_a_folder_that_does_not_exist_is_said_plainly(tmp_path: Path) -> None:
    for url in (f"sqlite:{tmp_path}/nowhere/x.db", f"postgres://ringback@/x?host={tmp_path}"):
        with pytest.raises(DatabaseError, match="No such file"):
            await claim(url).take()


# --- a server that forgets


async def end_connections(server: str) -> None:
    """As a server does when it is stopped."""
    connection = await asyncpg.connect(server)
    await connection.execute(
        "SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN pg_database d ON d.oid = database"
        " WHERE locktype = 'advisory' AND d.datname = current_database()"
    )
    await connection.close()


async def locks(server: str) -> int:
    connection = await asyncpg.connect(server)
    count = await connection.fetchval("SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory'")
    await connection.close()
    return int(count)


async def is_held(held: Claim) -> bool:
    try:
        await held.hold()
    except ConnectionError:
        return False
    return True


async def test_it_is_taken_again_by_itself(postgres: str) -> None:
    held = claim(postgres)
    await held.take()
    await end_connections(postgres)
    async with asyncio.timeout(20):
        while not await locks(postgres):
            pass
    assert not held.lost.is_set()
    await held.release()


async def test_who_is_cut_off_is_not_its_own_rival(postgres: str) -> None:
    """The server has not noticed that the connection broke: the claim is ours, and not given."""
    held, stale = claim(postgres), await asyncpg.connect(postgres)
    assert isinstance(held, ServerClaim)
    await stale.execute(f"SELECT pg_advisory_lock({_KEY}, hashtext(current_schema()))")
    for _ in range(2):
        with pytest.raises(ConnectionError):
            await held.hold()
    assert not held.lost.is_set()
    await stale.close()
    async with asyncio.timeout(20):
        while not await is_held(held):  # the server lets go a little after the connection has ended
            pass
    assert await locks(postgres) == 1
    await held.release()


async def test_who_has_lost_it_ends_and_asks_for_nothing_more(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, other = claim(postgres), claim(postgres)
    assert isinstance(held, ServerClaim)
    await held.take()
    opened = await databases.open(f"{postgres}&search_path=pg_temp", before_connecting=held.hold)
    await held._lock.acquire()  # it is slower than the other
    await end_connections(postgres)
    await other.take()
    monkeypatch.setattr("bridge.db.claim.PATIENCE", 0.0)
    held._lock.release()
    async with asyncio.timeout(20):
        await held.lost.wait()
    assert isinstance(opened, PostgresDatabase)
    for connection, _ in opened._idle:  # the server's stop has ended them too
        connection.terminate()
    with pytest.raises(DatabaseAway, match="another Ringback"):
        await opened.fetch("SELECT 1")
    await opened.stop()
    await held.release()
    await other.release()
