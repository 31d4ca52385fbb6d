"""SRTP and SRTCP of one side of a call (RFC 3711, RFC 6188, RFC 7714), over pylibsrtp.

One `Srtp` holds both directions: what we send is protected under the local master key, what comes
in is opened under the remote one. Suites go by their names in SDP (RFC 4568 §6.2, RFC 6188 §4,
RFC 7714 §14).

A packet that is forged, replayed or malformed is an everyday thing: it gives `None` and a count,
never an exception, so that no stranger can end a call. `None` from `protect` likewise means: do
not send.

Keys live in libsrtp's contexts alone, which overwrite them when they are freed: `close` does so. A
master key is remembered by its digest, to tell whether it is the same one again.

pylibsrtp carries libsrtp, and that is what we take from it: its own packet calls allocate for each
packet and cost more than the cryptography (tests/bench has the figures), and it offers four of the
six suites. We call the same C functions through its binding.
"""

import hashlib
import hmac
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import pylibsrtp  # also brings the library up
from pylibsrtp._binding import ffi, lib

MAX_PACKET_LENGTH = 1500
MOST_SOURCES = 256  # of one far end; a phone has one, and a PBX that puts others through some more
_TRAILER = 4 + 16 + 128  # SRTCP index, tag, MKI: the most that libsrtp ever appends

# The binding looks a function up by its name each time that it is asked for one.
_PROTECT, _PROTECT_RTCP = lib.srtp_protect, lib.srtp_protect_rtcp
_UNPROTECT, _UNPROTECT_RTCP = lib.srtp_unprotect, lib.srtp_unprotect_rtcp

_AUTHENTICATION_FAILED = 7  # srtp_err_status_t; the binding names only "ok"
_REPLAYED = (9, 10)  # seen before; too old to tell

# srtp_crypto_policy_t: cipher, length of key and salt, authentication, its key, its tag, services.
# The binding does not name its fields; `_check_layout` holds them against what libsrtp writes.
_POLICY_OF_CM_128: Final = (1, 30, 3, 20, 10, 3)
_AES_256_CM: Final = 5  # SRTP_AES_ICM_256


@dataclass(frozen=True, slots=True)
class Suite:
    """What a suite is made of. Lengths in bytes; the master key is key and salt in one string.

    Attributes:
        tag_length: of SRTP. SRTCP has 16 with GCM, else 10 (RFC 4568 §6.2.2).
        profile: libsrtp's, or that of the suite with a shorter key.
    """

    name: str
    key_length: int
    salt_length: int
    tag_length: int
    profile: int

    @property
    def master_length(self) -> int:
        return self.key_length + self.salt_length

    @property
    def is_gcm(self) -> bool:
        return self.tag_length == 16


