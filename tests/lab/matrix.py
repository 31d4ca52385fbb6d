"""A Matrix user without a screen: the few requests of the client-server API that the tests need,
and `m.call.*` by hand.

For everything but audio it stands in for a client, a thousand times faster than a browser; it also
is the second device.
"""

import asyncio
import contextlib
import itertools
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp

from tests.lab.process import PATIENCE, START, eventually

Content = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a room's timeline as the user saw it; `at` is when (monotonic)."""

    room: str
    type: str
    sender: str
    content: Content
    id: str
    at: float

    @property
    def body(self) -> str:
        return str(self.content.get("body", ""))


def _read(room: str, event: Content, at: float) -> Event:
    return Event(room, event["type"], event["sender"], event["content"], event["event_id"], at)


class MatrixError(Exception):
    """The homeserver refused."""

    def __init__(self, said: str, status: int) -> None:
        super().__init__(said)
        self.status = status


class Overwhelmed(MatrixError):
    """The homeserver could not just now (status 500 and above)."""


AWAY = (aiohttp.ClientError, TimeoutError, Overwhelmed)
"""How a homeserver that is away, starts or ends shows itself."""


class MatrixUser:
    """One device of one user. After `start` it syncs and keeps every event.

    Attributes:
        joins_at_once: whether it takes invitations by itself, as no real client does.
    """

    def __init__(self, url: str, name: str, password: str) -> None:
        self.url = url
        self.name = name
        self.id = ""
        self.device = ""
        self.events: list[Event] = []
        self._seen: set[str] = set()
        self.invites: dict[str, list[Mapping[str, Any]]] = {}
        self.joins_at_once = True
        self._password = password
        self._token = ""
        self._session: aiohttp.ClientSession | None = None
        self._syncing: asyncio.Task[None] | None = None
        self._transactions = (f"lab-{secrets.token_hex(4)}-{n}" for n in itertools.count())

    async def start(self) -> None:
        self._session = aiohttp.ClientSession()
        identifier = {"type": "m.id.user", "user": self.name}
        body = {"type": "m.login.password", "identifier": identifier, "password": self._password}
        answer = await self.request("POST", "login", body)
        self._token, self.id, self.device = (
            answer[key] for key in ("access_token", "user_id", "device_id")
        )
        first = asyncio.Event()
        self._syncing = asyncio.create_task(self._sync(first))
        async with asyncio.timeout(PATIENCE):
            await first.wait()

    async def stop(self) -> None:
        if self._syncing is not None:
            self._syncing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._syncing
        if self._session is not None:
            await self._session.close()

    @property
    def login(self) -> dict[str, str]:
        """The header that proves who asks."""
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}

    async def request(self, method: str, path: str, body: object = None) -> Any:
        assert self._session is not None
        headers = self.login
        url = f"{self.url}/_matrix/client/v3/{path}"
        async with self._session.request(method, url, json=body, headers=headers) as answer:
            said = await answer.json()
            if answer.status != 200:
                kind = Overwhelmed if answer.status >= 500 else MatrixError
                raise kind(f"{method} {path}: {answer.status} {said}", answer.status)
            return said

    # --- rooms

    async def direct(self, other: str) -> str:
        """A direct room with somebody (made, or the one there is); the other side has joined it."""
        rooms = await self._directs()
        for room in rooms.get(other, []):
            members = await self.members(room)
            if members.get(other) == "join":
                return str(room)
        made = await self.request(
            "POST",
            "createRoom",
            {
                "preset": "trusted_private_chat",
                "is_direct": True,
                "invite": [other],
                "room_version": "11",
            },
        )
        room = str(made["room_id"])
        rooms.setdefault(other, []).append(room)
        await self.request("PUT", f"user/{quote(self.id)}/account_data/m.direct", rooms)
        await self.wait(
            "m.room.member",
            lambda e: e.sender == other and e.content.get("membership") == "join",
            room=room,
        )
        return room

    async def members(self, room: str) -> dict[str, str]:
        """Membership by user id."""
        said = await self.request("GET", f"rooms/{quote(room)}/members")
        return {e["state_key"]: e["content"]["membership"] for e in said["chunk"]}

    async def state(self, room: str, kind: str, key: str = "") -> Any:
        return await self.request("GET", f"rooms/{quote(room)}/state/{kind}/{quote(key)}")

    async def join(self, room: str) -> None:
        await self.request("POST", f"join/{quote(room)}", {})

    async def rooms(self) -> list[str]:
        return list((await self.request("GET", "joined_rooms"))["joined_rooms"])

    async def _directs(self) -> dict[str, list[str]]:
        try:
            path = f"user/{quote(self.id)}/account_data/m.direct"
            return dict(await self.request("GET", path))
        except MatrixError:
            return {}

    # --- events

    @property
    def mark(self) -> int:
        """A place in `events` for `wait(since=…)`."""
        return len(self.events)

    async def send(
        self, room: str, kind: str, content: Content, *, transaction: str | None = None
    ) -> str:
        name = transaction or next(self._transactions)
        said = await self.request("PUT", f"rooms/{quote(room)}/send/{kind}/{name}", content)
        return str(said["event_id"])

    async def say(self, room: str, text: str) -> str:
        return await self.send(room, "m.room.message", {"msgtype": "m.text", "body": text})

    async def insist(self, room: str, text: str, *, within: float = 2 * START) -> str:
        """Say it as clients do when the homeserver is away: again with the same transaction."""
        transaction = next(self._transactions)
        content = {"msgtype": "m.text", "body": text}
        async with asyncio.timeout(within):
            while True:
                try:
                    return await self.send(room, "m.room.message", content, transaction=transaction)
                except (aiohttp.ClientError, Overwhelmed):
                    await asyncio.sleep(0.1)

    async def timeline(self, room: str) -> list[Event]:
        """Every event of a room as the homeserver has it, oldest first."""
        found: list[Event] = []
        start = ""
        while True:
            page, start = await self._page_back(room, start)
            found += (_read(room, event, 0.0) for event in page)
            if not start:
                return found[::-1]

    async def _page_back(self, room: str, start: str, limit: int = 1000) -> tuple[list[Any], str]:
        """Events before `start`, the newest first, and where those before them are, if any."""
        query = f"dir=b&limit={limit}{f'&from={start}' if start else ''}"
        said = await self.request("GET", f"rooms/{quote(room)}/messages?{query}")
        return said["chunk"], said.get("end", "") if said["chunk"] else ""

    async def wait(
        self,
        kind: str,
        where: Callable[[Event], object] = lambda event: True,
        *,
        room: str | None = None,
        since: int = 0,
        within: float = PATIENCE,
    ) -> Event:
        """The first event of this type for which `where` holds, from index `since` on."""

        def found() -> Event | None:
            if self._syncing is not None and self._syncing.done():
                self._syncing.result()  # what it has stumbled over
            for event in self.events[since:]:
                if event.type == kind and room in (None, event.room) and where(event):
                    return event
            return None

        try:
            event = await eventually(found, within=within, every=0.01)
        except AssertionError:
            seen = "\n".join(
                f"    {e.type} {e.sender} {e.body or list(e.content)}" for e in self.events[since:]
            )
            raise AssertionError(
                f"{self.name} saw no such {kind} in {within:g} s, but:\n{seen or '    nothing'}"
            ) from None
        assert event is not None
        return event

    async def notice(
        self, room: str | None, *words: str, since: int = 0, within: float = PATIENCE
    ) -> Event:
        """A line of the bridge (not ours) in which each of the words occurs, case aside."""

        def fits(event: Event) -> bool:
            text = event.body.lower()
            return event.sender != self.id and all(word.lower() in text for word in words)

        return await self.wait("m.room.message", fits, room=room, since=since, within=within)

    async def _sync(self, first: asyncio.Event) -> None:
        since = ""
        while True:
            query = f"timeout=20000&since={since}" if since else "timeout=0"
            try:
                said = await self.request("GET", f"sync?{query}")
                rooms = said.get("rooms", {})
                for room, invite in rooms.get("invite", {}).items():
                    self.invites[room] = invite["invite_state"]["events"]
                    if self.joins_at_once:
                        await self._accept(room)
                missed = {
                    room: await self._missed(room, update["timeline"]["prev_batch"])
                    for room, update in rooms.get("join", {}).items()
                    if since and update["timeline"]["limited"]
                }
            except AWAY:  # as far as a test lets it be
                await asyncio.sleep(0.1)
                continue
            now = time.monotonic()
            since = said["next_batch"]
            for room, update in rooms.get("join", {}).items():
                for event in (*missed.get(room, ()), *update["timeline"]["events"]):
                    if event["event_id"] not in self._seen:
                        self._seen.add(event["event_id"])
                        self.events.append(_read(room, event, now))
            first.set()

    async def _accept(self, room: str) -> None:
        """Join where we were invited, unless that was taken back meanwhile."""
        try:
            await self.join(room)
        except MatrixError as error:
            if error.status not in (403, 404):
                raise

    async def _missed(self, room: str, start: str) -> list[Any]:
        """What lies between the events that a sync gave and those of the one before it; a sync has
        only the newest few of each room."""
        missed: list[Any] = []
        while start:
            page, start = await self._page_back(room, start, limit=100)
            new = [event for event in page if event["event_id"] not in self._seen]
            missed += new
            if len(new) < len(page):
                break
        return missed[::-1]

    # --- calls

    async def invite(self, room: str, *, lifetime_ms: int = 60_000) -> "MatrixCall":
        """Place a voice call as Chromium does: an offer without candidates, then one that leads
        nowhere.
        """
        call = MatrixCall(self, room, f"{time.time_ns()}{secrets.token_hex(4)}")
        offer = {"type": "offer", "sdp": webrtc_offer()}
        await call.send("m.call.invite", {"lifetime": lifetime_ms, "offer": offer})
        await call.send_candidate()
        return call

    async def rung(
        self, *, room: str | None = None, since: int = 0, within: float = PATIENCE
    ) -> "MatrixCall":
        """Wait for a call to us; our side of it."""
        event = await self.wait(
            "m.call.invite", lambda e: e.sender != self.id, room=room, since=since, within=within
        )
        return MatrixCall(self, event.room, event.content["call_id"], event)


