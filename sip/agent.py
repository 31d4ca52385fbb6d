"""The user agent of one trunk: messages and `now` in, messages and events out (RFC 3261 §8).

How to drive it: after any input (`flow_opened`, `flow_closed`, `receive`, `handle_timer`) and after
any verb, take `poll()`, write each `Send` to its flow, hand the events on, and call `handle_timer`
when `deadline()` is reached. Nothing in here reads a clock, opens a socket or throws dice.

What the agent decides itself is what the standard decides: retransmissions, CANCEL against BYE,
challenges, refreshes, refusals of what we do not speak. All else is an event.
"""

import logging
from collections.abc import Iterable

from sip import timer
from sip.agenda import soonest
from sip.core import ALLOW, SUPPORTED, Core, Flow, Ids
from sip.errors import LocalError, RemoteError
from sip.events import Body, Output
from sip.framing import NO_METHOD, Malformed
from sip.imdn import Kind, NotificationsWanted, Status, Wish
from sip.keepalive import KeepAlives
from sip.mailbox import MESSAGE_SUMMARY, Mailbox
from sip.message import Message, Request, Response
from sip.pager import TEXT_TYPES, Pager
from sip.presentation import ACCOUNT, Presentation, present
from sip.refer import Replaces, replaces_of
from sip.registration import Registration
from sip.session import Session
from sip.sessions import Sessions
from sip.subscription import EventName
from sip.transaction import AnyServer, InviteServerTransaction
from sip.transfer import REFER_EVENT
from sip.trunk import Trunk
from sip.uri import NameAddr, Uri
from sip.verifier import Verifier

__all__ = ["Flow", "Ids", "UserAgent"]

logger = logging.getLogger(__name__)

# One trunk carries no more calls at once than its media could; an INVITE beyond is refused.
MAX_SESSIONS = 1000

# What one input brings forth is taken at once; so much can only pile up with a driver that sleeps.
MAX_OUTPUTS = 10_000

# What a body of a peer may be (§20.1).
ACCEPT = f"application/sdp, {TEXT_TYPES}"

# Methods that exist elsewhere in SIP but are not for a user agent like ours: 405, not 501 (§8.2.1).
_KNOWN_ELSEWHERE = ("REGISTER", "PUBLISH")

_METHODS = (*ALLOW.split(", "), *_KNOWN_ELSEWHERE, "SUBSCRIBE")

# Header fields that the agent writes itself.
_RESERVED = (
    "allow", "authorization", "call-id", "contact", "content-length", "content-type", "cseq",
    "from", "max-forwards", "min-se", "proxy-authorization", "record-route", "referred-by",
    "replaces", "require", "route", "session-expires", "supported", "to", "user-agent", "via",
)  # fmt: skip


