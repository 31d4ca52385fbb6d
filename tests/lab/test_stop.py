"""SIGTERM: calls go on for the time that the configuration gives them, new ones are refused at
once, and then both sides of those that are left are told.
"""

import asyncio
import signal
import sys
import time

import pytest

from tests.lab.peer import SDP_TYPE, sdes_offer
from tests.lab.process import PATIENCE, eventually
from tests.lab.rig import Rig, friends

CALLS = 20
DRAIN = 6  # seconds; the calls have no media, and end by themselves after twenty
REFUSED_WITHIN = 1.0


async def test_no_call_is_cut_while_we_drain_and_both_sides_are_told_at_the_end(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    rig = Rig(tmp_path_factory.mktemp("stop"))
    station = rig.add("ringback")
    async with rig:
        station.bridge.write({**station.bridge.read(), "drain_seconds": DRAIN})
        await rig.up(station)
        names = friends(CALLS + 1, "310")
        rooms = [await rig.room(station, friend, by_road=False) for friend in names]
        calls = [await station.call(rig.user, room) for room in rooms[:CALLS]]
        since = station.peer.mark
        began = time.monotonic()
        station.bridge.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.2)

        late = station.peer.request("INVITE", SDP_TYPE, body=sdes_offer())
        refused = await late.response(within=REFUSED_WITHIN)
        took = time.monotonic() - began - 0.2
        assert refused.status == 503
        placed = await rig.user.invite(rooms[CALLS])
        await placed.expect("m.call.reject")
        await rig.user.notice(rooms[CALLS], "restarted")

        assert await asyncio.wait_for(station.bridge.process.wait(), DRAIN + PATIENCE) == 0
        ended = time.monotonic() - began
        byes = [m for m in station.peer.received[since:] if m.first.startswith("BYE")]
        assert len({bye["Call-ID"] for bye in byes}) == CALLS
        cut = [bye for bye in byes if bye.at < began + DRAIN - 1]
        assert not cut, f"{len(cut)} of {CALLS} calls were cut"
        await eventually(lambda: all(call.told for call in calls), what="hangups in the rooms")
    sys.stdout.write(f"\n503 after {took * 1000:.0f} ms, stopped after {ended:.1f} s\n")
