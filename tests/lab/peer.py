"""A trunk that does what a test says: a SIP registrar over TLS of a few lines, for what no real PBX
can be made to do.

It reads and writes plain text and shares no code with the bridge. REGISTER is answered by itself
(RFC 3261 §22, with MD5 or SHA-256); every other request waits for the test in `expect`, which
answers it or lets it wait.
"""

import asyncio
import base64
import hashlib
import re
import secrets
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.request import parse_http_list, parse_keqv_list

from tests.lab.certificate import Authority
from tests.lab.ports import HOST, Ports
from tests.lab.process import PATIENCE, eventually

REALM = "peer.test"
SDP_TYPE = "Content-Type: application/sdp"


@dataclass(frozen=True, slots=True)
class Message:
    """A SIP message that came to us; `at` is when (monotonic)."""

    first: str
    headers: tuple[tuple[str, str], ...]
    body: str
    connection: int
    at: float = field(default_factory=time.monotonic)

    @property
    def status(self) -> int:
        return int(self.first.split()[1]) if self.first.startswith("SIP/2.0") else 0

    @property
    def method(self) -> str:
        return self["CSeq"].split()[-1] if self.status else self.first.split()[0]

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def __getitem__(self, name: str) -> str:
        return next(iter(self.all(name)), "")


