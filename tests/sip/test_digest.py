"""The vectors of RFC 7616 §3.9, and the choice among challenges (RFC 8760)."""

import pytest

from sip.digest import MAX_REALMS, Account, Authenticator, Challenge, credentials
from sip.headers import Headers
from sip.message import Request, Response
from sip.uri import Uri

NONCE = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_rfc_7616_vectors(algorithm: str, response: str) -> None:
    challenge = Challenge.parse(
        f'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={algorithm}, '
        f'nonce="{NONCE}", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
    )
    assert challenge is not None
    value = credentials(
        Account("Mufasa", "Circle of Life"),
        challenge,
        method="GET",
        uri="/dir/index.html",
        cnonce=CNONCE,
        count=1,
    )
    assert f'response="{response}"' in value
    assert "nc=00000001" in value
    assert "qop=auth," in value
    assert 'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"' in value


def test_rfc_2069_digest_without_qop() -> None:
    # RFC 2069 §2.4 with the response corrected by its erratum.
    challenge = Challenge.parse(
        'Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", '
        'opaque="5ccc069c403ebaf9f0171e9517f40e41"'
    )
    assert challenge is not None
    value = credentials(
        Account("Mufasa", "CircleOfLife"),
        challenge,
        method="GET",
        uri="/dir/index.html",
        cnonce="unused",
        count=1,
    )
    assert 'response="1949323746fe6a43ef61f9606e7febea"' in value
    assert "cnonce" not in value


def authenticator(*, allow_md5: bool = True) -> Authenticator:
    numbers = iter(range(1, 100))
    return Authenticator(
        Account('a"lice', "secret"), allow_md5=allow_md5, cnonce=lambda: f"c{next(numbers)}"
    )


def challenge(*values: str, proxy: bool = False) -> Response:
    name = "Proxy-Authenticate" if proxy else "WWW-Authenticate"
    return Response(401, "Unauthorized", Headers([(name, value) for value in values]))


def authorized(agent: Authenticator) -> Headers:
    request = Request("INVITE", Uri.parse("sip:bob@example.net"))
    agent.authorize(request)
    return request.headers


def test_the_strongest_algorithm_is_answered_wherever_it_stands() -> None:
    agent = authenticator()
    agent.learn(
        challenge(
            'Digest realm="r", nonce="1", algorithm=MD5, qop="auth"',
            'Digest realm="r", nonce="1", algorithm=SHA-512-256, qop="auth"',
            'Digest realm="r", nonce="1", algorithm=SHA-256, qop="auth"',
            'Digest realm="r", nonce="1", algorithm=SHA-1024, qop="auth"',
        )
    )
    value = authorized(agent).get("Authorization") or ""
    assert "algorithm=SHA-512-256" in value
    assert 'username="a\\"lice"' in value


def test_md5_is_answered_only_where_it_is_allowed() -> None:
    md5 = 'Digest realm="r", nonce="1"'
    assert authenticator().learn(challenge(md5))
    agent = authenticator(allow_md5=False)
    assert agent.learn(challenge(md5)) == {}
    assert "Authorization" not in authorized(agent)


@pytest.mark.parametrize(
    "value",
    [
        'Basic realm="r"',
        'Digest realm="r"',
        'Digest nonce="1"',
        'Digest realm="r", nonce="1", algorithm=MD4',
        'Digest realm="r", nonce="1", qop="auth-int"',
        "Digest nonsense here",
        "",
    ],
)
def test_what_cannot_be_answered_is_left(value: str) -> None:
    assert authenticator().learn(challenge(value)) == {}


def test_the_count_rises_with_each_use_of_a_nonce_and_begins_anew_with_another() -> None:
    agent = authenticator()
    agent.learn(challenge('Digest realm="r", nonce="1", qop="auth"'))
    assert "nc=00000001" in (authorized(agent).get("Authorization") or "")
    agent.learn(challenge('Digest realm="r", nonce="1", qop="auth"'))
    second = authorized(agent).get("Authorization") or ""
    assert "nc=00000002" in second
    assert 'cnonce="c1"' in second
    agent.learn(challenge('Digest realm="r", nonce="2", qop="auth", stale=TRUE'))
    third = authorized(agent).get("Authorization") or ""
    assert "nc=00000001" in third
    assert 'cnonce="c2"' in third


def test_server_and_proxy_are_answered_side_by_side() -> None:
    agent = authenticator()
    agent.learn(challenge('Digest realm="r", nonce="1", qop="auth"'))
    agent.learn(challenge('Digest realm="p", nonce="2", qop="auth"', proxy=True))
    headers = authorized(agent)
    assert 'realm="r"' in (headers.get("Authorization") or "")
    assert 'realm="p"' in (headers.get("Proxy-Authorization") or "")


def test_a_session_algorithm_is_answered() -> None:
    agent = authenticator()
    agent.learn(challenge('Digest realm="r", nonce="1", algorithm=MD5-sess, qop="auth"'))
    assert "algorithm=MD5-sess" in (authorized(agent).get("Authorization") or "")


def test_realms_are_forgotten_before_they_become_a_collection() -> None:
    agent = authenticator()
    for number in range(10):
        agent.learn(challenge(f'Digest realm="r{number}", nonce="1"'))
    values = authorized(agent).get_all("Authorization")
    assert len(values) == MAX_REALMS
    assert 'realm="r9"' in values[-1]


def test_the_password_stays_out_of_the_representation() -> None:
    assert "secret" not in repr(Account("alice", "secret"))
