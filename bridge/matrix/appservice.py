"""The listener that the homeserver pushes to (application service API).

aiohttp.web directly, without mautrix's `AppService`: that one answers before the work is safe,
forgets transactions at a restart, handles an event twice under two transactions, hands the events
of a room on in any order, drops what it cannot parse and knows no third-party lookups. Nothing but
its table of routes would have been left.

What happens to a transaction: check the token, read the body, store the events (`bridge.db.inbox`),
answer 200, hand them on. Everything that fails before the commit is a 5xx, so that the homeserver
keeps the transaction and tries again; nothing after the commit can change the answer.

A homeserver that was killed forgets what it had on its way to us, and pushes what came after it. So
before a text is handed on its room may have to be read (`bridge.reconcile`), and what comes of that
goes first. Signalling of calls does not wait for it.

Rooms are independent: each one that has events gets a task, which hands them on one by one in the
order of arrival. A queue holds a few events; what does not fit stays in the inbox alone and is read
from there once the queue has drained. A start reads in the same way what an earlier run left, so
that it comes before anything new of its room; and so does the first push after one that the
database may have stored without having said so.
"""

import asyncio
import hmac
import json
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from aiohttp import web

from bridge.db.inbox import InboxEvent
from bridge.db.interface import DatabaseAway
from bridge.db.patience import persist
from bridge.matrix.events import ReadReceipt, RoomEvent, parse_event, parse_receipts
from bridge.matrix.homeserver import MatrixUnavailable
from bridge.matrix.pusher import Pusher
from bridge.matrix.registration import PROTOCOLS
from bridge.setting import Endpoint
from bridge.task import Tasks

log = logging.getLogger(__name__)

# A hundred events of 64 KiB, ten times over.
_MAX_BODY = 64 * 1024 * 1024
# Per room, in memory; a call with all its candidates is a dozen events.
_QUEUE = 100
_BATCH = 100
# Between two looks at a database that failed.
_DATABASE_PAUSE = 1.0
_PRUNE_PAUSE = 24 * 3600.0
# What is not of a room's history: as the specification calls it, and as Synapse did before 1.156.
_EPHEMERAL = ("ephemeral", "de.sorunome.msc2409.ephemeral")

