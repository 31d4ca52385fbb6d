from dataclasses import replace
from urllib.parse import parse_qs, urlencode

import pytest

from bridge.road.elks import Elks
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
from tests.bridge.road.hooks import SOURCE, hook

ID = "sf8425555e5d8db61dda7a7b3f1b91bdb"
# The payloads of the pages "Receive an SMS", "Receive an MMS" and "SMS delivery reports".
SMS = (
    f"direction=incoming&id={ID}&from=%2B46706861004&to=%2B46706860000"
    "&created=2018-07-13T13%3A57%3A23.741000&message=Hello%20how%20are%20you%3F"
)
MMS = (
    f"{SMS}&image=https%3A%2F%2Fapi.46elks.com%2Fa%2F1&image2=https%3A%2F%2Fapi.46elks.com%2Fa%2F2"
)
ADDRESS = "176.10.154.199"


def pushed(body: str, *, source: str = ADDRESS) -> Hook:
    return hook(body=body.encode(), source=source)


@pytest.fixture
def road() -> Elks:
    return Elks("u0123", "secret")


def test_a_text_is_read(road: Elks) -> None:
    assert road.read(pushed(SMS), 0.0) == (
        Arrival(ID, "+46706861004", "+46706860000", "Hello how are you?"),
    )


def test_pictures_are_read(road: Elks) -> None:
    (arrival,) = road.read(pushed(MMS), 0.0)
    assert isinstance(arrival, Arrival)
    assert arrival.attachments == (
        Attachment("https://api.46elks.com/a/1"),
        Attachment("https://api.46elks.com/a/2"),
    )


@pytest.mark.parametrize(
    ("status", "receipt"),
    [
        ("sent", Receipt(ID, Delivery.SENT)),
        ("delivered", Receipt(ID, Delivery.DELIVERED)),
        ("failed", Receipt(ID, Delivery.FAILED, "the network did not say why")),
    ],
)
def test_a_report_is_a_receipt(road: Elks, status: str, receipt: Receipt) -> None:
    assert road.read(pushed(urlencode({"id": ID, "status": status})), 0.0) == (receipt,)


@pytest.mark.parametrize(
    "source", ["85.24.146.132", "::ffff:176.10.154.199", "2001:9b0:2:902::199"]
)
def test_every_address_of_the_provider_is_known(road: Elks, source: str) -> None:
    assert road.read(pushed(SMS, source=source), 0.0)


FORGERIES = {
    "elsewhere": pushed(SMS, source=SOURCE),
    "a neighbour": pushed(SMS, source="176.10.154.198"),
    "a neighbour by IPv6": pushed(SMS, source="2001:9b0:2:902::198"),
    "loopback": pushed(SMS, source="127.0.0.1"),
    "mapped elsewhere": pushed(SMS, source="::ffff:198.51.100.7"),
    "no address": pushed(SMS, source=""),
    "no address but text": pushed(SMS, source="176.10.154.199, 198.51.100.7"),
    "address in octal": pushed(SMS, source="0260.012.0232.0307"),
    "address claimed in a header": replace(
        pushed(SMS, source=SOURCE), headers={"x-forwarded-for": ADDRESS, "forwarded": ADDRESS}
    ),
    "a login instead": replace(
        pushed(SMS, source=SOURCE), headers={"authorization": "Basic dTAxMjM6c2VjcmV0"}
    ),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_is_known(road: Elks, name: str) -> None:
    with pytest.raises(Forged):
        road.read(FORGERIES[name], 0.0)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{}",
        f"{SMS}&id=2",
        SMS.replace("&id=", "&x="),
        SMS.replace("from=", "x="),
        SMS.replace("&to=", "&x="),
        SMS.replace("incoming", "outgoing"),
        urlencode({"id": ID, "status": "eaten"}),
    ],
)
def test_what_is_not_as_documented_is_unreadable(road: Elks, body: str) -> None:
    with pytest.raises(Unreadable):
        road.read(pushed(body), 0.0)


def test_the_answer_is_empty_because_it_would_be_sent_as_a_reply(road: Elks) -> None:
    assert (road.thanks.status, road.thanks.body) == (200, b"")


def test_a_picture_is_sent(road: Elks) -> None:
    text = Departure("k", "+1", ("+2",), "", ("data:image/png;base64,AA==",), receipts="https://r")
    request = road.write(text)
    assert request.url == "https://api.46elks.com/a1/mms"
    assert parse_qs(request.body.decode(), keep_blank_values=True) == {
        "from": ["+1"],
        "to": ["+2"],
        "message": [""],
        "image": ["data:image/png;base64,AA=="],
    }


def test_a_text_is_sent(road: Elks) -> None:
    text = Departure("k", "+46706860000", ("+46706861004",), "Hi & bye", receipts="https://r/s")
    request = road.write(text)
    assert request.url == "https://api.46elks.com/a1/sms"
    assert request.headers["Authorization"] == "Basic dTAxMjM6c2VjcmV0"
    assert parse_qs(request.body.decode()) == {
        "from": ["+46706860000"],
        "to": ["+46706861004"],
        "message": ["Hi & bye"],
        "whendelivered": ["https://r/s"],
    }
    assert "dTAxMjM6c2VjcmV0" not in repr(request)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (ApiAnswer(200, body=b'{"id": "s70df59406a1b4643b96f3f91e0bfb7b0"}'),
         Taken("s70df59406a1b4643b96f3f91e0bfb7b0")),
        (ApiAnswer(400, body=b"Invalid to number\n"), Refused("Invalid to number")),
        (ApiAnswer(403, body=b"Not enough credits."), Refused("Not enough credits.")),
        (ApiAnswer(404), Refused("the provider answered 404")),
        (ApiAnswer(401), Refused("the provider does not know our credentials (401)")),
        (ApiAnswer(429), Later("the provider is busy (429)")),
        (ApiAnswer(503), Later("the provider is busy (503)")),
        (ApiAnswer(500), Unsure("the provider answered 500")),
    ],
)  # fmt: skip
def test_answers_mean(road: Elks, answer: ApiAnswer, outcome: Outcome) -> None:
    assert road.outcome(answer) == outcome
