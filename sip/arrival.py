"""The peer's INVITE until its final response (RFC 3261 §13.3): the callee's half of a beginning.

What we say before the answer is sent reliably (RFC 3262) where the caller requires it. Where it
only supports it, a response with a description is, because a description that may be lost agrees on
nothing: sent reliably it is the answer (or, to an INVITE without an offer, our offer), else it is a
preview. A 2xx waits for what is open: the PRACK of a description, an offer in the early dialog.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from sip.agenda import soonest
from sip.change import Changes
from sip.core import Core
from sip.errors import RemoteError
from sip.events import Body, IncomingSession
from sip.identity import read_identity
from sip.multipart import description_of
from sip.negotiation import State
from sip.refer import referred_by
from sip.reliable import Provisionals
from sip.timer import SessionTimer
from sip.transaction import AnyServer, InviteServerTransaction, Timers

if TYPE_CHECKING:
    from sip.session import Session

# §13.3.1.1: a proxy gives up on an INVITE of which it heard nothing for three minutes (timer C).
RING_AGAIN = 60.0

# §13.3.1: an INVITE may say how long it stands; nobody rings for more than an hour.
MAX_EXPIRES = 3600

# One that does not say, in either direction: longer than anyone listens to a ringing tone or to an
# announcement before the answer, and short enough that what is forgotten goes away.
RING_LIMIT = 600.0


class Arrival:
    """An INVITE of the peer.

    Args:
        changes: of the dialog that it opens.
        tag: ours.
        accepted: called when the 2xx goes out.
        expired: called with a status when the INVITE can no longer be answered.

    Attributes:
        offer: the peer's, None if it wants ours.
    """

    def __init__(
        self,
        core: Core,
        invite: InviteServerTransaction,
        *,
        tag: str,
        timer: SessionTimer,
        accepted: Callable[[float], None],
        expired: Callable[[int, float], None],
        now: float,
    ) -> None:
        self.invite = invite
        self.offer = description_of(invite.request)
        self._core = core
        self._tag = tag
        self._timer = timer
        self._accepted = accepted
        self._expired = expired
        self._changes: Changes | None = None
        self._timers = Timers()  # "ring", "expire", "forgotten"
        self._said: tuple[int, Body | None] = (180, None)  # the last provisional response
        self._answer: Body | None = None  # waits until it may go
        self._over = False
        headers = invite.request.headers
        self._requires = "100rel" in headers.tokens("Require")
        self._supports = self._requires or "100rel" in headers.tokens("Supported")
        # RFC 3262 §3: the first number is drawn from the lower half of the range.
        first = 1 + int(core.chance() * (2**31 - 1))
        self._provisionals = Provisionals(first=first, send=invite.respond)
        expires = headers.integer("Expires")
        if expires:
            self._timers.arm("expire", now + min(expires, MAX_EXPIRES))
        else:
            self._timers.arm("forgotten", now + RING_LIMIT)

    @property
    def deadline(self) -> float | None:
        deadlines = (self._timers.deadline, self._provisionals.deadline)
        return soonest(*deadlines)

    def begin(self, changes: Changes) -> None:
        """Open the exchange in the dialog of the INVITE."""
        self._changes = changes
        if self.offer is not None:
            changes.negotiation.take_offer(self.offer)

    def introduce(self, session: "Session", *, replaced: "Session | None") -> IncomingSession:
        """What our user is told of the call.

        Args:
            replaced: the session in whose place it wants to be (RFC 3891).
        """
        headers = self.invite.request.headers
        return IncomingSession(
            session,
            target=self.invite.request.uri,
            to=headers.to,
            caller=headers.from_,
            identity=read_identity(headers, trusted=self._core.trunk.trust_identity),
            offer=self.offer,
            called_party=headers.called_party,
            replaces=replaced,
            referred_by=referred_by(headers),
        )

    # --- what the user wants

    def provide(self, status: int, body: Body | None, now: float) -> None:
        """Send a provisional response; a body that may not be sent now is left out."""
        if self._answer is not None or self._over:
            return
        self._said = (status, body)
        self._timers.arm("ring", now + RING_AGAIN)
        reliable = self._requires or (self._supports and self._may_describe(body, reliable=True))
        if not self._may_describe(body, reliable=reliable):
            body = None
        if reliable and body is None and self._owes_offer:
            return
        response = self._core.response(
            self.invite.request, status, to_tag=self._tag, headers=self._headers(), body=body
        )
        if not reliable:
            self.invite.respond(response, now)
        elif self._provisionals.put(response, now) and body is not None:
            self._describe(body)

    def answer(self, body: Body, now: float) -> None:
        """Send the 2xx as soon as nothing else is open."""
        if self._answer is None and not self._over:
            self._answer = body
            self.settle(now)

    def refuse(self, status: int, now: float, *, headers: Iterable[tuple[str, str]] = ()) -> None:
        self._core.respond(self.invite, status, now, to_tag=self._tag, headers=headers)
        self.stop()

    # --- input

    def receive_prack(self, transaction: AnyServer, now: float) -> None:
        """RFC 3262 §3.

        Raises:
            RemoteError: it acknowledges nothing, or brings what cannot be taken.
        """
        assert self._changes is not None, "the dialog is there before its PRACK"
        body = description_of(transaction.request)
        if not self._provisionals.acknowledge(transaction.request.headers.rack, now):
            raise RemoteError("nothing to acknowledge", status=481)
        self._changes.receive_prack(transaction, body, now)
        self.settle(now)

    def settle(self, now: float) -> None:
        """Send the answer that waited, if nothing is open any more (RFC 3262 §3)."""
        assert self._changes is not None, "the dialog is there before its answer"
        if (
            self._answer is None
            or self._over
            or self._provisionals.describing
            or self._changes.busy
        ):
            return
        body: Body | None = self._answer
        if self._changes.negotiation.rounds:
            body = None  # a reliable response said it; a 2xx must not say otherwise
        elif body is not None:
            self._describe(body)
        self.stop()
        headers = [*self._headers(), *self._timer.accept(self.invite.request, now)]
        self._accepted(now)
        self._changes.accept_invite(self.invite, body, now, headers=headers)

    def handle_timer(self, now: float) -> None:
        if not self._provisionals.handle_timer(now):
            self._expired(504, now)
        while (name := self._timers.take_due(now)) is not None:
            if name == "expire":
                self._expired(487, now)
            elif name == "forgotten":
                self._expired(480, now)
            else:
                self.provide(*self._said, now)

    def stop(self) -> None:
        """Say nothing more."""
        self._over = True
        self._timers.clear()
        self._provisionals.stop()

    # --- small parts

    def _may_describe(self, body: Body | None, *, reliable: bool) -> bool:
        """Whether a provisional response may carry a description now: the first one, and an offer
        only reliably (RFC 6337 §2.2)."""
        assert self._changes is not None, "the dialog is there before its responses"
        if body is None or self._changes.negotiation.rounds or self._changes.busy:
            return False
        return reliable or self._changes.negotiation.state is State.REMOTE_OFFER

    @property
    def _owes_offer(self) -> bool:
        """Whether our first reliable response must make the offer (§13.2.1), be it the 2xx."""
        assert self._changes is not None, "the dialog is there before its responses"
        negotiation = self._changes.negotiation
        return self.offer is None and negotiation.stable and not negotiation.rounds

    def _describe(self, body: Body) -> None:
        assert self._changes is not None, "the dialog is there before its descriptions"
        if self.offer is None:
            self._changes.negotiation.make_offer(body)
        else:
            self._changes.negotiation.make_answer(body)

    def _headers(self) -> list[tuple[str, str]]:
        """What makes the dialog at the peer's end: our Contact, and the way there (§12.1.1)."""
        routes = self.invite.request.headers.get_all("Record-Route")
        return [*(("Record-Route", route) for route in routes), *self._core.target_headers]
