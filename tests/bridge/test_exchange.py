"""Calls through the whole core: legs, call and exchange, between a fake homeserver, a fake trunk
and a fake plane, on virtual time."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from typing import Any, Literal

import pytest

from bridge import wording
from bridge.burst import FirstContacts
from bridge.call.exchange import TURN_LIMIT, Exchange
from bridge.config import LineSection, TrunkSection
from bridge.ghost import Ghosts
from bridge.matrix.events import RoomEvent, parse_call_event
from bridge.numbers import PhoneNumber
from bridge.portal import Portal, Portals
from bridge.routing import Routing
from media.order import (
    TakeDigit,
)
from media.plane import (
    AnswerReady,
    AudioBack,
    AudioLost,
    Digit,
    Encryption,
    Failed,
    Failure,
    Flowing,
    IceCandidate,
    IceServer,
    Side,
    Unencrypted,
)
from sip.events import (
    DigitReceived,
    DigitsRefused,
    Reason,
    SessionAnswered,
    SessionConfirmed,
    SessionEnded,
    SessionOffered,
    SessionProgressed,
)
from sip.presentation import Presentation
from tests.bridge.fakes import (
    FakeMatrix,
    FakeMediaSession,
    FakePlane,
    FakeSession,
    FakeTrunk,
    MemoryGhosts,
    MemoryNotices,
    MemoryPortals,
    Sent,
    incoming,
    sdp_body,
)
from tests.bridge.virtual import settle, virtual

ALICE, BOB = "@alice:example.org", "@bob:example.org"
NUMBER = PhoneNumber("+15551234567")
GHOST = "@tel_15551234567:example.org"


class World:
    """An exchange and everything around it."""

    def __init__(
        self,
        *,
        users: tuple[str, ...] = (ALICE,),
        early_media: bool = True,
        strangers_per_minute: int = 1000,
        digits: Literal["media", "info"] = "media",
    ) -> None:
        self.plane = FakePlane()
        self.matrix = FakeMatrix()
        self.trunk = FakeTrunk()
        self.notices = MemoryNotices()
        self.ghosts = Ghosts(
            matrix=self.matrix.real,
            table=MemoryGhosts(),  # type: ignore[arg-type] # the same methods, in memory
            prefix="tel_",
        )
        self.portals = Portals(
            matrix=self.matrix.real,
            ghosts=self.ghosts,
            table=MemoryPortals(),  # type: ignore[arg-type] # the same methods, in memory
        )
        self.line = LineSection(
            name="house",
            trunk="home",
            number="+493012345678",
            called=("ringback", "+493012345678"),
            region="DE",
            users=users,
            ring_seconds=40,
            strangers_per_minute=strangers_per_minute,
        )
        trunk = TrunkSection(
            name="home",
            domain="pbx.example.org",
            username="ringback",
            password="secret",
            early_media=early_media,
            digits=digits,
        )
        tokens = count()
        self.exchange = Exchange(
            plane=self.plane,
            matrix=self.matrix.real,
            ghosts=self.ghosts,
            portals=self.portals,
            routing=Routing(lines=(self.line,), trunks={"home": trunk}),
            notices=self.notices,
            trunks={"home": self.trunk},
            strangers=FirstContacts(
                sleep=asyncio.sleep, clock=lambda: asyncio.get_running_loop().time()
            ),
            clock=lambda: asyncio.get_running_loop().time(),
            token=lambda: f"{next(tokens):08d}",
        )
        self._events = count()
        self.portal: Portal

    @property
    def media(self) -> FakeMediaSession:
        return self.plane.sessions[-1]

    @property
    def session(self) -> FakeSession:
        return self.trunk.fake.sessions[-1]

    async def room(
        self, type: str, *, call: str = "call1", sender: str = ALICE, **content: Any
    ) -> None:
        """The user's client says something in the portal."""
        event = RoomEvent(
            event_id=f"$e{next(self._events)}",
            room_id=content.pop("room_id", self.portal.room_id),
            sender=sender,
            type=type,
            content={"call_id": call, "party_id": "PHONE", "version": "1", **content},
            age_ms=content.pop("age_ms", 50),
            received_at=asyncio.get_running_loop().time(),
        )
        parsed = parse_call_event(event)
        assert parsed is not None
        portal = self.portals.by_room(event.room_id)
        assert portal is not None
        await self.exchange.receive(portal, event, parsed)
        await settle()

    async def invite(self, call: str = "call1", **content: Any) -> None:
        offer = {"type": "offer", "sdp": "offer"}
        await self.room("m.call.invite", call=call, offer=offer, lifetime=60_000, **content)

    async def sip(self, event: Any) -> None:
        self.exchange.receive_sip("home", event)
        await settle()

    async def progress(self, status: int, early: str | None = None) -> None:
        body = sdp_body(early) if early else None
        await self.sip(SessionProgressed(self.session.real, status, body))

    async def answered(self, sdp: str = "answer") -> None:
        await self.sip(SessionAnswered(self.session.real, sdp_body(sdp)))

    async def ended(self, status: int, *, by_peer: bool = True, cause: int | None = None) -> None:
        reason = Reason("Q.850", cause) if cause is not None else None
        await self.sip(SessionEnded(self.session.real, status, by_peer, reason))

    def call_events(self) -> list[Sent]:
        return [sent for sent in self.matrix.sent if sent.type.startswith("m.call.")]

    def types(self) -> list[str]:
        return [sent.type for sent in self.call_events()]


