"""Header fields (RFC 3261 §20): an ordered multi-map, and typed values read on demand.

`Headers` keeps names, order and values as they came; compact names are expanded. Beside the fields
stands an index by lower-case name, so that no lookup walks them, and what the five fields of every
message mean is read once and forgotten when the field changes. Those five are read by
`sip.message.parse_message`, so that afterwards they cannot fail; the others raise `RemoteError`,
which the agent turns into a 400. Whatever we add is refused if it could begin another header field:
display names come from people.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from sip import grammar
from sip.errors import LocalError, RemoteError
from sip.events import Reason, SipWarning
from sip.uri import NO_PARAMETERS, NameAddr, Parameters

_Value = TypeVar("_Value")

# More than any message of a user agent carries; a proxy chain adds a handful.
MAX_HEADER_FIELDS = 256

# One for each protocol that has causes; the others of a longer list are not looked at.
MAX_REASONS = 16

# §7.3.3 and the registry of header fields.
_COMPACT = {
    "a": "Accept-Contact",
    "b": "Referred-By",
    "c": "Content-Type",
    "d": "Request-Disposition",
    "e": "Content-Encoding",
    "f": "From",
    "i": "Call-ID",
    "j": "Reject-Contact",
    "k": "Supported",
    "l": "Content-Length",
    "m": "Contact",
    "o": "Event",
    "r": "Refer-To",
    "s": "Subject",
    "t": "To",
    "u": "Allow-Events",
    "v": "Via",
    "x": "Session-Expires",
    "y": "Identity",
}

# How the usual fields are spelled, with the index's key and the name in full: most fields of most
# messages are found here, and need no look at their letters.
_SPELLED = {
    name: (name.lower(), name)
    for name in (
        *_COMPACT.values(),
        "Accept", "Alert-Info", "Allow", "Authorization", "CSeq", "Call-Info", "Date", "Diversion",
        "Expires", "Max-Forwards", "Min-SE", "P-Asserted-Identity", "P-Preferred-Identity",
        "Privacy", "Proxy-Authenticate", "Proxy-Authorization", "RAck", "RSeq", "Reason",
        "Record-Route", "Remote-Party-ID", "Require", "Retry-After", "Route", "Server",
        "User-Agent", "WWW-Authenticate", "Warning",
    )
}  # fmt: skip
_SPELLED |= {short: _SPELLED[name] for short, name in _COMPACT.items()}

_VIA = re.compile(
    rf"""
    (?i:SIP) \s*+/\s*+ 2\.0 \s*+/\s*+ ({grammar.TOKEN})
    \s++ ({grammar.HOST}) \s*+ (?: :\s*+([0-9]++) )? \s*+
    ((?: ;.*+ )?)
    """,
    re.VERBOSE | re.DOTALL,
)
_CSEQ = re.compile(rf"([0-9]++)\s++({grammar.TOKEN})")
_RACK = re.compile(rf"([0-9]++)\s++([0-9]++)\s++({grammar.TOKEN})")

_WARNING = re.compile(rf"([1-9][0-9]{{2}})[ \t]+(\S+)[ \t]+({grammar.QUOTED_STRING})", re.DOTALL)

# §8.1.1.7: a branch that begins so is unique by itself.
MAGIC_COOKIE = "z9hG4bK"

# RFC 3261 §8.1.1.5: less than 2**31.
_CSEQ_LIMIT = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Via:
    """One hop (§20.42).

    Attributes:
        transport: "TLS", "TCP", "UDP", in upper case.
        host: sent-by, IPv6 without its brackets.
        port: None if absent.
        parameters: `branch`, `rport` (RFC 3581), `received`, `alias` (RFC 5923).
    """

    transport: str
    host: str
    port: int | None = None
    parameters: Parameters = NO_PARAMETERS

    @classmethod
    def parse(cls, text: str) -> "Via":
        match = _VIA.fullmatch(text.strip())
        if match is None:
            raise RemoteError("malformed Via")
        transport, host, port, parameters = match.groups()
        if ";;" in parameters:
            raise RemoteError("empty parameter in Via")
        return cls(
            transport.upper(),
            host[1:-1] if host[0] == "[" else host,
            None if port is None else grammar.number(port, what="the port in Via", limit=65535),
            Parameters.parse(parameters),
        )

    @property
    def branch(self) -> str:
        return self.parameters.get("branch") or ""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        return f"SIP/2.0/{self.transport} {host}{port}{self.parameters}"


@dataclass(frozen=True, slots=True)
class CSeq:
    """Sequence number and method (§20.16)."""

    number: int
    method: str

    @classmethod
    def parse(cls, text: str) -> "CSeq":
        match = _CSEQ.fullmatch(text)
        if match is None:
            raise RemoteError("malformed CSeq")
        return cls(grammar.number(match[1], what="CSeq", limit=_CSEQ_LIMIT), match[2])

    def __str__(self) -> str:
        return f"{self.number} {self.method}"


@dataclass(frozen=True, slots=True)
class RAck:
    """Which reliable provisional response a PRACK acknowledges (RFC 3262 §7.2)."""

    rseq: int
    cseq: CSeq

    @classmethod
    def parse(cls, text: str) -> "RAck":
        match = _RACK.fullmatch(text)
        if match is None:
            raise RemoteError("malformed RAck")
        return cls(grammar.number(match[1], what="RAck"), CSeq.parse(f"{match[2]} {match[3]}"))

    def __str__(self) -> str:
        return f"{self.rseq} {self.cseq}"


@dataclass(frozen=True, slots=True)
class SessionExpires:
    """How long a session lives without a refresh (RFC 4028 §4).

    Attributes:
        interval: seconds.
        refresher: "uac" or "uas" of the transaction that carries it, None where it is left open.
    """

    interval: int
    refresher: str | None = None

    @classmethod
    def parse(cls, text: str) -> "SessionExpires":
        interval, _, rest = text.partition(";")
        refresher = (Parameters.parse(rest).get("refresher") or "").lower()
        return cls(
            grammar.number(interval.strip(), what="Session-Expires"),
            refresher if refresher in ("uac", "uas") else None,
        )

    def __str__(self) -> str:
        return str(self.interval) + (f";refresher={self.refresher}" if self.refresher else "")


class Headers:
    """The header fields of one message."""

    __slots__ = ("_fields", "_index", "_read")

    def __init__(self, fields: Iterable[tuple[str, object]] = ()) -> None:
        self._fields: list[tuple[str, str]] = []
        self._index: dict[str, tuple[str, ...]] = {}  # values of each field, by lower-case name
        self._read: dict[str, Any] = {}  # what the first of them means, once somebody asked
        for name, value in fields:
            self.add(name, value)

    @classmethod
    def parse(cls, lines: list[str]) -> "Headers":
        """Read the lines of a header, without their line ends; folded ones are joined (§7.3.1).

        Raises:
            RemoteError: a line is no field, or there are too many.
        """
        headers = cls()
        fields, index = headers._fields, headers._index
        if len(lines) > MAX_HEADER_FIELDS:
            lines = unfold(lines)
            if len(lines) > MAX_HEADER_FIELDS:
                raise RemoteError("too many header fields", status=513)
        for line in lines:
            name, colon, value = line.partition(":")
            spelled = _SPELLED.get(name)
            if spelled is None or not colon:
                if line[:1] in (" ", "\t") and fields:
                    return cls.parse(unfold(lines))
                name = name.rstrip(" \t")
                if not colon or not grammar.is_token(name):
                    raise RemoteError("malformed header field")
                spelled = _spell(name)
            key, name = spelled
            value = value.strip()
            fields.append((name, value))
            index[key] = (*index[key], value) if key in index else (value,)
        return headers

    # --- fields as text

    def add(self, name: str, value: object) -> None:
        """Append a field.

        Raises:
            LocalError: the name is no token, or the value would begin another field.
        """
        key, field = _field(name, value)
        self._fields.append(field)
        before = self._index.get(key, ())
        self._index[key] = (*before, field[1])
        if not before and isinstance(value, (Via, NameAddr, CSeq)):
            self._read[key] = value

    def set(self, name: str, value: object) -> None:
        """Put one field in the place of all of this name."""
        self.remove(name)
        self.add(name, value)

    def put_first(self, name: str, value: object) -> None:
        """Put a field in front of all others, as a Via goes."""
        key, field = _field(name, value)
        self._fields.insert(0, field)
        self._index[key] = (field[1], *self._index.get(key, ()))
        self._read.pop(key, None)
        if isinstance(value, (Via, NameAddr, CSeq)):
            self._read[key] = value

    def take(self, other: "Headers", *names: str) -> None:
        """Append the fields of these names from another message, as they stand there."""
        for name in names:
            key, name = _SPELLED.get(name) or _spell(name)
            values = other._index.get(key)
            if values is None:
                continue
            self._fields += [(name, value) for value in values]
            if key in self._index:
                values = (*self._index[key], *values)
            elif key in other._read:
                self._read[key] = other._read[key]
            self._index[key] = values

    def remove(self, name: str) -> None:
        key = name.lower()
        if self._index.pop(key, None) is not None:
            self._fields = [field for field in self._fields if field[0].lower() != key]
            self._read.pop(key, None)

    def get(self, name: str) -> str | None:
        """Return the first value, None if there is none."""
        values = self._index.get(name.lower())
        return None if values is None else values[0]

    def get_all(self, name: str) -> list[str]:
        """Return the value of each field of this name; lists within them are not cut."""
        return list(self._index.get(name.lower(), ()))

    def repeated(self, keys: Iterable[str]) -> str | None:
        """Return the first of these lower-case names that more than one field has."""
        for key in keys:
            if key in self._index and len(self._index[key]) > 1:
                return key
        return None

    def copy(self) -> "Headers":
        other = Headers()
        other._fields = self._fields.copy()
        other._index = self._index.copy()
        other._read = self._read.copy()
        return other

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._index

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self._fields == other._fields

    __hash__ = None  # type: ignore[assignment]  # mutable: must not be a key

    def __repr__(self) -> str:
        return (
            f"Headers({[name for name, _ in self._fields]})"  # values hold numbers and credentials
        )

    # --- fields that every message has (§8.1.1)

    @property
    def via(self) -> Via:
        """The topmost Via."""
        return self._meaning("Via", "via", _read_topmost)

    @property
    def from_(self) -> NameAddr:
        return self._meaning("From", "from", _address)

    @property
    def to(self) -> NameAddr:
        return self._meaning("To", "to", _address)

    @property
    def call_id(self) -> str:
        return self._required("Call-ID")

    @property
    def cseq(self) -> CSeq:
        return self._meaning("CSeq", "cseq", CSeq.parse)

    # --- fields that some have

    @property
    def contact(self) -> NameAddr | None:
        """The first Contact; None if there is none, or if it is `*`."""
        return next(self._addresses("Contact"), None)

    @property
    def contacts(self) -> list[NameAddr]:
        return list(self._addresses("Contact"))

    @property
    def record_route(self) -> list[NameAddr]:
        return list(self._addresses("Record-Route"))

    @property
    def route(self) -> list[NameAddr]:
        return [NameAddr.parse(value) for value in self.elements("Route")]

    @property
    def called_party(self) -> NameAddr | None:
        """P-Called-Party-ID (RFC 7315 §5.2): the address that was called, where the Request-URI is
        only our contact. None if absent or unreadable.
        """
        value = self.get("P-Called-Party-ID")
        try:
            return None if value is None else NameAddr.parse(value)
        except RemoteError:
            return None  # it is optional: no reason to refuse a call

    @property
    def reason(self) -> Reason | None:
        """Reason (RFC 3326); of several, Q.850 before SIP: it tells more. None if unreadable."""
        read = (parse_reason(value) for value in self.elements("Reason")[:MAX_REASONS])
        reasons = [reason for reason in read if reason is not None]
        return next((r for r in reasons if r.protocol == "Q.850"), reasons[0] if reasons else None)

    @property
    def warning(self) -> SipWarning | None:
        """The first Warning that is readable (§20.43)."""
        for value in self.elements("Warning"):
            match = _WARNING.fullmatch(value)
            if match is not None:
                return SipWarning(int(match[1]), grammar.unquote(match[3]), match[2])
        return None

    @property
    def session_expires(self) -> SessionExpires | None:
        value = self.get("Session-Expires")
        return None if value is None else SessionExpires.parse(value)

    @property
    def rack(self) -> RAck:
        return RAck.parse(self._required("RAck"))

    @property
    def retry_after(self) -> int | None:
        """Seconds; comment and parameters are left out (§20.33). None if unreadable."""
        match = re.match(r"[0-9]{1,9}(?![0-9])", self.get("Retry-After") or "")
        return int(match[0]) if match else None

    def elements(self, name: str) -> list[str]:
        """Return the elements of a comma-separated list, over all fields of this name."""
        values = self._index.get(name.lower(), ())
        return [piece for value in values for piece in grammar.split(value, ",")]

    def tokens(self, name: str) -> frozenset[str]:
        """Return a list of option tags or the like, in lower case."""
        return frozenset(piece.lower() for piece in self.elements(name))

    def integer(self, name: str, *, limit: int = 2**32 - 1) -> int | None:
        """Read a field that is one number; None if it is absent."""
        value = self.get(name)
        return None if value is None else grammar.number(value, what=name, limit=limit)

    def _addresses(self, name: str) -> Iterator[NameAddr]:
        values = self.elements(name)
        if len(values) > MAX_HEADER_FIELDS:
            raise RemoteError(f"too many addresses in {name}", status=513)
        return (_address(value) for value in values if value != "*")

    def _required(self, name: str) -> str:
        value = self.get(name)
        if not value:
            raise RemoteError(f"missing {name}")
        return value

    def _meaning(self, name: str, key: str, parse: Callable[[str], _Value]) -> _Value:
        """Read a field once; what it means stays until the field changes."""
        value: _Value | None = self._read.get(key)
        if value is None:
            value = self._read[key] = parse(self._required(name))
        return value


def parse_reason(value: str) -> Reason | None:
    """Read one Reason header field's value (RFC 3326 §2); None if unreadable."""
    protocol, _, rest = value.partition(";")
    try:
        parameters = Parameters.parse(rest)
        cause = grammar.number(parameters.get("cause") or "", what="cause", limit=999)
    except RemoteError:
        return None
    return Reason(protocol.strip().upper(), cause, parameters.get("text") or "")


