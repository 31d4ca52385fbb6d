"""Vectors of RFC 2617, RFC 7616 §3.9 and our own, and how challenges and credentials are read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.digest import (
    Account,
    AuthenticationInfo,
    Challenge,
    Credentials,
    answer,
    hashed,
    signed,
)

MUFASA = Account("Mufasa", "Circle of Life")
NONCE = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"


def parsed(text: str) -> Challenge:
    [challenge] = Challenge.parse(text)
    return challenge


@pytest.mark.parametrize(
    ("algorithm", "secret", "request_hash", "response"),
    [
        (
            "MD5",
            "3d78807defe7de2157e2b0b6573a855f",
            "39aff3a2bab6126f332b942af96d3366",
            "8ca523f5e9506fed4657c9700eebdbec",
        ),
        (
            "SHA-256",
            "7987c64c30e25f1b74be53f966b49b90f2808aa92faf9a00262392d7b4794232",
            "9a3fdae9a622fe8de177c24fa9c070f2b181ec85e15dcbdc32e10c82ad450b04",
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
        ),
    ],
)
def test_rfc_7616_vectors(algorithm: str, secret: str, request_hash: str, response: str) -> None:
    challenge = parsed(
        f'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={algorithm}, '
        f'nonce="{NONCE}", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
    )
    assert hashed(algorithm, "Mufasa:http-auth@example.org:Circle of Life") == secret
    assert hashed(algorithm, "GET:/dir/index.html") == request_hash
    credentials = answer(
        MUFASA, challenge, method="GET", uri="/dir/index.html", cnonce=CNONCE, count=1
    )
    assert credentials.response == response
    value = str(credentials)
    assert "nc=00000001" in value
    assert "qop=auth," in value
    assert 'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"' in value


def test_sha_512_256_with_a_hashed_user_name_that_is_not_ascii() -> None:
    # The input of RFC 7616 §3.9.2. Its published results are those of a SHA-512 cut short (an
    # erratum); these are SHA-512/256, computed by OpenSSL and by Python alike.
    challenge = parsed(
        'Digest realm="api@example.org", qop="auth", algorithm=SHA-512-256, '
        'nonce="5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK", '
        'opaque="HRPCssKJSGjCrkzDg8OhwpzCiGPChXYjwrI2QmXDnsOS", charset=UTF-8, userhash=true'
    )
    credentials = answer(
        Account("Jäsøn Doe", "Secret, or not?"),
        challenge,
        method="GET",
        uri="/doe.json",
        cnonce="NTg6RKcb9boFIAS3KrFK9BGeh+niz/sm",
        count=1,
    )
    assert hashed("SHA-512-256", "Jäsøn Doe:api@example.org:Secret, or not?") == (
        "2d3d9f12c9f3d30011259dc5fecee005ae24de40e3e1f61806d03e65f1e6024f"
    )
    assert credentials.username == (
        "793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b"
    )
    assert credentials.response == (
        "7a4e1192babbba02e91182d2895bfdbf7adafc6e48d4e517ca301974843d840c"
    )
    assert "userhash=true" in str(credentials)


def test_rfc_2617_vector() -> None:
    challenge = parsed(
        'Digest realm="testrealm@host.com", qop="auth,auth-int", '
        'nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41"'
    )
    account = Account("Mufasa", "Circle Of Life")
    assert hashed("MD5", "Mufasa:testrealm@host.com:Circle Of Life") == (
        "939e7578ed9e3c518a452acee763bce9"
    )
    credentials = answer(
        account, challenge, method="GET", uri="/dir/index.html", cnonce="0a4f113b", count=1
    )
    assert credentials.response == "6629fae49393a05397450978507c4ef1"


def test_rfc_2069_digest_without_qop() -> None:
    # RFC 2069 §2.4 with the response corrected by its erratum.
    challenge = parsed(
        'Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", '
        'opaque="5ccc069c403ebaf9f0171e9517f40e41"'
    )
    credentials = answer(
        Account("Mufasa", "CircleOfLife"),
        challenge,
        method="GET",
        uri="/dir/index.html",
        cnonce="unused",
        count=1,
    )
    assert credentials.response == "1949323746fe6a43ef61f9606e7febea"
    assert "cnonce" not in str(credentials)
    assert "nc=" not in str(credentials)


def test_auth_int_covers_the_body() -> None:
    # Worked by hand from RFC 7616 §3.4.2: A1, then A2 with H(body), then the response.
    challenge = parsed(f'Digest realm="r", nonce="{NONCE}", qop="auth-int", algorithm=SHA-256')
    secret = hashed("SHA-256", "Mufasa:r:Circle of Life")
    a2 = hashed("SHA-256", f"MESSAGE:sip:b@c:{hashed('SHA-256', b'hello')}")
    expected = hashed("SHA-256", f"{secret}:{NONCE}:00000003:{CNONCE}:auth-int:{a2}")
    credentials = answer(
        MUFASA,
        challenge,
        method="MESSAGE",
        uri="sip:b@c",
        cnonce=CNONCE,
        count=3,
        body=b"hello",
    )
    assert credentials.response == expected
    assert "qop=auth-int," in str(credentials)


def test_a_session_key_takes_both_nonces() -> None:
    challenge = parsed('Digest realm="r", nonce="n", algorithm=MD5-sess, qop="auth"')
    secret = hashed("MD5", f"{hashed('MD5', 'Mufasa:r:Circle of Life')}:n:c")
    expected = hashed("MD5", f"{secret}:n:00000001:c:auth:{hashed('MD5', 'INVITE:sip:b@c')}")
    credentials = answer(MUFASA, challenge, method="INVITE", uri="sip:b@c", cnonce="c", count=1)
    assert credentials.response == expected
    assert "algorithm=MD5-sess" in str(credentials)


@pytest.mark.parametrize(
    ("text", "realms"),
    [
        ('Digest realm="a", nonce="1"', ["a"]),
        ('Digest realm="a", nonce="1", Digest realm="b", nonce="2"', ["a", "b"]),
        (
            'Basic realm="x", Digest realm="a", nonce="1", NTLM, digest nonce="2",realm="b"',
            ["a", "b"],
        ),
        ('Bearer realm="x", scope="a, b", Digest realm="a", nonce="1"', ["a"]),
        ('Digest realm="a, Digest b", nonce="1"', ["a, Digest b"]),
        ('Digest realm="a\\"b", nonce="1"', ['a\\"b']),
        ('Digest realm = "a" , nonce = "1"', ["a"]),
        ('Digest realm="a", nonce="1", algorithm=SHA3, Digest realm="b", nonce="2"', ["b"]),
        ('Digest realm="a", realm="b", nonce="1"', []),
        ('Digest realm="a", nonce="1", algorithm=MD5-sess', []),
        ('Digest realm="a", nonce="1", qop="auth-conf"', []),
        ('Basic realm="a"', []),
        ('Digest realm="a"', []),
        ('Digest nonce="1"', []),
        ("Digest nonsense here", []),
        ("Digest", []),
        ("", []),
    ],
)
def test_challenges_are_found_in_a_field(text: str, realms: list[str]) -> None:
    assert [challenge.realm for challenge in Challenge.parse(text)] == realms


@pytest.mark.parametrize(
    ("offered", "qop"),
    [('"auth,auth-int"', "auth"), ('"auth-int, auth"', "auth"), ("auth-int", "auth-int")],
)
def test_the_body_is_protected_only_where_nothing_less_will_do(offered: str, qop: str) -> None:
    assert parsed(f'Digest realm="r", nonce="1", qop={offered}').qop == qop


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Basic abc",
        'Digest username="a", realm="r", nonce="n", uri="sip:x"',
        'Digest username="a", realm="r", nonce="n", uri="sip:x", response="1", algorithm=MD4',
        'Digest username="a", realm="r", nonce="n", uri="sip:x", response="1", qop=auth',
        'Digest username="a", realm="r", nonce="n", uri="sip:x", response="1", qop=auth, nc=1',
        'Digest username="a", username="b", realm="r", nonce="n", uri="sip:x", response="1"',
    ],
)
def test_credentials_that_are_not_whole_are_none(text: str) -> None:
    assert Credentials.parse(text) is None


_texts = st.text(st.characters(min_codepoint=32, max_codepoint=0x24F, exclude_characters='"\\'))


@given(_texts, _texts, st.sampled_from(["auth", "auth-int", None]), st.booleans())
def test_what_is_written_is_read_again(username: str, realm: str, qop: str, userhash: bool) -> None:
    challenge = Challenge(realm, "n", "SHA-256", qop=qop, userhash=userhash)  # type: ignore[arg-type]
    credentials = answer(
        Account(username, "x"), challenge, method="A", uri="sip:b@c", cnonce="c", count=7
    )
    assert Credentials.parse(str(credentials)) == credentials


def test_the_servers_word_on_nonces_is_read() -> None:
    info = AuthenticationInfo.parse(
        'nextnonce="n2", qop=auth, rspauth="0a", cnonce="c", nc=00000001'
    )
    assert info == AuthenticationInfo("n2", "0a", "auth", "c", "00000001")
    assert AuthenticationInfo.parse("nextnonce=") == AuthenticationInfo("")
    assert AuthenticationInfo.parse("nonsense here") is None


def test_a_servers_proof_leaves_the_method_out() -> None:
    credentials = Credentials(
        "Mufasa", "r", "n", "sip:b@c", "", qop="auth", cnonce="c", nc="00000001"
    )
    secret = hashed("MD5", "Mufasa:r:Circle of Life")
    expected = hashed("MD5", f"{secret}:n:00000001:c:auth:{hashed('MD5', ':sip:b@c')}")
    assert signed(credentials, MUFASA, method="").response == expected


def test_the_password_stays_out_of_the_representation() -> None:
    assert "secret" not in repr(Account("alice", "secret"))
