"""Fetches the texts of roads that can be asked, again and again: the only way in where the provider
has no hook or we no public address, and beside hooks the way to what they could not bring.

A text that comes by hook and by list has one id, so that it is stored once. How far a list has been
read is stored after its texts are: a crash between the two reads some of them again, and loses
none. Of a list of several pages only its end is kept, because a page may not be there any more.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from bridge import wording
from bridge.db.interface import DatabaseAway
from bridge.road.carrier import Carrier
from bridge.road.result import Failure, by_status, refused
from bridge.road.road import ApiAnswer, Arrival, Later, PolledRoad, Refused, RoadError

log = logging.getLogger(__name__)

MAX_PAGE = 4 * 1024 * 1024  # octets: some thousand texts
MAX_PAGES = 100  # of one list; more is a list without an end
LONGEST_PAUSE = 900.0  # seconds between two attempts while it fails
TELL_AFTER = 900.0  # seconds of failing after which the users are told
JITTER = 0.1  # of a pause, so that many of us do not ask in step


class Cursors(Protocol):
    """Remembers how far a list was read, across restarts."""

    async def cursor(self, road: str) -> str | None:
        """Where to go on; None for a road that was never asked."""

    async def keep(self, road: str, cursor: str) -> None:
        """Everything before `cursor` is stored."""


class Poller:
    """Asks one road.

    Args:
        every: seconds between two lists.
        receive: takes texts, by the name of the road, and returns when they are stored.
        tell: says something to the users of the road's lines.
        clock: wall clock, seconds since 1970; asked once, when a road is new.
        sleep: waits between lists; replaced by tests.
    """

    def __init__(
        self,
        name: str,
        road: PolledRoad,
        *,
        every: float,
        carrier: Carrier,
        cursors: Cursors,
        receive: Callable[[str, Sequence[Arrival]], Awaitable[None]],
        tell: Callable[[str], None],
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._name = name
        self._road = road
        self._every = every
        self._carrier = carrier
        self._cursors = cursors
        self._receive = receive
        self._tell = tell
        self._clock = clock
        self._sleep = sleep
        self._trouble: Failure | None = None

    @property
    def status(self) -> str:
        """In a few words, for the health page."""
        return "up" if self._trouble is None else f"down: {self._trouble.reason}"

    async def run(self) -> None:
        """Ask until cancelled."""
        failing = 0.0  # seconds, as the pauses say; no clock that may jump
        pause = self._every
        told = False
        while True:
            before, self._trouble = self._trouble, await self._ask()
            trouble = self._trouble
            if trouble is None:
                if told:
                    self._tell(wording.ROAD_UP.format(road=self._name))
                failing, told, pause = 0.0, False, self._every
            else:
                if trouble != before:
                    log.warning("road %s cannot be asked for texts: %s", self._name, trouble.reason)
                if failing >= TELL_AFTER and not told:
                    told = True
                    words = wording.ROAD_DOWN.format(road=self._name, text=trouble.reason)
                    self._tell(words)
                pause = max(self._every, min(LONGEST_PAUSE, pause * 2))
                if isinstance(trouble, Later) and trouble.after is not None:
                    pause = max(pause, trouble.after)
                failing += pause
            await self._sleep(pause * random.uniform(1 - JITTER, 1 + JITTER))

    async def _ask(self) -> Failure | None:
        """Read the list to its end; what is wrong, None if nothing is."""
        try:
            cursor = await self._cursors.cursor(self._name)
            if cursor is None:
                cursor = self._road.begin(self._clock())
                await self._cursors.keep(self._name, cursor)
            return await self._read(cursor)
        except RoadError as error:
            return Refused(f"the provider's list cannot be read ({error})")
        except DatabaseAway:  # the texts stay where they are
            return Later(wording.DATABASE_AWAY)
        except Exception:  # the top of one question; the next is asked all the same
            log.exception("what road %s brought could not be stored", self._name)
            return Refused("they cannot be stored")

    async def _read(self, start: str) -> Failure | None:
        cursor = start
        for _ in range(MAX_PAGES):
            answer = await self._carrier.request(self._road.ask(cursor), most=MAX_PAGE)
            if not isinstance(answer, ApiAnswer):
                return answer
            if answer.status != 200:
                return by_status(answer) or refused(answer)
            page = self._road.history(answer, cursor)
            if page.unreadable:
                log.warning(
                    "road %s lists %d texts that cannot be read", self._name, page.unreadable
                )
            if page.texts:
                await self._receive(self._name, page.texts)
            cursor = page.cursor
            if not page.more:
                if cursor != start:
                    await self._cursors.keep(self._name, cursor)
                return None
        return Refused("the provider's list does not end")
