"""Texts out and in."""

import pytest

from sip import pager
from sip.cpim import Cpim
from sip.errors import LocalError
from sip.events import Body, MessageNotified, MessageReceived, MessageSent
from sip.imdn import Imdn, Kind, Status, Wish
from sip.pager import MAX_NOTIFYING
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
    assert pbx.last_response().headers.get("Accept") == (
        "text/plain, message/cpim, message/imdn+xml"
    )


# --- message/cpim and notifications


def cpim(*lines: str, content: str = "text/plain", body: str = "hello") -> Body:
    head = ["From: <im:carol@example.net>", "DateTime: 2026-01-01T00:00:00Z", *lines, ""]
    return Body(
        "Message/CPIM;charset=UTF-8",
        "\r\n".join([*head, f"Content-Type: {content}", "", body]).encode(),
    )


ASKS = (
    "NS: imdn <urn:ietf:params:imdn>",
    "imdn.Message-ID: m1",
    "imdn.Disposition-Notification: positive-delivery, display",
)


def accept(phone: Phone, status: int = 200) -> MessageReceived:
    event = phone.last(MessageReceived)
    phone.agent.answer_message(event.id, status, now=phone.now, sender=Presentation("+4930111222"))
    phone.pump()
    phone.world.settle()
    return event


def test_a_text_inside_a_message_is_told_as_if_it_came_bare(alice: Phone, pbx: Script) -> None:
    pbx.request("MESSAGE", body=cpim(content="text/plain;charset=utf-8", body="grüße"))
    event = accept(alice)
    assert event.body == Body("text/plain;charset=utf-8", "grüße".encode())
    assert event.sender.uri.user == "+15550100"  # as SIP says; the message's From proves nothing
    assert event.wanted is None
    assert pbx.requests("MESSAGE") == []


def test_a_sender_that_asks_is_told_of_the_delivery_and_then_of_the_display(
    alice: Phone, pbx: Script, world: World
) -> None:
    pbx.request("MESSAGE", body=cpim(*ASKS))
    assert pbx.requests("MESSAGE") == []
    event = accept(alice)
    assert [response.status for response in pbx.responses()] == [200]
    told = pbx.last_request("MESSAGE")
    assert str(told.uri) == "sip:+15550100@example.net"
    assert told.headers.get("P-Preferred-Identity") == "<sip:+4930111222@example.net>"
    message = Cpim.parse(told.body)
    assert message.headers.get("To") == "<im:carol@example.net>"
    assert Imdn.parse(message.body.data) == Imdn(
        "m1", Kind.DELIVERY, Status.DELIVERED, "2026-01-01T00:00:00Z", "sip:alice@example.net"
    )
    assert event.wanted is not None
    alice.agent.notify_displayed(event.wanted, now=world.now)
    alice.pump()
    world.settle()
    message = Cpim.parse(pbx.last_request("MESSAGE").body)
    assert Imdn.parse(message.body.data).status is Status.DISPLAYED
    for request in pbx.requests("MESSAGE"):
        pbx.reply(request, 200)
    assert alice.all(MessageSent) == []
    world.run(60)
    assert alice.agent.deadline() is None


def test_a_text_that_was_refused_is_not_told_as_delivered(alice: Phone, pbx: Script) -> None:
    pbx.request("MESSAGE", body=cpim(*ASKS))
    accept(alice, 404)
    assert pbx.requests("MESSAGE") == []


def test_who_does_not_ask_for_the_display_is_not_told(
    alice: Phone, pbx: Script, world: World
) -> None:
    pbx.request("MESSAGE", body=cpim(*ASKS[:2], "imdn.Disposition-Notification: processing"))
    event = accept(alice)
    assert event.wanted is not None
    alice.agent.notify_displayed(event.wanted, now=world.now)
    alice.pump()
    world.settle()
    assert pbx.requests("MESSAGE") == []


