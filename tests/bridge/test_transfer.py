"""Calls that users send elsewhere, through the whole core."""

import asyncio

import pytest

from bridge.numbers import NotANumber, PhoneNumber
from media.plane import (
    Flowing,
    Side,
)
from sip.events import SessionAnswered, SessionEnded, TransferEnded, TransferProgressed
from tests.bridge.fakes import FakeSession, incoming, sdp_body
from tests.bridge.test_exchange import ALICE, BOB, GHOST, World, world
from tests.bridge.virtual import settle, virtual

ROOM, OTHER_ROOM = "!room:example.org", "!other:example.org"
CAROL = "+4930123123"
SHOWN = "+49 30 123123"


async def calling(w: World, *, call: str = "call1", room: str = ROOM) -> FakeSession:
    """A call of Alice's that the phone has answered."""
    await w.invite(call, room_id=room)
    session = w.session
    await w.sip(SessionAnswered(session.real, sdp_body("answer")))
    w.media.tell(Flowing(Side.SDES))
    await settle()
    return session


async def two_calls(w: World) -> tuple[FakeSession, FakeSession]:
    await w.portals.adopt(OTHER_ROOM, "house", PhoneNumber("+15559876543"), ALICE)
    first = await calling(w)
    await asyncio.sleep(1)  # of virtual time: one call is the older
    return first, await calling(w, call="call2", room=OTHER_ROOM)


@virtual
async def test_a_call_is_sent_to_a_number_and_ends_when_that_is_done() -> None:
    async with world() as w:
        session = await calling(w)
        said = w.exchange.transfer(ALICE, "030 123123", room_id="!bot:example.org")
        assert said == f"Transferring to {SHOWN} …"
        assert session.said == [("transfer", f"sip:{CAROL}@pbx.example.org")]
        assert w.trunk.pumped
        for status in (100, 180, 180):
            await w.sip(TransferProgressed(session.real, status))
        await w.sip(TransferEnded(session.real, 200, "OK"))
        await w.sip(SessionEnded(session.real, 200, False))
        assert w.matrix.notices() == [
            f"{SHOWN} is ringing.",
            f"The call was transferred to {SHOWN}.",
        ]
        assert w.types() == ["m.call.answer", "m.call.hangup"]
        assert {sent.sender for sent in w.matrix.sent} == {GHOST}


@pytest.mark.parametrize(
    ("status", "words", "why"),
    [
        (486, "Busy Here", f"{SHOWN} is busy"),
        (603, "Decline", f"{SHOWN} declined the call"),
        (404, "Not Found", f"{SHOWN} is not in service, or the number is incomplete"),
        (480, "", f"{SHOWN} cannot be reached at the moment"),
        (488, "", "the two phones have no common audio"),
        (405, "Method Not Allowed", "the phone system says 405 Method Not Allowed"),
        (400, "Bad Request", "the phone system says 400 Bad Request"),
        (503, "connection lost", "the phone system is in trouble (503 connection lost)"),
    ],
)
def test_a_transfer_that_fails_is_explained_and_the_call_goes_on(
    status: int, words: str, why: str
) -> None:
    @virtual
    async def scenario() -> None:
        async with world() as w:
            session = await calling(w)
            w.exchange.transfer(ALICE, CAROL, room_id=ROOM)
            await w.sip(TransferEnded(session.real, status, words))
            assert w.matrix.notices() == [f"The call was not transferred: {why}."]
            assert w.exchange.live == 1
            w.exchange.transfer(ALICE, CAROL, room_id=ROOM)  # and may be tried again
            assert [verb for verb, _ in session.said] == ["transfer", "transfer"]

    scenario()


@virtual
async def test_a_phone_system_that_does_not_say_what_became_of_it() -> None:
    async with world() as w:
        session = await calling(w)
        w.exchange.transfer(ALICE, CAROL, room_id=ROOM)
        await w.sip(SessionEnded(session.real, 200, True))
        await w.sip(TransferEnded(session.real, 202, ""))
        (notice,) = w.matrix.notices()
        assert "does not say what became of it" in notice
        await w.sip(TransferEnded(session.real, 202, ""))
        await w.sip(TransferProgressed(session.real, 180))
        assert len(w.matrix.notices()) == 1


