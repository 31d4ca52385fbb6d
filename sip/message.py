"""Requests and responses (RFC 3261 §7): read one, write one.

`parse_message` takes one whole message; cutting a stream into messages is `sip.framing`. A message
that comes out of it has a readable start line, Via, From, To, Call-ID and CSeq, so that the layers
above use those without care. Header text is UTF-8 (§7.3.1).

Deviation: a line that is not UTF-8 is read as Latin-1, because old PBXs send display names so;
dropping a call for an umlaut helps nobody.
"""

import re
from dataclasses import dataclass, field

from sip import grammar
from sip.errors import RemoteError
from sip.events import Body
from sip.headers import MAGIC_COOKIE, Headers
from sip.uri import Uri

# Beyond this a Content-Length is nonsense, not a large body.
_MAX_CONTENT_LENGTH = 2**31 - 1

# §20.22; a request that comes without it is taken as it is.
MAX_FORWARDS = 70

# Fields of which a message has one (§7.3.1); with two, sender and receiver may disagree on what was
# said.
_SINGLE = ("from", "to", "call-id", "cseq", "max-forwards", "content-type")

_VERSION = re.compile(r"SIP/[0-9]+\.[0-9]+", re.IGNORECASE)

# §21 and the registry: reason phrases of what we send.
REASON_PHRASES = {
    100: "Trying",
    180: "Ringing",
    181: "Call Is Being Forwarded",
    182: "Queued",
    183: "Session Progress",
    200: "OK",
    202: "Accepted",
    300: "Multiple Choices",
    301: "Moved Permanently",
    302: "Moved Temporarily",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    410: "Gone",
    413: "Request Entity Too Large",
    415: "Unsupported Media Type",
    416: "Unsupported URI Scheme",
    420: "Bad Extension",
    421: "Extension Required",
    422: "Session Interval Too Small",
    423: "Interval Too Brief",
    469: "Bad Info Package",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    482: "Loop Detected",
    483: "Too Many Hops",
    484: "Address Incomplete",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    489: "Bad Event",
    491: "Request Pending",
    493: "Undecipherable",
    500: "Server Internal Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Server Time-out",
    505: "Version Not Supported",
    513: "Message Too Large",
    580: "Precondition Failure",
    600: "Busy Everywhere",
    603: "Decline",
    604: "Does Not Exist Anywhere",
    606: "Not Acceptable",
}


@dataclass(frozen=True, slots=True)
class Request:
    """A request (§7.1)."""

    method: str
    uri: Uri
    headers: Headers = field(default_factory=Headers)
    body: bytes = b""

    def __bytes__(self) -> bytes:
        return _write(f"{self.method} {self.uri} SIP/2.0", self.headers, self.body)


@dataclass(frozen=True, slots=True)
class Response:
    """A response (§7.2)."""

    status: int
    reason: str
    headers: Headers = field(default_factory=Headers)
    body: bytes = b""

    def __bytes__(self) -> bytes:
        return _write(f"SIP/2.0 {self.status} {self.reason}", self.headers, self.body)


Message = Request | Response


def parse_message(data: bytes) -> Message:
    """Read one whole message; what follows its Content-Length is left out (§18.3).

    Raises:
        RemoteError: it is none, or lacks what §8.1.1 demands; `status` is the answer that it
            deserves.
    """
    head, separator, body = data.partition(b"\r\n\r\n")
    if not separator:
        raise RemoteError("the header does not end")
    start_line, headers = read_head(head)
    return build_message(start_line, headers, body)


def read_head(head: bytes) -> tuple[str, Headers]:
    """Cut a header (without the empty line) into its start line and fields."""
    lines = decode_lines(head)
    line_ends = len(lines) - 1
    if head.count(b"\r") != line_ends or head.count(b"\n") != line_ends:
        raise RemoteError("half a line end")
    return lines[0], Headers.parse(lines[1:])


def decode_lines(head: bytes) -> list[str]:
    try:
        return head.decode().split("\r\n")
    except UnicodeDecodeError:
        return [_decode(line) for line in head.split(b"\r\n")]


