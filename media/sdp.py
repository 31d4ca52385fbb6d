"""Session descriptions: text to values and back (RFC 8866), without any policy.

`Sdp.parse` keeps what a call needs (origin, addresses, media lines, every attribute in its order)
and drops the lines that carry nothing for us (i= u= e= p= b= t= r= z= k=). Attributes stay as they
were written; the accessors of `Media` and `Sdp` read them as typed values: formats (rtpmap and fmtp
joined, static payload types filled in), direction, crypto lines (RFC 4568 §9), ICE and DTLS
attributes (RFC 8839, RFC 8122). What is missing at media level is looked up at session level where
the RFCs say so.

Both line ends are taken (CRLF and LF); CRLF is written. The text of a peer raises `SdpError` and
nothing else; a value that could break out of its line cannot be built.
"""

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Self

MAX_LENGTH = 64 * 1024
MAX_MEDIA = 32
MAX_LINES = 2000
MAX_FORMATS = 256  # of one m= line


# Attributes whose values are keys or passwords. What is said of mistakes quotes numbers and codecs
# at the most, since a mistake may have moved a key to wherever it was made.
_SECRET = frozenset({"crypto", "ice-ufrag", "ice-pwd", "key-mgmt"})


class SdpError(ValueError):
    """The text is not a session description, or lacks what was asked of it."""


class Direction(Enum):
    """Direction attributes (RFC 8866 §6.7), from the point of view of who wrote them."""

    SENDRECV = "sendrecv"
    SENDONLY = "sendonly"
    RECVONLY = "recvonly"
    INACTIVE = "inactive"

    @property
    def sends(self) -> bool:
        return self in (Direction.SENDRECV, Direction.SENDONLY)

    @property
    def receives(self) -> bool:
        return self in (Direction.SENDRECV, Direction.RECVONLY)

    @classmethod
    def of(cls, *, sends: bool, receives: bool) -> "Direction":
        if sends:
            return cls.SENDRECV if receives else cls.SENDONLY
        return cls.RECVONLY if receives else cls.INACTIVE

    @property
    def mirrored(self) -> "Direction":
        """The same stream seen from the other end."""
        return Direction.of(sends=self.receives, receives=self.sends)


def _number(text: str, what: str, most: int) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 40 or int(text) > most:
        raise SdpError(f"{what} is not a number up to {most}: {text[:40]!r}")
    return int(text)


def _one_line(text: str, what: str) -> None:
    if any(c in text for c in "\r\n\0"):
        raise SdpError(f"{what} holds a line break")


def _word(text: str, what: str) -> None:
    if not text or any(c.isspace() for c in text):
        raise SdpError(f"{what} is not one word")
    _one_line(text, what)


@dataclass(frozen=True, slots=True)
class Origin:
    """The o= line (RFC 8866 §5.2)."""

    session_id: int
    version: int
    address: str = "127.0.0.1"
    username: str = "-"

    def __post_init__(self) -> None:
        _word(self.username, "user name in o=")
        _word(self.address, "address in o=")

    @classmethod
    def parse(cls, text: str) -> Self:
        words = text.split()
        if len(words) != 6:
            raise SdpError(f"o= line with {len(words)} words")
        username, session_id, version, _, _, address = words
        return cls(
            _number(session_id, "session id", 10**30),
            _number(version, "version", 10**30),
            address,
            username,
        )

    def __str__(self) -> str:
        where = f"IN {_family(self.address)} {self.address}"
        return f"{self.username} {self.session_id} {self.version} {where}"


def _family(address: str) -> str:
    return "IP6" if ":" in address else "IP4"


def _parse_connection(text: str) -> str:
    words = text.split()
    if len(words) != 3:
        raise SdpError(f"c= line with {len(words)} words")
    address = words[2].partition("/")[0]
    _word(address, "address in c=")
    return address


@dataclass(frozen=True, slots=True)
class Attribute:
    """One a= line: a property (`value` None) or a name with a value (RFC 8866 §5.13)."""

    name: str
    value: str | None = None

    def __post_init__(self) -> None:
        _word(self.name, "attribute's name")
        if ":" in self.name:
            raise SdpError("attribute's name holds a colon")
        _one_line(self.value or "", "attribute's value")

    @classmethod
    def parse(cls, text: str) -> Self:
        name, colon, value = text.partition(":")
        return cls(name, value if colon else None)

    def __repr__(self) -> str:
        shown = "…" if self.name in _SECRET and self.value else self.value
        return f"<a={self.name}{'' if shown is None else f':{shown}'}>"

    def __str__(self) -> str:
        return self.name if self.value is None else f"{self.name}:{self.value}"


