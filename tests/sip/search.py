"""Exhaustive search of small state spaces: every order of inputs, up to a length.

The four transaction machines are played beside the standard's figures (`tables`). The session is
played by itself: every order of what its user does, what the peer sends and which timer runs out
must end in peace.

    python -m tests.sip.search [DEPTH OF MACHINES] [DEPTH OF SESSIONS]
"""

import itertools
import sys
from collections.abc import Callable, Iterable

from sip.agent import Flow, UserAgent
from sip.core import with_body
from sip.events import Body, IncomingSession, Send, SessionEnded
from sip.headers import Headers
from sip.message import Message, Request, Response, response_to
from sip.session import Session
from sip.transaction import (
    ClientTransaction,
    Failure,
    InviteClientTransaction,
    InviteServerTransaction,
    Outcome,
    ServerTransaction,
    derived_request,
)
from sip.trunk import Trunk
from sip.uri import Uri
from tests.sip.tables import FIGURES, Model
from tests.sip.world import ANSWER, EARLY, OFFER, CountingIds

LONG = 32.0  # 64*T1

# Steps after which a call that goes on has no end.
MANY = 200

TRUNK = Trunk(name="t", domain="example.net", username="us", password="x", register=False)

STATUS = {"1xx": 180, "2xx": 200, "3xx": 486}


def request(method: str) -> Request:
    return Request(
        method,
        Uri.parse("sip:b@h"),
        Headers(
            [
                ("Via", "SIP/2.0/UDP h;branch=z9hG4bK1"),
                ("From", "<sip:a@h>;tag=a"),
                ("To", "<sip:b@h>"),
                ("Call-ID", "c"),
                ("CSeq", f"1 {method}"),
            ]
        ),
    )


INVITE, OTHER, ACK = request("INVITE"), request("INFO"), request("ACK")
RESPONSES = {
    (method.method, name): response_to(method, status, to_tag="x")
    for method in (INVITE, OTHER)
    for name, status in STATUS.items()
}


class Client:
    """Our client machines, seen as a figure."""

    INPUTS = ("1xx", "2xx", "3xx", "lost", "wait", "long")

    def __init__(self, name: str, *, reliable: bool) -> None:
        self.done: list[str] = []
        kind = InviteClientTransaction if name == "INVITE_CLIENT" else ClientTransaction
        self.request = INVITE if name == "INVITE_CLIENT" else OTHER
        self.machine = kind(
            self.request, flow=1, reliable=reliable, send=self._send, listener=self._hear
        )
        self.machine.start(0.0)
        assert self.done == ["send"]
        self.done.clear()

    def hear(self, heard: str, now: float) -> None:
        if heard == "lost":
            self.machine.fail(Failure(503, "lost"), now)
        else:
            self.machine.receive(RESPONSES[self.request.method, heard], now)

    def _send(self, message: Message) -> None:
        assert isinstance(message, Request)
        self.done.append("ack" if message.method == "ACK" else "send")

    def _hear(self, outcome: Outcome, now: float) -> None:
        self.done.append("tell" if isinstance(outcome, Response) else str(outcome.status))


class Server:
    """Our server machines, seen as a figure."""

    INPUTS = ("!1xx", "!2xx", "!3xx", "again", "ACK", "lost", "wait", "long")

    def __init__(self, name: str, *, reliable: bool) -> None:
        self.done: list[str] = []
        kind = InviteServerTransaction if name == "INVITE_SERVER" else ServerTransaction
        self.request = INVITE if name == "INVITE_SERVER" else OTHER
        self.machine = kind(self.request, flow=1, reliable=reliable, send=self._send)
        if isinstance(self.machine, ServerTransaction):
            self.machine.start(0.0)

    def hear(self, heard: str, now: float) -> None:
        if heard == "lost":
            self.machine.flow_lost()
        elif heard in ("again", "ACK"):
            invited = self.request is INVITE
            if heard == "again" or invited:
                message = ACK if heard == "ACK" else self.request
                if not self.machine.receive(message, now):
                    self.done.append("up")
        else:
            self.machine.respond(RESPONSES[self.request.method, heard[1:]], now)

    def _send(self, message: Message) -> None:
        assert isinstance(message, Response)
        self.done.append(f"!{message.status // 100 if message.status < 300 else 3}xx")


