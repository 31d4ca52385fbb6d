"""Databases for the tests of the bridge: each such test runs on SQLite and on PostgreSQL.

PostgreSQL's server comes from Debian's package and is started once for the whole run, in a folder
of its own, on a socket in there and nowhere else. Each test gets a schema of its own. A missing
server fails the tests; RINGBACK_NO_POSTGRES=1 skips them instead, but not in CI.
"""

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from bridge.db import database as databases
from bridge.db.interface import Database

_MISSING = "PostgreSQL's server is not installed; as root: apt-get install postgresql"
_counter = itertools.count(1)


def _server_binaries() -> Path | None:
    versions = sorted(
        (path for path in Path("/usr/lib/postgresql").glob("*/bin") if (path / "initdb").exists()),
        key=lambda path: float(path.parent.name),
    )
    return versions[-1] if versions else None


def _as_ordinary_user(folder: Path) -> list[str]:
    """The server refuses to run as root: hand the folder to somebody else, and become them."""
    if os.getuid() != 0:
        return []
    user = next(
        (entry for entry in pwd.getpwall() if entry.pw_name in ("postgres", "nobody")), None
    )
    assert user is not None, "nobody to run PostgreSQL as"
    os.chown(folder, user.pw_uid, user.pw_gid)
    return [
        "setpriv",
        f"--reuid={user.pw_uid}",
        f"--regid={user.pw_gid}",
        "--clear-groups",
        "--",
    ]


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a running, empty server."""
    binaries = _server_binaries()
    if binaries is None:
        if os.environ.get("RINGBACK_NO_POSTGRES") == "1" and os.environ.get("CI") != "true":
            pytest.skip(_MISSING)
        pytest.fail(_MISSING)
    folder = Path(tempfile.mkdtemp(prefix="ringback-pg-"))
    prefix = _as_ordinary_user(folder)
    data = folder / "data"
    log = folder / "log"
    server = None
    try:
        subprocess.run(
            [*prefix, binaries / "initdb", "-D", data, "-U", "ringback", "-A", "trust", "-N",
             "--encoding=UTF8", "--locale=C", "--no-instructions"],
            check=True, capture_output=True, cwd=folder, timeout=60,
        )  # fmt: skip
        with log.open("wb") as output:
            server = subprocess.Popen(
                [*prefix, binaries / "postgres", "-D", data, "-k", folder, "-F",
                 "-c", "listen_addresses=", "-c", "shared_buffers=16MB"],
                stdout=output, stderr=output, cwd=folder,
            )  # fmt: skip
        until = time.monotonic() + 20
        while b"ready to accept" not in log.read_bytes():
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.02)
        yield f"postgres://ringback@/postgres?host={folder}"
    finally:
        if server is not None:
            server.terminate()
            server.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgres"])
async def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """The URL of an empty database; opening it a second time finds what was left in it."""
    if request.param == "sqlite":
        yield f"sqlite:{tmp_path / 'test.db'}"
        return
    server: str = request.getfixturevalue("postgres")
    schema = f"test_{next(_counter)}"
    connection = await asyncpg.connect(server)
    await connection.execute(f"CREATE SCHEMA {schema}")
    await connection.close()
    yield f"{server}&search_path={schema}"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An open, migrated, empty database."""
    opened = await databases.open(database_url)
    yield opened
    await opened.stop()
