"""What all stand-ins have in common: an HTTP server that takes texts, and a client that pushes
hooks, again and again as long as the provider's documentation says.

A stand-in reaches the bridge as a provider does: it knows a public address, and a proxy (played by
`StandIn.push`) passes what comes for it on and says from which address it came.
"""

import asyncio
import contextlib
import itertools
import json
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlencode, urlsplit
from xml.etree import ElementTree

import aiohttp
from aiohttp import web

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
MAX_BODY = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Push:
    """A request to a hook.

    Attributes:
        query: with its question mark.
        source: the address that the provider sends from.
    """

    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "POST"
    query: str = ""
    source: str = "198.51.100.7"


def form(fields: Mapping[str, str]) -> Push:
    return Push(urlencode(fields).encode(), {"Content-Type": FORM})


def document(value: object) -> Push:
    return Push(json.dumps(value).encode(), {"Content-Type": JSON})


@dataclass(frozen=True, slots=True)
class Taken:
    """A text that the provider was asked to send, and has.

    Attributes:
        sender, to: as the request wrote them.
        callback: where it shall report, "" for the address of the account.
        media: addresses of pictures, to be fetched unless they begin with `data:`.
    """

    id: str
    sender: str
    to: str
    body: str
    callback: str = ""
    media: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Came:
    """A text that came for a number of the account, as a list has it.

    Attributes:
        at: seconds since 1970.
    """

    at: float
    id: str
    sender: str
    to: str
    body: str


class Fate(Enum):
    """What becomes of a text that was taken."""

    SENT = auto()
    DELIVERED = auto()
    LOST = auto()


class Trouble(Enum):
    """What a provider does instead of answering well."""

    BUSY = auto()  # 429 with Retry-After, or its own way to say so; not taken
    AWAY = auto()  # 503; not taken
    BROKEN = auto()  # 500, before it has taken it
    GATEWAY = auto()  # 502, after it has taken it
    SILENT = auto()  # takes it and never answers
    CUT = auto()  # takes it and closes the connection
    REFUSED = auto()  # 400; this text it will not take
    EAGER = auto()  # takes it, and has reported its delivery before it answers


class Covers(Enum):
    """What the proof on a hook covers."""

    KEY = auto()  # a secret of the account
    ADDRESS = auto()  # the address that it was pushed to
    BODY = auto()
    TIME = auto()
    SOURCE = auto()  # the address that it came from


@dataclass(frozen=True, slots=True)
class Signer:
    """Who proves a hook, where it is not the provider with our account.

    Attributes:
        key: another account's than ours.
        at: when it says that it was signed, seconds since 1970.
        algorithm: another hash than the documented one.
    """

    key: str | None = None
    at: float | None = None
    algorithm: str | None = None


HONEST = Signer()


class Rejected(Exception):
    """A request to the interface that the provider does not take, with its answer."""

    def __init__(self, answer: web.Response) -> None:
        super().__init__(answer.status)
        self.answer = answer


RETRY_AFTER = 7


