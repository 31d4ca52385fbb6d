"""A user agent on a line of bytes, and actions upon it that are read from bytes.

The line does what a driver does: it frames, answers nothing itself, closes a flow whose end of a
message is lost or does not come, opens another, and calls when a deadline has come.
"""

from collections.abc import Callable
from contextlib import suppress

from sip.agent import Flow, UserAgent
from sip.errors import LocalError
from sip.events import Body, IncomingSession, MessageReceived, Send
from sip.framing import Broken, Framer, Malformed, Ping
from sip.headers import Headers
from sip.message import Message, Request, Response, response_to
from sip.session import Session
from sip.trunk import Trunk
from sip.uri import Uri
from tests.corpus import messages
from tests.sip.world import ANSWER, EARLY, OFFER, CountingIds

SEEDS = [*messages("rfc4475").values(), *messages("rfc5118").values()]

# Longer than any timer of a call without a session timer: 64*T1 twice, and the expiry of a refusal.
LONG = 400.0


class Line:
    """One agent, its flow and its clock.

    Attributes:
        said: messages that the agent sent since they were taken.
        texts: ids of texts that wait for their answer.
    """

    def __init__(self) -> None:
        trunk = Trunk(
            name="fuzz", domain="example.net", username="alice", password="secret", register=False
        )
        self.agent = UserAgent(trunk, ids=CountingIds("alice"))
        self.now = 1000.0
        self.said: list[Message] = []
        self.texts: list[str] = []
        self.sessions: list[Session] = []
        self._flow = 0
        self._framer = Framer()
        self.reopen()

    def reopen(self) -> None:
        """Lose the flow and have another."""
        if self._flow:
            self.agent.flow_closed(self._flow, self.now)
        self._flow += 1
        self._framer = Framer()
        flow = Flow(self._flow, "TLS", "198.51.100.1", 40001, "192.0.2.9", 5061)
        self.agent.flow_opened(flow, self.now)
        self._pump()

    def deliver(self, data: bytes) -> None:
        """Bring bytes as one piece; what remains incomplete costs the flow."""
        for frame in self._framer.feed(data):
            match frame:
                case Broken(error, request):
                    self.agent.receive(Malformed(error, request), self._flow, self.now)
                case Ping():
                    continue
                case message:
                    self.agent.receive(message, self._flow, self.now)
            self._pump()
        if self._framer.waiting or self._framer.broken:
            self.reopen()

    def wait(self, seconds: float) -> None:
        """Let time pass, and everything happen that becomes due."""
        until = self.now + seconds
        while (at := self.agent.deadline()) is not None and at <= until:
            self.now = max(self.now, at)
            self.agent.handle_timer(self.now)
            self._pump()
        self.now = until

    def is_alive(self) -> bool:
        """Whether an OPTIONS is answered with 200, as in PROTOS."""
        self.said.clear()
        self.deliver(bytes(a_request("OPTIONS", call_id=f"alive-{self.now}")))
        return [m.status for m in self.said if isinstance(m, Response)] == [200]

    def finish(self) -> None:
        """End what is alive and let every timer run out; nothing may be left."""
        for session in self.agent.sessions:
            session.hang_up(now=self.now)
            self._pump()
        for id in self.texts:
            self.agent.answer_message(id, 200, now=self.now)
        self._pump()
        self.wait(LONG)
        assert self.agent.sessions == []
        assert not self.agent.busy
        assert self.agent.deadline() is None

    def pump(self) -> None:
        self._pump()

    def _pump(self) -> None:
        while outputs := self.agent.poll():
            for output in outputs:
                match output:
                    case Send(_, message):
                        bytes(message)
                        self.said.append(message)
                    case IncomingSession(session):
                        self.sessions.append(session)
                    case MessageReceived():
                        self.texts.append(output.id)


def a_request(
    method: str,
    *,
    seq: int = 1,
    call_id: str = "c",
    branch: str = "",
    from_tag: str = "f",
    to_tag: str = "",
    more: tuple[tuple[str, str], ...] = (),
    body: Body | None = None,
) -> Request:
    fields = [
        ("Via", f"SIP/2.0/TLS 192.0.2.9:5061;branch=z9hG4bK{branch or f'{call_id}-{seq}'}"),
        ("Max-Forwards", "70"),
        ("From", f"<sip:pbx@example.net>;tag={from_tag}"),
        ("To", "<sip:alice@example.net>" + (f";tag={to_tag}" if to_tag else "")),
        ("Call-ID", call_id),
        ("CSeq", f"{seq} {method}"),
        ("Contact", "<sip:pbx@192.0.2.9:5061>"),
        *more,
    ]
    if body is not None:
        fields.append(("Content-Type", body.content_type))
    uri = Uri("sip", "alice", "198.51.100.1")
    return Request(method, uri, Headers(fields), b"" if body is None else body.data)


# --- bytes as actions

