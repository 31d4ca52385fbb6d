"""Waits for a database that is away, where what is to be written is known to nobody else."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from bridge.db.interface import DatabaseAway, Result

log = logging.getLogger(__name__)

FIRST_PAUSE = 0.5  # seconds; doubled each time
LONGEST_PAUSE = 5.0
# What a call may wait for the database, which is in good time for everything but a database that is
# away: what it knows and stores is worth having, but not worth a caller's patience.
CALL_LIMIT = 1.0


async def persist(
    what: str,
    work: Callable[[], Awaitable[Result]],
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Result:
    """Do something in the database, however long that is away; it ends with the task at the latest.

    Args:
        what: for the log.
        work: may be done again after it was done, because a lost answer says nothing.
        sleep: waits between attempts; replaced by tests.
    """
    pause = FIRST_PAUSE
    while True:
        try:
            return await work()
        except DatabaseAway as error:
            log.info("%s waits for the database: %s", what, error)
        await sleep(pause * random.uniform(0.5, 1.0))
        pause = min(LONGEST_PAUSE, 2 * pause)
