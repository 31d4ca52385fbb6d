"""The four transaction machines (RFC 3261 §17, corrected by RFC 6026 and RFC 4320).

A machine takes messages and `now`, sends through a callable and tells its listener; whenever its
state or its deadline changed, it tells the table that keeps it (`sip.matching`). A timeout becomes
`Failure(408)`, a lost flow `Failure(503)`, as §8.1.3.1 asks. A 2xx to INVITE and its ACK are end to
end and belong to `sip.session`; a machine only keeps its Accepted state for them.

On a reliable transport (TLS, TCP) nothing is retransmitted, so the timers A, E and G are never
armed and D, I, J and K, which wait for retransmissions of the peer, last no time at all. B, F, H, L
and M remain. The one boolean `reliable` decides it.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from sip.headers import Headers
from sip.message import MAX_FORWARDS, Message, Request, Response, response_to

logger = logging.getLogger(__name__)

# §17.1.1.1: estimate of a round trip; longest interval of retransmissions; life of a message.
T1 = 0.5
T2 = 4.0
T4 = 5.0

# How long either end tries before it gives up: timers B, F, H, J, L, M and the 2xx of a session.
PATIENCE = 64 * T1

# §17.1.1.2: longer than any retransmission of a final response (64*T1).
TIMER_D = 32.0

# RFC 4320 §4.1: once timer E of the client has reached T2, what has no answer yet gets a 100.
TRYING_AFTER = 7 * T1


@dataclass(frozen=True, slots=True)
class Failure:
    """A request ended without a final response (§8.1.3.1).

    Attributes:
        status: 408 for a timeout, 503 for a lost flow.
        reason: our words.
    """

    status: int
    reason: str


Outcome = Response | Failure
Listener = Callable[[Outcome, float], None]
Sender = Callable[[Message], None]


class Timers:
    """Named deadlines."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}

    def arm(self, name: str, at: float) -> None:
        self._at[name] = at

    def stop(self, *names: str) -> None:
        for name in names:
            self._at.pop(name, None)

    def clear(self) -> None:
        self._at.clear()

    def take_due(self, now: float) -> str | None:
        """Remove and return the earliest that is due."""
        if not self._at:
            return None
        name = min(self._at, key=self._at.__getitem__)
        if self._at[name] > now:
            return None
        del self._at[name]
        return name

    def __contains__(self, name: str) -> bool:
        return name in self._at

    @property
    def deadline(self) -> float | None:
        return min(self._at.values()) if self._at else None


class State(Enum):
    """States of all four machines, named as the standard names them."""

    CALLING = "calling"
    TRYING = "trying"
    PROCEEDING = "proceeding"
    COMPLETED = "completed"
    CONFIRMED = "confirmed"
    ACCEPTED = "accepted"
    TERMINATED = "terminated"


class _Machine:
    """What all four share: a request, a state, timers, and somebody to tell of their changes.

    Args:
        request: what began it.
        flow: the flow that it lives on.
        reliable: whether that flow loses nothing.
        send: puts a message on the flow.
        changed: called with the machine after each change of its state or deadline.
    """

    __slots__ = (
        "_changed", "_interval", "_reliable", "_send", "_timers", "flow", "request", "state",
    )  # fmt: skip

    FIRST: State

    def __init__(
        self,
        request: Request,
        *,
        flow: int,
        reliable: bool,
        send: Sender,
        changed: Callable[[Any], None] = lambda machine: None,
    ) -> None:
        self.request = request
        self.flow = flow
        self.state = self.FIRST
        self._reliable = reliable
        self._send = send
        self._changed = changed
        self._timers = Timers()
        self._interval = T1

    @property
    def deadline(self) -> float | None:
        return self._timers.deadline

    def _arm(self, timer: str, at: float) -> None:
        self._timers.arm(timer, at)
        self._changed(self)

    def _enter(self, state: State) -> None:
        if logger.isEnabledFor(logging.DEBUG):
            branch = self.request.headers.via.branch
            logger.debug("%s %s: %s -> %s", self.request.method, branch, self.state, state)
        self.state = state
        self._timers.clear()
        self._changed(self)


