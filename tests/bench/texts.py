"""`make bench-texts`: texts through the whole bridge, each way, with every commit on the disk.

    python -m tests.bench.texts [--texts N] [--numbers N]

`ringback run`, as its user runs it, on SQLite and on PostgreSQL, between a homeserver and a
provider that do as little as they can, in a process of their own; and beside it the smallest bridge
that mautrix's stock `AppService` allows, which stores nothing. Prints Markdown tables; compare
within a run.
"""

import asyncio
import json
import os
import platform
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import yaml

from tests.bench.distribution import Distribution
from tests.bench.texts_outside import (
    ACCOUNT,
    DOMAIN,
    HOST,
    HS_TOKEN,
    OURS,
    PUBLIC,
    SECRET,
    TOKEN,
    USER,
    Settings,
    as_argument,
)
from tests.lab.ports import Ports
from tests.lab.postgres import Postgres
from tests.lab.process import Process, children, port_open

RATE = 20.0  # texts per second where delay is measured: a busy bridge, but not a full one
DELAYS = 100
HEAD = (
    "| bridge | way | texts/s | aim | CPU ms/text | database ms/text | lost | doubled "
    "| added ms p50 | p99 |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
)
WAYS = {"in": "phone → room", "out": "room → phone"}


@dataclass(frozen=True, slots=True)
class Contender:
    """A bridge to be measured.

    Attributes:
        database: its URL; None for the stock one.
        server: process of its database.
        aim: texts per second.
    """

    name: str
    database: str | None
    server: int | None = None
    aim: int | None = None


class Outside:
    """The process around the bridge."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def order(self, **order: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        async with asyncio.timeout(180):
            line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("the stand-ins have ended")
        return dict(json.loads(line))


@asynccontextmanager
async def outside(settings: Settings) -> AsyncIterator[Outside]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.texts_outside", as_argument(settings)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**24,
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    try:
        yield Outside(process)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def measure(contender: Contender, folder: Path, *, texts: int, numbers: int) -> list[str]:
    """A row of the table for each way."""
    ports = Ports()
    settings = Settings(
        ports.pick(), ports.pick(), ports.pick(), ports.pick(), contender.database is not None
    )
    bridge = prepare(contender, settings, folder, ports)
    rows = []
    async with outside(settings) as around:
        await bridge.start(lambda: port_open(HOST, settings.listener))
        try:
            # Makes the rooms, and warms everything up.
            await around.order(way="in", count=numbers, numbers=numbers, rate=None)
            await around.order(way="out", count=numbers, rate=None)
            for way, more in (("in", {"numbers": numbers}), ("out", {})):
                ours, theirs = cpu_ms(bridge.pid), server_cpu_ms(contender)
                full = await around.order(way=way, count=texts, rate=None, **more)
                ours, theirs = cpu_ms(bridge.pid) - ours, server_cpu_ms(contender) - theirs
                calm = await around.order(way=way, count=DELAYS, rate=RATE, **more)
                delays = Distribution("", tuple(calm["delays_ms"]))
                cells = [
                    contender.name,
                    WAYS[way],
                    f"{texts / full['seconds']:.0f}",
                    str(contender.aim or ""),
                    f"{ours / texts:.2f}",
                    f"{theirs / texts:.2f}" if contender.server is not None else "",
                    str(full["lost"] + calm["lost"]),
                    str(full["doubled"] + calm["doubled"]),
                    f"{delays.percentile(0.5):.1f}",
                    f"{delays.percentile(0.99):.1f}",
                ]
                rows.append(f"| {' | '.join(cells)} |")
                click.echo(rows[-1], err=True)
        except Exception:
            click.echo(bridge.tail(4000), err=True)
            raise
        finally:
            await bridge.stop()
    return rows


def prepare(contender: Contender, settings: Settings, folder: Path, ports: Ports) -> Process:
    """The bridge's process, not started."""
    folder.mkdir()
    log = folder / "log"
    if contender.database is None:
        command = [sys.executable, "-m", "tests.bench.texts_stock", as_argument(settings)]
        paths = {"PYTHONPATH": str(Path.cwd())}
        return Process(contender.name, command, log=log, cwd=folder, environment=paths)
    config = folder / "ringback.yaml"
    config.write_text(yaml.safe_dump(configuration(contender.database, settings, ports)))
    program = Path(sys.executable).parent / "ringback"
    return Process(contender.name, [program, "run", "-c", config], log=log, cwd=folder)


