"""A stream is cut into the same frames however it arrives."""

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.framing import MAX_MESSAGE, Broken, Frame, Framer, Malformed, Ping, frame_datagram
from sip.message import Request, Response
from tests.sip.test_message import GOOD

BROKEN = GOOD.replace(b"Max-Forwards: 70", b"Max-Forwards: none")
NO_BODY = GOOD.replace(b"Content-Length: 5\r\n\r\nhello", b"\r\n")
PONG = b"\r\n"

pieces = st.lists(st.sampled_from([GOOD, BROKEN, NO_BODY, PONG, PONG * 2]), max_size=6)


def feed(data: bytes, cuts: list[int]) -> list[str]:
    framer = Framer()
    frames: list[Frame] = []
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for start, end in itertools.pairwise(edges):
        frames += framer.feed(data[start:end])
    return [repr(bytes(f)) if isinstance(f, Request) else type(f).__name__ for f in frames]


@given(pieces, st.lists(st.integers(0, 2500), max_size=12))
def test_chunks_do_not_matter(stream: list[bytes], cuts: list[int]) -> None:
    data = b"".join(stream)
    assert feed(data, cuts) == feed(data, [])


@given(st.lists(st.binary(max_size=60), max_size=8))
def test_any_stream_is_frames_or_a_lost_flow(chunks: list[bytes]) -> None:
    framer = Framer()
    kinds = [type(frame) for chunk in chunks for frame in framer.feed(chunk)]
    assert Broken not in kinds[:-1]


def test_messages_and_keepalives_are_told_apart() -> None:
    frames = Framer().feed(PONG * 2 + GOOD + PONG + GOOD + PONG * 4)
    kinds = [type(frame) for frame in frames]
    assert kinds == [Ping, Request, Request, Ping, Ping]


def test_a_malformed_request_leaves_the_stream_and_can_be_answered() -> None:
    malformed, good = Framer().feed(BROKEN + GOOD)
    assert isinstance(malformed, Malformed)
    assert malformed.error.status == 400
    assert malformed.request is not None
    assert malformed.request.method == "INVITE"
    assert malformed.request.headers.call_id == "c1"
    assert malformed.request.headers.get("CSeq") == "7 INVITE"
    assert isinstance(good, Request)


@pytest.mark.parametrize(
    "data",
    [
        GOOD.replace(b"INVITE sip:bob@example.net SIP/2.0", b"SIP/2.0 999 Odd"),
        GOOD.replace(b"Via: ", b"X-Via: "),
    ],
)
def test_what_cannot_be_answered_says_so(data: bytes) -> None:
    (frame,) = Framer().feed(data)
    assert isinstance(frame, Malformed)
    assert frame.request is None


def test_a_message_that_is_not_whole_is_waited_for() -> None:
    framer = Framer()
    waiting: list[bool] = []
    for part in (PONG, GOOD[:5], GOOD[5:-1], GOOD[-1:]):
        framer.feed(part)
        waiting.append(framer.waiting)
    assert waiting == [False, True, True, False]


@pytest.mark.parametrize("line", [b"Content-Length: 5\r\n", b"l :5\r\n", b"L:\r\n 5\r\n"])
def test_a_broken_header_ends_where_its_length_says(line: bytes) -> None:
    broken = BROKEN.replace(b"Max-Forwards: none", b"no field")
    malformed, good = Framer().feed(broken.replace(b"Content-Length: 5\r\n", line) + GOOD)
    assert isinstance(malformed, Malformed)
    assert isinstance(good, Request)


def test_a_broken_header_without_end_of_vias_is_not_answered() -> None:
    data = BROKEN.replace(b"Max-Forwards: none", b"no field" + b"\r\nv: x" * 9000)
    malformed, good = Framer().feed(data + GOOD)
    assert isinstance(malformed, Malformed)
    assert malformed.request is None
    assert isinstance(good, Request)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Call-ID: c1", b"Call-ID 1"),
        (b"To: <sip:bob@example.net>\r\n", b""),
        (b"From: <sip:alice", b'From: "Alice <sip:alice'),
    ],
)
def test_the_way_back_is_all_that_an_answer_needs(old: bytes, new: bytes) -> None:
    (frame,) = Framer().feed(GOOD.replace(old, new))
    assert isinstance(frame, Malformed)
    assert frame.request is not None
    assert frame.request.headers.via.branch == "z9hG4bK1"


