"""One measurement: an engine, a case, so many calls; CPU, memory, loss and delay."""

import asyncio
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from media.plane import (
    Report,
)
from tests.bench.media.engines import Engine, Opened
from tests.bench.media.load import Load

WARM_UP = 2.0  # seconds before anything counts


@dataclass(frozen=True, slots=True)
class Case:
    """What the two ends speak."""

    letter: str
    browser: str
    pbx: str

    @property
    def title(self) -> str:
        names = {"opus": "Opus", "g722": "G.722", "pcmu": "PCMU"}
        return f"{names[self.browser]} ↔ {names[self.pbx]}"


CASES = (
    Case("T", "opus", "pcmu"),
    Case("W", "opus", "g722"),
    Case("R", "pcmu", "pcmu"),
    Case("O", "opus", "opus"),
)


@dataclass(frozen=True, slots=True)
class Result:
    """What was measured. CPU is that of the engine's processes, as milliseconds for each second of
    each call; memory is what is theirs alone."""

    engine: str
    case: Case
    calls: int
    cpu: float
    windows: tuple[float, ...]
    kilobytes: float  # per call
    expected: int
    missing: int
    delay_p50_ms: float
    delay_p99_ms: float
    sound_ms: float
    generator_late_ms: float
    lost_inside: int  # packets that our engine says it never got; 0 for the others

    @property
    def loss(self) -> float:
        return self.missing / max(1, self.expected)


async def measure(
    make: Callable[[], Engine], load: Load, case: Case, calls: int, windows: int, seconds: float
) -> Result:
    """Start the engine, bring the calls up, play, and count in `windows` of so many `seconds`."""
    engine = make()
    try:
        await engine.start()
        await load.ask({"op": "reset"})
        # The first calls load what each process loads once; what the others add is what one takes.
        opened: list[Opened] = []
        before, first = 0, min(calls - 1, len(engine.pids))
        for number in range(calls):
            if number == first:
                before = private_memory(engine.pids)
            opened.append(await load.call(engine, number, case.browser, case.pbx))
        length = WARM_UP + windows * seconds + 0.5
        await load.ask({"op": "run", "seconds": length, "from": WARM_UP})
        await asyncio.sleep(WARM_UP)
        counted = []
        for _ in range(windows):
            counted.append(await _window(engine, calls, seconds))
        grown = private_memory(engine.pids) - before
        seen = await load.hear()
        reports = [await one.close() for one in opened]
    finally:
        await engine.stop()
    return Result(
        engine=engine.name,
        case=case,
        calls=calls,
        cpu=statistics.median(counted),
        windows=tuple(counted),
        kilobytes=grown / 1024 / (calls - first),
        lost_inside=lost(reports),
        **seen,
    )


async def _window(engine: Engine, calls: int, seconds: float) -> float:
    cpu, start = cpu_seconds(engine.pids), time.monotonic()
    await asyncio.sleep(seconds)
    spent = cpu_seconds(engine.pids) - cpu
    return spent / (time.monotonic() - start) / calls * 1000


def cpu_seconds(pids: Sequence[int]) -> float:
    """By the kernel's CPU clock of each process, all of its threads together."""
    return sum(time.clock_gettime(~pid << 3 | 2) for pid in pids)


def private_memory(pids: Sequence[int]) -> int:
    """Bytes that they have written and no other process shares. Pages of libraries are left out:
    whether those that a first call touches are private depends on what else runs."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "Private_Dirty":
                total += int(value.split()[0]) * 1024
    return total


def lost(reports: Sequence[Report | None]) -> int:
    return sum(r.webrtc.packets_lost + r.sdes.packets_lost for r in reports if r is not None)