def _values(attributes: Iterable[Attribute], name: str) -> list[str]:
    return [a.value or "" for a in attributes if a.name == name]


@dataclass(frozen=True, slots=True)
class Format:
    """One payload type of a media line: its rtpmap and fmtp joined (RFC 8866 §6.6, §6.15).

    Attributes:
        name: as the peer spelled it; compare with `key`.
        parameters: the fmtp text, "" without.
    """

    payload_type: int
    name: str
    clock_rate: int
    channels: int = 1
    parameters: str = ""

    def __post_init__(self) -> None:
        _word(self.name, "encoding's name")
        if "/" in self.name:
            raise SdpError("encoding's name holds a slash")
        _one_line(self.parameters, "fmtp")

    @property
    def key(self) -> str:
        """The encoding's name in lower case: names are case-insensitive (RFC 4855 §3)."""
        return self.name.lower()

    @property
    def rtpmap(self) -> str:
        channels = f"/{self.channels}" if self.channels != 1 else ""
        return f"{self.payload_type} {self.name}/{self.clock_rate}{channels}"

    def parameter(self, name: str) -> str | None:
        """The value of one `name=value` of the fmtp text, None without it."""
        for part in self.parameters.split(";"):
            key, _, value = part.partition("=")
            if key.strip().lower() == name:
                return value.strip()
        return None


_USUAL_PACKET_MS = 20  # where a description does not ask for anything else (RFC 3551 §4.2)


def _milliseconds(text: str | None) -> int | None:
    """A number of milliseconds; some write 20.0."""
    whole = (text or "").strip().partition(".")[0]
    return int(whole) if whole.isascii() and whole.isdigit() and 0 < len(whole) <= 5 else None


# Static payload types that may come without an rtpmap (RFC 3551 §6). G.722's clock of 8000 is an
# error of that table which everybody keeps.
_STATIC = {
    0: Format(0, "PCMU", 8000),
    3: Format(3, "GSM", 8000),
    8: Format(8, "PCMA", 8000),
    9: Format(9, "G722", 8000),
    13: Format(13, "CN", 8000),
    18: Format(18, "G729", 8000),
}


def _parse_rtpmap(text: str) -> Format:
    payload_type, _, encoding = text.strip().partition(" ")
    name, *rest = encoding.strip().split("/")
    if not 1 <= len(rest) <= 2:
        raise SdpError(f"rtpmap without clock rate: {text[:60]!r}")
    return Format(
        _number(payload_type, "payload type", 127),
        name,
        _number(rest[0], "clock rate", 10_000_000),
        _number(rest[1], "channels", 255) if len(rest) == 2 else 1,
    )


@dataclass(frozen=True, slots=True)
class Crypto:
    """An a=crypto line with one inline key (RFC 4568 §9.1).

    Attributes:
        key: master key and master salt, joined.
        lifetime: packets, None if not given.
        mki: identifier and its length on the wire in bytes, None if not given.
        parameters: session parameters as written.
    """

    tag: int
    suite: str
    key: bytes = field(repr=False)
    lifetime: int | None = None
    mki: tuple[int, int] | None = None
    parameters: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_]+", self.suite):
            raise SdpError("crypto suite is not a name")
        for parameter in self.parameters:
            _word(parameter, "session parameter")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the attribute's value; several keys in one line, which need MKIs, are refused."""
        words = text.split()
        if len(words) < 3:
            raise SdpError("crypto line without tag, suite and key")
        if len(words[0]) > 9:
            raise SdpError("crypto tag is longer than nine digits")
        tag = _number(words[0], "crypto tag", 999_999_999)
        method, colon, info = words[2].partition(":")
        if method.lower() != "inline" or not colon:
            raise SdpError("crypto line without an inline key")
        if ";" in info:
            raise SdpError("crypto line with several keys")
        key, *rest = info.split("|")
        lifetime, mki = _parse_lifetime_and_mki(rest)
        return cls(tag, words[1], _parse_key(key), lifetime, mki, tuple(words[3:]))

    def __str__(self) -> str:
        text = f"{self.tag} {self.suite} inline:{base64.b64encode(self.key).decode()}"
        if self.lifetime is not None:
            power = self.lifetime.bit_length() - 1
            text += f"|2^{power}" if self.lifetime == 1 << power else f"|{self.lifetime}"
        if self.mki is not None:
            text += f"|{self.mki[0]}:{self.mki[1]}"
        return " ".join((text, *self.parameters))


def _parse_key(text: str) -> bytes:
    """Base64, with or without its padding: some peers leave it off."""
    bare = text.rstrip("=")
    try:
        key = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise SdpError("crypto key is not base64") from None
    if not key:
        raise SdpError("crypto key is empty")
    return key


