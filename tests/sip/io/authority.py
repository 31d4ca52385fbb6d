"""Certificates made on the fly: an authority, and servers wrong in every way that matters."""

import base64
import hashlib
import ipaddress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from OpenSSL import crypto

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def a_key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


@dataclass
class Authority:
    """Signs certificates; `folder` takes the files."""

    folder: Path
    name: str = "Test CA"
    key: Key = field(default_factory=a_key)
    _made: int = 0

    @cached_property
    def certificate(self) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])
        return (
            _builder(subject, subject, self.key, days=(-1, 365))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False
            )
            .sign(self.key, hashes.SHA256())
        )

    @cached_property
    def file(self) -> Path:
        """The root in PEM, for `TlsSettings.ca_file`."""
        path = self.folder / f"{self.name.replace(' ', '-')}.pem"
        path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        return path

    def issue(
        self,
        *names: str,
        common_name: str = "server",
        days: tuple[float, float] = (-1, 30),
        key: Key | None = None,
        self_signed: bool = False,
        sha1: bool = False,
    ) -> Path:
        """Make a certificate for names, addresses and URIs; return the file with it and its key."""
        key = key or a_key()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        issuer = subject if self_signed else self.certificate.subject
        builder = _builder(subject, issuer, key, days=days)
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_entry(name) for name in names]), critical=False
            )
        signer = key if self_signed else self.key
        signed = builder.sign(signer, hashes.SHA256())
        if sha1:  # cryptography makes none any more
            weak = crypto.X509.from_cryptography(signed)
            weak.sign(crypto.PKey.from_cryptography_key(signer), "sha1")
            signed = weak.to_cryptography()
        self._made += 1
        path = self.folder / f"{self.name.replace(' ', '-')}-{self._made}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + signed.public_bytes(serialization.Encoding.PEM)
        )
        return path


def _builder(
    subject: x509.Name, issuer: x509.Name, key: Key, *, days: tuple[float, float]
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
    )


def pin_of(path: Path) -> str:
    """The pin of the certificate in a file (RFC 7469 §2.4)."""
    encoded = (path.read_bytes()).partition(b"-----BEGIN CERTIFICATE")
    certificate = x509.load_pem_x509_certificate(encoded[1] + encoded[2])
    key = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.b64encode(hashlib.sha256(key).digest()).decode()


def _entry(name: str) -> x509.GeneralName:
    if ":" in name and name.partition(":")[0].isalpha():
        return x509.UniformResourceIdentifier(name)
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
