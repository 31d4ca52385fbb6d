"""DTLS-SRTP between two ends of ours, on a wire that loses, repeats and is shot at."""

import gc
import hashlib
import random
import weakref
from collections.abc import Callable
from contextlib import suppress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL

from media.dtls import (
    Certificate,
    DtlsClosed,
    DtlsConnected,
    DtlsFailed,
    DtlsTransport,
)
from media.flight import records_of
from tests.media.forged import ALERT, forgeries, fragment, record

CERTIFICATE = Certificate.generate()
OTHER = Certificate.generate()


class Wire:
    """Two associations and the datagrams between them, in virtual time; `lose` says which are
    lost."""

    def __init__(
        self,
        client: DtlsTransport,
        server: DtlsTransport,
        lose: Callable[[str, int], bool] = lambda source, number: False,
    ) -> None:
        self.ends = {"client": client, "server": server}
        self.events: dict[str, list[DtlsConnected | DtlsFailed | DtlsClosed]] = {
            "client": [],
            "server": [],
        }
        self.counts = {"client": 0, "server": 0}
        self.sizes: list[int] = []
        self.lose = lose
        self.now = 0.0

    def start(self) -> None:
        for end in self.ends.values():
            end.start(self.now)

    def run(self, seconds: float = 5.0) -> None:
        end_at = self.now + seconds
        while True:
            while self._carry():
                pass
            deadlines = [end.deadline() for end in self.ends.values()]
            when = min((at for at in deadlines if at is not None), default=end_at + 1)
            if when > end_at:
                return
            self.now = max(self.now, when)
            for end in self.ends.values():
                end.handle_timer(self.now)

    def _carry(self) -> bool:
        moved = False
        for name, other in (("client", "server"), ("server", "client")):
            for output in self.ends[name].poll():
                if not isinstance(output, bytes):
                    self.events[name].append(output)
                    continue
                moved = True
                self.counts[name] += 1
                self.sizes.append(len(output))
                if not self.lose(name, self.counts[name]):
                    self.ends[other].receive(output, self.now)
        return moved

    @property
    def connected(self) -> bool:
        return all(
            len(events) == 1 and isinstance(events[0], DtlsConnected)
            for events in self.events.values()
        )


def ends(
    client_knows: list[tuple[str, str]] | None = None,
    server_knows: list[tuple[str, str]] | None = None,
) -> tuple[DtlsTransport, DtlsTransport]:
    client = DtlsTransport(
        CERTIFICATE,
        client=True,
        fingerprints=client_knows if client_knows is not None else [("sha-256", OTHER.fingerprint)],
    )
    server = DtlsTransport(
        OTHER,
        client=False,
        fingerprints=server_knows
        if server_knows is not None
        else [("SHA-256", CERTIFICATE.fingerprint.lower())],
    )
    return client, server


def test_both_ends_get_the_same_keys_crosswise() -> None:
    wire = Wire(*ends())
    wire.start()
    wire.run()
    assert wire.connected
    (client,), (server,) = wire.events["client"], wire.events["server"]
    assert isinstance(client, DtlsConnected)
    assert isinstance(server, DtlsConnected)
    assert client.profile == server.profile == "AEAD_AES_256_GCM"
    assert client.local_master == server.remote_master
    assert client.remote_master == server.local_master
    assert client.local_master != client.remote_master
    assert len(client.local_master) == 32 + 12
    assert client.local_master.hex() not in repr(client)
    assert max(wire.sizes) <= 1200
    assert wire.ends["client"].deadline() is wire.ends["server"].deadline() is None


@pytest.mark.parametrize("lost", [("client", 1), ("server", 1), ("client", 2), ("server", 2)])
def test_a_lost_flight_costs_a_sixth_of_a_second(lost: tuple[str, int]) -> None:
    wire = Wire(*ends(), lose=lambda source, number: (source, number) == lost)
    wire.start()
    wire.run(0.9)
    assert wire.connected
    assert wire.now < 0.2


@pytest.mark.parametrize("seed", range(12))
def test_connects_over_a_lossy_wire(seed: int) -> None:
    chance = random.Random(seed)
    wire = Wire(*ends(), lose=lambda source, number: number <= 2 and chance.random() < 0.4)
    wire.start()
    wire.run(0.9)
    assert wire.connected


