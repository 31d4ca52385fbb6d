"""The binding: made, refreshed, repaired, removed."""

from functools import partial

import pytest

from sip.events import FlowFailed, Registered, RegistrationFailed, Unregistered
from sip.message import Request
from tests.sip.world import Phone, Script, World

CHALLENGE = 'Digest realm="lab", nonce="{nonce}", algorithm={algorithm}, qop="auth"'


@pytest.fixture
def alice(world: World) -> Phone:
    return world.phone("alice", register=True, expires=300)


def grant(pbx: Script, expires: int = 300, *, request: Request | None = None) -> None:
    register = request or pbx.last_request("REGISTER")
    assert register.headers.contact is not None
    contact = str(register.headers.contact).replace("=tls", "=TLS")
    others = "<sip:alice@203.0.113.9:5060>;expires=7"
    pbx.reply(register, 200, headers=[("Contact", f"{others}, {contact};expires={expires}")])


def challenge(pbx: Script, nonce: str = "1", *, status: int = 401, algorithm: str = "MD5") -> None:
    name = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
    value = CHALLENGE.format(nonce=nonce, algorithm=algorithm)
    pbx.reply(pbx.last_request("REGISTER"), status, headers=[(name, value)])


def until(world: World, pbx: Script, count: int, *, limit: float) -> float:
    """Let time pass until so many REGISTERs came, and return how long it took."""
    began = world.now
    while len(pbx.requests("REGISTER")) < count:
        assert world.now < began + limit, world.ladder()
        world.run(0.5)
    return world.now - began


def test_a_flow_is_registered_at_once(alice: Phone, pbx: Script, world: World) -> None:
    world.settle()
    register = pbx.last_request("REGISTER")
    assert str(register.uri) == "sip:example.net"
    assert register.headers.to.uri == register.headers.from_.uri
    assert register.headers.to.tag is None
    assert register.headers.get("Expires") == "300"
    assert not alice.agent.registered
    grant(pbx, 299)
    assert alice.last(Registered).expires == 299
    assert alice.agent.registered


def test_a_challenge_is_answered_with_the_strongest_algorithm(
    alice: Phone, pbx: Script, world: World
) -> None:
    world.settle()
    first = pbx.last_request("REGISTER")
    values = [
        ("WWW-Authenticate", CHALLENGE.format(nonce="1", algorithm=algorithm))
        for algorithm in ("MD5", "SHA-256")
    ]
    pbx.reply(first, 401, headers=values)
    second = pbx.last_request("REGISTER")
    authorization = second.headers.get("Authorization") or ""
    assert "algorithm=SHA-256" in authorization
    assert 'username="alice"' in authorization
    assert 'uri="sip:example.net"' in authorization
    assert second.headers.call_id == first.headers.call_id
    assert second.headers.from_.tag == first.headers.from_.tag
    assert second.headers.cseq.number == first.headers.cseq.number + 1
    assert second.headers.via.branch != first.headers.via.branch
    grant(pbx)
    assert alice.agent.registered


def test_401_then_407_are_both_answered(alice: Phone, pbx: Script, world: World) -> None:
    world.settle()
    challenge(pbx)
    challenge(pbx, "2", status=407)
    register = pbx.last_request("REGISTER")
    assert 'nonce="1"' in (register.headers.get("Authorization") or "")
    assert 'nonce="2"' in (register.headers.get("Proxy-Authorization") or "")
    grant(pbx)
    assert alice.agent.registered


def test_a_refresh_carries_credentials_at_once_and_a_stale_nonce_is_replaced(
    alice: Phone, pbx: Script, world: World
) -> None:
    world.settle()
    challenge(pbx)
    grant(pbx, 100)
    world.run(56)
    refresh = pbx.last_request("REGISTER")
    assert "nc=00000002" in (refresh.headers.get("Authorization") or "")
    stale = CHALLENGE.format(nonce="2", algorithm="MD5") + ", stale=true"
    pbx.reply(refresh, 401, headers=[("WWW-Authenticate", stale)])
    again = pbx.last_request("REGISTER")
    assert 'nonce="2"' in (again.headers.get("Authorization") or "")
    stale = stale.replace('"2"', '"3"')
    pbx.reply(again, 401, headers=[("WWW-Authenticate", stale)])
    assert 'nonce="3"' in (pbx.last_request("REGISTER").headers.get("Authorization") or "")
    grant(pbx)
    assert len(alice.all(Registered)) == 2
    assert alice.all(RegistrationFailed) == []


