"""`make bench-sip`: what the SIP user agent costs, beside others for Python.

    python -m tests.bench.sip [--windows N] [--peers PYTHON]

Prints Markdown tables; `docs/benchmarks.md` holds a run of them. Compare within a run.
"""

import asyncio
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from tests.bench import sip_calls, sip_load, sip_memory, sip_messages


@click.command()
@click.option("--windows", default=7, show_default=True, help="Of each contender.")
@click.option(
    "--peers",
    type=click.Path(exists=True, path_type=Path),
    help="An interpreter that has the peers; without it we run alone.",
)
@click.option("--accounts", default=1000, show_default=True, help="Registered at once.")
@click.option("--rate", default=100.0, show_default=True, help="Calls per second to them.")
def main(windows: int, peers: Path | None, accounts: int, rate: float) -> None:
    """Measure the SIP user agent."""
    say(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}\n")
    python = Path(sys.executable)
    rows = sip_messages.measure(python=python, peers=peers, windows=windows, say=progress)
    show("Messages", sip_messages.HEAD, rows)
    rows = sip_calls.measure(python=python, peers=peers, windows=windows, say=progress)
    show("Full calls", sip_calls.HEAD, rows)
    show("Memory", sip_memory.HEAD, sip_memory.measure())
    load = sip_load.measure(accounts=accounts, rate=rate, seconds=20, say=progress)
    show("Many accounts, over TLS", sip_load.HEAD, asyncio.run(load))


def show(title: str, head: str, rows: Sequence[str]) -> None:
    say(f"\n### {title}\n\n{head}")
    for row in rows:
        say(row)


def say(text: str) -> None:
    click.echo(text)


def progress(text: str) -> None:
    click.echo(text, err=True)


if __name__ == "__main__":
    main()
