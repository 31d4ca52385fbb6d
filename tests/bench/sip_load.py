"""A thousand registered accounts with a hundred calls set up each second, over TLS on loopback.

Our side is `sip.io.client`, one client for each account, in this process; the PBX is another
process (`sip_pbx`). Every call is rung, answered and ended by the PBX: seven messages through a TLS
connection of its own. What counts is the CPU time of this process, as a share of one core.

    python -m tests.bench.sip_load [--accounts N] [--rate R] [--seconds S]
"""

import asyncio
import gc
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import click

from sip.events import Body, Event, IncomingSession, Registered
from sip.io.client import TrunkClient, TrunkDown, TrunkUp
from sip.session import Session
from sip.trunk import TlsSettings, Trunk
from tests.bench.peers.window import OFFER
from tests.sip.io.authority import Authority

ROOT = Path(__file__).resolve().parents[2]
NAME = "pbx.example"
DESCRIPTION = Body("application/sdp", OFFER.encode())


class Pbx:
    """The other process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, certificate: Path) -> tuple["Pbx", int]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.bench.sip_pbx",
            str(certificate),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        pbx = cls(process)
        return pbx, int(str((await pbx.hear())["port"]))

    async def ask(self, what: str, rate: float, seconds: float) -> dict[str, float]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what} {rate} {seconds}\n".encode())
        return await self.hear()

    async def hear(self) -> dict[str, float]:
        assert self._process.stdout is not None
        found: dict[str, float] = json.loads(await self._process.stdout.readline())
        return found

    async def stop(self) -> None:
        self._process.kill()
        await self._process.wait()


@dataclass
class Accounts:
    """Our clients. They take calls for their own user and know nobody else."""

    clients: list[TrunkClient] = field(default_factory=list)
    registered: int = 0
    up: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self, count: int, port: int, authority: Path) -> None:
        for number in range(count):
            trunk = Trunk(
                name=f"t{number}",
                domain=NAME,
                host="127.0.0.1",
                port=port,
                username=f"user{number}",
                password="secret",
                tls=TlsSettings(ca_file=authority),
            )
            self.clients.append(TrunkClient(trunk, listener=partial(self._hear, number)))
        for begin in range(0, count, 50):  # a thousand handshakes at once measure OpenSSL
            for client in self.clients[begin : begin + 50]:
                await client.start()
            while self.registered < min(begin + 50, count):
                self.up.clear()
                await self.up.wait()

    async def stop(self) -> None:
        await asyncio.gather(*(client.stop() for client in self.clients))

    def _hear(self, number: int, event: Event | TrunkUp | TrunkDown) -> None:
        client = self.clients[number]
        match event:
            case Registered():
                self.registered += 1
                self.up.set()
            case IncomingSession(session=session, target=target):
                self._take(client, session, known=target.user == client.trunk.username)
            case _:
                pass

    def _take(self, client: TrunkClient, session: Session, *, known: bool) -> None:
        if known:
            session.ring(now=client.now())
            session.answer(DESCRIPTION, now=client.now())
        else:
            session.reject(404, now=client.now())


def memory() -> int:
    """Octets of this process in RAM."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


async def measure(
    *, accounts: int, rate: float, seconds: float, say: Callable[[str], object]
) -> list[str]:
    """Return the rows of a table."""
    with tempfile.TemporaryDirectory(prefix="ringback-load-") as folder:
        authority = Authority(Path(folder))
        pbx, port = await Pbx.start(authority.issue(NAME))
        ours = Accounts()
        try:
            warm = Accounts()  # what is made once for all is made before it is weighed
            await warm.start(1, port, authority.file)
            await pbx.ask("calls", 5, 1)
            await warm.stop()
            empty = memory()
            await ours.start(accounts, port, authority.file)
            idle = (memory() - empty) / accounts
            say(f"load: {accounts} accounts are registered")
            began = time.process_time()
            found = await pbx.ask("calls", rate, seconds)
            cpu = time.process_time() - began
            say(f"load: {found}")
        finally:
            await ours.stop()
            await pbx.stop()
    return [
        f"| accounts registered over TLS | {accounts} |",
        f"| RAM per idle registration, TLS included, kB | {idle / 1000:.0f} |",
        f"| calls set up and ended per second | {found['ended'] / seconds:.0f} |",
        f"| calls that did not end, of {found['made']} | {found['made'] - found['ended']} |",
        f"| slowest ring after its INVITE, ms | {1000 * found['slowest']:.0f} |",
        f"| CPU of our process, share of one core | {100 * cpu / found['took']:.0f} % |",
        f"| CPU per call, ms | {1000 * cpu / found['ended']:.2f} |",
    ]


HEAD = "| | |\n| --- | --- |"


@click.command()
@click.option("--accounts", default=1000, show_default=True)
@click.option("--rate", default=100.0, show_default=True, help="Calls per second.")
@click.option("--seconds", default=20.0, show_default=True)
def main(accounts: int, rate: float, seconds: float) -> None:
    """Measure the load of many accounts."""

    def say(text: str) -> None:
        click.echo(text, err=True)

    rows = asyncio.run(measure(accounts=accounts, rate=rate, seconds=seconds, say=say))
    click.echo("\n".join([HEAD, *rows]))


if __name__ == "__main__":
    main()
