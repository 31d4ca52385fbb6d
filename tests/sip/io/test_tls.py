import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from sip.io.flow import Connection, Dialer, connect
from sip.io.resolver import Target
from sip.io.tls import (
    TlsSettingsError,
    UntrustedPeer,
    client_context,
    explain,
    peer_certificate,
    server_name,
)
from sip.trunk import TlsSettings, Trunk
from tests.sip.io.authority import Authority, pin_of
from tests.sip.io.registrar import a_request
from tests.sip.io.tls_server import listening, refusing, server_context
from tests.sip.io.wiring import Ear


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"), name="Foreign CA")


def a_trunk(authority: Authority, domain: str = "pbx.example") -> Trunk:
    return Trunk(
        name="test",
        domain=domain,
        username="bridge",
        password="secret",
        tls=TlsSettings(ca_file=authority.file),
    )


def at(port: int) -> Target:
    return Target("pbx.example", port, "127.0.0.1", socket.AF_INET)


async def attempt(
    trunk: Trunk, context: ssl.SSLContext | None
) -> tuple[Connection | Exception, Ear, bytes]:
    """Connect to a server with `context`: what came of it, and what the server heard."""
    ear = Ear()
    async with listening(context) as seen:
        try:
            connection = await connect(trunk, at(seen.port), id=1, listener=ear, limit=20)
        except OSError as error:
            return error, ear, bytes(seen.heard)
        connection.abort("done")
        await connection.wait_lost()
        return connection, ear, bytes(seen.heard)


@pytest.mark.parametrize(
    ("domain", "names"),
    [
        ("pbx.example", ("pbx.example",)),
        ("pbx.example", ("other.example", "PBX.example")),
        ("pbx.example.", ("pbx.example",)),
        ("sip.pbx.example", ("*.pbx.example",)),
        ("127.0.0.1", ("127.0.0.1",)),
        ("[::1]", ("::1",)),
        ("pbx.example", ("sip:pbx.example",)),
    ],
)
async def test_certificate_with_the_domain_is_accepted(
    authority: Authority, domain: str, names: tuple[str, ...]
) -> None:
    context = server_context(authority.issue(*names))
    connection, ear, _ = await attempt(a_trunk(authority, domain), context)
    assert isinstance(connection, Connection), connection
    assert ear.made == [connection]


Bad = Callable[[Authority, Authority], Path]

