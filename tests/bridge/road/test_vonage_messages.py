import base64
import hashlib
import hmac
import json
from dataclasses import replace
from typing import Any

import pytest

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
from bridge.road.vonage_messages import TOLERANCE, VonageMessages
from tests.bridge.road.hooks import hook

SECRET = "signature-secret"
NOW = 1_700_000_000.0
ID = "aaaaaaaa-bbbb-cccc-dddd-0123456789ab"
SMS: dict[str, Any] = {
    "channel": "sms",
    "message_uuid": ID,
    "to": "447700900000",
    "from": "447700900001",
    "timestamp": "2025-02-03T12:14:25Z",
    "text": "Hello From Vonage!",
    "sms": {"num_messages": "2", "keyword": "HELLO"},
    "usage": {"currency": "EUR", "price": "0.0333"},
}
MMS: dict[str, Any] = {key: SMS[key] for key in ("message_uuid", "to", "from", "timestamp")} | {
    "channel": "mms",
    "message_type": "image",
    "image": {"url": "https://api-us.nexmo.com/v3/media/1", "caption": "look"},
}


def status(state: str, **more: Any) -> dict[str, Any]:
    kept = {key: SMS[key] for key in ("message_uuid", "to", "from", "timestamp", "channel")}
    return {**kept, "status": state, **more}


