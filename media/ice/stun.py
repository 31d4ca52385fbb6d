"""STUN messages: bytes ↔ values (RFC 8489), with the attributes of ICE (RFC 8445) and TURN (RFC
8656).

One table names each attribute with its way in and out. `Message.parse` checks everything that needs
no key, the FINGERPRINT included, and raises `StunError` and nothing else; `verify` then checks
MESSAGE-INTEGRITY (SHA-1, the one that ICE and TURN use) once the caller knows whose key it should
be. Attributes behind the integrity are not covered by it and are left out. Unknown attributes are
listed if they demand to be understood, else forgotten.
"""

import hmac
import ipaddress
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from hashlib import md5
from typing import Any, Final, Generic, Self, TypeVar

MAGIC_COOKIE: Final = 0x2112A442
HEADER_SIZE: Final = 20
TRANSACTION_ID_SIZE: Final = 12

_LONGEST = 4096  # bytes of attributes: more than any datagram of a call and what wraps it
_COOKIE = MAGIC_COOKIE.to_bytes(4, "big")
_FINGERPRINT_XOR = 0x5354554E
_INTEGRITY = 0x0008
_INTEGRITY_SHA256 = 0x001C
_FINGERPRINT = 0x8028

# When requests over UDP are sent again. Deviation: RFC 8489 §6.2.1 begins at 500 ms and doubles
# without end; a call's first second is dear and the checks of one call are few, so this begins at
# half of that and levels off.
_FIRST_INTERVAL = 0.25
_LONGEST_INTERVAL = 2.0
_SENDINGS = 7

T = TypeVar("T")
Address = tuple[str, int]


class StunError(ValueError):
    """The bytes are no STUN message, or a broken one."""


class Method(IntEnum):
    """What is asked (RFC 8489 §18.2, RFC 8656 §17)."""

    BINDING = 0x001
    ALLOCATE = 0x003
    REFRESH = 0x004
    SEND = 0x006
    DATA = 0x007
    CREATE_PERMISSION = 0x008
    CHANNEL_BIND = 0x009


class Kind(IntEnum):
    """The class of a message (RFC 8489 §5), as its two bits stand in the type field."""

    REQUEST = 0x000
    INDICATION = 0x010
    SUCCESS = 0x100
    ERROR = 0x110


