import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bridge.matrix.client import MatrixClient, TurnServers
from bridge.matrix.homeserver import MatrixRefused, MatrixUnavailable

GHOST = "@tel_4930:x"


class Homeserver:
    """Answers with what a test laid ready, in order; the last one stays."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []
        self.headers: list[dict[str, str]] = []
        self.answers: dict[str, list[tuple[int, Any]]] = {}
        self.hang = asyncio.Event()

    def will(self, operation: str, *answers: tuple[int, Any]) -> None:
        """Lay answers ready for requests whose method and path start so."""
        self.answers[operation] = list(answers)

    async def respond(self, request: web.Request) -> web.StreamResponse:
        data = await request.read()
        path = request.rel_url.raw_path
        is_json = request.content_type == "application/json"
        body = (json.loads(data) if is_json else data) if data else None
        self.requests.append((request.method, path, dict(request.query), body))
        self.headers.append(dict(request.headers))
        for operation, answers in self.answers.items():
            if f"{request.method} {path}".startswith(operation):
                status, answer = answers.pop(0) if len(answers) > 1 else answers[0]
                if status == 0:
                    await self.hang.wait()
                if isinstance(answer, str):
                    return web.Response(status=status, text=answer)
                return web.json_response(answer, status=status)
        return web.json_response({"errcode": "M_UNRECOGNIZED", "error": path}, status=404)

    @property
    def paths(self) -> list[str]:
        return [path.removeprefix("/_matrix/client/v3") for _, path, _, _ in self.requests]


@pytest.fixture
async def homeserver() -> Homeserver:
    return Homeserver()


@pytest.fixture
async def naps() -> list[float]:
    """What the client waited between attempts."""
    return []


@pytest.fixture
async def client(homeserver: Homeserver, naps: list[float]) -> AsyncIterator[MatrixClient]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", homeserver.respond)
    server = TestServer(app)
    await server.start_server()

    async def nap(seconds: float) -> None:
        naps.append(seconds)

    client = MatrixClient(
        url=str(server.make_url("/")),
        domain="x",
        as_token="canary-token",
        bot="ringback",
        device_id="DEVICE",
        sleep=nap,
    )
    yield client
    await client.close()
    homeserver.hang.set()
    await server.close()


SEND = "PUT /_matrix/client/v3/rooms/%21a%3Ax/send/m.room.message/t1"


async def test_a_send_carries_who_what_and_the_device_that_makes_it_durable(
    client: MatrixClient, homeserver: Homeserver
) -> None:
    homeserver.will(SEND, (200, {"event_id": "$1"}))
    assert await client.send_notice("!a:x", "hello", sender=GHOST, txn_id="t1") == "$1"
    method, path, query, body = homeserver.requests[0]
    assert f"{method} {path}" == SEND
    assert query == {"user_id": GHOST, "device_id": "DEVICE"}
    assert body == {"msgtype": "m.notice", "body": "hello"}
    assert homeserver.headers[0]["Authorization"] == "Bearer canary-token"


async def test_a_notice_comes_from_the_bot_by_default(
    client: MatrixClient, homeserver: Homeserver
) -> None:
    homeserver.will(SEND, (200, {"event_id": "$1"}))
    await client.send_notice("!a:x", "the line is down", txn_id="t1")
    _, _, query, body = homeserver.requests[0]
    assert query["user_id"] == "@ringback:x"
    assert body["msgtype"] == "m.notice"


async def test_ids_with_slashes_stay_one_part_of_the_path(
    client: MatrixClient, homeserver: Homeserver
) -> None:
    homeserver.will("PUT", (200, {"event_id": "$1"}))
    await client.send_event("!a/../b:x", "m/x", {}, sender=GHOST, txn_id="t/1?")
    assert homeserver.paths == ["/rooms/%21a%2F..%2Fb%3Ax/send/m%2Fx/t%2F1%3F"]


async def test_an_unknown_device_is_made_and_the_send_repeated(
    client: MatrixClient, homeserver: Homeserver
) -> None:
    unknown = {"errcode": "M_UNKNOWN_DEVICE", "error": "no such device"}
    homeserver.will(SEND, (400, unknown), (200, {"event_id": "$1"}))
    homeserver.will("PUT /_matrix/client/v3/devices/DEVICE", (201, {}))
    assert await client.send_notice("!a:x", "hello", sender=GHOST, txn_id="t1") == "$1"
    assert [method for method, *_ in homeserver.requests] == ["PUT", "PUT", "PUT"]
    assert homeserver.requests[1][2] == {"user_id": GHOST}
    assert homeserver.requests[2][2]["device_id"] == "DEVICE"


async def test_a_homeserver_without_devices_for_us_is_sent_to_without(
    client: MatrixClient, homeserver: Homeserver
) -> None:
    unknown = {"errcode": "M_UNKNOWN_DEVICE", "error": "no such device"}
    homeserver.will(SEND, (400, unknown), (200, {"event_id": "$1"}))
    assert await client.send_notice("!a:x", "hello", sender=GHOST, txn_id="t1") == "$1"
    assert await client.send_notice("!a:x", "hello", sender=GHOST, txn_id="t1") == "$1"
    assert "device_id" not in homeserver.requests[2][2]
    assert len(homeserver.requests) == 4


# --- trouble


async def test_a_refusal_is_final(
    client: MatrixClient, homeserver: Homeserver, naps: list[float]
) -> None:
    homeserver.will(SEND, (403, {"errcode": "M_FORBIDDEN", "error": "not in the room"}))
    with pytest.raises(MatrixRefused, match="not in the room") as caught:
        await client.send_notice("!a:x", "hello", txn_id="t1")
    assert (caught.value.errcode, caught.value.status) == ("M_FORBIDDEN", 403)
    assert naps == []


async def test_a_server_in_trouble_is_asked_again_with_growing_delays(
    client: MatrixClient, homeserver: Homeserver, naps: list[float]
) -> None:
    homeserver.will(SEND, (500, {}), (502, "<html>"), (503, {}), (200, {"event_id": "$1"}))
    assert await client.send_notice("!a:x", "hello", txn_id="t1") == "$1"
    assert len(naps) == 3
    for nap, longest in zip(naps, (0.25, 0.5, 1.0), strict=True):
        assert longest / 2 <= nap <= longest


async def test_an_answer_that_is_no_json_object_is_trouble(
    client: MatrixClient, homeserver: Homeserver
) -> None:
    homeserver.will(SEND, (200, "<html>"), (200, []), (200, {"event_id": "$1"}))
    assert await client.send_notice("!a:x", "hello", txn_id="t1") == "$1"


async def test_the_wait_that_a_limit_asks_for_is_kept(
    client: MatrixClient, homeserver: Homeserver, naps: list[float]
) -> None:
    limited = {"errcode": "M_LIMIT_EXCEEDED", "error": "slow down", "retry_after_ms": 1234}
    homeserver.will(SEND, (429, limited), (200, {"event_id": "$1"}))
    await client.send_notice("!a:x", "hello", txn_id="t1")
    assert naps == [1.234]


async def test_a_wait_longer_than_the_limit_of_the_call_is_not_begun(
    client: MatrixClient, homeserver: Homeserver, naps: list[float]
) -> None:
    limited = {"errcode": "M_LIMIT_EXCEEDED", "error": "slow down", "retry_after_ms": 3_600_000}
    homeserver.will(SEND, (429, limited))
    with pytest.raises(MatrixUnavailable):
        await client.send_notice("!a:x", "hello", txn_id="t1")
    assert naps == []


async def test_trouble_that_lasts_ends_as_unavailable(
    client: MatrixClient, homeserver: Homeserver, naps: list[float]
) -> None:
    homeserver.will(SEND, (503, {}))
    with pytest.raises(MatrixUnavailable, match="503"):
        await client.send_notice("!a:x", "hello", txn_id="t1")
    assert len(naps) == 7


async def test_no_connection_ends_as_unavailable() -> None:
    async def nap(seconds: float) -> None: ...

    client = MatrixClient(
        url="http://127.0.0.1:1", domain="x", as_token="t", bot="ringback", sleep=nap
    )
    with pytest.raises(MatrixUnavailable, match="no connection"):
        await client.whoami()
    await client.close()


async def test_every_call_has_a_limit(client: MatrixClient, homeserver: Homeserver) -> None:
    homeserver.will("PUT", (0, {}))
    async with asyncio.timeout(20):
        with pytest.raises(MatrixUnavailable, match="no answer"):
            await client.send_event("!a:x", "m.x", {}, sender=GHOST, txn_id="t", within=0.05)


async def test_a_room_whose_making_is_in_doubt_is_not_made_again(
    client: MatrixClient, homeserver: Homeserver
) -> None:
    homeserver.will("POST", (500, {}), (200, {"room_id": "!b:x"}))
    with pytest.raises(MatrixUnavailable):
        await client.create_room(creator=GHOST)
    assert len(homeserver.requests) == 1


async def test_a_room_that_was_certainly_not_made_is_made_later(
    client: MatrixClient, homeserver: Homeserver
) -> None:
    homeserver.will("POST", (429, {}), (200, {"room_id": "!b:x"}))
    assert await client.create_room(creator=GHOST) == "!b:x"


async def test_nothing_secret_is_logged(
    client: MatrixClient, homeserver: Homeserver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "bridge")
    homeserver.will(SEND, (500, {}), (200, {"event_id": "$1"}))
    await client.send_notice("!a:x", "canary-body", sender=GHOST, txn_id="t1")
    assert "send m.room.message" in caplog.text
    said = [record.getMessage() for record in caplog.records if record.name.startswith("bridge")]
    assert "canary" not in str(said)
    assert "4930" not in str(said)


# --- the other calls


async def test_create_room_says_what_it_was_told(
    client: MatrixClient, homeserver: Homeserver
) -> None:
    homeserver.will("POST /_matrix/client/v3/createRoom", (200, {"room_id": "!b:x"}))
    room_id = await client.create_room(
        creator=GHOST,
        name="+49 30",
        invite=["@alice:x"],
        is_direct=True,
        power_levels={"events": {"m.x": 0}},
        initial_state=[{"type": "m.x", "content": {}}],
    )
    assert room_id == "!b:x"
    _, _, query, body = homeserver.requests[0]
    assert query == {"user_id": GHOST}
    assert body == {
        "preset": "private_chat",
        "visibility": "private",
        "invite": ["@alice:x"],
        "is_direct": True,
        "initial_state": [{"type": "m.x", "content": {}}],
        "name": "+49 30",
        "room_version": "11",
        "power_level_content_override": {"events": {"m.x": 0}},
    }


async def test_a_new_ghost_is_registered_named_and_given_its_device_once(
    client: MatrixClient, homeserver: Homeserver
) -> None:
    homeserver.will("POST /_matrix/client/v3/register", (200, {"user_id": GHOST}))
    homeserver.will("PUT /_matrix/client/v3/devices", (201, {}))
    homeserver.will("GET /_matrix/client/v3/profile", (404, {"errcode": "M_NOT_FOUND"}))
    homeserver.will("PUT /_matrix/client/v3/profile", (200, {}))
    for _ in range(3):
        await client.ensure_user(GHOST, "+49 30")
    assert homeserver.paths == [
        "/register",
        "/devices/DEVICE",
        "/profile/%40tel_4930%3Ax/displayname",
        "/profile/%40tel_4930%3Ax/displayname",
    ]
    assert homeserver.requests[0][3] == {
        "type": "m.login.application_service",
        "username": "tel_4930",
        "inhibit_login": True,
    }
    await client.ensure_user(GHOST, "Mum")
    assert homeserver.requests[-1][3] == {"displayname": "Mum"}


async def test_a_ghost_that_is_there_and_named_is_left_as_it_is(
    client: MatrixClient, homeserver: Homeserver
) -> None:
    in_use = {"errcode": "M_USER_IN_USE", "error": "taken"}
    homeserver.will("POST /_matrix/client/v3/register", (400, in_use))
    homeserver.will("PUT /_matrix/client/v3/devices", (200, {}))
    homeserver.will("GET /_matrix/client/v3/profile", (200, {"displayname": "Mum"}))
    await client.ensure_user(GHOST, "Mum")
    assert [method for method, *_ in homeserver.requests] == ["POST", "PUT", "GET"]


async def test_a_ghost_that_may_not_be_is_refused(
    client: MatrixClient, homeserver: Homeserver
) -> None:
    exclusive = {"errcode": "M_EXCLUSIVE", "error": "not yours"}
    homeserver.will("POST /_matrix/client/v3/register", (400, exclusive))
    with pytest.raises(MatrixRefused, match="not yours"):
        await client.ensure_user(GHOST)


async def test_history_is_read_page_by_page_to_its_beginning(
    client: MatrixClient, homeserver: Homeserver
) -> None:
    newer, older = {"chunk": [{"n": 2}], "end": "t1"}, {"chunk": [{"n": 1}]}
    homeserver.will("GET /_matrix/client/v3/rooms", (200, newer), (200, older))
    page = await client.history("!a:x", user=GHOST, limit=1)
    assert (page.events, page.end) == (({"n": 2},), "t1")
    page = await client.history("!a:x", user=GHOST, start=page.end, limit=1)
    assert (page.events, page.end) == (({"n": 1},), None)
    assert homeserver.requests[1][2]["from"] == "t1"


async def test_an_absence_of_the_homeserver_is_counted_and_a_refusal_is_none(
    client: MatrixClient, homeserver: Homeserver
) -> None:
    homeserver.will("GET /_matrix/client/versions", (200, {"versions": []}))
    assert await client.is_there()
    homeserver.will("GET /_matrix/client/versions", (429, {"errcode": "M_LIMIT_EXCEEDED"}))
    assert await client.is_there()
    assert client.absences == 0
    homeserver.will("GET /_matrix/client/versions", (502, {}))
    assert not await client.is_there()
    assert client.absences == 1


async def test_recent_events_come_oldest_first_without_the_unreadable(
    client: MatrixClient, homeserver: Homeserver
) -> None:
    chunk: list[Any] = [
        {"event_id": f"${n}", "sender": "@a:x", "type": "m.x", "content": {}} for n in (3, 2, 1)
    ]
    chunk.insert(1, {"odd": True})
    homeserver.will("GET /_matrix/client/v3/rooms", (200, {"chunk": chunk}))
    events = await client.recent_events("!a:x", user=GHOST, limit=4)
    assert [event.event_id for event in events] == ["$1", "$2", "$3"]
    assert {event.room_id for event in events} == {"!a:x"}
    assert homeserver.requests[0][2] == {"dir": "b", "limit": "4", "user_id": GHOST}


async def test_state_that_is_not_there_is_none(
    client: MatrixClient, homeserver: Homeserver
) -> None:
    homeserver.will("GET", (404, {"errcode": "M_NOT_FOUND", "error": "none"}))
    assert await client.room_state("!a:x", "m.room.encryption") is None
    homeserver.will("GET", (200, {"algorithm": "a"}))
    assert await client.room_state("!a:x", "m.room.encryption") == {"algorithm": "a"}
    homeserver.will("GET", (403, {"errcode": "M_FORBIDDEN", "error": "no"}))
    with pytest.raises(MatrixRefused):
        await client.room_state("!a:x", "m.room.encryption")


async def test_turn_servers_are_kept_for_each_user(
    client: MatrixClient, homeserver: Homeserver
) -> None:
    answer = {"uris": ["turn:t.x"], "username": "u", "password": "p", "ttl": 3600}
    homeserver.will("GET /_matrix/client/v3/voip/turnServer", (200, answer))
    expected = TurnServers(("turn:t.x",), "u", "p", 3600)
    assert await client.turn_servers(GHOST) == expected
    assert await client.turn_servers(GHOST) == expected
    assert len(homeserver.requests) == 1
    await client.turn_servers("@tel_1:x")
    assert len(homeserver.requests) == 2
    assert "password" not in repr(expected)


async def test_a_homeserver_without_turn_has_none(
    client: MatrixClient, homeserver: Homeserver
) -> None:
    homeserver.will("GET /_matrix/client/v3/voip/turnServer", (200, {}))
    assert await client.turn_servers(GHOST) is None


async def test_a_ping_that_does_not_arrive_says_why_at_once(
    client: MatrixClient, homeserver: Homeserver, naps: list[float]
) -> None:
    path = "POST /_matrix/client/v1/appservice/ringback/ping"
    homeserver.will(path, (502, {"errcode": "M_CONNECTION_FAILED", "error": "refused"}))
    with pytest.raises(MatrixRefused, match="refused"):
        await client.ping("1")
    homeserver.will(path, (200, {"duration_ms": 6}))
    assert await client.ping("1") == 6
    assert naps == []


async def test_members_whoami_and_versions(client: MatrixClient, homeserver: Homeserver) -> None:
    homeserver.will("GET /_matrix/client/v3/rooms", (200, {"joined": {"@a:x": {}, "@b:x": {}}}))
    homeserver.will("GET /_matrix/client/v3/account", (200, {"user_id": "@ringback:x"}))
    homeserver.will("GET /_matrix/client/versions", (200, {"versions": ["v1.1", "v1.17"]}))
    assert await client.joined_members("!a:x") == ("@a:x", "@b:x")
    assert await client.whoami() == "@ringback:x"
    assert await client.versions() == ("v1.1", "v1.17")


# --- media


async def test_a_file_is_uploaded_as_it_is(client: MatrixClient, homeserver: Homeserver) -> None:
    homeserver.will("POST /_matrix/media", (503, {}), (200, {"content_uri": "mxc://x/1"}))
    data = bytes(range(256))
    uri = await client.upload(data, "image/png", name="a b.png", user=GHOST)
    assert uri == "mxc://x/1"
    assert homeserver.requests[-1] == (
        "POST",
        "/_matrix/media/v3/upload",
        {"filename": "a b.png", "user_id": GHOST},
        data,
    )
    assert homeserver.headers[-1]["Content-Type"] == "image/png"


async def test_a_file_that_is_too_large_is_refused(
    client: MatrixClient, homeserver: Homeserver
) -> None:
    homeserver.will("POST /_matrix/media", (413, {"errcode": "M_TOO_LARGE", "error": "no"}))
    with pytest.raises(MatrixRefused, match="M_TOO_LARGE"):
        await client.upload(b"x", "image/png", name="x", user=GHOST)
