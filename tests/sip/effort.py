"""How much work something is, in CPU time, so that a busy machine does not make a test fail."""

import time
from collections.abc import Callable

# What no input of 64 KiB may take more than.
LIMIT = 0.05


def effort(work: Callable[[], object]) -> float:
    """Return the least CPU seconds of up to three runs."""
    least = float("inf")
    for _ in range(3):
        began = time.process_time()
        work()
        least = min(least, time.process_time() - began)
        if least < LIMIT:
            break
    return least
