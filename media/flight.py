"""The peer's flights of a DTLS handshake, looked through before the library sees them (RFC 6347,
RFC 5246 §7.4).

Until there are keys anybody can write a handshake record, and who forges the peer's address gets it
past ICE. The library believes what comes first and gives up over what does not fit; one record with
a high number even makes it take all others for replays. So here is checked all that can be checked
without keys:

- A record is a row of whole fragments, of messages that the peer sends in its role, each at its
  place in the handshake. Records are numbered anew, since a number proves nothing yet.
- The peer's flight is held until its certificate is there and has the fingerprint of the
  description. What came in one datagram with it goes first, and the flight of a browser is one
  datagram: who does not know the certificate cannot put a message of his own in its place.
- A HelloVerifyRequest is held until our hello has had its time to be answered by anything better.
  Browsers send none.

What is left to a forger: a ClientHello that overtakes the peer's; and all the rest for one who
reads along and is faster than the peer.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

CHANGE_CIPHER_SPEC: Final = 20
ALERT: Final = 21
HANDSHAKE: Final = 22
RECORD_HEADER: Final = 13

_BIGGEST: Final = 8192  # bytes of a datagram that are looked at
_FRAGMENT_HEADER: Final = 12
_LONGEST: Final = 16384  # bytes of a message: a certificate with those that vouch for it
_HELD: Final = 8  # datagrams

_CLIENT_HELLO: Final = 1
_HELLO_VERIFY: Final = 3
_CERTIFICATE: Final = 11
# What the peer sends, and how many messages after its hello; 2: ServerHello, 12: its keys, 13: it
# wants a certificate, 14: done; 16: the client's keys, 15: it has the certificate's.
_OF_SERVER: Final = frozenset({(2, 0), (_CERTIFICATE, 1), (12, 2), (13, 3), (14, 3), (14, 4)})
_OF_CLIENT: Final = frozenset({(_CLIENT_HELLO, 0), (_CERTIFICATE, 1), (16, 2), (15, 3)})


@dataclass(frozen=True, slots=True)
class _Fragment:
    """Of a handshake message (RFC 6347 §4.2.2).

    Attributes:
        number: the message's.
        length: the message's, in bytes.
    """

    kind: int
    number: int
    length: int
    offset: int
    body: bytes


class Flights:
    """What the library may see until the handshake is through.

    Args:
        client: our role.
        is_peers: whether a certificate (DER) is the one of the peer's description.

    Attributes:
        is_doubtful: whether somebody showed another certificate, and the peer none yet.
    """

    def __init__(self, *, client: bool, is_peers: Callable[[bytes], bool]) -> None:
        self._client = client
        self._places = _OF_SERVER if client else _OF_CLIENT
        self._is_peers = is_peers
        # The number of the peer's hello: 1 if a server asked for a cookie first.
        self._first: int | None = None if client else 0
        self._certificate: tuple[int, int] | None = None  # number and length of the peer's
        self._is_proved = False
        self.is_doubtful = False
        self._held: deque[list[bytes]] = deque(maxlen=_HELD)
        self._verify_request = b""
        self._written = 0

    def take(self, records: Sequence[bytes]) -> bytes:
        """What of a datagram, and of those that were held, goes to the library now.

        Args:
            records: whole ones, without alerts in the clear.
        """
        at_once: list[bytes] = []
        held: list[bytes] = []
        for record in records:
            if self._is_verify_request(record):
                self._verify_request = record
            elif self._is_plausible(record):
                is_hello = _kind(record) == _CLIENT_HELLO  # nothing is there to hold it against
                (at_once if self._is_proved or is_hello else held).append(record)
        if held:
            self._held.appendleft(held)
            if any(map(_certificates_in, held)):
                self._prove()
        if self._is_proved:
            at_once += self._let_go()
        return b"".join(map(self._renumbered, at_once))

    def verify_request(self) -> bytes:
        """The server's wish for a cookie, if it has shown nothing else."""
        request, self._verify_request = self._verify_request, b""
        return self._renumbered(request) if request and not self._is_proved else b""

    def give_up(self) -> bytes:
        """All that is held: the library shall say what is wrong with it."""
        self._is_proved = True
        return b"".join(map(self._renumbered, self._let_go()))

    def _let_go(self) -> list[bytes]:
        held = [each for row in self._held for each in row if self._is_plausible(each)]
        self._held.clear()
        return held

    def _is_verify_request(self, record: bytes) -> bool:
        if not self._client or _kind(record) != _HELLO_VERIFY:
            return False
        fragments = _fragments(record)
        return len(fragments) == 1 and fragments[0].number == 0

    def _is_plausible(self, record: bytes) -> bool:
        if _epoch(record):
            return True  # the library keeps a few, and opens them when it has keys
        if record[0] == CHANGE_CIPHER_SPEC:
            return record[RECORD_HEADER:] == b"\1"
        if record[0] != HANDSHAKE:
            return False
        fragments = _fragments(record)
        return bool(fragments) and all(map(self._is_due, fragments))

    def _is_due(self, fragment: _Fragment) -> bool:
        if fragment.kind == _CERTIFICATE and self._certificate is not None:
            return (fragment.number, fragment.length) == self._certificate
        firsts = (0, 1) if self._first is None else (self._first,)
        return any((fragment.kind, fragment.number - first) in self._places for first in firsts)

    def _prove(self) -> None:
        """See whether the peer's certificate is among what is held."""
        for number, message in self._certificates():
            # A list of certificates, the peer's first, each with its length (RFC 5246 §7.4.2).
            size = int.from_bytes(message[3:6])
            if self._is_peers(message[6 : 6 + size]):
                self._certificate = number, len(message)
                self._is_proved, self._first = True, number - 1
                self.is_doubtful = False
                return
            self.is_doubtful = True

    def _certificates(self) -> Iterator[tuple[int, bytes]]:
        """Whole certificate messages by their numbers."""
        parts: dict[tuple[int, int], dict[int, bytes]] = {}
        for each in (
            each for row in self._held for record in row for each in _certificates_in(record)
        ):
            if len(each.body) == each.length:
                yield each.number, each.body
            else:
                parts.setdefault((each.number, each.length), {})[each.offset] = each.body
        for (number, length), pieces in parts.items():
            message = bytearray(length)
            for offset, body in pieces.items():
                message[offset : offset + len(body)] = body
            yield number, bytes(message)

    def _renumbered(self, record: bytes) -> bytes:
        if _epoch(record):
            return record
        number, self._written = self._written, self._written + 1
        return record[:5] + number.to_bytes(6) + record[11:]


