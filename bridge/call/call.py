"""One call: the leg that asked, the leg that was asked, the media between them, and one table.

A B2BUA in the sense of RFC 7092: each leg is an exchange of its own, and a `Call` only carries
what one says over to the other. The same class serves both directions, since caller and callee are
just two legs. Everything is synchronous: work that takes time (gathering candidates, a round trip
to a media engine) comes back as an event, so a hang-up never waits behind it. Session descriptions
pass through unread.

    NEW ──Ringing, Progress──▶ RINGING ──Answered──▶ CONNECTING ──Flowing──▶ ACTIVE
    any ──Ended, Failed, Expired, Stopped──▶ ENDED

Races end on the rows of the table: whatever arrives in ENDED is dropped, and the legs hide what
their own protocols do about an answer that crosses a hang-up.
"""

import logging
from dataclasses import dataclass
from enum import Enum

from bridge.call.events import (
    Answered,
    Dialled,
    Ended,
    EndReason,
    Leg,
    LegEvent,
    OfferAnswered,
    Offered,
    Progress,
    Reoffered,
    Ringing,
)
from media.order import Expect, TakeDigit
from media.plane import (
    AnswerReady,
    AudioBack,
    AudioLost,
    Closed,
    Connected,
    Digit,
    Failed,
    Failure,
    Flowing,
    MediaEvent,
    MediaSession,
    OfferReady,
    Refused,
    Report,
    Side,
    Unencrypted,
)

log = logging.getLogger(__name__)

MAX_LENGTH = 4 * 3600.0  # a call that nobody ended must end before it costs a night
# Early media may be a queue's announcement: as long as RFC 3261's timer C grants.
EARLY_LIMIT = 180.0

_FAILURES = {
    Failure.NO_SRTP: EndReason.NO_SRTP,
    Failure.ONLY_SRTP: EndReason.MEDIA_INCOMPATIBLE,
    Failure.NO_CODEC: EndReason.MEDIA_INCOMPATIBLE,
    Failure.BAD_SDP: EndReason.MEDIA_INCOMPATIBLE,
    Failure.NO_CONNECTIVITY: EndReason.MEDIA_FAILED,
    Failure.DTLS: EndReason.MEDIA_FAILED,
    Failure.SILENCE: EndReason.MEDIA_FAILED,
    Failure.NO_PORT: EndReason.ERROR,
    Failure.ENGINE: EndReason.ERROR,
}


class Source(Enum):
    """Where an event comes from."""

    CALLER = "caller"
    CALLEE = "callee"
    MEDIA = "media"
    OURS = "ours"  # the clock, or somebody who ends the call from outside