def configuration(database: str, settings: Settings, ports: Ports) -> dict[str, Any]:
    """A bridge with a line whose texts go by a provider; its trunk is not there."""
    media = ports.pick_range(20)
    return {
        "homeserver": {"url": f"http://{HOST}:{settings.homeserver}", "domain": DOMAIN},
        "appservice": {
            "url": f"http://{HOST}:{settings.listener}",
            "listen": f"{HOST}:{settings.listener}",
            "as_token": "bench-as-token",
            "hs_token": HS_TOKEN,
        },
        "database": database,
        "media": {"listen": HOST, "ports": f"{media[0]}-{media[-1]}", "workers": 1},
        "hooks": {"listen": f"{HOST}:{settings.hooks}", "public_url": PUBLIC},
        "roads": [
            {
                "name": "twilio",
                "hook_secret": SECRET,
                "twilio": {
                    "account": ACCOUNT,
                    "token": TOKEN,
                    "url": f"http://{HOST}:{settings.provider}",
                },
            }
        ],
        "trunks": [
            {
                "name": "none",
                "domain": "pbx.bench.example",
                "username": "nobody",
                "password": "nothing",
                "host": HOST,
                "port": ports.pick(),
            }
        ],
        "lines": [
            {
                "name": "texts",
                "trunk": "none",
                "number": OURS,
                "called": ["nobody"],
                "users": [USER],
                "texts_in": "twilio",
                "texts_out": "twilio",
                # Both protect people, who are not here.
                "shown_per_minute": 100_000,
                "strangers_per_minute": 100_000,
            }
        ],
    }


def cpu_ms(pid: int) -> float:
    """What a process has used of a core."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") * 1000


def server_cpu_ms(contender: Contender) -> float:
    """What the database's server has used, all its processes together."""
    if contender.server is None:
        return 0.0
    return sum(cpu_ms(pid) for pid in (contender.server, *children(contender.server)))


async def compare(folder: Path, *, texts: int, numbers: int, only: Sequence[str]) -> list[str]:
    server = Postgres(durable=True)
    await server.start()
    contenders = [
        Contender("Ringback, SQLite", f"sqlite:{folder / 'bench.db'}", aim=200),
        Contender("Ringback, PostgreSQL", server.url, server.pid, aim=500),
        Contender("mautrix's stock handler, nothing stored", None),
    ]
    rows = []
    try:
        for index, contender in enumerate(contenders):
            if only and not any(word in contender.name for word in only):
                continue
            click.echo(contender.name, err=True)
            home = folder / str(index)
            rows += await measure(contender, home, texts=texts, numbers=numbers)
    finally:
        await server.stop()
    return rows


@click.command()
@click.option("--texts", default=2000, show_default=True, help="Each way, as fast as they go.")
@click.option("--numbers", default=100, show_default=True, help="Phones that take turns.")
@click.option("--only", multiple=True, help="A part of a contender's name.")
def main(texts: int, numbers: int, only: tuple[str, ...]) -> None:
    """Measure texts through the whole bridge."""
    click.echo(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory(prefix="ringback-bench-") as folder:
        rows = asyncio.run(compare(Path(folder), texts=texts, numbers=numbers, only=only))
    click.echo(f"\n### Texts\n\n{HEAD}")
    for row in rows:
        click.echo(row)


if __name__ == "__main__":
    main()
