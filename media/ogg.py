"""Opus packets in an Ogg file (RFC 3533, RFC 7845): mono voice, a page each second.

Pure: packets in, bytes of the file out. A file that was cut off lacks the page that says it is the
last one; players play it all the same, so it must not bear the name of a whole one.
"""

import zlib
from struct import Struct

from media.tape import opus_duration

RATE = 48_000  # of granule positions, whatever the sound was
PRE_SKIP = 312  # samples at 48 kHz: what libopus takes to settle (6.5 ms)

_PAGE_SECONDS = 1.0
_MOST_SEGMENTS = 255
_HEADER = Struct("<4sBBqIIIB")
_HEAD = Struct("<8sBBHIhB")
_FIRST, _LAST = 0x02, 0x04
_VENDOR = b"ringback"
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class OggOpus:
    """Writes one stream.

    Args:
        serial: the stream's number; any will do (RFC 3533 §6).
    """

    def __init__(self, serial: int) -> None:
        self.seconds = 0.0
        self._serial = serial
        self._number = 0  # of the next page
        self._granule = 0
        self._packets: list[bytes] = []
        self._page_seconds = 0.0
        self._segments = 0

    def begin(self) -> bytes:
        """The two pages that a file begins with (RFC 7845 §5)."""
        head = _HEAD.pack(b"OpusHead", 1, 1, PRE_SKIP, RATE, 0, 0)
        tags = b"OpusTags" + len(_VENDOR).to_bytes(4, "little") + _VENDOR + bytes(4)
        return self._page([head], _FIRST, 0) + self._page([tags], 0, 0)

    def add(self, packet: bytes) -> bytes:
        """The next packet; what can be written now, often nothing."""
        seconds = opus_duration(packet)
        if seconds == 0.0:
            return b""  # nobody could play it
        segments = len(packet) // 255 + 1
        full = self._page_seconds >= _PAGE_SECONDS or self._segments + segments > _MOST_SEGMENTS
        page = self._flush(0) if full else b""
        self._packets.append(packet)
        self._segments += segments
        self._page_seconds += seconds
        self.seconds += seconds
        self._granule += round(seconds * RATE)
        return page

    def end(self) -> bytes:
        """The last page."""
        return self._flush(_LAST)

    def _flush(self, flags: int) -> bytes:
        packets, self._packets = self._packets, []
        self._page_seconds, self._segments = 0.0, 0
        return self._page(packets, flags, self._granule)

    def _page(self, packets: list[bytes], flags: int, granule: int) -> bytes:
        segments = b"".join(b"\xff" * (len(p) // 255) + bytes((len(p) % 255,)) for p in packets)
        number, self._number = self._number, self._number + 1

        def header(checksum: int) -> bytes:
            return _HEADER.pack(
                b"OggS", 0, flags, granule, self._serial, number, checksum, len(segments)
            )

        body = segments + b"".join(packets)
        return header(_checksum(header(0) + body)) + body


def _checksum(page: bytes) -> int:
    """Ogg's CRC (RFC 3533 §6) is zlib's with every byte and the result turned round, and neither
    the first nor the last inversion."""
    crc = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{crc:032b}"[::-1], 2)
