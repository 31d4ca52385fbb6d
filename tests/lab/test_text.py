"""Texts both ways: whole, in order, once, and a word to the sender when one does not arrive."""

import asyncio
import secrets
import time

import aiohttp
import pytest
import yaml

from tests.lab.asterisk import Asterisk
from tests.lab.conftest import PhoneOf, User
from tests.lab.lab import number, stranger
from tests.lab.peer import Peer
from tests.lab.ringback import Ringback

EMOJI = "Grüße 👩‍👩‍👧‍👦 from 東京 — naïve café ✅🏳️‍🌈 \u202bשלום\u202c"
PLAIN = "Content-Type: text/plain;charset=UTF-8"


async def test_a_text_reaches_the_pbx_and_its_echo_comes_back(
    bridge: Ringback, pbx: Asterisk, user: User
) -> None:
    alice = await user("alice")
    room = await alice.direct(bridge.ghost(number("1000")))
    before, seen = pbx.mark(), alice.mark
    await alice.say(room, "hello there")
    echo = await alice.notice(room, "echo: hello there", since=seen)
    assert echo.sender == bridge.ghost(number("1000"))
    assert echo.content["msgtype"] == "m.text"
    message = await pbx.seen("MESSAGE", since=before)
    assert message.peer.startswith("TLS:")
    assert message.header("Content-Type").replace(" ", "").lower().startswith("text/plain")


@pytest.mark.parametrize(
    "text",
    [EMOJI, "two\nlines", "a" * 1000, 'semi;colon, <angle> & "quotes" %41'],
    ids=["emoji", "lines", "long", "marks"],
)
async def test_a_text_passes_whole_both_ways(
    text: str, bridge: Ringback, pbx: Asterisk, user: User
) -> None:
    alice = await user("alice")
    room = await alice.direct(bridge.ghost(number("1000")))
    seen = alice.mark
    await alice.say(room, text)
    echo = await alice.notice(room, "echo: ", since=seen)
    assert echo.body.replace("\r\n", "\n") == f"echo: {text}"


async def test_a_text_from_an_unknown_number_makes_its_room(
    bridge: Ringback, pbx: Asterisk, user: User
) -> None:
    alice = await user("alice")
    seen, sender = alice.mark, stranger()
    await pbx.text("ringback", f"first contact {EMOJI}", caller=sender)
    message = await alice.notice(None, "first contact", since=seen)
    assert message.sender == bridge.ghost(sender)
    assert message.body == f"first contact {EMOJI}"
    await pbx.text("ringback", "second contact", caller=sender)
    again = await alice.notice(None, "second contact", since=seen)
    assert again.room == message.room


async def test_a_text_to_a_line_of_two_reaches_both(
    bridge: Ringback, pbx: Asterisk, user: User
) -> None:
    bob, carol = await user("bob"), await user("carol")
    seen, also_seen = bob.mark, carol.mark
    await pbx.text("office", "to both of you")
    await asyncio.gather(
        bob.notice(None, "to both of you", since=seen),
        carol.notice(None, "to both of you", since=also_seen),
    )


async def test_texts_keep_their_order(bridge: Ringback, pbx: Asterisk, user: User) -> None:
    alice = await user("alice")
    room = await alice.direct(bridge.ghost(number("1000")))
    seen = alice.mark
    for index in range(8):
        await alice.say(room, f"number {index}")
    await alice.notice(room, "echo: number 7", since=seen)
    # The PBX handles MESSAGEs one after the other, in the order in which they came.
    echoes = [e.body for e in alice.events[seen:] if e.body.startswith("echo: number")]
    assert echoes == [f"echo: number {index}" for index in range(8)]


async def test_a_text_to_an_unknown_number_is_told(
    bridge: Ringback, pbx: Asterisk, user: User
) -> None:
    alice = await user("alice")
    room = await alice.direct(bridge.ghost("+15550009998"))
    before, seen = pbx.mark(), alice.mark
    await alice.say(room, "is anybody there?")
    await alice.notice(room, "not delivered", "unknown", since=seen)
    await pbx.seen("SIP/2.0 404", since=before, method="MESSAGE")