_METHODS = (
    "INVITE", "ACK", "BYE", "CANCEL", "PRACK", "UPDATE", "INFO", "OPTIONS", "MESSAGE", "REFER",
    "NOTIFY", "SUBSCRIBE",
)  # fmt: skip
_STATUSES = (
    100, 180, 183, 200, 202, 302, 401, 407, 408, 422, 423, 481, 486, 487, 491, 500, 503, 603,
)  # fmt: skip
_MORE: tuple[tuple[tuple[str, str], ...], ...] = (
    (), (), (),
    (("Require", "100rel"),),
    (("Supported", "100rel, timer, replaces"),),
    (("Session-Expires", "90;refresher=uac"), ("Supported", "timer"), ("Min-SE", "90")),
    (("RAck", "1 1 INVITE"),),
    (("Replaces", "c0;to-tag=alice-tag-1;from-tag=f"),),
    (("Refer-To", "<sip:bob@example.net>"),),
    (("Event", "refer"), ("Subscription-State", "terminated")),
    (("RSeq", "1"), ("Require", "100rel")),
    (("WWW-Authenticate", 'Digest realm="example.net",nonce="n",algorithm=SHA-256,qop="auth"'),),
    (("Record-Route", "<sip:proxy.example.net;lr>"),),
    (("Retry-After", "3"),),
)  # fmt: skip
_BODIES = (None, OFFER, ANSWER, EARLY, Body("application/dtmf-relay", b"Signal=1\r\n"))


class _Actions:
    """Reads actions from bytes; every byte sequence is one."""

    def __init__(self, data: bytes) -> None:
        self._data = iter(data)
        self.line = Line()
        self.last_request: Request | None = None

    def byte(self) -> int:
        return next(self._data)

    def choice(self, options: tuple[object, ...]) -> object:
        return options[self.byte() % len(options)]

    def run(self) -> None:
        with suppress(StopIteration):
            while True:
                self.act()
        self.line.finish()

    def act(self) -> None:
        match self.byte() % 8:
            case 0 | 1:
                self.request()
            case 2 | 3:
                self.respond()
            case 4:
                self.verb()
            case 5:
                self.line.wait((0.1, 0.6, 5.0, 33.0, 120.0)[self.byte() % 5])
            case 6:
                self.line.reopen()
            case _:
                self.line.deliver(SEEDS[self.byte() % len(SEEDS)])

    def request(self) -> None:
        """A request of the peer, about a call that there is, or one that there is not."""
        method = _METHODS[self.byte() % len(_METHODS)]
        call, dice = self.byte(), self.byte()
        live = self.line.agent.sessions
        call_id, from_tag, to_tag = f"c{call % 3}", "f", ""
        if live and call & 4:
            session = live[call % len(live)]
            call_id, to_tag = session.call_id, session.local_tag
            from_tag = session.remote_tag or "f"
        self.line.deliver(
            bytes(
                a_request(
                    method,
                    seq=dice & 3,
                    call_id=call_id,
                    branch=f"b{call_id}{dice & 3}" if dice & 4 else f"{method}{dice}{call}",
                    from_tag=from_tag,
                    to_tag=to_tag,
                    more=_MORE[self.byte() % len(_MORE)],
                    body=_BODIES[(dice >> 3) % len(_BODIES)],
                )
            )
        )

    def respond(self) -> None:
        """A response to one of the agent's latest requests."""
        requests = [m for m in self.line.said if isinstance(m, Request)][-4:]
        status, which, dice = self.byte(), self.byte(), self.byte()
        if not requests:
            return
        status = _STATUSES[status % len(_STATUSES)]
        request = requests[which % len(requests)]
        response = response_to(request, status, to_tag=f"t{dice & 1}")
        response.headers.add("Contact", "<sip:pbx@192.0.2.9:5061>")
        for name, value in _MORE[(dice >> 1) % len(_MORE)]:
            response.headers.add(name, value)
        body = _BODIES[(dice >> 5) % len(_BODIES)]
        if body is not None:
            response.headers.add("Content-Type", body.content_type)
            response = Response(response.status, response.reason, response.headers, body.data)
        self.line.deliver(bytes(response))

    def verb(self) -> None:
        """Something that the user wants; he may ask for what is not possible."""
        what, which = self.byte(), self.byte()
        agent, now = self.line.agent, self.line.now
        live = agent.sessions
        bob = Uri("sip", "bob", "example.net")
        with suppress(LocalError):
            if what % 12 == 0 and len(live) < 8:
                agent.invite(bob, OFFER, now=now)
            elif what % 12 == 1:
                agent.send_message(bob, Body("text/plain", b"hello"), now=now)
            elif what % 12 == 2:
                agent.ping(now=now)
            elif what % 12 == 3 and self.line.texts:
                agent.answer_message(self.line.texts.pop(), 200, now=now)
            elif live:
                session = live[which % len(live)]
                self._session_verbs(session, now)[what % 12 - 4]()
        self.line.pump()

    def _session_verbs(self, session: Session, now: float) -> list[Callable[[], None]]:
        bob = Uri("sip", "bob", "example.net")
        return [
            lambda: session.ring(now=now),
            lambda: session.progress(EARLY, now=now),
            lambda: session.answer(ANSWER, now=now),
            lambda: session.reject(486, now=now),
            lambda: session.hang_up(now=now),
            lambda: session.reoffer(OFFER, now=now),
            lambda: session.accept_offer(ANSWER, now=now),
            lambda: session.transfers.ask(bob, now=now),
            lambda: session.transfers.accept(now=now),
        ]


def sequence(data: bytes) -> None:
    """A target: any order of messages, timers, lost flows and wishes ends with nothing left."""
    _Actions(data).run()
