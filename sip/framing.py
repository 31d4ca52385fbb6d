"""Cut a byte stream into messages (RFC 3261 §18.3) and answer for what cannot be read.

On a stream, a message ends where its Content-Length says; without trust in that number nothing
after it can be found: the last frame is then `Broken`, and the flow must be closed. Everything else
that is wrong with a message leaves the stream intact: it comes out as `Malformed`, with as much of
the request as a 400 needs. CRLFs between messages are keep-alives (RFC 5626 §3.5.1): each second
one in a row is a `Ping`, for which the driver writes one CRLF back. A lone CRLF is somebody's pong
and says nothing that silence would not (some servers never send one).

`Framer.feed` never raises, and its frames do not depend on how the stream was cut. It remembers how
far it has searched, so that a peer which sends byte by byte costs no more than another. A message
that never becomes whole is for the driver to end: `Framer.waiting` says that one has begun.

Deviation: a missing Content-Length is read as 0 where §18.3 wants 400 on a stream; senders that
    forget it have no body.
"""

import re
from dataclasses import dataclass

from sip import grammar
from sip.errors import RemoteError
from sip.headers import MAX_HEADER_FIELDS, Headers, unfold
from sip.message import Message, Request, build_message, content_length, decode_lines, read_head
from sip.uri import Uri

# §18.1.1 lets a datagram carry that much, and no message of telephony comes near it. A longer body
# is passed over without being kept; a longer header ends the flow, since its end is unknown.
MAX_MESSAGE = 65_535

# What the pong of RFC 5626 §3.5.1 and our own keep-alive look like on the wire.
PONG = b"\r\n"
PING = b"\r\n\r\n"

# Stands in a `Malformed` for a method that cannot be read.
NO_METHOD = "UNKNOWN"

_END_OF_HEADER = b"\r\n\r\n"
_LINE_ENDS = re.compile(rb"(?:\r\n)++")

# What an answer copies from its request (§8.2.6.2), also by its compact names.
_COPIED = ("via", "from", "to", "call-id", "cseq", "v", "f", "t", "i")


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


@dataclass(frozen=True, slots=True)
class Broken:
    """The end of a message cannot be found: nothing after it can be read, close the flow.

    Attributes:
        error: what is wrong.
        request: as in `Malformed`: an answer may be sent before the flow is closed.
    """

    error: RemoteError
    request: Request | None


Frame = Message | Malformed | Ping | Broken


