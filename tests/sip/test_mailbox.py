"""Waiting messages: told unasked, and subscribed to."""

from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.errors import RemoteError
from sip.events import Body, MessagesWaiting
from sip.mailbox import read_summary
from sip.uri import Uri
from tests.sip.world import Phone, Script, World

MAILBOX = Uri("sip", "1000", "example.net")
TYPE = "application/simple-message-summary"

# What Asterisk 22 sends.
ONE_NEW = b"Messages-Waiting: yes\r\nVoice-Message: 1/0 (0/0)\r\n"


def summary(text: str, content_type: str = TYPE) -> MessagesWaiting:
    return read_summary(Body(content_type, text.encode()))


def tell(
    pbx: Script,
    data: bytes | None = ONE_NEW,
    *,
    state: str = "terminated",
    content_type: str = TYPE,
    seq: int = 1,
    event: str = "message-summary",
    within: dict[str, str] | None = None,
) -> int:
    """Send a NOTIFY; returns the status of its answer."""
    pbx.request(
        "NOTIFY",
        seq=seq,
        body=None if data is None else Body(content_type, data),
        headers=[
            ("Event", event),
            ("Subscription-State", state),
            ("Contact", "<sip:1000@192.0.2.9:5061;transport=tls>"),
        ],
        **(within or {}),  # type: ignore[arg-type]  # passed through as they are
    )
    return pbx.last_response("NOTIFY").status


# --- the body


def test_a_summary_is_read() -> None:
    text = (
        "Messages-Waiting: yes\r\nMessage-Account: sip:*97@vm.example.com\r\n"
        "Voice-Message: 2/8 (1/2)\r\nFax-Message: 7/0\r\n\r\nTo: <alice@atlanta.example.com>\r\n"
    )
    account = Uri("sip", "*97", "vm.example.com")
    assert summary(text) == MessagesWaiting(True, account, 2, 8, 1, 2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Messages-Waiting: no\nVoice-Message: 0/0 (0/0)\n", MessagesWaiting(False, None, 0, 0)),
        ("messages-waiting:YES\r\nvoice-message : 3/1", MessagesWaiting(True, None, 3, 1)),
        ("Messages-Waiting: yes\r\n", MessagesWaiting(True)),
        ("Messages-Waiting: yes\r\nVoice-Message: many\r\n", MessagesWaiting(True)),
        ("Messages-Waiting: no\r\nMessage-Account: <<\r\n", MessagesWaiting(False)),
    ],
)
def test_a_sloppy_summary_is_read_as_far_as_it_goes(text: str, expected: MessagesWaiting) -> None:
    assert summary(text) == expected


@pytest.mark.parametrize(
    ("text", "content_type", "status"),
    [
        ("Messages-Waiting: yes", "text/plain", 415),
        ("", TYPE, 400),
        ("Messages-Waiting: perhaps", TYPE, 400),
        ("Voice-Message: 1/0", TYPE, 400),
        ("Messages-Waiting: yes\r\nVoice-Message: 9999999/0", TYPE, 400),
    ],
)
def test_what_is_no_summary_is_refused(text: str, content_type: str, status: int) -> None:
    with pytest.raises(RemoteError) as caught:
        summary(text, content_type)
    assert caught.value.status == status


@given(st.binary(max_size=200))
def test_any_bytes_are_a_summary_or_an_error_of_the_peer(data: bytes) -> None:
    for head in (b"", b"Messages-Waiting: yes\r\nVoice-Message: "):
        with suppress(RemoteError):
            read_summary(Body(TYPE, head + data))


# --- unasked


def test_waiting_messages_are_told_unasked(alice: Phone, pbx: Script) -> None:
    assert tell(pbx) == 200
    assert alice.all(MessagesWaiting) == [MessagesWaiting(True, None, 1, 0)]
    assert tell(pbx, None, seq=2) == 200
    assert tell(pbx, b"nonsense", seq=3) == 400
    assert tell(pbx, content_type="text/plain", seq=4) == 415
    assert pbx.last_response().headers.get("Accept") == TYPE
    assert tell(pbx, event="presence", seq=5) == 489
    assert tell(pbx, event="", seq=6) == 489
    assert tell(pbx, event="refer", seq=7) == 481
    assert len(alice.all(MessagesWaiting)) == 1