@pytest.mark.parametrize("wrong", ["client", "server"])
def test_wrong_fingerprint_gives_no_keys(wrong: str) -> None:
    stranger = [("sha-256", Certificate.generate().fingerprint)]
    client, server = ends(
        client_knows=stranger if wrong == "client" else None,
        server_knows=stranger if wrong == "server" else None,
    )
    wire = Wire(client, server)
    wire.start()
    wire.run()
    assert wire.events[wrong] == [
        DtlsFailed("the peer's certificate does not match its fingerprint")
    ]
    other = "server" if wrong == "client" else "client"
    assert not any(isinstance(event, DtlsConnected) for event in wire.events[wrong])
    assert wire.events[other]
    assert not isinstance(wire.events[other][-1], DtlsConnected)


def test_strongest_known_fingerprint_counts() -> None:
    good = ("sha-256", OTHER.fingerprint)
    bad = ("sha-512", "00:" * 63 + "00")
    for client_knows, works in (
        ([good, ("sha-1", "00:11"), ("md5", "x"), ("sha-256", "rubbish")], True),
        ([("sha-256", CERTIFICATE.fingerprint), good], True),
        ([good, bad], False),
    ):
        wire = Wire(*ends(client_knows=client_knows))
        wire.start()
        wire.run()
        assert wire.connected is works


@pytest.mark.parametrize("algorithm", ["sha-384", "sha-512"])
def test_other_digests(algorithm: str) -> None:
    der = OTHER.certificate.public_bytes(Encoding.DER)
    text = hashlib.new(algorithm.replace("-", ""), der).digest().hex(":")
    wire = Wire(*ends(client_knows=[(algorithm, text)]))
    wire.start()
    wire.run()
    assert wire.connected


def test_without_a_usable_fingerprint_it_fails_at_once() -> None:
    client, _ = ends(client_knows=[("sha-1", "AA:BB")])
    client.start(0.0)
    (failed,) = client.poll()
    assert isinstance(failed, DtlsFailed)


def test_garbage_neither_ends_nor_delays() -> None:
    chance = random.Random(3)
    client, server = ends()
    wire = Wire(client, server)
    wire.start()
    hello = next(each for each in client.poll() if isinstance(each, bytes))
    for end in (client, server):
        for size in (0, 1, 12, 13, 50, 1200, 9000, 65000):
            end.receive(chance.randbytes(size), 0.0)
            end.receive(b"\x16\xfe\xfd" + chance.randbytes(size), 0.0)
            # A whole record of an epoch that has not begun, or that is cut off.
            body = chance.randbytes(size % 1000)
            for epoch in (1, 2):
                head = b"\x17\xfe\xfd" + epoch.to_bytes(2, "big") + bytes(6)
                end.receive(head + len(body).to_bytes(2, "big") + body, 0.0)
        end.receive(hello[:-1], 0.0)
    server.receive(hello, 0.0)
    server.receive(hello, 0.0)
    wire.run()
    assert wire.connected


def test_garbage_after_the_handshake_is_ignored() -> None:
    client, server = ends()
    wire = Wire(client, server)
    wire.start()
    wire.run()
    forged_alert = b"\x15\xfe\xfd\x00\x00" + bytes(6) + b"\x00\x02\x02\x28"
    for end in (client, server):
        end.receive(forged_alert, 1.0)  # not encrypted: not from the peer
        end.receive(b"\x15\xfe\xfd\x00\x01" + bytes(5) + b"\x09\x00\x1a" + bytes(26), 1.0)
        assert not any(isinstance(each, DtlsClosed | DtlsFailed) for each in end.poll())


def test_close_is_told_to_the_peer() -> None:
    client, server = ends()
    wire = Wire(client, server)
    wire.start()
    wire.run()
    client.close()
    client.close()
    wire.run()
    assert wire.events["server"][1:] == [DtlsClosed()]
    assert wire.events["client"][1:] == []


