import json
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

import pytest

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
from bridge.road.twilio import Twilio
from tests.bridge.road.hooks import URL, hook, twilio_hook

TOKEN = "12345"
SID = "SM0123456789abcdef0123456789abcdef"
# The parameters of "Twilio's request to your application", as documented for an incoming message.
SMS = {
    "ToCountry": "US",
    "ToState": "",
    "SmsMessageSid": SID,
    "NumMedia": "0",
    "ToCity": "",
    "FromZip": "94107",
    "SmsSid": SID,
    "FromState": "CA",
    "SmsStatus": "received",
    "FromCity": "SAN FRANCISCO",
    "Body": "Ahoy & welcome+%",
    "FromCountry": "US",
    "To": "+15558675310",
    "MessagingServiceSid": "MG0123",
    "ToZip": "",
    "NumSegments": "1",
    "MessageSid": SID,
    "AccountSid": "AC0123",
    "From": "+14158675309",
    "ApiVersion": "2010-04-01",
}
MMS = SMS | {
    "NumMedia": "2",
    "MediaUrl0": "https://api.twilio.com/2010-04-01/Accounts/AC/Messages/MM/Media/ME0",
    "MediaContentType0": "image/jpeg",
    "MediaUrl1": "https://api.twilio.com/2010-04-01/Accounts/AC/Messages/MM/Media/ME1",
    "MediaContentType1": "video/mp4",
}
STATUS = {
    "SmsSid": SID,
    "SmsStatus": "delivered",
    "MessageStatus": "delivered",
    "To": "+14158675309",
    "MessageSid": SID,
    "AccountSid": "AC0123",
    "From": "+15558675310",
    "ApiVersion": "2010-04-01",
}


@pytest.fixture
def road() -> Twilio:
    return Twilio("AC0123", TOKEN)


def test_the_signature_of_the_documentation_fits(road: Twilio) -> None:
    # The example of Twilio's "Validating requests": address, fields, token "12345", and signature.
    fields = {
        "CallSid": "CA1234567890ABCDE",
        "Caller": "+12349013030",
        "Digits": "1234",
        "From": "+12349013030",
        "To": "+18005551212",
    }
    signed = twilio_hook(fields, TOKEN, url="https://mycompany.com/myapp.php?foo=1&bar=2")
    assert signed.headers["x-twilio-signature"] == "0/KCTR6DLpKmkAf8muzZqo1nDgQ="
    with pytest.raises(Unreadable):  # genuine, but it is a call
        road.read(signed, 0.0)


def test_a_text_is_read(road: Twilio) -> None:
    assert road.read(twilio_hook(SMS, TOKEN), 0.0) == (
        Arrival(SID, "+14158675309", "+15558675310", "Ahoy & welcome+%"),
    )


def test_pictures_are_read(road: Twilio) -> None:
    (arrival,) = road.read(twilio_hook(MMS, TOKEN), 0.0)
    assert isinstance(arrival, Arrival)
    assert arrival.attachments == (
        Attachment(MMS["MediaUrl0"], "image/jpeg"),
        Attachment(MMS["MediaUrl1"], "video/mp4"),
    )


@pytest.mark.parametrize(
    ("status", "code", "state", "reason"),
    [
        ("queued", "", Delivery.TAKEN, ""),
        ("sent", "", Delivery.SENT, ""),
        ("delivered", "", Delivery.DELIVERED, ""),
        ("read", "", Delivery.READ, ""),
        ("undelivered", "30003", Delivery.FAILED, "the phone cannot be reached at the moment"),
        ("failed", "30999", Delivery.FAILED, "error 30999"),
        ("failed", "", Delivery.FAILED, "failed"),
    ],
)
def test_a_status_is_a_receipt(
    road: Twilio, status: str, code: str, state: Delivery, reason: str
) -> None:
    fields = STATUS | {"MessageStatus": status, "SmsStatus": status}
    fields |= {"ErrorCode": code} if code else {}
    assert road.read(twilio_hook(fields, TOKEN), 0.0) == (Receipt(SID, state, reason),)


@pytest.mark.parametrize(
    "signed_url",
    [URL, URL.replace("example.org/", "example.org:443/")],
)
def test_the_address_may_be_signed_with_its_port(road: Twilio, signed_url: str) -> None:
    assert road.read(twilio_hook(SMS, TOKEN, signed_url=signed_url), 0.0)


