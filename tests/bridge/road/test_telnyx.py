import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

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
from bridge.road.telnyx import TOLERANCE, Telnyx
from tests.bridge.road.hooks import hook

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
PUBLIC = base64.b64encode(KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
NOW = 1_700_000_000.0
PHONE = "+13125550001"
ID = "84cca175-9755-4859-b67f-4730d7f58aa3"


def message(**changes: Any) -> dict[str, Any]:
    return {
        "direction": "inbound",
        "encoding": "GSM-7",
        "from": {"carrier": "T-Mobile", "line_type": "Wireless", "phone_number": "+13125550001"},
        "id": ID,
        "media": [],
        "messaging_profile_id": "740572b6-099c-44a1-89b9-6c92163bc68d",
        "parts": 1,
        "received_at": "2026-11-24T18:10:02.574Z",
        "record_type": "message",
        "text": "Hello from Telnyx!",
        "to": [{"carrier": "Telnyx", "phone_number": "+17735550002", "status": "delivered"}],
        "cc": [],
        "type": "SMS",
        **changes,
    }


def event(kind: str, **changes: Any) -> bytes:
    return json.dumps(
        {
            "data": {
                "event_type": kind,
                "id": "b301ed3f-1490-491f-995f-6e64e69674d4",
                "occurred_at": "2026-11-24T20:16:07.588+00:00",
                "payload": message(**changes),
                "record_type": "event",
            },
            "meta": {"attempt": 1, "delivered_to": "https://example.com/webhooks"},
        }
    ).encode()


def signed(body: bytes, *, at: str = str(int(NOW)), key: Ed25519PrivateKey = KEY) -> Hook:
    signature = key.sign(at.encode() + b"|" + body)
    return hook(
        body=body,
        headers={
            "telnyx-timestamp": at,
            "telnyx-signature-ed25519": base64.b64encode(signature).decode(),
        },
    )


@pytest.fixture
def road() -> Telnyx:
    return Telnyx("KEY0123", PUBLIC)


def test_a_text_is_read(road: Telnyx) -> None:
    assert road.read(signed(event("message.received")), NOW) == (
        Arrival(ID, "+13125550001", "+17735550002", "Hello from Telnyx!"),
    )


def test_a_group_with_a_picture_is_read(road: Telnyx) -> None:
    body = event(
        "message.received",
        text=None,
        media=[{"url": "https://m/1.png", "content_type": "image/png", "size": 1}],
        cc=[{"phone_number": PHONE}, {"phone_number": "+13125550003"}],
    )
    (arrival,) = road.read(signed(body), NOW)
    assert isinstance(arrival, Arrival)
    assert arrival.body == ""
    assert arrival.attachments == (Attachment("https://m/1.png", "image/png"),)
    assert arrival.group == ("+13125550003",)


@pytest.mark.parametrize(
    ("kind", "status", "receipt"),
    [
        ("message.sent", "sent", Receipt(ID, Delivery.SENT, to=PHONE)),
        ("message.finalized", "delivered", Receipt(ID, Delivery.DELIVERED, to=PHONE)),
        ("message.finalized", "delivery_unconfirmed", Receipt(ID, Delivery.SENT, to=PHONE)),
        (
            "message.finalized",
            "delivery_failed",
            Receipt(ID, Delivery.FAILED, "the network did not say why", PHONE),
        ),
    ],
)
def test_a_status_is_a_receipt(road: Telnyx, kind: str, status: str, receipt: Receipt) -> None:
    body = event(kind, to=[{"phone_number": "+13125550001", "status": status}])
    assert road.read(signed(body), NOW) == [receipt]


def test_a_failure_is_told_in_the_words_of_the_provider(road: Telnyx) -> None:
    body = event(
        "message.finalized",
        to=[{"phone_number": "+13125550001", "status": "sending_failed"}],
        errors=[{"code": "40300", "title": "Blocked due to STOP message", "detail": "They left."}],
    )
    assert road.read(signed(body), NOW) == [Receipt(ID, Delivery.FAILED, "They left.", PHONE)]


def test_a_status_of_a_group_is_a_receipt_for_each(road: Telnyx) -> None:
    statuses = {PHONE: "delivered", "+13125550002": "sending_failed", "+13125550003": "unknown"}
    to = [{"phone_number": number, "status": status} for number, status in statuses.items()]
    assert road.read(signed(event("message.finalized", to=to)), NOW) == [
        Receipt(ID, Delivery.DELIVERED, to=PHONE),
        Receipt(ID, Delivery.FAILED, "the network did not say why", "+13125550002"),
    ]


def test_other_events_are_nothing(road: Telnyx) -> None:
    assert road.read(signed(event("call.initiated")), NOW) == ()


FORGERIES = {
    "no signature": hook(body=event("message.received")),
    "other key": signed(event("message.received"), key=OTHER_KEY),
    "other body": Hook(
        "POST",
        "",
        signed(event("message.received")).headers,
        event("message.received", text=""),
        "",
    ),
    "other time": Hook(
        "POST",
        "",
        {**signed(event("message.received")).headers, "telnyx-timestamp": str(int(NOW) + 1)},
        event("message.received"),
        "",
    ),
    "too old": signed(event("message.received"), at=str(int(NOW - TOLERANCE) - 1)),
    "of the future": signed(event("message.received"), at=str(int(NOW + TOLERANCE) + 1)),
    "no time": signed(event("message.received"), at=""),
    "time that is none": signed(event("message.received"), at="nan"),
    "long time": signed(event("message.received"), at="1" * 5000),
    "signature that is no base64": hook(
        headers={"telnyx-timestamp": str(int(NOW)), "telnyx-signature-ed25519": "ü"}
    ),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_is_known(road: Telnyx, name: str) -> None:
    with pytest.raises(Forged):
        road.read(FORGERIES[name], NOW)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"data": []}',
        b'{"data": {"event_type": "message.received"}}',
        event("message.received", id=None),
        event("message.received", to=[]),
        event("message.received", to="+1"),
        event("message.finalized", to=[{"status": "exploded"}]),
        b"[" * 100_000,
    ],
)
def test_what_is_genuine_and_not_as_documented_is_unreadable(road: Telnyx, body: bytes) -> None:
    with pytest.raises(Unreadable):
        road.read(signed(body), NOW)


