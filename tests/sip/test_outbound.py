"""What a registrar's answer teaches: flows, lifetimes, routes, and how it sees us."""

from dataclasses import replace

import pytest

from sip.agent import UserAgent
from sip.events import Registered, RegistrationFailed
from sip.headers import Headers, Via
from sip.message import Request
from sip.outbound import MAX_ROUTES, seen_address, service_route
from sip.trunk import Trunk
from sip.uri import Uri
from tests.sip.world import OFFER, CountingIds, Phone, Script, World

INSTANCE = "urn:uuid:00000000-0000-1000-8000-000a95a0e128"


@pytest.fixture
def alice(world: World) -> Phone:
    return world.phone("alice", register=True)


def with_instance(world: World) -> Phone:
    trunk = Trunk(name="trunk", domain="example.net", username="alice", password="x")
    phone = Phone(world, "alice", trunk)
    phone.agent = UserAgent(trunk, ids=CountingIds("alice"), instance=INSTANCE)
    return phone


def grant(pbx: Script, *contacts: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
    register = pbx.last_request("REGISTER")
    ours = f"{register.headers.contact};expires=300"
    values = [("Contact", contact) for contact in contacts or (ours,)]
    pbx.reply(register, 200, headers=[*values, *headers])


# --- RFC 5626


def test_the_flow_of_an_instance_has_a_number(world: World) -> None:
    phone, pbx = with_instance(world), Script(world)
    world.link(phone, pbx)
    world.settle()
    register = pbx.last_request("REGISTER")
    contact = register.headers.contact
    assert contact is not None
    assert contact.parameters.get("+sip.instance") == f"<{INSTANCE}>"
    assert contact.parameters.get("reg-id") == "1"
    assert register.headers.tokens("Supported") == {"path", "outbound"}


def test_without_an_instance_there_is_no_talk_of_flows(alice: Phone, pbx: Script) -> None:
    pbx.world.settle()
    register = pbx.last_request("REGISTER")
    assert register.headers.tokens("Supported") == {"path"}
    assert register.headers.contact is not None
    assert "reg-id" not in register.headers.contact.parameters


def test_datagrams_have_no_flow_number(world: World) -> None:
    phone, pbx = with_instance(world), Script(world)
    world.link(phone, pbx, "UDP")
    world.settle()
    assert pbx.last_request("REGISTER").headers.tokens("Supported") == {"path"}


def test_a_first_hop_that_knows_no_flows_is_asked_without(world: World) -> None:
    phone, pbx = with_instance(world), Script(world)
    world.link(phone, pbx)
    world.settle()
    pbx.reply(pbx.last_request("REGISTER"), 439)
    again = pbx.last_request("REGISTER")
    assert again.headers.tokens("Supported") == {"path"}
    assert "+sip.instance" not in str(again.headers.contact)
    assert phone.all(RegistrationFailed) == []
    grant(pbx)
    assert phone.agent.registered
    world.run(160)
    assert pbx.last_request("REGISTER").headers.tokens("Supported") == {"path"}


def test_439_from_one_who_was_not_asked_is_a_failure(alice: Phone, pbx: Script) -> None:
    pbx.world.settle()
    pbx.reply(pbx.last_request("REGISTER"), 439)
    assert alice.last(RegistrationFailed).status == 439


def test_our_binding_is_known_by_its_instance(world: World) -> None:
    phone, pbx = with_instance(world), Script(world)
    world.link(phone, pbx)
    world.settle()
    other = "<sip:alice@203.0.113.1:5061>;expires=7"
    ours = f'<sip:xyz@sbc.example.net>;+sip.instance="<{INSTANCE}>";reg-id=1;expires=77'
    grant(pbx, other, ours)
    assert phone.last(Registered).expires == 77


# --- lifetimes


@pytest.mark.parametrize(
    ("contacts", "expires", "found"),
    [
        (("<sip:alice@198.51.100.1:{port}>;expires=60",), None, 60),
        (("<sip:alice@198.51.100.1:{port}>",), "50", 50),
        (("<sip:alice@198.51.100.1:{port};transport=TLS;ob>;q=0.5;expires=60",), "50", 60),
        (("<sip:alice@203.0.113.1:9>;expires=7", "<sip:ALICE@x>;expires=8"), "50", 50),
        (("<sip:alice@203.0.113.1:9>;expires=7", "<sip:ALICE@x>;expires=8"), None, 300),
        (("<sip:rewritten@sbc.example.net>;expires=40",), None, 40),
        (("<sip:rewritten@sbc.example.net>;expires=soon",), "50", 50),
        (("*",), "50", 50),
    ],
)
def test_what_was_granted_is_found(
    alice: Phone, pbx: Script, contacts: tuple[str, ...], expires: str | None, found: int
) -> None:
    pbx.world.settle()
    sent = pbx.last_request("REGISTER").headers.contact
    assert sent is not None
    headers = () if expires is None else (("Expires", expires),)
    grant(pbx, *(contact.format(port=sent.uri.port) for contact in contacts), headers=headers)
    assert alice.last(Registered).expires == found


# --- contacts that are no longer ours


def removed(pbx: Script) -> list[str]:
    return [
        str(contact.uri)
        for request in pbx.requests("REGISTER")
        for contact in request.headers.contacts
        if contact.parameters.get("expires") == "0"
    ]


def test_a_contact_of_a_lost_flow_is_removed_where_it_is_listed_still(
    alice: Phone, pbx: Script, world: World
) -> None:
    world.settle()
    grant(pbx)
    old = pbx.last_request("REGISTER").headers.contact
    assert pbx.link is not None
    pbx.link.cut()
    world.settle()
    world.link(alice, pbx)
    world.settle()
    new = pbx.last_request("REGISTER").headers.contact
    assert removed(pbx) == []
    grant(pbx, f"{old};expires=200", f"{new};expires=300")
    assert old is not None
    assert removed(pbx) == [str(old.uri)]
    assert "Expires" not in pbx.last_request("REGISTER").headers
    pbx.reply(pbx.last_request("REGISTER"), 200, headers=[("Contact", f"{new};expires=300")])
    assert [event.expires for event in alice.all(Registered)] == [300, 300]
    assert alice.agent.registered
    world.run(170)
    assert len(removed(pbx)) == 1


def test_a_contact_that_is_gone_is_not_removed_again(
    alice: Phone, pbx: Script, world: World
) -> None:
    world.settle()
    grant(pbx)
    assert pbx.link is not None
    pbx.link.cut()
    world.settle()
    world.link(alice, pbx)
    world.settle()
    grant(pbx)
    assert removed(pbx) == []


def test_contacts_are_never_removed_by_asterisk(alice: Phone, pbx: Script, world: World) -> None:
    world.settle()
    grant(pbx)
    alice.agent.unregister(now=world.now)
    alice.pump()
    world.settle()
    sent = [value for m in pbx.requests("REGISTER") for value in m.headers.get_all("Contact")]
    assert "*" not in sent


# --- how the registrar sees us (RFC 3581)


@pytest.mark.parametrize(
    ("via", "seen"),
    [
        ("SIP/2.0/TLS 10.0.0.1:40000;rport=61000;received=203.0.113.7", ("203.0.113.7", 61000)),
        ("SIP/2.0/TLS 10.0.0.1:40000;rport=61000", ("10.0.0.1", 61000)),
        ("SIP/2.0/TLS 10.0.0.1:40000;rport=40000;received=10.0.0.1", None),
        ("SIP/2.0/TLS 10.0.0.1:40000;rport=40000;received=[2001:db8::1]", ("2001:db8::1", 40000)),
        ("SIP/2.0/TLS 10.0.0.1:40000;received=203.0.113.7", None),
        ("SIP/2.0/TLS 10.0.0.1:40000;rport;received=203.0.113.7", None),
        ("SIP/2.0/TLS 10.0.0.1:40000;rport=0;received=203.0.113.7", None),
        ("SIP/2.0/TLS 10.0.0.1:40000;rport=99999;received=203.0.113.7", None),
        ("SIP/2.0/TLS 10.0.0.1:40000;rport=5;received=evil.example", None),
    ],
)
def test_the_address_that_the_peer_sees(via: str, seen: tuple[str, int] | None) -> None:
    assert seen_address(Via.parse(via)) == seen


def through_nat(request: Request, port: int = 61000) -> Request:
    """The request as a registrar outside of our network has it."""
    via = request.headers.via
    parameters = via.parameters.with_("rport", str(port)).with_("received", "203.0.113.7")
    headers = request.headers.copy()
    headers.set("Via", replace(via, parameters=parameters))
    return replace(request, headers=headers)


def place(request: Request) -> tuple[str, int | None]:
    contact = request.headers.contact
    assert contact is not None
    return contact.uri.host, contact.uri.port


def test_a_challenge_teaches_our_public_address(alice: Phone, pbx: Script, world: World) -> None:
    world.settle()
    challenge = [("WWW-Authenticate", 'Digest realm="r", nonce="1", qop="auth"')]
    pbx.reply(through_nat(pbx.last_request("REGISTER")), 401, headers=challenge)
    register = pbx.last_request("REGISTER")
    assert place(register) == ("203.0.113.7", 61000)
    contact = f"{register.headers.contact};expires=300"
    pbx.reply(through_nat(register), 200, headers=[("Contact", contact)])
    assert alice.agent.registered
    assert len(pbx.requests("REGISTER")) == 2
    alice.call()
    world.settle()
    assert place(pbx.last_request("INVITE")) == ("203.0.113.7", 61000)


def test_without_a_challenge_it_takes_another_register(
    alice: Phone, pbx: Script, world: World
) -> None:
    world.settle()
    first = pbx.last_request("REGISTER")
    old = f"{first.headers.contact};expires=300"
    pbx.reply(through_nat(first), 200, headers=[("Contact", old)])
    assert alice.all(Registered) == []
    second = pbx.last_request("REGISTER")
    assert place(second) == ("203.0.113.7", 61000)
    both = [("Contact", old), ("Contact", f"{second.headers.contact};expires=300")]
    pbx.reply(through_nat(second), 200, headers=both)
    assert alice.agent.registered
    assert first.headers.contact is not None
    assert removed(pbx) == [str(first.headers.contact.uri)]


def test_a_binding_of_nat_that_moved_is_registered_anew(
    alice: Phone, pbx: Script, world: World
) -> None:
    world.settle()
    for port in (61000, 61000, 62000, 62000):
        register = through_nat(pbx.last_request("REGISTER"), port)
        contact = f"{register.headers.contact};expires=300"
        pbx.reply(register, 200, headers=[("Contact", contact)])
        world.run(170 if alice.agent.registered else 0)
    assert ("203.0.113.7", 62000) in [place(m) for m in pbx.requests("REGISTER")]


# --- RFC 3608, RFC 7315


def test_the_service_route_leads_requests_outside_of_dialogs(
    alice: Phone, pbx: Script, world: World
) -> None:
    world.settle()
    route = ("Service-Route", "<sip:p1.example.net;lr>, <sip:orig@p2.example.net;lr>")
    grant(pbx, headers=(route,))
    alice.call()
    alice.agent.send_message(Uri.parse("sip:bob@example.net"), OFFER, now=world.now)
    alice.pump()
    world.settle()
    expected = ["<sip:p1.example.net;lr>", "<sip:orig@p2.example.net;lr>"]
    assert pbx.last_request("INVITE").headers.get_all("Route") == expected
    assert pbx.last_request("MESSAGE").headers.get_all("Route") == expected
    world.run(170)
    assert "Route" not in pbx.last_request("REGISTER").headers
    grant(pbx)
    alice.call()
    world.settle()
    assert "Route" not in pbx.last_request("INVITE").headers


@pytest.mark.parametrize(
    "value",
    ["<nonsense", "<sip:strict.example.net>", ", ".join(["<sip:p;lr>"] * (MAX_ROUTES + 1)), ""],
)
def test_a_service_route_that_cannot_be_used_is_left(value: str) -> None:
    assert service_route(Headers([("Service-Route", value)])) == ()


def test_our_other_addresses_are_handed_up(alice: Phone, pbx: Script) -> None:
    pbx.world.settle()
    value = "<sip:+15550100@example.net>, <tel:+15550101>, <nonsense"
    grant(pbx, headers=(("P-Associated-URI", value),))
    assert [str(uri) for uri in alice.last(Registered).associated] == [
        "sip:+15550100@example.net",
        "tel:+15550101",
    ]


# --- refusals


@pytest.mark.parametrize("status", [301, 302, 305])
def test_a_registrar_that_sends_us_elsewhere_is_not_followed(
    alice: Phone, pbx: Script, world: World, status: int
) -> None:
    world.settle()
    headers = [("Contact", "<sip:evil.example>")]
    pbx.reply(pbx.last_request("REGISTER"), status, headers=headers)
    assert alice.last(RegistrationFailed).status == status
    world.run(5)
    assert {str(m.uri) for m in pbx.requests("REGISTER")} == {"sip:example.net"}


def test_a_challenge_that_is_not_answered_is_told_with_its_reason(
    alice: Phone, pbx: Script, world: World
) -> None:
    world.settle()
    register = pbx.last_request("REGISTER")
    pbx.reply(register, 401, headers=[("WWW-Authenticate", 'Basic realm="r"')])
    assert "no way that we know" in alice.last(RegistrationFailed).objection