Handler = Callable[[RoomEvent], Awaitable[None]]
Settle = Callable[[str], Awaitable[bool]]
UserQuery = Callable[[str], Awaitable[bool]]
NumberQuery = Callable[[str], Awaitable[str | None]]


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the bridge can do its work, and what is the matter with each part."""

    ok: bool
    parts: Mapping[str, str] = field(default_factory=dict)


class EventStore(Protocol):
    """What the listener needs of `bridge.db.inbox.Inbox`."""

    async def store(
        self, txn_id: str, events: Sequence[object], *, now_ms: int
    ) -> list[InboxEvent]: ...

    async def pending_rooms(self) -> list[str]: ...

    async def pending(
        self, room_id: str, *, after: int = 0, limit: int = 100
    ) -> list[InboxEvent]: ...

    async def done(self, event_id: str) -> None: ...

    async def failed(self, event_id: str) -> bool: ...

    async def prune(self, *, now_ms: int) -> None: ...


async def _nobody(user_id: str) -> bool:
    return False


async def _settled(room_id: str) -> bool:
    return False


async def _no_number(number: str) -> str | None:
    return None


class Appservice:
    """Receives from the homeserver.

    Args:
        listen: what to bind; port 0 for any free one.
        hs_token: the token that the homeserver must show.
        inbox: where events are kept until they are done.
        handler: gets each event at least once, in order within its room. When it returns the event
            is done; when it raises, the event comes again at the next start, or as soon as the
            database or the homeserver is back (`resume`) where that was the reason.
        settle: asked about a room before something new of it that is no call is handed on; takes
            what is missing by `take`, and says whether anything may have come so. Never raises.
        is_ours: whether a sender is the bot or a ghost. Our own events come back from the
            homeserver and are of no interest.
        user_exists: asked about a user of our namespace that the homeserver does not know; makes
            the ghost if there shall be one.
        find_number: the ghost's user id for a number as somebody typed it; None if it is none.
        on_read: told of public read receipts, if the registration asks for them; returns at once.
        on_cut: told when the homeserver was cut off while it pushed; returns at once.
        health: for `/health`.
        sleep: waits for a database that is away; replaced by tests.
    """

    def __init__(
        self,
        *,
        listen: Endpoint,
        hs_token: str,
        inbox: EventStore,
        handler: Handler,
        settle: Settle = _settled,
        is_ours: Callable[[str], bool] = lambda sender: False,
        user_exists: UserQuery = _nobody,
        find_number: NumberQuery = _no_number,
        on_read: Callable[[ReadReceipt], None] | None = None,
        on_cut: Callable[[], None] = lambda: None,
        health: Callable[[], Health] = lambda: Health(True),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._listen = listen
        self._hs_token = hs_token.encode()
        self._inbox = inbox
        self._handler = handler
        self._settle = settle
        self._is_ours = is_ours
        self._user_exists = user_exists
        self._find_number = find_number
        self._on_read = on_read
        self._pusher = Pusher(on_cut=on_cut)
        self._health = health
        self._sleep = sleep
        self._is_in_doubt = False
        self._rooms: dict[str, _Room] = {}
        self._tasks = Tasks()
        self._chores = Tasks()
        self._order = asyncio.Lock()
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """The port that is bound."""
        assert self._runner is not None, "not started"
        return int(self._runner.addresses[0][1])

    async def start(self) -> None:
        """Take up what an earlier run left, then listen.

        Raises:
            OSError: the address cannot be bound.
        """
        for room_id in await self._inbox.pending_rooms():
            self._room(room_id, behind=True)
        runner = web.AppRunner(
            self._application(), access_log=None, handle_signals=False, shutdown_timeout=2.0
        )
        await runner.setup()
        try:
            site = web.TCPSite(runner, self._listen.host, self._listen.port)
            await site.start()
        except OSError:
            await runner.cleanup()
            await self._tasks.stop()
            raise
        self._runner = runner
        self._chores.start("prune", self._prune())
        self._chores.start("pusher", self._pusher.watch())

    async def stop(self, *, grace: float = 2.0) -> None:
        """Stop listening; give running handlers `grace` seconds; the rest stays in the inbox."""
        if self._runner is not None:
            await self._runner.cleanup()
        for room in self._rooms.values():
            room.stopping = True
        await self._chores.stop()
        await self._tasks.stop(grace=grace)

    async def _prune(self) -> None:
        """Let the inbox forget once a day what is long over."""
        while True:
            try:
                await self._inbox.prune(now_ms=time.time_ns() // 1_000_000)
            except DatabaseAway as error:
                log.info("the inbox is pruned another day: %s", error)
            except Exception:  # the top of this chore; there is a tomorrow
                log.exception("the inbox could not be pruned")
            await asyncio.sleep(_PRUNE_PAUSE)

    def _application(self) -> web.Application:
        app = web.Application(middlewares=[_answer_in_json], client_max_size=_MAX_BODY)
        v1 = "/_matrix/app/v1"
        app.add_routes(
            [
                web.put(f"{v1}/transactions/{{txn_id}}", self._authentic(self._transaction)),
                web.get(f"{v1}/users/{{user_id}}", self._authentic(self._user)),
                web.get(f"{v1}/rooms/{{alias}}", self._authentic(self._alias)),
                web.post(f"{v1}/ping", self._authentic(self._ping)),
                web.get(f"{v1}/thirdparty/protocol/{{name}}", self._authentic(self._protocol)),
                web.get(f"{v1}/thirdparty/user", self._authentic(self._nothing)),
                web.get(f"{v1}/thirdparty/user/{{name}}", self._authentic(self._number)),
                web.get(f"{v1}/thirdparty/location", self._authentic(self._nothing)),
                web.get(f"{v1}/thirdparty/location/{{name}}", self._authentic(self._nothing)),
                web.get("/health", self._tell_health),
            ]
        )
        return app

    # --- requests

    def _authentic(
        self, respond: Callable[[web.Request], Awaitable[web.Response]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        """Let through only who shows the homeserver's token; every token that is shown counts."""

        async def check(request: web.Request) -> web.Response:
            scheme, _, token = request.headers.get("Authorization", "").partition(" ")
            shown = request.query.getall("access_token", [])
            if scheme.lower() == "bearer":
                shown = [token.strip(), *shown]
            if not shown:
                return _error(401, "M_MISSING_TOKEN", "no token")
            matches = [
                hmac.compare_digest(text.encode("utf-8", "replace"), self._hs_token)
                for text in shown
            ]
            if not all(matches):
                return _error(403, "M_FORBIDDEN", "wrong token")
            return await respond(request)

        return check

    async def _transaction(self, request: web.Request) -> web.Response:
        try:
            body = json.loads(await request.read())
        except (ValueError, RecursionError):
            return _error(400, "M_NOT_JSON", "the body is not JSON")
        events = body.get("events", []) if isinstance(body, dict) else None
        if not isinstance(events, list):
            return _error(400, "M_BAD_JSON", "events is not a list")
        await self.take(request.match_info["txn_id"], events)
        self._take_receipts(body)
        self._pusher.note(request)
        return web.json_response({})

    def _take_receipts(self, body: Mapping[str, object]) -> None:
        """Hand on what was read. It is worth less than a text, and is not stored."""
        for key in _EPHEMERAL:
            pushed = body.get(key)
            if self._on_read is None or not isinstance(pushed, list):
                continue
            for receipt in (receipt for raw in pushed for receipt in parse_receipts(raw)):
                if not self._is_ours(receipt.user):
                    self._on_read(receipt)
            return  # both names are of the same

    async def take(self, name: str, events: Sequence[object]) -> int:
        """Store events and hand on those that are new; when this returns they are on the disk.

        Args:
            name: of the transaction, for a person who looks into the database.

        Returns:
            How many were new.
        """
        received_at, now_ms = time.monotonic(), time.time_ns() // 1_000_000
        wanted = [raw for raw in events if not self._is_echo(raw)]
        # One at a time, so that the order of the hand-over is the order of the commits.
        async with self._order:
            try:
                if self._is_in_doubt:
                    await self._read_again()
                fresh = await self._inbox.store(name, wanted, now_ms=now_ms)
            except DatabaseAway:
                self._is_in_doubt = True
                raise
            for item in fresh:
                self._hand_over(item, received_at)
        log.debug("transaction of %d events, %d of them new", len(wanted), len(fresh))
        return len(fresh)

    async def resume(self) -> None:
        """Take up what the inbox has and nobody works on, after the database or the homeserver was
        away.

        Raises:
            DatabaseAway: it is still away.
        """
        async with self._order:
            await self._read_again()

    async def _read_again(self) -> None:
        """Have each room look into the inbox for what is owed, from the beginning. What it has in
        its queue is done by then, so that nothing is handled twice."""
        for room_id in await self._inbox.pending_rooms():
            room = self._room(room_id, behind=True)
            room.behind = room.again = True
        self._is_in_doubt = False

    async def _user(self, request: web.Request) -> web.Response:
        if await self._user_exists(request.match_info["user_id"]):
            return web.json_response({})
        return _error(404, "M_NOT_FOUND", "no such user")

    async def _alias(self, request: web.Request) -> web.Response:
        return _error(404, "M_NOT_FOUND", "no such room")

    async def _ping(self, request: web.Request) -> web.Response:
        return web.json_response({})

    async def _protocol(self, request: web.Request) -> web.Response:
        if request.match_info["name"] not in PROTOCOLS:
            return _error(404, "M_NOT_FOUND", "no such protocol")
        phone = {"regexp": r"[0-9+*#().\- ]+", "placeholder": "+15551234567"}
        return web.json_response(
            {
                "user_fields": ["m.id.phone"],
                "location_fields": [],
                "icon": "",
                "field_types": {"m.id.phone": phone},
                # Synapse drops a protocol that has no instance.
                "instances": [
                    {"desc": "Telephone", "network_id": "ringback", "fields": {}, "icon": ""}
                ],
            }
        )

    async def _number(self, request: web.Request) -> web.Response:
        name, number = request.match_info["name"], request.query.get("m.id.phone", "")
        if name not in PROTOCOLS:
            return _error(404, "M_NOT_FOUND", "no such protocol")
        user_id = await self._find_number(number) if number else None
        if user_id is None:
            return web.json_response([])
        found = {"userid": user_id, "protocol": name, "fields": {"m.id.phone": number}}
        return web.json_response([found])

    async def _nothing(self, request: web.Request) -> web.Response:
        return web.json_response([])

    async def _tell_health(self, request: web.Request) -> web.Response:
        health = self._health()
        body = {"ok": health.ok, "parts": dict(health.parts)}
        return web.json_response(body, status=200 if health.ok else 503)

    # --- events

    def _is_echo(self, raw: object) -> bool:
        sender = raw.get("sender") if isinstance(raw, dict) else None
        return isinstance(sender, str) and self._is_ours(sender)

    def _hand_over(self, item: InboxEvent, received_at: float) -> None:
        self._room(item.room_id).add(item, received_at)

    def _room(self, room_id: str, *, behind: bool = False) -> "_Room":
        room = self._rooms.get(room_id)
        if room is None:
            room = self._rooms[room_id] = _Room(room_id, behind)
            self._tasks.start(f"room {room_id}", self._work_off(room))
        return room

    async def _work_off(self, room: "_Room") -> None:
        """Hand on what a room has, one by one, until there is nothing left."""
        try:
            while not room.stopping:
                if room.queue:
                    if not room.queue[0][0].is_call and await self._settle(room.room_id):
                        async with self._order:  # whoever else has read the room has handed over
                            room.sort()
                    item, received_at = room.queue.popleft()
                    await self._handle(room, item, received_at)
                elif room.behind:
                    if not await self._catch_up(room):
                        await self._sleep(_DATABASE_PAUSE)
                else:
                    return
        finally:
            # Between the last look at the queue and here nothing is awaited: nothing gets lost.
            del self._rooms[room.room_id]

    async def _catch_up(self, room: "_Room") -> bool:
        """Read from the inbox what did not fit into the queue, or was left by an earlier run.

        Returns:
            Whether the inbox could be read.
        """
        # Under the lock nothing is between its commit and its hand-over, so what is not in this
        # answer will come through the queue.
        try:
            async with self._order:
                after = 0 if room.again else room.last_seq
                items = await self._inbox.pending(room.room_id, after=after, limit=_BATCH)
                room.behind, room.again = len(items) == _BATCH, False
        except DatabaseAway:
            return False
        except Exception:  # of one look, which must not end the room's task
            log.exception("room %s: the inbox could not be read", room.room_id)
            return False
        for item in items:
            if room.stopping:
                break
            await self._handle(room, item, None)
        return True

    async def _handle(self, room: "_Room", item: InboxEvent, received_at: float | None) -> None:
        """Hand one event on and see it through; never raises."""
        room.last_seq = item.seq
        now, now_ms = time.monotonic(), time.time_ns() // 1_000_000
        # From an earlier run only the wall clock tells how long the event has been waiting.
        waited_ms = round((now - received_at) * 1000) if received_at is not None else None
        if waited_ms is None:
            waited_ms = max(0, now_ms - item.received_ms)
        event = parse_event(item.raw, received_at=now, now_ms=now_ms, waited_ms=waited_ms)
        try:
            if event is None:
                log.warning("event %s cannot be read", item.event_id)
            else:
                handle = partial(self._handler, event)
                await persist("an event", handle, sleep=self._sleep)
            done = partial(self._inbox.done, item.event_id)
            await persist("the end of an event", done, sleep=self._sleep)
        except MatrixUnavailable as error:  # it is owed, and taken up when the homeserver is back
            log.warning("event %s waits for the homeserver: %s", item.event_id, error)
        except Exception:  # the top of this event's task
            log.exception("event %s could not be handled", item.event_id)
            await self._note_failure(item)

    async def _note_failure(self, item: InboxEvent) -> None:
        try:
            failed = partial(self._inbox.failed, item.event_id)
            if not await persist("a failure", failed, sleep=self._sleep):
                log.error("event %s failed too often and is set aside", item.event_id)
        except Exception:  # the top of this event's task; the row stays pending
            log.exception("event %s: its failure could not be noted", item.event_id)


