"""RTP in the clear, where a trunk's settings allow it: stands where an `Srtp` stands.

Nothing proves where such a packet comes from, so `SdesEnd` takes it only from the host of the
trunk's description. Who can read or forge packets on the way can do so to these.
"""


class ClearRtp:
    """Passes packets on as they are.

    Attributes:
        discarded: packets from elsewhere, which nobody has looked at.
    """

    __slots__ = ("discarded",)

    name = "none"  # as a cipher

    def __init__(self) -> None:
        self.discarded = 0

    def protect(self, packet: bytes) -> bytes:
        return packet

    def unprotect(self, packet: bytes) -> bytes:
        return packet

    def protect_rtcp(self, packet: bytes) -> bytes:
        return packet

    def unprotect_rtcp(self, packet: bytes) -> bytes:
        return packet

    def close(self) -> None:
        """There is no key to forget."""
