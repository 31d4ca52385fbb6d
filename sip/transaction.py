"""The four transaction machines (RFC 3261 §17, corrected by RFC 6026) and the table that finds
them.

A machine takes messages and `now`, sends through a callable and tells its listener. A timeout
becomes `Failure(408)`, a lost flow `Failure(503)`, as §8.1.3.1 asks. A 2xx to INVITE and its ACK
are end to end and belong to `sip.session`; a machine only keeps its Accepted state for them.

On a reliable transport (TLS, TCP) nothing is retransmitted, so the timers A, E and G are never
armed and D, I, J and K, which wait for retransmissions of the peer, last no time at all. B, F, H, L
and M remain. The one boolean `reliable` decides it.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum

from sip.headers import Headers
from sip.message import MAX_FORWARDS, Message, Request, Response

logger = logging.getLogger(__name__)

# §17.1.1.1: estimate of a round trip; longest interval of retransmissions; life of a message.
T1 = 0.5
T2 = 4.0
T4 = 5.0

# How long either end tries before it gives up: timers B, F, H, J, L, M and the 2xx of a session.
PATIENCE = 64 * T1

# §17.1.1.2: longer than any retransmission of a final response (64*T1).
TIMER_D = 32.0

# §8.1.1.7: a branch that begins so is unique by itself.
MAGIC_COOKIE = "z9hG4bK"

# A request is answered within moments, a call rings for a minute. More than this at once is not
# telephony of one trunk but an attack or a loop.
MAX_SERVER_TRANSACTIONS = 2000


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
        return min(self._at.values(), default=None)


class State(Enum):
    """States of all four machines, named as the standard names them."""

    CALLING = "calling"
    TRYING = "trying"
    PROCEEDING = "proceeding"
    COMPLETED = "completed"
    CONFIRMED = "confirmed"
    ACCEPTED = "accepted"
    TERMINATED = "terminated"


class InviteClientTransaction:
    """INVITE as the client (§17.1.1, RFC 6026 §7.2)."""

    def __init__(
        self, request: Request, *, flow: int, reliable: bool, send: Sender, listener: Listener
    ) -> None:
        self.request = request
        self.flow = flow
        self.state = State.CALLING
        self._reliable = reliable
        self._send = send
        self._listener = listener
        self._timers = Timers()
        self._interval = T1

    @property
    def deadline(self) -> float | None:
        return self._timers.deadline

    def start(self, now: float) -> None:
        self._timers.arm("B", now + PATIENCE)
        if not self._reliable:
            self._timers.arm("A", now + self._interval)
        self._send(self.request)

    def receive(self, response: Response, now: float) -> None:
        """§17.1.1.2."""
        match self.state:
            case State.CALLING | State.PROCEEDING if response.status < 200:
                self._enter(State.PROCEEDING)
                self._listener(response, now)
            case State.CALLING | State.PROCEEDING if response.status < 300:
                self._enter(State.ACCEPTED)
                self._timers.arm("M", now + PATIENCE)
                self._listener(response, now)
            case State.CALLING | State.PROCEEDING:
                self._acknowledge(response)
                if self._reliable:
                    self._enter(State.TERMINATED)
                else:
                    self._enter(State.COMPLETED)
                    self._timers.arm("D", now + TIMER_D)
                self._listener(response, now)
            case State.COMPLETED if response.status >= 300:
                self._acknowledge(response)
            case State.ACCEPTED if 200 <= response.status < 300:
                self._listener(response, now)

    def handle_timer(self, now: float) -> None:
        while (timer := self._timers.take_due(now)) is not None:
            if timer == "A":
                self._interval *= 2
                self._timers.arm("A", now + self._interval)
                self._send(self.request)
            elif timer == "B":
                self.fail(Failure(408, "no response"), now)
            else:  # D, M
                self._enter(State.TERMINATED)

    def fail(self, failure: Failure, now: float) -> None:
        """End without a final response.

        Accepted outlives its flow: the 2xx may be repeated over the next one.
        """
        if self.state is State.ACCEPTED:
            return
        waiting = self.state in (State.CALLING, State.PROCEEDING)
        self._enter(State.TERMINATED)
        if waiting:
            self._listener(failure, now)

    def _acknowledge(self, response: Response) -> None:
        """Send the ACK of a refusal (§17.1.1.3)."""
        ack = derived_request(self.request, "ACK")
        ack.headers.set("To", response.headers.get("To"))
        self._send(ack)

    def _enter(self, state: State) -> None:
        _log_change(self.request, self.state, state)
        self.state = state
        self._timers.clear()


class ClientTransaction:
    """Any other request as the client (§17.1.2)."""

    def __init__(
        self, request: Request, *, flow: int, reliable: bool, send: Sender, listener: Listener
    ) -> None:
        self.request = request
        self.flow = flow
        self.state = State.TRYING
        self._reliable = reliable
        self._send = send
        self._listener = listener
        self._timers = Timers()
        self._interval = T1

    @property
    def deadline(self) -> float | None:
        return self._timers.deadline

    def start(self, now: float) -> None:
        self._timers.arm("F", now + PATIENCE)
        if not self._reliable:
            self._timers.arm("E", now + self._interval)
        self._send(self.request)

    def receive(self, response: Response, now: float) -> None:
        """§17.1.2.2."""
        if self.state not in (State.TRYING, State.PROCEEDING):
            return
        if response.status < 200:
            self.state = State.PROCEEDING
        else:
            self._timers.clear()
            if self._reliable:
                self._enter(State.TERMINATED)
            else:
                self._enter(State.COMPLETED)
                self._timers.arm("K", now + T4)
        self._listener(response, now)

    def handle_timer(self, now: float) -> None:
        while (timer := self._timers.take_due(now)) is not None:
            if timer == "E":
                proceeding = self.state is State.PROCEEDING
                self._interval = T2 if proceeding else min(2 * self._interval, T2)
                self._timers.arm("E", now + self._interval)
                self._send(self.request)
            elif timer == "F":
                self.fail(Failure(408, "no response"), now)
            else:  # K
                self._enter(State.TERMINATED)

    def fail(self, failure: Failure, now: float) -> None:
        """End without a final response."""
        waiting = self.state in (State.TRYING, State.PROCEEDING)
        self._enter(State.TERMINATED)
        if waiting:
            self._listener(failure, now)

    def _enter(self, state: State) -> None:
        _log_change(self.request, self.state, state)
        self.state = state
        self._timers.clear()


class InviteServerTransaction:
    """INVITE as the server (§17.2.1, RFC 6026 §7.1)."""

    def __init__(self, request: Request, *, flow: int, reliable: bool, send: Sender) -> None:
        self.request = request
        self.flow = flow
        self.state = State.PROCEEDING
        self._reliable = reliable
        self._send = send
        self._timers = Timers()
        self._interval = T1
        self._last: Response | None = None

    @property
    def deadline(self) -> float | None:
        return self._timers.deadline

    def respond(self, response: Response, now: float) -> None:
        """Send a response of the user; one that comes too late is dropped."""
        match self.state:
            case State.PROCEEDING:
                self._last = response
                if response.status >= 300:
                    self._enter(State.COMPLETED)
                    self._timers.arm("H", now + PATIENCE)
                    if not self._reliable:
                        self._timers.arm("G", now + self._interval)
                elif response.status >= 200:
                    self._enter(State.ACCEPTED)
                    self._timers.arm("L", now + PATIENCE)
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
                    self._timers.arm("I", now + T4)
        elif self.state in (State.PROCEEDING, State.COMPLETED) and self._last is not None:
            self._send(self._last)
        return True

    def handle_timer(self, now: float) -> None:
        while (timer := self._timers.take_due(now)) is not None:
            if timer == "G":
                assert self._last is not None, "completed means that a final response was sent"
                self._interval = min(2 * self._interval, T2)
                self._timers.arm("G", now + self._interval)
                self._send(self._last)
            else:  # H, I, L
                self._enter(State.TERMINATED)

    def flow_lost(self) -> None:
        """End, unless a 2xx was sent: a repeated INVITE must still find that it was taken."""
        if self.state is not State.ACCEPTED:
            self._enter(State.TERMINATED)

    def _enter(self, state: State) -> None:
        _log_change(self.request, self.state, state)
        self.state = state
        self._timers.clear()


class ServerTransaction:
    """Any other request as the server (§17.2.2)."""

    def __init__(self, request: Request, *, flow: int, reliable: bool, send: Sender) -> None:
        self.request = request
        self.flow = flow
        self.state = State.TRYING
        self._reliable = reliable
        self._send = send
        self._timers = Timers()
        self._last: Response | None = None

    @property
    def deadline(self) -> float | None:
        return self._timers.deadline

    def start(self, now: float) -> None:
        # Once the client's timer F has run out, nobody waits for our answer.
        self._timers.arm("F", now + PATIENCE)

    def respond(self, response: Response, now: float) -> None:
        """Send a response of the user; one that comes too late is dropped."""
        if self.state not in (State.TRYING, State.PROCEEDING):
            return
        self._last = response
        if response.status < 200:
            self.state = State.PROCEEDING
        elif self._reliable:
            self._enter(State.TERMINATED)
        else:
            self._enter(State.COMPLETED)
            self._timers.arm("J", now + PATIENCE)
        self._send(response)

    def receive(self, request: Request, now: float) -> bool:
        """Take a repeated request."""
        if self._last is not None:
            self._send(self._last)
        return True

    def handle_timer(self, now: float) -> None:
        if self._timers.take_due(now) is not None:  # F of the client, J
            self._enter(State.TERMINATED)

    def flow_lost(self) -> None:
        self._enter(State.TERMINATED)

    def _enter(self, state: State) -> None:
        _log_change(self.request, self.state, state)
        self.state = state
        self._timers.clear()


AnyClient = InviteClientTransaction | ClientTransaction
AnyServer = InviteServerTransaction | ServerTransaction
_Key = tuple[object, ...]


class Transactions:
    """All transactions, and the rules by which messages find theirs (§17.1.3, §17.2.3)."""

    def __init__(self) -> None:
        self._clients: dict[_Key, AnyClient] = {}
        self._servers: dict[_Key, AnyServer] = {}
        self._identities: dict[_Key, AnyServer] = {}

    @property
    def deadline(self) -> float | None:
        return min(
            (t.deadline for t in self._all() if t.deadline is not None),
            default=None,
        )

    @property
    def waiting(self) -> bool:
        """Whether a request of ours has no final response yet."""
        states = (State.CALLING, State.TRYING, State.PROCEEDING)
        return any(client.state in states for client in self._clients.values())

    @property
    def full(self) -> bool:
        return len(self._servers) >= MAX_SERVER_TRANSACTIONS

    def __len__(self) -> int:
        return len(self._clients) + len(self._servers)

    def start(
        self,
        request: Request,
        *,
        flow: int,
        reliable: bool,
        send: Sender,
        listener: Listener,
        now: float,
    ) -> AnyClient:
        """Send a request in a transaction of its own; its Via carries the branch."""
        kind = InviteClientTransaction if request.method == "INVITE" else ClientTransaction
        client = kind(request, flow=flow, reliable=reliable, send=send, listener=listener)
        self._clients[request.headers.via.branch, request.method] = client
        client.start(now)
        return client

    def serve(
        self, request: Request, *, flow: int, reliable: bool, send: Sender, now: float
    ) -> AnyServer:
        """Open the transaction of a request that found none."""
        server: AnyServer
        if request.method == "INVITE":
            server = InviteServerTransaction(request, flow=flow, reliable=reliable, send=send)
        else:
            server = ServerTransaction(request, flow=flow, reliable=reliable, send=send)
            server.start(now)
        self._servers[_server_key(request, request.method)] = server
        self._identities.setdefault(_identity(request), server)
        return server

    def receive_response(self, response: Response, now: float) -> bool:
        """Hand a response to its transaction; False if there is none (§17.1.3)."""
        key = (response.headers.via.branch, response.headers.cseq.method)
        client = self._clients.get(key)
        if client is None:
            return False
        client.receive(response, now)
        self._sweep()
        return True

    def receive_request(self, request: Request, now: float) -> bool:
        """Hand a repeated request or an ACK to its transaction; False if it is new (§17.2.3)."""
        self._sweep()  # a transaction that ended with its answer must not take a new request
        method = "INVITE" if request.method == "ACK" else request.method
        server = self._servers.get(_server_key(request, method))
        return server is not None and server.receive(request, now)

    def find_cancelled(self, cancel: Request) -> InviteServerTransaction | None:
        """Find the INVITE that a CANCEL is about (§9.2)."""
        server = self._servers.get(_server_key(cancel, "INVITE"))
        return server if isinstance(server, InviteServerTransaction) else None

    def is_merged(self, request: Request) -> bool:
        """Whether the same request is already here by another path (§8.2.2.2)."""
        return request.headers.to.tag is None and _identity(request) in self._identities

    def flow_closed(self, flow: int, now: float) -> None:
        """Fail at once what would otherwise wait for its timeout."""
        for client in list(self._clients.values()):
            if client.flow == flow:
                client.fail(Failure(503, "connection lost"), now)
        for server in list(self._servers.values()):
            if server.flow == flow:
                server.flow_lost()
        self._sweep()

    def handle_timer(self, now: float) -> None:
        for transaction in list(self._all()):
            transaction.handle_timer(now)
        self._sweep()

    def _all(self) -> Iterable[AnyClient | AnyServer]:
        yield from self._clients.values()
        yield from self._servers.values()

    def _sweep(self) -> None:
        for key in [k for k, t in self._clients.items() if t.state is State.TERMINATED]:
            del self._clients[key]
        for key in [k for k, t in self._servers.items() if t.state is State.TERMINATED]:
            server = self._servers.pop(key)
            identity = _identity(server.request)
            if self._identities.get(identity) is server:
                del self._identities[identity]


def derived_request(invite: Request, method: str) -> Request:
    """Build the CANCEL of an INVITE (§9.1), or the ACK of its refusal (§17.1.1.3): the same hop."""
    via = invite.headers.via
    headers = Headers([("Via", str(via)), ("Max-Forwards", str(MAX_FORWARDS))])
    for name in ("Route", "From", "To", "Call-ID"):
        for value in invite.headers.get_all(name):
            headers.add(name, value)
    headers.add("CSeq", f"{invite.headers.cseq.number} {method}")
    return Request(method, invite.uri, headers)


def _server_key(request: Request, method: str) -> _Key:
    via = request.headers.via
    if via.branch.startswith(MAGIC_COOKIE):
        return (via.branch, via.host.lower(), via.port, method)
    # §17.2.3: an element of RFC 2543, whose branch is not unique.
    return (*_identity(request), str(request.uri), str(via), method)


def _identity(request: Request) -> _Key:
    headers = request.headers
    cseq = headers.cseq
    method = "INVITE" if cseq.method == "ACK" else cseq.method
    return (headers.call_id, headers.from_.tag, cseq.number, method)


def _log_change(request: Request, old: State, new: State) -> None:
    logger.debug("%s %s: %s -> %s", request.method, request.headers.via.branch, old, new)
