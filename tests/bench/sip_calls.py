"""Full calls per second of one core: our user agent beside the other ones for Python.

A call is INVITE, 100, 180, 200, ACK, BYE, 200 with a description of ten lines each way, between two
user agents in one process over UDP on loopback. UDP, because it is the one transport that all of
them have; both ends and everything below them are counted, because not all of them can be cut in
half. What is measured is the process's CPU time; each runs in a process of its own, in windows that
take turns, so that a busy machine slows all alike. The median of the windows counts.
"""

import json
import statistics
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Contender:
    """A program of `tests.bench.peers`.

    Attributes:
        calls: in one window; it should take a second or two.
        arguments: of the program.
    """

    name: str
    module: str
    calls: int
    remark: str = ""
    arguments: tuple[str, ...] = ()


US = Contender("Ringback", "ringback_calls", 400)
PEERS = (
    Contender("aiosipua 0.7.1", "aiosipua_calls", 400, "client transactions repeat nothing"),
    Contender("sipua 0.5.7", "sipua_calls", 200, "dialogs and transactions without its `Call`"),
    Contender("sippy 2.5.0", "sippy_calls", 200),
    Contender("PJSUA2 2.15.1", "pjsua_calls", 50, "C; opens its media sockets, decodes nothing"),
)

HEAD = (
    "| user agent | CPU per call, ms: median (min … max) | calls/s of one core | ours is | |\n"
    "| --- | --- | --- | --- | --- |"
)


class Running:
    """A contender at work."""

    def __init__(self, contender: Contender, interpreter: Path) -> None:
        self.contender = contender
        self.per_call: list[float] = []
        self._process = subprocess.Popen(
            [
                str(interpreter),
                "-m",
                f"tests.bench.peers.{contender.module}",
                *contender.arguments,
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def window(self, *, warm_up: bool = False) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{self.contender.calls}\n")
        self._process.stdin.flush()
        for line in self._process.stdout:  # a library may print before it is asked anything
            if line.startswith("{"):
                found = json.loads(line)
                if not warm_up:
                    self.per_call.append(1000 * found["cpu"] / found["calls"])
                return
        raise RuntimeError(f"{self.contender.name} ended")

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()


def measure(
    *, python: Path, peers: Path | None, windows: int, say: Callable[[str], object]
) -> list[str]:
    """Return the rows of a table.

    Args:
        python: the interpreter for us.
        peers: one that has the peers, None to go without them.
    """
    running = [Running(US, python)]
    if peers is not None:
        running += [Running(peer, peers) for peer in PEERS]
    try:
        for number in range(windows + 1):
            say(f"calls: window {number} of {windows}" if number else "calls: warming up")
            for one in running:
                one.window(warm_up=number == 0)
    finally:
        for one in running:
            one.end()
    ours = statistics.median(running[0].per_call)
    return [_row(one.contender, one.per_call, ours) for one in running]


def _row(contender: Contender, per_call: Sequence[float], ours: float) -> str:
    middle = statistics.median(per_call)
    times = "" if contender is US else f"{middle / ours:.2f} × as fast"
    spread = f"{middle:.2f} ({min(per_call):.2f} … {max(per_call):.2f})"
    return f"| {contender.name} | {spread} | {1000 / middle:.0f} | {times} | {contender.remark} |"
