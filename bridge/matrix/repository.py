"""Reads files from the homeserver's media repository (client-server API, "Content repository").

It hands media out to users alone, so that we ask with our own token. What was uploaded to another
homeserver ours fetches from there first.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import quote

import aiohttp
from yarl import URL

from bridge.matrix.file import FileError, RoomFile, decrypt, show_octets

log = logging.getLogger(__name__)

_DOWNLOAD = "/_matrix/client/v1/media/download"
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
    """

    octets: int | None
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

    async def read(self, file: RoomFile, *, most: int) -> bytes:
        """The whole file, decrypted.

        Args:
            most: octets; what is longer is an error.

        Raises:
            FileError: as `open`.
        """
        async with self._whole, self.open(file, most=most) as stream:
            return b"".join([chunk async for chunk in stream.chunks])

    @asynccontextmanager
    async def open(self, file: RoomFile, *, most: int) -> AsyncIterator[Stream]:
        """The file as it comes; an encrypted one as a whole, since its digest is of the whole.

        Args:
            most: octets; what is longer is an error, at its beginning or where it gets too long.

        Raises:
            FileError: the homeserver is away, has no such file (any more), or it is too large.
        """
        try:
            async with self._get(file) as response:
                _check(response, most)
                chunks = _bounded(response, most)
                length = response.content_length
                if response.headers.get("Content-Encoding"):
                    length = None
                if file.key is not None:
                    data = decrypt(b"".join([chunk async for chunk in chunks]), file.key)
                    chunks, length = _once(data), len(data)
                yield Stream(length, chunks)
        except TimeoutError:
            raise FileError("the homeserver does not answer", final=False) from None
        except aiohttp.ClientError as error:
            log.info("a file could not be read: %s", type(error).__name__)
            raise FileError("the homeserver cannot be reached", final=False) from error

    @asynccontextmanager
    async def _get(self, file: RoomFile) -> AsyncIterator[aiohttp.ClientResponse]:
        server, media_id = (quote(part, safe="") for part in file.place)
        async with self._open().get(
            URL(f"{self._url}{_DOWNLOAD}/{server}/{media_id}", encoded=True),
            params={"user_id": self._user_id},
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
        raise _too_large(most)


async def _bounded(response: aiohttp.ClientResponse, most: int) -> AsyncIterator[bytes]:
    length = 0
    async for chunk in response.content.iter_chunked(_CHUNK):
        length += len(chunk)
        if length > most:
            raise _too_large(most)
        yield chunk


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _too_large(most: int) -> FileError:
    return FileError(f"it is larger than {show_octets(most)}", final=True)
