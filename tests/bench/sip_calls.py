"""Full calls per second of one core: our user agent beside the other ones for Python.

A call is INVITE, 100, 180, 200, ACK, BYE, 200 with a description of ten lines each way, between two
user agents in one process over UDP on loopback. UDP, because it is the one transport that all of
them have; both ends and everything below them are counted, because not all of them can be cut in
half. What is measured is the process's CPU time; each runs in a process of its own.

In a burst, short windows take turns, so that a busy machine slows all alike, and their median
counts. Sustained is what a full core does for good: a transaction lives for half a minute, and only
after that a user agent carries as many of them as it ever will. So each is kept busy for so long,
and then counted for a while.
"""

import json
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# Until the transactions of the first calls are gone, and what is counted after that, in seconds.
FILLING = 36.0
COUNTED = 12.0

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Contender:
    """A program of `tests.bench.peers`.

    Attributes:
        calls: in one window; it should take a second or two.
        arguments: of the program.
        paced: by itself, because a full core is nothing that it can do.
    """

    name: str
    module: str
    calls: int
    remark: str = ""
    arguments: tuple[str, ...] = ()
    paced: bool = False


US = Contender("Ringback", "ringback_calls", 400)
PEERS = (
    Contender("aiosipua 0.7.1", "aiosipua_calls", 400, "client transactions repeat nothing"),
    Contender("sipua 0.5.7", "sipua_calls", 200, "dialogs and transactions without its `Call`"),
    Contender("sippy 2.5.0", "sippy_calls", 200),
    Contender(
        "PJSUA2 2.15.1",
        "pjsua_calls",
        50,
        "C; opens its media sockets, decodes nothing",
        paced=True,
    ),
)

HEAD = (
    "| user agent | in a burst: CPU per call, ms (min … max) | ours is "
    "| sustained: CPU per call, ms | calls/s of one core | ours is | |\n"
    "| --- | --- | --- | --- | --- | --- | --- |"
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

    def window(self, *, warm_up: bool = False) -> float:
        """Run a window; return the milliseconds of each call, kept unless it only warms up."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{self.contender.calls}\n")
        self._process.stdin.flush()
        for line in self._process.stdout:  # a library may print before it is asked anything
            if line.startswith("{"):
                found = json.loads(line)
                took = float(1000 * found["cpu"] / found["calls"])
                if not warm_up:
                    self.per_call.append(took)
                return took
        raise RuntimeError(f"{self.contender.name} ended")

    def sustain(self) -> float:
        """Keep it busy until it is full, and return what a call takes then."""
        began = time.monotonic()
        counted = []
        while (now := time.monotonic()) < began + FILLING + COUNTED:
            took = self.window(warm_up=True)
            if now >= began + FILLING:
                counted.append(took)
        return statistics.mean(counted)

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
    sustained: dict[str, float] = {}
    try:
        for number in range(windows + 1):
            say(f"calls: window {number} of {windows}" if number else "calls: warming up")
            for one in running:
                one.window(warm_up=number == 0)
        for one in running:
            if not one.contender.paced:
                say(f"calls: sustained, {one.contender.name}")
                sustained[one.contender.name] = one.sustain()
    finally:
        for one in running:
            one.end()
    burst = statistics.median(running[0].per_call)
    return [
        _row(one, burst, sustained.get(one.contender.name), sustained[US.name]) for one in running
    ]


def _row(one: Running, our_burst: float, sustained: float | None, ours: float) -> str:
    def times(theirs: float, ours: float) -> str:
        return "" if one.contender is US else f"{theirs / ours:.2f} × as fast"

    burst = statistics.median(one.per_call)
    figures = [
        one.contender.name,
        f"{burst:.2f} ({min(one.per_call):.2f} … {max(one.per_call):.2f})",
        times(burst, our_burst),
    ]
    if sustained is None:
        figures += ["", "", ""]
    else:
        figures += [f"{sustained:.2f}", f"{1000 / sustained:.0f}", times(sustained, ours)]
    return f"| {' | '.join([*figures, one.contender.remark])} |"
