"""The bridge's side of a road in one process, as the configuration makes it: listener, carrier,
database and rooms are real, the homeserver is a list.

The interface of a provider stands under a name of its own and with a certificate that nobody else
has; `Diverted` is the one lie here, and sends what was meant for it to the stand-in.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from bridge.config import LineSection, TrunkSection
from bridge.db import database as databases
from bridge.db.ghosts import GhostTable
from bridge.db.handouts import HandoutTable
from bridge.db.interface import Database
from bridge.db.polls import PollTable
from bridge.db.portals import PortalTable
from bridge.db.texts import IncomingTexts, OutgoingTexts
from bridge.ghost import Ghosts
from bridge.handout import Handouts
from bridge.matrix.events import RoomEvent, parse_text
from bridge.matrix.repository import RoomFiles
from bridge.numbers import PhoneNumber
from bridge.outbox import STATUS
from bridge.portal import Portal, Portals
from bridge.road.carrier import MAX_ANSWER, Carrier
from bridge.road.hook import Entrance, Hooks
from bridge.road.poller import Poller
from bridge.road.road import ApiAnswer, ApiRequest, Later, PolledRoad, Unsure
from bridge.road.settings import RoadSection
from bridge.road.way import RoadWay
from bridge.routing import Routing
from bridge.senders import Senders
from bridge.setting import Endpoint
from bridge.texting import Texting
from tests.bridge.fakes import FakeMatrix, FakeTrunk
from tests.standin.standin import StandIn

PUBLIC = "https://ringback.example.org"
SECRET = "hook-secret-of-16"
HOOK_URL = f"{PUBLIC}/road/acme/{SECRET}"
NOW = 1_800_000_000.0
OURS = "+15557654321"
FRIEND = "+15551234567"
ALICE = "@alice:example.org"


class Diverted(Carrier):
    """Sends what is meant for the provider's interface to its stand-in."""

    def __init__(self, provider: StandIn, *, patience: float) -> None:
        super().__init__(limit=patience)
        self._provider = provider

    async def request(
        self, request: ApiRequest, *, most: int = MAX_ANSWER
    ) -> ApiAnswer | Later | Unsure:
        api = self._provider.api
        assert request.url.startswith(f"{api}/"), f"{request.url} is not documented"
        here = f"http://127.0.0.1:{self._provider.port}"
        diverted = ApiRequest(
            request.method, here + request.url.removeprefix(api), request.headers, request.body
        )
        return await super().request(diverted, most=most)


