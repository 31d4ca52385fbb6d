"""The phone's end of a call: one SIP session, in the words that `Call` understands.

The tables between `EndReason` and SIP are here and nowhere else. A refusal is read from its Q.850
cause (RFC 3326) where the peer gives one, since a PBX squeezes many causes into few statuses. Else
the status speaks, and 480 means no answer if it rang before. Cause 21, "call rejected", says less
than its status: Asterisk sends 403 with it for a person who declined and for a barred number alike.

Races live below: an answer that crosses our CANCEL is acknowledged and ended in `sip.session`.

Pure: the session queues its messages in the agent; neutral events wait in `poll`.
"""

import logging
from collections.abc import Callable

from bridge.call.events import (
    Answered,
    Dialled,
    Ended,
    EndReason,
    LegEvent,
    OfferAnswered,
    Offered,
    Progress,
    Reoffered,
    Ringing,
)
from sip.errors import LocalError
from sip.events import (
    Body,
    DigitReceived,
    Event,
    IncomingSession,
    Reason,
    SessionAnswered,
    SessionConfirmed,
    SessionEnded,
    SessionOffered,
    SessionProgressed,
    SessionReanswered,
    SipWarning,
    TransferRequested,
)
from sip.session import Session
from sip.uri import Uri

log = logging.getLogger(__name__)

SDP = "application/sdp"

_BY_STATUS = {
    401: EndReason.NOT_ALLOWED,
    403: EndReason.NOT_ALLOWED,
    404: EndReason.UNKNOWN_NUMBER,
    407: EndReason.NOT_ALLOWED,
    408: EndReason.NO_ANSWER,
    410: EndReason.UNKNOWN_NUMBER,
    415: EndReason.MEDIA_INCOMPATIBLE,
    416: EndReason.UNKNOWN_NUMBER,
    480: EndReason.UNAVAILABLE,
    484: EndReason.UNKNOWN_NUMBER,
    485: EndReason.UNKNOWN_NUMBER,
    486: EndReason.BUSY,
    487: EndReason.CANCELLED,
    488: EndReason.MEDIA_INCOMPATIBLE,
    600: EndReason.BUSY,
    603: EndReason.DECLINED,
    604: EndReason.UNKNOWN_NUMBER,
    606: EndReason.MEDIA_INCOMPATIBLE,
    607: EndReason.DECLINED,
    608: EndReason.DECLINED,
}

_BY_CAUSE = {
    1: EndReason.UNKNOWN_NUMBER,
    3: EndReason.UNKNOWN_NUMBER,
    17: EndReason.BUSY,
    18: EndReason.NO_ANSWER,
    19: EndReason.NO_ANSWER,
    20: EndReason.UNAVAILABLE,
    22: EndReason.UNKNOWN_NUMBER,
    27: EndReason.UNAVAILABLE,
    28: EndReason.UNKNOWN_NUMBER,
    34: EndReason.TRUNK_DOWN,
    38: EndReason.TRUNK_DOWN,
    42: EndReason.TRUNK_DOWN,
    44: EndReason.TRUNK_DOWN,
    50: EndReason.NOT_ALLOWED,
    57: EndReason.NOT_ALLOWED,
    58: EndReason.MEDIA_INCOMPATIBLE,
    88: EndReason.MEDIA_INCOMPATIBLE,
}

# Status of a refusal, and the cause that goes with it and with a BYE.
_REFUSAL = {
    EndReason.HANGUP: (480, 16),
    EndReason.CANCELLED: (480, 16),
    EndReason.BUSY: (486, 17),
    EndReason.DECLINED: (603, 21),
    EndReason.NO_ANSWER: (480, 19),
    EndReason.ANSWERED_ELSEWHERE: (480, 26),
    EndReason.UNKNOWN_NUMBER: (404, 1),
    EndReason.NOT_ALLOWED: (403, 21),
    EndReason.FORWARDED: (480, 20),
    EndReason.UNAVAILABLE: (480, 20),
    EndReason.TRUNK_DOWN: (503, 38),
    EndReason.MATRIX_DOWN: (480, 41),
    EndReason.NO_SRTP: (488, 58),
    EndReason.MEDIA_INCOMPATIBLE: (488, 88),
    EndReason.MEDIA_FAILED: (480, 41),
    EndReason.TOO_LONG: (480, 31),
    EndReason.SHUTDOWN: (480, 41),
    EndReason.ERROR: (500, 41),
}

