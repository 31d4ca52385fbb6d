"""Call transfer (RFC 5589): REFER and the NOTIFYs that tell what became of it, in both roles.

RFC 3515 with the clarifications of RFC 6665 and RFC 7647, RFC 3891 and RFC 3892 for an attended
transfer, RFC 4488 for one of which nobody wants to hear. As the `Transferor` we ask the peer to
call somebody else; as the `Transferee` we are asked. A REFER subscribes its sender to its outcome.
That subscription uses the session's dialog and outlives the session (RFC 5057): the BYE may come
before the last NOTIFY, and so may the first NOTIFY come before the 202.

One transfer is under way at a time in each direction. After one of ours has succeeded, we end the
session (RFC 5589 §6): a PBX waits for it.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from sip.core import Core, Submission, with_body
from sip.dialog import Dialog
from sip.errors import LocalError, RemoteError
from sip.events import TransferEnded, TransferProgressed, TransferRequested
from sip.message import REASON_PHRASES, Request, Response, body_of
from sip.refer import ReferTo, Replaces, read_sipfrag, referred_by, sipfrag
from sip.refusal import expect_refusal
from sip.subscription import EventName, SubscriptionState
from sip.transaction import PATIENCE, AnyServer, Failure, Outcome, Timers
from sip.uri import NameAddr, Uri

if TYPE_CHECKING:
    from sip.session import Session

# The event package of REFER, the only one that we notify of.
REFER_EVENT = "refer"

# How long the transferee's call may take: three minutes of ringing (RFC 3261 §16.6, timer C), and
# what goes before.
LIMIT = 240.0

# A REFER is answered before its sender gives it up (timer F), with time left for the way.
DECISION_LIMIT = PATIENCE / 2


class Transfers:
    """The transfers of one session.

    Args:
        session: named in events; ended when a transfer of ours has succeeded.
    """

    def __init__(self, core: Core, session: "Session", dialog: Dialog) -> None:
        self._core = core
        self._session = session
        self._dialog = dialog
        self._ours: Transferor | None = None
        self._theirs: Transferee | None = None
        self._received = 0  # REFERs of the peer

    @property
    def live(self) -> bool:
        """Whether anything is still to be said or heard within the dialog."""
        return any(role.live for role in self._roles())

    @property
    def deadline(self) -> float | None:
        return min(
            (at for role in self._roles() if (at := role.deadline) is not None), default=None
        )

    # --- verbs of the user

    def ask(
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
            LocalError: the other session cannot be joined, a transfer is under way, or the target
                cannot be written.
        """
        if replaces is self._session:
            raise LocalError("the other session is the same")
        other = None if replaces is None else replaces.transfers._dialog
        refer_to = refer_to_dialog(target, other)
        if self._ours is not None and self._ours.live:
            raise LocalError("a transfer is under way")
        if self._session.ended:  # it crossed with the end
            self._core.emit(TransferEnded(self._session, 481, "the session is over"))
            return

        def succeeded(now: float) -> None:
            for session in (self._session, replaces):
                if session is not None:
                    session.hang_up(now=now)

        self._ours = Transferor(self._core, self._session, self._dialog, succeeded=succeeded)
        self._ours.start(refer_to, by=referred_by or self._dialog.local.without_tag(), now=now)

    def accept(self, *, now: float) -> None:
        """Do what `TransferRequested` asks; `UserAgent.invite` with `transferor` follows."""
        if self._theirs is not None:
            self._theirs.accept(now)

    def decline(self, status: int = 603, *, now: float) -> None:
        """Refuse `TransferRequested`; the session goes on as before.

        Raises:
            LocalError: `status` refuses nothing.
        """
        expect_refusal(status)
        if self._theirs is not None:
            self._theirs.decline(status, now)

    def report(self, status: int, reason: str, now: float) -> None:
        """Tell the peer how the call goes on that it asked us for (RFC 3515 §2.4.5)."""
        if self._theirs is not None:
            self._theirs.report(status, reason, now)

    # --- input

    def receive(self, transaction: AnyServer, now: float) -> None:
        """Take a REFER, NOTIFY or SUBSCRIBE within the dialog.

        Raises:
            RemoteError: it cannot be taken.
        """
        request = transaction.request
        if request.method == "REFER":
            self._receive_refer(transaction, now)
            return
        event = EventName.of(request.headers)
        if event.package != REFER_EVENT:
            raise RemoteError("event not known", status=489)
        role = self._ours if request.method == "NOTIFY" else self._theirs
        if role is None or not role.live or event.id not in (None, role.event_id):
            raise RemoteError("no such subscription", status=481)
        role.receive(transaction, now)

    def session_ended(self, now: float) -> None:
        """Answer what waits for a decision, and wait no longer for a peer that hung up."""
        for role in self._roles():
            role.session_ended(now)

    def flow_opened(self, now: float) -> None:
        if self._theirs is not None:
            self._theirs.flow_opened(now)

    def handle_timer(self, now: float) -> None:
        for role in self._roles():
            role.handle_timer(now)

    def _receive_refer(self, transaction: AnyServer, now: float) -> None:
        if not self._session.established:
            raise RemoteError("no session to be transferred", status=481)
        if self._theirs is not None and self._theirs.live:
            raise RemoteError("a transfer is under way", status=491)
        refer_to = ReferTo.of(transaction.request.headers)
        self._received += 1
        self._theirs = Transferee(
            self._core, self._dialog, transaction, first=self._received == 1, now=now
        )
        self._core.emit(
            TransferRequested(
                self._session,
                refer_to.target,
                refer_to.replaces,
                referred_by(transaction.request.headers),
            )
        )

    def _roles(self) -> "list[Transferor | Transferee]":
        return [role for role in (self._ours, self._theirs) if role is not None]


