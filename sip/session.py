"""The INVITE session (RFC 3261 §13 to §15): the signalling of what people call a phone call.

One class for both directions, since after the answer there is no difference. Its parts lie beside
it: `placement` (our INVITE until its answer), `change` (offers and refreshes after it), `transfer`
(REFER), `dialog` (who and where), `reliable` (what is repeated end to end), `timer` (RFC 4028). The
peer's INVITE is answered here. Bodies are opaque; what is kept is the state of offer and answer.

The user is told of the end at once and exactly once; what the standard still demands after that
(the 487 to our CANCEL, the 200 to our BYE, the ACK before which a callee may not send BYE) goes on
in state Closing. Verbs that come too late do nothing, because they crossed with the peer;
`LocalError` is for what no crossing explains.

A session outlives its flow. When a new one opens, the peer is told our new Contact, and a BYE that
was cut off is sent again.
"""

import logging
from collections.abc import Callable, Iterable
from enum import Enum

from sip.change import Changes, refuse_for_now
from sip.core import Core
from sip.dialog import Dialog
from sip.errors import LocalError, RemoteError
from sip.events import (
    Body,
    DigitReceived,
    IncomingSession,
    Reason,
    SessionAnswered,
    SessionConfirmed,
    SessionEnded,
    SessionProgressed,
)
from sip.headers import reason_value
from sip.identity import read_identity
from sip.info import read_digit
from sip.message import Message, Request, Response, body_of
from sip.placement import Placement
from sip.refer import ReferTo, Replaces, referred_by
from sip.reliable import Acceptance, Acks, Provisionals
from sip.timer import SessionTimer, check_interval
from sip.transaction import (
    PATIENCE,
    AnyServer,
    Failure,
    InviteServerTransaction,
    Outcome,
    Timers,
)
from sip.transfer import Transfers
from sip.uri import NameAddr, Uri

logger = logging.getLogger(__name__)

# §13.3.1.1: a proxy gives up on an INVITE of which it heard nothing for three minutes (timer C).
RING_AGAIN = 60.0


class State(Enum):
    """Where the session stands."""

    CALLING = "calling"  # our INVITE is out
    INCOMING = "incoming"  # the peer's INVITE is in
    ACCEPTED = "accepted"  # our 2xx is out, its ACK not in
    CONFIRMED = "confirmed"
    CLOSING = "closing"  # over for the user, not yet on the wire
    TERMINATED = "terminated"


