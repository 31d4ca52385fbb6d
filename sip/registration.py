"""Our binding at the registrar (RFC 3261 §10): made with each flow, refreshed in time, removed at
the end.

All REGISTERs share one Call-ID with rising numbers (§10.2.4). A binding names our end of a flow, so
a new flow begins with a new REGISTER whatever the old one was granted. Failures are repeated with a
growing, jittered delay and never given up; a refused password is tried again rarely, because the
account may come back and the registrar may count failures.
"""

from enum import Enum

from sip.core import ALLOW, Core, Flow, Submission
from sip.errors import RemoteError
from sip.events import FlowFailed, Registered, RegistrationFailed, Unregistered
from sip.message import Request, Response
from sip.transaction import Failure, Outcome, Timers
from sip.uri import NameAddr, Uri

# Seconds until the next attempt: 1, 2, 4, … up to a minute.
FIRST_DELAY = 1.0
LONGEST_DELAY = 60.0

# After a refusal of our credentials.
REFUSED_DELAY = 600.0

# A registrar that sends us away for longer is asked again all the same.
LONGEST_RETRY_AFTER = 3600

# No registrar means it when it wants more than a week between refreshes, or less than a second.
MAX_EXPIRES = 7 * 86_400


class State(Enum):
    """Where the binding stands."""

    IDLE = "idle"  # no flow, or nothing wanted
    REGISTERING = "registering"
    REGISTERED = "registered"
    WAITING = "waiting"  # for the next attempt
    REMOVING = "removing"


