"""Fuzz every target, or those named: `python -m tests.fuzz [--seconds N] [TARGET...]`."""

import argparse
import re
import subprocess
import sys

from tests.fuzz.run import FOLDER
from tests.fuzz.target import TARGETS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("targets", nargs="*", default=list(TARGETS))
    arguments = parser.parse_args()
    return max([fuzz(name, arguments.seconds) for name in arguments.targets])


def fuzz(name: str, seconds: int) -> int:
    """Fuzz one target in a process of its own, and say in a line what came of it."""
    FOLDER.mkdir(exist_ok=True)
    log = FOLDER / f"{name}.log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "tests.fuzz.run", name, str(seconds)]
        code = subprocess.call(command, stdout=output, stderr=subprocess.STDOUT)
    units = re.search(rb"number_of_executed_units: ([0-9]+)", log.read_bytes())
    count = "" if units is None else f", {int(units[1]):,} inputs"
    print(f"{name}: {'FAILED, see ' + str(log) if code else 'no fault'}{count}")  # noqa: T201
    return int(code != 0)


if __name__ == "__main__":
    sys.exit(main())
