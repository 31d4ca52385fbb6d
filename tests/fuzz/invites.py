"""5,000 mutated INVITEs against a live user agent, which answers an OPTIONS after each.

`python -m tests.fuzz.invites [COUNT]` runs them and says how much memory they left behind;
tests/sip/test_hostile.py runs some.
"""

import gc
import logging
import sys
import tracemalloc

from tests.fuzz.line import Line
from tests.fuzz.mutation import invites, mutated

COUNT = 5000

# Between two INVITEs, so that what one left behind meets the next.
PAUSE = 0.1

# What the process may hold more after all are over (the bar is 5 MiB of resident memory).
GROWTH = 1024 * 1024


def survive(count: int, *, first: int = 0) -> None:
    """Bring the mutations one after the other on one line, and see that nothing is left."""
    line = Line()
    for number, data in enumerate(mutated(invites(), count, first=first), start=first):
        line.deliver(data)
        assert line.is_alive(), f"no answer after mutation {number}"
        for session in line.agent.sessions:
            session.reject(486, now=line.now)
        line.pump()
        line.wait(PAUSE)
    line.finish()


def growth(count: int) -> int:
    """Return by how many octets the process grew over `count` mutations."""
    survive(200)  # caches of the interpreter and of `re` fill first
    tracemalloc.start()
    gc.collect()
    before, _ = tracemalloc.get_traced_memory()
    survive(count)
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return after - before


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    count = int(sys.argv[1]) if len(sys.argv) > 1 else COUNT
    grown = growth(count)
    print(f"{count} mutated INVITEs: alive after each, {grown / 1024:+.0f} KiB")  # noqa: T201
    sys.exit(grown > GROWTH)
