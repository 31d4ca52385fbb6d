"""A server of the lab as a child process: its log, its readiness, its end."""

import asyncio
import ctypes
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
PR_SET_PDEATHSIG = 1

PATIENCE = 30.0
"""Seconds to wait for what comes at once, unless the machine is slow. It promises nothing: a test
of a promise names a limit of its own, and one that waits for a timer a longer one."""

START = 90.0
"""Seconds for a server to be ready, likewise."""


class Process:
    """One child process whose output goes to a file; it does not outlive us."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._command = [str(part) for part in command]
        self._cwd = cwd
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(
        self, ready: Callable[[], Awaitable[bool]] | None = None, *, within: float = START
    ) -> None:
        """Start, and wait until `ready` says so; what went wrong is told with the log's tail."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                cwd=self._cwd,
                env={**os.environ, **(self._environment or {})},
                preexec_fn=die_with_parent,
            )
        if ready is None:
            return
        limit = time.monotonic() + within
        while not await ready():
            if not self.running:
                raise RuntimeError(f"{self.name} ended at once\n{self.tail()}")
            if time.monotonic() > limit:
                await self.stop()
                raise RuntimeError(f"{self.name} was not ready in {within:.0f} s\n{self.tail()}")
            await asyncio.sleep(0.05)

    async def stop(
        self, number: signal.Signals = signal.SIGTERM, *, within: float = PATIENCE
    ) -> int:
        """Ask it to end, insist after `within` seconds; the exit status."""
        process = self._process
        if process is None:
            return 0
        if process.returncode is None:
            process.send_signal(number)
            try:
                async with asyncio.timeout(within):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        assert process.returncode is not None
        return process.returncode

    async def wait(self) -> int:
        """Until it ends by itself; its exit status."""
        assert self._process is not None, f"{self.name} was not started"
        return await self._process.wait()

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def tail(self, lines: int = 30) -> str:
        shown = "\n".join(f"    {line}" for line in self.text().splitlines()[-lines:])
        return f"  {self.log}:\n{shown or '    (nothing)'}"


def die_with_parent() -> None:
    """Between fork and exec: be ended when the tests are, however they end."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


async def eventually(
    poll: Callable[[], T], *, within: float = PATIENCE, what: str = "", every: float = 0.05
) -> T:
    """The first true value of `poll`; it is asked until then, `within` seconds at most."""
    limit = time.monotonic() + within
    while not (value := poll()):
        if time.monotonic() > limit:
            raise AssertionError(f"not within {within:g} s: {what or poll}")
        await asyncio.sleep(every)
    return value


async def port_open(host: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in listed.split()]
