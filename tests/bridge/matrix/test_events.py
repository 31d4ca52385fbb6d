import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.matrix.events import (
    CallAnswer,
    CallCandidates,
    CallHangup,
    CallInvite,
    CallNegotiate,
    CallReject,
    CallSelectAnswer,
    Membership,
    Reaction,
    RoomEvent,
    Text,
    parse_call_event,
    parse_event,
    parse_membership,
    parse_reaction,
    parse_redaction,
    parse_text,
)
from media.plane import (
    IceCandidate,
)

SDP = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\n"


def raw(type_: str = "m.call.invite", content: Any = None, **more: Any) -> dict[str, Any]:
    return {
        "event_id": "$1",
        "room_id": "!a:x",
        "sender": "@alice:x",
        "type": type_,
        "origin_server_ts": 1_000_000,
        "content": {} if content is None else content,
        "unsigned": {"age": 1500},
    } | more


def read(type_: str, content: Any, **more: Any) -> RoomEvent:
    event = parse_event(raw(type_, content, **more), received_at=10.0, now_ms=1_002_000)
    assert event is not None
    return event


# As captured from matrix-js-sdk 43 in Chromium, and from nheko 0.11; shortened.
JS_INVITE = {
    "call_id": "1795419204428UwWh8137U9OQsgrd",
    "capabilities": {"m.call.dtmf": False, "m.call.transferee": False},
    "lifetime": 60000,
    "offer": {"sdp": SDP, "type": "offer"},
    "party_id": "ABCDEFGHIJ",
    "sdp_stream_metadata": {"6c68": {"audio_muted": False, "purpose": "m.usermedia"}},
    "version": "1",
}
NHEKO_INVITE = {
    "call_id": "c1795419576644",
    "invitee": "@gina:localhost",
    "lifetime": 120000,
    "offer": {"sdp": SDP, "type": "offer"},
    "party_id": "cEEw6aKy",
    "version": "1",
}
NHEKO_CANDIDATES = {
    "call_id": "c1795419576644",
    "candidates": [
        {
            "candidate": "candidate:1 1 UDP 2015363327 192.0.2.2 44927 typ host",
            "sdpMLineIndex": 0,
            "sdpMid": "",
        },
        {"candidate": ""},
    ],
    "party_id": "cEEw6aKy",
    "version": "1",
}


def test_an_invite_of_a_browser() -> None:
    assert parse_call_event(read("m.call.invite", JS_INVITE)) == CallInvite(
        call_id="1795419204428UwWh8137U9OQsgrd",
        party_id="ABCDEFGHIJ",
        version=1,
        lifetime_ms=60_000,
        invitee=None,
        sdp=SDP,
        age_ms=1500,
        received_at=10.0,
    )


def test_an_invite_of_nheko_names_its_invitee_and_rings_longer() -> None:
    invite = parse_call_event(read("m.call.invite", NHEKO_INVITE))
    assert isinstance(invite, CallInvite)
    assert (invite.invitee, invite.lifetime_ms) == ("@gina:localhost", 120_000)


def test_an_invite_runs_out() -> None:
    invite = parse_call_event(read("m.call.invite", JS_INVITE))
    assert isinstance(invite, CallInvite)
    assert invite.remaining_ms(10.0) == 58_500
    assert invite.remaining_ms(68.5) == 0
    assert invite.remaining_ms(100.0) < 0


@pytest.mark.parametrize(
    ("version", "expected"), [(0, 0), ("1", 1), (1, 1), ("0", 1), (None, 1), (False, 1), ("x", 1)]
)
def test_only_the_integer_zero_is_the_old_protocol(version: Any, expected: int) -> None:
    invite = parse_call_event(read("m.call.invite", JS_INVITE | {"version": version}))
    assert isinstance(invite, CallInvite)
    assert invite.version == expected


def test_the_old_protocol_has_no_party() -> None:
    content = {"call_id": "c", "version": 0, "lifetime": 60000, "offer": {"sdp": SDP}}
    invite = parse_call_event(read("m.call.invite", content))
    assert isinstance(invite, CallInvite)
    assert invite.party_id is None


@pytest.mark.parametrize("lifetime", [None, "60000", -1, True, 1.5])
def test_an_odd_lifetime_is_a_minute(lifetime: Any) -> None:
    invite = parse_call_event(read("m.call.invite", JS_INVITE | {"lifetime": lifetime}))
    assert isinstance(invite, CallInvite)
    assert invite.lifetime_ms == 60_000


def test_candidates_of_nheko_have_an_empty_mid_and_an_end_has_none() -> None:
    assert parse_call_event(read("m.call.candidates", NHEKO_CANDIDATES)) == CallCandidates(
        "c1795419576644",
        "cEEw6aKy",
        (
            IceCandidate("candidate:1 1 UDP 2015363327 192.0.2.2 44927 typ host", "", 0),
            IceCandidate("", "0", 0),
        ),
    )


