"""What the homeserver did not push is read from the rooms, once."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from bridge.bot import Bot
from bridge.db.ghosts import GhostTable
from bridge.db.inbox import Inbox
from bridge.db.interface import Database
from bridge.db.portals import BotRoomTable, PortalTable
from bridge.ghost import Ghosts
from bridge.numbers import PhoneNumber
from bridge.portal import Portals
from bridge.reconcile import MAX_AGE_MS, MAX_EVENTS, PROBE_PAUSE, SWEEP_PAUSE, Reconciliation
from tests.bridge.fakes import FakeMatrix

ALICE = "@alice:example.org"
GHOST = "@tel_15551234567:example.org"
ROOM = "!dm:example.org"
BOT_ROOM = "!bot:example.org"


def said(name: str, *, sender: str = ALICE, **more: Any) -> dict[str, Any]:
    return {
        "event_id": f"${name}",
        "room_id": ROOM,
        "sender": sender,
        "type": "m.room.message",
        "content": {"msgtype": "m.text", "body": name},
        "unsigned": {"age": 1000},
    } | more


def joined(name: str, user: str, previous: str | None = None, **more: Any) -> dict[str, Any]:
    unsigned = {"age": 1000} | (
        {} if previous is None else {"prev_content": {"membership": previous}}
    )
    return said(
        name,
        sender=user,
        type="m.room.member",
        state_key=user,
        content={"membership": "join"},
        unsigned=unsigned,
    )


class Stop(Exception):
    """The test has seen enough."""


class World:
    """A portal with a history, and an inbox on a real database."""

    def __init__(self, database: Database) -> None:
        self.matrix = FakeMatrix()
        self.inbox = Inbox(database)
        self.taken: list[str] = []
        self.resumed = 0
        self.pauses: list[float] = []
        self.script: list[Any] = []
        ghosts = Ghosts(matrix=self.matrix.real, table=GhostTable(database), prefix="tel_")
        self.portals = Portals(matrix=self.matrix.real, ghosts=ghosts, table=PortalTable(database))
        self.bot = Bot(matrix=self.matrix.real, table=BotRoomTable(database))
        self.reconciliation = Reconciliation(
            matrix=self.matrix.real,
            ghosts=ghosts,
            portals=self.portals,
            bot=self.bot,
            inbox=self.inbox,
            taker=self,
            sleep=self.sleep,
        )
        self.room = self.matrix.timeline.setdefault(ROOM, [])

    async def take(self, name: str, events: Sequence[object]) -> int:
        fresh = await self.inbox.store(name, events, now_ms=time.time_ns() // 1_000_000)
        self.taken += [event.event_id.removeprefix("$") for event in fresh]
        return len(fresh)

    async def resume(self) -> None:
        self.resumed += 1

    async def push(self, *events: Mapping[str, Any]) -> None:
        """What came by a transaction."""
        await self.inbox.store("1", events, now_ms=time.time_ns() // 1_000_000)

    async def sleep(self, pause: float) -> None:
        self.pauses.append(pause)
        if not self.script:
            raise Stop
        self.script.pop(0)()


@pytest.fixture
async def world(database: Database) -> World:
    made = World(database)
    await made.portals.adopt(ROOM, "house", PhoneNumber("+15551234567"), ALICE)
    return made


async def test_what_was_not_pushed_is_taken_in_the_order_in_which_it_was_said(world: World) -> None:
    events = [said(name) for name in ("a", "b", "c", "d")]
    world.room += events
    await world.push(events[0])
    assert await world.reconciliation.sweep()
    assert world.taken == ["b", "c", "d"]
    assert await world.reconciliation.sweep()
    assert world.taken == ["b", "c", "d"]
    assert world.resumed == 2


async def test_a_gap_behind_which_events_were_pushed_is_found(world: World) -> None:
    events = [said(name) for name in ("a", "lost", "also lost", "d")]
    world.room.append(events[0])
    await world.push(events[0])
    assert await world.reconciliation.sweep()
    world.room += events[1:]
    await world.push(events[3])
    assert await world.reconciliation.sweep()
    assert world.taken == ["lost", "also lost"]


async def test_a_sweep_that_fails_leaves_the_gap_to_the_next(world: World) -> None:
    events = [said(name) for name in ("a", "lost", "c")]
    world.room.append(events[0])
    await world.push(events[0])
    assert await world.reconciliation.sweep()
    world.room += events[1:]
    await world.push(events[2])
    world.matrix.down = True
    assert not await world.reconciliation.sweep()
    world.matrix.down = False
    assert await world.reconciliation.sweep()
    assert world.taken == ["lost"]


async def test_long_gaps_are_read_page_by_page_within_a_limit(world: World) -> None:
    first = said("first")
    await world.push(first)
    world.room += [first, *(said(f"n{number}") for number in range(120))]
    assert await world.reconciliation.sweep()
    assert world.taken == [f"n{number}" for number in range(120)]
    world.room += [said(f"m{number}") for number in range(MAX_EVENTS + 100)]
    world.taken.clear()
    assert await world.reconciliation.sweep()
    assert world.taken == [f"m{number}" for number in range(100, MAX_EVENTS + 100)]


async def test_nothing_from_before_the_ghost_came_is_taken(world: World) -> None:
    renamed = joined("renamed", GHOST, previous="join")
    world.room += [said("private"), joined("came", GHOST), said("a"), renamed, said("b")]
    assert await world.reconciliation.sweep()
    assert world.taken == ["a", "b"]


async def test_nothing_that_is_very_old_is_taken(world: World) -> None:
    old = said("old", unsigned={"age": MAX_AGE_MS + 1})
    world.room += [said("older"), old, said("a")]
    assert await world.reconciliation.sweep()
    assert world.taken == ["a"]


async def test_of_calls_only_the_end_is_made_up_for(world: World) -> None:
    world.room += [
        said("invite", type="m.call.invite"),
        said("candidates", type="m.call.candidates"),
        said("hangup", type="m.call.hangup"),
    ]
    assert await world.reconciliation.sweep()
    assert world.taken == ["hangup"]


async def test_our_own_words_and_what_cannot_be_read_are_left(world: World) -> None:
    world.room += [said("ghost", sender=GHOST), {"odd": True}, said("a")]
    assert await world.reconciliation.sweep()
    assert world.taken == ["a"]


async def test_a_room_that_is_gone_holds_up_no_other(world: World) -> None:
    await world.portals.adopt("!gone:x", "house", PhoneNumber("+15557654321"), ALICE)
    world.matrix.gone.add("!gone:x")
    world.room.append(said("a"))
    assert await world.reconciliation.sweep()
    assert world.taken == ["a"]


async def test_rooms_are_read_at_the_start_and_after_each_absence_and_not_else(
    world: World,
) -> None:
    def go() -> None:
        world.matrix.down = True

    def come_back() -> None:
        world.matrix.down = False
        world.room.append(said("lost"))

    def nothing() -> None:
        pass

    world.script = [nothing, nothing, go, nothing, come_back, nothing, nothing]
    with pytest.raises(Stop):
        await world.reconciliation.run()
    assert world.taken == ["lost"]
    assert world.matrix.pages == 2
    sweep, probe = SWEEP_PAUSE, PROBE_PAUSE
    assert world.pauses == [sweep, probe, probe, probe, probe, sweep, probe, probe]


async def test_a_room_is_read_before_its_first_new_text_after_an_absence(world: World) -> None:
    world.room += [said("a"), said("b")]
    assert await world.reconciliation.settle(ROOM)
    assert world.taken == ["a", "b"]
    assert not await world.reconciliation.settle(ROOM)
    world.room.append(said("lost"))
    world.matrix.absences += 1
    assert await world.reconciliation.settle(ROOM)
    assert world.taken == ["a", "b", "lost"]
    assert not await world.reconciliation.settle("!no portal:example.org")


async def test_a_room_that_a_sweep_has_read_is_not_read_again(world: World) -> None:
    world.room.append(said("a"))
    assert await world.reconciliation.sweep()
    pages = world.matrix.pages
    assert not await world.reconciliation.settle(ROOM)
    assert world.matrix.pages == pages


async def test_a_room_that_cannot_be_read_holds_up_no_text(world: World) -> None:
    world.matrix.down = True
    assert not await world.reconciliation.settle(ROOM)
    world.matrix.down = False
    world.room.append(said("a"))
    assert await world.reconciliation.settle(ROOM)
    assert world.taken == ["a"]


async def test_of_what_the_bot_was_told_what_concerns_texts_is_made_up_for(world: World) -> None:
    def told(words: str, **more: Any) -> dict[str, Any]:
        return said(words, room_id=BOT_ROOM, content={"msgtype": "m.text", "body": words}, **more)

    await world.bot.join(BOT_ROOM, ALICE)
    world.matrix.timeline[BOT_ROOM] = [
        told("help"),
        told("transfer +15551234567"),
        told("text +15551234567 hello"),
        told("!TEXT +15551234567 hello again"),
        told("textile"),
        told("text from the bot", sender=world.matrix.bot_id),
        said("again", room_id=BOT_ROOM, type="m.reaction", content={}),
    ]
    wanted = ["text +15551234567 hello", "!TEXT +15551234567 hello again", "again"]
    assert await world.reconciliation.settle(BOT_ROOM)
    assert world.taken == wanted
    assert await world.reconciliation.sweep()
    assert world.taken == wanted