def search_machines(depth: int) -> int:
    """Play all orders of `depth` inputs to all machines; return how many those were."""
    count = 0
    for name in FIGURES:
        kind: type[Client] | type[Server] = Client if name.endswith("CLIENT") else Server
        for reliable in (False, True):
            for inputs in itertools.product(kind.INPUTS, repeat=depth):
                _play(kind(name, reliable=reliable), name, reliable, inputs)
                count += 1
    return count


def _play(ours: Client | Server, name: str, reliable: bool, inputs: Iterable[str]) -> None:
    model = Model(FIGURES[name], reliable=reliable)
    played = []
    for heard in inputs:
        if model.state == "terminated":
            return  # the table has forgotten it; and shorter orders have been played
        played.append(heard)
        if heard in ("wait", "long"):
            end = model.deadline if heard == "wait" else model.now + LONG
            model.wait(None if heard == "wait" else LONG)
            while (at := ours.machine.deadline) is not None and end is not None and at <= end:
                ours.machine.handle_timer(at)
        else:
            model.hear(heard)
            ours.hear(heard, model.now)
        where = f"{name}, reliable={reliable}: {' '.join(played)}"
        assert ours.machine.state.value == model.state, where
        assert ours.machine.deadline == model.deadline, where
        assert ours.done == model.done, where