class Transferor:
    """Our REFER, until nothing more is heard of it.

    Args:
        succeeded: called once when the peer's call was answered.

    Attributes:
        event_id: which subscription of the dialog it is (RFC 3515 §2.4.6).
    """

    def __init__(
        self,
        core: Core,
        session: "Session",
        dialog: Dialog,
        *,
        succeeded: Callable[[float], None],
    ) -> None:
        self._core = core
        self._session = session
        self._dialog = dialog
        self._succeeded = succeeded
        self._submission: Submission | None = None
        self._timers = Timers()  # "silence": no word came in time; "limit"
        self._told = False  # `TransferEnded` was said
        self._accepted = False  # the REFER was, as its response or a NOTIFY says
        self._heard = False  # a NOTIFY came
        self._open = False  # the peer may still say something

    @property
    def live(self) -> bool:
        return self._open

    @property
    def deadline(self) -> float | None:
        return self._timers.deadline

    @property
    def event_id(self) -> str:
        assert self._submission is not None, "there is an event only after a REFER"
        return str(self._submission.request.headers.cseq.number)

    def start(self, refer_to: ReferTo, *, by: NameAddr, now: float) -> None:
        """Send the REFER (RFC 3515 §2.4.1, RFC 3892 §2.1)."""
        request = self._core.dress(self._dialog.request("REFER"))
        for name, value in (
            *self._core.target_headers,
            ("Refer-To", str(refer_to)),
            ("Referred-By", str(by)),
        ):
            request.headers.add(name, value)
        self._open = True
        self._timers.arm("limit", now + LIMIT)
        self._submission = Submission(
            self._core, request, self._receive_outcome, next_seq=self._dialog.next_seq
        )
        self._submission.start(now, flow=self._core.current)

    def receive(self, transaction: AnyServer, now: float) -> None:
        """Take a NOTIFY (RFC 3515 §2.4.5, RFC 6665 §4.1.3).

        Raises:
            RemoteError: it cannot be read.
        """
        request = transaction.request
        state = SubscriptionState.of(request.headers)
        body = body_of(request)
        said = None if body is None else read_sipfrag(body)
        self._core.respond(transaction, 200, now)
        self._accepted = self._heard = True
        self._timers.stop("silence")
        if said is not None:
            self._take(*said, now)
        if state.terminated:
            self._end(202, "nothing is told of the outcome", now)
            self._close()

    def session_ended(self, now: float) -> None:
        """A peer that has hung up may have the last word still, but not for minutes."""
        if self._open:
            self._timers.arm("silence", now + PATIENCE)

    def handle_timer(self, now: float) -> None:
        while self._timers.take_due(now) is not None:
            if self._session.ended and self._accepted:
                self._end(202, "nothing is told of the outcome", now)
            else:
                self._end(408, "nothing was heard of the transfer", now)
            self._close()

    def _receive_outcome(self, outcome: Outcome, now: float) -> None:
        if outcome.status < 200 or (self._heard and isinstance(outcome, Failure)):
            return  # the NOTIFY before it says that the REFER was taken
        if outcome.status >= 300:
            self._end(outcome.status, outcome.reason, now)
            self._close()
            return
        self._accepted = True
        if isinstance(outcome, Response) and _unsubscribed(outcome):
            self._end(202, "nothing is told of the outcome", now)
            self._close()
        elif not self._heard:
            self._timers.arm("silence", now + PATIENCE)  # RFC 6665 §4.1.2.4, timer N

    def _take(self, status: int, reason: str, now: float) -> None:
        if self._told:
            return
        if status < 200:
            self._core.emit(TransferProgressed(self._session, status))
        else:
            self._end(status, reason, now)
            self._timers.arm("limit", now + PATIENCE)  # for the end of the subscription

    def _end(self, status: int, reason: str, now: float) -> None:
        """Tell the user, once."""
        if self._told:
            return
        self._told = True
        ended = TransferEnded(self._session, status, reason)
        self._core.emit(ended)
        if ended.succeeded:
            self._succeeded(now)

    def _close(self) -> None:
        self._open = False
        self._timers.clear()


