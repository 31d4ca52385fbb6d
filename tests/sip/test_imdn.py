"""What became of a text: read, written, asked for, and safe against what XML can do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.cpim import Cpim
from sip.errors import LocalError, RemoteError
from sip.events import Body
from sip.imdn import (
    Imdn,
    Kind,
    NotificationsWanted,
    Status,
    Wish,
    read_wanted,
    with_wishes,
)
from sip.uri import NameAddr
from tests.sip.effort import LIMIT, effort

# RFC 5438 §7.2.1.3.
EXAMPLE = b"""\
<?xml version="1.0" encoding="UTF-8"?>
<imdn xmlns="urn:ietf:params:xml:ns:imdn">
  <message-id>34jk324j</message-id>
  <datetime>2008-04-04T12:16:49-05:00</datetime>
  <recipient-uri>im:bob@example.com</recipient-uri>
  <original-recipient-uri>im:bob@example.com</original-recipient-uri>
  <delivery-notification>
    <status>
      <delivered/>
    </status>
  </delivery-notification>
</imdn>
"""

ALICE = NameAddr.parse("Alice <sip:alice@example.com>")
BOB = NameAddr.parse("<sip:bob@example.com>")


def document(inside: str, *, root: str = "imdn", head: str = "") -> bytes:
    text = f'{head}<{root} xmlns="urn:ietf:params:xml:ns:imdn">{inside}</{root}>'
    return text.encode()


ID = "<message-id>1</message-id>"


def test_the_example_of_the_standard() -> None:
    assert Imdn.parse(EXAMPLE) == Imdn(
        "34jk324j",
        Kind.DELIVERY,
        Status.DELIVERED,
        "2008-04-04T12:16:49-05:00",
        "im:bob@example.com",
    )


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (Kind.DELIVERY, Status.DELIVERED), (Kind.DELIVERY, Status.FAILED),
        (Kind.DELIVERY, Status.FORBIDDEN), (Kind.DELIVERY, Status.ERROR),
        (Kind.DISPLAY, Status.DISPLAYED), (Kind.DISPLAY, Status.FORBIDDEN),
        (Kind.DISPLAY, Status.ERROR), (Kind.PROCESSING, Status.PROCESSED),
        (Kind.PROCESSING, Status.STORED),
    ],
)  # fmt: skip
def test_every_status_is_written_and_read_again(kind: Kind, status: Status) -> None:
    imdn = Imdn("<&>\"'", kind, status, "2026-01-01T00:00:00Z", "sip:b@x;a=<")
    assert Imdn.parse(bytes(imdn)) == imdn


_TEXTS = st.text(
    st.characters(blacklist_categories=("Cc", "Cs"), blacklist_characters="\ufffe\uffff"),
    max_size=20,
).map(str.strip)


@given(message_id=st.text("!#$%&<>abc0", min_size=1, max_size=30), sent_at=_TEXTS, recipient=_TEXTS)
def test_what_is_written_is_read_again(message_id: str, sent_at: str, recipient: str) -> None:
    imdn = Imdn(message_id, Kind.DISPLAY, Status.DISPLAYED, sent_at, recipient)
    assert Imdn.parse(bytes(imdn)) == imdn


def test_what_xml_cannot_hold_is_not_written() -> None:
    with pytest.raises(LocalError):
        bytes(Imdn("a\x00", Kind.DELIVERY, Status.DELIVERED))


def test_unknown_elements_and_prefixes_do_not_disturb() -> None:
    text = (
        '<i:imdn xmlns:i="urn:ietf:params:xml:ns:imdn" xmlns:o="urn:o">'
        "<o:message-id>2</o:message-id>"
        "<i:message-id>1</i:message-id><i:subject>hi</i:subject>"
        "<i:display-notification><i:status><o:x/><i:displayed/></i:status><o:y/>"
        "</i:display-notification></i:imdn>"
    )
    assert Imdn.parse(text.encode()) == Imdn("1", Kind.DISPLAY, Status.DISPLAYED)


_GOOD = f"{ID}<delivery-notification><status><delivered/></status></delivery-notification>"
_LAUGHS = "".join(
    f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' if i else '<!ENTITY l0 "ha">' for i in range(10)
)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"<imdn/>",
        document(_GOOD, root="other"),
        document(""),
        document(ID),
        document(f"{ID}<delivery-notification/>"),
        document(_GOOD.replace("delivered", "displayed")),
        document(_GOOD.replace("delivered", "unheard-of")),
        document(_GOOD.replace("1", " ")),
        document(_GOOD)[:-1],
        document(_GOOD) + b"<more/>",
        document(_GOOD).replace(b">1<", b">\xff<"),
        document(_GOOD, head="<!DOCTYPE imdn>"),
        document(_GOOD, head='<!DOCTYPE imdn SYSTEM "http://127.0.0.1/x.dtd">'),
        document(
            _GOOD.replace("1", "&x;"),
            head='<!DOCTYPE imdn [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        ),
        document(_GOOD.replace("1", "&l9;"), head=f"<!DOCTYPE imdn [{_LAUGHS}]>"),
        document(_GOOD.replace("1", "&x;")),
        document("<a>" * 9 + "</a>" * 9 + _GOOD),
        document("<a/>" * 65 + _GOOD),
        document(_GOOD.replace("1", "1" * 5000)),
    ],
)
def test_what_is_no_notification_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteError):
        Imdn.parse(data)


@pytest.mark.parametrize(
    "data",
    [
        document("<a>" * 16000),
        document("<a/>" * 16000),
        document("<a " + " ".join(f"b{i}=''" for i in range(7000)) + "/>"),
        document("<message-id>" + "&lt;" * 16000),
        document("<message-id>" + "1\n" * 32000),
        document(_GOOD.replace("1", "&l9;"), head=f"<!DOCTYPE imdn [{_LAUGHS}]>"),
        b"<" * 65536,
        b"<!--" + b"-" * 65000,
        b"<imdn " + b"xmlns:a" * 9000,
        ("<imdn " + " ".join(f'xmlns:a{i}="b"' for i in range(4000)) + "/>").encode(),
    ],
)
def test_no_document_takes_long(data: bytes) -> None:
    def read() -> None:
        with pytest.raises(RemoteError):
            Imdn.parse(data)

    assert effort(read) < LIMIT


@given(st.binary(max_size=100) | st.text("<>/&;imdn \"'=!-[]", max_size=100).map(str.encode))
def test_anything_else_is_a_remote_error(data: bytes) -> None:
    with pytest.raises(RemoteError):
        Imdn.parse(data)


# --- the question


def asked(*lines: str) -> Cpim:
    return Cpim.parse("\r\n".join([*lines, "", "", "hello"]).encode())


QUESTION = (
    "From: Alice <im:alice@example.com>",
    "DateTime: 2006-04-04T12:16:49-05:00",
    "NS: imdn <urn:ietf:params:imdn>",
    "imdn.Message-ID: 34jk324j",
    "imdn.Disposition-Notification: positive-delivery, negative-delivery;x=1, Display",
)


def read(*lines: str) -> NotificationsWanted | None:
    return read_wanted(asked(*lines), sender=ALICE, recipient=BOB)


def test_what_a_sender_wants_to_be_told() -> None:
    wanted = read(*QUESTION, "imdn.IMDN-Record-Route: <im:relay@example.com>")
    assert wanted == NotificationsWanted(
        "34jk324j",
        frozenset({Wish.POSITIVE_DELIVERY, Wish.NEGATIVE_DELIVERY, Wish.DISPLAY}),
        "2006-04-04T12:16:49-05:00",
        ALICE,
        '"Alice" <im:alice@example.com>',
        BOB,
        ("<im:relay@example.com>",),
    )


def test_the_prefix_is_the_senders_to_choose_and_may_be_undeclared() -> None:
    renamed = [line.replace("imdn.", "n.").replace("NS: imdn", "NS: n") for line in QUESTION]
    assert read(*renamed) == read(*QUESTION)
    undeclared = [line for line in QUESTION if not line.startswith("NS")]
    assert read(*undeclared) == read(*QUESTION)
    other = [line.replace("NS: imdn <urn:ietf:params:imdn>", "NS: n <urn:ietf:params:imdn>")
             for line in QUESTION]  # fmt: skip
    assert read(*other) is None


@pytest.mark.parametrize(
    "lines",
    [QUESTION[:4], QUESTION[:3] + QUESTION[4:], (*QUESTION, "imdn.Message-ID: 2"),
     (*QUESTION[:3], "imdn.Message-ID: " + "a" * 300, QUESTION[4]),
     (*QUESTION[:3], "imdn.Message-ID: a\x01", QUESTION[4]),
     (*QUESTION[:4], "imdn.Disposition-Notification: nothing")],
)  # fmt: skip
def test_who_asks_for_nothing_or_badly_is_told_nothing(lines: tuple[str, ...]) -> None:
    assert read(*lines) is None


def test_the_answer_is_a_notification_in_a_message_of_its_own() -> None:
    wanted = read(*QUESTION, "imdn.IMDN-Record-Route: <im:relay@example.com>")
    assert wanted is not None
    body = wanted.notify(Kind.DELIVERY, Status.DELIVERED, sender=BOB, id="n1")
    assert body.content_type == "message/cpim"
    cpim = Cpim.parse(body.data)
    assert cpim.headers.get("To") == '"Alice" <im:alice@example.com>'
    assert cpim.headers.get("imdn.Message-ID") == "n1"
    assert cpim.headers.get("imdn.IMDN-Route") == "<im:relay@example.com>"
    assert cpim.content.headers.get("Content-Disposition") == "notification"
    assert cpim.body.content_type == "message/imdn+xml"
    assert Imdn.parse(cpim.body.data) == Imdn(
        "34jk324j", Kind.DELIVERY, Status.DELIVERED, wanted.sent_at, "sip:bob@example.com"
    )
    assert read_wanted(cpim, sender=BOB, recipient=ALICE) is None


def test_what_we_ask_is_what_a_recipient_reads() -> None:
    text = Body("text/plain;charset=UTF-8", "grüße".encode())
    wishes = frozenset({Wish.POSITIVE_DELIVERY, Wish.DISPLAY})
    now = "2026-01-01T00:00:00+00:00"
    body = with_wishes(text, id="x1", wishes=wishes, sender=ALICE, recipient=BOB, sent_at=now)
    cpim = Cpim.parse(body.data)
    assert cpim.body == text
    wanted = read_wanted(cpim, sender=ALICE, recipient=BOB)
    assert wanted is not None
    assert (wanted.message_id, wanted.wishes, wanted.sent_at) == ("x1", wishes, now)
    with pytest.raises(LocalError):
        with_wishes(text, id="x", wishes=wishes, sender=ALICE, recipient=BOB, sent_at="a\r\nb")
