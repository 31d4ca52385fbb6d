"""Fragments of RFC 3261 §25.1 as regular expressions, and the few text operations built on them.

Each fragment stands under the production that it covers. Fragments are matched with `fullmatch` by
the value types; where the field is sloppier than the grammar and the meaning is clear, the fragment
is wider and says so. Their repetitions are possessive (`*+`) wherever what follows could begin with
the same characters, so that no text, however hostile, is read more than once.
"""

import ipaddress
import re
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

from sip.errors import LocalError, RemoteError

# token = 1*(alphanum / "-" / "." / "!" / "%" / "*" / "_" / "+" / "`" / "'" / "~")
TOKEN = r"[A-Za-z0-9\-.!%*_+`'~]+"

# quoted-string = SWS DQUOTE *(qdtext / quoted-pair) DQUOTE
QUOTED_STRING = r'"(?:[^"\\]++|\\.)*+"'

# hostname / IPv4address; wider: underscores occur in private DNS zones.
HOSTNAME = r"[A-Za-z0-9_](?:[A-Za-z0-9_.\-]*[A-Za-z0-9_.])?"

# IPv6reference = "[" IPv6address "]"; wider: the shape only, a resolver judges the rest.
IPV6_REFERENCE = r"\[[0-9A-Fa-f:.]+\]"

HOST = rf"(?:{HOSTNAME}|{IPV6_REFERENCE})"

# gen-value = token / host / quoted-string; wider: anything that cannot end the parameter.
GENERIC_VALUE = rf'(?:{QUOTED_STRING}|[^\s;,"<>]*)'

# A few hundred calls at once, half a megabyte; addresses and Vias of telephony are shorter.
REMEMBERED = 1024
LONGEST_REMEMBERED = 200

_Value = TypeVar("_Value")

_TOKEN = re.compile(TOKEN)
_QUOTED_STRING = re.compile(QUOTED_STRING, re.DOTALL)
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_NEEDS_ESCAPE = re.compile(r'(["\\\x00-\x08\x0a-\x1f\x7f])')
# What would end a header field, or cannot be UTF-8.
_UNSENDABLE = re.compile("[\r\n\ud800-\udfff]")
# What is not closed goes on to the end; what is empty between two of them is passed over.
_SEPARATORS = {
    separator: re.compile(
        rf'"(?:[^"\\]++|\\.)*+"?|<[^>]*+|({separator}[\s{separator}]*+)', re.DOTALL
    )
    for separator in (",", ";")
}


def remembered(read: Callable[[str], _Value]) -> Callable[[str], _Value]:
    """Let a reader of immutable values know its last texts again: a call says its addresses in
    each of its messages. What is kept is bounded in number and length."""
    known = lru_cache(maxsize=REMEMBERED)(read)

    def read_again(text: str) -> _Value:
        return known(text) if len(text) <= LONGEST_REMEMBERED else read(text)

    return read_again


def is_address(host: str) -> bool:
    """Whether a host is an IP address and no name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_token(text: str) -> bool:
    return _TOKEN.fullmatch(text) is not None


def quote(text: str) -> str:
    """Return `text` as a quoted-string."""
    return '"' + _NEEDS_ESCAPE.sub(r"\\\1", text) + '"'


def unquote(text: str) -> str:
    """Return the meaning of a quoted-string; other text is returned as it is."""
    if text[:1] != '"' or _QUOTED_STRING.fullmatch(text) is None:
        return text
    return _QUOTED_PAIR.sub(r"\1", text[1:-1]) if "\\" in text else text[1:-1]


def split(text: str, separator: str) -> list[str]:
    """Cut at each "," or ";" outside of quotes and angle brackets; pieces are stripped, empty ones
    left out.

    RFC 3261 §7.3.1 lets a header field value be such a list; empty elements are tolerated.
    """
    if '"' not in text and "<" not in text:
        pieces = text.split(separator)
    elif separator not in text:
        pieces = [text]
    else:
        pieces, start = [], 0
        for match in _SEPARATORS[separator].finditer(text):
            if match.lastindex:
                pieces.append(text[start : match.start()])
                start = match.end()
        pieces.append(text[start:])
    return [stripped for piece in pieces if (stripped := piece.strip())]


def number(text: str, *, what: str, limit: int = 2**32 - 1) -> int:
    """Read 1*DIGIT.

    Raises:
        RemoteError: it is not a number, or is larger than `limit`.
    """
    # `isdigit` alone would accept digits of other scripts. The length guards int() against
    # megabytes of digits.
    if not (text.isascii() and text.isdigit()) or len(text) > 10 or int(text) > limit:
        raise RemoteError(f"{what} is not a number up to {limit}")
    return int(text)


def refuse_injection(text: str, *, what: str) -> str:
    """Return `text` if it can stand in a header field.

    Raises:
        LocalError: it has a line break, which would begin another header field, or is not Unicode.
    """
    if not text.isprintable() and _UNSENDABLE.search(text):  # most text is printable: no search
        raise LocalError(f"{what} must not have line breaks or lone surrogates")
    return text