@asynccontextmanager
async def world(**settings: Any) -> AsyncIterator[World]:
    made = World(**settings)
    made.portal = await made.portals.adopt("!room:example.org", "house", NUMBER, ALICE)
    yield made
    await made.exchange.stop()
    await settle()
    assert made.exchange.live == 0
    assert all(session.closed for session in made.plane.sessions)


# --- a call out


@virtual
async def test_a_call_out_is_answered_and_hung_up_by_the_user() -> None:
    async with world() as w:
        await w.invite()
        assert w.trunk.fake.invites == [("sip:+15551234567@pbx.example.org", "offer'")]
        assert w.media.settings.ice_servers == (IceServer(("turn:turn.example.org",), "u", "p"),)
        await w.progress(180)
        assert w.types() == []
        await w.answered()
        (answer,) = w.call_events()
        assert (answer.type, answer.sender) == ("m.call.answer", GHOST)
        assert answer.content["answer"]["sdp"] == "answer'"
        await w.room("m.call.select_answer", selected_party_id=answer.content["party_id"])
        w.media.tell(Flowing(Side.SDES))
        await settle()
        await w.room("m.call.hangup", reason="user_hangup")
        assert w.session.said == [("hang_up", 16)]
        assert w.media.said[-1] == ("close", None)
        assert w.types() == ["m.call.answer"]
        assert w.matrix.notices() == []


@virtual
async def test_a_digit_that_the_phone_sends_by_info_goes_to_the_media() -> None:
    async with world() as w:
        await w.invite()
        await w.answered()
        await w.sip(DigitReceived(w.session.real, "5", 160))
        assert w.media.said[-1] == ("perform", TakeDigit(Side.SDES, "5", 160))


@virtual
async def test_keys_are_said_by_info_to_a_trunk_that_wants_them_so() -> None:
    async with world(digits="info") as w:
        await w.invite()
        await w.answered()
        assert not w.media.settings.digits_in_media
        w.media.tell(Digit(Side.WEBRTC, "5", 160))
        w.media.tell(Digit(Side.SDES, "6", 160))
        await settle()
        assert w.session.said == [("send_digit", ("5", 160))]
        await w.sip(DigitsRefused(w.session.real, 415))
        assert w.matrix.notices() == [wording.DIGITS_REFUSED]


@virtual
async def test_keys_stay_in_the_media_otherwise() -> None:
    async with world() as w:
        await w.invite()
        await w.answered()
        assert w.media.settings.digits_in_media
        w.media.tell(Digit(Side.WEBRTC, "5", 160))
        await settle()
        assert w.session.said == []


@virtual
async def test_a_call_out_shows_the_number_of_its_line() -> None:
    async with world() as w:
        await w.invite()
        assert w.trunk.fake.callers == [Presentation("+493012345678")]


@virtual
async def test_one_call_may_be_anonymous_if_it_comes_soon() -> None:
    async with world() as w:
        w.exchange.withhold_next(w.portal)
        w.exchange.withhold_next(replace(w.portal, number=PhoneNumber("1000")))
        w.portal = await w.portals.adopt("!older:example.org", "house", NUMBER, ALICE)
        for call in ("call1", "call2"):
            await w.invite(call)
            await w.room("m.call.hangup", call=call)
        w.exchange.withhold_next(w.portal)
        await asyncio.sleep(301)
        await w.invite("call3")
        assert [caller.withheld for caller in w.trunk.fake.callers] == [True, False, False]


@virtual
async def test_the_phone_hangs_up() -> None:
    async with world() as w:
        await w.invite()
        await w.answered()
        await w.ended(200)
        assert w.types() == ["m.call.answer", "m.call.hangup"]
        assert w.matrix.notices() == []


@pytest.mark.parametrize(
    ("status", "cause", "words"),
    [
        (486, 17, "+1 555-123-4567 is busy."),
        (603, 21, "+1 555-123-4567 declined the call."),
        (404, 1, "+1 555-123-4567 is not in service, or the number is incomplete."),
        (480, None, "+1 555-123-4567 cannot be reached at the moment."),
        (408, None, "+1 555-123-4567 did not answer."),
        (503, None, "The phone line “home” is in trouble. Please try again later."),
        (403, 21, "+1 555-123-4567 declined the call, or the phone system does not allow it."),
    ],
)
@virtual
async def test_a_refused_call_is_rejected_and_explained_in_one_line(
    status: int, cause: int | None, words: str
) -> None:
    async with world() as w:
        await w.invite()
        await w.ended(status, cause=cause)
        (reject,) = w.call_events()
        assert reject.type == "m.call.reject"
        assert reject.content["reason"] == ("user_busy" if status == 486 else "user_hangup")
        assert w.matrix.notices() == [words]