# What a refusal says besides, where its status leaves the PBX's administrator guessing (RFC 3261
# §20.43).
_WARNING = {
    EndReason.NO_SRTP: SipWarning(302, "SRTP with SDES keys (RTP/SAVP) is required"),
    EndReason.MEDIA_INCOMPATIBLE: SipWarning(305, "No common codec or SRTP suite"),
}


class SipLeg:
    """Our end of one SIP session; obeys `Leg`. Made by `answering` or `calling`.

    Attributes:
        session: the session, None until `place` opened it.
    """

    def __init__(
        self, *, session: Session | None, invite: Callable[[Body, float], Session] | None
    ) -> None:
        self.session = session
        self._invite = invite
        self._established = False
        self._rang = False
        self._reoffered: str | None = None  # the peer's latest offer in place of the first
        self._asked = False  # the peer wants our offer, and will answer it in its ACK
        self._over = False
        self._events: list[LegEvent] = []

    @classmethod
    def answering(cls, incoming: IncomingSession, now: float) -> "SipLeg":
        """The leg for a call of the phone's; its `Offered` is waiting in `poll`."""
        leg = cls(session=incoming.session, invite=None)
        sdp = _sdp(incoming.offer)
        leg._asked = incoming.offer is None
        if sdp is None and not leg._asked:
            leg._end(EndReason.MEDIA_INCOMPATIBLE, "the call's offer is not SDP")
            incoming.session.reject(488, now=now)
        else:
            leg._events.append(Offered(sdp))
        return leg

    @classmethod
    def calling(cls, invite: Callable[[Body, float], Session]) -> "SipLeg":
        """The leg for a call to the phone; `invite` sends the INVITE with the offer, now."""
        return cls(session=None, invite=invite)

    # --- the six verbs

    def place(self, sdp: str, now: float) -> None:
        if self._invite is None or self.session is not None or self._over:
            return
        try:
            self.session = self._invite(_body(sdp), now)
        except LocalError as error:
            log.warning("cannot place the call: %s", error)
            self._end(EndReason.TRUNK_DOWN, str(error))

    def ring(self, now: float) -> None:
        if self.session is not None and not self._over:
            self.session.ring(now=now)

    def answer(self, sdp: str, now: float) -> None:
        if self.session is None or self._over or self._established:
            return
        self._established = True
        self.session.answer(_body(sdp), now=now)

    def update(self, sdp: str | None, now: float) -> None:
        if self.session is None or self._over:
            return
        if sdp is None:
            self._asked = False
            self.session.reject_offer(488, now=now)
        else:
            self.session.accept_offer(_body(sdp), now=now)

    def offer(self, sdp: str, now: float) -> None:
        """Ours: the phone asked for it, or our own address changed."""
        if self._asked:
            self.update(sdp, now)
        elif self.session is not None and not self._over:
            try:
                self.session.reoffer(_body(sdp), now=now)
            except LocalError as error:
                log.warning("the phone cannot be offered a change: %s", error)

    def transfer(self, target: Uri | None, now: float, *, joined: "SipLeg | None" = None) -> None:
        """Ask the phone to call somebody else in our place, or to join two calls of ours.

        Raises:
            LocalError: one of the calls is not established, or is being transferred.
        """
        if self.session is None or not self._established or self._over:
            raise LocalError("the call is not established")
        other = None if joined is None else joined.session
        self.session.transfers.ask(target, now=now, replaces=other)

    def press(self, digit: str, duration_ms: int, now: float) -> None:
        """Tell the phone of a key beside the media; before the answer it has no ear for it."""
        if self.session is not None and self._established and not self._over:
            self.session.send_digit(digit, duration_ms, now=now)

    def hang_up(self, reason: EndReason, now: float) -> None:
        over, self._over = self._over, True
        self._events.clear()
        if self.session is None or over:
            return
        status, cause = _REFUSAL[reason]
        told = Reason("Q.850", cause, reason.value)
        if self._invite is None and not self._established:
            self.session.reject(status, now=now, reason=told, warning=_WARNING.get(reason))
        else:
            self.session.hang_up(now=now, reason=told)

    # --- what the session says

    def receive(self, event: Event, now: float) -> None:
        """Take an event of this leg's session."""
        if self._over:
            return
        match event:
            case SessionProgressed(status=status, early=early):
                sdp = _sdp(early)
                self._rang = self._rang or status == 180
                if sdp is not None:
                    self._events.append(Progress(sdp))
                elif status == 180:
                    self._events.append(Ringing())
            case SessionAnswered(answer=answer):
                self._established = True
                sdp = _sdp(answer)
                # What it offered since is known already, and was no answer.
                self._events.append(Answered(None if sdp == self._reoffered else sdp))
            case SessionOffered(session=session, offer=offer):
                sdp = _sdp(offer)
                self._asked = offer is None
                if sdp is None and not self._asked:
                    session.reject_offer(488, now=now)
                else:
                    self._reoffered = sdp
                    self._events.append(Reoffered(sdp))
            case SessionConfirmed(body=body) if self._asked:
                self._asked = False
                self._take_answer(_sdp(body), now)
            case SessionReanswered(status=status, answer=answer):
                if (sdp := _sdp(answer)) is not None and status < 300:
                    self._events.append(OfferAnswered(sdp))
                elif status >= 300:
                    log.warning("the phone refused a change of ours with %d", status)
            case DigitReceived(digit=digit, duration_ms=duration_ms):
                self._events.append(Dialled(digit, duration_ms))
            case TransferRequested(session=session):
                # The new call would need an offer that the plane does not make yet.
                session.transfers.decline(now=now)
            case SessionEnded():
                self._end(self._reason(event), _words(event))
            case _:
                log.debug("nothing to do for %s", type(event).__name__)

    def poll(self, now: float) -> list[LegEvent]:
        events, self._events = self._events, []
        return events

    def _reason(self, ended: SessionEnded) -> EndReason:
        cause = ended.reason.cause if ended.reason and ended.reason.protocol == "Q.850" else None
        if self._established:
            # An end of ours that nobody asked this leg for, with 200: the call was transferred.
            over = ended.by_peer or ended.status == 200
            return EndReason.HANGUP if over else EndReason.TRUNK_DOWN
        if self._invite is None:
            # RFC 3326 §2: another phone of the callee's took the call.
            if ended.reason and (ended.reason.protocol, ended.reason.cause) == ("SIP", 200):
                return EndReason.ANSWERED_ELSEWHERE
            return EndReason.CANCELLED
        if cause in _BY_CAUSE:
            return _BY_CAUSE[cause]
        if ended.status < 400:
            return EndReason.FORWARDED
        if ended.status == 480 and self._rang:
            return EndReason.NO_ANSWER
        return reason_of(ended.status)

    def _take_answer(self, sdp: str | None, now: float) -> None:
        """The answer to our offer; without one there are no media (RFC 3261 §13.2.1)."""
        if sdp is not None:
            self._events.append(OfferAnswered(sdp))
        else:
            self.hang_up(EndReason.MEDIA_INCOMPATIBLE, now)
            self._end(EndReason.MEDIA_INCOMPATIBLE, "our offer was left without an answer")

    def _end(self, reason: EndReason, text: str = "") -> None:
        self._over = True
        self._events.append(Ended(reason, text))


def reason_of(status: int) -> EndReason:
    """What a refusal means, by its status alone."""
    if 500 <= status < 600:
        return EndReason.TRUNK_DOWN
    return _BY_STATUS.get(status, EndReason.ERROR)


def _words(ended: SessionEnded) -> str:
    """The peer's own words, or where it sends the caller."""
    if ended.contacts:
        uri = ended.contacts[0].uri
        return uri.user or uri.host
    if ended.reason is not None and ended.reason.text:
        return ended.reason.text
    return ended.warning.text if ended.warning is not None else ""


def _sdp(body: Body | None) -> str | None:
    if body is None or body.content_type.partition(";")[0].strip().lower() != SDP:
        return None
    return body.data.decode("utf-8", "replace")


def _body(sdp: str) -> Body:
    return Body(SDP, sdp.encode())