@dataclass(frozen=True, slots=True, eq=False)
class Attribute(Generic[T]):
    """A row of the table: its number and how its value is written and read.

    `pack` and `unpack` also get the transaction id, which masks IPv6 addresses; `unpack` may raise
    `ValueError`.
    """

    number: int
    name: str
    pack: Callable[[T, bytes], bytes]
    unpack: Callable[[bytes, bytes], T]

    def __repr__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Message:
    """A STUN message.

    Attributes:
        attributes: in order, without MESSAGE-INTEGRITY and FINGERPRINT, which `encode` adds and
        `parse` takes off.
        unknown: numbers of attributes that must be understood and are not (RFC 8489 §14).
    """

    method: int
    kind: Kind
    transaction_id: bytes
    attributes: tuple[tuple[Attribute[Any], Any], ...] = ()
    unknown: tuple[int, ...] = ()
    _raw: bytes = field(default=b"", repr=False, compare=False)
    _integrity_at: int | None = field(default=None, repr=False, compare=False)

    def get(self, attribute: Attribute[T]) -> T | None:
        """The value of the first attribute of this name, or None."""
        for each, value in self.attributes:
            if each is attribute:
                found: T = value
                return found
        return None

    def has(self, attribute: Attribute[Any]) -> bool:
        """Whether the attribute is there; for flags such as USE-CANDIDATE."""
        return any(each is attribute for each, _ in self.attributes)

    def encode(self, key: bytes | None = None, *, fingerprint: bool = True) -> bytes:
        """The bytes, with MESSAGE-INTEGRITY if there is a `key` (RFC 8489 §14.5), then FINGERPRINT
        (§14.7)."""
        body = bytearray()
        for attribute, value in self.attributes:
            packed = attribute.pack(value, self.transaction_id)
            body += struct.pack("!HH", attribute.number, len(packed)) + packed
            body += bytes(-len(packed) % 4)
        if key is not None:
            head = self._header(len(body) + 24)
            digest = hmac.digest(key, head + body, "sha1")
            body += struct.pack("!HH", _INTEGRITY, 20) + digest
        if fingerprint:
            head = self._header(len(body) + 8)
            checksum = zlib.crc32(head + body) ^ _FINGERPRINT_XOR
            body += struct.pack("!HHI", _FINGERPRINT, 4, checksum)
        return self._header(len(body)) + bytes(body)

    def _header(self, length: int) -> bytes:
        # The class bits sit between the bits of the method (RFC 8489 §5, figure 3).
        method = self.method
        number = (method & 0xF80) << 2 | (method & 0x70) << 1 | method & 0xF | self.kind
        return struct.pack("!HHI", number, length, MAGIC_COOKIE) + self.transaction_id

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read one whole message; `StunError` for anything else."""
        if not is_message(data):
            raise StunError("not a STUN message")
        number, length = struct.unpack_from("!HH", data)
        if length % 4 or len(data) != HEADER_SIZE + length:
            raise StunError("length of STUN message is wrong")
        if length > _LONGEST:
            raise StunError("STUN message is too long")
        transaction_id = data[8:20]
        attributes: list[tuple[Attribute[Any], Any]] = []
        unknown: list[int] = []
        integrity_at: int | None = None
        covered = True
        at = HEADER_SIZE
        while at < len(data):
            kind, size = struct.unpack_from("!HH", data, at)
            value = data[at + 4 : at + 4 + size]
            if len(value) != size:
                raise StunError("attribute of STUN message is cut off")
            if kind == _FINGERPRINT:
                _check_fingerprint(data, at, value)
                break  # it is the last one
            if kind == _INTEGRITY and integrity_at is None:
                if size != 20:
                    raise StunError("bad size of MESSAGE-INTEGRITY")
                integrity_at = at
                covered = False
            elif kind == _INTEGRITY_SHA256:
                covered = False
            elif covered:
                attribute = _BY_NUMBER.get(kind)
                if attribute is not None:
                    try:
                        attributes.append((attribute, attribute.unpack(value, transaction_id)))
                    except ValueError as error:
                        raise StunError(f"bad {attribute.name}") from error
                elif kind < 0x8000:
                    unknown.append(kind)
            at += 4 + size + (-size % 4)
        return cls(
            method=(number & 0x3E00) >> 2 | (number & 0xE0) >> 1 | number & 0xF,
            kind=Kind(number & 0x110),
            transaction_id=transaction_id,
            attributes=tuple(attributes),
            unknown=tuple(unknown),
            _raw=data,
            _integrity_at=integrity_at,
        )

    def verify(self, key: bytes) -> bool:
        """Whether a parsed message carries a MESSAGE-INTEGRITY made with this key."""
        at = self._integrity_at
        if at is None:
            return False
        # The digest covers the header as if the message ended with the attribute.
        head = self._raw[:2] + struct.pack("!H", at + 4) + self._raw[4:at]
        return hmac.compare_digest(hmac.digest(key, head, "sha1"), self._raw[at + 4 : at + 24])


def is_message(data: bytes) -> bool:
    """Whether this looks like STUN: two zero bits and the cookie (RFC 8489 §5). Costs next to
    nothing."""
    return len(data) >= HEADER_SIZE and data[0] < 0x40 and data[4:8] == _COOKIE


def interval(sent: int) -> float:
    """How long to wait for a response after a request was sent for the `sent`-th time."""
    return min(_FIRST_INTERVAL * 2.0 ** (sent - 1), _LONGEST_INTERVAL)


def exhausted(sent: int) -> bool:
    """Whether a request that was sent this often and not answered has failed: after ten seconds in
    all."""
    return sent >= _SENDINGS


def long_term_key(username: str, realm: str, password: str) -> bytes:
    """The key of long-term credentials (RFC 8489 §9.2.2)."""
    return md5(f"{username}:{realm}:{password}".encode(), usedforsecurity=False).digest()


def _check_fingerprint(data: bytes, at: int, value: bytes) -> None:
    if len(value) != 4 or at + 8 != len(data):
        raise StunError("FINGERPRINT is not the end of the message")
    if zlib.crc32(data[:at]) ^ _FINGERPRINT_XOR != int.from_bytes(value, "big"):
        raise StunError("FINGERPRINT does not match")


# --- values of attributes


def _pack_address(value: Address, transaction_id: bytes) -> bytes:
    packed = ipaddress.ip_address(value[0]).packed
    return struct.pack("!BBH", 0, 1 if len(packed) == 4 else 2, value[1]) + packed


def _unpack_address(data: bytes, transaction_id: bytes) -> Address:
    if len(data) < 4 or (data[1], len(data)) not in ((1, 8), (2, 20)):
        raise ValueError("bad address")
    return str(ipaddress.ip_address(data[4:])), int.from_bytes(data[2:4], "big")


def _mask(data: bytes, transaction_id: bytes) -> bytes:
    """XOR port and address with the cookie and the transaction id (RFC 8489 §14.2); its own
    inverse."""
    pad = _COOKIE[:2] + _COOKIE + transaction_id
    return data[:2] + bytes(a ^ b for a, b in zip(data[2:], pad, strict=False))


def _pack_xor_address(value: Address, transaction_id: bytes) -> bytes:
    return _mask(_pack_address(value, transaction_id), transaction_id)


def _unpack_xor_address(data: bytes, transaction_id: bytes) -> Address:
    return _unpack_address(_mask(data, transaction_id), transaction_id)


def _pack_text(value: str, transaction_id: bytes) -> bytes:
    return value.encode()


def _unpack_text(data: bytes, transaction_id: bytes) -> str:
    return data.decode()


def _pack_data(value: bytes, transaction_id: bytes) -> bytes:
    return value


def _unpack_data(data: bytes, transaction_id: bytes) -> bytes:
    return data


def _pack_flag(value: None, transaction_id: bytes) -> bytes:
    return b""


def _unpack_flag(data: bytes, transaction_id: bytes) -> None:
    if data:
        raise ValueError("a flag has no value")


def _pack_error(value: tuple[int, str], transaction_id: bytes) -> bytes:
    return struct.pack("!HBB", 0, value[0] // 100, value[0] % 100) + value[1].encode()


def _unpack_error(data: bytes, transaction_id: bytes) -> tuple[int, str]:
    if len(data) < 4:
        raise ValueError("too short")
    return (data[2] & 7) * 100 + data[3], data[4:].decode(errors="replace")


def _pack_numbers(value: tuple[int, ...], transaction_id: bytes) -> bytes:
    return struct.pack(f"!{len(value)}H", *value)


def _unpack_numbers(data: bytes, transaction_id: bytes) -> tuple[int, ...]:
    if len(data) % 2:
        raise ValueError("odd size")
    return struct.unpack(f"!{len(data) // 2}H", data)


def _integer(number: int, name: str, size: int, shift: int = 0) -> Attribute[int]:
    """An unsigned integer of `size` bytes, of which the lowest `shift` bits are reserved."""

    def pack(value: int, transaction_id: bytes) -> bytes:
        return (value << shift).to_bytes(size, "big")

    def unpack(data: bytes, transaction_id: bytes) -> int:
        if len(data) != size:
            raise ValueError("bad size")
        return int.from_bytes(data, "big") >> shift

    return Attribute(number, name, pack, unpack)


MAPPED_ADDRESS: Final = Attribute(0x0001, "MAPPED-ADDRESS", _pack_address, _unpack_address)
USERNAME: Final = Attribute(0x0006, "USERNAME", _pack_text, _unpack_text)
ERROR_CODE: Final = Attribute(0x0009, "ERROR-CODE", _pack_error, _unpack_error)
UNKNOWN_ATTRIBUTES: Final = Attribute(0x000A, "UNKNOWN-ATTRIBUTES", _pack_numbers, _unpack_numbers)
CHANNEL_NUMBER: Final = _integer(0x000C, "CHANNEL-NUMBER", 4, shift=16)
LIFETIME: Final = _integer(0x000D, "LIFETIME", 4)
XOR_PEER_ADDRESS: Final = Attribute(
    0x0012, "XOR-PEER-ADDRESS", _pack_xor_address, _unpack_xor_address
)
DATA: Final = Attribute(0x0013, "DATA", _pack_data, _unpack_data)
REALM: Final = Attribute(0x0014, "REALM", _pack_text, _unpack_text)
NONCE: Final = Attribute(0x0015, "NONCE", _pack_data, _unpack_data)
XOR_RELAYED_ADDRESS: Final = Attribute(
    0x0016, "XOR-RELAYED-ADDRESS", _pack_xor_address, _unpack_xor_address
)
REQUESTED_TRANSPORT: Final = _integer(0x0019, "REQUESTED-TRANSPORT", 4, shift=24)
XOR_MAPPED_ADDRESS: Final = Attribute(
    0x0020, "XOR-MAPPED-ADDRESS", _pack_xor_address, _unpack_xor_address
)
PRIORITY: Final = _integer(0x0024, "PRIORITY", 4)
USE_CANDIDATE: Final = Attribute(0x0025, "USE-CANDIDATE", _pack_flag, _unpack_flag)
SOFTWARE: Final = Attribute(0x8022, "SOFTWARE", _pack_data, _unpack_data)
ICE_CONTROLLED: Final = _integer(0x8029, "ICE-CONTROLLED", 8)
ICE_CONTROLLING: Final = _integer(0x802A, "ICE-CONTROLLING", 8)

_BY_NUMBER: Final[dict[int, Attribute[Any]]] = {
    attribute.number: attribute
    for attribute in (
        MAPPED_ADDRESS,
        USERNAME,
        ERROR_CODE,
        UNKNOWN_ATTRIBUTES,
        CHANNEL_NUMBER,
        LIFETIME,
        XOR_PEER_ADDRESS,
        DATA,
        REALM,
        NONCE,
        XOR_RELAYED_ADDRESS,
        REQUESTED_TRANSPORT,
        XOR_MAPPED_ADDRESS,
        PRIORITY,
        USE_CANDIDATE,
        SOFTWARE,
        ICE_CONTROLLED,
        ICE_CONTROLLING,
    )
}