@virtual
async def test_nobody_answers_and_we_say_so_before_the_client_gives_up() -> None:
    async with world() as w:
        await w.invite()
        await w.progress(180)
        await asyncio.sleep(58.5)
        assert w.types() == []
        await asyncio.sleep(1.0)
        assert w.session.said == [("hang_up", 19)]
        assert w.types() == ["m.call.reject"]
        assert w.matrix.notices() == ["+1 555-123-4567 did not answer."]


@virtual
async def test_the_caller_gives_up_before_the_answer() -> None:
    async with world() as w:
        await w.invite()
        await w.progress(180)
        await w.room("m.call.hangup")
        assert w.session.said == [("hang_up", 16)]
        assert w.types() == []
        assert w.matrix.notices() == []


@virtual
async def test_answer_and_hang_up_crossing_end_both_sides() -> None:
    async with world() as w:
        await w.invite()
        w.exchange.receive_sip("home", SessionAnswered(w.session.real, sdp_body("answer")))
        await w.room("m.call.hangup")
        assert w.session.said == [("hang_up", 16)]
        await w.sip(SessionEnded(w.session.real, 200, False))
        assert w.exchange.live == 0
        w.exchange.receive_sip("home", SessionEnded(w.session.real, 200, False))


@virtual
async def test_early_media_answers_at_once() -> None:
    async with world() as w:
        await w.invite()
        await w.progress(183, "early")
        (answer,) = w.call_events()
        assert answer.content["answer"]["sdp"] == "early'"
        await w.answered("early")
        assert w.types() == ["m.call.answer"]


@virtual
async def test_an_announcement_that_ends_in_a_refusal_hangs_up_and_explains() -> None:
    async with world() as w:
        await w.invite()
        await w.progress(183, "early")
        await w.ended(404)
        assert w.types() == ["m.call.answer", "m.call.hangup"]
        assert w.matrix.notices() == [
            "+1 555-123-4567 is not in service, or the number is incomplete."
        ]


@virtual
async def test_early_media_can_be_turned_off() -> None:
    async with world(early_media=False) as w:
        await w.invite()
        await w.progress(183, "early")
        assert w.types() == []
        await w.answered("answer")
        (answer,) = w.call_events()
        assert answer.content["answer"]["sdp"] == "answer'"


@virtual
async def test_a_trunk_that_is_down_is_told_with_its_reason_and_nothing_is_dialled() -> None:
    async with world() as w:
        w.trunk.up, w.trunk.why = False, "no answer from pbx.example.org"
        await w.invite()
        assert w.types() == ["m.call.reject"]
        assert w.matrix.notices() == [
            "The phone line “home” is down: no answer from pbx.example.org."
        ]
        assert w.trunk.fake.invites == []


@virtual
async def test_only_users_of_the_line_may_call() -> None:
    async with world() as w:
        await w.room(
            "m.call.invite", sender=BOB, offer={"type": "offer", "sdp": "offer"}, lifetime=60_000
        )
        assert w.types() == ["m.call.reject"]
        assert w.trunk.fake.invites == []


@virtual
async def test_emergency_numbers_are_refused_here() -> None:
    async with world() as w:
        w.portal = await w.portals.adopt("!r2:example.org", "house", PhoneNumber("110"), ALICE)
        await w.invite()
        assert w.trunk.fake.invites == []
        assert w.types() == ["m.call.reject"]
        assert "emergency" in w.matrix.notices()[0]


@virtual
async def test_an_extension_is_dialled_as_it_is() -> None:
    async with world() as w:
        w.portal = await w.portals.adopt("!r2:example.org", "house", PhoneNumber("1000"), ALICE)
        await w.invite()
        assert w.trunk.fake.invites[0][0] == "sip:1000@pbx.example.org"


@virtual
async def test_a_stale_invite_never_dials() -> None:
    async with world() as w:
        await w.room(
            "m.call.invite",
            offer={"type": "offer", "sdp": "offer"},
            lifetime=60_000,
            age_ms=58_000,
        )
        await w.room("m.call.hangup", call="call2")
        await w.invite("call2")
        await w.invite("call3", invitee=BOB)
        assert (w.trunk.fake.invites, w.matrix.sent) == ([], [])


@virtual
async def test_an_invite_that_comes_twice_dials_once() -> None:
    async with world() as w:
        await w.invite()
        await w.invite()
        await w.room("m.call.hangup")
        await w.invite()
        assert len(w.trunk.fake.invites) == 1


@virtual
async def test_candidates_reach_the_plane_behind_the_offer_even_when_they_came_first() -> None:
    async with world() as w:
        line = "candidate:1 1 udp 1 192.0.2.1 5000 typ host"
        candidates = [{"candidate": line, "sdpMid": "0", "sdpMLineIndex": 0}]
        await w.room("m.call.candidates", candidates=candidates)
        await w.invite()
        await w.room("m.call.candidates", candidates=[{"candidate": ""}])
        assert w.media.candidates == [IceCandidate(line), IceCandidate("")]
        assert [verb for verb, _ in w.media.said][:2] == ["offer", "add_candidates"]


