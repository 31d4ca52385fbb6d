"""A group text with a real homeserver: one room with a ghost for each number, whose answer goes to
all of them in one request."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.lab.ports import HOST
from tests.lab.process import Process, eventually
from tests.lab.rig import OURS, USER, Rig, Station
from tests.lab.ringback import line
from tests.lab.synapse import DOMAIN
from tests.standin.bandwidth import TIME, Bandwidth
from tests.standin.standin import Push, Taken, document

CAROL, DAN = "+15551230001", "+15551230002"


class Grouping(Bandwidth):
    """Bandwidth, whose texts may go to several numbers.

    Attributes:
        groups: the recipients of what it has taken.
    """

    def __init__(self, hook_url: str) -> None:
        super().__init__(hook_url, sleep=lambda pause: asyncio.sleep(0.2))
        self.groups: list[list[str]] = []

    def read(self, path: str, headers: Mapping[str, str], body: bytes) -> Taken:
        taken = super().read(path, headers, body)
        self.groups.append(json.loads(body)["to"])
        return taken

    def group(self, id: str, sender: str, *others: str, body: str) -> Push:
        """A text of one to us and the others."""
        message = {"id": id, "time": TIME, "owner": OURS, "direction": "in", "segmentCount": 1}
        message |= {"from": sender, "to": [OURS, *others], "text": body, "applicationId": "1"}
        event = {"type": "message-received", "time": TIME, "to": OURS, "message": message}
        return self.sign(document([event | {"description": "received"}]), self.hook_url)


class GroupStation(Station):
    """A station whose texts come and leave by a provider that has groups."""

    async def init(self) -> None:
        self.grouping = Grouping(self.inward.hook_url)
        self.grouping.hook_at = self.inward.hook_at
        await self.grouping.start()
        await super().init()
        address = f"http://{HOST}:{self.grouping.port}/api/v2"
        command = [sys.executable, "-m", "tests.lab.elsewhere", address]
        folder = self.bridge.folder
        self.bridge.process = Process(
            "ringback elsewhere",
            [*command, "run", "-c", self.bridge.config],
            log=folder / "log",
            cwd=folder,
            environment={"PYTHONPATH": str(Path(__file__).parents[2])},  # where `tests` is
        )

    async def close(self) -> None:
        await self.grouping.stop()
        await super().close()

    def _lines(self) -> list[dict[str, Any]]:
        by_road = {"texts_in": "bandwidth", "texts_out": "bandwidth"}
        user = f"@{USER}:{DOMAIN}"
        return [line("road", "peer", [user], number=OURS, called=["road"], **by_road)]


@pytest_asyncio.fixture(loop_scope="session")
async def rig(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    made = Rig(tmp_path_factory.mktemp("groups", numbered=False))
    made.stations["group"] = GroupStation(
        made.folder / "group",
        made.ports,
        made.authority,
        name="ringback",
        homeserver=made.synapse.url,
    )
    async with made:
        await made.up(made.stations["group"])
        yield made


async def test_a_group_text_has_a_room_and_its_answer_goes_to_all(rig: Rig) -> None:
    station = rig.stations["group"]
    assert isinstance(station, GroupStation)
    provider, bridge, dave = station.grouping, station.bridge, rig.user
    assert await provider.deliver(provider.group("g1", CAROL, DAN, body="hello you two"))
    first = await dave.notice(None, "hello you two")
    assert await provider.deliver(provider.group("g2", DAN, CAROL, body="hi both"))
    second = await dave.notice(None, "hi both")
    ghosts = [bridge.ghost(CAROL), bridge.ghost(DAN)]
    assert [first.sender, second.sender] == ghosts
    assert first.room == second.room
    assert await dave.members(first.room) == dict.fromkeys([dave.id, bridge.bot, *ghosts], "join")

    await dave.say(first.room, "and hello to you")
    taken = await eventually(lambda: provider.taken[:], what="the answer at the provider")
    assert taken is not None
    assert (taken[0].sender, taken[0].body) == (OURS, "and hello to you")
    assert [sorted(group) for group in provider.groups] == [[CAROL, DAN]]

    mark = bridge.mark
    await dave.request("POST", f"rooms/{first.room}/leave", {})
    await eventually(
        lambda: bridge.log(mark).count("leave: 200") == 3, what="bot and ghosts leaving too"
    )
    assert await provider.deliver(provider.group("g3", CAROL, DAN, body="still there?"))
    third = await dave.notice(None, "still there?")
    assert third.room != first.room
