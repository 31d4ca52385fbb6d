"""Polling a provider that keeps a list, with virtual pauses and real databases."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from urllib.parse import parse_qs, urlsplit

import pytest

from bridge import wording
from bridge.db.interface import Database
from bridge.db.polls import PollTable
from bridge.road.carrier import MAX_ANSWER, Carrier
from bridge.road.poller import JITTER, LONGEST_PAUSE, TELL_AFTER, Poller
from bridge.road.road import ApiAnswer, ApiRequest, Arrival, Later, Unsure
from bridge.road.sipgate import Sipgate
from bridge.road.window import iso, read_iso
from tests.bridge.fakes import FakeMatrix
from tests.bridge.test_outbox import NUMBER, OURS, World
from tests.bridge.test_texting import ALICE, states, until

EVERY = 60.0
NOW = 1_700_000_000


class Sipgates(Carrier):
    """The history of an account, newest first, without a network.

    Attributes:
        texts: (seconds since 1970, id, body).
        fails: what is answered instead, as long as it is set.
        fails_at: the request from which on that is so.
    """

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[tuple[int, str, str]] = []
        self.fails: ApiAnswer | Later | Unsure | None = None
        self.fails_at = 0
        self.endless = False
        self.asked: list[dict[str, str]] = []

    async def request(
        self, request: ApiRequest, *, most: int = MAX_ANSWER
    ) -> ApiAnswer | Later | Unsure:
        query = {name: one for name, (one,) in parse_qs(urlsplit(request.url).query).items()}
        self.asked.append(query)
        if self.fails is not None and len(self.asked) > self.fails_at:
            return self.fails
        offset, limit = int(query["offset"]), int(query["limit"])
        found = sorted((t for t in self.texts if t[0] >= read_iso(query["from"])), reverse=True)
        if self.endless:
            found, offset = found * 100, 0
        items = [
            {
                "id": id,
                "type": "SMS",
                "direction": "INCOMING",
                "source": NUMBER.text,
                "target": OURS if not id.startswith("other") else "+15550000000",
                "created": iso(at),
                "smsContent": body,
            }
            for at, id, body in found[offset : offset + limit]
        ]
        return ApiAnswer(200, body=json.dumps({"items": items}).encode())


class Poll:
    """A poller, whose pauses end when the test says so."""

    def __init__(self, database: Database) -> None:
        self.carrier = Sipgates()
        self.received: list[Arrival] = []
        self.told: list[str] = []
        self.slept: list[float] = []
        self.breaks: Exception | None = None
        self._go = asyncio.Event()
        self._table = PollTable(database)
        self._task: asyncio.Task[None] | None = None
        self.receive = self.keep
        self.poller = self.make()

    def make(self) -> Poller:
        return Poller(
            "acme",
            Sipgate("id", "token"),
            every=EVERY,
            carrier=self.carrier,
            cursors=self._table,
            receive=lambda road, texts: self.receive(road, texts),
            tell=self.told.append,
            clock=lambda: float(NOW),
            sleep=self._sleep,
        )

    async def keep(self, road: str, texts: Sequence[Arrival]) -> None:
        if self.breaks is not None:
            raise self.breaks
        self.received += texts

    async def rounds(self, count: int) -> None:
        """Let it ask so often."""
        if self._task is None:
            self._task = asyncio.create_task(self.poller.run())
            count -= 1
            await self._until_asleep(1)
        for _ in range(count):
            self._go.set()
            await self._until_asleep(len(self.slept) + 1)

    async def restart(self) -> None:
        """A new process on the same database."""
        await self.stop()
        self.poller = self.make()

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _sleep(self, seconds: float) -> None:
        self._go.clear()
        self.slept.append(seconds)
        await self._go.wait()

    async def _until_asleep(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.slept) < count:  # noqa: ASYNC110 - a database's thread is at work
                await asyncio.sleep(0.0005)


@pytest.fixture
async def poll(database: Database) -> AsyncIterator[Poll]:
    made = Poll(database)
    yield made
    await made.stop()


def ids(texts: Sequence[Arrival]) -> list[str]:
    return [text.id for text in texts]


async def test_what_was_there_long_before_the_first_time_is_not_fetched(poll: Poll) -> None:
    poll.carrier.texts = [(NOW - 86_400, "old", "x")]
    await poll.rounds(1)
    assert poll.received == []
    poll.carrier.texts.append((NOW + 5, "new", "y"))
    await poll.rounds(1)
    assert ids(poll.received) == ["new"]


async def test_it_goes_on_where_it_was_after_a_restart(poll: Poll) -> None:
    await poll.rounds(1)
    poll.carrier.texts = [(NOW + 100, "a", "x")]
    await poll.rounds(1)
    await poll.restart()
    poll.carrier.texts += [(NOW + 90_000, "b", "y"), (NOW + 90_001, "c", "z")]
    poll.slept.clear()
    await poll.rounds(1)
    assert ids(poll.received)[-2:] == ["b", "c"]
    assert poll.carrier.asked[-1]["from"] == iso(NOW + 100 - 600)


async def test_a_long_list_is_read_page_by_page_and_all_of_it(poll: Poll) -> None:
    await poll.rounds(1)
    poll.carrier.texts = [(NOW + number, f"t{number}", "x") for number in range(350)]
    await poll.rounds(1)
    assert sorted(ids(poll.received)) == sorted(f"t{number}" for number in range(350))
    assert [query["offset"] for query in poll.carrier.asked[1:]] == ["0", "100", "200", "300"]


async def test_a_list_that_breaks_off_is_read_again_from_its_start(poll: Poll) -> None:
    await poll.rounds(1)
    poll.carrier.texts = [(NOW + number, f"t{number}", "x") for number in range(150)]
    poll.carrier.fails, poll.carrier.fails_at = Unsure("cut"), 2
    await poll.rounds(1)
    await poll.restart()
    poll.carrier.fails = None
    poll.slept.clear()
    await poll.rounds(1)
    assert set(ids(poll.received)) == {f"t{number}" for number in range(150)}


async def test_a_list_without_an_end_is_given_up(
    poll: Poll, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.road.poller.MAX_PAGES", 5)
    await poll.rounds(1)
    poll.carrier.texts = [(NOW + 1, "t", "x")]
    poll.carrier.endless = True
    await poll.rounds(1)
    assert len(poll.carrier.asked) == 1 + 5
    assert poll.poller.status == "down: the provider's list does not end"


async def test_what_could_not_be_stored_comes_again(poll: Poll) -> None:
    await poll.rounds(1)
    poll.carrier.texts = [(NOW + 5, "a", "x")]
    poll.breaks = OSError("disk full")
    await poll.rounds(2)
    assert poll.poller.status == "down: they cannot be stored"
    poll.breaks = None
    await poll.rounds(1)
    assert ids(poll.received) == ["a"]
    assert poll.poller.status == "up"


async def test_pauses_have_jitter_and_grow_on_failure(poll: Poll) -> None:
    await poll.rounds(3)
    assert all(EVERY * (1 - JITTER) <= pause <= EVERY * (1 + JITTER) for pause in poll.slept)
    assert len(set(poll.slept)) == 3
    poll.slept.clear()
    poll.carrier.fails = ApiAnswer(502)
    await poll.rounds(7)
    wanted = [120.0, 240.0, 480.0, *[LONGEST_PAUSE] * 4]
    for pause, whole in zip(poll.slept, wanted, strict=True):
        assert whole * (1 - JITTER) <= pause <= whole * (1 + JITTER)
    poll.carrier.fails = None
    await poll.rounds(1)
    assert poll.slept[-1] <= EVERY * (1 + JITTER)


async def test_a_provider_that_asks_for_longer_gets_it(poll: Poll) -> None:
    poll.carrier.fails = ApiAnswer(429, {"retry-after": "2000"})
    await poll.rounds(1)
    assert poll.slept[0] >= 2000 * (1 - JITTER)


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (ApiAnswer(401), "the provider does not know our credentials (401)"),
        (ApiAnswer(404), "the provider answered 404"),
        (ApiAnswer(200, body=b"<html>"), "the provider's list cannot be read (not JSON)"),
        (Later("the provider cannot be reached (no route)"), "(no route)"),
    ],
)
async def test_the_users_are_told_once_when_it_fails_for_long_and_once_when_it_is_back(
    poll: Poll, failure: ApiAnswer | Later, reason: str
) -> None:
    await poll.rounds(1)
    poll.carrier.fails = failure
    poll.slept.clear()
    while sum(poll.slept) < TELL_AFTER / 2:
        await poll.rounds(1)
    assert poll.told == []
    while sum(poll.slept) < 10 * TELL_AFTER:
        await poll.rounds(1)
    (words,) = poll.told
    assert reason in words
    poll.carrier.fails = None
    await poll.rounds(3)
    assert poll.told[1:] == [wording.ROAD_UP.format(road="acme")]


async def test_a_short_failure_is_not_told(poll: Poll) -> None:
    await poll.rounds(1)
    poll.carrier.fails = ApiAnswer(503)
    await poll.rounds(2)
    poll.carrier.fails = None
    await poll.rounds(2)
    assert poll.told == []


async def test_a_text_that_comes_by_hook_and_by_list_is_one_text(
    poll: Poll, database: Database
) -> None:
    world = World(database, FakeMatrix())
    poll.receive = world.texting.receive_polled
    try:
        await poll.rounds(1)
        poll.carrier.texts = [(NOW + number, f"t{number}", f"n {number}") for number in range(4)]
        for id in ("t1", "t3"):  # the hooks of the others were lost
            hooked = Arrival(id, NUMBER.text, OURS, f"n {id[1:]}")
            assert await world.texting.receive_hook("acme", [hooked])
        await poll.rounds(3)
        await until(lambda: len(said(world)) == 4)
        await poll.rounds(1)
        assert sorted(said(world)) == ["n 0", "n 1", "n 2", "n 3"]
        assert len(await states(database, "text_in")) == 4
    finally:
        await world.texting.stop()


async def test_texts_for_other_numbers_of_the_account_are_left_there(
    poll: Poll, database: Database
) -> None:
    world = World(database, FakeMatrix(), users=(ALICE,))
    poll.receive = world.texting.receive_polled
    try:
        await poll.rounds(1)
        poll.carrier.texts = [(NOW + 1, "other", "not ours"), (NOW + 2, "t", "ours")]
        await poll.rounds(1)
        await until(lambda: said(world))
        assert said(world) == ["ours"]
    finally:
        await world.texting.stop()


def said(world: World) -> list[str]:
    return [sent.content["body"] for sent in world.matrix.sent if sent.type == "m.room.message"]
