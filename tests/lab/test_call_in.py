"""A phone calls a Matrix user: rooms, rings, answers and everything that is not an answer."""

import asyncio
from pathlib import Path

import pytest

from tests.lab.asterisk import Asterisk
from tests.lab.baresip import Baresip
from tests.lab.conftest import PhoneOf, User
from tests.lab.lab import HOUSE, Lab, stranger
from tests.lab.matrix import MatrixCall, MatrixUser
from tests.lab.peer import SDP_TYPE, Peer, sdes_offer
from tests.lab.ringback import Ringback


def caller_id(number: str, name: str = "Carol") -> str:
    return f'"{name}" <{number}>'


async def test_a_call_makes_a_room_and_rings(bridge: Ringback, pbx: Asterisk, user: User) -> None:
    alice = await user("alice")
    before, seen, number = pbx.mark(), alice.mark, stranger()
    placed = await pbx.call("ringback", caller=caller_id(number, "Carol Doe"))
    rung = await alice.rung(since=seen)
    invitation = rung.invitation
    assert invitation is not None
    assert invitation.sender == bridge.ghost(number)
    assert invitation.content["version"] == "1"
    assert invitation.content["party_id"]
    assert invitation.content["lifetime"] > 10_000
    assert invitation.content["offer"]["type"] == "offer"
    assert "UDP/TLS/RTP/SAVPF" in invitation.content["offer"]["sdp"]
    assert invitation.content["capabilities"]["m.call.dtmf"] is True
    await pbx.seen("SIP/2.0 180", since=before)
    members = await alice.members(rung.room)
    # A third member would take the call button of a two-person call away.
    assert [user for user, is_in in members.items() if is_in == "join"] == [
        *sorted([alice.id, bridge.ghost(number)])
    ] or set(members) == {alice.id, bridge.ghost(number)}
    profile = await alice.request("GET", f"profile/{bridge.ghost(number)}")
    assert "Carol Doe" in profile["displayname"]
    await placed.hang_up()


async def test_the_first_call_of_a_number_rings_a_client_that_waits_for_its_user(
    pbx: Asterisk, user: User
) -> None:
    """The homeserver takes the invitation, by the setting that the README advises."""
    alice = await user("alice")
    seen, alice.joins_at_once = alice.mark, False
    try:
        placed = await pbx.call("ringback", caller=caller_id(stranger()))
        assert (await alice.rung(since=seen)).invitation is not None
        await placed.hang_up()
    finally:
        alice.joins_at_once = True


async def test_a_portal_has_what_clients_need(bridge: Ringback, pbx: Asterisk, user: User) -> None:
    alice = await user("alice")
    seen, number = alice.mark, stranger()
    placed = await pbx.call("ringback", caller=caller_id(number))
    rung = await alice.rung(since=seen)
    levels = await alice.state(rung.room, "m.room.power_levels")
    own = levels["users"].get(alice.id, levels.get("users_default", 0))
    # Element greys its call button unless this may be sent.
    assert levels["events"]["org.matrix.msc3401.call.member"] <= own
    created = await alice.state(rung.room, "m.room.create")
    assert int(created["room_version"]) < 12
    await placed.hang_up()


async def test_the_same_caller_comes_to_the_same_room(
    bridge: Ringback, pbx: Asterisk, user: User
) -> None:
    alice = await user("alice")
    number, rooms = stranger(), []
    for _ in range(2):
        seen = alice.mark
        placed = await pbx.call("ringback", caller=caller_id(number))
        rooms.append((await alice.rung(since=seen)).room)
        await placed.hang_up()
        await pbx.quiet()
    assert rooms[0] == rooms[1]


async def test_the_user_answers_and_hangs_up(bridge: Ringback, pbx: Asterisk, user: User) -> None:
    alice = await user("alice")
    before, seen = pbx.mark(), alice.mark
    placed = await pbx.call("ringback")
    rung = await alice.rung(since=seen)
    await rung.answer()
    await rung.send_candidate()
    assert (await placed.result())["Response"] == "Success"
    select = await rung.expect("m.call.select_answer")
    assert select.content["selected_party_id"] == rung.party
    await rung.hang_up()
    bye = await pbx.seen("BYE", since=before)
    assert not bye.sent
    assert not rung.has("m.call.hangup")


async def test_the_phone_hangs_up_after_the_answer(
    bridge: Ringback, pbx: Asterisk, user: User
) -> None:
    alice = await user("alice")
    seen = alice.mark
    placed = await pbx.call("ringback")
    rung = await alice.rung(since=seen)
    await rung.answer()
    await placed.result()
    await placed.hang_up()
    hangup = await rung.expect("m.call.hangup")
    assert hangup.content["reason"] == "user_hangup"
    assert not missed(rung)


async def test_the_user_rejects(bridge: Ringback, pbx: Asterisk, user: User) -> None:
    alice = await user("alice")
    before, seen = pbx.mark(), alice.mark
    placed = await pbx.call("ringback")
    rung = await alice.rung(since=seen)
    await rung.reject()
    assert (await placed.result())["Response"] == "Failure"
    statuses = [m.status for m in pbx.sip(before) if m.method == "INVITE" and m.status >= 300]
    assert statuses in ([603], [486])
    assert not missed(rung)


