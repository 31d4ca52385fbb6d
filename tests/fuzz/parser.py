"""Every parser of `sip` as a target: a function of bytes that raises only when we are at fault.

What a parser may raise for a peer's bytes is `RemoteError`; it is swallowed here, and nothing else
is. Where a value was read, writing it and reading it again must give the same.
"""

from collections.abc import Callable
from contextlib import suppress

from sip import cpim, imdn, multipart
from sip.digest import AuthenticationInfo, Challenge, Credentials
from sip.diversion import last_diverter
from sip.errors import RemoteError
from sip.events import Body
from sip.framing import Broken, Frame, Framer, Malformed, frame_datagram
from sip.headers import CSeq, Headers, RAck, SessionExpires, Via, parse_reason
from sip.identity import Verstat, read_identity
from sip.info import read_digit
from sip.mailbox import read_summary
from sip.message import Message, Response, has_to_tag, parse_message, response_to
from sip.redirect import contacts_of
from sip.refer import ReferTo, Replaces, read_sipfrag, referred_by, replaces_of
from sip.subscription import EventName, SubscriptionState
from sip.uri import NameAddr, Parameters, Uri

Target = Callable[[bytes], None]

# Values that are written as they are read.
_VALUES = (Uri.parse, NameAddr.parse, Via.parse, CSeq.parse, RAck.parse, Parameters.parse)

# Values that are only read.
_TEXTS: tuple[Callable[[str], object], ...] = (
    SessionExpires.parse, Challenge.parse, Credentials.parse,
    AuthenticationInfo.parse, Replaces.parse, Verstat.parse, parse_reason, multipart.media_type,
)  # fmt: skip

# Everything that is read from header fields, or from a message, at some time.
_READERS: tuple[Callable[[Headers], object], ...] = (
    lambda headers: headers.via,
    lambda headers: headers.from_,
    lambda headers: headers.to,
    lambda headers: headers.cseq,
    lambda headers: headers.call_id,
    lambda headers: headers.contact,
    lambda headers: headers.record_route,
    lambda headers: headers.called_party,
    lambda headers: headers.reason,
    lambda headers: headers.session_expires,
    lambda headers: headers.rack,
    lambda headers: headers.retry_after,
    lambda headers: headers.tokens("Require"),
    lambda headers: headers.integer("Expires"),
    has_to_tag,
    replaces_of,
    referred_by,
    ReferTo.of,
    EventName.of,
    SubscriptionState.of,
    lambda headers: last_diverter(read_identity(headers, trusted=True).history),
)  # fmt: skip

_FIELDS = (
    "Via", "From", "To", "CSeq", "Call-ID", "Contact", "Record-Route", "P-Called-Party-ID",
    "Reason", "Session-Expires", "RAck", "Retry-After", "Require", "Expires", "Replaces",
    "Referred-By", "Refer-To", "Event", "Subscription-State", "P-Asserted-Identity", "Privacy",
    "Remote-Party-ID", "Diversion", "History-Info", "Identity", "Accept", "Content-Type",
    "Content-Length", "Content-Disposition", "Authorization", "Proxy-Authenticate", "Warning",
)  # fmt: skip

_SOMEBODY = NameAddr(Uri("sip", "alice", "example.net"))

_BODIES: tuple[Callable[[Body], object], ...] = (
    multipart.parts_of,
    read_digit,
    read_summary,
    read_sipfrag,
    lambda body: cpim.Cpim.parse(body.data).body,
    lambda body: cpim.Cpim.parse(body.data).subject,
    lambda body: imdn.read_wanted(
        cpim.Cpim.parse(body.data), sender=_SOMEBODY, recipient=_SOMEBODY
    ),
    lambda body: imdn.Imdn.parse(body.data),
)
_TYPES = (
    "multipart/mixed;boundary=b", "application/dtmf-relay", "application/dtmf", "message/sipfrag",
    "application/simple-message-summary", "message/cpim", "message/imdn+xml",
)  # fmt: skip


def message(data: bytes) -> None:
    """One whole message, everything in it read, written, and read again."""
    with suppress(RemoteError):
        read = parse_message(data)
        _examine(read)
        assert bytes(parse_message(bytes(read))) == bytes(read)


def datagram(data: bytes) -> None:
    frame = frame_datagram(data)
    if frame is not None:
        _answer(frame)


def stream(data: bytes) -> None:
    """A stream, cut at places that its first bytes tell, must frame as it does in one piece."""
    cuts, data = data[:8], data[8:]
    framer, frames, start = Framer(), list[Frame](), 0
    for cut in cuts:
        frames += framer.feed(data[start : start + cut])
        start += cut
    frames += framer.feed(data[start:])
    whole = Framer()
    assert [_comparable(frame) for frame in frames] == [
        _comparable(frame) for frame in whole.feed(data)
    ]
    assert framer.waiting == whole.waiting
    for frame in frames:
        if isinstance(frame, Malformed | Broken):
            _answer(frame)


def value(data: bytes) -> None:
    """A value of the kind that the first byte tells."""
    kind, text = data[:1], data[1:].decode(errors="replace")
    number = kind[0] if kind else 0
    if number < len(_VALUES):
        parse = _VALUES[number]
        with suppress(RemoteError):
            read = parse(text)
            assert parse(str(read)) == read
    else:
        with suppress(RemoteError):
            _TEXTS[number % len(_TEXTS)](text)


def field(data: bytes) -> None:
    """Header fields; the first byte of each line tells which one it is."""
    lines: list[str] = []
    for line in data.split(b"\n"):
        number, text = line[:1], line[1:].decode(errors="replace").replace("\r", " ")
        name = _FIELDS[number[0] % len(_FIELDS)] if number else "X"
        lines.append(f"{name}: {text}")
    with suppress(RemoteError):
        _read_all(Headers.parse(lines))


def body(data: bytes) -> None:
    """A body of the type that the first byte tells, read in the way that it tells besides."""
    number, data = data[:1], data[1:]
    kind, way = divmod(number[0] if number else 0, len(_BODIES))
    with suppress(RemoteError):
        _BODIES[way](Body(_TYPES[kind % len(_TYPES)], data))


TARGETS: dict[str, Target] = {
    "message": message,
    "datagram": datagram,
    "stream": stream,
    "value": value,
    "field": field,
    "body": body,
}


def _examine(read: Message) -> None:
    _read_all(read.headers)
    with suppress(RemoteError):
        multipart.description_of(read)
    if isinstance(read, Response):
        with suppress(RemoteError):
            contacts_of(read)
    else:
        bytes(response_to(read, 486, to_tag="tag"))


def _read_all(headers: Headers) -> None:
    for read in _READERS:
        with suppress(RemoteError):
            read(headers)


def _answer(frame: Frame) -> None:
    """Whatever can be answered can be written."""
    if isinstance(frame, Malformed | Broken) and frame.request is not None:
        bytes(response_to(frame.request, frame.error.status, to_tag="tag"))


def _comparable(frame: Frame) -> object:
    if isinstance(frame, Malformed | Broken):
        answerable = None if frame.request is None else bytes(frame.request)
        return type(frame), str(frame.error), frame.error.status, answerable
    return frame
