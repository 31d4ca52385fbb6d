"""A world in which time and wire are ours: agents and scripted peers joined by links.

Every message crosses the wire as bytes and is framed again, so that a test of a session is also one
of the printer and the parser. `World.run` moves `now` from happening to happening; nothing sleeps.
When a test fails, `print(world.ladder())` shows who said what and when.
"""

import heapq
import itertools
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from sip.agent import Flow, UserAgent
from sip.events import (
    Body,
    Event,
    IncomingSession,
    KeepAlive,
    Send,
)
from sip.framing import PING, PONG, Broken, Frame, Framer, Malformed, Ping, frame_datagram
from sip.headers import Headers, Via
from sip.message import Message, Request, Response, parse_message, response_to
from sip.session import Session
from sip.trunk import Trunk
from sip.uri import NameAddr, Uri

OFFER = Body("application/sdp", b"v=0\r\ns=offer\r\n")
ANSWER = Body("application/sdp", b"v=0\r\ns=answer\r\n")
EARLY = Body("application/sdp", b"v=0\r\ns=early\r\n")

E = TypeVar("E")


class CountingIds:
    """Identifiers that a person can follow."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._counter = itertools.count(1)

    def _next(self, kind: str) -> str:
        return f"{self._prefix}-{kind}-{next(self._counter)}"

    def branch(self) -> str:
        return f"z9hG4bK-{self._next('branch')}"

    def tag(self) -> str:
        return self._next("tag")

    def call_id(self) -> str:
        return self._next("call")

    def cnonce(self) -> str:
        return self._next("cnonce")


class Party(Protocol):
    """An end of a link."""

    name: str

    def opened(self, flow: Flow) -> None: ...
    def closed(self, flow_id: int) -> None: ...
    def deliver(self, message: Message | Malformed, flow_id: int) -> None: ...
    def deadline(self) -> float | None: ...
    def handle_timer(self) -> None: ...


class Phone:
    """A user agent with its events."""

    def __init__(self, world: "World", name: str, trunk: Trunk) -> None:
        self.name = name
        self.world = world
        self.agent = UserAgent(trunk, ids=CountingIds(name), product=name)
        self.events: list[Event] = []
        self.react: Callable[[Event], None] = lambda event: None
        self.links: dict[int, Link] = {}
        world.parties.append(self)

    @property
    def now(self) -> float:
        return self.world.now

    def pump(self) -> None:
        """Do what a driver does after any input."""
        while outputs := self.agent.poll():
            for output in outputs:
                if isinstance(output, Send):
                    self.links[output.flow].carry(self, output.message)
                elif isinstance(output, KeepAlive):
                    self.links[output.flow].carry_bytes(self, PING)
                else:
                    self.events.append(output)
                    self.react(output)

    def opened(self, flow: Flow) -> None:
        self.agent.flow_opened(flow, self.now)
        self.pump()

    def closed(self, flow_id: int) -> None:
        self.agent.flow_closed(flow_id, self.now)
        self.pump()

    def deliver(self, message: Message | Malformed, flow_id: int) -> None:
        self.agent.receive(message, flow_id, self.now)
        self.pump()

    def deadline(self) -> float | None:
        at = self.agent.deadline()
        for session in self.agent.sessions:
            due = session.deadline
            assert due is None or (at is not None and at <= due), "the agent missed a deadline"
        return at

    def handle_timer(self) -> None:
        self.agent.handle_timer(self.now)
        self.pump()

    def all(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def last(self, kind: type[E]) -> E:
        found = self.all(kind)
        assert found, f"no {kind.__name__} in {self.events}\n{self.world.ladder()}"
        return found[-1]

    def call(self, user: str = "bob", body: Body = OFFER) -> Session:
        session = self.agent.invite(Uri("sip", user, "example.net"), body, now=self.now)
        self.pump()
        return session

    def incoming(self) -> Session:
        return self.last(IncomingSession).session


class Script:
    """A peer that does only what the test says."""

    def __init__(self, world: "World", name: str = "pbx") -> None:
        self.name = name
        self.world = world
        self.inbox: list[Message | Malformed] = []
        self.react: Callable[[Message], None] = lambda message: None
        self.link: Link | None = None
        self.flow: Flow | None = None
        self.pings: list[float] = []  # when they came
        self.answers_pings = False
        self._ids = CountingIds(name)
        world.parties.append(self)

    def opened(self, flow: Flow) -> None:
        self.flow = flow

    def closed(self, flow_id: int) -> None:
        self.flow = None

    def deliver(self, message: Message | Malformed, flow_id: int) -> None:
        self.inbox.append(message)
        if not isinstance(message, Malformed):
            self.react(message)

    def deadline(self) -> float | None:
        return None

    def handle_timer(self) -> None: ...

    def send(self, message: Message) -> Message:
        assert self.link is not None
        self.link.carry(self, message)
        self.world.settle()
        return message

    def send_bytes(self, data: bytes) -> None:
        assert self.link is not None
        self.link.carry_bytes(self, data)
        self.world.settle()

    def requests(self, method: str) -> list[Request]:
        return [m for m in self.inbox if isinstance(m, Request) and m.method == method]

    def responses(self, method: str = "") -> list[Response]:
        return [
            m
            for m in self.inbox
            if isinstance(m, Response) and method in ("", m.headers.cseq.method)
        ]

    def last_request(self, method: str) -> Request:
        found = self.requests(method)
        assert found, f"no {method} came\n{self.world.ladder()}"
        return found[-1]

    def last_response(self, method: str = "") -> Response:
        found = self.responses(method)
        assert found, f"no response came\n{self.world.ladder()}"
        return found[-1]

    def reply(
        self,
        request: Request,
        status: int,
        body: Body | None = None,
        *,
        tag: str = "pbx-tag",
        headers: Iterable[tuple[str, str]] = (),
        contact: bool = True,
    ) -> Response:
        """Answer a request of the agent."""
        response = response_to(request, status, to_tag=None if status == 100 else tag)
        if contact and request.method in ("INVITE", "UPDATE"):
            response.headers.add("Contact", "<sip:pbx@192.0.2.9:5061;transport=tls>")
        for name, value in headers:
            response.headers.add(name, value)
        if body is not None:
            response.headers.add("Content-Type", body.content_type)
            response = Response(response.status, response.reason, response.headers, body.data)
        self.send(response)
        return response

    def request(
        self,
        method: str,
        *,
        seq: int = 1,
        call_id: str = "pbx-call",
        from_tag: str = "pbx-tag",
        to_tag: str | None = None,
        uri: str = "sip:alice@198.51.100.1:40001;transport=tls",
        body: Body | None = None,
        headers: Iterable[tuple[str, str]] = (),
        branch: str | None = None,
        contact: bool = True,
        send: bool = True,
    ) -> Request:
        """Send a request to the agent."""
        fields = Headers()
        transport = "TLS" if self.flow is None else self.flow.transport
        branch = self._ids.branch() if branch is None else branch
        fields.add("Via", f"SIP/2.0/{transport} 192.0.2.9:5061;rport;branch={branch};alias")
        fields.add("Max-Forwards", "70")
        fields.add("From", f'"Carol" <sip:+15550100@pbx.example>;tag={from_tag}')
        fields.add("To", "<sip:alice@example.net>" + ("" if to_tag is None else f";tag={to_tag}"))
        fields.add("Call-ID", call_id)
        fields.add("CSeq", f"{seq} {method}")
        if contact and method in ("INVITE", "UPDATE"):
            fields.add("Contact", "<sip:pbx@192.0.2.9:5061;transport=tls>")
        for name, value in headers:
            fields.add(name, value)
        if body is not None:
            fields.add("Content-Type", body.content_type)
        request = Request(method, Uri.parse(uri), fields, b"" if body is None else body.data)
        if send:
            self.send(request)
        return request

    def within(self, session: Session, method: str, *, seq: int, **rest: object) -> Request:
        """Send a request within a dialog of the agent's session."""
        return self.request(
            method,
            seq=seq,
            call_id=session.call_id,
            from_tag=session.remote_tag or "pbx-tag",
            to_tag=session.local_tag,
            **rest,  # type: ignore[arg-type]  # passed through as they are
        )


