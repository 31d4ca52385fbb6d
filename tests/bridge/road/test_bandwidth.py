import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from bridge.road.bandwidth import Bandwidth
from bridge.road.proof import basic
from bridge.road.road import (
    ApiAnswer,
    Arrival,
    Attachment,
    Delivery,
    Departure,
    Forged,
    Hook,
    Later,
    Outcome,
    Receipt,
    Refused,
    Taken,
    Unreadable,
    Unsure,
)
from tests.bridge.road.hooks import hook

PHONE = "+12345678902"
ID = "14762070468292kw2fuqty55yp2b2"
# Of the page "Webhooks", under "Inbound Message Webhooks".
RECEIVED: dict[str, Any] = {
    "type": "message-received",
    "time": "2016-09-14T18:20:16Z",
    "description": "Incoming message received",
    "to": "+12345678902",
    "message": {
        "id": ID,
        "time": "2016-09-14T18:20:16Z",
        "to": ["+12345678902"],
        "from": "+12345678901",
        "text": "Hey, check this out!",
        "applicationId": "93de2206-9669-4e07-948d-329f4b722ee2",
        "owner": "+12345678902",
        "direction": "in",
        "segmentCount": 1,
    },
}
GROUP: dict[str, Any] = RECEIVED | {
    "message": RECEIVED["message"]
    | {
        "to": ["+12345678902", "+12345678903"],
        "media": ["https://messaging.bandwidth.com/api/v2/users/1/media/14762070468292kw2f/a.jpg"],
    }
}


def status(kind: str, **more: Any) -> dict[str, Any]:
    return {
        "type": kind,
        "time": "2016-09-14T18:20:16Z",
        "description": "ok",
        "to": "+12345678902",
        "message": {"id": ID, "owner": "+12345678901", "direction": "out"},
        **more,
    }


def pushed(*events: Any, login: str = basic("us", "hook-secret")) -> Hook:
    return hook(body=json.dumps(events).encode(), headers={"authorization": login})


@pytest.fixture
def road() -> Bandwidth:
    return Bandwidth(
        "9900000",
        "93de2206",
        "api-user",
        "api-secret",
        hook_username="us",
        hook_password="hook-secret",
    )


def test_a_text_is_read(road: Bandwidth) -> None:
    assert list(road.read(pushed(RECEIVED), 0.0)) == [
        Arrival(ID, "+12345678901", "+12345678902", "Hey, check this out!")
    ]


def test_a_group_with_a_picture_is_read(road: Bandwidth) -> None:
    (arrival,) = road.read(pushed(GROUP), 0.0)
    assert isinstance(arrival, Arrival)
    assert arrival.to == "+12345678902"
    assert arrival.group == ("+12345678903",)
    assert arrival.attachments == (Attachment(GROUP["message"]["media"][0]),)


@pytest.mark.parametrize(
    ("event", "receipt"),
    [
        (status("message-sending"), Receipt(ID, Delivery.SENT, to=PHONE)),
        (status("message-delivered"), Receipt(ID, Delivery.DELIVERED, to=PHONE)),
        (
            status("message-failed", errorCode=4432, description="forbidden to country"),
            Receipt(ID, Delivery.FAILED, "forbidden to country", PHONE),
        ),
        (
            status("message-failed", errorCode=4700, description=""),
            Receipt(ID, Delivery.FAILED, "error 4700", PHONE),
        ),
    ],
)
def test_an_event_is_a_receipt(road: Bandwidth, event: Any, receipt: Receipt) -> None:
    assert list(road.read(pushed(event), 0.0)) == [receipt]


def test_several_events_of_one_hook_are_read_and_others_are_nothing(road: Bandwidth) -> None:
    events = (RECEIVED, status("suggestion-response"), status("message-delivered"))
    assert len(road.read(pushed(*events), 0.0)) == 2


GOOD = pushed(RECEIVED)
FORGERIES = {
    "no login": replace(GOOD, headers={}),
    "empty login": pushed(RECEIVED, login=""),
    "other password": pushed(RECEIVED, login=basic("us", "other")),
    "other user": pushed(RECEIVED, login=basic("them", "hook-secret")),
    "the login of the interface": pushed(RECEIVED, login=basic("api-user", "api-secret")),
    "another scheme": pushed(RECEIVED, login=basic("us", "hook-secret").replace("Basic", "Bearer")),
    "the password in clear": pushed(RECEIVED, login="Basic us:hook-secret"),
    "more behind it": pushed(RECEIVED, login=basic("us", "hook-secret") + ", Basic x"),
    "a prefix of it": pushed(RECEIVED, login=basic("us", "hook-secret")[:-1]),
    "user and password moved": pushed(RECEIVED, login=basic("us:hook", "secret")),
    "unicode": pushed(RECEIVED, login="Basic ü"),
    "another encoding": pushed(
        RECEIVED, login=f"Basic {base64.b64encode('us:hook-secret'.encode('utf-16')).decode()}"
    ),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_is_known(road: Bandwidth, name: str) -> None:
    with pytest.raises(Forged):
        road.read(FORGERIES[name], 0.0)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[",
        b"{}",
        b"[1]",
        b"[" * 100_000,
        json.dumps(RECEIVED).encode(),
        json.dumps([RECEIVED] * 101).encode(),
        json.dumps([RECEIVED | {"message": {}}]).encode(),
        json.dumps([RECEIVED | {"message": None}]).encode(),
        json.dumps([{"type": "message-delivered"}]).encode(),
        b"type=message-received",
    ],
)
def test_what_is_not_as_documented_is_unreadable(road: Bandwidth, body: bytes) -> None:
    with pytest.raises(Unreadable):
        road.read(replace(GOOD, body=body), 0.0)


def test_a_text_is_sent(road: Bandwidth) -> None:
    text = Departure("key", "+12345678901", ("+1", "+2"), "Hi", ("https://m/1",))
    request = road.write(text)
    assert request.url == "https://messaging.bandwidth.com/api/v2/users/9900000/messages"
    assert request.headers["Authorization"] == basic("api-user", "api-secret")
    assert json.loads(request.body) == {
        "applicationId": "93de2206",
        "from": "+12345678901",
        "to": ["+1", "+2"],
        "text": "Hi",
        "tag": "key",
        "media": ["https://m/1"],
    }


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (ApiAnswer(202, body=json.dumps({"id": ID}).encode()), Taken(ID)),
        (
            ApiAnswer(
                400,
                body=b'{"type": "request-validation", "description": "Your request is invalid",'
                b' "fieldErrors": [{"fieldName": "to", "description": "+1 is not a number"}]}',
            ),
            Refused("+1 is not a number"),
        ),
        (
            ApiAnswer(403, body=b'{"type": "unauthorized", "description": "Access is denied"}'),
            Refused("Access is denied"),
        ),
        (ApiAnswer(415, body=b"{}"), Refused("the provider answered 415")),
        (ApiAnswer(401), Refused("the provider does not know our credentials (401)")),
        (ApiAnswer(429, {"retry-after": "3"}), Later("the provider is busy (429)", 3.0)),
        (ApiAnswer(500), Unsure("the provider answered 500")),
    ],
)
def test_answers_mean(road: Bandwidth, answer: ApiAnswer, outcome: Outcome) -> None:
    assert road.outcome(answer) == outcome
