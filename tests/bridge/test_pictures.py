"""Files from rooms to phones: by a road that carries them, as a link, or told."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import aiohttp
import pytest

from bridge.db.handouts import HandoutTable
from bridge.db.interface import Database
from bridge.handout import FOR_PROVIDERS, FOR_READERS, Handouts
from bridge.matrix.events import RoomEvent, parse_text
from bridge.matrix.repository import RoomFiles
from bridge.portal import Portal
from bridge.road.elks import Elks
from bridge.road.hook import Hooks
from bridge.road.road import ApiAnswer, Road
from bridge.road.sipgate import Sipgate
from bridge.road.twilio import Twilio
from bridge.setting import Endpoint
from tests.bridge.fakes import FakeMatrix
from tests.bridge.matrix.test_file import key_json
from tests.bridge.media_server import SMALL, MediaServer, encrypted
from tests.bridge.road.test_hook import Store
from tests.bridge.test_outbox import NUMBER, World, settle
from tests.bridge.test_texting import ALICE, until

PUBLIC = "https://ringback.example.org"
JPEG = b"\xff\xd8\xff" + b"j" * 500


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Stage:
    """A homeserver with files, the listener that hands them out, and texts by a road."""

    server: MediaServer
    files: RoomFiles
    handouts: Handouts
    hooks: Hooks
    clock: Clock
    database: Database
    matrix: FakeMatrix
    worlds: list[World]

    def world(self, road: Road, *, public: bool = True, **settings: Any) -> World:
        handouts = self.handouts if public else None
        made = World(
            self.database, self.matrix, road=road, writing=road.limits.writing,
            files=self.files, handouts=handouts, **settings,
        )  # fmt: skip
        made.provider.answers = [ApiAnswer(201, body=b'{"sid": "SM1", "id": "i1"}')]
        self.worlds.append(made)
        return made

    async def get(self, url: str, *, method: str = "GET") -> tuple[int, bytes, dict[str, str]]:
        local = url.replace(PUBLIC, f"http://127.0.0.1:{self.hooks.port}")
        async with aiohttp.ClientSession() as session, session.request(method, local) as response:
            return response.status, await response.read(), dict(response.headers)


@pytest.fixture
async def stage(database: Database) -> AsyncIterator[Stage]:
    server, clock, worlds = MediaServer(), Clock(), list[World]()
    async with server.running() as files:
        handouts = Handouts(
            files=files,
            table=HandoutTable(database),
            public_url=PUBLIC,
            secret="as-token",
            clock=clock,
        )
        hooks = Hooks(
            listen=Endpoint("127.0.0.1", 0),
            public_url=PUBLIC,
            entrances={},
            receiver=Store().receive,
            media=handouts.serve,
        )
        await hooks.start()
        yield Stage(server, files, handouts, hooks, clock, database, FakeMatrix(), worlds)
        await hooks.stop()
        for world in worlds:
            await world.texting.stop()


async def room(world: World) -> Portal:
    return await world.portals.adopt("!room:example.org", "sms", NUMBER, ALICE)


async def share(
    world: World,
    portal: Portal,
    uri: str,
    *,
    id: str = "$p1",
    kind: str = "image/jpeg",
    **more: Any,
) -> None:
    """Put a file into the room."""
    content = {
        "msgtype": "m.image",
        "body": "cat.jpg",
        "url": uri,
        "info": {"mimetype": kind, "size": len(JPEG)},
    } | more
    event = RoomEvent(id, portal.room_id, portal.user, "m.room.message", content)
    text = parse_text(event)
    assert text is not None
    await world.texting.receive(portal, event, text)


def form(world: World) -> dict[str, list[str]]:
    (request,) = world.provider.requests
    return parse_qs(request.body.decode(), keep_blank_values=True)


async def test_a_picture_leaves_by_an_address_that_the_provider_can_fetch(stage: Stage) -> None:
    world = stage.world(Twilio("AC", "token"))
    portal = await room(world)
    caption = {"body": "my cat", "filename": "cat.jpg"}
    await share(world, portal, stage.server.add(JPEG), **caption)
    await settle(stage.database, ["sent"])
    fields = form(world)
    assert (fields["Body"], fields["To"]) == (["my cat"], [NUMBER.text])
    (url,) = fields["MediaUrl"]
    assert url.startswith(f"{PUBLIC}/media/")
    assert url.endswith(".jpg")
    assert "example.org/one" not in url
    status, data, headers = await stage.get(url)
    assert (status, data) == (200, JPEG)
    assert headers["Content-Type"] == "image/jpeg"  # whatever the homeserver says
    assert headers["Content-Length"] == str(len(JPEG))
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Disposition"] == 'inline; filename="image.jpg"'
    status, data, headers = await stage.get(url, method="HEAD")
    assert (status, data, headers["Content-Length"]) == (200, b"", str(len(JPEG)))
    assert world.matrix.notices() == []


async def test_a_picture_without_words_has_none(stage: Stage) -> None:
    world = stage.world(Twilio("AC", "token"))
    await share(world, await room(world), stage.server.add(JPEG))
    await settle(stage.database, ["sent"])
    assert "Body" not in form(world)


async def test_an_address_is_good_for_some_hours_and_for_its_file_alone(stage: Stage) -> None:
    world = stage.world(Twilio("AC", "token"))
    await share(world, await room(world), stage.server.add(JPEG))
    await settle(stage.database, ["sent"])
    (url,) = form(world)["MediaUrl"]
    for other in (url.replace("/media/", "/media/x"), f"{PUBLIC}/media/", f"{PUBLIC}/media/%2e%2e"):
        assert (await stage.get(other))[0] == 404
    asked = len(stage.server.asked)
    stage.clock.now += FOR_PROVIDERS + 1
    assert (await stage.get(url))[0] == 404
    assert len(stage.server.asked) == asked  # strangers do not reach the homeserver


async def test_a_file_that_grew_is_not_handed_out(stage: Stage) -> None:
    world = stage.world(Twilio("AC", "token"))
    await share(world, await room(world), stage.server.add(JPEG))
    await settle(stage.database, ["sent"])
    (url,) = form(world)["MediaUrl"]
    stage.server.add(b"x" * 5_000_001)
    assert (await stage.get(url))[0] == 404
    stage.server.lengthless = True
    assert (await stage.get(url))[0] == 404
    stage.server.statuses = [502]
    assert (await stage.get(url))[0] == 503


async def test_a_crowd_that_wants_files_is_asked_to_come_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.handout.MAX_AT_ONCE", 1)
    world = stage.world(Twilio("AC", "token"))
    await share(world, await room(world), stage.server.add(JPEG))
    await settle(stage.database, ["sent"])
    (url,) = form(world)["MediaUrl"]
    stage.server.goes_on.clear()
    asked = len(stage.server.asked)
    first = asyncio.create_task(stage.get(url))
    await until(lambda: len(stage.server.asked) > asked)
    status, _, headers = await stage.get(url)
    assert (status, headers["Retry-After"]) == (503, "5")
    stage.server.goes_on.set()
    assert (await first)[0] == 200
    assert (await stage.get(url))[0] == 200


async def test_a_redaction_takes_the_file_back(stage: Stage) -> None:
    world = stage.world(Twilio("AC", "token"))
    await share(world, await room(world), stage.server.add(JPEG))
    await settle(stage.database, ["sent"])
    (url,) = form(world)["MediaUrl"]
    await world.texting.withdraw("!room:example.org", "$p1")
    assert (await stage.get(url))[0] == 404


async def test_a_picture_goes_within_the_request_where_the_provider_takes_that(
    stage: Stage,
) -> None:
    world = stage.world(Elks("u", "p"), public=False)
    world.provider.answers = [ApiAnswer(200, body=b'{"id": "i1"}')]
    await share(world, await room(world), stage.server.add(JPEG))
    await settle(stage.database, ["sent"])
    assert world.provider.requests[0].url.endswith("/mms")
    assert form(world)["image"] == [f"data:image/jpeg;base64,{base64.b64encode(JPEG).decode()}"]


async def test_an_encrypted_picture_leaves_decrypted(stage: Stage) -> None:
    stored, key = encrypted(JPEG)
    uri = stage.server.add(stored)
    world = stage.world(Twilio("AC", "token"))
    await share(world, await room(world), uri, url=None, file=key_json(key) | {"url": uri})
    await settle(stage.database, ["sent"])
    (url,) = form(world)["MediaUrl"]
    status, data, _ = await stage.get(url)
    assert (status, data) == (200, JPEG)


@pytest.mark.parametrize(
    ("road", "public", "more", "words"),
    [
        (Sipgate("t", "t"), True, {}, "texts of this line carry words only"),
        (Twilio("AC", "t"), False, {}, "no address where it could"),
        (Twilio("AC", "t"), True, {"kind": "image/svg+xml"}, "do not carry this kind of file"),
        (Elks("u", "p"), True, {"kind": "audio/ogg"}, "do not carry this kind of file"),
        (
            Twilio("AC", "t"),
            True,
            {"info": {"mimetype": "video/mp4", "size": 7_500_000}},
            "the file has 7.5 MB, and no more than 5.0 MB can be sent",
        ),
    ],
)
async def test_what_a_road_cannot_carry_is_told_and_not_sent(
    stage: Stage, road: Road, public: bool, more: dict[str, Any], words: str
) -> None:
    world = stage.world(road, public=public)
    more = {"body": "drawing", "filename": "drawing"} | more
    await share(world, await room(world), "mxc://example.org/one", **more)
    (notice,) = world.matrix.notices()
    assert notice.startswith("Not sent: ")
    assert words in notice
    assert world.provider.requests == []
    assert stage.server.asked == []


@pytest.mark.parametrize("size", [5, None])
async def test_a_size_is_measured_and_not_believed(stage: Stage, size: int | None) -> None:
    uri = stage.server.add(b"x" * 5_000_001)
    world = stage.world(Twilio("AC", "t"))
    await share(world, await room(world), uri, info={"mimetype": "video/mp4", "size": size})
    await settle(stage.database, ["refused"])
    await until(world.matrix.notices)
    assert "larger than 5.0 MB" in world.matrix.notices()[0]
    assert world.provider.requests == []


@pytest.mark.parametrize(
    ("kind", "size"), [("image/png", 400_000), ("image/png", 5), ("image/webp", 5)]
)
async def test_a_picture_that_is_too_large_or_of_another_kind_leaves_smaller(
    stage: Stage, kind: str, size: int
) -> None:
    stage.server.thumbnails = "image/jpeg"
    world = stage.world(Elks("u", "p"))
    world.provider.answers = [ApiAnswer(200, body=b'{"id": "i1"}')]
    uri = stage.server.add(b"x" * 300_001)
    await share(world, await room(world), uri, info={"mimetype": kind, "size": size})
    await settle(stage.database, ["sent"])
    assert form(world)["image"] == [f"data:image/jpeg;base64,{base64.b64encode(SMALL).decode()}"]


async def test_a_smaller_picture_is_handed_out_as_what_it_is(stage: Stage) -> None:
    stage.server.thumbnails = "image/png"
    world = stage.world(Twilio("AC", "token"))
    uri = stage.server.add(b"x" * 5_000_001)
    await share(world, await room(world), uri, info={"mimetype": "image/gif"})
    await settle(stage.database, ["sent"])
    (url,) = form(world)["MediaUrl"]
    assert url.endswith(".png")
    status, data, headers = await stage.get(url)
    assert (status, data, headers["Content-Type"]) == (200, SMALL, "image/png")


@pytest.mark.parametrize("made", [None, "image/svg+xml"])
async def test_a_picture_of_which_there_is_no_smaller_one_is_told(
    stage: Stage, made: str | None
) -> None:
    stage.server.thumbnails = made
    world = stage.world(Elks("u", "p"))
    await share(world, await room(world), stage.server.add(b"x" * 300_001))
    await settle(stage.database, ["refused"])
    await until(world.matrix.notices)
    assert "larger than 300 kB" in world.matrix.notices()[0]


async def test_of_an_encrypted_picture_the_homeserver_makes_none(stage: Stage) -> None:
    stored, key = encrypted(b"x" * 300_001)
    uri = stage.server.add(stored)
    stage.server.thumbnails = "image/jpeg"
    world = stage.world(Elks("u", "p"))
    await share(world, await room(world), uri, url=None, file=key_json(key) | {"url": uri})
    await settle(stage.database, ["refused"])
    await until(world.matrix.notices)
    assert "larger than 300 kB" in world.matrix.notices()[0]


async def test_a_picture_waits_for_a_homeserver_that_stumbles(stage: Stage) -> None:
    world = stage.world(Twilio("AC", "token"))
    uri = stage.server.add(JPEG)
    stage.server.statuses = [502, 429]
    await share(world, await room(world), uri)
    await settle(stage.database, ["sent"])
    assert len(world.slept) == 2
    assert world.matrix.notices() == []


async def test_a_picture_survives_a_restart_and_may_be_sent_again(stage: Stage) -> None:
    world = stage.world(Twilio("AC", "token"))
    portal = await room(world)
    world.provider.answers = [ApiAnswer(400, body=b'{"code": 21211}')]
    await share(world, portal, stage.server.add(JPEG))
    await settle(stage.database, ["refused"])
    again = stage.world(Twilio("AC", "token"))
    await again.portals.load()
    await again.texting.start()
    assert await again.texting.retry(portal.room_id, "$p1", ALICE, asked_by="$r") is None
    await settle(stage.database, ["again", "sent"])
    assert form(again)["MediaUrl"] == form(world)["MediaUrl"]
    rows = await stage.database.fetch("SELECT file FROM text_out WHERE state = 'again'")
    assert [row["file"] for row in rows] == [None]


async def test_a_file_leaves_as_a_link_where_the_owner_allows_it(stage: Stage) -> None:
    world = stage.world(Sipgate("t", "t"), media_links=True)
    world.provider.answers = [ApiAnswer(204)]
    portal = await room(world)
    uri = stage.server.add(b"<script>")
    caption = {"body": "the contract", "filename": "contract.html"}
    await share(world, portal, uri, kind="text/html", msgtype="m.file", **caption)
    await settle(stage.database, ["sent"])
    (request,) = world.provider.requests
    words, url = json.loads(request.body)["message"].split("\n")
    assert words == "the contract"
    status, data, headers = await stage.get(url)
    assert (status, data) == (200, b"<script>")
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["Content-Disposition"].startswith("attachment")
    stage.clock.now += FOR_READERS + 1
    assert (await stage.get(url))[0] == 404


async def test_a_road_that_carries_a_file_needs_no_link(stage: Stage) -> None:
    world = stage.world(Twilio("AC", "token"), media_links=True)
    await share(world, await room(world), stage.server.add(JPEG))
    await settle(stage.database, ["sent"])
    assert "MediaUrl" in form(world)


async def test_a_caption_can_be_mended_before_it_leaves(stage: Stage) -> None:
    world = stage.world(Twilio("AC", "token"))
    portal = await room(world)
    world.provider.answers = [ApiAnswer(400, body=b'{"code": 21211}')]
    uri = stage.server.add(JPEG)
    await share(world, portal, uri, body="my cta", filename="cat.jpg")
    await settle(stage.database, ["refused"])
    new = {"msgtype": "m.image", "body": "my cat", "filename": "cat.jpg", "url": uri}
    relation = {"rel_type": "m.replace", "event_id": "$p1"}
    edit: dict[str, Any] = {"m.new_content": new, "m.relates_to": relation}
    await share(world, portal, uri, id="$e1", **edit)
    rows = await stage.database.fetch("SELECT body, file FROM text_out")
    assert [(row["body"], row["file"] is not None) for row in rows] == [("my cat", True)]


async def test_who_guesses_an_address_does_not_reach_the_database(stage: Stage) -> None:
    world = stage.world(Twilio("AC", "token"))
    await share(world, await room(world), stage.server.add(JPEG))
    await settle(stage.database, ["sent"])
    (url,) = form(world)["MediaUrl"]
    name = url.rpartition("/")[2]
    last = "A" if name[-5] != "A" else "B"
    await stage.database.execute("DROP TABLE handout")  # who asks for it now fails
    for other in ("x", "A" * 32 + ".jpg", name[:-5] + f"{last}.jpg", name[1:], "é", "." + name):
        assert (await stage.get(f"{PUBLIC}/media/{other}"))[0] == 404


async def test_an_edit_leaves_a_link_where_it_is(stage: Stage) -> None:
    world = stage.world(Sipgate("t", "t"), media_links=True)
    portal = await room(world)
    world.provider.answers = [ApiAnswer(400)]
    uri = stage.server.add(JPEG)
    await share(world, portal, uri)
    await settle(stage.database, ["refused"])
    new = {"msgtype": "m.image", "body": "my cat", "filename": "cat.jpg", "url": uri}
    relation = {"rel_type": "m.replace", "event_id": "$p1"}
    edit: dict[str, Any] = {"m.new_content": new, "m.relates_to": relation}
    await share(world, portal, uri, id="$e1", **edit)
    (row,) = await stage.database.fetch("SELECT body FROM text_out")
    assert row["body"].startswith(f"{PUBLIC}/media/")
    assert "An edit changes nothing" in world.matrix.notices()[-1]


async def test_a_caption_can_be_taken_away_before_it_leaves(stage: Stage) -> None:
    world = stage.world(Twilio("AC", "token"))
    portal = await room(world)
    world.provider.answers = [ApiAnswer(400, body=b'{"code": 21211}')]
    uri = stage.server.add(JPEG)
    await share(world, portal, uri, body="my cat", filename="cat.jpg")
    await settle(stage.database, ["refused"])
    relation = {"rel_type": "m.replace", "event_id": "$p1"}
    new = {"msgtype": "m.image", "body": "cat.jpg", "url": uri}
    edit: dict[str, Any] = {"m.new_content": new, "m.relates_to": relation}
    await share(world, portal, uri, id="$e1", **edit)
    rows = await stage.database.fetch("SELECT body, file FROM text_out")
    assert [(row["body"], row["file"] is not None) for row in rows] == [("", True)]
