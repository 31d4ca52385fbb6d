"""What authors do with texts that they have written: send again, change, take back."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count

import pytest

from bridge import wording
from bridge.db.interface import Database
from bridge.matrix.events import Reaction, RoomEvent
from bridge.numbers import PhoneNumber
from bridge.outbox import STATUS
from bridge.portal import Portal
from bridge.road.road import ApiAnswer, Delivery, Later, Receipt, Unsure
from tests.bridge.fakes import FakeMatrix, Sent
from tests.bridge.test_outbox import NUMBER, World, settle
from tests.bridge.test_texting import ALICE, states, until, worked_off

REFUSED = ApiAnswer(400, body=b'{"error": "no"}')
DOUBT = Unsure("no answer came")


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    made = World(database, FakeMatrix())
    yield made
    await made.texting.stop()


@pytest.fixture
async def portal(world: World) -> Portal:
    return await world.portals.adopt("!room:example.org", "sms", NUMBER, ALICE)


_ids = count()


async def react(
    world: World, portal: Portal, to: str = "$t1", key: str = "🔁", id: str = ""
) -> None:
    event = RoomEvent(id or f"$r{next(_ids)}", portal.room_id, ALICE, "m.reaction", {})
    await world.texting.react(event, Reaction(to, key))


def bodies(world: World) -> list[bytes]:
    return [(request.body or b"").split(b"&")[0] for request in world.provider.requests]


# --- again


@pytest.mark.parametrize("sign", ["🔁", "🔁\ufe0f", "🔄"])
async def test_a_refused_text_leaves_again_by_a_reaction(
    world: World, portal: Portal, database: Database, sign: str
) -> None:
    world.provider.answers = [REFUSED]
    await world.write(portal, "hello")
    await settle(database, ["refused"])
    await react(world, portal, key=sign)
    await settle(database, ["again", "sent"])
    assert bodies(world) == [b"t=hello"] * 2
    keys = {request.body for request in world.provider.requests}
    assert len(keys) == 2  # each departure has its own
    await until(lambda: len(world.shown()) == 3)
    shown = [sent.content for sent in world.matrix.sent if sent.type == STATUS]
    assert [content["status"] for content in shown] == ["FAIL_PERMANENT", "PENDING", "SUCCESS"]
    assert {content["m.relates_to"]["event_id"] for content in shown} == {"$t1"}
    rows = await database.fetch("SELECT body FROM text_out")
    assert [row["body"] for row in rows] == [None, None]


async def test_a_doubt_that_is_sent_again_is_said_to_be_two_perhaps(
    world: World, portal: Portal, database: Database
) -> None:
    world.provider.answers = [DOUBT]
    await world.write(portal, "hello")
    await settle(database, ["doubt"])
    await react(world, portal)
    await settle(database, ["again", "sent"])
    assert world.matrix.notices()[1:] == [wording.AGAIN_IN_DOUBT]


async def test_the_notice_about_a_text_stands_for_it(
    world: World, portal: Portal, database: Database
) -> None:
    world.provider.answers = [REFUSED]
    await world.write(portal, "hello")
    await settle(database, ["refused"])
    await until(world.matrix.notices)
    await worked_off(world.texting)
    await react(world, portal, to=f"$sent{len(world.matrix.sent)}")
    await settle(database, ["again", "sent"])


async def test_the_notice_of_an_earlier_run_stands_for_its_text(
    world: World, portal: Portal, database: Database
) -> None:
    """By a reaction, and by !retry as a reply to it; what others have said does not."""
    world.provider.answers = [REFUSED, REFUSED]
    await world.write(portal, "hello")
    await settle(database, ["refused"])
    await until(world.matrix.notices)
    notice = f"$sent{len(world.matrix.sent)}"
    await worked_off(world.texting)
    again = World(database, world.matrix)
    again.provider.answers = [REFUSED]
    await again.portals.load()
    foreign = Sent(portal.room_id, ALICE, "m.room.message", world.matrix.sent[-1].content, "t")
    world.matrix.sent.append(foreign)
    for said in (f"$sent{len(world.matrix.sent)}", "$unknown"):
        await react(again, portal, to=said)
    assert await states(database, "text_out") == ["refused"]
    await react(again, portal, to=notice)
    await settle(database, ["again", "refused"])
    answer = await again.texting.retry(portal.room_id, notice, ALICE, asked_by="$please")
    assert answer is None
    await settle(database, ["again", "again", "sent"])
    await again.texting.stop()


async def test_a_reaction_that_comes_twice_sends_once(
    world: World, portal: Portal, database: Database
) -> None:
    world.provider.answers = [REFUSED]
    await world.write(portal, "hello")
    await settle(database, ["refused"])
    await react(world, portal, id="$again")
    await react(world, portal, id="$again")
    await settle(database, ["again", "sent"])
    await react(world, portal, id="$again")
    await worked_off(world.texting)
    assert await states(database, "text_out") == ["again", "sent"]
    assert len(world.matrix.notices()) == 1


async def test_what_was_sent_is_not_sent_again(
    world: World, portal: Portal, database: Database
) -> None:
    await world.write(portal, "hello")
    await settle(database, ["sent"])
    await react(world, portal)
    await react(world, portal, to="$unheard-of")
    await react(world, portal, key="👍")
    assert world.matrix.notices() == ["This text was sent already."]
    assert len(world.provider.requests) == 1


async def test_a_failed_delivery_is_sent_again(database: Database) -> None:
    world = World(database, FakeMatrix(), receipts="https://hooks.example/road/acme/x")
    portal = await world.portals.adopt("!room:example.org", "sms", NUMBER, ALICE)
    await world.write(portal, "hello")
    await settle(database, ["sent"])
    await world.texting.receive_hook("acme", [Receipt("r1", Delivery.FAILED, "no such number")])
    await settle(database, ["failed"])
    await react(world, portal)
    await settle(database, ["again", "sent"])
    assert bodies(world) == [b"t=hello"] * 2
    await world.texting.receive_hook("acme", [Receipt("r2", Delivery.DELIVERED)])
    await settle(database, ["again", "delivered"])
    assert await database.fetchval("SELECT body FROM text_out WHERE seq = 2") is None
    await world.texting.stop()


async def test_the_command_takes_the_text_that_it_answers_or_the_last_that_failed(
    world: World, portal: Portal, database: Database
) -> None:
    texting, room = world.texting, portal.room_id
    assert await texting.retry(room, None, ALICE, asked_by="$c0") == wording.NOTHING_TO_RETRY
    world.provider.answers = [REFUSED, REFUSED]
    await world.write(portal, "one")
    await world.write(portal, "two", id="$t2")
    await settle(database, ["refused", "refused"])
    assert await texting.retry(room, None, ALICE, asked_by="$c1") is None
    await settle(database, ["refused", "again", "sent"])
    assert await texting.retry(room, None, ALICE, asked_by="$c1") is None
    assert await texting.retry(room, "$t1", ALICE, asked_by="$c2") is None
    await settle(database, ["again", "again", "sent", "sent"])
    assert bodies(world)[2:] == [b"t=two", b"t=one"]
    elsewhere = await texting.retry("!other:example.org", "$t1", ALICE, asked_by="$c3")
    assert elsewhere == wording.NOTHING_TO_RETRY


async def test_a_departure_that_waits_survives_a_crash(
    world: World, portal: Portal, database: Database
) -> None:
    world.provider.answers = [REFUSED]
    await world.write(portal, "hello")
    await settle(database, ["refused"])
    world.provider.answers, world.pause = [Later("busy")], asyncio.Event()
    await react(world, portal, id="$again")
    await until(lambda: world.slept)
    await world.texting.stop()
    again = World(database, world.matrix)
    await again.portals.load()
    await again.texting.start()
    await settle(database, ["again", "sent"])
    assert bodies(again) == [b"t=hello"]
    await again.texting.stop()


# --- otherwise


async def test_an_edit_changes_a_text_that_waits(
    world: World, portal: Portal, database: Database
) -> None:
    world.provider.hold = asyncio.Event()
    await world.write(portal, "first")
    await until(lambda: world.provider.requests)
    await world.write(portal, "secnd", id="$t2")
    await world.edit(portal, "$t2", "second")
    await world.edit(portal, "$t1", "too late")
    await world.edit(portal, "$t1", "much too late")
    world.provider.hold.set()
    await settle(database, ["sent", "sent"])
    assert bodies(world) == [b"t=first", b"t=second"]
    assert world.matrix.notices() == [wording.NO_EDITS]


async def test_an_edit_of_a_refused_text_leaves_when_it_is_asked_for(
    world: World, portal: Portal, database: Database
) -> None:
    world.provider.answers = [REFUSED]
    await world.write(portal, "helo")
    await settle(database, ["refused"])
    await world.edit(portal, "$t1", "hello")
    assert world.matrix.notices()[-1] == wording.CHANGED
    await react(world, portal)
    await settle(database, ["again", "sent"])
    assert bodies(world) == [b"t=helo", b"t=hello"]


async def test_an_edit_that_is_too_long_is_refused_and_the_text_stays(
    world: World, portal: Portal, database: Database
) -> None:
    world.provider.hold = asyncio.Event()
    await world.write(portal, "first")
    await world.write(portal, "short", id="$t2")
    await world.edit(portal, "$t2", "x" * 999)
    world.provider.hold.set()
    await settle(database, ["sent", "sent"])
    assert "would take" in world.matrix.notices()[0]
    assert bodies(world)[1] == b"t=short"


async def test_a_redaction_takes_back_what_waits_and_only_that(
    world: World, portal: Portal, database: Database
) -> None:
    world.provider.hold = asyncio.Event()
    await world.write(portal, "first")
    await until(lambda: world.provider.requests)
    await world.write(portal, "second", id="$t2")
    await world.write(portal, "third", id="$t3")
    for redacted in ("$t2", "$t1", "$t1", "$unheard-of"):
        await world.texting.withdraw(portal.room_id, redacted)
    world.provider.hold.set()
    await settle(database, ["sent", "withdrawn", "sent"])
    assert bodies(world) == [b"t=first", b"t=third"]
    assert world.matrix.notices() == [wording.NO_WAY_BACK]
    assert await database.fetchval("SELECT body FROM text_out WHERE seq = 2") is None


async def test_texts_are_changed_and_taken_back_in_their_own_room_alone(
    world: World, portal: Portal, database: Database
) -> None:
    other = await world.portals.adopt("!r2:example.org", "sms", PhoneNumber("+15550000000"), ALICE)
    world.provider.hold = asyncio.Event()
    await world.write(portal, "first")
    await until(lambda: world.provider.requests)
    await world.write(portal, "second", id="$t2")
    await world.edit(other, "$t2", "forged")
    await world.texting.withdraw(other.room_id, "$t2")
    world.provider.hold.set()
    await settle(database, ["sent", "sent"])
    assert bodies(world) == [b"t=first", b"t=second"]


async def test_a_text_that_waits_for_its_provider_can_still_be_changed_and_taken_back(
    world: World, portal: Portal, database: Database
) -> None:
    other = await world.portals.adopt("!r2:example.org", "sms", PhoneNumber("+15550000000"), ALICE)
    world.provider.answers, world.pause = [Later("busy")] * 2, asyncio.Event()
    await world.write(portal, "helo")
    await world.write(other, "never", id="$t2")
    await until(lambda: len(world.slept) == 2)
    await world.edit(portal, "$t1", "hello")
    await world.texting.withdraw(other.room_id, "$t2")
    await settle(database, ["waiting", "withdrawn"])
    world.pause.set()
    await settle(database, ["sent", "withdrawn"])
    assert bodies(world)[-1] == b"t=hello"


async def test_a_redacted_text_is_not_kept_for_another_attempt(
    world: World, portal: Portal, database: Database
) -> None:
    world.provider.answers = [DOUBT]
    await world.write(portal, "hello")
    await settle(database, ["doubt"])
    await world.texting.withdraw(portal.room_id, "$t1")
    assert await database.fetchval("SELECT body FROM text_out") is None
    await react(world, portal)
    assert "not kept any more" in world.matrix.notices()[-1]
    assert len(world.provider.requests) == 1


async def test_a_text_without_words_is_told_once_and_not_sent(world: World, portal: Portal) -> None:
    await world.write(portal, " \n")
    await world.write(portal, "", id="$t2")
    assert world.matrix.notices() == [wording.EMPTY_TEXT]
    assert world.provider.requests == []


# --- what costs


async def test_a_text_of_many_parts_waits_for_its_author(database: Database) -> None:
    world = World(database, FakeMatrix(), warn_parts=1)
    portal = await world.portals.adopt("!room:example.org", "sms", NUMBER, ALICE)
    await world.write(portal, "x" * 161)
    await world.write(portal, "x" * 160, id="$t2")
    await settle(database, ["held", "sent"])
    assert "takes 2 messages" in world.matrix.notices()[0]
    assert world.shown()[0][0] == "PENDING"
    await react(world, portal)
    await settle(database, ["again", "sent", "sent"])
    assert [len(body) for body in bodies(world)] == [162, 163]
    await world.texting.stop()


async def test_a_held_text_can_be_made_shorter_or_taken_back(database: Database) -> None:
    world = World(database, FakeMatrix(), warn_parts=1)
    portal = await world.portals.adopt("!room:example.org", "sms", NUMBER, ALICE)
    await world.write(portal, "x" * 161)
    await world.write(portal, "y" * 161, id="$t2")
    await world.edit(portal, "$t1", "x")
    await react(world, portal)
    await world.texting.withdraw(portal.room_id, "$t2")
    await react(world, portal, to="$t2")
    await settle(database, ["again", "withdrawn", "sent"])
    assert bodies(world) == [b"t=x"]
    await world.texting.stop()


@pytest.mark.parametrize("wanted", [True, False])
async def test_a_reaction_is_a_text_only_where_the_line_wants_it(
    database: Database, wanted: bool
) -> None:
    world = World(database, FakeMatrix(), send_reactions=wanted)
    portal = await world.portals.adopt("!room:example.org", "sms", NUMBER, ALICE)
    await react(world, portal, to="$theirs", key="OK", id="$r")
    await react(world, portal, to="$theirs", key="OK", id="$r")
    await react(world, portal, to="$theirs", key="mxc://example.org/party")
    await react(world, portal, to="$theirs")
    await settle(database, ["sent"] if wanted else [])
    assert bodies(world) == ([b"t=OK"] if wanted else [])
    assert world.matrix.notices() == []
    await world.texting.stop()
