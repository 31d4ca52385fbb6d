"""Streams to TURN servers: opening, TLS with its name, data both ways, every kind of end."""

import datetime
import ipaddress
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from media.stream import MAX_BUFFERED, Stage, Stream

HOST = "127.0.0.1"
Serve = Callable[[socket.socket], None]


def _echo(connection: socket.socket) -> None:
    while data := connection.recv(65536):
        connection.sendall(data)


@pytest.fixture
def serve() -> Iterator[Callable[..., int]]:
    """Start a server of one connection in a thread; gives its port."""
    listeners: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def start(behaviour: Serve = _echo, context: ssl.SSLContext | None = None) -> int:
        listener = socket.create_server((HOST, 0))
        listener.settimeout(5)
        listeners.append(listener)

        def run() -> None:
            try:
                connection, _ = listener.accept()
                connection.settimeout(5)
                if context is not None:
                    connection = context.wrap_socket(connection, server_side=True)
                with connection:
                    behaviour(connection)
            except OSError:
                pass

        thread = threading.Thread(target=run)
        thread.start()
        threads.append(thread)
        port = listener.getsockname()[1]
        assert isinstance(port, int)
        return port

    yield start
    for listener in listeners:
        listener.close()
    for thread in threads:
        thread.join(6)


def _happenings(
    stream: Stream, enough: Callable[[list[bool | bytes | None]], bool]
) -> list[bool | bytes | None]:
    """Run the loop of a worker over one stream."""
    seen: list[bool | bytes | None] = []
    for _ in range(2000):
        writing = [stream] if stream.wants_write else []
        select.select([stream], writing, [], 0.05)
        seen += stream.handle()
        if enough(seen) or None in seen:
            return seen
    raise AssertionError(f"not enough: {len(seen)}")


def _received(seen: list[bool | bytes | None]) -> bytes:
    return b"".join(s for s in seen if isinstance(s, bytes))


def test_opens_and_carries_bytes_both_ways(serve: Callable[..., int]) -> None:
    stream = Stream(HOST, serve(), None, None)
    stream.send(b"early")  # before it is open
    assert _happenings(stream, lambda seen: _received(seen) == b"early")[0] is True
    data = bytes(range(256)) * 100
    stream.send(data)
    _happenings(stream, lambda seen: _received(seen) == data)
    stream.close()


def test_a_server_that_leaves_is_told(serve: Callable[..., int]) -> None:
    stream = Stream(HOST, serve(lambda c: c.sendall(b"bye")), None, None)
    assert _happenings(stream, lambda seen: None in seen) == [True, b"bye", None]
    stream.close()


def test_a_port_that_nobody_serves_is_told() -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
    stream = Stream(HOST, port, None, None)
    assert _happenings(stream, lambda seen: None in seen) == [None]
    stream.close()


def test_a_name_that_no_certificate_can_have_is_a_stream_that_ends(
    serve: Callable[..., int],
) -> None:
    stream = Stream(HOST, serve(), ".test", ssl.create_default_context())
    assert _happenings(stream, lambda seen: None in seen) == [None]
    stream.close()


def test_a_full_buffer_drops_whole_frames() -> None:
    with socket.create_server((HOST, 0)) as silent:
        stream = Stream(HOST, silent.getsockname()[1], None, None)
        for _ in range(10):
            stream.send(bytes(MAX_BUFFERED // 4))
        assert len(stream._buffer) == MAX_BUFFERED
        stream.close()
        stream.send(b"nothing happens")


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Contexts of a server for 127.0.0.1 and of a client that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "turn")])
    now = datetime.datetime.now(datetime.UTC)
    names: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(HOST))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "turn.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    return server, ssl.create_default_context(cafile=str(path))


def test_tls_opens_once_the_certificate_is_verified(
    serve: Callable[..., int], certificate: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    server, client = certificate
    stream = Stream(HOST, serve(context=server), HOST, client)
    stream.send(b"x" * 50_000)
    seen = _happenings(stream, lambda seen: len(_received(seen)) == 50_000)
    assert seen[0] is True
    stream.close()


@pytest.mark.parametrize("name", ["elsewhere.example", HOST])
def test_tls_that_cannot_be_verified_never_opens(
    serve: Callable[..., int], certificate: tuple[ssl.SSLContext, ssl.SSLContext], name: str
) -> None:
    server, client = certificate
    if name == HOST:
        client = ssl.create_default_context()  # does not know the issuer
    stream = Stream(HOST, serve(context=server), name, client)
    assert _happenings(stream, lambda seen: None in seen) == [None]
    assert stream.stage is Stage.CLOSED
    stream.close()


@pytest.mark.parametrize("secure", [False, True])
def test_a_server_that_never_pauses_is_heard_by_turns(
    secure: bool, serve: Callable[..., int], certificate: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    """Other calls come between; and nothing is left behind in TLS."""
    sent = 1 << 20
    server, client = certificate
    port = serve(lambda connection: connection.sendall(bytes(sent)), server if secure else None)
    stream = Stream(HOST, port, HOST if secure else None, client if secure else None)
    turns: list[int] = []
    while sum(turns) < sent:
        writing = [stream] if stream.wants_write else []
        assert any(select.select([stream], writing, [], 5)[:2])
        turns.append(sum(len(each) for each in stream.handle() if isinstance(each, bytes)))
    stream.close()
    assert max(turns) <= 1 << 16