class _Client(_Machine):
    """A request of ours; `listener` is told of every response that counts, or of the failure."""

    __slots__ = ("_listener",)

    def __init__(
        self,
        request: Request,
        *,
        flow: int,
        reliable: bool,
        send: Sender,
        listener: Listener,
        changed: Callable[[Any], None] = lambda machine: None,
    ) -> None:
        super().__init__(request, flow=flow, reliable=reliable, send=send, changed=changed)
        self._listener = listener

    @property
    def waiting(self) -> bool:
        """Whether no final response came yet."""
        return self.state in (State.CALLING, State.TRYING, State.PROCEEDING)

    def fail(self, failure: Failure, now: float) -> None:
        """End without a final response.

        Accepted outlives its flow: the 2xx may be repeated over the next one.
        """
        if self.state is State.ACCEPTED:
            return
        waiting = self.waiting
        self._enter(State.TERMINATED)
        if waiting:
            self._listener(failure, now)


class InviteClientTransaction(_Client):
    """INVITE as the client (§17.1.1, RFC 6026 §7.2)."""

    __slots__ = ()

    FIRST = State.CALLING

    def start(self, now: float) -> None:
        self._arm("B", now + PATIENCE)
        if not self._reliable:
            self._arm("A", now + self._interval)
        self._send(self.request)

    def receive(self, response: Response, now: float) -> None:
        """§17.1.1.2."""
        match self.state:
            case State.CALLING | State.PROCEEDING if response.status < 200:
                self._enter(State.PROCEEDING)
                self._listener(response, now)
            case State.CALLING | State.PROCEEDING if response.status < 300:
                self._enter(State.ACCEPTED)
                self._arm("M", now + PATIENCE)
                self._listener(response, now)
            case State.CALLING | State.PROCEEDING:
                self._acknowledge(response)
                if self._reliable:
                    self._enter(State.TERMINATED)
                else:
                    self._enter(State.COMPLETED)
                    self._arm("D", now + TIMER_D)
                self._listener(response, now)
            case State.COMPLETED if response.status >= 300:
                self._acknowledge(response)
            case State.ACCEPTED if 200 <= response.status < 300:
                self._listener(response, now)

    def handle_timer(self, now: float) -> None:
        while (timer := self._timers.take_due(now)) is not None:
            if timer == "A":
                self._interval *= 2
                self._arm("A", now + self._interval)
                self._send(self.request)
            elif timer == "B":
                self.fail(Failure(408, "no response"), now)
            else:  # D, M
                self._enter(State.TERMINATED)

    def _acknowledge(self, response: Response) -> None:
        """Send the ACK of a refusal (§17.1.1.3)."""
        ack = derived_request(self.request, "ACK")
        ack.headers.set("To", response.headers.get("To"))
        self._send(ack)


class ClientTransaction(_Client):
    """Any other request as the client (§17.1.2)."""

    __slots__ = ()

    FIRST = State.TRYING

    def start(self, now: float) -> None:
        self._arm("F", now + PATIENCE)
        if not self._reliable:
            self._arm("E", now + self._interval)
        self._send(self.request)

    def receive(self, response: Response, now: float) -> None:
        """§17.1.2.2."""
        if not self.waiting:
            return
        if response.status < 200:
            self.state = State.PROCEEDING  # its timers go on
        elif self._reliable:
            self._enter(State.TERMINATED)
        else:
            self._enter(State.COMPLETED)
            self._arm("K", now + T4)
        self._listener(response, now)

    def handle_timer(self, now: float) -> None:
        while (timer := self._timers.take_due(now)) is not None:
            if timer == "E":
                proceeding = self.state is State.PROCEEDING
                self._interval = T2 if proceeding else min(2 * self._interval, T2)
                self._arm("E", now + self._interval)
                self._send(self.request)
            elif timer == "F":
                self.fail(Failure(408, "no response"), now)
            else:  # K
                self._enter(State.TERMINATED)


class _Server(_Machine):
    """A request of the peer."""

    __slots__ = ("_last",)

    def __init__(
        self,
        request: Request,
        *,
        flow: int,
        reliable: bool,
        send: Sender,
        changed: Callable[[Any], None] = lambda machine: None,
    ) -> None:
        super().__init__(request, flow=flow, reliable=reliable, send=send, changed=changed)
        self._last: Response | None = None

    @property
    def open(self) -> bool:
        """Whether the user still owes a final response."""
        return self.state in (State.TRYING, State.PROCEEDING)

    def forget(self) -> None:
        """End at once, and know of repetitions no more."""
        self._enter(State.TERMINATED)


