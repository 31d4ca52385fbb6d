"""What was acknowledged is there: whatever is killed, stopped, filled or turned while texts come
and go, none is lost and none doubled, and it all goes on without a restart of the bridge.
"""

import secrets
import time
from collections.abc import AsyncIterator
from itertools import pairwise

import aiohttp
import pytest
import pytest_asyncio
import yaml

from tests.lab.durable import kill_bridge, kill_homeserver, kills, survives
from tests.lab.postgres import Postgres
from tests.lab.process import eventually
from tests.lab.rig import Rig, Station, friends, settled
from tests.lab.trouble import (
    Clock,
    Trace,
    full,
    gone,
    locked,
    small_disk,
    station_file,
)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def postgres() -> AsyncIterator[Postgres]:
    server = Postgres()
    await server.start()
    yield server
    await server.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def rig(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres) -> AsyncIterator[Rig]:
    made = Rig(tmp_path_factory.mktemp("rig", numbered=False))
    with small_disk(made.folder / "disk", mebibytes=8) as disk:
        made.add("ringback")
        made.add("postgres", database=postgres.url)
        made.add("small", database=f"sqlite:{disk / 'ringback.db'}")
        async with made:
            await made.up(made.stations["ringback"])
            yield made


@pytest_asyncio.fixture(loop_scope="session")
async def station(rig: Rig) -> Station:
    return rig.stations["ringback"]


async def test_nothing_is_lost_or_doubled_when_the_bridge_is_killed(
    rig: Rig, station: Station
) -> None:
    verdict = await kills(rig, station, kill_bridge, texts=100, count=3, pause=1.5)
    verdict.check()


async def test_nothing_is_lost_or_doubled_when_the_homeserver_is_killed(
    rig: Rig, station: Station
) -> None:
    verdict = await kills(rig, station, kill_homeserver, texts=60, count=2, pause=1.5)
    verdict.check()


# --- the database is away


async def test_a_locked_file_loses_nothing(rig: Rig, station: Station) -> None:
    (await survives(rig, station, locked(station_file(station)), seconds=12)).check()


async def test_a_full_disk_loses_nothing(rig: Rig) -> None:
    station = rig.stations["small"]
    await station.start()
    try:
        (await survives(rig, station, full(station_file(station).parent), seconds=4)).check()
    finally:
        await station.stop()


async def test_a_database_server_that_is_gone_loses_nothing(rig: Rig, postgres: Postgres) -> None:
    station = rig.stations["postgres"]
    await station.start()
    try:
        (await survives(rig, station, gone(postgres), seconds=4)).check()
    finally:
        await station.stop()


# --- the clock jumps

HOUR, DAY = 3600, 86_400


async def test_a_clock_that_jumps_refuses_no_text_and_cuts_no_call(
    rig: Rig, station: Station
) -> None:
    user, mark, clock = rig.user, secrets.token_hex(3), Clock(rig.folder / "clock")
    (near,), (caller,) = friends(1, "777"), friends(1, "888")
    road_room = await rig.room(station, near, by_road=True)
    sip_room = await rig.room(station, caller, by_road=False)
    station.peer.expires = 8  # seconds; to be refreshed in time whatever the clock says
    await station.bridge.again(environment=clock.environment)
    try:
        await eventually(lambda: station.peer.reachable)
        call = await station.call(user, sip_room)
        since = station.peer.mark
        started = time.monotonic()
        for turned in (HOUR, -HOUR, DAY, -DAY, 0):
            await clock.turn(turned)
            body = f"{mark} {turned}"
            await station.text_by_road(near, f"{body} by road")
            assert await station.message(caller, f"{body} by SIP") == 200
            await user.say(road_room, f"{body} out by road")
            await user.say(sip_room, f"{body} out by SIP")
            await settled(user, body, {f"{body} by road", f"{body} by SIP"})
            await eventually(
                lambda body=body: (
                    {f"{body} out by road", f"{body} out by SIP"}  # type: ignore[misc]
                    <= {*(taken.body for taken in station.outward.taken), *station.texts_heard()}
                ),
                what=f"our texts with the clock turned by {turned} s",
            )
            assert call.is_up(), f"cut when the clock was turned by {turned} s"
        second = await station.call(user, sip_room)  # an invitation is not taken for an old one
        await second.end()
        await call.end()
        refreshed = [
            message.at
            for message in station.peer.received[since:]
            if message.method == "REGISTER" and not message.status and message["Authorization"]
        ]
        gaps = [after - before for before, after in pairwise([started, *refreshed])]
        assert gaps, "never refreshed"
        assert max(gaps) < 8, f"refreshed too late: {gaps}"
        assert min(gaps[1:], default=8) > 2, f"refreshed too often: {gaps}"
        assert station.peer.reachable
    finally:
        station.peer.expires = 300
        await station.bridge.again()
        await eventually(lambda: station.peer.reachable)


# --- stored, then answered


async def test_every_answer_comes_after_its_commit_is_on_the_disk(
    rig: Rig, station: Station
) -> None:
    """Fifty requests one after the other, under strace: hooks, transactions of the homeserver and
    SIP MESSAGEs. Before each answer leaves, something has been synced that was not before it came.
    """
    trace, mark = Trace(rig.folder), secrets.token_hex(3)
    (near,), (caller,) = friends(1, "777"), friends(1, "888")
    await station.bridge.again(before=trace.command)
    try:
        await eventually(lambda: station.peer.reachable)
        for number in range(20):
            since = await trace.quiet()
            status, _, _ = await station.inward.push(station.push(near, f"{mark} hook {number}"))
            assert status == 200
            assert await trace.synced_before("HTTP/1.1 200", since=since), f"hook {number}"
        for number in range(15):
            since = await trace.quiet()
            assert await transaction(station, f"{mark} {number}") == 200
            assert await trace.synced_before("HTTP/1.1 200", since=since), f"push {number}"
        for number in range(15):
            since = await trace.quiet()
            assert await station.message(caller, f"{mark} SIP {number}") == 200
            # A record of TLS with data of the application: the answer is the only one.
            assert await trace.synced_before(r"\27\3\3", since=since), f"MESSAGE {number}"
    finally:
        await station.bridge.again()
        await eventually(lambda: station.peer.reachable)


async def transaction(station: Station, name: str) -> int:
    """Push an event of a room that nobody knows, as the homeserver does; the status."""
    token = yaml.safe_load(station.bridge.registration.read_text())["hs_token"]
    event = {
        "type": "m.room.message",
        "room_id": "!nobody:lab.test",
        "sender": "@dave:lab.test",
        "event_id": f"${secrets.token_hex(16)}",
        "origin_server_ts": int(time.time() * 1000),
        "content": {"msgtype": "m.text", "body": name},
    }
    url = f"http://127.0.0.1:{station.bridge.port}/_matrix/app/v1/transactions/{name.split()[-1]}"
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession() as session,
        session.put(url, json={"events": [event]}, headers=headers) as answer,
    ):
        return answer.status
