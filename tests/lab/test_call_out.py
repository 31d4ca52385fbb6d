"""A Matrix user calls a phone: how calls begin, fail and end, as room and PBX see it."""

import asyncio
import re
import time

import pytest

from tests.lab.asterisk import Asterisk
from tests.lab.conftest import PhoneOf, User
from tests.lab.lab import Lab, number
from tests.lab.matrix import Event, MatrixCall, MatrixUser
from tests.lab.peer import SDP_TYPE, Message, Peer, sdes_offer
from tests.lab.process import PATIENCE
from tests.lab.ringback import Ringback


async def call(bridge: Ringback, caller: MatrixUser, extension: str) -> MatrixCall:
    """Place a call to an extension of the PBX, or a number, in the direct chat with its ghost."""
    called = extension if extension.startswith("+") else number(extension)
    return await caller.invite(await caller.direct(bridge.ghost(called)))


async def ended(placed: MatrixCall, *, within: float = PATIENCE) -> Event:
    """How the bridge ended the call: reject before the answer, hangup after it."""
    return await placed.user.wait(
        "m.call.reject" if not placed.has("m.call.answer") else "m.call.hangup",
        lambda e: e.content.get("call_id") == placed.id and e.sender != placed.user.id,
        room=placed.room,
        within=within,
    )


def wall(event: Event) -> float:
    """When the user saw an event, by the clock that the PBX's log goes by."""
    return event.at + time.time() - time.monotonic()


# --- the call that works


async def test_a_call_is_answered_in_matrix_when_the_pbx_answers(
    bridge: Ringback, pbx: Asterisk, user: User
) -> None:
    alice = await user("alice")
    before = pbx.mark()
    placed = await call(bridge, alice, "3004")
    answer = await placed.expect("m.call.answer")
    await pbx.seen("SIP/2.0 180", since=before)
    accepted = await pbx.seen("SIP/2.0 200", since=before, method="INVITE")
    assert accepted.at < wall(answer), "answered while the phone was still ringing"
    await pbx.seen("ACK", since=before)
    assert answer.sender == bridge.ghost(number("3004"))
    assert answer.content["version"] == "1"
    assert answer.content["party_id"]
    assert answer.content["capabilities"]["m.call.dtmf"] is True
    sdp = answer.content["answer"]["sdp"]
    assert "telephone-event/48000" in sdp
    assert "telephone-event/8000" not in sdp
    await placed.hang_up()
    await pbx.seen("BYE", since=before)
    await pbx.quiet()
    assert not placed.has("m.call.hangup")


async def test_the_invite_goes_over_tls_and_demands_srtp(
    bridge: Ringback, pbx: Asterisk, user: User
) -> None:
    alice = await user("alice")
    before = pbx.mark()
    placed = await call(bridge, alice, "1005")
    await placed.expect("m.call.answer")
    await placed.hang_up()
    await pbx.seen("BYE", since=before)
    invites = [m for m in pbx.sip(before) if m.first.startswith("INVITE")]
    assert invites
    for invite in invites:
        assert invite.peer.startswith("TLS:")
        assert invite.first.startswith(f"INVITE sip:{number('1005')}@")
        media = re.findall(r"(?m)^m=.*", invite.body)
        assert len(media) == 1
        assert re.match(r"m=audio \d+ RTP/SAVP ", media[0])
        assert re.search(r"(?m)^a=crypto:\d+ AES_CM_128_HMAC_SHA1_80 inline:", invite.body)


async def test_the_phone_hangs_up(bridge: Ringback, pbx: Asterisk, user: User) -> None:
    alice = await user("alice")
    placed = await call(bridge, alice, "4001")
    await placed.expect("m.call.answer")
    hangup = await placed.expect("m.call.hangup")
    assert hangup.content["reason"] == "user_hangup"


async def test_the_bot_opens_a_room_for_a_number(
    bridge: Ringback, pbx: Asterisk, user: User
) -> None:
    alice = await user("alice")
    seen = alice.mark
    room = await alice.direct(bridge.bot)
    await alice.say(room, "call +1 (555) 555-1005")
    ghost = bridge.ghost(number("1005"))
    joined = await alice.wait(
        "m.room.member",
        lambda e: e.sender == ghost and e.content["membership"] == "join" and e.room != room,
    )
    reply = await alice.notice(room, since=seen)
    assert reply.body
    placed = await alice.invite(joined.room)
    await placed.expect("m.call.answer")
    await placed.hang_up()


async def test_an_extension_is_dialled_as_it_is(
    bridge: Ringback, pbx: Asterisk, user: User
) -> None:
    bob = await user("bob")
    before = pbx.mark()
    placed = await bob.invite(await bob.direct(bridge.ghost("1005")))
    await placed.expect("m.call.answer")
    await placed.hang_up()
    invite = await pbx.seen("INVITE", since=before)
    assert invite.first.startswith("INVITE sip:1005@")