class Peer:
    """The registrar and the far end of one account."""

    def __init__(
        self,
        ports: Ports,
        authority: Authority,
        *,
        username: str = "peer",
        password: str = "secret",
    ) -> None:
        self.port = ports.pick()
        self.username = username
        self.password = password
        self.algorithms: tuple[str, ...] = ("SHA-256", "MD5")
        self.expires = 300
        self.refuses_with: str | None = None
        self.received: list[Message] = []
        self._certificate = authority.issue("peer", (REALM, "localhost", HOST))
        self._server: asyncio.Server | None = None
        self._writers: dict[int, asyncio.StreamWriter] = {}
        self._contact = ""
        self._flow = -1

    async def start(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._certificate.certificate, self._certificate.key)
        self._server = await asyncio.start_server(self._serve, HOST, self.port, ssl=context)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self.disconnect()
            self._server = None

    def disconnect(self) -> None:
        """Cut every connection without a word."""
        for writer in self._writers.values():
            writer.transport.abort()
        self._writers.clear()

    @property
    def contact(self) -> str:
        """Where the bridge wants to be called, empty before it has registered."""
        return self._contact

    @property
    def reachable(self) -> bool:
        """Whether the connection by which the bridge has registered is still there."""
        return bool(self._contact) and self._flow in self._writers

    @property
    def mark(self) -> int:
        return len(self.received)

    # --- what came

    async def expect(
        self,
        what: str,
        where: Callable[[Message], object] = lambda message: True,
        *,
        since: int = 0,
        within: float = PATIENCE,
    ) -> Message:
        """The first request of this method, or response of this status ("200 INVITE": to what)."""
        wanted, _, of = what.partition(" ")

        def found() -> Message | None:
            for message in self.received[since:]:
                is_it = (
                    message.status == int(wanted) and of in ("", message.method)
                    if wanted.isdigit()
                    else not message.status and message.method == wanted
                )
                if is_it and where(message):
                    return message
            return None

        try:
            message = await eventually(found, within=within, every=0.01)
        except AssertionError:
            seen = "\n".join(f"    {m.first}" for m in self.received[since:]) or "    nothing"
            raise AssertionError(f"no {what} at the peer in {within:g} s, but:\n{seen}") from None
        assert message is not None
        return message

    async def registered(self, *, since: int = 0, within: float = PATIENCE) -> Message:
        """The REGISTER that was accepted."""
        return await self.expect(
            "REGISTER",
            lambda m: m["Authorization"] and self._proves(m) and not m["Contact"].endswith("=0"),
            since=since,
            within=within,
        )

    # --- what we say

    def respond(
        self, request: Message, status: str, *headers: str, body: str = "", tag: str = "peer"
    ) -> None:
        """Answer a request: `status` is the code with its phrase."""
        to = request["To"] if ";tag=" in request["To"] else f"{request['To']};tag={tag}"
        lines = [f"SIP/2.0 {status}"]
        lines += [f"Via: {via}" for via in request.all("Via")]
        lines += [f"From: {request['From']}", f"To: {to}"]
        lines += [f"Call-ID: {request['Call-ID']}", f"CSeq: {request['CSeq']}", *headers]
        self._write(lines, body, request.connection)

    def request(
        self,
        method: str,
        *headers: str,
        uri: str | None = None,
        to: str | None = None,
        caller: str = "+15550177",
        call_id: str | None = None,
        cseq: int = 1,
        branch: str = "",
        tag: str = "",
        body: str = "",
    ) -> "Sent":
        """Send a request over the flow of the registration. `uri` None is the bridge's contact."""
        sent = Sent(
            peer=self,
            method=method,
            uri=uri or self._contact,
            call_id=call_id or secrets.token_hex(8),
            cseq=cseq,
            branch=branch or f"z9hG4bK{secrets.token_hex(6)}",
            tag=tag or secrets.token_hex(4),
            caller=caller,
            to=to or f"<sip:{self.username}@{REALM}>",
            mark=self.mark,
        )
        lines = [
            f"{method} {sent.uri} SIP/2.0",
            f"Via: SIP/2.0/TLS {HOST}:{self.port};branch={sent.branch};rport",
            f"From: <sip:{caller}@{REALM}>;tag={sent.tag}",
            f"To: {sent.to}",
            f"Call-ID: {sent.call_id}",
            f"CSeq: {cseq} {method}",
            f"Contact: <sip:{caller}@{HOST}:{self.port};transport=tls>",
            "Max-Forwards: 70",
            *headers,
        ]
        self._write(lines, body, self._flow)
        return sent

    # --- inside

    def _write(self, lines: list[str], body: str, connection: int) -> None:
        data = body.encode()
        text = "\r\n".join([*lines, f"Content-Length: {len(data)}", "", ""])
        if (writer := self._writers.get(connection)) is not None:
            writer.write(text.encode() + data)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = max(self._writers, default=self._flow) + 1
        self._writers[connection] = writer
        try:
            while message := await read_message(reader, connection):
                self.received.append(message)
                if message.method == "REGISTER" and not message.status:
                    self._register(message)
                elif message.method == "OPTIONS" and not message.status:
                    self.respond(message, "200 OK")
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            self._writers.pop(connection, None)
            writer.close()

    def _register(self, request: Message) -> None:
        if self.refuses_with:
            self.respond(request, self.refuses_with)
        elif self._proves(request):
            contact = request["Contact"]
            asked = re.search(r"expires=(\d+)", contact) or re.match(r"(\d+)", request["Expires"])
            lifetime = min(int(asked[1]) if asked else 300, self.expires)
            uri = re.search(r"<([^>]+)>", contact)
            if contact:  # without one it only asks who is bound (RFC 3261 §10.2.3)
                self._flow = request.connection
                self._contact = uri[1] if uri and lifetime else ""
            bound = [f"Contact: <{self._contact}>;expires={lifetime}"] if self._contact else []
            self.respond(request, "200 OK", *bound)
        else:
            nonce = f"{len(self.received)}-{secrets.token_hex(8)}"
            challenges = [
                f'WWW-Authenticate: Digest realm="{REALM}", nonce="{nonce}", '
                f'algorithm={name}, qop="auth"'
                for name in self.algorithms
            ]
            self.respond(request, "401 Unauthorized", *challenges)

    def _proves(self, request: Message) -> bool:
        """Whether its digest is right (RFC 7616 §3.4.1)."""
        scheme, _, rest = request["Authorization"].partition(" ")
        if scheme != "Digest":
            return False
        said = parse_keqv_list(parse_http_list(rest))
        algorithm = said.get("algorithm", "MD5")
        if algorithm not in self.algorithms:
            return False

        def digest(text: str) -> str:
            return hashlib.new(algorithm.replace("-", ""), text.encode()).hexdigest()

        who = digest(f"{self.username}:{REALM}:{self.password}")
        what = digest(f"{request.method}:{said['uri']}")
        middle = (said["nonce"], said.get("nc", ""), said.get("cnonce", ""), said.get("qop", ""))
        return said["response"] == digest(":".join((who, *middle, what)))