def part(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def token(body: bytes, *, secret: str = SECRET, head: Any = None, **claims: Any) -> str:
    said = {
        "iat": int(NOW),
        "jti": "c5ba8f24-1a14-4c10-bfdf-3fbe8ce511b5",
        "iss": "Vonage",
        "payload_hash": hashlib.sha256(body).hexdigest(),
        "api_key": "a1b2c3d",
        "application_id": "aaaaaaaa-bbbb-cccc-dddd-0123456789ab",
        **claims,
    }
    signed = f"{part(head or {'alg': 'HS256', 'typ': 'JWT'})}.{part(said)}"
    digest = hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{part(digest)}"


def pushed(said: Any, *, told: str | None = None, **more: Any) -> Hook:
    body = said if isinstance(said, bytes) else json.dumps(said).encode()
    value = f"Bearer {token(body, **more)}" if told is None else told
    return hook(body=body, headers={"authorization": value})


@pytest.fixture
def road() -> VonageMessages:
    return VonageMessages("a1b2c3d", "secret", SECRET)


def test_a_text_is_read(road: VonageMessages) -> None:
    assert road.read(pushed(SMS), NOW) == (
        Arrival(ID, "447700900001", "447700900000", "Hello From Vonage!"),
    )


def test_a_picture_is_read(road: VonageMessages) -> None:
    assert road.read(pushed(MMS), NOW) == (
        Arrival(
            ID,
            "447700900001",
            "447700900000",
            "look",
            (Attachment("https://api-us.nexmo.com/v3/media/1"),),
        ),
    )


def test_several_pictures_are_read(road: VonageMessages) -> None:
    content = [
        {"type": "image", "url": "https://m/1", "caption": "one"},
        {"type": "video", "url": "https://m/2"},
    ]
    said = {key: value for key, value in MMS.items() if key != "image"}
    (arrival,) = road.read(pushed(said | {"message_type": "content", "content": content}), NOW)
    assert isinstance(arrival, Arrival)
    assert arrival.body == "one"
    assert arrival.attachments == (Attachment("https://m/1"), Attachment("https://m/2"))


@pytest.mark.parametrize(
    ("said", "receipt"),
    [
        (status("submitted"), Receipt(ID, Delivery.SENT)),
        (status("delivered"), Receipt(ID, Delivery.DELIVERED)),
        (status("read"), Receipt(ID, Delivery.READ)),
        (
            status("rejected", error={"title": 1260, "detail": "Destination unreachable"}),
            Receipt(ID, Delivery.FAILED, "Destination unreachable"),
        ),
        (
            status("undeliverable"),
            Receipt(ID, Delivery.FAILED, "the network did not say why"),
        ),
    ],
)
def test_a_status_is_a_receipt(road: VonageMessages, said: Any, receipt: Receipt) -> None:
    assert road.read(pushed(said), NOW) == (receipt,)


def test_other_channels_are_nothing(road: VonageMessages) -> None:
    assert road.read(pushed(SMS | {"channel": "whatsapp"}), NOW) == ()


def test_a_repeat_within_its_day_is_good(road: VonageMessages) -> None:
    assert road.read(pushed(SMS), NOW + 24 * 3600)


BODY = json.dumps(SMS).encode()
GOOD = token(BODY)
HEAD, CLAIMS, SIGNATURE = GOOD.split(".")
FORGERIES = {
    "no token": hook(body=BODY),
    "empty token": pushed(SMS, told="Bearer "),
    "another scheme": pushed(SMS, told=f"Basic {GOOD}"),
    "no scheme": pushed(SMS, told=GOOD),
    "other account": pushed(SMS, secret="other"),
    "changed body": replace(pushed(SMS), body=BODY.replace(b"Hello", b"Hallo")),
    "body with a space more": replace(pushed(SMS), body=BODY + b" "),
    "a token that names no body": pushed(SMS, payload_hash=""),
    "old": pushed(SMS, iat=int(NOW - TOLERANCE - 1)),
    "of the future": pushed(SMS, iat=int(NOW + TOLERANCE + 1)),
    "without a time": pushed(SMS, iat=None),
    "no algorithm": pushed(SMS, told=f"Bearer {part({'alg': 'none'})}.{CLAIMS}."),
    "no algorithm, but signed": pushed(SMS, head={"alg": "none"}),
    "other algorithm": pushed(SMS, head={"alg": "HS512"}),
    "without its signature": pushed(SMS, told=f"Bearer {HEAD}.{CLAIMS}."),
    "other claims": pushed(SMS, told=f"Bearer {HEAD}.{part({'iat': int(NOW)})}.{SIGNATURE}"),
    "two parts": pushed(SMS, told=f"Bearer {HEAD}.{CLAIMS}"),
    "no base64": pushed(SMS, told="Bearer a.!.c"),
    "unicode": pushed(SMS, told="Bearer ü.ü.ü"),
    "no JSON": pushed(SMS, told=f"Bearer {part(b'x')}.{CLAIMS}.{SIGNATURE}"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_is_known(road: VonageMessages, name: str) -> None:
    with pytest.raises(Forged):
        road.read(FORGERIES[name], NOW)


@pytest.mark.parametrize(
    "odd",
    [
        b"",
        b"[]",
        b"message_uuid=1",
        {},
        SMS | {"message_uuid": None},
        SMS | {"from": ""},
        SMS | {"to": {"type": "sms", "number": "447700900000"}},  # version 0.1
        {key: value for key, value in SMS.items() if key != "channel"},
        status("eaten"),
    ],
)
def test_what_is_not_as_documented_is_unreadable(road: VonageMessages, odd: Any) -> None:
    with pytest.raises(Unreadable):
        road.read(pushed(odd), NOW)


def test_a_text_is_sent(road: VonageMessages) -> None:
    request = road.write(
        Departure("key", "447700900000", ("447700900001",), "Hi", receipts="https://r")
    )
    assert request.url == "https://api.nexmo.com/v1/messages"
    assert request.headers["Authorization"] == "Basic YTFiMmMzZDpzZWNyZXQ="
    assert json.loads(request.body) == {
        "channel": "sms",
        "message_type": "text",
        "from": "447700900000",
        "to": "447700900001",
        "text": "Hi",
        "client_ref": "key",
        "webhook_url": "https://r",
        "webhook_version": "v1",
    }


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("image/jpeg", "image"),
        ("audio/mpeg", "audio"),
        ("video/mp4", "video"),
        ("text/vcard", "vcard"),
    ],
)
def test_a_file_is_sent(road: VonageMessages, kind: str, what: str) -> None:
    assert kind in road.limits.media_types
    request = road.write(Departure("key", "1", ("2",), "look", ("https://m/1",), kind=kind))
    said = json.loads(request.body)
    assert (said["channel"], said["message_type"]) == ("mms", what)
    assert said[what] == {"url": "https://m/1", "caption": "look"}


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (ApiAnswer(202, body=json.dumps({"message_uuid": ID}).encode()), Taken(ID)),
        (
            ApiAnswer(422, body=b'{"title": "Invalid params", "detail": "The to is wrong"}'),
            Refused("The to is wrong"),
        ),
        (ApiAnswer(402, body=b'{"title": "Low balance"}'), Refused("Low balance")),
        (ApiAnswer(403, body=b"{}"), Refused("the provider answered 403")),
        (ApiAnswer(401), Refused("the provider does not know our credentials (401)")),
        (ApiAnswer(429), Later("the provider is busy (429)")),
        (ApiAnswer(500), Unsure("the provider answered 500")),
    ],
)
def test_answers_mean(road: VonageMessages, answer: ApiAnswer, outcome: Outcome) -> None:
    assert road.outcome(answer) == outcome