def test_a_nonce_that_ran_out_without_saying_so_is_replaced_as_well(
    alice: Phone, pbx: Script, world: World
) -> None:
    world.settle()
    challenge(pbx)
    grant(pbx, 100)
    world.run(56)
    challenge(pbx, "2")
    grant(pbx)
    assert alice.all(RegistrationFailed) == []


def test_a_server_that_calls_every_nonce_stale_is_given_up(
    alice: Phone, pbx: Script, world: World
) -> None:
    def never_content(message: object) -> None:
        if isinstance(message, Request) and message.method == "REGISTER":
            nonce = str(message.headers.cseq.number)
            value = CHALLENGE.format(nonce=nonce, algorithm="MD5") + ", stale=true"
            reply = partial(pbx.reply, message, 401, headers=[("WWW-Authenticate", value)])
            world.at(world.now, reply)

    pbx.react = never_content
    world.run(30)
    assert len(pbx.requests("REGISTER")) == 5
    assert alice.last(RegistrationFailed).status == 401


@pytest.mark.parametrize("granted", [10, 60, 3600])
def test_the_refresh_comes_at_half_of_the_time(
    alice: Phone, pbx: Script, world: World, granted: int
) -> None:
    world.settle()
    grant(pbx, granted)
    waited = until(world, pbx, 2, limit=granted)
    assert 0.45 * granted - 0.1 <= waited <= 0.55 * granted + 0.6
    grant(pbx, granted)
    assert alice.agent.registered


@pytest.mark.parametrize(
    ("headers", "expires"),
    [
        ([("Expires", "77")], 77),
        ([], 300),
        ([("Contact", "<nonsense")], 300),
        ([("Expires", "nonsense")], 300),
        ([("Expires", "4000000000")], 7 * 86400),
    ],
)
def test_the_granted_time_is_found_or_assumed(
    alice: Phone, pbx: Script, world: World, headers: list[tuple[str, str]], expires: int
) -> None:
    world.settle()
    pbx.reply(pbx.last_request("REGISTER"), 200, headers=headers)
    assert alice.last(Registered).expires == expires


def test_a_registrar_that_grants_nothing_has_refused(
    alice: Phone, pbx: Script, world: World
) -> None:
    world.settle()
    pbx.reply(pbx.last_request("REGISTER"), 200, headers=[("Expires", "0")])
    assert not alice.agent.registered
    assert "no time" in alice.last(RegistrationFailed).reason
    until(world, pbx, 2, limit=2)


def test_too_brief_is_lengthened(alice: Phone, pbx: Script, world: World) -> None:
    world.settle()
    pbx.reply(pbx.last_request("REGISTER"), 423, headers=[("Min-Expires", "900")])
    assert pbx.last_request("REGISTER").headers.get("Expires") == "900"
    grant(pbx, 900)
    assert alice.agent.registered


@pytest.mark.parametrize("minimum", ["100", "nonsense", "99999999"])
def test_a_423_that_asks_for_nothing_sensible_is_a_failure(
    alice: Phone, pbx: Script, world: World, minimum: str
) -> None:
    world.settle()
    pbx.reply(pbx.last_request("REGISTER"), 423, headers=[("Min-Expires", minimum)])
    assert alice.last(RegistrationFailed).status == 423


def test_failures_are_repeated_with_growing_delays_and_never_given_up(
    alice: Phone, pbx: Script, world: World
) -> None:
    delays: list[float] = []
    world.settle()
    for _ in range(12):
        pbx.reply(pbx.last_request("REGISTER"), 500)
        retry_in = alice.last(RegistrationFailed).retry_in
        assert retry_in is not None
        delays.append(retry_in)
        world.run(retry_in + 0.1)
    ceilings = [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60]
    for delay, ceiling in zip(delays, ceilings, strict=True):
        assert 0.75 * ceiling <= delay <= ceiling
    assert len(set(delays[6:])) > 1  # jittered
    grant(pbx)
    assert alice.agent.registered
    until(world, pbx, 14, limit=280)
    pbx.reply(pbx.last_request("REGISTER"), 500)
    assert (alice.last(RegistrationFailed).retry_in or 99) <= 1


def test_retry_after_is_honoured(alice: Phone, pbx: Script, world: World) -> None:
    world.settle()
    pbx.reply(pbx.last_request("REGISTER"), 503, headers=[("Retry-After", "120")])
    assert alice.last(RegistrationFailed).retry_in == 120
    world.run(119)
    assert len(pbx.requests("REGISTER")) == 1
    world.run(2)
    pbx.reply(pbx.last_request("REGISTER"), 503, headers=[("Retry-After", "999999")])
    assert alice.last(RegistrationFailed).retry_in == 3600


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_are_tried_again_rarely(
    alice: Phone, pbx: Script, world: World, status: int
) -> None:
    world.settle()
    challenge(pbx)
    if status == 401:
        challenge(pbx, "2")
    else:
        pbx.reply(pbx.last_request("REGISTER"), 403)
    event = alice.last(RegistrationFailed)
    assert event.status == status
    assert event.retry_in is not None
    assert 540 <= event.retry_in <= 660
    until(world, pbx, 3, limit=661)
    grant(pbx)
    assert alice.agent.registered


