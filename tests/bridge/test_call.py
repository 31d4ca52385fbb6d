"""The table of `Call`, by example and by exhaustive search."""

from collections import Counter
from itertools import product

import pytest

from bridge.call.call import (
    EARLY_LIMIT,
    MAX_LENGTH,
    Call,
    CallEvent,
    Expired,
    Source,
    State,
    Stopped,
)
from bridge.call.events import (
    Answered,
    Dialled,
    Ended,
    EndReason,
    OfferAnswered,
    Offered,
    Progress,
    Reoffered,
    Ringing,
)
from media.order import (
    Expect,
    Order,
    TakeDigit,
)
from media.plane import (
    AnswerReady,
    Closed,
    Failed,
    Failure,
    Flowing,
    OfferReady,
    Refused,
    Report,
    Side,
)


class Script:
    """Two legs and a media session that write down every verb they are told, in one common list."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str, object]] = []

    def leg(self, name: str) -> "ScriptLeg":
        return ScriptLeg(name, self)


class ScriptLeg:
    def __init__(self, name: str, script: Script) -> None:
        self._name = name
        self._script = script

    def _say(self, verb: str, what: object = None) -> None:
        self._script.said.append((self._name, verb, what))

    def place(self, sdp: str, now: float) -> None:
        self._say("place", sdp)

    def ring(self, now: float) -> None:
        self._say("ring")

    def answer(self, sdp: str, now: float) -> None:
        self._say("answer", sdp)

    def update(self, sdp: str | None, now: float) -> None:
        self._say("update", sdp)

    def offer(self, sdp: str, now: float) -> None:
        self._say("offer", sdp)

    def hang_up(self, reason: EndReason, now: float) -> None:
        self._say("hang_up", reason)


class ScriptMedia:
    def __init__(self, script: Script) -> None:
        self._script = script

    def _say(self, verb: str, what: object = None) -> None:
        self._script.said.append(("media", verb, what))

    def offer(self, side: Side, sdp: str) -> None:
        self._say("offer", (side, sdp))

    def answer(self, side: Side, sdp: str) -> None:
        self._say("answer", (side, sdp))

    def ask(self, side: Side) -> None:
        self._say("ask", side)

    def add_candidates(self, side: Side, candidates: object) -> None:
        self._say("add_candidates", candidates)

    def perform(self, order: Order) -> None:
        self._say("perform", order)

    def close(self) -> None:
        self._say("close")


def make(*, early_media: bool = True) -> tuple[Call, Script]:
    script = Script()
    call = Call(
        id="7f3a",
        caller=script.leg("caller"),
        callee=script.leg("callee"),
        media=ScriptMedia(script),
        caller_side=Side.WEBRTC,
        ring_limit=60.0,
        early_media=early_media,
    )
    return call, script


OFFER = (Source.CALLER, Offered("offer"))
NO_OFFER = (Source.CALLER, Offered(None))
OFFER_READY = (Source.MEDIA, OfferReady(Side.SDES, "offer'"))
OURS_READY = (Source.MEDIA, OfferReady(Side.WEBRTC, "ours"))
OURS_ANSWERED = (Source.CALLER, OfferAnswered("theirs"))
RINGING = (Source.CALLEE, Ringing())
PROGRESS = (Source.CALLEE, Progress("early"))
ANSWERED = (Source.CALLEE, Answered("answer"))
ANSWERED_BARE = (Source.CALLEE, Answered(None))
ANSWER_READY = (Source.MEDIA, AnswerReady(Side.WEBRTC, "answer'"))
UPDATE_READY = (Source.MEDIA, AnswerReady(Side.SDES, "update'"))
REFUSED = (Source.MEDIA, Refused(Side.SDES, Failure.NO_CODEC, "no"))
FLOWING = (Source.MEDIA, Flowing(Side.SDES))
REOFFERED = (Source.CALLER, Reoffered("hold"))
ASKED = (Source.CALLER, Reoffered(None))
CALLEE_ASKED = (Source.CALLEE, Reoffered(None))
CALLEE_OURS_ANSWERED = (Source.CALLEE, OfferAnswered("theirs"))
CALLEE_REOFFERED = (Source.CALLEE, Reoffered("hold"))
CALLER_ENDED = (Source.CALLER, Ended(EndReason.CANCELLED))
CALLEE_ENDED = (Source.CALLEE, Ended(EndReason.BUSY, "Busy Here"))
FAILED = (Source.MEDIA, Failed(Failure.NO_CODEC, "nothing in common"))
CLOSED = (Source.MEDIA, Closed(Report()))
EXPIRED = (Source.OURS, Expired())
STOPPED = (Source.OURS, Stopped(EndReason.SHUTDOWN))

Step = tuple[Source, CallEvent]


def play(call: Call, *steps: Step, start: float = 100.0) -> None:
    for number, (source, event) in enumerate(steps):
        call.handle(source, event, start + number)


def test_plain_call_walks_the_table() -> None:
    call, script = make()
    play(call, OFFER, OFFER_READY, RINGING, ANSWERED, ANSWER_READY, FLOWING)
    assert script.said == [
        ("media", "offer", (Side.WEBRTC, "offer")),
        ("callee", "place", "offer'"),
        ("caller", "ring", None),
        ("media", "answer", (Side.SDES, "answer")),
        ("caller", "answer", "answer'"),
    ]
    assert call.state is State.ACTIVE
    assert call.instants == {
        "offered": 100.0, "placed": 101.0, "ringing": 102.0, "answered": 103.0,
        "caller_answered": 104.0, "flowing_sdes": 105.0, "flowing": 105.0,
    }  # fmt: skip
    assert call.deadline == 103.0 + MAX_LENGTH
    play(call, EXPIRED)
    assert (call.reason, call.ended_by) == (EndReason.TOO_LONG, Source.OURS)


def test_early_media_answers_the_caller_at_once_and_only_once() -> None:
    call, script = make()
    early_stands = (Source.CALLEE, Answered("early"))
    play(call, OFFER, OFFER_READY, PROGRESS, ANSWER_READY, FLOWING, PROGRESS, early_stands)
    assert script.said[2:] == [
        ("caller", "ring", None),
        ("media", "answer", (Side.SDES, "early")),
        ("caller", "answer", "answer'"),
        ("media", "perform", Expect(Side.SDES)),
    ]
    assert call.state is State.ACTIVE


def test_when_another_phone_answers_than_was_heard_its_media_are_taken() -> None:
    call, script = make()
    play(call, OFFER, OFFER_READY, PROGRESS, ANSWER_READY, FLOWING, ANSWERED)
    assert script.said[-1] == ("media", "answer", (Side.SDES, "answer"))
    assert call.state is State.ACTIVE


def test_a_digit_said_beside_the_media_goes_through_the_media() -> None:
    call, script = make()
    play(call, OFFER, OFFER_READY, ANSWERED, ANSWER_READY, (Source.CALLEE, Dialled("5", 160)))
    assert script.said[-1] == ("media", "perform", TakeDigit(Side.SDES, "5", 160))
    play(call, (Source.CALLER, Dialled("#", 250)))
    assert script.said[-1] == ("media", "perform", TakeDigit(Side.WEBRTC, "#", 250))


def test_early_media_has_a_limit_of_its_own() -> None:
    call, _ = make()
    play(call, OFFER, OFFER_READY, PROGRESS)
    assert call.deadline == 102.0 + EARLY_LIMIT


def test_without_early_media_progress_only_rings_and_stands_for_a_bare_answer() -> None:
    call, script = make(early_media=False)
    play(call, OFFER, OFFER_READY, PROGRESS)
    assert script.said[2:] == [("caller", "ring", None)]
    play(call, ANSWERED_BARE, ANSWER_READY)
    assert script.said[3:] == [
        ("media", "answer", (Side.SDES, "early")),
        ("caller", "answer", "answer'"),
    ]


def test_answer_without_any_sdp_ends_both_sides() -> None:
    call, script = make()
    play(call, OFFER, OFFER_READY, ANSWERED_BARE)
    assert script.said[2:] == [
        ("caller", "hang_up", EndReason.MEDIA_INCOMPATIBLE),
        ("callee", "hang_up", EndReason.MEDIA_INCOMPATIBLE),
        ("media", "close", None),
    ]


def test_reoffer_is_answered_for_its_own_side_alone() -> None:
    call, script = make()
    play(call, OFFER, OFFER_READY, ANSWERED, ANSWER_READY, FLOWING)
    del script.said[:]
    play(call, REOFFERED, ANSWER_READY, CALLEE_REOFFERED, UPDATE_READY)
    assert script.said == [
        ("media", "offer", (Side.WEBRTC, "hold")),
        ("caller", "update", "answer'"),
        ("media", "offer", (Side.SDES, "hold")),
        ("callee", "update", "update'"),
    ]


def test_a_caller_without_an_offer_gets_ours_when_the_callee_answers() -> None:
    call, script = make()
    play(call, NO_OFFER, OFFER_READY, RINGING, ANSWERED, OURS_READY, OURS_ANSWERED, FLOWING)
    assert script.said == [
        ("media", "ask", Side.WEBRTC),
        ("callee", "place", "offer'"),
        ("caller", "ring", None),
        ("media", "answer", (Side.SDES, "answer")),
        ("caller", "answer", "ours"),
        ("media", "answer", (Side.WEBRTC, "theirs")),
    ]
    assert call.state is State.ACTIVE


def test_a_party_that_asks_in_a_call_gets_our_offer_and_answers_it() -> None:
    call, script = make()
    play(call, OFFER, OFFER_READY, ANSWERED, ANSWER_READY, FLOWING)
    del script.said[:]
    play(call, ASKED, OURS_READY, OURS_ANSWERED, CALLEE_ASKED, OFFER_READY, CALLEE_OURS_ANSWERED)
    assert script.said == [
        ("media", "ask", Side.WEBRTC),
        ("caller", "offer", "ours"),
        ("media", "answer", (Side.WEBRTC, "theirs")),
        ("media", "ask", Side.SDES),
        ("callee", "offer", "offer'"),
        ("media", "answer", (Side.SDES, "theirs")),
    ]


def test_an_offer_of_the_planes_own_goes_to_its_side_and_its_answer_back() -> None:
    call, script = make()
    play(call, OFFER, OFFER_READY, ANSWERED, ANSWER_READY, FLOWING)
    del script.said[:]
    play(call, OURS_READY, OURS_ANSWERED)
    assert script.said == [
        ("caller", "offer", "ours"),
        ("media", "answer", (Side.WEBRTC, "theirs")),
    ]


def test_a_reoffer_that_the_plane_refuses_is_refused_to_its_own_side() -> None:
    call, script = make()
    play(call, OFFER, OFFER_READY, ANSWERED, ANSWER_READY)
    del script.said[:]
    play(call, CALLEE_REOFFERED, REFUSED)
    assert script.said[1:] == [("callee", "update", None)]
    assert call.state is not State.ENDED


def test_a_reoffer_before_there_are_media_is_refused_to_its_own_side() -> None:
    call, script = make(early_media=False)
    play(call, OFFER, OFFER_READY, PROGRESS)
    del script.said[:]
    play(call, CALLEE_REOFFERED, REOFFERED)
    assert script.said == [("callee", "update", None), ("caller", "update", None)]


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (Failure.NO_SRTP, EndReason.NO_SRTP),
        (Failure.NO_CODEC, EndReason.MEDIA_INCOMPATIBLE),
        (Failure.NO_CONNECTIVITY, EndReason.MEDIA_FAILED),
        (Failure.DTLS, EndReason.MEDIA_FAILED),
        (Failure.SILENCE, EndReason.MEDIA_FAILED),
        (Failure.ENGINE, EndReason.ERROR),
    ],
)
def test_media_failure_tells_both_sides_why(failure: Failure, reason: EndReason) -> None:
    call, script = make()
    play(call, OFFER, OFFER_READY, (Source.MEDIA, Failed(failure, "because")))
    assert script.said[2:] == [
        ("caller", "hang_up", reason),
        ("callee", "hang_up", reason),
        ("media", "close", None),
    ]
    assert (call.reason, call.text) == (reason, "because")


def test_every_failure_has_a_reason() -> None:
    for failure in Failure:
        call, _ = make()
        play(call, OFFER, (Source.MEDIA, Failed(failure, "")))
        assert call.reason is not None


def test_expiry_while_ringing_is_no_answer_and_later_the_end_of_patience() -> None:
    ringing, _ = make()
    play(ringing, OFFER, OFFER_READY, RINGING)
    assert ringing.deadline == 160.0
    play(ringing, EXPIRED)
    assert ringing.reason is EndReason.NO_ANSWER
    endless, _ = make()
    play(endless, OFFER, OFFER_READY, ANSWERED, ANSWER_READY, EXPIRED)
    assert endless.reason is EndReason.TOO_LONG


def test_report_arrives_after_the_end() -> None:
    call, _ = make()
    report = Report(transcoding=True)
    play(call, OFFER, CALLER_ENDED, (Source.MEDIA, Closed(report)))
    assert call.report == report


ALPHABET: list[Step] = [
    OFFER_READY,
    RINGING,
    PROGRESS,
    ANSWERED,
    ANSWERED_BARE,
    ANSWER_READY,
    OURS_READY,
    OURS_ANSWERED,
    FLOWING,
    REFUSED,
    REOFFERED,
    ASKED,
    CALLER_ENDED,
    CALLEE_ENDED,
    FAILED,
    EXPIRED,
]


ONCE = [("callee", "place"), ("caller", "answer"), ("caller", "ring"), ("media", "close")]


@pytest.mark.parametrize("early_media", [True, False])
def test_no_order_of_three_events_breaks_an_invariant(early_media: bool) -> None:
    for steps in product(ALPHABET, repeat=3):
        check(early_media, steps)


@pytest.mark.parametrize("opening", [OFFER, NO_OFFER])
@pytest.mark.parametrize("early_media", [True, False])
def test_no_order_of_any_length_breaks_an_invariant(early_media: bool, opening: Step) -> None:
    """Walk every reachable state of the call once, trying every event in each.

    Two orders lead to the same state when all that the call holds is equal, and what it said of the
    things that it may say only so often.
    """
    seen: set[tuple[str, ...]] = set()
    frontier: list[tuple[Step, ...]] = [()]
    length = 0
    while frontier:
        length += 1
        following: list[tuple[Step, ...]] = []
        for steps in frontier:
            for step in ALPHABET:
                longer = (*steps, step)
                call, script = check(early_media, longer, opening)
                key = snapshot(call, script)
                if key not in seen:
                    seen.add(key)
                    following.append(longer)
        frontier = following
    assert length >= 7, "the walk is shorter than the longest useful call"
    assert len(seen) > 100


def snapshot(call: Call, script: Script) -> tuple[str, ...]:
    held = [
        f"{name}={sorted(value) if isinstance(value, dict) else value}"
        for name, value in sorted(vars(call).items())
        if isinstance(value, str | bool | float | dict | State | EndReason | None)
    ]
    counted = [(leg, verb) for leg, verb, _ in script.said if (leg, verb) in ONCE]
    said = Counter([*counted, *callee_answers(script)])
    return (*held, *sorted(f"{what} {min(count, 2)}" for what, count in said.items()))


def callee_answers(script: Script) -> list[object]:
    """What the media were told of the callee's answers."""
    answers = [what for leg, verb, what in script.said if (leg, verb) == ("media", "answer")]
    return [what for what in answers if what != (Side.WEBRTC, "theirs")]


