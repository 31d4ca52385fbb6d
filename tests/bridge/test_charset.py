"""Which bodies are texts, and what they say."""

import pytest

from bridge.charset import decode_text
from sip.events import Body


@pytest.mark.parametrize(
    ("content_type", "data"),
    [
        ("text/plain", "grüße €".encode()),
        ("Text/Plain; charset=UTF-8", "grüße €".encode()),
        ('text/plain;charset="utf-8";format=flowed', "grüße €".encode()),
        ("text/plain;charset=utf-8", "\ufeffgrüße €".encode()),
        ("text/plain;charset=iso-8859-1", "grüße €".encode("cp1252")),
        ("text/plain;charset=windows-1252", "grüße €".encode("cp1252")),
        ("text/plain;charset=ISO-8859-15", "grüße €".encode("iso-8859-15")),
        ("text/plain;charset=utf-16", "grüße €".encode("utf-16")),
        ("text/plain;charset=utf-16", "grüße €".encode("utf-16-be")),
        ("text/plain;charset=UTF-16LE", "grüße €".encode("utf-16-le")),
    ],
)
def test_texts_of_the_usual_charsets_are_read(content_type: str, data: bytes) -> None:
    assert decode_text(Body(content_type, data)) == "grüße €"


@pytest.mark.parametrize(
    "content_type",
    ["", "text/html", "application/im-iscomposing+xml", "multipart/mixed;boundary=x",
     "text/plain;charset=utf-7", "text/plain;charset=base64", "text/plain;charset=idna",
     "text/plain;charset=unheard-of", "text/plain; ;="],
)  # fmt: skip
def test_everything_else_is_not_a_text(content_type: str) -> None:
    assert decode_text(Body(content_type, b"hello")) is None


def test_what_is_not_of_its_charset_spoils_only_itself() -> None:
    assert decode_text(Body("text/plain", b"a\xffb\x00c")) == "a\ufffdb\ufffdc"
    assert decode_text(Body("text/plain;charset=utf-16", b"\xfe\xff\x00a\xd8")) == "a\ufffd"