def _parse_lifetime_and_mki(parts: list[str]) -> tuple[int | None, tuple[int, int] | None]:
    if len(parts) > 2:
        raise SdpError("crypto key with too many fields")
    lifetime: int | None = None
    mki: tuple[int, int] | None = None
    if parts and ":" not in parts[0]:
        text = parts.pop(0)
        if text.startswith("2^"):
            lifetime = 1 << _number(text[2:], "crypto lifetime", 64)
        else:
            lifetime = _number(text, "crypto lifetime", 1 << 64)
        if lifetime == 0:
            raise SdpError("crypto lifetime is zero")
    if parts:
        identifier, _, length = parts.pop(0).partition(":")
        mki = (_number(identifier, "MKI", 10**30), _number(length, "length of the MKI", 128))
        if mki[1] == 0:
            raise SdpError("length of the MKI is zero")
    if parts:
        raise SdpError("crypto key with fields after the MKI")
    return lifetime, mki


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A certificate's digest (RFC 8122 §5)."""

    algorithm: str
    digest: bytes

    @classmethod
    def parse(cls, text: str) -> Self:
        algorithm, _, digest = text.strip().partition(" ")
        try:
            return cls(algorithm.lower(), bytes.fromhex(digest.replace(":", "")))
        except ValueError:
            raise SdpError("fingerprint is not hexadecimal") from None

    def __post_init__(self) -> None:
        _word(self.algorithm, "fingerprint's algorithm")
        if not self.digest:
            raise SdpError("fingerprint is empty")

    def __str__(self) -> str:
        return f"{self.algorithm} {self.digest.hex(':').upper()}"


@dataclass(frozen=True, slots=True)
class Media:
    """One m= line with what stands below it (RFC 8866 §5.14).

    Attributes:
        address: of its own c= line, None if only the session has one.
        payloads: the formats of the m= line as written.
    """

    kind: str
    port: int
    protocol: str
    payloads: tuple[str, ...]
    address: str | None = None
    attributes: tuple[Attribute, ...] = ()

    def __post_init__(self) -> None:
        for word in (self.kind, self.protocol, *self.payloads):
            _word(word, "word of m=")
        if not self.payloads:
            raise SdpError("m= line without formats")
        if not 0 <= self.port <= 65535:
            raise SdpError("port of m= out of range")
        if self.address is not None:
            _word(self.address, "address in c=")

    @classmethod
    def _parse(cls, text: str, address: str | None, attributes: list[Attribute]) -> "Media":
        words = text.split(maxsplit=MAX_FORMATS + 3)
        if not 4 <= len(words) <= MAX_FORMATS + 3:
            raise SdpError(f"m= line with {len(words)} words")
        port = _number(words[1].partition("/")[0], "port", 65535)
        return cls(words[0], port, words[2], tuple(words[3:]), address, tuple(attributes))

    def value(self, name: str) -> str | None:
        """The first value of an attribute ("" for a property), None without it."""
        return next(iter(_values(self.attributes, name)), None)

    def values(self, name: str) -> list[str]:
        return _values(self.attributes, name)

    def has(self, name: str) -> bool:
        return any(a.name == name for a in self.attributes)

    def formats(self) -> tuple[Format, ...]:
        """Payload types in the order of the m= line; those that nothing describes are left out."""
        maps: dict[int, Format] = {}
        for text in self.values("rtpmap"):
            described = _parse_rtpmap(text)
            maps[described.payload_type] = described
        parameters = {}
        for text in self.values("fmtp"):
            payload, _, parameter = text.strip().partition(" ")
            parameters[payload] = parameter.strip()
        formats: dict[int, Format] = {}
        for payload in self.payloads:
            number = _number(payload, "payload type", 127)
            known = maps.get(number) or _STATIC.get(number)
            if known is not None:
                formats[number] = Format(
                    number,
                    known.name,
                    known.clock_rate,
                    known.channels,
                    parameters.get(payload, ""),
                )
        return tuple(formats.values())

    @property
    def packet_ms(self) -> int | None:
        """How much sound whoever wrote this wants in a packet, in milliseconds (§6.4): a=ptime,
        never more than a=maxptime; None if it says nothing that makes sense."""
        wish, most = (_milliseconds(self.value(name)) for name in ("ptime", "maxptime"))
        if most is not None and (wish or _USUAL_PACKET_MS) > most:
            return most
        return wish

    def candidates(self) -> tuple[str, ...]:
        """ICE candidates in the form that trickle uses: "candidate:..." (RFC 8839 §5.1)."""
        return tuple(f"candidate:{value}" for value in self.values("candidate"))

    def lines(self) -> list[str]:
        lines = [f"m={self.kind} {self.port} {self.protocol} {' '.join(self.payloads)}"]
        if self.address is not None:
            lines.append(f"c=IN {_family(self.address)} {self.address}")
        return lines + [f"a={a}" for a in self.attributes]