@dataclass
class Weather:
    """What a link does to messages."""

    delay: float = 0.01
    jitter: float = 0.0
    loss: float = 0.0
    duplication: float = 0.0
    cut_after: int | None = None  # messages, in both directions together


# An element in the path: what goes on in the place of a message, and what answers it at once.
Proxy = Callable[[Message], tuple[Message | None, Response | None]]


class Link:
    """A wire between two parties; a stream in order, or datagrams that may be lost."""

    _flow_ids = itertools.count(1)

    def __init__(
        self,
        world: "World",
        one: Party,
        other: Party,
        transport: str,
        weather: Weather,
        proxy: Proxy | None = None,
    ) -> None:
        self.world = world
        self.silent = False  # open, and nothing arrives
        self._proxy = proxy
        self.transport = transport
        self.weather = weather
        self.open = True
        self._ends: dict[str, tuple[Party, int, Framer]] = {}
        self._arrival: dict[str, float] = {one.name: 0.0, other.name: 0.0}
        self._carried = 0
        for number, (party, peer) in enumerate(((one, other), (other, one)), start=1):
            id = next(self._flow_ids)
            self._ends[party.name] = (peer, id, Framer())
            if isinstance(party, Phone):
                party.links[id] = self
            elif isinstance(party, Script):
                party.link = self
            flow = Flow(id, transport, f"198.51.100.{number}", 40000 + id)
            party.opened(flow)

    def carry(self, sender: Party, message: Message) -> None:
        self.world.wire.append((self.world.now, sender.name, message))
        onward, answer = (message, None) if self._proxy is None else self._proxy(message)
        if onward is not None:
            self.carry_bytes(sender, bytes(onward))
        if answer is not None:
            peer, _, _ = self._ends[sender.name]
            self.carry_bytes(peer, bytes(answer))

    def carry_bytes(self, sender: Party, data: bytes) -> None:
        if not self.open or self.silent:
            return
        weather, chance = self.weather, self.world.random
        self._carried += 1
        if weather.cut_after is not None and self._carried > weather.cut_after:
            self.cut()
            return
        copies = 1
        if self.transport == "UDP":
            copies = 0 if chance.random() < weather.loss else 1
            if copies and chance.random() < weather.duplication:
                copies = 2
        for _ in range(copies):
            at = self.world.now + weather.delay + weather.jitter * chance.random()
            if self.transport != "UDP":
                at = max(at, self._arrival[sender.name])  # a stream keeps its order
                self._arrival[sender.name] = at
            self.world.at(at, lambda: self._arrive(sender, data))

    def cut(self) -> None:
        """Lose the connection; both ends notice at once."""
        if not self.open:
            return
        self.open = False
        for name, (_, id, _) in self._ends.items():
            party = next(p for p in self.world.parties if p.name == name)
            self.world.at(self.world.now, lambda party=party, id=id: party.closed(id))  # type: ignore[misc]

    def _arrive(self, sender: Party, data: bytes) -> None:
        if not self.open:
            return
        peer, _, _ = self._ends[sender.name]
        _, id, framer = self._ends[peer.name]
        if self.transport == "UDP":
            datagram = frame_datagram(data)
            frames: list[Frame] = [] if datagram is None else [datagram]
        else:
            frames = framer.feed(data)
        if isinstance(peer, Phone) and not data.strip(b"\r\n"):
            peer.agent.pong(id)
        for frame in frames:
            if isinstance(frame, Broken):
                if frame.request is not None:
                    peer.deliver(Malformed(frame.error, frame.request), id)
                self.cut()
            elif not isinstance(frame, Ping):
                peer.deliver(frame, id)
            elif isinstance(peer, Script):
                peer.pings.append(self.world.now)
                if peer.answers_pings:
                    self.carry_bytes(peer, PONG)


