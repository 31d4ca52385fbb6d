from typing import Any

import pytest

from bridge.call.events import (
    Answered,
    Ended,
    EndReason,
    OfferAnswered,
    Offered,
    Reoffered,
    Ringing,
)
from bridge.call.matrix_leg import CallSend, MatrixLeg, stale
from bridge.matrix.events import (
    CallAnswer,
    CallCandidates,
    CallHangup,
    CallInvite,
    CallNegotiate,
    CallReject,
    CallSelectAnswer,
)
from media.plane import (
    IceCandidate,
)

ALICE, GHOST, ROOM = "@alice:example.org", "@tel_1000:example.org", "!room:example.org"
ONE, TWO = IceCandidate("candidate:1"), IceCandidate("candidate:2")


def invite(version: int = 1, **changes: Any) -> CallInvite:
    party = None if version == 0 else "PHONE"
    return CallInvite("call1", party, version, 60_000, None, "offer", 100, 0.0, **changes)


def answering(version: int = 1) -> MatrixLeg:
    leg = MatrixLeg.answering(invite(version), room_id=ROOM, ghost=GHOST, user=ALICE, party_id="US")
    assert leg.poll(0.0) == [Offered("offer")]
    return leg


def calling() -> MatrixLeg:
    leg = MatrixLeg(
        room_id=ROOM, ghost=GHOST, user=ALICE, call_id="~call2", party_id="US", lifetime_ms=45_000
    )
    leg.place("offer", 0.0)
    return leg


def only(sends: list[CallSend]) -> CallSend:
    assert len(sends) == 1
    return sends[0]


def test_invite_has_everything_that_clients_want() -> None:
    send = only(calling().take_sends())
    assert (send.type, send.sender, send.room_id) == ("m.call.invite", GHOST, ROOM)
    assert send.content == {
        "version": "1",
        "call_id": "~call2",
        "party_id": "US",
        "lifetime": 45_000,
        "invitee": ALICE,
        "offer": {"type": "offer", "sdp": "offer"},
        "sdp_stream_metadata": {
            "ringback": {"purpose": "m.usermedia", "audio_muted": False, "video_muted": True}
        },
        "capabilities": {"m.call.transferee": False, "m.call.dtmf": True},
    }


def test_it_rings_when_the_homeserver_has_the_invite() -> None:
    leg = calling()
    txn = only(leg.take_sends()).txn_id
    assert leg.poll(0.0) == []
    leg.sent(txn, 1.0)
    assert leg.poll(1.0) == [Ringing()]


def test_an_invite_that_the_homeserver_does_not_take_ends_the_leg() -> None:
    leg = calling()
    leg.failed(only(leg.take_sends()).txn_id, "unreachable", 1.0)
    assert leg.poll(1.0) == [Ended(EndReason.MATRIX_DOWN, "unreachable")]
    # Perhaps it has it all the same, and the client must not ring for nobody.
    assert only(leg.take_sends()).type == "m.call.hangup"


def test_first_answer_is_selected_and_later_ones_are_ignored() -> None:
    leg = calling()
    leg.take_sends()
    leg.receive(ALICE, CallAnswer("~call2", "A", "answer A"), 1.0)
    leg.receive(ALICE, CallAnswer("~call2", "B", "answer B"), 1.0)
    assert leg.poll(1.0) == [Answered("answer A")]
    send = only(leg.take_sends())
    assert (send.type, send.content["selected_party_id"]) == ("m.call.select_answer", "A")


def test_candidates_wait_for_the_party_that_answers() -> None:
    leg = calling()
    leg.receive(ALICE, CallCandidates("~call2", "A", (ONE,)), 1.0)
    leg.receive(ALICE, CallCandidates("~call2", "B", (TWO,)), 1.0)
    assert leg.take_candidates() == []
    leg.receive(ALICE, CallAnswer("~call2", "B", "answer B"), 1.0)
    assert leg.take_candidates() == [TWO]
    leg.receive(ALICE, CallCandidates("~call2", "A", (ONE,)), 2.0)
    leg.receive(ALICE, CallCandidates("~call2", "B", (ONE,)), 2.0)
    assert leg.take_candidates() == [ONE]