class MatrixCall:
    """Our side of one call, of which only the signalling is real."""

    def __init__(
        self, user: MatrixUser, room: str, call_id: str, invitation: Event | None = None
    ) -> None:
        self.user = user
        self.room = room
        self.id = call_id
        self.invitation = invitation
        self.party = secrets.token_hex(5).upper()
        self._since = 0

    async def send(self, kind: str, content: Content) -> str:
        own = {"call_id": self.id, "party_id": self.party, "version": "1"}
        return await self.user.send(self.room, kind, {**own, **content})

    async def send_candidate(self) -> None:
        where = "candidate:1 1 udp 2122260223 127.0.0.1 9 typ host generation 0 ufrag lab0"
        candidate = {"candidate": where, "sdpMid": "0", "sdpMLineIndex": 0}
        await self.send("m.call.candidates", {"candidates": [candidate, {"candidate": ""}]})

    async def answer(self) -> str:
        answer = {"type": "answer", "sdp": webrtc_offer(setup="active")}
        return await self.send("m.call.answer", {"answer": answer})

    async def reject(self) -> str:
        return await self.send("m.call.reject", {})

    async def hang_up(self, reason: str | None = "user_hangup") -> str:
        return await self.send("m.call.hangup", {"reason": reason} if reason else {})

    async def expect(self, kind: str, *, within: float = PATIENCE) -> Event:
        """The bridge's next event of this type for this call."""
        return await self.user.wait(
            kind,
            lambda e: e.content.get("call_id") == self.id and e.sender != self.user.id,
            room=self.room,
            within=within,
        )

    def has(self, kind: str) -> bool:
        """Whether the bridge has sent such an event for this call."""
        return any(
            e.type == kind and e.content.get("call_id") == self.id and e.sender != self.user.id
            for e in self.user.events
        )


def webrtc_offer(*, setup: str = "actpass") -> str:
    """What a browser says, as far as it matters (RFC 8829), of a peer that nobody will reach."""
    fingerprint = ":".join(f"{byte:02X}" for byte in secrets.token_bytes(32))
    lines = [
        "v=0",
        f"o=- {secrets.randbits(62)} 2 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0",
        "a=msid-semantic: WMS stream",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111 9 0 8 110 126",
        "c=IN IP4 0.0.0.0",
        "a=rtcp:9 IN IP4 0.0.0.0",
        "a=ice-ufrag:lab0",
        f"a=ice-pwd:{secrets.token_hex(12)}",
        "a=ice-options:trickle",
        f"a=fingerprint:sha-256 {fingerprint}",
        f"a=setup:{setup}",
        "a=mid:0",
        "a=sendrecv",
        "a=msid:stream track",
        "a=rtcp-mux",
        "a=rtpmap:111 opus/48000/2",
        "a=fmtp:111 minptime=10;useinbandfec=1",
        "a=rtpmap:9 G722/8000",
        "a=rtpmap:0 PCMU/8000",
        "a=rtpmap:8 PCMA/8000",
        "a=rtpmap:110 telephone-event/48000",
        "a=rtpmap:126 telephone-event/8000",
        f"a=ssrc:{secrets.randbits(31)} cname:lab",
    ]
    return "\r\n".join(lines) + "\r\n"
