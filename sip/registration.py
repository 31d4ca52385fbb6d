"""Our binding at the registrar (RFC 3261 §10): made with each flow, refreshed in time, removed at
the end.

All REGISTERs share one Call-ID with rising numbers (§10.2.4). A binding names our end of a flow, so
a new flow begins with a new REGISTER whatever the old one was granted; where the registrar then
still lists an older contact of ours, that is removed. Behind NAT the registrar's first answer tells
how it sees us, and the contact becomes that: calls find their way over the open flow even where the
registrar looks for it by address. `sip.outbound` reads the answers.

Failures are repeated with a growing, jittered delay and never given up; a refused password is tried
again rarely, because the account may come back and the registrar may count failures. A registrar
that sends us elsewhere (3xx) is not followed: our password is for this trunk.
"""

from enum import Enum

from sip import outbound
from sip.core import ALLOW, Core, Flow, Submission
from sip.errors import RemoteError
from sip.events import FlowFailed, Registered, RegistrationFailed, Unregistered
from sip.headers import Headers
from sip.keepalive import KeepAlives
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

# What share of the granted time passes before the refresh: half of it leaves room for another try,
# and the spread keeps lines that were granted the same apart.
REFRESH_FROM = 0.45
REFRESH_TO = 0.55

# However little is granted, so many seconds pass.
SHORTEST_REFRESH = 1.0

# Contacts of flows that are gone and may still be listed; more were never ours at once.
MAX_FORMER = 4

_REFUSED = (401, 403, 407)


class State(Enum):
    """Where the binding stands."""

    IDLE = "idle"  # no flow, or nothing wanted
    REGISTERING = "registering"
    REGISTERED = "registered"
    WAITING = "waiting"  # for the next attempt
    REMOVING = "removing"


