"""Floods of texts and of strangers, on real databases."""

import asyncio
from functools import partial

import pytest

from bridge import wording
from bridge.burst import MORE, WINDOW, FirstContacts
from bridge.db.interface import Database
from bridge.numbers import PhoneNumber
from bridge.road.road import Attachment
from tests.bridge.fakes import FakeMatrix
from tests.bridge.test_outbox import NUMBER, World, arrival
from tests.bridge.test_texting import ALICE, BOB, states, until

FLOOD = 1000
LINE = World.line(users=(ALICE,))


def said(world: World) -> list[str]:
    """What stands in the rooms, notices left out."""
    return [sent.content["body"] for sent in world.matrix.sent if _is_text(sent.content)]


def _are(world: World, count: int) -> bool:
    return len(said(world)) == count


def _is_text(content: object) -> bool:
    return isinstance(content, dict) and content.get("msgtype") == "m.text"


async def flood(world: World, count: int = FLOOD) -> None:
    texts = [arrival(id=f"a{index}", body=f"spam {index}") for index in range(count)]
    for start in range(0, count, 50):
        await world.texting.receive_hook("acme", texts[start : start + 50])


async def test_of_a_flood_five_are_shown_and_none_is_lost(database: Database) -> None:
    world = World(database, FakeMatrix())
    world.pause = asyncio.Event()
    await flood(world)
    await until(lambda: len(said(world)) == 5)
    await asyncio.sleep(0.02)
    assert world.matrix.notices() == []
    world.pause.set()  # the burst is over
    await until(world.matrix.notices)
    assert world.matrix.notices() == [
        "995 more texts from +1 555-123-4567 came in a short time. Say “!more” here to read them."
    ]
    assert said(world) == [f"spam {index}" for index in range(5)]
    (room,) = world.matrix.rooms
    for page in (1, 2):
        left = FLOOD - 5 - page * MORE
        assert await world.texting.more(room) == wording.unfolded(left)
    await until(lambda: len(said(world)) == 5 + 2 * MORE)
    assert said(world) == [f"spam {index}" for index in range(5 + 2 * MORE)]
    rows = await database.fetch("SELECT body FROM text_in WHERE state = 'told' ORDER BY seq")
    assert [row["body"] for row in rows] == [f"spam {n}" for n in range(5 + 2 * MORE, FLOOD)]
    assert await world.texting.more("!bot:example.org") == wording.MORE_WHERE
    await world.texting.stop()


async def test_a_restart_tells_of_what_was_folded_before_it(database: Database) -> None:
    world = World(database, FakeMatrix(), users=(ALICE, BOB))
    world.pause = asyncio.Event()
    await flood(world, 8)
    await until(lambda: len(said(world)) == 10)
    await world.texting.stop()
    for told in (2, 0):
        again = World(database, FakeMatrix(), users=(ALICE, BOB))
        await again.portals.load()
        await again.texting.start()
        if told:
            await until(partial(_has_told, again, told))
        await asyncio.sleep(0.02)
        assert len(again.matrix.notices()) == told
        assert all("3 more texts" in notice for notice in again.matrix.notices())
        await again.texting.stop()
    assert (await states(database, "text_in")).count("told") == 6


def _has_told(world: World, notices: int) -> bool:
    return len(world.matrix.notices()) == notices


async def test_what_comes_with_a_text_counts_with_it(database: Database) -> None:
    world = World(database, FakeMatrix())
    pictures = tuple(Attachment(f"https://a.example/{index}") for index in range(8))
    await world.texting.receive_hook("acme", [arrival(attachments=pictures)])
    await until(lambda: len(world.matrix.sent) == 9)
    assert "folded" not in await states(database, "text_in")
    await world.texting.stop()


async def test_repeats_are_no_flood(database: Database) -> None:
    world = World(database, FakeMatrix())
    for index in range(5):
        texts = [arrival(id=f"a{number}", body=f"{number}") for number in range(index)]
        await world.texting.receive_hook("acme", texts)
    await until(lambda: len(said(world)) == 4)
    assert "folded" not in await states(database, "text_in")
    await world.texting.stop()


async def test_a_line_that_wants_every_text_gets_it(database: Database) -> None:
    world = World(database, FakeMatrix(), shown_per_minute=100)
    await flood(world, 100)
    await until(lambda: len(said(world)) == 100)
    await world.texting.stop()


async def test_strangers_get_a_room_a_minute_in_order_and_others_do_not_wait(
    database: Database,
) -> None:
    world = World(database, FakeMatrix(), users=(ALICE, BOB))
    world.pause = asyncio.Event()
    await world.portals.adopt("!known:example.org", "sms", NUMBER, ALICE)
    await world.portals.adopt("!known2:example.org", "sms", NUMBER, BOB)
    strangers = [f"555765{index:04}" for index in range(5)]
    await world.texting.receive_hook(
        "acme",
        [arrival(id=f"s{sender}", sender=sender, body=sender) for sender in strangers],
    )
    await world.texting.receive_hook("acme", [arrival(body="from a friend")])
    await until(lambda: len(said(world)) == 4)
    await asyncio.sleep(0.02)
    assert sorted(said(world)) == sorted([strangers[0], "from a friend"] * 2)
    assert len(world.matrix.rooms) == 2  # one for each user of the line
    for minute, stranger in enumerate(strangers[1:], 1):
        minutes, world.pause = world.pause, asyncio.Event()
        minutes.set()
        await until(partial(_are, world, 4 + 2 * minute))
        assert said(world)[-2:] == [stranger] * 2
    assert len(world.matrix.rooms) == 10
    await world.texting.stop()


@pytest.mark.parametrize("each", [1, 3])
async def test_the_wait_is_as_long_as_the_setting_wants(each: int) -> None:
    now, slept = 0.0, []

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        slept.append(seconds)

    line = LINE.model_copy(update={"strangers_per_minute": each})
    contacts = FirstContacts(sleep=sleep, clock=lambda: now)
    for index in range(3 * each):
        await contacts.wait(line, PhoneNumber(f"+1555000{index:04}"))
        await contacts.wait(line, PhoneNumber("+15550000000"))
    assert slept == [WINDOW] * 2
    now += 1000
    await contacts.wait(line, PhoneNumber("1000"))
    assert len(slept) == 2


async def test_strangers_who_call_share_the_minute_with_those_who_write() -> None:
    now, slept = 0.0, asyncio.Event()

    async def sleep(seconds: float) -> None:
        await slept.wait()

    contacts = FirstContacts(sleep=sleep, clock=lambda: now)
    first, second, third = (PhoneNumber(f"+1555000000{index}") for index in range(3))
    assert contacts.admits(LINE, first)
    assert contacts.admits(LINE, first)
    assert not contacts.admits(LINE, second)
    waiting = asyncio.create_task(contacts.wait(LINE, third))
    await asyncio.sleep(0)
    now = WINDOW
    assert not contacts.admits(LINE, second)  # the one that waits came before
    slept.set()
    await waiting
    assert contacts.admits(LINE, third)
    now = 2 * WINDOW
    assert contacts.admits(LINE, second)