def build_message(start_line: str, headers: Headers, body: bytes) -> Message:
    """Make a message of its parts; of the body counts what Content-Length says."""
    length = content_length(headers)
    if length is not None and length != len(body):
        if length > len(body):
            raise RemoteError("shorter than its Content-Length")
        body = body[:length]
    message = _start(start_line, headers, body)
    _check(message)
    return message


def content_length(headers: Headers) -> int | None:
    """Return what Content-Length says, None if it is absent.

    Raises:
        RemoteError: it is no number, or several that differ.
    """
    values = headers.get_all("Content-Length")
    if not values:
        return None
    if len(values) > 1 and len(set(values)) > 1:
        raise RemoteError("more than one Content-Length")
    return grammar.number(values[0], what="Content-Length", limit=_MAX_CONTENT_LENGTH)


def has_to_tag(headers: Headers) -> bool:
    """Whether To has a tag; of one that cannot be read, which goes back in a 400, it has none."""
    try:
        return headers.to.tag is not None
    except RemoteError:
        return False


def body_of(message: Message) -> Body | None:
    """Return the body with its type, None if there is none."""
    if not message.body:
        return None
    return Body(message.headers.get("Content-Type") or "", message.body)


def response_to(
    request: Request, status: int, *, to_tag: str | None = None, reason: str = ""
) -> Response:
    """Build a response with what §8.2.6.2 copies from the request.

    Args:
        to_tag: added to To if that has none; needed for all but 100.
    """
    headers = Headers()
    headers.take(request.headers, "Via", "From", "To", "Call-ID", "CSeq")
    if status == 100:
        headers.take(request.headers, "Timestamp")
    if to_tag is not None and "To" in headers and not has_to_tag(headers):
        try:
            headers.set("To", headers.to.with_tag(to_tag))
        except RemoteError:
            headers.set("To", f"{headers.get('To')};tag={to_tag}")
    return Response(status, reason or REASON_PHRASES.get(status, "Unknown"), headers)


_target = grammar.remembered(Uri.parse)


def _start(line: str, headers: Headers, body: bytes) -> Message:
    first, _, rest = line.partition(" ")
    if first[:4].upper() == "SIP/":
        _check_version(first)
        status, _, reason = rest.partition(" ")
        if len(status) != 3 or not status.isdigit() or not status.isascii():
            raise RemoteError("malformed status line")
        return Response(int(status), reason, headers, body)
    uri, _, version = rest.partition(" ")
    if not grammar.is_token(first):
        raise RemoteError("malformed request line")
    _check_version(version)
    request = Request(first, _target(uri), headers, body)
    if request.uri.headers is not None:
        # §19.1.1 has none there; they are for who makes a request of a URI, never for who gets it.
        raise RemoteError("header fields in the Request-URI")
    return request


def _check_version(version: str) -> None:
    if version.upper() == "SIP/2.0":
        return
    if _VERSION.fullmatch(version) is None:
        raise RemoteError("malformed start line")
    raise RemoteError("version not supported", status=505)


def _check(message: Message) -> None:
    headers = message.headers
    repeated = headers.repeated(_SINGLE)
    if repeated is not None:
        raise RemoteError(f"more than one {repeated}")
    # Reading them is the check.
    _ = headers.via, headers.from_, headers.to, headers.call_id, headers.integer("Max-Forwards")
    method = headers.cseq.method
    if isinstance(message, Request):
        if method != message.method:
            raise RemoteError("CSeq names another method")
        if headers.via.branch == MAGIC_COOKIE:
            raise RemoteError("the branch identifies no transaction")  # nor could it be matched
    elif not 100 <= message.status <= 699:
        raise RemoteError("response code out of range")


def _decode(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")


def _write(start_line: str, headers: Headers, body: bytes) -> bytes:
    grammar.refuse_injection(start_line, what="the start line")
    fields = [field for field in headers if field[0] != "Content-Length"]
    head = "\r\n".join([start_line, *map(": ".join, fields)])
    return f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
