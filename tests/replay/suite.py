"""What a homeserver lawfully does to an application service, and what must come of it.

The suite is the homeserver. Each event that it pushes bears a mark of its own in its text; what the
application service did is counted by those marks: each one exactly once is what is wanted. It knows
nothing of what it tests but an address, a token, rooms, and a way to ask for the marks.

A homeserver (application service API, "Pushing events") pushes one transaction at a time and
repeats it until it is answered 200. In practice it also gives the same event in another
transaction, starts its transaction ids again at 1 when its database or registration is made anew,
and two of its workers push at once.
"""

import asyncio
import itertools
import re
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import aiohttp

MARK = re.compile(r"replay-[0-9a-f]{8}-[a-z0-9]+-[0-9]+")

# Seconds in which nothing may take effect before the effects are taken as final.
QUIET = 0.5
# For everything that was taken to take effect.
PATIENCE = 60.0
# A transaction that is not taken for this long is stuck.
PUSHING_LIMIT = 90.0
PAUSE = 0.05
EVENTS_PER_PUSH = 100

# None of these is an event; a homeserver has sent worse.
MALFORMED: tuple[object, ...] = (
    None,
    "text",
    [],
    {"event_id": "$only"},
    {"event_id": "$x", "room_id": "!x:x", "type": 5, "sender": None, "content": "text"},
)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong in the application service for a while.

    Attributes:
        refuses: nothing can be stored meanwhile, so that every answer must be a 5xx. Otherwise each
            answer may be 200 or 5xx.
    """

    name: str
    begin: Callable[[], Awaitable[None]]
    end: Callable[[], Awaitable[None]]
    refuses: bool


@dataclass(frozen=True, slots=True)
class Target:
    """An application service under test.

    Attributes:
        url: where it listens.
        token: the homeserver's, of the registration.
        rooms: in which it acts upon a text.
        sender: a user whose texts it acts upon.
        effects: all that it has done so far, in order: texts with a mark in each. A door at which a
            doubled effect would show twice, please.
    """

    url: str
    token: str = field(repr=False)
    rooms: Sequence[str]
    sender: str
    effects: Callable[[], Awaitable[Sequence[str]]]
    faults: Sequence[Fault] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one scenario.

    Attributes:
        wrong: what else was not as it should be, in words.
    """

    name: str
    pushes: int
    events: int
    lost: int
    doubled: int
    wrong: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        return not (self.lost or self.doubled or self.wrong)


