"""A peer's certificate as SIP reads it: whom it names (RFC 5922 §7.1), which key it binds, its end.

A domain is named by a DNS entry of subjectAltName or by a `sip:` URI without a user part; the
common name never counts (RFC 9525 §6.3), and an address must be there as an address. The key is
known by its pin: SHA-256 over SubjectPublicKeyInfo, in base64 (RFC 7469 §2.4).

Deviation: RFC 5922 §7.2 forbids wildcards; `*.provider.example` is accepted for one left-most label
as in RFC 9525, since several providers have nothing else.
"""

import base64
import hashlib
import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sip.errors import RemoteError
from sip.uri import Uri

SOON_DAYS = 14  # a certificate that ends sooner deserves a word

# 112 bits of security.
_SHORTEST_RSA = 2048
_SHORTEST_EC = 224


@dataclass(frozen=True, slots=True)
class Certificate:
    """What is looked at in a certificate.

    Attributes:
        domains: host names, in lower case, wildcards included.
        addresses: numeric addresses.
        pin: of its public key.
        strong: whether the key is long enough.
        ends: the last moment of its validity.
        issuer: who signed it, for people.
    """

    domains: tuple[str, ...]
    addresses: tuple[str, ...]
    pin: str
    strong: bool
    ends: datetime
    issuer: str

    @classmethod
    def read(cls, encoded: bytes) -> "Certificate":
        """Read a certificate in DER.

        Raises:
            ValueError: it is none.
        """
        return cls._look(x509.load_der_x509_certificate(encoded))

    @classmethod
    def of_file(cls, path: Path) -> "Certificate":
        """Read the first certificate of a file in PEM.

        Raises:
            ValueError: there is none.
            OSError: the file cannot be read.
        """
        return cls._look(x509.load_pem_x509_certificates(path.read_bytes())[0])

    @classmethod
    def _look(cls, certificate: x509.Certificate) -> "Certificate":
        domains, addresses = _names(certificate)
        try:
            key = certificate.public_key()
        except UnsupportedAlgorithm as error:
            raise ValueError(str(error)) from error
        spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return cls(
            domains=domains,
            addresses=addresses,
            pin=base64.b64encode(hashlib.sha256(spki).digest()).decode(),
            strong=is_strong(key),
            ends=certificate.not_valid_after_utc,
            issuer=certificate.issuer.rfc4514_string(),
        )

    def carries(self, name: str) -> bool:
        """Whether it names the domain or address `name`."""
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return any(_matches(domain, name.lower()) for domain in self.domains)
        return str(address) in self.addresses

    def days_left(self, now: datetime | None = None) -> int:
        """Whole days until its end, negative when that has passed."""
        return (self.ends - (now or datetime.now(UTC))).days

    def __str__(self) -> str:
        names = ", ".join((*self.domains, *self.addresses))
        days = self.days_left()
        end = f"{'ended on' if days < 0 else 'valid until'} {self.ends:%Y-%m-%d}"
        if 0 <= days < SOON_DAYS:
            end += f", which is in {days} days: renew it"
        return f"for {names or 'no name at all'}; {end}; issued by {self.issuer or 'nobody'}"


def _names(certificate: x509.Certificate) -> tuple[tuple[str, ...], tuple[str, ...]]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return (), ()
    domains = [name.lower() for name in found.get_values_for_type(x509.DNSName)]
    for text in found.get_values_for_type(x509.UniformResourceIdentifier):
        try:
            uri = Uri.parse(text)
        except RemoteError:
            continue  # it names something, but no domain of SIP
        # RFC 5922 §7.1: not `sips:`, and not somebody's own address.
        if uri.scheme == "sip" and uri.host and not uri.user and "*" not in uri.host:
            domains.append(uri.host.lower())
    addresses = map(str, found.get_values_for_type(x509.IPAddress))
    return tuple(dict.fromkeys(domains)), tuple(addresses)


def _matches(pattern: str, name: str) -> bool:
    """RFC 9525 §6.3: a wildcard is the whole left-most label and stands for exactly one."""
    if pattern == name:
        return True
    wild, _, rest = pattern.partition(".")
    label, _, parent = name.partition(".")
    return wild == "*" and bool(label) and "." in rest and rest == parent


def is_strong(key: object) -> bool:
    """Whether a public key is as long as OpenSSL's level 2 asks of a chain."""
    match key:
        case rsa.RSAPublicKey():
            return key.key_size >= _SHORTEST_RSA
        case ec.EllipticCurvePublicKey():
            return key.key_size >= _SHORTEST_EC
        case _:
            return isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey)