class InviteServerTransaction(_Server):
    """INVITE as the server (§17.2.1, RFC 6026 §7.1)."""

    __slots__ = ()

    FIRST = State.PROCEEDING

    def respond(self, response: Response, now: float) -> None:
        """Send a response of the user; one that comes too late is dropped."""
        match self.state:
            case State.PROCEEDING:
                # A 2xx is repeated by the session, and nothing else any more.
                self._last = None if 200 <= response.status < 300 else response
                if response.status >= 300:
                    self._enter(State.COMPLETED)
                    self._arm("H", now + PATIENCE)
                    if not self._reliable:
                        self._arm("G", now + self._interval)
                elif response.status >= 200:
                    self._enter(State.ACCEPTED)
                    self._arm("L", now + PATIENCE)
                self._send(response)
            case State.ACCEPTED if 200 <= response.status < 300:
                self._send(response)

    def receive(self, request: Request, now: float) -> bool:
        """Take a repeated INVITE or an ACK; False for the ACK of a 2xx, which is the session's."""
        if request.method == "ACK":
            if self.state is State.ACCEPTED:
                return False
            if self.state is State.COMPLETED:
                if self._reliable:
                    self._enter(State.TERMINATED)
                else:
                    self._enter(State.CONFIRMED)
                    self._arm("I", now + T4)
        elif self.state in (State.PROCEEDING, State.COMPLETED) and self._last is not None:
            self._send(self._last)
        return True

    def handle_timer(self, now: float) -> None:
        while (timer := self._timers.take_due(now)) is not None:
            if timer == "G":
                assert self._last is not None, "completed means that a final response was sent"
                self._interval = min(2 * self._interval, T2)
                self._arm("G", now + self._interval)
                self._send(self._last)
            else:  # H, I, L
                self._enter(State.TERMINATED)

    def flow_lost(self) -> None:
        """End, unless a 2xx was sent: a repeated INVITE must still find that it was taken."""
        if self.state is not State.ACCEPTED:
            self._enter(State.TERMINATED)


class ServerTransaction(_Server):
    """Any other request as the server (§17.2.2)."""

    __slots__ = ()

    FIRST = State.TRYING

    def start(self, now: float) -> None:
        # Once the client's timer F has run out, nobody waits for our answer, and none may be made
        # up for the user (RFC 4320 §4.2).
        self._arm("F", now + PATIENCE)
        self._arm("trying", now + TRYING_AFTER)

    def respond(self, response: Response, now: float) -> None:
        """Send a response of the user; one that comes too late is dropped."""
        if not self.open:
            return
        self._last = response
        if response.status < 200:
            self.state = State.PROCEEDING
        elif self._reliable:
            self._enter(State.TERMINATED)
        else:
            self._enter(State.COMPLETED)
            self._arm("J", now + PATIENCE)
        self._send(response)

    def receive(self, request: Request, now: float) -> bool:
        """Take a repeated request."""
        if self._last is not None:
            self._send(self._last)
        return True

    def handle_timer(self, now: float) -> None:
        while (timer := self._timers.take_due(now)) is not None:
            if timer == "trying":
                if self.state is State.TRYING:
                    self.respond(response_to(self.request, 100), now)
            else:  # F of the client, J
                self._enter(State.TERMINATED)

    def flow_lost(self) -> None:
        self._enter(State.TERMINATED)


AnyClient = InviteClientTransaction | ClientTransaction
AnyServer = InviteServerTransaction | ServerTransaction


def derived_request(invite: Request, method: str) -> Request:
    """Build the CANCEL of an INVITE (§9.1), or the ACK of its refusal (§17.1.1.3): the same hop."""
    via = invite.headers.via
    headers = Headers([("Via", str(via)), ("Max-Forwards", str(MAX_FORWARDS))])
    for name in ("Route", "From", "To", "Call-ID"):
        for value in invite.headers.get_all(name):
            headers.add(name, value)
    headers.add("CSeq", f"{invite.headers.cseq.number} {method}")
    return Request(method, invite.uri, headers)