class Framer:
    """Bytes of one flow in, frames out."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0  # no end of a header begins before this offset
        self._head: tuple[str, Headers] | Malformed | None = None  # its body is still coming
        self._length = 0  # of that body
        self._skip = 0  # bytes of an oversized body still to come
        self._line_ends = 0  # CRLFs seen in a row since the last message
        self._broken = False

    @property
    def waiting(self) -> bool:
        """Whether a message has begun and is not whole yet."""
        return bool(self._buffer or self._skip) or self._head is not None

    @property
    def broken(self) -> bool:
        """Whether `Broken` was said: nothing more will come."""
        return self._broken

    def feed(self, data: bytes) -> list[Frame]:
        """Take what the flow brought and return the frames that are complete.

        `Broken` is the last; what comes after it is dropped.
        """
        frames: list[Frame] = []
        if self._broken:
            return frames
        self._buffer += data
        while self._step(frames):
            pass
        return frames

    def _step(self, frames: list[Frame]) -> bool:
        """Do one thing; False when more bytes are needed, or would not help."""
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
        if self._buffer == b"\r":
            return False
        match = _LINE_ENDS.match(self._buffer)
        if match is None:
            error = RemoteError("a message begins with half a line end")
            return self._break(frames, error, None)
        del self._buffer[: match.end()]
        pings = self._line_ends // 2
        self._line_ends += match.end() // 2
        frames += [Ping()] * (self._line_ends // 2 - pings)
        return True

    def _take_head(self, frames: list[Frame]) -> bool:
        end = self._buffer.find(_END_OF_HEADER, self._searched, MAX_MESSAGE)
        if end < 0:
            if len(self._buffer) >= MAX_MESSAGE:
                error = RemoteError("header too large", status=513)
                return self._break(frames, error, None)
            # The next search may begin inside of a line end that is half here.
            self._searched = max(0, len(self._buffer) - len(_END_OF_HEADER) + 1)
            return False
        raw = bytes(self._buffer[:end])
        del self._buffer[: end + len(_END_OF_HEADER)]
        self._searched = 0
        self._line_ends = 0
        try:
            head = read_head(raw)
            malformed = None
        except RemoteError as error:
            head = _salvage(raw)
            malformed = Malformed(error, _skeleton(*head))
        try:
            length = content_length(head[1]) or 0
        except RemoteError as error:
            return self._break(frames, error, _skeleton(*head))
        if end + len(_END_OF_HEADER) + length > MAX_MESSAGE:
            too_large = RemoteError("message too large", status=513)
            frames.append(Malformed(too_large, _skeleton(*head)))
            self._skip = length
        else:
            self._head, self._length = malformed or head, length
        return True

    def _take_body(self, head: tuple[str, Headers] | Malformed, frames: list[Frame]) -> bool:
        if len(self._buffer) < self._length:
            return False
        body = bytes(self._buffer[: self._length])
        del self._buffer[: self._length]
        self._head = None
        frames.append(head if isinstance(head, Malformed) else _frame(*head, body))
        return True

    def _break(self, frames: list[Frame], error: RemoteError, request: Request | None) -> bool:
        frames.append(Broken(error, request))
        self._broken = True
        self._buffer.clear()
        return False


def frame_datagram(data: bytes) -> Message | Malformed | None:
    """Read one datagram (§18.3): its end is the body's where there is no Content-Length. None for a
    keep-alive.
    """
    data = data.lstrip(b"\r\n")
    if not data.strip(b"\x00"):
        return None  # keep-alives of NAT bindings: CRLF, zeros, or nothing
    raw, separator, body = data.partition(_END_OF_HEADER)
    if not separator:
        return Malformed(RemoteError("the header does not end"), None)
    try:
        head = read_head(raw)
    except RemoteError as error:
        return Malformed(error, _skeleton(*_salvage(raw)))
    return _frame(*head, body)


def _frame(start_line: str, headers: Headers, body: bytes) -> Message | Malformed:
    try:
        return build_message(start_line, headers, body)
    except RemoteError as error:
        return Malformed(error, _skeleton(start_line, headers))


def _salvage(raw: bytes) -> tuple[str, Headers]:
    """Read from a broken header the fields that matter for its answer and its end."""
    start_line, *lines = decode_lines(raw)
    lengths: dict[str, None] = {}
    others: list[str] = []
    for line in unfold(lines):
        name, colon, value = line.partition(":")
        key = name.strip().lower()
        if colon and key in ("content-length", "l"):
            lengths[f"l:{value}"] = None
        elif colon and key in _COPIED and "\r" not in value and "\n" not in value:
            others.append(f"{key}:{value}")
    if len(others) >= MAX_HEADER_FIELDS - 2:
        others = []  # nobody waits for an answer to that
    return start_line, Headers.parse([*list(lengths)[:2], *others])


def _skeleton(start_line: str, headers: Headers) -> Request | None:
    """Save from a broken request what an answer copies (§8.2.6.2): None if it is a response or has
    no way back.
    """
    if start_line[:4].upper() == "SIP/":
        return None
    if not headers.get("Via"):
        return None
    answered = Headers()
    answered.take(headers, "Via")
    for name in ("From", "To", "Call-ID", "CSeq"):
        value = headers.get(name)
        if value:
            answered.add(name, value)
    method = start_line.partition(" ")[0]
    return Request(
        method if grammar.is_token(method) else NO_METHOD, Uri("sip", host="invalid"), answered
    )
