"""What is known of senders: short numbers, words, and who has said STOP; on real databases."""

from collections.abc import AsyncIterator
from functools import partial

import pytest

from bridge import wording
from bridge.db.interface import Database
from bridge.db.senders import SenderTable
from bridge.numbers import PhoneNumber
from bridge.senders import Senders
from tests.bridge.fakes import FakeMatrix
from tests.bridge.test_outbox import NUMBER, World, arrival, settle
from tests.bridge.test_texting import ALICE, until


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    made = World(database, FakeMatrix())
    await made.senders.load(SenderTable(database))
    yield made
    await made.texting.stop()


async def receive(world: World, body: str, *, sender: str = NUMBER.text[2:], id: str = "a1") -> str:
    """Take a text of a road; the room where it is said."""
    before = len(world.matrix.sent)
    await world.texting.receive_hook("acme", [arrival(id=id, sender=sender, body=body)])
    await until(partial(_has_more, world, before))
    return world.matrix.sent[-1].room_id


def _has_more(world: World, than: int) -> bool:
    return len(world.matrix.sent) > than


@pytest.mark.parametrize("stop", ["STOP", " stop\n", "Unsubscribe", "stop all"])
async def test_a_number_that_said_stop_gets_nothing_until_it_says_start(
    world: World, database: Database, stop: str
) -> None:
    await receive(world, stop)
    await until(world.matrix.notices)
    assert world.matrix.notices() == [wording.STOPPED]
    assert world.matrix.sent[0].content["body"] == stop
    portal = world.portals.find("sms", NUMBER, ALICE)
    assert portal is not None
    await world.write(portal, "please")
    assert "asked for no more texts (STOP)" in world.matrix.notices()[-1]
    again = Senders()
    await again.load(SenderTable(database))
    assert again.has_stopped("sms", NUMBER)
    await receive(world, "are you there?", id="a2")
    await world.write(portal, "please", id="$t2")
    await receive(world, "start", id="a3")
    await until(lambda: wording.STARTED in world.matrix.notices())
    await world.write(portal, "at last", id="$t3")
    await settle(database, ["sent"])
    assert len(world.provider.requests) == 1


async def test_a_list_that_still_has_the_stop_does_not_bring_it_back(world: World) -> None:
    await receive(world, "STOP")
    await receive(world, "START", id="a2")
    await until(lambda: wording.STARTED in world.matrix.notices())
    stop, start = arrival(id="a1", body="STOP"), arrival(id="a2", body="START")
    await world.texting.receive_polled("acme", [stop])
    assert not world.senders.has_stopped("sms", NUMBER)
    await world.texting.receive_polled("acme", [stop, start])
    assert not world.senders.has_stopped("sms", NUMBER)


@pytest.mark.parametrize("body", ["please stop that", "stop!", "END", "cancel"])
async def test_what_merely_sounds_like_it_stops_nothing(
    world: World, database: Database, body: str
) -> None:
    await receive(world, body)
    portal = world.portals.find("sms", NUMBER, ALICE)
    assert portal is not None
    await world.write(portal, "why?")
    await settle(database, ["sent"])


async def test_who_said_stop_can_still_be_called(world: World) -> None:
    await receive(world, "STOP")
    line = world.routing.lines[0]
    assert world.routing.refusal(line, NUMBER, ALICE, by_text=True) is not None
    assert world.routing.refusal(line, NUMBER, ALICE) is None


async def test_the_stop_of_one_line_is_not_anothers(world: World) -> None:
    await receive(world, "STOP")
    assert not world.senders.has_stopped("other", NUMBER)


@pytest.mark.parametrize(
    ("sender", "topic", "answerable"),
    [("ACME Bank", "neither answered nor called", False), ("72975", "cannot be called", True)],
)
async def test_a_sender_that_is_no_phone_is_marked_and_cannot_be_called(
    world: World, database: Database, sender: str, topic: str, answerable: bool
) -> None:
    room = await receive(world, "your code is 1", sender=sender)
    assert topic in world.matrix.rooms[room]["topic"]
    portal = world.portals.by_room(room)
    assert portal is not None
    line = world.routing.lines[0]
    refusal = world.routing.refusal(line, portal.number, ALICE)
    assert refusal is not None
    assert "called" in refusal.text
    await world.write(portal, "thanks")
    if answerable:
        await settle(database, ["sent"])
    else:
        assert "neither called nor answered" in world.matrix.notices()[-1]
        assert world.provider.requests == []
    again = Senders()
    await again.load(SenderTable(database))
    assert again.is_code("sms", portal.number)


async def test_an_extension_that_never_wrote_can_be_called(world: World) -> None:
    line = world.routing.lines[0]
    for text in ("1000", "echo", NUMBER.text):
        assert world.routing.refusal(line, PhoneNumber(text), ALICE) is None
    room = await receive(world, "hello")
    assert world.matrix.rooms[room]["topic"] is None
