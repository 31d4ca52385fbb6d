"""Addresses: `Uri` (RFC 3261 §19.1, RFC 3966), `NameAddr` (§20.10) and the `Parameters` of both.

All are frozen values with `parse` and `str()`, and `parse(str(x)) == x`. User parts are held
unescaped and escaped again when written; parameters are held as they were written, since their
escaping is a matter of each parameter. URIs of schemes unknown to us are kept whole in `user`,
because From and To may carry them (RFC 3261 §8.2.2.1); whoever must route to one answers 416.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from urllib.parse import quote

from sip import grammar
from sip.errors import LocalError, RemoteError

# scheme = ALPHA *( ALPHA / DIGIT / "+" / "-" / "." )
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+\-.]*):(.*)", re.DOTALL)

# More than any address or value has.
MAX_PARAMETERS = 100

# ( "sip:" / "sips:" ) [ userinfo ] hostport uri-parameters [ headers ]
# Wider in the user part: "#" and "[" occur unescaped in the field (dial strings).
_SIP = re.compile(
    rf"""
    (?i: (sips?) ) :
    (?: ([^@:\s<>"]++) (?: : ([^@\s<>"]*+) )? @ )?
    ({grammar.HOST})
    (?: : ([0-9]++) )?
    ((?: ;[^;?\s<>"]*+ )*+)
    (?: \? ([^\s<>"]*+) )?
    """,
    re.VERBOSE,
)
_TEL_REST = re.compile(r'(?P<user>[^;?\s<>"@]+)(?P<parameters>(?:;[^;?\s<>"]*)*)')
_OPAQUE_REST = re.compile(r'[^\s<>"]+')

# user = 1*( unreserved / escaped / user-unreserved ); without ":" and "@", which end it.
_SAFE_IN_USER = "-_.!~*'()&=+$,;?/"
_SAFE_IN_NUMBER = "-_.!~*'()&=+$,/"
_SAFE_IN_PASSWORD = "-_.!~*'()&=+$,"
# What is safe in all of them.
_UNESCAPED = re.compile(r"[A-Za-z0-9\-_.!~*'()&=+$,]*+")
# escaped = "%" HEXDIG HEXDIG; a run of them is undone at once.
_ESCAPES = re.compile(rb"(?:%[0-9A-Fa-f]{2})++")

_PARAMETER = re.compile(rf"([^\s=;,\"<>]++)(?:\s*+=\s*+({grammar.GENERIC_VALUE}))?", re.DOTALL)
# Parameters without quotes and spaces, as nearly all are: these can be cut without a look at each.
_PLAIN_PARAMETERS = re.compile(
    r';[^\s=;,"<>]++(?:=[^\s;,"<>]*+)?(?:;[^\s=;,"<>]++(?:=[^\s;,"<>]*+)?)*+'
)

# name-addr = [ display-name ] LAQUOT addr-spec RAQUOT; wider: an unquoted display name may hold any
# text.
_NAME_ADDR = re.compile(
    rf'({grammar.QUOTED_STRING}|[^"<>]*+)\s*+<([^<>]*+)>\s*+((?:;.*+)?)', re.DOTALL
)

# Parameters which, if either URI has them, must match (§19.1.4).
_COMPARED = ("transport", "user", "ttl", "method", "maddr")


@dataclass(frozen=True, slots=True)
class Parameters:
    """`;name=value` pairs in their order; names compare without case (§7.3.1).

    Attributes:
        pairs: names and raw values, None for a name alone.
    """

    pairs: tuple[tuple[str, str | None], ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Parameters":
        """Read what follows the first ";" (which may be there or not).

        Raises:
            RemoteError: a piece is no parameter.
        """
        if not text:
            return NO_PARAMETERS
        if text.count(";") > MAX_PARAMETERS:
            raise RemoteError("too many parameters")
        pairs: list[tuple[str, str | None]] = []
        if _PLAIN_PARAMETERS.fullmatch(text) is not None:
            for piece in text[1:].split(";"):
                name, equals, value = piece.partition("=")
                pairs.append((name, value if equals else None))
            return cls(tuple(pairs))
        for piece in grammar.split(text, ";"):
            match = _PARAMETER.fullmatch(piece)
            if match is None:
                raise RemoteError("malformed parameter")
            pairs.append((match[1], match[2]))
        return cls(tuple(pairs))

    def get(self, name: str) -> str | None:
        """Return the meaning of a value (quotes removed), "" for a name alone, None if it is not
        there.
        """
        same = name.lower()
        for key, value in self.pairs:
            if key.lower() == same:
                return grammar.unquote(value) if value else ""
        return None

    def with_(self, name: str, value: str | None = None) -> "Parameters":
        """Return a copy in which `name` has this raw value, at its old place or at the end.

        Raises:
            LocalError: the pair cannot be written.
        """
        text = name if value is None else f"{name}={value}"
        if (
            not grammar.is_token(name)
            or _PARAMETER.fullmatch(grammar.refuse_injection(text, what="a parameter")) is None
        ):
            raise LocalError("a parameter must be a token and a token or quoted string")
        if name in self:
            same = name.lower()
            return Parameters(
                tuple((key, value if key.lower() == same else old) for key, old in self.pairs)
            )
        return Parameters((*self.pairs, (name, value)))

    def without(self, name: str) -> "Parameters":
        same = name.lower()
        return Parameters(tuple(pair for pair in self.pairs if pair[0].lower() != same))

    def __contains__(self, name: str) -> bool:
        return name.lower() in [key.lower() for key, _ in self.pairs]

    def __iter__(self) -> Iterator[str]:
        return (key for key, _ in self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def __str__(self) -> str:
        return "".join(
            f";{key}" if value is None else f";{key}={value}" for key, value in self.pairs
        )


NO_PARAMETERS = Parameters()


@dataclass(frozen=True, slots=True)
class Uri:
    """A SIP, SIPS or tel URI, or one of another scheme held as opaque text (RFC 3261 §19.1, RFC
    3966).

    Attributes:
        scheme: in lower case.
        user: unescaped; the number for tel; everything after the colon for an unknown scheme. "" if
            absent.
        host: name or address, IPv6 without its brackets; "" for tel and unknown schemes.
        port: None if absent.
        parameters: `;transport=tls` and the like.
        password: deprecated by the standard; kept so that a URI goes back as it came.
        headers: what follows "?", raw.
    """

    scheme: str
    user: str = ""
    host: str = ""
    port: int | None = None
    parameters: Parameters = NO_PARAMETERS
    password: str | None = field(default=None, repr=False)
    headers: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Uri":
        """Read one URI.

        Raises:
            RemoteError: it is none.
        """
        match = _SIP.fullmatch(text)
        if match is not None:
            scheme, user, password, host, port, parameters, headers = match.groups()
            return cls(
                scheme.lower(),
                _unescape(user) if user else "",
                host[1:-1] if host[0] == "[" else host,
                None if port is None else grammar.number(port, what="the port", limit=65535),
                Parameters.parse(parameters) if parameters else NO_PARAMETERS,
                None if password is None else _unescape(password),
                headers,
            )
        match = _SCHEME.fullmatch(text)
        if match is None:
            raise RemoteError("URI without a scheme")
        scheme, rest = match[1].lower(), match[2]
        if scheme in ("sip", "sips"):
            raise RemoteError("malformed SIP URI")
        if scheme == "tel":
            match = _TEL_REST.fullmatch(rest)
            if match is None:
                raise RemoteError("malformed tel URI")
            return cls(
                scheme, _unescape(match["user"]), parameters=Parameters.parse(match["parameters"])
            )
        if _OPAQUE_REST.fullmatch(rest) is None:
            raise RemoteError("malformed URI")
        return cls(scheme, rest)

    def equivalent(self, other: "Uri") -> bool:
        """Whether both name the same resource (§19.1.4), as far as a user agent needs it."""
        return (
            self.scheme == other.scheme
            and self.user == other.user
            and self.password == other.password
            and self.host.lower() == other.host.lower()
            and self.port == other.port
            and all(
                (self.parameters.get(name) or "").lower()
                == (other.parameters.get(name) or "").lower()
                for name in _COMPARED
            )
        )

    def __str__(self) -> str:
        if self.scheme == "tel":
            return f"tel:{_escape(self.user, _SAFE_IN_NUMBER)}{self.parameters}"
        if self.scheme not in ("sip", "sips"):
            return f"{self.scheme}:{self.user}"
        password = "" if self.password is None else ":" + _escape(self.password, _SAFE_IN_PASSWORD)
        user = f"{_escape(self.user, _SAFE_IN_USER)}{password}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        headers = "" if self.headers is None else f"?{self.headers}"
        return f"{self.scheme}:{user}{host}{port}{self.parameters}{headers}"


@dataclass(frozen=True, slots=True)
class NameAddr:
    """An address with a display name and header parameters: the value of From, To, Contact, Route
    (§20.10).

    Attributes:
        uri: the address.
        display_name: the meaning (quotes and escapes removed), "" if absent.
        parameters: of the header field, such as `tag`; those of the URI are in `uri.parameters`.
    """

    uri: Uri
    display_name: str = ""
    parameters: Parameters = NO_PARAMETERS

    @classmethod
    def parse(cls, text: str) -> "NameAddr":
        """Read one name-addr or addr-spec with its parameters.

        Raises:
            RemoteError: it is neither.
        """
        text = text.strip()
        match = _NAME_ADDR.fullmatch(text)
        if match is not None:
            display, uri, parameters = match.groups()
            return cls(
                Uri.parse(uri),
                grammar.unquote(display.strip()),
                Parameters.parse(parameters),
            )
        # Without angle brackets, parameters belong to the header field, not to the URI (§20).
        # What would be the URI's header fields there has no place at all.
        address, _, parameters = text.partition(";")
        if "?" in address:
            raise RemoteError("an address with a question mark needs angle brackets")
        return cls(Uri.parse(address.strip()), "", Parameters.parse(parameters))

    @property
    def tag(self) -> str | None:
        return self.parameters.get("tag")

    def with_tag(self, tag: str) -> "NameAddr":
        return replace(self, parameters=self.parameters.with_("tag", tag))

    def without_tag(self) -> "NameAddr":
        return replace(self, parameters=self.parameters.without("tag"))

    def __str__(self) -> str:
        display = grammar.quote(self.display_name) + " " if self.display_name else ""
        return f"{display}<{self.uri}>{self.parameters}"


def _escape(text: str, safe: str) -> str:
    return text if _UNESCAPED.fullmatch(text) is not None else quote(text, safe=safe)


def _unescape(text: str) -> str:
    if "%" not in text:
        return text
    try:
        return _ESCAPES.sub(_octets, text.encode("utf-8", "surrogatepass")).decode()
    except UnicodeDecodeError:
        raise RemoteError("escaped bytes in a URI are not UTF-8") from None


def _octets(escapes: re.Match[bytes]) -> bytes:
    return bytes.fromhex(escapes[0].replace(b"%", b"").decode())
