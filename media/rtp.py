"""RTP packets (RFC 3550 §5.1), circular numbers, and RTCP on the same port (RFC 5761).

Every byte here came from a stranger until SRTP has vouched for it, so each length is checked and
the only error is `RtpError`. Header extensions and contributing sources are skipped: nothing that
we negotiate uses them, and nothing of them is passed on.

`RtpPacket` is not frozen, unlike other values of this package: a call makes a hundred of them each
second, and a frozen dataclass costs three times as much to build. Nobody changes one.
"""

from dataclasses import dataclass
from struct import Struct

HEADER_LENGTH = 12
MAX_PACKET_LENGTH = 1500  # no path we meet carries more in one datagram

HEADER = Struct("!BBHII")
_EXTENSION = Struct("!HH")


class RtpError(ValueError):
    """The bytes are not a packet of the kind that was asked for."""


def is_rtcp(datagram: bytes | bytearray | memoryview) -> bool:
    """Whether a packet of the RTP family is RTCP: packet types 192 to 223 (RFC 5761 §4)."""
    return len(datagram) > 1 and 192 <= datagram[1] <= 223


def sequence_difference(a: int, b: int) -> int:
    """How far `a` is ahead of `b` on the circle of 16 bits: -32768 to 32767."""
    return ((a - b + 0x8000) & 0xFFFF) - 0x8000


def timestamp_difference(a: int, b: int) -> int:
    """How far `a` is ahead of `b` on the circle of 32 bits: -2³¹ to 2³¹ - 1."""
    return ((a - b + 0x8000_0000) & 0xFFFF_FFFF) - 0x8000_0000


@dataclass(slots=True)
class RtpPacket:
    """One RTP packet without its padding, extension and contributing sources."""

    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes
    marker: bool = False

    @classmethod
    def parse(cls, data: bytes) -> "RtpPacket":
        """Read one packet; raises `RtpError`."""
        length = len(data)
        if length < HEADER_LENGTH:
            raise RtpError("shorter than an RTP header")
        first, second, sequence, timestamp, ssrc = HEADER.unpack_from(data)
        if first >> 6 != 2:
            raise RtpError("not RTP version 2")
        start, end = HEADER_LENGTH, length
        if first != 0x80:
            start, end = _bounds(data, first, length)
        return cls(second & 0x7F, sequence, timestamp, ssrc, data[start:end], second > 0x7F)

    def __bytes__(self) -> bytes:
        return build(
            self.payload_type, self.sequence, self.timestamp, self.ssrc, self.payload, self.marker
        )


def build(
    payload_type: int,
    sequence: int,
    timestamp: int,
    ssrc: int,
    payload: bytes,
    marker: bool = False,
) -> bytes:
    """The bytes of one packet without making an `RtpPacket` first."""
    second = payload_type | 0x80 if marker else payload_type
    return HEADER.pack(0x80, second, sequence, timestamp, ssrc) + payload


def _bounds(data: bytes, first: int, length: int) -> tuple[int, int]:
    """Where the payload starts and ends when there is more than the plain header (RFC 3550 §5)."""
    start = HEADER_LENGTH + 4 * (first & 0x0F)
    if first & 0x10:
        if length < start + _EXTENSION.size:
            raise RtpError("header extension cut short")
        _, words = _EXTENSION.unpack_from(data, start)
        start += _EXTENSION.size + 4 * words
    end = length
    if first & 0x20:
        padding = data[-1]
        if padding == 0:
            raise RtpError("padding of length 0")
        end -= padding
    if start > end:
        raise RtpError("payload of negative length")
    return start, end
