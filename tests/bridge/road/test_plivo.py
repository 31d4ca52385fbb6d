import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlencode

import pytest

from bridge.road.plivo import Plivo
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
from tests.bridge.road.hooks import URL, hook

TOKEN = "auth-token"
NONCE = "05429567804466091622"
ID = "d63f0b2e-f2a0-11e7-ba4e-02fa2a1b8e4e"
# The parameters of "Handle incoming messages".
SMS = {
    "MessageUUID": ID,
    "From": "14155551234",
    "To": "14155555678",
    "Text": "Hello & welcome",
    "Type": "sms",
    "Units": "1",
    "TotalRate": "0",
    "TotalAmount": "0",
    "MessageIntent": "",
    "PowerpackUUID": "",
}
MMS = {key: value for key, value in SMS.items() if key != "Text"} | {
    "Type": "mms",
    "Body": "look",
    "MediaCount": "2",
    "Media1": "https://media.plivo.com/1",
    "Media2": "https://media.plivo.com/2",
}


def digest(text: str, token: str = TOKEN) -> str:
    mac = hmac.new(token.encode(), text.encode(), hashlib.sha256)
    return base64.b64encode(mac.digest()).decode()


def pushed(
    fields: Mapping[str, str], *, token: str = TOKEN, url: str = URL, main: bool = False
) -> Hook:
    """As documented for messages: the address without its query, and the nonce."""
    name = "x-plivo-signature-ma-v2" if main else "x-plivo-signature-v2"
    headers = {
        name: digest(url.partition("?")[0] + NONCE, token),
        "x-plivo-signature-v2-nonce": NONCE,
    }
    return hook(url=url, headers=headers, body=urlencode(fields).encode())


def third(
    fields: Mapping[str, str], *, token: str = TOKEN, url: str = URL, asked: str = ""
) -> Hook:
    """As the provider's libraries sign calls: address, sorted query and fields, and the nonce."""
    said = "".join(name + fields[name] for name in sorted(fields))
    signed = f"{url.partition('?')[0]}?{asked}{'.' if asked else ''}{said}.{NONCE}"
    headers = {
        "x-plivo-signature-v3": f"{digest(signed, 'an older token')}, {digest(signed, token)}",
        "x-plivo-signature-v3-nonce": NONCE,
    }
    return hook(url=url, headers=headers, body=urlencode(fields).encode())


@pytest.fixture
def road() -> Plivo:
    return Plivo("MA0123", TOKEN)


@pytest.mark.parametrize("signed", [pushed(SMS), pushed(SMS, main=True), third(SMS)])
def test_a_text_is_read(road: Plivo, signed: Hook) -> None:
    assert road.read(signed, 0.0) == (Arrival(ID, "14155551234", "14155555678", "Hello & welcome"),)


def test_the_query_is_signed_sorted_in_the_third_version(road: Plivo) -> None:
    assert road.read(third(SMS, url=f"{URL}?b=2&a=1", asked="a=1&b=2"), 0.0)


def test_pictures_are_read(road: Plivo) -> None:
    (arrival,) = road.read(pushed(MMS), 0.0)
    assert isinstance(arrival, Arrival)
    assert arrival.body == "look"
    assert arrival.attachments == (
        Attachment("https://media.plivo.com/1"),
        Attachment("https://media.plivo.com/2"),
    )


@pytest.mark.parametrize(
    ("status", "code", "receipt"),
    [
        ("queued", "", Receipt(ID, Delivery.TAKEN)),
        ("sent", "000", Receipt(ID, Delivery.SENT)),
        ("delivered", "000", Receipt(ID, Delivery.DELIVERED)),
        ("undelivered", "300", Receipt(ID, Delivery.FAILED, "error 300")),
        ("failed", "", Receipt(ID, Delivery.FAILED, "the network did not say why")),
    ],
)
def test_a_report_is_a_receipt(road: Plivo, status: str, code: str, receipt: Receipt) -> None:
    fields = {"MessageUUID": ID, "From": "1", "To": "2", "Status": status, "ErrorCode": code}
    assert road.read(pushed(fields), 0.0) == (receipt,)


def test_a_report_of_a_later_part_is_of_the_text(road: Plivo) -> None:
    fields = {"MessageUUID": "part-2", "ParentMessageUUID": ID, "Status": "delivered"}
    assert road.read(pushed(fields), 0.0) == (Receipt(ID, Delivery.DELIVERED),)