class Suite:
    """One run against one application service.

    Args:
        size: transactions of the first scenario; the others are in proportion.
        repeats: how often each of them is pushed.
        patience: seconds within which everything that was taken has to take effect.
        quiet: seconds without an effect after which no more are expected.

    Attributes:
        took: seconds from each push to its answer, where nothing was wrong with the target.
    """

    def __init__(
        self,
        target: Target,
        *,
        size: int = 1000,
        repeats: int = 10,
        patience: float = PATIENCE,
        quiet: float = QUIET,
    ) -> None:
        self.took: list[float] = []
        self._target = target
        self._size = size
        self._repeats = repeats
        self._patience = patience
        self._quiet = quiet
        self._run = secrets.token_hex(4)
        self._txns = itertools.count(secrets.randbits(40))
        self._pushes = 0
        self._first: list[dict[str, Any]] = []
        self._session: aiohttp.ClientSession | None = None

    async def run(self, *, say: Callable[[str], None] = lambda text: None) -> list[Finding]:
        """Play every scenario, one after the other."""
        found: list[Finding] = []
        scenarios = [
            ("repeated", self._repeated),
            ("two at once", self._two_at_once),
            ("same events, new transactions", self._new_transactions),
            ("same transaction ids, new events", self._reused_transactions),
            ("ids from 1 again", self._from_one),
            ("malformed events inside", self._malformed),
            ("a hundred events a push", self._large),
            ("wrong tokens", self._tokens),
        ]
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
            self._session = session
            for name, scenario in scenarios:
                say(name)
                found.append(await self._play(name, scenario))
            for fault in self._target.faults:
                say(fault.name)
                found.append(await self._play(fault.name, partial(self._faulty, fault)))
        return found

    async def _play(
        self, name: str, scenario: Callable[[], Awaitable[tuple[list[dict[str, Any]], list[str]]]]
    ) -> Finding:
        self._pushes = 0
        events, wrong = await scenario()
        wanted = [event["content"]["body"] for event in events]
        done = await self._settle(wanted)
        counts = Counter(done)
        lost = sum(mark not in counts for mark in wanted)
        # Also what an earlier scenario did once already.
        doubled = sum(count - 1 for count in counts.values())
        for room in self._target.rooms:
            said = [event["content"]["body"] for event in events if event["room_id"] == room]
            places = {mark: place for place, mark in reversed(list(enumerate(done)))}
            order = [places[mark] for mark in said if mark in places]
            if order != sorted(order):
                wrong.append(f"{room}: out of order")
        return Finding(name, self._pushes, len(wanted), lost, doubled, tuple(wrong))

    async def _settle(self, wanted: Sequence[str]) -> list[str]:
        """Wait until all is there and nothing more comes; the marks of this run."""
        until = time.monotonic() + self._patience
        before: list[str] | None = None
        while True:
            done = [
                mark.group()
                for text in await self._target.effects()
                if (mark := MARK.search(text)) and self._run in mark.group()
            ]
            complete = set(wanted) <= set(done) and done == before
            if complete or time.monotonic() > until:
                return done
            before = done
            await asyncio.sleep(self._quiet)

    # --- scenarios: the events that must each take effect once, and what else was wrong

    async def _repeated(self) -> tuple[list[dict[str, Any]], list[str]]:
        wrong: list[str] = []
        self._first = self._events("repeated", self._size)
        for event in self._first:
            txn = self._txn()
            for _ in range(self._repeats):
                await self._expect(200, txn, [event], wrong)
        return self._first, wrong

    async def _two_at_once(self) -> tuple[list[dict[str, Any]], list[str]]:
        wrong: list[str] = []
        events = self._events("atonce", self._share())
        for event in events:
            txn = self._txn()
            await asyncio.gather(*(self._expect(200, txn, [event], wrong) for _ in range(2)))
        return events, wrong

    async def _new_transactions(self) -> tuple[list[dict[str, Any]], list[str]]:
        wrong: list[str] = []
        for event in self._first:
            await self._expect(200, self._txn(), [event], wrong)
        return [], wrong

    async def _reused_transactions(self) -> tuple[list[dict[str, Any]], list[str]]:
        wrong: list[str] = []
        events = self._events("reused", 2 * self._share())
        for first, second in zip(events[::2], events[1::2], strict=True):
            txn = self._txn()
            await self._expect(200, txn, [first], wrong)
            await self._expect(200, txn, [first, second], wrong)
        return events, wrong

    async def _from_one(self) -> tuple[list[dict[str, Any]], list[str]]:
        wrong: list[str] = []
        events = self._events("fromone", 2 * self._share())
        for part in (events[::2], events[1::2]):
            for number, event in enumerate(part, 1):
                await self._expect(200, str(number), [event], wrong)
        return [*events[::2], *events[1::2]], wrong

    async def _malformed(self) -> tuple[list[dict[str, Any]], list[str]]:
        wrong: list[str] = []
        events = self._events("malformed", 2 * self._share())
        for first, last in zip(events[::2], events[1::2], strict=True):
            await self._expect(200, self._txn(), [first, *MALFORMED, last], wrong)
        return events, wrong

    async def _large(self) -> tuple[list[dict[str, Any]], list[str]]:
        wrong: list[str] = []
        events: list[dict[str, Any]] = []
        for _ in range(max(1, self._share() // 4)):
            part = self._events("large", EVENTS_PER_PUSH, first=len(events))
            txn = self._txn()
            for _ in range(2):
                await self._expect(200, txn, part, wrong)
            events += part
        return events, wrong

    async def _tokens(self) -> tuple[list[dict[str, Any]], list[str]]:
        wrong: list[str] = []
        token = self._target.token
        for header, allowed in (
            ("Bearer wrong", (403,)),
            (f"Bearer {token}x", (403,)),
            ("Bearer ", (401, 403)),
            ("", (401, 403)),
        ):
            [event] = self._events("tokens", 1)
            status = await self._push(self._txn(), [event], authorization=header)
            if status not in allowed:
                wrong.append(f"{header.replace(token, 'TOKEN')!r}: {status}")
        done = await self._settle([])
        wrong += [f"{mark} took effect" for mark in done if "-tokens-" in mark]
        return [], wrong

    async def _faulty(self, fault: Fault) -> tuple[list[dict[str, Any]], list[str]]:
        """Push into the fault, and what was not taken again after it, as homeservers do."""
        wrong: list[str] = []
        events = self._events(re.sub("[^a-z0-9]", "", fault.name.lower()), self._share())
        owed: list[tuple[str, dict[str, Any]]] = []
        await fault.begin()
        for event in events:
            txn = self._txn()
            # What is behind one that was not taken would wait in a homeserver.
            status = 0 if owed and not fault.refuses else await self._push(txn, [event])
            if status != 200:
                owed.append((txn, event))
            if status and (status == 200 if fault.refuses else status != 200 and status < 500):
                wrong.append(f"during {fault.name}: {status}")
        await fault.end()
        async with asyncio.timeout(PUSHING_LIMIT):
            for txn, event in owed:
                while await self._push(txn, [event]) != 200:  # noqa: ASYNC110 - as homeservers do
                    await asyncio.sleep(PAUSE)
        return events, wrong

    # --- pushes

    def _share(self) -> int:
        """Transactions of the scenarios after the first."""
        return max(2, self._size // 5)

    def _txn(self) -> str:
        return str(next(self._txns))

    def _events(self, name: str, count: int, *, first: int = 0) -> list[dict[str, Any]]:
        made = []
        for number in range(first, first + count):
            mark = f"replay-{self._run}-{name}-{number}"
            made.append(
                {
                    "event_id": f"${mark}",
                    "room_id": self._target.rooms[number % len(self._target.rooms)],
                    "sender": self._target.sender,
                    "type": "m.room.message",
                    "origin_server_ts": time.time_ns() // 1_000_000,
                    "content": {"msgtype": "m.text", "body": mark},
                    "unsigned": {"age": 40},
                }
            )
        return made

    async def _expect(
        self, status: int, txn: str, events: Sequence[object], wrong: list[str]
    ) -> None:
        started = time.monotonic()
        found = await self._push(txn, events)
        self.took.append(time.monotonic() - started)
        if found != status:
            wrong.append(f"transaction {txn}: {found}")

    async def _push(
        self, txn: str, events: Sequence[object], *, authorization: str | None = None
    ) -> int:
        """One push; 0 if there was no answer."""
        assert self._session is not None, "not running"
        self._pushes += 1
        if authorization is None:
            authorization = f"Bearer {self._target.token}"
        headers = {"Authorization": authorization} if authorization else {}
        url = f"{self._target.url}/_matrix/app/v1/transactions/{txn}"
        try:
            async with self._session.put(
                url, json={"events": list(events)}, headers=headers
            ) as answer:
                await answer.read()
                return answer.status
        except aiohttp.ClientError:
            return 0


def percentile(took: Sequence[float], share: float) -> float:
    """Seconds within which this share was answered."""
    return sorted(took)[min(len(took) - 1, int(len(took) * share))]


def table(found: Sequence[Finding]) -> list[str]:
    """Markdown."""
    head = [
        "| scenario | pushes | events | lost | doubled | else |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    return head + [
        f"| {one.name} | {one.pushes} | {one.events} | {one.lost} | {one.doubled} | "
        f"{'; '.join(one.wrong[:3]) or '—'} |"
        for one in found
    ]