class _Room:
    """What one room still has to hand on.

    Attributes:
        queue: the next events, and when they were received.
        behind: the inbox holds events of this room that are not in `queue`; while that is so,
            nothing may enter the queue, or it would overtake.
        last_seq: the newest event that was handed on.
        again: the inbox is to be read from its beginning, not from `last_seq`.
    """

    __slots__ = ("again", "behind", "last_seq", "queue", "room_id", "stopping")

    def __init__(self, room_id: str, behind: bool) -> None:
        self.room_id = room_id
        self.queue: deque[tuple[InboxEvent, float]] = deque()
        self.behind = behind
        self.last_seq = 0
        self.again = False
        self.stopping = False

    def add(self, item: InboxEvent, received_at: float) -> None:
        self.behind = self.behind or len(self.queue) >= _QUEUE
        if not self.behind:
            self.queue.append((item, received_at))

    def sort(self) -> None:
        """Put first what was said first, by the homeserver's clock."""
        self.queue = deque(sorted(self.queue, key=lambda queued: queued[0].said_ms))


@web.middleware
async def _answer_in_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Say errors as Matrix does; whatever is our own fault is a 500, so that it comes again."""
    try:
        return await handler(request)
    except web.HTTPNotFound:
        return _error(404, "M_UNRECOGNIZED", "unknown path")
    except web.HTTPMethodNotAllowed as error:
        answer = _error(405, "M_UNRECOGNIZED", "wrong method")
        answer.headers["Allow"] = ", ".join(sorted(error.allowed_methods))
        return answer
    except web.HTTPRequestEntityTooLarge:
        return _error(413, "M_TOO_LARGE", "the body is too large")
    except web.HTTPException:
        raise
    except DatabaseAway as error:
        log.info("%s: %s", request.match_info.route.resource, error)
        return _error(503, "M_UNKNOWN", "the database is away")
    except Exception:  # the top of this request
        log.exception("%s failed", request.match_info.route.resource)
        return _error(500, "M_UNKNOWN", "something went wrong here")


def _error(status: int, errcode: str, text: str) -> web.Response:
    return web.json_response({"errcode": errcode, "error": text}, status=status)