def test_signalwire_takes_smaller_files() -> None:
    road = Twilio("AC", "token", base="https://space.signalwire.com/api/laml")
    assert road.limits.media_octets < Twilio("AC", "token").limits.media_octets
    assert "text/plain" in road.limits.media_types


def test_signalwire_signs_with_a_key_of_its_own() -> None:
    road = Twilio("project", "token", signing_key="PSK", base="https://x.signalwire.com/api/laml")
    assert road.read(twilio_hook(SMS, "PSK", header="x-signalwire-signature"), 0.0)
    with pytest.raises(Forged):
        road.read(twilio_hook(SMS, "token", header="x-signalwire-signature"), 0.0)


def forgeries() -> dict[str, object]:
    good = twilio_hook(SMS, TOKEN)
    return {
        "no signature": replace(good, headers={}),
        "other address": replace(good, url="https://ringback.example.org/road/other/9f2c7d1e5b"),
        "other query": replace(good, url=URL + "?a=1"),
        "changed body": replace(good, body=good.body.replace(b"Ahoy", b"Ohai")),
        "added field": replace(good, body=good.body + b"&MediaUrl0=https%3A%2F%2Fevil"),
        "missing field": replace(good, body=good.body.replace(b"NumMedia=0&", b"")),
        "other account": twilio_hook(SMS, "other token"),
        "empty signature": replace(good, headers={"x-twilio-signature": ""}),
        "signature of nothing": replace(good, body=b""),
        "unicode signature": replace(good, headers={"x-twilio-signature": "ü" * 28}),
    }


@pytest.mark.parametrize("name", forgeries())
def test_a_forgery_is_known(road: Twilio, name: str) -> None:
    forged = forgeries()[name]
    with pytest.raises(Forged):
        road.read(forged, 0.0)  # type: ignore[arg-type]  # all of them are hooks


@pytest.mark.parametrize(
    "body", [b"Body=a&Body=b", b'{"Body": "a"}' + b"&" * 400, b"\xff=1", b"a=1&" * 400]
)
def test_what_is_no_form_is_refused(road: Twilio, body: bytes) -> None:
    with pytest.raises((Unreadable, Forged)):
        road.read(hook(body=body), 0.0)


def test_a_text_is_sent(road: Twilio) -> None:
    text = Departure(
        "key", "+15558675310", ("+14158675309",), "Hi & bye", ("https://m/1",), "https://r/s"
    )
    request = road.write(text)
    assert request.url == "https://api.twilio.com/2010-04-01/Accounts/AC0123/Messages.json"
    assert request.headers["Authorization"] == "Basic QUMwMTIzOjEyMzQ1"
    assert parse_qs(request.body.decode()) == {
        "To": ["+14158675309"],
        "From": ["+15558675310"],
        "Body": ["Hi & bye"],
        "MediaUrl": ["https://m/1"],
        "StatusCallback": ["https://r/s"],
    }
    assert "12345" not in repr(request)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (ApiAnswer(201, body=json.dumps({"sid": SID}).encode()), Taken(SID)),
        (
            ApiAnswer(400, body=b'{"code": 21211, "message": "x", "status": 400}'),
            Refused("the number is not valid"),
        ),
        (
            ApiAnswer(400, body=b'{"code": 21999, "message": "Something else", "status": 400}'),
            Refused("Something else"),
        ),
        (ApiAnswer(401), Refused("the provider does not know our credentials (401)")),
        (ApiAnswer(429, {"retry-after": "7"}), Later("the provider is busy (429)", 7.0)),
        (ApiAnswer(503), Later("the provider is busy (503)")),
        (ApiAnswer(500), Unsure("the provider answered 500")),
    ],
)
def test_answers_mean(road: Twilio, answer: ApiAnswer, outcome: Outcome) -> None:
    assert road.outcome(answer) == outcome


# --- the list

NOW = 1_700_000_000.0  # 2023-11-14T22:13:20Z
LIST = "https://api.twilio.com/2010-04-01/Accounts/AC0123/Messages.json?"
NEXT = "/2010-04-01/Accounts/AC0123/Messages.json?PageSize=100&Page=1&PageToken=PASM0123"


