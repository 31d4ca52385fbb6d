"""What can happen to a bridge besides being killed: its database locked, full or gone, its clock
turned; and a look at the order in which it writes to the disk and to the network.
"""

import asyncio
import contextlib
import os
import re
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

from tests.lab.postgres import Postgres
from tests.lab.process import eventually
from tests.lab.rig import Station

# --- the database


@asynccontextmanager
async def gone(postgres: Postgres) -> AsyncIterator[None]:
    """The server is stopped, with whoever is connected, and comes back."""
    await postgres.halt()
    try:
        yield
    finally:
        await postgres.resume()


@asynccontextmanager
async def locked(file: Path) -> AsyncIterator[None]:
    """Another process writes into the file, and does not end."""
    with closing(sqlite3.connect(file, isolation_level=None, timeout=30)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield


@contextmanager
def small_disk(folder: Path, *, mebibytes: int) -> Iterator[Path]:
    """A file system of this size.

    Raises:
        PermissionError: we are not root.
    """
    if os.geteuid() != 0:
        raise PermissionError("a disk can be made full only by root")
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "none", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@asynccontextmanager
async def full(folder: Path) -> AsyncIterator[None]:
    """Not one more octet fits on the disk of this folder."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for size in (1 << 16, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
    try:
        yield
    finally:
        filler.unlink()


# --- the clock


class Clock:
    """The wall clock of a process that runs with `environment`; monotonic time goes on.

    Args:
        folder: for the file that says how far it is turned.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "clock"
        self._file.write_text("+0\n")

    @property
    def environment(self) -> dict[str, str]:
        libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        if not libraries:
            raise RuntimeError("no libfaketime: run `python -m tests.lab.setup`")
        return {
            "LD_PRELOAD": str(libraries[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    async def turn(self, seconds: int) -> None:
        """Let it show so many seconds more than it should; returns when it does."""
        self._file.write_text(f"{seconds:+d}\n")
        await asyncio.sleep(1.2)  # the file is looked at once in a second


# --- the order of writes

_SYNCED = re.compile(r"\b(fsync|fdatasync)(\(\d+\)| resumed>\)) *= 0")


class Trace:
    """The system calls of a process that was started by `command`, as strace saw them.

    Only a few calls are stopped at (seccomp), so that the bridge is about as fast as without.
    """

    CALLS = "fsync,fdatasync,write,writev,sendto,sendmsg"

    def __init__(self, folder: Path) -> None:
        self._file = folder / "trace"

    @property
    def command(self) -> Sequence[str | Path]:
        # -D: it is our child that is traced, and ends when we do, with or without its tracer.
        flags = ["-D", "-f", "-qq", "--seccomp-bpf", "-s", "16", "-e", f"trace={self.CALLS}"]
        return ["strace", *flags, "-o", self._file]

    async def quiet(self) -> int:
        """Wait until nothing has been synced for a while; a place in the trace."""

        def syncs() -> int:
            return len(_SYNCED.findall(self._text(0)))

        seen, calm = syncs(), 0
        while calm < 4:
            await asyncio.sleep(0.03)
            now = syncs()
            seen, calm = now, calm + 1 if now == seen else 0
        return len(self._text(0))

    async def synced_before(self, what: str, *, since: int) -> bool:
        """Whether something was synced to the disk before this was sent, from that place on.

        Args:
            what: how the sent octets begin, as strace writes them.
        """
        sent = re.compile(rf'\b(write|writev|sendto|sendmsg)\(\d+, "{re.escape(what)}')

        def found() -> re.Match[str] | None:
            return sent.search(self._text(since))

        match = await eventually(found, what=f"{what} in the trace")
        assert match is not None
        return _SYNCED.search(self._text(since)[: match.start()]) is not None

    def _text(self, since: int) -> str:
        with self._file.open(errors="replace") as file:
            return file.read()[since:]


def station_file(station: Station) -> Path:
    """The file of a station's database."""
    return Path(str(station.bridge.read()["database"]).removeprefix("sqlite:"))
