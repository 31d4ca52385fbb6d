"""Pass-through, when both sides speak the same codec: the payload is not touched and there is no
playout buffer; the header is rewritten and the packet leaves at once. Loss shows to the far end as
the loss it is.
"""

from media.format import Format
from media.outlet import Outlet
from media.rtp import HEADER, HEADER_LENGTH, RtpPacket, build, sequence_difference

_MAX_GAP = 3000  # sequence numbers; beyond, the source has started anew
_MAX_MISORDER = 100
_TAKEN_MASK = (1 << 128) - 1


class Relay:
    """Pass-through: each packet leaves with its payload as it came.

    Sequence numbers and timestamps are moved by a constant, so that gaps and their order stay. The
    constant is found anew where the stream was broken: `anchor` says so.
    """

    def __init__(self, source: Format, sink: Format, outlet: Outlet) -> None:
        self._source = source
        self._sink = sink
        self._outlet = outlet
        self._ssrc: int | None = None
        self._anchored = False
        self._newest = 0
        self._taken = 0  # bit n: the number n behind the newest is not to be given again
        self._sequence_offset = 0
        self._timestamp_offset = 0
        self.discarded = 0

    def __repr__(self) -> str:
        return "relay"

    def anchor(self) -> None:
        """Join the next packet to what was sent last."""
        self._anchored = False

    def push(self, packet: RtpPacket, now: float) -> list[bytes]:
        fresh = not self._anchored or packet.ssrc != self._ssrc
        ahead = 0 if fresh else sequence_difference(packet.sequence, self._newest)
        if fresh or not -_MAX_MISORDER <= ahead <= _MAX_GAP:
            self._set_anchor(packet, now)
            fresh, ahead = True, 1
        elif ahead > 0:
            self._taken = (self._taken << ahead | 1) & _TAKEN_MASK
        elif self._taken >> -ahead & 1:
            self.discarded += 1  # its number has gone already, to itself or to something else
            return []
        else:
            self._taken |= 1 << -ahead
        outlet = self._outlet
        sequence = (packet.sequence + self._sequence_offset) & 0xFFFF
        timestamp = (packet.timestamp + self._timestamp_offset) & 0xFFFF_FFFF
        if ahead > 0:
            self._newest = packet.sequence
            outlet.sequence = (sequence + 1) & 0xFFFF
            outlet.timestamp = timestamp
            outlet.at = now
        outlet.packets += 1
        outlet.octets += len(packet.payload)
        return [
            build(
                self._sink.payload_type,
                sequence,
                timestamp,
                outlet.ssrc,
                packet.payload,
                fresh or packet.marker,
            )
        ]

    def follow(
        self, plain: bytes, second: int, sequence: int, timestamp: int, ssrc: int, now: float
    ) -> bytes | None:
        """The short way of a packet with a plain header of which `second`… have been read: what
        leaves if it is the next one of the stream, else None and nothing has happened."""
        if (
            not self._anchored
            or sequence != (self._newest + 1) & 0xFFFF
            or ssrc != self._ssrc
            or second & 0x7F != self._source.payload_type
        ):
            return None
        self._taken = (self._taken << 1 | 1) & _TAKEN_MASK
        self._newest = sequence
        outlet = self._outlet
        number = (sequence + self._sequence_offset) & 0xFFFF
        when = (timestamp + self._timestamp_offset) & 0xFFFF_FFFF
        outlet.sequence = (number + 1) & 0xFFFF
        outlet.timestamp = when
        outlet.at = now
        outlet.packets += 1
        outlet.octets += len(plain) - HEADER_LENGTH
        marked = self._sink.payload_type | (second & 0x80)
        return HEADER.pack(0x80, marked, number, when, outlet.ssrc) + plain[HEADER_LENGTH:]

    def _set_anchor(self, packet: RtpPacket, now: float) -> None:
        outlet = self._outlet
        if outlet.at is not None:
            outlet.advance(max(1, outlet.slots_due(now)), now)
        self._anchored = True
        self._ssrc = packet.ssrc
        self._newest = packet.sequence
        self._taken = _TAKEN_MASK
        self._sequence_offset = outlet.sequence - packet.sequence
        self._timestamp_offset = outlet.timestamp - packet.timestamp