def test_an_unknown_sender_is_not_told(world: World) -> None:
    alice, pbx = world.phone(), Script(world)
    world.link(alice, pbx)
    request = pbx.request("MESSAGE", body=cpim(*ASKS), send=False)
    request.headers.set("From", '"Anonymous" <sip:anonymous@anonymous.invalid>;tag=1')
    pbx.send(request)
    accept(alice)
    assert pbx.requests("MESSAGE") == []


def test_a_flood_of_questions_has_a_bounded_number_of_answers(
    alice: Phone, pbx: Script, world: World
) -> None:
    for seq in range(50):
        pbx.request("MESSAGE", body=cpim(*ASKS), seq=seq + 1)
        accept(alice)
    assert len(pbx.requests("MESSAGE")) == MAX_NOTIFYING
    for request in pbx.requests("MESSAGE"):
        pbx.reply(request, 403)
    pbx.request("MESSAGE", body=cpim(*ASKS), seq=99)
    accept(alice)
    assert len(pbx.requests("MESSAGE")) == MAX_NOTIFYING + 1


DELIVERED = bytes(Imdn("m7", Kind.DELIVERY, Status.DELIVERED)).decode()


@pytest.mark.parametrize(
    "body",
    [
        Body("message/imdn+xml", DELIVERED.encode()),
        cpim(*ASKS, content="message/imdn+xml", body=DELIVERED),
    ],
)
def test_a_notification_is_told_and_never_notified_of(
    alice: Phone, pbx: Script, body: Body
) -> None:
    pbx.request("MESSAGE", body=body)
    event = alice.last(MessageNotified)
    assert (event.id, event.kind, event.status) == ("m7", Kind.DELIVERY, Status.DELIVERED)
    assert event.sender.uri.user == "+15550100"
    assert [response.status for response in pbx.responses()] == [200]
    assert pbx.requests("MESSAGE") == []
    assert alice.all(MessageReceived) == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (Body("message/cpim", b"nonsense"), 400),
        (Body("message/imdn+xml", b"<imdn/>"), 400),
        (Body("text/plain; ;=", b"x"), 400),
        (cpim(content="text/plain\r\nContent-Transfer-Encoding: gzip"), 415),
    ],
)
def test_what_cannot_be_read_is_refused(alice: Phone, pbx: Script, body: Body, status: int) -> None:
    pbx.request("MESSAGE", body=body)
    assert pbx.last_response().status == status
    assert alice.events == []


def test_two_agents_notify_each_other(alice: Phone, bob: Phone, world: World) -> None:
    world.link(alice, bob)
    id = alice.agent.send_message(
        BOB,
        TEXT,
        now=world.now,
        key="$event:example.net",
        wishes=frozenset({Wish.POSITIVE_DELIVERY}),
        sent_at="2026-01-01T00:00:00Z",
    )
    alice.pump()
    world.settle()
    assert accept(bob).body == TEXT
    notified = alice.last(MessageNotified)
    assert (notified.id, notified.status) == (id, Status.DELIVERED)
    assert bob.all(MessageNotified) == []
    assert [type(event) for event in bob.events] == [MessageReceived]


def test_two_agents_text_each_other(alice: Phone, bob: Phone, world: World) -> None:
    world.link(alice, bob)
    id = send(alice)
    event = bob.last(MessageReceived)
    assert event.body == TEXT
    bob.agent.answer_message(event.id, 200, now=world.now)
    bob.pump()
    world.settle()
    assert alice.last(MessageSent) == MessageSent(id, 200, "OK", True)


def test_texts_that_nobody_stores_are_bounded_and_then_forgotten(
    alice: Phone, pbx: Script, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pager, "MAX_RECEIVED", 2)
    for number in range(3):
        pbx.request("MESSAGE", body=TEXT, call_id=f"text{number}")
    assert len(alice.all(MessageReceived)) == 2
    assert [response.status for response in pbx.responses()] == [503]
    assert pbx.last_response().headers.retry_after == 5
    world.run(40)
    pbx.request("MESSAGE", body=TEXT, call_id="later")
    assert len(alice.all(MessageReceived)) == 3
