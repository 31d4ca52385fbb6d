"""Instant Message Disposition Notification: what became of a text (RFC 5438).

A sender asks in the header fields of a message/cpim, the recipient answers with a MESSAGE of its
own that holds a message/imdn+xml. `NotificationsWanted` is the question, `Imdn` the answer.

The XML is a stranger's. It is read by expat with nothing allowed that could grow or reach out: a
document type, and with it every entity, is refused, depth and number of elements are bounded, and
the encoding is UTF-8, or UTF-16 by its byte order mark, whatever the document says.

Deviation: §7.2.1.1 sends a notification to the first IMDN-Record-Route; ours go to whom the text
came from, because a stranger's body is not to choose whom we write to. The route is copied into the
notification all the same.
"""

import re
from dataclasses import dataclass, field
from enum import Enum
from xml.parsers import expat
from xml.sax.saxutils import escape

from sip.cpim import MESSAGE_CPIM, Cpim
from sip.errors import LocalError, RemoteError
from sip.events import Body
from sip.headers import Headers
from sip.multipart import Part
from sip.uri import NameAddr

MESSAGE_IMDN = "message/imdn+xml"

# Of header fields in CPIM, and of elements in XML (§6.3, §11.1).
_FIELDS = "urn:ietf:params:imdn"
_ELEMENTS = "urn:ietf:params:xml:ns:imdn"
_PREFIX = "imdn"

# Elements that hold text, in their order.
_TEXTS = ("message-id", "datetime", "recipient-uri")

# A notification is a dozen elements, four deep, with a few hundred characters.
MAX_DEPTH = 8
MAX_ELEMENTS = 64
MAX_TEXT = 4096

# §6.3: a token of at least 64 bits; those that are longer than any in the field are not worth an
# answer.
_MESSAGE_ID = re.compile(r"[!-~]{1,256}")
# More hops than any chain of text servers has.
_MAX_ROUTE = 8


class Wish(Enum):
    """What a sender wants to be told (§6.1.1)."""

    POSITIVE_DELIVERY = "positive-delivery"
    NEGATIVE_DELIVERY = "negative-delivery"
    PROCESSING = "processing"
    DISPLAY = "display"


class Kind(Enum):
    """What a notification is about (§7.2.1.2)."""

    DELIVERY = "delivery-notification"
    PROCESSING = "processing-notification"
    DISPLAY = "display-notification"


class Status(Enum):
    """What became of the text."""

    DELIVERED = "delivered"
    FAILED = "failed"
    DISPLAYED = "displayed"
    PROCESSED = "processed"
    STORED = "stored"
    FORBIDDEN = "forbidden"  # the recipient does not tell
    ERROR = "error"  # nobody knows


# §11.1: which status belongs to which notification.
_STATUSES = {
    Kind.DELIVERY: (Status.DELIVERED, Status.FAILED, Status.FORBIDDEN, Status.ERROR),
    Kind.PROCESSING: (Status.PROCESSED, Status.STORED, Status.FORBIDDEN, Status.ERROR),
    Kind.DISPLAY: (Status.DISPLAYED, Status.FORBIDDEN, Status.ERROR),
}


@dataclass(frozen=True, slots=True)
class Imdn:
    """One message/imdn+xml.

    Attributes:
        message_id: of the text.
        kind: what is said of it.
        status: that.
        sent_at: the text's DateTime, as its sender wrote it.
        recipient: URI of whom the text was for, "" if absent.
    """

    message_id: str
    kind: Kind
    status: Status
    sent_at: str = ""
    recipient: str = ""

    @classmethod
    def parse(cls, data: bytes) -> "Imdn":
        """Read one notification.

        Raises:
            RemoteError: it is none, or is larger or deeper than any.
        """
        reader = _Reader()
        reader.read(data)
        message_id, sent_at, recipient = (text.strip() for text in reader.texts.values())
        if reader.kind is None or reader.status is None or not message_id:
            raise RemoteError("a notification without an id or a status")
        if reader.status not in _STATUSES[reader.kind]:
            raise RemoteError("a status that does not belong to the notification")
        return cls(message_id, reader.kind, reader.status, sent_at, recipient)

    def __bytes__(self) -> bytes:
        """Write it.

        Raises:
            LocalError: it holds what XML cannot.
        """
        lines = ['<?xml version="1.0" encoding="UTF-8"?>', f'<imdn xmlns="{_ELEMENTS}">']
        texts = (self.message_id, self.sent_at, self.recipient)
        for name, text in zip(_TEXTS, texts, strict=True):
            if re.search("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", text):
                raise LocalError(f"a control character in {name}")
            lines.append(f"<{name}>{escape(text)}</{name}>")
        kind = self.kind.value
        lines.append(f"<{kind}><status><{self.status.value}/></status></{kind}>")
        return "\r\n".join([*lines, "</imdn>", ""]).encode()


