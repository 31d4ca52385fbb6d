"""The kinds of values that settings have: each knows how to read itself and what to say if it
cannot.

`allowed` attaches the words that a mistake ends with; `bridge.config` puts the kinds together.
"""

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

import phonenumbers
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from sip.errors import RemoteError
from sip.uri import Uri

# Fewer would not carry two calls with all their candidates.
FEWEST_PORTS = 20


class Section(BaseModel):
    """What all sections have in common: nothing unknown, nothing changed after reading."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where we listen."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Endpoint":
        host, colon, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not (colon and host and port.isdecimal() and int(port) <= 65535):
            raise ValueError("not a host and a port")
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class PortRange:
    """UDP ports, both ends included."""

    first: int
    last: int

    @classmethod
    def parse(cls, text: str) -> "PortRange":
        match = re.fullmatch(r"(\d{1,5})\s*-\s*(\d{1,5})", text.strip())
        if match is None:
            raise ValueError("not a range of ports")
        first, last = int(match[1]), int(match[2])
        if first < 1024 or last > 65535:
            raise ValueError("outside of the ports that an ordinary user may open")
        if last - first + 1 < FEWEST_PORTS:
            raise ValueError(f"fewer than {FEWEST_PORTS} ports")
        return cls(first, last)

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"

    def __len__(self) -> int:
        return self.last - self.first + 1


def allowed(text: str) -> Any:
    """Words for the person whose value does not fit."""
    return Field(json_schema_extra={"allowed": text})


def _matches(pattern: str, what: str) -> AfterValidator:
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if compiled.fullmatch(text) is None:
            raise ValueError(what)
        return text

    return AfterValidator(check)


def _check_network(text: str) -> str:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f"not a network ({error})") from None
    if network.prefixlen == 0:
        raise ValueError("names everybody")
    return text


def _parse_endpoint(value: Any) -> Any:
    return Endpoint.parse(value) if isinstance(value, str) else value


def parse_ports(value: Any) -> Any:
    return PortRange.parse(value) if isinstance(value, str) else value


def _without_brackets(value: Any) -> Any:
    """An address of IPv6 as it is compared; people write it as in a URI."""
    bare = isinstance(value, str) and value.startswith("[") and value.endswith("]")
    return value[1:-1] if bare else value


def _check_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("not a web address")
    if parts.query or parts.fragment or parts.username:
        raise ValueError("a web address with more than a host, a port and a path")
    parts.port  # noqa: B018 - raises ValueError by itself when out of range
    return text.rstrip("/")


def _check_address(text: str) -> str:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        raise ValueError("not an IP address") from None
    return text


def _check_sip_address(text: str) -> str:
    try:
        uri = Uri.parse(text)
    except RemoteError:
        raise ValueError("not a SIP address") from None
    if uri.scheme not in ("sip", "sips"):
        raise ValueError("not a SIP address")
    return text


def _check_number(text: str) -> str:
    try:
        number = phonenumbers.parse(text)
    except phonenumbers.NumberParseException:
        raise ValueError("not an international phone number") from None
    if not phonenumbers.is_possible_number(number):
        raise ValueError("too short or too long for a number of that country")
    shown = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    if shown != text:
        raise ValueError(f"not in E.164, which writes it {shown}")
    return text


def _check_region(text: str) -> str:
    if text not in phonenumbers.SUPPORTED_REGIONS:
        raise ValueError("not a country that has telephone numbers")
    return text


def _check_file(path: Path) -> Path:
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    return path


def check_database(secret: SecretStr) -> SecretStr:
    url = secret.get_secret_value()
    scheme, colon, rest = url.partition(":")
    if not colon or not rest or scheme not in ("sqlite", "postgres", "postgresql"):
        raise ValueError("not a database that we know")
    return secret


def _check_secret(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if not text:
        raise ValueError("empty")
    if not text.isprintable():
        raise ValueError("holds a control character")
    return secret


def check_distinct(items: tuple[str, ...]) -> tuple[str, ...]:
    if not items:
        raise ValueError("empty")
    if len(set(items)) != len(items):
        raise ValueError("names something twice")
    return items


_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = rf"{_LABEL}(\.{_LABEL})*\.?"
_SERVER_NAME = rf"({_HOST}|\[[0-9A-Fa-f:.]+\])(:\d{{1,5}})?"
_LOCALPART = r"[a-z0-9._=/+-]+"
# User parts of SIP URIs that need no escaping (RFC 3261 §25.1, `unreserved` and `user-unreserved`).
_SIP_USER = r"[A-Za-z0-9_.!~*'()&=+$,;?/-]+"

Url = Annotated[str, AfterValidator(_check_url), allowed("http://host:port or https://host")]
ServerName = Annotated[
    str, _matches(_SERVER_NAME, "not a server name"), allowed("a name such as example.org")
]
Host = Annotated[
    str,
    BeforeValidator(_without_brackets),
    _matches(rf"{_HOST}|[0-9A-Fa-f:.]+", "not a host"),
    allowed("a name such as pbx.example.org, or an IP address"),
]
Domain = Annotated[
    str,
    BeforeValidator(_without_brackets),
    _matches(rf"{_HOST}|[0-9A-Fa-f:.]+", "not a domain"),
    allowed("a name such as pbx.example.org"),
]
Localpart = Annotated[
    str, _matches(_LOCALPART, "not the local part of a user id"), allowed("a-z, 0-9 and ._=/+-")
]
GhostPrefix = Annotated[
    str,
    _matches(r"[a-z0-9._=/-]*[a-z._=/-]", "not a prefix for user ids"),
    allowed("a-z, 0-9 and ._=/- with something other than a digit at the end"),
]
Word = Annotated[
    str,
    _matches(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", "not a name"),
    allowed("letters, digits, _.-"),
]
SipUser = Annotated[
    str,
    _matches(_SIP_USER, "not the user part of a SIP address"),
    allowed("letters, digits and -_.!~*'()&=+$,;?/"),
]
SipAddress = Annotated[
    str, AfterValidator(_check_sip_address), allowed("sip:user@host, such as sip:1000@pbx")
]
UserId = Annotated[
    str,
    _matches(rf"(?=.{{1,255}}$)@[!-9;-~]+:{_SERVER_NAME}", "not a Matrix user id"),
    allowed("@name:server"),
]
Number = Annotated[
    str,
    AfterValidator(_check_number),
    allowed("+ and 7 to 15 digits, such as +493012345678"),
]
Region = Annotated[
    str, AfterValidator(_check_region), allowed("two capital letters of ISO 3166, such as DE")
]
Address = Annotated[
    str, AfterValidator(_check_address), allowed("an IP address, such as 192.0.2.1")
]
Pin = Annotated[
    str,
    _matches(r"[A-Za-z0-9+/]{43}=", "not a pin"),
    allowed("the SHA-256 of a public key in base64: 44 characters with = at the end"),
]
Pins = Annotated[tuple[Pin, ...], AfterValidator(check_distinct), Field(max_length=2)]
ExistingFile = Annotated[Path, AfterValidator(_check_file), allowed("the path of a file")]
Secret = Annotated[SecretStr, AfterValidator(_check_secret), allowed("printable characters")]
Text = Annotated[
    str,
    _matches(r"[^\x00-\x1f\x7f\"\\]{1,128}", "not a name to show"),
    allowed("text on one line"),
]
# What the media plane knows, best first; a test holds the two lists equal.
Codec = Literal["opus", "g722", "pcma", "pcmu"]
Suite = Literal[
    "AEAD_AES_256_GCM",
    "AEAD_AES_128_GCM",
    "AES_256_CM_HMAC_SHA1_80",
    "AES_CM_128_HMAC_SHA1_80",
    "AES_256_CM_HMAC_SHA1_32",
    "AES_CM_128_HMAC_SHA1_32",
]
CODECS: tuple[Codec, ...] = get_args(Codec)
SUITES: tuple[Suite, ...] = get_args(Suite)
Listen = Annotated[
    Endpoint, BeforeValidator(_parse_endpoint), allowed("host:port, such as 127.0.0.1:29330")
]
Network = Annotated[
    str, AfterValidator(_check_network), allowed("an address or a network: 192.0.2.0/24")
]
Networks = Annotated[tuple[Network, ...], AfterValidator(check_distinct)]
Codecs = Annotated[tuple[Codec, ...], AfterValidator(check_distinct)]
Suites = Annotated[tuple[Suite, ...], AfterValidator(check_distinct)]
