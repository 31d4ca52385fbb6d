"""A homeserver that has nothing but files, on a real socket."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from bridge.matrix.file import FileKey
from bridge.matrix.repository import RoomFiles

TOKEN = "as-token"
BOT = "@ringback:example.org"
SMALL = b"a smaller picture"


class MediaServer:
    """Files by server name and id.

    Attributes:
        asked: paths that were asked for.
        thumbnails: the type of the smaller pictures that it makes, None for none.
        statuses: that it answers with instead, one after the other.
        lengthless: whether it does not say how long a file is.
        goes_on: whether it answers; cleared, it waits.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.statuses: list[int] = []
        self.lengthless = False
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.thumbnails: str | None = None
        self.url = ""

    def add(self, data: bytes, id: str = "one") -> str:
        self.files[f"example.org/{id}"] = data
        return f"mxc://example.org/{id}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        await self.goes_on.wait()
        assert request.headers["Authorization"] == f"Bearer {TOKEN}"
        assert request.query["user_id"] == BOT
        if self.statuses:
            return web.json_response({"errcode": "M_UNKNOWN"}, status=self.statuses.pop(0))
        data = self.files.get(f"{request.match_info['server']}/{request.match_info['id']}")
        if data is None:
            return web.json_response({"errcode": "M_NOT_FOUND"}, status=404)
        if not self.lengthless:
            return web.Response(body=data, content_type="text/html")
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(data)
        return response

    async def thumbnail(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        assert request.headers["Authorization"] == f"Bearer {TOKEN}"
        assert (request.query["method"], request.query["user_id"]) == ("scale", BOT)
        assert request.query["width"] == request.query["height"] == "1280"
        if self.thumbnails is None:
            return web.json_response({"errcode": "M_UNKNOWN"}, status=400)
        return web.Response(body=SMALL, content_type=self.thumbnails)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[RoomFiles]:
        """Listen, and give who reads from here."""
        app = web.Application()
        app.router.add_get("/_matrix/client/v1/media/download/{server}/{id}", self.answer)
        app.router.add_get("/_matrix/client/v1/media/thumbnail/{server}/{id}", self.thumbnail)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        files = RoomFiles(url=self.url, as_token=TOKEN, user_id=BOT)
        yield files
        await files.close()
        await runner.cleanup()


def encrypted(data: bytes) -> tuple[bytes, FileKey]:
    """A file as it is stored, and its key."""
    key, counter = bytes(range(32)), bytes(8) + bytes(range(8))
    encryptor = Cipher(AES(key), CTR(counter)).encryptor()
    stored = encryptor.update(data) + encryptor.finalize()
    return stored, FileKey(key, counter, hashlib.sha256(stored).digest())
