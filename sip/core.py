"""What sessions, registration and pager share: flows, credentials, transactions, the output queue.

A usage builds a request and submits it; `Submission` takes it through challenges (RFC 3261 §22) to
its final outcome, each attempt in a transaction of its own. Nothing here knows what the requests
are about.
"""

import hashlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from sip import grammar
from sip.authenticator import Authenticator, Lesson, Realm
from sip.digest import Account
from sip.events import Body, Event, KeepAlive, Output, Send
from sip.headers import Headers, Via
from sip.matching import Transactions
from sip.message import MAX_FORWARDS, Message, Request, Response, has_to_tag, response_to
from sip.transaction import (
    AnyClient,
    AnyServer,
    Failure,
    Listener,
    Outcome,
    derived_request,
)
from sip.trunk import Trunk
from sip.uri import NameAddr, Parameters, Uri

logger = logging.getLogger(__name__)

# Methods that we serve (§20.5). SUBSCRIBE is answered, but invites nobody: there is nothing to see.
ALLOW = "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, PRACK, INFO, REFER, NOTIFY, MESSAGE"

# Extensions that we speak (§20.37): RFC 3262, RFC 4028, RFC 3891 and RFC 4488.
SUPPORTED = ("100rel", "timer", "replaces", "norefersub")

# 401, 407, each once stale, and one more; a server that wants more goes in circles.
MAX_ATTEMPTS = 5


_Message = TypeVar("_Message", Request, Response)


@dataclass(frozen=True, slots=True)
class Flow:
    """One connection to the trunk as the agent sees it (compare RFC 5626 §3.1).

    Attributes:
        id: chosen by the driver, never used twice.
        transport: "TLS", "TCP" or "UDP".
        local_host: our end, as it goes into Via and Contact: of the connection, or where we listen.
        local_port: our end.
        remote_host: the peer's address, for `received` and `rport` (RFC 3581); "" if unknown.
        remote_port: the peer's port.
        inbound: whether the peer opened it.
    """

    id: int
    transport: str
    local_host: str
    local_port: int
    remote_host: str = ""
    remote_port: int = 0
    inbound: bool = False

    @property
    def reliable(self) -> bool:
        return self.transport != "UDP"


class Ids(Protocol):
    """Where identifiers come from: unguessable in a driver, countable in a test."""

    def branch(self) -> str:
        """A transaction identifier that begins with z9hG4bK (RFC 3261 §8.1.1.7)."""

    def tag(self) -> str:
        """A tag (§19.3)."""

    def call_id(self) -> str:
        """A Call-ID (§8.1.1.4)."""

    def cnonce(self) -> str:
        """A client nonce (RFC 7616 §3.4)."""


