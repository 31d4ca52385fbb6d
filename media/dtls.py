"""DTLS-SRTP: the handshake that proves the peer by its fingerprint and yields SRTP keys (RFC 5763,
RFC 5764).

OpenSSL runs the protocol (DTLS 1.2; the library has no 1.3) between two memory buffers; datagrams
go in and out here. The peer's certificate is judged by nothing but the fingerprints of its
description, during the handshake, so that a stranger gets an alert and never a key. Only what comes
over a path that ICE has validated may be fed in; what is no DTLS record is dropped all the same,
and until the handshake is through so is what the peer would not send now (`media.flight`).

Deviation: before there are keys anybody can write an alert, and an address can be forged. A fatal
one ends the handshake only if nothing else comes for a second; any other is not looked at (RFC 6347
§4.1.2.7 warns of the former, RFC 5246 §7.2.2 demands it).

OpenSSL sends a lost flight again after a second, by a clock of its own. That is long before a first
word, so a flight without an answer is also repeated here, bit by bit, twice in the first half
second; who has it already drops it as a replay. Only these repetitions follow `now`.
"""

import datetime
import hashlib
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto

from media.flight import (
    ALERT,
    CHANGE_CIPHER_SPEC,
    HANDSHAKE,
    RECORD_HEADER,
    Flights,
    records_of,
)

_MTU: Final = 1200  # fits every path with its tunnels; RTP is smaller
_REPEAT_AFTER: Final = (0.15, 0.3)
_ANSWERS: Final = 8
_ALERT_GRACE: Final = 1.0
_DOUBT_GRACE: Final = 2.0  # for a certificate of somebody else
_FLIGHT: Final = (CHANGE_CIPHER_SPEC, HANDSHAKE)  # what flights consist of
_LABEL: Final = b"EXTRACTOR-dtls_srtp"

# By OpenSSL's name: RFC 4568's, and the sizes of key and salt (RFC 5764 §4.1.2, RFC 7714 §14.2).
# Best first.
_PROFILES: Final = {
    "SRTP_AEAD_AES_256_GCM": ("AEAD_AES_256_GCM", 32, 12),
    "SRTP_AEAD_AES_128_GCM": ("AEAD_AES_128_GCM", 16, 12),
    "SRTP_AES128_CM_SHA1_80": ("AES_CM_128_HMAC_SHA1_80", 16, 14),
}
_CIPHERS: Final = b"ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL"
# Strongest first: of several fingerprints those of the strongest known kind count (RFC 8122 §5).
_DIGESTS: Final = {"sha-512": "sha512", "sha-384": "sha384", "sha-256": "sha256"}


