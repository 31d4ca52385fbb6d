"""Notices that the machine slept. Nothing else does: monotonic time, by which all here waits,
stood still with it, while registrations ran out, connections were given up at their other ends, and
the homeserver has stopped trying.

Linux has a clock that goes on in sleep (CLOCK_BOOTTIME). Neither is ever set, so that a wall clock
that jumps is not taken for it. A virtual machine that is paused from outside cannot tell.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

LOOK = 1.0  # seconds between two looks
# Of sleep. What is shorter, connections and registrations survive, and calls may.
LONG = 45.0


def slept_seconds() -> float:
    """How long the machine has slept since some time that never changes."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)


async def watch(
    woke: Callable[[float], None],
    *,
    look: Callable[[], float] = slept_seconds,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Call `woke` after each long sleep, with its seconds; never returns."""
    before = look()
    while True:
        await sleep(LOOK)
        now = look()
        if now - before >= LONG:
            woke(now - before)
        before = now
