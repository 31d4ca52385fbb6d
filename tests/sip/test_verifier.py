"""A peer that must prove itself: what is believed, for how long, and how often."""

from dataclasses import replace

import pytest

from sip.digest import Account, Challenge, Credentials, answer, signed
from sip.events import IncomingSession, MessageReceived
from sip.headers import Headers
from sip.message import Request
from sip.uri import Uri
from sip.verifier import MAX_NONCES, NONCE_LIFE, Verdict, Verifier
from tests.sip.world import ANSWER, OFFER, Phone, Script, World

PEER = Account('pb"x', "secret")
TARGET = "sip:alice@198.51.100.1:40001;transport=tls"


def verifier(*, allow_md5: bool = True, secret: bytes = b"s") -> Verifier:
    return Verifier("example.net", PEER, secret=secret, allow_md5=allow_md5)


def challenges(gate: Verifier, now: float = 0.0, *, stale: bool = False) -> list[Challenge]:
    return [
        challenge
        for _, value in gate.challenges(now, stale=stale)
        for challenge in Challenge.parse(value)
    ]


def request(
    *given: Credentials, method: str = "INVITE", uri: str = TARGET, body: bytes = b""
) -> Request:
    headers = Headers([("Authorization", str(credentials)) for credentials in given])
    return Request(method, Uri.parse(uri), headers, body)


def proof(challenge: Challenge, *, count: int = 1, password: str = "secret") -> Credentials:
    return answer(
        Account(PEER.username, password),
        challenge,
        method="INVITE",
        uri=TARGET,
        cnonce="c",
        count=count,
    )


def test_the_strongest_challenge_stands_first_and_md5_only_where_it_is_allowed() -> None:
    assert [c.algorithm for c in challenges(verifier())] == ["SHA-256", "MD5"]
    assert [c.algorithm for c in challenges(verifier(allow_md5=False))] == ["SHA-256"]
    assert [c.stale for c in challenges(verifier(), stale=True)] == [True, True]
    assert challenges(verifier())[0].nonce != challenges(verifier(secret=b"t"))[0].nonce


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("qop", ["auth", "auth-int"])
def test_right_credentials_are_accepted(number: int, qop: str) -> None:
    gate = verifier()
    challenge = replace(challenges(gate)[number], qop=qop)  # type: ignore[arg-type]
    credentials = answer(
        PEER, challenge, method="INVITE", uri=TARGET, cnonce="c", count=1, body=b"offer"
    )
    assert gate.verify(request(credentials, body=b"offer"), 1.0) is Verdict.ACCEPTED


def test_a_changed_body_is_noticed_where_it_is_protected() -> None:
    gate = verifier()
    challenge = replace(challenges(gate)[0], qop="auth-int")
    credentials = answer(PEER, challenge, method="INVITE", uri=TARGET, cnonce="c", count=1)
    assert gate.verify(request(credentials, body=b"another"), 1.0) is Verdict.WRONG


def test_session_keys_are_accepted() -> None:
    gate = verifier()
    credentials = proof(replace(challenges(gate)[0], session=True))
    assert gate.verify(request(credentials), 1.0) is Verdict.ACCEPTED


def test_nonce_that_is_only_looked_at_can_be_used_once_more() -> None:
    gate = verifier()
    credentials = request(proof(challenges(gate)[0]))
    verdicts = [gate.verify(credentials, 1.0, spend=spend) for spend in (False, True, False, True)]
    assert verdicts == [Verdict.ACCEPTED, Verdict.ACCEPTED, Verdict.STALE, Verdict.STALE]


def test_without_credentials_of_our_realm_there_are_none() -> None:
    gate = verifier()
    assert gate.verify(request(), 0.0) is Verdict.MISSING
    elsewhere = proof(replace(challenges(gate)[0], realm="another"))
    assert gate.verify(request(elsewhere), 0.0) is Verdict.MISSING
    assert gate.verify(request(elsewhere, proof(challenges(gate)[0])), 0.0) is Verdict.ACCEPTED


def test_wrong_credentials_are_refused() -> None:
    gate = verifier(allow_md5=False)
    [challenge] = challenges(gate)
    right = proof(challenge)
    for wrong in (
        proof(challenge, password="guess"),
        replace(right, username="mallory"),
        replace(right, response=""),
        replace(right, cnonce="d"),
        proof(replace(challenge, algorithm="MD5")),
        proof(replace(challenge, qop=None)),
        replace(right, nonce="0-1-0"),
    ):
        assert gate.verify(request(wrong), 1.0) is Verdict.WRONG
    assert gate.verify(request(right, method="MESSAGE"), 1.0) is Verdict.WRONG
    assert gate.verify(request(right), 1.0) is Verdict.ACCEPTED


def test_right_credentials_for_another_target_are_told_apart() -> None:
    gate = verifier()
    credentials = proof(challenges(gate)[0])
    assert gate.verify(request(credentials, uri="sip:premium@x"), 1.0) is Verdict.ELSEWHERE
    spelled = TARGET.replace("tls", "TLS")
    assert gate.verify(request(credentials, uri=spelled), 1.0) is Verdict.ACCEPTED


def test_a_recorded_request_cannot_be_played_again() -> None:
    gate = verifier()
    challenge = challenges(gate)[0]
    assert gate.verify(request(proof(challenge)), 1.0) is Verdict.ACCEPTED
    assert gate.verify(request(proof(challenge)), 1.0) is Verdict.STALE
    assert gate.verify(request(proof(challenge, count=2)), 1.0) is Verdict.ACCEPTED


