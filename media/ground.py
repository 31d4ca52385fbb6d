"""Where a media session stands: what its driver has bound and made for it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from media.dtls import Certificate
from media.sound import Sound
from media.webrtc import LocalSocket


@dataclass(frozen=True, slots=True)
class Ground:
    """Sockets and addresses of one session.

    Attributes:
        webrtc: one socket for each address of ours.
        rtp, rtcp: the SDES side's ports.
        address: ours in descriptions for the trunk.
        advertise: a public address that stands for the IPv4 ones, behind 1:1 NAT.
        wall_offset: seconds since 1970 less the monotonic clock that `now` comes from.
        sounds: files that were read to be played, by the path that `Play` names.
    """

    webrtc: tuple[LocalSocket, ...]
    rtp: LocalSocket
    rtcp: LocalSocket
    address: str
    certificate: Certificate
    advertise: str | None = None
    wall_offset: float = 0.0
    sounds: Mapping[str, Sound] = field(default_factory=dict)
