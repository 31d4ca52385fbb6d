"""The media plane as its user sees it: a few verbs in, happenings out.

The verbs follow those of rtpengine's control protocol, since a local engine can imitate them and
not the reverse. A session has two sides: WEBRTC (ICE, DTLS-SRTP, RFC 8827) and SDES (RTP/SAVP keyed
in SDP, RFC 4568; or plain RTP, if the settings allow it). Each side has its own offer/answer
exchange (RFC 3264); keys and candidates never cross.

    offer(side, sdp)            an offer came from `side` → OfferReady(other side, sdp for it)
    answer(side, sdp)           an answer came from `side` → AnswerReady(other side, sdp for it)
    ask(side)                   `side` came without an offer and wants ours → OfferReady(other
                                side), and upon its answer OfferReady(side), to be answered too
    add_candidates(side, ...)   trickled ICE candidates from the WEBRTC side (RFC 8838)
    perform(order)              something beside carrying the call: see `media.order`
    close()                     frees everything; the last event is Closed with the session's report

On an established session an `offer(side)` is a re-offer (hold, new address, refresh): it is
answered for that side alone with AnswerReady(same side), or Refused; an `ask(side)` is met with
OfferReady(same side), to be answered, or Refused. Only the SDES side asks: browsers always offer.
OfferReady(WEBRTC) comes unasked when the path to the browser is lost: an ICE restart, to be
answered if the client can. When both offer at once, the plane settles whose offer holds.

Verbs return at once and never block; what they bring about arrives at the listener in order, on the
event loop that opened the session. Nothing arrives after `Closed`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from media.order import Order, Ordered
from media.side import Side as Side


class Failure(Enum):
    """Why a session cannot go on; `Failed.text` says more, in words for a person."""

    BAD_SDP = "bad-sdp"  # unreadable, or an answer that does not fit its offer
    NO_CODEC = "no-codec"  # nothing in common
    NO_SRTP = "no-srtp"  # no acceptable crypto line, or plain RTP (SIP: 488)
    ONLY_SRTP = "only-srtp"  # the trunk insists on encryption, which is off for it
    NO_CONNECTIVITY = "no-connectivity"  # ICE found no path in time
    DTLS = "dtls"  # handshake failed or fingerprint did not match
    SILENCE = "silence"  # a side that must send has been silent too long
    NO_PORT = "no-port"  # the port range is used up
    ENGINE = "engine"  # the engine or its worker died


class Encryption(Enum):
    """Whether the audio of the SDES side is encrypted. PREFERRED holds for a whole call: one that
    is encrypted stays so, whatever the trunk offers later."""

    REQUIRED = "required"
    PREFERRED = "preferred"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class IceServer:
    """A STUN or TURN server (RFC 7064, 7065).

    Attributes:
        urls: as the homeserver gives them, e.g. "turn:turn.example.org?transport=udp".
    """

    urls: tuple[str, ...]
    username: str = ""
    credential: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class IceCandidate:
    """One trickled candidate (RFC 8839 §5.1); an empty `candidate` marks the end."""

    candidate: str
    sdp_mid: str = "0"
    sdp_m_line_index: int = 0


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What the user decides for one session.

    Attributes:
        ice_servers: for the WEBRTC side.
        codecs: names for the SDES side in order of preference, of "opus", "g722", "pcma", "pcmu".
        encryption: of the SDES side; anything but REQUIRED lets others listen.
        suites: SRTP suites for the SDES side in order of preference, RFC 4568 names.
        connect_timeout: seconds for ICE and DTLS to finish once both sides' descriptions are known.
        silence_timeout: seconds without any packet from a side that must send, before
            `Failed(SILENCE)`; and seconds that a lost path to the browser is waited for.
        thin_link: the WEBRTC side is on a poor mobile link: Opus at 12 kbit/s in packets of 60 ms
            both ways, from the start.
        digits_in_media: whether the SDES side is sent digits at all; if not, the user carries each
            `Digit` there by other means (SIP INFO).
    """

    ice_servers: tuple[IceServer, ...] = ()
    codecs: tuple[str, ...] = ("opus", "g722", "pcma", "pcmu")
    encryption: Encryption = Encryption.REQUIRED
    suites: tuple[str, ...] = (
        "AEAD_AES_256_GCM",
        "AEAD_AES_128_GCM",
        "AES_256_CM_HMAC_SHA1_80",
        "AES_CM_128_HMAC_SHA1_80",
        "AES_256_CM_HMAC_SHA1_32",
        "AES_CM_128_HMAC_SHA1_32",
    )
    connect_timeout: float = 20.0
    silence_timeout: float = 30.0
    digits_in_media: bool = True
    thin_link: bool = False


