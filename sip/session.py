"""The INVITE session (RFC 3261 §13 to §15): the signalling of what people call a phone call.

One class for both directions, since after the answer there is no difference. Its parts lie beside
it: `placement` (our INVITE until its answer), `arrival` (the peer's), `change` (offers, answers and
refreshes of one dialog), `negotiation` (where these stand), `digits` (INFO), `transfer` (REFER),
`refusal` (in which words it ends), `farewell` (our BYE), `dialog` (who and where), `reliable` (what
is repeated end to end), `timer` (RFC 4028). Here is what holds them together: who may do what now,
and how it ends. Bodies are opaque; what is kept is the state of offer and answer.

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

from sip.agenda import soonest
from sip.arrival import Arrival
from sip.change import Changes
from sip.core import Core
from sip.dialog import Dialog
from sip.digits import DigitSender, receive_digit
from sip.errors import LocalError, RemoteError
from sip.events import (
    Body,
    Reason,
    SessionAnswered,
    SessionEnded,
    SessionOffered,
    SessionProgressed,
    SipWarning,
)
from sip.farewell import Farewell
from sip.message import Message, Request, Response
from sip.placement import Offered, Placement
from sip.refusal import ended_by, expect_refusal, refusal_headers
from sip.reliable import Acks
from sip.timer import SessionTimer, check_interval
from sip.transaction import AnyServer, Failure, InviteServerTransaction, Outcome
from sip.transfer import Transfers
from sip.uri import NameAddr, Uri

logger = logging.getLogger(__name__)


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
        self.watcher: Callable[[int, str, float], None] = lambda status, reason, now: None
        self._core = core
        self._state = State.INCOMING if incoming else State.CALLING
        self._timer = SessionTimer()
        self._acks = Acks(core)
        self._placement: Placement | None = None  # of an outgoing session
        self._arrival: Arrival | None = None  # of an incoming session
        self._dialog: Dialog | None = None
        self._changes: Changes | None = None  # of the dialog
        self._replaced: Session | None = None  # ends with our answer
        self._transfers: Transfers | None = None
        self._digits: DigitSender | None = None
        self._moved = False  # to another flow, before the peer could be told
        self._farewell = Farewell(core, done=lambda now: self._enter(State.TERMINATED, now))

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
        parts = (
            self._placement, self._arrival, self._changes, self._transfers, self._farewell,
        )  # fmt: skip
        return soonest(*(part.deadline for part in parts if part is not None))

    @property
    def transfers(self) -> Transfers:
        """The calls that are sent elsewhere within this session, by us or by the peer.

        Raises:
            LocalError: the session was never established.
        """
        if self._state in (State.CALLING, State.INCOMING) or self._dialog is None:
            raise LocalError("the session is not established")
        return self._transfer_usage(self._dialog)

    # --- verbs of the user

    def ring(self, *, now: float) -> None:
        """Tell the caller that the phone rings: 180."""
        self._expect_incoming().provide(180, None, now)

    def progress(self, body: Body, *, now: float) -> None:
        """Give the caller early media: 183 with a body.

        To a caller that supports 100rel it is sent reliably and is the answer, or our offer if the
        INVITE had none; otherwise it is a preview, or is left out if the INVITE had no offer.
        """
        self._expect_incoming().provide(183, body, now)

    def answer(self, body: Body, *, now: float) -> None:
        """Take the call: 200. The body answers the offer, or makes one if the INVITE had none.

        It waits for the PRACK of a body that was sent reliably. Then that one stands, and this one
        is left out; a change is for `reoffer`.
        """
        self._expect_incoming().answer(body, now)
        self._touch()

    def reject(
        self,
        status: int,
        *,
        now: float,
        reason: Reason | None = None,
        warning: SipWarning | None = None,
        retry_after: int | None = None,
    ) -> None:
        """Refuse the call.

        Args:
            retry_after: seconds, for a refusal that will pass.

        Raises:
            LocalError: `status` refuses nothing.
        """
        self._expect_incoming()
        expect_refusal(status)
        if self._state is State.INCOMING:
            product = self._core.product
            headers = refusal_headers(reason, warning, retry_after=retry_after, agent=product)
            self._refuse(status, now, headers=headers)

    def hang_up(self, *, now: float, reason: Reason | None = None) -> None:
        """End the session by whatever its state demands: CANCEL, BYE or a refusal."""
        headers = refusal_headers(reason)
        match self._state:
            case State.CALLING:
                self._cancel(487, now, headers=headers)
            case State.INCOMING:
                self._refuse(480, now, headers=headers)
            case State.ACCEPTED | State.CONFIRMED:
                self._leave(200, now, headers=headers)

    def reoffer(self, body: Body | None, *, now: float) -> None:
        """Offer a changed session, or ask the peer for its offer (None): re-INVITE (§14.1).

        Before the answer it is an UPDATE or goes with a PRACK, in the early dialog that was heard
        of last. It waits for an offer under way in either direction, and is repeated after glare. A
        later one takes the place of one that waits.

        Raises:
            LocalError: nothing was agreed on yet that could change.
        """
        changes = self._current_changes()
        early = self._state in (State.CALLING, State.INCOMING)
        if early and (changes is None or not changes.negotiation.rounds):
            raise LocalError("nothing is agreed on that could change")
        if changes is not None and not self.ended:
            changes.offer(body, now)
            self._touch()

    def accept_offer(self, body: Body, *, now: float) -> None:
        """Answer the peer's `SessionOffered`; makes the offer if the peer asked for ours."""
        if self._state is State.CALLING and self._placement is not None:
            self._placement.accept(body, now)
        elif self._changes is not None:
            self._changes.accept(body, now)
        self._touch()

    def reject_offer(self, status: int, *, now: float, warning: SipWarning | None = None) -> None:
        """Refuse the peer's `SessionOffered`; the session goes on as before.

        An offer that came in a response cannot be refused (RFC 6337 §3.2): the session ends then.

        Raises:
            LocalError: `status` refuses nothing.
        """
        expect_refusal(status)
        headers = refusal_headers(warning=warning, agent=self._core.product)
        if self._state is State.CALLING and self._placement is not None:
            self._placement.reject(status, now, headers=headers)
        elif self._changes is not None:
            self._changes.reject(status, now, headers=headers)
        self._touch()

    def send_digit(self, digit: str, duration_ms: int, *, now: float) -> None:
        """Say a digit beside the media: INFO with `application/dtmf-relay`. Digits keep their
        order; `DigitsRefused` tells if the peer takes none so.

        Raises:
            LocalError: it is none of 0-9, *, #, A-D, or the session is not established.
        """
        if not self.established or self._dialog is None:
            raise LocalError("the session is not established")
        if self._digits is None:
            self._digits = DigitSender(self._core, self, self._dialog)
        self._digits.send(digit, duration_ms, now)

    # --- input

    def place(
        self,
        target: Uri,
        offer: Body | None,
        *,
        sender: NameAddr,
        headers: Iterable[tuple[str, str]],
        now: float,
    ) -> None:
        """Send the INVITE that opens the session (§13.2.1)."""
        self._placement = Placement(
            self._core,
            timer=self._timer,
            acks=self._acks,
            open_dialog=self._open_dialog,
            progressed=self._progressed,
            offered=self._offered,
            answered=self._answered,
            expired=lambda at: self._cancel(408, at, headers=[]),
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
        self._arrival = Arrival(
            self._core,
            transaction,
            tag=self.local_tag,
            timer=self._timer,
            accepted=self._accepted,
            expired=self._refuse,
            now=now,
        )
        self._changes = self._open_dialog(self._dialog, lambda _, offer: self._offered(offer))
        self._arrival.begin(self._changes)
        self._replaced = replaced
        self._learn(request)
        self._core.respond(transaction, 100, now)
        self._core.emit(self._arrival.introduce(self, replaced=replaced))

    def knows(self, remote_tag: str) -> bool:
        """Whether a request with this From tag belongs to a dialog of the session."""
        return self._changes_of(remote_tag) is not None

    def admit(self, request: Request) -> None:
        """Check a request's place in its dialog (§12.2.2).

        Raises:
            RemoteError: it is out of order, or of no dialog of ours.
        """
        changes = self._changes_of(request.headers.from_.tag or "")
        if changes is None:
            raise RemoteError("no such dialog", status=481)
        changes.dialog.admit(request)

    def receive(self, transaction: AnyServer, now: float) -> None:
        """Take a request within the dialog.

        Raises:
            RemoteError: it cannot be taken.
        """
        self._learn(transaction.request)
        match transaction.request.method:
            case "REFER" | "NOTIFY" | "SUBSCRIBE" if self._dialog is not None:
                self._transfer_usage(self._dialog).receive(transaction, now)
            case _ if self._state is State.TERMINATED:
                raise RemoteError("only a transfer is left of the dialog", status=481)
            case "BYE":
                self._receive_bye(transaction, now)
            case "INVITE" | "UPDATE":
                self._receive_offer(transaction, now)
            case "PRACK":
                self._receive_prack(transaction, now)
            case "INFO":
                receive_digit(self._core, self, transaction, now)
            case _:
                raise RemoteError("not before the dialog is confirmed", status=481)

    def receive_ack(self, ack: Request, now: float) -> None:
        """Take the ACK of a 2xx of ours (§13.3.1.4); a repeated one is dropped."""
        if self._changes is None or not self._changes.receive_ack(ack, now):
            return
        if self._state is State.CLOSING:
            self._bye(now)  # the user did not wait for it, but the standard makes us (§15)
        elif self._state is State.ACCEPTED:
            self._enter(State.CONFIRMED, now)

    def receive_cancel(self, cancel: Request, now: float) -> None:
        """Take the CANCEL of the INVITE that opened the session (§9.2), if it is not too late."""
        if self._state is State.INCOMING:
            self._refuse(487, now, by_peer=True, reason=cancel.headers.reason)

    def receive_stray(self, response: Response) -> None:
        """Take a repeated 2xx whose transaction is gone: its ACK was lost (§13.2.2.4)."""
        self._acks.repeat(response)

    def flow_closed(self, flow_id: int, now: float) -> None:
        """Lose a flow; our own requests on it have failed before."""
        if self._placement is not None:
            self._placement.flow_closed(flow_id)
        if self._changes is not None:
            self._changes.flow_closed(flow_id)
        lost = self._arrival is not None and self._arrival.invite.flow == flow_id
        if self._state is State.INCOMING and lost:
            self._enter(State.TERMINATED, now)
            self._end(503, by_peer=False)

    def flow_opened(self, now: float) -> None:
        """Have a flow again: say what could not be said, and where we are now."""
        if self._transfers is not None:
            self._transfers.flow_opened(now)
        if self._farewell.owed:
            self._bye(now)
        elif self._changes is not None and not self.ended:
            self._changes.flow_opened(now)
        else:
            self._moved = True

    def handle_timer(self, now: float) -> None:
        if self._placement is not None and self._dialog is None:
            self._placement.handle_timer(now)
        for part in (self._arrival, self._changes, self._transfers, self._farewell):
            if part is not None:
                part.handle_timer(now)

    # --- our INVITE

    def _progressed(self, response: Response, early: Body | None, now: float) -> None:
        self._learn(response)
        self.watcher(response.status, response.reason, now)
        self._core.emit(SessionProgressed(self, response.status, early))

    def _answered(
        self, changes: Changes, response: Response, offer: Body | None, now: float
    ) -> None:
        self._learn(response)
        self._dialog, self._changes = changes.dialog, changes
        if self.ended:
            self._bye(now)  # the answer crossed our CANCEL
            return
        self.watcher(response.status, response.reason, now)
        self._enter(State.CONFIRMED, now)
        self._timer.accepted(response, now)
        self._core.emit(SessionAnswered(self, changes.negotiation.remote))
        if offer is not None:
            self._offered(offer)
        if self._moved:
            changes.flow_opened(now)

    def _unanswered(self, outcome: Outcome, now: float) -> None:
        self._enter(State.TERMINATED, now)
        if not self.ended:
            self.watcher(outcome.status, outcome.reason, now)
        if isinstance(outcome, Failure):
            self._end(outcome.status, by_peer=False)
            return
        self._learn(outcome)
        self._tell_end(ended_by(self, outcome))

    def _cancel(self, status: int, now: float, *, headers: list[tuple[str, str]]) -> None:
        """Give up our call before its answer (§9.1)."""
        assert self._placement is not None, "calling means that an INVITE was placed"
        self._farewell.headers = headers  # if the answer crosses
        self._enter(State.CLOSING, now)
        self._end(status, by_peer=False)
        self.watcher(487, "", now)
        self._placement.cancel(now, headers=headers)

    # --- the peer's INVITE (§13.3)

    def _accepted(self, now: float) -> None:
        self._enter(State.ACCEPTED, now)
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
        assert self._arrival is not None, "incoming means that an INVITE came"
        if self._changes is not None:
            self._changes.stop(now)
        self._arrival.refuse(status, now, headers=headers)
        self._enter(State.TERMINATED, now)
        self._end(status, by_peer=by_peer, reason=reason)

    def _receive_prack(self, transaction: AnyServer, now: float) -> None:
        if self._arrival is None or self._state is not State.INCOMING:
            raise RemoteError("nothing to acknowledge", status=481)
        self._arrival.receive_prack(transaction, now)

    # --- within the dialog

    def _open_dialog(self, dialog: Dialog, offered: Offered) -> Changes:
        return Changes(
            self._core,
            self,
            dialog,
            timer=self._timer,
            acks=self._acks,
            offered=offered,
            broken=self._break,
            settled=self._settled,
        )

    def _offered(self, offer: Body | None) -> None:
        self._core.emit(SessionOffered(self, offer))

    def _settled(self, now: float) -> None:
        if self._arrival is not None:
            self._arrival.settle(now)

    def _receive_offer(self, transaction: AnyServer, now: float) -> None:
        """A re-INVITE or UPDATE."""
        changes = self._changes_of(transaction.request.headers.from_.tag or "")
        if self.ended or changes is None:
            raise RemoteError("the session is over", status=481)
        changes.receive(transaction, now)

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

    # --- the end

    def _break(self, status: int, why: str, now: float) -> None:
        """End because the peer no longer does its part (§12.2.1.2, RFC 5057 §5)."""
        headers = refusal_headers(Reason("SIP", status, why))
        if self._state is State.CALLING:
            self._cancel(status, now, headers=headers)
        elif status == 481:
            # The peer has no such dialog: there is nobody to say BYE to.
            if self._changes is not None:
                self._changes.stop(now)
            self._end(481, by_peer=True)
            self._enter(State.TERMINATED, now)
        else:
            self._leave(status, now, headers=headers)

    def _leave(self, status: int, now: float, *, headers: list[tuple[str, str]]) -> None:
        """End an established session: BYE as soon as it is allowed; a callee waits for its ACK."""
        assert self._changes is not None, "established means that there is a dialog"
        if not self.ended:
            self._farewell.headers = headers
        self._changes.stop(now)
        self._enter(State.CLOSING, now)
        self._end(status, by_peer=False)
        if not self._changes.awaits_ack:
            self._bye(now)

    def _bye(self, now: float) -> None:
        assert self._dialog is not None, "a BYE ends a dialog"
        self._enter(State.CLOSING, now)
        self._farewell.send(self._dialog, now)

    def _end(self, status: int, *, by_peer: bool, reason: Reason | None = None) -> None:
        self._tell_end(SessionEnded(self, status, by_peer, reason))

    def _tell_end(self, ended: SessionEnded) -> None:
        """Tell the user, once."""
        if not self.ended:
            self.ended = True
            self._core.emit(ended)

    def _enter(self, state: State, now: float) -> None:
        logger.debug("session %s: %s -> %s", self.id, self._state, state)
        self._state = state
        self._touch()
        if state in (State.CLOSING, State.TERMINATED):
            self._timer.stop()
            if self._arrival is not None:
                self._arrival.stop()
            if self._transfers is not None:
                self._transfers.session_ended(now)
        if state is State.TERMINATED:
            self._farewell.stop()
            if self._changes is not None:
                self._changes.close(now)

    # --- small parts

    def _transfer_usage(self, dialog: Dialog) -> Transfers:
        if self._transfers is None:
            self._transfers = Transfers(self._core, self, dialog)
        return self._transfers

    def _changes_of(self, remote_tag: str) -> Changes | None:
        """The dialog with a peer, early or confirmed."""
        if self._changes is not None:
            return self._changes if self._changes.dialog.remote_tag == remote_tag else None
        return None if self._placement is None else self._placement.changes_of(remote_tag)

    def _current_changes(self) -> Changes | None:
        early = None if self._placement is None else self._placement.early
        return self._changes or early

    def _touch(self) -> None:
        """Have our deadline looked at again."""
        self._core.touch(self.call_id)

    def _learn(self, message: Message) -> None:
        headers = message.headers
        self.peer_agent = headers.get("User-Agent") or headers.get("Server") or self.peer_agent

    def _expect_incoming(self) -> Arrival:
        if self._arrival is None:
            raise LocalError("only a session of the peer's making can be answered")
        return self._arrival