def check(early_media: bool, steps: tuple[Step, ...], opening: Step = OFFER) -> tuple[Call, Script]:
    call, script = make(early_media=early_media)
    said = script.said
    call.handle(*opening, 0.0)
    callee_took, progress = False, False
    for source, event in steps:
        before = len(said)
        alive = call.state is not State.ENDED
        placed = ("callee", "place", "offer'") in said
        call.handle(source, event, 1.0)
        verbs = said[before:]
        if not alive:
            assert verbs == [], (steps, "something was said after the end")
            continue
        callee_took |= placed and isinstance(event, Answered)
        progress |= placed and isinstance(event, Progress)
        for leg, verb, what in verbs:
            if (leg, verb) == ("caller", "answer"):
                assert callee_took or (early_media and progress), (steps, "answered too early")
            if (leg, verb, what) == ("media", "answer", (Side.WEBRTC, "theirs")):
                assert ("caller", "answer") in [entry[:2] for entry in said[:before]], steps
        ended = call.state is State.ENDED
        hung = [leg for leg, verb, _ in verbs if verb == "hang_up"]
        if ended:
            told = {Source.CALLER: ["callee"], Source.CALLEE: ["caller"]}
            expected = told.get(source, ["caller", "callee"])
            if isinstance(event, Answered):  # ended by us for want of an answer
                expected = ["caller", "callee"]
            assert hung == expected, steps
            assert verbs[-1] == ("media", "close", None), steps
        else:
            assert hung == [], steps
    flat = [(leg, verb) for leg, verb, _ in said]
    for once in ONCE:
        assert flat.count(once) <= 1, (steps, once)
    answers = callee_answers(script)
    assert len(answers) == len(set(answers)) <= 2, steps  # early, and of the phone that answered
    assert (call.state is State.ENDED) == (("media", "close") in flat), steps
    assert (call.reason is not None) == (call.state is State.ENDED)
    return call, script