def test_they_may_be_told_before_the_registration_is_answered(world: World) -> None:
    alice = world.phone("alice", register=True)
    pbx = Script(world)
    world.link(alice, pbx)
    world.settle()
    assert tell(pbx) == 200
    assert alice.last(MessagesWaiting).new == 1


@pytest.mark.parametrize("event", ["dialog", "reg", "presence", "message-summary", "refer"])
def test_nobody_can_subscribe_to_us(alice: Phone, pbx: Script, event: str) -> None:
    pbx.request("SUBSCRIBE", headers=[("Event", event), ("Expires", "60")])
    response = pbx.last_response("SUBSCRIBE")
    assert (response.status, response.headers.get("Allow-Events")) == (489, "refer")


# --- subscribed


@pytest.fixture
def subscriber(world: World) -> Phone:
    return world.phone("alice", mailbox=MAILBOX)


@pytest.fixture
def server(world: World, subscriber: Phone) -> Script:
    """A peer that has the first SUBSCRIBE and has not answered."""
    script = Script(world)
    world.link(subscriber, script)
    world.settle()
    return script


def dialog(server: Script, *, tag: str = "pbx-tag") -> dict[str, str]:
    """How the server names the dialog of the last SUBSCRIBE."""
    headers = server.last_request("SUBSCRIBE").headers
    return {"call_id": headers.call_id, "to_tag": headers.from_.tag or "", "from_tag": tag}


def grant(server: Script, expires: str = "600", *, tag: str = "pbx-tag") -> None:
    request = server.last_request("SUBSCRIBE")
    server.reply(request, 200, tag=tag, headers=[("Expires", expires)])


def subscribed(server: Script) -> dict[str, str]:
    """Let the subscription stand."""
    grant(server)
    where = dialog(server)
    assert tell(server, state="active;expires=600", within=where) == 200
    return where


def refreshed(server: Script, world: World) -> float:
    """Let time pass until the next SUBSCRIBE; returns how much."""
    before, count = world.now, len(server.requests("SUBSCRIBE"))
    while len(server.requests("SUBSCRIBE")) == count:
        world.run(1 if world.now < before + 5000 else 3600)
        assert world.now < before + 7 * 86_400, world.ladder()
    return world.now - before


def attempts(server: Script) -> int:
    """How many subscriptions were begun: in-dialog requests are not."""
    return len({r.headers.call_id for r in server.requests("SUBSCRIBE")})


def test_a_mailbox_is_subscribed_to_and_refreshed_in_its_dialog(
    subscriber: Phone, server: Script, world: World
) -> None:
    request = server.last_request("SUBSCRIBE")
    assert str(request.uri) == "sip:1000@example.net"
    assert str(request.headers.from_.uri) == "sip:alice@example.net"
    assert request.headers.get("Event") == "message-summary"
    assert request.headers.get("Accept") == TYPE
    assert request.headers.get("Expires") == "3600"
    assert request.headers.contact is not None
    subscribed(server)
    assert subscriber.last(MessagesWaiting).new == 1
    assert 300 <= refreshed(server, world) <= 541
    again = server.last_request("SUBSCRIBE")
    assert again is not request
    assert again.headers.to.tag == "pbx-tag"
    assert str(again.uri) == "sip:1000@192.0.2.9:5061;transport=tls"
    assert again.headers.cseq.number > request.headers.cseq.number
    assert attempts(server) == 1


def test_without_a_mailbox_nobody_subscribes(alice: Phone, pbx: Script, world: World) -> None:
    world.run(100)
    assert pbx.requests("SUBSCRIBE") == []