@virtual
async def test_hold_is_answered_in_the_room_alone() -> None:
    async with world() as w:
        await w.invite()
        await w.answered()
        await w.room("m.call.negotiate", description={"type": "offer", "sdp": "hold"})
        assert w.types() == ["m.call.answer", "m.call.negotiate"]
        assert w.call_events()[-1].content["description"] == {
            "type": "answer",
            "sdp": "hold-answered",
        }
        assert w.session.said == []
        await w.sip(SessionOffered(w.session.real, sdp_body("sip-hold")))
        assert w.session.said == [("accept_offer", "sip-hold-answered")]


@virtual
async def test_a_call_that_is_not_encrypted_is_told_in_its_room_while_it_lasts() -> None:
    async with world() as w:
        await w.invite()
        await w.answered()
        assert w.media.settings.encryption is Encryption.REQUIRED
        w.media.tell(Unencrypted(Side.SDES))
        await settle()
        assert w.matrix.notices() == [wording.UNENCRYPTED]
    async with world() as w:
        await ring(w)
        (invited,) = w.call_events()
        await _answer(w, invited, sender=ALICE)
        w.media.tell(Unencrypted(Side.SDES))
        await settle()
        assert w.matrix.notices() == [wording.UNENCRYPTED]


@virtual
async def test_one_way_audio_is_told_once_for_each_side_and_only_in_an_answered_call() -> None:
    async with world() as w:
        await w.invite()
        await w.progress(183, "early")
        w.media.tell(AudioLost(Side.SDES, outward=False))
        await settle()
        assert w.matrix.notices() == []
        await w.answered("early")
        for outward in (False, True, False):
            w.media.tell(AudioLost(Side.SDES, outward))
            w.media.tell(AudioBack(Side.SDES, outward))
        w.media.tell(AudioLost(Side.WEBRTC, outward=True))
        await settle()
        phone, device = w.matrix.notices()
        assert phone.startswith("Nothing is heard from the phone")
        assert device.startswith("Your device cannot be reached")


@pytest.mark.parametrize(
    ("failure", "part"),
    [
        (Failure.ONLY_SRTP, "could not agree on encrypted audio (why)"),
        (Failure.NO_SRTP, "did not offer encrypted audio (SRTP)"),
        (Failure.NO_CODEC, "could not agree on encrypted audio (why)"),
        (Failure.NO_CONNECTIVITY, "no audio could pass (why)"),
    ],
)
@virtual
async def test_media_that_fail_end_both_sides_and_are_explained(
    failure: Failure, part: str
) -> None:
    async with world() as w:
        await w.invite()
        await w.answered()
        w.media.tell(Failed(failure, "why"))
        await settle()
        assert [verb for verb, _ in w.session.said] == ["hang_up"]
        assert w.types()[-1] == "m.call.hangup"
        assert part in w.matrix.notices()[0]


@virtual
async def test_a_slow_homeserver_does_not_delay_the_phone() -> None:
    async with world() as w:
        w.matrix.slow = 3.0
        await w.exchange.receive(w.portal, *_invite_event(w))
        await settle()
        # The plane waits for TURN servers at most so long; the real client has them in its cache.
        await asyncio.sleep(TURN_LIMIT)
        await settle()
        assert len(w.trunk.fake.invites) == 1
        await w.answered()
        await w.ended(200)
        assert w.types() == []
        await asyncio.sleep(7.0)
        assert w.types() == ["m.call.answer", "m.call.hangup"]


def _invite_event(w: World) -> tuple[RoomEvent, Any]:
    content = {
        "call_id": "call1", "party_id": "PHONE", "version": "1", "lifetime": 60_000,
        "offer": {"type": "offer", "sdp": "offer"},
    }  # fmt: skip
    now = asyncio.get_running_loop().time()
    event = RoomEvent("$slow", w.portal.room_id, ALICE, "m.call.invite", content, None, 50, now)
    return event, parse_call_event(event)


@virtual
async def test_a_trunk_that_cannot_send_ends_the_call() -> None:
    async with world() as w:
        w.trunk.fake.broken = True
        await w.invite()
        assert w.types() == ["m.call.reject"]
        assert "no flow" in w.matrix.notices()[0]


@virtual
async def test_leaving_the_room_hangs_up() -> None:
    async with world() as w:
        await w.invite()
        await w.answered()
        w.exchange.left(w.portal.room_id, ALICE)
        await settle()
        assert w.session.said == [("hang_up", 16)]


# --- a call in


async def ring(w: World, **call: Any) -> FakeSession:
    session = FakeSession("in0")
    await w.sip(incoming(session, **call))
    return session


CALLER = PhoneNumber("+493087654321")
CALLER_GHOST = "@tel_493087654321:example.org"


