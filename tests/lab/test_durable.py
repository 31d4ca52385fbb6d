"""What was acknowledged is there: whatever is killed, stopped, filled or turned while texts come
and go, none is lost and none doubled, and it all goes on without a restart of the bridge.
"""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.lab.durable import kill_bridge, kill_homeserver, kills
from tests.lab.rig import Rig


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def rig(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    made = Rig(tmp_path_factory.mktemp("rig", numbered=False))
    made.add("ringback")
    async with made:
        await made.up(made.stations["ringback"])
        yield made


@pytest.mark.timeout(180)
async def test_nothing_is_lost_or_doubled_when_the_bridge_is_killed(rig: Rig) -> None:
    verdict = await kills(rig, rig.stations["ringback"], kill_bridge, texts=100, count=3, pause=1.5)
    verdict.check()


@pytest.mark.timeout(180)
async def test_nothing_is_lost_or_doubled_when_the_homeserver_is_killed(rig: Rig) -> None:
    verdict = await kills(
        rig, rig.stations["ringback"], kill_homeserver, texts=60, count=2, pause=1.5, within=60
    )
    verdict.check(ordered_out=False)
