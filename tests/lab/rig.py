"""What the tests of durability stand on: a homeserver of their own, which they may kill, and small
bridges with everything that texts come and leave by.

A station's texts come by Bandwidth's hooks, which are repeated until they are acknowledged, and by
MESSAGE from a telephone system that does the same; they leave by Twilio's interface, which knows no
repeats, and by MESSAGE, for which nobody does.
"""

import asyncio
import base64
import contextlib
import re
import secrets
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

from tests.lab.assembly import Assembly
from tests.lab.certificate import Authority
from tests.lab.matrix import MatrixCall, MatrixUser
from tests.lab.peer import SDP_TYPE, Message, Peer, sdes_offer
from tests.lab.ports import HOST, Ports
from tests.lab.process import Process, eventually
from tests.lab.ringback import Ringback, line, peer_trunk
from tests.lab.synapse import DOMAIN, Synapse
from tests.standin import bandwidth, twilio
from tests.standin.standin import Push

OURS = "+15557654321"
SECRET = "hook-secret-of-the-rig"
PLAIN = "Content-Type: text/plain;charset=UTF-8"
CONTACT = f"Contact: <sip:peer@{HOST};transport=tls>"
USER = "dave"


class Insistent(bandwidth.Bandwidth):
    """Bandwidth, with its 24 hours of trying gone through in a few minutes.

    Attributes:
        statuses: of each answer that it got, 0 where there was none.
    """

    tries = 1200

    def __init__(self, hook_url: str, *, sleep: Callable[[float], Awaitable[None]]) -> None:
        super().__init__(hook_url, sleep=sleep)
        self.statuses: list[int] = []

    async def push(self, push: Push, url: str = "") -> tuple[int, str, bytes]:
        answer = await super().push(push, url)
        self.statuses.append(answer[0])
        return answer


