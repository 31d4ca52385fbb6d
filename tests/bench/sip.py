"""`make bench-sip`: what the SIP user agent costs, beside others for Python.

    python -m tests.bench.sip [--windows N] [--peers PYTHON]

Prints Markdown tables; `docs/benchmarks.md` holds a run of them. Compare within a run.
"""

import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from tests.bench import sip_calls, sip_messages


@click.command()
@click.option("--windows", default=7, show_default=True, help="Of each contender.")
@click.option(
    "--peers",
    type=click.Path(exists=True, path_type=Path),
    help="An interpreter that has the peers; without it we run alone.",
)
def main(windows: int, peers: Path | None) -> None:
    """Measure the SIP user agent."""
    say(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}\n")
    python = Path(sys.executable)
    rows = sip_messages.measure(python=python, peers=peers, windows=windows, say=progress)
    show("Messages", sip_messages.HEAD, rows)
    rows = sip_calls.measure(python=python, peers=peers, windows=windows, say=progress)
    show("Full calls", sip_calls.HEAD, rows)


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
