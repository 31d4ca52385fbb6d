"""Refer-To, Replaces and sipfrag as values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.errors import LocalError, RemoteError
from sip.events import Body
from sip.headers import Headers
from sip.refer import ReferTo, Replaces, read_sipfrag, referred_by, replaces_of, sipfrag
from sip.uri import Uri


def refer_to(*values: str) -> ReferTo:
    return ReferTo.of(Headers(("Refer-To", value) for value in values))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("98732@bobster.example;from-tag=r33th4x0r;to-tag=ff87ff", False),
        ("12345@149.112.118.3 ;to-tag=12345; from-tag=54321", False),
        ("87134@171.161.34.23;to-tag=24796;from-tag=0;early-only", True),
    ],
)
def test_replaces_is_read_and_written(text: str, expected: bool) -> None:
    replaces = Replaces.parse(text)
    assert replaces.early_only is expected
    assert Replaces.parse(str(replaces)) == replaces


@pytest.mark.parametrize(
    "text",
    [
        "",
        ";to-tag=1;from-tag=2",
        "call;to-tag=1",
        "call;from-tag=1",
        "call;to-tag=1;to-tag=2;from-tag=3",
        "call;to-tag=1;from-tag=2;from-tag=3",
        "call one;to-tag=1;from-tag=2",
    ],
)
def test_what_names_no_dialog_is_no_replaces(text: str) -> None:
    with pytest.raises(RemoteError):
        Replaces.parse(text)


def test_a_refer_to_is_read_in_every_spelling() -> None:
    assert refer_to("<sip:1000@pbx;transport=tls>").target.parameters.get("transport") == "tls"
    assert str(refer_to("sip:1000@pbx:5061;transport=tls").target) == "sip:1000@pbx:5061"
    assert str(refer_to("<tel:+15550100>").target) == "tel:+15550100"
    assert str(refer_to('"Bob" <sip:1000@pbx;method=INVITE>').target) == "sip:1000@pbx"


def test_a_refer_to_with_replaces_is_read_and_other_header_fields_are_left_out() -> None:
    found = refer_to(
        "<sip:bob@192.0.2.4?Replaces=12345%40192.168.118.3%3Bto-tag%3D12345%3Bfrom-tag%3D5FFE-3994"
        "&Require=replaces&Subject=x&body=y>"
    )
    assert found.replaces == Replaces("12345@192.168.118.3", "12345", "5FFE-3994")
    assert str(found.target) == "sip:bob@192.0.2.4"


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ((), 400),
        (("<sip:a@b>", "<sip:c@d>"), 400),
        (("<sip:a@b>, <sip:c@d>",), 400),
        (("nonsense",), 400),
        (("<mailto:a@b>",), 416),
        (("<https://example.net/>",), 416),
        (("<sip:a@b;method=BYE>",), 603),
        (("<sip:a@b?Replaces=call>",), 400),
        (("<sip:a@b?Replaces=c%3Bto-tag%3D1%3Bfrom-tag%3D2&replaces=d>",), 400),
    ],
)
def test_what_cannot_be_done_is_refused_with_its_status(
    values: tuple[str, ...], status: int
) -> None:
    with pytest.raises(RemoteError) as caught:
        refer_to(*values)
    assert caught.value.status == status


@given(
    st.builds(
        Replaces,
        st.from_regex(r"[A-Za-z0-9\-.!%*_+`'~()<>:\\/\[\]?{}]{1,9}(@[a-z%&]{1,5})?", fullmatch=True)
        .filter(lambda text: not set(text) & set('<>"')),
        st.from_regex(r"[A-Za-z0-9\-.!%*_+`'~]{1,9}", fullmatch=True),
        st.from_regex(r"[A-Za-z0-9\-.!%*_+`'~]{1,9}", fullmatch=True),
        st.booleans(),
    )
)  # fmt: skip
def test_replaces_survives_its_way_through_a_uri(replaces: Replaces) -> None:
    written = ReferTo(Uri("sip", "bob", "example.net"), replaces)
    text = str(written)
    assert not set(";,&= ") & set(text.partition("Replaces=")[2].rstrip(">"))
    assert refer_to(text) == written


def test_a_tel_uri_has_no_room_for_replaces() -> None:
    with pytest.raises(LocalError):
        str(ReferTo(Uri("tel", "+15550100"), Replaces("c", "t", "f")))


def test_one_dialog_at_most_is_replaced() -> None:
    one = ("Replaces", "c;to-tag=1;from-tag=2")
    assert replaces_of(Headers()) is None
    assert replaces_of(Headers([one])) == Replaces("c", "1", "2")
    for fields in ([one, one], [one, ("Join", "c;to-tag=1;from-tag=2")]):
        with pytest.raises(RemoteError):
            replaces_of(Headers(fields))


def test_who_refers_is_read_if_it_can_be() -> None:
    by = referred_by(Headers([("b", '"Alice" <sip:alice@example.net>;cid="2@x"')]))
    assert by is not None
    assert by.display_name == "Alice"
    assert referred_by(Headers([("Referred-By", "<nobody")])) is None
    assert referred_by(Headers()) is None


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"SIP/2.0 100 Trying", (100, "Trying")),
        (b"SIP/2.0 200 OK\r\n", (200, "OK")),
        (b"\r\nSIP/2.0 486 Busy Here\r\nTo: <sip:x@y>\r\n\r\n", (486, "Busy Here")),
        (b"sip/2.0 603", (603, "")),
        (b"SIP/2.0 180 F\xfcr\n", (180, "F\ufffdr")),
    ],
)
def test_a_fragment_is_read_by_its_first_line(data: bytes, expected: tuple[int, str]) -> None:
    assert read_sipfrag(Body("message/sipfrag;version=2.0", data)) == expected


@pytest.mark.parametrize(
    ("content_type", "data", "status"),
    [
        ("text/plain", b"SIP/2.0 200 OK", 415),
        ("message/sipfrag", b"", 400),
        ("message/sipfrag", b"INVITE sip:x@y SIP/2.0", 400),
        ("message/sipfrag", b"SIP/2.0 700 Beyond", 400),
        ("message/sipfrag", b"SIP/2.0 2000 OK", 400),
    ],
)
def test_what_is_no_fragment_is_refused(content_type: str, data: bytes, status: int) -> None:
    with pytest.raises(RemoteError) as caught:
        read_sipfrag(Body(content_type, data))
    assert caught.value.status == status


def test_a_fragment_is_written_and_cannot_grow() -> None:
    assert read_sipfrag(sipfrag(503, "Service Unavailable")) == (503, "Service Unavailable")
    with pytest.raises(LocalError):
        sipfrag(200, "OK\r\nX: y")
