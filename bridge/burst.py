"""Crowds of texts: what is said at once of what a number sends, and when a stranger gets a room.

A number that sends a thousand texts in a minute fills a room, and a thousand strangers fill the
list of rooms. Nothing of it is lost: what is not said at once is in the database like any other
text. Of a number, only so many texts within a minute are said as the line's setting allows; the
rest is folded into a notice, told when the burst is over, and said when its reader asks for it.
Strangers who write wait for each other in order. One who calls cannot wait: where it is not let in
at once it rings in the room of withheld numbers, and gets a room of its own another time.
"""

import asyncio
import time
from collections import OrderedDict, defaultdict, deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from bridge import wording
from bridge.config import LineSection
from bridge.db.patience import persist
from bridge.db.portals import Party
from bridge.db.texts import IncomingText, IncomingTexts
from bridge.numbers import PhoneNumber
from bridge.outbox import Notices
from bridge.routing import Routing
from bridge.task import Tasks

WINDOW = 60.0  # seconds; what the settings count in
QUIET = 10.0  # seconds without a text of its number end a burst
MORE = 50  # folded texts that are said when somebody asks; a screenful or two
MAX_KNOWN = 4096  # numbers of which we know when they last wrote; the longest silent are forgotten


class Bursts:
    """Folds what is too much.

    Args:
        sleep: waits for the end of a burst; replaced by tests.
    """

    def __init__(
        self,
        *,
        texts: IncomingTexts,
        routing: Routing,
        notices: Notices,
        tasks: Tasks,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._texts = texts
        self._routing = routing
        self._notices = notices
        self._tasks = tasks
        self._sleep = sleep
        self._shown: OrderedDict[tuple[str, str], deque[int]] = OrderedDict()
        self._folding: dict[Party, int] = {}

    async def start(self) -> None:
        """Tell what an earlier run folded and did not tell."""
        for party in await self._texts.folded_parties():
            self._count(party)

    def admits(self, text: IncomingText, now_ms: int) -> bool:
        """Whether a text that came now, and is no repeat, is said at once."""
        line = self._routing.line(text.line)
        if line is None:
            return True  # and is dropped there
        key = (text.line, text.number)
        times = self._shown.setdefault(key, deque())
        self._shown.move_to_end(key)
        while len(self._shown) > MAX_KNOWN:
            self._shown.popitem(last=False)
        while times and now_ms - times[0] >= WINDOW * 1000:
            times.popleft()
        if len(times) >= line.shown_per_minute:
            return False
        times.append(now_ms)
        return True

    async def fold(self, texts: Sequence[IncomingText]) -> None:
        """Keep texts back; after a crash before this they are said, which loses nothing."""
        if not texts:
            return
        fold = partial(self._texts.fold, texts)
        await persist("texts to be folded", fold, sleep=self._sleep)
        for text in texts:
            self._count(text.party)

    async def more(self, party: Party) -> tuple[list[IncomingText], int]:
        """Take up folded texts, oldest first, to be said now.

        Returns:
            The texts, and how many are left.
        """
        texts = await self._texts.unfold(party, MORE)
        left, _ = await self._texts.folded(party)
        return texts, left

    def _count(self, party: Party) -> None:
        is_new = party not in self._folding
        self._folding[party] = self._folding.get(party, 0) + 1
        if is_new:
            self._tasks.start("tell of a burst", self._tell(party))

    async def _tell(self, party: Party) -> None:
        """Wait for the burst to end, but for no longer than a window, and tell of it."""
        waited, before = 0.0, 0
        while waited < WINDOW and before != self._folding[party]:
            before = self._folding[party]
            await self._sleep(QUIET)
            waited += QUIET
        del self._folding[party]  # what comes from now on is another burst
        line = self._routing.line(party.line)
        look = partial(self._texts.folded, party)
        count, last = await persist("the end of a burst", look, sleep=self._sleep)
        if line is None or not count:
            return
        number = PhoneNumber(party.number)
        words = wording.folded(count, number)
        key = f"burst:{last}"
        await self._notices.leave_notice(line, number, party.user_id, words, name="", key=key)
        told = partial(self._texts.told, party, last)
        await persist("a burst that was told", told, sleep=self._sleep)


class FirstContacts:
    """Lets strangers in one after the other, on each line, whether they write or call.

    Args:
        sleep, clock: replaced by tests; seconds.
    """

    def __init__(
        self,
        *,
        sleep: Callable[[float], Awaitable[None]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sleep = sleep
        self._clock = clock
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._times: defaultdict[str, deque[float]] = defaultdict(deque)
        self._admitted: OrderedDict[tuple[str, str], None] = OrderedDict()

    async def wait(self, line: LineSection, number: PhoneNumber) -> None:
        """Wait for a stranger's turn; those who come first go first."""
        key, times = (line.name, number.text), self._times[line.name]
        if key in self._admitted:
            return
        async with self._locks[line.name]:
            if key in self._admitted:  # by another of the line's users
                return
            if len(times) >= line.strangers_per_minute:
                pause = times[0] + WINDOW - self._clock()
                if pause > 0:
                    await self._sleep(pause)
                times.popleft()
            self._admit(key, times)

    def admits(self, line: LineSection, number: PhoneNumber) -> bool:
        """Whether a stranger is let in now; if not, it has not waited either."""
        key, times = (line.name, number.text), self._times[line.name]
        if key in self._admitted:
            return True
        if self._locks[line.name].locked():
            return False  # those who wait came first
        while times and self._clock() - times[0] >= WINDOW:
            times.popleft()
        if len(times) >= line.strangers_per_minute:
            return False
        self._admit(key, times)
        return True

    def _admit(self, key: tuple[str, str], times: deque[float]) -> None:
        times.append(self._clock())
        self._admitted[key] = None
        while len(self._admitted) > MAX_KNOWN:
            self._admitted.popitem(last=False)