@virtual
async def test_a_call_in_makes_the_portal_and_rings() -> None:
    async with world() as w:
        session = await ring(w, caller='"Carol" <sip:+493087654321@pbx.example.org>')
        room_id, room = next(iter(w.matrix.rooms.items()))
        assert room["creator"] == CALLER_GHOST
        assert room["invite"] == [ALICE]
        assert room["is_direct"] is True
        assert room["name"] == "Carol (+49 30 87654321)"
        levels = room["power_levels"]["events"]
        assert levels["org.matrix.msc3401.call.member"] == 0
        assert levels["im.vector.modular.widgets"] == 0
        assert not any(state["type"] == "m.room.encryption" for state in room["initial_state"])
        assert w.matrix.users[CALLER_GHOST] == "Carol"
        (invite,) = w.call_events()
        assert (invite.type, invite.sender, invite.room_id) == (
            "m.call.invite", CALLER_GHOST, room_id,
        )  # fmt: skip
        assert invite.content["call_id"].startswith("~")
        assert invite.content["lifetime"] == 40_000
        assert invite.content["offer"]["sdp"] == "sip-offer'"
        assert session.said == [("ring", None)]
        await ring(w)
        assert len(w.matrix.rooms) == 1


# --- strangers who call

ANONYMOUS_GHOST = "@tel_anonymous:example.org"


def _stranger(index: int) -> str:
    return f'"Caller {index}" <sip:+4930555{index:05}@pbx.example.org>'


@virtual
async def test_a_hundred_strangers_within_a_minute_ring_in_two_rooms() -> None:
    async with world(users=(ALICE, BOB), strangers_per_minute=1) as w:
        sessions = [await ring(w, caller=_stranger(index)) for index in range(100)]
        assert all(session.said == [("ring", None)] for session in sessions)
        invites = [sent for sent in w.call_events() if sent.type == "m.call.invite"]
        assert len(invites) == 200
        assert [room["creator"] for room in w.matrix.rooms.values()] == [
            *["@tel_493055500000:example.org"] * 2,
            *[ANONYMOUS_GHOST] * 2,
        ]
        assert {invite.sender for invite in invites[2:]} == {ANONYMOUS_GHOST}
        assert w.matrix.users[ANONYMOUS_GHOST] == "withheld number"  # and no caller's name
        assert len(w.notices.left) == 2 * 99
        user, number, text = w.notices.left[0]
        assert (user, number) == (ALICE, "")
        assert text.startswith("Caller 1 (+49 30 55500001) calls.")


@virtual
async def test_a_stranger_who_calls_in_a_quieter_minute_has_a_room() -> None:
    async with world(strangers_per_minute=1) as w:
        for index in (0, 1, 1):
            await ring(w, caller=_stranger(index))
        assert len(w.matrix.rooms) == 2
        await asyncio.sleep(61)
        await ring(w, caller=_stranger(1))
        await ring(w, caller=_stranger(0))  # known by now
        assert len(w.matrix.rooms) == 3
        assert list(w.matrix.rooms.values())[-1]["name"] == "Caller 1 (+49 30 55500001)"


@virtual
async def test_who_has_a_room_rings_there_whatever_strangers_do() -> None:
    async with world(strangers_per_minute=1) as w:
        await ring(w, caller=_stranger(0))
        await ring(w, caller="<sip:+15551234567@pbx.example.org>")
        assert w.call_events()[-1].room_id == w.portal.room_id
        assert w.notices.left == []


@virtual
async def test_a_missed_stranger_is_told_where_it_rang() -> None:
    async with world(strangers_per_minute=1) as w:
        await ring(w, caller=_stranger(0))
        await ring(w, caller=_stranger(1))
        assert w.notices.left[-1][1] == ""
        await asyncio.sleep(45)
        await settle()
        told = [(number, text) for _, number, text in w.notices.left if "Missed" in text]
        assert ("", "Missed call from Caller 1 (+49 30 55500001).") in told
        assert ("+493055500000", "Missed call from Caller 0 (+49 30 55500000).") in told


async def _answer(w: World, invite: Sent, *, sender: str = ALICE, party: str = "PHONE") -> None:
    await w.room(
        "m.call.answer",
        call=invite.content["call_id"],
        sender=sender,
        room_id=invite.room_id,
        party_id=party,
        answer={"type": "answer", "sdp": f"answer of {party}"},
    )


@virtual
async def test_the_first_device_that_answers_has_the_call() -> None:
    async with world() as w:
        session = await ring(w)
        (invite,) = w.call_events()
        await _answer(w, invite, party="A")
        await _answer(w, invite, party="B")
        assert session.said == [("ring", None), ("answer", "answer of A'")]
        assert w.types() == ["m.call.invite", "m.call.select_answer"]
        assert w.call_events()[-1].content["selected_party_id"] == "A"
        await w.sip(SessionEnded(session.real, 200, True))
        assert w.types()[-1] == "m.call.hangup"
        assert w.notices.left == []