def records_of(datagram: bytes) -> list[bytes]:
    """The DTLS records of a datagram (RFC 6347 §4.1); none if it is anything but whole ones."""
    records: list[bytes] = []
    at, end = 0, len(datagram)
    while at + RECORD_HEADER <= end <= _BIGGEST:
        if not 20 <= datagram[at] <= 23 or datagram[at + 1] != 0xFE:
            return []
        after = at + RECORD_HEADER + int.from_bytes(datagram[at + 11 : at + 13])
        records.append(datagram[at:after])
        at = after
    return records if at == end else []


def _fragments(record: bytes) -> list[_Fragment]:
    """All of a handshake record in the clear; none if one of them is not whole or not lawful."""
    fragments: list[_Fragment] = []
    at = RECORD_HEADER
    while at < len(record):
        head = record[at : at + _FRAGMENT_HEADER]
        size = int.from_bytes(head[9:12])
        body = record[at + _FRAGMENT_HEADER : at + _FRAGMENT_HEADER + size]
        length, offset = int.from_bytes(head[1:4]), int.from_bytes(head[6:9])
        if len(head) != _FRAGMENT_HEADER or len(body) != size:
            return []
        if length > _LONGEST or offset + size > length:
            return []
        fragments.append(_Fragment(head[0], int.from_bytes(head[4:6]), length, offset, body))
        at += _FRAGMENT_HEADER + size
    return fragments


def _certificates_in(record: bytes) -> list[_Fragment]:
    if record[0] != HANDSHAKE or _epoch(record):
        return []
    return [each for each in _fragments(record) if each.kind == _CERTIFICATE]


def _epoch(record: bytes) -> int:
    return int.from_bytes(record[3:5])


def _kind(record: bytes) -> int | None:
    """Of the first message of a handshake record in the clear."""
    if record[0] != HANDSHAKE or _epoch(record) or len(record) == RECORD_HEADER:
        return None
    return record[RECORD_HEADER]