async def test_it_rings_out(bridge: Ringback, pbx: Asterisk, user: User) -> None:
    called = await user("short")
    before, seen = pbx.mark(), called.mark
    placed = await pbx.call("short")
    rung = await called.rung(since=seen)
    hangup = await rung.expect("m.call.hangup")
    assert hangup.content["reason"] == "invite_timeout"
    assert (await placed.result())["Response"] == "Failure"
    await pbx.seen("SIP/2.0 480", since=before)
    await called.notice(rung.room, "missed call", "Carol", since=seen)


async def test_the_caller_gives_up(bridge: Ringback, pbx: Asterisk, user: User) -> None:
    alice = await user("alice")
    before, seen = pbx.mark(), alice.mark
    placed = await pbx.call("ringback")
    rung = await alice.rung(since=seen)
    await pbx.seen("SIP/2.0 180", since=before)
    await placed.hang_up()
    await rung.expect("m.call.hangup")
    await pbx.seen("SIP/2.0 487", since=before)
    await alice.notice(rung.room, "missed call", since=seen)


async def test_the_first_device_to_answer_wins(bridge: Ringback, pbx: Asterisk, user: User) -> None:
    first, second = await user("alice"), await user("alice", device="second")
    seen, also_seen = first.mark, second.mark
    placed = await pbx.call("ringback")
    one = await first.rung(since=seen)
    two = await second.rung(since=also_seen)
    assert one.id == two.id
    await two.answer()
    await placed.result()
    await one.answer()
    select = await one.expect("m.call.select_answer")
    assert select.content["selected_party_id"] == two.party
    # What the loser says now is nobody's business.
    await one.hang_up()
    await asyncio.sleep(0.5)
    assert await pbx.channels() == 1
    await two.hang_up()
    await placed.ended()


async def test_a_line_with_two_users_rings_both_and_tells_who_answered(
    bridge: Ringback, pbx: Asterisk, user: User
) -> None:
    bob, carol = await user("bob"), await user("carol")
    seen, also_seen = bob.mark, carol.mark
    placed = await pbx.call("office")
    at_bob, at_carol = await asyncio.gather(bob.rung(since=seen), carol.rung(since=also_seen))
    await at_carol.answer()
    assert (await placed.result())["Response"] == "Success"
    await at_bob.expect("m.call.hangup")
    await asyncio.sleep(0.3)
    assert not missed(at_bob)
    assert await pbx.channels() == 1
    await at_carol.hang_up()
    await placed.ended()


async def test_cancel_and_answer_cross(bridge: Ringback, peer: Peer, user: User) -> None:
    """The caller gives up at the instant the user answers: whichever was first, both ends end."""
    called = await user("peer")
    seen = called.mark
    invite = peer.request("INVITE", SDP_TYPE, body=sdes_offer())
    rung = await called.rung(since=seen)
    answering = asyncio.create_task(rung.answer())
    cancel = invite.follow("CANCEL")
    await answering
    assert (await cancel.response(at_least=200)).status in (200, 481)
    final = await invite.response(at_least=200)
    if final.status == 200:
        invite.follow("ACK", final, branch="z9hG4bKlate")
        bye = invite.follow("BYE", final, branch="z9hG4bKbye")
        await bye.response()
    else:
        assert final.status == 487
        invite.follow("ACK", final)
    await rung.expect("m.call.hangup")


async def test_a_caller_that_wants_our_offer_and_leaves_it_unanswered_is_ended(
    peer: Peer, user: User
) -> None:
    called = await user("peer")
    since, seen = peer.mark, called.mark
    invite = peer.request("INVITE")
    rung = await called.rung(since=seen)
    await rung.answer()
    accepted = await invite.response()
    assert "RTP/SAVP" in accepted.body
    invite.follow("ACK", accepted, branch="z9hG4bKempty")
    bye = await peer.expect("BYE", since=since)
    peer.respond(bye, "200 OK")
    assert "cause=88" in bye["Reason"]
    await rung.expect("m.call.hangup")


async def test_glare_leaves_one_call(bridge: Ringback, pbx: Asterisk, user: User) -> None:
    """Both call each other at once in one room: the user's own call goes on, the other one ends."""
    alice = await user("alice")
    number = "+15555553001"  # the extension that rings for ever, so that the user's call stays open
    room = await alice.direct(bridge.ghost(number))
    seen, before = alice.mark, pbx.mark()
    placed = await pbx.call("ringback", caller=caller_id(number))
    rung = await alice.rung(since=seen)
    own = await alice.invite(rung.room)
    await rung.expect("m.call.hangup")
    assert (await placed.result())["Response"] == "Failure"
    await pbx.seen("SIP/2.0 180", since=before)
    assert not own.has("m.call.reject")
    assert not own.has("m.call.hangup")
    await own.hang_up(None)
    assert room


async def test_a_call_to_our_number_finds_its_line(
    bridge: Ringback, pbx: Asterisk, user: User
) -> None:
    alice = await user("alice")
    seen = alice.mark
    placed = await pbx.call("ringback", number=HOUSE)
    await alice.rung(since=seen)
    await placed.hang_up()


