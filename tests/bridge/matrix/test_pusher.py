"""A homeserver that is cut off while it pushes, told by its connection alone."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from bridge.db.inbox import Inbox
from bridge.db.interface import Database
from bridge.matrix.pusher import Pusher
from tests.bridge.matrix.test_appservice import TOKEN, V1, Bridge, running


class Connection(asyncio.Transport):
    """That ends when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = False

    def is_closing(self) -> bool:
        return self.ended

    def request(self) -> web.Request:
        return make_mocked_request("PUT", f"{V1}/transactions/1", transport=self)


class World:
    """A homeserver that pushes, and time that passes when the test says so."""

    def __init__(self) -> None:
        self.cuts = 0
        self.pusher = Pusher(on_cut=self.cut, sleep=self.sleep)
        self._sleeping = asyncio.Event()
        self._awake = asyncio.Event()

    def cut(self) -> None:
        self.cuts += 1

    async def sleep(self, seconds: float) -> None:
        self._sleeping.set()
        self._awake.clear()
        await self._awake.wait()

    def push(self, connection: Connection) -> None:
        self.pusher.note(connection.request())

    async def wait(self) -> None:
        """Let the time after a push be over."""
        await self._sleeping.wait()
        self._sleeping.clear()
        self._awake.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    watching = asyncio.create_task(made.pusher.watch())
    yield made
    watching.cancel()


async def test_a_connection_that_ends_just_after_a_push_was_cut(world: World) -> None:
    connection = Connection()
    world.push(connection)
    await world.wait()
    world.push(connection)
    connection.ended = True
    await world.wait()
    assert world.cuts == 1
    world.push(Connection())
    await world.wait()
    assert world.cuts == 1


async def test_a_connection_that_ends_while_nothing_is_pushed_was_not_cut(world: World) -> None:
    first, second = Connection(), Connection()
    for connection in (first, first, second):
        world.push(connection)
        await world.wait()
    first.ended = second.ended = True
    world.push(Connection())
    await world.wait()
    assert world.cuts == 0


async def test_who_ends_each_connection_after_its_push_says_nothing_by_it(world: World) -> None:
    for _ in range(3):
        connection = Connection()
        world.push(connection)
        connection.ended = True
        await world.wait()
    assert world.cuts == 0


async def test_an_answer_that_nobody_waits_for_any_more_was_cut(database: Database) -> None:
    cut, bridge, inbox = asyncio.Event(), Bridge(), Inbox(database)
    hold, stored = asyncio.Event(), asyncio.Event()

    class Slow(Inbox):
        async def store(self, *arguments, **more):  # type: ignore[no-untyped-def] # as its own
            stored.set()
            await hold.wait()
            return await inbox.store(*arguments, **more)

    async with running(Slow(database), bridge, on_cut=cut.set) as homeserver:
        _, writer = await asyncio.open_connection("127.0.0.1", int(homeserver.url.split(":")[-1]))
        body = b'{"events": []}'
        writer.write(
            f"PUT {V1}/transactions/1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        async with asyncio.timeout(20):
            await stored.wait()
            writer.transport.abort()
            await homeserver.ask("POST", f"{V1}/ping", body={})  # so that it has been seen
            hold.set()
            await cut.wait()
