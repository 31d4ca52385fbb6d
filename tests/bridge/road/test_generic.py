import base64
import hashlib
import hmac
import ipaddress
import json
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.road.generic import Encoding, Form, Generic, HmacCheck, Inward, Outward
from bridge.road.road import (
    ApiAnswer,
    Arrival,
    Attachment,
    Departure,
    Forged,
    Later,
    Outcome,
    Refused,
    Taken,
    Thanks,
    Unreadable,
)
from tests.bridge.road.hooks import SOURCE, URL, hook

FLAT = Inward(Form.FORM, id="id", sender="src", to="dst", text="msg")
DEEP = Inward(
    Form.JSON,
    id="msg.id",
    sender="msg.from",
    to="msg.to[0]",
    text="msg.body",
    media="msg.files[].url",
)
TEXT = Departure("key-1", "+15550001", ("+15550002",), "a&b {to} {nonsense} ü")


def inward(settings: Inward) -> Generic:
    return Generic(inward=settings, outward=None)


def outward(settings: Outward) -> Generic:
    return Generic(inward=None, outward=settings)


def body(value: Any) -> bytes:
    return json.dumps(value).encode()


# --- in


def test_a_form_is_read() -> None:
    fields = urlencode({"id": "7", "src": "+1", "dst": "+2", "msg": "a & b"}).encode()
    assert inward(FLAT).read(hook(body=fields), 0.0) == (Arrival("7", "+1", "+2", "a & b"),)


def test_a_query_is_read() -> None:
    road = inward(replace(FLAT, form=Form.QUERY))
    asked = hook(method="GET", url=f"{URL}?id=7&src=1&dst=2&msg=hi")
    assert road.read(asked, 0.0) == (Arrival("7", "1", "2", "hi"),)


def test_json_is_read() -> None:
    said = {"msg": {"id": 7, "from": "+1", "to": ["+2"], "body": "hi", "files": [{"url": "u"}]}}
    assert inward(DEEP).read(hook(body=body(said)), 0.0) == (
        Arrival("7", "+1", "+2", "hi", (Attachment("u"),)),
    )


def test_several_texts_of_one_hook_are_read() -> None:
    road = inward(Inward(Form.JSON, texts="results", id="id", sender="f", to="t", text="x"))
    said = {"results": [{"id": n, "f": "1", "t": "2", "x": str(n)} for n in (1, 2)]}
    assert [a.id for a in road.read(hook(body=body(said)), 0.0) if isinstance(a, Arrival)] == [
        "1",
        "2",
    ]


@pytest.mark.parametrize(
    "said", [{}, {"msg": 1}, [], {"msg": {"id": {}, "from": "1", "to": ["2"], "body": ""}}, None]
)
def test_json_without_what_is_needed_is_unreadable(said: Any) -> None:
    with pytest.raises(Unreadable):
        inward(DEEP).read(hook(body=body(said)), 0.0)


def test_no_list_of_texts_is_unreadable() -> None:
    road = inward(replace(DEEP, texts="results"))
    with pytest.raises(Unreadable):
        road.read(hook(body=b"{}"), 0.0)


@pytest.mark.parametrize("bad", ["msg.[", "", "a b"])
def test_an_expression_that_is_none_is_a_mistake(bad: str) -> None:
    with pytest.raises(ValueError, match="no JMESPath expression"):
        inward(replace(DEEP, text=bad))


def test_an_unknown_algorithm_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="md5"):
        inward(replace(DEEP, hmac=HmacCheck("x", "s", algorithm="md5")))


SAID = body({"msg": {"id": 7, "from": "+1", "to": ["+2"], "body": "hi"}})


@pytest.mark.parametrize("encoding", Encoding)
@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512"])
def test_an_hmac_is_checked(encoding: Encoding, algorithm: str) -> None:
    check = HmacCheck("X-Sig", "secret", "v1=", algorithm, encoding, "{header:x-time}.{body}")
    road = inward(replace(DEEP, hmac=check))
    digest = hmac.new(b"secret", b"123." + SAID, getattr(hashlib, algorithm)).digest()
    text = digest.hex() if encoding is Encoding.HEX else base64.b64encode(digest).decode()
    good = hook(body=SAID, headers={"x-sig": f"v1={text}", "x-time": "123"})
    assert road.read(good, 0.0)
    for bad in (
        replace(good, headers={"x-sig": f"v1={text}", "x-time": "124"}),
        replace(good, headers={"x-sig": f"v1={text[:-2]}", "x-time": "123"}),
        replace(good, headers={"x-time": "123"}),
        replace(good, body=SAID + b" "),
    ):
        with pytest.raises(Forged):
            road.read(bad, 0.0)