@dataclass(frozen=True, slots=True)
class NotificationsWanted:
    """What the sender of a text wants to be told about it; may be kept for when it is read.

    Attributes:
        message_id: the sender's name for the text.
        wishes: what about.
        sent_at: its DateTime.
        sender: whom it came from, as SIP says: there the notification goes.
        author: who wrote it, as the text says.
        recipient: whom it was for: us.
        route: servers that want to see the notification.
    """

    message_id: str
    wishes: frozenset[Wish]
    sent_at: str
    sender: NameAddr
    author: str
    recipient: NameAddr
    route: tuple[str, ...] = field(default=())

    def notify(self, kind: Kind, status: Status, *, sender: NameAddr, id: str) -> Body:
        """Return the body of the MESSAGE that answers (§7.2.1.1).

        Args:
            sender: who we are.
            id: names the notification itself.
        """
        imdn = Imdn(
            self.message_id, kind, status, self.sent_at, _printable(str(self.recipient.uri))
        )
        headers = Headers(
            [
                ("From", str(sender)),
                ("To", self.author),
                ("NS", f"{_PREFIX} <{_FIELDS}>"),
                (f"{_PREFIX}.Message-ID", id),
                *((f"{_PREFIX}.IMDN-Route", route) for route in self.route),
            ]
        )
        content = Headers([("Content-Type", MESSAGE_IMDN), ("Content-Disposition", "notification")])
        return Body(MESSAGE_CPIM, bytes(Cpim(headers, Part(content, bytes(imdn)))))


def read_wanted(cpim: Cpim, *, sender: NameAddr, recipient: NameAddr) -> NotificationsWanted | None:
    """Read what the sender of a text wants to be told; None for nothing."""
    ids = cpim.named(_FIELDS, "Message-ID", usual=_PREFIX)
    tokens = {
        token.partition(";")[0].strip().lower()
        for value in cpim.named(_FIELDS, "Disposition-Notification", usual=_PREFIX)
        for token in value.split(",")
    }
    wishes = frozenset(wish for wish in Wish if wish.value in tokens)
    if not wishes or len(ids) != 1 or _MESSAGE_ID.fullmatch(ids[0]) is None:
        return None
    author = cpim.sender
    return NotificationsWanted(
        ids[0],
        wishes,
        _printable(cpim.sent_at),
        sender,
        str(author or sender.without_tag()),
        recipient,
        tuple(cpim.named(_FIELDS, "IMDN-Record-Route", usual=_PREFIX)[:_MAX_ROUTE]),
    )


def with_wishes(
    body: Body,
    *,
    id: str,
    wishes: frozenset[Wish],
    sender: NameAddr,
    recipient: NameAddr,
    sent_at: str,
) -> Body:
    """Return a text wrapped so that its recipient is asked to notify us (§7.1.1).

    Args:
        id: names the text in the notifications.
        sent_at: date and time of RFC 3339.
    """
    headers = Headers(
        [
            ("From", str(sender)),
            ("To", str(recipient)),
            ("DateTime", sent_at),
            ("NS", f"{_PREFIX} <{_FIELDS}>"),
            (f"{_PREFIX}.Message-ID", id),
            (
                f"{_PREFIX}.Disposition-Notification",
                ", ".join(wish.value for wish in Wish if wish in wishes),
            ),
        ]
    )
    content = Headers([("Content-Type", body.content_type)])
    return Body(MESSAGE_CPIM, bytes(Cpim(headers, Part(content, body.data))))


def _printable(text: str) -> str:
    return text if text.isprintable() and len(text) <= MAX_TEXT else ""


class _Reader:
    """Takes expat's events; keeps the few elements that matter."""

    def __init__(self) -> None:
        self.texts = dict.fromkeys(_TEXTS, "")
        self.kind: Kind | None = None
        self.status: Status | None = None
        self._path: list[str] = []
        self._elements = 0

    def read(self, data: bytes) -> None:
        parser = expat.ParserCreate("UTF-8", namespace_separator=" ")
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        try:
            parser.Parse(data, True)
        except expat.ExpatError as error:
            raise RemoteError(f"not well-formed: {expat.ErrorString(error.code)}") from None

    def _doctype(self, *declaration: object) -> None:
        raise RemoteError("a document type in a notification")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        namespace, _, name = tag.rpartition(" ")
        self._path.append(name if namespace == _ELEMENTS else "")
        self._elements += 1
        if len(self._path) > MAX_DEPTH or self._elements > MAX_ELEMENTS:
            raise RemoteError("larger than any notification")
        match self._path:
            case ["imdn"]:
                pass
            case [_]:
                raise RemoteError("not a notification")
            case ["imdn", name] if self.kind is None:
                self.kind = next((kind for kind in Kind if kind.value == name), None)
            case ["imdn", above, "status", name] if self._is_of_the_kind(above):
                self.status = next((status for status in Status if status.value == name), None)

    def _is_of_the_kind(self, name: str) -> bool:
        return self.kind is not None and self.kind.value == name and self.status is None

    def _end(self, tag: str) -> None:
        self._path.pop()

    def _text(self, text: str) -> None:
        match self._path:
            case ["imdn", name] if name in self.texts:
                self.texts[name] += text
                if len(self.texts[name]) > MAX_TEXT:
                    raise RemoteError("larger than any notification")
