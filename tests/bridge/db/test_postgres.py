"""What is particular to PostgreSQL: statements that share a commit, and a server that goes away."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from bridge.db import database as databases
from bridge.db import postgres as postgres_module
from bridge.db.interface import Connection, Database, DatabaseAway

ADD = "INSERT INTO t VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING word, n"


class Way:
    """A socket in front of the server's, which can be cut or made silent.

    Attributes:
        connections: how many came.
    """

    def __init__(self, server: Path, folder: Path) -> None:
        self.folder = folder
        self.connections = 0
        self._server = server
        self._listener: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._copies: set[asyncio.Task[None]] = set()
        self._flows = asyncio.Event()
        self._flows.set()

    async def open(self) -> None:
        path = self.folder / ".s.PGSQL.5432"
        self._listener = await asyncio.start_unix_server(self._pass_on, path)

    async def cut(self) -> None:
        """Stop the server, for all that the other side can see."""
        assert self._listener is not None, "open"
        self._listener.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*self._copies, return_exceptions=True)

    def hold(self) -> None:
        """Let nothing through any more."""
        self._flows.clear()

    def release(self) -> None:
        self._flows.set()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        back, on = await asyncio.open_unix_connection(self._server / ".s.PGSQL.5432")
        self._writers |= {writer, on}
        for source, target in ((reader, on), (back, writer)):
            task = asyncio.create_task(self._copy(source, target))
            self._copies.add(task)
            task.add_done_callback(self._copies.discard)

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                await self._flows.wait()
                target.write(data)
        except OSError:
            pass  # was cut
        finally:
            target.close()


@pytest.fixture
async def way(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Way]:
    server = Path(parse_qs(urlsplit(postgres).query)["host"][0])
    folder = tmp_path_factory.mktemp("w")  # a socket's path is short
    made = Way(server, folder)
    await made.open()
    yield made
    made.release()
    await made.cut()
    shutil.rmtree(folder)


@pytest.fixture
async def database(
    way: Way, postgres: str, request: pytest.FixtureRequest
) -> AsyncIterator[Database]:
    schema = f"lanes_{abs(hash(request.node.nodeid))}"
    connection = await asyncpg.connect(postgres)
    await connection.execute(f"CREATE SCHEMA {schema}")
    await connection.close()
    opened = await databases.open(
        f"postgres://ringback@/postgres?host={way.folder}&search_path={schema}"
    )
    await opened.execute("CREATE TABLE t (word TEXT PRIMARY KEY, n INTEGER CHECK (n < 1000))")
    yield opened
    await opened.stop()


async def commits(database: Database) -> int:
    return int(await database.fetchval("SELECT COUNT(DISTINCT xmin::text) FROM t"))


async def test_what_comes_together_shares_few_commits(database: Database) -> None:
    rows = await asyncio.gather(*(database.change(ADD, f"w{n}", n) for n in range(200)))
    assert [(row["word"], row["n"]) for row in rows if row] == [(f"w{n}", n) for n in range(200)]
    assert await commits(database) < 20


async def test_each_hears_of_its_own_row(database: Database) -> None:
    await database.execute("INSERT INTO t VALUES ('w7', 0)")
    words = ["w7", *(f"w{n}" for n in range(50)), "w3"]
    rows = await asyncio.gather(*(database.change(ADD, word, 1) for word in words))
    there = [row is not None for row in rows]
    assert there[0] is there[8] is False
    assert [there[4], there[51]].count(True) == 1
    assert sum(there) == 49


async def test_a_failure_is_its_own_and_not_its_neighbours(database: Database) -> None:
    outcomes = await asyncio.gather(
        *(database.change(ADD, f"w{n}", n) for n in range(950, 1050)), return_exceptions=True
    )
    assert [isinstance(one, asyncpg.CheckViolationError) for one in outcomes] == (
        [False] * 50 + [True] * 50
    )
    assert await database.fetchval("SELECT COUNT(*) FROM t") == 50


async def test_what_cannot_even_be_asked_fails_alone(database: Database) -> None:
    outcomes = await asyncio.gather(
        *(database.change(ADD, f"w{n}", n if n != 7 else 1 << 40) for n in range(60)),
        *(database.change(ADD, f"\x00{n}", n) for n in range(2)),
        return_exceptions=True,
    )
    failed = [index for index, one in enumerate(outcomes) if isinstance(one, BaseException)]
    assert failed == [7, 60, 61]
    assert not any(isinstance(one, DatabaseAway) for one in outcomes)
    assert await database.fetchval("SELECT COUNT(*) FROM t") == 59


async def test_statements_without_rows_share_commits_too(database: Database) -> None:
    await database.execute("INSERT INTO t SELECT 'w' || n, n FROM generate_series(0, 199) AS n")
    change = "UPDATE t SET n = n + 1 WHERE word = $1"
    await asyncio.gather(*(database.execute(change, f"w{n}") for n in range(200)))
    assert await database.fetchval("SELECT SUM(n) FROM t") == sum(range(1, 201))
    assert await commits(database) < 20


async def test_an_idle_database_keeps_few_connections_busy(database: Database, way: Way) -> None:
    before = way.connections
    for number in range(20):
        await database.change(ADD, f"w{number}", number)
    assert way.connections - before <= 1


async def test_a_connection_that_was_idle_for_long_is_not_trusted(
    database: Database, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.change(ADD, "before", 1)
    before = way.connections
    monkeypatch.setattr(postgres_module, "IDLE_LIMIT", -1.0)
    await database.change(ADD, "after", 2)
    assert way.connections == before + 1


async def test_a_server_that_stops_is_away_and_comes_back(database: Database, way: Way) -> None:
    await database.change(ADD, "before", 1)
    await way.cut()
    outcomes = await asyncio.gather(
        *(database.change(ADD, f"w{n}", n) for n in range(50)), return_exceptions=True
    )
    assert {type(outcome) for outcome in outcomes} == {DatabaseAway}
    assert database.absences == 50
    assert database.trouble
    await way.open()
    assert await database.change(ADD, "after", 2) is not None
    assert not database.trouble
    words = [row["word"] for row in await database.fetch("SELECT word FROM t ORDER BY n")]
    assert words == ["before", "after"]


async def test_a_server_that_refuses_us_is_as_good_as_away(
    database: Database, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    await way.cut()
    await way.open()
    monkeypatch.setattr(database, "_url", f"postgres://somebody_else@/postgres?host={way.folder}")
    async with asyncio.timeout(5):
        outcomes = await asyncio.gather(
            *(database.change(ADD, f"w{n}", n) for n in range(30)), return_exceptions=True
        )
    assert {type(outcome) for outcome in outcomes} == {DatabaseAway}
    assert "somebody_else" in database.trouble


async def test_a_transaction_that_is_cut_leaves_nothing(database: Database, way: Way) -> None:
    async def work(connection: Connection) -> None:
        await connection.execute("INSERT INTO t VALUES ('half', 1)")
        await way.cut()
        await connection.execute("INSERT INTO t VALUES ('whole', 2)")

    with pytest.raises(DatabaseAway):
        await database.commit(work)
    await way.open()
    assert await database.fetch("SELECT * FROM t") == []


async def test_a_server_that_hangs_is_away(
    database: Database, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_module, "STATEMENT_LIMIT", 0.3)
    # A connection of its own keeps the limit that it was made with.
    await way.cut()
    await way.open()
    before = way.connections
    while way.connections == before or database.trouble:  # a busy machine may be slower than that
        with contextlib.suppress(DatabaseAway):
            await database.execute("SELECT 1")
    monkeypatch.setattr(postgres_module, "CONNECT_LIMIT", 0.05)
    way.hold()
    async with asyncio.timeout(5):
        outcomes = await asyncio.gather(
            *(database.change(ADD, f"w{n}", n) for n in range(30)), return_exceptions=True
        )
    assert {type(outcome) for outcome in outcomes} == {DatabaseAway}
    way.release()
    monkeypatch.undo()
    assert await database.fetchval("SELECT 1") == 1
