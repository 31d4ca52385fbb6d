"""Peers that connect to us: who is let in, as whom, and what strangers get."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from sip.digest import Account, Challenge, answer
from sip.events import Body, IncomingSession, MessageReceived, MessageSent, SessionEnded
from sip.framing import Framer
from sip.io.client import MAX_INBOUND, TrunkClient, TrunkUp
from sip.io.door import MAX_QUESTIONS
from sip.io.listener import MAX_STRANGERS_PER_ADDRESS, Listener, ListenerSettings
from sip.io.tls import TlsSettingsError, peer_certificate
from sip.message import Message, Request, Response, response_to
from sip.trunk import Inbound, TlsSettings, Trunk
from sip.uri import Uri
from tests.sip.io.authority import Authority
from tests.sip.io.registrar import a_request, peering
from tests.sip.io.tls_server import server_context
from tests.sip.io.wiring import Inbox

HERE = Inbound(networks=("127.0.0.0/8", "::1"))
BY_NAME = Inbound(certificate="pbx.example")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"), name="Foreign CA")


def a_trunk(
    inbound: Inbound | None = BY_NAME,
    *,
    name: str = "test",
    insecure_transport: str | None = None,
) -> Trunk:
    return Trunk(
        name=name,
        domain="pbx.example",
        username="bridge",
        password="secret",
        register=False,
        connect=False,
        inbound=inbound,
        insecure_transport=insecure_transport,
    )


class Caller:
    """A PBX that connects to us.

    Attributes:
        shown: names in the certificate that we showed it.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._framer = Framer()
        self._received: list[Message] = []
        secure = writer.get_extra_info("ssl_object")
        certificate = None if secure is None else peer_certificate(secure)
        self.shown = () if certificate is None else certificate.domains
        self.port = int(writer.get_extra_info("sockname")[1])

    def send(self, message: Message) -> None:
        self._writer.write(bytes(message))

    async def receive(self) -> Message:
        while not self._received:
            data = await self._reader.read(65536)
            assert data, "the connection was closed"
            for frame in self._framer.feed(data):
                assert isinstance(frame, Request | Response), frame
                self._received.append(frame)
        return self._received.pop(0)

    async def read_to_end(self) -> bytes:
        """What comes until the other side closes."""
        with suppress(OSError):
            return await self._reader.read()
        return b""

    def hang_up(self) -> None:
        self._writer.transport.abort()


