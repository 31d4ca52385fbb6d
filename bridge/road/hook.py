"""The listener that providers push to: one address for each road, `/road/NAME/SECRET`. Files that
leave with texts are fetched here too (`bridge.handout`).

It is a listener of its own beside the homeserver's, because this one faces the internet: behind a
proxy that has the certificate. The raw body goes to the road, which verifies and reads it; what
comes out is stored by the receiver; only then the provider hears its thanks. Whatever fails before
the commit is a 5xx, so that a provider that repeats does so; a forgery is a 403 and is counted, not
logged one by one.

The address that a signature covers is made of the public address of the configuration and the path
as it came, because a proxy may change scheme, host and port on the way. The sender's address is
taken from X-Forwarded-For only as far as trusted proxies wrote it.
"""

import asyncio
import hmac
import ipaddress
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from bridge.db.interface import DatabaseAway
from bridge.road.proof import Network
from bridge.road.road import Arrival, Forged, Hook, Receipt, Road, Unreadable
from bridge.setting import Endpoint

log = logging.getLogger(__name__)

# A hook carries addresses of pictures, not the pictures.
MAX_BODY = 256 * 1024
# Hooks that are read and stored at once; the database takes some hundred in a second.
MAX_AT_ONCE = 64
# Shorter than any provider's patience but Telnyx's two seconds, after which it repeats by itself.
STORE_LIMIT = 10.0
# Between two lines of the log about forgeries.
COMPLAIN_EVERY = 60.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Receiver = Callable[[str, Sequence[Arrival | Receipt]], Coroutine[Any, Any, bool]]


@dataclass(frozen=True, slots=True)
class Entrance:
    """A road's address on our side.

    Attributes:
        secret: the last part of the path.
    """

    road: Road
    secret: str = field(repr=False)


class Hooks:
    """The listener.

    Args:
        public_url: how providers reach us, without a slash at its end.
        entrances: by the roads' names.
        receiver: takes what a hook brought, by the name of its road, and returns when it is stored;
            False if it cannot be placed, which the provider may know better a little later.
        proxies: addresses whose X-Forwarded-For is believed.
        media: answers requests for `/media/NAME`; None where nothing is handed out.
        store_limit: seconds after which the provider hears that it did not work, though it may yet.
    """

    def __init__(
        self,
        *,
        listen: Endpoint,
        public_url: str,
        entrances: Mapping[str, Entrance],
        receiver: Receiver,
        proxies: Sequence[Network] = (),
        media: Handler | None = None,
        clock: Callable[[], float] = time.time,
        store_limit: float = STORE_LIMIT,
    ) -> None:
        self._listen = listen
        self._public_url = public_url
        self._entrances = dict(entrances)
        self._receiver = receiver
        self._proxies = tuple(proxies)
        self._media = media
        self._clock = clock
        self._store_limit = store_limit
        self._storing: set[asyncio.Task[bool]] = set()
        self._runner: web.AppRunner | None = None
        self._port: int | None = None
        self._at_once = 0
        self._forged = 0
        self._complained_at = float("-inf")

    @property
    def port(self) -> int | None:
        """The port that we listen on, None while we do not."""
        return self._port

    def url(self, name: str) -> str | None:
        """What the owner enters at the provider; None for a road that nothing comes in on."""
        entrance = self._entrances.get(name)
        return None if entrance is None else f"{self._public_url}/road/{name}/{entrance.secret}"

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the address cannot be bound.
        """
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_route("GET", "/road/{name}/{secret}", self._take)
        app.router.add_route("POST", "/road/{name}/{secret}", self._take)
        if self._media is not None:
            app.router.add_get("/media/{name}", self._media)
        self._runner = web.AppRunner(app, access_log=None, keepalive_timeout=30.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._listen.host, self._listen.port)
        await site.start()
        self._port = int(self._runner.addresses[0][1])
        log.info("providers of texts may push to %s:%d", self._listen.host, self._port)

    async def stop(self) -> None:
        """Listen no more; what is being stored is stored to its end, within the limit."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
            self._port = None
        if self._storing:
            await asyncio.wait(self._storing, timeout=self._store_limit)

    # ---

    async def _take(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        entrance = self._entrances.get(name)
        # Compared even where there is no such road: the time it takes says nothing about names.
        secret = entrance.secret if entrance is not None else "none"
        fits = hmac.compare_digest(secret.encode(), request.match_info["secret"].encode())
        if entrance is None or not fits:
            self._complain("an address that is none of ours", request)
            return web.Response(status=404)
        if max(self._at_once, len(self._storing)) >= MAX_AT_ONCE:
            return web.Response(status=503, headers={"Retry-After": "5"})
        self._at_once += 1
        try:
            return await self._read(name, entrance, request)
        finally:
            self._at_once -= 1

    async def _read(self, name: str, entrance: Entrance, request: web.Request) -> web.Response:
        body = await request.read()
        hook = Hook(
            method=request.method,
            url=f"{self._public_url}{request.raw_path}",
            headers={key.lower(): value for key, value in request.headers.items()},
            body=body,
            source=self._source(request),
        )
        try:
            happenings = entrance.road.read(hook, self._clock())
        except Forged as error:
            self._complain(f"road {name}: {error}", request)
            return web.Response(status=403)
        except Unreadable as error:
            log.warning("road %s: a hook cannot be read: %s", name, error)
            return web.Response(status=400)
        try:
            async with asyncio.timeout(self._store_limit):
                placed = await asyncio.shield(self._store(name, happenings))
        except (DatabaseAway, TimeoutError) as error:  # the provider keeps the text
            log.warning("road %s: a hook could not be stored: %s", name, error or "in time")
            return web.Response(status=500)
        except Exception:  # the top of this request; the provider keeps the text
            log.exception("road %s: a hook could not be stored", name)
            return web.Response(status=500)
        if not placed:
            return web.Response(status=503, headers={"Retry-After": "300"})
        thanks = entrance.road.thanks
        return web.Response(
            status=thanks.status, body=thanks.body, headers={"Content-Type": thanks.content_type}
        )

    def _store(self, name: str, happenings: Sequence[Arrival | Receipt]) -> "asyncio.Task[bool]":
        """Have a hook stored to its end, even if nobody waits for it any more.

        A commit cannot be called back: a text that is stored and not handed on would be known, and
        so dropped, when the provider brings it again.
        """
        task = asyncio.create_task(self._receiver(name, happenings))
        self._storing.add(task)
        task.add_done_callback(self._stored)
        return task

    def _stored(self, task: "asyncio.Task[bool]") -> None:
        self._storing.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.info("a hook was not stored: %s", error)

    def _source(self, request: web.Request) -> str:
        """The address that the hook came from: the last one that no proxy of ours has."""
        source = request.remote or ""
        hops = request.headers.get("X-Forwarded-For", "").split(",")
        for hop in reversed([hop.strip() for hop in hops if hop.strip()]):
            if not self._is_proxy(source):
                break
            source = hop
        return source

    def _is_proxy(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._proxies)

    def _complain(self, what: str, request: web.Request) -> None:
        """Write a line of the log, now and then: strangers must not fill it."""
        self._forged += 1
        now = self._clock()
        if now - self._complained_at >= COMPLAIN_EVERY:
            self._complained_at = now
            log.warning(
                "refused a hook from %s: %s (%d refused so far)",
                self._source(request),
                what,
                self._forged,
            )
