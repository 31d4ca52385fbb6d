import ipaddress
import json
from dataclasses import replace
from typing import Any

import pytest

from bridge.road.flowroute import Flowroute
from bridge.road.road import (
    ApiAnswer,
    Arrival,
    Attachment,
    Delivery,
    Departure,
    Forged,
    Later,
    Outcome,
    Receipt,
    Refused,
    Taken,
    Unreadable,
    Unsure,
)
from tests.bridge.road.hooks import SOURCE, hook

ID = "mdr2-39cadeace66e11e7aff806cd7f24ba2d"
# The fields of "Receive an SMS".
SMS: dict[str, Any] = {
    "data": {
        "attributes": {
            "amount_display": "$0.0040",
            "amount_nanodollars": 4000000,
            "body": "hello there",
            "delivery_receipts": [],
            "direction": "inbound",
            "from": "12066418000",
            "is_mms": False,
            "message_callback_url": "https://ringback.example.org/road/home/s",
            "message_encoding": 0,
            "message_type": "longcode",
            "status": "delivered",
            "timestamp": "2017-12-22T01:52:39.39Z",
            "to": "18553569768",
        },
        "id": ID,
        "type": "message",
    }
}
MMS: dict[str, Any] = SMS | {
    "included": [
        {
            "attributes": {
                "file_name": "a.jpg",
                "file_size": 1,
                "mime_type": "image/jpeg",
                "url": "https://media.flowroute.com/a.jpg",
            },
            "id": "m",
            "type": "media",
        }
    ]
}
# Of "Setting up inbound messages", for accounts of version 1.
FIRST = {
    "to": "12066418000",
    "body": "Hello there from Flowroute!",
    "from": "18553569768",
    "id": "mdr1-febb118b9b034338adfc662a8c02fd88",
}


def receipt(**attributes: Any) -> dict[str, Any]:
    """The fields of "Receive a DLR"."""
    said = {"body": "", "level": 2, "status": "delivered", "status_code": "", **attributes}
    return {"data": {"attributes": said, "id": ID, "type": "delivery_receipt"}}


def body(value: Any) -> bytes:
    return json.dumps(value).encode()


@pytest.fixture
def road() -> Flowroute:
    return Flowroute("access", "secret")


def test_a_text_is_read(road: Flowroute) -> None:
    assert road.read(hook(body=body(SMS)), 0.0) == (
        Arrival(ID, "12066418000", "18553569768", "hello there"),
    )


def test_a_text_of_the_first_version_is_read(road: Flowroute) -> None:
    assert road.read(hook(body=body(FIRST)), 0.0) == (
        Arrival(FIRST["id"], "18553569768", "12066418000", "Hello there from Flowroute!"),
    )


def test_pictures_are_read(road: Flowroute) -> None:
    (arrival,) = road.read(hook(body=body(MMS)), 0.0)
    assert isinstance(arrival, Arrival)
    assert arrival.attachments == (Attachment("https://media.flowroute.com/a.jpg", "image/jpeg"),)


@pytest.mark.parametrize(
    ("said", "state", "reason"),
    [
        ({"level": 1, "status": "message buffered"}, Delivery.SENT, ""),
        ({"level": 1, "status": "delivered"}, Delivery.SENT, ""),
        ({"level": 2, "status": "delivered"}, Delivery.DELIVERED, ""),
        ({"level": 2, "status": "Undelivered"}, Delivery.FAILED, "the network did not say why"),
        (
            {"level": 1, "status": "failed", "status_code_description": "Blocked number"},
            Delivery.FAILED,
            "Blocked number",
        ),
    ],
)
def test_receipts_are_read(
    road: Flowroute, said: dict[str, Any], state: Delivery, reason: str
) -> None:
    assert road.read(hook(body=body(receipt(**said))), 0.0) == (Receipt(ID, state, reason),)


def test_where_hooks_come_from_is_looked_at_if_listed() -> None:
    listed = (ipaddress.ip_network("52.88.246.140/32"),)
    road = Flowroute("access", "secret", sources=listed)
    good = hook(body=body(SMS), source="52.88.246.140")
    assert road.read(good, 0.0)
    for source in (SOURCE, "52.88.246.141", "", "::1", "52.88.246.140 "):
        with pytest.raises(Forged):
            road.read(replace(good, source=source), 0.0)


@pytest.mark.parametrize(
    "odd",
    [
        None,
        [],
        {},
        {"data": 1},
        {"data": {"id": ID, "type": "invoice"}},
        {"data": {"type": "message", "attributes": SMS["data"]["attributes"]}},
        {"data": {"id": ID, "type": "message"}},
        {
            "data": SMS["data"]
            | {"attributes": SMS["data"]["attributes"] | {"direction": "outbound"}}
        },
        {"data": {"id": ID, "type": "delivery_receipt", "attributes": {}}},
        {key: value for key, value in FIRST.items() if key != "to"},
    ],
)
def test_what_is_not_as_documented_is_unreadable(road: Flowroute, odd: Any) -> None:
    with pytest.raises(Unreadable):
        road.read(hook(body=body(odd)), 0.0)


@pytest.mark.parametrize("raw", [b"", b"id=1", b"[" * 100_000, b"\xff"])
def test_what_is_no_json_is_unreadable(road: Flowroute, raw: bytes) -> None:
    with pytest.raises(Unreadable):
        road.read(hook(body=raw), 0.0)


def test_a_text_is_sent(road: Flowroute) -> None:
    text = Departure("k", "+18553569768", ("+12066418000",), "Hi", ("https://m/1",), "https://r")
    request = road.write(text)
    assert request.url == "https://api.flowroute.com/v2.2/messages"
    assert request.headers["Content-Type"] == "application/vnd.api+json"
    assert json.loads(request.body) == {
        "to": "+12066418000",
        "from": "+18553569768",
        "body": "Hi",
        "is_mms": True,
        "media_urls": ["https://m/1"],
        "dlr_callback": "https://r",
    }


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (ApiAnswer(202, body=body({"data": {"id": ID, "type": "message"}})), Taken(ID)),
        (
            ApiAnswer(422, body=body({"errors": [{"title": "Invalid", "detail": "to is wrong"}]})),
            Refused("to is wrong"),
        ),
        (ApiAnswer(403, body=b"{}"), Refused("the provider answered 403")),
        (ApiAnswer(401), Refused("the provider does not know our credentials (401)")),
        (ApiAnswer(429), Later("the provider is busy (429)")),
        (ApiAnswer(504), Unsure("the provider answered 504")),
    ],
)
def test_answers_mean(road: Flowroute, answer: ApiAnswer, outcome: Outcome) -> None:
    assert road.outcome(answer) == outcome