def test_waiting_candidates_are_bounded() -> None:
    leg = calling()
    for number in range(100):
        leg.receive(ALICE, CallCandidates("~call2", f"P{number}", (ONE,) * 100), 1.0)
    for _ in range(10):
        leg.receive(ALICE, CallCandidates("~call2", "P0", (ONE,) * 100), 1.0)
    leg.receive(ALICE, CallAnswer("~call2", "P0", "answer"), 1.0)
    assert len(leg.take_candidates()) == 100
    late = calling()
    for number in range(100):
        late.receive(ALICE, CallCandidates("~call2", f"P{number}", (ONE,)), 1.0)
    late.receive(ALICE, CallAnswer("~call2", "P99", "answer"), 1.0)
    assert late.take_candidates() == []


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (CallReject("~call2", "A"), EndReason.DECLINED),
        (CallReject("~call2", "A", "user_busy"), EndReason.BUSY),
        (CallHangup("~call2", "A"), EndReason.DECLINED),
        (CallHangup("~call2", "A", "user_busy"), EndReason.BUSY),
        (CallHangup("~call2", "A", "invite_timeout"), EndReason.NO_ANSWER),
    ],
)
def test_declining_our_invite(event: CallReject | CallHangup, reason: EndReason) -> None:
    leg = calling()
    leg.take_sends()
    leg.receive(ALICE, event, 1.0)
    assert leg.poll(1.0) == [Ended(reason)]
    leg.hang_up(reason, 1.0)
    assert [send.type for send in leg.take_sends()] in ([], ["m.call.select_answer"])


def test_giving_up_our_invite_is_a_hangup() -> None:
    leg = calling()
    leg.take_sends()
    leg.hang_up(EndReason.NO_ANSWER, 60.0)
    send = only(leg.take_sends())
    assert (send.type, send.content["reason"]) == ("m.call.hangup", "invite_timeout")
    leg.receive(ALICE, CallAnswer("~call2", "A", "late"), 61.0)
    assert (leg.poll(61.0), leg.take_sends()) == ([], [])


def test_answering_the_users_call() -> None:
    leg = answering()
    leg.ring(0.0)
    leg.answer("answer", 1.0)
    leg.answer("answer", 1.0)
    send = only(leg.take_sends())
    assert send.type == "m.call.answer"
    assert send.content["answer"] == {"type": "answer", "sdp": "answer"}
    assert send.content["version"] == "1"
    assert send.content["capabilities"]["m.call.dtmf"] is True


@pytest.mark.parametrize(
    ("reason", "words"), [(EndReason.BUSY, "user_busy"), (EndReason.TRUNK_DOWN, "user_hangup")]
)
def test_refusing_the_users_call_is_a_reject(reason: EndReason, words: str) -> None:
    leg = answering()
    leg.hang_up(reason, 1.0)
    send = only(leg.take_sends())
    assert (send.type, send.content["reason"]) == ("m.call.reject", words)


def test_refusing_a_call_of_the_old_protocol_is_a_hangup() -> None:
    leg = answering(version=0)
    leg.hang_up(EndReason.BUSY, 1.0)
    send = only(leg.take_sends())
    assert (send.type, send.content["version"]) == ("m.call.hangup", 0)


def test_ending_an_answered_call_is_a_hangup() -> None:
    leg = answering()
    leg.answer("answer", 1.0)
    leg.take_sends()
    leg.hang_up(EndReason.HANGUP, 2.0)
    leg.hang_up(EndReason.HANGUP, 2.0)
    send = only(leg.take_sends())
    assert (send.type, send.content["reason"]) == ("m.call.hangup", "user_hangup")


def test_the_caller_gives_up_or_hangs_up() -> None:
    leg = answering()
    leg.receive(ALICE, CallHangup("call1", "OTHER"), 1.0)
    assert leg.poll(1.0) == []
    leg.receive(ALICE, CallHangup("call1", "PHONE"), 1.0)
    assert leg.poll(1.0) == [Ended(EndReason.CANCELLED)]
    leg = answering()
    leg.answer("answer", 1.0)
    leg.receive(ALICE, CallHangup("call1", "PHONE"), 2.0)
    assert leg.poll(2.0) == [Ended(EndReason.HANGUP)]
    leg = answering()
    leg.answer("answer", 1.0)
    leg.receive(ALICE, CallHangup("call1", "PHONE", "ice_failed"), 2.0)
    assert leg.poll(2.0) == [Ended(EndReason.MEDIA_FAILED)]


def test_events_of_somebody_else_are_not_for_this_leg() -> None:
    leg = answering()
    leg.receive("@mallory:example.org", CallHangup("call1", "PHONE"), 1.0)
    assert leg.poll(1.0) == []