class Submission:
    """One request on its way through challenges to its final outcome."""

    def __init__(
        self,
        core: "Core",
        request: Request,
        listener: Listener,
        *,
        next_seq: Callable[[], int],
        renew: Callable[[Response, Headers], None] = lambda challenge, headers: None,
    ) -> None:
        self.request = request  # the latest attempt, as it was sent
        self.objection = ""  # why a challenge was not answered, in words for a person
        self._core = core
        self._listener = listener
        self._next_seq = next_seq
        self._renew = renew  # what the challenge teaches may change the header of the next attempt
        self._attempts = 0
        self._answered: set[Realm] = set()  # realms whose challenge to this request was answered
        self._heard = False  # a provisional response to this attempt came
        # Header fields of a CANCEL that is wanted.
        self._cancel: list[tuple[str, str]] | None = None
        self._transaction: AnyClient | None = None

    def start(self, now: float, *, flow: Flow | None) -> None:
        """Send the first attempt; without a flow it fails at once."""
        if flow is None:
            self._core.touch(self.request.headers.call_id)
            self._listener(Failure(503, "no connection"), now)
            return
        self._send(flow, now)

    def stop(self, now: float) -> None:
        """Wait no longer (§9.1: a cancelled INVITE without a final response)."""
        if self._transaction is not None:
            self._transaction.fail(Failure(408, "no final response"), now)

    def cancel(self, now: float, *, headers: Iterable[tuple[str, str]] = ()) -> None:
        """Send a CANCEL beside the INVITE (§9.1), and answer no challenge any more.

        It waits for the first provisional response: before that it could overtake the INVITE.
        """
        self._cancel = list(headers)
        if self._heard:
            self._send_cancel(now)

    def _send_cancel(self, now: float) -> None:
        assert self._transaction is not None, "a provisional response came for it"
        cancel = derived_request(self.request, "CANCEL")
        for name, value in self._cancel or ():
            cancel.headers.add(name, value)
        self._core.start(cancel, self._transaction.flow, ignore, now)

    def _send(self, flow: Flow, now: float) -> None:
        self._attempts += 1
        self._heard = False
        if self._core.is_home(self.request, flow):
            self._core.authenticator.authorize(self.request, self._answered)
        else:
            self._core.authenticator.forget(self.request)
        self.request.headers.remove("Via")
        keep = self.request.method == "REGISTER"
        self.request.headers.put_first("Via", self._core.via(flow, keep=keep))
        self._transaction = self._core.start(self.request, flow.id, self._receive, now)

    def _receive(self, outcome: Outcome, now: float) -> None:
        if isinstance(outcome, Response) and outcome.status in (401, 407):
            assert self._transaction is not None, "responses come from a transaction"
            flow = self._core.flow(self._transaction.flow)
            if flow is not None and self._accept(outcome, flow):
                headers = self.request.headers.copy()
                headers.set("CSeq", f"{self._next_seq()} {self.request.method}")
                self._renew(outcome, headers)
                self.request = replace(self.request, headers=headers)
                self._send(flow, now)
                return
        if isinstance(outcome, Response) and 200 <= outcome.status < 300:
            self._core.authenticator.confirm(self.request, outcome)
        if isinstance(outcome, Response) and outcome.status < 200 and not self._heard:
            self._heard = True
            if self._cancel is not None:
                self._send_cancel(now)
        self._listener(outcome, now)

    def _accept(self, response: Response, flow: Flow) -> bool:
        """Whether a challenge will be answered; `sip.authenticator` has the rules.

        Credentials that we sent on our own account may simply have been too old; those computed for
        this very challenge are wrong unless the server calls its nonce stale.
        """
        if self._cancel is not None or self._attempts >= MAX_ATTEMPTS:
            return False
        if self._core.is_home(self.request, flow):
            within_dialog = self.request.headers.to.tag is not None
            lesson = self._core.authenticator.learn(response, within_dialog=within_dialog)
        else:
            lesson = Lesson(objection=f"this request goes to another host, {self.request.uri.host}")
        self.objection = lesson.objection
        if self.objection:
            logger.warning(
                "%s: the challenge to our %s is not answered: %s",
                self._core.trunk.name,
                self.request.method,
                self.objection,
            )
        if not lesson.answers:
            return False
        again = any(
            realm in self._answered and not challenge.stale
            for realm, challenge in lesson.answers.items()
        )
        self._answered |= lesson.answers.keys()
        return not again


