import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from bridge.road.proof import basic
from bridge.road.road import (
    ApiAnswer,
    Arrival,
    Departure,
    Forged,
    Later,
    Outcome,
    PolledRoad,
    Refused,
    Taken,
    Unreadable,
    Unsure,
)
from bridge.road.sipgate import PAGE, Sipgate
from tests.bridge.road.hooks import hook

NOW = 1_700_000_000.0  # 2023-11-14T22:13:20Z


def entry(id: str, at: str, **changes: Any) -> dict[str, Any]:
    """The fields of an SMS in the description of the interface."""
    return {
        "id": id,
        "source": "+4915799912345",
        "target": "+491771234567",
        "sourceAlias": "+49 1579 9912345",
        "targetAlias": "Phone",
        "type": "SMS",
        "created": at,
        "lastModified": at,
        "direction": "INCOMING",
        "incoming": True,
        "status": "PICKUP",
        "connectionIds": ["s0"],
        "read": False,
        "archived": False,
        "note": None,
        "endpoints": [{"type": "ROUTED", "endpoint": {"extension": "s0", "type": "SMS"}}],
        "starred": False,
        "labels": [],
        "smsContent": f"text {id}",
        "scheduled": None,
        **changes,
    }


def listed(*entries: Any) -> ApiAnswer:
    return ApiAnswer(200, body=json.dumps({"items": entries, "totalCount": 0}).encode())


def asked(road: Sipgate, cursor: str) -> dict[str, str]:
    query = parse_qs(urlsplit(road.ask(cursor).url).query)
    return {name: value for name, (value,) in query.items()}


@pytest.fixture
def road() -> Sipgate:
    return Sipgate("token-ABCDEF", "secret")


def test_it_can_be_asked(road: Sipgate) -> None:
    assert isinstance(road, PolledRoad)


def test_a_hook_is_none_of_its(road: Sipgate) -> None:
    with pytest.raises(Forged):
        road.read(hook(body=b"event=newCall"), NOW)


def test_the_first_list_begins_now_and_ten_minutes_before(road: Sipgate) -> None:
    request = road.ask(road.begin(NOW))
    assert request.method == "GET"
    assert request.url.startswith("https://api.sipgate.com/v2/history?")
    assert request.headers["Authorization"] == basic("token-ABCDEF", "secret")
    assert asked(road, road.begin(NOW)) == {
        "types": "SMS",
        "directions": "INCOMING",
        "from": "2023-11-14T22:03:20Z",
        "limit": "100",
        "offset": "0",
    }


def test_texts_come_in_the_order_of_their_times_and_the_next_list_begins_there(
    road: Sipgate,
) -> None:
    answer = listed(
        entry("2", "2023-11-14T23:00:00Z"),
        entry("1", "2023-11-14T22:30:00Z", smsContent=None, content="another name"),
    )
    history = road.history(answer, road.begin(NOW))
    assert history.texts == (
        Arrival("1", "+4915799912345", "+491771234567", "another name"),
        Arrival("2", "+4915799912345", "+491771234567", "text 2"),
    )
    assert not history.more
    assert asked(road, history.cursor)["from"] == "2023-11-14T22:50:00Z"


def test_an_empty_list_changes_nothing(road: Sipgate) -> None:
    cursor = road.begin(NOW)
    assert road.history(listed(), cursor).cursor == cursor


def test_what_is_no_text_for_us_is_left_out(road: Sipgate) -> None:
    answer = listed(
        entry("1", "2023-11-14T22:30:00Z", type="CALL"),
        entry("2", "2023-11-14T22:30:00Z", direction="OUTGOING"),
    )
    history = road.history(answer, road.begin(NOW))
    assert (history.texts, history.unreadable) == ((), 0)


def test_one_odd_entry_does_not_keep_the_others(road: Sipgate) -> None:
    answer = listed(
        entry("1", "2023-11-14T22:30:00Z"),
        entry("", "2023-11-14T22:30:00Z"),
        entry("3", "yesterday"),
        entry("4", "2023-11-14T22:30:00Z", source=None),
    )
    history = road.history(answer, road.begin(NOW))
    assert [text.id for text in history.texts] == ["1"]
    assert history.unreadable == 3


def test_pages_are_turned_and_the_window_stays_until_the_last(road: Sipgate) -> None:
    begin = road.begin(NOW)
    full = listed(*(entry(str(number), "2023-11-15T08:00:00Z") for number in range(PAGE)))
    first = road.history(full, begin)
    assert first.more
    page = asked(road, first.cursor)
    assert (page["from"], page["offset"]) == (asked(road, begin)["from"], str(PAGE))
    last = road.history(listed(entry("old", "2023-11-15T07:00:00Z")), first.cursor)
    assert not last.more
    assert asked(road, last.cursor)["from"] == "2023-11-15T07:50:00Z"


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"items": {}}', b"<html>"])
def test_what_is_no_list_is_unreadable(road: Sipgate, body: bytes) -> None:
    with pytest.raises(Unreadable):
        road.history(ApiAnswer(200, body=body), road.begin(NOW))


def test_a_text_is_sent(road: Sipgate) -> None:
    request = road.write(Departure("k", "+491771234567", ("+4915799912345",), "Grüße"))
    assert request.url == "https://api.sipgate.com/v2/sessions/sms"
    assert json.loads(request.body) == {
        "smsId": "s0",
        "recipient": "+4915799912345",
        "message": "Grüße",
    }


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (ApiAnswer(204), Taken()),
        (ApiAnswer(402), Refused("the account has no credit left")),
        (ApiAnswer(403), Refused("the token may not send texts by this extension")),
        (ApiAnswer(400), Refused("the provider answered 400")),
        (ApiAnswer(401), Refused("the provider does not know our credentials (401)")),
        (ApiAnswer(429), Later("the provider is busy (429)")),
        (ApiAnswer(500), Unsure("the provider answered 500")),
    ],
)
def test_answers_mean(road: Sipgate, answer: ApiAnswer, outcome: Outcome) -> None:
    assert road.outcome(answer) == outcome
