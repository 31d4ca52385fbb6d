"""Header fields (RFC 3261 §20): an ordered multi-map, and typed values read on demand.

`Headers` keeps names, order and values as they came; compact names are expanded. Typed properties
parse at each use: a call is a few dozen messages, and a cache that must be kept true costs more
than it saves. Those that every message needs are read once by `sip.message.parse_message`, so that
afterwards they cannot fail; the others raise `RemoteError`, which the agent turns into a 400.
Whatever we add is refused if it could begin another header field: display names come from people.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sip import grammar
from sip.errors import LocalError, RemoteError
from sip.events import Reason
from sip.uri import NO_PARAMETERS, NameAddr, Parameters

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

_VIA = re.compile(
    rf"""
    (?P<name>{grammar.TOKEN}) \s*/\s* (?P<version>{grammar.TOKEN})
    \s*/\s* (?P<transport>{grammar.TOKEN})
    \s+ (?P<host>{grammar.HOST}) \s* (?: :\s*(?P<port>[0-9]+) )? \s*
    (?P<parameters> (?: ;.* )? )
    """,
    re.VERBOSE | re.DOTALL,
)
_CSEQ = re.compile(rf"([0-9]+)\s+({grammar.TOKEN})")
_RACK = re.compile(rf"([0-9]+)\s+([0-9]+)\s+({grammar.TOKEN})")

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
        if match is None or match["name"].upper() != "SIP" or match["version"] != "2.0":
            raise RemoteError("malformed Via")
        port = match["port"]
        return cls(
            match["transport"].upper(),
            match["host"].strip("[]"),
            None if port is None else grammar.number(port, what="the port in Via", limit=65535),
            Parameters.parse(match["parameters"]),
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

    __slots__ = ("_fields",)

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        self._fields: list[tuple[str, str]] = []
        for name, value in fields:
            self.add(name, value)

    # --- fields as text

    def add(self, name: str, value: object) -> None:
        """Append a field.

        Raises:
            LocalError: the name is no token, or the value would begin another field.
        """
        if not grammar.is_token(name):
            raise LocalError("a header field's name must be a token")
        text = grammar.refuse_injection(str(value), what=f"the value of {name}")
        self._fields.append((_COMPACT.get(name.lower(), name), text))

    def set(self, name: str, value: object) -> None:
        """Put one field in the place of all of this name."""
        self.remove(name)
        self.add(name, value)

    def put_first(self, name: str, value: object) -> None:
        """Put a field in front of all others, as a Via goes."""
        self.add(name, value)
        self._fields.insert(0, self._fields.pop())

    def remove(self, name: str) -> None:
        self._fields = [field for field in self._fields if field[0].lower() != name.lower()]

    def get(self, name: str) -> str | None:
        """Return the first value, None if there is none."""
        same = name.lower()
        return next((value for key, value in self._fields if key.lower() == same), None)

    def get_all(self, name: str) -> list[str]:
        """Return the value of each field of this name; lists within them are not cut."""
        same = name.lower()
        return [value for key, value in self._fields if key.lower() == same]

    def copy(self) -> "Headers":
        other = Headers()
        other._fields = list(self._fields)
        return other

    def __contains__(self, name: str) -> bool:
        return self.get(name) is not None

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
        top = next(grammar.split(self._required("Via"), ","), "")
        return Via.parse(top)

    @property
    def from_(self) -> NameAddr:
        return NameAddr.parse(self._required("From"))

    @property
    def to(self) -> NameAddr:
        return NameAddr.parse(self._required("To"))

    @property
    def call_id(self) -> str:
        return self._required("Call-ID")

    @property
    def cseq(self) -> CSeq:
        return CSeq.parse(self._required("CSeq"))

    # --- fields that some have

    @property
    def contact(self) -> NameAddr | None:
        """The first Contact; None if there is none, or if it is `*`."""
        return next(iter(self.contacts), None)

    @property
    def contacts(self) -> list[NameAddr]:
        return [NameAddr.parse(value) for value in self.elements("Contact") if value != "*"]

    @property
    def record_route(self) -> list[NameAddr]:
        return [NameAddr.parse(value) for value in self.elements("Record-Route")]

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
        read = (parse_reason(value) for value in self.elements("Reason"))
        reasons = [reason for reason in read if reason is not None]
        return next((r for r in reasons if r.protocol == "Q.850"), reasons[0] if reasons else None)

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
        return [piece for value in self.get_all(name) for piece in grammar.split(value, ",")]

    def tokens(self, name: str) -> frozenset[str]:
        """Return a list of option tags or the like, in lower case."""
        return frozenset(piece.lower() for piece in self.elements(name))

    def integer(self, name: str, *, limit: int = 2**32 - 1) -> int | None:
        """Read a field that is one number; None if it is absent."""
        value = self.get(name)
        return None if value is None else grammar.number(value, what=name, limit=limit)

    def _required(self, name: str) -> str:
        value = self.get(name)
        if not value:
            raise RemoteError(f"missing {name}")
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


def reason_value(reason: Reason) -> str:
    """Write a Reason header field's value (RFC 3326 §2)."""
    text = f";text={grammar.quote(reason.text)}" if reason.text else ""
    return f"{reason.protocol};cause={reason.cause}{text}"