BAD: dict[str, tuple[Bad, str, str]] = {
    "expired": (lambda a, s: a.issue("pbx.example", days=(-9, -1)), "pbx.example", "expired"),
    "not yet valid": (lambda a, s: a.issue("pbx.example", days=(1, 9)), "pbx.example", "clocks"),
    "unknown authority": (lambda a, s: s.issue("pbx.example"), "pbx.example", "not trusted"),
    "self-signed": (
        lambda a, s: a.issue("pbx.example", self_signed=True),
        "pbx.example",
        "self-signed",
    ),
    "wrong name": (
        lambda a, s: a.issue("other.example"),
        "pbx.example",
        "does not carry the name pbx.example",
    ),
    "common name only": (
        lambda a, s: a.issue(common_name="pbx.example"),
        "pbx.example",
        "does not carry",
    ),
    "common name beside others": (
        lambda a, s: a.issue("other.example", common_name="pbx.example"),
        "pbx.example",
        "does not carry",
    ),
    "wildcard too deep": (lambda a, s: a.issue("*.example"), "sip.pbx.example", "does not carry"),
    "address instead of name": (
        lambda a, s: a.issue("127.0.0.1"),
        "pbx.example",
        "does not carry",
    ),
    "name instead of address": (
        lambda a, s: a.issue("pbx.example"),
        "127.0.0.1",
        "does not carry the name 127.0.0.1",
    ),
    "name of the host that DNS gave": (
        lambda a, s: a.issue("sip1.provider.example"),
        "pbx.example",
        "does not carry",
    ),
    "name of another account at the same address": (
        lambda a, s: a.issue("tenant-b.example", "127.0.0.1"),
        "tenant-a.example",
        "does not carry the name tenant-a.example",
    ),
    "URI of a user instead of the domain": (
        lambda a, s: a.issue("sip:bridge@pbx.example"),
        "pbx.example",
        "does not carry",
    ),
    "URI of another scheme": (
        lambda a, s: a.issue("https://pbx.example"),
        "pbx.example",
        "does not carry",
    ),
    "signed with SHA-1": (
        lambda a, s: a.issue("pbx.example", sha1=True),
        "pbx.example",
        "signed with SHA-1",
    ),
    "short key": (
        lambda a, s: a.issue("pbx.example", key=rsa.generate_private_key(65537, 1024)),
        "pbx.example",
        "too short",
    ),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.filterwarnings("ignore:X509.sign:DeprecationWarning")
async def test_bad_certificate_is_refused_before_any_sip(
    authority: Authority, stranger: Authority, kind: str
) -> None:
    issue, domain, words = BAD[kind]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("DEFAULT@SECLEVEL=0")  # the server must be able to show a weak key
    context.load_cert_chain(issue(authority, stranger))
    trunk = a_trunk(authority, domain)
    error, ear, heard = await attempt(trunk, context)
    assert isinstance(error, ssl.SSLError), error
    assert words in explain(error)
    assert ear.made == []
    assert heard == b""


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_old_tls_is_refused_with_a_word_on_asterisk(
    authority: Authority, version: ssl.TLSVersion
) -> None:
    context = server_context(authority.issue("pbx.example"))
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    context.minimum_version = version
    context.maximum_version = version
    trunk = a_trunk(authority)
    ear = Ear()
    heard = bytearray()
    with refusing(context, heard) as port, pytest.raises(ssl.SSLError) as caught:
        await connect(trunk, at(port), id=1, listener=ear)
    assert "method=tlsv1_2" in explain(caught.value)
    assert ear.made == []
    assert heard == b""


async def test_accepted_session_is_not_resumed_without_its_check(authority: Authority) -> None:
    context = server_context(authority.issue("pbx.example"))
    trunk = a_trunk(authority)
    dialer = Dialer(trunk.tls)
    async with listening(context) as seen:
        for number in (1, 2):
            connection = await dialer(trunk, at(seen.port), id=number, listener=Ear())
            connection.abort("done")
            await connection.wait_lost()
    assert context.session_stats()["hits"] == 0


# --- pins


@pytest.mark.parametrize("slot", [0, 1])
async def test_pinned_key_stands_for_authority_name_and_dates(
    authority: Authority, slot: int
) -> None:
    issued = authority.issue("elsewhere.example", days=(-9, -1), self_signed=True)
    pins = [pin_of(issued), pin_of(authority.issue("next.example"))]
    tls = TlsSettings(pins=(pins[slot], pins[1 - slot]))
    connection, ear, _ = await attempt(replace(a_trunk(authority), tls=tls), server_context(issued))
    assert isinstance(connection, Connection), connection
    assert ear.made == [connection]


async def test_other_key_than_the_pinned_one_is_refused_with_its_pin(authority: Authority) -> None:
    issued, pinned = authority.issue("pbx.example"), authority.issue("pbx.example")
    tls = TlsSettings(pins=(pin_of(pinned),))
    error, ear, heard = await attempt(replace(a_trunk(authority), tls=tls), server_context(issued))
    assert isinstance(error, UntrustedPeer)
    assert pin_of(issued) in explain(error)
    assert (ear.made, ear.lost, heard) == ([], [], b"")


@pytest.mark.parametrize(
    ("names", "days", "words"),
    [(("other.example",), (-1, 9), "does not carry"), (("pbx.example",), (-9, -1), "expired")],
)
async def test_pin_beside_an_authority_is_asked_for_as_well(
    authority: Authority, names: tuple[str, ...], days: tuple[float, float], words: str
) -> None:
    issued = authority.issue(*names, days=days)
    tls = TlsSettings(ca_file=authority.file, pins=(pin_of(issued),))
    error, ear, heard = await attempt(replace(a_trunk(authority), tls=tls), server_context(issued))
    assert isinstance(error, ssl.SSLError)
    assert words in explain(error)
    assert (ear.made, heard) == ([], b"")


async def test_pin_does_not_make_a_short_key_long(authority: Authority) -> None:
    issued = authority.issue("pbx.example", key=rsa.generate_private_key(65537, 1024))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    context.load_cert_chain(issued)
    trunk = replace(a_trunk(authority), tls=TlsSettings(pins=(pin_of(issued),)))
    error, ear, heard = await attempt(trunk, context)
    assert isinstance(error, ssl.SSLError)
    assert (ear.made, heard) == ([], b"")


async def test_skipped_verification_does_not_skip_pins(authority: Authority) -> None:
    tls = TlsSettings(pins=("A" * 43 + "=",), insecure_skip_verification=True)
    context = server_context(authority.issue("pbx.example"))
    error, _, _ = await attempt(replace(a_trunk(authority), tls=tls), context)
    assert isinstance(error, UntrustedPeer)


# --- renewal


async def test_renewed_client_certificate_is_shown_by_the_next_connection(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    context = server_context(authority.issue("pbx.example"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.file)
    ours = authority.folder / "ours.pem"
    trunk = a_trunk(authority)
    trunk = replace(trunk, tls=replace(trunk.tls, certificate_file=ours))
    dialer = Dialer(trunk.tls)
    shown: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        certificate = peer_certificate(writer.get_extra_info("ssl_object"))
        shown.extend(certificate.domains if certificate is not None else ["none"])
        writer.write(bytes(a_request("OPTIONS", uri="sip:bridge@pbx.example")))
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        for number, text in enumerate(
            [
                authority.issue("old.example").read_text(),
                authority.issue("half.example").read_text()[:300],
                authority.issue("new.example").read_text(),
            ],
        ):
            ours.write_text(text)
            ear = Ear()
            port = server.sockets[0].getsockname()[1]
            connection = await dialer(trunk, at(port), id=number, listener=ear)
            await ear.hear(1)
            connection.abort("done")
            await connection.wait_lost()
    assert shown == ["old.example", "old.example", "new.example"]
    assert "ours.pem" in caplog.text
    assert "going on with what was there before" in caplog.text


async def test_verification_is_skipped_only_by_name(
    authority: Authority, stranger: Authority
) -> None:
    trunk = a_trunk(authority)
    trunk = replace(trunk, tls=TlsSettings(insecure_skip_verification=True))
    context = server_context(stranger.issue("other.example", days=(-9, -1)))
    connection, _, _ = await attempt(trunk, context)
    assert isinstance(connection, Connection)


async def test_without_ca_file_the_system_decides(authority: Authority) -> None:
    trunk = replace(a_trunk(authority), tls=TlsSettings())
    context = server_context(authority.issue("pbx.example"))
    error, _, _ = await attempt(trunk, context)
    assert isinstance(error, ssl.SSLCertVerificationError)
    assert "set ca_file" in explain(error)


async def test_server_asks_for_our_certificate_and_gets_it(authority: Authority) -> None:
    context = server_context(authority.issue("pbx.example"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.file)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # 1.3 tells of a refusal only afterwards
    ours = authority.issue("bridge.example")
    trunk = a_trunk(authority)
    with refusing(context) as port, pytest.raises(ssl.SSLError) as caught:
        await connect(trunk, at(port), id=1, listener=Ear())
    assert "client certificate" in explain(caught.value)
    trunk = replace(trunk, tls=replace(trunk.tls, certificate_file=ours))
    connection, _, _ = await attempt(trunk, context)
    assert isinstance(connection, Connection)


async def test_plain_tcp_port_is_recognised(authority: Authority) -> None:
    trunk = a_trunk(authority)

    async def grumble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SIP/2.0 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(grumble, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ssl.SSLError) as caught:
            await connect(trunk, at(port), id=1, listener=Ear())
    assert "not in TLS" in explain(caught.value)


async def test_silent_port_is_given_up(authority: Authority) -> None:
    trunk = a_trunk(authority)
    async with listening(None) as seen:
        with pytest.raises(TimeoutError) as caught:
            await connect(trunk, at(seen.port), id=1, listener=Ear(), limit=0.05)
    assert explain(caught.value) == "no answer in time"


async def test_peer_that_stops_reading_loses_the_flow(authority: Authority) -> None:
    deaf = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        cast(asyncio.ReadTransport, writer.transport).pause_reading()
        await deaf.wait()
        writer.transport.abort()

    context = server_context(authority.issue("pbx.example"))
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    ear = Ear()
    async with server, asyncio.timeout(20):
        port = server.sockets[0].getsockname()[1]
        connection = await connect(a_trunk(authority), at(port), id=1, listener=ear)
        message = replace(a_request("MESSAGE", uri="sip:a@b.example"), body=b"x" * 60_000)
        sent = 0
        while not ear.lost:
            connection.send(message)
            sent += 1
            assert sent < 2000, "the queue has no bound"
            await asyncio.sleep(0)
        deaf.set()
    assert ear.lost == ["the other side does not read what we send"]


# --- settings


def test_missing_ca_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TlsSettingsError, match=r"none\.pem.*no such file"):
        client_context(TlsSettings(ca_file=tmp_path / "none.pem"))


def test_ca_file_without_certificates_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("hello")
    with pytest.raises(TlsSettingsError, match=r"ca\.pem"):
        client_context(TlsSettings(ca_file=tmp_path / "ca.pem"))


def test_certificate_and_key_that_do_not_fit_are_named(
    authority: Authority, stranger: Authority
) -> None:
    settings = TlsSettings(
        certificate_file=authority.issue("a.example"), key_file=stranger.issue("b.example")
    )
    with pytest.raises(TlsSettingsError, match="mismatch"):
        client_context(settings)


def test_encrypted_key_does_not_ask_on_the_terminal(authority: Authority, tmp_path: Path) -> None:
    path = authority.issue("a.example")
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(TlsSettingsError, match=r"key\.pem"):
        client_context(TlsSettings(certificate_file=path, key_file=tmp_path / "key.pem"))


def test_name_in_the_certificate_is_the_domain_whatever_the_host(authority: Authority) -> None:
    assert server_name(replace(a_trunk(authority), host="sip1.provider.example")) == "pbx.example"


# --- words


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), "nothing listens"),
        (ConnectionResetError(errno.ECONNRESET, "x"), "reset"),
        (OSError(errno.ENETUNREACH, "x"), "no way"),
        (TimeoutError(), "no answer in time"),
        (TimeoutError(errno.ETIMEDOUT, "x"), "stopped answering"),
        (ConnectionAbortedError("SSL handshake is taking longer"), "handshake"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (ssl.SSLError(1, "odd"), "TLS failed"),
        (ValueError(), "ValueError"),
    ],
)
def test_failures_have_words(authority: Authority, error: Exception, words: str) -> None:
    assert words in explain(error)