class UserAgent:
    """One account's user agent.

    Args:
        trunk: whom we talk to, and as whom.
        ids: where identifiers come from.
        product: our name in User-Agent and Server.
        instance: a URN of ours that outlives restarts, such as "urn:uuid:…", for registrars that
            tell our flows apart (RFC 5626); None for none.
    """

    def __init__(
        self, trunk: Trunk, *, ids: Ids, product: str = "Ringback", instance: str | None = None
    ) -> None:
        self._core = Core(trunk, ids=ids, product=product)
        self._keepalives = KeepAlives(self._core)
        self._registration = Registration(
            self._core, keepalives=self._keepalives, instance=instance
        )
        self._pager = Pager(self._core)
        self._mailbox = Mailbox(self._core)
        self._sessions = Sessions(self._core)
        self._verifier = None
        if trunk.authenticate_peer is not None:
            self._verifier = Verifier(
                trunk.domain,
                trunk.authenticate_peer,
                secret=(ids.cnonce() + ids.cnonce()).encode(),
                allow_md5=trunk.allow_md5,
            )

    # --- what the user sees

    @property
    def sessions(self) -> list[Session]:
        """The sessions that are not over."""
        return [session for session in self._sessions if not session.ended]

    @property
    def registered(self) -> bool:
        """Whether the registrar's last word was that our binding stands, and its flow is open."""
        return self._registration.registered

    @property
    def busy(self) -> bool:
        """Whether anything that we said still waits for its answer; a shutdown waits for it."""
        return self._core.transactions.waiting or self._sessions.closing

    @property
    def transactions(self) -> int:
        """How many transactions live, of ours and the peer's; a while after the last call, none."""
        return len(self._core.transactions)

    def poll(self) -> list[Output]:
        """Return what came about since the last call, in its order."""
        return self._core.take_outputs()

    def deadline(self) -> float | None:
        """Return when `handle_timer` is due, None if nothing waits."""
        deadlines = [
            self._core.transactions.deadline,
            self._registration.deadline,
            self._mailbox.deadline,
            self._keepalives.deadline,
            self._sessions.deadline,
        ]
        return soonest(*deadlines)

    # --- verbs

    def invite(
        self,
        target: Uri,
        offer: Body | None,
        *,
        now: float,
        caller: Presentation = ACCOUNT,
        headers: Iterable[tuple[str, str]] = (),
        replaces: Replaces | None = None,
        referred_by: NameAddr | None = None,
        transferor: Session | None = None,
    ) -> Session:
        """Call someone (§13.2).

        Args:
            offer: our description; None asks for the callee's, which `SessionOffered` will tell.
            caller: what the called party is to see of us.
            headers: more header fields, such as Subject.
            replaces: whose place the call takes at the callee (RFC 3891).
            referred_by: who asked us to call (RFC 3892).
            transferor: the session whose `TransferRequested` this call fulfils: its peer is told
                how it goes.

        Raises:
            LocalError: something cannot be written into a message, or is not the user's to write.
        """
        headers = list(headers)
        for name, _ in headers:
            if name.lower() in _RESERVED:
                raise LocalError(f"{name} is written by the agent")
        if replaces is not None:
            # Without the demand, a callee that knows no Replaces would ring a second phone (§4).
            headers += [("Replaces", str(replaces)), ("Require", "replaces")]
        if referred_by is not None:
            headers.append(("Referred-By", str(referred_by)))
        session = self._new_session(incoming=False, call_id=self._core.ids.call_id())
        if transferor is not None:
            session.watcher = transferor.transfers.report
        sender, told = present(self._core.trunk, caller)
        session.place(target, offer, sender=sender, headers=[*told, *headers], now=now)
        self._sessions.keep(session)
        return session

    def send_message(
        self,
        target: Uri,
        body: Body,
        *,
        now: float,
        sender: Presentation = ACCOUNT,
        key: str | None = None,
        wishes: frozenset[Wish] = frozenset(),
        sent_at: str = "",
    ) -> str:
        """Send a text (RFC 3428) and return the id that its `MessageSent` will carry.

        Args:
            sender: what the recipient is to see of us.
            key: names the text over repeats: the same key is the same text to the peer.
            wishes: what we want to be told of its fate, by `MessageNotified`; the text then goes as
                message/cpim, which not every peer can read.
            sent_at: date and time of RFC 3339, for a text with wishes.

        Raises:
            LocalError: something cannot be written into a message.
        """
        return self._pager.send(
            target, body, sender=sender, key=key, wishes=wishes, sent_at=sent_at, now=now
        )

    def answer_message(
        self, id: str, status: int, *, now: float, sender: Presentation = ACCOUNT
    ) -> None:
        """Answer a `MessageReceived`: 200 when the text is stored.

        Args:
            sender: what a sender that wants to know of the delivery is to see of us.
        """
        self._pager.answer(id, status, sender=sender, now=now)

    def notify_displayed(
        self, wanted: NotificationsWanted, *, now: float, sender: Presentation = ACCOUNT
    ) -> None:
        """Tell the sender of a text that it was read, if it asked (RFC 5438)."""
        if Wish.DISPLAY in wanted.wishes:
            self._pager.notify(wanted, Kind.DISPLAY, Status.DISPLAYED, sender=sender, now=now)

    def unregister(self, *, now: float) -> None:
        """Remove our binding for good; `Unregistered` or `RegistrationFailed` says the outcome."""
        self._mailbox.stop(now)
        self._registration.unregister(now)

    def ping(self, *, now: float) -> None:
        """Probe the current flow; any answer will do, none in time is `FlowFailed`."""
        self._keepalives.probe(now)

    @property
    def ping_interval(self) -> int | None:
        """Within how many seconds the peer wants to be pinged (RFC 5626 §4.4.1), even while it
        talks; None where silence alone is a reason."""
        return self._keepalives.interval

    def recognise(self, request: Request, *, now: float) -> Response | None:
        """Judge a stranger who is no flow of ours yet by what he asks: None if it proves that he is
        the peer (`Trunk.authenticate_peer`), else the answer to give him.

        Raises:
            LocalError: this trunk's peer has no password.
        """
        if self._verifier is None:
            raise LocalError("nobody is known by a password here")
        try:
            self._verifier.admit(request, now, spend=False)
        except RemoteError as error:
            return self._core.response(request, error.status, headers=_refusal_headers(error))
        return None

    # --- inputs

    def flow_opened(self, flow: Flow, now: float) -> None:
        """Have a connection to the trunk: register at once, and pick up calls that lost theirs.

        One that the peer opened beside another changes nothing: new requests go where they went.
        """
        spare = flow.inbound and self._core.current is not None
        self._core.open_flow(flow)
        if not flow.inbound:
            self._registration.flow_opened(flow, now)
        if spare:
            return
        for session in self._sessions:
            session.flow_opened(now)
            self._core.touch(session.call_id)
        self._visit_mailbox(now)

    def flow_closed(self, flow_id: int, now: float) -> None:
        """Lose a connection: what waits on it fails at once, answered calls go on without it."""
        if not self._core.close_flow(flow_id):
            return
        self._keepalives.flow_closed(flow_id)
        self._core.transactions.flow_closed(flow_id, now)
        self._registration.flow_closed(flow_id)
        if self._core.current is None:
            self._mailbox.line_lost()
        for session in self._sessions:
            session.flow_closed(flow_id, now)
            self._core.touch(session.call_id)

    def receive(self, message: Message | Malformed, flow_id: int, now: float) -> None:
        """Take what a framer made of the bytes of a flow; never raises for what a peer sent.

        Raises:
            LocalError: `poll` was not called for a long time.
        """
        if self._core.pending > MAX_OUTPUTS:
            raise LocalError("nobody takes the outputs")
        flow = self._core.flow(flow_id)
        if flow is None:
            return  # the driver's last bytes crossed its own close
        self._keepalives.heard(flow_id)
        match message:
            case Response():
                self._receive_response(message, flow, now)
            case Request():
                self._receive_request(message, flow, now)
            case Malformed(error, request):
                logger.warning("%s: malformed message: %s", self._core.trunk.name, error)
                if request is not None:
                    if error.status == 400 and request.method not in (*_METHODS, NO_METHOD):
                        error = RemoteError("method not known", status=501)
                    self._answer_statelessly(request, flow, error)
        self._visit_mailbox(now)

    def pong(self, flow_id: int) -> None:
        """Know that the peer answered a ping: line ends came, and no message."""
        self._keepalives.heard(flow_id)

    def handle_timer(self, now: float) -> None:
        """Do what has become due."""
        self._core.transactions.handle_timer(now)
        self._registration.handle_timer(now)
        self._mailbox.handle_timer(now)
        self._sessions.handle_timer(now)
        self._keepalives.handle_timer(now)

    # --- responses

    def _receive_response(self, response: Response, flow: Flow, now: float) -> None:
        try:
            if self._core.transactions.receive_response(response, now, flow=flow.id):
                return
            headers = response.headers
            session = self._sessions.find(headers.call_id, headers.from_.tag)
            if session is not None and headers.cseq.method == "INVITE" and response.status < 300:
                session.receive_stray(response)
        except RemoteError as error:
            logger.warning("%s: unusable response: %s", self._core.trunk.name, error)

    # --- requests (§8.2)

    def _receive_request(self, request: Request, flow: Flow, now: float) -> None:
        self._core.note_source(request, flow)
        self._core.touch(request.headers.call_id)
        transactions = self._core.transactions
        if transactions.receive_request(request, now):
            return
        if request.method == "ACK":
            session = self._session_of(request)
            if session is not None:
                session.receive_ack(request, now)
            return
        if transactions.is_full(flow.id):
            overload = RemoteError("too many requests at once", status=503)
            self._answer_statelessly(request, flow, overload)
            return
        merged = transactions.is_merged(request) and request.method != "CANCEL"
        transaction = self._core.serve(request, flow, now)
        try:
            if merged:
                raise RemoteError("the same request came by another way", status=482)
            self._dispatch(transaction, now)
        except RemoteError as error:
            logger.debug("%s refused: %s %s", request.method, error.status, error)
            self._core.respond(transaction, error.status, now, headers=_refusal_headers(error))

    def _dispatch(self, transaction: AnyServer, now: float) -> None:
        request = transaction.request
        if request.method == "CANCEL":
            self._receive_cancel(transaction, now)
            return
        # What belongs to a dialog knows its tags; an OPTIONS asks for what is no secret (§22).
        outside = request.headers.to.tag is None and request.method != "OPTIONS"
        if self._verifier is not None and outside:
            self._verifier.admit(request, now)
        self._check(request)
        if request.headers.to.tag is not None:
            self._dispatch_within(transaction, now)
            return
        match request.method:
            case "INVITE":
                self._receive_invite(transaction, now)
            case "MESSAGE":
                self._pager.receive(transaction, now)
            case "OPTIONS":
                self._core.respond(transaction, 200, now, headers=_CAPABILITIES)
            case "NOTIFY":
                self._receive_notify(transaction, now)
            case "SUBSCRIBE":
                raise RemoteError("nobody is notified of anything", status=489)
            case "REFER":
                # A stranger to our calls shall not make us dial (RFC 3515 §5.2).
                raise RemoteError("no session to be transferred", status=403)
            case _:
                raise RemoteError("no dialog", status=481)

    def _dispatch_within(self, transaction: AnyServer, now: float) -> None:
        """Take a request that names a dialog (§12.2.2)."""
        request = transaction.request
        if request.method == "NOTIFY" and self._mailbox.owns(request):
            self._mailbox.receive(transaction, now)
            return
        session = self._session_of(request)
        if session is None:
            raise RemoteError("no such dialog", status=481)
        session.admit(request)
        match request.method:
            case "MESSAGE":
                self._pager.receive(transaction, now)
            case "OPTIONS":
                self._core.respond(transaction, 200, now, headers=_CAPABILITIES)
            case _:
                session.receive(transaction, now)

    def _check(self, request: Request) -> None:
        """Refuse what no part of us can take (§8.2.1 to §8.2.3)."""
        if "Replaces" in request.headers and request.method != "INVITE":
            raise RemoteError("only an INVITE replaces", status=400)  # RFC 3891 §3
        if request.method in _KNOWN_ELSEWHERE:
            raise RemoteError("method not allowed", status=405)
        if request.method not in _METHODS:
            raise RemoteError("method not known", status=501)
        if request.uri.scheme not in ("sip", "sips", "tel"):
            raise RemoteError("URI scheme not supported", status=416)
        unknown = request.headers.tokens("Require") - set(SUPPORTED)
        if unknown:
            tags = [("Unsupported", ", ".join(sorted(unknown)))]
            raise RemoteError("extension not supported", status=420, headers=tags)
        encoding = request.headers.get("Content-Encoding")
        if encoding is not None and encoding.lower() != "identity":
            raise RemoteError("content encoding not supported", status=415)
        if request.method == "INVITE" and not _accepts_descriptions(request):
            raise RemoteError("our answer is a session description", status=406)

    def _receive_invite(self, transaction: AnyServer, now: float) -> None:
        assert isinstance(transaction, InviteServerTransaction), "INVITE has its own machine"
        if len(self._sessions) >= MAX_SESSIONS:
            raise RemoteError("too many calls", status=503)
        call_id = transaction.request.headers.call_id
        session = self._new_session(incoming=True, call_id=call_id)
        replaced = self._replaced_by(transaction.request)
        session.receive_invite(transaction, now, replaced=replaced)
        self._sessions.keep(session, transaction)

    def _receive_cancel(self, transaction: AnyServer, now: float) -> None:
        """§9.2: the CANCEL is answered for itself, the INVITE by its session."""
        cancelled = self._core.transactions.find_cancelled(transaction.request)
        if cancelled is None:
            raise RemoteError("nothing to cancel", status=481)
        session = self._sessions.opened_by(cancelled)
        to_tag = None if session is None else session.local_tag
        self._core.respond(transaction, 200, now, to_tag=to_tag)
        if session is not None:
            session.receive_cancel(transaction.request, now)

    def _replaced_by(self, invite: Request) -> Session | None:
        """Find the session whose place an INVITE shall take (RFC 3891 §3)."""
        replaces = replaces_of(invite.headers)
        if replaces is None:
            return None
        session = self._sessions.find(replaces.call_id, replaces.to_tag)
        if session is None or not session.knows(replaces.from_tag) or not session.replaceable:
            raise RemoteError("no such dialog to replace", status=481)
        if session.ended:
            raise RemoteError("the dialog to replace is over", status=603)
        if session.established and replaces.early_only:
            raise RemoteError("the call was answered already", status=486)
        return session

    def _receive_notify(self, transaction: AnyServer, now: float) -> None:
        """RFC 6665 §4.1.3; of what we did not subscribe to, waiting messages are taken."""
        event = EventName.of(transaction.request.headers)
        if event.package == REFER_EVENT:
            raise RemoteError("no such subscription", status=481)
        if event.package != MESSAGE_SUMMARY:
            raise RemoteError("event not known", status=489)
        self._mailbox.take(transaction, now)

    def _visit_mailbox(self, now: float) -> None:
        """Subscribe as soon as the line stands: registered, or connected where it does not."""
        if self._core.current is not None and (self.registered or not self._core.trunk.register):
            self._mailbox.line_stands(now)

    def _answer_statelessly(self, request: Request, flow: Flow, error: RemoteError) -> None:
        if request.method == "ACK":
            return
        response = self._core.response(request, error.status, headers=_refusal_headers(error))
        self._core.send(flow.id, response)

    # --- sessions

    def _new_session(self, *, incoming: bool, call_id: str) -> Session:
        tag = self._core.ids.tag()
        return Session(
            self._core, id=f"{call_id}/{tag}", incoming=incoming, call_id=call_id, local_tag=tag
        )

    def _session_of(self, request: Request) -> Session | None:
        """Find the session by the dialog's three identifiers (§12)."""
        headers = request.headers
        session = self._sessions.find(headers.call_id, headers.to.tag)
        if session is None or not session.knows(headers.from_.tag or ""):
            return None
        return session


_CAPABILITIES = [("Allow", ALLOW), ("Accept", ACCEPT), ("Supported", ", ".join(SUPPORTED))]


def _accepts_descriptions(request: Request) -> bool:
    """Whether a 2xx to it may carry SDP (§20.1; without Accept it may)."""
    if "Accept" not in request.headers:
        return True
    ranges = {value.partition(";")[0].rstrip() for value in request.headers.tokens("Accept")}
    return not ranges.isdisjoint(("application/sdp", "application/*", "*/*"))


def _refusal_headers(error: RemoteError) -> list[tuple[str, str]]:
    """Return what a refusal must say besides its status."""
    if error.headers:
        return list(error.headers)
    match error.status:
        case 405 | 501:
            return [("Allow", ALLOW)]
        case 415:
            return [("Accept", ACCEPT), ("Accept-Encoding", "identity")]
        case 422:
            return [("Min-SE", str(timer.MIN_INTERVAL))]
        case 489:
            return [("Allow-Events", REFER_EVENT)]  # what we notify of (RFC 6665 §8.3.2)
        case 503:
            return [("Retry-After", "5")]
        case _:
            return []
