"""message/cpim: the examples of RFC 3862 and what the field makes of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.cpim import Cpim
from sip.errors import RemoteError
from sip.events import Body
from sip.headers import Headers
from sip.multipart import Part
from tests.sip.effort import LIMIT, effort

# RFC 3862 §5.1, without its signature.
EXAMPLE = (
    b"From: MR SANDERS <im:piglet@100akerwood.com>\r\n"
    b"To: Depressed Donkey <im:eeyore@100akerwood.com>\r\n"
    b"DateTime: 2000-12-13T13:40:00-08:00\r\n"
    b"Subject: the weather will be fine today\r\n"
    b"Subject:;lang=fr beau temps prevu pour aujourd'hui\r\n"
    b"NS: MyFeatures <mid:MessageFeatures@id.foo.com>\r\n"
    b"Require: MyFeatures.VitalMessageOption\r\n"
    b"MyFeatures.VitalMessageOption: Confirmation-requested\r\n"
    b"MyFeatures.WackyMessageOption: Use-silly-font\r\n"
    b"\r\n"
    b"Content-type: text/xml; charset=utf-8\r\n"
    b"Content-ID: <1234567890@foo.com>\r\n"
    b"\r\n"
    b"<body>\r\nHere is the text of my message.\r\n</body>"
)


def test_the_example_of_the_standard() -> None:
    cpim = Cpim.parse(EXAMPLE)
    assert cpim.sender is not None
    assert (cpim.sender.display_name, str(cpim.sender.uri)) == (
        "MR SANDERS",
        "im:piglet@100akerwood.com",
    )
    assert cpim.sent_at == "2000-12-13T13:40:00-08:00"
    assert cpim.subject == "the weather will be fine today"
    assert cpim.body == Body(
        "text/xml; charset=utf-8", b"<body>\r\nHere is the text of my message.\r\n</body>"
    )
    namespace = "mid:MessageFeatures@id.foo.com"
    assert cpim.named(namespace, "WackyMessageOption", usual="x") == ["Use-silly-font"]
    assert cpim.named(namespace, "Other", usual="x") == []
    assert cpim.named("urn:other", "WackyMessageOption", usual="MyFeatures") == ["Use-silly-font"]
    assert cpim.content.headers.get("Content-ID") == "<1234567890@foo.com>"


def test_what_is_left_out_has_a_meaning() -> None:
    cpim = Cpim.parse(b"From: <>\n\n\nhello\n\nthere")
    assert (cpim.sender, cpim.sent_at, cpim.subject) == (None, "", "")
    assert cpim.body == Body("text/plain", b"hello\n\nthere")


def test_a_namespace_without_a_prefix() -> None:
    cpim = Cpim.parse(b"NS: <urn:x>\r\nMessage-ID: 1\r\n\r\n\r\n")
    assert cpim.named("urn:x", "Message-ID", usual="x") == ["1"]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (";lang=fr beau temps", "beau temps"),
        (r"a\u0042\n\t\"\\", 'aB\n\t"\\'),
        (r"\ud800", "\ufffd"),
        (r"\q", "q"),
        ("\\", "\\"),
    ],
)
def test_a_subject_is_unescaped(written: str, meant: str) -> None:
    assert Cpim.parse(f"Subject: {written}\r\n\r\n\r\n".encode()).subject == meant


@pytest.mark.parametrize(
    ("encoding", "data"),
    [("8bit", "grüße".encode()), ("Base64", b"Z3LDvMOf\r\nZQ=="),
     ("quoted-printable", b"gr=C3=BC=\r\n=C3=9Fe"), ("binary", "grüße".encode())],
)  # fmt: skip
def test_transfer_encodings_are_undone(encoding: str, data: bytes) -> None:
    head = f"From: <sip:a@x>\r\n\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    assert Cpim.parse(head.encode() + data).body.data == "grüße".encode()


@pytest.mark.parametrize(
    ("data", "status"),
    [(b"", 400), (b"\r\n\r\nhello", 400), (b"hello", 400), (b"From <x>\r\n\r\n", 400),
     (b"From: a\r\n\r\nnonsense\r\n\r\n", 400),
     (b"From: a\r\n\r\nContent-Transfer-Encoding: base64\r\n\r\na", 400),
     (b"From: a\r\n\r\nContent-Transfer-Encoding: gzip\r\n\r\na", 415)],
)  # fmt: skip
def test_what_is_no_message_is_refused(data: bytes, status: int) -> None:
    with pytest.raises(RemoteError) as caught:
        _ = Cpim.parse(data).body
    assert caught.value.status == status


_NAMES = st.sampled_from(["From", "To", "NS", "Subject", "imdn.Message-ID", "X-y"])
_VALUES = st.text(st.characters(blacklist_categories=("Cc", "Cs", "Zl", "Zp")), max_size=20).map(
    str.strip
)
_HEADERS = st.lists(st.tuples(_NAMES, _VALUES), max_size=5)


@given(headers=_HEADERS, content=_HEADERS, data=st.binary(max_size=50))
def test_what_is_written_is_read_again(
    headers: list[tuple[str, str]], content: list[tuple[str, str]], data: bytes
) -> None:
    cpim = Cpim(Headers([("From", "<sip:a@x>"), *headers]), Part(Headers(content), data))
    assert Cpim.parse(bytes(cpim)) == cpim


@given(st.binary(max_size=300))
def test_anything_is_read_or_refused(data: bytes) -> None:
    try:
        cpim = Cpim.parse(data)
        _ = cpim.body, cpim.sender, cpim.subject
    except RemoteError:
        pass


@pytest.mark.parametrize(
    "data",
    [b"a: b\r\n" * 10900, b"a:" + b"b" * 65000, b"\r\n" * 32000, b"a: <" + b"<" * 65000,
     b"Subject: " + b"\\u" * 32000 + b"\r\n\r\n\r\n", b"NS: " + b"a " * 32000 + b"\r\n\r\n\r\n"],
)  # fmt: skip
def test_no_message_takes_long(data: bytes) -> None:
    def read() -> None:
        try:
            cpim = Cpim.parse(data)
            _ = cpim.body, cpim.sender, cpim.subject, cpim.named("urn:x", "y", usual="x")
        except RemoteError:
            pass

    assert effort(read) < LIMIT
