"""Our listener and inbox as an application service of their own, for the suite to push to.

    python -m tests.replay.listener FOLDER PORT

Each event that is handed on becomes a line of `FOLDER/effects`; while `FOLDER/failing` exists, the
handler fails instead. The address is the first line of the output.
"""

import asyncio
import contextlib
import errno
import os
import resource
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from bridge.db import database as databases
from bridge.db.inbox import Inbox
from bridge.matrix.appservice import Appservice
from bridge.matrix.events import RoomEvent, parse_text
from bridge.setting import Endpoint
from tests.lab.ports import HOST
from tests.lab.process import die_with_parent
from tests.replay.suite import Fault, Target

TOKEN = "replay-token"
ROOMS = tuple(f"!room{number}:replay.test" for number in range(5))
SENDER = "@user:replay.test"
START_LIMIT = 30.0


async def serve(folder: Path, port: int) -> None:
    """Run until the process is ended."""
    effects = os.open(folder / "effects", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    failing = folder / "failing"

    async def handle(event: RoomEvent) -> None:
        if failing.exists():
            raise OSError(errno.EIO, "told to fail")
        if (text := parse_text(event)) is not None:
            os.write(effects, f"{text.body}\n".encode())

    database = await databases.open(f"sqlite:{folder / 'replay.db'}")
    appservice = Appservice(
        listen=Endpoint(HOST, port), hs_token=TOKEN, inbox=Inbox(database), handler=handle
    )
    await appservice.start()
    print(appservice.port, flush=True)  # noqa: T201 - read by who started us
    await asyncio.Event().wait()


class Listener:
    """The process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = 0
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.replay.listener",
            str(self._folder),
            str(self._port),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            preexec_fn=die_with_parent,
        )
        assert self._process.stdout is not None
        async with asyncio.timeout(START_LIMIT):
            self._port = int(await self._process.stdout.readline())

    async def kill(self) -> None:
        assert self._process is not None, "not started"
        self._process.send_signal(signal.SIGKILL)
        await self._process.wait()

    def target(self) -> Target:
        """What the suite needs, with three kinds of trouble."""
        return Target(
            url=f"http://{HOST}:{self._port}",
            token=TOKEN,
            rooms=ROOMS,
            sender=SENDER,
            effects=self._effects,
            faults=(
                Fault("handler fails, then kill -9", self._fail, self._mend, refuses=False),
                Fault("disk full", self._fill, self._empty, refuses=True),
                Fault("database taken away", self._ruin, self._repair, refuses=True),
            ),
        )

    async def _effects(self) -> Sequence[str]:
        return (self._folder / "effects").read_text().splitlines()

    async def _fail(self) -> None:
        (self._folder / "failing").touch()

    async def _mend(self) -> None:
        await self.kill()
        (self._folder / "failing").unlink()
        await self.start()

    async def _fill(self) -> None:
        self._limit_files(0)

    async def _empty(self) -> None:
        self._limit_files(resource.RLIM_INFINITY)

    def _limit_files(self, octets: int) -> None:
        """No file of the process may grow beyond; the rest stays open to it."""
        assert self._process is not None, "not started"
        _, most = resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (octets, most))

    async def _ruin(self) -> None:
        self._rename("inbox", "gone")

    async def _repair(self) -> None:
        self._rename("gone", "inbox")

    def _rename(self, old: str, new: str) -> None:
        with contextlib.closing(sqlite3.connect(self._folder / "replay.db")) as connection:
            connection.execute(f"ALTER TABLE {old} RENAME TO {new}")
            connection.commit()


@contextlib.asynccontextmanager
async def listening(folder: Path) -> AsyncIterator[Target]:
    """Ours, for as long as it is tested."""
    listener = Listener(folder)
    await listener.start()
    try:
        yield listener.target()
    finally:
        await listener.kill()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
