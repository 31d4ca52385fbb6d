"""What an appservice must do when a homeserver repeats, mixes and breaks things."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from bridge.db.inbox import MOST_ATTEMPTS, Inbox, InboxEvent
from bridge.db.interface import Database
from bridge.matrix.appservice import Appservice, Health
from bridge.matrix.events import ReadReceipt, RoomEvent
from bridge.setting import Endpoint

TOKEN = "hs-token"
V1 = "/_matrix/app/v1"


def event(name: str, room: str = "!a:x", **more: Any) -> dict[str, Any]:
    return {
        "event_id": f"${name}",
        "room_id": room,
        "sender": "@alice:x",
        "type": "m.room.message",
        "content": {"body": name, "msgtype": "m.text"},
        "unsigned": {"age": 40},
    } | more


class Homeserver:
    """The other end: pushes as Synapse does."""

    def __init__(self, port: int, session: aiohttp.ClientSession) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._session = session

    async def ask(
        self, method: str, path: str, *, token: str | None = TOKEN, body: Any = None, **more: Any
    ) -> tuple[int, Any]:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        async with self._session.request(
            method, self.url + path, headers=headers, json=body, **more
        ) as answer:
            return answer.status, await answer.json()

    async def push(self, txn: str, *events: Any, **more: Any) -> int:
        status, _ = await self.ask(
            "PUT", f"{V1}/transactions/{txn}", body={"events": list(events)}, **more
        )
        return status


class Bridge:
    """Handles events the way a test wants."""

    def __init__(self) -> None:
        self.handled: list[str] = []
        self.events: list[RoomEvent] = []
        self.changed = asyncio.Condition()
        self.act: Callable[[RoomEvent], Awaitable[None]] | None = None

    async def handle(self, event: RoomEvent) -> None:
        if self.act is not None:
            await self.act(event)
        async with self.changed:
            self.handled.append(event.event_id.removeprefix("$"))
            self.events.append(event)
            self.changed.notify_all()

    async def until(self, *names: str) -> None:
        async with asyncio.timeout(30), self.changed:  # hundreds of commits, on a busy machine
            await self.changed.wait_for(lambda: set(names) <= set(self.handled))


@asynccontextmanager
async def running(inbox: Any, bridge: Bridge, **more: Any) -> AsyncIterator[Homeserver]:
    appservice = Appservice(
        listen=Endpoint("127.0.0.1", 0),
        hs_token=TOKEN,
        inbox=inbox,
        handler=bridge.handle,
        **more,
    )
    await appservice.start()
    async with aiohttp.ClientSession() as session:
        yield Homeserver(appservice.port, session)
    await appservice.stop(grace=0.2)


async def owed(database: Database) -> int:
    return int(await database.fetchval("SELECT COUNT(*) FROM inbox WHERE state = 'pending'"))


# --- transactions


async def test_events_are_on_the_disk_before_the_answer_and_handed_on_after(
    database: Database,
) -> None:
    bridge, go_on = Bridge(), asyncio.Event()

    async def wait(event: RoomEvent) -> None:
        await go_on.wait()

    bridge.act = wait
    async with running(Inbox(database), bridge) as homeserver:
        assert await homeserver.push("1", event("a"), event("b")) == 200
        assert bridge.handled == []
        assert await owed(database) == 2
        go_on.set()
        await bridge.until("a", "b")
    assert bridge.handled == ["a", "b"]
    assert await owed(database) == 0


async def test_the_same_transaction_again_does_nothing(database: Database) -> None:
    bridge = Bridge()
    async with running(Inbox(database), bridge) as homeserver:
        for _ in range(10):
            assert await homeserver.push("1", event("a"), event("b")) == 200
        await homeserver.push("2", event("end"))
        await bridge.until("end")
    assert bridge.handled == ["a", "b", "end"]


async def test_two_pushes_of_one_transaction_at_once_do_it_once(database: Database) -> None:
    bridge = Bridge()
    async with running(Inbox(database), bridge) as homeserver:
        pushes = [homeserver.push("1", event("a"), event("b")) for _ in range(4)]
        assert await asyncio.gather(*pushes) == [200] * 4
        await homeserver.push("2", event("end"))
        await bridge.until("end")
    assert bridge.handled == ["a", "b", "end"]


async def test_the_same_event_in_another_transaction_is_done_once(database: Database) -> None:
    bridge = Bridge()
    async with running(Inbox(database), bridge) as homeserver:
        await homeserver.push("1", event("a"))
        await homeserver.push("2", event("a"), event("b"))
        await bridge.until("b")
    assert bridge.handled == ["a", "b"]


async def test_a_transaction_id_that_starts_again_at_1_loses_nothing(database: Database) -> None:
    bridge = Bridge()
    async with running(Inbox(database), bridge) as homeserver:
        await homeserver.push("1", event("a"))
        await homeserver.push("1", event("b"))
        await bridge.until("a", "b")


async def test_a_malformed_event_does_not_hold_up_the_others(database: Database) -> None:
    bridge = Bridge()
    odd = [None, "text", {"event_id": "$only"}, event("c", sender=5), event("d", content=[])]
    async with running(Inbox(database), bridge) as homeserver:
        assert await homeserver.push("1", event("a"), *odd, event("b")) == 200
        await bridge.until("a", "b")
    assert bridge.handled == ["a", "b"]
    assert await owed(database) == 0


async def test_a_hundred_events_of_a_push_keep_their_order(database: Database) -> None:
    bridge = Bridge()
    names = [f"n{i}" for i in range(100)]
    async with running(Inbox(database), bridge) as homeserver:
        await homeserver.push("1", *(event(name) for name in names))
        await bridge.until(names[-1])
    assert bridge.handled == names


async def test_more_than_the_queue_holds_keeps_its_order_too(database: Database) -> None:
    bridge, go_on = Bridge(), asyncio.Event()

    async def wait(event: RoomEvent) -> None:
        await go_on.wait()

    bridge.act = wait
    names = [f"n{i}" for i in range(450)]
    async with running(Inbox(database), bridge) as homeserver:
        for start in range(0, 450, 50):
            part = names[start : start + 50]
            assert await homeserver.push(str(start), *(event(name) for name in part)) == 200
        go_on.set()
        await bridge.until("n20")
        await homeserver.push("late", event("late"))
        await bridge.until("late")
    assert bridge.handled == [*names, "late"]
    assert await owed(database) == 0


async def test_what_was_not_pushed_goes_before_what_was_pushed_since(database: Database) -> None:
    """The homeserver was killed with "a" and "b" on their way to us; "c" is what it pushes now."""
    bridge = Bridge()
    forgotten = [event(name, origin_server_ts=at) for name, at in (("a", 1), ("b", 2))]
    asked: list[str] = []

    async def settle(room_id: str) -> bool:
        asked.append(room_id)
        if len(asked) > 1:
            return False
        # As another reader of the rooms would at the same moment: it is new to one of them only.
        assert await homeserver.push("read", *forgotten) == 200
        return True

    async with running(Inbox(database), bridge, settle=settle) as homeserver:
        await homeserver.push("1", event("c", origin_server_ts=3))
        await bridge.until("a", "b", "c")
    assert bridge.handled == ["a", "b", "c"]
    assert set(asked) == {event("c")["room_id"]}


async def test_a_call_does_not_wait_for_its_room_to_be_read(database: Database) -> None:
    bridge = Bridge()

    async def settle(room_id: str) -> bool:
        raise AssertionError("a phone should ring by now")

    async with running(Inbox(database), bridge, settle=settle) as homeserver:
        await homeserver.push("1", event("invite", type="m.call.invite"))
        await bridge.until("invite")


async def test_a_slow_room_holds_up_no_other_room(database: Database) -> None:
    bridge, go_on = Bridge(), asyncio.Event()

    async def wait(event: RoomEvent) -> None:
        if event.room_id == "!slow:x":
            await go_on.wait()

    bridge.act = wait
    async with running(Inbox(database), bridge) as homeserver:
        await homeserver.push("1", event("slow", "!slow:x"), event("a", "!fast:x"))
        await homeserver.push("2", event("b", "!fast:x"))
        await bridge.until("a", "b")
        assert "slow" not in bridge.handled
        go_on.set()
        await bridge.until("slow")


async def test_a_failing_handler_stops_nothing_and_gets_the_event_again_at_the_next_start(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    bridge = Bridge()

    async def fail(event: RoomEvent) -> None:
        if event.event_id == "$bad":
            raise ZeroDivisionError

    bridge.act = fail
    async with running(Inbox(database), bridge) as homeserver:
        assert await homeserver.push("1", event("a"), event("bad"), event("b")) == 200
        await bridge.until("a", "b")
    assert bridge.handled == ["a", "b"]
    assert "$bad" in caplog.text
    bridge.act = None
    async with running(Inbox(database), bridge):
        await bridge.until("bad")
    assert bridge.handled == ["a", "b", "bad"]


async def test_an_event_that_always_fails_is_given_up(database: Database) -> None:
    bridge, called = Bridge(), asyncio.Event()

    async def fail(event: RoomEvent) -> None:
        called.set()
        raise ZeroDivisionError

    bridge.act = fail
    inbox = Inbox(database)
    await inbox.store("1", [event("bad")], now_ms=0)
    for _ in range(MOST_ATTEMPTS):
        assert await inbox.pending_rooms() == ["!a:x"]
        called.clear()
        async with running(inbox, bridge):
            await asyncio.wait_for(called.wait(), 5)
    assert await inbox.pending_rooms() == []


async def test_a_crash_between_store_and_handling_loses_nothing_and_keeps_the_order(
    database: Database,
) -> None:
    inbox = Inbox(database)
    # What a run stored and never handled.
    await inbox.store("1", [event(f"n{i}") for i in range(250)], now_ms=time.time_ns() // 10**6)
    await inbox.store("2", [event("other", "!b:x")], now_ms=0)
    bridge = Bridge()
    async with running(inbox, bridge) as homeserver:
        await homeserver.push("3", event("new"), event("n3"))
        await bridge.until("new", "other")
    in_room_a = [name for name in bridge.handled if name != "other"]
    assert in_room_a == [*(f"n{i}" for i in range(250)), "new"]


async def test_an_event_taken_up_after_a_restart_has_aged(database: Database) -> None:
    inbox, bridge = Inbox(database), Bridge()
    await inbox.store("1", [event("a")], now_ms=time.time_ns() // 10**6 - 90_000)
    async with running(inbox, bridge):
        await bridge.until("a")
    age_ms = bridge.events[0].age_ms
    assert age_ms is not None
    assert 90_000 <= age_ms < 95_000


async def test_stop_leaves_what_is_not_done_in_the_inbox(database: Database) -> None:
    bridge = Bridge()
    begun = asyncio.Event()

    async def hang(event: RoomEvent) -> None:
        begun.set()
        await asyncio.Event().wait()

    bridge.act = hang
    async with running(Inbox(database), bridge) as homeserver:
        await homeserver.push("1", event("a"), event("b"))
        await begun.wait()
    assert await owed(database) == 2


async def test_our_own_events_are_not_kept(database: Database) -> None:
    bridge = Bridge()
    ours = "@tel_4930:x"
    async with running(
        Inbox(database), bridge, is_ours=lambda sender: sender == ours
    ) as homeserver:
        await homeserver.push("1", event("echo", sender=ours), event("a"))
        await bridge.until("a")
    assert bridge.handled == ["a"]


class BrokenInbox:
    """A database that cannot commit."""

    async def store(
        self, txn_id: str, events: Sequence[object], *, now_ms: int
    ) -> list[InboxEvent]:
        raise OSError("disk full")

    async def pending_rooms(self) -> list[str]:
        return []

    async def pending(self, room_id: str, *, after: int = 0, limit: int = 100) -> list[InboxEvent]:
        return []

    async def done(self, event_id: str) -> None: ...

    async def failed(self, event_id: str) -> bool:
        return True

    async def prune(self, *, now_ms: int) -> None: ...


async def test_a_failure_before_the_commit_is_a_500() -> None:
    bridge = Bridge()
    async with running(BrokenInbox(), bridge) as homeserver:
        assert await homeserver.push("1", event("a")) == 500
    assert bridge.handled == []


async def test_a_body_that_is_no_transaction_is_refused(database: Database) -> None:
    async with running(Inbox(database), Bridge()) as homeserver:
        path = f"{V1}/transactions/1"
        for body, errcode in (
            ("{", "M_NOT_JSON"),
            ("[" * 100_000, "M_NOT_JSON"),
            ("[]", "M_BAD_JSON"),
            ('{"events": {}}', "M_BAD_JSON"),
        ):
            async with aiohttp.ClientSession() as session:
                headers = {"Authorization": f"Bearer {TOKEN}"}
                async with session.put(homeserver.url + path, data=body, headers=headers) as answer:
                    assert answer.status == 400
                    assert (await answer.json())["errcode"] == errcode
        status, _ = await homeserver.ask("PUT", path, body={"de.sorunome.msc2409.ephemeral": []})
        assert status == 200


# --- who may speak


async def test_a_wrong_token_is_forbidden_and_does_nothing(database: Database) -> None:
    bridge = Bridge()
    async with running(Inbox(database), bridge) as homeserver:
        path, body = f"{V1}/transactions/1", {"events": [event("a")]}
        status, answer = await homeserver.ask("PUT", path, body=body, token="wrong")
        assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")
        status, answer = await homeserver.ask("PUT", path, body=body, token=None)
        assert (status, answer["errcode"]) == (401, "M_MISSING_TOKEN")
        status, _ = await homeserver.ask("PUT", path, body=body, token="wröng")
        assert status == 403
    assert await owed(database) == 0
    assert bridge.handled == []


@pytest.mark.parametrize(
    ("header", "query", "status"),
    [(TOKEN, TOKEN, 200), (None, TOKEN, 200), ("wrong", TOKEN, 403), (TOKEN, "wrong", 403)],
)
async def test_a_legacy_token_must_match_as_well(
    header: str | None, query: str, status: int
) -> None:
    async with running(BrokenInbox(), Bridge()) as homeserver:
        path = f"{V1}/ping?access_token={query}"
        assert (await homeserver.ask("POST", path, token=header, body={}))[0] == status


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", f"{V1}/transactions/1"),
        ("GET", f"{V1}/users/@tel_1:x"),
        ("GET", f"{V1}/rooms/%23a:x"),
        ("POST", f"{V1}/ping"),
        ("GET", f"{V1}/thirdparty/protocol/m.protocol.pstn"),
        ("GET", f"{V1}/thirdparty/user/m.protocol.pstn"),
        ("GET", f"{V1}/thirdparty/user"),
        ("GET", f"{V1}/thirdparty/location/m.protocol.pstn"),
        ("GET", f"{V1}/thirdparty/location"),
    ],
)
async def test_every_path_asks_for_the_token(method: str, path: str) -> None:
    async with running(BrokenInbox(), Bridge()) as homeserver:
        assert (await homeserver.ask(method, path, token="wrong"))[0] == 403


# --- other questions


async def test_unknown_paths_and_wrong_methods_are_unrecognized() -> None:
    async with running(BrokenInbox(), Bridge()) as homeserver:
        status, answer = await homeserver.ask("GET", f"{V1}/nothing")
        assert (status, answer["errcode"]) == (404, "M_UNRECOGNIZED")
        status, answer = await homeserver.ask("GET", f"{V1}/transactions/1")
        assert (status, answer["errcode"]) == (405, "M_UNRECOGNIZED")


async def test_ping_is_answered() -> None:
    async with running(BrokenInbox(), Bridge()) as homeserver:
        body = {"transaction_id": "x"}
        assert await homeserver.ask("POST", f"{V1}/ping", body=body) == (200, {})


async def test_a_user_exists_if_the_bridge_says_so() -> None:
    async def exists(user_id: str) -> bool:
        return user_id == "@tel_4930:x"

    async with running(BrokenInbox(), Bridge(), user_exists=exists) as homeserver:
        assert (await homeserver.ask("GET", f"{V1}/users/%40tel_4930%3Ax"))[0] == 200
        status, answer = await homeserver.ask("GET", f"{V1}/users/%40tel_x%3Ax")
        assert (status, answer["errcode"]) == (404, "M_NOT_FOUND")
        assert (await homeserver.ask("GET", f"{V1}/rooms/%23a%3Ax"))[0] == 404


@pytest.mark.parametrize("protocol", ["m.protocol.pstn", "im.vector.protocol.pstn"])
async def test_a_typed_number_is_looked_up(protocol: str) -> None:
    async def find(number: str) -> str | None:
        return "@tel_4930:x" if number == "+49 30" else None

    async with running(BrokenInbox(), Bridge(), find_number=find) as homeserver:
        path = f"{V1}/thirdparty/user/{protocol}"
        found = await homeserver.ask("GET", path, params={"m.id.phone": "+49 30"})
        fields = {"m.id.phone": "+49 30"}
        expected = [{"userid": "@tel_4930:x", "protocol": protocol, "fields": fields}]
        assert found == (200, expected)
        nothing = await homeserver.ask("GET", path, params={"m.id.phone": "pizza"})
        assert nothing == (200, [])
        assert await homeserver.ask("GET", path) == (200, [])
        status, about = await homeserver.ask("GET", f"{V1}/thirdparty/protocol/{protocol}")
        assert status == 200
        assert about["instances"]
        location = f"{V1}/thirdparty/location/{protocol}"
        assert await homeserver.ask("GET", location) == (200, [])


async def test_an_unknown_protocol_is_not_found() -> None:
    async with running(BrokenInbox(), Bridge()) as homeserver:
        assert (await homeserver.ask("GET", f"{V1}/thirdparty/protocol/irc"))[0] == 404


async def test_a_question_that_fails_is_a_500() -> None:
    async def fail(user_id: str) -> bool:
        raise ZeroDivisionError

    async with running(BrokenInbox(), Bridge(), user_exists=fail) as homeserver:
        status, answer = await homeserver.ask("GET", f"{V1}/users/@tel_1:x")
        assert (status, answer["errcode"]) == (500, "M_UNKNOWN")


async def test_health_is_told_to_anybody() -> None:
    health = Health(True, {"trunk home": "registered"})
    async with running(BrokenInbox(), Bridge(), health=lambda: health) as homeserver:
        answer = await homeserver.ask("GET", "/health", token=None)
        assert answer == (200, {"ok": True, "parts": {"trunk home": "registered"}})
        health = Health(False, {"trunk home": "no answer"})
        assert (await homeserver.ask("GET", "/health", token=None))[0] == 503


async def test_an_address_in_use_is_an_os_error() -> None:
    async with running(BrokenInbox(), Bridge()) as homeserver:
        port = int(homeserver.url.rpartition(":")[2])
        second = Appservice(
            listen=Endpoint("127.0.0.1", port),
            hs_token=TOKEN,
            inbox=BrokenInbox(),
            handler=Bridge().handle,
        )
        with pytest.raises(OSError, match="in use"):
            await second.start()


async def test_nothing_of_an_event_is_logged(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "bridge")
    bridge, called = Bridge(), asyncio.Event()

    async def fail(event: RoomEvent) -> None:
        called.set()
        raise ZeroDivisionError

    bridge.act = fail
    secret = event("a", content={"body": "canary", "msgtype": "m.text"})
    async with running(Inbox(database), bridge) as homeserver:
        await homeserver.push("1", secret, {"content": "canary"})
        await asyncio.wait_for(called.wait(), 5)
    assert "$a" in caplog.text
    assert "set aside" in caplog.text
    assert "canary" not in caplog.text
    assert TOKEN not in caplog.text


# --- what is read


@pytest.mark.parametrize("names", [("ephemeral",), ("de.sorunome.msc2409.ephemeral",), ()])
async def test_read_receipts_of_people_are_handed_on(
    database: Database, names: tuple[str, ...]
) -> None:
    users = {"@alice:x": {"ts": 1}, "@ghost:x": {"ts": 1}}
    receipt = {"type": "m.receipt", "room_id": "!a:x", "content": {"$1": {"m.read": users}}}
    typing = {"type": "m.typing", "room_id": "!a:x", "content": {"user_ids": ["@alice:x"]}}
    read: list[ReadReceipt] = []
    more = {"on_read": read.append, "is_ours": lambda user: user == "@ghost:x"}
    async with running(Inbox(database), Bridge(), **more) as homeserver:
        body: dict[str, Any] = {"events": []}
        body |= {name: [typing, 7, receipt] for name in names}
        status, _ = await homeserver.ask("PUT", f"{V1}/transactions/1", body=body)
        odd, _ = await homeserver.ask(
            "PUT", f"{V1}/transactions/2", body={"events": [], "ephemeral": {"a": 1}}
        )
    assert (status, odd) == (200, 200)
    assert read == [ReadReceipt("!a:x", "$1", "@alice:x")] * len(names)