@virtual
async def test_a_call_in_without_an_offer_gets_ours_and_is_answered_in_the_ack() -> None:
    async with world() as w:
        session = await ring(w, offer=None)
        (invite,) = w.call_events()
        assert invite.content["offer"]["sdp"] == "ours"
        await _answer(w, invite)
        assert session.said == [("ring", None), ("answer", "answer of PHONE'")]
        await w.sip(SessionConfirmed(session.real, sdp_body("theirs")))
        assert w.media.said[-1] == ("answer", (Side.SDES, "theirs"))
        await w.sip(SessionEnded(session.real, 200, True))
        assert w.types()[-1] == "m.call.hangup"
        assert w.notices.left == []


@virtual
async def test_a_call_in_whose_ack_owes_the_answer_is_ended_and_explained() -> None:
    async with world() as w:
        session = await ring(w, offer=None)
        (invite,) = w.call_events()
        await _answer(w, invite)
        await w.sip(SessionConfirmed(session.real, None))
        assert session.said[-1] == ("hang_up", 88)
        assert w.types()[-1] == "m.call.hangup"
        (notice,) = w.notices.left
        assert notice[2] == "The call was lost (our offer was left without an answer)."


@virtual
async def test_the_user_declines() -> None:
    async with world() as w:
        session = await ring(w)
        (invite,) = w.call_events()
        await w.room("m.call.reject", call=invite.content["call_id"], room_id=invite.room_id)
        assert session.said == [("ring", None), ("reject", 603)]
        assert w.notices.left == []


@virtual
async def test_nobody_answers_is_a_missed_call() -> None:
    async with world() as w:
        session = await ring(w)
        await asyncio.sleep(41)
        assert session.said == [("ring", None), ("reject", 480)]
        assert w.types() == ["m.call.invite", "m.call.hangup"]
        assert w.call_events()[-1].content["reason"] == "invite_timeout"
        assert w.notices.left == [(ALICE, CALLER.text, "Missed call from +49 30 87654321.")]


@virtual
async def test_the_caller_gives_up() -> None:
    async with world() as w:
        session = await ring(w)
        await w.sip(SessionEnded(session.real, 487, True))
        assert w.types() == ["m.call.invite", "m.call.hangup"]
        assert w.notices.left == [(ALICE, CALLER.text, "Missed call from +49 30 87654321.")]
        assert session.said == [("ring", None)]


@virtual
async def test_a_call_taken_by_another_phone_is_not_missed() -> None:
    async with world() as w:
        session = await ring(w)
        await w.sip(SessionEnded(session.real, 487, True, Reason("SIP", 200)))
        assert w.notices.left == []


@virtual
async def test_an_unknown_line_rings_nobody() -> None:
    async with world() as w:
        session = await ring(w, called="somebody")
        assert session.said == [("reject", 404)]
        assert (w.matrix.rooms, w.plane.sessions) == ({}, [])


@virtual
async def test_the_lines_number_is_known_in_any_writing() -> None:
    async with world() as w:
        session = await ring(w, called="03012345678")
        assert session.said == [("ring", None)]


@virtual
async def test_an_offer_without_encryption_rings_nobody() -> None:
    async with world() as w:
        original = w.plane.open

        def open_deaf(settings: Any, listener: Any) -> FakeMediaSession:
            media = original(settings, listener)
            media.deaf = True
            return media

        w.plane.open = open_deaf  # type: ignore[method-assign] # the test speaks for the plane
        session = await ring(w)
        w.media.tell(Failed(Failure.NO_SRTP, "plain RTP"))
        await settle()
        assert session.said == [("reject", 488)]
        assert (w.matrix.rooms, w.call_events()) == ({}, [])
        ((user, number, text),) = w.notices.left
        assert (user, number) == (ALICE, CALLER.text)
        assert "did not offer encrypted audio" in text


@virtual
async def test_all_users_of_the_line_ring_each_in_a_room_of_their_own() -> None:
    async with world(users=(ALICE, BOB)) as w:
        session = await ring(w)
        first, second = w.call_events()
        assert {first.content["invitee"], second.content["invitee"]} == {ALICE, BOB}
        assert first.room_id != second.room_id
        bobs = first if first.content["invitee"] == BOB else second
        await _answer(w, bobs, sender=BOB)
        assert session.said[-1] == ("answer", "answer of PHONE'")
        hangups = [sent for sent in w.call_events() if sent.type == "m.call.hangup"]
        assert [sent.room_id for sent in hangups] == [
            room for room in (first.room_id, second.room_id) if room != bobs.room_id
        ]
        await w.sip(SessionEnded(session.real, 200, True))
        assert w.notices.left == [
            (ALICE, CALLER.text, f"{BOB} answered the call from +49 30 87654321.")
        ]