class Certificate:
    """A self-signed certificate for DTLS (RFC 8827 §6.5).

    Attributes:
        fingerprint: sha-256 as SDP wants it: `AB:CD:…`, in capitals.
    """

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self.key = key
        self.certificate = certificate
        digest = certificate.fingerprint(hashes.SHA256())
        self.fingerprint = digest.hex(":").upper()
        self._contexts: dict[bool, SSL.Context] = {}

    def context(self, *, client: bool) -> SSL.Context:
        """What all associations under this certificate have in common, made once for each role:
        one for each call would take 60 kB more of it."""
        if client not in self._contexts:
            self._contexts[client] = self._make_context(client)
        return self._contexts[client]

    def _make_context(self, client: bool) -> SSL.Context:
        context = SSL.Context(SSL.DTLS_CLIENT_METHOD if client else SSL.DTLS_SERVER_METHOD)
        context.set_options(SSL.OP_NO_QUERY_MTU | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_TICKET)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)  # nothing is said after the handshake
        context.set_cipher_list(_CIPHERS)
        context.use_privatekey(self.key)
        context.use_certificate(self.certificate)
        context.set_tlsext_use_srtp(":".join(_PROFILES).encode())
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _verify)
        return context

    @classmethod
    def generate(cls) -> Self:
        """A new ECDSA P-256 key and certificate. It lives for a year; peers look at the fingerprint
        only."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "WebRTC")])
        today = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(today - datetime.timedelta(days=1))
            .not_valid_after(today + datetime.timedelta(days=365))
            .sign(key, hashes.SHA256())
        )
        return cls(key, certificate)


@dataclass(frozen=True, slots=True)
class DtlsConnected:
    """The peer's certificate matched its fingerprint; here are the keys.

    Attributes:
        profile: the SRTP suite by its SDES name (RFC 4568, RFC 7714), so that one table serves both
            sides of a call: `AEAD_AES_256_GCM`, `AEAD_AES_128_GCM` or `AES_CM_128_HMAC_SHA1_80`.
        local_master: key ‖ salt for what we send; remote_master: for what we receive.
    """

    profile: str
    local_master: bytearray = field(repr=False)
    remote_master: bytearray = field(repr=False)

    def wipe(self) -> None:
        """Overwrite the keys, once they are where they belong."""
        for key in (self.local_master, self.remote_master):
            key[:] = bytes(len(key))


@dataclass(frozen=True, slots=True)
class DtlsFailed:
    """The handshake cannot succeed any more."""

    text: str


@dataclass(frozen=True, slots=True)
class DtlsClosed:
    """The peer closed the association after it was connected."""


DtlsOutput = bytes | DtlsConnected | DtlsFailed | DtlsClosed


class _State(Enum):
    NEW = auto()
    HANDSHAKE = auto()
    CONNECTED = auto()
    OVER = auto()


class DtlsTransport:
    """One DTLS association, as client or as server.

    Bytes out of `poll()` are datagrams for `IceAgent.send`.
    """

    def __init__(
        self, certificate: Certificate, *, client: bool, fingerprints: Sequence[tuple[str, str]]
    ) -> None:
        """`fingerprints`: (algorithm, hex with colons) of the peer's description, e.g. `("sha-256",
        "AB:…")`."""
        self._client = client
        self._algorithm, self._wanted = _strongest(fingerprints)
        self._mismatch = False
        self._is_peers = partial(_is_one_of, self._algorithm, self._wanted)
        self._flights = Flights(client=client, is_peers=self._is_peers)
        self._state = _State.NEW
        self._connection = SSL.Connection(certificate.context(client=client))
        self._connection.set_app_data(weakref.ref(self))  # a circle would outlive the call
        self._connection.set_ciphertext_mtu(_MTU)
        if client:
            self._connection.set_connect_state()
        else:
            self._connection.set_accept_state()
        self._flight: list[bytes] = []
        self._repeats = 0
        self._answers = 0
        self._repeat_at: float | None = None
        self._library_at: float | None = None
        self._alert: int | None = None  # the peer's, if it was the peer's
        self._alert_at: float | None = None  # when it is believed
        self._doubt_at: float | None = None  # when a wrong certificate is taken for the peer's
        self._outputs: list[DtlsOutput] = []

    def start(self, now: float) -> None:
        """Begin: the client sends its first flight; the server is ready to receive one."""
        if self._state is not _State.NEW:
            return
        self._state = _State.HANDSHAKE
        if not self._wanted:
            self._fail("the peer gave no fingerprint that we can check")
        else:
            self._shake_hands(now)

    def receive(self, datagram: bytes, now: float) -> None:
        """A datagram of the peer (first byte 20 to 63, RFC 7983), from a path that ICE has
        validated. What comes before `start` is dropped; the peer sends it again."""
        records = records_of(datagram)
        if not records:
            return
        if self._state is _State.HANDSHAKE:
            others = self._without_alerts(records, now)
            rest = self._flights.take(others)
            if not self._flights.is_doubtful:
                self._doubt_at = None
            elif self._doubt_at is None:
                self._doubt_at = now + _DOUBT_GRACE
            if rest:
                self._connection.bio_write(rest)
                self._shake_hands(now)
        elif self._state is _State.CONNECTED:
            self._connection.bio_write(datagram)
            self._read(datagram[0])

    def handle_timer(self, now: float) -> None:
        """Send a lost flight again if that is due."""
        if self._state is not _State.HANDSHAKE:
            return
        if self._alert_at is not None and self._alert_at <= now:
            self._fail(f"the peer gave up the DTLS handshake (alert {self._alert})")
            return
        if self._doubt_at is not None and self._doubt_at <= now:
            self._give_up_waiting(now)
            return
        if self._repeat_at is not None and self._repeat_at <= now:
            if self._repeats == len(_REPEAT_AFTER) and (wish := self._flights.verify_request()):
                self._connection.bio_write(wish)
                self._shake_hands(now)
                return
            self._outputs += self._flight
            self._plan_repeat(now)
        if self._library_at is not None and self._library_at <= now:
            try:
                self._connection.DTLSv1_handle_timeout()
            except SSL.Error as error:
                self._fail(f"the DTLS handshake got no answer ({_reason(error)})")
                return
            self._flush(now)

    def deadline(self) -> float | None:
        """When `handle_timer` is wanted next; None once connected or failed."""
        if self._state is not _State.HANDSHAKE:
            return None
        waiting = (self._repeat_at, self._library_at, self._alert_at, self._doubt_at)
        times = [at for at in waiting if at is not None]
        return min(times, default=None)

    def poll(self) -> list[DtlsOutput]:
        """Outputs since the last call, in order."""
        outputs, self._outputs = self._outputs, []
        return outputs

    def close(self) -> None:
        """Say close_notify; `poll()` once more for it."""
        if self._state is _State.CONNECTED:
            try:
                self._connection.shutdown()
            except SSL.Error:
                pass  # it is over either way
            else:
                self._outputs += self._datagrams()
        self._state = _State.OVER

    # --- the library

    def judge(self, certificate: x509.Certificate) -> bool:
        """Whether the peer's certificate is the one of its description."""
        self._mismatch = self._mismatch or not self._matches(certificate)
        return not self._mismatch

    def _matches(self, certificate: x509.Certificate) -> bool:
        return self._is_peers(certificate.public_bytes(Encoding.DER))

    def _without_alerts(self, records: Sequence[bytes], now: float) -> list[bytes]:
        """All but alerts in the clear, which are put aside; see the module's head. Whoever sends
        something else has not given up."""
        kept: list[bytes] = []
        for record in records:
            if record[0] != ALERT or record[3:5] != b"\0\0":
                kept.append(record)
            elif record[RECORD_HEADER:][:1] == b"\2" and self._alert_at is None:
                self._alert, self._alert_at = record[-1], now + _ALERT_GRACE
        if kept:
            self._alert_at = None
        return kept

    def _give_up_waiting(self, now: float) -> None:
        """Only a wrong certificate came: the library says so to the peer."""
        self._doubt_at = None
        held = self._flights.give_up()
        if held:
            self._connection.bio_write(held)
            self._shake_hands(now)
        if self._state is _State.HANDSHAKE:
            self._mismatch = True
            self._fail("the peer's certificate does not match its fingerprint")

    def _shake_hands(self, now: float) -> None:
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            self._flush(now)
        except SSL.Error as error:
            self._outputs += self._datagrams()  # the alert that says why
            if self._mismatch:
                self._fail("the peer's certificate does not match its fingerprint")
            else:
                self._fail(f"the DTLS handshake failed ({_reason(error)})")
        else:
            self._flush(now)
            self._finish()

    def _finish(self) -> None:
        """The handshake is through; keys are handed out only for a certificate that was checked."""
        certificate = self._connection.get_peer_certificate(as_cryptography=True)
        if certificate is None or self._mismatch or not self._matches(certificate):
            self._fail("the peer's certificate does not match its fingerprint")
            return
        profile = _PROFILES.get(self._connection.get_selected_srtp_profile().decode())
        if profile is None:
            self._fail("the peer speaks DTLS without SRTP")
            return
        name, key_size, salt_size = profile
        size = 2 * (key_size + salt_size)
        material = bytearray(self._connection.export_keying_material(_LABEL, size))
        # client key, server key, client salt, server salt (RFC 5764 §4.2)
        keys, salts = material[: 2 * key_size], material[2 * key_size :]
        ours_by_role = keys[:key_size] + salts[:salt_size]
        theirs_by_role = keys[key_size:] + salts[salt_size:]
        if not self._client:
            ours_by_role, theirs_by_role = theirs_by_role, ours_by_role
        self._state = _State.CONNECTED
        self._outputs.append(DtlsConnected(name, ours_by_role, theirs_by_role))

    def _read(self, content_type: int) -> None:
        """After the handshake there are only repeated flights, to be answered, and alerts.

        Who repeats a flight has not got our last one. The library answers a retransmission, but
        takes a repetition bit by bit for a replay; so that is answered here, a few times.
        """
        try:
            while True:
                self._connection.recv(4096)  # nobody has anything to say here
        except SSL.WantReadError:
            datagrams = self._datagrams()
            if not datagrams and content_type in _FLIGHT and self._answers < _ANSWERS:
                self._answers += 1
                datagrams = self._flight
            self._outputs += datagrams
        except (SSL.ZeroReturnError, SSL.SysCallError, SSL.Error):
            self._state = _State.OVER
            self._outputs.append(DtlsClosed())

    def _flush(self, now: float) -> None:
        """Send what the library has written: a new flight, or an old one again."""
        datagrams = self._datagrams()
        if datagrams:
            self._outputs += datagrams
            self._flight = datagrams
            self._repeats = 0
            self._plan_repeat(now)
        left = self._connection.DTLSv1_get_timeout()
        self._library_at = None if left is None else now + left

    def _plan_repeat(self, now: float) -> None:
        if self._repeats < len(_REPEAT_AFTER):
            self._repeat_at = now + _REPEAT_AFTER[self._repeats]
            self._repeats += 1
        else:
            self._repeat_at = None

    def _datagrams(self) -> list[bytes]:
        """The library's buffer runs datagrams together; cut it at records, and join those that fit
        (RFC 6347 §4.1.1)."""
        datagrams: list[bytes] = []
        try:
            written = self._connection.bio_read(65536)
        except SSL.Error:
            return datagrams
        at, start = 0, 0
        while at + RECORD_HEADER <= len(written):
            end = at + RECORD_HEADER + int.from_bytes(written[at + 11 : at + 13], "big")
            if end - start > _MTU and at > start:
                datagrams.append(written[start:at])
                start = at
            at = end
        datagrams.append(written[start:])
        return datagrams

    def _fail(self, text: str) -> None:
        self._state = _State.OVER
        self._outputs.append(DtlsFailed(text))


def _verify(
    connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, ok: int
) -> bool:
    """Called by the library per certificate and complaint; whoever signed it is of no interest."""
    transport = connection.get_app_data()()
    if transport is None:
        return False
    return depth != 0 or bool(transport.judge(certificate.to_cryptography()))


def _is_one_of(algorithm: str, digests: frozenset[bytes], der: bytes) -> bool:
    return hashlib.new(algorithm, der).digest() in digests


def _strongest(fingerprints: Sequence[tuple[str, str]]) -> tuple[str, frozenset[bytes]]:
    """The digests that count, and their algorithm; none when nothing is usable."""
    known: dict[str, set[bytes]] = {}
    for algorithm, text in fingerprints:
        name = _DIGESTS.get(algorithm.strip().lower())
        if name is None:
            continue
        try:
            digest = bytes.fromhex(text.strip().replace(":", ""))
        except ValueError:
            continue
        if len(digest) == hashlib.new(name).digest_size:
            known.setdefault(name, set()).add(digest)
    for name in _DIGESTS.values():
        if name in known:
            return name, frozenset(known[name])
    return "sha256", frozenset()


def _reason(error: SSL.Error) -> str:
    """OpenSSL's own words for its first complaint."""
    details = error.args[0] if error.args else None
    if isinstance(details, list) and details and isinstance(details[0], tuple):
        return str(details[0][-1])
    return "no reason given"