def test_our_answer_must_be_the_selected_one() -> None:
    leg = answering()
    leg.answer("answer", 1.0)
    leg.receive(ALICE, CallSelectAnswer("call1", "PHONE", "US"), 1.0)
    assert leg.poll(1.0) == []
    leg.receive(ALICE, CallSelectAnswer("call1", "PHONE", "THEM"), 1.0)
    assert leg.poll(1.0) == [Ended(EndReason.ANSWERED_ELSEWHERE)]


def test_hold_is_negotiated_in_kind() -> None:
    leg = answering()
    leg.receive(ALICE, CallNegotiate("call1", "PHONE", "offer", "too early"), 1.0)
    leg.answer("answer", 1.0)
    leg.take_sends()
    leg.receive(ALICE, CallNegotiate("call1", "PHONE", "offer", "hold"), 2.0)
    leg.receive(ALICE, CallNegotiate("call1", "PHONE", "answer", "nothing asked"), 2.0)
    assert leg.poll(2.0) == [Reoffered("hold")]
    leg.update("held", 2.0)
    send = only(leg.take_sends())
    assert send.type == "m.call.negotiate"
    assert send.content["description"] == {"type": "answer", "sdp": "held"}
    assert send.content["lifetime"] == 60_000


def test_an_offer_of_ours_is_negotiated_and_answered_once() -> None:
    leg = answering()
    leg.answer("answer", 1.0)
    leg.take_sends()
    leg.offer("restart", 2.0)
    send = only(leg.take_sends())
    assert send.type == "m.call.negotiate"
    assert send.content["description"] == {"type": "offer", "sdp": "restart"}
    for _ in range(2):
        leg.receive(ALICE, CallNegotiate("call1", "PHONE", "answer", "restarted"), 3.0)
    assert leg.poll(3.0) == [OfferAnswered("restarted")]


@pytest.mark.parametrize(("version", "capable"), [(0, True), (1, False)])
def test_who_may_not_bear_it_gets_no_offer_within_a_call(version: int, capable: bool) -> None:
    invite = CallInvite("call1", "PHONE", version, 60_000, None, "offer", capable=capable)
    leg = MatrixLeg.answering(invite, room_id=ROOM, ghost=GHOST, user=ALICE, party_id="US")
    leg.answer("answer", 1.0)
    leg.take_sends()
    leg.offer("restart", 2.0)
    assert leg.take_sends() == []
    leg = calling()
    answer = CallAnswer("~call", "PHONE", "answer", version, capable)
    leg.receive(ALICE, answer, 1.0)
    leg.take_sends()
    leg.offer("restart", 2.0)
    assert leg.take_sends() == []


def test_leaving_the_room_hangs_up() -> None:
    for leg, reason in [(answering(), EndReason.CANCELLED), (calling(), EndReason.DECLINED)]:
        leg.left(1.0)
        assert leg.poll(1.0) == [Ended(reason)]
    leg = answering()
    leg.answer("answer", 1.0)
    leg.left(1.0)
    assert leg.poll(1.0) == [Ended(EndReason.HANGUP)]


def test_transaction_ids_are_the_same_after_a_repeat_and_differ_within_a_call() -> None:
    def run() -> list[str]:
        leg = answering()
        leg.answer("answer", 1.0)
        leg.receive(ALICE, CallNegotiate("call1", "PHONE", "offer", "hold"), 2.0)
        leg.update("held", 2.0)
        leg.update("held again", 2.0)
        leg.hang_up(EndReason.HANGUP, 3.0)
        return [send.txn_id for send in leg.take_sends()]

    first = run()
    assert first == run()
    assert len(set(first)) == 4


def test_an_unplaced_leg_ends_in_silence() -> None:
    leg = MatrixLeg(room_id=ROOM, ghost=GHOST, user=ALICE, call_id="~call2", party_id="US")
    leg.hang_up(EndReason.CANCELLED, 1.0)
    leg.place("offer", 2.0)
    assert leg.take_sends() == []


@pytest.mark.parametrize(
    ("age_ms", "lifetime_ms", "waited", "old"),
    [(100, 60_000, 0.0, False), (57_500, 60_000, 0.0, True), (100, 60_000, 57.0, True),
     (90_000, 120_000, 0.0, False), (None, 60_000, 0.0, False)],
)  # fmt: skip
def test_stale_invites_are_known(
    age_ms: int | None, lifetime_ms: int, waited: float, old: bool
) -> None:
    call = CallInvite("c", "P", 1, lifetime_ms, None, "offer", age_ms, 1000.0)
    assert stale(call, 1000.0 + waited) is old