@virtual
async def test_a_user_whose_room_cannot_be_made_in_time_keeps_nobody_from_ringing() -> None:
    async with world(users=(ALICE, BOB)) as w:
        await w.portals.adopt("!alices:example.org", "house", CALLER, ALICE)
        make = w.matrix.create_room

        async def create_room(**room: Any) -> str:
            await asyncio.sleep(30.0)  # the homeserver of the invited user does not answer
            return await make(**room)

        w.matrix.create_room = create_room  # type: ignore[method-assign] # slow for this test
        session = await ring(w)
        await asyncio.sleep(2.0)
        (invite,) = w.call_events()
        assert invite.room_id == "!alices:example.org"
        await _answer(w, invite)
        assert session.said[-1] == ("answer", "answer of PHONE'")
        await w.sip(SessionEnded(session.real, 200, True))
        assert w.notices.left == [
            (BOB, CALLER.text, f"{ALICE} answered the call from +49 30 87654321.")
        ]
        await asyncio.sleep(30.0)


@virtual
async def test_withheld_numbers_share_one_ghost_and_portal() -> None:
    async with world() as w:
        await ring(w, caller='"Anonymous" <sip:anonymous@anonymous.invalid>')
        await ring(w, caller="<sip:anonymous@anonymous.invalid>", asserted="<sip:+4930111222@x>")
        assert [room["creator"] for room in w.matrix.rooms.values()] == [
            "@tel_anonymous:example.org"
        ]


@virtual
async def test_an_asserted_identity_is_who_calls() -> None:
    async with world() as w:
        await ring(w, caller="<sip:trunk@pbx.example.org>", asserted='"Dora" <sip:+4930111222@x>')
        (room,) = w.matrix.rooms.values()
        assert room["creator"] == "@tel_4930111222:example.org"


@virtual
async def test_a_forwarded_call_says_from_whom_while_it_rings() -> None:
    async with world() as w:
        headers = [("Diversion", "<sip:030111222@x>;reason=no-answer")]
        session = await ring(w, headers=headers)
        assert w.notices.left == [
            (ALICE, CALLER.text, "Call forwarded from +49 30 111222."),
        ]
        await w.sip(SessionEnded(session.real, 487, True))


@virtual
async def test_a_missed_call_says_whether_its_number_was_verified() -> None:
    async with world() as w:
        for verstat in ("TN-Validation-Passed", "TN-Validation-Failed", "TN-Validation-Passed-C"):
            session = await ring(w, caller=f"<sip:+493087654321;verstat={verstat}@x>")
            await w.sip(SessionEnded(session.real, 487, True))
        number = "+49 30 87654321"
        assert [text for _, _, text in w.notices.left] == [
            f"Missed call (number verified) from {number}.",
            "Careful: the phone network could not confirm that the call comes from this number. "
            "It may be forged.",
            f"Missed call (the number may be forged) from {number}.",
            f"Missed call from {number}.",
        ]


def enter(w: World, invite: Sent) -> None:
    """What the user does from now on is done in the room of this invite."""
    portal = w.portals.by_room(invite.room_id)
    assert portal is not None
    w.portal = portal


@virtual
async def test_the_users_own_call_wins_over_one_that_rings() -> None:
    async with world() as w:
        session = await ring(w)
        (invite,) = w.call_events()
        enter(w, invite)
        await w.invite()
        assert session.said == [("ring", None), ("reject", 486)]
        assert w.types() == ["m.call.invite", "m.call.hangup"]
        assert w.trunk.fake.invites[0][0] == "sip:+493087654321@pbx.example.org"
        assert w.notices.left == []


@virtual
async def test_a_users_own_call_leaves_the_other_users_ringing() -> None:
    async with world(users=(ALICE, BOB)) as w:
        session = await ring(w)
        alices, bobs = sorted(w.call_events(), key=lambda sent: sent.content["invitee"])
        enter(w, alices)
        await w.invite()
        assert session.said == [("ring", None)]
        assert w.call_events()[-1].room_id == alices.room_id
        assert w.call_events()[-1].content["reason"] == "user_busy"
        await _answer(w, bobs, sender=BOB)
        assert session.said[-1] == ("answer", "answer of PHONE'")


@virtual
async def test_nobody_but_its_user_can_make_a_ringing_call_give_way() -> None:
    async with world() as w:
        session = await ring(w)
        (invite,) = w.call_events()
        enter(w, invite)
        await w.invite(sender="@stranger:example.org")
        assert session.said == [("ring", None)]
        await _answer(w, invite)
        assert session.said[-1] == ("answer", "answer of PHONE'")


@virtual
async def test_a_homeserver_that_is_down_gives_the_phone_an_answer_in_five_seconds() -> None:
    async with world() as w:
        await w.portals.adopt("!known:example.org", "house", CALLER, ALICE)
        await w.ghosts.name(CALLER)
        await w.exchange.start()
        w.matrix.down = True
        session = await ring(w)
        await asyncio.sleep(5.0)
        assert session.said == [("reject", 480)]
        await asyncio.sleep(5.0)
        assert w.notices.left == [(ALICE, CALLER.text, "Missed call from +49 30 87654321.")]