def showing(certificate: Path | None) -> ssl.SSLContext:
    """The TLS of a PBX that shows a certificate of its own, or none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        context.load_cert_chain(certificate)
    return context


async def call(port: int, context: ssl.SSLContext | None, *, host: str = "127.0.0.1") -> Caller:
    return Caller(*await asyncio.open_connection(host, port, ssl=context))


@dataclass
class Bench:
    """A listener and the clients behind it."""

    listener: Listener
    clients: list[TrunkClient]
    inboxes: list[Inbox] = field(default_factory=list)


@asynccontextmanager
async def listening(
    authority: Authority,
    trunks: list[Trunk],
    *,
    handshake_limit: float = 5.0,
    **settings: object,
) -> AsyncIterator[Bench]:
    inboxes = [Inbox() for _ in trunks]
    clients = [
        TrunkClient(trunk, listener=inbox) for trunk, inbox in zip(trunks, inboxes, strict=True)
    ]
    wanted = ListenerSettings("127.0.0.1", 0, authority.issue("us.example"), ca_file=authority.file)
    listener = Listener(
        replace(wanted, **settings),  # type: ignore[arg-type]
        clients=clients,
        handshake_limit=handshake_limit,
    )
    async with asyncio.timeout(10):
        for client in clients:
            await client.start()
        await listener.start()
        try:
            yield Bench(listener, clients, inboxes)
        finally:
            await listener.stop()
            for client in clients:
                await client.stop()


def options(seq: int = 1) -> Request:
    return a_request("OPTIONS", uri="sip:bridge@us.example", seq=seq)


# --- who is let in


async def test_client_certificate_opens_the_door(authority: Authority) -> None:
    async with listening(authority, [a_trunk()]) as bench:
        caller = await call(bench.listener.port, showing(authority.issue("pbx.example")))
        assert caller.shown == ("us.example",)
        caller.send(options())
        answer = await caller.receive()
        assert isinstance(answer, Response)
        assert answer.status == 200
        assert answer.headers.via.parameters.get("rport") is None


async def test_self_signed_client_certificate_is_believed_where_it_is_the_ca_file(
    authority: Authority,
) -> None:
    own = authority.issue("pbx.example", self_signed=True)
    async with listening(authority, [a_trunk()], ca_file=own) as bench:
        caller = await call(bench.listener.port, showing(own))
        caller.send(options())
        assert isinstance(await caller.receive(), Response)
        other = authority.issue("pbx.example", self_signed=True)
        with suppress(OSError):
            caller = await call(bench.listener.port, showing(other))
            caller.send(options())
            assert await caller.read_to_end() == b""


async def test_connection_belongs_to_the_trunk_whose_name_was_verified(
    authority: Authority,
) -> None:
    trunks = [
        a_trunk(Inbound(certificate="a.example"), name="a"),
        a_trunk(Inbound(certificate="b.example"), name="b"),
        a_trunk(None, name="c"),
    ]
    async with listening(authority, trunks) as bench:
        caller = await call(bench.listener.port, showing(authority.issue("b.example")))
        caller.send(replace(a_request("MESSAGE", uri="sip:bridge@a.example"), body=b"x"))
        await bench.inboxes[1].expect(MessageReceived)
        for inbox in bench.inboxes:
            assert [type(said) for said in inbox.said] == [TrunkUp]


BAD: dict[str, Callable[[Authority, Authority], Path | None]] = {
    "none": lambda a, s: None,
    "of another name": lambda a, s: a.issue("other.example"),
    "of a common name": lambda a, s: a.issue(common_name="pbx.example"),
    "of an unknown authority": lambda a, s: s.issue("pbx.example"),
    "self-signed": lambda a, s: a.issue("pbx.example", self_signed=True),
    "expired": lambda a, s: a.issue("pbx.example", days=(-9, -1)),
    "not yet valid": lambda a, s: a.issue("pbx.example", days=(1, 9)),
}


@pytest.mark.parametrize("kind", BAD)
async def test_stranger_is_sent_nothing(
    authority: Authority, stranger: Authority, kind: str
) -> None:
    async with listening(authority, [a_trunk()]) as bench:
        with suppress(OSError):
            caller = await call(bench.listener.port, showing(BAD[kind](authority, stranger)))
            caller.send(options())
            caller.send(a_request("MESSAGE", uri="sip:bridge@us.example"))
            assert await caller.read_to_end() == b""
        assert [type(said) for said in bench.inboxes[0].said] == [TrunkUp]


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_old_tls_is_refused(authority: Authority) -> None:
    async with listening(authority, [a_trunk()]) as bench:
        context = showing(authority.issue("pbx.example"))
        context.set_ciphers("DEFAULT@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await call(bench.listener.port, context)


async def test_address_that_a_trunk_names_is_enough(authority: Authority) -> None:
    async with listening(authority, [a_trunk(HERE)]) as bench:
        caller = await call(bench.listener.port, showing(None))
        caller.send(options())
        answer = await caller.receive()
        assert isinstance(answer, Response)
        assert answer.status == 200


async def test_other_address_is_hung_up_on_before_tls(authority: Authority) -> None:
    elsewhere = Inbound(networks=("192.0.2.0/24", "2001:db8::/32"))
    async with listening(authority, [a_trunk(elsewhere)]) as bench:
        caller = await call(bench.listener.port, None)
        assert await caller.read_to_end() == b""


async def test_address_and_certificate_must_both_fit(authority: Authority) -> None:
    both = Inbound(certificate="pbx.example", networks=("127.0.0.1",))
    async with listening(authority, [a_trunk(both)]) as bench:
        caller = await call(bench.listener.port, showing(None))
        caller.send(options())
        assert await caller.read_to_end() == b""
        caller = await call(bench.listener.port, showing(authority.issue("pbx.example")))
        caller.send(options())
        assert isinstance(await caller.receive(), Response)


async def test_certificate_is_needed_even_without_encryption(authority: Authority) -> None:
    trunk = a_trunk(insecure_transport="tcp")
    async with listening(authority, [trunk], insecure_transport="tcp") as bench:
        caller = await call(bench.listener.port, None)
        caller.send(options())
        assert await caller.read_to_end() == b""


async def test_tcp_only_where_it_is_asked_for_by_name(authority: Authority) -> None:
    tls, tcp = a_trunk(HERE, name="tls"), a_trunk(HERE, name="tcp", insecure_transport="tcp")
    async with listening(authority, [tls, tcp], insecure_transport="tcp") as bench:
        caller = await call(bench.listener.port, None)
        caller.send(replace(a_request("MESSAGE", uri="sip:bridge@us.example"), body=b"x"))
        await bench.inboxes[1].expect(MessageReceived)
    async with listening(authority, [tls], insecure_transport="tcp") as bench:
        caller = await call(bench.listener.port, None)
        assert await caller.read_to_end() == b""
    async with listening(authority, [tls]) as bench:
        caller = await call(bench.listener.port, None)
        caller.send(options())
        assert b"SIP/2.0" not in await caller.read_to_end()


async def test_ipv6(authority: Authority) -> None:
    async with listening(authority, [a_trunk(HERE)], host="::1") as bench:
        caller = await call(bench.listener.port, showing(None), host="::1")
        caller.send(a_request("INVITE", uri="sip:bridge@[::1]"))
        await bench.inboxes[0].expect(IncomingSession)
        session = bench.clients[0].agent.sessions[0]
        session.ring(now=bench.clients[0].now())
        bench.clients[0].pump()
        while isinstance(answer := await caller.receive(), Response) and answer.status < 180:
            pass
        contact = answer.headers.contact
        assert contact is not None
        assert f"@[::1]:{bench.listener.port};" in str(contact.uri)


# --- who proves himself with a password


BY_DIGEST = Inbound(digest=True)
PEER = Account("pbx", "pbx-pw")


def prove(request: Request, challenge: Response, password: str) -> Request:
    (first, *_) = Challenge.parse(challenge.headers.get("WWW-Authenticate") or "")
    account = replace(PEER, password=password)
    headers = request.headers.copy()
    headers.set("CSeq", f"{request.headers.cseq.number + 1} {request.method}")
    headers.set("Via", f"{request.headers.get('Via')}again")
    uri = str(request.uri)
    credentials = answer(account, first, method=request.method, uri=uri, cnonce="c", count=1)
    headers.set("Authorization", str(credentials))
    return replace(request, headers=headers)


def by_digest() -> Trunk:
    return replace(a_trunk(BY_DIGEST), authenticate_peer=PEER)


async def refused(caller: Caller) -> Response:
    response = await caller.receive()
    assert isinstance(response, Response)
    assert response.status == 401
    return response


async def test_password_under_the_first_request_opens_the_door(authority: Authority) -> None:
    async with listening(authority, [by_digest()]) as bench:
        client, inbox = bench.clients[0], bench.inboxes[0]
        caller = await call(bench.listener.port, showing(None))
        invite = a_request("INVITE", uri="sip:bridge@us.example")
        caller.send(invite)
        caller.send(prove(invite, await refused(caller), "pbx-pw"))
        await inbox.expect(IncomingSession)
        client.agent.sessions[0].reject(486, now=client.now())
        client.pump()
        while isinstance(response := await caller.receive(), Response) and response.status < 200:
            pass
        assert isinstance(response, Response)
        assert response.status == 486


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE", "OPTIONS", "REGISTER", "BYE", "FOO"])
async def test_stranger_is_asked_for_a_password_whatever_he_wants(
    authority: Authority, method: str
) -> None:
    async with listening(authority, [by_digest()]) as bench:
        caller = await call(bench.listener.port, showing(None))
        for user in ("bridge", "nobody"):
            request = a_request(method, uri=f"sip:{user}@us.example", call_id=user)
            caller.send(request)
            challenge = await refused(caller)
            caller.send(prove(request, challenge, "guessed"))
            await refused(caller)
        assert [type(said) for said in bench.inboxes[0].said] == [TrunkUp]
        client = bench.clients[0]
        client.agent.invite(
            Uri.parse("sip:1@pbx.example"), Body("application/sdp", b"v=0"), now=client.now()
        )
        client.pump()
        # Our own calls do not go to somebody who stands before the door.
        assert (await bench.inboxes[0].expect(SessionEnded)).status == 503


async def test_guesses_and_time_are_counted(authority: Authority) -> None:
    async with listening(authority, [by_digest()], handshake_limit=0.5) as bench:
        caller = await call(bench.listener.port, showing(None))
        for seq in range(MAX_QUESTIONS + 1):
            caller.send(options(seq + 1))
        answers = (await caller.read_to_end()).count(b"SIP/2.0 401")
        assert 0 < answers <= MAX_QUESTIONS
        slow = await call(bench.listener.port, showing(None))
        slow.send(options())
        await refused(slow)
        assert await slow.read_to_end() == b""


async def test_network_or_certificate_of_another_trunk_goes_before_the_password(
    authority: Authority,
) -> None:
    named = a_trunk(BY_NAME, name="named")
    async with listening(authority, [by_digest(), named]) as bench:
        caller = await call(bench.listener.port, showing(authority.issue("pbx.example")))
        caller.send(replace(a_request("MESSAGE", uri="sip:bridge@us.example"), body=b"x"))
        await bench.inboxes[1].expect(MessageReceived)


# --- what strangers cost


async def test_silent_stranger_is_hung_up_on(authority: Authority) -> None:
    async with listening(authority, [a_trunk()], handshake_limit=0.05) as bench:
        caller = await call(bench.listener.port, None)
        assert await caller.read_to_end() == b""


async def test_strangers_of_one_address_have_few_places_and_get_them_back(
    authority: Authority,
) -> None:
    async with listening(authority, [a_trunk()], handshake_limit=0.3) as bench:
        port = bench.listener.port
        idle = [await call(port, None) for _ in range(MAX_STRANGERS_PER_ADDRESS)]
        more = await call(port, None)
        assert await more.read_to_end() == b""
        for caller in idle:
            assert await caller.read_to_end() == b""
        caller = await call(port, showing(authority.issue("pbx.example")))
        caller.send(options())
        assert isinstance(await caller.receive(), Response)


async def test_peer_that_connects_again_and_again_is_bounded(authority: Authority) -> None:
    trunk = a_trunk(HERE, insecure_transport="tcp")
    async with listening(authority, [trunk], insecure_transport="tcp") as bench:
        callers = []
        for number in range(MAX_INBOUND + 1):
            callers.append(await call(bench.listener.port, None))
            callers[-1].send(options(number + 1))
            if number < MAX_INBOUND:
                assert isinstance(await callers[-1].receive(), Response)
        assert await callers[-1].read_to_end() == b""


# --- calls


async def test_call_comes_in_and_ours_goes_back_over_the_same_connection(
    authority: Authority,
) -> None:
    async with listening(authority, [a_trunk()]) as bench:
        client, inbox = bench.clients[0], bench.inboxes[0]
        caller = await call(bench.listener.port, showing(authority.issue("pbx.example")))
        invite = a_request("INVITE", uri="sip:bridge@us.example")
        caller.send(invite)
        await inbox.expect(IncomingSession)
        client.agent.sessions[0].answer(Body("application/sdp", b"v=0\r\n"), now=client.now())
        client.pump()
        while isinstance(answer := await caller.receive(), Response) and answer.status < 200:
            pass
        assert isinstance(answer, Response)
        contact = answer.headers.contact
        assert contact is not None
        assert (contact.uri.host, contact.uri.port) == ("127.0.0.1", bench.listener.port)
        client.agent.invite(
            Uri.parse("sip:+15550100@pbx.example"),
            Body("application/sdp", b"v=0\r\n"),
            now=client.now(),
        )
        client.pump()
        while not (isinstance(ours := await caller.receive(), Request) and ours.method == "INVITE"):
            pass
        assert ours.headers.via.port == bench.listener.port
        caller.send(response_to(ours, 486, to_tag="busy"))
        assert (await inbox.expect(SessionEnded)).status == 486


async def test_advertised_host_is_what_peers_come_back_to(authority: Authority) -> None:
    async with listening(authority, [a_trunk()], advertise="us.example") as bench:
        client = bench.clients[0]
        caller = await call(bench.listener.port, showing(authority.issue("pbx.example")))
        caller.send(options())
        await caller.receive()
        client.agent.send_message(
            Uri.parse("sip:1@pbx.example"), Body("text/plain", b"x"), now=client.now()
        )
        client.pump()
        message = await caller.receive()
        assert isinstance(message, Request)
        assert (message.headers.via.host, message.headers.via.port) == (
            "us.example",
            bench.listener.port,
        )
        caller.send(response_to(message, 200, to_tag="peer"))
        await bench.inboxes[0].expect(MessageSent)


async def test_own_connection_of_a_static_peer_names_the_listener_and_goes_first(
    authority: Authority,
) -> None:
    context = server_context(authority.issue("pbx.example"))
    async with peering(context) as peer:
        trunk = replace(
            a_trunk(),
            connect=True,
            host="127.0.0.1",
            port=peer.port,
            tls=TlsSettings(ca_file=authority.file),
        )
        inbox = Inbox()
        client = TrunkClient(trunk, listener=inbox)
        settings = ListenerSettings(
            "127.0.0.1", 0, authority.issue("us.example"), ca_file=authority.file
        )
        listener = Listener(settings, clients=[client])
        async with asyncio.timeout(10):
            await listener.start()
            await client.start()
            await inbox.expect(TrunkUp)
            caller = await call(listener.port, showing(authority.issue("pbx.example")))
            caller.send(options())
            assert isinstance(await caller.receive(), Response)
            client.agent.invite(
                Uri.parse("sip:1@pbx.example"),
                Body("application/sdp", b"v=0\r\n"),
                now=client.now(),
            )
            client.pump()
            invite = await peer.expect("INVITE")
            assert isinstance(invite, Request)
            contact = invite.headers.contact
            assert contact is not None
            assert contact.uri.port == listener.port
            # A request of the peer comes over its own connection, and so does our answer.
            caller.send(options(2))
            answer = await caller.receive()
            assert isinstance(answer, Response)
            assert answer.headers.cseq.number == 2
            await listener.stop()
            await client.stop()


async def test_peer_that_hangs_up_takes_its_unanswered_call_along(authority: Authority) -> None:
    async with listening(authority, [a_trunk()]) as bench:
        caller = await call(bench.listener.port, showing(authority.issue("pbx.example")))
        caller.send(a_request("INVITE", uri="sip:bridge@us.example"))
        await bench.inboxes[0].expect(IncomingSession)
        caller.hang_up()
        await bench.inboxes[0].expect(SessionEnded)
        assert bench.clients[0].status.up


# --- our own certificate


async def test_renewed_certificate_is_shown_at_the_next_handshake(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ours = tmp_path / "ours.pem"
    ours.write_text(authority.issue("old.example").read_text())
    async with listening(authority, [a_trunk(HERE)], certificate_file=ours) as bench:
        callers = [await call(bench.listener.port, showing(None))]
        for name, length in (("half.example", 300), ("new.example", None)):
            ours.write_text(authority.issue(name).read_text()[:length])
            callers.append(await call(bench.listener.port, showing(None)))
        assert [caller.shown for caller in callers] == [
            ("old.example",),
            ("old.example",),
            ("new.example",),
        ]
        callers[0].send(options())
        assert isinstance(await callers[0].receive(), Response)  # and it was not cut
    assert caplog.text.count("going on with what was there before") == 1


async def test_certificate_that_ends_soon_is_warned_of(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    soon = authority.issue("us.example", days=(-1, 5.5))
    async with listening(authority, [a_trunk()], certificate_file=soon):
        pass
    assert "ends in 5 days: renew it" in caplog.text


async def test_missing_certificate_is_said_at_the_start(
    authority: Authority, tmp_path: Path
) -> None:
    for file in (None, tmp_path / "none.pem"):
        listener = Listener(ListenerSettings("127.0.0.1", 0, file), clients=[])
        with pytest.raises(TlsSettingsError, match=r"certificate_file|none\.pem"):
            await listener.start()
