import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import parse_qs, urlencode

import pytest

from bridge.road.road import (
    ApiAnswer,
    Arrival,
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
from bridge.road.vonage_sms import TOLERANCE, SignatureMethod, VonageSms
from tests.bridge.road.hooks import URL, hook

SECRET = "signature-secret"
NOW = 1_700_000_000.0
ID = "0A0000000123ABCD1"
# The properties of "Inbound SMS" and of "Delivery Receipts".
SMS = {
    "api-key": "abcd1234",
    "msisdn": "447700900001",
    "to": "447700900000",
    "messageId": ID,
    "text": "Hello & a=b",
    "type": "text",
    "keyword": "HELLO",
    "message-timestamp": "2020-01-01 12:00:00",
    "timestamp": str(int(NOW)),
    "nonce": "aaaaaaaa-bbbb-cccc-dddd-0123456789ab",
}
RECEIPT = {
    "msisdn": "447700900000",
    "to": "AcmeInc",
    "network-code": "12345",
    "messageId": ID,
    "price": "0.03330000",
    "status": "delivered",
    "scts": "2001011400",
    "err-code": "0",
    "api-key": "abcd1234",
    "message-timestamp": "2020-01-01 12:00:00",
    "timestamp": str(int(NOW)),
    "nonce": "aaaaaaaa-bbbb-cccc-dddd-0123456789ab",
}


def signed(
    fields: Mapping[str, str], *, method: str = "sha256", secret: str = SECRET
) -> dict[str, str]:
    """As "Signing Messages" tells to do it by hand."""
    text = "".join(
        f"&{name}={fields[name].replace('&', '_').replace('=', '_')}" for name in sorted(fields)
    )
    if method == "md5hash":
        sig = hashlib.md5((text + secret).encode()).hexdigest()
    else:
        sig = hmac.new(secret.encode(), text.encode(), method).hexdigest().upper()
    return {**fields, "sig": sig}


def pushed(fields: Mapping[str, str]) -> Hook:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    return hook(headers=headers, body=urlencode(fields).encode())


@pytest.fixture
def road() -> VonageSms:
    return VonageSms("abcd1234", "secret", signature_secret=SECRET)


@pytest.mark.parametrize("method", SignatureMethod)
def test_a_text_is_read_however_the_account_signs(method: SignatureMethod) -> None:
    road = VonageSms("abcd1234", "secret", signature_secret=SECRET, method=method)
    assert road.read(pushed(signed(SMS, method=method.value)), NOW) == (
        Arrival(ID, "447700900001", "447700900000", "Hello & a=b"),
    )


def test_it_may_come_as_json_or_in_the_address(road: VonageSms) -> None:
    fields = signed(SMS)
    as_json = hook(headers={"content-type": "application/json"}, body=json.dumps(fields).encode())
    in_address = hook(method="GET", url=f"{URL}?{urlencode(fields)}")
    for one in (as_json, in_address):
        assert road.read(one, NOW) == road.read(pushed(fields), NOW)


def test_a_binary_message_is_no_text(road: VonageSms) -> None:
    assert road.read(pushed(signed(SMS | {"type": "binary", "data": "AB"})), NOW) == ()


@pytest.mark.parametrize(
    ("status", "code", "state", "reason"),
    [
        ("accepted", "0", Delivery.SENT, ""),
        ("buffered", "0", Delivery.SENT, ""),
        ("delivered", "0", Delivery.DELIVERED, ""),
        ("failed", "6", Delivery.FAILED, "error 6"),
        ("expired", "0", Delivery.FAILED, "the network did not say why"),
    ],
)
def test_a_receipt_is_read(
    road: VonageSms, status: str, code: str, state: Delivery, reason: str
) -> None:
    fields = RECEIPT | {"status": status, "err-code": code}
    assert road.read(pushed(signed(fields)), NOW) == (Receipt(ID, state, reason),)


def test_a_repeat_within_its_day_is_good(road: VonageSms) -> None:
    assert road.read(pushed(signed(SMS)), NOW + 24 * 3600)


GOOD = pushed(signed(SMS))
FORGERIES = {
    "no signature": pushed(SMS),
    "empty signature": pushed(SMS | {"sig": ""}),
    "unicode signature": pushed(SMS | {"sig": "ü" * 64}),
    "other account": pushed(signed(SMS, secret="other")),
    "changed text": pushed(signed(SMS) | {"text": "Something else"}),
    "changed sender": pushed(signed(SMS) | {"msisdn": "447700900002"}),
    "added field": pushed(signed(SMS) | {"status": "failed"}),
    "missing field": pushed({k: v for k, v in signed(SMS).items() if k != "keyword"}),
    "old": pushed(signed(SMS | {"timestamp": str(int(NOW - TOLERANCE - 1))})),
    "of the future": pushed(signed(SMS | {"timestamp": str(int(NOW + TOLERANCE + 1))})),
    "without a time": pushed(signed({k: v for k, v in SMS.items() if k != "timestamp"})),
    "weaker algorithm": pushed(signed(SMS, method="md5hash")),
    "other algorithm": pushed(signed(SMS, method="sha1")),
    "fields in the address of another": replace(GOOD, method="GET"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_is_known(road: VonageSms, name: str) -> None:
    with pytest.raises(Forged):
        road.read(FORGERIES[name], NOW)


@pytest.mark.parametrize(
    "odd",
    [
        pushed(signed({"timestamp": str(int(NOW))})),
        pushed(signed(SMS | {"msisdn": ""})),
        pushed(signed(SMS | {"to": ""})),
        pushed(signed(RECEIPT | {"status": "eaten"})),
        replace(GOOD, body=GOOD.body + b"&text=twice"),
        hook(headers={"content-type": "application/json"}, body=b"[]"),
        hook(headers={"content-type": "application/json"}, body=GOOD.body),
        hook(body=b"\xff"),
    ],
)
def test_what_is_not_as_documented_is_unreadable(road: VonageSms, odd: Hook) -> None:
    with pytest.raises(Unreadable):
        road.read(odd, NOW)


def test_unsigned_hooks_are_taken_where_the_owner_says_so() -> None:
    road = VonageSms("abcd1234", "secret", signature_secret=None)
    assert road.read(pushed(SMS), 0.0)


def test_a_text_is_sent(road: VonageSms) -> None:
    text = Departure("k" * 120, "447700900000", ("447700900001",), "你好", receipts="https://r")
    request = road.write(text)
    assert request.url == "https://rest.nexmo.com/sms/json"
    assert parse_qs(request.body.decode()) == {
        "api_key": ["abcd1234"],
        "api_secret": ["secret"],
        "from": ["447700900000"],
        "to": ["447700900001"],
        "text": ["你好"],
        "type": ["unicode"],
        "client-ref": ["k" * 100],
        "callback": ["https://r"],
        "status-report-req": ["1"],
    }


def test_an_address_that_the_provider_would_refuse_is_not_sent(road: VonageSms) -> None:
    text = Departure("k", "1", ("2",), "Hi", receipts="https://" + "r" * 100)
    fields = parse_qs(road.write(text).body.decode())
    assert "callback" not in fields
    assert fields["type"] == ["text"]


def said(*parts: dict[str, str]) -> bytes:
    return json.dumps({"message-count": str(len(parts)), "messages": parts}).encode()


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (ApiAnswer(200, body=said({"status": "0", "message-id": ID})), Taken(ID)),
        (
            ApiAnswer(200, body=said({"status": "0", "message-id": ID}, {"status": "1"})),
            Taken(ID),
        ),
        (ApiAnswer(200, body=said({"status": "1"})), Later("the provider is busy")),
        (
            ApiAnswer(200, body=said({"status": "3", "error-text": "Invalid from"})),
            Refused("Invalid from"),
        ),
        (
            ApiAnswer(200, body=said({"status": "9", "error-text": "Quota"})),
            Refused("the account has no credit left"),
        ),
        (
            ApiAnswer(200, body=said({"status": "5"})),
            Unsure("the provider had an error of its own"),
        ),
        (ApiAnswer(200, body=said()), Refused("the provider answered 200")),
        (ApiAnswer(429), Later("the provider is busy (429)")),
        (ApiAnswer(502), Unsure("the provider answered 502")),
    ],
)
def test_answers_mean(road: VonageSms, answer: ApiAnswer, outcome: Outcome) -> None:
    assert road.outcome(answer) == outcome
