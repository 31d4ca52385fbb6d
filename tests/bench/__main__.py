"""`make bench`: set-up times of real calls, and what the media path adds, as distributions.

    python -m tests.bench [--calls N] [--seconds S]

Prints Markdown tables; `docs/benchmarks.md` holds a run of them. Figures of one machine are not
those of another: compare within a run.
"""

import asyncio
import os
import platform
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from tests.bench import calls, media_delay
from tests.bench.distribution import HEAD, Distribution


@click.command()
@click.option("--calls", "count", default=30, show_default=True, help="Calls each way.")
@click.option("--seconds", default=30.0, show_default=True, help="Of each media case.")
def main(count: int, seconds: float) -> None:
    """Measure set-up times and the delay of the media path."""
    say(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}\n")
    with tempfile.TemporaryDirectory(prefix="ringback-bench-") as folder:
        show(
            "The media path, one direction",
            asyncio.run(media_delay.measure(seconds=seconds, say=say)),
        )
        show(
            "Real calls: Chromium, Synapse, Ringback, Asterisk",
            asyncio.run(calls.measure(Path(folder), calls=count, say=say)),
        )


def show(title: str, found: Sequence[Distribution]) -> None:
    say(f"\n### {title}\n\n{HEAD}")
    for distribution in found:
        say(distribution.row())


def say(text: str) -> None:
    click.echo(text)


if __name__ == "__main__":
    main()