def test_a_body_that_looks_like_a_placeholder_is_signed_as_it_is() -> None:
    said = body({"msg": {"id": 7, "from": "+1", "to": ["+2"], "body": "{url}{body}"}})
    road = inward(replace(DEEP, hmac=HmacCheck("x-sig", "s", signed="{body}{url}")))
    digest = hmac.new(b"s", said + URL.encode(), hashlib.sha256).hexdigest()
    assert road.read(hook(body=said, headers={"x-sig": digest}), 0.0)


def test_a_user_name_and_password_are_checked() -> None:
    road = inward(replace(DEEP, username="me", password="pw"))
    login = base64.b64encode(b"me:pw").decode()
    assert road.read(hook(body=SAID, headers={"authorization": f"Basic {login}"}), 0.0)
    for headers in ({}, {"authorization": f"Basic {login}x"}, {"authorization": "ü"}):
        with pytest.raises(Forged):
            road.read(hook(body=SAID, headers=headers), 0.0)


def test_the_source_is_checked() -> None:
    road = inward(replace(DEEP, sources=(ipaddress.ip_network(f"{SOURCE}/31", strict=False),)))
    assert road.read(hook(body=SAID), 0.0)
    for source in ("198.51.100.9", "::1", "", "nonsense"):
        with pytest.raises(Forged):
            road.read(hook(body=SAID, source=source), 0.0)


def test_a_road_that_only_sends_takes_no_hook() -> None:
    with pytest.raises(Forged):
        outward(Outward("https://x", {})).read(hook(body=SAID), 0.0)


def test_the_answer_is_as_configured() -> None:
    thanks = Thanks(202, b"accepted")
    assert inward(replace(DEEP, thanks=thanks)).thanks == thanks


# --- out


def test_a_form_is_sent_and_a_text_stays_inside_its_field() -> None:
    fields = {"to": "{to}", "body": "{text}", "ref": "x-{key}"}
    request = outward(Outward("https://x/send", fields)).write(TEXT)
    assert request.method == "POST"
    assert parse_qs(request.body.decode()) == {
        "to": ["+15550002"],
        "body": ["a&b {to} {nonsense} ü"],
        "ref": ["x-key-1"],
    }


@pytest.mark.parametrize(
    ("media", "fields"),
    [((), {"t": ["hi"]}), (("https://m/1.jpg",), {"t": ["hi"], "m": ["https://m/1.jpg"]})],
)
def test_a_field_for_an_attachment_is_left_out_where_there_is_none(
    media: tuple[str, ...], fields: dict[str, list[str]]
) -> None:
    road = Generic(inward=None, outward=Outward("https://a", {"t": "{text}", "m": "{media}"}))
    assert parse_qs(road.write(Departure("k", "f", ("t",), "hi", media)).body.decode()) == fields


def test_json_is_sent_with_basic_authentication() -> None:
    settings = Outward(
        "https://x/{from}/send",
        {"text": "{text}"},
        form=Form.JSON,
        headers={"X-Key": "{key}"},
        username="u",
        password="p",
    )
    request = outward(settings).write(TEXT)
    assert request.url == "https://x/%2B15550001/send"
    assert json.loads(request.body) == {"text": TEXT.body}
    assert request.headers["X-Key"] == "key-1"
    assert request.headers["Authorization"] == "Basic dTpw"


@pytest.mark.parametrize("url", ["https://x/send", "https://x/send?v=1"])
def test_a_query_is_sent(url: str) -> None:
    request = outward(Outward(url, {"t": "{text}"}, "GET", Form.QUERY)).write(TEXT)
    assert parse_qs(request.url.partition("?")[2])["t"] == [TEXT.body]
    assert request.body == b""


@given(text=st.text(), key=st.text())
def test_no_text_is_taken_for_a_placeholder(text: str, key: str) -> None:
    road = outward(Outward("https://x", {"t": "{text}", "k": "{key}"}, form=Form.JSON))
    said = json.loads(road.write(Departure(key, "f", ("t",), text)).body)
    assert said == {"t": text, "k": key}


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (ApiAnswer(200, body=b'{"r": {"id": 9}}'), Taken("9")),
        (ApiAnswer(200, body=b"OK"), Taken("")),
        (ApiAnswer(422, body=b'{"why": "no"}'), Refused("no")),
        (ApiAnswer(404, body=b"<html>"), Refused("the provider answered 404")),
        (ApiAnswer(503), Later("the provider is busy (503)")),
    ],
)
def test_answers_mean(answer: ApiAnswer, outcome: Outcome) -> None:
    assert outward(Outward("https://x", {}, id="r.id", error="why")).outcome(answer) == outcome
