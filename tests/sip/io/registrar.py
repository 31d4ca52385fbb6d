"""The other side of a trunk, as a script: a registrar without sockets, and the same over TLS."""

import asyncio
import hashlib
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from sip.framing import Framer
from sip.headers import Headers
from sip.message import Message, Request, Response, parse_message, response_to

REALM = "pbx.example"


@dataclass
class Registrar:
    """Answers requests; digest with SHA-256 is asked of every REGISTER.

    Attributes:
        password: what the account's must be.
        refusals: statuses for the next authenticated REGISTERs, before they are accepted again.
        refusing: a status for all authenticated REGISTERs until it is 0 again.
        silent: methods that get no answer.
        bindings: contacts that are registered.
        requests: all that came.
        answers: other methods' answers, by method; OPTIONS and BYE get 200 by default.
    """

    password: str = "secret"
    refusals: list[int] = field(default_factory=list)
    refusing: int = 0
    silent: set[str] = field(default_factory=set)
    bindings: list[str] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    answers: dict[str, Callable[[Request], list[Message]]] = field(default_factory=dict)
    _nonces: int = 0

    def take(self, message: Message) -> list[Message]:
        """Answer one message."""
        if isinstance(message, Response):
            return []
        self.requests.append(message)
        if message.method in self.silent or message.method == "ACK":
            return []
        if message.method in self.answers:
            return self.answers[message.method](message)
        if message.method == "REGISTER":
            return [self._register(message)]
        return [response_to(message, 200, to_tag="peer")]

    def of(self, method: str) -> list[Request]:
        """Requests of one method so far."""
        return [request for request in self.requests if request.method == method]

    def _register(self, request: Request) -> Response:
        if not self._authentic(request):
            self._nonces += 1
            response = response_to(request, 401, to_tag="peer")
            response.headers.add(
                "WWW-Authenticate",
                f'Digest realm="{REALM}", nonce="n{self._nonces}", algorithm=SHA-256, qop="auth"',
            )
            return response
        if self.refusing:
            return response_to(request, self.refusing, to_tag="peer")
        if self.refusals:
            return response_to(request, self.refusals.pop(0), to_tag="peer")
        response = response_to(request, 200, to_tag="peer")
        for contact in request.headers.contacts:
            uri = str(contact.uri)
            if uri in self.bindings:
                self.bindings.remove(uri)
            expires = contact.parameters.get("expires") or request.headers.get("Expires") or "300"
            if expires != "0":
                self.bindings.append(uri)
        for uri in self.bindings:
            response.headers.add("Contact", f"<{uri}>;expires=300")
        return response

    def _authentic(self, request: Request) -> bool:
        given = request.headers.get("Authorization")
        if given is None:
            return False
        values = dict(re.findall(r'(\w+)="?([^",]+)"?', given))

        def digest(text: str) -> str:
            return hashlib.sha256(text.encode()).hexdigest()

        ours = digest(f"{values['username']}:{REALM}:{self.password}")
        asked = digest(f"REGISTER:{values['uri']}")
        middle = f"{values['nonce']}:{values['nc']}:{values['cnonce']}:auth"
        return bool(values["response"] == digest(f"{ours}:{middle}:{asked}"))


def answer_with(*statuses: int) -> Callable[[Request], list[Message]]:
    """Answer each request with all of `statuses`."""

    def answer(request: Request) -> list[Message]:
        return [response_to(request, status, to_tag="peer") for status in statuses]

    return answer


def a_request(method: str, *, uri: str, seq: int = 1, call_id: str = "peer-call") -> Request:
    """A request of the peer outside of a dialog."""
    headers = Headers(
        [
            ("Via", f"SIP/2.0/TLS 127.0.0.1:5061;branch=z9hG4bKpeer{call_id}{seq}"),
            ("Max-Forwards", "70"),
            ("From", "<sip:+15550100@pbx.example>;tag=caller"),
            ("To", "<sip:bridge@pbx.example>"),
            ("Call-ID", call_id),
            ("CSeq", f"{seq} {method}"),
            ("Contact", "<sip:pbx@127.0.0.1:5061;transport=tls>"),
        ]
    )
    return parse_message_as_request(f"{method} {uri} SIP/2.0", headers)


def parse_message_as_request(start_line: str, headers: Headers) -> Request:
    lines = [start_line, *(f"{name}: {value}" for name, value in headers), "", ""]
    message = parse_message("\r\n".join(lines).encode())
    assert isinstance(message, Request)
    return message


class TlsPeer:
    """A registrar over TLS (or plain TCP) on loopback.

    Attributes:
        port: where it listens.
        received: everything that came, responses included.
    """

    def __init__(self, registrar: Registrar) -> None:
        self.registrar = registrar
        self.port = 0
        self.connections = 0
        self.received: list[Message] = []
        self._writers: list[asyncio.StreamWriter] = []
        self._happened = asyncio.Event()

    def send(self, message: Message) -> None:
        """Write on the latest connection."""
        self._writers[-1].write(bytes(message))

    def cut(self) -> None:
        """Reset all connections; what was bound over them is gone (as with Asterisk)."""
        self.registrar.bindings.clear()
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def expect(self, kind: str) -> Message:
        """Wait for a request of a method or a response of a status ("200"); it is taken out."""
        while True:
            for message in self.received:
                found = message.method if isinstance(message, Request) else str(message.status)
                if found == kind:
                    self.received.remove(message)
                    return message
            self._happened.clear()
            await self._happened.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        framer = Framer()
        try:
            while data := await reader.read(65536):
                for frame in framer.feed(data):
                    assert isinstance(frame, Request | Response), frame
                    self.received.append(frame)
                    for answer in self.registrar.take(frame):
                        writer.write(bytes(answer))
                    self._happened.set()
        except OSError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def peering(
    context: ssl.SSLContext | None,
    registrar: Registrar | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
) -> AsyncIterator[TlsPeer]:
    """Serve until the block ends."""
    peer = TlsPeer(registrar or Registrar())
    server = await asyncio.start_server(peer.serve, host, port, ssl=context)
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        server.close()
        peer.cut()
        await server.wait_closed()


class Datagrams(asyncio.DatagramProtocol):
    """A registrar over UDP.

    Attributes:
        lossy: whether the next datagram gets lost.
        port: where it listens.
    """

    def __init__(self, registrar: Registrar, *, lossy: bool) -> None:
        self.registrar = registrar
        self.lossy = lossy
        self.port = 0
        self.transport: asyncio.DatagramTransport | None = None

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self.transport is not None
        if self.lossy:
            self.lossy = False
            return
        for answer in self.registrar.take(parse_message(data)):
            self.transport.sendto(bytes(answer), addr)


@asynccontextmanager
async def datagrams(
    registrar: Registrar, *, host: str = "127.0.0.1", lossy: bool = False
) -> AsyncIterator[Datagrams]:
    """Serve over UDP until the block ends."""
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Datagrams(registrar, lossy=lossy), local_addr=(host, 0)
    )
    server.transport = transport
    server.port = transport.get_extra_info("sockname")[1]
    try:
        yield server
    finally:
        transport.close()
