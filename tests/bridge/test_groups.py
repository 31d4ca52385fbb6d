"""Group texts: one room for a set of numbers, whose answers go to all of them."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bridge.db.interface import Database
from bridge.numbers import PhoneNumber, group_of
from bridge.portal import Portal
from bridge.road.bandwidth import Bandwidth
from bridge.road.road import ApiAnswer, Arrival, Delivery, Receipt, Road
from bridge.road.sipgate import Sipgate
from tests.bridge.fakes import FakeMatrix
from tests.bridge.test_outbox import OURS, World, settle
from tests.bridge.test_texting import ALICE, BOB, until, worked_off

CAROL, DAN, ERIN = "+15551234567", "+15550001111", "+15550002222"
GROUP = PhoneNumber(f"{DAN},{CAROL}")
BOT = FakeMatrix.bot_id


def ghost(number: str) -> str:
    return f"@tel_{number[1:]}:example.org"


def bandwidth() -> Bandwidth:
    return Bandwidth("1", "2", "u", "p", hook_username="us", hook_password="pw")


def world_on(database: Database, road: Road, **more: Any) -> World:
    world = World(database, FakeMatrix(), road=road, writing=road.limits.writing, **more)
    world.provider.answers = [ApiAnswer(202, body=b'{"id": "r1"}')]
    return world


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    made = world_on(database, bandwidth())
    yield made
    await made.texting.stop()


def arrival(id: str = "a1", sender: str = CAROL, *others: str, body: str = "hello") -> Arrival:
    return Arrival(id, sender, OURS, body, group=others or (DAN,))


async def portal_of(world: World) -> Portal:
    return await world.portals.adopt("!group:example.org", "sms", GROUP, ALICE)


def test_a_group_is_the_same_in_any_order() -> None:
    assert group_of(map(PhoneNumber, (CAROL, DAN, CAROL))) == GROUP
    assert GROUP.members == (PhoneNumber(DAN), PhoneNumber(CAROL))
    assert GROUP.is_group
    assert not group_of([PhoneNumber(CAROL)]).is_group
    assert GROUP.show() == "+1 555-000-1111, +1 555-123-4567"


async def test_texts_of_a_group_have_one_room_with_a_ghost_for_each(world: World) -> None:
    matrix = world.matrix
    await world.texting.receive_hook("acme", [arrival()])
    await world.texting.receive_hook("acme", [arrival("a2", DAN, CAROL, body="hi Carol")])
    await until(lambda: len(matrix.sent) == 2)
    ((room_id, room),) = matrix.rooms.items()
    assert room["creator"] == BOT
    assert sorted(room["invite"]) == sorted([ALICE, ghost(CAROL), ghost(DAN)])
    assert sorted(matrix.joined) == sorted([(room_id, ghost(CAROL)), (room_id, ghost(DAN))])
    assert [(sent.sender, sent.content["body"]) for sent in matrix.sent] == [
        (ghost(CAROL), "hello"),
        (ghost(DAN), "hi Carol"),
    ]


async def test_another_set_of_numbers_is_another_room(world: World) -> None:
    await world.texting.receive_hook("acme", [arrival(), arrival("a2", CAROL, DAN, ERIN)])
    await until(lambda: len(world.matrix.sent) == 2)
    assert len(world.matrix.rooms) == 2


async def test_each_user_of_the_line_has_a_room_of_the_group(database: Database) -> None:
    world = world_on(database, bandwidth(), users=(ALICE, BOB))
    await world.texting.receive_hook("acme", [arrival()])
    await until(lambda: len(world.matrix.sent) == 2)
    assert {room["invite"][0] for room in world.matrix.rooms.values()} == {ALICE, BOB}
    await world.texting.stop()


async def test_an_answer_goes_to_all_of_the_group(world: World, database: Database) -> None:
    portal = await portal_of(world)
    await world.write(portal, "hello you two")
    await settle(database, ["sent"])
    (request,) = world.provider.requests
    said = json.loads(request.body)
    assert (said["to"], said["from"], said["text"]) == ([DAN, CAROL], OURS, "hello you two")
    await until(world.shown)
    assert world.matrix.sent[0].sender == BOT


async def test_what_one_of_the_group_did_not_get_is_told_and_not_sent_again(
    world: World, database: Database
) -> None:
    portal = await portal_of(world)
    await world.write(portal, "hello you two")
    await settle(database, ["sent"])
    await world.texting.receive_hook(
        "acme",
        [
            Receipt("r1", Delivery.DELIVERED, to=CAROL),
            Receipt("r1", Delivery.FAILED, "the number is unknown", to=DAN),
            Receipt("r1", Delivery.FAILED, "the number is unknown", to=DAN),
        ],
    )
    await until(world.matrix.notices)
    await worked_off(world.texting)
    assert world.matrix.notices() == ["Not delivered to +1 555-000-1111: the number is unknown."]
    await settle(database, ["sent"])


async def test_where_answers_cannot_go_to_all_the_sender_has_a_room(database: Database) -> None:
    world = world_on(database, Sipgate("t", "t"))
    await world.texting.receive_hook("acme", [arrival()])
    await until(lambda: len(world.matrix.sent) == 2)
    (room,) = world.matrix.rooms.values()
    assert room["creator"] == ghost(CAROL)
    assert "goes to +1 555-123-4567 alone" in world.matrix.notices()[0]
    await world.texting.stop()


async def test_a_group_that_is_too_large_is_none(world: World) -> None:
    others = [f"+155500011{index}" for index in range(10, 20)]
    await world.texting.receive_hook("acme", [arrival("a1", CAROL, *others)])
    await until(world.matrix.notices)
    assert next(iter(world.matrix.rooms.values()))["creator"] == ghost(CAROL)


async def test_a_group_with_a_short_number_is_none(world: World) -> None:
    await world.texting.receive_hook("acme", [arrival("a1", CAROL, "22395")])
    await until(world.matrix.notices)
    assert next(iter(world.matrix.rooms.values()))["creator"] == ghost(CAROL)


async def test_a_line_that_lost_its_groups_says_so(database: Database) -> None:
    world = world_on(database, Sipgate("t", "t"))
    await world.write(await portal_of(world), "hello you two")
    assert "not to groups" in world.matrix.notices()[0]
    assert world.matrix.sent[0].sender == BOT
    assert world.provider.requests == []
    await world.texting.stop()


async def test_who_said_stop_keeps_a_group_from_being_texted(world: World) -> None:
    portal = await portal_of(world)
    await world.texting.receive_hook("acme", [arrival(body="STOP")])
    await until(world.matrix.notices)
    assert world.matrix.notices()[0].startswith("+1 555-123-4567: This number wants no more")
    await world.write(portal, "hello you two")
    assert "+1 555-123-4567 has asked for no more texts" in world.matrix.notices()[-1]
    assert world.provider.requests == []


async def test_a_flood_in_a_group_is_folded_there(world: World) -> None:
    portal = await portal_of(world)
    texts = [arrival(f"a{i}", (CAROL, DAN)[i % 2], (DAN, CAROL)[i % 2]) for i in range(12)]
    await world.texting.receive_hook("acme", texts)
    await until(world.matrix.notices)
    assert "7 more texts" in world.matrix.notices()[0]
    assert {sent.room_id for sent in world.matrix.sent} == {portal.room_id}
    await world.texting.more(portal.room_id)
    await until(lambda: len(world.matrix.sent) == 13)
    assert {sent.sender for sent in world.matrix.sent} == {ghost(CAROL), ghost(DAN), BOT}


async def test_a_group_survives_a_restart(database: Database) -> None:
    world = world_on(database, bandwidth())
    world.matrix.down = True
    await world.texting.receive_hook("acme", [arrival()])
    await asyncio.sleep(0.01)
    await world.texting.stop()
    again = world_on(database, bandwidth())
    await again.texting.start()
    await until(lambda: again.matrix.sent)
    assert again.matrix.sent[0].sender == ghost(CAROL)
    await again.texting.stop()
