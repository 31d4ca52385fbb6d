"""Who gets an answer to a challenge, and who does not: the choice among challenges (RFC 8760), and
the ways in which a peer could lure a proof of the password out of us.
"""

import pytest

from sip.authenticator import MAX_REALMS, Authenticator
from sip.digest import Account, Challenge, Credentials, signed
from sip.events import SessionAnswered, SessionEnded
from sip.headers import Headers
from sip.message import Request, Response
from sip.session import Session
from sip.uri import Uri
from tests.sip.world import ANSWER, Phone, Script, World

ACCOUNT = Account('a"lice', "secret")
SHA = 'Digest realm="{realm}", nonce="{nonce}", algorithm=SHA-256, qop="auth"'
MD5 = 'Digest realm="{realm}", nonce="{nonce}", algorithm=MD5, qop="auth"'


def authenticator(*, allow_md5: bool = True, realms: tuple[str, ...] = ()) -> Authenticator:
    numbers = iter(range(1, 100))
    return Authenticator(
        ACCOUNT, allow_md5=allow_md5, realms=realms, cnonce=lambda: f"c{next(numbers)}"
    )


def refusal(*values: str, proxy: bool = False) -> Response:
    name = "Proxy-Authenticate" if proxy else "WWW-Authenticate"
    return Response(401, "Unauthorized", Headers([(name, value) for value in values]))


class Exchange:
    """One request on its way through challenges."""

    def __init__(self, agent: Authenticator) -> None:
        self.agent = agent
        self.request = Request("INVITE", Uri.parse("sip:bob@example.net"))
        self.answered: set[tuple[str, str]] = set()
        agent.authorize(self.request)

    def challenge(self, *values: str, proxy: bool = False) -> str:
        """Challenge the request, and return why it is not answered."""
        lesson = self.agent.learn(refusal(*values, proxy=proxy))
        self.answered |= lesson.answers.keys()
        self.agent.authorize(self.request, self.answered)
        return lesson.objection

    def succeed(self, *fields: tuple[str, str]) -> None:
        self.agent.confirm(self.request, Response(200, "OK", Headers(fields)))

    def given(self, name: str = "Authorization") -> list[Credentials]:
        found = [Credentials.parse(value) for value in self.request.headers.get_all(name)]
        return [credentials for credentials in found if credentials is not None]


def proven() -> Authenticator:
    """An authenticator that has been accepted in realm "r", with SHA-256."""
    agent = authenticator()
    exchange = Exchange(agent)
    exchange.challenge(SHA.format(realm="r", nonce="1"))
    exchange.succeed()
    return agent


def test_the_strongest_algorithm_is_answered_wherever_it_stands() -> None:
    exchange = Exchange(authenticator())
    exchange.challenge(
        'Digest realm="r", nonce="1", algorithm=MD5, qop="auth"',
        'Digest realm="r", nonce="1", algorithm=SHA-512-256, qop="auth"',
        'Digest realm="r", nonce="1", algorithm=SHA-256, qop="auth"',
        'Digest realm="r", nonce="1", algorithm=SHA-1024, qop="auth"',
    )
    [given] = exchange.given()
    assert given.algorithm == "SHA-512-256"
    assert given.username == 'a\\"lice'


def test_of_equals_the_topmost_is_answered() -> None:
    exchange = Exchange(authenticator())
    exchange.challenge(SHA.format(realm="r", nonce="1"), SHA.format(realm="r", nonce="2"))
    assert [given.nonce for given in exchange.given()] == ["1"]


def test_challenges_in_one_field_are_as_good_as_in_several() -> None:
    exchange = Exchange(authenticator())
    exchange.challenge(f"{MD5.format(realm='r', nonce='1')}, {SHA.format(realm='r', nonce='2')}")
    assert [given.nonce for given in exchange.given()] == ["2"]


def test_md5_is_answered_only_where_it_is_allowed() -> None:
    assert not Exchange(authenticator()).challenge(MD5.format(realm="r", nonce="1"))
    exchange = Exchange(authenticator(allow_md5=False))
    assert "allow_md5" in exchange.challenge(MD5.format(realm="r", nonce="1"))
    assert exchange.given() == []


