"""The database goes away in the middle of everything, and comes back: nothing is lost, nothing is
doubled, and nobody restarts anything."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from bridge.bot import Bot
from bridge.db.inbox import MOST_ATTEMPTS, Inbox
from bridge.db.interface import Database, DatabaseAway
from bridge.db.portals import BotRoomTable, PortalRow, PortalTable
from bridge.db.texts import IncomingText, IncomingTexts
from bridge.matrix.appservice import Appservice
from bridge.matrix.events import RoomEvent
from bridge.matrix.homeserver import MatrixUnavailable
from bridge.outbox import STATUS
from bridge.portal import Portal
from bridge.recovery import PAUSE, SETTLED, Recovery
from bridge.road.road import ApiAnswer, Delivery, Receipt
from bridge.setting import Endpoint
from tests.bridge.fakes import FakeMatrix, FaultyDatabase
from tests.bridge.matrix.test_appservice import Bridge, event
from tests.bridge.test_outbox import NUMBER, World, arrival
from tests.bridge.test_texting import ALICE, states, until

AWAY = ("away", "doubt")


@pytest.fixture
def faulty(database: Database) -> FaultyDatabase:
    return FaultyDatabase(database)


@pytest.fixture
async def world(faulty: FaultyDatabase) -> AsyncIterator[World]:
    made = World(faulty, FakeMatrix())
    yield made
    await made.texting.stop()


@pytest.fixture
async def portal(world: World) -> Portal:
    return await world.portals.adopt("!room:example.org", "sms", NUMBER, ALICE)


def bodies(world: World) -> list[str]:
    return [sent.content["body"] for sent in world.matrix.sent if sent.type != STATUS]


async def reach(faulty: FaultyDatabase, table: str, wanted: list[str]) -> None:
    async with asyncio.timeout(20):
        while await states(faulty.real, table) != wanted:  # noqa: ASYNC110 - a thread's work
            await asyncio.sleep(0.001)


# --- from a phone


@pytest.mark.parametrize("fault", AWAY)
async def test_a_hook_that_was_refused_brings_its_text_once(
    world: World, portal: Portal, faulty: FaultyDatabase, fault: str
) -> None:
    faulty.fault = fault
    with pytest.raises(DatabaseAway):
        await world.texting.receive_hook("acme", [arrival()])
    assert world.matrix.sent == []
    faulty.fault = ""
    await world.texting.receive_hook("acme", [arrival()])
    await world.texting.receive_hook("acme", [arrival(id="a2", body="and again")])
    await until(lambda: len(world.matrix.sent) == 2)
    assert bodies(world) == ["hello", "and again"]


async def test_a_text_that_is_stored_and_was_refused_does_not_need_its_repeat(
    world: World, portal: Portal, faulty: FaultyDatabase
) -> None:
    faulty.fault = "doubt"
    with pytest.raises(DatabaseAway):
        await world.texting.receive_hook("acme", [arrival()])
    faulty.fault = ""
    await world.texting.resume()
    await world.texting.resume()
    await until(lambda: world.matrix.sent)
    assert bodies(world) == ["hello"]


@pytest.mark.parametrize("fault", AWAY)
async def test_a_text_that_was_said_while_the_database_is_away_is_done_later(
    world: World, portal: Portal, faulty: FaultyDatabase, fault: str
) -> None:
    await world.texting.receive_hook("acme", [arrival()])
    faulty.fault = fault
    await until(lambda: faulty.absences > 3)
    faulty.fault = ""
    await reach(faulty, "text_in", ["sent"])
    await world.texting.resume()
    assert bodies(world) == ["hello"]


async def test_a_strangers_room_that_is_made_meanwhile_is_kept(
    world: World, faulty: FaultyDatabase
) -> None:
    await world.texting.receive_hook("acme", [arrival()])
    faulty.fault = "away"
    await until(lambda: world.matrix.sent)
    with pytest.raises(DatabaseAway):
        await world.portals.save()
    faulty.fault = ""
    await world.portals.save()
    (row,) = await PortalTable(faulty).all()
    (room_id,) = world.matrix.rooms
    assert row == PortalRow(room_id, "sms", NUMBER.text, ALICE)


async def test_a_notice_waits_and_its_caller_does_not(
    world: World, portal: Portal, faulty: FaultyDatabase
) -> None:
    faulty.fault = "away"
    line = world.line(users=(ALICE,))
    for _ in range(2):
        await world.texting.leave_notice(line, NUMBER, ALICE, "missed", name="", key="call:1")
    assert world.matrix.sent == []
    faulty.fault = ""
    await until(lambda: world.matrix.sent)
    assert bodies(world) == ["missed"]


@pytest.mark.parametrize("fault", AWAY)
async def test_texts_beyond_the_limit_are_folded_all_the_same(
    world: World,
    portal: Portal,
    faulty: FaultyDatabase,
    fault: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fold = IncomingTexts.fold

    async def fold_in_trouble(texts: IncomingTexts, folded: Sequence[IncomingText]) -> None:
        faulty.fault = "" if faulty.absences > 3 else fault
        await fold(texts, folded)

    monkeypatch.setattr(IncomingTexts, "fold", fold_in_trouble)
    for number in range(6):
        await world.texting.receive_hook("acme", [arrival(id=f"a{number}")])
    await until(lambda: len(world.matrix.sent) == 6)
    assert bodies(world)[:5] == ["hello"] * 5
    assert "!more" in bodies(world)[5]


# --- to a phone


@pytest.mark.parametrize("fault", AWAY)
async def test_a_text_out_that_could_not_be_stored_leaves_once_when_its_event_comes_again(
    world: World, portal: Portal, faulty: FaultyDatabase, fault: str
) -> None:
    faulty.fault = fault
    with pytest.raises(DatabaseAway):
        await world.write(portal, "hello")
    faulty.fault = ""
    await world.write(portal, "hello")
    await world.write(portal, "hello")
    await reach(faulty, "text_out", ["sent"])
    assert len(world.provider.requests) == 1


@pytest.mark.parametrize("fault", AWAY)
async def test_a_text_leaves_no_earlier_than_it_is_known_to_leave(
    world: World, portal: Portal, faulty: FaultyDatabase, fault: str
) -> None:
    world.pause = asyncio.Event()
    world.provider.answers = [ApiAnswer(503)]
    await world.write(portal, "hello")
    await until(lambda: world.slept)
    faulty.fault = fault
    world.pause.set()
    world.pause = None
    await until(lambda: faulty.absences > 3)
    assert len(world.provider.requests) == 1
    faulty.fault = ""
    await reach(faulty, "text_out", ["sent"])
    assert len(world.provider.requests) == 2
    assert world.matrix.notices() == []


@pytest.mark.parametrize("fault", AWAY)
async def test_what_a_provider_took_while_the_database_is_away_is_not_sent_again(
    world: World, portal: Portal, faulty: FaultyDatabase, fault: str
) -> None:
    world.provider.hold = asyncio.Event()
    await world.write(portal, "hello")
    await until(lambda: world.provider.requests)
    faulty.fault = fault
    world.provider.hold.set()
    await until(lambda: faulty.absences > 3)
    faulty.fault = ""
    await reach(faulty, "text_out", ["sent"])
    await world.texting.resume()
    await until(world.shown)
    assert world.shown() == [("SUCCESS", "")]
    assert len(world.provider.requests) == 1


@pytest.mark.parametrize("fault", AWAY)
async def test_a_receipt_that_cannot_be_stored_comes_again(
    world: World, portal: Portal, faulty: FaultyDatabase, fault: str
) -> None:
    await world.write(portal, "hello")
    await reach(faulty, "text_out", ["sent"])
    await until(world.shown)
    faulty.fault = fault
    with pytest.raises(DatabaseAway):
        await world.texting.receive_hook("acme", [Receipt("r1", Delivery.DELIVERED)])
    assert len(world.shown()) == 1
    faulty.fault = ""
    await world.texting.receive_hook("acme", [Receipt("r1", Delivery.DELIVERED)])
    await reach(faulty, "text_out", ["delivered"])
    await until(lambda: len(world.shown()) == 2)


@pytest.mark.parametrize("fault", AWAY)
async def test_a_text_that_leaves_again_does_so_once(
    world: World, portal: Portal, faulty: FaultyDatabase, fault: str
) -> None:
    world.provider.answers = [ApiAnswer(400)]
    await world.write(portal, "hello")
    await reach(faulty, "text_out", ["refused"])
    for faulty.fault in (fault, "", ""):
        try:
            await world.texting.retry(portal.room_id, "$t1", ALICE, asked_by="$again")
        except DatabaseAway:
            assert faulty.fault == fault
    await reach(faulty, "text_out", ["again", "sent"])
    assert len(world.provider.requests) == 2


# --- from the homeserver


class Pushes:
    """An appservice without its listener, on a database that may be away."""

    def __init__(self, faulty: FaultyDatabase) -> None:
        self.bridge = Bridge()
        self.appservice = Appservice(
            listen=Endpoint("127.0.0.1", 0),
            hs_token="hs-token",
            inbox=Inbox(faulty),
            handler=self.bridge.handle,
            sleep=lambda seconds: asyncio.sleep(0.001),
        )


@pytest.fixture
async def pushes(faulty: FaultyDatabase) -> AsyncIterator[Pushes]:
    made = Pushes(faulty)
    yield made
    await made.appservice.stop(grace=0.2)


async def test_what_needs_the_homeserver_is_taken_up_when_that_is_back(
    pushes: Pushes, faulty: FaultyDatabase
) -> None:
    """However often it is away: it is no failure of the event's own."""
    away = asyncio.Event()

    async def act(event: RoomEvent) -> None:
        if event.event_id == "$invite" and not away.is_set():
            raise MatrixUnavailable("no connection")

    pushes.bridge.act = act
    await pushes.appservice.take("1", [event("invite"), event("b")])
    await reach(faulty, "inbox", ["pending", "done"])
    for _ in range(MOST_ATTEMPTS):
        await pushes.appservice.resume()
        await until(lambda: not pushes.appservice._rooms)
    assert pushes.bridge.handled == ["b"]
    away.set()
    await pushes.appservice.resume()
    await reach(faulty, "inbox", ["done", "done"])
    assert pushes.bridge.handled == ["b", "invite"]