class Station:
    """One bridge, its trunk and its two providers.

    Args:
        database: as in the configuration; None for a file of its own.
    """

    def __init__(
        self,
        folder: Path,
        ports: Ports,
        authority: Authority,
        *,
        name: str,
        homeserver: str,
        database: str | None = None,
    ) -> None:
        self.peer = Peer(ports, authority)
        self.hook_port = ports.pick()
        public = f"http://{HOST}:{self.hook_port}"
        self.inward = Insistent(
            f"{public}/road/bandwidth/{SECRET}", sleep=lambda pause: asyncio.sleep(0.2)
        )
        self.outward = twilio.Twilio(f"{public}/road/twilio/{SECRET}")
        self.inward.hook_at = self.outward.hook_at = public
        self.bridge = Ringback(
            folder,
            ports,
            name=name,
            homeserver=homeserver,
            domain=DOMAIN,
            trunks=[peer_trunk(self.peer, authority)],
            lines=self._lines(),
            database=database or f"sqlite:{folder / 'ringback.db'}",
            more={"hooks": {"listen": f"{HOST}:{self.hook_port}", "public_url": public}},
        )
        self.heard: list[Message] = []
        self._listening: asyncio.Task[None] | None = None

    async def init(self) -> None:
        """Start the providers, whose addresses the configuration has, and write it."""
        await self.inward.start()
        await self.outward.start()
        await self.bridge.init()
        out = {**self.outward.section()["twilio"], "url": f"http://{HOST}:{self.outward.port}"}
        roads = [
            {"name": "bandwidth", "hook_secret": SECRET, **self.inward.section()},
            {"name": "twilio", "hook_secret": SECRET, "twilio": out},
        ]
        self.bridge.write({**self.bridge.read(), "roads": roads})

    async def start(self) -> None:
        await self.peer.start()
        self._listening = asyncio.create_task(self._listen())
        await self.bridge.start()
        await self.peer.registered()

    async def stop(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
        await self.bridge.stop()
        await self.peer.stop()

    async def close(self) -> None:
        await self.inward.stop()
        await self.outward.stop()

    # --- texts in

    async def text_by_road(self, sender: str, body: str) -> None:
        """A text by hook, until it is acknowledged."""
        assert await self.inward.deliver(self.push(sender, body)), "the provider has given up"

    def push(self, sender: str, body: str) -> Push:
        return self.inward.text(f"id of {body}", sender, OURS, body)

    async def text_by_sip(self, sender: str, body: str) -> None:
        """A text by MESSAGE, again in new transactions until it is acknowledged, as a telephone
        system does that keeps it."""
        call_id, tag = secrets.token_hex(8), secrets.token_hex(4)
        async with asyncio.timeout(240):
            while True:
                status = await self.message(sender, body, call_id=call_id, tag=tag)
                if status in (200, 202):
                    return
                await asyncio.sleep(0.2)

    async def message(self, sender: str, body: str, *, call_id: str = "", tag: str = "") -> int:
        """One try: the status of the answer, 0 if there was none within three seconds."""
        if not self.peer.reachable:
            return 0
        sent = self.peer.request(
            "MESSAGE", PLAIN, caller=sender, call_id=call_id or None, tag=tag, body=body
        )
        with contextlib.suppress(AssertionError):
            return (await sent.response(within=3.0)).status
        return 0

    # --- texts out, and calls

    def texts_heard(self) -> list[str]:
        """What the telephone system was sent, a repeat of a transaction aside."""
        return list({m["Call-ID"]: m.body for m in self.heard}.values())

    async def _listen(self) -> None:
        """Answer each MESSAGE with 200."""
        seen = 0
        while True:
            while seen < len(self.peer.received):
                message = self.peer.received[seen]
                seen += 1
                if not message.status and message.method == "MESSAGE":
                    self.heard.append(message)
                    self.peer.respond(message, "200 OK")
            await asyncio.sleep(0.005)

    async def call(self, user: MatrixUser, room: str) -> "Call":
        """A call from a room that the telephone system has answered."""
        since = self.peer.mark
        placed = await user.invite(room)
        invite = await self.peer.expect("INVITE", since=since)
        self.peer.respond(invite, "100 Trying")
        self.peer.respond(invite, "200 OK", CONTACT, SDP_TYPE, body=answer_to(invite.body))
        await placed.expect("m.call.answer")
        await self.peer.expect("ACK", since=since)
        return Call(self.peer, placed, since)

    def _lines(self) -> list[dict[str, Any]]:
        user = f"@{USER}:{DOMAIN}"
        by_road = {"texts_in": "bandwidth", "texts_out": "twilio"}
        return [
            line("sip", "peer", [user], called=["peer"]),
            line("road", "peer", [user], number=OURS, called=["road"], **by_road),
        ]


class Call:
    """A call that was answered."""

    def __init__(self, peer: Peer, placed: MatrixCall, since: int) -> None:
        self._peer = peer
        self._placed = placed
        self._since = since

    def is_up(self) -> bool:
        """Whether neither side has been told that it is over."""
        byes = [m for m in self._peer.received[self._since :] if m.first.startswith("BYE")]
        return not byes and not self.told

    @property
    def told(self) -> bool:
        """Whether the room has been told that it is over."""
        return self._placed.has("m.call.hangup")

    async def end(self) -> None:
        """Hang up in Matrix; the telephone system hears of it."""
        await self._placed.hang_up()
        bye = await self._peer.expect("BYE", since=self._since)
        self._peer.respond(bye, "200 OK")


class Rig(Assembly):
    """A homeserver and the stations on it: `async with Rig(folder) as rig`."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.ports = Ports()
        self.authority = Authority(folder / "certificates")
        self.stations: dict[str, Station] = {}
        self.synapse = Synapse(folder / "synapse", self.ports)

    def add(self, name: str, **settings: Any) -> Station:
        """Plan a station, before the rig is entered; it is started by `up`."""
        self.stations[name] = Station(
            self.folder / name,
            self.ports,
            self.authority,
            name=name,
            homeserver=self.synapse.url,
            **settings,
        )
        return self.stations[name]

    async def assemble(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for station in self.stations.values():
            self._stack.push_async_callback(station.close)
        await asyncio.gather(*(station.init() for station in self.stations.values()))
        self.synapse.registrations = [
            station.bridge.registration for station in self.stations.values()
        ]
        await self.up(self.synapse)
        await self.synapse.register(USER)
        self.user = MatrixUser(self.synapse.url, USER, f"{USER}-secret")
        await self.up(self.user)

    def processes(self) -> Iterable[Process]:
        return self.synapse.process, *(each.bridge.process for each in self.stations.values())

    async def room(self, station: Station, friend: str, *, by_road: bool) -> str:
        """The room of a friend, who has to say something first."""
        body = f"hello from {friend} {secrets.token_hex(4)}"
        send = station.text_by_road if by_road else station.text_by_sip
        await send(friend, body)
        return (await self.user.notice(None, body)).room


def answer_to(offer: str) -> str:
    """What a telephone answers that speaks the one suite that all do (RFC 4568)."""
    tag = re.search(r"a=crypto:(\d+) AES_CM_128_HMAC_SHA1_80 ", offer)
    assert tag is not None, offer
    key = base64.b64encode(secrets.token_bytes(30)).decode()
    return sdes_offer(crypto=(f"{tag[1]} AES_CM_128_HMAC_SHA1_80 inline:{key}",))


def friends(count: int, prefix: str) -> list[str]:
    """Numbers that have never written."""
    first = secrets.randbelow(8000)
    return [f"+1555{prefix}{first + n:04d}" for n in range(count)]


async def said_by_friends(user: MatrixUser, mark: str) -> list[str]:
    """All that friends have said with this mark, by room in order, as the homeserver has it."""
    rooms = {e.room for e in user.events if e.body.startswith(mark) and e.sender != user.id}
    timelines = await asyncio.gather(*(user.timeline(room) for room in sorted(rooms)))
    return [
        event.body
        for timeline in timelines
        for event in timeline
        if event.body.startswith(mark) and event.sender != user.id
    ]


async def settled(user: MatrixUser, mark: str, wanted: set[str]) -> None:
    """Wait until the user has seen all of these."""

    def missing() -> set[str]:
        seen = {e.body for e in user.events if e.sender != user.id and e.body.startswith(mark)}
        return wanted - seen

    try:
        await eventually(lambda: not missing())
    except AssertionError:
        few = sorted(missing())[:10]
        raise AssertionError(f"{len(missing())} of {len(wanted)} are lost: {few}") from None