@dataclass(frozen=True, slots=True)
class Sent:
    """A request that we sent, to wait for its responses and to follow it up."""

    peer: Peer
    method: str
    uri: str
    call_id: str
    cseq: int
    branch: str
    tag: str
    caller: str
    to: str
    mark: int

    async def response(self, *, at_least: int = 200, within: float = PATIENCE) -> Message:
        """The first response to it with such a status or a higher one."""

        def found() -> Message | None:
            for message in self.peer.received[self.mark :]:
                if (
                    message.status >= at_least
                    and message["Call-ID"] == self.call_id
                    and message["CSeq"] == f"{self.cseq} {self.method}"
                ):
                    return message
            return None

        message = await eventually(found, within=within, every=0.01, what=f"{at_least} or more")
        assert message is not None
        return message

    def follow(
        self,
        method: str,
        response: Message | None = None,
        *headers: str,
        branch: str = "",
        cseq: int = 0,
        body: str = "",
    ) -> "Sent":
        """ACK, CANCEL or BYE: in the same transaction without `branch`, else in the dialog of
        `response`.
        """
        own_method = {"CANCEL": self.branch, "ACK": branch or self.branch}
        uri = self.uri
        if response is not None and method != "CANCEL":
            remote = re.search(r"<([^>]+)>", response["Contact"])
            uri = remote[1] if remote else uri
        return self.peer.request(
            method,
            *headers,
            uri=uri,
            to=response["To"] if response is not None and method != "CANCEL" else self.to,
            caller=self.caller,
            call_id=self.call_id,
            cseq=cseq or (self.cseq if method in own_method else self.cseq + 1),
            branch=own_method.get(method, branch),
            tag=self.tag,
            body=body,
        )


async def read_message(reader: asyncio.StreamReader, connection: int) -> Message | None:
    """The next message of a stream; between messages there may be empty lines (RFC 5626 §3.5.1)."""
    while (line := await reader.readline()) in (b"\r\n", b"\n"):
        pass
    if not line:
        return None
    head = [line.decode().rstrip("\r\n")]
    while text := (await reader.readline()).decode().rstrip("\r\n"):
        head.append(text)
    pairs = tuple(
        (key.strip(), value.strip()) for key, _, value in (h.partition(":") for h in head[1:])
    )
    size = next((int(value) for key, value in pairs if key.lower() == "content-length"), 0)
    body = (await reader.readexactly(size)).decode(errors="replace")
    return Message(head[0], pairs, body, connection)


def sdes_offer(*, profile: str = "RTP/SAVP", crypto: tuple[str, ...] | None = None) -> str:
    """A telephone's offer (RFC 4568) whose media goes nowhere. `crypto` None is one good line."""
    if crypto is None:
        key = base64.b64encode(secrets.token_bytes(30)).decode()
        crypto = (f"1 AES_CM_128_HMAC_SHA1_80 inline:{key}",)
    lines = [
        "v=0",
        f"o=- {secrets.randbits(31)} 1 IN IP4 {HOST}",
        "s=-",
        f"c=IN IP4 {HOST}",
        "t=0 0",
        f"m=audio 9 {profile} 0 8 101",
        *(f"a=crypto:{line}" for line in crypto),
        "a=rtpmap:0 PCMU/8000",
        "a=rtpmap:8 PCMA/8000",
        "a=rtpmap:101 telephone-event/8000",
        "a=sendrecv",
    ]
    return "\r\n".join(lines) + "\r\n"