def warning_value(warning: SipWarning, *, agent: str) -> str:
    """Write a Warning header field's value (RFC 3261 §20.43).

    Args:
        agent: our name, a token or a host, where the warning names none.
    """
    return f"{warning.code} {warning.agent or agent} {grammar.quote(warning.text)}"


def reason_value(reason: Reason) -> str:
    """Write a Reason header field's value (RFC 3326 §2)."""
    text = f";text={grammar.quote(reason.text)}" if reason.text else ""
    return f"{reason.protocol};cause={reason.cause}{text}"


def _topmost(vias: str) -> Via:
    return Via.parse(vias if "," not in vias else next(iter(grammar.split(vias, ",")), ""))


_address = grammar.remembered(NameAddr.parse)
_read_topmost = grammar.remembered(_topmost)


def _spell(name: str) -> tuple[str, str]:
    """Return the index's key of a field, and its name as it is written."""
    key = name.lower()
    if key == "content-length":
        return _SPELLED["l"]  # the one that is written anew, and looked for when it is
    return _SPELLED[key] if key in _COMPACT else (key, name)


def _field(name: str, value: object) -> tuple[str, tuple[str, str]]:
    """Return a new field with its key."""
    spelled = _SPELLED.get(name)
    if spelled is None:
        if not grammar.is_token(name):
            raise LocalError("a header field's name must be a token")
        spelled = _spell(name)
    key, name = spelled
    return key, (name, grammar.refuse_injection(str(value), what=f"the value of {name}"))


def unfold(lines: list[str]) -> list[str]:
    """Join folded lines with a space (§7.3.1)."""
    if not any(line.startswith((" ", "\t")) for line in lines):
        return lines
    whole: list[list[str]] = []
    for line in lines:
        if line[:1] in (" ", "\t") and whole:
            whole[-1].append(line.strip())
        else:
            whole.append([line])
    return [" ".join(parts) for parts in whole]
