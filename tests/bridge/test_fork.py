import pytest

from bridge.call.events import Answered, Ended, EndReason, Reoffered, Ringing
from bridge.call.fork import ForkLeg
from bridge.call.matrix_leg import MatrixLeg
from bridge.matrix.events import CallAnswer, CallHangup, CallNegotiate, CallReject

USERS = ("@alice:example.org", "@bob:example.org", "@carol:example.org")


def fork(count: int = 3) -> ForkLeg:
    forked = ForkLeg()
    forked.place("offer", 0.0)
    assert forked.waiting
    forked.add(
        [
            MatrixLeg(
                room_id=f"!room{index}", ghost="@g:x", user=user, call_id=f"~{index}", party_id="US"
            )
            for index, user in enumerate(USERS[:count])
        ],
        0.0,
    )
    return forked


def answer(forked: ForkLeg, index: int, sdp: str = "answer") -> None:
    forked.legs[index].receive(USERS[index], CallAnswer(f"~{index}", "PHONE", sdp), 1.0)


def reject(forked: ForkLeg, index: int, reason: str | None = None) -> None:
    forked.legs[index].receive(USERS[index], CallReject(f"~{index}", "PHONE", reason), 1.0)


def test_everybody_gets_the_same_offer_in_a_room_of_their_own() -> None:
    sends = [send for leg in fork().legs for send in leg.take_sends()]
    assert [send.room_id for send in sends] == ["!room0", "!room1", "!room2"]
    assert {send.content["offer"]["sdp"] for send in sends} == {"offer"}


def test_it_rings_once() -> None:
    forked = fork()
    for leg in forked.legs:
        leg.sent(leg.take_sends()[0].txn_id, 1.0)
    assert forked.poll(1.0) == [Ringing()]


def test_the_first_answer_wins_and_the_others_stop_ringing() -> None:
    forked = fork()
    for leg in forked.legs:
        leg.take_sends()
    answer(forked, 1, "from bob")
    answer(forked, 2, "from carol")
    assert forked.poll(1.0) == [Answered("from bob")]
    assert forked.winner is forked.legs[1]
    assert [send.type for send in forked.legs[0].take_sends()] == ["m.call.hangup"]
    assert [send.type for send in forked.legs[1].take_sends()] == ["m.call.select_answer"]
    assert "m.call.hangup" in [send.type for send in forked.legs[2].take_sends()]
    answer(forked, 0, "late")
    assert forked.poll(2.0) == []


@pytest.mark.parametrize(
    ("reasons", "strongest"),
    [
        ((None, "user_busy", None), EndReason.BUSY),
        ((None, None, None), EndReason.DECLINED),
        ((None, "invite_timeout", "invite_timeout"), EndReason.DECLINED),
    ],
)
def test_it_ends_when_the_last_has_declined(
    reasons: tuple[str | None, ...], strongest: EndReason
) -> None:
    forked = fork()
    for index, reason in enumerate(reasons):
        assert forked.poll(1.0) == []
        reject(forked, index, reason)
    assert forked.poll(1.0) == [Ended(strongest)]
    forked.hang_up(strongest, 2.0)
    types = [send.type for leg in forked.legs for send in leg.take_sends()]
    assert "m.call.hangup" not in types


def test_a_decline_of_one_lets_the_others_ring() -> None:
    forked = fork()
    reject(forked, 0)
    assert forked.poll(1.0) == []
    answer(forked, 1)
    assert forked.poll(1.0) == [Answered("answer")]


def test_giving_up_reaches_only_those_who_still_ring() -> None:
    forked = fork()
    reject(forked, 0)
    forked.poll(1.0)
    for leg in forked.legs:
        leg.take_sends()
    forked.hang_up(EndReason.CANCELLED, 2.0)
    assert [[send.type for send in leg.take_sends()] for leg in forked.legs] == [
        [],
        ["m.call.hangup"],
        ["m.call.hangup"],
    ]


def test_the_call_goes_on_with_the_winner() -> None:
    forked = fork()
    answer(forked, 1)
    forked.poll(1.0)
    forked.legs[1].receive(USERS[1], CallNegotiate("~1", "PHONE", "offer", "hold"), 2.0)
    assert forked.poll(2.0) == [Reoffered("hold")]
    forked.legs[1].take_sends()
    forked.update("held", 2.0)
    assert [send.type for send in forked.legs[1].take_sends()] == ["m.call.negotiate"]
    forked.legs[1].receive(USERS[1], CallHangup("~1", "PHONE"), 3.0)
    assert forked.poll(3.0) == [Ended(EndReason.HANGUP)]


def test_a_homeserver_that_takes_no_invite_ends_it() -> None:
    forked = fork(2)
    for leg in forked.legs:
        leg.failed(leg.take_sends()[0].txn_id, "unreachable", 1.0)
    assert forked.poll(1.0) == [Ended(EndReason.MATRIX_DOWN, "unreachable")]


def test_nobody_to_call_ends_it_once() -> None:
    forked = ForkLeg()
    forked.place("offer", 0.0)
    forked.fail(EndReason.UNAVAILABLE, "no users")
    forked.fail(EndReason.UNAVAILABLE, "no users")
    assert forked.poll(1.0) == [Ended(EndReason.UNAVAILABLE, "no users")]
    assert forked.poll(1.0) == []


def test_users_found_too_late_are_not_rung() -> None:
    forked = ForkLeg()
    forked.place("offer", 0.0)
    forked.hang_up(EndReason.CANCELLED, 1.0)
    assert not forked.waiting
    leg = MatrixLeg(room_id="!r", ghost="@g:x", user=USERS[0], call_id="~0", party_id="US")
    forked.add([leg], 2.0)
    assert leg.take_sends() == []