def test_a_challenge_that_nobody_knows_is_said_to_be_one() -> None:
    assert "no way that we know" in Exchange(authenticator()).challenge('Basic realm="r"')


def test_the_count_rises_with_each_use_of_a_nonce_and_begins_anew_with_another() -> None:
    exchange = Exchange(authenticator())
    exchange.challenge(SHA.format(realm="r", nonce="1"))
    exchange.challenge(SHA.format(realm="r", nonce="1"))
    assert [(given.nc, given.cnonce) for given in exchange.given()] == [("00000002", "c1")]
    exchange.challenge(SHA.format(realm="r", nonce="2") + ", stale=TRUE")
    assert [(given.nc, given.cnonce) for given in exchange.given()] == [("00000001", "c2")]


def test_server_and_proxy_are_answered_side_by_side() -> None:
    exchange = Exchange(authenticator())
    exchange.challenge(SHA.format(realm="r", nonce="1"))
    exchange.challenge(SHA.format(realm="p", nonce="2"), proxy=True)
    assert [given.realm for given in exchange.given()] == ["r"]
    assert [given.realm for given in exchange.given("Proxy-Authorization")] == ["p"]
    exchange.succeed()
    later = Exchange(exchange.agent)
    assert [given.nc for given in later.given() + later.given("Proxy-Authorization")] == [
        "00000003",
        "00000002",
    ]


def test_two_proxies_are_answered_side_by_side() -> None:
    exchange = Exchange(authenticator())
    exchange.challenge(
        SHA.format(realm="p", nonce="1"), MD5.format(realm="q", nonce="2"), proxy=True
    )
    assert [given.realm for given in exchange.given("Proxy-Authorization")] == ["p", "q"]


def test_an_unproven_realm_gets_no_credentials_unasked() -> None:
    agent = authenticator()
    Exchange(agent).challenge(SHA.format(realm="r", nonce="1"))
    assert Exchange(agent).given() == []


def test_realms_are_forgotten_before_they_become_a_collection() -> None:
    exchange = Exchange(authenticator())
    for number in range(10):
        exchange.challenge(f'Digest realm="r{number}", nonce="1"')
    assert len(exchange.given()) == MAX_REALMS
    assert exchange.given()[-1].realm == "r9"


def test_realms_of_the_settings_are_the_only_ones() -> None:
    exchange = Exchange(authenticator(realms=("r", "p")))
    assert '"evil"' in exchange.challenge(SHA.format(realm="evil", nonce="1"))
    assert not exchange.challenge(SHA.format(realm="p", nonce="1"))
    assert not exchange.challenge(SHA.format(realm="r", nonce="1"))


# --- Authentication-Info (RFC 7616 §3.5)


def test_the_next_nonce_is_used_at_once() -> None:
    exchange = Exchange(authenticator())
    exchange.challenge(SHA.format(realm="r", nonce="1"))
    exchange.succeed(("Authentication-Info", 'nextnonce="2"'))
    [given] = Exchange(exchange.agent).given()
    assert (given.nonce, given.nc, given.cnonce) == ("2", "00000001", "c2")


def proof(exchange: Exchange, password: str) -> str:
    [given] = exchange.given()
    return signed(given, Account('a"lice', password), method="").response


def test_a_server_that_proves_itself_is_believed() -> None:
    exchange = Exchange(authenticator())
    exchange.challenge(SHA.format(realm="r", nonce="1"))
    right = proof(exchange, "secret")
    exchange.succeed(("Authentication-Info", f'rspauth="{right}", nextnonce="2"'))
    assert [given.nonce for given in Exchange(exchange.agent).given()] == ["2"]


@pytest.mark.parametrize("more", ["", ', cnonce="another"', ", nc=00000009"])
def test_a_server_with_a_wrong_proof_is_not(more: str) -> None:
    exchange = Exchange(authenticator())
    exchange.challenge(SHA.format(realm="r", nonce="1"))
    shown = proof(exchange, "secret" if more else "guess")
    exchange.succeed(("Authentication-Info", f'rspauth="{shown}", nextnonce="2"{more}'))
    assert Exchange(exchange.agent).given() == []
    assert not Exchange(exchange.agent).challenge(SHA.format(realm="another", nonce="1"))


