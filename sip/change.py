"""Changes of an established session: offers in both directions, and refreshes.

RFC 3261 §14 (re-INVITE), RFC 3311 (UPDATE), RFC 4028 (session timer). One offer is open at a time
(RFC 6337 §2.2): ours waits while the peer's is unanswered, theirs is refused with 491 while ours
is. Glare is settled by waiting a random time and offering again. The session timer and a new
Contact are told by an UPDATE without an offer; where the peer has no UPDATE, by a re-INVITE that
repeats our last description.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sip.core import Core, Submission, with_body
from sip.dialog import Dialog
from sip.errors import RemoteError
from sip.events import Body, SessionConfirmed, SessionOffered, SessionReanswered
from sip.message import Request, Response, body_of
from sip.reliable import Acceptance, Acks
from sip.timer import SessionTimer, check_interval
from sip.transaction import AnyServer, Failure, Outcome

if TYPE_CHECKING:
    from sip.session import Session

# Glare is settled by one retry, or by two with bad luck (§14.1).
MAX_ATTEMPTS = 5


@dataclass(slots=True)
class _Offer:
    """A re-INVITE of ours.

    Attributes:
        refresh: nobody but ourselves wanted it, so nobody is told.
        attempt: how often the offer was made, glare included.
    """

    body: Body
    refresh: bool = False
    attempt: int = 1
    submission: Submission | None = None


class Changes:
    """What happens to a session between its answer and its end.

    Args:
        session: named in events.
        local: our description as the session began.
        remote: the peer's.
        broken: called with a status and a reason when the peer no longer does its part.
    """

    def __init__(
        self,
        core: Core,
        session: "Session",
        dialog: Dialog,
        *,
        timer: SessionTimer,
        acks: Acks,
        local: Body | None,
        remote: Body | None,
        broken: Callable[[int, str, float], None],
    ) -> None:
        self._core = core
        self._session = session
        self._dialog = dialog
        self._timer = timer
        self._acks = acks
        self._local = local
        self._remote = remote
        self._broken = broken
        self._theirs: AnyServer | None = None  # carries an offer that we have not answered
        self._ours: _Offer | None = None  # not answered by the peer
        self._next: _Offer | None = None  # waits until it may be made
        self._retry_at: float | None = None
        self._acceptance: Acceptance | None = None
        self._contact_stale = False

    @property
    def deadline(self) -> float | None:
        acceptance = None if self._acceptance is None else self._acceptance.deadline
        deadlines = (self._timer.deadline, self._retry_at, acceptance)
        return min((at for at in deadlines if at is not None), default=None)

    # --- what the user wants

    def offer(self, body: Body, now: float) -> None:
        """Offer a change as soon as no other is open; a later one takes the place of this."""
        self._next = _Offer(body)
        self._settle(now)

    def accept(self, body: Body, now: float) -> None:
        """Answer the peer's offer, or make ours if it asked for one."""
        theirs, self._theirs = self._theirs, None
        if theirs is None:
            return
        self._dialog.refresh_target(theirs.request)
        headers = [*self._core.target_headers, *self._timer.accept(theirs.request, now)]
        response = self._core.respond(theirs, 200, now, headers=headers, body=body)
        self._local = body
        self._remote = body_of(theirs.request) or self._remote
        if theirs.request.method == "INVITE":
            self._acceptance = Acceptance(self._core, response, now)
        self._settle(now)

    def reject(self, status: int, now: float) -> None:
        """Refuse the peer's offer."""
        theirs, self._theirs = self._theirs, None
        if theirs is not None:
            self._core.respond(theirs, status, now)
            self._settle(now)

    # --- input

    def receive(self, transaction: AnyServer, now: float) -> None:
        """Take a re-INVITE (§14.2) or UPDATE (RFC 3311 §5.2).

        Raises:
            RemoteError: it cannot be taken now.
        """
        request = transaction.request
        check_interval(request)
        if request.method == "UPDATE" and not request.body:
            self._dialog.refresh_target(request)
            headers = [*self._core.target_headers, *self._timer.accept(request, now)]
            self._core.respond(transaction, 200, now, headers=headers)
        elif self._ours is not None:
            raise RemoteError("an offer of ours is open", status=491)
        elif self._theirs is not None or self._acceptance is not None:
            refuse_for_now(self._core, transaction, now)
        else:
            if request.method == "INVITE":
                self._core.respond(transaction, 100, now)
            self._theirs = transaction
            self._core.emit(SessionOffered(self._session, body_of(request)))

    def receive_ack(self, ack: Request, now: float) -> None:
        """Take the ACK of a 2xx to a re-INVITE."""
        if self._acceptance is not None and self._acceptance.is_acknowledged_by(ack):
            self._acceptance = None
            body = body_of(ack)
            self._remote = body or self._remote
            self._core.emit(SessionConfirmed(self._session, body))
            self._settle(now)

    def flow_closed(self, flow_id: int) -> None:
        """Forget an offer whose answer has no way back."""
        if self._theirs is not None and self._theirs.flow == flow_id:
            self._theirs = None

    def flow_opened(self, now: float) -> None:
        """Tell the peer where we are now."""
        self._contact_stale = True
        self._settle(now)

    def handle_timer(self, now: float) -> None:
        if self._acceptance is not None and not self._acceptance.handle_timer(now):
            self._acceptance = None
            self._broken(408, "no ACK", now)
        elif self._timer.expire_at is not None and now >= self._timer.expire_at:
            self._broken(408, "session timer expired", now)
        elif self._timer.refresh_at is not None and now >= self._timer.refresh_at:
            self._timer.refresh_at = None
            self._refresh(now)
        elif self._retry_at is not None and now >= self._retry_at:
            self._retry_at = None
            self._settle(now)

    def stop(self, now: float) -> None:
        """End: no more offers, and none left without an answer (§15.1.2)."""
        self._timer.stop()
        self._next = self._retry_at = self._acceptance = None
        theirs, self._theirs = self._theirs, None
        if theirs is not None:
            self._core.respond(theirs, 487, now)

    def close(self, now: float) -> None:
        """Wait no longer for the peer's answer to our offer: its dialog is gone."""
        if self._ours is not None and self._ours.submission is not None:
            self._ours.submission.stop(now)

    # --- our offers

    @property
    def _open(self) -> bool:
        """Whether an offer is under way in either direction."""
        return bool(self._ours or self._theirs or self._acceptance)

    def _settle(self, now: float) -> None:
        """Do what waited until no offer is open."""
        if self._open or self._session.ended:
            return
        if self._next is not None and self._retry_at is None:
            offer, self._next = self._next, None
            self._make(offer, now)
        elif self._contact_stale:
            self._refresh(now)

    def _make(self, offer: _Offer, now: float) -> None:
        """Send a re-INVITE."""
        request = self._dialog.request("INVITE")
        for name, value in (*self._core.target_headers, *self._timer.offer()):
            request.headers.add(name, value)
        request = with_body(self._core.dress(request), offer.body)
        self._contact_stale = False
        self._ours = offer
        offer.submission = Submission(
            self._core,
            request,
            lambda outcome, at: self._receive_outcome(offer, outcome, at),
            next_seq=self._dialog.next_seq,
        )
        offer.submission.start(now, flow=self._core.current)

    def _receive_outcome(self, offer: _Offer, outcome: Outcome, now: float) -> None:
        """§14.1."""
        if isinstance(outcome, Response):
            if outcome.status < 200:
                return
            if outcome.status < 300:
                self._receive_acceptance(offer, outcome, now)
                return
        self._ours = None
        if self._session.ended:
            return
        if outcome.status in (408, 481):
            self._broken(outcome.status, outcome.reason, now)
        elif isinstance(outcome, Failure):
            # The flow is gone; the next one will refresh, but a change is for the user to repeat.
            self._timer.postpone(now)
            self._tell(offer, outcome.status, None)
        elif outcome.status == 422 and self._timer.too_small(outcome):
            self._make(offer, now)
        elif not self._retry(offer, outcome, now):
            self._timer.postpone(now)
            self._tell(offer, outcome.status, None)
        self._settle(now)

    def _receive_acceptance(self, offer: _Offer, response: Response, now: float) -> None:
        if self._acks.repeat(response):
            return
        assert offer.submission is not None, "a response came to it"
        self._ours = None
        self._dialog.refresh_target(response)
        self._acks.send(self._dialog, offer.submission.request, response)
        if self._session.ended:
            return
        self._timer.accepted(response, now)
        self._local = offer.body
        answer = body_of(response)
        # The answer to a refresh says something only if the peer changed its mind.
        if answer != self._remote or not offer.refresh:
            self._core.emit(SessionReanswered(self._session, response.status, answer))
        self._remote = answer or self._remote
        self._settle(now)

    def _retry(self, offer: _Offer, response: Response, now: float) -> bool:
        """Offer again after glare (§14.1): the owner of the Call-ID waits longer."""
        if offer.refresh or offer.attempt >= MAX_ATTEMPTS:
            return False
        retry_after = response.headers.retry_after
        if response.status == 491:
            chance = self._core.chance()
            delay = 2.0 * chance if self._session.incoming else 2.1 + 1.9 * chance
        elif response.status == 500 and retry_after is not None and retry_after <= 10:
            delay = float(retry_after)
        else:
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
        if "update" not in self._dialog.allows:
            if self._local is not None and not self._open:
                self._make(_Offer(self._local, refresh=True), now)
            else:
                self._timer.postpone(now)
            return
        self._contact_stale = False
        update = self._core.dress(self._dialog.request("UPDATE"))
        for name, value in (*self._core.target_headers, *self._timer.offer()):
            update.headers.add(name, value)
        self._core.submit(update, self._receive_refreshed, now, next_seq=self._dialog.next_seq)

    def _receive_refreshed(self, outcome: Outcome, now: float) -> None:
        if outcome.status < 200 or self._session.ended:
            return
        if outcome.status in (408, 481):
            self._broken(outcome.status, outcome.reason, now)
        elif isinstance(outcome, Failure):
            self._timer.postpone(now)  # the next flow refreshes anyway
        elif outcome.status < 300:
            self._dialog.refresh_target(outcome)
            self._timer.accepted(outcome, now)
        elif outcome.status == 422 and self._timer.too_small(outcome):
            self._refresh(now)
        else:
            self._timer.postpone(now)


def refuse_for_now(core: Core, transaction: AnyServer, now: float) -> None:
    """Ask the peer to come back with its offer within ten seconds (§14.2)."""
    core.respond(transaction, 500, now, headers=[("Retry-After", str(int(core.chance() * 11)))])