class State(Enum):
    NEW = "new"
    RINGING = "ringing"
    CONNECTING = "connecting"
    ACTIVE = "active"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Expired:
    """`Call.deadline` has passed."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """We end the call ourselves: our shutdown, or a newer call that takes its place."""

    reason: EndReason


CallEvent = LegEvent | MediaEvent | Expired | Stopped


class Call:
    """Caller leg, callee leg, media session and the table that joins them.

    Attributes:
        id: ours; never the Matrix call_id, never the SIP Call-ID, which belong to the legs.
        deadline: when to `handle(Source.OURS, Expired(), now)`, monotonic seconds; None for never.
        instants: when each step was reached first, monotonic seconds, for the record of the call.
        reason, text: why the call ended and in whose words; None and "" before.
        ended_by: the source whose event ended it.
        report: what the media session measured; arrives after the end.
    """

    def __init__(
        self,
        *,
        id: str,
        caller: Leg,
        callee: Leg,
        media: MediaSession,
        caller_side: Side,
        ring_limit: float,
        early_media: bool = True,
    ) -> None:
        self.id = id
        self.state = State.NEW
        self.deadline: float | None = None
        self.instants: dict[str, float] = {}
        self.digits: list[Digit] = []
        self.reason: EndReason | None = None
        self.text = ""
        self.ended_by: Source | None = None
        self.report: Report | None = None
        self._caller = caller
        self._callee = callee
        self._media = media
        self._caller_side = caller_side
        self._callee_side = caller_side.other
        self._ring_limit = ring_limit
        self._early_media = early_media
        self._early: str | None = None  # the early answer, kept while policy forbids its use
        self._placed = False
        self._media_answered = False
        self._media_answer: str | None = None  # what the media were answered with
        self._caller_answered = False

    def handle(self, source: Source, event: CallEvent, now: float) -> None:
        """Take one event; the only way in."""
        if self.state is State.ENDED:
            if isinstance(event, Closed):
                self.report = event.report
            else:
                log.debug("call %s is over; dropped %s from the %s", self.id, event, source.value)
            return
        before = self.state
        self._handle(source, event, now)
        if self.state is not before:
            log.debug("call %s: %s to %s", self.id, before.value, self.state.value)

    def _handle(self, source: Source, event: CallEvent, now: float) -> None:
        up = self.state in (State.CONNECTING, State.ACTIVE)
        match source, event:
            case Source.CALLER, Offered(sdp) if "offered" not in self.instants:
                self._note("offered", now)
                self.deadline = now + self._ring_limit
                self._offer_media(self._caller_side, sdp)
            case Source.MEDIA, OfferReady(side, sdp) if (
                side is self._callee_side and not self._placed
            ):
                self._placed = True
                self._note("placed", now)
                self._callee.place(sdp, now)
            case Source.CALLEE, Ringing() if self._placed and not up:
                self._ring(now)
            case Source.CALLEE, Progress(sdp) if self._placed and not up:
                self._early = self._early or sdp
                self._ring(now)
                if self._early_media and not self._media_answered:
                    self._note("early", now)
                    self.deadline = now + EARLY_LIMIT
                    self._answer_media(sdp)
            case Source.CALLEE, Answered(sdp) if self._placed and not up:
                self._answered(sdp, now)
            case Source.MEDIA, AnswerReady(side, sdp) if (
                side is self._callee_side and self._media_answered
            ):
                self._callee.update(sdp, now)
            case Source.MEDIA, OfferReady(side, sdp) if (
                side is self._callee_side and self._media_answered
            ):
                self._callee.offer(sdp, now)
            case Source.MEDIA, AnswerReady(_, sdp) | OfferReady(_, sdp) if (
                self._media_answered and not self._caller_answered
            ):
                self._caller_answered = True
                self._note("caller_answered", now)
                self._caller.answer(sdp, now)
            case Source.MEDIA, AnswerReady(_, sdp) if self._media_answered:
                self._caller.update(sdp, now)
            case Source.MEDIA, OfferReady(_, sdp) if self._media_answered:
                self._caller.offer(sdp, now)
            case Source.MEDIA, Refused(side) if self._media_answered:
                leg = self._caller if side is self._caller_side else self._callee
                leg.update(None, now)
            case Source.CALLER, Reoffered(sdp) if self._caller_answered:
                self._offer_media(self._caller_side, sdp)
            case Source.CALLEE, Reoffered(sdp) if self._media_answered:
                self._offer_media(self._callee_side, sdp)
            case Source.CALLER | Source.CALLEE, Reoffered():  # before there are media to change
                leg = self._caller if source is Source.CALLER else self._callee
                leg.update(None, now)
            case Source.CALLER, OfferAnswered(sdp) if self._caller_answered:
                self._media.answer(self._caller_side, sdp)
            case Source.CALLEE, OfferAnswered(sdp) if self._media_answered:
                self._media.answer(self._callee_side, sdp)
            case Source.MEDIA, Connected():
                self._note("connected", now)
            case Source.MEDIA, Unencrypted():
                self._note("unencrypted", now)
            case Source.MEDIA, Flowing(side):
                self._note(f"flowing_{side.value}", now)
                self._note("flowing", now)
                if self.state is State.CONNECTING:
                    self.state = State.ACTIVE
            case Source.MEDIA, AudioLost(side, outward):
                if up:
                    self._note(f"{'unhearing' if outward else 'unheard'}_{side.value}", now)
            case Source.MEDIA, AudioBack():
                pass
            case Source.MEDIA, Digit():
                self.digits.append(event)
            case Source.CALLER | Source.CALLEE, Dialled(digit, duration_ms) if self._media_answered:
                caller = source is Source.CALLER
                side = self._caller_side if caller else self._callee_side
                self._media.perform(TakeDigit(side, digit, duration_ms))
            case Source.CALLER | Source.CALLEE, Ended(reason, text):
                self._end(source, reason, text, now)
            case Source.MEDIA, Failed(failure, text):
                self._end(source, _FAILURES[failure], text, now)
            case Source.MEDIA, Closed(report):
                self.report = report
                self._end(source, EndReason.ERROR, "the media engine stopped", now)
            case Source.OURS, Expired():
                self._end(source, EndReason.TOO_LONG if up else EndReason.NO_ANSWER, "", now)
            case Source.OURS, Stopped(reason):
                self._end(source, reason, "", now)
            case _:
                # A peer out of step, or our own mistake; neither may end a call that works.
                what = type(event).__name__
                log.warning(
                    "call %s, %s: dropped %s, %s out of step", self.id, self.state, what, source
                )

    def _ring(self, now: float) -> None:
        if self.state is State.NEW:
            self.state = State.RINGING
            self._note("ringing", now)
            self._caller.ring(now)

    def _answered(self, sdp: str | None, now: float) -> None:
        self._note("answered", now)
        self.deadline = now + MAX_LENGTH
        self.state = State.ACTIVE if "flowing" in self.instants else State.CONNECTING
        if not self._media_answered:
            answer = sdp or self._early
            if answer is None:
                self._end(Source.OURS, EndReason.MEDIA_INCOMPATIBLE, "answered without SDP", now)
            else:
                self._answer_media(answer)
        elif sdp is not None and sdp != self._media_answer:
            # Another phone took the call than the one that was heard before.
            self._answer_media(sdp)
        else:
            self._media.perform(Expect(self._callee_side))

    def _offer_media(self, side: Side, sdp: str | None) -> None:
        if sdp is None:
            self._media.ask(side)
        else:
            self._media.offer(side, sdp)

    def _answer_media(self, sdp: str) -> None:
        self._media_answered = True
        self._media_answer = sdp
        self._media.answer(self._callee_side, sdp)

    def _end(self, source: Source, reason: EndReason, text: str, now: float) -> None:
        self.state = State.ENDED
        self.reason, self.text, self.ended_by = reason, text, source
        self.deadline = None
        self._note("ended", now)
        if source is not Source.CALLER:
            self._caller.hang_up(reason, now)
        if source is not Source.CALLEE:
            self._callee.hang_up(reason, now)
        self._media.close()

    def _note(self, step: str, now: float) -> None:
        self.instants.setdefault(step, now)