def test_an_unreadable_word_of_the_server_changes_nothing() -> None:
    exchange = Exchange(authenticator())
    exchange.challenge(SHA.format(realm="r", nonce="1"))
    exchange.succeed(("Authentication-Info", "nonsense here"))
    assert [given.nonce for given in Exchange(exchange.agent).given()] == ["1"]


# --- lures: after a success in realm "r" with SHA-256, none of these is answered


@pytest.mark.parametrize(
    ("lure", "why"),
    [
        (SHA.format(realm="evil", nonce="x"), '`realms` of this trunk are: "r"'),
        (MD5.format(realm="r", nonce="x"), "downgrade"),
        (SHA.format(realm="R", nonce="x"), "of this trunk are"),
        ('Digest realm="r", nonce="x", algorithm=SHA-256', "downgrade"),
        ('Digest realm="r", nonce="x", algorithm=SHA-256, qop="auth-conf"', "no way"),
        ('Digest realm="r", nonce="x", algorithm=MD5-sess, qop="auth-int"', "downgrade"),
    ],
)
def test_lures_are_not_answered(lure: str, why: str) -> None:
    exchange = Exchange(proven())
    before = exchange.given()
    assert why in exchange.challenge(lure)
    assert {given.nonce for given in exchange.given()} == {given.nonce for given in before}


def test_md5_beside_sha_256_is_left_alone() -> None:
    exchange = Exchange(proven())
    exchange.challenge(MD5.format(realm="r", nonce="x"), SHA.format(realm="r", nonce="2"))
    assert [(given.algorithm, given.nonce) for given in exchange.given()] == [("SHA-256", "2")]


def test_auth_int_alone_is_answered_with_the_body_and_no_less() -> None:
    agent = proven()
    lesson = agent.learn(refusal('Digest realm="r", nonce="2", algorithm=SHA-256, qop="auth-int"'))
    request = Request("MESSAGE", Uri.parse("sip:bob@example.net"), Headers(), b"hello")
    agent.authorize(request, lesson.answers.keys())
    given = Credentials.parse(request.headers.get("Authorization") or "")
    assert given is not None
    assert given.qop == "auth-int"
    assert given == signed(given, ACCOUNT, method="MESSAGE", body=b"hello")


# --- the same through a whole user agent


def challenged(
    pbx: Script, request: Request, *, realm: str = "r", nonce: str = "evil", status: int = 407
) -> None:
    name = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
    pbx.reply(request, status, headers=[(name, SHA.format(realm=realm, nonce=nonce))])


def answers_to(pbx: Script, nonce: str) -> list[str]:
    """Methods of the requests that carry an answer to this nonce."""
    return [
        message.method
        for message in pbx.inbox
        if isinstance(message, Request)
        for name in ("Authorization", "Proxy-Authorization")
        for value in message.headers.get_all(name)
        if f'nonce="{nonce}"' in value
    ]


def call(alice: Phone) -> Session:
    session = alice.call()
    alice.world.settle()
    return session


def hang_up(alice: Phone, session: Session) -> None:
    session.hang_up(now=alice.now)
    alice.pump()
    alice.world.settle()


def in_call(pbx: Script, alice: Phone, *, contact: str, route: str = "") -> None:
    """Let alice call, prove herself in realm "r", and be answered by `contact`."""
    call(alice)
    challenged(pbx, pbx.last_request("INVITE"), nonce="good")
    headers = [("Contact", f"<{contact}>")]
    if route:
        headers.append(("Record-Route", f"<{route};lr>"))
    pbx.reply(pbx.last_request("INVITE"), 200, ANSWER, headers=headers, contact=False)


OURS = "sip:pbx@sip2.example.net"


def test_a_bye_to_the_trunk_itself_is_proven(alice: Phone, pbx: Script) -> None:
    in_call(pbx, alice, contact=OURS)
    hang_up(alice, alice.last(SessionAnswered).session)
    challenged(pbx, pbx.last_request("BYE"), nonce="fresh")
    assert answers_to(pbx, "fresh") == ["BYE"]