SUITES = MappingProxyType(
    {
        suite.name: suite
        for suite in (
            Suite("AEAD_AES_256_GCM", 32, 12, 16, lib.srtp_profile_aead_aes_256_gcm),
            Suite("AEAD_AES_128_GCM", 16, 12, 16, lib.srtp_profile_aead_aes_128_gcm),
            Suite("AES_256_CM_HMAC_SHA1_80", 32, 14, 10, lib.srtp_profile_aes128_cm_sha1_80),
            Suite("AES_CM_128_HMAC_SHA1_80", 16, 14, 10, lib.srtp_profile_aes128_cm_sha1_80),
            Suite("AES_256_CM_HMAC_SHA1_32", 32, 14, 4, lib.srtp_profile_aes128_cm_sha1_32),
            Suite("AES_CM_128_HMAC_SHA1_32", 16, 14, 4, lib.srtp_profile_aes128_cm_sha1_32),
        )
    }
)
"""By name, best first: what is authenticated in full comes before the tags of four bytes."""


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
        "_local_digest",
        "_remote",
        "_remote_digest",
        "_source",
        "_sources",
        "not_authentic",
        "refused",
        "replayed",
        "suite",
    )

    def __init__(
        self, suite: str, local_master: bytes | bytearray, remote_master: bytes | bytearray
    ) -> None:
        if suite not in SUITES:
            raise ValueError(f"unknown SRTP suite {suite!r}")
        self.suite = SUITES[suite]
        self.not_authentic = 0
        self.replayed = 0
        self.refused = 0  # malformed, or nothing that libsrtp would take
        self._local_digest = _digest(local_master)
        self._remote_digest = _digest(remote_master)
        self._local = _open(self.suite, local_master, lib.ssrc_any_outbound)
        self._remote = _open(self.suite, remote_master, lib.ssrc_any_inbound)
        self._source = b""
        self._sources: set[bytes] = set()
        self._cdata = ffi.new("char[]", MAX_PACKET_LENGTH + _TRAILER)
        self._buffer = ffi.buffer(self._cdata)
        self._length = ffi.new("int *")

    def __repr__(self) -> str:
        return f"<Srtp {self.suite.name}>"  # keys stay out of logs

    @property
    def name(self) -> str:
        """The suite's."""
        return self.suite.name

    def protect(self, packet: bytes) -> bytes | None:
        """An SRTP packet out of an RTP packet of ours; None: must not be sent."""
        return self._run(_PROTECT, self._local, packet)

    def unprotect(self, packet: bytes) -> bytes | None:
        """The RTP packet in an SRTP packet; None: not authentic, replayed or malformed."""
        source = packet[8:12]
        if source == self._source:
            return self._run(_UNPROTECT, self._remote, packet)
        return self._take(_UNPROTECT, packet, source)

    def protect_rtcp(self, packet: bytes) -> bytes | None:
        """An SRTCP packet out of a compound RTCP packet of ours; None: must not be sent."""
        return self._run(_PROTECT_RTCP, self._local, packet)

    def unprotect_rtcp(self, packet: bytes) -> bytes | None:
        """The RTCP packet in an SRTCP packet; None: not authentic, replayed or malformed."""
        return self._take(_UNPROTECT_RTCP, packet, packet[4:8])

    def change_keys(
        self, local_master: bytes | bytearray, remote_master: bytes | bytearray
    ) -> None:
        """Take the keys of a new offer/answer exchange.

        A direction whose key stays the same keeps its context: starting it anew would reset the
        roll-over counter and send a second text under the same keystream (RFC 4568 §7.1.4).

        Raises:
            ValueError: a key of the wrong length, or the contexts are closed.
        """
        if self._local is None or self._remote is None:
            raise ValueError("the contexts are closed")
        local, remote = _digest(local_master), _digest(remote_master)
        if not hmac.compare_digest(local, self._local_digest):
            fresh = _open(self.suite, local_master, lib.ssrc_any_outbound)
            ffi.release(self._local)
            self._local, self._local_digest = fresh, local
        if not hmac.compare_digest(remote, self._remote_digest):
            fresh = _open(self.suite, remote_master, lib.ssrc_any_inbound)
            ffi.release(self._remote)
            self._remote, self._remote_digest = fresh, remote
            self._source = b""
            self._sources.clear()

    def close(self) -> None:
        """Free the contexts, by which libsrtp overwrites their keys. Nothing passes any more."""
        for context in (self._local, self._remote):
            if context is not None:
                ffi.release(context)
        self._local = self._remote = None

    @property
    def discarded(self) -> int:
        """Packets that gave `None`, whatever the reason."""
        return self.not_authentic + self.replayed + self.refused

    def _take(self, function: Any, packet: bytes, source: bytes) -> bytes | None:
        """Open a packet of one of the far end's sources (SSRC). libsrtp keeps something of each for
        ever, and looks through them one by one: who has the keys could fill it."""
        if source == self._source:
            return self._run(function, self._remote, packet)
        if source not in self._sources and len(self._sources) >= MOST_SOURCES:
            self.refused += 1
            return None
        plain = self._run(function, self._remote, packet)
        if plain is not None:
            self._source = source
            self._sources.add(source)
        return plain

    def _run(self, function: Any, context: Any, packet: bytes) -> bytes | None:
        size = len(packet)
        if size > MAX_PACKET_LENGTH or context is None:
            self.refused += 1
            return None
        self._buffer[0:size] = packet
        length = self._length
        length[0] = size
        status = function(context[0], self._cdata, length)
        if status == 0:
            return self._buffer[0 : length[0]]  # type: ignore[no-any-return]  # cffi is untyped
        if status == _AUTHENTICATION_FAILED:
            self.not_authentic += 1
        elif status in _REPLAYED:
            self.replayed += 1
        else:
            self.refused += 1
        return None


def _digest(master: bytes | bytearray) -> bytes:
    return hashlib.sha256(master).digest()


def _open(suite: Suite, master: bytes | bytearray, ssrc_type: int) -> Any:
    """A context of libsrtp, to be given back with `ffi.release`; the key that goes in there is
    overwritten on the way."""
    if len(master) != suite.master_length:
        raise ValueError(f"{suite.name} takes a key of {suite.master_length} bytes")
    policy, key = ffi.new("srtp_policy_t *"), ffi.new("unsigned char[]", len(master))
    policy.ssrc.type = ssrc_type
    policy.key = key
    for part, of_profile in (
        (policy.rtp, lib.srtp_crypto_policy_set_from_profile_for_rtp),
        (policy.rtcp, lib.srtp_crypto_policy_set_from_profile_for_rtcp),
    ):
        of_profile(ffi.addressof(part), suite.profile)
        if suite.key_length == 32 and not suite.is_gcm:
            words = _words(part)
            words[0], words[1] = _AES_256_CM, suite.master_length
    context = ffi.new("srtp_t *")
    try:
        ffi.memmove(key, master, len(master))
        status = lib.srtp_create(context, policy)
    finally:
        ffi.memmove(key, bytes(len(master)), len(master))
    if status != 0:
        raise ValueError(f"libsrtp does not take {suite.name} ({status})")
    return ffi.gc(context, _free)


def _free(context: Any) -> None:
    lib.srtp_dealloc(context[0])


def _words(policy: Any) -> Any:
    """The fields of a srtp_crypto_policy_t, each as wide as an int."""
    return ffi.cast("int *", ffi.addressof(policy))


def _check_layout() -> None:
    """Nothing is written into a structure that is not as we know it."""
    policy = ffi.new("srtp_policy_t *")
    lib.srtp_crypto_policy_set_from_profile_for_rtp(
        ffi.addressof(policy.rtp), lib.srtp_profile_aes128_cm_sha1_80
    )
    known = ffi.sizeof("srtp_crypto_policy_t") == 4 * len(_POLICY_OF_CM_128)
    if not known or tuple(_words(policy.rtp)[0 : len(_POLICY_OF_CM_128)]) != _POLICY_OF_CM_128:
        raise ImportError(f"pylibsrtp {pylibsrtp.__version__} carries a libsrtp unknown to us")


_check_layout()
