import json
from typing import Any
from urllib.parse import parse_qs, urlencode

import pytest

from bridge.road.road import (
    ApiAnswer,
    Arrival,
    Attachment,
    Departure,
    Outcome,
    Refused,
    Taken,
    Unreadable,
)
from bridge.road.voipms import QUERY, VoipMs
from tests.bridge.road.hooks import URL, hook


@pytest.fixture
def road() -> VoipMs:
    return VoipMs("me@example.org", "secret")


def filled(**values: str) -> str:
    """The address as the provider calls it: our query with its placeholders filled in."""
    fields = {"ID": "1234", "FROM": "5551234567", "TO": "5557654321", "MESSAGE": "", "MEDIA": ""}
    names = parse_qs(QUERY[1:])
    return urlencode({name: (fields | values)[slot[1:-1]] for name, (slot,) in names.items()})


def test_a_text_is_read_from_the_query(road: VoipMs) -> None:
    url = f"{URL}?{filled(MESSAGE='1 & 2 = 3?')}"
    assert road.read(hook(method="GET", url=url), 0.0) == (
        Arrival("1234", "5551234567", "5557654321", "1 & 2 = 3?"),
    )


def test_pictures_are_read_from_the_query(road: VoipMs) -> None:
    url = f"{URL}?{filled(MEDIA='https://m/1.jpg,https://m/2.jpg')}"
    (arrival,) = road.read(hook(method="GET", url=url), 0.0)
    assert isinstance(arrival, Arrival)
    assert arrival.attachments == (Attachment("https://m/1.jpg"), Attachment("https://m/2.jpg"))


def test_a_text_is_read_from_json(road: VoipMs) -> None:
    body = {
        "data": {
            "id": 25001,
            "event_type": "message.received",
            "record_type": "event",
            "payload": {
                "id": 1234,
                "record_type": "message",
                "from": {"phone_number": "5551234567"},
                "to": [{"phone_number": "5557654321", "status": "webhook_delivered"}],
                "text": "hello",
                "received_at": "2026-11-24T12:00:00-05:00",
                "type": "MMS",
                "media": [{"url": "https://m/1.jpg"}],
            },
        }
    }
    assert road.read(hook(body=json.dumps(body).encode()), 0.0) == (
        Arrival("1234", "5551234567", "5557654321", "hello", (Attachment("https://m/1.jpg"),)),
    )


@pytest.mark.parametrize(
    "odd",
    [
        hook(method="GET"),
        hook(method="GET", url=f"{URL}?id=1&id=2&from=5&to=6"),
        hook(method="GET", url=f"{URL}?id=1&from=5"),
        hook(body=b"{}"),
        hook(body=b"id=1"),
    ],
)
def test_what_is_not_as_documented_is_unreadable(road: VoipMs, odd: object) -> None:
    with pytest.raises(Unreadable):
        road.read(odd, 0.0)  # type: ignore[arg-type]  # all of them are hooks


def test_the_answer_is_two_letters(road: VoipMs) -> None:
    assert road.thanks.body == b"ok"


@pytest.mark.parametrize(
    ("text", "media", "method"),
    [("hi", (), "sendSMS"), ("x" * 161, (), "sendMMS"), ("", ("https://m/1",), "sendMMS")],
)
def test_a_text_is_sent(road: VoipMs, text: str, media: tuple[str, ...], method: str) -> None:
    request = road.write(Departure("k", "5557654321", ("5551234567",), text, media))
    assert "secret" not in request.url
    fields = parse_qs(request.body.decode(), keep_blank_values=True)
    assert fields["method"] == [method]
    assert fields["did"] == ["5557654321"]
    assert fields["dst"] == ["5551234567"]
    assert fields["message"] == [text]
    assert fields.get("media1") == ([media[0]] if media else None)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (ApiAnswer(200, body=b'{"status":"success","sms":23434}'), Taken("23434")),
        (ApiAnswer(200, body=b'{"status":"success","mms":23435}'), Taken("23435")),
        (ApiAnswer(200, body=b'{"status":"invalid_dst"}'), Refused("the number is not valid")),
        (ApiAnswer(200, body=b'{"status":"something_new"}'), Refused("something_new")),
        (ApiAnswer(404, body=b"{}"), Refused("the provider answered 404")),
    ],
)
def test_answers_mean(road: VoipMs, answer: ApiAnswer, outcome: Outcome) -> None:
    assert road.outcome(answer) == outcome


# --- the list

NOW = 1_700_000_000.0  # 2023-11-14T22:13:20Z


def row(id: str, date: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": id,
        "date": date,
        "type": "1",
        "did": "5557654321",
        "contact": "5551234567",
        "message": "hello",
        "carrier_status": "",
        **changes,
    }


def listed(*rows: Any, status: str = "success") -> ApiAnswer:
    return ApiAnswer(200, body=json.dumps({"status": status, "sms": rows}).encode())


def test_the_list_is_asked_by_days_with_the_password_in_the_body(road: VoipMs) -> None:
    request = road.ask(road.begin(NOW))
    assert "secret" not in request.url
    assert {name: value for name, (value,) in parse_qs(request.body.decode()).items()} == {
        "api_username": "me@example.org",
        "api_password": "secret",
        "method": "getMMS",
        "all_messages": "1",
        "type": "1",
        "from": "2023-11-13",
        "limit": "5000",
    }


def test_texts_of_the_list_are_those_of_the_hook(road: VoipMs) -> None:
    answer = listed(
        row("1235", "2023-11-16 09:00:00", media=["https://m/1.jpg"]),
        row("1236", "2023-11-15 08:59:00", type="0"),
        row("1234", "2023-11-15 08:00:00"),
    )
    history = road.history(answer, road.begin(NOW))
    by_hook = road.read(hook(method="GET", url=f"{URL}?{filled(MESSAGE='hello')}"), 0.0)
    assert list(history.texts[:1]) == list(by_hook)
    assert history.texts[1].attachments == (Attachment("https://m/1.jpg"),)
    assert not history.more
    assert parse_qs(road.ask(history.cursor).body.decode())["from"] == ["2023-11-15"]


def test_pictures_may_be_in_fields_of_their_own(road: VoipMs) -> None:
    answer = listed(row("1", "2023-11-15 08:00:00", col_media1="https://m/1", col_media2=None))
    (text,) = road.history(answer, road.begin(NOW)).texts
    assert text.attachments == (Attachment("https://m/1"),)


def test_no_texts_are_a_status_of_their_own(road: VoipMs) -> None:
    cursor = road.begin(NOW)
    history = road.history(ApiAnswer(200, body=b'{"status":"no_sms"}'), cursor)
    assert (history.texts, history.cursor) == ((), cursor)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"status":"ip_not_enabled"}', "list it in its portal"),
        (b'{"status":"something_new"}', "something_new"),
        (b"{}", "no status"),
        (b"<html>", "not JSON"),
    ],
)
def test_a_refusal_of_the_list_is_told(road: VoipMs, body: bytes, words: str) -> None:
    with pytest.raises(Unreadable, match=words):
        road.history(ApiAnswer(200, body=body), road.begin(NOW))


@pytest.mark.parametrize("odd", [{"id": None}, {"contact": ""}, {"did": ""}, {"date": "soon"}])
def test_one_odd_row_does_not_keep_the_others(road: VoipMs, odd: dict[str, Any]) -> None:
    answer = listed(row("1", "2023-11-15 08:00:00"), row("2", "2023-11-15 08:00:00") | odd)
    history = road.history(answer, road.begin(NOW))
    assert ([text.id for text in history.texts], history.unreadable) == (["1"], 1)