@pytest.mark.parametrize(
    ("contact", "route"),
    [
        ("sip:mallory@evil.example", ""),
        ("sip:mallory@example.net.evil.example", ""),
        ("sip:mallory@notexample.net", ""),
        (OURS, "sip:evil.example"),
    ],
)
def test_nothing_is_proven_to_another_host_within_a_call(
    alice: Phone, pbx: Script, contact: str, route: str
) -> None:
    in_call(pbx, alice, contact=contact, route=route)
    assert answers_to(pbx, "good") == ["INVITE"], "not on the ACK either"
    hang_up(alice, alice.last(SessionAnswered).session)
    for status in (401, 407):
        challenged(pbx, pbx.last_request("BYE"), status=status)
    assert answers_to(pbx, "evil") == []
    assert answers_to(pbx, "good") == ["INVITE"]
    assert alice.last(SessionEnded).status == 200


def test_a_bye_is_not_where_a_realm_is_first_believed(alice: Phone, pbx: Script) -> None:
    call(alice)
    headers = [("Contact", f"<{OURS}>")]
    pbx.reply(pbx.last_request("INVITE"), 200, ANSWER, headers=headers, contact=False)
    hang_up(alice, alice.last(SessionAnswered).session)
    challenged(pbx, pbx.last_request("BYE"))
    assert answers_to(pbx, "evil") == []


def test_the_caller_gets_no_proof_when_we_hang_up(alice: Phone, pbx: Script) -> None:
    # ES2021-05: Mallory calls, waits for our BYE, and challenges it.
    in_call(pbx, alice, contact=OURS)
    pbx.request("INVITE", call_id="mallory")
    session = alice.incoming()
    session.answer(ANSWER, now=alice.now)
    alice.pump()
    alice.world.settle()
    pbx.within(session, "ACK", seq=1)
    hang_up(alice, session)
    bye = pbx.last_request("BYE")
    assert bye.headers.call_id == "mallory"
    challenged(pbx, bye)
    assert answers_to(pbx, "evil") == []


def test_a_cancel_is_not_proven(alice: Phone, pbx: Script) -> None:
    in_call(pbx, alice, contact=OURS)
    session = call(alice)
    pbx.reply(pbx.last_request("INVITE"), 180)
    hang_up(alice, session)
    challenged(pbx, pbx.last_request("CANCEL"))
    challenged(pbx, pbx.last_request("INVITE"))
    assert answers_to(pbx, "evil") == []


def test_a_call_to_another_host_carries_no_proof(alice: Phone, pbx: Script) -> None:
    in_call(pbx, alice, contact=OURS)
    alice.agent.invite(Uri.parse("sip:bob@evil.example"), ANSWER, now=alice.now)
    alice.pump()
    alice.world.settle()
    challenged(pbx, pbx.last_request("INVITE"))
    assert answers_to(pbx, "evil") == []
    assert answers_to(pbx, "good") == ["INVITE", "ACK"]


def test_a_challenge_to_what_was_never_sent_is_nothing(alice: Phone, pbx: Script) -> None:
    in_call(pbx, alice, contact=OURS)
    forged = Request(
        "REGISTER", Uri.parse("sip:example.net"), pbx.last_request("INVITE").headers.copy()
    )
    forged.headers.set("Via", "SIP/2.0/TLS 198.51.100.1;branch=z9hG4bKnever")
    forged.headers.set("CSeq", "9 REGISTER")
    challenged(pbx, forged)
    assert answers_to(pbx, "evil") == []


def test_a_challenge_on_another_flow_is_nothing(alice: Phone, pbx: Script, world: World) -> None:
    call(alice)
    invite = pbx.last_request("INVITE")
    other = Script(world, "other")
    world.link(alice, other)
    challenged(other, invite)
    assert answers_to(other, "evil") == []
    assert answers_to(pbx, "evil") == []


def test_known_strength_is_kept_with_the_realm() -> None:
    assert Challenge("r", "n", "SHA-256").strength > Challenge("r", "n", "MD5").strength
    assert Challenge("r", "n", "MD5").strength > Challenge("r", "n", "MD5", qop=None).strength
