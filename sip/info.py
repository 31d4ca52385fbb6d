"""Digits in INFO requests, as PBXs send them beside RFC 4733: no standard, two habits.

`application/dtmf-relay` holds lines `Signal=5` and `Duration=160` (milliseconds), and
`application/dtmf` the digit alone. INFO packages (RFC 6086) are another matter; we have none.
"""

import re

from sip.errors import LocalError, RemoteError
from sip.events import Body
from sip.multipart import media_type

# Content types that we read.
DIGIT_TYPES = ("application/dtmf-relay", "application/dtmf")

# What a key press lasts where the peer does not say, and what it may last at most, milliseconds.
DURATION_MS = 250
MAX_DURATION_MS = 10_000

_DIGITS = "0123456789*#ABCD"
# RFC 4733 §3.2 numbers its events on; some write those numbers.
_NUMBERS = {"10": "*", "11": "#", "12": "A", "13": "B", "14": "C", "15": "D"}

_LINE = re.compile(r"[ \t]*([A-Za-z]+)[ \t]*[=:][ \t]*([^\s]*)[ \t]*")


def read_digit(body: Body) -> tuple[str, int]:
    """Return the digit (0-9, *, #, A-D) and how long it was pressed, in milliseconds.

    Raises:
        RemoteError: 415, the body is of another type; 400, it holds no digit (a hook flash is
            none).
    """
    kind, _ = media_type(body.content_type)
    if kind not in DIGIT_TYPES:
        raise RemoteError("no digit", status=415, headers=[("Accept", ", ".join(DIGIT_TYPES))])
    text = body.data.decode("ascii", "replace").strip()
    fields: dict[str, str] = {}
    for line in text.splitlines()[:8]:
        match = _LINE.fullmatch(line)
        if match is not None:
            fields.setdefault(match[1].lower(), match[2])
    signal = fields.get("signal", text if kind == "application/dtmf" else "").upper()
    digit = _NUMBERS.get(signal, signal)
    if len(digit) != 1 or digit not in _DIGITS:
        raise RemoteError("no digit")
    return digit, _duration(fields.get("duration"))


def write_digit(digit: str, duration_ms: int) -> Body:
    """The body that says a digit, as every phone system reads it.

    Raises:
        LocalError: it is no digit.
    """
    if len(digit) != 1 or digit not in _DIGITS:
        raise LocalError(f"not a digit: {digit!r}")
    duration_ms = max(1, min(duration_ms, MAX_DURATION_MS))
    return Body(DIGIT_TYPES[0], f"Signal={digit}\r\nDuration={duration_ms}\r\n".encode())


def _duration(text: str | None) -> int:
    if text is None or not (text.isascii() and text.isdigit()) or len(text) > 9 or int(text) == 0:
        return DURATION_MS
    return min(int(text), MAX_DURATION_MS)
