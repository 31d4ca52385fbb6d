"""The neutral words in which the two legs of a call speak (compare RFC 7092 on B2BUAs).

A leg is our end of one party: `MatrixLeg` owns one `m.call.*` exchange, `SipLeg` one SIP session.
Both say the same events and obey the same six verbs, so that `Call` never learns which is which.
Session descriptions pass through as opaque strings between a leg and the media session; nothing in
here looks inside one.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol


class EndReason(Enum):
    """Why a call ended. `matrix_leg` and `sip_leg` hold the tables to their own protocols'
    words."""

    HANGUP = "hangup"  # a party hung up an answered call
    CANCELLED = "cancelled"  # the caller gave up before the answer
    BUSY = "busy"
    DECLINED = "declined"
    NO_ANSWER = "no answer"
    ANSWERED_ELSEWHERE = "answered elsewhere"
    UNKNOWN_NUMBER = "unknown number"  # not in service, or incomplete
    NOT_ALLOWED = "not allowed"  # by our routing, or refused by the far end
    FORWARDED = "forwarded"  # to where we do not follow
    UNAVAILABLE = "unavailable"  # the callee cannot be reached right now
    TRUNK_DOWN = "trunk down"  # no flow, no registration, or the trunk answers 5xx
    MATRIX_DOWN = "homeserver down"
    NO_SRTP = "no encryption"  # the far end offers no acceptable SRTP
    MEDIA_INCOMPATIBLE = "no common codec"
    MEDIA_FAILED = "media failed"  # no ICE path, DTLS failed, or silence on the wire
    TOO_LONG = "too long"  # as long as a call may last
    SHUTDOWN = "shutdown"
    ERROR = "error"


# --- events of a leg


@dataclass(frozen=True, slots=True)
class Offered:
    """The caller's leg has an offer: the call begins.

    Attributes:
        sdp: None when the caller wants an offer of ours and will answer that.
    """

    sdp: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ringing:
    """The callee's end is ringing."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Early media before the answer (SIP 183 with a body)."""

    sdp: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Answered:
    """The callee took the call.

    Attributes:
        sdp: the answer; None when the early answer of `Progress` stands.
    """

    sdp: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Reoffered:
    """A party changes its session: hold, new address, refresh. The plane answers it for that leg
    alone.

    Attributes:
        sdp: None when the party wants an offer of ours and will answer that.
    """

    sdp: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class OfferAnswered:
    """A party answered the offer that we made within the call."""

    sdp: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Dialled:
    """A party pressed a digit and said so beside its media (SIP INFO).

    Attributes:
        digit: one of 0-9, *, #, A-D.
    """

    digit: str
    duration_ms: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The leg is over. Said once by each leg that was not hung up by us.

    Attributes:
        text: the far end's own words if it gave any (Reason or Warning), for the room and the log;
            of a forwarded call, where to.
    """

    reason: EndReason
    text: str = ""


LegEvent = Offered | Ringing | Progress | Answered | Reoffered | OfferAnswered | Dialled | Ended


class Leg(Protocol):
    """The six verbs. They queue output on their own side and return at once; none of them raises
    for a peer's sake."""

    def place(self, sdp: str, now: float) -> None:
        """Call the party with this offer."""

    def ring(self, now: float) -> None:
        """Tell the (calling) party that the far end rings."""

    def answer(self, sdp: str, now: float) -> None:
        """Answer the (calling) party with this answer, or this offer if it came without one; a
        second time, with the same sdp, is not an error."""

    def update(self, sdp: str | None, now: float) -> None:
        """Answer the party's `Reoffered`; None refuses it, and the session goes on as it was."""

    def offer(self, sdp: str, now: float) -> None:
        """Make an offer within the call: the one that the party wants, or one of our own;
        `OfferAnswered` follows, unless the party cannot or will not answer."""

    def hang_up(self, reason: EndReason, now: float) -> None:
        """End this leg by whatever its state demands; silently ignored if it ended already."""