def test_an_unreadable_method_is_still_answered() -> None:
    (frame,) = Framer().feed(GOOD.replace(b"INVITE sip:bob", b"IN(VITE sip:bob"))
    assert isinstance(frame, Malformed)
    assert frame.request is not None


@pytest.mark.parametrize(
    "length", [b"-5", b"five", b"5, 5", b"99999999999", b"5\r\nContent-Length: 6", b"5\r\nl: 7"]
)
def test_without_a_trusted_length_the_flow_is_lost(length: bytes) -> None:
    framer = Framer()
    before, broken = framer.feed(
        GOOD + GOOD.replace(b"Content-Length: 5", b"Content-Length: " + length)
    )
    assert isinstance(before, Request)
    assert isinstance(broken, Broken)
    assert broken.request is not None
    assert broken.request.headers.call_id == "c1"
    assert framer.feed(GOOD) == []


def test_the_same_length_twice_is_a_length() -> None:
    (frame,) = Framer().feed(GOOD.replace(b"Content-Length: 5", b"Content-Length: 5\r\nl: 5"))
    assert isinstance(frame, Request)


def test_a_missing_length_is_none() -> None:
    frames = Framer().feed(NO_BODY + GOOD)
    assert [frame.body for frame in frames if isinstance(frame, Request)] == [b"", b"hello"]


def test_an_oversized_body_is_passed_over_and_answered() -> None:
    framer = Framer()
    big = GOOD.replace(b"Content-Length: 5", b"Content-Length: 100000").removesuffix(b"hello")
    (frame,) = framer.feed(big + b"x" * 10)
    assert isinstance(frame, Malformed)
    assert frame.error.status == 513
    assert frame.request is not None
    assert framer.feed(b"x" * 99_989) == []
    (after,) = framer.feed(b"x" + GOOD)
    assert isinstance(after, Request)


def test_an_endless_header_loses_the_flow() -> None:
    framer = Framer()
    for _ in range(60):
        framer.feed(b"X-Filler: 1234567\r\n" * 55)
    (broken,) = framer.feed(b"X-Filler: 1234567\r\n" * 550)
    assert isinstance(broken, Broken)
    assert broken.error.status == 513
    (broken,) = Framer().feed(b"INVITE x\r\n" + b"A: b\r\n" * MAX_MESSAGE + b"\r\n")
    assert isinstance(broken, Broken)


@pytest.mark.parametrize("data", [b"\n\n", b"\rX"])
def test_half_a_line_end_loses_the_flow(data: bytes) -> None:
    (broken,) = Framer().feed(data)
    assert isinstance(broken, Broken)


def test_byte_by_byte_costs_no_more_than_its_length() -> None:
    message = GOOD.replace(b"Max-Forwards", b"X-Filler: " + b"y" * 50_000 + b"\r\nMax-Forwards")
    framer, frames = Framer(), 0
    began = time.perf_counter()
    for byte in message:
        frames += len(framer.feed(bytes((byte,))))
    assert frames == 1
    assert time.perf_counter() - began < 2  # searching anew each time would be 1.2 GB of bytes


def test_datagrams() -> None:
    assert isinstance(frame_datagram(GOOD), Request)
    assert isinstance(frame_datagram(PONG + GOOD), Request)
    response = GOOD.replace(b"INVITE sip:bob@example.net SIP/2.0", b"SIP/2.0 200 OK")
    assert isinstance(frame_datagram(response), Response)
    (whole,) = [frame_datagram(GOOD.replace(b"Content-Length: 5\r\n", b""))]
    assert isinstance(whole, Request)
    assert whole.body == b"hello"
    for keepalive in (b"", PONG * 2, b"\x00\x00\x00\x00"):
        assert frame_datagram(keepalive) is None
    short = frame_datagram(GOOD[:-1])
    assert isinstance(short, Malformed)
    assert short.request is not None
    assert isinstance(frame_datagram(b"INVITE sip:x SIP/2.0\r\n"), Malformed)
