"""The INVITE session (RFC 3261 §13 to §15): what we call a phone call's signalling.

One class for both directions, since after the answer there is no difference. The parts that a
session is made of lie beside it: `dialog` (who and where), `reliable` (responses until
acknowledged), `timer` (RFC 4028), `core.Submission` (requests through challenges). Bodies are
opaque; what is kept here is the state of offer and answer (RFC 3264, RFC 6337): one offer at a
time, in either direction.

The user is told of the end at once and exactly once; what the standard still demands after that
(the 487 to our CANCEL, the 200 to our BYE, the ACK before which a callee may not send BYE) goes on
in state Closing. Verbs that come too late do nothing, because they crossed with the peer;
`LocalError` is for what no crossing explains.

A session outlives its flow. When a new one opens, the peer is told our new Contact by a target
refresh (an UPDATE without an offer, or a re-INVITE where the peer has no UPDATE), and a BYE that
was cut off is sent again.
"""

import logging
from collections.abc import Iterable
from enum import Enum

from sip import timer
from sip.core import ALLOW, SUPPORTED, Core, Submission, with_body
from sip.dialog import Dialog
from sip.errors import LocalError, RemoteError
from sip.events import (
    Body,
    IncomingSession,
    Reason,
    SessionAnswered,
    SessionConfirmed,
    SessionEnded,
    SessionOffered,
    SessionProgressed,
    SessionReanswered,
)
from sip.headers import RAck, reason_value
from sip.message import Message, Request, Response, body_of
from sip.reliable import Acceptance, Provisionals
from sip.transaction import (
    PATIENCE,
    AnyServer,
    Failure,
    InviteServerTransaction,
    Outcome,
    Timers,
)
from sip.uri import NameAddr, Uri

logger = logging.getLogger(__name__)

# §13.3.1.1: a proxy gives up on an INVITE that it has not heard of for three minutes (timer C).
RING_AGAIN = 60.0

# A forking proxy reaches a handful of phones; each early dialog costs memory.
MAX_EARLY_DIALOGS = 16

# Glare is settled by one retry, or by two with bad luck (§14.1).
MAX_OFFER_ATTEMPTS = 5

# INFO bodies that carry digits beside RFC 4733; they are taken and left alone.
_DIGIT_TYPES = ("application/dtmf-relay", "application/dtmf")


class State(Enum):
    """Where the session stands."""

    CALLING = "calling"  # our INVITE is out
    INCOMING = "incoming"  # the peer's INVITE is in
    EARLY = "early"  # something above 100 was said
    ACCEPTED = "accepted"  # our 2xx is out, its ACK not in
    CONFIRMED = "confirmed"
    CLOSING = "closing"  # over for the user, not yet on the wire
    TERMINATED = "terminated"


_UNANSWERED = (State.INCOMING, State.EARLY)


class _Early:
    """An early dialog of our INVITE (§12.1): one for each phone that a proxy forked to."""

    def __init__(self, dialog: Dialog) -> None:
        self.dialog = dialog
        self.rseq: int | None = None
        self.body: Body | None = None


