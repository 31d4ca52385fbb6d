"""`make replay`: the suite at full length against our listener; with `--url` against any other.

python -m tests.replay [--size N] [--repeats N]
python -m tests.replay --url URL --room ROOM --sender USER --effects COMMAND [--fault ...]
"""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import click

from tests.replay.listener import listening
from tests.replay.suite import Fault, Suite, Target, percentile, table

# Between a push and its answer, 99 of 100; a homeserver pushes one transaction at a time.
ACK_LIMIT = 0.05


@click.command()
@click.option("--size", default=1000, show_default=True, help="Transactions of the first scenario.")
@click.option("--repeats", default=10, show_default=True, help="Pushes of each of them.")
@click.option("--url", help="Where the application service listens. Its token: HS_TOKEN.")
@click.option("--room", "rooms", multiple=True, help="A room in which it acts upon a text.")
@click.option("--sender", default="", help="A user whose texts it acts upon.")
@click.option("--effects", help="A shell command that prints one line for each thing it did.")
@click.option(
    "--fault",
    "faults",
    nargs=3,
    multiple=True,
    metavar="NAME BEGIN END",
    help="Trouble: two shell commands. Every answer meanwhile is to be 200 or 5xx.",
)
@click.option(
    "--outage",
    "outages",
    nargs=3,
    multiple=True,
    metavar="NAME BEGIN END",
    help="The same, in which nothing can be stored: every answer is to be 5xx.",
)
def main(
    size: int,
    repeats: int,
    url: str | None,
    rooms: Sequence[str],
    sender: str,
    effects: str | None,
    faults: Sequence[tuple[str, str, str]],
    outages: Sequence[tuple[str, str, str]],
) -> None:
    """Repeat, mix and break transactions, and count what came of them."""
    if url is None:
        good = asyncio.run(_test_ours(size, repeats))
    else:
        if not (rooms and sender and effects and "HS_TOKEN" in os.environ):
            raise click.UsageError("--url needs --room, --sender, --effects and HS_TOKEN")
        target = Target(
            url=url.rstrip("/"),
            token=os.environ["HS_TOKEN"],
            rooms=rooms,
            sender=sender,
            effects=_lines(effects),
            faults=(
                *(Fault(name, _run(begin), _run(end), False) for name, begin, end in faults),
                *(Fault(name, _run(begin), _run(end), True) for name, begin, end in outages),
            ),
        )
        good = asyncio.run(_test(target, size, repeats))
    sys.exit(0 if good else 1)


async def _test_ours(size: int, repeats: int) -> bool:
    with tempfile.TemporaryDirectory(prefix="ringback-replay-") as folder:
        async with listening(Path(folder)) as target:
            return await _test(target, size, repeats)


async def _test(target: Target, size: int, repeats: int) -> bool:
    suite = Suite(target, size=size, repeats=repeats)
    found = await suite.run(say=lambda text: click.echo(text, err=True))
    for line in table(found):
        click.echo(line)
    p50, p99 = (percentile(suite.took, share) * 1000 for share in (0.5, 0.99))
    click.echo(f"\n{len(suite.took)} answers: median {p50:.1f} ms, p99 {p99:.1f} ms")
    if p99 > ACK_LIMIT * 1000:
        click.echo(f"p99 is more than {ACK_LIMIT * 1000:.0f} ms")
    return all(one.good for one in found) and p99 <= ACK_LIMIT * 1000


def _run(command: str) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        await asyncio.to_thread(subprocess.run, command, shell=True, check=True)

    return run


def _lines(command: str) -> Callable[[], Awaitable[Sequence[str]]]:
    async def lines() -> Sequence[str]:
        done = await asyncio.to_thread(
            subprocess.run, command, shell=True, check=True, capture_output=True, text=True
        )
        return str(done.stdout).splitlines()

    return lines


if __name__ == "__main__":
    main()
