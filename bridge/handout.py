"""Hands files of rooms out to providers that fetch what a text carries, and to who gets a link.

The homeserver gives media to its users alone, so that nobody outside can fetch a picture from it.
For each file that has to leave there is an address on the listener for hooks, `/media/TOKEN.jpg`:
128 bits of chance, kept in the database with the file and the time when it ends, so that the
address says nothing of room, homeserver or file, survives a restart, and can be taken back. It is
signed besides, so that who guesses does not even reach the database. What is behind it is asked of
the homeserver anew each time, and passes through without being kept here. Nothing else of the
homeserver can be reached: who asks names a token and never a file.
"""

import asyncio
import base64
import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable

from aiohttp import web

from bridge.db.handouts import Handout, HandoutTable
from bridge.db.interface import DatabaseAway
from bridge.matrix.file import FileError, RoomFile
from bridge.matrix.repository import RoomFiles, Stream
from bridge.road.kind import UNKNOWN, extension, is_shown

log = logging.getLogger(__name__)

PATH = "/media"
# Providers fetch at once, or when a text's turn comes in a queue that they keep for some hours.
FOR_PROVIDERS = 4 * 3600.0
# A link is opened when its reader has the time.
FOR_READERS = 7 * 24 * 3600.0
LARGEST = 20 * 1024 * 1024
# Files that pass through at once; each takes no more memory than a few chunks of it, and encrypted
# ones wait for each other.
MAX_AT_ONCE = 16
# A reader that is slower holds one of those places for nothing.
SERVE_LIMIT = 60.0
_CHANCE = 16  # octets of a token
_SIGNATURE = 8

# A file of a stranger's making, shown under our name: it may be looked at and played, which a
# browser does by a page of its own with styles in it, and do nothing.
_HEADERS = {
    "Cache-Control": "private, no-store",
    "Content-Security-Policy": (
        "sandbox; default-src 'none'; media-src 'self'; style-src 'unsafe-inline'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
}


class Handouts:
    """Makes addresses for files, and answers who asks there.

    Args:
        public_url: how the listener for hooks is reached from outside.
        secret: what tokens are signed with is derived from it; with another, older ones end.
        clock: wall clock, seconds since 1970.
    """

    def __init__(
        self,
        *,
        files: RoomFiles,
        table: HandoutTable,
        public_url: str,
        secret: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._files = files
        self._table = table
        self._public_url = public_url
        self._key = hmac.digest(secret.encode(), b"ringback handouts", "sha256")
        self._clock = clock
        self._at_once = 0

    async def put(
        self, file: RoomFile, kind: str, *, about: str, most: int = LARGEST, seconds: float
    ) -> str:
        """Hand a file out from now on; the same again has the same address.

        Args:
            kind: the content type under which it leaves.
            about: the message whose file it is.
            most: octets; if there turn out to be more, it is not handed out.
            seconds: for how long.

        Returns:
            Its address.
        """
        now_ms = self._now_ms()
        await self._table.prune(now_ms=now_ms)
        chance = secrets.token_bytes(_CHANCE)
        token = base64.urlsafe_b64encode(chance + self._sign(chance)).decode()
        expires_ms = now_ms + round(seconds * 1000)
        token = await self._table.put(Handout(token, about, file, kind, most, expires_ms))
        return f"{self._public_url}{PATH}/{token}{extension(kind)}"

    async def withdraw(self, about: str) -> None:
        """Hand the file of a message out no more."""
        await self._table.withdraw(about)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer a request for `PATH/{name}`."""
        token = request.match_info["name"].partition(".")[0]
        handout = None
        try:
            if self._is_signed(token):
                handout = await self._table.find(token, now_ms=self._now_ms())
        except DatabaseAway:
            return web.Response(status=503, headers={"Retry-After": "60"})
        if handout is None:
            return web.Response(status=404)
        if self._at_once >= MAX_AT_ONCE:
            return web.Response(status=503, headers={"Retry-After": "5"})
        self._at_once += 1
        try:
            async with asyncio.timeout(SERVE_LIMIT):
                return await self._serve(request, handout)
        except TimeoutError:
            return web.Response(status=504)
        finally:
            self._at_once -= 1

    # ---

    async def _serve(self, request: web.Request, handout: Handout) -> web.StreamResponse:
        response = web.StreamResponse(headers=_headers(handout))
        try:
            async with self._files.open(handout.file, most=handout.octets) as stream:
                length, chunks = await _measured(stream)
                response.content_length = length
                await response.prepare(request)
                if request.method != "HEAD":
                    async for chunk in chunks:
                        await response.write(chunk)
        except FileError as error:
            log.info("a file could not be handed out: %s", error)
            if response.prepared:
                # Half of a file must not pass for the whole.
                if request.transport is not None:
                    request.transport.abort()
                return response
            return web.Response(status=404 if error.final else 503)
        return response

    def _sign(self, chance: bytes) -> bytes:
        return hmac.digest(self._key, chance, hashlib.sha256)[:_SIGNATURE]

    def _is_signed(self, token: str) -> bool:
        try:
            found = base64.urlsafe_b64decode(token)
        except ValueError:
            return False
        return hmac.compare_digest(self._sign(found[:_CHANCE]), found[_CHANCE:])

    def _now_ms(self) -> int:
        return round(self._clock() * 1000)


async def _measured(stream: Stream) -> tuple[int, AsyncIterator[bytes]]:
    """Length and octets: some providers take nothing whose length is not said first."""
    if stream.octets is not None:
        return stream.octets, stream.chunks
    data = b"".join([chunk async for chunk in stream.chunks])

    async def once() -> AsyncIterator[bytes]:
        yield data

    return len(data), once()


def _headers(handout: Handout) -> dict[str, str]:
    shown = is_shown(handout.kind)
    name = f"{handout.kind.partition('/')[0] if shown else 'file'}{extension(handout.kind)}"
    disposition = "inline" if shown else "attachment"
    return _HEADERS | {
        "Content-Type": handout.kind or UNKNOWN,
        "Content-Disposition": f'{disposition}; filename="{name}"',
    }