def test_bad_candidates_are_left_out_and_their_number_is_bounded() -> None:
    odd: list[Any] = [None, 1, {}, {"candidate": 5}, {"candidate": "a\r\nb"}]
    odd.append({"candidate": "c", "sdpMid": 3, "sdpMLineIndex": "0"})
    event = read("m.call.candidates", {"call_id": "c", "candidates": odd})
    candidates = parse_call_event(event)
    assert isinstance(candidates, CallCandidates)
    assert candidates.candidates == (IceCandidate("c", "0", 0),)
    many = [{"candidate": "c"}] * 10_000
    candidates = parse_call_event(read("m.call.candidates", {"call_id": "c", "candidates": many}))
    assert isinstance(candidates, CallCandidates)
    assert len(candidates.candidates) == 100


@pytest.mark.parametrize(
    ("type_", "content", "expected"),
    [
        (
            "answer",
            {"answer": {"type": "answer", "sdp": SDP}},
            CallAnswer("c", "p", SDP, 1, capable=False),
        ),
        (
            "answer",
            {"answer": {"type": "answer", "sdp": SDP}, "capabilities": {}},
            CallAnswer("c", "p", SDP, 1),
        ),
        ("select_answer", {"selected_party_id": "q"}, CallSelectAnswer("c", "p", "q")),
        ("reject", {}, CallReject("c", "p", None)),
        ("reject", {"reason": "user_busy"}, CallReject("c", "p", "user_busy")),
        ("hangup", {}, CallHangup("c", "p", "user_hangup")),
        ("hangup", {"reason": "ice_failed"}, CallHangup("c", "p", "ice_failed")),
        (
            "negotiate",
            {"description": {"type": "offer", "sdp": SDP}, "lifetime": 10_000},
            CallNegotiate("c", "p", "offer", SDP, 10_000),
        ),
        (
            "negotiate",
            {"description": {"type": "answer", "sdp": SDP}},
            CallNegotiate("c", "p", "answer", SDP, 60_000),
        ),
    ],
)
def test_the_other_call_events(type_: str, content: Any, expected: Any) -> None:
    common = {"call_id": "c", "party_id": "p", "version": "1"}
    assert parse_call_event(read(f"m.call.{type_}", common | content)) == expected


@pytest.mark.parametrize(
    ("type_", "content"),
    [
        ("m.call.invite", {}),  # redacted
        ("m.call.invite", JS_INVITE | {"call_id": ""}),
        ("m.call.invite", JS_INVITE | {"call_id": "a\r\nb"}),
        ("m.call.invite", JS_INVITE | {"call_id": "x" * 256}),
        ("m.call.invite", JS_INVITE | {"offer": {"type": "offer"}}),
        ("m.call.invite", JS_INVITE | {"offer": "sdp"}),
        ("m.call.answer", {"call_id": "c"}),
        ("m.call.candidates", {"call_id": "c", "candidates": []}),
        ("m.call.select_answer", {"call_id": "c"}),
        ("m.call.negotiate", {"call_id": "c", "description": {"type": "hold", "sdp": SDP}}),
        ("m.call.asserted_identity", {"call_id": "c"}),
        ("m.room.message", {"call_id": "c"}),
    ],
)
def test_what_is_no_usable_call_event_is_none(type_: str, content: Any) -> None:
    assert parse_call_event(read(type_, content)) is None


def test_state_is_never_a_call_event() -> None:
    assert parse_call_event(read("m.call.invite", JS_INVITE, state_key="")) is None


# --- events


@pytest.mark.parametrize(
    "broken",
    [
        None,
        [],
        "text",
        {},
        raw(event_id=None),
        raw(event_id=""),
        raw(event_id="$\x00"),
        raw(room_id=7),
        raw(sender="alice"),
        raw(sender="@alice"),
        raw(type=None),
        raw(content=[]) | {"content": []},
        raw(state_key=5),
        raw(state_key="x" * 256),
    ],
)
def test_what_is_no_event_is_none(broken: Any) -> None:
    assert parse_event(broken, received_at=0.0, now_ms=0) is None


def test_age_comes_from_the_homeserver() -> None:
    event = read("m.room.message", {})
    assert event.age_ms == 1500
    assert event.age_at(11.0) == 2500


def test_age_grows_with_the_time_that_the_event_waited() -> None:
    event = parse_event(raw(), received_at=0.0, now_ms=0, waited_ms=60_000)
    assert event is not None
    assert event.age_ms == 61_500


def test_age_without_the_homeservers_word_comes_from_the_clock() -> None:
    assert read("m.room.message", {}, unsigned={}).age_ms == 2000
    assert read("m.room.message", {}, unsigned="odd").age_ms == 2000
    assert read("m.room.message", {}, unsigned={}, origin_server_ts=None).age_ms is None
    assert read("m.room.message", {}, unsigned={"age": -5}).age_ms == 0


