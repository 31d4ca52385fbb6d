"""3xx: what is told of it, and where it is followed."""

import pytest

from sip.events import SessionAnswered, SessionEnded
from sip.headers import Headers
from sip.message import Response
from sip.redirect import MAX_REDIRECTS, Redirects, contacts_of
from sip.uri import Uri
from tests.sip.test_session import ended
from tests.sip.world import ANSWER, OFFER, Phone, Script, World


def moved(*contacts: str, status: int = 302) -> Response:
    return Response(status, "", Headers([("Contact", contact) for contact in contacts]))


def redirects() -> Redirects:
    return Redirects(lambda host: host == "pbx.example", Uri.parse("sip:bob@pbx.example"))


def test_contacts_are_told_in_the_order_of_their_weight() -> None:
    response = moved("<sip:a@h>;q=0.5, <sip:b@h>", "<sip:c@h>;q=0.7", "<tel:+15550100>;q=nan")
    assert [contact.uri.user for contact in contacts_of(response)] == ["b", "c", "a", "+15550100"]
    assert contacts_of(moved("<<")) == ()
    assert contacts_of(moved("<sip:a@h>", status=486)) == ()


def test_only_places_of_the_trunk_are_tried_each_once() -> None:
    chain = redirects()
    chain.add(
        moved("<sip:bob@PBX.example:5070>", "<sip:x@evil.example>;q=0.9", "<tel:+1900>;q=0.9")
    )
    chain.add(moved("<sip:carol@pbx.example?Replaces=x>;q=0.1", "<sip:dave@pbx.example>"))
    assert str(chain.next()) == "sip:dave@pbx.example"
    assert str(chain.next()) == "sip:carol@pbx.example"
    chain.add(moved("<sip:dave@pbx.example>"))
    assert chain.next() is None


@pytest.mark.parametrize("status", [305, 380])
def test_other_proxies_and_other_services_are_not_tried(status: int) -> None:
    chain = redirects()
    chain.add(moved("<sip:carol@pbx.example>", status=status))
    assert chain.next() is None


def test_an_endless_chain_ends() -> None:
    chain = redirects()
    hops = 0
    chain.add(moved("<sip:hop@pbx.example>"))
    while chain.next() is not None:
        hops += 1
        chain.add(moved(f"<sip:hop{hops}@pbx.example>"))
    assert hops == MAX_REDIRECTS


# --- with a session around it


def test_unless_the_trunk_says_so_a_redirection_ends_the_call_and_is_told(
    alice: Phone, pbx: Script, world: World
) -> None:
    alice.call()
    world.settle()
    contact = [("Contact", "<sip:carol@example.net>")]
    pbx.reply(pbx.last_request("INVITE"), 302, headers=contact, contact=False)
    assert ended(alice) == (302, True)
    (told,) = alice.last(SessionEnded).contacts
    assert str(told.uri) == "sip:carol@example.net"
    assert len(pbx.requests("INVITE")) == 1


@pytest.fixture
def follower(world: World) -> tuple[Phone, Script]:
    phone, script = world.phone("fay", follow_redirects=True), Script(world, "registrar")
    world.link(phone, script)
    return phone, script


def test_a_followed_call_is_the_same_call_at_another_place(
    follower: tuple[Phone, Script], world: World
) -> None:
    fay, pbx = follower
    session = fay.call()
    world.settle()
    first = pbx.last_request("INVITE")
    pbx.reply(first, 180, tag="one")
    places = [("Contact", "<sip:carol@example.net>;q=0.3, <sip:dave@example.net>")]
    pbx.reply(first, 302, headers=places, contact=False, tag="one")
    second = pbx.last_request("INVITE")
    assert str(second.uri) == "sip:dave@example.net"
    assert second.body == OFFER.data
    for name in ("From", "To", "Call-ID"):
        assert second.headers.get(name) == first.headers.get(name)
    assert second.headers.cseq.number > first.headers.cseq.number
    pbx.reply(second, 486, tag="two")
    third = pbx.last_request("INVITE")
    assert str(third.uri) == "sip:carol@example.net"
    pbx.reply(third, 200, ANSWER, tag="three")
    assert fay.last(SessionAnswered).answer == ANSWER
    assert session.remote_tag == "three"
    assert fay.all(SessionEnded) == []


def test_the_last_refusal_is_the_calls(follower: tuple[Phone, Script], world: World) -> None:
    fay, pbx = follower
    fay.call()
    world.settle()
    places = [("Contact", "<sip:carol@example.net>, <sip:dave@example.net>")]
    pbx.reply(pbx.last_request("INVITE"), 302, headers=places, contact=False)
    pbx.reply(pbx.last_request("INVITE"), 603)  # everywhere (§21.6): nobody else is tried
    assert ended(fay) == (603, True)
    assert len(pbx.requests("INVITE")) == 2


def test_a_call_given_up_is_not_followed(follower: tuple[Phone, Script], world: World) -> None:
    fay, pbx = follower
    session = fay.call()
    world.settle()
    invite = pbx.last_request("INVITE")
    pbx.reply(invite, 180)
    session.hang_up(now=world.now)
    fay.pump()
    pbx.reply(invite, 302, headers=[("Contact", "<sip:carol@example.net>")], contact=False)
    assert len(pbx.requests("INVITE")) == 1
    assert ended(fay) == (487, False)