GOOD, BETTER = pushed(SMS), third(SMS)
CHANGED = urlencode(SMS | {"Text": "Something else"}).encode()
FORGERIES = {
    "no signature": replace(GOOD, headers={}),
    "no nonce": replace(GOOD, headers={"x-plivo-signature-v2": digest(URL)}),
    "other nonce": replace(GOOD, headers={**GOOD.headers, "x-plivo-signature-v2-nonce": "1"}),
    "other address": replace(GOOD, url=URL.replace("home", "other")),
    "other account": pushed(SMS, token="other"),
    "empty signature": replace(GOOD, headers={**GOOD.headers, "x-plivo-signature-v2": ""}),
    "unicode signature": replace(GOOD, headers={**GOOD.headers, "x-plivo-signature-v2": "ü"}),
    "signature in hex": replace(
        GOOD,
        headers={
            **GOOD.headers,
            "x-plivo-signature-v2": hmac.new(
                TOKEN.encode(), (URL + NONCE).encode(), hashlib.sha256
            ).hexdigest(),
        },
    ),
    "other algorithm": replace(
        GOOD,
        headers={
            **GOOD.headers,
            "x-plivo-signature-v2": base64.b64encode(
                hmac.new(TOKEN.encode(), (URL + NONCE).encode(), hashlib.sha1).digest()
            ).decode(),
        },
    ),
    "changed body": replace(BETTER, body=CHANGED),
    "added field": replace(BETTER, body=BETTER.body + b"&Media1=https%3A%2F%2Fevil"),
    "added query": replace(BETTER, url=f"{URL}?a=1"),
    "the old version beside a bad new one": replace(
        BETTER, body=CHANGED, headers={**BETTER.headers, **GOOD.headers}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_is_known(road: Plivo, name: str) -> None:
    with pytest.raises(Forged):
        road.read(FORGERIES[name], 0.0)


def test_the_second_version_does_not_cover_the_fields(road: Plivo) -> None:
    # A limit of the provider's, which the documentation tells: this is why the address is secret.
    assert road.read(replace(GOOD, body=CHANGED), 0.0)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"MessageUUID": ID},
        SMS | {"From": ""},
        SMS | {"To": ""},
        MMS | {"MediaCount": "99"},
        MMS | {"MediaCount": "-1"},
        MMS | {"MediaCount": "²"},
        {"MessageUUID": ID, "Status": "eaten"},
    ],
)
def test_what_is_not_as_documented_is_unreadable(road: Plivo, fields: dict[str, str]) -> None:
    with pytest.raises(Unreadable):
        road.read(pushed(fields), 0.0)


@pytest.mark.parametrize("body", [b"Text=a&Text=b", b'{"Text": "a"}' + b"&" * 400, b"\xff=1"])
def test_what_is_no_form_is_refused(road: Plivo, body: bytes) -> None:
    with pytest.raises(Unreadable):
        road.read(replace(GOOD, body=body), 0.0)


def test_the_answer_is_xml_that_sends_nothing(road: Plivo) -> None:
    assert road.thanks.body == b"<Response></Response>"
    assert road.thanks.content_type == "text/xml"


def test_a_text_is_sent(road: Plivo) -> None:
    text = Departure("k", "14155555678", ("14155551234",), "Hi", ("https://m/1",), "https://r")
    request = road.write(text)
    assert request.url == "https://api.plivo.com/v1/Account/MA0123/Message/"
    assert json.loads(request.body) == {
        "src": "14155555678",
        "dst": "14155551234",
        "text": "Hi",
        "type": "mms",
        "media_urls": ["https://m/1"],
        "url": "https://r",
        "method": "POST",
    }


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (
            ApiAnswer(
                202,
                body=json.dumps(
                    {"message": "message(s) queued", "message_uuid": [ID, "b"], "api_id": "x"}
                ).encode(),
            ),
            Taken(ID),
        ),
        (
            ApiAnswer(400, body=b'{"api_id": "x", "error": "dst is not a valid number"}'),
            Refused("dst is not a valid number"),
        ),
        (ApiAnswer(402, body=b"{}"), Refused("the provider answered 402")),
        (ApiAnswer(401), Refused("the provider does not know our credentials (401)")),
        (ApiAnswer(429), Later("the provider is busy (429)")),
        (ApiAnswer(500), Unsure("the provider answered 500")),
    ],
)
def test_answers_mean(road: Plivo, answer: ApiAnswer, outcome: Outcome) -> None:
    assert road.outcome(answer) == outcome