class Registration:
    """The REGISTER usage of one account."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._wanted = core.trunk.register
        self._state = State.IDLE
        self._timers = Timers()  # "refresh", "retry"
        self._call_id = core.ids.call_id()
        self._tag = core.ids.tag()
        self._seq = 0
        self._expires = core.trunk.expires
        self._delay = FIRST_DELAY
        self._flow: Flow | None = None
        self._submission: Submission | None = None

    @property
    def registered(self) -> bool:
        """Whether the registrar's last word was that our binding stands, and its flow is open."""
        return self._state is State.REGISTERED

    @property
    def deadline(self) -> float | None:
        return self._timers.deadline

    def flow_opened(self, flow: Flow, now: float) -> None:
        """Bind the new flow at once."""
        self._flow = flow
        if self._wanted:
            self._delay = FIRST_DELAY
            self._register(now)

    def flow_closed(self, flow_id: int) -> None:
        """Wait for the next flow; a REGISTER under way has failed by itself."""
        if self._flow is None or self._flow.id != flow_id:
            return
        told = self._state in (State.IDLE, State.WAITING)
        self._lose_flow()
        if self._wanted and not told:
            self._core.emit(RegistrationFailed(503, "connection lost", None))

    def unregister(self, now: float) -> None:
        """Remove the binding for good (§10.2.2)."""
        self._wanted = False
        self._timers.clear()
        if not self._core.trunk.register or self._state is State.IDLE:
            self._core.emit(Unregistered())  # there is nothing to remove
        else:
            self._send(0, State.REMOVING, now)

    def handle_timer(self, now: float) -> None:
        while self._timers.take_due(now) is not None:
            self._register(now)

    def _register(self, now: float) -> None:
        self._send(self._expires, State.REGISTERING, now)

    def _send(self, expires: int, state: State, now: float) -> None:
        self._state = state
        self._timers.clear()
        me = NameAddr(self._core.address)
        request = self._core.request(
            "REGISTER",
            Uri("sip", host=self._core.trunk.domain),
            sender=me.with_tag(self._tag),
            to=me,
            call_id=self._call_id,
            seq=self._next_seq(),
        )
        request.headers.add("Contact", self._core.contact)
        request.headers.add("Expires", expires)
        request.headers.add("Allow", ALLOW)
        submission = Submission(
            self._core,
            request,
            lambda outcome, at: self._receive(submission, outcome, at),
            next_seq=self._next_seq,
        )
        self._submission = submission
        submission.start(now, flow=self._flow)

    def _next_seq(self) -> int:
        self._seq += 1
        return self._seq

    def _receive(self, submission: Submission, outcome: Outcome, now: float) -> None:
        if submission is not self._submission or outcome.status < 200:
            return  # what an older REGISTER brought is no longer true
        if self._state is State.REMOVING:
            self._state = State.IDLE
            if outcome.status < 300:
                self._core.emit(Unregistered())
            else:
                self._core.emit(RegistrationFailed(outcome.status, outcome.reason, None))
        elif isinstance(outcome, Response) and outcome.status < 300:
            self._accepted(submission.request, outcome, now)
        elif isinstance(outcome, Response) and outcome.status == 423 and self._lengthen(outcome):
            self._register(now)
        else:
            self._failed(outcome, now)

    def _accepted(self, request: Request, response: Response, now: float) -> None:
        granted = _granted(request, response)
        self._state = State.REGISTERED
        self._delay = FIRST_DELAY
        # Between half and nine tenths: early enough for another try, and not all lines at once.
        self._timers.arm("refresh", now + granted * (0.5 + 0.4 * self._core.chance()))
        self._core.emit(Registered(granted))

    def _lengthen(self, response: Response) -> bool:
        """Take the Min-Expires of a 423 (§10.2.8)."""
        try:
            minimum = response.headers.integer("Min-Expires", limit=MAX_EXPIRES)
        except RemoteError:
            return False
        if minimum is None or minimum <= self._expires:
            return False
        self._expires = minimum
        return True

    def _failed(self, outcome: Outcome, now: float) -> None:
        flow = self._flow
        if isinstance(outcome, Failure) and outcome.status == 503:
            self._lose_flow()
            self._core.emit(RegistrationFailed(503, outcome.reason, None))
            return
        if isinstance(outcome, Failure) and flow is not None and flow.reliable:
            # Half a minute of silence on a connection: it is dead, whatever TCP believes.
            self._lose_flow()
            self._core.emit(RegistrationFailed(408, "the registrar does not answer", None))
            self._core.emit(FlowFailed(flow.id, "REGISTER was not answered"))
            return
        delay = self._next_delay()
        if outcome.status in (401, 403, 407):
            delay = REFUSED_DELAY * (0.9 + 0.2 * self._core.chance())
        if isinstance(outcome, Response):
            delay = max(delay, min(outcome.headers.retry_after or 0, LONGEST_RETRY_AFTER))
        self._state = State.WAITING
        self._timers.arm("retry", now + delay)
        self._core.emit(RegistrationFailed(outcome.status, outcome.reason, delay))

    def _next_delay(self) -> float:
        """Return the next delay, between three quarters and all of it, and double it."""
        delay = self._delay
        self._delay = min(2 * delay, LONGEST_DELAY)
        return delay * (0.75 + 0.25 * self._core.chance())

    def _lose_flow(self) -> None:
        self._flow = None
        self._submission = None
        self._state = State.IDLE
        self._timers.clear()


def _granted(request: Request, response: Response) -> int:
    """Return the lifetime of our binding among all that the registrar lists (§10.2.4)."""
    asked = request.headers.integer("Expires") or 1
    ours = request.headers.contact
    try:
        for contact in response.headers.contacts:
            if ours is not None and _same_place(contact.uri, ours.uri):
                expires = contact.parameters.get("expires")
                if expires is not None and expires.isascii() and expires.isdigit():
                    return _sane(int(expires[:10]))
        expires_field = response.headers.integer("Expires")
    except RemoteError:
        return _sane(asked)
    return _sane(asked if expires_field is None else expires_field)


def _same_place(one: Uri, other: Uri) -> bool:
    """Whether both are one contact; registrars change the case and drop parameters."""
    return (one.user, one.host.lower(), one.port) == (other.user, other.host.lower(), other.port)


def _sane(expires: int) -> int:
    return max(1, min(expires, MAX_EXPIRES))
