"""The client-server API, as the bot or as a ghost.

A send carries a transaction id of ours *and* our `device_id`: only then does Synapse remember it in
its database, so that a repeat after its restart does not double the event. How a call is repeated,
and what is logged of it, is for `bridge.matrix.homeserver`.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import quote

from bridge.matrix.events import RoomEvent, parse_event
from bridge.matrix.homeserver import (
    AWAY,
    CALL_LIMIT,
    Homeserver,
    JsonObject,
    MatrixRefused,
    MatrixUnavailable,
)

log = logging.getLogger(__name__)

_CLIENT = "/_matrix/client/v3"
_MEDIA = "/_matrix/media/v3"
_PROBE_LIMIT = 5.0
_MAX_CACHED = 1024
# In version 12 older clients do not see the power of a room's creator, and grey their call button.
_ROOM_VERSION = "11"

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class TurnServers:
    """What `/voip/turnServer` gave (client-server API, "Voice over IP").

    Attributes:
        uris: STUN and TURN addresses.
        ttl: seconds for which the credentials were good when they were given.
    """

    uris: tuple[str, ...]
    username: str = field(repr=False)
    password: str = field(repr=False)
    ttl: int


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a room's history, newest first.

    Attributes:
        events: as the homeserver gave them.
        end: where the next, older page begins; None at the room's beginning.
    """

    events: tuple[object, ...] = field(repr=False)
    end: str | None


