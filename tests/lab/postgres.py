"""The other database: a PostgreSQL server of its own, which tests stop and start again."""

import secrets
import shutil
import signal
import tempfile
from pathlib import Path

from tests.lab.process import Process
from tests.postgres import Commands, programs


class Postgres:
    """One empty server.

    Args:
        durable: whether it waits for the disk; most tests do not need to.
    """

    def __init__(self, *, durable: bool = False) -> None:
        self._durable = durable
        # A socket's path is short, and its folder must be open to another user: not in the lab's.
        self._folder = Path(tempfile.gettempdir()) / f"ringback-lab-pg-{secrets.token_hex(4)}"
        self._server: Process | None = None

    @property
    def pid(self) -> int:
        """Of the process whose children serve connections."""
        assert self._server is not None, "not started"
        return self._server.pid

    @property
    def url(self) -> str:
        return f"postgres://ringback@/postgres?host={self._folder}"

    async def start(self) -> None:
        self._folder.mkdir(mode=0o700)
        found = programs()
        if found is None:
            raise RuntimeError("no PostgreSQL: run `python -m tests.lab.setup`")
        commands = Commands(found, self._folder, self._durable)
        made = Process("initdb", commands.make(), log=self._folder / "initdb.log", cwd=self._folder)
        await made.start()
        if await made.wait():
            raise RuntimeError(f"initdb failed\n{made.tail()}")
        self._server = Process(
            "PostgreSQL", commands.run(), log=self._folder / "log", cwd=self._folder
        )
        await self.resume()

    async def resume(self) -> None:
        """Run the server on what is there."""
        assert self._server is not None, "not started"
        server, before = self._server, len(self._server.text())

        async def ready() -> bool:
            return "ready to accept" in server.text()[before:]

        await server.start(ready)

    async def halt(self) -> None:
        """Stop the server at once, whoever is connected; what it has committed stays."""
        assert self._server is not None, "not started"
        await self._server.stop(signal.SIGQUIT)

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(signal.SIGINT)
        shutil.rmtree(self._folder, ignore_errors=True)