class Transferee:
    """A REFER of the peer: first a question to our user, then a subscription to the answer's fate.

    Args:
        first: whether it is the first of its dialog, whose NOTIFYs need no id (RFC 3515 §2.4.6).
    """

    def __init__(
        self, core: Core, dialog: Dialog, refer: AnyServer, *, first: bool, now: float
    ) -> None:
        self._core = core
        self._dialog = dialog
        self._refer: AnyServer | None = refer  # until it is answered
        self._request = refer.request
        self.event_id = str(refer.request.headers.cseq.number)
        self._event = EventName(REFER_EVENT, None if first else self.event_id)
        self._timers = Timers()  # "decision", "expires", "limit"
        self._timers.arm("decision", now + DECISION_LIMIT)
        self._expires_at = now + LIMIT
        self._status, self._reason = 100, REASON_PHRASES[100]
        self._why_over = ""  # reason of the terminated subscription
        self._subscribed = False
        self._notifying = False  # a NOTIFY has no answer yet
        self._owed = False  # there is news since

    @property
    def live(self) -> bool:
        return self._refer is not None or self._subscribed

    @property
    def deadline(self) -> float | None:
        return self._timers.deadline

    def accept(self, now: float) -> None:
        """Promise to call (RFC 3515 §2.4.2), and tell at once that we have begun (§2.4.4)."""
        if self._refer is None:
            return
        refer, self._refer = self._refer, None
        self._timers.stop("decision")
        if _unsubscribed(self._request):
            headers = [*self._core.target_headers, ("Refer-Sub", "false")]
            self._core.respond(refer, 200, now, headers=headers)
            return
        self._core.respond(refer, 202, now, headers=self._core.target_headers)
        self._subscribed = True
        self._grant(LIMIT, now)
        self._notify(now)

    def decline(self, status: int, now: float) -> None:
        if self._refer is not None:
            refer, self._refer = self._refer, None
            self._timers.stop("decision")
            self._core.respond(refer, status, now)

    def report(self, status: int, reason: str, now: float) -> None:
        """Tell the peer of a response to our call; after a final one there is no more to tell."""
        if self._why_over or not self._subscribed or status <= 100:
            return
        self._status, self._reason = status, reason or REASON_PHRASES.get(status, "Unknown")
        if status >= 200:
            self._why_over = "noresource"
        self._notify(now)

    def receive(self, transaction: AnyServer, now: float) -> None:
        """Take a SUBSCRIBE that prolongs or ends the subscription (RFC 6665 §4.2.1)."""
        expires = transaction.request.headers.integer("Expires")
        if self._refer is not None:
            raise RemoteError("nothing is subscribed yet", status=481)
        granted = min(LIMIT if expires is None else float(expires), LIMIT)
        headers = [*self._core.target_headers, ("Expires", str(int(granted)))]
        self._core.respond(transaction, 200, now, headers=headers)
        if self._why_over:
            return  # the last word is on its way
        if granted < 1:
            self._why_over = "timeout"
        else:
            self._grant(granted, now)
        self._notify(now)

    def session_ended(self, now: float) -> None:
        self.decline(487, now)  # RFC 3261 §15.1.2

    def flow_opened(self, now: float) -> None:
        if self._owed and not self._notifying:
            self._notify(now)

    def handle_timer(self, now: float) -> None:
        while (name := self._timers.take_due(now)) is not None:
            if name == "decision":
                self.decline(603, now)
            elif name == "expires" and not self._why_over:
                self._why_over = "timeout"
                self._notify(now)
            elif name == "limit":
                self._close()

    def _grant(self, seconds: float, now: float) -> None:
        self._expires_at = now + seconds
        self._timers.arm("expires", self._expires_at)

    def _notify(self, now: float) -> None:
        """Tell how it stands, one NOTIFY after the other: what became old meanwhile is left out."""
        if self._notifying:
            self._owed = True
            return
        self._owed = False
        self._notifying = True
        if self._why_over:
            state = SubscriptionState("terminated", reason=self._why_over)
            self._timers.arm("limit", now + 2 * PATIENCE)  # for a flow to bring it
        else:
            state = SubscriptionState("active", expires=int(self._expires_at - now))
        request = self._core.dress(self._dialog.request("NOTIFY"))
        for name, value in (
            *self._core.target_headers,
            ("Event", str(self._event)),
            ("Subscription-State", str(state)),
        ):
            request.headers.add(name, value)
        request = with_body(request, sipfrag(self._status, self._reason))
        over = state.terminated
        self._core.submit(
            request,
            lambda outcome, at: self._notified(outcome, over, at),
            now,
            next_seq=self._dialog.next_seq,
        )

    def _notified(self, outcome: Outcome, over: bool, now: float) -> None:
        """RFC 6665 §4.2.2: a NOTIFY that is refused ends the subscription."""
        if outcome.status < 200:
            return
        self._notifying = False
        if isinstance(outcome, Failure) and outcome.status == 503:
            self._owed = True  # the next flow will bring it
        elif over or outcome.status >= 300:
            self._close()
        elif self._owed:
            self._notify(now)

    def _close(self) -> None:
        self._subscribed = False
        self._owed = False
        self._timers.clear()


def refer_to_dialog(target: Uri | None, replaced: Dialog | None) -> ReferTo:
    """Whom the peer shall call: the tags of Replaces are as seen by the called (RFC 3891 §3)."""
    if replaced is None:
        if target is None:
            raise LocalError("a transfer needs a target")
        return ReferTo(target)
    replaces = Replaces(
        replaced.call_id, to_tag=replaced.remote_tag, from_tag=replaced.local.tag or ""
    )
    return ReferTo(target or replaced.target, replaces)


def _unsubscribed(message: Request | Response) -> bool:
    """Whether no NOTIFYs are wanted, or granted (RFC 4488 §4)."""
    value = (message.headers.get("Refer-Sub") or "").partition(";")[0]
    return value.strip().lower() == "false"