class Desk:
    """One line with one road.

    Args:
        section: the account, where it is not the stand-in's own.
        patience: seconds that we wait for an answer of the provider.
        files: where the homeserver's files are; None if the line sends none.

    Attributes:
        slept: seconds of each pause between two attempts, which take no time here.
        turns: to be released once for each time that the poller is to ask again.
    """

    def __init__(
        self,
        provider: StandIn,
        database: Database,
        section: Mapping[str, Any] | None = None,
        *,
        patience: float = 30.0,
        files: RoomFiles | None = None,
    ) -> None:
        self.provider = provider
        self.database = database
        self.matrix = FakeMatrix()
        self.slept: list[float] = []
        self.turns = asyncio.Semaphore(0)
        settings = RoadSection.model_validate(
            {"name": "acme", "hook_secret": SECRET, **(section or provider.section())}
        )
        self.road = settings.to_road()
        self.carrier = Diverted(provider, patience=patience)
        line = LineSection(
            name="sms",
            trunk="home",
            number=OURS,
            called=("x",),
            region="US",
            users=(ALICE,),
            texts_in="acme",
            texts_out="acme",
            shown_per_minute=10_000,
        )
        trunk = TrunkSection(
            name="home", domain="pbx.example.org", username="ringback", password="secret"
        )
        senders = Senders()
        routing = Routing(
            lines=(line,),
            trunks={"home": trunk},
            writings={"acme": self.road.limits.writing},
            senders=senders,
        )
        ghosts = Ghosts(matrix=self.matrix.real, table=GhostTable(database), prefix="tel_")
        self.portals = Portals(matrix=self.matrix.real, ghosts=ghosts, table=PortalTable(database))
        handouts = None
        if files is not None:
            table = HandoutTable(database)
            handouts = Handouts(files=files, table=table, public_url=PUBLIC, secret="as-token")
        self.hooks = Hooks(
            listen=Endpoint("127.0.0.1", 0),
            public_url=PUBLIC,
            entrances={"acme": Entrance(self.road, SECRET)},
            receiver=lambda road, found: self.texting.receive_hook(road, found),
            proxies=[ip_network("127.0.0.1/32")],
            clock=lambda: NOW,
            media=None if handouts is None else handouts.serve,
        )
        way = RoadWay(
            "acme",
            self.road,
            self.carrier,
            receipts=self.hooks.url("acme"),
            parts=settings.parts,
            files=files,
            handouts=handouts,
        )
        self.texting = Texting(
            matrix=self.matrix.real,
            ghosts=ghosts,
            portals=self.portals,
            routing=routing,
            outgoing=OutgoingTexts(database),
            incoming=IncomingTexts(database),
            trunks={"home": FakeTrunk()},
            roads={"acme": way},
            senders=senders,
            sleep=self._sleep,
        )

    def poller(self) -> Poller:
        """What asks for the list, at once and then for each of the `turns`."""
        assert isinstance(self.road, PolledRoad)
        return Poller(
            "acme",
            self.road,
            every=60.0,
            carrier=self.carrier,
            cursors=PollTable(self.database),
            receive=self.texting.receive_polled,
            tell=lambda words: None,
            clock=lambda: NOW,
            sleep=self._wait_for_turn,
        )

    async def portal(self) -> Portal:
        return await self.portals.adopt("!room:example.org", "sms", PhoneNumber(FRIEND), ALICE)

    async def write(self, portal: Portal, body: str, id: str = "$t1", **more: Any) -> None:
        """Let the user write a text."""
        content = {"msgtype": "m.text", "body": body, **more}
        event = RoomEvent(id, portal.room_id, portal.user, "m.room.message", content)
        text = parse_text(event)
        assert text is not None
        await self.texting.receive(portal, event, text)

    def said(self) -> list[str]:
        """What friends have said, in order."""
        return [
            sent.content["body"]
            for sent in self.matrix.sent
            if sent.content.get("msgtype") == "m.text"
        ]

    def shown(self) -> list[str]:
        """Each step that was shown on a text of ours."""
        return [
            "DELIVERED" if sent.content.get("delivered_to_users") else sent.content["status"]
            for sent in self.matrix.sent
            if sent.type == STATUS
        ]

    async def stored(self) -> int:
        count = await self.database.fetchval("SELECT COUNT(*) FROM text_in")
        return int(count)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)

    async def _wait_for_turn(self, seconds: float) -> None:
        self.slept.append(seconds)
        await self.turns.acquire()


class Template:
    """An empty database: its tables are made once and copied from then on, because each costs some
    syncs of the disk."""

    def __init__(self) -> None:
        self._data = b""

    async def open(self, path: Path) -> Database:
        if not self._data:
            made = await databases.open(f"sqlite:{path}")
            await made.stop()
            self._keep(path)
        self._fill(path)
        return await databases.open(f"sqlite:{path}")

    def _keep(self, path: Path) -> None:
        self._data = path.read_bytes()

    def _fill(self, path: Path) -> None:
        path.write_bytes(self._data)


EMPTY = Template()


@asynccontextmanager
async def opened(
    provider: StandIn,
    folder: Path,
    section: Mapping[str, Any] | None = None,
    *,
    patience: float = 30.0,
    files: RoomFiles | None = None,
) -> AsyncIterator[Desk]:
    """A desk with everything up, and the provider who knows where it is."""
    database = await EMPTY.open(folder / "desk.db")
    desk = Desk(provider, database, section, patience=patience, files=files)
    await provider.start()
    await desk.hooks.start()
    provider.hook_at = f"http://127.0.0.1:{desk.hooks.port}"
    try:
        yield desk
    finally:
        await desk.texting.stop()
        await desk.carrier.close()
        await provider.stop()
        await desk.hooks.stop()
        await database.stop()