def test_a_line_that_registers_subscribes_after_it(world: World) -> None:
    alice = world.phone("alice", register=True, mailbox=MAILBOX)
    pbx = Script(world)
    world.link(alice, pbx)
    world.settle()
    assert pbx.requests("SUBSCRIBE") == []
    pbx.reply(pbx.last_request("REGISTER"), 200, headers=[("Expires", "300")])
    assert len(pbx.requests("SUBSCRIBE")) == 1


def test_a_challenged_subscribe_is_sent_again(server: Script) -> None:
    challenge = 'Digest realm="example.net", nonce="n", algorithm=SHA-256, qop="auth"'
    headers = [("WWW-Authenticate", challenge)]
    server.reply(server.last_request("SUBSCRIBE"), 401, headers=headers)
    assert "Authorization" in server.last_request("SUBSCRIBE").headers
    subscribed(server)


def test_a_notify_may_overtake_the_answer(subscriber: Phone, server: Script, world: World) -> None:
    where = dialog(server)
    assert tell(server, state="active;expires=600", within=where) == 200
    grant(server)
    world.run(60)
    assert attempts(server) == 1
    assert subscriber.last(MessagesWaiting).new == 1


def test_a_second_notifier_is_refused(subscriber: Phone, server: Script) -> None:
    subscribed(server)
    fork = dialog(server, tag="fork-tag")
    assert tell(server, state="active", seq=5, within=fork) == 481
    assert len(subscriber.all(MessagesWaiting)) == 1


def test_a_notify_out_of_order_or_about_something_else_is_refused(
    subscriber: Phone, server: Script
) -> None:
    where = subscribed(server)
    assert tell(server, state="active", seq=9, within=where) == 200
    assert tell(server, b"Messages-Waiting: no\r\n", state="active", seq=8, within=where) == 500
    assert tell(server, state="active", seq=10, event="dialog", within=where) == 489
    assert tell(server, state="active", seq=11, within=where | {"to_tag": "x"}) == 481
    assert subscriber.last(MessagesWaiting).waiting


def test_a_notifier_that_forgot_us_is_subscribed_to_anew(server: Script, world: World) -> None:
    subscribed(server)
    refreshed(server, world)
    server.reply(server.last_request("SUBSCRIBE"), 481)
    assert attempts(server) == 2
    assert server.last_request("SUBSCRIBE").headers.to.tag is None


@pytest.mark.parametrize("status", [405, 489, 501])
def test_a_notifier_that_knows_no_mailboxes_is_asked_once_for_each_flow(
    subscriber: Phone, server: Script, world: World, status: int
) -> None:
    server.reply(server.last_request("SUBSCRIBE"), status)
    world.run(86_400)
    assert attempts(server) == 1
    assert server.link is not None
    server.link.cut()
    world.settle()
    world.link(subscriber, server)
    world.settle()
    assert attempts(server) == 2


def waits(server: Script, world: World, count: int, *, status: int, **reply: object) -> list[float]:
    """Refuse so many attempts; returns the time until each of the next."""
    found = []
    for _ in range(count):
        server.reply(server.last_request("SUBSCRIBE"), status, **reply)  # type: ignore[arg-type]
        found.append(refreshed(server, world))
    return found


def test_refused_attempts_are_repeated_less_and_less_often(server: Script, world: World) -> None:
    found = waits(server, world, 9, status=404)
    assert 20 <= found[0] <= 32
    assert all(later > 1.2 * earlier for earlier, later in pairwise(found[:7]))
    assert 2600 <= found[-1] <= 3602


def test_retry_after_is_waited_for_up_to_an_hour(server: Script, world: World) -> None:
    (found,) = waits(server, world, 1, status=480, headers=[("Retry-After", "120")])
    assert 120 <= found <= 122
    (found,) = waits(server, world, 1, status=503, headers=[("Retry-After", "999999")])
    assert 3600 <= found <= 3602


