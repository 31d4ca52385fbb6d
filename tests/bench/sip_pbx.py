"""The other side of the load and flood measurements: a PBX in a process of its own, over TLS.

Its CPU is not counted. It takes every REGISTER, and does one thing at a time that a line on
standard input asks for:

    calls RATE SECONDS    calls accounts by turns, waits for 180 and 200, hangs up
    flood RATE SECONDS    INVITEs to nobody that are never acknowledged, a good call each second

It answers with one line of JSON: how many calls were made and how many came to their end, how many
rang within a second, and how long the slowest took to ring.
"""

import asyncio
import itertools
import json
import ssl
import sys
from dataclasses import dataclass, field
from pathlib import Path

from sip.framing import Framer, Ping
from sip.headers import Headers
from sip.message import Message, Request, Response, response_to
from sip.uri import Uri
from tests.bench.peers.window import OFFER

PATIENCE = 10.0  # for the end of the last calls


@dataclass
class Call:
    """One call of ours; times are the loop's."""

    line: "Line"
    invite: Request
    good: bool
    began: float
    rang: float | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Line(asyncio.Protocol):
    """One account's connection."""

    def __init__(self, pbx: "Pbx") -> None:
        self.pbx = pbx
        self.contact: Uri | None = None
        self.user = ""
        self._framer = Framer()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.pbx.lines.pop(self.user, None)

    def data_received(self, data: bytes) -> None:
        for frame in self._framer.feed(data):
            match frame:
                case Request():
                    self._answer(frame)
                case Response():
                    self.pbx.hear(frame)
                case Ping():
                    assert self._transport is not None
                    self._transport.write(b"\r\n")
                case broken:
                    raise AssertionError(f"we were sent {broken}")

    def send(self, message: Message) -> None:
        assert self._transport is not None
        self._transport.write(bytes(message))

    def _answer(self, request: Request) -> None:
        if request.method == "ACK":
            return
        response = response_to(request, 200, to_tag="pbx")
        if request.method == "REGISTER" and request.headers.contact is not None:
            self.contact = request.headers.contact.uri
            self.user = request.headers.to.uri.user
            response.headers.take(request.headers, "Contact")
            response.headers.add("Expires", 3600)
            self.pbx.lines[self.user] = self
        self.send(response)


class Pbx:
    """All lines and calls."""

    def __init__(self) -> None:
        self.lines: dict[str, Line] = {}
        self.calls: dict[str, Call] = {}
        self._numbers = itertools.count()

    def call(self, line: Line, user: str, *, good: bool) -> None:
        assert line.contact is not None
        number = next(self._numbers)
        headers = Headers(
            [
                ("Via", f"SIP/2.0/TLS pbx.example:5061;rport;branch=z9hG4bK{number}"),
                ("Max-Forwards", "70"),
                ("From", f'"Caller {number}" <sip:caller@pbx.example>;tag=from{number}'),
                ("To", f"<sip:{user}@pbx.example>"),
                ("Call-ID", f"call{number}@pbx.example"),
                ("CSeq", "1 INVITE"),
                ("Contact", "<sip:pbx.example:5061;transport=tls>"),
                ("Allow", "INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, NOTIFY, MESSAGE, UPDATE"),
                ("Supported", "timer, replaces"),
                ("User-Agent", "Bench PBX"),
                ("Content-Type", "application/sdp"),
            ]
        )
        uri = Uri("sip", user, line.contact.host, line.contact.port, line.contact.parameters)
        invite = Request("INVITE", uri, headers, OFFER.encode())
        began = asyncio.get_running_loop().time()
        self.calls[invite.headers.call_id] = Call(line, invite, good, began)
        line.send(invite)

    def hear(self, response: Response) -> None:
        call = self.calls.get(response.headers.call_id)
        if call is None:
            return
        if response.headers.cseq.method == "BYE":
            call.over.set()
        elif response.status == 180:
            call.rang = asyncio.get_running_loop().time()
        elif response.status == 200:
            call.line.send(self._within(call, "ACK", 1, response))
            call.line.send(self._within(call, "BYE", 2, response))

    def _within(self, call: Call, method: str, seq: int, response: Response) -> Request:
        headers = Headers([("Max-Forwards", "70"), ("CSeq", f"{seq} {method}")])
        headers.put_first(
            "Via", f"SIP/2.0/TLS pbx.example:5061;branch=z9hG4bK{next(self._numbers)}"
        )
        headers.take(call.invite.headers, "From", "Call-ID")
        headers.take(response.headers, "To")
        return Request(method, call.invite.uri, headers)

    async def run(self, what: str, rate: float, seconds: float) -> dict[str, object]:
        self.calls.clear()
        loop = asyncio.get_running_loop()
        lines = itertools.cycle(list(self.lines.values()))
        begin = loop.time()
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, begin + number / rate - loop.time()))
            line = next(lines)
            if what == "calls":
                self.call(line, line.user, good=True)
                continue
            self.call(line, "nobody", good=False)
            if number % int(rate) == 0:
                self.call(line, line.user, good=True)
        good = [call for call in self.calls.values() if call.good]
        try:
            async with asyncio.timeout(PATIENCE):
                for call in good:
                    await call.over.wait()
        except TimeoutError:
            pass  # the figures say so
        rang = [call.rang - call.began for call in good if call.rang is not None]
        return {
            "made": len(self.calls),
            "good": len(good),
            "ended": sum(call.over.is_set() for call in good),
            "rang": sum(took <= 1.0 for took in rang),
            "slowest": max(rang, default=None),
            "took": loop.time() - begin,
        }


async def main(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    pbx = Pbx()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Line(pbx), "127.0.0.1", 0, ssl=context, backlog=2000)
    _say({"port": server.sockets[0].getsockname()[1]})
    while line := await asyncio.to_thread(sys.stdin.readline):
        what, rate, seconds = line.split()
        _say(await pbx.run(what, float(rate), float(seconds)))


def _say(found: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