class Session:
    """One session with the peer.

    Attributes:
        id: unique among the sessions of the agent.
        incoming: whether the peer began it.
        call_id: of its dialog.
        local_tag: of its dialog.
        ended: whether `SessionEnded` was said.
        peer_agent: the peer's User-Agent or Server, None until it tells.
    """

    def __init__(
        self, core: Core, *, id: str, incoming: bool, call_id: str, local_tag: str
    ) -> None:
        self.id = id
        self.incoming = incoming
        self.call_id = call_id
        self.local_tag = local_tag
        self.ended = False
        self.peer_agent: str | None = None
        self._core = core
        self._state = State.INCOMING if incoming else State.CALLING
        self._dialog: Dialog | None = None
        self._peer_allows: frozenset[str] = frozenset()
        self._timer = timer.SessionTimer()
        self._timers = Timers()  # "ring", "retry", "give up"
        self._local_body: Body | None = None
        self._remote_body: Body | None = None
        # our INVITE
        self._submission: Submission | None = None
        self._early: dict[str, _Early] = {}
        self._acks: dict[tuple[str, int], Request] = {}
        # the peer's INVITE
        self._invite: InviteServerTransaction | None = None
        self._provisionals: Provisionals | None = None
        self._ringing: Response | None = None
        self._answer: Body | None = None  # waits for a PRACK
        self._acceptance: Acceptance | None = None
        # offers within the dialog
        self._offered: AnyServer | None = None  # the peer's, until we answer
        self._offering: Submission | None = None  # ours, until the peer answers
        self._offering_body: Body | None = None
        self._offering_refresh = False  # nobody but the timer wanted it
        self._queued: Body | None = None
        self._offer_attempts = 0
        self._contact_stale = False
        # the end
        self._bye_owed = False
        self._bye_headers: list[tuple[str, str]] = []

    @property
    def established(self) -> bool:
        """Whether a 2xx was sent or received, and the session is not over."""
        return self._state in (State.ACCEPTED, State.CONFIRMED)

    @property
    def finished(self) -> bool:
        """Whether nothing more is to be done on the wire either."""
        return self._state is State.TERMINATED

    @property
    def remote_tag(self) -> str | None:
        """The peer's tag; None before the peer's first response."""
        return None if self._dialog is None else self._dialog.remote_tag

    @property
    def deadline(self) -> float | None:
        deadlines = [self._timers.deadline, self._timer.deadline]
        if self._acceptance is not None:
            deadlines.append(self._acceptance.deadline)
        if self._provisionals is not None:
            deadlines.append(self._provisionals.deadline)
        return min((at for at in deadlines if at is not None), default=None)

    # --- verbs of the user

    def ring(self, *, now: float) -> None:
        """Tell the caller that the phone rings: 180."""
        self._provide(180, None, now)

    def progress(self, body: Body, *, now: float) -> None:
        """Give the caller early media: 183 with a body."""
        self._provide(183, body, now)

    def answer(self, body: Body, *, now: float) -> None:
        """Take the call: 200. The body answers the offer, or makes one if the INVITE had none."""
        self._expect_incoming()
        if self._state not in _UNANSWERED or self._answer is not None:
            return
        if self._provisionals is not None and self._provisionals.pending:
            self._answer = body  # RFC 3262 §3: not before the PRACK of an answer sent earlier
        else:
            self._accept(body, now)

    def reject(self, status: int, *, now: float, reason: Reason | None = None) -> None:
        """Refuse the call.

        Raises:
            LocalError: `status` refuses nothing.
        """
        self._expect_incoming()
        _expect_refusal(status)
        if self._state in _UNANSWERED:
            self._refuse(status, _reason_headers(reason), now)
            self._end(status, by_peer=False)

    def hang_up(self, *, now: float, reason: Reason | None = None) -> None:
        """End the session by whatever its state demands: CANCEL, BYE or a refusal."""
        if self.ended:
            return
        headers = _reason_headers(reason)
        match self._state:
            case State.CALLING | State.EARLY if not self.incoming:
                assert self._submission is not None, "calling means that an INVITE was submitted"
                self._enter(State.CLOSING)
                # If not even the CANCEL is answered (§9.1), after the INVITE's own patience.
                self._timers.arm("give up", now + 2 * PATIENCE)
                self._bye_headers = headers  # if the answer crosses
                self._submission.cancel(now, headers=headers)
                self._end(487, by_peer=False)
            case State.INCOMING | State.EARLY:
                self._refuse(480, headers, now)
                self._end(480, by_peer=False)
            case _:
                self._end(200, by_peer=False)
                self._bye_headers = headers
                self._leave(now)

    def reoffer(self, body: Body, *, now: float) -> None:
        """Offer a changed session: re-INVITE (§14.1).

        It waits for an offer under way in either direction, and is repeated after glare. A later
        one takes the place of one that waits.

        Raises:
            LocalError: the session was never established.
        """
        if self._state in (State.CALLING, *_UNANSWERED):
            raise LocalError("the session is not established")
        self._queued = body
        self._offer_attempts = 0
        self._settle(now)

    def accept_offer(self, body: Body, *, now: float) -> None:
        """Answer the peer's `SessionOffered`; makes the offer if the peer asked for ours."""
        offered, self._offered = self._offered, None
        if offered is None:
            return
        dialog = self._expect_dialog()
        dialog.refresh_target(offered.request)
        headers = [*self._headers(), *self._timer.accept(offered.request, now)]
        response = self._core.respond(offered, 200, now, headers=headers, body=body)
        self._local_body = body
        self._remote_body = body_of(offered.request) or self._remote_body
        if offered.request.method == "INVITE":
            self._acceptance = Acceptance(
                response, initial=False, repeat=self._repeat_response, now=now
            )
        self._settle(now)

    def reject_offer(self, status: int, *, now: float) -> None:
        """Refuse the peer's `SessionOffered`; the session goes on as before.

        Raises:
            LocalError: `status` refuses nothing.
        """
        _expect_refusal(status)
        offered, self._offered = self._offered, None
        if offered is not None:
            self._core.respond(offered, status, now)
            self._settle(now)

    # --- input

    def place(
        self,
        target: Uri,
        offer: Body,
        *,
        sender: NameAddr,
        headers: Iterable[tuple[str, str]],
        now: float,
    ) -> None:
        """Send the INVITE that opens the session (§13.2.1)."""
        request = self._core.request(
            "INVITE",
            target,
            sender=sender.with_tag(self.local_tag),
            to=NameAddr(target),
            call_id=self.call_id,
            seq=1,
        )
        for name, value in (*headers, *self._headers(), *self._timer.offer()):
            request.headers.add(name, value)
        self._local_body = offer
        self._submit_invite(with_body(request, offer), now)

    def receive_invite(self, transaction: InviteServerTransaction, now: float) -> None:
        """Take the INVITE that opens the session (§13.3.1).

        Raises:
            RemoteError: it cannot be taken.
        """
        request = transaction.request
        timer.check_interval(request)
        self._dialog = Dialog.from_request(request, tag=self.local_tag)
        self._invite = transaction
        self._learn(request)
        if "100rel" in request.headers.tokens("Require"):
            self._provisionals = Provisionals(
                first=1 + int(self._core.chance() * 1_000_000), send=transaction.respond
            )
        self._remote_body = body_of(request)
        self._core.respond(transaction, 100, now)
        self._core.emit(
            IncomingSession(
                self,
                target=request.uri,
                to=request.headers.to,
                caller=request.headers.from_,
                asserted=request.headers.asserted_identity,
                offer=self._remote_body,
            )
        )

    def is_opened_by(self, invite: InviteServerTransaction) -> bool:
        return self._invite is invite

    def knows(self, remote_tag: str) -> bool:
        """Whether a request with this From tag belongs to a dialog of the session."""
        return self._dialog_of(remote_tag) is not None

    def admit(self, request: Request) -> None:
        """Check a request's place in its dialog (§12.2.2).

        Raises:
            RemoteError: it is out of order, or of no dialog of ours.
        """
        dialog = self._dialog_of(request.headers.from_.tag or "")
        if dialog is None:
            raise RemoteError("no such dialog", status=481)
        dialog.admit(request)

    def receive(self, transaction: AnyServer, now: float) -> None:
        """Take an INVITE, UPDATE, BYE, PRACK or INFO within the dialog.

        Raises:
            RemoteError: it cannot be taken.
        """
        self._learn(transaction.request)
        match transaction.request.method:
            case "BYE":
                self._receive_bye(transaction, now)
            case "INVITE" | "UPDATE":
                self._receive_offer(transaction, now)
            case "PRACK":
                self._receive_prack(transaction, now)
            case _:
                self._receive_info(transaction, now)

    def receive_ack(self, ack: Request, now: float) -> None:
        """Take the ACK of a 2xx of ours (§13.3.1.4); a repeated one is dropped."""
        acceptance = self._acceptance
        if acceptance is None or not acceptance.is_acknowledged_by(ack):
            return
        self._acceptance = None
        if self._state is State.CLOSING:
            self._bye(now)  # the user did not wait for it, but the standard makes us (§15)
            return
        if acceptance.initial:
            self._enter(State.CONFIRMED)
        body = body_of(ack)
        self._remote_body = body or self._remote_body
        self._core.emit(SessionConfirmed(self, body))
        self._settle(now)

    def receive_cancel(self, cancel: Request, now: float) -> None:
        """Take the CANCEL of the INVITE that opened the session (§9.2), if it is not too late."""
        if self._state in _UNANSWERED:
            self._refuse(487, [], now)
            self._end(487, by_peer=True, reason=cancel.headers.reason)

    def receive_stray(self, response: Response) -> None:
        """Take a repeated 2xx whose transaction is gone: its ACK was lost (§13.2.2.4)."""
        self._repeat_ack(response)

    def flow_closed(self, flow_id: int, now: float) -> None:
        """Lose a flow; our own requests on it have failed before."""
        if self._offered is not None and self._offered.flow == flow_id:
            self._offered = None
        waiting = self._invite is not None and self._invite.flow == flow_id
        if self._state in _UNANSWERED and waiting:
            self._enter(State.TERMINATED)
            self._end(503, by_peer=False)

    def flow_opened(self, now: float) -> None:
        """Have a flow again: say what could not be said, and where we are now."""
        if self._bye_owed:
            self._bye(now)
        elif self.established:
            self._contact_stale = True
            self._settle(now)

    def handle_timer(self, now: float) -> None:
        if self._acceptance is not None and not self._acceptance.handle_timer(now):
            self._acceptance = None
            self._break(408, "no ACK", now)
        if self._provisionals is not None and not self._provisionals.handle_timer(now):
            self._refuse(504, [], now)
            self._end(504, by_peer=False)
        if self._timer.expire_at is not None and now >= self._timer.expire_at:
            self._break(408, "session timer expired", now)
        if self._timer.refresh_at is not None and now >= self._timer.refresh_at:
            self._timer.refresh_at = None
            self._refresh(now)
        while (name := self._timers.take_due(now)) is not None:
            if name == "ring":
                self._ring_again(now)
            elif name == "retry":
                self._settle(now)
            elif self._submission is not None and self._dialog is None:
                self._submission.stop(now)  # §9.1: it counts as cancelled
            else:
                self._enter(State.TERMINATED)

    # --- our INVITE (§13.2)

    def _submit_invite(self, request: Request, now: float) -> None:
        seq = request.headers.cseq.number

        def next_seq() -> int:
            nonlocal seq
            seq += 1
            return seq

        self._submission = Submission(self._core, request, self._receive_outcome, next_seq=next_seq)
        self._submission.start(now, flow=self._core.current)

    def _receive_outcome(self, outcome: Outcome, now: float) -> None:
        if isinstance(outcome, Failure):
            self._enter(State.TERMINATED)
            self._end(outcome.status, by_peer=False)
            return
        self._learn(outcome)
        if outcome.status < 200:
            self._receive_provisional(outcome, now)
        elif outcome.status < 300:
            self._receive_acceptance(outcome, now)
        else:
            self._receive_refusal(outcome, now)

    def _receive_provisional(self, response: Response, now: float) -> None:
        """§13.2.2.1, RFC 3262 §4."""
        if response.status == 100 or self._state not in (State.CALLING, State.EARLY):
            return
        tag = response.headers.to.tag
        body = body_of(response)
        if tag is not None:
            early = self._early_dialog(tag, response)
            if early is None or not self._acknowledge_provisional(early, response, now):
                return
            early.body = body or early.body
        self._enter(State.EARLY)
        self._core.emit(SessionProgressed(self, response.status, body))

    def _early_dialog(self, tag: str, response: Response) -> _Early | None:
        early = self._early.get(tag)
        if early is None and len(self._early) < MAX_EARLY_DIALOGS:
            assert self._submission is not None, "a response came to it"
            early = _Early(Dialog.from_response(self._submission.request, response))
            self._early[tag] = early
        return early

    def _acknowledge_provisional(self, early: _Early, response: Response, now: float) -> bool:
        """Send the PRACK if one is due; False if the response is a repetition or out of order."""
        if "100rel" not in response.headers.tokens("Require"):
            return True
        rseq = response.headers.integer("RSeq")
        if rseq is None or (early.rseq is not None and rseq != early.rseq + 1):
            return False
        early.rseq = rseq
        prack = early.dialog.request("PRACK")
        prack.headers.add("RAck", RAck(rseq, response.headers.cseq))
        self._dress(prack)
        self._core.submit(prack, _ignore, now, next_seq=early.dialog.next_seq)
        return True

    def _receive_acceptance(self, response: Response, now: float) -> None:
        """§13.2.2.4, for the first 2xx, its repetitions, and those of other forks."""
        if self._repeat_ack(response):
            return
        assert self._submission is not None, "a response came to it"
        tag = response.headers.to.tag or ""
        early = self._early.pop(tag, None)
        if early is None:
            dialog = Dialog.from_response(self._submission.request, response)
        else:
            dialog = early.dialog
            dialog.confirm(response)
        self._send_ack(dialog, self._submission.request, response)
        if self._dialog is not None:
            # Another phone answered as well, too late.
            bye = self._dress(dialog.request("BYE"))
            self._core.submit(bye, _ignore, now, next_seq=dialog.next_seq)
            return
        self._dialog = dialog
        self._early.clear()
        if self.ended:
            self._bye(now)  # it crossed our CANCEL
            return
        self._enter(State.CONFIRMED)
        self._timer.accepted(response, now)
        self._remote_body = body_of(response) or (early.body if early is not None else None)
        self._core.emit(SessionAnswered(self, self._remote_body))
        self._settle(now)

    def _receive_refusal(self, response: Response, now: float) -> None:
        """§13.2.2.2, §13.2.2.3. Redirections are not followed: the user chose whom we call."""
        assert self._submission is not None, "a response came to it"
        if response.status == 422 and not self.ended and self._timer.too_small(response):
            old = self._submission.request
            headers = old.headers.copy()
            for name, value in self._timer.offer():
                headers.set(name, value)
            headers.set("CSeq", f"{headers.cseq.number + 1} INVITE")
            self._submit_invite(Request("INVITE", old.uri, headers, old.body), now)
            return
        self._enter(State.TERMINATED)
        self._end(
            response.status,
            by_peer=True,
            reason=response.headers.reason,
            retry_after=response.headers.retry_after,
        )

    def _send_ack(self, dialog: Dialog, invite: Request, response: Response) -> None:
        """Acknowledge a 2xx (§13.2.2.4) with the credentials of its INVITE (§22.1)."""
        flow = self._core.current
        number = response.headers.cseq.number
        ack = self._dress(dialog.ack(number), contact=False)
        for name in ("Authorization", "Proxy-Authorization"):
            for value in invite.headers.get_all(name):
                ack.headers.add(name, value)
        if flow is not None:
            ack.headers.put_first("Via", self._core.via(flow))
            self._core.send(flow.id, ack)
        self._acks[response.headers.to.tag or "", number] = ack

    def _repeat_ack(self, response: Response) -> bool:
        """Send the ACK of a repeated 2xx again, over the flow of today; False if it is new."""
        ack = self._acks.get((response.headers.to.tag or "", response.headers.cseq.number))
        if ack is None:
            return False
        flow = self._core.current
        if flow is not None:
            if "Via" not in ack.headers or ack.headers.via.port != flow.local_port:
                ack.headers.remove("Via")
                ack.headers.put_first("Via", self._core.via(flow))
            self._core.send(flow.id, ack)
        return True

    # --- the peer's INVITE (§13.3)

    def _provide(self, status: int, body: Body | None, now: float) -> None:
        self._expect_incoming()
        if self._state not in _UNANSWERED or self._answer is not None:
            return
        assert self._invite is not None, "unanswered means that an INVITE came"
        response = self._core.response(
            self._invite.request,
            status,
            to_tag=self.local_tag,
            headers=self._headers(self._invite.request),
            body=body,
        )
        self._enter(State.EARLY)
        if self._provisionals is not None:
            self._provisionals.put(response, now)
            return
        self._ringing = response
        self._timers.arm("ring", now + RING_AGAIN)
        self._invite.respond(response, now)

    def _ring_again(self, now: float) -> None:
        if self._state is State.EARLY and self._invite is not None and self._ringing is not None:
            self._timers.arm("ring", now + RING_AGAIN)
            self._invite.respond(self._ringing, now)

    def _accept(self, body: Body, now: float) -> None:
        assert self._invite is not None, "unanswered means that an INVITE came"
        request = self._invite.request
        self._enter(State.ACCEPTED)
        response = self._core.respond(
            self._invite,
            200,
            now,
            to_tag=self.local_tag,
            headers=[*self._headers(request), *self._timer.accept(request, now)],
            body=body,
        )
        self._local_body = body
        self._acceptance = Acceptance(response, initial=True, repeat=self._repeat_response, now=now)

    def _refuse(self, status: int, headers: list[tuple[str, str]], now: float) -> None:
        assert self._invite is not None, "unanswered means that an INVITE came"
        self._enter(State.TERMINATED)
        self._core.respond(self._invite, status, now, to_tag=self.local_tag, headers=headers)

    def _receive_prack(self, transaction: AnyServer, now: float) -> None:
        """RFC 3262 §3."""
        request = transaction.request
        if request.body:
            raise RemoteError("no offer in PRACK", status=488)
        rack = request.headers.rack
        if self._provisionals is None or not self._provisionals.acknowledge(rack, now):
            raise RemoteError("nothing to acknowledge", status=481)
        self._core.respond(transaction, 200, now)
        answer = self._answer
        if answer is not None and not self._provisionals.pending and self._state in _UNANSWERED:
            self._accept(answer, now)

    # --- within the dialog (§12.2, §14, §15)

    def _receive_bye(self, transaction: AnyServer, now: float) -> None:
        """§15.1.2."""
        self._core.respond(transaction, 200, now)
        reason = transaction.request.headers.reason
        if self._state in _UNANSWERED and self._invite is not None:
            self._refuse(487, [], now)
            self._end(487, by_peer=True, reason=reason)
        elif self._state in (State.ACCEPTED, State.CONFIRMED, State.CLOSING):
            self._drop_offered(now)
            if self._dialog is not None:
                self._enter(State.TERMINATED)
            self._end(200, by_peer=True, reason=reason)

    def _receive_offer(self, transaction: AnyServer, now: float) -> None:
        """A re-INVITE (§14.2) or UPDATE (RFC 3311 §5.2)."""
        request = transaction.request
        timer.check_interval(request)
        if self._state in (State.CLOSING, State.TERMINATED):
            raise RemoteError("the session is over", status=481)
        if request.method == "UPDATE" and not request.body:
            dialog = self._dialog_of(request.headers.from_.tag or "")
            assert dialog is not None, "the request was admitted"
            dialog.refresh_target(request)
            headers = [*self._headers(), *self._timer.accept(request, now)]
            self._core.respond(transaction, 200, now, headers=headers)
        elif self._offering is not None or self._state in (State.CALLING, State.EARLY):
            raise RemoteError("an offer of ours is open", status=491)
        elif self._state is not State.CONFIRMED or self._offered or self._acceptance:
            # §14.2 asks for a random time up to ten seconds.
            headers = [("Retry-After", str(int(self._core.chance() * 11)))]
            self._core.respond(transaction, 500, now, headers=headers)
        else:
            if request.method == "INVITE":
                self._core.respond(transaction, 100, now)
            self._offered = transaction
            self._core.emit(SessionOffered(self, body_of(request)))

    def _receive_info(self, transaction: AnyServer, now: float) -> None:
        """RFC 6086; digits beside the media are taken, and left to the media (RFC 4733)."""
        headers = transaction.request.headers
        content_type = (headers.get("Content-Type") or "").partition(";")[0].strip().lower()
        if "Info-Package" in headers:
            self._core.respond(transaction, 469, now, headers=[("Recv-Info", "")])
        elif transaction.request.body and content_type not in _DIGIT_TYPES:
            accept = [("Accept", ", ".join(_DIGIT_TYPES))]
            self._core.respond(transaction, 415, now, headers=accept)
        else:
            self._core.respond(transaction, 200, now)

    def _settle(self, now: float) -> None:
        """Do what waited for a dialog without an open offer."""
        busy = self._offering or self._offered or self._acceptance
        if self._state is not State.CONFIRMED or busy:
            return
        if self._queued is not None and "retry" not in self._timers:
            body, self._queued = self._queued, None
            self._offer(body, now, refresh=False)
        elif self._contact_stale:
            self._refresh(now)

    def _offer(self, body: Body, now: float, *, refresh: bool) -> None:
        """Send a re-INVITE."""
        dialog = self._expect_dialog()
        request = dialog.request("INVITE")
        for name, value in (*self._headers(), *self._timer.offer()):
            request.headers.add(name, value)
        request = with_body(self._dress(request, contact=False), body)
        self._offer_attempts += 1
        self._offering_body = body
        self._offering_refresh = refresh
        self._contact_stale = False
        self._offering = Submission(
            self._core, request, self._receive_reanswer, next_seq=dialog.next_seq
        )
        self._offering.start(now, flow=self._core.current)

    def _receive_reanswer(self, outcome: Outcome, now: float) -> None:
        """Take the outcome of our re-INVITE (§14.1)."""
        response = outcome if isinstance(outcome, Response) else None
        if response is not None and response.status < 200:
            return
        if response is not None and response.status < 300 and self._repeat_ack(response):
            return
        offering, body = self._offering, self._offering_body
        assert offering is not None, "an outcome of a re-INVITE that was sent"
        assert body is not None, "a re-INVITE has an offer"
        self._offering = None
        if response is not None and response.status < 300:
            self._receive_reacceptance(offering.request, response, body, now)
        elif self.ended:
            return
        elif response is not None and response.status == 422 and self._timer.too_small(response):
            self._offer(body, now, refresh=self._offering_refresh)
        elif outcome.status in (408, 481):
            self._lose(outcome.status, now)
        elif self._offering_refresh:
            self._contact_stale = outcome.status == 503 and response is None
            self._timer.postpone(now)
        elif response is not None and self._retry(response, body, now):
            return
        else:
            self._core.emit(SessionReanswered(self, outcome.status, None))
        self._settle(now)

    def _receive_reacceptance(
        self, request: Request, response: Response, body: Body, now: float
    ) -> None:
        dialog = self._expect_dialog()
        dialog.refresh_target(response)
        self._send_ack(dialog, request, response)
        if self.ended:
            return
        self._learn(response)
        self._timer.accepted(response, now)
        self._local_body = body
        answer = body_of(response)
        # The answer to a refresh says something only if the peer changed its mind.
        if not self._offering_refresh or answer != self._remote_body:
            self._core.emit(SessionReanswered(self, response.status, answer))
        self._remote_body = answer or self._remote_body

    def _retry(self, response: Response, body: Body, now: float) -> bool:
        """Offer again after glare (§14.1): the owner of the Call-ID waits longer."""
        if self._offer_attempts >= MAX_OFFER_ATTEMPTS:
            return False
        if response.status == 491:
            chance = self._core.chance()
            delay = 2.0 * chance if self.incoming else 2.1 + 1.9 * chance
        elif response.status == 500 and response.headers.retry_after in range(11):
            delay = float(response.headers.retry_after or 0)
        else:
            return False
        if self._queued is None:
            self._queued = body
        self._timers.arm("retry", now + delay)
        return True

    def _refresh(self, now: float) -> None:
        """Refresh session timer and target (RFC 4028 §7.4, RFC 3261 §12.2)."""
        if self._state is not State.CONFIRMED:
            return
        if "update" not in self._peer_allows:
            if self._local_body is not None and not (self._offering or self._offered):
                self._offer(self._local_body, now, refresh=True)
            else:
                self._timer.postpone(now)
            return
        self._contact_stale = False
        dialog = self._expect_dialog()
        update = self._dress(dialog.request("UPDATE"), contact=False)
        for name, value in (*self._headers(), *self._timer.offer()):
            update.headers.add(name, value)
        self._core.submit(update, self._receive_refreshed, now, next_seq=dialog.next_seq)

    def _receive_refreshed(self, outcome: Outcome, now: float) -> None:
        if outcome.status < 200 or self._state is not State.CONFIRMED:
            return
        if isinstance(outcome, Failure) and outcome.status == 503:
            self._contact_stale = True
            self._timer.postpone(now)
        elif outcome.status in (408, 481):
            self._lose(outcome.status, now)
        elif isinstance(outcome, Response) and outcome.status < 300:
            self._expect_dialog().refresh_target(outcome)
            self._timer.accepted(outcome, now)
        elif not (
            isinstance(outcome, Response)
            and outcome.status == 422
            and self._timer.too_small(outcome)
        ):
            self._timer.postpone(now)
        else:
            self._refresh(now)

    # --- the end

    def _lose(self, status: int, now: float) -> None:
        """End after a response that says that the dialog is broken (§12.2.1.2, RFC 5057 §5)."""
        if status == 481:
            self._enter(State.TERMINATED)  # the peer has no dialog: nobody to say BYE to
            self._end(481, by_peer=True)
        else:
            self._break(status, "no response", now)

    def _break(self, status: int, why: str, now: float) -> None:
        """End because the peer no longer does its part; tell it so if it listens."""
        self._end(status, by_peer=False)
        self._bye_headers = _reason_headers(Reason("SIP", status, why))
        self._leave(now)

    def _leave(self, now: float) -> None:
        """Send BYE as soon as it is allowed: a callee waits for the ACK (§15)."""
        self._drop_offered(now)
        waiting = self._acceptance is not None and self._acceptance.initial
        self._enter(State.CLOSING)
        if not waiting:
            self._bye(now)

    def _bye(self, now: float) -> None:
        self._enter(State.CLOSING)
        if self._core.current is None:
            self._owe_bye(now)
            return
        self._bye_owed = False
        dialog = self._expect_dialog()
        bye = self._dress(dialog.request("BYE"), contact=False)
        for name, value in self._bye_headers:
            bye.headers.add(name, value)
        self._core.submit(bye, self._receive_bye_outcome, now, next_seq=dialog.next_seq)

    def _receive_bye_outcome(self, outcome: Outcome, now: float) -> None:
        if self._state is not State.CLOSING or outcome.status < 200:
            return
        if isinstance(outcome, Failure) and outcome.status == 503:
            self._owe_bye(now)
        else:
            self._enter(State.TERMINATED)

    def _owe_bye(self, now: float) -> None:
        """Keep a BYE for the next flow, for as long as the peer would wait for anything."""
        self._bye_owed = True
        if "give up" not in self._timers:
            self._timers.arm("give up", now + PATIENCE)

    def _drop_offered(self, now: float) -> None:
        offered, self._offered = self._offered, None
        if offered is not None:
            self._core.respond(offered, 487, now)

    def _end(
        self,
        status: int,
        *,
        by_peer: bool,
        reason: Reason | None = None,
        retry_after: int | None = None,
    ) -> None:
        """Tell the user, once."""
        self._timer.stop()
        self._timers.stop("ring", "retry")
        self._queued = None
        if self._provisionals is not None:
            self._provisionals.stop()
        if not self.ended:
            self.ended = True
            self._core.emit(SessionEnded(self, status, by_peer, reason, retry_after))

    def _enter(self, state: State) -> None:
        logger.debug("session %s: %s -> %s", self.id, self._state, state)
        self._state = state
        if state is State.TERMINATED:
            self._timers.clear()
            self._timer.stop()
            self._acceptance = None

    # --- small parts

    def _headers(self, invite: Request | None = None) -> list[tuple[str, str]]:
        """Header fields of whatever opens or changes the session (§8.1.1.8, §12.1.1, §20.5)."""
        routes = [] if invite is None else invite.headers.get_all("Record-Route")
        return [
            *(("Record-Route", route) for route in routes),
            ("Contact", str(self._core.contact)),
            ("Allow", ALLOW),
            ("Supported", ", ".join(SUPPORTED)),
        ]

    def _dress(self, request: Request, *, contact: bool = True) -> Request:
        """Add what requests within the dialog carry besides the dialog's own fields."""
        if contact:
            request.headers.add("Contact", self._core.contact)
        request.headers.add("User-Agent", self._core.product)
        return request

    def _repeat_response(self, response: Response) -> None:
        flow = self._core.current
        if flow is not None:
            self._core.send(flow.id, response)

    def _dialog_of(self, remote_tag: str) -> Dialog | None:
        if self._dialog is not None:
            return self._dialog if self._dialog.remote_tag == remote_tag else None
        early = self._early.get(remote_tag)
        return None if early is None else early.dialog

    def _learn(self, message: Message) -> None:
        """Note what the peer says of itself."""
        headers = message.headers
        if "Allow" in headers:
            self._peer_allows = headers.tokens("Allow")
        self.peer_agent = headers.get("User-Agent") or headers.get("Server") or self.peer_agent

    def _expect_incoming(self) -> None:
        if not self.incoming:
            raise LocalError("only a session of the peer's making can be answered")

    def _expect_dialog(self) -> Dialog:
        assert self._dialog is not None, "established means that there is a dialog"
        return self._dialog


def _expect_refusal(status: int) -> None:
    if not 300 <= status <= 699:
        raise LocalError(f"{status} refuses nothing")


def _reason_headers(reason: Reason | None) -> list[tuple[str, str]]:
    return [] if reason is None else [("Reason", reason_value(reason))]


def _ignore(outcome: Outcome, now: float) -> None:
    """Nobody waits for this outcome."""