def test_fatal_alert_of_the_peer_ends_the_handshake_if_nothing_follows() -> None:
    client, _ = ends()
    client.start(0.0)
    client.poll()
    client.receive(ALERT, 0.0)
    assert client.poll() == []
    client.receive(ALERT, 0.9)
    at = client.deadline()
    while at is not None and at <= 1.0:
        client.handle_timer(at)
        at = client.deadline()
    failed = client.poll()[-1]
    assert isinstance(failed, DtlsFailed)
    assert "alert 40" in failed.text
    assert client.deadline() is None


def test_a_warning_ends_nothing() -> None:
    client, server = ends()
    wire = Wire(client, server)
    wire.start()
    client.receive(ALERT[:-2] + b"\x01\x00", 0.0)
    wire.run()
    assert wire.connected


@pytest.mark.parametrize("alone", [True, False])
def test_forged_alerts_end_no_handshake_wherever_they_come_from(alone: bool) -> None:
    """Before there are keys anybody can write one, and the sender's address can be forged too."""
    client, server = ends()

    def shoot(source: str, number: int) -> bool:
        for end in (client, server):
            end.receive(ALERT if alone else 2 * ALERT, wire.now)
        return False

    wire = Wire(client, server, lose=shoot)
    wire.start()
    shoot("", 0)
    wire.run()
    assert wire.connected


def test_forged_handshake_records_end_nothing_wherever_they_come_from() -> None:
    """Before each datagram of the peer and after the last come all of them, under its address."""
    wire = Wire(*ends())

    def shoot(source: str, number: int) -> bool:
        if number > 2:
            return False  # only answers to what was repeated are left
        server_waits = source == "client" and number == 1
        for name, end in wire.ends.items():
            # A ClientHello that overtakes the peer's is what nothing helps against.
            hello = name == "client" or not server_waits
            for data in forgeries(number, hello=hello and name != source):
                end.receive(data, wire.now)
        return False

    wire.lose = shoot
    wire.start()
    wire.run()
    assert wire.connected
    assert wire.now < 0.5
    wire.lose = lambda source, number: False
    for end in wire.ends.values():  # nor after it
        for data in forgeries(7):
            end.receive(data, wire.now)
    wire.run()
    assert wire.connected
    wire.ends["client"].close()
    wire.run()
    assert wire.events["server"][1:] == [DtlsClosed()]


def test_a_hello_that_overtakes_the_peers_ends_the_handshake() -> None:
    """What we do not hold: see docs/media.md."""
    client, server = ends()
    wire = Wire(client, server)
    wire.start()
    stranger, _ = ends()
    stranger.start(0.0)
    (hello,) = (each for each in stranger.poll() if isinstance(each, bytes))
    server.receive(hello, 0.0)
    wire.run()
    assert not wire.connected


def test_somebody_elses_certificate_is_waited_out_and_then_named() -> None:
    """It is not taken for the peer's while the peer's may still come, and not waited out for ever
    when there is no other."""
    body = bytes((0, 0, 13, 0, 0, 10)) + b"0123456789"
    wrong = record(22, fragment(11, 1, body, length=len(body)))
    client, server = ends()
    wire = Wire(client, server)
    wire.start()
    client.receive(wrong, 0.0)
    wire.run()
    assert wire.connected
    client, _ = ends()
    client.start(0.0)
    client.receive(wrong, 0.0)
    while (at := client.deadline()) is not None and at <= 2.0:
        client.handle_timer(at)
    failed = client.poll()[-1]
    assert isinstance(failed, DtlsFailed)
    assert "does not match its fingerprint" in failed.text


@pytest.mark.parametrize("backwards", [False, True])
def test_flights_may_come_in_pieces_and_in_any_order(backwards: bool) -> None:
    """A record each, as a client with a small MTU sends them."""
    client, server = ends()
    client.start(0.0)
    server.start(0.0)
    connected: list[object] = []
    for _ in range(8):
        for sender, receiver in ((client, server), (server, client)):
            pieces: list[bytes] = []
            for output in sender.poll():
                if isinstance(output, bytes):
                    pieces += records_of(output)
                else:
                    connected.append(output)
            for piece in reversed(pieces) if backwards else pieces:
                receiver.receive(piece, 0.0)
    assert [type(each) for each in connected] == [DtlsConnected, DtlsConnected]


