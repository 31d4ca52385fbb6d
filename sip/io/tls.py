"""Verified TLS to a trunk (RFC 5922), and words for every way in which it can fail.

TLS 1.2 or later, a chain to a known authority, and the trunk's *domain* among the names of the
certificate: not the host that DNS gave for it, since DNS can be forged. The check is OpenSSL's own;
only subjectAltName counts, the common name never does (RFC 9525 §6.3). A domain that is an address
must be there as an address. Sessions are not resumed: a resumed session would carry an old decision
about a certificate, and a full handshake costs three milliseconds.

Deviation: RFC 5922 §7.2 forbids wildcards; `*.provider.example` is accepted for one left-most label
as in RFC 9525, since several providers have nothing else. A `sip:` URI in subjectAltName is not
looked at.
"""

import errno
import ssl

from sip.trunk import TlsSettings, Trunk


class TlsSettingsError(Exception):
    """A file that `TlsSettings` names cannot be used; the text says which and why."""


def client_context(settings: TlsSettings) -> ssl.SSLContext:
    """Make the context for connections under `settings`.

    Raises:
        TlsSettingsError: a file is missing, unreadable or not what it should be.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False
    if settings.insecure_skip_verification:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif settings.ca_file is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        try:
            context.load_verify_locations(cafile=settings.ca_file)
        except (ssl.SSLError, OSError) as error:
            raise TlsSettingsError(
                f"{settings.ca_file} cannot be read as certificates in PEM form ({_reason(error)})"
            ) from error
    if settings.certificate_file is not None:
        try:
            # An empty password rather than none: OpenSSL would ask for it on the terminal.
            context.load_cert_chain(settings.certificate_file, settings.key_file, password="")
        except (ssl.SSLError, OSError) as error:
            raise TlsSettingsError(
                f"{settings.certificate_file} and its key "
                f"({settings.key_file or 'in the same file'}) cannot be used ({_reason(error)})"
            ) from error
    return context


def server_name(trunk: Trunk) -> str:
    """The name that the certificate must carry; also SNI, unless it is an address (RFC 6066 §3)."""
    return trunk.domain.strip("[]").rstrip(".")


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
    66: "the certificate's key is too short (RSA below 2048 bits)",
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


def explain(error: BaseException, trunk: Trunk) -> str:
    """Say in plain words why a connection failed and, where known, what to do about it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in {62, 64}:
            return (
                f"the certificate does not carry the name {server_name(trunk)}: `domain` of this "
                "trunk must be a name in the certificate (subjectAltName); where to connect is "
                "said by `host` if that is another"
            )
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