class Session:
    """One session with the peer.

    Attributes:
        id: unique among the sessions of the agent.
        incoming: whether the peer began it.
        call_id: of its dialog.
        local_tag: of its dialog.
        ended: whether `SessionEnded` was said.
        peer_agent: the peer's User-Agent or Server, None until it tells.
        watcher: told of each response to our INVITE: status, reason phrase, now.
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
        self.watcher: Callable[[int, str, float], None] | None = None
        self._core = core
        self._state = State.INCOMING if incoming else State.CALLING
        self._timer = SessionTimer()
        self._timers = Timers()  # "ring", "give up"
        self._acks = Acks(core)
        self._dialog: Dialog | None = None
        self._changes: Changes | None = None  # once the session is established
        self._local: Body | None = None
        self._placement: Placement | None = None  # of an outgoing session
        # of an incoming session
        self._invite: InviteServerTransaction | None = None
        self._provisionals: Provisionals | None = None
        self._ringing: Response | None = None
        self._held_answer: Body | None = None  # waits for a PRACK
        self._acceptance: Acceptance | None = None
        self._replaced: Session | None = None  # ends with our answer
        self._transfers: Transfers | None = None
        self._moved = False  # to another flow, before the peer could be told
        self._bye_owed = False
        self._bye_headers: list[tuple[str, str]] = []

    @property
    def established(self) -> bool:
        """Whether a 2xx was sent or received, and the session is not over."""
        return self._state in (State.ACCEPTED, State.CONFIRMED)

    @property
    def finished(self) -> bool:
        """Whether nothing more is to be done on the wire either."""
        transferring = self._transfers is not None and self._transfers.live
        return self._state is State.TERMINATED and not transferring

    @property
    def replaceable(self) -> bool:
        """Whether the peer may put another in its place (RFC 3891 §3): not before our answer."""
        return self._state is not State.INCOMING

    @property
    def remote_tag(self) -> str | None:
        """The peer's tag; None until there is a dialog."""
        return None if self._dialog is None else self._dialog.remote_tag

    @property
    def deadline(self) -> float | None:
        deadlines = (
            self._timers.deadline,
            None if self._changes is None else self._changes.deadline,
            None if self._acceptance is None else self._acceptance.deadline,
            None if self._provisionals is None else self._provisionals.deadline,
            None if self._transfers is None else self._transfers.deadline,
        )
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
        if self._state is not State.INCOMING or self._held_answer is not None:
            return
        if self._provisionals is not None and self._provisionals.pending:
            self._held_answer = body  # RFC 3262 §3: not before the PRACK of an early answer
        else:
            self._accept(body, now)

    def reject(self, status: int, *, now: float, reason: Reason | None = None) -> None:
        """Refuse the call.

        Raises:
            LocalError: `status` refuses nothing.
        """
        self._expect_incoming()
        _expect_refusal(status)
        if self._state is State.INCOMING:
            self._refuse(status, now, headers=_reason_headers(reason))

    def hang_up(self, *, now: float, reason: Reason | None = None) -> None:
        """End the session by whatever its state demands: CANCEL, BYE or a refusal."""
        headers = _reason_headers(reason)
        match self._state:
            case State.CALLING:
                assert self._placement is not None, "calling means that an INVITE was placed"
                self._bye_headers = headers  # if the answer crosses
                self._enter(State.CLOSING, now)
                # If not even the CANCEL is answered (§9.1), after the INVITE's own patience.
                self._timers.arm("give up", now + 2 * PATIENCE)
                self._end(487, by_peer=False)
                self._watch(487, "", now)
                self._placement.cancel(now, headers=headers)
            case State.INCOMING:
                self._refuse(480, now, headers=headers)
            case State.ACCEPTED | State.CONFIRMED:
                self._leave(200, now, headers=headers)

    def reoffer(self, body: Body, *, now: float) -> None:
        """Offer a changed session: re-INVITE (§14.1).

        It waits for an offer under way in either direction, and is repeated after glare. A later
        one takes the place of one that waits.

        Raises:
            LocalError: the session was never established.
        """
        if self._state in (State.CALLING, State.INCOMING):
            raise LocalError("the session is not established")
        if self._changes is not None and not self.ended:
            self._changes.offer(body, now)

    def accept_offer(self, body: Body, *, now: float) -> None:
        """Answer the peer's `SessionOffered`; makes the offer if the peer asked for ours."""
        if self._changes is not None:
            self._changes.accept(body, now)

    def reject_offer(self, status: int, *, now: float) -> None:
        """Refuse the peer's `SessionOffered`; the session goes on as before.

        Raises:
            LocalError: `status` refuses nothing.
        """
        _expect_refusal(status)
        if self._changes is not None:
            self._changes.reject(status, now)

    def transfer(
        self,
        target: Uri | None = None,
        *,
        now: float,
        replaces: "Session | None" = None,
        referred_by: NameAddr | None = None,
    ) -> None:
        """Ask the peer to call somebody else in our place: REFER (RFC 5589).

        Blind with a `target` alone; attended with `replaces`, our session with that party, which
        may be left to name its target. What comes of it is told by `TransferProgressed` and
        `TransferEnded`, the latter once.

        Args:
            referred_by: who transfers; our address in this session if not given.

        Raises:
            LocalError: neither of the sessions can be transferred, one is being, or the target
                cannot be written.
        """
        if replaces is not None and (replaces._dialog is None or replaces is self):
            raise LocalError("the other session is not established")
        if self._state in (State.CALLING, State.INCOMING) or self._dialog is None:
            raise LocalError("the session is not established")
        refer_to = _refer_to(target, None if replaces is None else replaces._dialog)
        by = referred_by or self._dialog.local.without_tag()
        self._transfer_usage().transfer(refer_to, replaced=replaces, by=by, now=now)

    def accept_transfer(self, *, now: float) -> None:
        """Do what `TransferRequested` asks; `UserAgent.invite` with `transferor` follows."""
        if self._transfers is not None:
            self._transfers.accept(now)

    def decline_transfer(self, status: int = 603, *, now: float) -> None:
        """Refuse `TransferRequested`; the session goes on as before.

        Raises:
            LocalError: `status` refuses nothing.
        """
        _expect_refusal(status)
        if self._transfers is not None:
            self._transfers.decline(status, now)

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
        self._local = offer
        self._placement = Placement(
            self._core,
            timer=self._timer,
            acks=self._acks,
            progressed=self._progressed,
            answered=self._answered,
            unanswered=self._unanswered,
        )
        self._placement.start(
            target,
            offer,
            sender=sender.with_tag(self.local_tag),
            call_id=self.call_id,
            headers=headers,
            now=now,
        )

    def receive_invite(
        self, transaction: InviteServerTransaction, now: float, *, replaced: "Session | None" = None
    ) -> None:
        """Take the INVITE that opens the session (§13.3.1).

        Args:
            replaced: ends with our answer (RFC 3891).

        Raises:
            RemoteError: it cannot be taken.
        """
        request = transaction.request
        check_interval(request)
        self._dialog = Dialog.from_request(request, tag=self.local_tag)
        self._invite = transaction
        self._replaced = replaced
        self._learn(request)
        if "100rel" in request.headers.tokens("Require"):
            # RFC 3262 §3: the first number is drawn from the lower half of the range.
            first = 1 + int(self._core.chance() * (2**31 - 1))
            self._provisionals = Provisionals(first=first, send=transaction.respond)
        self._core.respond(transaction, 100, now)
        self._core.emit(
            IncomingSession(
                self,
                target=request.uri,
                to=request.headers.to,
                caller=request.headers.from_,
                identity=read_identity(request.headers, trusted=self._core.trunk.trust_identity),
                offer=body_of(request),
                called_party=request.headers.called_party,
                replaces=replaced,
                referred_by=referred_by(request.headers),
            )
        )

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
        """Take a request within the dialog.

        Raises:
            RemoteError: it cannot be taken.
        """
        self._learn(transaction.request)
        match transaction.request.method:
            case "REFER" | "NOTIFY" | "SUBSCRIBE" if self._dialog is not None:
                self._transfer_usage().receive(transaction, now)
            case _ if self._state is State.TERMINATED:
                raise RemoteError("only a transfer is left of the dialog", status=481)
            case "BYE":
                self._receive_bye(transaction, now)
            case "INVITE" | "UPDATE":
                self._receive_offer(transaction, now)
            case "PRACK":
                self._receive_prack(transaction, now)
            case "INFO":
                self._receive_info(transaction, now)
            case _:
                raise RemoteError("not before the dialog is confirmed", status=481)

    def receive_ack(self, ack: Request, now: float) -> None:
        """Take the ACK of a 2xx of ours (§13.3.1.4); a repeated one is dropped."""
        if self._acceptance is None:
            if self._changes is not None:
                self._changes.receive_ack(ack, now)
            return
        if not self._acceptance.is_acknowledged_by(ack):
            return
        self._acceptance = None
        if self._state is State.CLOSING:
            self._bye(now)  # the user did not wait for it, but the standard makes us (§15)
            return
        assert self._invite is not None, "accepted means that an INVITE came"
        offer, body = body_of(self._invite.request), body_of(ack)
        self._enter(State.CONFIRMED, now)
        self._core.emit(SessionConfirmed(self, body))
        self._establish(body if offer is None else offer, now)

    def receive_cancel(self, cancel: Request, now: float) -> None:
        """Take the CANCEL of the INVITE that opened the session (§9.2), if it is not too late."""
        if self._state is State.INCOMING:
            self._refuse(487, now, by_peer=True, reason=cancel.headers.reason)

    def receive_stray(self, response: Response) -> None:
        """Take a repeated 2xx whose transaction is gone: its ACK was lost (§13.2.2.4)."""
        self._acks.repeat(response)

    def flow_closed(self, flow_id: int, now: float) -> None:
        """Lose a flow; our own requests on it have failed before."""
        if self._changes is not None:
            self._changes.flow_closed(flow_id)
        lost = self._invite is not None and self._invite.flow == flow_id
        if self._state is State.INCOMING and lost:
            self._enter(State.TERMINATED, now)
            self._end(503, by_peer=False)

    def flow_opened(self, now: float) -> None:
        """Have a flow again: say what could not be said, and where we are now."""
        if self._transfers is not None:
            self._transfers.flow_opened(now)
        if self._bye_owed:
            self._bye(now)
        elif self._changes is not None and not self.ended:
            self._changes.flow_opened(now)
        else:
            self._moved = True

    def handle_timer(self, now: float) -> None:
        if self._acceptance is not None and not self._acceptance.handle_timer(now):
            self._acceptance = None
            self._break(408, "no ACK", now)
        if self._provisionals is not None and not self._provisionals.handle_timer(now):
            self._refuse(504, now)
        if self._changes is not None and not self.ended:
            self._changes.handle_timer(now)
        if self._transfers is not None:
            self._transfers.handle_timer(now)
        while (name := self._timers.take_due(now)) is not None:
            if name == "ring":
                self._ring_again(now)
            elif self._placement is not None and self._dialog is None:
                self._placement.stop(now)  # §9.1: it counts as cancelled
            else:
                self._enter(State.TERMINATED, now)

    # --- our INVITE

    def _progressed(self, response: Response, now: float) -> None:
        self._learn(response)
        self._watch(response.status, response.reason, now)
        self._core.emit(SessionProgressed(self, response.status, body_of(response)))

    def _answered(self, dialog: Dialog, response: Response, early: Body | None, now: float) -> None:
        self._learn(response)
        self._dialog = dialog
        if self.ended:
            self._bye(now)  # the answer crossed our CANCEL
            return
        self._watch(response.status, response.reason, now)
        self._enter(State.CONFIRMED, now)
        self._timer.accepted(response, now)
        answer = body_of(response) or early
        self._core.emit(SessionAnswered(self, answer))
        self._establish(answer, now)

    def _unanswered(self, outcome: Outcome, now: float) -> None:
        self._enter(State.TERMINATED, now)
        if not self.ended:
            self._watch(outcome.status, outcome.reason, now)
        if isinstance(outcome, Failure):
            self._end(outcome.status, by_peer=False)
            return
        self._learn(outcome)
        headers = outcome.headers
        self._end(
            outcome.status, by_peer=True, reason=headers.reason, retry_after=headers.retry_after
        )

    # --- the peer's INVITE (§13.3)

    def _provide(self, status: int, body: Body | None, now: float) -> None:
        self._expect_incoming()
        if self._state is not State.INCOMING or self._held_answer is not None:
            return
        assert self._invite is not None, "incoming means that an INVITE came"
        response = self._core.response(
            self._invite.request,
            status,
            to_tag=self.local_tag,
            headers=self._opening_headers(),
            body=body,
        )
        if self._provisionals is not None:
            self._provisionals.put(response, now)
            return
        self._ringing = response
        self._timers.arm("ring", now + RING_AGAIN)
        self._invite.respond(response, now)

    def _ring_again(self, now: float) -> None:
        if self._invite is not None and self._ringing is not None:
            self._timers.arm("ring", now + RING_AGAIN)
            self._invite.respond(self._ringing, now)

    def _accept(self, body: Body, now: float) -> None:
        assert self._invite is not None, "incoming means that an INVITE came"
        self._enter(State.ACCEPTED, now)
        self._timers.stop("ring")
        headers = [*self._opening_headers(), *self._timer.accept(self._invite.request, now)]
        response = self._core.respond(
            self._invite, 200, now, to_tag=self.local_tag, headers=headers, body=body
        )
        self._local = body
        self._acceptance = Acceptance(self._core, response, now)
        if self._replaced is not None:
            self._replaced.hang_up(now=now)  # RFC 3891 §3
            self._replaced = None

    def _refuse(
        self,
        status: int,
        now: float,
        *,
        by_peer: bool = False,
        reason: Reason | None = None,
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        assert self._invite is not None, "incoming means that an INVITE came"
        self._enter(State.TERMINATED, now)
        self._core.respond(self._invite, status, now, to_tag=self.local_tag, headers=headers)
        self._end(status, by_peer=by_peer, reason=reason)

    def _receive_prack(self, transaction: AnyServer, now: float) -> None:
        """RFC 3262 §3."""
        if transaction.request.body:
            raise RemoteError("no offer in PRACK", status=488)
        rack = transaction.request.headers.rack
        if self._provisionals is None or not self._provisionals.acknowledge(rack, now):
            raise RemoteError("nothing to acknowledge", status=481)
        self._core.respond(transaction, 200, now)
        answer = self._held_answer
        if answer is not None and not self._provisionals.pending:
            self._held_answer = None
            self._accept(answer, now)

    def _opening_headers(self) -> list[tuple[str, str]]:
        """What makes the dialog at the peer's end: our Contact, and the way there (§12.1.1)."""
        assert self._invite is not None, "incoming means that an INVITE came"
        routes = self._invite.request.headers.get_all("Record-Route")
        return [*(("Record-Route", route) for route in routes), *self._core.target_headers]

    # --- within the dialog

    def _establish(self, remote: Body | None, now: float) -> None:
        """Begin the part in which both ends are alike; the dialog is confirmed."""
        assert self._dialog is not None, "confirmed means that there is a dialog"
        self._changes = Changes(
            self._core,
            self,
            self._dialog,
            timer=self._timer,
            acks=self._acks,
            local=self._local,
            remote=remote,
            broken=self._break,
        )
        if self._moved:
            self._changes.flow_opened(now)

    def _receive_offer(self, transaction: AnyServer, now: float) -> None:
        """A re-INVITE or UPDATE."""
        if self.ended:
            raise RemoteError("the session is over", status=481)
        if self._changes is not None:
            self._changes.receive(transaction, now)
        elif self._state is State.CALLING:
            raise RemoteError("our offer has no answer yet", status=491)
        else:
            refuse_for_now(self._core, transaction, now)

    def _receive_bye(self, transaction: AnyServer, now: float) -> None:
        """§15.1.2. An early dialog of ours is not the callee's to end: its refusal will do that."""
        self._core.respond(transaction, 200, now)
        reason = transaction.request.headers.reason
        if self._state is State.INCOMING:
            self._refuse(487, now, by_peer=True, reason=reason)
        elif self._dialog is not None:
            if self._changes is not None:
                self._changes.stop(now)
            # Said first: an offer of ours that the BYE overtook must not be the end that is told.
            self._end(200, by_peer=True, reason=reason)
            self._enter(State.TERMINATED, now)

    def _receive_info(self, transaction: AnyServer, now: float) -> None:
        """RFC 6086; an INFO without a body or package only asks whether we are there."""
        if "Info-Package" in transaction.request.headers:
            raise RemoteError("no such package", status=469, headers=[("Recv-Info", "")])
        body = body_of(transaction.request)
        if body is not None:
            digit, duration_ms = read_digit(body)
            if not self.ended:
                self._core.emit(DigitReceived(self, digit, duration_ms))
        self._core.respond(transaction, 200, now)

    # --- the end

    def _break(self, status: int, why: str, now: float) -> None:
        """End because the peer no longer does its part (§12.2.1.2, RFC 5057 §5)."""
        if status == 481:
            # The peer has no such dialog: there is nobody to say BYE to.
            if self._changes is not None:
                self._changes.stop(now)
            self._end(481, by_peer=True)
            self._enter(State.TERMINATED, now)
        else:
            self._leave(status, now, headers=_reason_headers(Reason("SIP", status, why)))

    def _leave(self, status: int, now: float, *, headers: list[tuple[str, str]]) -> None:
        """End an established session: BYE as soon as it is allowed; a callee waits for its ACK."""
        if self._changes is not None:
            self._changes.stop(now)
        if not self.ended:
            self._bye_headers = headers
        self._enter(State.CLOSING, now)
        self._end(status, by_peer=False)
        if self._acceptance is None:
            self._bye(now)

    def _bye(self, now: float) -> None:
        """§15.1.1."""
        assert self._dialog is not None, "a BYE ends a dialog"
        self._enter(State.CLOSING, now)
        if self._core.current is None:
            self._owe_bye(now)
            return
        self._bye_owed = False
        bye = self._core.dress(self._dialog.request("BYE"))
        for name, value in self._bye_headers:
            bye.headers.add(name, value)
        self._core.submit(bye, self._receive_bye_outcome, now, next_seq=self._dialog.next_seq)

    def _receive_bye_outcome(self, outcome: Outcome, now: float) -> None:
        if self._state is not State.CLOSING or outcome.status < 200:
            return
        if isinstance(outcome, Failure) and outcome.status == 503:
            self._owe_bye(now)
        else:
            self._enter(State.TERMINATED, now)

    def _owe_bye(self, now: float) -> None:
        """Keep a BYE for the next flow, for as long as the peer would wait for anything."""
        self._bye_owed = True
        if "give up" not in self._timers:
            self._timers.arm("give up", now + PATIENCE)

    def _end(
        self,
        status: int,
        *,
        by_peer: bool,
        reason: Reason | None = None,
        retry_after: int | None = None,
    ) -> None:
        """Tell the user, once."""
        if not self.ended:
            self.ended = True
            self._core.emit(SessionEnded(self, status, by_peer, reason, retry_after))

    def _enter(self, state: State, now: float) -> None:
        logger.debug("session %s: %s -> %s", self.id, self._state, state)
        self._state = state
        self._core.touch(self.call_id)
        if state in (State.CLOSING, State.TERMINATED):
            self._timer.stop()
            if self._provisionals is not None:
                self._provisionals.stop()
            if self._transfers is not None:
                self._transfers.session_ended(now)
        if state is State.TERMINATED:
            self._timers.clear()
            self._acceptance = None
            if self._changes is not None:
                self._changes.close(now)

    # --- small parts

    def _transfer_usage(self) -> Transfers:
        if self._transfers is None:
            assert self._dialog is not None, "a REFER is within a dialog"
            self._transfers = Transfers(
                self._core,
                self,
                self._dialog,
                hang_up=lambda session, now: session.hang_up(now=now),
            )
        return self._transfers

    def report(self, status: int, reason: str, now: float) -> None:
        """Tell the peer how the call goes on that it asked us for (RFC 3515 §2.4.5)."""
        if self._transfers is not None:
            self._transfers.report(status, reason, now)

    def _watch(self, status: int, reason: str, now: float) -> None:
        if self.watcher is not None:
            self.watcher(status, reason, now)

    def _dialog_of(self, remote_tag: str) -> Dialog | None:
        if self._dialog is not None:
            return self._dialog if self._dialog.remote_tag == remote_tag else None
        return None if self._placement is None else self._placement.dialog_of(remote_tag)

    def _learn(self, message: Message) -> None:
        headers = message.headers
        self.peer_agent = headers.get("User-Agent") or headers.get("Server") or self.peer_agent

    def _expect_incoming(self) -> None:
        if not self.incoming:
            raise LocalError("only a session of the peer's making can be answered")


def _refer_to(target: Uri | None, replaced: Dialog | None) -> ReferTo:
    """Whom the peer shall call: the tags of Replaces are as seen by the called (RFC 3891 §3)."""
    if replaced is None:
        if target is None:
            raise LocalError("a transfer needs a target")
        return ReferTo(target)
    replaces = Replaces(
        replaced.call_id, to_tag=replaced.remote_tag, from_tag=replaced.local.tag or ""
    )
    return ReferTo(target or replaced.target, replaces)


def _expect_refusal(status: int) -> None:
    if not 300 <= status <= 699:
        raise LocalError(f"{status} refuses nothing")


def _reason_headers(reason: Reason | None) -> list[tuple[str, str]]:
    return [] if reason is None else [("Reason", reason_value(reason))]