def test_a_text_is_sent(road: Telnyx) -> None:
    request = road.write(Departure("k", "+17735550002", ("+13125550001",), "Hi"))
    assert request.url == "https://api.telnyx.com/v2/messages"
    assert request.headers["Authorization"] == "Bearer KEY0123"
    assert json.loads(request.body) == {"from": "+17735550002", "to": "+13125550001", "text": "Hi"}


def test_a_group_text_is_sent_with_receipts(road: Telnyx) -> None:
    text = Departure("k", "+17735550002", ("+1", "+2"), "Hi", ("https://m/1",), "https://r")
    request = road.write(text)
    assert request.url == "https://api.telnyx.com/v2/messages/group_mms"
    assert json.loads(request.body) == {
        "from": "+17735550002",
        "to": ["+1", "+2"],
        "text": "Hi",
        "media_urls": ["https://m/1"],
        "webhook_url": "https://r",
    }


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (ApiAnswer(200, body=json.dumps({"data": {"id": ID}}).encode()), Taken(ID)),
        (
            ApiAnswer(
                422, body=b'{"errors": [{"code": "10002", "title": "Invalid phone number"}]}'
            ),
            Refused("Invalid phone number"),
        ),
        (ApiAnswer(403, body=b"{}"), Refused("the provider answered 403")),
        (ApiAnswer(429), Later("the provider is busy (429)")),
        (ApiAnswer(502), Unsure("the provider answered 502")),
    ],
)
def test_answers_mean(road: Telnyx, answer: ApiAnswer, outcome: Outcome) -> None:
    assert road.outcome(answer) == outcome


@pytest.mark.parametrize("key", ["", "!", base64.b64encode(bytes(31)).decode()])
def test_a_public_key_that_is_none_is_a_mistake(key: str) -> None:
    with pytest.raises(ValueError, match=r"32 bytes|base64|discontinuous|Incorrect padding"):
        Telnyx("KEY0123", key)