@dataclass(frozen=True, slots=True)
class Sdp:
    """A session description (RFC 8866).

    Accessors that take `media` look there first, then at session level.
    """

    origin: Origin
    media: tuple[Media, ...] = ()
    address: str | None = None
    attributes: tuple[Attribute, ...] = ()
    name: str = "-"

    def __post_init__(self) -> None:
        _one_line(self.name, "session's name")
        if not self.name:
            raise SdpError("session's name is empty")
        if self.address is not None:
            _word(self.address, "address in c=")

    @classmethod
    def parse(cls, text: str) -> Self:
        if len(text) > MAX_LENGTH:
            raise SdpError("session description is too long")
        try:
            text.encode()
        except UnicodeEncodeError:  # JSON may hold half a character
            raise SdpError("session description is no text") from None
        lines = text.replace("\r\n", "\n").rstrip("\n").split("\n")
        if len(lines) > MAX_LINES:
            raise SdpError("session description has too many lines")
        if lines[0].rstrip() != "v=0":
            raise SdpError("session description does not start with v=0")
        reader = _Reader()
        for line in lines[1:]:
            reader.read(line)
        reader.close()
        if reader.origin is None:
            raise SdpError("no o= line")
        return cls(
            reader.origin,
            tuple(reader.media),
            reader.address,
            tuple(reader.attributes),
            reader.name,
        )

    def __str__(self) -> str:
        lines = ["v=0", f"o={self.origin}", f"s={self.name}"]
        if self.address is not None:
            lines.append(f"c=IN {_family(self.address)} {self.address}")
        lines.append("t=0 0")
        lines.extend(f"a={a}" for a in self.attributes)
        for media in self.media:
            lines.extend(media.lines())
        return "".join(f"{line}\r\n" for line in lines)

    def value(self, media: Media, name: str) -> str | None:
        """An attribute that may stand at either level: the media's, else the session's."""
        found = media.value(name)
        return found if found is not None else next(iter(_values(self.attributes, name)), None)

    def address_of(self, media: Media) -> str:
        address = media.address or self.address
        if address is None:
            raise SdpError("no c= line")
        return address

    def direction(self, media: Media) -> Direction:
        """`sendrecv` unless said otherwise (RFC 8866 §6.7)."""
        for attributes in (media.attributes, self.attributes):
            for attribute in attributes:
                for direction in Direction:
                    if attribute.name == direction.value:
                        return direction
        return Direction.SENDRECV

    def fingerprints(self, media: Media) -> tuple[Fingerprint, ...]:
        values = media.values("fingerprint") or _values(self.attributes, "fingerprint")
        return tuple(Fingerprint.parse(value) for value in values)


class _Reader:
    """Gathers the lines of one description; sections are closed by the next m= or the end."""

    def __init__(self) -> None:
        self.origin: Origin | None = None
        self.name = "-"
        self.address: str | None = None
        self.attributes: list[Attribute] = []
        self.media: list[Media] = []
        self._open: str | None = None
        self._media_address: str | None = None
        self._media_attributes: list[Attribute] = []

    def read(self, line: str) -> None:
        if len(line) < 2 or line[1] != "=":
            raise SdpError("a line that is none of a session description")
        if "\r" in line or "\0" in line:
            raise SdpError("control character in a line")
        self._take(line[0], line[2:])

    def _take(self, kind: str, text: str) -> None:
        if kind == "m":
            self.close()
            if len(self.media) >= MAX_MEDIA:
                raise SdpError("too many m= lines")
            self._open = text
        elif kind == "o" and self._open is None:
            self.origin = Origin.parse(text)
        elif kind == "s" and self._open is None:
            self.name = text or "-"
        elif kind == "c":
            if self._open is None:
                self.address = _parse_connection(text)
            else:
                self._media_address = _parse_connection(text)
        elif kind == "a":
            attribute = Attribute.parse(text)
            (self.attributes if self._open is None else self._media_attributes).append(attribute)
        elif kind not in "iuepbtrzkvos":
            raise SdpError(f"unknown kind of line: {kind!r}")

    def close(self) -> None:
        if self._open is not None:
            self.media.append(Media._parse(self._open, self._media_address, self._media_attributes))
        self._open, self._media_address, self._media_attributes = None, None, []
