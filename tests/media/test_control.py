"""Messages between the processes survive the channel, however it cuts them."""

from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.control import (
    MAX_MESSAGE,
    ControlError,
    Unframer,
    event_from_json,
    event_to_json,
    frame,
    order_from_json,
    order_to_json,
    settings_from_json,
    settings_to_json,
)
from media.order import (
    Accept,
    Collect,
    Collected,
    CollectEnd,
    Expect,
    Level,
    Listen,
    Order,
    Play,
    Played,
    PlayEnd,
    Press,
    Record,
    Recorded,
    RecordEnd,
    SoundFile,
    StopCollecting,
    StopPlaying,
    StopRecording,
    TakeDigit,
    Tone,
    ToneSignal,
)
from media.plane import (
    AnswerReady,
    AudioBack,
    AudioLost,
    Closed,
    Connected,
    Digit,
    Failed,
    Failure,
    Flowing,
    MediaEvent,
    OfferReady,
    Refused,
    Report,
    SessionSettings,
    Side,
    SideReport,
    Unencrypted,
)

EVENTS: list[MediaEvent] = [
    OfferReady(Side.SDES, "v=0\r\n"),
    AnswerReady(Side.WEBRTC, "v=0\r\n", send=False),
    Connected(),
    Unencrypted(Side.SDES),
    Flowing(Side.SDES),
    AudioLost(Side.SDES, outward=True),
    AudioBack(Side.WEBRTC, outward=False),
    Digit(Side.WEBRTC, "#", 80),
    Played(Side.SDES, PlayEnd.FAILED, 1.5, "no such file"),
    Recorded("/a.ogg", RecordEnd.LIMIT, 1.5, 3000, -30.5, (0, 1024)),
    Level(Side.SDES, -30.5, 0.0),
    Collected(Side.WEBRTC, "123", CollectEnd.TERMINATOR, "#"),
    Failed(Failure.NO_SRTP, "no \N{SNOWMAN}"),
    Refused(Side.SDES, Failure.NO_CODEC, "x"),
    Closed(Report(SideReport("opus/48000", level_dbov=-20.5), SideReport(), True, 0.5, None)),
]


def test_all_events_and_orders_are_tried_here() -> None:
    assert {type(event) for event in EVENTS} == set(get_args(MediaEvent))
    assert {type(order) for order in ORDERS} == set(get_args(Order))


@pytest.mark.parametrize("event", EVENTS, ids=lambda e: type(e).__name__)
def test_every_event_survives_the_channel(event: MediaEvent) -> None:
    message = {"op": "event", "session": 3, **event_to_json(event)}
    (read,) = Unframer().feed(frame(message))
    assert event_from_json(read) == event


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"event": "Nothing"},
        {"event": "Flowing"},
        {"event": "Flowing", "side": "x"},
        {"event": "Closed", "report": {"webrtc": {}}},
        {"event": "Failed", "failure": "dtls", "text": "", "more": 1},
    ],
)
def test_what_is_no_event_is_a_control_error(message: dict[str, object]) -> None:
    with pytest.raises(ControlError):
        event_from_json(message)


ORDERS: list[Order] = [
    Press(Side.SDES, "#", 200),
    TakeDigit(Side.WEBRTC, "A", 250),
    Play(Side.SDES, ToneSignal(Tone.BUSY, "DE"), repeat=None),
    Play(Side.WEBRTC, SoundFile("/a/b.wav"), until_digit=True),
    StopPlaying(Side.SDES),
    Accept(Side.SDES),
    Expect(Side.SDES),
    Record("/a/b.ogg", Side.SDES, silence=2.5),
    Record("/a/b.ogg", max_seconds=60.0, max_bytes=1000, until_digit=True),
    StopRecording(),
    Collect(Side.SDES, 4, "*#", 5.0, 2.0),
    StopCollecting(Side.SDES),
    Listen(Side.SDES),
    Listen(Side.WEBRTC, None),
]


@pytest.mark.parametrize("order", ORDERS, ids=lambda o: type(o).__name__)
def test_every_order_survives_the_channel(order: Order) -> None:
    message = {"op": "perform", "session": 3, **order_to_json(order)}
    (read,) = Unframer().feed(frame(message))
    assert order_from_json(read) == order


@pytest.mark.parametrize(
    "message",
    [
        {"order": "Press"},
        {"order": "Press", "side": "sdes"},
        {"order": "Press", "side": "x", "digit": "1"},
        {"order": "Nothing", "side": "sdes"},
        {"order": "Press", "side": "sdes", "digit": "1", "more": 1},
        {"order": "Press", "side": "sdes", "digit": "12"},
        {"order": "Play", "side": "sdes", "prompt": {"tone": "hum"}},
        {"order": "Play", "side": "sdes", "prompt": {"path": "x"}, "repeat": 0},
        {"order": "Record", "path": "x", "max_seconds": 0},
        {"order": "Record", "path": ""},
        {"order": "Record", "path": "/"},
        {"order": "Record", "path": "a\0b"},
        {"order": "Collect", "side": "sdes", "most": 0},
        {"order": "Listen", "side": "sdes", "interval": 0.01},
    ],
)
def test_what_is_no_order_is_a_control_error(message: dict[str, object]) -> None:
    with pytest.raises(ControlError):
        order_from_json(message)


def test_settings_survive_the_channel() -> None:
    settings = SessionSettings(codecs=("pcmu",), suites=("AEAD_AES_128_GCM",), connect_timeout=3.5)
    settings = replace(settings, digits_in_media=False)
    (read,) = Unframer().feed(frame(settings_to_json(settings)))
    assert settings_from_json(read) == settings


@given(
    st.lists(st.dictionaries(st.text(), st.text() | st.integers(), max_size=3), max_size=6),
    st.integers(1, 50),
)
def test_messages_are_cut_anywhere(messages: list[dict[str, object]], size: int) -> None:
    data = b"".join(frame(m) for m in messages)
    unframer = Unframer()
    read = [m for i in range(0, len(data), size) for m in unframer.feed(data[i : i + size])]
    assert read == messages


@pytest.mark.parametrize(
    "data", [b"\xff\xff\xff\xff", b"\0\0\0\1{", b"\0\0\0\2[]", b"\0\0\0\1\xff"]
)
def test_what_is_no_message_is_a_control_error(data: bytes) -> None:
    with pytest.raises(ControlError):
        list(Unframer().feed(data))


def test_a_message_too_long_is_not_written() -> None:
    with pytest.raises(ValueError, match="message of"):
        frame({"sdp": "x" * MAX_MESSAGE})