class MatrixClient:
    """Speaks to one homeserver with the application service's token.

    Args:
        url: where the client-server API is, "https://matrix.example.org".
        domain: the server name in user ids.
        as_token: the application service's token.
        bot: localpart of the bot.
        device_id: device of ours that makes transaction ids durable; made when first needed.
        appservice_id: id in the registration; `ping` needs it.
        call_limit: seconds that a call may take with all its repeats.
        sleep: waits between attempts; replaced by tests.
    """

    def __init__(
        self,
        *,
        url: str,
        domain: str,
        as_token: str,
        bot: str,
        device_id: str = "RINGBACK",
        appservice_id: str = "ringback",
        call_limit: float = CALL_LIMIT,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.domain = domain
        self.bot_id = f"@{bot}:{domain}"
        self._device_id = device_id
        self._appservice_id = appservice_id
        self._homeserver = Homeserver(
            url=url, as_token=as_token, bot=self.bot_id, call_limit=call_limit, sleep=sleep
        )
        self._turn: OrderedDict[str, tuple[float, TurnServers | None]] = OrderedDict()
        self._names: OrderedDict[str, str] = OrderedDict()
        # Users for whom the homeserver does not let us have a device: sent without one.
        self._deviceless: set[str] = set()

    async def close(self) -> None:
        """Let go of all connections; calls in flight fail."""
        await self._homeserver.close()

    @property
    def absences(self) -> int:
        """How many attempts found the homeserver away; it grows."""
        return self._homeserver.absences

    def note_absence(self) -> None:
        """It was away, as somebody else has seen."""
        self._homeserver.absences += 1

    # --- who we are

    async def versions(self) -> tuple[str, ...]:
        """The versions of the specification that the homeserver speaks; the first proof of life."""
        answer = await self._homeserver.request(
            "versions", "GET", "/_matrix/client/versions", user=None
        )
        return _strings(answer.get("versions"))

    async def is_there(self) -> bool:
        """Whether the homeserver answers just now; it costs it next to nothing."""
        try:
            await self._homeserver.request(
                "probe",
                "GET",
                "/_matrix/client/versions",
                user=None,
                attempts=1,
                within=_PROBE_LIMIT,
            )
        except MatrixUnavailable:
            return False
        except MatrixRefused as refusal:
            return refusal.status not in AWAY
        return True

    async def whoami(self) -> str:
        """The user id that the homeserver sees behind our token."""
        answer = await self._homeserver.request("whoami", "GET", f"{_CLIENT}/account/whoami")
        return _string(answer, "user_id")

    async def ping(self, txn_id: str) -> int:
        """Ask the homeserver to ping our listener (application service API, "Pinging").

        It also makes a homeserver that has given us up for dead deliver what it holds at once.

        Returns:
            The round trip in milliseconds.

        Raises:
            MatrixRefused: the homeserver could not reach the listener; says why.
        """
        path = f"/_matrix/client/v1/appservice/{_quoted(self._appservice_id)}/ping"
        body = {"transaction_id": txn_id}
        # 502 and 504 are its answer here, and not a reason to ask again.
        answer = await self._homeserver.request(
            "ping", "POST", path, body=body, user=None, attempts=1
        )
        duration_ms = answer.get("duration_ms")
        return duration_ms if isinstance(duration_ms, int) else 0

    async def ensure_user(self, user_id: str, display_name: str | None = None) -> None:
        """Make sure that one of our users exists and bears this name.

        Cheap to call again: what is known to be so is not asked for twice.
        """
        known = self._names.get(user_id)
        if known is not None and display_name in (None, known):
            return
        localpart = user_id[1:].partition(":")[0]
        body = {
            "type": "m.login.application_service",
            "username": localpart,
            "inhibit_login": True,
        }
        if known is None:
            try:
                await self._homeserver.request(
                    "register", "POST", f"{_CLIENT}/register", body=body, user=None
                )
            except MatrixRefused as refusal:
                if refusal.errcode != "M_USER_IN_USE":
                    raise
            # Now rather than at the first send, which may be the answer to a call.
            await self._make_device(user_id)
        if display_name is not None:
            await self._name(user_id, display_name)
        _remember(self._names, user_id, display_name or "")

    async def has_profile(self, user_id: str) -> bool:
        """Whether the homeserver has a profile of a user: of nobody who does not exist, and of
        everybody else but who has neither name nor picture."""
        path = f"{_CLIENT}/profile/{_quoted(user_id)}"
        try:
            await self._homeserver.request("read profile", "GET", path)
        except MatrixRefused as refusal:
            return refusal.errcode != "M_NOT_FOUND"
        return True

    async def _name(self, user_id: str, display_name: str) -> None:
        path = f"{_CLIENT}/profile/{_quoted(user_id)}/displayname"
        try:
            profile = await self._homeserver.request("read profile", "GET", path, user=user_id)
        except MatrixRefused:
            profile = {}
        # A change is an event in each of the user's rooms, so only a real one is made.
        if profile.get("displayname") != display_name:
            body = {"displayname": display_name}
            await self._homeserver.request("set display name", "PUT", path, body=body, user=user_id)

    # --- sending

    async def send_event(
        self,
        room_id: str,
        type: str,
        content: JsonObject,
        *,
        sender: str,
        txn_id: str,
        within: float | None = None,
    ) -> str:
        """Send one event; with the same `txn_id` again, it is the same event.

        Args:
            sender: the bot or a ghost.
            within: seconds after which it is given up, if sooner than any other call.

        Returns:
            The event id.
        """
        path = f"{_CLIENT}/rooms/{_quoted(room_id)}/send/{_quoted(type)}/{_quoted(txn_id)}"
        name = f"send {type}"

        async def send() -> JsonObject:
            device = None if sender in self._deviceless else self._device_id
            return await self._homeserver.request(
                name, "PUT", path, body=content, user=sender, device=device, within=within
            )

        try:
            answer = await send()
        except MatrixRefused as refusal:
            if refusal.errcode != "M_UNKNOWN_DEVICE" or sender in self._deviceless:
                raise
            await self._make_device(sender)
            answer = await send()
        return _string(answer, "event_id")

    async def upload(self, data: bytes, content_type: str, *, name: str, user: str) -> str:
        """Put a file into the media repository.

        A repeat after a lost answer leaves a second copy, which nobody refers to.

        Returns:
            Its `mxc:` address.
        """
        answer = await self._homeserver.request(
            "upload",
            "POST",
            f"{_MEDIA}/upload",
            file=(content_type, data),
            user=user,
            query={"filename": name},
        )
        return _string(answer, "content_uri")

    async def _make_device(self, user_id: str) -> None:
        """Make our device for a user (specification v1.17).

        It has no keys, so that no client takes it for a reason to encrypt.
        """
        path = f"{_CLIENT}/devices/{_quoted(self._device_id)}"
        body = {"display_name": "Ringback"}
        try:
            await self._homeserver.request("make device", "PUT", path, body=body, user=user_id)
        except MatrixRefused as refusal:
            if not self._deviceless:
                log.warning(
                    "the homeserver refuses devices to application services (%s): "
                    "a repeat after its restart can double an event",
                    refusal.errcode,
                )
            self._deviceless.add(user_id)

    async def send_notice(
        self, room_id: str, text: str, *, sender: str | None = None, txn_id: str
    ) -> str:
        """Send plain text as a machine does, by the bot unless `sender` says otherwise: clients
        show it quietly, other bots ignore it."""
        content = {"msgtype": "m.notice", "body": text}
        return await self.send_event(
            room_id, "m.room.message", content, sender=sender or self.bot_id, txn_id=txn_id
        )

    # --- rooms

    async def create_room(
        self,
        *,
        creator: str,
        name: str | None = None,
        topic: str | None = None,
        invite: Sequence[str] = (),
        is_direct: bool = False,
        power_levels: JsonObject | None = None,
        initial_state: Sequence[JsonObject] = (),
    ) -> str:
        """Make a private room.

        Args:
            power_levels: top-level keys that replace those of the default power levels.

        Returns:
            The room id.

        Raises:
            MatrixUnavailable: perhaps the room was made all the same: a room has no transaction id,
                so an attempt whose answer was lost is not repeated.
        """
        body: dict[str, Any] = {
            "preset": "private_chat",
            "room_version": _ROOM_VERSION,
            "visibility": "private",
            "invite": list(invite),
            "is_direct": is_direct,
            "initial_state": list(initial_state),
        }
        optional = {
            "name": name,
            "topic": topic,
            "power_level_content_override": power_levels,
        }
        body |= {key: value for key, value in optional.items() if value is not None}
        answer = await self._homeserver.request(
            "create room",
            "POST",
            f"{_CLIENT}/createRoom",
            body=body,
            user=creator,
            repeatable=False,
        )
        return _string(answer, "room_id")

    async def join(self, room_id: str, user: str) -> None:
        """Join a room that the user is invited to; no error if joined already."""
        path = f"{_CLIENT}/rooms/{_quoted(room_id)}/join"
        await self._homeserver.request("join", "POST", path, body={}, user=user)

    async def leave(self, room_id: str, user: str, *, reason: str = "") -> None:
        """Leave a room, or decline its invitation; no error if out already."""
        path = f"{_CLIENT}/rooms/{_quoted(room_id)}/leave"
        body = {"reason": reason} if reason else {}
        await self._homeserver.request("leave", "POST", path, body=body, user=user)

    async def mark_read(self, room_id: str, event_id: str, *, user: str) -> None:
        """Let everybody see that one of our users has read up to an event."""
        path = f"{_CLIENT}/rooms/{_quoted(room_id)}/receipt/m.read/{_quoted(event_id)}"
        await self._homeserver.request("mark read", "POST", path, body={}, user=user)

    async def joined_rooms(self, user: str) -> tuple[str, ...]:
        """The rooms that one of our users is in; none for one that was never made."""
        try:
            answer = await self._homeserver.request(
                "read rooms", "GET", f"{_CLIENT}/joined_rooms", user=user
            )
        except MatrixRefused as refusal:
            if refusal.errcode == "M_FORBIDDEN":
                return ()
            raise
        return _strings(answer.get("joined_rooms"))

    async def joined_members(self, room_id: str, user: str | None = None) -> tuple[str, ...]:
        """The joined users' ids, as `user` (the bot by default) sees them."""
        path = f"{_CLIENT}/rooms/{_quoted(room_id)}/joined_members"
        answer = await self._homeserver.request(
            "read members", "GET", path, user=user or self.bot_id
        )
        joined = answer.get("joined")
        return tuple(joined) if isinstance(joined, dict) else ()

    async def room_state(
        self, room_id: str, type: str, state_key: str = "", *, user: str | None = None
    ) -> JsonObject | None:
        """Content of one piece of the room's state, None where there is none."""
        path = f"{_CLIENT}/rooms/{_quoted(room_id)}/state/{_quoted(type)}/{_quoted(state_key)}"
        try:
            return await self._homeserver.request(
                f"read {type}", "GET", path, user=user or self.bot_id
            )
        except MatrixRefused as refusal:
            if refusal.errcode == "M_NOT_FOUND":
                return None
            raise

    async def event(self, room_id: str, event_id: str, *, user: str) -> RoomEvent | None:
        """One event as `user` may see it; None where there is none, or it cannot be read."""
        path = f"{_CLIENT}/rooms/{_quoted(room_id)}/event/{_quoted(event_id)}"
        try:
            raw = await self._homeserver.request("read event", "GET", path, user=user)
        except MatrixRefused as refusal:
            if refusal.errcode == "M_NOT_FOUND":
                return None
            raise
        received_at, now_ms = time.monotonic(), time.time_ns() // 1_000_000
        return parse_event(raw, received_at=received_at, now_ms=now_ms, room_id=room_id)

    async def history(
        self, room_id: str, *, user: str, start: str | None = None, limit: int = 50
    ) -> Page:
        """A page of what `user` may see, backwards from `start`, or from now."""
        path = f"{_CLIENT}/rooms/{_quoted(room_id)}/messages"
        query = {"dir": "b", "limit": str(limit)}
        if start is not None:
            query["from"] = start
        answer = await self._homeserver.request(
            "read messages", "GET", path, user=user, query=query
        )
        chunk, end = answer.get("chunk"), answer.get("end")
        events = tuple(chunk) if isinstance(chunk, list) else ()
        return Page(events, end if isinstance(end, str) and events else None)

    async def recent_events(self, room_id: str, *, user: str, limit: int = 50) -> list[RoomEvent]:
        """The newest events that `user` may see, oldest first; what cannot be read is left out."""
        page = await self.history(room_id, user=user, limit=limit)
        received_at, now_ms = time.monotonic(), time.time_ns() // 1_000_000
        found = (
            parse_event(raw, received_at=received_at, now_ms=now_ms, room_id=room_id)
            for raw in reversed(page.events)
        )
        return [event for event in found if event is not None]

    async def turn_servers(self, user: str) -> TurnServers | None:
        """TURN servers with credentials for `user`; None if the homeserver has none.

        Kept for half of their lifetime, so that a call set up from the cache outlives its ringing.
        """
        now = time.monotonic()
        cached = self._turn.get(user)
        if cached is not None and now < cached[0]:
            return cached[1]
        answer = await self._homeserver.request(
            "read TURN", "GET", f"{_CLIENT}/voip/turnServer", user=user
        )
        uris, ttl = _strings(answer.get("uris")), answer.get("ttl")
        ttl = ttl if isinstance(ttl, int) and ttl > 0 else 600
        servers = None
        if uris:
            username, password = str(answer.get("username", "")), str(answer.get("password", ""))
            servers = TurnServers(uris, username, password, ttl)
        _remember(self._turn, user, (now + ttl / 2, servers))
        return servers


def _quoted(part: str) -> str:
    return quote(part, safe="")


def _string(answer: JsonObject, key: str) -> str:
    value = answer.get(key)
    if not isinstance(value, str):
        raise MatrixUnavailable(f"the homeserver's answer has no {key}")
    return value


def _strings(value: object) -> tuple[str, ...]:
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def _remember(cache: "OrderedDict[str, _Value]", key: str, value: _Value) -> None:
    """Keep the newest only: a cache must not grow with the number of numbers ever called."""
    cache[key] = value
    cache.move_to_end(key)
    while len(cache) > _MAX_CACHED:
        cache.popitem(last=False)
