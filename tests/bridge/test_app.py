"""The composition root against a homeserver that answers and a trunk that does not."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bridge.app import Ringback
from bridge.config import Config
from bridge.matrix.client import MatrixRefused
from tests.bridge.fakes import FakePlane


class Homeserver:
    """Answers what a start asks for, and remembers the rest."""

    def __init__(self) -> None:
        self.notices: list[str] = []
        self.rooms = 0
        self.knows_us = True
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self.server = TestServer(app)

    async def _answer(self, request: web.Request) -> web.Response:
        path = request.path
        if path.endswith("/whoami"):
            if not self.knows_us:
                error = {"errcode": "M_UNKNOWN_TOKEN", "error": "no such token"}
                return web.json_response(error, status=401)
            return web.json_response({"user_id": "@ringback:example.org"})
        if path.endswith("/ping"):
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


def config(homeserver: Homeserver, folder: Path) -> Config:
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
             "users": ["@alice:example.org"]}
        ],
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


async def test_a_homeserver_that_does_not_know_us_stops_the_start(
    homeserver: Homeserver, tmp_path: Path
) -> None:
    homeserver.knows_us = False
    plane = FakePlane()
    bridge = Ringback(config(homeserver, tmp_path), plane=plane)
    with pytest.raises(MatrixRefused):
        await bridge.run(asyncio.Event())
    assert not plane.running
