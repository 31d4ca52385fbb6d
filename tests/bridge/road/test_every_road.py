"""Every provider through the listener and into a database: one text however often its hook comes,
nothing of a forgery, and no number that goes astray between two ways to write it.
"""

import asyncio
import ipaddress
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlencode

import aiohttp
import pytest

from bridge.db.interface import Database
from bridge.road.bandwidth import Bandwidth
from bridge.road.elks import SOURCES, Elks
from bridge.road.flowroute import Flowroute
from bridge.road.hook import Entrance, Hooks
from bridge.road.plivo import Plivo
from bridge.road.proof import basic
from bridge.road.road import Hook, Road
from bridge.road.telnyx import Telnyx
from bridge.road.twilio import Twilio
from bridge.road.voipms import VoipMs
from bridge.road.vonage_messages import VonageMessages
from bridge.road.vonage_sms import VonageSms
from bridge.setting import Endpoint
from tests.bridge.fakes import FakeMatrix
from tests.bridge.road import (
    test_bandwidth,
    test_flowroute,
    test_plivo,
    test_telnyx,
    test_twilio,
    test_vonage_messages,
    test_vonage_sms,
)
from tests.bridge.road.hooks import twilio_hook
from tests.bridge.test_outbox import NUMBER, OURS, World
from tests.bridge.test_texting import states

NOW = 1_700_000_000.0
PUBLIC = "https://ringback.example.org"
PATH = "/road/acme/hook-secret-of-16"
URL = PUBLIC + PATH
SENDER = NUMBER.text
BARE = {SENDER: SENDER[1:], OURS: OURS[1:]}
TEXT = "Grüße & more"


@dataclass(frozen=True)
class Push:
    """One request of a provider.

    Attributes:
        proves: whether it proves more than that it knows the address.
    """

    road: Road
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "POST"
    query: str = ""
    proves: bool = True


def form(road: Road, fields: Mapping[str, str], **more: str) -> Push:
    return Push(road, urlencode(fields).encode(), more)


def signed(road: Road, hook: Hook) -> Push:
    return Push(road, hook.body, hook.headers)


def bandwidth() -> Push:
    road = Bandwidth("1", "2", "u", "p", hook_username="us", hook_password="pw")
    received = test_bandwidth.RECEIVED
    message = received["message"] | {"from": SENDER, "to": [OURS], "owner": OURS, "text": TEXT}
    body = json.dumps([received | {"to": OURS, "message": message}]).encode()
    return Push(road, body, {"Authorization": basic("us", "pw")})


def flowroute() -> Push:
    data = test_flowroute.SMS["data"]
    attributes = data["attributes"] | {"from": BARE[SENDER], "to": BARE[OURS], "body": TEXT}
    body = json.dumps({"data": data | {"attributes": attributes}}).encode()
    listed = (ipaddress.ip_network("192.0.2.0/24"),)
    return Push(Flowroute("a", "s", sources=listed), body, {"X-Forwarded-For": "192.0.2.9"})


def telnyx() -> Push:
    changes = {
        "from": {"phone_number": SENDER},
        "to": [{"phone_number": OURS}],
        "text": TEXT,
    }
    event = test_telnyx.event("message.received", **changes)
    return signed(Telnyx("key", test_telnyx.PUBLIC), test_telnyx.signed(event))


def twilio() -> Push:
    fields = test_twilio.SMS | {"From": SENDER, "To": OURS, "Body": TEXT}
    return signed(Twilio("AC", "token"), twilio_hook(fields, "token", url=URL))


def vonage_sms() -> Push:
    fields = test_vonage_sms.SMS | {"msisdn": BARE[SENDER], "to": BARE[OURS], "text": TEXT}
    told = json.dumps(test_vonage_sms.signed(fields)).encode()
    road = VonageSms("k", "s", signature_secret=test_vonage_sms.SECRET)
    return Push(road, told, {"Content-Type": "application/json"})


def vonage_messages() -> Push:
    said = test_vonage_messages.SMS | {"from": BARE[SENDER], "to": BARE[OURS], "text": TEXT}
    road = VonageMessages("k", "s", test_vonage_messages.SECRET)
    return signed(road, test_vonage_messages.pushed(said))


def plivo() -> Push:
    fields = test_plivo.SMS | {"From": BARE[SENDER], "To": BARE[OURS], "Text": TEXT}
    return signed(Plivo("MA", test_plivo.TOKEN), test_plivo.pushed(fields, url=URL))


def elks() -> Push:
    fields = {"direction": "incoming", "id": "s1", "from": SENDER, "to": OURS, "message": TEXT}
    push = form(Elks("u", "p"), fields)
    return replace(push, headers={"X-Forwarded-For": SOURCES[0].partition("/")[0]})


def voipms() -> Push:
    query = urlencode({"id": "1", "from": SENDER[2:], "to": OURS[2:], "message": TEXT, "media": ""})
    return Push(VoipMs("u", "p"), method="GET", query=f"?{query}", proves=False)


PUSHES = [bandwidth, flowroute, telnyx, twilio, vonage_sms, vonage_messages, plivo, elks, voipms]


@dataclass
class Stage:
    """A provider's push, and the bridge from the listener to the rooms."""

    push: Push
    hooks: Hooks
    world: World

    async def send(self, *, path: str = PATH, bare: bool = False) -> int:
        """Push it, without its headers if `bare`; the status of the answer."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        headers |= {} if bare else {name.title(): v for name, v in self.push.headers.items()}
        url = f"http://127.0.0.1:{self.hooks.port}{path}{self.push.query}"
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                self.push.method, url, data=self.push.body, headers=headers
            ) as response,
        ):
            if response.status == 200:
                assert await response.read() == self.push.road.thanks.body
            return response.status

    def said(self) -> list[tuple[str | None, str]]:
        return [
            (sent.sender, sent.content["body"])
            for sent in self.world.matrix.sent
            if sent.type == "m.room.message"
        ]


@pytest.fixture(params=PUSHES, ids=lambda make: make.__name__)
async def stage(request: pytest.FixtureRequest, database: Database) -> AsyncIterator[Stage]:
    push: Push = request.param()
    world = World(database, FakeMatrix(), writing=push.road.limits.writing)
    hooks = Hooks(
        listen=Endpoint("127.0.0.1", 0),
        public_url=PUBLIC,
        entrances={"acme": Entrance(push.road, PATH.rpartition("/")[2])},
        receiver=world.texting.receive_hook,
        proxies=[ipaddress.ip_network("127.0.0.1/32")],
        clock=lambda: NOW,
    )
    await hooks.start()
    yield Stage(push, hooks, world)
    await hooks.stop()
    await world.texting.stop()


async def test_a_text_that_is_pushed_three_times_is_said_once(
    stage: Stage, database: Database
) -> None:
    assert [await stage.send() for _ in range(3)] == [200, 200, 200]
    async with asyncio.timeout(10):
        while await states(database, "text_in") != ["sent"]:  # noqa: ASYNC110 - a thread's work
            await asyncio.sleep(0.001)
    assert stage.said() == [("@tel_15551234567:example.org", TEXT)]


async def test_nothing_of_a_forgery_is_said(stage: Stage, database: Database) -> None:
    assert await stage.send(path=PATH[:-1]) == 404
    assert await stage.send(path=f"{PATH}/x") == 404
    if stage.push.proves:
        assert await stage.send(bare=True) == 403
    assert await states(database, "text_in") == []
