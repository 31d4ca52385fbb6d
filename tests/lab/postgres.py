"""The other database: a PostgreSQL server of its own, on a socket in its folder and nowhere else."""

import os
import pwd
import shutil
import tempfile
from pathlib import Path

from tests.lab.process import Process


class Postgres:
    """One empty server; it refuses to run as root, so root hands it to somebody else."""

    def __init__(self) -> None:
        # A socket's path is short, and its folder must be open to another user: not in the lab's.
        self._folder = Path(tempfile.mkdtemp(prefix="ringback-lab-pg-"))
        self._prefix: list[str | Path] = []
        if os.geteuid() == 0:
            user = next(u for u in pwd.getpwall() if u.pw_name in ("postgres", "nobody"))
            os.chown(self._folder, user.pw_uid, user.pw_gid)
            self._prefix = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}"]
            self._prefix += ["--clear-groups", "--"]
        self._server: Process | None = None

    @property
    def url(self) -> str:
        return f"postgres://ringback@/postgres?host={self._folder}"

    async def start(self) -> None:
        folders = sorted(
            (path for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")),
            key=lambda path: float(path.parent.parent.name),
        )
        if not folders:
            raise RuntimeError("no PostgreSQL: run `python -m tests.lab.setup`")
        programs, data = folders[-1].parent, self._folder / "data"
        made = Process(
            "initdb",
            [
                *(*self._prefix, programs / "initdb", "-D", data, "-U", "ringback", "-A", "trust"),
                *("-N", "--encoding=UTF8", "--locale=C", "--no-instructions"),
            ],
            log=self._folder / "initdb.log",
            cwd=self._folder,
        )
        await made.start()
        if await made.wait():
            raise RuntimeError(f"initdb failed\n{made.tail()}")
        self._server = server = Process(
            "PostgreSQL",
            [
                *(*self._prefix, programs / "postgres", "-D", data, "-k", self._folder, "-F"),
                *("-c", "listen_addresses=", "-c", "shared_buffers=16MB"),
            ],
            log=self._folder / "log",
            cwd=self._folder,
        )

        async def ready() -> bool:
            return "ready to accept" in server.text()

        await server.start(ready)

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop()
        shutil.rmtree(self._folder, ignore_errors=True)
