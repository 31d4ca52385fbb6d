"""The whole lab: what the tests and the demonstration stand on.

One homeserver, one PBX, one scripted peer and one bridge with a line for each thing to be tested;
each line has a user
of its own, so that tests do not meet in each other's rooms.
"""

import asyncio
import itertools
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.lab.accounts import ACCOUNTS
from tests.lab.assembly import Assembly
from tests.lab.asterisk import Asterisk
from tests.lab.certificate import Authority
from tests.lab.matrix import MatrixUser
from tests.lab.peer import Peer
from tests.lab.ports import HOST, Ports
from tests.lab.postgres import Postgres
from tests.lab.process import Process
from tests.lab.provider import Provider
from tests.lab.ringback import Ringback, line, pbx_trunk, peer_trunk
from tests.lab.synapse import DOMAIN, Synapse
from tests.lab.turn import Turn

HOUSE = "+493012345678"
"""Our own number on the line `house`."""

SMS = "+15557654321"
"""Our own number on the line `sms`, whose texts take a provider's road."""

CODECS = {"opus": ["opus"], "g722": ["g722"], "pcma": ["pcma"], "pcmu": ["pcmu"]}


def number(extension: str) -> str:
    """A number of the outside world that the PBX reads as this extension."""
    return f"+1555555{extension}"


_strangers = itertools.count(secrets.randbelow(10_000))


def stranger() -> str:
    """A number that nobody knows yet; no two are the same."""
    return f"+1555777{next(_strangers) % 10_000:04d}"


Settings = list[dict[str, Any]]


class Lab(Assembly):
    """`async with Lab(folder) as lab`: everything is up, every trunk registered.

    Args:
        media: the address that the bridges' audio comes to.
    """

    def __init__(self, folder: Path, *, media: str = HOST) -> None:
        super().__init__()
        self.folder = folder
        self._media = media
        self.ports = Ports()
        self.authority = Authority(folder / "certificates")
        self.turn = Turn(folder / "turn", self.ports)
        self.pbx = Asterisk(folder / "pbx", self.ports, self.authority, ACCOUNTS)
        self.peer = Peer(self.ports, self.authority)
        # A bridge with the other database, a PBX and a peer for the tests that stop and break them.
        self.postgres = Postgres()
        self.other_pbx = Asterisk(folder / "other-pbx", self.ports, self.authority, ACCOUNTS[:1])
        self.other_peer = Peer(self.ports, self.authority)
        main, other = folder / "ringback", folder / "other"
        registrations = (main / "registration.yaml", other / "registration.yaml")
        self.synapse = Synapse(
            folder / "synapse",
            self.ports,
            registrations=registrations,
            turn_uris=self.turn.uris,
            turn_secret=self.turn.secret,
        )
        self.provider = Provider(self.ports)
        self.bridge = self._bridge(
            main,
            "ringback",
            self._main_lines(),
            "sqlite:ringback.db",
            more=self.provider.settings(),
        )
        self.other = self._bridge(other, "other", self._other_lines(), self.postgres.url)
        self._users: dict[str, MatrixUser] = {}

    async def assemble(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        await asyncio.gather(self.bridge.init(), self.other.init())
        async with asyncio.TaskGroup() as starting:
            for part in (self.turn, self.synapse, self.pbx, self.peer, self.provider):
                starting.create_task(self.up(part))
        names = {user for line in self._main_lines()[1] for user in line["users"]}
        for name in sorted(names | {"@frank:", "@grace:", "@mallory:"}):
            await self.synapse.register(name[1:].partition(":")[0])
        await self.up(self.bridge)
        for trunk in self._main_lines()[0]:
            if trunk["name"] in self.pbx.accounts:
                await self.pbx.registered(trunk["name"])
        await self.peer.registered()

    def processes(self) -> Iterable[Process]:
        return self.synapse.process, self.bridge.process

    async def user(self, name: str, *, device: str = "") -> MatrixUser:
        """A signed-in device of a user without a browser; the same one each time for the same
        `device`.
        """
        key = f"{name}/{device}"
        if key not in self._users:
            user = MatrixUser(self.synapse.url, name, f"{name}-secret")
            await self.up(user)
            self._users[key] = user
        return self._users[key]

    def _bridge(
        self,
        folder: Path,
        name: str,
        lines: tuple[Settings, Settings],
        database: str,
        *,
        more: Mapping[str, Any] | None = None,
    ) -> Ringback:
        return Ringback(
            folder,
            self.ports,
            name=name,
            homeserver=self.synapse.url,
            domain=DOMAIN,
            trunks=lines[0],
            lines=lines[1],
            database=database,
            more=more,
            media=self._media,
        )

    def _main_lines(self) -> tuple[Settings, Settings]:
        def trunk(name: str, **settings: object) -> dict[str, Any]:
            return pbx_trunk(self.pbx, self.authority, self.pbx.accounts[name], **settings)

        def users(*names: str) -> list[str]:
            return [self.synapse.user_id(name) for name in names]

        trunks = [
            trunk("ringback"),
            trunk("office"),
            trunk("late", early_media=False),
            trunk("short"),
            trunk("tag32"),
            trunk("inband"),
            trunk("info", digits="info"),
            trunk("sha256"),
            trunk("clear", insecure_rtp="fallback"),
            *(trunk(name, codecs=codecs) for name, codecs in CODECS.items()),
            peer_trunk(self.peer, self.authority, read_receipts=True),
        ]
        lines = [
            line("house", "ringback", users("alice"), number=HOUSE, called=["ringback", HOUSE]),
            line("office", "office", users("bob", "carol")),
            line("short", "short", users("short"), ring_seconds=5),
            *(
                line(name, name, users(name))
                for name in ("late", "tag32", "inband", "info", "sha256", "clear", *CODECS)
            ),
            line("peer", "peer", users("peer")),
            line(
                "sms",
                "office",
                users("dave"),
                number=SMS,
                called=["sms"],
                texts_in="twilio",
                texts_out="twilio",
            ),
        ]
        return trunks, lines

    def _other_lines(self) -> tuple[Settings, Settings]:
        account = self.other_pbx.accounts["ringback"]
        trunks = [
            pbx_trunk(self.other_pbx, self.authority, account),
            peer_trunk(self.other_peer, self.authority),
        ]
        lines = [
            line("house", "ringback", [self.synapse.user_id("frank")]),
            line("peer", "peer", [self.synapse.user_id("grace")]),
        ]
        return trunks, lines
