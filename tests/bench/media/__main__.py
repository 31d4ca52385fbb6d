"""`make bench-media`: what a call costs in our media plane, beside rtpengine and aiortc.

    python -m tests.bench.media [--peers PYTHON] [--quick] [--only CASES] [--calls N,N]

Prints Markdown tables; `docs/benchmarks.md` holds a run of them. Compare within a run: the engines
take turns on the same load, case by case. Who is missing is named; nobody is skipped in silence.
"""

import asyncio
import os
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from tests.bench.media.engines import Engine, EngineError, engines
from tests.bench.media.load import Load
from tests.bench.media.measure import CASES, Case, Result, measure

AIORTC_CALLS = 5  # ten fill a core; ours beside it carries as many
CAPACITY = 60  # T calls that two cores must carry
_HEAD = (
    "| calls | engine | ms/call-s (min … max) | ours is | missing | added delay p50 / p99, ms "
    "| delay of the sound, ms | kB per call |\n| --- | --- | --- | --- | --- | --- | --- | --- |"
)


@click.command()
@click.option(
    "--peers",
    type=click.Path(exists=True, path_type=Path),
    help="An interpreter that has aiortc; without it aiortc is left out.",
)
@click.option("--quick", is_flag=True, help="25 calls only, short windows.")
@click.option("--only", default="TWRO", show_default=True, help="Cases.")
@click.option("--calls", "numbers", default="", help="Of calls at once, separated by commas.")
def main(peers: Path | None, quick: bool, only: str, numbers: str) -> None:
    """Measure the media planes."""
    counts = [int(n) for n in numbers.split(",") if n] or ([25] if quick else [10, 25, 50])
    cases = [case for case in CASES if case.letter in only.upper()]
    asyncio.run(run(peers, cases, counts, quick=quick))


async def run(
    peers: Path | None, cases: Sequence[Case], counts: Sequence[int], *, quick: bool
) -> None:
    say(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}\n")
    windows, seconds = (3, 1.5) if quick else (3, 2.5)
    load = Load()
    await load.start()
    try:
        for case in cases:
            results = []
            for count in counts:
                for make in engines(None):
                    results.append(await attempt(make, load, case, count, windows, seconds))
            for make in (engines(peers)[0], engines(peers)[-1]) if peers is not None else ():
                results.append(await attempt(make, load, case, AIORTC_CALLS, windows, seconds))
            show(case, [r for r in results if r is not None])
        if not quick and "T" in {case.letter for case in cases}:
            result = await attempt(engines(None)[0], load, CASES[0], CAPACITY, windows, seconds)
            if result is not None:
                show_capacity(result)
    finally:
        await load.stop()


async def attempt(
    make: Callable[[], Engine],
    load: Load,
    case: Case,
    calls: int,
    windows: int,
    seconds: float,
) -> Result | None:
    """A measurement; one that cannot be had is told and costs the others nothing."""
    try:
        result = await measure(make, load, case, calls, windows, seconds)
    except (EngineError, TimeoutError) as error:
        progress(f"{case.letter} {calls}: {error or 'no answer'}")
        return None
    progress(
        f"{case.letter} {calls} {result.engine}: {result.cpu:.2f} ms/call-s,"
        f" late {result.generator_late_ms:.1f} ms"
    )
    return result


def show(case: Case, results: Sequence[Result]) -> None:
    say(f"\n### {case.letter}: {case.title}\n\n{_HEAD}")
    ours = {r.calls: r for r in results if r.engine == "Ringback"}
    for r in results:
        same = ours.get(r.calls)
        ratio = "" if r.engine == "Ringback" or same is None else f"{same.cpu / r.cpu:.2f} ×"
        say(
            f"| {r.calls} | {r.engine} | {r.cpu:.1f} ({min(r.windows):.1f} … {max(r.windows):.1f}) "
            f"| {ratio} | {r.loss:.2%} | {r.delay_p50_ms:.2f} / {r.delay_p99_ms:.2f} "
            f"| {r.sound_ms:.1f} | {r.kilobytes:.0f} |"
        )
    late = max(results, key=lambda r: r.generator_late_ms, default=None)
    if late is not None:
        say(
            f"\nThe load itself was late by {late.generator_late_ms:.1f} ms at most (p99 of a run)."
        )


def show_capacity(r: Result) -> None:
    say(f"\n### {r.calls} calls at once\n")
    say(f"{r.case.title} on {os.cpu_count()} cores: {r.cpu:.1f} ms per call-second;")
    say(f"{r.missing} of {r.expected} packets did not leave, {r.lost_inside} never got to us;")
    say(f"added delay p50 {r.delay_p50_ms:.2f} ms, p99 {r.delay_p99_ms:.2f} ms.")


def say(text: str) -> None:
    click.echo(text)


def progress(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    main()