def test_a_large_certificate_comes_in_fragments() -> None:
    """More than a datagram holds, among forged ones."""
    large = _large_certificate()
    client = DtlsTransport(CERTIFICATE, client=True, fingerprints=[("sha-256", large.fingerprint)])
    server = DtlsTransport(large, client=False, fingerprints=[("sha-256", CERTIFICATE.fingerprint)])
    wire = Wire(client, server)

    def shoot(source: str, number: int) -> bool:
        client.receive(record(22, fragment(11, 1, bytes(9), length=300)), wire.now)
        return False

    wire.lose = shoot
    wire.start()
    wire.run()
    assert wire.counts["server"] > 2
    assert wire.connected


def test_a_server_that_wants_a_cookie_gets_it_when_nothing_better_came() -> None:
    """One of OpenSSL's own, which asks for no certificate either (RFC 6347 §4.2.1)."""
    context = SSL.Context(SSL.DTLS_SERVER_METHOD)
    context.use_privatekey(OTHER.key)
    context.use_certificate(OTHER.certificate)
    context.set_tlsext_use_srtp(b"SRTP_AES128_CM_SHA1_80")
    context.set_options(SSL.OP_COOKIE_EXCHANGE or 0)
    context.set_cookie_generate_callback(lambda connection: b"cookie")
    context.set_cookie_verify_callback(lambda connection, cookie: cookie == b"cookie")
    server = SSL.Connection(context)
    server.set_ciphertext_mtu(1200)
    server.set_accept_state()
    client, _ = ends()
    client.start(0.0)
    connected_at, now = None, 0.0
    while connected_at is None and now < 1.0:
        for output in client.poll():
            if isinstance(output, DtlsConnected):
                connected_at = now
            elif isinstance(output, bytes):
                server.bio_write(output)
                with suppress(SSL.WantReadError):
                    server.do_handshake()
                with suppress(SSL.WantReadError):
                    client.receive(server.bio_read(65536), now)
        now += 0.01
        client.handle_timer(now)
    assert connected_at is not None
    assert 0.4 < connected_at < 0.5


def _large_certificate() -> Certificate:
    small = Certificate.generate()
    padding = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.9999"), bytes(2000))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(small.certificate.subject)
        .issuer_name(small.certificate.subject)
        .public_key(small.key.public_key())
        .serial_number(1)
        .not_valid_before(small.certificate.not_valid_before_utc)
        .not_valid_after(small.certificate.not_valid_after_utc)
        .add_extension(padding, critical=False)
        .sign(small.key, hashes.SHA256())
    )
    return Certificate(small.key, certificate)


def test_what_comes_before_start_is_dropped() -> None:
    client, server = ends()
    client.start(0.0)
    for output in client.poll():
        assert isinstance(output, bytes)
        server.receive(output, 0.0)
    assert server.poll() == []
    server.start(0.1)
    wire = Wire(client, server)
    wire.now = 0.1
    wire.run()
    assert wire.connected


def test_an_association_goes_with_its_last_reference() -> None:
    """And does not wait for the collector, with all that the library holds for it."""
    client, server = ends()
    wire = Wire(client, server)
    wire.start()
    wire.run()
    gone = weakref.ref(client)
    gc.disable()
    try:
        del client, wire
        assert gone() is None
    finally:
        gc.enable()


def test_certificates_differ_and_have_a_fingerprint() -> None:
    assert CERTIFICATE.fingerprint != OTHER.fingerprint
    parts = CERTIFICATE.fingerprint.split(":")
    assert len(parts) == 32
    assert all(len(part) == 2 and part == part.upper() for part in parts)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=80), max_size=4), st.booleans())
def test_any_bytes_are_survived(datagrams: list[bytes], dressed: bool) -> None:
    for end in ends():
        end.start(0.0)
        for data in datagrams:
            head = b"\x16\xfe\xfd" + bytes(8) + len(data).to_bytes(2, "big") if dressed else b""
            end.receive(head + data, 0.0)
        end.close()