@virtual
async def test_a_room_that_the_ghost_is_not_in_is_forgotten() -> None:
    async with world() as w:
        await w.portals.adopt("!known:example.org", "house", CALLER, ALICE)
        w.matrix.gone.add("!known:example.org")
        session = await ring(w)
        assert session.said == [("reject", 480)]
        assert w.portals.by_room("!known:example.org") is None


@virtual
async def test_candidates_of_the_answering_device_reach_the_plane() -> None:
    async with world() as w:
        await ring(w)
        (invite,) = w.call_events()
        for party in ("A", "B"):
            line = f"candidate:{party} 1 udp 1 192.0.2.1 5000 typ host"
            await w.room(
                "m.call.candidates",
                call=invite.content["call_id"],
                room_id=invite.room_id,
                party_id=party,
                candidates=[{"candidate": line, "sdpMid": "0"}],
            )
        assert w.media.candidates == []
        await _answer(w, invite, party="B")
        assert [c.candidate.split()[0] for c in w.media.candidates] == ["candidate:B"]


# --- both


@virtual
async def test_stopping_ends_calls_on_both_sides() -> None:
    async with world() as w:
        await w.invite()
        await w.answered()
        await w.exchange.stop()
        assert w.session.said == [("hang_up", 41)]
        assert w.types() == ["m.call.answer", "m.call.hangup"]
        assert w.matrix.notices() == ["The call ended because the bridge is being restarted."]
        late = await ring(w)
        assert late.said == [("reject", 503)]
        await w.invite("call9")
        assert w.exchange.live == 0


@virtual
async def test_stopping_ends_a_call_that_is_just_being_set_up() -> None:
    async with world() as w:
        w.matrix.slow = 0.5  # the homeserver, asked for its TURN servers
        session = await ring(w)
        await w.exchange.stop()
        assert session.said == [("reject", 480)]


@virtual
async def test_calls_go_on_while_we_drain_and_new_ones_are_refused() -> None:
    async with world() as w:
        await w.invite()
        await w.answered()
        draining = asyncio.create_task(w.exchange.drain(60.0))
        await settle()
        late = await ring(w)
        assert late.said == [("reject", 503)]
        await w.invite("call9")
        assert w.matrix.notices() == [wording.STOPPING]
        assert w.exchange.live == 1
        assert w.session.said == []
        await asyncio.sleep(30.0)
        await w.room("m.call.hangup", reason="user_hangup")
        assert await asyncio.wait_for(draining, 10.0) == 0


@virtual
async def test_more_calls_than_we_bear_are_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.call.exchange.MAX_CALLS", 1)
    async with world() as w:
        await w.invite()
        await w.answered()
        more = await ring(w)
        assert more.said == [("reject", 486)]
        await w.invite("call9")
        assert w.matrix.notices() == [wording.TOO_MANY]
        assert w.exchange.live == 1


@virtual
async def test_draining_has_an_end() -> None:
    async with world() as w:
        assert await w.exchange.drain(60.0) == 0
    async with world() as w:
        await w.invite()
        await w.answered()
        before = asyncio.get_running_loop().time()
        assert await w.exchange.drain(60.0) == 1
        assert asyncio.get_running_loop().time() - before == pytest.approx(60.0, abs=0.1)
        assert w.session.said == []


@virtual
async def test_the_record_has_the_timeline_and_no_full_number() -> None:
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.INFO:
                lines.append(record.getMessage())

    keep = Keep()
    root = logging.getLogger("bridge")
    root.addHandler(keep)
    level = root.level
    root.setLevel(logging.INFO)
    try:
        async with world() as w:
            await w.invite()
            await asyncio.sleep(0.5)
            await w.answered()
            w.media.tell(Flowing(Side.SDES))
            await asyncio.sleep(12.3)
            await w.room("m.call.hangup")
    finally:
        root.removeHandler(keep)
        root.setLevel(level)
    assert not any("1234567" in line for line in lines)
    record = json.loads(next(line for line in lines if line.startswith("{")))
    assert record["reason"] == "hangup"
    assert record["ended_by"] == "caller"
    assert record["talked_s"] == pytest.approx(12.3)
    timeline = record["timeline_ms"]
    assert timeline["invite_received"] == 0.0
    assert timeline["ok_received"] == pytest.approx(500.0)
    for step in ("invite_sent", "matrix_answer_out", "matrix_answer_sent", "flowing", "ended"):
        assert step in timeline
    assert any("hangup (caller) after 12.3 s" in line for line in lines)


@virtual
async def test_an_answer_that_nobody_asked_for_is_dropped() -> None:
    async with world() as w:
        await w.room("m.call.answer", call="~unknown", answer={"type": "answer", "sdp": "x"})
        await w.sip(SessionEnded(FakeSession("nobody").real, 200, True))
        assert w.matrix.sent == []


@virtual
async def test_a_callee_side_answer_from_the_plane_goes_to_the_phone() -> None:
    async with world() as w:
        await w.invite()
        await w.answered()
        w.media.tell(AnswerReady(Side.SDES, "update"))
        await settle()
        assert w.session.said == [("accept_offer", "update")]