class World:
    """Time, parties, and everything that is still to happen."""

    def __init__(self, seed: int = 0) -> None:
        self.now = 1000.0
        self.random = random.Random(seed)
        self.parties: list[Party] = []
        self.wire: list[tuple[float, str, Message]] = []
        self._queue: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()

    def phone(self, name: str = "alice", **settings: object) -> Phone:
        values: dict[str, object] = {
            "name": "trunk",
            "domain": "example.net",
            "username": name,
            "password": f"{name}-secret",
            "register": False,
        }
        return Phone(self, name, Trunk(**(values | settings)))  # type: ignore[arg-type]

    def link(
        self,
        one: Party,
        other: Party,
        transport: str = "TLS",
        weather: Weather | None = None,
        *,
        proxy: Proxy | None = None,
    ) -> Link:
        return Link(self, one, other, transport, weather or Weather(), proxy)

    def at(self, when: float, action: Callable[[], object]) -> None:
        heapq.heappush(self._queue, (when, next(self._order), action))

    def run(self, seconds: float) -> None:
        """Let so much time pass."""
        until = self.now + seconds
        while (when := self._next()) is not None and when <= until:
            self._advance(when)
        self.now = until

    def settle(self) -> None:
        """Let the wire become empty, without waiting for timers."""
        while self._queue and self._queue[0][0] <= self.now + 0.2:
            self._advance(self._next() or self.now)

    def _next(self) -> float | None:
        times = [at for party in self.parties if (at := party.deadline()) is not None]
        if self._queue:
            times.append(self._queue[0][0])
        return min(times, default=None)

    def _advance(self, when: float) -> None:
        self.now = max(self.now, when)
        while self._queue and self._queue[0][0] <= self.now:
            heapq.heappop(self._queue)[2]()
        for party in self.parties:
            at = party.deadline()
            if at is not None and at <= self.now:
                party.handle_timer()

    def sent(self, name: str, method: str = "") -> list[Message]:
        """Everything that a party said, or all of its messages about one method."""
        return [
            m
            for _, sender, m in self.wire
            if sender == name and method in ("", m.headers.cseq.method)
        ]

    def ladder(self) -> str:
        lines = []
        for when, sender, m in self.wire:
            what = m.method if isinstance(m, Request) else f"{m.status} {m.reason}"
            lines.append(f"{when - 1000:9.3f} {sender:>8}: {what}  ({m.headers.cseq})")
        return "\n".join(lines)


def copy_of(message: Message) -> Message:
    """The message as the peer reads it."""
    return parse_message(bytes(message))


__all__ = [
    "ANSWER",
    "EARLY",
    "OFFER",
    "CountingIds",
    "Link",
    "NameAddr",
    "Phone",
    "Script",
    "Via",
    "Weather",
    "World",
    "copy_of",
    "field",
]
