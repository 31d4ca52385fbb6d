import asyncio
from typing import Any

from bridge.db.inbox import KEEP_MS, MOST_ATTEMPTS, Inbox
from bridge.db.interface import Database


def event(number: int, room: str = "!a:x", **more: Any) -> dict[str, Any]:
    return {"event_id": f"$e{number}", "room_id": room, "content": {"n": number}, **more}


async def test_events_come_back_in_the_order_of_arrival(database: Database) -> None:
    inbox = Inbox(database)
    fresh = await inbox.store("1", [event(3), event(1), event(2)], now_ms=7)
    assert [item.event_id for item in fresh] == ["$e3", "$e1", "$e2"]
    pending = await inbox.pending("!a:x")
    assert [item.event_id for item in pending] == ["$e3", "$e1", "$e2"]
    assert pending[0].raw == event(3)
    assert pending[0].received_ms == 7


async def test_a_repeat_under_any_transaction_is_not_new(database: Database) -> None:
    inbox = Inbox(database)
    await inbox.store("1", [event(1), event(2)], now_ms=1)
    assert await inbox.store("1", [event(1), event(2)], now_ms=2) == []
    fresh = await inbox.store("9", [event(2), event(3), event(3)], now_ms=2)
    assert [item.event_id for item in fresh] == ["$e3"]


async def test_a_done_event_is_known_still_and_its_content_is_gone(database: Database) -> None:
    inbox = Inbox(database)
    await inbox.store("1", [event(1)], now_ms=1)
    await inbox.done("$e1")
    assert await inbox.pending("!a:x") == []
    assert await inbox.store("2", [event(1)], now_ms=2) == []
    assert await database.fetchval("SELECT payload FROM inbox") is None


async def test_two_stores_at_once_give_an_event_to_one(database: Database) -> None:
    inbox = Inbox(database)
    found = await asyncio.gather(*(inbox.store("1", [event(1)], now_ms=1) for _ in range(5)))
    assert sorted(len(fresh) for fresh in found) == [0, 0, 0, 0, 1]


async def test_unreadable_events_are_set_aside_once(database: Database) -> None:
    inbox = Inbox(database)
    odd = [None, 3, "text", {}, {"event_id": "$x"}, {"event_id": 4, "room_id": "!a:x"}]
    odd += [{"event_id": "$\x00", "room_id": "!a:x"}, {"event_id": "$\ud800", "room_id": "!a:x"}]
    fresh = await inbox.store("1", [*odd, event(1), *odd], now_ms=1)
    assert [item.event_id for item in fresh] == ["$e1"]
    assert await inbox.pending_rooms() == ["!a:x"]
    query = "SELECT COUNT(*) FROM inbox WHERE state = 'aside'"
    assert await database.fetchval(query) == len(odd)


async def test_content_that_no_database_likes_survives(database: Database) -> None:
    inbox = Inbox(database)
    odd = event(1, text="half \ud83d and nul \x00 and ☎ and 🎉", big=10**40)
    await inbox.store("1", [odd], now_ms=1)
    assert (await inbox.pending("!a:x"))[0].raw == odd


async def test_rooms_that_are_owed_come_longest_waiting_first(database: Database) -> None:
    inbox = Inbox(database)
    await inbox.store("1", [event(1, "!b:x"), event(2, "!a:x"), event(3, "!b:x")], now_ms=1)
    assert await inbox.pending_rooms() == ["!b:x", "!a:x"]
    await inbox.done("$e1")
    assert await inbox.pending_rooms() == ["!a:x", "!b:x"]


async def test_pending_pages(database: Database) -> None:
    inbox = Inbox(database)
    await inbox.store("1", [event(n) for n in range(5)], now_ms=1)
    first = await inbox.pending("!a:x", limit=3)
    second = await inbox.pending("!a:x", after=first[-1].seq, limit=3)
    assert [item.event_id for item in first + second] == [f"$e{n}" for n in range(5)]


async def test_an_event_that_fails_too_often_is_set_aside(database: Database) -> None:
    inbox = Inbox(database)
    await inbox.store("1", [event(1)], now_ms=1)
    again = [await inbox.failed("$e1") for _ in range(MOST_ATTEMPTS)]
    assert again == [True] * (MOST_ATTEMPTS - 1) + [False]
    assert await inbox.pending("!a:x") == []
    assert await inbox.store("2", [event(1)], now_ms=1) == []


async def test_prune_forgets_the_old_but_never_what_is_owed(database: Database) -> None:
    inbox = Inbox(database)
    await inbox.store("1", [event(1), event(2), {}], now_ms=0)
    await inbox.done("$e1")
    await inbox.prune(now_ms=KEEP_MS)
    assert await database.fetchval("SELECT COUNT(*) FROM inbox") == 3
    await inbox.prune(now_ms=KEEP_MS + 1)
    assert await database.fetchval("SELECT COUNT(*) FROM inbox") == 1
    assert len(await inbox.pending("!a:x")) == 1


async def test_more_events_than_a_statement_takes_are_one_transaction(database: Database) -> None:
    inbox = Inbox(database)
    fresh = await inbox.store("1", [event(n) for n in range(2500)], now_ms=1)
    assert [item.event_id for item in fresh] == [f"$e{n}" for n in range(2500)]
