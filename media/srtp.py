"""SRTP and SRTCP of one side of a call (RFC 3711, RFC 7714), over pylibsrtp.

One `Srtp` holds both directions: what we send is protected under the local master key, what comes
in is opened under the remote one. Suites go by their names in SDP (RFC 4568 §6.2, RFC 7714 §14);
`DTLS_PROFILES` translates the names that DTLS negotiates (RFC 5764 §4.1.2).

A packet that is forged, replayed or malformed is an everyday thing: it gives `None` and a count,
never an exception, so that no stranger can end a call. `None` from `protect` likewise means: do
not send.

pylibsrtp's `Session` makes and owns the contexts. Its packet calls are bypassed: they allocate for
each packet and cost more than the cryptography. We call the same C functions through its binding,
with one buffer per object. tests/bench has the figures.
"""

import hmac
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import pylibsrtp
from pylibsrtp._binding import ffi, lib

MAX_PACKET_LENGTH = 1500
_TRAILER = 4 + 16 + 128  # SRTCP index, tag, MKI: the most that libsrtp ever appends

_AUTHENTICATION_FAILED = 7  # srtp_err_status_t; the binding names only "ok"
_REPLAYED = (9, 10)  # seen before; too old to tell


@dataclass(frozen=True, slots=True)
class Suite:
    """What a suite is made of. Lengths in bytes; the master key is key and salt in one string."""

    name: str
    key_length: int
    salt_length: int
    profile: int

    @property
    def master_length(self) -> int:
        return self.key_length + self.salt_length


SUITES = MappingProxyType(
    {
        suite.name: suite
        for suite in (
            Suite("AEAD_AES_256_GCM", 32, 12, pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_256_GCM),
            Suite("AEAD_AES_128_GCM", 16, 12, pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_128_GCM),
            Suite(
                "AES_CM_128_HMAC_SHA1_80", 16, 14, pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_80
            ),
            Suite(
                "AES_CM_128_HMAC_SHA1_32", 16, 14, pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_32
            ),
        )
    }
)
"""By RFC 4568 name, strongest first."""

DTLS_PROFILES = MappingProxyType(
    {
        "SRTP_AEAD_AES_256_GCM": "AEAD_AES_256_GCM",
        "SRTP_AEAD_AES_128_GCM": "AEAD_AES_128_GCM",
        "SRTP_AES128_CM_SHA1_80": "AES_CM_128_HMAC_SHA1_80",
        "SRTP_AES128_CM_SHA1_32": "AES_CM_128_HMAC_SHA1_32",
    }
)
"""From the name that OpenSSL gives a negotiated DTLS-SRTP profile to the suite's name."""


class Srtp:
    """The SRTP contexts of one side.

    Args:
        suite: a name in `SUITES`.
        local_master: key and salt under which we send.
        remote_master: key and salt under which the far end sends.

    Raises:
        ValueError: an unknown suite, or a key of the wrong length.
    """

    __slots__ = (
        "_buffer",
        "_cdata",
        "_length",
        "_local",
        "_local_master",
        "_remote",
        "_remote_master",
        "not_authentic",
        "refused",
        "replayed",
        "suite",
    )

    def __init__(self, suite: str, local_master: bytes, remote_master: bytes) -> None:
        if suite not in SUITES:
            raise ValueError(f"unknown SRTP suite {suite!r}")
        self.suite = SUITES[suite]
        self.not_authentic = 0
        self.replayed = 0
        self.refused = 0  # malformed, or nothing that libsrtp would take
        self._local_master = local_master
        self._remote_master = remote_master
        self._local = self._open(local_master, pylibsrtp.Policy.SSRC_ANY_OUTBOUND)
        self._remote = self._open(remote_master, pylibsrtp.Policy.SSRC_ANY_INBOUND)
        self._cdata = ffi.new("char[]", MAX_PACKET_LENGTH + _TRAILER)
        self._buffer = ffi.buffer(self._cdata)
        self._length = ffi.new("int *")

    def __repr__(self) -> str:
        return f"<Srtp {self.suite.name}>"  # keys stay out of logs

    def protect(self, packet: bytes) -> bytes | None:
        """An SRTP packet out of an RTP packet of ours; None: must not be sent."""
        return self._run(lib.srtp_protect, self._local, packet)

    def unprotect(self, packet: bytes) -> bytes | None:
        """The RTP packet in an SRTP packet; None: not authentic, replayed or malformed."""
        return self._run(lib.srtp_unprotect, self._remote, packet)

    def protect_rtcp(self, packet: bytes) -> bytes | None:
        """An SRTCP packet out of a compound RTCP packet of ours; None: must not be sent."""
        return self._run(lib.srtp_protect_rtcp, self._local, packet)

    def unprotect_rtcp(self, packet: bytes) -> bytes | None:
        """The RTCP packet in an SRTCP packet; None: not authentic, replayed or malformed."""
        return self._run(lib.srtp_unprotect_rtcp, self._remote, packet)

    def change_keys(self, local_master: bytes, remote_master: bytes) -> None:
        """Take the keys of a new offer/answer exchange.

        A direction whose key stays the same keeps its context: starting it anew would reset the
        roll-over counter and send a second text under the same keystream (RFC 4568 §7.1.4).
        """
        if not hmac.compare_digest(local_master, self._local_master):
            self._local = self._open(local_master, pylibsrtp.Policy.SSRC_ANY_OUTBOUND)
            self._local_master = local_master
        if not hmac.compare_digest(remote_master, self._remote_master):
            self._remote = self._open(remote_master, pylibsrtp.Policy.SSRC_ANY_INBOUND)
            self._remote_master = remote_master

    @property
    def discarded(self) -> int:
        """Packets that gave `None`, whatever the reason."""
        return self.not_authentic + self.replayed + self.refused

    def _open(self, master: bytes, ssrc_type: int) -> pylibsrtp.Session:
        if len(master) != self.suite.master_length:
            raise ValueError(f"{self.suite.name} takes a key of {self.suite.master_length} bytes")
        policy = pylibsrtp.Policy(key=master, ssrc_type=ssrc_type, srtp_profile=self.suite.profile)
        return pylibsrtp.Session(policy)

    def _run(self, function: Any, session: pylibsrtp.Session, packet: bytes) -> bytes | None:
        size = len(packet)
        if size > MAX_PACKET_LENGTH:
            self.refused += 1
            return None
        self._buffer[0:size] = packet
        length = self._length
        length[0] = size
        status = function(session._srtp[0], self._cdata, length)
        if status == 0:
            return self._buffer[0 : length[0]]  # type: ignore[no-any-return]  # cffi is untyped
        if status == _AUTHENTICATION_FAILED:
            self.not_authentic += 1
        elif status in _REPLAYED:
            self.replayed += 1
        else:
            self.refused += 1
        return None
