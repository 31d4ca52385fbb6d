"""Verified TLS with a trunk (RFC 5922), and words for every way in which it can fail.

TLS 1.2 or later, a chain to a known authority, and the trunk's *domain* among the names of the
certificate: not the host that DNS gave for it, since DNS can be forged. Chain, dates and strength
are OpenSSL's to check, within the handshake; names and pins are looked at by us at its end, before
a byte of SIP (`sip.io.certificate`). Sessions are not resumed: a resumed session would carry an old
decision about a certificate, and a full handshake costs three milliseconds.

A pin takes the place of authority, name and dates, as a key that somebody wrote down proves more
than they do (compare RFC 7671 §5.1); beside a `ca_file` all must hold. Protocol version and length
of the key are asked for in each case.
"""

import errno
import logging
import ssl
from collections.abc import Callable, Iterable
from pathlib import Path

from sip.io.certificate import SOON_DAYS, Certificate
from sip.trunk import TlsSettings, Trunk

logger = logging.getLogger(__name__)


class TlsSettingsError(Exception):
    """A file that the settings name cannot be used; the text says which and why."""


class UntrustedPeer(ssl.SSLError):
    """The handshake went well, and the certificate is not that of the one we want to talk to."""

    def __init__(self, text: str) -> None:
        super().__init__(ssl.SSL_ERROR_SSL, text)


def client_context(settings: TlsSettings) -> ssl.SSLContext:
    """Make the context for connections under `settings`; `check_peer` belongs to it.

    Raises:
        TlsSettingsError: a file is missing, unreadable or not what it should be.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # `check_peer` does, which knows SIP's URIs and pins too
    if settings.insecure_skip_verification or (settings.pins and settings.ca_file is None):
        context.verify_mode = ssl.CERT_NONE
    else:
        _trust(context, settings.ca_file, ssl.Purpose.SERVER_AUTH)
    if settings.certificate_file is not None:
        _prove(context, settings.certificate_file, settings.key_file)
    return context


def server_context(
    certificate_file: Path,
    key_file: Path | None,
    *,
    ca_file: Path | None = None,
    ask: bool = True,
) -> ssl.SSLContext:
    """Make the context for connections that peers open.

    Args:
        ca_file: whose client certificates to believe, instead of the system's authorities.
        ask: whether to ask for a client certificate; one that is shown must be good, and none may
            be shown.

    Raises:
        TlsSettingsError: a file is missing, unreadable or not what it should be.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    context.num_tickets = 0  # nothing is resumed
    context.options |= ssl.OP_NO_TICKET
    _prove(context, certificate_file, key_file)
    if ask:
        _trust(context, ca_file, ssl.Purpose.CLIENT_AUTH)
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def check_peer(secure: ssl.SSLObject | None, trunk: Trunk) -> None:
    """Look at the certificate of a server whose handshake under `client_context` is complete.

    Raises:
        UntrustedPeer: it is not the trunk's.
    """
    if secure is None:
        raise UntrustedPeer("the connection is not encrypted")
    settings = trunk.tls
    if settings.insecure_skip_verification and not settings.pins:
        return
    certificate = peer_certificate(secure)
    if certificate is None:
        raise UntrustedPeer("the other side shows no certificate that can be read")
    if settings.pins:
        if certificate.pin not in settings.pins:
            raise UntrustedPeer(
                f"the certificate's key is not the pinned one: its pin is {certificate.pin}; set "
                "pins of this trunk to that if you know that the key was changed on purpose"
            )
        if not certificate.strong:
            raise UntrustedPeer(_VERIFICATION[_KEY_TOO_SHORT])
    if not settings.pins or settings.ca_file is not None:
        name = server_name(trunk)
        if not certificate.carries(name):
            raise UntrustedPeer(
                f"the certificate does not carry the name {name}: `domain` of this trunk must be a "
                "name in the certificate (subjectAltName); where to connect is said by `host` if "
                "that is another"
            )


def peer_certificate(secure: ssl.SSLObject) -> Certificate | None:
    """The other side's certificate; None if it showed none, or one that cannot be read."""
    encoded = secure.getpeercert(binary_form=True)
    if encoded is None:
        return None
    try:
        return Certificate.read(encoded)
    except ValueError as error:
        logger.info("a certificate cannot be read: %s", error)
        return None


class Renewed:
    """A TLS context that follows its files: made anew for the next connection when one has changed.

    A file that cannot be used (somebody is just writing it) leaves the last good context in force,
    so that a renewal which goes wrong costs no line as long as the old certificate is valid.

    Args:
        make: reads the files.
        files: which those are.
    """

    def __init__(
        self, make: Callable[[], ssl.SSLContext], files: Iterable[str | Path | None]
    ) -> None:
        self._make = make
        self._files = [Path(file) for file in files if file is not None]
        self._read: list[object] = []
        self._last: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """Return the context for one connection.

        Raises:
            TlsSettingsError: a file cannot be used, and never could.
        """
        found = [_stamp(file) for file in self._files]
        if self._last is not None and found == self._read:
            return self._last
        self._read = found
        try:
            self._last = self._make()
        except TlsSettingsError as error:
            if self._last is None:
                raise
            logger.warning("%s: going on with what was there before", error)
        return self._last


def system_authorities() -> tuple[str | None, ...]:
    """The files and folders in which the system keeps the authorities that it trusts."""
    paths = ssl.get_default_verify_paths()
    return paths.cafile, paths.capath


def _stamp(file: Path) -> object:
    try:
        status = file.stat()
    except OSError as error:
        return error.errno
    return status.st_ino, status.st_mtime_ns, status.st_size


def server_name(trunk: Trunk) -> str:
    """The name that the certificate must carry; also SNI, unless it is an address (RFC 6066 §3)."""
    return trunk.domain.strip("[]").rstrip(".")


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # the peer of a connection stays who it was
    return context


