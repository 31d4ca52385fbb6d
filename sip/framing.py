"""Cut a byte stream into messages (RFC 3261 §18.3) and answer for what cannot be read.

On a stream, a message ends where its Content-Length says; without trust in that number nothing
after it can be found, and `feed` raises `RemoteError`: the flow must be closed. Everything else
that is wrong with a message leaves the stream
intact: it comes out as `Malformed`, with as much of the request as a 400 needs. CRLFs between
messages are keep-alives (RFC 5626 §3.5.1): each second one in a row is a `Ping`, for which the
driver writes one CRLF back. A lone CRLF is somebody's pong and says nothing that silence would not
(some servers never send one).

The framer remembers how far it has searched, so that a peer which sends byte by byte costs no more
than another.

Deviation: a missing Content-Length is read as 0 where §18.3 wants 400 on a stream; senders that
    forget it have no body.
"""

from dataclasses import dataclass

from sip import grammar
from sip.errors import RemoteError
from sip.headers import Headers
from sip.message import Message, Request, build_message, read_head
from sip.uri import Uri

# §18.1.1 lets a datagram carry that much, and no message of telephony comes near it. A longer body
# is passed over without being kept; a longer header ends the flow, since its end is unknown.
MAX_MESSAGE = 65_535

# Beyond this a Content-Length is nonsense, not a large body.
_MAX_CONTENT_LENGTH = 2**31 - 1

# What the pong of RFC 5626 §3.5.1 and our own keep-alive look like on the wire.
PONG = b"\r\n"
PING = b"\r\n\r\n"

_END_OF_HEADER = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Ping:
    """The peer's keep-alive: a pong (`PONG`) is due."""


@dataclass(frozen=True, slots=True)
class Malformed:
    """A message with a clear end that cannot be used.

    Attributes:
        error: what is wrong; its `status` answers a request.
        request: as much of a request as an answer needs; None for a response, or if no answer can
            be addressed.
    """

    error: RemoteError
    request: Request | None


Frame = Message | Malformed | Ping


class Framer:
    """Bytes of one flow in, frames out."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0  # no end of a header begins before this offset
        self._head: bytes | None = None  # the header whose body is still coming
        self._length = 0  # of that body
        self._skip = 0  # bytes of an oversized body still to come
        self._line_ends = 0  # CRLFs seen in a row since the last message

    def feed(self, data: bytes) -> list[Frame]:
        """Take what the flow brought and return the frames that are complete.

        Raises:
            RemoteError: the end of a message cannot be found; close the flow. Frames before it are
                lost with it.
        """
        self._buffer += data
        frames: list[Frame] = []
        while self._step(frames):
            pass
        return frames

    def _step(self, frames: list[Frame]) -> bool:
        """Do one thing; False when more bytes are needed."""
        if self._skip:
            skipped = min(self._skip, len(self._buffer))
            del self._buffer[:skipped]
            self._skip -= skipped
            return bool(skipped)
        if self._head is not None:
            return self._take_body(self._head, frames)
        if self._buffer.startswith((b"\r", b"\n")):
            return self._take_line_end(frames)
        return self._take_head(frames)

    def _take_line_end(self, frames: list[Frame]) -> bool:
        if len(self._buffer) < 2 and self._buffer == b"\r":
            return False
        if self._buffer[:2] != b"\r\n":
            raise RemoteError("a message begins with half a line end")
        del self._buffer[:2]
        self._line_ends += 1
        if self._line_ends % 2 == 0:
            frames.append(Ping())
        return True

    def _take_head(self, frames: list[Frame]) -> bool:
        end = self._buffer.find(_END_OF_HEADER, self._searched)
        if end < 0:
            # The next search may begin inside of a line end that is half here.
            self._searched = max(0, len(self._buffer) - len(_END_OF_HEADER) + 1)
            end = len(self._buffer)
            if end <= MAX_MESSAGE:
                return False
        if end > MAX_MESSAGE:
            raise RemoteError("header too large", status=513)
        head = bytes(self._buffer[:end])
        del self._buffer[: end + len(_END_OF_HEADER)]
        self._searched = 0
        self._line_ends = 0
        length = _content_length(head)
        if end + len(_END_OF_HEADER) + length > MAX_MESSAGE:
            frames.append(Malformed(RemoteError("message too large", status=513), _skeleton(head)))
            self._skip = length
        else:
            self._head, self._length = head, length
        return True

    def _take_body(self, head: bytes, frames: list[Frame]) -> bool:
        if len(self._buffer) < self._length:
            return False
        body = bytes(self._buffer[: self._length])
        del self._buffer[: self._length]
        self._head = None
        frames.append(_frame(head, body))
        return True


def frame_datagram(data: bytes) -> Frame | None:
    """Read one datagram (§18.3): its end is the body's where there is no Content-Length. None for a
    keep-alive.
    """
    data = data.lstrip(b"\r\n")
    if not data.strip(b"\x00"):
        return None  # keep-alives of NAT bindings: CRLF, zeros, or nothing
    head, separator, body = data.partition(_END_OF_HEADER)
    if not separator:
        return Malformed(RemoteError("the header does not end"), None)
    return _frame(head, body)


def _frame(head: bytes, body: bytes) -> Frame:
    try:
        return build_message(head, body)
    except RemoteError as error:
        return Malformed(error, _skeleton(head))


def _content_length(head: bytes) -> int:
    """Find where the body ends, whatever else is wrong with the header."""
    values: set[bytes] = set()
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() in (b"content-length", b"l"):
            values.add(value.strip())
    if len(values) > 1:
        raise RemoteError("more than one Content-Length")
    if not values:
        return 0
    text = values.pop().decode("latin-1")
    return grammar.number(text, what="Content-Length", limit=_MAX_CONTENT_LENGTH)


def _skeleton(head: bytes) -> Request | None:
    """Save from a broken request what an answer copies (§8.2.6.2): None if it is a response or has
    no way back.
    """
    start_line, *lines = head.split(b"\r\n")
    if start_line[:4].upper() == b"SIP/":
        return None
    headers = Headers()
    for name in ("Via", "From", "To", "Call-ID", "CSeq"):
        for line in lines:
            try:
                _, field = read_head(b"\r\n" + line)
            except RemoteError:
                continue
            value = field.get(name)
            if value and (name == "Via" or name not in headers):
                headers.add(name, value)
    try:
        _ = headers.via, headers.from_, headers.to, headers.call_id
    except RemoteError:
        return None
    method = start_line.split(b" ")[0].decode("latin-1")
    return Request(
        method if grammar.is_token(method) else "UNKNOWN", Uri("sip", host="invalid"), headers
    )