class Core:
    """The ground that the usages stand on."""

    def __init__(self, trunk: Trunk, *, ids: Ids, product: str) -> None:
        self.trunk = trunk
        self.ids = ids
        self.product = product
        self.transactions = Transactions()
        self.authenticator = Authenticator(
            Account(trunk.auth_username or trunk.username, trunk.password),
            allow_md5=trunk.allow_md5,
            realms=trunk.realms,
            cnonce=ids.cnonce,
        )
        # RFC 3608: before requests outside of dialogs.
        self.service_route: tuple[NameAddr, ...] = ()
        self._flows: dict[int, Flow] = {}
        self._seen: dict[int, tuple[str, int]] = {}  # our end of a flow as the peer sees it
        self._outputs: list[Output] = []
        self._touched: set[str] = set()

    # --- output

    def emit(self, event: Event | KeepAlive) -> None:
        self._outputs.append(event)

    @property
    def pending(self) -> int:
        """How many outputs were not taken yet."""
        return len(self._outputs)

    def take_outputs(self) -> list[Output]:
        outputs, self._outputs = self._outputs, []
        return outputs

    def touch(self, call_id: str) -> None:
        """Note that something happened under this Call-ID: only then a session can have changed."""
        self._touched.add(call_id)

    def take_touched(self) -> set[str]:
        touched, self._touched = self._touched, set()
        return touched

    # --- flows

    def open_flow(self, flow: Flow) -> None:
        self._flows[flow.id] = flow

    def close_flow(self, flow_id: int) -> bool:
        """Forget a flow; False if it was not open."""
        self._seen.pop(flow_id, None)
        return self._flows.pop(flow_id, None) is not None

    def flow(self, flow_id: int) -> Flow | None:
        return self._flows.get(flow_id)

    @property
    def current(self) -> Flow | None:
        """The flow for new requests: the latest of our own, or the latest of the peer's where we
        have none (RFC 5923)."""
        if len(self._flows) == 1:
            return next(iter(self._flows.values()))
        return max(self._flows.values(), key=lambda flow: (not flow.inbound, flow.id), default=None)

    def send(self, flow_id: int, message: Message) -> None:
        """Put a message on a flow; on one that is closed it is lost, as on the wire."""
        self.touch(message.headers.get("Call-ID") or "")
        if flow_id in self._flows:
            self._outputs.append(Send(flow_id, message))

    # --- addresses

    def is_home(self, request: Request, flow: Flow) -> bool:
        """Whether a request goes to the trunk itself, and so may carry a proof of our password.

        Outside of a dialog the Request-URI says so: a Route there is the registrar's. Within one,
        every stop on the way must be the trunk's.
        """
        stops = [request.uri]
        if request.headers.to.tag is not None:
            stops += [route.uri for route in request.headers.route]
        return all(self.is_own_host(stop.host.lower(), flow) for stop in stops)

    def is_own_host(self, host: str, flow: Flow) -> bool:
        domain = self.trunk.domain.lower()
        if host in ("", domain, (self.trunk.host or domain).lower(), flow.remote_host):
            return True  # "" is a telephone number's: it goes where the trunk is
        return host.endswith(f".{domain}") and not grammar.is_address(domain)

    @property
    def address(self) -> Uri:
        """Our address of record."""
        return Uri("sip", self.trunk.username, self.trunk.domain)

    @property
    def contact(self) -> NameAddr:
        """Where the peer reaches us: our end of the current flow (§8.1.1.8), as it sees it."""
        flow = self.current
        if flow is None:
            return NameAddr(self.address)  # of a request that goes nowhere
        parameters = Parameters((("transport", flow.transport.lower()),))
        host, port = self._seen.get(flow.id, (flow.local_host, flow.local_port))
        return NameAddr(Uri("sip", self.trunk.username, host, port, parameters))

    def note_address(self, flow_id: int, seen: tuple[str, int] | None) -> None:
        """Name ourselves in Contact by the host and port that the peer sees; None to name our own
        end."""
        if seen is None:
            self._seen.pop(flow_id, None)
        elif flow_id in self._flows:
            self._seen[flow_id] = seen

    def via(self, flow: Flow, *, keep: bool = False) -> Via:
        """Our hop, in a transaction of its own (§8.1.1.7).

        `rport` asks for our address as the peer sees it (RFC 3581); `alias` lets it send its
        requests back over this connection (RFC 5923).

        Args:
            keep: whether to ask for an answer to pings (RFC 6223).
        """
        pairs: tuple[tuple[str, str | None], ...] = (("rport", None), ("branch", self.ids.branch()))
        if flow.reliable:
            pairs += (("alias", None),)
            if keep:
                pairs += (("keep", None),)
        return Via(flow.transport, flow.local_host, flow.local_port, Parameters(pairs))

    # --- requests of ours

    def request(
        self, method: str, uri: Uri, *, sender: NameAddr, to: NameAddr, call_id: str, seq: int
    ) -> Request:
        """Build a request outside of a dialog (§8.1.1)."""
        headers = Headers(
            [
                ("Max-Forwards", str(MAX_FORWARDS)),
                ("From", str(sender)),
                ("To", str(to)),
                ("Call-ID", call_id),
                ("CSeq", f"{seq} {method}"),
                ("User-Agent", self.product),
            ]
        )
        if method != "REGISTER":
            for route in self.service_route:
                headers.add("Route", route)
        return Request(method, uri, headers)

    def submit(
        self,
        request: Request,
        listener: Listener,
        now: float,
        *,
        next_seq: Callable[[], int],
        flow: Flow | None = None,
    ) -> Submission:
        """Send a request over a flow (the current one if none is named)."""
        submission = Submission(self, request, listener, next_seq=next_seq)
        submission.start(now, flow=flow or self.current)
        return submission

    def start(self, request: Request, flow_id: int, listener: Listener, now: float) -> AnyClient:
        """Open a client transaction; its request has its Via already."""
        flow = self._flows.get(flow_id)
        call_id = request.headers.call_id

        def tell(outcome: Outcome, now: float) -> None:
            self.touch(call_id)
            listener(outcome, now)

        return self.transactions.start(
            request,
            flow=flow_id,
            reliable=flow is None or flow.reliable,
            send=lambda message: self.send(flow_id, message),
            listener=tell,
            now=now,
        )

    def dress(self, request: Request, headers: Iterable[tuple[str, str]] = ()) -> Request:
        """Add what a request within a dialog carries besides the dialog's own fields."""
        request.headers.add("User-Agent", self.product)
        for name, value in headers:
            request.headers.add(name, value)
        return request

    @property
    def target_headers(self) -> list[tuple[str, str]]:
        """Header fields of whatever opens or changes a session (§8.1.1.8, §12.1.1, §20.5)."""
        return [
            ("Contact", str(self.contact)),
            ("Allow", ALLOW),
            ("Supported", ", ".join(SUPPORTED)),
        ]

    # --- requests of the peer

    def serve(self, request: Request, flow: Flow, now: float) -> AnyServer:
        """Open a server transaction."""
        return self.transactions.serve(
            request,
            flow=flow.id,
            reliable=flow.reliable,
            send=lambda message: self.send(flow.id, message),
            now=now,
        )

    def respond(
        self,
        transaction: AnyServer,
        status: int,
        now: float,
        *,
        to_tag: str | None = None,
        headers: Iterable[tuple[str, str]] = (),
        body: Body | None = None,
    ) -> Response:
        """Answer a request; a To tag is made up where none is given and one is needed."""
        response = self.response(
            transaction.request, status, to_tag=to_tag, headers=headers, body=body
        )
        transaction.respond(response, now)
        return response

    def response(
        self,
        request: Request,
        status: int,
        *,
        to_tag: str | None = None,
        headers: Iterable[tuple[str, str]] = (),
        body: Body | None = None,
    ) -> Response:
        """Build a response without sending it."""
        if to_tag is None and status > 100 and not has_to_tag(request.headers):
            to_tag = self.ids.tag()
        response = response_to(request, status, to_tag=to_tag)
        response.headers.add("Server", self.product)
        for name, value in headers:
            response.headers.add(name, value)
        return with_body(response, body)

    def note_source(self, request: Request, flow: Flow) -> None:
        """Write into the top Via where the request really came from (§18.2.1, RFC 3581 §4)."""
        if not flow.remote_host:
            return
        headers = request.headers
        via = headers.via
        parameters = via.parameters
        if "rport" in parameters:
            parameters = parameters.with_("rport", str(flow.remote_port))
        if "rport" in parameters or via.host != flow.remote_host:
            parameters = parameters.with_("received", flow.remote_host)
        if parameters == via.parameters:
            return
        _, *others = headers.elements("Via")
        headers.remove("Via")
        for value in reversed(others):
            headers.put_first("Via", value)
        headers.put_first("Via", replace(via, parameters=parameters))

    # --- chance

    def chance(self) -> float:
        """A number from 0 up to 1, drawn from the injected identifiers: the core has no dice."""
        digest = hashlib.sha256(self.ids.cnonce().encode()).digest()
        return int.from_bytes(digest[:4]) / 2**32


def with_body(message: _Message, body: Body | None) -> _Message:
    """Return the message with a body and its type (§7.4.1)."""
    if body is None:
        return message
    message.headers.set("Content-Type", body.content_type)
    return replace(message, body=body.data)


def ignore(outcome: Outcome, now: float) -> None:
    """Nobody waits for this outcome."""
