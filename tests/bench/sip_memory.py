"""What the user agent itself keeps: for an idle registration, and for a call that stands.

Octets that Python allocated (tracemalloc), without sockets and TLS; virtual time has let every
transaction go. `sip_load` weighs the process with its connections.
"""

import gc
import tracemalloc

from sip.agent import Flow, UserAgent
from sip.events import Body, IncomingSession, Send
from sip.framing import Framer
from sip.io.client import RandomIds
from sip.message import Message, Request, response_to
from sip.trunk import Trunk
from tests.bench.peers.window import OFFER

COUNT = 500
REST = 100.0  # seconds, virtual

INVITE = (
    "INVITE sip:us@127.0.0.1:40001;transport=tls SIP/2.0\r\n"
    "Via: SIP/2.0/TLS 192.0.2.9:5061;rport;branch=z9hG4bK{n}\r\n"
    "Max-Forwards: 70\r\n"
    'From: "Caller {n}" <sip:+1555{n}@example.net>;tag=from{n}\r\n'
    "To: <sip:us@example.net>\r\n"
    "Call-ID: {n}@192.0.2.9\r\n"
    "CSeq: 1 INVITE\r\n"
    "Contact: <sip:192.0.2.9:5061;transport=tls>\r\n"
    "Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, UPDATE\r\n"
    "Supported: timer\r\n"
    "Content-Type: application/sdp\r\n"
    "Content-Length: {length}\r\n"
    "\r\n"
    "{offer}"
)


class Line:
    """An agent whose registrar and peer answer everything at once."""

    def __init__(self, number: int) -> None:
        self.now = 1000.0
        trunk = Trunk(name=f"t{number}", domain="example.net", username="us", password="secret")
        self.agent = UserAgent(trunk, ids=RandomIds())
        self.agent.flow_opened(Flow(1, "TLS", "127.0.0.1", 40001, "192.0.2.9", 5061), self.now)
        self._pump()
        assert self.agent.registered

    def call(self, number: int) -> None:
        text = INVITE.format(n=number, offer=OFFER, length=len(OFFER))
        (message,) = Framer().feed(text.encode())
        assert isinstance(message, Request)
        self.agent.receive(message, 1, self.now)
        self._pump()

    def rest(self) -> None:
        until = self.now + REST
        while (at := self.agent.deadline()) is not None and at <= until:
            self.now = at
            self.agent.handle_timer(at)
            self._pump()
        self.now = until

    def _pump(self) -> None:
        while outputs := self.agent.poll():
            for output in outputs:
                match output:
                    case Send(message=message):
                        self._react(message)
                    case IncomingSession(session=session):
                        session.ring(now=self.now)
                        session.answer(Body("application/sdp", OFFER.encode()), now=self.now)
                    case _:
                        pass

    def _react(self, message: Message) -> None:
        if isinstance(message, Request):
            self.agent.receive(response_to(message, 200, to_tag="registrar"), 1, self.now)
        elif message.status == 200 and message.headers.cseq.method == "INVITE":
            ack = Request("ACK", message.headers.from_.uri)
            ack.headers.add("Via", f"SIP/2.0/TLS h;branch=z9hG4bK-ack-{message.headers.call_id}")
            ack.headers.take(message.headers, "From", "To", "Call-ID")
            ack.headers.add("CSeq", "1 ACK")
            self.agent.receive(ack, 1, self.now)


def measure() -> list[str]:
    """Return the rows of a table."""
    first = Line(0)  # what is made once for all is made before
    first.call(0)
    tracemalloc.start()
    try:
        nothing = _kept()
        lines = [Line(number) for number in range(COUNT)]
        for line in lines:
            line.rest()
        registered = _kept()
        for number in range(COUNT):
            lines[0].call(number)
        lines[0].rest()
        calling = _kept()
    finally:
        tracemalloc.stop()
    assert len(lines[0].agent.sessions) == COUNT
    return [
        f"| an idle registration, the agent alone | {(registered - nothing) / COUNT / 1000:.1f} |",
        f"| an established call, the agent alone | {(calling - registered) / COUNT / 1000:.1f} |",
    ]


def _kept() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


HEAD = "| memory | kB |\n| --- | --- |"