def test_nonces_end() -> None:
    gate = verifier()
    challenge = challenges(gate)[0]
    assert gate.verify(request(proof(challenge)), NONCE_LIFE - 1) is Verdict.ACCEPTED
    assert gate.verify(request(proof(challenge, count=2)), NONCE_LIFE + 1) is Verdict.STALE


def test_nonces_of_others_and_of_the_future_are_stale() -> None:
    gate = verifier()
    before_a_restart = challenges(verifier(secret=b"older"))[0]
    assert gate.verify(request(proof(before_a_restart)), 1.0) is Verdict.STALE
    assert gate.verify(request(proof(challenges(gate, 100.0)[0])), 1.0) is Verdict.STALE
    assert gate.verify(request(proof(Challenge("example.net", "", "MD5"))), 1.0) is Verdict.STALE


def test_what_is_forgotten_is_not_believed_again() -> None:
    gate = verifier()
    old = [challenges(gate, number / 10)[0] for number in range(MAX_NONCES + 1)]
    now = MAX_NONCES / 10 + 1
    for challenge in old:
        assert gate.verify(request(proof(challenge)), now) is Verdict.ACCEPTED
    assert gate.verify(request(proof(old[0])), now) is Verdict.STALE
    assert gate.verify(request(proof(old[-1], count=2)), now) is Verdict.ACCEPTED


# --- through a whole user agent


@pytest.fixture
def alice(world: World) -> Phone:
    return world.phone("alice", authenticate_peer=PEER)


def proven(pbx: Script, method: str, *, seq: int, uri: str = TARGET) -> list[tuple[str, str]]:
    """Credentials for the next request, after the latest challenge."""
    value = pbx.last_response(method).headers.get("WWW-Authenticate") or ""
    [challenge] = Challenge.parse(value)
    credentials = answer(PEER, challenge, method=method, uri=uri, cnonce="c", count=seq)
    return [("Authorization", str(credentials))]


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE"])
def test_calls_and_texts_are_challenged_first(alice: Phone, pbx: Script, method: str) -> None:
    pbx.request(method, body=OFFER)
    refusal = pbx.last_response(method)
    assert refusal.status == 401
    assert len(refusal.headers.get_all("WWW-Authenticate")) == 2
    assert alice.all(IncomingSession) == []
    assert alice.all(MessageReceived) == []
    pbx.request(method, seq=2, body=OFFER, headers=proven(pbx, method, seq=1))
    assert len(alice.all(IncomingSession)) + len(alice.all(MessageReceived)) == 1


def test_a_wrong_password_is_challenged_again(alice: Phone, pbx: Script) -> None:
    pbx.request("INVITE", body=OFFER)
    [(name, value)] = proven(pbx, "INVITE", seq=1)
    pbx.request("INVITE", seq=2, body=OFFER, headers=[(name, value.replace("response", "opaque"))])
    assert pbx.last_response("INVITE").status == 401
    pbx.request("INVITE", seq=3, body=OFFER, headers=[(name, value)])
    pbx.request("INVITE", seq=4, call_id="replayed", body=OFFER, headers=[(name, value)])
    assert "stale=true" in (pbx.last_response("INVITE").headers.get("WWW-Authenticate") or "")
    assert len(alice.all(IncomingSession)) == 1


def test_another_target_is_a_bad_request(alice: Phone, pbx: Script) -> None:
    pbx.request("INVITE", body=OFFER)
    headers = proven(pbx, "INVITE", seq=1, uri="sip:another@example.net")
    pbx.request("INVITE", seq=2, body=OFFER, headers=headers)
    assert pbx.last_response("INVITE").status == 400


def test_dialogs_probes_and_cancels_go_on_unchallenged(alice: Phone, pbx: Script) -> None:
    pbx.request("OPTIONS", call_id="probe")
    assert pbx.last_response("OPTIONS").status == 200
    pbx.request("INVITE", body=OFFER)
    pbx.request(
        "INVITE", seq=2, body=OFFER, headers=proven(pbx, "INVITE", seq=1), branch="z9hG4bKi"
    )
    pbx.request("CANCEL", seq=2, branch="z9hG4bKi")
    assert pbx.last_response("CANCEL").status == 200
    assert pbx.last_response("INVITE").status == 487
    headers = proven_again(pbx)
    pbx.request("INVITE", seq=4, call_id="next", body=OFFER, headers=headers)
    session = alice.incoming()
    session.answer(ANSWER, now=alice.now)
    alice.pump()
    alice.world.settle()
    pbx.within(session, "ACK", seq=4)
    pbx.within(session, "BYE", seq=5)
    assert pbx.last_response("BYE").status == 200


def proven_again(pbx: Script) -> list[tuple[str, str]]:
    pbx.request("INVITE", seq=3, call_id="next", body=OFFER)
    return proven(pbx, "INVITE", seq=1)


def test_our_own_client_passes_our_own_server(world: World) -> None:
    trunk = {"domain": "example.net", "username": "bob", "password": "pw"}
    caller = world.phone("bob", **trunk)
    callee = world.phone("alice", authenticate_peer=Account("bob", "pw"))
    world.link(caller, callee)
    caller.call("alice")
    world.settle()
    assert len(callee.all(IncomingSession)) == 1
    given = Credentials.parse(
        next(m for m in reversed(world.sent("bob", "INVITE")) if m).headers.get("Authorization")
        or ""
    )
    assert given is not None
    assert given.algorithm == "SHA-256"
    assert given == signed(given, Account("bob", "pw"), method="INVITE", body=OFFER.data)