def test_silence_on_a_connection_means_that_it_is_dead(
    alice: Phone, pbx: Script, world: World
) -> None:
    world.run(33)
    assert alice.last(RegistrationFailed).status == 408
    assert alice.last(RegistrationFailed).retry_in is None
    failed = alice.last(FlowFailed)
    assert pbx.link is not None
    pbx.link.cut()
    world.settle()
    assert len(alice.all(RegistrationFailed)) == 1
    world.link(alice, pbx)
    world.settle()
    grant(pbx)
    assert alice.agent.registered
    assert failed.flow in alice.links


def test_silence_on_udp_is_repeated(world: World, alice: Phone) -> None:
    pbx = Script(world)
    world.link(alice, pbx, "UDP")
    world.run(32.5)
    assert len(pbx.requests("REGISTER")) == 11
    assert alice.last(RegistrationFailed).status == 408
    assert alice.last(RegistrationFailed).retry_in is not None
    assert alice.all(FlowFailed) == []
    world.run(2)
    grant(pbx)
    assert alice.agent.registered


def test_a_lost_flow_is_told_once_and_the_next_is_registered(
    alice: Phone, pbx: Script, world: World
) -> None:
    world.settle()
    grant(pbx)
    before = pbx.last_request("REGISTER")
    assert pbx.link is not None
    pbx.link.cut()
    world.settle()
    assert not alice.agent.registered
    assert alice.all(RegistrationFailed) == [RegistrationFailed(503, "connection lost", None)]
    world.run(1000)
    world.link(alice, pbx)
    world.settle()
    after = pbx.last_request("REGISTER")
    assert after.headers.call_id == before.headers.call_id
    assert after.headers.cseq.number > before.headers.cseq.number
    assert after.headers.contact != before.headers.contact
    grant(pbx)
    assert alice.agent.registered


def test_a_flow_lost_while_registering_is_told_once(
    alice: Phone, pbx: Script, world: World
) -> None:
    world.settle()
    assert pbx.link is not None
    pbx.link.cut()
    world.settle()
    assert len(alice.all(RegistrationFailed)) == 1


def test_a_flow_lost_while_waiting_says_nothing_new(
    alice: Phone, pbx: Script, world: World
) -> None:
    world.settle()
    pbx.reply(pbx.last_request("REGISTER"), 500)
    assert pbx.link is not None
    pbx.link.cut()
    world.run(100)
    assert len(alice.all(RegistrationFailed)) == 1


def test_an_answer_to_an_older_register_is_not_believed(
    alice: Phone, pbx: Script, world: World
) -> None:
    world.settle()
    old = pbx.last_request("REGISTER")
    alice.agent.unregister(now=world.now)
    alice.pump()
    world.settle()
    grant(pbx, request=old)
    assert alice.all(Registered) == []
    assert pbx.last_request("REGISTER").headers.get("Expires") == "0"


def test_unregistering_removes_the_binding_for_good(
    alice: Phone, pbx: Script, world: World
) -> None:
    world.settle()
    challenge(pbx)
    grant(pbx)
    alice.agent.unregister(now=world.now)
    alice.pump()
    world.settle()
    register = pbx.last_request("REGISTER")
    assert register.headers.get("Expires") == "0"
    assert "Authorization" in register.headers
    assert not alice.agent.registered
    pbx.reply(register, 200)
    assert len(alice.all(Unregistered)) == 1
    assert not alice.agent.busy
    world.run(1000)
    assert pbx.link is not None
    pbx.link.cut()
    world.settle()
    world.link(alice, pbx)
    world.run(10)
    assert pbx.last_request("REGISTER") is register


def test_a_refused_removal_is_told(alice: Phone, pbx: Script, world: World) -> None:
    world.settle()
    grant(pbx)
    alice.agent.unregister(now=world.now)
    alice.pump()
    world.settle()
    pbx.reply(pbx.last_request("REGISTER"), 500)
    assert alice.last(RegistrationFailed) == RegistrationFailed(500, "Server Internal Error", None)


def test_unregistering_without_a_binding_is_done_at_once(world: World) -> None:
    phone = world.phone("carol")
    phone.agent.unregister(now=world.now)
    phone.pump()
    assert phone.all(Unregistered)
