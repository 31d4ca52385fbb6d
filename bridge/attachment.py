"""Pictures and files of arriving texts, from a provider's server into a room.

Fetched when the text is said, not when it is stored: a provider waits two seconds for its answer,
and a picture may take ten. What cannot be fetched, or the homeserver does not take, is told with
its address instead, so that nothing is lost. What a stranger sends is shown as a picture, sound or
film only where its type is a known one; everything else is a file that nobody opens by looking.
"""

import asyncio
import json
import logging
import mimetypes
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from bridge import wording
from bridge.matrix.client import MatrixClient
from bridge.matrix.homeserver import MatrixRefused
from bridge.road.fetch import Fetched, Fetcher, NotFetched
from bridge.road.road import Attachment

log = logging.getLogger(__name__)

PAUSES = (2.0, 10.0)  # seconds before the second and third attempt
_SHOWN = {
    "image/jpeg": "m.image",
    "image/png": "m.image",
    "image/gif": "m.image",
    "image/webp": "m.image",
    "image/bmp": "m.image",
    "audio/amr": "m.audio",
    "audio/mpeg": "m.audio",
    "audio/mp4": "m.audio",
    "audio/ogg": "m.audio",
    "audio/wav": "m.audio",
    "video/3gpp": "m.video",
    "video/mp4": "m.video",
    "video/mpeg": "m.video",
    "video/webm": "m.video",
}
# Known, and harmless to name: the rest is a heap of octets.
_FILES = ("application/pdf", "text/vcard", "text/x-vcard", "text/calendar", "text/plain")
_NAMES = {"m.image": "picture", "m.audio": "sound", "m.video": "film", "m.file": "file"}


class Attachments:
    """Turns what was kept of an attachment into the content of a room's event.

    Args:
        headers: what a road's provider wants to hear before it hands out what is at an address.
        sleep: waits between attempts; replaced by tests.
    """

    def __init__(
        self,
        *,
        matrix: MatrixClient,
        fetcher: Fetcher,
        headers: Callable[[str, str], Mapping[str, str]] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._matrix = matrix
        self._fetcher = fetcher
        self._headers = headers or (lambda road, url: {})
        self._sleep = sleep

    async def content(self, kept: str, *, sender: str) -> dict[str, Any]:
        """The content of `m.room.message`.

        Args:
            kept: what `keep` made of the attachment.
            sender: the ghost who says it.

        Raises:
            MatrixUnavailable: the homeserver is away: come again.
        """
        url, told, road = json.loads(kept)
        try:
            found = await self._fetch(url, self._headers(road, url))
            kind = found.content_type if found.content_type in (*_SHOWN, *_FILES) else ""
            kind = kind or (told if told in (*_SHOWN, *_FILES) else "application/octet-stream")
            msgtype = _SHOWN.get(kind, "m.file")
            name = _NAMES[msgtype] + (mimetypes.guess_extension(kind) or "")
            uri = await self._matrix.upload(found.data, kind, name=name, user=sender)
        except NotFetched as error:
            log.info("an attachment was not fetched: %s", error)
            return _link(url, str(error))
        except MatrixRefused as error:
            log.info("the homeserver does not take an attachment: %s", error)
            return _link(url, "the homeserver does not take it")
        info = {"mimetype": kind, "size": len(found.data)}
        return {"msgtype": msgtype, "body": name, "filename": name, "url": uri, "info": info}

    async def _fetch(self, url: str, headers: Mapping[str, str]) -> Fetched:
        for pause in PAUSES:
            try:
                return await self._fetcher.fetch(url, headers)
            except NotFetched as error:
                if error.final:
                    raise
            await self._sleep(pause)
        return await self._fetcher.fetch(url, headers)


def keep(attachment: Attachment, road: str) -> str:
    """What is stored of an attachment of a road's text until it is said."""
    return json.dumps([attachment.url, attachment.content_type.lower(), road])


def _link(url: str, why: str) -> dict[str, Any]:
    return {"msgtype": "m.notice", "body": wording.attachment(url, why)}
