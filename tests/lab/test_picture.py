"""Files from a room to a phone, with a real homeserver: the provider fetches what was put in."""

import asyncio
import secrets
import struct
import zlib
from typing import Any

import aiohttp

from tests.lab.conftest import User
from tests.lab.lab import Lab, stranger
from tests.lab.matrix import MatrixUser
from tests.lab.process import eventually
from tests.lab.ringback import Ringback

PNG = b"\x89PNG\r\n\x1a\n"


async def upload(user: MatrixUser, data: bytes, kind: str) -> str:
    """Put a file into the homeserver; its `mxc:` address."""
    async with (
        aiohttp.ClientSession(headers=user.login) as session,
        session.post(
            f"{user.url}/_matrix/media/v3/upload", data=data, headers={"Content-Type": kind}
        ) as answer,
    ):
        return str((await answer.json())["content_uri"])


async def fetch(url: str, method: str = "GET") -> tuple[int, str, bytes]:
    async with aiohttp.ClientSession() as session, session.request(method, url) as answer:
        return answer.status, answer.content_type, await answer.read()


def noise(width: int, height: int) -> bytes:
    """A grey picture that no compression makes smaller."""

    def chunk(name: bytes, data: bytes) -> bytes:
        checked = name + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    rows = b"".join(b"\0" + secrets.token_bytes(width) for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b""))
    return PNG + b"".join(chunk(name, data) for name, data in parts)


async def share(user: MatrixUser, room: str, data: bytes, **content: Any) -> str:
    return await user.send(
        room,
        "m.room.message",
        {
            "msgtype": "m.image",
            "body": "look at this",
            "filename": "cat.png",
            "url": await upload(user, data, "image/png"),
            "info": {"mimetype": "image/png", "size": len(data)},
            **content,
        },
    )


async def test_a_picture_is_fetched_by_the_provider_and_taken_back_by_its_author(
    lab: Lab, bridge: Ringback, user: User
) -> None:
    dave = await user("dave")
    number = stranger()
    room = await dave.direct(bridge.ghost(number))
    data = PNG + secrets.token_bytes(200_000)
    event = await share(dave, room, data)
    (sent,) = await eventually(
        lambda: lab.provider.taken_for(number), what="the picture at the provider"
    )
    assert sent.body == "look at this"
    (address,) = sent.media
    assert await fetch(address) == (200, "image/png", data)
    assert await fetch(address, "HEAD") == (200, "image/png", b"")
    assert (await fetch(address.replace("/media/", "/media/A")))[0] == 404

    await dave.request("PUT", f"rooms/{room}/redact/{event}/{secrets.token_hex(4)}", {})
    async with asyncio.timeout(10):
        while (await fetch(address))[0] != 404:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)


async def test_a_picture_that_is_too_large_leaves_smaller(
    lab: Lab, bridge: Ringback, user: User
) -> None:
    dave = await user("dave")
    number = stranger()
    room = await dave.direct(bridge.ghost(number))
    data = noise(1600, 1200)
    assert len(data) > 1_200_000  # what the provider takes
    await share(dave, room, data)
    (sent,) = await eventually(
        lambda: lab.provider.taken_for(number), what="the picture at the provider"
    )
    (address,) = sent.media
    status, kind, smaller = await fetch(address)
    assert (status, kind) == (200, "image/png")
    assert smaller.startswith(PNG)
    assert len(smaller) < 1_200_000
    assert struct.unpack(">II", smaller[16:24]) == (800, 600)


async def test_a_kind_that_no_text_carries_is_told(lab: Lab, bridge: Ringback, user: User) -> None:
    dave = await user("dave")
    number = stranger()
    room = await dave.direct(bridge.ghost(number))
    seen = dave.mark
    info = {"mimetype": "image/svg+xml", "size": 3}
    await share(dave, room, b"<svg/>", msgtype="m.file", filename="a.svg", info=info)
    await dave.notice(room, "not sent", "kind of file", since=seen)
    assert not lab.provider.taken_for(number)
