"""One request to the homeserver, repeated as long as that makes sense.

Built on aiohttp directly. mautrix's `HTTPAPI` and `IntentAPI` were weighed: they print request
bodies at DEBUG (texts, SDP with its ICE passwords, numbers), raise on 429 without the time to wait,
repeat only 502 to 504 with a fixed back-off, and have no time limit for a call; overriding all of
that would leave nothing of them.

- Each has a time limit, and what is worth repeating is repeated within it: no connection, 429 and
  5xx, with a growing jittered delay or the one that the homeserver asks for.
- What is logged is the name of the operation and how it went; never a body, a token or a user id.
"""

import asyncio
import json
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

from bridge.unreached import why_unreached

log = logging.getLogger(__name__)

# One attempt; Synapse answers in milliseconds unless it is in trouble, room creation in seconds.
_ATTEMPT_LIMIT = 20.0
# What a proxy says in the place of a homeserver that is not there.
AWAY = (502, 503, 504)
# All attempts of a call together.
CALL_LIMIT = 60.0
_FIRST_DELAY = 0.25
_LONGEST_DELAY = 10.0
# Answers beyond this are not of an honest homeserver: `/messages` is asked for 100 events at most.
_MAX_ANSWER = 16 * 1024 * 1024

JsonObject = Mapping[str, Any]


class MatrixError(Exception):
    """A call to the homeserver did not succeed."""


class MatrixRefused(MatrixError):
    """The homeserver said no, and would say it again.

    Attributes:
        errcode: "M_FORBIDDEN" and the like; "M_UNKNOWN" where the answer had none.
        status: the HTTP status.
    """

    def __init__(self, errcode: str, text: str, *, status: int = 400) -> None:
        super().__init__(f"{errcode}: {text}")
        self.errcode = errcode
        self.text = text
        self.status = status

    @property
    def is_of_room(self) -> bool:
        """Whether our user is out of the room that this is about, or the room is no more."""
        return self.errcode in ("M_FORBIDDEN", "M_NOT_FOUND")


class MatrixUnavailable(MatrixError):
    """The homeserver could not be reached or could not answer, however often we tried."""


class Homeserver:
    """Speaks to one homeserver with the application service's token.

    Args:
        url: where the client-server API is, "https://matrix.example.org".
        as_token: the application service's token.
        bot: user id of who acts where nobody else is named.
        call_limit: seconds that a call may take with all its repeats.
        sleep: waits between attempts; replaced by tests.

    Attributes:
        absences: how many attempts found the homeserver away; it grows.
    """

    def __init__(
        self,
        *,
        url: str,
        as_token: str,
        bot: str,
        call_limit: float = CALL_LIMIT,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.absences = 0
        self._url = url.rstrip("/")
        self._as_token = as_token
        self._bot = bot
        self._call_limit = call_limit
        self._sleep = sleep
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Let go of all connections; calls in flight fail."""
        if self._session is not None:
            await self._session.close()

    async def request(
        self,
        name: str,
        method: str,
        path: str,
        *,
        body: JsonObject | None = None,
        file: tuple[str, bytes] | None = None,
        user: str | None = "",
        device: str | None = None,
        query: Mapping[str, str] | None = None,
        repeatable: bool = True,
        attempts: int = 8,
        within: float | None = None,
    ) -> JsonObject:
        """Do one call, with repeats.

        Args:
            name: what the log calls it.
            file: type and octets, in the place of a body.
            user: whom to act as; "" for the bot, None for nobody in particular.
            repeatable: whether an attempt of unknown outcome may be repeated.
        """
        content = ("application/json", b"" if body is None else json.dumps(body).encode())
        parameters = dict(query or {})
        if user is not None:
            parameters["user_id"] = user or self._bot
        if device is not None:
            parameters["device_id"] = device
        until = time.monotonic() + (self._call_limit if within is None else within)
        attempt = 0
        while True:
            attempt += 1
            limit = min(_ATTEMPT_LIMIT, until - time.monotonic())
            outcome = await self._attempt(name, method, path, file or content, parameters, limit)
            if not isinstance(outcome, _Trouble):
                return outcome
            delay = outcome.delay
            if delay is None:
                delay = min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** (attempt - 1))
                delay *= random.uniform(0.5, 1.0)
            last = attempt == attempts or time.monotonic() + delay >= until
            if last or not (repeatable or outcome.untouched):
                if outcome.refusal is not None and attempts == 1:
                    raise outcome.refusal
                raise MatrixUnavailable(f"{name}: {outcome.text}")
            log.info("%s: %s; again in %.1f s", name, outcome.text, delay)
            await self._sleep(delay)

    async def _attempt(
        self,
        name: str,
        method: str,
        path: str,
        content: tuple[str, bytes],
        query: Mapping[str, str],
        limit: float,
    ) -> "JsonObject | _Trouble":
        """One request: its answer, or why it may be tried again; raises what is final."""
        started = time.monotonic()
        try:
            async with self._open().request(
                method,
                # Encoded already: a slash in an id is no separator.
                URL(self._url + path, encoded=True),
                params=query,
                headers={"Content-Type": content[0]},
                data=content[1] or None,
                timeout=aiohttp.ClientTimeout(total=max(limit, 0.001)),
            ) as response:
                text = await _read(response)
                status = response.status
        except aiohttp.ClientConnectorError as error:
            self.absences += 1
            return _Trouble(f"no connection ({why_unreached(error)})", untouched=True)
        except TimeoutError:
            self.absences += 1
            return _Trouble(f"no answer within {limit:.0f} s")
        except aiohttp.ClientError as error:
            self.absences += 1
            return _Trouble(f"connection failed ({type(error).__name__})")
        log.debug("%s: %d after %.1f ms", name, status, (time.monotonic() - started) * 1000)
        answer = _object(text)
        succeeded = 200 <= status < 300
        if succeeded and answer is not None:
            return answer
        errcode, words = "M_UNKNOWN", f"HTTP {status}"
        if answer is not None:
            errcode, words = str(answer.get("errcode", errcode)), str(answer.get("error", words))
        refusal = MatrixRefused(errcode, words, status=status)
        if status == 429:
            asked = (answer or {}).get("retry_after_ms")
            delay = asked / 1000 if isinstance(asked, int | float) and asked >= 0 else None
            return _Trouble("rate limited", untouched=True, delay=delay, refusal=refusal)
        if status in AWAY and name != "ping":  # there it is about us
            self.absences += 1
        if status >= 500 or succeeded:
            return _Trouble(f"HTTP {status}", refusal=refusal)
        raise refusal

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                headers={
                    "Authorization": f"Bearer {self._as_token}",
                    "User-Agent": "Ringback",
                },
                # Enough for many calls being set up at once; more wait their turn.
                connector=aiohttp.TCPConnector(limit=64),
            )
        return self._session


@dataclass(frozen=True, slots=True)
class _Trouble:
    """An attempt that failed and may be repeated.

    Attributes:
        untouched: the request had no effect, for certain.
        delay: seconds that the homeserver asks us to wait.
        refusal: its answer, if it gave one.
    """

    text: str
    untouched: bool = False
    delay: float | None = None
    refusal: MatrixRefused | None = None


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The body, bounded."""
    text = bytearray()
    async for chunk in response.content.iter_any():
        text += chunk
        if len(text) > _MAX_ANSWER:
            raise aiohttp.ClientPayloadError("answer too long")
    return bytes(text)


def _object(text: bytes) -> JsonObject | None:
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None