class Rehearsal:
    """One call of a user agent, with a peer and a user that do whatever the order of inputs says.

    Messages are handed over as values: what bytes do to them is the framer's test.
    """

    USER: tuple[str, ...] = ("hang up", "reoffer", "accept offer", "reject offer")
    PEER: tuple[str, ...] = ("BYE", "INVITE", "UPDATE", "ok", "refuse", "cut", "wait")
    CALLER = ("180", "183", "200", "486", *PEER, *USER)
    CALLEE = ("ACK", "CANCEL", "PRACK", "ring", "progress", "answer", "reject", *PEER, *USER)

    def __init__(self, *, incoming: bool, reliable_ringing: bool = False) -> None:
        self.now = 1000.0
        self.agent = UserAgent(TRUNK, ids=CountingIds("us"))
        self.incoming = incoming
        self.flow = 0
        self.seq = 1
        self.ends = 0
        self.session: Session | None = None
        self.unanswered: list[Request] = []  # requests of the agent, the oldest first
        self.invite: Request | None = None  # that opened the call
        self.acceptance: Response | None = None  # the agent's last 2xx to an INVITE
        self.rseq = 0
        self._connect()
        if incoming:
            require = [("Require", "100rel")] if reliable_ringing else []
            self.invite = self._request("INVITE", OFFER, require)
            self.agent.receive(self.invite, self.flow, self.now)
        else:
            self.session = self.agent.invite(Uri("sip", "bob", "example.net"), OFFER, now=self.now)
        self.drain()
        assert self.session is not None

    # --- what goes in

    def step(self, name: str) -> None:
        session = self.session
        assert session is not None
        now = self.now
        was_finished = session.finished
        match name:
            case "hang up":
                session.hang_up(now=now)
            case "reoffer" if session.established or session.ended:
                session.reoffer(OFFER, now=now)
            case "accept offer":
                session.accept_offer(ANSWER, now=now)
            case "reject offer":
                session.reject_offer(488, now=now)
            case "ring":
                session.ring(now=now)
            case "progress":
                session.progress(EARLY, now=now)
            case "answer":
                session.answer(ANSWER, now=now)
            case "reject":
                session.reject(486, now=now)
            case "180" | "183" | "200" | "486":
                self._answer_invite(int(name))
            case "ok" | "refuse":
                self._answer_oldest(200 if name == "ok" else 481)
            case "BYE" | "UPDATE":
                self._receive(self._request(name, None))
            case "INVITE":
                self._receive(self._request(name, OFFER))
            case "PRACK":
                rack = ("RAck", f"{self.rseq} {self.invite_seq} INVITE")
                self._receive(self._request("PRACK", None, [rack]))
            case "ACK" if self.acceptance is not None:
                number = self.acceptance.headers.cseq.number
                self._receive(self._request("ACK", None, seq=number))
            case "CANCEL":
                assert self.invite is not None
                self._receive(derived_request(self.invite, "CANCEL"))
            case "cut":
                self.agent.flow_closed(self.flow, now)
                self._connect()
            case "wait":
                self.wait()
            case _:
                pass  # impossible at this point
        sent = self.drain()
        if was_finished:
            assert all(m.method == "ACK" for m in sent if isinstance(m, Request)), "after the end"

    def wait(self) -> None:
        deadline = self.agent.deadline()
        if deadline is not None:
            self.now = max(self.now, deadline)
            self.agent.handle_timer(self.now)

    def drain(self) -> list[Message]:
        """Take what comes out, and keep of it what the peer needs."""
        sent: list[Message] = []
        for output in self.agent.poll():
            match output:
                case Send(message=message):
                    sent.append(message)
                    if isinstance(message, Request):
                        if message.method != "ACK":
                            self.unanswered.append(message)
                    elif message.headers.cseq.method == "INVITE":
                        if 200 <= message.status < 300:
                            self.acceptance = message
                        self.rseq = message.headers.integer("RSeq") or self.rseq
                case IncomingSession(session=session):
                    self.session = session
                case SessionEnded():
                    self.ends += 1
                    assert self.ends == 1, "ended twice"
                case _:
                    pass
        return sent

    def rest(self) -> None:
        """Come to the end: the user hangs up, the peer answers what it is asked, time passes."""
        assert self.session is not None
        self.step("hang up")
        for _ in range(MANY):
            if self.unanswered:
                self.step("ok")
            elif self.agent.deadline() is not None:
                self.step("wait")
            else:
                break
        assert self.agent.deadline() is None
        assert self.agent.transactions == 0
        assert self.agent.sessions == []
        assert not self.agent.busy
        assert self.ends == 1

    # --- the peer

    @property
    def invite_seq(self) -> int:
        return 1 if self.invite is None else self.invite.headers.cseq.number

    def _connect(self) -> None:
        self.flow += 1
        self.agent.flow_opened(Flow(self.flow, "TLS", "198.51.100.1", 40001), self.now)

    def _receive(self, message: Message) -> None:
        self.agent.receive(message, self.flow, self.now)

    def _answer_invite(self, status: int) -> None:
        """Answer the INVITE that opens the call; several times is what forks and repetitions do."""
        opening = [m for m in self.unanswered if m.method == "INVITE" and not m.headers.to.tag]
        if opening:
            self._respond(opening[-1], status, ANSWER if status in (183, 200) else None)

    def _answer_oldest(self, status: int) -> None:
        if self.unanswered:
            request = self.unanswered.pop(0)
            body = ANSWER if request.method == "INVITE" and status == 200 else None
            self._respond(request, status, body)

    def _respond(self, request: Request, status: int, body: Body | None) -> None:
        response = response_to(request, status, to_tag="peer")
        response.headers.add("Contact", "<sip:peer@192.0.2.9:5061;transport=tls>")
        self._receive(with_body(response, body))

    def _request(
        self,
        method: str,
        body: Body | None,
        headers: Iterable[tuple[str, str]] = (),
        seq: int | None = None,
    ) -> Request:
        session = self.session
        local = "" if session is None else f";tag={session.local_tag}"
        if seq is None:
            self.seq += 1
        fields = Headers(
            [
                ("Via", f"SIP/2.0/TLS 192.0.2.9:5061;branch=z9hG4bK{method}{self.seq}{seq}"),
                ("Max-Forwards", "70"),
                ("From", "<sip:peer@example.net>;tag=peer"),
                ("To", f"<sip:us@example.net>{local}"),
                ("Call-ID", "call" if session is None else session.call_id),
                ("CSeq", f"{self.seq if seq is None else seq} {method}"),
                ("Contact", "<sip:peer@192.0.2.9:5061;transport=tls>"),
                *headers,
            ]
        )
        return with_body(Request(method, Uri("sip", "us", "198.51.100.1", 40001), fields), body)


def search_sessions(depth: int) -> int:
    """Play all orders of `depth` inputs to both kinds of sessions; return how many those were."""
    count = 0
    for incoming, reliable_ringing in ((False, False), (True, False), (True, True)):
        names = Rehearsal.CALLEE if incoming else Rehearsal.CALLER
        if not reliable_ringing:
            names = tuple(name for name in names if name != "PRACK")
        for order in itertools.product(names, repeat=depth):
            try:
                rehearsal = Rehearsal(incoming=incoming, reliable_ringing=reliable_ringing)
                for name in order:
                    rehearsal.step(name)
                rehearsal.rest()
            except Exception as error:
                error.add_note(f"incoming={incoming} 100rel={reliable_ringing}: {order}")
                raise
            count += 1
    return count


def main(machines: int = 5, sessions: int = 4) -> None:
    say: Callable[[str], object] = sys.stdout.write
    say(f"{search_machines(machines)} orders of {machines} inputs to the transaction machines\n")
    say(f"{search_sessions(sessions)} orders of {sessions} inputs to sessions\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