class Registration:
    """The REGISTER usage of one account.

    Args:
        keepalives: are told when the registrar answers pings.
        instance: a URN that stays the same over restarts and belongs to nobody else (RFC 5626
            §3.1); None for no part in RFC 5626.
    """

    def __init__(self, core: Core, *, keepalives: KeepAlives, instance: str | None) -> None:
        self._core = core
        self._keepalives = keepalives
        self._instance = instance
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
        self._bound: NameAddr | None = None  # the contact that was accepted last
        self._former: list[NameAddr] = []

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

    # --- requests

    def _register(self, now: float) -> None:
        self._send(self._expires, State.REGISTERING, now)

    def _send(self, expires: int, state: State, now: float) -> None:
        self._state = state
        self._timers.clear()
        request = self._request(self._contact())
        request.headers.add("Expires", expires)
        request.headers.add("Allow", ALLOW)
        # A registrar with a path to us keeps it to itself (RFC 3327 §5.1).
        offered = "path, outbound" if self._offers_outbound else "path"
        request.headers.add("Supported", offered)
        submission = Submission(
            self._core,
            request,
            lambda outcome, at: self._receive(submission, outcome, at),
            next_seq=self._next_seq,
            renew=self._renew,
        )
        self._submission = submission
        submission.start(now, flow=self._flow)

    def _remove(self, contact: NameAddr, now: float) -> None:
        """Take a contact of an earlier flow off the list; if that fails it runs out by itself."""
        parameters = contact.parameters.with_("expires", "0")
        request = self._request(NameAddr(contact.uri, parameters=parameters))
        self._core.submit(
            request, lambda outcome, at: None, now, next_seq=self._next_seq, flow=self._flow
        )

    def _request(self, contact: NameAddr) -> Request:
        us = NameAddr(self._core.address)
        request = self._core.request(
            "REGISTER",
            Uri("sip", host=self._core.trunk.domain),
            sender=us.with_tag(self._tag),
            to=us,
            call_id=self._call_id,
            seq=self._next_seq(),
        )
        request.headers.add("Contact", contact)
        return request

    def _renew(self, response: Response, headers: Headers) -> None:
        """Before the answer to a challenge goes out: it may name us as the registrar sees us."""
        self._note_address(response)
        headers.set("Contact", self._contact())

    def _next_seq(self) -> int:
        self._seq += 1
        return self._seq

    @property
    def _offers_outbound(self) -> bool:
        # Datagrams would need STUN for their keep-alives (RFC 5626 §3.5.2), which we do not speak.
        return self._instance is not None and self._flow is not None and self._flow.reliable

    def _contact(self) -> NameAddr:
        contact = self._core.contact
        if self._instance is None or not self._offers_outbound:
            return contact
        return outbound.with_instance(contact, self._instance)

    # --- answers

    def _receive(self, submission: Submission, outcome: Outcome, now: float) -> None:
        if submission is not self._submission or outcome.status < 200:
            return  # what an older REGISTER brought is no longer true
        if self._state is State.REMOVING:
            self._state = State.IDLE
            if outcome.status < 300:
                self._core.emit(Unregistered())
            else:
                self._core.emit(RegistrationFailed(outcome.status, outcome.reason, None))
        elif isinstance(outcome, Failure):
            self._unanswered(outcome, now)
        elif outcome.status < 300:
            self._accepted(submission.request, outcome, now)
        elif outcome.status == 423 and self._lengthen(outcome):
            self._register(now)
        elif outcome.status == 439 and self._offers_outbound:
            self._instance = None  # the first hop knows no outbound (RFC 5626 §11.6)
            self._register(now)
        else:
            self._refused(outcome, outcome.reason, now, objection=submission.objection)

    def _accepted(self, request: Request, response: Response, now: float) -> None:
        assert self._flow is not None, "answers come over a flow"
        sent = request.headers.contact
        assert sent is not None, "we wrote it"
        seconds = outbound.granted(self._expires, sent, response)
        if seconds == 0:
            self._refused(response, "the registrar grants no time", now)
            return
        self._note_address(response)
        self._core.service_route = outbound.service_route(response.headers)
        answers_pings, interval = outbound.ping_interval(response)
        if answers_pings and self._flow.reliable:
            self._keepalives.agree(self._flow.id, interval)
        self._bind(sent, response, now)
        if self._contact().uri != sent.uri:
            self._register(now)  # the registrar knows us by an address that is not ours
            return
        self._state = State.REGISTERED
        self._delay = FIRST_DELAY
        share = REFRESH_FROM + (REFRESH_TO - REFRESH_FROM) * self._core.chance()
        self._timers.arm("refresh", now + max(seconds * share, SHORTEST_REFRESH))
        self._core.emit(Registered(seconds, outbound.associated(response.headers)))

    def _bind(self, contact: NameAddr, response: Response, now: float) -> None:
        """Remember what is bound now, and remove what was bound before and is listed still."""
        if self._bound is not None and self._bound.uri != contact.uri:
            self._former = [*self._former, self._bound][-MAX_FORMER:]
        self._bound = contact
        gone = [old for old in self._former if outbound.lists(response, old)]
        self._former = []
        for old in gone:
            if old.uri != contact.uri:
                self._remove(old, now)

    def _note_address(self, response: Response) -> None:
        if self._flow is not None:
            self._core.note_address(self._flow.id, outbound.seen_address(response.headers.via))

    def _lengthen(self, response: Response) -> bool:
        """Take the Min-Expires of a 423 (§10.2.8)."""
        try:
            minimum = response.headers.integer("Min-Expires", limit=outbound.MAX_EXPIRES)
        except RemoteError:
            return False
        if minimum is None or minimum <= self._expires:
            return False
        self._expires = minimum
        return True

    # --- failures

    def _unanswered(self, failure: Failure, now: float) -> None:
        flow = self._flow
        if failure.status == 503:
            self._lose_flow()
            self._core.emit(RegistrationFailed(503, failure.reason, None))
        elif flow is not None and flow.reliable:
            # Half a minute of silence on a connection: it is dead, whatever TCP believes.
            self._lose_flow()
            self._core.emit(RegistrationFailed(408, "the registrar does not answer", None))
            self._core.emit(FlowFailed(flow.id, "REGISTER was not answered"))
        else:
            delay = self._next_delay()
            self._wait(RegistrationFailed(failure.status, failure.reason, delay), delay, now)

    def _refused(self, response: Response, reason: str, now: float, *, objection: str = "") -> None:
        delay = self._next_delay()
        if response.status in _REFUSED:
            delay = REFUSED_DELAY * (0.9 + 0.2 * self._core.chance())
        delay = max(delay, min(response.headers.retry_after or 0, LONGEST_RETRY_AFTER))
        self._wait(RegistrationFailed(response.status, reason, delay, objection), delay, now)

    def _wait(self, event: RegistrationFailed, delay: float, now: float) -> None:
        self._state = State.WAITING
        self._timers.arm("retry", now + delay)
        self._core.emit(event)

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
