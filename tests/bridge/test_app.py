"""The composition root against a homeserver that answers and a trunk that does not."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bridge.app import Ringback
from bridge.config import Config
from bridge.db.claim import DatabaseTaken
from bridge.matrix.homeserver import MatrixRefused
from bridge.setting import Endpoint
from tests.bridge.fakes import FakePlane


class Homeserver:
    """Answers what a start asks for, and remembers the rest."""

    def __init__(self) -> None:
        self.notices: list[str] = []
        self.rooms = 0
        self.knows_us = True
        self.knows_pings = True
        self.asked: set[str] = set()
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self.server = TestServer(app)

    async def _answer(self, request: web.Request) -> web.Response:
        path = request.path
        self.asked.add(path)
        if path.endswith("/whoami"):
            if not self.knows_us:
                error = {"errcode": "M_UNKNOWN_TOKEN", "error": "no such token"}
                return web.json_response(error, status=401)
            return web.json_response({"user_id": "@ringback:example.org"})
        if path.endswith("/ping"):
            if not self.knows_pings:
                error = {"errcode": "M_UNRECOGNIZED", "error": "Unrecognized request"}
                return web.json_response(error, status=404)
            return web.json_response({"duration_ms": 3})
        if path.endswith("/createRoom"):
            self.rooms += 1
            return web.json_response({"room_id": f"!room{self.rooms}:example.org"})
        if "/send/m.room.message/" in path:
            self.notices.append((await request.json())["body"])
            return web.json_response({"event_id": "$e"})
        return web.json_response({})


@pytest.fixture
async def homeserver() -> AsyncIterator[Homeserver]:
    made = Homeserver()
    await made.server.start_server()
    yield made
    await made.server.close()


def config(
    homeserver: Homeserver, folder: Path, *, line: Mapping[str, Any] | None = None, **more: Any
) -> Config:
    tree: dict[str, Any] = {
        "homeserver": {"url": str(homeserver.server.make_url("/")), "domain": "example.org"},
        "appservice": {"listen": "127.0.0.1:0", "as_token": "as", "hs_token": "hs"},
        "database": f"sqlite:{folder / 'test.db'}",
        "trunks": [
            # Port 9 of the loopback: nobody is there, and the answer comes at once.
            {"name": "home", "domain": "127.0.0.1", "host": "127.0.0.1", "port": 9,
             "username": "ringback", "password": "secret"}
        ],
        "lines": [
            {"name": "house", "trunk": "home", "called": ["ringback"],
             "users": ["@alice:example.org"], **(line or {})}
        ],
        **more,
    }  # fmt: skip
    return Config.model_validate(tree)


def is_up(bridge: Ringback) -> bool:
    return bridge.port is not None


async def test_it_starts_says_how_it_is_and_stops(homeserver: Homeserver, tmp_path: Path) -> None:
    plane = FakePlane()
    bridge = Ringback(config(homeserver, tmp_path), plane=plane)
    stop = asyncio.Event()
    running = asyncio.create_task(bridge.run(stop))
    async with asyncio.timeout(10):
        while not is_up(bridge):  # noqa: ASYNC110 - a thread of the database takes part in it
            await asyncio.sleep(0.01)
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{bridge.port}/health") as response,
        ):
            health = await response.json()
    assert health["ok"] is True
    assert health["parts"]["trunk home"].startswith("down: ")
    seen = [plane.running]
    stop.set()
    async with asyncio.timeout(10):
        await running
    seen.append(plane.running)
    assert seen == [True, False]
    left = {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}
    assert not [task for task in left if "trunk" in task.get_name()]


async def test_users_are_told_once_that_the_line_is_down(
    homeserver: Homeserver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sip.io.client.GRACE", 0.05)
    bridge = Ringback(config(homeserver, tmp_path), plane=FakePlane())
    await bridge.start()
    try:
        async with asyncio.timeout(10):
            while not homeserver.notices:  # noqa: ASYNC110 - it happens on a socket
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
    finally:
        await bridge.stop()
    (notice,) = homeserver.notices
    assert notice.startswith("The phone line “home” is down: ")
    assert homeserver.rooms == 1


async def test_rooms_are_read_though_the_homeserver_knows_no_pings(
    homeserver: Homeserver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    homeserver.knows_pings = False
    bridge = Ringback(config(homeserver, tmp_path), plane=FakePlane())
    await bridge.start()
    try:
        async with asyncio.timeout(10):
            # What the reading of rooms begins with.
            while "/_matrix/client/versions" not in homeserver.asked:  # noqa: ASYNC110 - a socket
                await asyncio.sleep(0.01)
    finally:
        await bridge.stop()
    assert "cannot reach us" not in caplog.text


async def test_texts_are_fetched_where_there_are_no_hooks(
    homeserver: Homeserver, tmp_path: Path
) -> None:
    """A road that is asked, without a public address: the text of its list is said in a room."""

    async def listed(request: web.Request) -> web.Response:
        text = {
            "sid": "SM1",
            "direction": "inbound",
            "from": "+14158675309",
            "to": "+15558675310",
            "body": "from the list",
            "num_media": "0",
            "date_sent": format_datetime(datetime.now(UTC)),
        }
        return web.json_response({"messages": [text], "next_page_uri": None})

    app = web.Application()
    app.router.add_get("/2010-04-01/Accounts/AC0123/Messages.json", listed)
    provider = TestServer(app)
    await provider.start_server()
    url = str(provider.make_url("/")).rstrip("/")
    road = {
        "name": "twilio",
        "poll_seconds": 10,
        "twilio": {"account": "AC0123", "token": "token", "url": url},
    }
    line = {"number": "+15558675310", "texts_in": "twilio", "texts_out": "twilio"}
    bridge = Ringback(config(homeserver, tmp_path, line=line, roads=[road]), plane=FakePlane())
    await bridge.start()
    try:
        async with asyncio.timeout(10):
            while "from the list" not in homeserver.notices:  # noqa: ASYNC110 - on a socket
                await asyncio.sleep(0.01)
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{bridge.port}/health") as response,
        ):
            assert (await response.json())["parts"]["road twilio"] == "up"
    finally:
        await bridge.stop()
        await provider.close()


async def test_a_homeserver_that_does_not_know_us_stops_the_start(
    homeserver: Homeserver, tmp_path: Path
) -> None:
    homeserver.knows_us = False
    plane = FakePlane()
    bridge = Ringback(config(homeserver, tmp_path), plane=plane)
    with pytest.raises(MatrixRefused):
        await bridge.run(asyncio.Event())
    assert not plane.running


async def test_a_second_bridge_is_refused_before_it_touches_anything(
    homeserver: Homeserver, tmp_path: Path
) -> None:
    settings = config(homeserver, tmp_path)
    first = Ringback(settings, plane=FakePlane())
    await first.start()
    try:
        with closing(sqlite3.connect(tmp_path / "test.db", isolation_level=None)) as database:
            database.execute(
                "INSERT INTO text_out (event_id, room_id, line, number, body, state, created_ms)"
                " VALUES ('$under-way', '!r:x', 'house', '+1', 'hello', 'sending', 1)"
            )
        listen = Endpoint("127.0.0.1", first.port or 0)
        appservice = settings.appservice.model_copy(update={"listen": listen})
        second = Ringback(settings.model_copy(update={"appservice": appservice}), plane=FakePlane())
        with pytest.raises(OSError, match="is another Ringback running"):
            await second.run(asyncio.Event())
        with closing(sqlite3.connect(tmp_path / "test.db")) as database:
            assert database.execute("SELECT state FROM text_out").fetchall() == [("sending",)]
    finally:
        await first.stop()


async def test_a_second_bridge_on_the_same_database_is_refused_whatever_its_port(
    homeserver: Homeserver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.db.claim.PATIENCE", 0.0)
    settings = config(homeserver, tmp_path)
    first = Ringback(settings, plane=FakePlane())
    await first.start()
    try:
        with pytest.raises(DatabaseTaken, match="another Ringback uses this database"):
            await Ringback(settings, plane=FakePlane()).run(asyncio.Event())
    finally:
        await first.stop()


async def test_a_bridge_that_has_lost_its_database_to_another_ends(
    homeserver: Homeserver, tmp_path: Path
) -> None:
    bridge = Ringback(config(homeserver, tmp_path), plane=FakePlane())
    bridge._claim.lost.set()
    async with asyncio.timeout(10):
        with pytest.raises(DatabaseTaken):
            await bridge.run(asyncio.Event())
    assert not is_up(bridge)