class StandIn(ABC):
    """One provider with one account.

    Args:
        hook_url: what the owner has entered at the provider.
        clock: wall clock, seconds since 1970.
        sleep: waits between two tries of a hook.

    Attributes:
        api: the address of its interface, as documented.
        tries: how often a hook that is not acknowledged is tried in all.
        pause_s: between two tries.
        patience_s: for an answer.
        covers: what its hooks prove.
        longest: characters that it takes.
        has_hooks, has_receipts: whether it tells of texts that came, and of what became of ours.
        taken: what it was asked to send and has.
        inbox: what came, oldest first; filled by the test.
        troubles: what it does to the next requests, one after the other.
        sent_replies: texts that went out because our answer to a hook asked for them.
        hook_at: where `hook_url` leads, without its path; set when the listener is there.
        port: of its interface; 0 is any, until it has started.
    """

    api: ClassVar[str]
    tries: ClassVar[int] = 1
    pause_s: ClassVar[float] = 0.0
    patience_s: float = 10.0
    covers: ClassVar[frozenset[Covers]]
    longest: ClassVar[int] = 1600
    has_hooks: ClassVar[bool] = True
    has_receipts: ClassVar[bool] = True

    def __init__(
        self,
        hook_url: str,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.hook_url = hook_url
        self.hook_at = ""
        self.port = 0
        self.taken: list[Taken] = []
        self.inbox: list[Came] = []
        self.troubles: list[Trouble] = []
        self.sent_replies: list[str] = []
        self.clock = clock
        self._sleep = sleep
        self._numbers = itertools.count(1)
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None
        self._over = asyncio.Event()

    # --- what each provider says

    @abstractmethod
    def section(self) -> Mapping[str, Any]:
        """The account as the owner writes it under `roads`."""

    @abstractmethod
    def content(self, id: str, sender: str, to: str, body: str) -> Push:
        """An arriving text, not signed yet."""

    @abstractmethod
    def report(self, taken: Taken, fate: Fate) -> Push:
        """What became of a text, not signed yet."""

    @abstractmethod
    def sign(self, push: Push, url: str, by: Signer = HONEST) -> Push:
        """Prove a hook as `by` does."""

    @abstractmethod
    def acknowledged(self, status: int, content_type: str, body: bytes) -> bool:
        """Whether this answer ends the tries; texts that it asks for are sent."""

    @abstractmethod
    def read(self, path: str, headers: Mapping[str, str], body: bytes) -> Taken:
        """A request that sends a text.

        Raises:
            Rejected: it is not as documented, or by somebody else.
        """

    @abstractmethod
    def accepted(self, taken: Taken) -> web.Response:
        """The answer to a text that was taken."""

    def listed(self, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Any:
        """The list of texts, where there is one.

        Raises:
            Rejected: as above.
        """
        raise Rejected(web.Response(status=404))

    def busy(self) -> web.Response:
        """How it says that it is asked too often."""
        return web.Response(status=429, headers={"Retry-After": str(RETRY_AFTER)})

    # --- its interface

    async def start(self) -> None:
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_route("*", "/{path:.*}", self._answer)
        # A request that is never answered must not hold up the end.
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = int(self._runner.addresses[0][1])
        self._session = aiohttp.ClientSession()

    async def stop(self) -> None:
        self._over.set()
        if self._session is not None:
            await self._session.close()
        if self._runner is not None:
            await self._runner.cleanup()

    def new_id(self) -> str:
        return f"{next(self._numbers):032x}"

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            if request.method == "GET":
                return web.json_response(self.listed(request.path, request.query, headers))
            return await self._take(request, headers, body)
        except Rejected as error:
            return error.answer

    async def _take(
        self, request: web.Request, headers: Mapping[str, str], body: bytes
    ) -> web.StreamResponse:
        trouble = self.troubles.pop(0) if self.troubles else None
        match trouble:
            case Trouble.BUSY:
                return self.busy()
            case Trouble.AWAY:
                return web.Response(status=503)
            case Trouble.REFUSED:
                return web.json_response({"code": 0, "message": "refused"}, status=400)
            case Trouble.BROKEN:
                return web.Response(status=500, text="<h1>Sorry</h1>", content_type="text/html")
        taken = self.read(request.path, headers, body)
        if all(taken.id != other.id for other in self.taken):  # else a repeat that it knows
            self.taken.append(taken)
        match trouble:
            case Trouble.GATEWAY:
                return web.Response(status=502, text="<h1>Bad Gateway</h1>")
            case Trouble.SILENT:
                await self._over.wait()
            case Trouble.EAGER:
                await self.tell(taken, Fate.DELIVERED)
            case Trouble.CUT:
                assert request.transport is not None
                request.transport.abort()
        return self.accepted(taken)

    # --- its hooks

    def text(self, id: str, sender: str, to: str, body: str) -> Push:
        return self.sign(self.content(id, sender, to, body), self.hook_url)

    async def push(self, push: Push, url: str = "") -> tuple[int, str, bytes]:
        """One try: status, content type and body of the answer; status 0 if there was none."""
        assert self._session is not None, "not started"
        parts = urlsplit(url or self.hook_url)
        headers = {**push.headers, "Host": parts.netloc, "X-Forwarded-For": push.source}
        query = push.query or (f"?{parts.query}" if parts.query else "")
        try:
            async with self._session.request(
                push.method,
                f"{self.hook_at}{parts.path}{query}",
                data=push.body or None,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=self.patience_s),
            ) as response:
                return response.status, response.content_type, await response.read()
        except (aiohttp.ClientError, TimeoutError):
            return 0, "", b""

    async def deliver(self, push: Push, url: str = "") -> int:
        """Try as documented; the number of tries that it took, 0 if all failed."""
        for number in range(1, self.tries + 1):
            if self.acknowledged(*await self.push(push, url)):
                return number
            await self._sleep(self.pause_s)
        return 0

    async def tell(self, taken: Taken, fate: Fate) -> int:
        """Report what became of a text, where the text said or the account says."""
        url = taken.callback or self.hook_url
        return await self.deliver(self.sign(self.report(taken, fate), url), url)


def nonce() -> str:
    return secrets.token_hex(8)


def fields_of(push: Push) -> dict[str, str]:
    return dict(parse_qsl(push.body.decode(), keep_blank_values=True))


def digits(number: str) -> str:
    """A number without its plus, as many providers write it."""
    return number.removeprefix("+")


def require(holds: object, status: int, said: object) -> None:
    """Reject what does not hold, in the provider's words."""
    if not holds:
        raise Rejected(web.json_response(said, status=status))


def json_object(body: bytes) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        found = json.loads(body)
        if isinstance(found, dict):
            return found
    raise Rejected(web.json_response({"error": "malformed"}, status=400))


def messages_in(body: bytes) -> Sequence[str]:
    """The texts that a document of the kind `<Response>` asks for.

    Raises:
        ElementTree.ParseError: it is none.
    """
    root = ElementTree.fromstring(body)
    assert root.tag == "Response", root.tag
    return [element.text or "" for element in root]