@pytest.mark.parametrize("fault", AWAY)
async def test_pushes_that_were_refused_are_handled_once_and_in_order(
    pushes: Pushes, faulty: FaultyDatabase, fault: str
) -> None:
    faulty.fault = fault
    with pytest.raises(DatabaseAway):
        await pushes.appservice.take("1", [event("a"), event("b")])
    faulty.fault = ""
    await pushes.appservice.take("1", [event("a"), event("b")])
    await pushes.appservice.take("2", [event("c")])
    await pushes.bridge.until("a", "b", "c")
    await pushes.appservice.resume()
    await reach(faulty, "inbox", ["done"] * len(pushes.bridge.handled))
    assert pushes.bridge.handled == ["a", "b", "c"]


async def test_a_push_that_is_stored_and_was_refused_does_not_need_its_repeat(
    pushes: Pushes, faulty: FaultyDatabase
) -> None:
    await pushes.appservice.take("0", [event("before")])
    faulty.fault = "doubt"
    with pytest.raises(DatabaseAway):
        await pushes.appservice.take("1", [event("a")])
    faulty.fault = ""
    await pushes.appservice.resume()
    await pushes.bridge.until("before", "a")
    await reach(faulty, "inbox", ["done"] * len(pushes.bridge.handled))
    assert pushes.bridge.handled == ["before", "a"]


@pytest.mark.parametrize("fault", AWAY)
async def test_an_event_whose_handling_needs_the_database_waits_for_it(
    pushes: Pushes, faulty: FaultyDatabase, fault: str
) -> None:
    async def handle(_: RoomEvent) -> None:
        if not faulty.absences:
            faulty.fault = fault
        await faulty.execute("INSERT INTO ghost VALUES ('1', 'x') ON CONFLICT DO NOTHING")

    pushes.bridge.act = handle
    await pushes.appservice.take("1", [event("a")])
    await until(lambda: faulty.absences > 3)
    await asyncio.sleep(0)
    faulty.fault = ""
    await pushes.bridge.until("a")
    await reach(faulty, "inbox", ["done"] * len(pushes.bridge.handled))
    assert pushes.bridge.handled == ["a"]
    assert await faulty.fetchval("SELECT attempts FROM inbox") == 0


# --- the rest


async def test_the_bots_rooms_are_kept_until_they_can_be_stored(faulty: FaultyDatabase) -> None:
    bot = Bot(matrix=FakeMatrix().real, table=BotRoomTable(faulty))
    faulty.fault = "away"
    await bot.join("!old:x", ALICE)
    await bot.join("!new:x", ALICE)
    assert bot.user_in("!new:x") == ALICE
    faulty.fault = ""
    await bot.save()
    assert await BotRoomTable(faulty).all() == {ALICE: "!new:x"}


async def test_recovery_takes_up_at_the_return_and_once_more_when_all_is_settled(
    faulty: FaultyDatabase,
) -> None:
    done: list[str] = []
    slept = 0.0

    async def resume() -> None:
        await faulty.fetch("SELECT 1")
        done.append("resumed")

    async def wake() -> None:
        done.append("woken")

    async def sleep(seconds: float) -> None:
        nonlocal slept
        slept += seconds
        if slept == 3 * PAUSE:  # somebody asks, and it is away; it stays so for a while
            faulty.fault = "away"
            with pytest.raises(DatabaseAway):
                await faulty.fetch("SELECT 1")
        elif slept == 6 * PAUSE:
            assert done == []
            faulty.fault = ""
        elif slept > 7 * PAUSE + SETTLED:
            raise asyncio.CancelledError

    recovery = Recovery(database=faulty, resume=[resume], wake=wake, sleep=sleep)
    with pytest.raises(asyncio.CancelledError):
        await recovery.run()
    assert done == ["resumed", "woken", "resumed"]


async def test_recovery_outlives_what_it_cannot_take_up(faulty: FaultyDatabase) -> None:
    pauses = 0

    async def resume() -> None:
        raise ZeroDivisionError

    async def wake() -> None: ...

    async def sleep(seconds: float) -> None:
        nonlocal pauses
        pauses += 1
        if pauses == 1:
            faulty.absences += 1
        elif pauses > 30:
            raise asyncio.CancelledError

    recovery = Recovery(database=faulty, resume=[resume], wake=wake, sleep=sleep)
    with pytest.raises(asyncio.CancelledError):
        await recovery.run()