@virtual
async def test_what_may_not_be_called_is_no_target_either() -> None:
    async with world() as w:
        session = await calling(w)
        assert "emergency" in w.exchange.transfer(ALICE, "112", room_id=ROOM)
        with pytest.raises(NotANumber):
            w.exchange.transfer(ALICE, "nonsense!", room_id=ROOM)
        assert session.said == []


@virtual
async def test_a_user_whose_line_was_taken_away_transfers_nothing() -> None:
    async with world(users=(BOB,)) as w:
        assert "no answered call" in w.exchange.transfer(ALICE, CAROL, room_id=ROOM)


@virtual
async def test_only_the_one_who_speaks_may_transfer() -> None:
    async with world(users=(ALICE, BOB)) as w:
        assert "no answered call" in w.exchange.transfer(ALICE, CAROL, room_id=ROOM)
        await w.invite()
        assert "no answered call" in w.exchange.transfer(ALICE, CAROL, room_id=ROOM)
        await w.answered()
        assert w.exchange.is_speaking(ALICE, ROOM)
        assert not w.exchange.is_speaking(BOB, ROOM)
        assert not w.exchange.is_speaking(ALICE, OTHER_ROOM)
        assert "no answered call" in w.exchange.transfer(BOB, CAROL, room_id=ROOM)


@virtual
async def test_a_call_from_the_phone_is_transferred_by_who_took_it() -> None:
    async with world(users=(ALICE, BOB)) as w:
        session = FakeSession("in1")
        await w.sip(incoming(session))
        invite = w.call_events()[0]
        await w.room(
            "m.call.answer",
            call=invite.content["call_id"],
            room_id=invite.room_id,
            sender=ALICE,
            answer={"type": "answer", "sdp": "matrix-answer"},
        )
        assert "no answered call" in w.exchange.transfer(BOB, CAROL, room_id=invite.room_id)
        w.exchange.transfer(ALICE, CAROL, room_id=invite.room_id)
        assert session.said[-1] == ("transfer", f"sip:{CAROL}@pbx.example.org")
        await w.sip(TransferEnded(session.real, 486, "Busy Here"))
        assert w.matrix.notices()[-1].startswith("The call was not transferred")


@virtual
async def test_one_transfer_of_a_call_at_a_time() -> None:
    async with world() as w:
        session = await calling(w)
        w.exchange.transfer(ALICE, CAROL, room_id=ROOM)
        assert "already" in w.exchange.transfer(ALICE, CAROL, room_id=ROOM)
        assert len(session.said) == 1


@virtual
async def test_a_session_that_cannot_be_transferred_yet() -> None:
    async with world() as w:
        session = await calling(w)
        session.untransferable = True
        assert "no answered call" in w.exchange.transfer(ALICE, CAROL, room_id=ROOM)
        await w.sip(TransferEnded(session.real, 486, ""))
        assert w.matrix.notices() == []


@virtual
async def test_of_several_calls_the_room_says_which() -> None:
    async with world() as w:
        first, second = await two_calls(w)
        said = w.exchange.transfer(ALICE, CAROL, room_id="!bot:example.org")
        assert said.startswith("You have several calls")
        w.exchange.transfer(ALICE, CAROL, room_id=OTHER_ROOM)
        assert first.said == []
        assert second.said == [("transfer", f"sip:{CAROL}@pbx.example.org")]


@virtual
async def test_two_calls_are_joined() -> None:
    async with world() as w:
        first, second = await two_calls(w)
        said = w.exchange.transfer(ALICE, "", room_id=OTHER_ROOM)
        assert said == "Transferring to +1 555-987-6543 …"
        assert first.said == [("transfer", second)]
        await w.sip(TransferEnded(first.real, 200, "OK"))
        for session in (first, second):
            await w.sip(SessionEnded(session.real, 200, False))
        assert w.types().count("m.call.hangup") == 2
        assert w.exchange.live == 0
        assert w.matrix.notices() == ["The call was transferred to +1 555-987-6543."]


@virtual
async def test_one_call_alone_is_not_joined() -> None:
    async with world() as w:
        await calling(w)
        assert "NUMBER" in w.exchange.transfer(ALICE, "", room_id=ROOM)


@virtual
async def test_a_room_that_cannot_be_told_costs_nothing_else() -> None:
    async with world() as w:
        session = await calling(w)
        w.exchange.transfer(ALICE, CAROL, room_id=ROOM)
        w.matrix.gone.add(ROOM)
        await w.sip(TransferEnded(session.real, 486, "Busy Here"))
        assert w.exchange.live == 1