def message(sid: str, sent: str, **changes: Any) -> dict[str, Any]:
    """The fields of "Read multiple Message resources"."""
    return {
        "account_sid": "AC0123",
        "api_version": "2010-04-01",
        "body": f"text {sid}",
        "date_created": sent,
        "date_sent": sent,
        "date_updated": sent,
        "direction": "inbound",
        "error_code": None,
        "error_message": None,
        "from": "+14158675309",
        "num_media": "0",
        "num_segments": "1",
        "sid": sid,
        "status": "received",
        "to": "+15558675310",
        "uri": f"/2010-04-01/Accounts/AC0123/Messages/{sid}.json",
        **changes,
    }


def listed(*messages: Any, next_page: str | None = None) -> ApiAnswer:
    said = {"messages": messages, "next_page_uri": next_page, "page": 0, "page_size": 100}
    return ApiAnswer(200, body=json.dumps(said).encode())


def test_the_list_is_asked_from_ten_minutes_before(road: Twilio) -> None:
    request = road.ask(road.begin(NOW))
    assert request.method == "GET"
    assert request.url == f"{LIST}DateSent%3E=2023-11-14T22%3A03%3A20Z&PageSize=100"
    assert request.headers["Authorization"] == "Basic QUMwMTIzOjEyMzQ1"


def test_texts_of_the_list_are_those_of_the_hook(road: Twilio) -> None:
    answer = listed(
        message("SM3", "Tue, 14 Nov 2023 23:00:00 +0000", direction="outbound-api"),
        message("SM2", "Tue, 14 Nov 2023 22:50:00 +0000"),
        message(SID, "Tue, 14 Nov 2023 22:30:00 +0000", body="Ahoy & welcome+%"),
    )
    history = road.history(answer, road.begin(NOW))
    assert list(history.texts[:1]) == list(road.read(twilio_hook(SMS, TOKEN), 0.0))
    assert [text.id for text in history.texts] == [SID, "SM2"]
    assert "DateSent%3E=2023-11-14T22%3A40%3A00Z" in road.ask(history.cursor).url


def test_pictures_of_the_list_are_counted(road: Twilio) -> None:
    sent = "Tue, 14 Nov 2023 22:30:00 +0000"
    answer = listed(message("MM1", sent, body="", num_media="2"))
    (text,) = road.history(answer, road.begin(NOW)).texts
    assert text.body == "(attachments that the provider keeps: 2)"


def test_pages_are_turned(road: Twilio) -> None:
    sent = "Tue, 14 Nov 2023 23:00:00 +0000"
    history = road.history(listed(message("SM1", sent), next_page=NEXT), road.begin(NOW))
    assert history.more
    assert road.ask(history.cursor).url == f"https://api.twilio.com{NEXT}"
    last = road.history(listed(), history.cursor)
    assert not last.more
    assert road.ask(last.cursor).url.startswith(f"{LIST}DateSent%3E=2023-11-14T22%3A50%3A00Z")


def test_the_next_page_of_signalwire_is_below_its_own_path() -> None:
    road = Twilio("AC0123", TOKEN, base="https://x.signalwire.com/api/laml")
    history = road.history(listed(next_page=f"/api/laml{NEXT}"), road.begin(NOW))
    assert road.ask(history.cursor).url == f"https://x.signalwire.com/api/laml{NEXT}"


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.example/x",
        "//evil.example/x",
        "@evil.example/x",
        NEXT.replace("AC0123", "AC9999"),
        "/2010-04-01/Accounts/AC0123/Keys.json?",
    ],
)
def test_a_next_page_elsewhere_is_not_asked(road: Twilio, elsewhere: str) -> None:
    with pytest.raises(Unreadable):
        road.history(listed(next_page=elsewhere), road.begin(NOW))


@pytest.mark.parametrize("odd", [{"sid": ""}, {"from": None}, {"date_sent": "soon"}])
def test_one_odd_message_does_not_keep_the_others(road: Twilio, odd: dict[str, Any]) -> None:
    sent = "Tue, 14 Nov 2023 22:30:00 +0000"
    answer = listed(message("SM1", sent), message("SM2", sent) | odd)
    history = road.history(answer, road.begin(NOW))
    assert ([text.id for text in history.texts], history.unreadable) == (["SM1"], 1)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"messages": 1}'])
def test_what_is_no_list_is_unreadable(road: Twilio, body: bytes) -> None:
    with pytest.raises(Unreadable):
        road.history(ApiAnswer(200, body=body), road.begin(NOW))
