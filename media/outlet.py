"""The RTP stream that leaves toward one side (RFC 3550 §5.1): one SSRC, sequence numbers without
gaps of our making, timestamps that follow the clock, whatever it is made of.
"""

from math import floor

from media.rtp import build

SLOT = 0.020  # seconds: one tick


class Outlet:
    """The stream that leaves: numbers its packets and keeps its clock, in slots of 20 ms."""

    def __init__(self, ssrc: int, sequence: int, timestamp: int, clock_rate: int) -> None:
        self.packets = 0
        self.octets = 0
        self.clock_rate = clock_rate
        self.ssrc = ssrc
        self.sequence = sequence & 0xFFFF  # of the next packet
        self.timestamp = timestamp & 0xFFFF_FFFF  # of the present slot
        self.at: float | None = None  # when that slot began; None: nothing has happened yet

    @property
    def slot_units(self) -> int:
        return int(SLOT * self.clock_rate)

    def slots_due(self, now: float) -> int:
        """How many slots should have begun since the present one; a tick may be early or late."""
        return 1 if self.at is None else floor((now - self.at) / SLOT + 0.5)

    def advance(self, slots: int, now: float) -> None:
        """Go on by some slots."""
        if self.at is None:
            self.at = now
            return
        self.at += slots * SLOT
        self.timestamp = (self.timestamp + slots * self.slot_units) & 0xFFFF_FFFF

    def settle(self, now: float) -> None:
        """Lean toward the ticks as they come, so that none stands on the edge between two slots."""
        if self.at is not None:
            self.at += 0.1 * (now - self.at)

    def send(
        self,
        payload_type: int,
        payload: bytes,
        *,
        timestamp: int | None = None,
        marker: bool = False,
    ) -> bytes:
        """The next packet."""
        when = self.timestamp if timestamp is None else timestamp
        packet = build(payload_type, self.sequence, when, self.ssrc, payload, marker)
        self.sequence = (self.sequence + 1) & 0xFFFF
        self.packets += 1
        self.octets += len(payload)
        return packet

    def timestamp_at(self, now: float) -> int:
        """The stream's timestamp at any time."""
        elapsed = 0.0 if self.at is None else now - self.at
        return int(self.timestamp + elapsed * self.clock_rate) & 0xFFFF_FFFF
