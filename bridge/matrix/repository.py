"""Reads files from the homeserver's media repository (client-server API, "Content repository").

It hands media out to users alone, so that we ask with our own token. What was uploaded to another
homeserver ours fetches from there first. It also makes smaller pictures of those that people put
into it, so that nothing here has to read a stranger's picture.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from urllib.parse import quote

import aiohttp
from yarl import URL

from bridge.matrix.file import FileError, FileTooLarge, RoomFile, decrypt

log = logging.getLogger(__name__)

_DOWNLOAD = "/_matrix/client/v1/media/download"
_THUMBNAIL = "/_matrix/client/v1/media/thumbnail"
# Pixels each way that a smaller picture may have. Synapse makes 800 by 600 of its own accord, and
# this much only where it is told to make them as they are asked for.
_SCALED = 1280
# Seconds for one file, of another homeserver too.
READ_LIMIT = 30.0
_CONNECT_LIMIT = 5.0
_CHUNK = 64 * 1024
# Files that are held in memory as a whole at once; more wait their turn.
_MOST_WHOLE = 4


@dataclass(frozen=True, slots=True)
class Stream:
    """A file on its way.

    Attributes:
        octets: its length, None if the homeserver does not say.
        content_type: as the homeserver says; of a smaller picture it is what it has made.
    """

    octets: int | None
    content_type: str
    chunks: AsyncIterator[bytes]


class RoomFiles:
    """Reads files from the homeserver, from first use to `close`.

    Args:
        url: where the client-server API is.
        as_token: the application service's token.
        user_id: whom to ask as.
        limit: seconds for one file.
    """

    def __init__(self, *, url: str, as_token: str, user_id: str, limit: float = READ_LIMIT) -> None:
        self._url = url.rstrip("/")
        self._as_token = as_token
        self._user_id = user_id
        self._limit = limit
        self._session: aiohttp.ClientSession | None = None
        self._whole = asyncio.Semaphore(_MOST_WHOLE)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def read(self, file: RoomFile, *, most: int) -> tuple[bytes, str]:
        """The whole file, decrypted, and the content type of its `Stream`.

        Args:
            most: octets; what is longer is an error.

        Raises:
            FileError: as `open`.
        """
        # `open` sees to it where it holds the whole file itself.
        turn = nullcontext() if file.key is not None else self._whole
        async with turn, self.open(file, most=most) as stream:
            return b"".join([chunk async for chunk in stream.chunks]), stream.content_type

    @asynccontextmanager
    async def open(self, file: RoomFile, *, most: int) -> AsyncIterator[Stream]:
        """The file as it comes; an encrypted one as a whole, since its digest is of the whole.

        Args:
            most: octets; what is longer is an error, at its beginning or where it gets too long.

        Raises:
            FileTooLarge: it is longer.
            FileError: the homeserver is away, or has no such file (any more).
        """
        try:
            async with self._get(file) as response:
                _check(response, most)
                chunks = _bounded(response, most)
                length = response.content_length
                if response.headers.get("Content-Encoding"):
                    length = None
                kind = response.content_type.lower()
                if file.key is None:
                    yield Stream(length, kind, chunks)
                    return
                async with self._whole:
                    data = decrypt(b"".join([chunk async for chunk in chunks]), file.key)
                    yield Stream(len(data), kind, _once(data))
        except TimeoutError:
            raise FileError("the homeserver does not answer", final=False) from None
        except aiohttp.ClientError as error:
            log.info("a file could not be read: %s", type(error).__name__)
            raise FileError("the homeserver cannot be reached", final=False) from error

    @asynccontextmanager
    async def _get(self, file: RoomFile) -> AsyncIterator[aiohttp.ClientResponse]:
        server, media_id = (quote(part, safe="") for part in file.place)
        kind, query = _DOWNLOAD, {"user_id": self._user_id}
        if file.scaled:
            kind = _THUMBNAIL
            query |= {"width": str(_SCALED), "height": str(_SCALED), "method": "scale"}
        async with self._open().get(
            URL(f"{self._url}{kind}/{server}/{media_id}", encoded=True),
            params=query,
            timeout=aiohttp.ClientTimeout(total=self._limit, connect=_CONNECT_LIMIT),
            max_redirects=3,
        ) as response:
            yield response

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                headers={"Authorization": f"Bearer {self._as_token}", "User-Agent": "Ringback"},
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


def _check(response: aiohttp.ClientResponse, most: int) -> None:
    status = response.status
    if status != 200:
        final = 400 <= status < 500 and status not in (408, 429)
        reason = "the homeserver has no such file" if status == 404 else f"HTTP {status}"
        raise FileError(reason, final=final)
    if (response.content_length or 0) > most:
        raise FileTooLarge(most)


async def _bounded(response: aiohttp.ClientResponse, most: int) -> AsyncIterator[bytes]:
    length = 0
    async for chunk in response.content.iter_chunked(_CHUNK):
        length += len(chunk)
        if length > most:
            raise FileTooLarge(most)
        yield chunk


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