# --- calls that are not answered


@pytest.mark.parametrize(
    ("extension", "status", "words"),
    [
        ("3000", 486, ["busy"]),
        ("3126", 603, ["declined"]),
        ("3118", 408, ["did not answer"]),
        ("3119", 480, []),
        ("3101", 404, ["not in service"]),
        ("+15550009999", 404, ["not in service"]),
        ("3121", 403, ["not allow"]),
        ("3128", 484, ["incomplete"]),
        ("3134", 503, ["trouble"]),
    ],
)
async def test_a_refusal_ends_the_call_and_says_why(
    extension: str, status: int, words: list[str], bridge: Ringback, pbx: Asterisk, user: User
) -> None:
    alice = await user("alice")
    before, seen = pbx.mark(), alice.mark
    placed = await call(bridge, alice, extension)
    end = await ended(placed)
    assert end.type == "m.call.reject"
    await pbx.seen(f"SIP/2.0 {status}", since=before, method="INVITE")
    await alice.notice(placed.room, *words, since=seen)


async def test_a_busy_phone_is_told_as_busy(bridge: Ringback, pbx: Asterisk, user: User) -> None:
    alice = await user("alice")
    placed = await call(bridge, alice, "3000")
    assert (await ended(placed)).content["reason"] == "user_busy"


async def test_the_caller_gives_up_while_it_rings(
    bridge: Ringback, pbx: Asterisk, user: User
) -> None:
    alice = await user("alice")
    before, seen = pbx.mark(), alice.mark
    placed = await call(bridge, alice, "3001")
    await pbx.seen("SIP/2.0 180", since=before)
    await placed.hang_up(None)
    await pbx.seen("CANCEL", since=before)
    await pbx.seen("SIP/2.0 487", since=before)
    await pbx.quiet()
    await asyncio.sleep(0.3)
    new = [e for e in alice.events[seen:] if e.room == placed.room]
    said = [e.body for e in new if e.type == "m.room.message"]
    assert said == [], "nobody wonders about a call that he ended himself"


async def test_the_caller_gives_up_before_anything_rings(
    bridge: Ringback, pbx: Asterisk, user: User
) -> None:
    alice = await user("alice")
    placed = await call(bridge, alice, "3005")
    await placed.hang_up(None)
    await asyncio.sleep(0.5)
    await pbx.quiet()
    assert not placed.has("m.call.answer")


async def test_an_announcement_is_heard_before_the_refusal(
    bridge: Ringback, pbx: Asterisk, user: User
) -> None:
    """Early media, then 404: the Matrix call was answered for the announcement, and is ended."""
    alice = await user("alice")
    before = pbx.mark()
    placed = await call(bridge, alice, "3006")
    await placed.expect("m.call.answer")
    await pbx.seen("SIP/2.0 183", since=before)
    await placed.expect("m.call.hangup")
    await pbx.seen("SIP/2.0 404", since=before)


async def test_early_media_can_be_turned_off_for_a_trunk(
    bridge: Ringback, pbx: Asterisk, user: User
) -> None:
    late = await user("late")
    before = pbx.mark()
    placed = await call(bridge, late, "3003")
    answer = await placed.expect("m.call.answer")
    early = await pbx.seen("SIP/2.0 183", since=before)
    accepted = await pbx.seen("SIP/2.0 200", since=before, method="INVITE")
    await placed.hang_up()
    assert early.at < accepted.at < wall(answer)


async def test_who_has_no_line_rings_nobody(lab: Lab, bridge: Ringback, user: User) -> None:
    mallory = await user("mallory")
    before = lab.pbx.mark()
    made = await mallory.request(
        "POST", "createRoom", {"is_direct": True, "invite": [bridge.ghost(number("1000"))]}
    )
    await mallory.invite(made["room_id"])
    await asyncio.sleep(1.5)
    assert not [m for m in lab.pbx.sip(before) if m.first.startswith("INVITE")]


async def test_a_stale_invite_rings_nobody(bridge: Ringback, pbx: Asterisk, user: User) -> None:
    """As after an outage: its lifetime is over before we could act on it."""
    alice = await user("alice")
    room = await alice.direct(bridge.ghost(number("1005")))
    before = pbx.mark()
    await alice.invite(room, lifetime_ms=1)
    await asyncio.sleep(1)
    assert not [m for m in pbx.sip(before) if m.first.startswith("INVITE")]


# --- what only a scripted trunk does


