"""DTLS-SRTP: the handshake that proves the peer by its fingerprint and yields SRTP keys (RFC 5763,
RFC 5764)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self


class Certificate:
    """A self-signed certificate for DTLS (RFC 8827 §6.5).

    Attributes:
        fingerprint: sha-256 as SDP wants it: `AB:CD:…`, in capitals.
    """

    fingerprint: str

    @classmethod
    def generate(cls) -> Self:
        """A new ECDSA P-256 key and certificate."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class DtlsConnected:
    """The peer's certificate matched its fingerprint; here are the keys.

    Attributes:
        profile: the SRTP suite by its SDES name (RFC 4568, RFC 7714), so that one table serves both
            sides of a call: `AEAD_AES_256_GCM`, `AEAD_AES_128_GCM` or `AES_CM_128_HMAC_SHA1_80`.
        local_master: key ‖ salt for what we send; remote_master: for what we receive.
    """

    profile: str
    local_master: bytes = field(repr=False)
    remote_master: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class DtlsFailed:
    """The handshake cannot succeed any more."""

    text: str


@dataclass(frozen=True, slots=True)
class DtlsClosed:
    """The peer closed the association (close_notify) after it was connected."""


DtlsOutput = bytes | DtlsConnected | DtlsFailed | DtlsClosed


class DtlsTransport:
    """One DTLS association, as client or as server.

    Bytes out of `poll()` are datagrams for `IceAgent.send`.
    """

    def __init__(
        self, certificate: Certificate, *, client: bool, fingerprints: Sequence[tuple[str, str]]
    ) -> None:
        """`fingerprints`: (algorithm, hex with colons) of the peer's description, e.g. `("sha-256",
        "AB:…")`."""
        raise NotImplementedError

    def start(self, now: float) -> None:
        """Begin: the client sends its first flight; the server is ready to receive one."""
        raise NotImplementedError

    def receive(self, datagram: bytes, now: float) -> None:
        """A datagram of the peer (first byte 20 to 63, RFC 7983), from a path that ICE has
        validated."""
        raise NotImplementedError

    def handle_timer(self, now: float) -> None:
        """Send a lost flight again if that is due."""
        raise NotImplementedError

    def deadline(self) -> float | None:
        """When `handle_timer` is wanted next; None once connected or failed."""
        raise NotImplementedError

    def poll(self) -> list[DtlsOutput]:
        """Outputs since the last call, in order."""
        raise NotImplementedError

    def close(self) -> None:
        """Say close_notify; `poll()` once more for it."""
        raise NotImplementedError
