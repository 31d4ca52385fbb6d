"""Texts out and in."""

import pytest

from sip.errors import LocalError
from sip.events import Body, MessageReceived, MessageSent
from sip.presentation import Presentation
from sip.uri import Uri
from tests.sip.world import Phone, Script, World

TEXT = Body("text/plain;charset=UTF-8", "grüße ☎ 👋\nzwei".encode())
BOB = Uri("sip", "bob", "example.net")


def send(phone: Phone, *, key: str | None = None) -> str:
    id = phone.agent.send_message(BOB, TEXT, now=phone.now, key=key)
    phone.pump()
    phone.world.settle()
    return id


def test_a_text_goes_whole_and_its_outcome_comes_back(alice: Phone, pbx: Script) -> None:
    id = send(alice)
    message = pbx.last_request("MESSAGE")
    assert message.body == TEXT.data
    assert message.headers.get("Content-Type") == TEXT.content_type
    assert "Contact" not in message.headers  # RFC 3428 §4
    pbx.reply(message, 202)
    assert alice.all(MessageSent) == [MessageSent(id, 202, "Accepted", True)]


def test_a_refusal_is_told_with_its_reason(alice: Phone, pbx: Script) -> None:
    id = send(alice)
    pbx.reply(pbx.last_request("MESSAGE"), 404)
    assert alice.last(MessageSent) == MessageSent(id, 404, "Not Found", True)


def test_a_challenge_is_answered(alice: Phone, pbx: Script) -> None:
    send(alice)
    first = pbx.last_request("MESSAGE")
    pbx.reply(first, 407, headers=[("Proxy-Authenticate", 'Digest realm="r", nonce="1"')])
    second = pbx.last_request("MESSAGE")
    assert "Proxy-Authorization" in second.headers
    assert (second.headers.call_id, second.body) == (first.headers.call_id, TEXT.data)
    assert second.headers.cseq.number == 2
    pbx.reply(second, 200)
    assert alice.last(MessageSent).status == 200
    send(alice)
    assert "Proxy-Authorization" in pbx.last_request("MESSAGE").headers


def test_silence_and_a_lost_flow_are_in_doubt(alice: Phone, pbx: Script, world: World) -> None:
    send(alice)
    world.run(33)
    assert alice.last(MessageSent).status == 408
    assert not alice.last(MessageSent).answered
    send(alice)
    assert pbx.link is not None
    pbx.link.cut()
    world.settle()
    assert (alice.last(MessageSent).status, alice.last(MessageSent).answered) == (503, False)
    send(alice)
    assert len(alice.all(MessageSent)) == 3


def test_the_same_key_is_the_same_text_to_the_peer(alice: Phone, pbx: Script, world: World) -> None:
    first_id = send(alice, key="$event:example.net")
    assert send(alice, key="$event:example.net") == first_id
    assert len(pbx.requests("MESSAGE")) == 1
    pbx.reply(pbx.last_request("MESSAGE"), 500)
    assert send(alice, key="$event:example.net") == first_id
    first, again = (request.headers for request in pbx.requests("MESSAGE"))
    assert (first.call_id, first.from_.tag) == (again.call_id, again.from_.tag)
    assert first.cseq == again.cseq
    assert send(alice, key="$other:example.net") != first_id


def test_a_sender_may_be_named(alice: Phone, pbx: Script, world: World) -> None:
    sender = Presentation("+15550199", "Ann")
    alice.agent.send_message(BOB, TEXT, now=world.now, sender=sender)
    alice.pump()
    world.settle()
    headers = pbx.last_request("MESSAGE").headers
    assert headers.from_.display_name == "Ann"
    assert headers.get("P-Preferred-Identity") == '"Ann" <sip:+15550199@example.net>'


def test_a_content_type_cannot_begin_a_header(alice: Phone, world: World) -> None:
    with pytest.raises(LocalError):
        alice.agent.send_message(BOB, Body("text/plain\r\nX: y", b""), now=world.now)


def test_a_text_in_is_answered_only_when_the_user_says_so(
    alice: Phone, pbx: Script, world: World
) -> None:
    pbx.request("MESSAGE", body=TEXT, headers=[("P-Asserted-Identity", "<tel:+15550111>")])
    event = alice.last(MessageReceived)
    assert event.body == TEXT
    assert event.sender.uri.user == "+15550100"
    assert event.to.uri.user == "alice"
    assert event.target.user == "alice"
    assert event.identity.address == event.sender  # the trunk is not declared trusted
    world.run(3)
    assert pbx.responses() == []
    alice.agent.answer_message(event.id, 200, now=world.now)
    alice.agent.answer_message(event.id, 200, now=world.now)
    alice.pump()
    world.settle()
    assert [response.status for response in pbx.responses()] == [200]


def test_a_repeat_of_the_peers_application_has_the_same_key(
    alice: Phone, pbx: Script, world: World
) -> None:
    for _ in range(2):
        pbx.request("MESSAGE", body=TEXT, seq=7)
        alice.agent.answer_message(alice.last(MessageReceived).id, 200, now=world.now)
        alice.pump()
    pbx.request("MESSAGE", body=TEXT, seq=8)
    first, again, other = alice.all(MessageReceived)
    assert first.key == again.key
    assert first.id != again.id
    assert first.key != other.key


def test_a_repeat_within_the_transaction_is_answered_again_and_told_once(world: World) -> None:
    alice, pbx = world.phone(), Script(world)
    world.link(alice, pbx, "UDP")
    request = pbx.request("MESSAGE", body=TEXT)
    pbx.send(request)
    alice.agent.answer_message(alice.last(MessageReceived).id, 200, now=world.now)
    alice.pump()
    pbx.send(request)
    assert len(alice.all(MessageReceived)) == 1
    assert [response.status for response in pbx.responses()] == [200, 200]


def test_a_text_that_nobody_answers_is_forgotten(alice: Phone, pbx: Script, world: World) -> None:
    pbx.request("MESSAGE", body=TEXT)
    world.run(40)
    assert alice.agent.deadline() is None
    alice.agent.answer_message(alice.last(MessageReceived).id, 200, now=world.now)
    pbx.request("MESSAGE", body=TEXT, seq=2)
    alice.pump()
    world.settle()
    assert {response.status for response in pbx.responses()} == {100}


def test_an_unwelcome_kind_of_text_is_told_what_is_welcome(
    alice: Phone, pbx: Script, world: World
) -> None:
    pbx.request("MESSAGE")
    assert alice.last(MessageReceived).body == Body("text/plain", b"")
    with pytest.raises(LocalError):
        alice.agent.answer_message(alice.last(MessageReceived).id, 100, now=world.now)
    alice.agent.answer_message(alice.last(MessageReceived).id, 415, now=world.now)
    alice.pump()
    world.settle()
    assert pbx.last_response().headers.get("Accept") == "text/plain"


def test_two_agents_text_each_other(alice: Phone, bob: Phone, world: World) -> None:
    world.link(alice, bob)
    id = send(alice)
    event = bob.last(MessageReceived)
    assert event.body == TEXT
    bob.agent.answer_message(event.id, 200, now=world.now)
    bob.pump()
    world.settle()
    assert alice.last(MessageSent) == MessageSent(id, 200, "OK", True)