async def invited(peer: Peer, since: int) -> Message:
    """The bridge's INVITE at the peer, which has said 100."""
    invite = await peer.expect("INVITE", since=since)
    peer.respond(invite, "100 Trying")
    return invite


async def test_an_answer_that_crosses_the_hang_up_is_hung_up(
    bridge: Ringback, peer: Peer, user: User
) -> None:
    """CANCEL and 200 pass each other on the wire: the 200 is acknowledged and ended by BYE (RFC
    3261 §9.1).
    """
    caller = await user("peer")
    since = peer.mark
    placed = await call(bridge, caller, "7001")
    invite = await invited(peer, since)
    peer.respond(invite, "180 Ringing")
    await placed.hang_up(None)
    cancel = await peer.expect("CANCEL", since=since)
    peer.respond(invite, "200 OK", CONTACT, SDP_TYPE, body=sdes_offer())
    peer.respond(cancel, "200 OK")
    await peer.expect("ACK", since=since)
    bye = await peer.expect("BYE", since=since)
    peer.respond(bye, "200 OK")


async def test_an_answer_without_encryption_is_hung_up_and_told(
    bridge: Ringback, peer: Peer, user: User
) -> None:
    caller = await user("peer")
    since, seen = peer.mark, caller.mark
    placed = await call(bridge, caller, "7002")
    invite = await invited(peer, since)
    plain = sdes_offer(profile="RTP/AVP", crypto=())
    peer.respond(invite, "200 OK", CONTACT, SDP_TYPE, body=plain)
    await peer.expect("ACK", since=since)
    bye = await peer.expect("BYE", since=since)
    peer.respond(bye, "200 OK")
    await ended(placed)
    await caller.notice(placed.room, "encrypt", since=seen)


async def test_a_suite_that_nobody_offered_is_not_accepted(
    bridge: Ringback, peer: Peer, user: User
) -> None:
    caller = await user("peer")
    since = peer.mark
    placed = await call(bridge, caller, "7003")
    invite = await invited(peer, since)
    odd = sdes_offer(crypto=("1 F8_128_HMAC_SHA1_80 inline:" + "A" * 40,))
    peer.respond(invite, "200 OK", CONTACT, SDP_TYPE, body=odd)
    bye = await peer.expect("BYE", since=since)
    peer.respond(bye, "200 OK")
    await ended(placed)


async def test_no_answer_is_an_end(bridge: Ringback, peer: Peer, user: User) -> None:
    """The caller's client gives up by itself when its invite's lifetime is over; so do we."""
    caller = await user("peer")
    since = peer.mark
    room = await caller.direct(bridge.ghost(number("7004")))
    placed = await caller.invite(room, lifetime_ms=6000)
    invite = await invited(peer, since)
    peer.respond(invite, "180 Ringing")
    cancel = await peer.expect("CANCEL", since=since)
    peer.respond(cancel, "200 OK")
    peer.respond(invite, "487 Request Terminated")
    await ended(placed)
    await caller.notice(room, "did not answer")


async def test_a_trunk_that_is_down_is_told_at_once(
    lab: Lab, bridge: Ringback, peer: Peer, user: User
) -> None:
    caller = await user("peer")
    room = await caller.direct(bridge.ghost(number("7005")))
    await peer.stop()
    try:
        seen = caller.mark
        placed = await caller.invite(room)
        await ended(placed)
        await caller.notice(room, "line", since=seen)
    finally:
        since = peer.mark
        await peer.start()
        await peer.registered(since=since, within=90)


CONTACT = "Contact: <sip:far@127.0.0.1;transport=tls>"


# --- in the browser


async def test_a_refusal_ends_the_call_in_the_browser(
    bridge: Ringback, pbx: Asterisk, phone_of: PhoneOf
) -> None:
    phone = await phone_of("alice")
    placed = await phone.place(await phone.direct(bridge.ghost(number("3000"))))
    await placed.state("ended")


async def test_hold_and_resume_by_the_client(
    bridge: Ringback, pbx: Asterisk, phone_of: PhoneOf
) -> None:
    """The client's renegotiation is answered, and the audio comes back."""
    phone = await phone_of("alice")
    placed = await phone.place(await phone.direct(bridge.ghost(number("1001"))))
    await placed.state("connected")
    await asyncio.sleep(1)
    await placed.hold(True)
    await asyncio.sleep(1)
    await placed.forget()
    await asyncio.sleep(0.7)
    held = await placed.heard()
    await placed.hold(False)
    await asyncio.sleep(1)
    await placed.forget()
    await asyncio.sleep(1)
    resumed = await placed.heard()
    await placed.hang_up()
    assert held.part(0.2).level < -50
    assert resumed.part(0.2).frequency == pytest.approx(440, abs=1)