def test_a_longer_time_is_taken_from_a_423(server: Script, world: World) -> None:
    headers = [("Min-Expires", "7200")]
    server.reply(server.last_request("SUBSCRIBE"), 423, headers=headers)
    assert server.last_request("SUBSCRIBE").headers.get("Expires") == "7200"
    server.reply(server.last_request("SUBSCRIBE"), 423, headers=headers)  # in circles
    assert len(server.requests("SUBSCRIBE")) == 2
    world.run(31)
    server.reply(server.last_request("SUBSCRIBE"), 423, headers=[("Min-Expires", "long")])
    assert len(server.requests("SUBSCRIBE")) == 3


def test_silence_is_a_failed_attempt(server: Script, world: World) -> None:
    world.run(33)  # no answer
    world.run(31)
    assert attempts(server) == 2
    grant(server)  # an answer, and no NOTIFY
    world.run(33)
    world.run(61)
    assert attempts(server) == 3


@pytest.mark.parametrize(
    ("state", "seconds", "again"),
    [
        ("terminated;reason=deactivated", 1, True),
        ("terminated;reason=timeout", 1, True),
        ("terminated;reason=probation;retry-after=100", 90, False),
        ("terminated;reason=probation;retry-after=100", 102, True),
        ("terminated;reason=giveup", 31, True),
        ("terminated", 31, True),
        ("terminated;reason=rejected", 90_000, False),
        ("terminated;reason=noresource", 90_000, False),
        ("terminated;reason=invariant", 90_000, False),
    ],
)
def test_the_reason_of_an_end_says_when_to_begin_again(
    server: Script, world: World, state: str, seconds: float, again: bool
) -> None:
    where = subscribed(server)
    assert tell(server, state=state, seq=7, within=where) == 200
    world.run(seconds)
    assert (attempts(server) == 2) is again
    assert tell(server, state="active", seq=8, within=where) == 481


def test_a_notifier_that_ends_each_subscription_at_once_is_not_chased(
    server: Script, world: World
) -> None:
    for _ in range(3):
        grant(server)
        tell(server, state="terminated;reason=timeout", within=dialog(server))
    assert attempts(server) == 2
    world.run(40)
    assert attempts(server) == 2
    world.run(25)
    assert attempts(server) == 3


def test_a_new_flow_subscribes_anew(subscriber: Phone, server: Script, world: World) -> None:
    where = subscribed(server)
    assert server.link is not None
    server.link.cut()
    world.run(1000)
    assert attempts(server) == 1
    world.link(subscriber, server)
    world.settle()
    assert attempts(server) == 2
    assert tell(server, state="active", seq=9, within=where) == 481


def test_a_flow_that_is_lost_under_the_subscribe(
    subscriber: Phone, server: Script, world: World
) -> None:
    assert server.link is not None
    server.link.cut()
    world.settle()
    world.link(subscriber, server)
    world.settle()
    assert attempts(server) == 2
    assert not subscriber.all(MessagesWaiting)


def test_the_end_of_a_line_ends_its_subscription(
    subscriber: Phone, server: Script, world: World
) -> None:
    where = subscribed(server)
    subscriber.agent.unregister(now=world.now)
    subscriber.pump()
    world.settle()
    last = server.last_request("SUBSCRIBE")
    assert (last.headers.get("Expires"), last.headers.to.tag) == ("0", "pbx-tag")
    server.reply(last, 200, headers=[("Expires", "0")])
    assert tell(server, None, state="terminated;reason=timeout", seq=9, within=where) == 200
    world.run(90_000)
    assert attempts(server) == 1
    assert not subscriber.agent.busy


@pytest.mark.parametrize("expires", ["0", "1", "soon", "99999999"])
def test_a_senseless_grant_is_not_followed_to_the_letter(
    server: Script, world: World, expires: str
) -> None:
    grant(server, expires)
    assert tell(server, state="active", within=dialog(server)) == 200
    assert 30 <= refreshed(server, world) < 7 * 86_400
