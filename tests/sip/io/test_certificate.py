"""Whom a certificate names, as SIP reads it (RFC 5922 §7)."""

import ssl
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa

from sip.io.certificate import Certificate, is_strong
from tests.sip.io.authority import Authority, pin_of


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


def certificate(
    authority: Authority, *names: str, days: tuple[float, float] = (-1, 30)
) -> Certificate:
    return Certificate.of_file(authority.issue(*names, days=days))


@pytest.mark.parametrize(
    ("entry", "name", "carried"),
    [
        ("pbx.example", "PBX.example", True),
        ("pbx.example", "sip.pbx.example", False),
        ("*.pbx.example", "sip.pbx.example", True),
        ("*.pbx.example", "pbx.example", False),
        ("*.pbx.example", "a.sip.pbx.example", False),
        ("*.example", "pbx.example", False),
        ("s*.pbx.example", "sip.pbx.example", False),
        ("sip.*.example", "sip.pbx.example", False),
        ("*", "pbx", False),
        ("pbx.example\0.evil.example", "pbx.example", False),
        ("sip:pbx.example", "pbx.example", True),
        ("sip:pbx.example:5061", "pbx.example", True),
        ("sip:*.pbx.example", "sip.pbx.example", False),
        ("sips:pbx.example", "pbx.example", False),
        ("sip:bridge@pbx.example", "pbx.example", False),
        ("im:pbx.example", "pbx.example", False),
        ("192.0.2.1", "192.0.2.1", True),
        ("2001:db8::1", "2001:db8:0::1", True),
        ("sip:192.0.2.1", "192.0.2.1", False),
        ("192.0.2.1", "192.0.2.2", False),
    ],
)
def test_names(authority: Authority, entry: str, name: str, carried: bool) -> None:
    assert certificate(authority, entry).carries(name) is carried


def test_pin_is_the_hash_of_the_public_key(authority: Authority) -> None:
    path = authority.issue("pbx.example")
    assert Certificate.of_file(path).pin == pin_of(path)
    pem = path.read_text()
    encoded = ssl.PEM_cert_to_DER_cert(pem[pem.index("-----BEGIN CERT") :])
    assert Certificate.read(encoded) == Certificate.of_file(path)


def test_end_is_said_with_a_warning_when_it_is_near(authority: Authority) -> None:
    far = certificate(authority, "pbx.example")
    assert str(far).startswith("for pbx.example; valid until ")
    assert "renew" not in str(far)
    assert far.days_left(far.ends - timedelta(days=20.5)) == 20
    near = certificate(authority, "pbx.example", "192.0.2.1", days=(-9, 3.5))
    assert "for pbx.example, 192.0.2.1; " in str(near)
    assert "which is in 3 days: renew it" in str(near)
    assert "; ended on " in str(certificate(authority, days=(-9, -1)))
    assert str(certificate(authority)).startswith("for no name at all; ")


def test_bytes_that_are_no_certificate_are_an_error() -> None:
    with pytest.raises(ValueError, match="parsing"):
        Certificate.read(b"no")


def test_keys_of_less_than_112_bits_are_weak() -> None:
    assert is_strong(rsa.generate_private_key(65537, 2048).public_key())
    assert not is_strong(rsa.generate_private_key(65537, 1024).public_key())
    assert is_strong(ec.generate_private_key(ec.SECP256R1()).public_key())
    assert not is_strong(ec.generate_private_key(ec.SECP192R1()).public_key())
    assert is_strong(ed25519.Ed25519PrivateKey.generate().public_key())
    assert not is_strong(dsa.generate_parameters(1024).generate_private_key().public_key())