def _trust(context: ssl.SSLContext, ca_file: Path | None, purpose: ssl.Purpose) -> None:
    if ca_file is None:
        context.load_default_certs(purpose)
        return
    try:
        context.load_verify_locations(cafile=ca_file)
    except (ssl.SSLError, OSError) as error:
        raise TlsSettingsError(
            f"{ca_file} cannot be read as certificates in PEM form ({_reason(error)})"
        ) from error


def _prove(context: ssl.SSLContext, certificate_file: Path, key_file: Path | None) -> None:
    try:
        # An empty password rather than none: OpenSSL would ask for it on the terminal.
        context.load_cert_chain(certificate_file, key_file, password="")
    except (ssl.SSLError, OSError) as error:
        raise TlsSettingsError(
            f"{certificate_file} and its key ({key_file or 'in the same file'}) cannot be used "
            f"({_reason(error)})"
        ) from error
    days = Certificate.of_file(certificate_file).days_left()
    if days < SOON_DAYS:
        logger.warning("our certificate %s ends in %d days: renew it", certificate_file, days)


_KEY_TOO_SHORT = 66

# OpenSSL's X509_V_ERR_* numbers, which are part of its stable interface.
_VERIFICATION = {
    9: "the certificate is not valid yet: compare the clocks of both machines",
    10: "the certificate has expired: the other side must renew it",
    13: "the certificate has a broken date",
    14: "the certificate has a broken date",
    18: "the certificate is self-signed: set ca_file of this trunk to it, or let the other side "
    "get one from an authority",
    19: "the certificate comes from an authority that is not trusted here: set ca_file of this "
    "trunk to its root",
    20: "the certificate comes from an authority that is not trusted here, or the other side does "
    "not send the intermediate ones: set ca_file of this trunk to the root, or mend the chain",
    21: "the certificate's chain is incomplete: the other side must send the intermediate ones",
    23: "the certificate is revoked",
    24: "a certificate in the chain is not allowed to issue others",
    26: "the certificate is not meant for servers",
    _KEY_TOO_SHORT: "the certificate's key is too short (RSA below 2048 bits)",
    67: "the key of the certificate's authority is too short",
    68: "the certificate is signed with SHA-1 or MD5, which can be forged",
}

_OLD_TLS = (
    "the other side speaks no TLS 1.2 or later; an Asterisk whose pjsip.conf transport has no "
    "`method=` speaks TLS 1.0 only: set `method=tlsv1_2` there and restart it"
)
_NO_TLS = "the other side answers, but not in TLS: is this its port for TCP without TLS?"
_OUR_CERTIFICATE = "the other side refuses our client certificate"

# Names of OpenSSL's error table, as ssl.SSLError.reason carries them.
_HANDSHAKE = {
    "UNSUPPORTED_PROTOCOL": _OLD_TLS,
    "TLSV1_ALERT_PROTOCOL_VERSION": _OLD_TLS,
    "WRONG_SSL_VERSION": _OLD_TLS,
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "HTTP_REQUEST": _NO_TLS,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "both sides found no cipher in common, or the other side "
    "wants a client certificate",
    "TLSV1_ALERT_INSUFFICIENT_SECURITY": "the other side asks for stronger ciphers than we have",
    "DH_KEY_TOO_SMALL": "the other side's Diffie-Hellman key is too short",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the other side wants a client certificate: set "
    "certificate_file and key_file of this trunk",
    "SSLV3_ALERT_BAD_CERTIFICATE": _OUR_CERTIFICATE,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _OUR_CERTIFICATE,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the other side finds our client certificate expired",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": _OUR_CERTIFICATE,
    "TLSV1_ALERT_UNKNOWN_CA": "the other side does not know our client certificate's authority",
    "TLSV1_ALERT_ACCESS_DENIED": _OUR_CERTIFICATE,
    "TLSV1_UNRECOGNIZED_NAME": "the other side does not serve this name",
    "UNEXPECTED_EOF_WHILE_READING": "the other side closed the connection without a farewell",
}

_NETWORK = {
    errno.ECONNREFUSED: "connection refused: nothing listens at this address and port",
    errno.ECONNRESET: "the connection was reset by the other side",
    errno.EPIPE: "the connection was closed by the other side",
    errno.ETIMEDOUT: "the other side stopped answering",
    errno.EHOSTUNREACH: "there is no way to this address",
    errno.ENETUNREACH: "there is no way to this network",
    errno.EADDRNOTAVAIL: "this machine has no address of that kind",
}


def explain(error: BaseException) -> str:
    """Say in plain words why a connection failed and, where known, what to do about it."""
    if isinstance(error, UntrustedPeer):
        return str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return _VERIFICATION.get(
            error.verify_code, f"the certificate was not accepted: {error.verify_message}"
        )
    if isinstance(error, ssl.SSLError):
        reason = getattr(error, "reason", None) or ""  # absent when Python raised it
        return _HANDSHAKE.get(reason, f"TLS failed: {reason.replace('_', ' ').lower() or error}")
    if isinstance(error, TimeoutError) and error.errno is None:
        return "no answer in time"
    if isinstance(error, ConnectionError) and error.errno is None:
        # asyncio's own words for a peer that hung up within the handshake, or let it time out.
        return (
            "the other side broke off the TLS handshake without a word: it may speak no TLS 1.2, "
            "or want a client certificate"
        )
    if isinstance(error, OSError) and error.errno in _NETWORK:
        return _NETWORK[error.errno]
    return str(error) or type(error).__name__


def _reason(error: ssl.SSLError | OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (getattr(error, "reason", None) or str(error)).replace("_", " ").lower()
    return (error.strerror or str(error)).lower()
