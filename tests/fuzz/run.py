"""Fuzz one target for a while: `python -m tests.fuzz.run TARGET SECONDS`.

Guided by coverage through atheris; where it has no wheel, by mutations alone. What it finds is
written to `.fuzz/`: make it a test in tests/sip/test_hostile.py or tests/media/test_hostile.py.
"""

import importlib
import sys
import time
from pathlib import Path

FOLDER = Path(".fuzz")

# Instrumented code takes so many times longer; the suite measures without.
INSTRUMENTED = 10


def main(name: str, seconds: int) -> None:
    try:
        atheris = importlib.import_module("atheris")
    except ImportError:
        _mutate(name, seconds)
        return
    with atheris.instrument_imports(include=["sip", "media"]):
        targets = importlib.import_module("tests.fuzz.target")
    target = targets.TARGETS[name]
    limit = float("inf") if name in targets.PLAYED else targets.SLOW * INSTRUMENTED

    def one(data: bytes) -> None:
        if targets.time_of(target, data) > limit:
            raise TimeoutError(f"{len(data)} octets took longer than {limit} s")

    corpus, found = FOLDER / name, FOLDER / f"{name}-"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(targets.seeds_of(name)):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = [
        f"-max_total_time={seconds}", "-max_len=65535", "-rss_limit_mb=512", "-timeout=5",
        "-print_final_stats=1", f"-artifact_prefix={found}", "-verbosity=0",
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *options, str(corpus)], one)
    atheris.Fuzz()


def _mutate(name: str, seconds: int) -> None:
    targets = importlib.import_module("tests.fuzz.target")
    until, number = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        for data in targets.inputs(name, 1, first=number):
            try:
                targets.TARGETS[name](data)
            except Exception:
                FOLDER.mkdir(exist_ok=True)
                (FOLDER / f"{name}-{number}").write_bytes(data)
                raise
        number += 1
    print(f"{name}: {number} mutations without atheris")  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
