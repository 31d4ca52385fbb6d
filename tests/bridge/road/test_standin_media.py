"""A picture to each provider that carries any, as its documentation says to hand it over."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.bridge.media_server import MediaServer
from tests.bridge.road.desk import FRIEND, PUBLIC, Desk, opened
from tests.bridge.road.test_standins import make, until
from tests.standin.bandwidth import Bandwidth
from tests.standin.elks import Elks
from tests.standin.flowroute import Flowroute
from tests.standin.plivo import Plivo
from tests.standin.standin import StandIn
from tests.standin.telnyx import Telnyx
from tests.standin.twilio import Twilio
from tests.standin.voipms import VoipMs
from tests.standin.vonage_messages import VonageMessages

KINDS: list[type[StandIn]] = [
    Twilio,
    Telnyx,
    VoipMs,
    Bandwidth,
    VonageMessages,
    Flowroute,
    Plivo,
    Elks,
]
JPEG = b"\xff\xd8\xff a picture & more"


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Desk]:
    kind: type[StandIn] = request.param
    server = MediaServer()
    server.add(JPEG)
    async with server.running() as files, opened(make(kind), tmp_path, files=files) as made:
        yield made


async def ask(desk: Desk, method: str, url: str) -> tuple[int, bytes, str, str]:
    here = url.replace(PUBLIC, f"http://127.0.0.1:{desk.hooks.port}")
    async with aiohttp.ClientSession() as session, session.request(method, here) as answer:
        headers = answer.headers
        length = headers.get("Content-Length", "")
        return answer.status, await answer.read(), headers["Content-Type"], length


@pytest.mark.parametrize("caption", ["look & see", ""])
async def test_a_picture_arrives_whole_and_once(desk: Desk, caption: str) -> None:
    named = {"filename": "cat.jpg"} if caption else {}
    await desk.write(
        await desk.portal(),
        caption or "cat.jpg",
        msgtype="m.image",
        url="mxc://example.org/one",
        info={"mimetype": "image/jpeg", "size": len(JPEG)},
        **named,
    )
    await until(lambda: desk.shown() or desk.matrix.notices())
    assert desk.matrix.notices() == []
    (taken,) = desk.provider.taken
    assert taken.to[-10:] == FRIEND[-10:]
    assert taken.body == caption
    (media,) = taken.media
    if media.startswith("data:"):
        head, _, data = media.partition(",")
        assert (head, base64.b64decode(data)) == ("data:image/jpeg;base64", JPEG)
        return
    assert media.endswith(".jpg")
    length = str(len(JPEG))
    for _ in range(2):
        assert await ask(desk, "HEAD", media) == (200, b"", "image/jpeg", length)
        assert await ask(desk, "GET", media) == (200, JPEG, "image/jpeg", length)