async def test_a_refused_text_is_told_in_the_trunks_words(
    bridge: Ringback, peer: Peer, user: User
) -> None:
    sender = await user("peer")
    room = await sender.direct(bridge.ghost(number("7100")))
    since, seen = peer.mark, sender.mark
    await sender.say(room, "please")
    message = await peer.expect("MESSAGE", since=since)
    assert message.body == "please"
    peer.respond(message, "403 Forbidden")
    await sender.notice(room, "not delivered", since=seen)


async def test_a_text_that_nobody_answers_is_told(bridge: Ringback, peer: Peer, user: User) -> None:
    """RFC 3261's timer F: 32 seconds."""
    sender = await user("peer")
    room = await sender.direct(bridge.ghost(number("7101")))
    since, seen = peer.mark, sender.mark
    await sender.say(room, "silence")
    await peer.expect("MESSAGE", since=since)
    await sender.notice(room, "may not have reached", since=seen, within=90)


async def test_a_repeated_message_of_the_trunk_is_one_text(
    bridge: Ringback, peer: Peer, user: User
) -> None:
    """The same transaction again, and the same request in a new transaction: both are answered, one
    text arrives.
    """
    called = await user("peer")
    seen, body = called.mark, f"only once {secrets.token_hex(4)}"
    first = peer.request("MESSAGE", PLAIN, body=body)
    assert (await first.response()).status in (200, 202)
    for branch in (first.branch, f"z9hG4bK{secrets.token_hex(4)}"):
        again = peer.request(
            "MESSAGE",
            PLAIN,
            body=body,
            call_id=first.call_id,
            cseq=first.cseq,
            tag=first.tag,
            branch=branch,
        )
        assert (await again.response()).status in (200, 202)
    await called.notice(None, body, since=seen)
    await asyncio.sleep(1)
    assert len([e for e in called.events[seen:] if e.body == body]) == 1


async def test_a_repeated_transaction_of_the_homeserver_is_one_text(
    bridge: Ringback, peer: Peer, user: User
) -> None:
    """Pushed again with the same id, and the same event pushed under another id."""
    sender = await user("peer")
    room = await sender.direct(bridge.ghost(number("7102")))
    tokens = yaml.safe_load(bridge.registration.read_text())
    body = f"pushed {secrets.token_hex(4)}"
    event = {
        "type": "m.room.message",
        "room_id": room,
        "sender": sender.id,
        "event_id": f"${secrets.token_hex(16)}",
        "origin_server_ts": int(time.time() * 1000),
        "content": {"msgtype": "m.text", "body": body},
        "unsigned": {"age": 5},
    }
    since = peer.mark
    name = secrets.token_hex(6)
    async with aiohttp.ClientSession() as session:
        for transaction in (name, name, f"{name}-again"):
            async with session.put(
                f"http://127.0.0.1:{bridge.port}/_matrix/app/v1/transactions/{transaction}",
                json={"events": [event]},
                headers={"Authorization": f"Bearer {tokens['hs_token']}"},
            ) as answer:
                assert answer.status == 200
    message = await peer.expect("MESSAGE", lambda m: m.body == body, since=since)
    peer.respond(message, "200 OK")
    await asyncio.sleep(1)
    calls = {m["Call-ID"] for m in peer.received[since:] if m.method == "MESSAGE"}
    assert len(calls) == 1


async def test_a_text_for_an_unknown_line_is_not_found(
    bridge: Ringback, peer: Peer, user: User
) -> None:
    uri = peer.contact.replace("sip:peer@", "sip:nobody@")
    sent = peer.request("MESSAGE", PLAIN, uri=uri, to="<sip:nobody@peer.test>", body="hello?")
    assert (await sent.response()).status == 404


async def test_texts_in_the_browser(bridge: Ringback, pbx: Asterisk, phone_of: PhoneOf) -> None:
    phone = await phone_of("alice")
    room = await phone.direct(bridge.ghost(number("1000")))
    since = await phone.mark()
    await phone.say(room, f"from the browser {EMOJI}")
    limit = time.monotonic() + 10
    while time.monotonic() < limit:
        bodies = [e.get("content", {}).get("body") for e in (await phone.events())[since:]]
        if f"echo: from the browser {EMOJI}" in bodies:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"the browser saw only {bodies}")