@dataclass(frozen=True, slots=True)
class SideReport:
    """What one side was and what it received, for the record of the call. Nothing secret is in
    it."""

    codec: str = ""  # "opus/48000", "PCMU/8000"
    codec_reason: str = ""  # why this one, in words for a person
    cipher: str = ""  # of the end, by its RFC 4568 name; "none" for plain RTP, "" before
    in_clear: bool = False  # whether audio passed unencrypted at any time
    transport: str = ""  # e.g. "udp host→host", "udp relay→srflx", "udp"
    packets_received: int = 0
    packets_lost: int = 0
    packets_discarded: int = 0  # not authentic, replayed or malformed
    strays: int = 0  # datagrams that were no packets at all, or of who had proven nothing yet
    packets_sent: int = 0
    jitter_ms: float = 0.0
    frames_concealed: int = 0  # of what was decoded: lost, or filled from the next packet's copy
    frames_late: int = 0  # had not come in time; the sound was stretched
    delay_ms: float = 0.0  # of the playout buffer, at the end
    round_trip_ms: float | None = None  # between us and the end, by RTCP; None: it told nothing
    hears: bool | None = None  # whether ours arrived, by its last report; None: it cannot be known
    far_packets_lost: int | None = None  # of ours, as the end says
    far_jitter_ms: float | None = None  # of ours, as the end says
    thin: bool = False  # whether the end was sent 12 kbit/s in packets of 60 ms at any time
    level_dbov: float | None = None  # mean level of what was heard; None when not decoded


@dataclass(frozen=True, slots=True)
class Report:
    """Both sides, and times since the session was opened, in seconds."""

    webrtc: SideReport = SideReport()
    sdes: SideReport = SideReport()
    transcoding: bool = False
    connected_after: float | None = None
    flowing_after: float | None = None


# --- events


@dataclass(frozen=True, slots=True)
class OfferReady:
    """Send this offer to `side`."""

    side: Side
    sdp: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class AnswerReady:
    """Send this answer to `side`.

    Attributes:
        send: whether we will send to that side under it; False when that side put us on hold.
    """

    side: Side
    sdp: str = field(repr=False)
    send: bool = True


@dataclass(frozen=True, slots=True)
class Connected:
    """ICE and DTLS on the WEBRTC side are up: packets can pass."""


@dataclass(frozen=True, slots=True)
class Unencrypted:
    """The audio of `side` passes in the clear from now on; said once."""

    side: Side


@dataclass(frozen=True, slots=True)
class Flowing:
    """The first authentic audio packet came from `side`."""

    side: Side


@dataclass(frozen=True, slots=True)
class AudioLost:
    """Audio that should pass does not; the session goes on. Said within some seconds, and again
    after each `AudioBack`. Hold, mute and silence are no losses.

    Attributes:
        outward: False: nothing comes from `side`; True: what we send does not arrive there.
    """

    side: Side
    outward: bool


@dataclass(frozen=True, slots=True)
class AudioBack:
    """What was lost passes again, or need not any more (hold)."""

    side: Side
    outward: bool


@dataclass(frozen=True, slots=True)
class Digit:
    """A DTMF digit (0-9, *, #, A-D) came from `side`, however it was said; the plane has passed it
    on to the other side already."""

    side: Side
    digit: str
    duration_ms: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The session cannot go on. The user closes it; until then it holds its resources."""

    failure: Failure
    text: str


@dataclass(frozen=True, slots=True)
class Refused:
    """What `side` offers or asks for cannot be had (SIP: 488); the session goes on as it was."""

    side: Side
    failure: Failure
    text: str


@dataclass(frozen=True, slots=True)
class Closed:
    """Last event of a session."""

    report: Report


MediaEvent = (
    OfferReady
    | AnswerReady
    | Connected
    | Unencrypted
    | Flowing
    | AudioLost
    | AudioBack
    | Digit
    | Ordered
    | Failed
    | Refused
    | Closed
)
Listener = Callable[[MediaEvent], None]


class MediaSession(Protocol):
    """One call's media. All verbs return at once; see the module's head."""

    def offer(self, side: Side, sdp: str) -> None: ...

    def answer(self, side: Side, sdp: str) -> None: ...

    def ask(self, side: Side) -> None: ...

    def add_candidates(self, side: Side, candidates: Sequence[IceCandidate]) -> None: ...

    def perform(self, order: Order) -> None: ...

    def close(self) -> None: ...


class MediaPlane(Protocol):
    """An engine: local worker processes, or rtpengine."""

    async def start(self) -> None:
        """Bring the engine up; raises `OSError` with words for a person if that is not possible."""

    async def stop(self) -> None:
        """Close every session, then the engine."""

    def readdress(self) -> None:
        """The addresses of our machine changed. Sessions that stand on one that is gone offer both
        sides where they are now."""

    def open(self, settings: SessionSettings, listener: Listener) -> MediaSession:
        """Open a session. Never raises: an engine that is down says `Failed(ENGINE)` to the
        listener."""
