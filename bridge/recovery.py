"""Goes on after the database was away, without a restart.

Whoever was in the middle of something waits for the database by themselves (`bridge.db.patience`).
What is left for here is what nobody knows of. PostgreSQL may commit and be gone before it says so:
the text was refused then, and yet is stored, and its repeat will be dropped as one. So when the
database is back, whoever works off one of its tables looks for rows that nobody works on, as at a
start; and again a little later, since a hanging server may do what was given up. And the homeserver
is woken, which else would hold back what we refused for as long as its growing pauses want.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from bridge.db.interface import Connection, Database, DatabaseAway
from bridge.db.postgres import STATEMENT_LIMIT

log = logging.getLogger(__name__)

PAUSE = 1.0  # between two looks at whether it is back
SETTLED = STATEMENT_LIMIT + 2.0  # seconds after which nothing that was given up is done any more


class Recovery:
    """Watches one database.

    Args:
        resume: each takes up what the database owes; raises `DatabaseAway` if that is away again.
        wake: has the homeserver deliver what it holds.
        sleep: waits; replaced by tests.
    """

    def __init__(
        self,
        *,
        database: Database,
        resume: Sequence[Callable[[], Awaitable[None]]],
        wake: Callable[[], Awaitable[None]],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._database = database
        self._resume = resume
        self._wake = wake
        self._sleep = sleep

    async def run(self) -> None:
        """Watch, and take up what is left after each absence; never returns."""
        seen = self._database.absences
        unsettled = 0.0
        while True:
            await self._sleep(PAUSE)
            absences = self._database.absences
            if absences != seen:
                if await self._take_up():
                    seen, unsettled = absences, SETTLED
                    await self._wake()
            elif unsettled > 0:
                unsettled -= PAUSE
                if unsettled <= 0:
                    await self._take_up()  # if it fails, that is another absence

    async def _take_up(self) -> bool:
        """Whether all could be taken up; if not, it is to be done again."""
        try:
            await self._database.commit(_nothing)  # a locked file can be read
            for resume in self._resume:
                await resume()
        except DatabaseAway as error:
            log.info("the database is still away: %s", error)
            return False
        except Exception:  # the top of this attempt; it would be the same again
            log.exception("what the database owes could not be taken up")
        return True


async def _nothing(connection: Connection) -> None:
    """A transaction that shows whether there can be one."""
