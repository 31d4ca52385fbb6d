"""What is laid out for a recording: everything once, in order, and a second stays a second."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.format import Format
from media.rtp import RtpPacket
from media.tape import DELAY, Piece, Tape, duration, opus_duration

PCMU = Format("pcmu", 0, 8000)
OPUS = Format("opus", 111, 48000)


def packet(number: int, *, ssrc: int = 7, first: int = 0) -> RtpPacket:
    """Its payload says which it is."""
    timestamp = (first + number * 160) & 0xFFFFFFFF
    return RtpPacket(0, number & 0xFFFF, timestamp, ssrc, bytes((number,)) * 160, False)


def numbers(pieces: list[Piece]) -> list[int | None]:
    return [piece.payload[0] if piece.payload else None for piece in pieces]


def test_packets_come_out_in_order_after_their_delay() -> None:
    tape = Tape(PCMU, 10.0)
    for number in (0, 2, 1, 3):
        tape.push(packet(number), PCMU, 10.0 + number * 0.02)
    assert tape.pull(10.0 + DELAY) == []
    assert numbers(tape.pull(10.079 + DELAY)) == [0, 1, 2, 3]


def test_what_did_not_come_is_a_gap_of_its_length() -> None:
    tape = Tape(PCMU, 10.0)
    for number in (0, 1, 5, 6):
        tape.push(packet(number), PCMU, 10.0 + number * 0.02)
    assert numbers(tape.pull(10.139 + DELAY)) == [0, 1, None, None, None, 5, 6]


def test_a_packet_that_comes_too_late_or_twice_is_left_out() -> None:
    tape = Tape(PCMU, 10.0)
    for number in (0, 1, 3, 3):
        tape.push(packet(number), PCMU, 10.0)
    assert numbers(tape.pull(10.079 + DELAY)) == [0, 1, None, 3]
    tape.push(packet(2), PCMU, 10.3)
    tape.push(packet(4), PCMU, 10.3)
    assert numbers(tape.pull(10.099 + DELAY)) == [4]


def test_silence_before_and_after_is_there() -> None:
    tape = Tape(PCMU, 10.0)
    tape.push(packet(0), PCMU, 10.1)
    pieces = tape.pull(10.199 + DELAY)
    assert numbers(pieces) == [None] * 5 + [0] + [None] * 4


@pytest.mark.parametrize(("ssrc", "first"), [(8, 0), (7, 4_000_000_000)])
def test_a_source_that_starts_anew_is_joined_when_it_arrives(ssrc: int, first: int) -> None:
    tape = Tape(PCMU, 10.0)
    for number in range(5):
        tape.push(packet(number), PCMU, 10.0 + number * 0.02)
    for number in range(5, 10):
        tape.push(packet(number, ssrc=ssrc, first=first), PCMU, 10.0 + number * 0.02)
    assert numbers(tape.pull(10.199 + DELAY)) == list(range(10))


def test_a_codec_may_change() -> None:
    tape = Tape(PCMU, 10.0)
    tape.push(packet(0), PCMU, 10.0)
    tape.push(RtpPacket(111, 1, 99, 7, b"\xf8", False), OPUS, 10.02)
    pieces = tape.pull(10.059 + DELAY)
    assert [(p.form.codec, p.payload[:1]) for p in pieces] == [
        ("pcmu", b"\0"),
        ("opus", b"\xf8"),
        ("opus", b""),
    ]


@given(st.lists(st.tuples(st.integers(0, 200), st.floats(0, 0.3)), max_size=200))
def test_a_second_stays_a_second(arrivals: list[tuple[int, float]]) -> None:
    tape = Tape(PCMU, 0.0)
    pieces: list[Piece] = []
    queue = sorted((number * 0.02 + late, number) for number, late in arrivals)
    for tick in range(250):
        now = tick * 0.02
        while queue and queue[0][0] <= now:
            tape.push(packet(queue.pop(0)[1]), PCMU, now)
        pieces += tape.pull(now)
    assert sum(p.seconds for p in pieces) == pytest.approx(249 * 0.02 - DELAY, abs=0.041)
    given_out = [n for n in numbers(pieces) if n is not None]
    assert len(given_out) <= len(set(given_out)) + len(arrivals)


def test_packets_without_end_are_bounded() -> None:
    tape = Tape(PCMU, 0.0)
    for number in range(2000):
        tape.push(packet(number % 256), PCMU, 0.0)
    assert len(tape._waiting) <= 256


@pytest.mark.parametrize(
    ("payload", "milliseconds"),
    [
        ("", 0), ("00", 10), ("08", 20), ("10", 40), ("18", 60), ("48", 20), ("60", 10), ("68", 20),
        ("80", 2.5), ("98", 20), ("f8", 20), ("f9", 40), ("fa", 40), ("fb03", 60), ("fb", 0),
        ("fb07", 0), ("1b02", 120),
    ],
)  # fmt: skip
def test_an_opus_packet_says_how_long_it_is(payload: str, milliseconds: float) -> None:
    assert opus_duration(bytes.fromhex(payload)) == milliseconds / 1000


def test_others_are_as_long_as_they_are() -> None:
    assert duration(PCMU, bytes(160)) == 0.02
    assert duration(Format("g722", 9, 8000), bytes(240)) == 0.03