def test_a_room_id_that_the_endpoint_leaves_out_is_filled_in() -> None:
    bare = raw()
    del bare["room_id"]
    assert parse_event(bare, received_at=0.0, now_ms=0) is None
    event = parse_event(bare, received_at=0.0, now_ms=0, room_id="!b:x")
    assert event is not None
    assert event.room_id == "!b:x"


def test_an_event_does_not_show_its_content() -> None:
    event = read("m.room.message", {"body": "canary"})
    assert "canary" not in repr(event)
    text = parse_text(read("m.room.message", {"body": "canary", "msgtype": "m.text"}))
    assert "canary" not in repr(text)
    assert SDP not in repr(parse_call_event(read("m.call.invite", JS_INVITE)))


# --- the rest of a room


def test_a_text() -> None:
    content = {"body": "Hällo 🎉", "msgtype": "m.text"}
    assert parse_text(read("m.room.message", content)) == Text("Hällo 🎉", "m.text")


def test_an_edit_is_told_with_its_new_text() -> None:
    content = {
        "body": "* new",
        "msgtype": "m.text",
        "m.new_content": {"body": "new", "msgtype": "m.text"},
        "m.relates_to": {"rel_type": "m.replace", "event_id": "$0"},
    }
    assert parse_text(read("m.room.message", content)) == Text("new", "m.text", edits="$0")


def test_a_reply_names_what_it_answers() -> None:
    relation = {"m.in_reply_to": {"event_id": "$0"}}
    content = {"body": "yes", "msgtype": "m.text", "m.relates_to": relation}
    assert parse_text(read("m.room.message", content)) == Text("yes", "m.text", replies_to="$0")


def test_half_of_a_surrogate_pair_can_be_encoded_afterwards() -> None:
    text = parse_text(read("m.room.message", {"body": "a\ud83d", "msgtype": "m.text"}))
    assert text is not None
    assert text.body.encode() == b"a?"


@pytest.mark.parametrize("content", [{}, {"body": 3, "msgtype": "m.text"}, {"body": "x"}])
def test_a_message_without_text_is_none(content: Any) -> None:
    assert parse_text(read("m.room.message", content)) is None


def test_a_membership() -> None:
    event = read(
        "m.room.member",
        {"membership": "invite", "is_direct": True},
        state_key="@tel_49:x",
        unsigned={"prev_content": {"membership": "leave"}},
    )
    assert parse_membership(event) == Membership("@tel_49:x", "invite", "leave", True)
    plain = read("m.room.member", {"membership": "join"}, state_key="@a:x")
    assert parse_membership(plain) == Membership("@a:x", "join")
    assert parse_membership(read("m.room.member", {"membership": "join"})) is None


# --- nothing that JSON can say upsets the parsers

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)
KEYS = [
    "call_id party_id version lifetime invitee offer answer candidates description reason",
    "selected_party_id sdp type candidate sdpMid sdpMLineIndex body msgtype membership",
    "m.relates_to m.new_content m.in_reply_to event_id rel_type is_direct algorithm",
]
TYPES = [f"m.call.{name}" for name in ("invite", "answer", "candidates", "select_answer")]
TYPES += ["m.call.hangup", "m.call.reject", "m.call.negotiate", "m.room.message"]
TYPES += ["m.room.member", "m.room.encrypted"]
contents = st.dictionaries(st.sampled_from(" ".join(KEYS).split()), anything, max_size=8)


@given(
    content=contents,
    type_=st.sampled_from(TYPES),
    overrides=st.dictionaries(
        st.sampled_from(["event_id", "sender", "unsigned", "state_key", "origin_server_ts"]),
        anything,
        max_size=2,
    ),
)
def test_no_content_raises(content: Any, type_: str, overrides: dict[str, Any]) -> None:
    event = parse_event(raw(type_, content) | overrides, received_at=0.0, now_ms=0)
    if event is None:
        return
    for version in (event, dataclasses.replace(event, state_key=None)):
        parse_call_event(version)
        parse_text(version)
        parse_membership(version)


def test_a_reaction_is_a_sign_on_an_event() -> None:
    relation = {"rel_type": "m.annotation", "event_id": "$x", "key": "👩\u200d🚀"}
    assert parse_reaction(read("m.reaction", {"m.relates_to": relation})) == Reaction(
        "$x", "👩\u200d🚀"
    )
    for odd in ({"key": " "}, {"key": 1}, {"key": "x" * 300}, {"event_id": 1}, {"rel_type": "m.x"}):
        assert parse_reaction(read("m.reaction", {"m.relates_to": relation | odd})) is None
    assert parse_reaction(read("m.reaction", {})) is None
    assert parse_reaction(read("m.room.message", {"m.relates_to": relation})) is None


def test_a_redaction_names_its_event_in_old_rooms_and_new() -> None:
    assert parse_redaction(read("m.room.redaction", {"redacts": "$x"})) == "$x"
    assert parse_redaction(read("m.room.redaction", {}, redacts="$x")) == "$x"
    assert parse_redaction(read("m.room.redaction", {}, redacts=7)) is None
    assert parse_redaction(read("m.room.message", {}, redacts="$x")) is None
