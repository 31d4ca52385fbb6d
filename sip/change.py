"""Offers, answers and refreshes within one dialog, from its first message to its end.

RFC 3261 §14 (re-INVITE), RFC 3311 (UPDATE), RFC 3262 (PRACK), RFC 4028 (session timer). One offer
is open at a time (RFC 6337 §2.2): ours waits while the peer's is unanswered, theirs is refused with
491 while ours is open and with 500 while theirs is. Glare is settled by waiting a random time and
offering again. Our offer goes in an UPDATE or, where the peer has none, with the next PRACK until
the dialog is confirmed, and in a re-INVITE afterwards. The session timer and a new Contact are told
by an UPDATE without an offer; where the peer has no UPDATE, by a re-INVITE that repeats our last
description.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sip.agenda import soonest
from sip.core import Core, Submission, ignore, with_body
from sip.dialog import Dialog
from sip.errors import RemoteError
from sip.events import Body, SessionConfirmed, SessionReanswered
from sip.glare import come_back, retry_delay
from sip.invitation import Heard, Invitation, is_reliable, read_description
from sip.message import Request, Response
from sip.multipart import description_of
from sip.negotiation import Negotiation, State
from sip.refresh import Refresh
from sip.reliable import Acceptance, Acks
from sip.timer import SessionTimer, check_interval
from sip.transaction import AnyServer, Failure, InviteServerTransaction, Outcome

if TYPE_CHECKING:
    from sip.session import Session

# Glare is settled by one retry, or by two with bad luck (§14.1).
MAX_ATTEMPTS = 5

# How long our user may think about an offer: less than the peer's patience, so that it hears of it.
ANSWER_LIMIT = 30.0


@dataclass(slots=True)
class _Offer:
    """An offer of ours on its way, or a re-INVITE that asks for the peer's.

    Attributes:
        body: None to ask.
        refresh: nobody but ourselves wanted it, so nobody is told.
        attempt: how often the offer was made, glare included.
        before: what was agreed on when it was made.
        told: whether its answer came before its final response.
    """

    body: Body | None
    refresh: bool = False
    attempt: int = 1
    before: tuple[Body | None, Body | None] = (None, None)
    told: bool = False
    submission: Submission | None = field(default=None, repr=False)


class Changes:
    """What one dialog agrees on, and how that changes.

    Args:
        session: named in events.
        offered: told of an offer of the peer's, or that it asks for ours (None), when it is to be
            answered by `accept` or `reject`.
        broken: called with a status and a reason when the peer no longer does its part.
        settled: called when no offer is open any more.

    Attributes:
        negotiation: where offer and answer stand.
        confirmed: whether the INVITE has its 2xx, and at the callee's end that 2xx its ACK.
    """

    def __init__(
        self,
        core: Core,
        session: "Session",
        dialog: Dialog,
        *,
        timer: SessionTimer,
        acks: Acks,
        offered: Callable[["Changes", Body | None], None],
        broken: Callable[[int, str, float], None],
        settled: Callable[[float], None] = lambda now: None,
    ) -> None:
        self.dialog = dialog
        self.negotiation = Negotiation()
        self.confirmed = False
        self._core = core
        self._session = session
        self._timer = timer
        self._acks = acks
        self._offered = offered
        self._broken = broken
        self._settled = settled
        self._refreshes = Refresh(core, session, dialog, timer=timer, broken=broken)
        self._theirs: AnyServer | None = None  # carries an offer that we have not answered
        self._ours: _Offer | None = None  # not answered by the peer
        self._next: _Offer | None = None  # waits until it may be made
        self._invitation: Invitation | None = None  # our INVITE under way, or whose ACK we owe
        self._invite: Request | None = None  # whose 2xx waits for our answer in its ACK
        self._acceptance: Acceptance | None = None
        self._retry_at: float | None = None
        self._answer_by: float | None = None
        self._contact_stale = False

    @property
    def awaits_ack(self) -> bool:
        """Whether a 2xx of ours to an INVITE has no ACK yet."""
        return self._acceptance is not None

    @property
    def asked(self) -> bool:
        """Whether the peer waits for a description of ours."""
        held = self._invitation is not None and self._invitation.held is not None
        return held or self._theirs is not None

    @property
    def busy(self) -> bool:
        """Whether an exchange is open besides that of the INVITE that opened the dialog."""
        return self.asked or self._ours is not None or self.negotiation.state is State.LOCAL_OFFER

    @property
    def deadline(self) -> float | None:
        if self._session.ended:
            return None if self._acceptance is None else self._acceptance.deadline
        deadlines = (
            None if self._acceptance is None else self._acceptance.deadline,
            self._answer_by,
            self._retry_at,
            self._timer.deadline if self.confirmed else None,
        )
        return soonest(*deadlines)

    # --- what the user wants

    def offer(self, body: Body | None, now: float) -> None:
        """Offer a change as soon as no other is open; a later one takes the place of this."""
        self._next = _Offer(body)
        self._settle(now)

    def accept(self, body: Body, now: float) -> None:
        """Answer the peer's offer, or make ours if it asked for one."""
        theirs, self._theirs = self._theirs, None
        self._answer_by = None
        if theirs is not None:
            self._describe(body)
            if theirs.request.method == "INVITE":
                self._accept_invite(theirs, body, now)
            elif theirs.request.method == "UPDATE":
                self._core.respond(
                    theirs, 200, now, headers=self._refreshed(theirs, now), body=body
                )
            else:
                self._core.respond(theirs, 200, now, body=body)
        elif self._invitation is not None and self._invitation.held is not None:
            self._describe(body)
            self._release(body, now)
        self._settle(now)

    def reject(self, status: int, now: float, *, headers: Iterable[tuple[str, str]] = ()) -> None:
        """Refuse the peer's offer.

        What came in a response cannot be refused, only left without an answer; that ends the
        session.

        Deviation: RFC 3261 §13.2.2.4 wants an answer in that ACK all the same, before the BYE; we
        have none to give, because bodies are opaque to us.
        """
        theirs, self._theirs = self._theirs, None
        self._answer_by = None
        if theirs is not None:
            self.negotiation.roll_back()
            self._core.respond(theirs, status, now, headers=headers)
            self._settle(now)
        elif self._invitation is not None and self._invitation.held is not None:
            self.negotiation.roll_back()
            self._release(None, now)
            self._broken(status, "offer not acceptable", now)

    # --- our INVITE that opens the dialog

    def begin(self, offer: Body | None) -> None:
        """Open the exchange of our INVITE in this dialog."""
        self._invitation = Invitation(self.dialog, self.negotiation, offering=offer is not None)
        if offer is not None:
            self.negotiation.make_offer(offer)

    def admits(self, response: Response) -> bool:
        """Whether a provisional response to our INVITE is new and in order."""
        return self._invitation is not None and self._invitation.admits(response)

    def early(self, response: Response) -> Body | None:
        """The description in a provisional response, if it answers our offer or will."""
        return None if self._invitation is None else self._invitation.early(response)

    def receive_provisional(self, response: Response, now: float) -> Heard:
        """Take a provisional response that was admitted, and send its PRACK (RFC 3262 §4)."""
        assert self._invitation is not None, "a response comes to an INVITE"
        if not self.confirmed:
            self.dialog.refresh_target(response)
        heard = self._invitation.receive_provisional(response)
        if heard is Heard.OFFER:
            self._ask(read_description(response), now)
        elif is_reliable(response):
            self._prack(response, None, now)
            self._settle(now)
        return heard

    def confirm(self, invite: Request, response: Response, now: float) -> Body | None:
        """Take the 2xx and acknowledge it, unless it makes an offer, which is returned: then the
        ACK waits for our answer."""
        self.confirmed = True
        return self._acknowledge(invite, response, now)

    # --- the peer's INVITE

    def accept_invite(
        self,
        transaction: InviteServerTransaction,
        body: Body | None,
        now: float,
        *,
        headers: Iterable[tuple[str, str]],
    ) -> None:
        """Answer the INVITE that opened the dialog; what its body is to the negotiation is the
        caller's."""
        tag = self.dialog.local.tag
        response = self._core.respond(transaction, 200, now, to_tag=tag, headers=headers, body=body)
        self._acceptance = Acceptance(self._core, response, now)

    def receive(self, transaction: AnyServer, now: float) -> None:
        """Take a re-INVITE (§14.2) or UPDATE (RFC 3311 §5.2).

        Raises:
            RemoteError: it cannot be taken now.
        """
        request = transaction.request
        check_interval(request)
        body = description_of(request)
        if request.method == "UPDATE" and body is None:
            self._core.respond(transaction, 200, now, headers=self._refreshed(transaction, now))
        else:
            self._refuse_glare(request)
            if request.method == "INVITE":
                self._core.respond(transaction, 100, now)
            self._take(transaction, body, now)

    def receive_prack(self, transaction: AnyServer, body: Body | None, now: float) -> None:
        """Take what a PRACK brings besides its acknowledgement: an answer, an offer or nothing.

        Raises:
            RemoteError: it cannot be taken now.
        """
        if self.negotiation.state is State.LOCAL_OFFER and self._ours is None:
            # The offer was in the response that is acknowledged (RFC 3262 §5).
            self._take_answer(body)
            self._core.respond(transaction, 200, now)
            self._core.emit(SessionReanswered(self._session, 200, body))
            self._settle(now)
        elif body is None:
            self._core.respond(transaction, 200, now)
        else:
            self._refuse_glare(transaction.request)
            self._take(transaction, body, now)

    def receive_ack(self, ack: Request, now: float) -> bool:
        """Take the ACK of a 2xx of ours; False if none waits for it."""
        if self._acceptance is None or not self._acceptance.is_acknowledged_by(ack):
            return False
        self._acceptance = None
        self.confirmed = True
        body = read_description(ack)
        if self.negotiation.state is State.LOCAL_OFFER and self._ours is None:
            self._take_answer(body)
        if not self._session.ended:
            self._core.emit(SessionConfirmed(self._session, body))
            self._settle(now)
        return True

    # --- flows, time and the end

    def flow_closed(self, flow_id: int) -> None:
        """Forget an offer whose answer has no way back."""
        if self._theirs is not None and self._theirs.flow == flow_id:
            self._theirs = self._answer_by = None
            self.negotiation.roll_back()

    def flow_opened(self, now: float) -> None:
        """Tell the peer where we are now."""
        self._contact_stale = True
        self._settle(now)

    def handle_timer(self, now: float) -> None:
        if self._acceptance is not None and not self._acceptance.handle_timer(now):
            self._acceptance = None
            self._broken(408, "no ACK", now)
        elif self._session.ended:
            return
        elif self._answer_by is not None and now >= self._answer_by:
            self.reject(500, now)
        elif self._retry_at is not None and now >= self._retry_at:
            self._retry_at = None
            self._settle(now)
        elif not self.confirmed:
            return
        elif self._timer.expire_at is not None and now >= self._timer.expire_at:
            self._broken(408, "session timer expired", now)
        elif self._timer.refresh_at is not None and now >= self._timer.refresh_at:
            self._timer.refresh_at = None
            self._refresh(now)

    def stop(self, now: float) -> None:
        """End: no more offers, and none left without an answer (§15.1.2)."""
        self._next = self._retry_at = self._answer_by = None
        if self.confirmed:
            self._acceptance = None  # a BYE says more than the ACK of a re-INVITE
        theirs, self._theirs = self._theirs, None
        if theirs is not None:
            self._core.respond(theirs, 487, now)
        if self._invite is not None:
            self._release(None, now)

    def close(self, now: float) -> None:
        """Wait no longer for anything: the dialog is gone."""
        self._acceptance = None
        ours, self._ours = self._ours, None
        waiting, self._next = self._next, None
        for offer in (ours, waiting):
            if offer is not None and not self._session.ended:
                self._tell(offer, 487, None)
        if ours is not None and ours.submission is not None:
            ours.submission.stop(now)

    # --- the peer's offers

    def _refuse_glare(self, request: Request) -> None:
        """Refuse an offer that crosses another (§14.2, RFC 3311 §5.2).

        Raises:
            RemoteError: 491, an offer of ours is open; 500, one of theirs is.
        """
        invite = request.method == "INVITE"
        settled = self._invitation is None or self._invitation.settled
        if self._theirs is not None or (invite and self._acceptance is not None):
            raise come_back(self._core.chance())
        if self._ours is not None and (invite or not settled):
            raise RemoteError("an offer of ours is open", status=491)
        if self.negotiation.state is State.LOCAL_OFFER or (invite and not settled):
            raise RemoteError("an offer of ours is open", status=491)
        if not self.negotiation.stable or not (self.confirmed or self.negotiation.rounds):
            raise come_back(self._core.chance())
        if invite and not self.confirmed:
            # Our own INVITE has no final response, or the peer's has none of ours.
            if self._session.incoming:
                raise come_back(self._core.chance())
            raise RemoteError("our INVITE is not answered", status=491)

    def _take(self, transaction: AnyServer, body: Body | None, now: float) -> None:
        if body is not None:
            self.negotiation.take_offer(body)
        self._theirs = transaction
        self._ask(body, now)

    def _ask(self, offer: Body | None, now: float) -> None:
        """Have our user describe our end."""
        self._answer_by = now + ANSWER_LIMIT
        self._offered(self, offer)

    def _describe(self, body: Body) -> None:
        """Answer the peer's open offer; where it asked for one, this is ours."""
        if self.negotiation.state is State.REMOTE_OFFER:
            self.negotiation.make_answer(body)
        else:
            self.negotiation.make_offer(body)

    def _accept_invite(self, theirs: AnyServer, body: Body, now: float) -> None:
        headers = self._refreshed(theirs, now)
        response = self._core.respond(theirs, 200, now, headers=headers, body=body)
        self._acceptance = Acceptance(self._core, response, now)

    def _refreshed(self, theirs: AnyServer, now: float) -> list[tuple[str, str]]:
        """Let a request of the peer refresh target and timer; header fields for its 2xx."""
        self.dialog.refresh_target(theirs.request)
        headers = list(self._core.target_headers)
        if self.confirmed:
            headers += self._timer.accept(theirs.request, now)
        return headers

    def _take_answer(self, body: Body | None) -> None:
        """Take the answer to our open offer; one without a description agrees on nothing new."""
        if body is None:
            self.negotiation.roll_back()
        else:
            self.negotiation.take_answer(body)

    # --- our INVITEs, PRACKs and ACKs

    def _acknowledge(self, invite: Request, response: Response, now: float) -> Body | None:
        """Acknowledge the 2xx of an INVITE of ours, unless it makes an offer, which is returned."""
        assert self._invitation is not None, "a response comes to an INVITE"
        heard = self._invitation.receive_acceptance(response)
        if heard is not Heard.OFFER or self._session.ended:
            self._acks.send(self.dialog, invite, response)
            if self._invitation.held is response:
                self._invitation.held = None
            return None
        self._invite = invite
        self._answer_by = now + ANSWER_LIMIT
        return read_description(response)

    def _release(self, answer: Body | None, now: float) -> None:
        """Send the PRACK or ACK that waited for our answer."""
        assert self._invitation is not None, "what waits came to an INVITE"
        response, self._invitation.held = self._invitation.held, None
        invite, self._invite = self._invite, None
        if response is None:
            return
        if invite is not None:
            self._acks.send(self.dialog, invite, response, answer)
        else:
            self._prack(response, answer, now)

    def _prack(self, response: Response, answer: Body | None, now: float) -> None:
        """Acknowledge a reliable response; an offer of ours that waits goes with it."""
        assert self._invitation is not None, "a response comes to an INVITE"
        prack = self._core.dress(self._invitation.prack(response))
        offer = self._next
        if answer is None and offer is not None and offer.body is not None and self._may_offer():
            self._next = None
            self._send(offer, prack, now)
        else:
            prack = with_body(prack, answer)
            self._core.submit(prack, ignore, now, next_seq=self.dialog.next_seq)

    # --- our offers

    @property
    def _open(self) -> bool:
        """Whether an offer is under way in either direction."""
        return bool(self._ours or self._theirs or self._acceptance or not self.negotiation.stable)

    def _may_offer(self) -> bool:
        """Whether we may make an offer now, however it travels."""
        early = not self.confirmed and self.negotiation.rounds > 0
        return not self._open and self._retry_at is None and (self.confirmed or early)

    def _settle(self, now: float) -> None:
        """Do what waited until no offer is open."""
        self._settled(now)
        if self._open or self._session.ended:
            return
        offer = self._next
        if offer is not None and self._may_offer():
            if self.confirmed and self._core.current is None:
                return  # there will be a flow
            if self.confirmed:
                self._next = None
                self._reinvite(offer, now)
            elif "update" in self.dialog.allows and offer.body is not None:
                self._next = None
                self._update(offer, now)
        elif self._contact_stale and self.confirmed:
            self._refresh(now)

    def _reinvite(self, offer: _Offer, now: float) -> None:
        headers = [*self._core.target_headers, *self._timer.offer()]
        request = self._core.dress(self.dialog.request("INVITE"), headers)
        self._contact_stale = False
        self._invitation = Invitation(
            self.dialog, self.negotiation, offering=offer.body is not None
        )
        self._send(offer, request, now)

    def _update(self, offer: _Offer, now: float) -> None:
        request = self._core.dress(self.dialog.request("UPDATE"), self._core.target_headers)
        self._send(offer, request, now)

    def _send(self, offer: _Offer, request: Request, now: float) -> None:
        """Make an offer with a request that may carry it."""
        offer.before = self.negotiation.agreed
        if offer.body is not None:
            self.negotiation.make_offer(offer.body)
        self._ours = offer
        offer.submission = Submission(
            self._core,
            with_body(request, offer.body),
            lambda outcome, at: self._receive_outcome(offer, outcome, at),
            next_seq=self.dialog.next_seq,
        )
        offer.submission.start(now, flow=self._core.current)

    def _receive_outcome(self, offer: _Offer, outcome: Outcome, now: float) -> None:
        """§14.1, RFC 3311 §5.3."""
        if isinstance(outcome, Response) and outcome.status < 300:
            assert offer.submission is not None, "a response came to it"
            if outcome.status >= 200:
                self._receive_acceptance(offer, offer.submission.request, outcome, now)
            elif offer.submission.request.method == "INVITE" and self.admits(outcome):
                self._receive_early_answer(offer, outcome, now)
            return
        if offer is not self._ours:
            return  # the dialog is gone
        self._ours = None
        self._undo(offer)
        if self._invitation is not None and self.confirmed:
            self._invitation = None
        if self._session.ended:
            return
        if outcome.status in (408, 481) and self.confirmed:
            self._broken(outcome.status, outcome.reason, now)
        elif isinstance(outcome, Failure):
            # The flow is gone: what was lost with it is offered over the next one.
            self._timer.postpone(now)
            if not offer.refresh and self.confirmed:
                self._next = self._next or _Offer(offer.body)
            else:
                self._tell(offer, outcome.status, None)
        elif outcome.status == 422 and self.confirmed and self._timer.too_small(outcome):
            self._reinvite(offer, now)
        elif not self._retry(offer, outcome, now):
            self._timer.postpone(now)
            self._tell(offer, outcome.status, None)
        self._settle(now)

    def _undo(self, offer: _Offer) -> None:
        """Go back to before a change that failed; an offer that the peer made meanwhile stands."""
        self.negotiation.restore(offer.before)
        theirs = None if self._theirs is None else read_description(self._theirs.request)
        if theirs is not None:
            self.negotiation.take_offer(theirs)

    def _receive_early_answer(self, offer: _Offer, response: Response, now: float) -> None:
        """Take a provisional response to a re-INVITE: it may hold the answer (RFC 3262 §5)."""
        heard = self.receive_provisional(response, now)
        if heard is Heard.ANSWER:
            offer.told = True
            self._tell(offer, response.status, self.negotiation.remote)

    def _receive_acceptance(
        self, offer: _Offer, request: Request, response: Response, now: float
    ) -> None:
        if request.method == "INVITE":
            held = self._invitation is not None and self._invitation.held is not None
            if self._acks.repeat(response) or (held and self._invite is request):
                return
        if offer is not self._ours:
            return
        self._ours = None
        question = None
        if request.method == "INVITE":
            question = self._acknowledge(request, response, now)
        else:
            self._take_answer(read_description(response))
        if request.method != "PRACK":
            self.dialog.refresh_target(response)
            if self.confirmed and not self._session.ended:
                self._timer.accepted(response, now)
        if self._session.ended:
            return
        if question is not None:
            self._offered(self, question)
            return
        # The answer to a refresh says something only if the peer changed its mind.
        if not offer.told and (not offer.refresh or self.negotiation.remote != offer.before[1]):
            answer = self.negotiation.remote if offer.body is not None else None
            self._core.emit(SessionReanswered(self._session, response.status, answer))
        self._settle(now)

    def _retry(self, offer: _Offer, response: Response, now: float) -> bool:
        """Offer again after glare (§14.1); False for an offer that was refused for good."""
        if offer.refresh or offer.attempt >= MAX_ATTEMPTS:
            return False
        incoming, chance = self._session.incoming, self._core.chance()
        delay = retry_delay(response, incoming=incoming, chance=chance)
        if delay is None:
            return False
        if self._next is None:
            self._next = _Offer(offer.body, attempt=offer.attempt + 1)
        self._retry_at = now + delay
        return True

    def _tell(self, offer: _Offer, status: int, answer: Body | None) -> None:
        if not offer.refresh:
            self._core.emit(SessionReanswered(self._session, status, answer))

    # --- refreshes

    def _refresh(self, now: float) -> None:
        """Refresh session timer and target (RFC 4028 §7.4, RFC 3261 §12.2)."""
        if "update" in self.dialog.allows:
            self._contact_stale = False
            self._refreshes.send(now)
        elif self.negotiation.local is not None and not self._open:
            self._reinvite(_Offer(self.negotiation.local, refresh=True), now)
        else:
            self._timer.postpone(now)
