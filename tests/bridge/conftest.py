"""Databases for the tests of the bridge: each such test runs on SQLite and on PostgreSQL.

PostgreSQL's server comes from Debian's package and is started once for the whole run, in a folder
of its own, on a socket in there and nowhere else. Each test gets a schema of its own. A missing
server fails the tests; RINGBACK_NO_POSTGRES=1 skips them instead, but not in CI.
"""

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from bridge.db import database as databases
from bridge.db.interface import Database
from tests.postgres import Commands, programs

_MISSING = "PostgreSQL's server is not installed; as root: apt-get install postgresql"
_counter = itertools.count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a running, empty server."""
    found = programs()
    if found is None:
        if os.environ.get("RINGBACK_NO_POSTGRES") == "1" and os.environ.get("CI") != "true":
            pytest.skip(_MISSING)
        pytest.fail(_MISSING)
    folder = Path(tempfile.mkdtemp(prefix="ringback-pg-"))
    commands = Commands(found, folder)
    log = folder / "log"
    server = None
    try:
        subprocess.run(commands.make(), check=True, capture_output=True, cwd=folder, timeout=60)
        with log.open("wb") as output:
            server = subprocess.Popen(commands.run(), stdout=output, stderr=output, cwd=folder)
        until = time.monotonic() + 20
        while b"ready to accept" not in log.read_bytes():
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.02)
        yield commands.url
    finally:
        if server is not None:
            server.send_signal(signal.SIGQUIT)  # nobody needs what is in there
            server.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgres"])
async def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """The URL of an empty database; opening it a second time finds what was left in it."""
    if request.param == "sqlite":
        yield f"sqlite:{tmp_path / 'test.db'}"
        return
    server: str = request.getfixturevalue("postgres")
    yield f"{server}&search_path={await _new_schema(server)}"


@pytest.fixture(params=["sqlite", "postgres"])
async def database(
    request: pytest.FixtureRequest, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Database]:
    """An open, migrated, empty database.

    Migrations are tried by `database_url`. Here they are made once, and then a file is copied, or a
    schema emptied that another test had.
    """
    if request.param == "sqlite":
        template = tmp_path_factory.getbasetemp() / "migrated.db"
        if not template.exists():
            await (await databases.open(f"sqlite:{template}")).stop()
        shutil.copyfile(template, tmp_path / "test.db")
        opened = await databases.open(f"sqlite:{tmp_path / 'test.db'}")
        yield opened
        await opened.stop()
        return
    server: str = request.getfixturevalue("postgres")
    schema = _free_schemas.pop() if _free_schemas else await _new_schema(server)
    opened = await databases.open(f"{server}&search_path={schema}")
    made = await _relations(opened)
    yield opened
    changed = await _relations(opened) != made
    await opened.stop()
    if not changed:
        await _empty(server, schema, made)
        _free_schemas.append(schema)


_Relations = frozenset[tuple[str, bytes]]
_free_schemas: list[str] = []


async def _new_schema(server: str) -> str:
    schema = f"test_{next(_counter)}"
    async with _connected(server) as connection:
        await connection.execute(f"CREATE SCHEMA {schema}")
    return schema


async def _relations(database: Database) -> _Relations:
    """Tables ("r") and sequences ("S")."""
    found = await database.fetch(
        "SELECT relname, relkind FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE nspname = current_schema() AND relkind IN ('r', 'S')"
    )
    return frozenset((row["relname"], row["relkind"]) for row in found)


async def _empty(server: str, schema: str, made: _Relations) -> None:
    """Leave nothing in the tables but their version."""
    commands = [
        "SET lock_timeout = '5s'",
        "SET session_replication_role = replica",  # in any order
    ]
    for name, kind in made:
        if kind == b"S":
            commands.append(f"ALTER SEQUENCE {schema}.{name} RESTART")
        elif name != "version":
            commands.append(f"DELETE FROM {schema}.{name}")
    async with _connected(server) as connection:
        await connection.execute(";".join(commands))


@asynccontextmanager
async def _connected(server: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(server)
    try:
        yield connection
    finally:
        await connection.close()
