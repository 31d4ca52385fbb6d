"""Bodies of several parts (MIME, RFC 2046 §5.1; what SIP makes of them, RFC 5621).

A gateway sends a session description beside ISUP, a recorder beside metadata. `parts_of` cuts a
body into its parts, `description_of` finds the session description in a message, however deep it
lies. Both are bounded: a body is the peer's, and a part may be a body of several parts again.

Deviation: RFC 5621 §8 makes a part that we do not understand a reason to refuse unless it says
`handling=optional`. Gateways forget to say it, so only an explicit `handling=required` refuses.
"""

import re
from dataclasses import dataclass

from sip.errors import RemoteError
from sip.events import Body
from sip.headers import Headers
from sip.message import Message, body_of, read_head
from sip.uri import NO_PARAMETERS, Parameters

# What a description of a session is written in (RFC 4566).
SDP = "application/sdp"

# What we say of it in a refusal (RFC 3261 §20.1).
ACCEPT = f"{SDP}, multipart/mixed"

# What a gateway sends is two or three parts, one deep.
MAX_PARTS = 16
MAX_DEPTH = 4

# RFC 2046 §5.1.1.
_MAX_BOUNDARY = 70

_LINE_END = re.compile(rb"\r?\n")
_EMPTY_LINE = re.compile(rb"\r?\n\r?\n")

# Dispositions under which a description is the session's (RFC 3261 §20.11; some write render).
_OF_THE_SESSION = ("", "session", "render")


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a body.

    Attributes:
        headers: its MIME header fields.
        data: its content, as it came.
    """

    headers: Headers
    data: bytes

    @property
    def body(self) -> Body:
        """The content with its type, which is text/plain if it says none (RFC 2046 §5.1)."""
        return Body(self.headers.get("Content-Type") or "text/plain", self.data)


def media_type(content_type: str) -> tuple[str, Parameters]:
    """Cut a Content-Type or Content-Disposition into its value in lower case and its parameters.

    Raises:
        RemoteError: the parameters are malformed.
    """
    value, _, parameters = content_type.partition(";")
    return value.strip().lower(), Parameters.parse(parameters) if parameters else NO_PARAMETERS


def parts_of(body: Body) -> tuple[Part, ...]:
    """Cut a multipart body; what stands before the first and after the last boundary is left out.

    Raises:
        RemoteError: it is no multipart body, has no parts or more than `MAX_PARTS`.
    """
    kind, parameters = media_type(body.content_type)
    boundary = (parameters.get("boundary") or "").encode("utf-8", "replace")
    if not kind.startswith("multipart/") or not 0 < len(boundary) <= _MAX_BOUNDARY:
        raise RemoteError("not a body of several parts")
    delimiter = re.compile(rb"(?:\A|\r?\n)--" + re.escape(boundary) + rb"(--)?[ \t]*(?=\r?\n|\Z)")
    parts: list[Part] = []
    start: int | None = None
    for match in delimiter.finditer(body.data):
        if start is not None:
            parts.append(_part(body.data[start : match.start()]))
        start = None if match[1] else match.end()
        if match[1] or len(parts) > MAX_PARTS:
            break
    if start is not None:  # the last boundary is missing; what came is all there is
        parts.append(_part(body.data[start:]))
    if not 0 < len(parts) <= MAX_PARTS:
        raise RemoteError("no parts, or too many")
    return tuple(parts)


def description_of(message: Message) -> Body | None:
    """Return the session description that a message carries, None if it carries none.

    Raises:
        RemoteError: 415, its body is of a kind that we do not understand and must; 400, it is
            malformed.
    """
    body = body_of(message)
    if body is None:
        return None
    return _description_in(body, message.headers, whole=True, depth=0)


def read_part(data: bytes) -> Part:
    """Read header fields, an empty line, and content; the first two may be missing.

    Raises:
        RemoteError: the header fields are malformed.
    """
    if data[:1] in (b"\r", b"\n"):  # no header fields at all
        return Part(Headers(), data.removeprefix(b"\r").removeprefix(b"\n"))
    head, *content = _EMPTY_LINE.split(data, maxsplit=1)
    # A part has no start line; its lines may end in a line feed alone.
    _, headers = read_head(b"\r\n" + _LINE_END.sub(b"\r\n", head))
    return Part(headers, content[0] if content else b"")


def _part(data: bytes) -> Part:
    """Read what is between two boundaries; the line break that ends the first is still in front."""
    return read_part(data.removeprefix(b"\r").removeprefix(b"\n"))


def _description_in(body: Body, headers: Headers, *, whole: bool, depth: int) -> Body | None:
    """Find the description in a body, or in a part and its parts.

    Args:
        whole: whether this is the message's body, which must be understood unless it says
            otherwise; a part must be only if it says so.
    """
    kind, _ = media_type(body.content_type)
    disposition, parameters = media_type(headers.get("Content-Disposition") or "")
    if kind == SDP and disposition in _OF_THE_SESSION:
        return body
    if kind.startswith("multipart/") and depth < MAX_DEPTH:
        parts = parts_of(body)
        if kind == "multipart/alternative":
            parts = parts[::-1]  # the last is the best (RFC 2046 §5.1.4)
        found = None
        for part in parts:
            inner = _description_in(part.body, part.headers, whole=False, depth=depth + 1)
            found = found or inner
        if found is not None:
            return found
    handling = (parameters.get("handling") or ("required" if whole else "optional")).lower()
    if handling != "optional":
        raise RemoteError("body not understood", status=415, headers=[("Accept", ACCEPT)])
    return None