async def test_a_withheld_number_rings_too(bridge: Ringback, pbx: Asterisk, user: User) -> None:
    alice = await user("alice")
    seen = alice.mark
    placed = await pbx.call("ringback", caller='"Anonymous" <anonymous>')
    rung = await alice.rung(since=seen)
    assert rung.invitation is not None
    assert rung.invitation.sender == bridge.ghost("anonymous")
    await placed.hang_up()


async def test_a_call_from_a_telephone(
    bridge: Ringback, pbx: Asterisk, telephone: Baresip, phone_of: PhoneOf
) -> None:
    phone = await phone_of("alice")
    mark, seen = await phone.mark(), len(telephone.events)
    await telephone.dial("ringback")
    call = await phone.rung(mark, caller=bridge.ghost("xalice"))
    await call.answer()
    await telephone.expect("CALL_ESTABLISHED", since=seen)
    await call.hang_up()
    await telephone.expect("CALL_CLOSED", since=seen)


async def test_the_browser_rejects(bridge: Ringback, pbx: Asterisk, phone_of: PhoneOf) -> None:
    phone = await phone_of("alice")
    mark = await phone.mark()
    placed = await pbx.call("ringback")
    call = await phone.rung(mark)
    await call.reject()
    assert (await placed.result())["Response"] == "Failure"


# --- what rings nobody


async def test_an_unknown_line_is_not_found(bridge: Ringback, pbx: Asterisk, user: User) -> None:
    alice = await user("alice")
    before, seen = pbx.mark(), alice.mark
    placed = await pbx.call("ringback", number="+4930999")
    assert (await placed.result())["Response"] == "Failure"
    await pbx.seen("SIP/2.0 404", since=before, method="INVITE")
    assert not rings(alice, seen)


async def test_plain_rtp_from_the_pbx_is_refused(
    bridge: Ringback, pbx: Asterisk, user: User
) -> None:
    """The same contact, called without SRTP through another of the PBX's accounts."""
    alice = await user("alice")
    before, seen = pbx.mark(), alice.mark
    contact = await pbx.contact("ringback")
    since = len(pbx.ami.events)
    answer = await pbx.ami.act(
        "Originate",
        Channel=f"PJSIP/plain/{contact}",
        Context="lab",
        Exten="1005",
        Priority=1,
        Timeout=5000,
        Async="true",
    )
    await pbx.ami.expect(
        "OriginateResponse", lambda e: e["ActionID"] == answer["ActionID"], since=since
    )
    await pbx.seen("SIP/2.0 488", since=before, method="INVITE")
    assert not rings(alice, seen)


@pytest.mark.parametrize(
    ("profile", "crypto"),
    [
        ("RTP/AVP", ()),
        ("RTP/SAVP", ()),
        ("RTP/SAVP", ("1 F8_128_HMAC_SHA1_80 inline:" + "A" * 40,)),
        ("RTP/SAVP", ("1 AES_CM_128_HMAC_SHA1_80 inline:tooshort",)),
    ],
)
async def test_no_acceptable_crypto_line_is_refused(
    profile: str, crypto: tuple[str, ...], bridge: Ringback, peer: Peer, user: User
) -> None:
    called = await user("peer")
    seen = called.mark
    sent = peer.request("INVITE", SDP_TYPE, body=sdes_offer(profile=profile, crypto=crypto))
    final = await sent.response()
    sent.follow("ACK", final)
    assert final.status == 488
    assert not rings(called, seen)


async def test_another_trunks_line_is_not_found(bridge: Ringback, peer: Peer, user: User) -> None:
    """Our own number, asked for by a trunk that it does not belong to."""
    alice = await user("alice")
    seen = alice.mark
    uri = peer.contact.replace("sip:peer@", f"sip:{HOUSE}@")
    sent = peer.request(
        "INVITE", SDP_TYPE, uri=uri, to=f"<sip:{HOUSE}@peer.test>", body=sdes_offer()
    )
    final = await sent.response()
    sent.follow("ACK", final)
    assert final.status == 404
    assert not rings(alice, seen)


async def test_nobody_can_call_but_over_the_trunks_own_flow(lab: Lab, bridge: Ringback) -> None:
    """There is no SIP port to knock at: the bridge listens for the homeserver and for hooks."""
    assert listening(bridge.process.pid) == {bridge.port, lab.provider.hook_port}


def missed(call: MatrixCall) -> bool:
    """Whether the room says so."""
    assert call.invitation is not None
    return any(
        "missed" in e.body.lower()
        for e in call.user.events
        if e.room == call.room and e.at > call.invitation.at
    )


def rings(user: MatrixUser, since: int) -> bool:
    """Whether any invite came since."""
    return any(event.type == "m.call.invite" for event in user.events[since:])


def listening(pid: int) -> set[int]:
    """TCP ports on which a process listens."""
    sockets = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            sockets.add(target[8:-1])
    ports = set()
    for table in ("tcp", "tcp6"):
        for row in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = row.split()
            if fields[3] == "0A" and fields[9] in sockets:
                ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports
