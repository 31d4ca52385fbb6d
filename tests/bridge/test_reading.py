"""Read receipts both ways: of the ghost where a phone says so, and to who wrote where he asks."""

from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial

import pytest

from bridge.db.interface import Database
from bridge.matrix.events import ReadReceipt, parse_receipts
from bridge.reading import AGAIN_AFTER
from bridge.road.road import Delivery, Receipt
from sip.events import MessageNotified
from sip.imdn import Kind, NotificationsWanted, Status, Wish
from sip.presentation import Presentation
from sip.uri import NameAddr
from tests.bridge import test_groups, test_outbox
from tests.bridge.fakes import FakeMatrix, FaultyDatabase
from tests.bridge.test_texting import ALICE, BOB, GHOST, NUMBER, World, until, worked_off

CAROL = "+493087654321"
WANTED = NotificationsWanted(
    "id-1",
    frozenset(Wish),
    "2026-01-01T00:00:00Z",
    NameAddr.parse("<sip:+493087654321@pbx.example.org>;tag=x"),
    '"Carol" <sip:carol@pbx.example.org>',
    NameAddr.parse("<sip:ringback@pbx.example.org>"),
    ("<sip:relay.example.org>",),
)


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    made = World(database, FakeMatrix(), users=(ALICE, BOB), read_receipts=True)
    yield made
    await made.texting.stop()


async def arrived(world: World, *texts: tuple[str, NotificationsWanted | None]) -> dict[str, str]:
    """Let texts of Carol come; the rooms that they are in by user."""
    for key, wanted in texts:
        world.arrive(key.encode(), key=key, wanted=wanted)
        await until(partial(_is_said, world, key))
    rooms = {room["invite"][0]: id for id, room in world.matrix.rooms.items()}
    await worked_off(world.texting)  # what was said is written down
    return rooms


def _is_said(world: World, body: str) -> bool:
    return [sent.content.get("body") for sent in world.matrix.sent].count(body) == 2


def event_of(world: World, body: str, room_id: str) -> str:
    """The id that the homeserver gave to what was said."""
    index = next(
        index
        for index, sent in enumerate(world.matrix.sent, 1)
        if sent.content.get("body") == body and sent.room_id == room_id
    )
    return f"$sent{index}"


def read(world: World, room_id: str, event_id: str, user: str = ALICE) -> None:
    world.texting.receive_read(ReadReceipt(room_id, event_id, user))


async def test_who_asks_is_told_once_that_a_text_was_read(world: World) -> None:
    rooms = await arrived(world, ("one", WANTED))
    for user in (ALICE, ALICE, BOB):
        read(world, rooms[user], event_of(world, "one", rooms[user]), user)
        await until(lambda: world.trunk.fake.displayed)
    await worked_off(world.texting)
    assert world.trunk.fake.displayed == [replace(WANTED, wishes=frozenset({Wish.DISPLAY}))]
    assert world.trunk.fake.callers[-1] == Presentation("+493011111", "House")


async def test_a_receipt_means_all_texts_before_it_and_none_after(world: World) -> None:
    asked = [replace(WANTED, message_id=f"id-{index}") for index in range(4)]
    rooms = await arrived(world, ("a", asked[0]), ("b", asked[1]), ("quiet", None), ("d", asked[3]))
    read(world, rooms[ALICE], event_of(world, "quiet", rooms[ALICE]))
    await until(lambda: len(world.trunk.fake.displayed) == 2)
    await worked_off(world.texting)
    assert [wanted.message_id for wanted in world.trunk.fake.displayed] == ["id-0", "id-1"]


async def test_who_does_not_ask_is_not_told(world: World) -> None:
    delivery = replace(WANTED, wishes=frozenset({Wish.POSITIVE_DELIVERY}))
    rooms = await arrived(world, ("one", delivery), ("two", None))
    read(world, rooms[ALICE], event_of(world, "two", rooms[ALICE]))
    await worked_off(world.texting)
    assert world.trunk.fake.displayed == []


async def test_nobody_is_told_unless_the_trunk_says_so(database: Database) -> None:
    world = World(database, FakeMatrix(), users=(ALICE, BOB))
    rooms = await arrived(world, ("one", WANTED))
    read(world, rooms[ALICE], event_of(world, "one", rooms[ALICE]))
    await worked_off(world.texting)
    assert world.trunk.fake.displayed == []
    assert await database.fetchval("SELECT COUNT(wanted) + COUNT(event_id) FROM text_in") == 0
    await world.texting.stop()


async def test_receipts_of_others_and_elsewhere_say_nothing(world: World) -> None:
    rooms = await arrived(world, ("one", WANTED))
    event = event_of(world, "one", rooms[ALICE])
    read(world, rooms[ALICE], event, BOB)  # a room is of one user
    read(world, rooms[BOB], event, BOB)
    read(world, "!other:example.org", event)
    read(world, rooms[ALICE], "$unknown")
    await worked_off(world.texting)
    assert world.trunk.fake.displayed == []


async def test_who_reads_before_it_is_written_down_is_looked_up_again(world: World) -> None:
    rooms = await arrived(world, ("one", WANTED))
    read(world, rooms[ALICE], "$not yet")
    await until(lambda: world.slept == [AGAIN_AFTER])


async def test_a_wish_survives_a_restart(database: Database) -> None:
    world = World(database, FakeMatrix(), users=(ALICE, BOB), read_receipts=True)
    rooms = await arrived(world, ("one", WANTED))
    event = event_of(world, "one", rooms[ALICE])
    await world.texting.stop()
    again = World(database, world.matrix, users=(ALICE, BOB), read_receipts=True)
    await again.portals.load()
    read(again, rooms[ALICE], event)
    await until(lambda: again.trunk.fake.displayed)
    await again.texting.stop()


async def test_a_receipt_waits_for_a_database_that_is_away(database: Database) -> None:
    faulty = FaultyDatabase(database)
    world = World(faulty, FakeMatrix(), users=(ALICE, BOB), read_receipts=True)
    rooms = await arrived(world, ("one", WANTED))
    faulty.fault = "away"
    read(world, rooms[ALICE], event_of(world, "one", rooms[ALICE]))
    await until(lambda: world.slept)
    assert not world.trunk.fake.displayed
    faulty.fault = ""
    await until(lambda: world.trunk.fake.displayed)
    await world.texting.stop()


async def test_while_the_trunk_is_down_nothing_is_forgotten(world: World) -> None:
    rooms = await arrived(world, ("one", WANTED), ("two", replace(WANTED, message_id="id-2")))
    world.trunk.up = False
    read(world, rooms[ALICE], event_of(world, "one", rooms[ALICE]))
    await worked_off(world.texting)
    world.trunk.up = True
    read(world, rooms[ALICE], event_of(world, "two", rooms[ALICE]))
    await until(lambda: len(world.trunk.fake.displayed) == 2)


@pytest.mark.parametrize("before", [False, True])
async def test_a_phone_that_says_read_is_the_ghosts_receipt(
    database: Database, before: bool
) -> None:
    world = World(database, FakeMatrix(), delivery_receipts=True)
    portal = await world.portals.adopt("!room:example.org", "house", NUMBER, ALICE)
    await world.write(portal, "hello")
    await until(lambda: world.trunk.fake.messages)
    (wishes, _) = world.trunk.fake.wishes[0]
    assert Wish.DISPLAY in wishes
    world.outcome("m0", 200)
    await until(lambda: len(world.matrix.sent) == 1)
    sender = NameAddr.parse("<sip:+15551234567@pbx.example.org>")
    if before:
        event = MessageNotified("m0", Kind.DELIVERY, Status.DELIVERED, sender)
        world.texting.receive_sip("home", event)
        await until(lambda: len(world.matrix.sent) == 2)
    event = MessageNotified("m0", Kind.DISPLAY, Status.DISPLAYED, sender)
    world.texting.receive_sip("home", event)
    await until(lambda: world.matrix.read and len(world.matrix.sent) == 2)
    assert world.matrix.read == [("!room:example.org", "$t1", GHOST)]
    assert world.matrix.sent[-1].content["delivered_to_users"] == [GHOST]
    await world.texting.stop()


async def test_one_of_a_group_has_read(database: Database) -> None:
    world = test_groups.world_on(database, test_groups.bandwidth())
    portal = await test_groups.portal_of(world)
    await world.write(portal, "hello you two")
    await test_outbox.settle(database, ["sent"])
    await world.texting.receive_hook("acme", [Receipt("r1", Delivery.READ, to=test_groups.DAN)])
    await until(lambda: world.matrix.read)
    assert world.matrix.read[0][2] == test_groups.ghost(test_groups.DAN)
    await world.texting.stop()


# --- as the homeserver pushes them


def pushed(**content: object) -> dict[str, object]:
    return {"type": "m.receipt", "room_id": "!r:x", "content": content}


def test_public_receipts_are_read() -> None:
    event = {"m.read": {ALICE: {"ts": 1, "thread_id": "main"}, BOB: {"ts": 2}}}
    private = {"m.read.private": {ALICE: {"ts": 3}}}
    thread = {"m.read": {ALICE: {"ts": 1, "thread_id": "$t"}}}
    assert parse_receipts(pushed(**{"$1": event, "$2": private, "$3": thread})) == [
        ReadReceipt("!r:x", "$1", ALICE),
        ReadReceipt("!r:x", "$1", BOB),
    ]


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        {"type": "m.typing", "room_id": "!r:x", "content": {"user_ids": [ALICE]}},
        {"type": "m.receipt", "content": {"$1": {"m.read": {ALICE: {}}}}},
        pushed(**{"$1": 3}),
        pushed(**{"$1": {"m.read": [ALICE]}}),
        pushed(**{"$1": {"m.read": {"": {}}}}),
        pushed(**{"": {"m.read": {ALICE: {}}}}),
        {"type": "m.receipt", "room_id": "!r:x", "content": "x"},
    ],
)
def test_what_is_no_receipt_is_nothing(raw: object) -> None:
    assert parse_receipts(raw) == []


def test_no_number_of_receipts_is_too_many() -> None:
    users = {f"@u{index}:x": {"ts": 1} for index in range(5000)}
    assert len(parse_receipts(pushed(**{"$1": {"m.read": users}}))) == 1000
