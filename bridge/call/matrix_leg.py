"""One Matrix user's end of a call: a single `m.call.*` exchange, version 1 (version 0 tolerated).

Two roles, after who sent the invite:

    answering   the user invites, we answer:  OPEN ──answer──▶ UP      before UP we end by reject
    calling     we invite, a device answers:  OPEN ──CallAnswer──▶ UP  before UP we end by hangup

(matrix-js-sdk ignores a hangup of the callee before the answer, hence the reject; version 0 knows
no reject, hence the hangup there.) A party is a device: the first that answers is selected by
`m.call.select_answer` and everybody else is deaf to us from then on; candidates that come before
their party is known wait for it. Call ids of ours start with "~", which sorts behind every other:
by the rule for glare the user's own call always wins.

The protocol has no provisional answer, so `ring` says nothing. Hold and ICE restarts come as
`m.call.negotiate` and are answered in kind; when the path is lost we offer a restart ourselves, but
for version 0, which does not know the event, and devices that name no capabilities: those (nheko)
end a call that is offered a change.

Pure: sends wait in `take_sends`, neutral events in `poll`, candidates in `take_candidates`.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from bridge.call.events import (
    Answered,
    Ended,
    EndReason,
    LegEvent,
    OfferAnswered,
    Offered,
    Reoffered,
    Ringing,
)
from bridge.matrix.events import (
    CallAnswer,
    CallCandidates,
    CallEvent,
    CallHangup,
    CallInvite,
    CallNegotiate,
    CallReject,
    CallSelectAnswer,
)
from bridge.txn import txn_id
from media.plane import IceCandidate

log = logging.getLogger(__name__)

STREAM_ID = "ringback"  # as in our SDP's a=msid; without the match clients play nothing
STALE_MARGIN_MS = 3000  # clients stop believing in an invite this long before its lifetime ends
NEGOTIATE_LIFETIME_MS = 60_000  # the specification's example, and what clients say
MAX_PARTIES = 16  # devices of one user whose candidates are kept before one of them answers
MAX_WAITING = 100  # candidates kept for each of them

# To the words of m.call.hangup. Reject knows only two of them.
_HANGUP = {
    EndReason.BUSY: "user_busy",
    EndReason.NO_ANSWER: "invite_timeout",
    EndReason.MEDIA_FAILED: "ice_failed",
    EndReason.NO_SRTP: "unknown_error",
    EndReason.MEDIA_INCOMPATIBLE: "unknown_error",
    EndReason.TRUNK_DOWN: "unknown_error",
    EndReason.MATRIX_DOWN: "unknown_error",
    EndReason.ERROR: "unknown_error",
}
# And back, for a call that was up.
_HUNG_UP = {
    "ice_failed": EndReason.MEDIA_FAILED,
    "ice_timeout": EndReason.MEDIA_FAILED,
    "user_media_failed": EndReason.MEDIA_FAILED,
}
# And back, for a device that ends our invite (nheko declines by hangup).
_DECLINED = {
    "user_busy": EndReason.BUSY,
    "invite_timeout": EndReason.NO_ANSWER,
    "user_media_failed": EndReason.MEDIA_FAILED,
}


@dataclass(frozen=True, slots=True)
class CallSend:
    """An event for the homeserver; those of one leg must arrive in this order.

    Attributes:
        brief: not worth a long wait for a homeserver that is away.
    """

    room_id: str
    sender: str
    type: str
    content: Mapping[str, Any] = field(repr=False)
    txn_id: str
    brief: bool = False


class _Stage(Enum):
    IDLE = "idle"
    OPEN = "open"
    UP = "up"
    ENDED = "ended"


class MatrixLeg:
    """Our end of one call with one Matrix user in one room; obeys `Leg`.

    Args:
        room_id: where the call is.
        ghost: whom we send as.
        user: whom we speak with; events of anybody else are not for this leg.
        call_id: the Matrix call id.
        party_id: our own party.
        lifetime_ms: how long our invite rings; unused for a call of the user's.
    """

    def __init__(
        self,
        *,
        room_id: str,
        ghost: str,
        user: str,
        call_id: str,
        party_id: str,
        lifetime_ms: int = 60_000,
        version: int = 1,
        capable: bool = True,
    ) -> None:
        self.room_id = room_id
        self.user = user
        self.call_id = call_id
        self._ghost = ghost
        self._party_id = party_id
        self._lifetime_ms = lifetime_ms
        self._version = version
        self._capable = capable
        self._stage = _Stage.IDLE
        self._calling = True
        self._peer: str | None = None  # the party that we talk to, once known
        self._waiting: dict[str | None, list[IceCandidate]] = {}
        self._candidates: list[IceCandidate] = []
        self._events: list[LegEvent] = []
        self._sends: list[CallSend] = []
        self._count = 0
        self._invite_txn = ""
        self._answer_txn = ""
        self._offering = False  # an offer of ours within the call waits for its answer

    @classmethod
    def answering(
        cls, invite: CallInvite, *, room_id: str, ghost: str, user: str, party_id: str
    ) -> "MatrixLeg":
        """The leg for a call that the user starts; its `Offered` is waiting in `poll`."""
        leg = cls(
            room_id=room_id,
            ghost=ghost,
            user=user,
            call_id=invite.call_id,
            party_id=party_id,
            version=invite.version,
            capable=invite.capable,
        )
        leg._calling = False
        leg._stage = _Stage.OPEN
        leg._peer = invite.party_id
        leg._events.append(Offered(invite.sdp))
        return leg

    @property
    def calling(self) -> bool:
        """Whether the invite is ours."""
        return self._calling

    @property
    def ringing(self) -> bool:
        """Whether an invite of ours is out and undecided."""
        return self._calling and self._stage is _Stage.OPEN

    # --- the six verbs

    def place(self, sdp: str, now: float) -> None:
        if self._stage is not _Stage.IDLE:
            return
        self._stage = _Stage.OPEN
        self._invite_txn = self._send(
            "m.call.invite",
            {
                "lifetime": self._lifetime_ms,
                "invitee": self.user,
                "offer": {"type": "offer", "sdp": sdp},
                **_ABILITIES,
            },
            brief=True,
        )

    def ring(self, now: float) -> None:
        """Nothing to say: the protocol has no provisional answer."""

    def answer(self, sdp: str, now: float) -> None:
        if self._calling or self._stage is not _Stage.OPEN:
            return
        self._stage = _Stage.UP
        answer = {"answer": {"type": "answer", "sdp": sdp}, **_ABILITIES}
        self._answer_txn = self._send("m.call.answer", answer)

    def update(self, sdp: str | None, now: float) -> None:
        if self._stage is not _Stage.UP or sdp is None:
            return  # m.call.negotiate has no refusal
        self._negotiate("answer", sdp)

    def offer(self, sdp: str, now: float) -> None:
        if self._stage is _Stage.UP and self._version > 0 and self._capable:
            self._offering = True
            self._negotiate("offer", sdp)

    def hang_up(self, reason: EndReason, now: float) -> None:
        stage, self._stage = self._stage, _Stage.ENDED
        self._events.clear()
        if stage in (_Stage.IDLE, _Stage.ENDED):
            return
        if stage is _Stage.OPEN and not self._calling and self._version > 0:
            words = "user_busy" if reason is EndReason.BUSY else "user_hangup"
            self._send("m.call.reject", {"reason": words})
        else:
            self._send("m.call.hangup", {"reason": _HANGUP.get(reason, "user_hangup")})

    # --- what the room says

    def receive(self, sender: str, event: CallEvent, now: float) -> None:
        """Take an event of this room and this call id."""
        if self._stage in (_Stage.IDLE, _Stage.ENDED) or sender != self.user:
            return
        match event:
            case CallCandidates():
                self._receive_candidates(event)
            case CallAnswer():
                self._receive_answer(event)
            case CallSelectAnswer(selected_party_id=selected):
                if not self._calling and self._is_peer(event) and selected != self._party_id:
                    self._end(EndReason.ANSWERED_ELSEWHERE)
            case CallReject(party_id=party):
                if not self._calling:
                    self._receive_hangup(CallHangup(event.call_id, party))
                elif self._stage is _Stage.OPEN:
                    # Like an answer, a reject is selected, so that the other devices stop.
                    self._select(party)
                    self._end(_DECLINED.get(event.reason or "", EndReason.DECLINED))
            case CallHangup():
                self._receive_hangup(event)
            case CallNegotiate(type="offer", sdp=sdp):
                if self._stage is _Stage.UP and self._is_peer(event):
                    self._events.append(Reoffered(sdp))
            case CallNegotiate(type="answer", sdp=sdp):
                if self._offering and self._is_peer(event):
                    self._offering = False
                    self._events.append(OfferAnswered(sdp))
            case _:
                log.debug("dropped a call event %s", type(event).__name__)

    def left(self, now: float) -> None:
        """The user left the room, which is a hang-up (specification, "Behaviour on Room Leave")."""
        if self._stage is _Stage.UP:
            self._end(EndReason.HANGUP)
        elif self._stage is _Stage.OPEN:
            self._end(EndReason.DECLINED if self._calling else EndReason.CANCELLED)

    def give_way(self, now: float) -> None:
        """The user calls by themselves, and is busy for us: take an invite back that rings."""
        if self.ringing:
            self._send("m.call.hangup", {"reason": _HANGUP[EndReason.BUSY]})
            self._end(EndReason.BUSY)

    def sent(self, txn: str, now: float) -> None:
        """The homeserver took this send."""
        if txn == self._invite_txn and self._stage is _Stage.OPEN:
            self._events.append(Ringing())

    def failed(self, txn: str, text: str, now: float) -> None:
        """The homeserver did not take this send, or nobody knows; fatal for the two that the call
        stands on. Where it has them all the same, a client must not ring or wait for nobody."""
        if txn in (self._invite_txn, self._answer_txn) and self._stage is not _Stage.ENDED:
            reason = _HANGUP[EndReason.MATRIX_DOWN]
            self._send("m.call.hangup", {"reason": reason}, brief=True)
            self._end(EndReason.MATRIX_DOWN, text)

    def poll(self, now: float) -> list[LegEvent]:
        events, self._events = self._events, []
        return events

    def take_sends(self) -> list[CallSend]:
        sends, self._sends = self._sends, []
        return sends

    def take_candidates(self) -> list[IceCandidate]:
        """Candidates of the party that we talk to, in their order."""
        candidates, self._candidates = self._candidates, []
        return candidates

    # --- inside

    def _receive_candidates(self, event: CallCandidates) -> None:
        if self._stage is _Stage.UP or not self._calling:
            if self._is_peer(event):
                self._candidates.extend(event.candidates)
            return
        if event.party_id not in self._waiting and len(self._waiting) >= MAX_PARTIES:
            return
        waiting = self._waiting.setdefault(event.party_id, [])
        waiting.extend(event.candidates[: MAX_WAITING - len(waiting)])

    def _receive_answer(self, event: CallAnswer) -> None:
        if not self._calling or self._stage is not _Stage.OPEN:
            return  # a second device; it learns from select_answer that it came late
        self._stage = _Stage.UP
        self._peer, self._version = event.party_id, event.version
        self._capable = event.capable
        self._select(event.party_id)
        self._candidates.extend(self._waiting.pop(event.party_id, []))
        self._waiting.clear()
        self._events.append(Answered(event.sdp))

    def _receive_hangup(self, event: CallHangup) -> None:
        if self._stage is _Stage.UP:
            if self._is_peer(event):
                self._end(_HUNG_UP.get(event.reason, EndReason.HANGUP))
        elif self._calling:
            self._end(_DECLINED.get(event.reason, EndReason.DECLINED))
        elif self._is_peer(event):
            self._end(EndReason.CANCELLED)

    def _select(self, party: str | None) -> None:
        if party is not None:
            self._send("m.call.select_answer", {"selected_party_id": party})

    def _is_peer(self, event: CallEvent) -> bool:
        """Whether it comes from the device that we talk to; version 0 has no parties."""
        return self._version == 0 or self._peer is None or event.party_id == self._peer

    def _end(self, reason: EndReason, text: str = "") -> None:
        self._stage = _Stage.ENDED
        self._events.append(Ended(reason, text))

    def _negotiate(self, type_: str, sdp: str) -> None:
        description = {"type": type_, "sdp": sdp}
        self._send(
            "m.call.negotiate",
            {"lifetime": NEGOTIATE_LIFETIME_MS, "description": description, **_ABILITIES},
        )

    def _send(self, type_: str, content: dict[str, Any], *, brief: bool = False) -> str:
        self._count += 1
        txn = txn_id("call", self.room_id, self.call_id, type_, str(self._count))
        common = {
            "call_id": self.call_id,
            "party_id": self._party_id,
            "version": 0 if self._version == 0 else "1",
        }
        content = common | content
        self._sends.append(CallSend(self.room_id, self._ghost, type_, content, txn, brief))
        return txn


def stale(invite: CallInvite, now: float) -> bool:
    """Whether the invite is too old to be acted upon: it must never ring a phone."""
    return invite.remaining_ms(now) <= STALE_MARGIN_MS


_ABILITIES: dict[str, Any] = {
    "capabilities": {"m.call.transferee": False, "m.call.dtmf": True},
    "sdp_stream_metadata": {
        STREAM_ID: {"purpose": "m.usermedia", "audio_muted": False, "video_muted": True}
    },
}
