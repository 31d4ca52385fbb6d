"""The two ends of a media session."""

from enum import Enum


class Side(Enum):
    """One of the two ends of a media session."""

    WEBRTC = "webrtc"
    SDES = "sdes"

    @property
    def other(self) -> "Side":
        return Side.SDES if self is Side.WEBRTC else Side.WEBRTC
