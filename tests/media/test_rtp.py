import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.rtp import (
    RtpError,
    RtpPacket,
    is_rtcp,
    sequence_difference,
    timestamp_difference,
)

PLAIN = bytes.fromhex("80 80 1234 00000140 cafebabe") + b"sound"


def test_reads_a_packet() -> None:
    assert RtpPacket.parse(PLAIN) == RtpPacket(0, 0x1234, 320, 0xCAFEBABE, b"sound", True)


def test_writes_what_it_reads() -> None:
    assert bytes(RtpPacket.parse(PLAIN)) == PLAIN


@pytest.mark.parametrize(
    ("wire", "payload"),
    [
        ("80 00 0001 00000000 00000000", b""),
        ("82 00 0001 00000000 00000000 00000001 00000002 41", b"A"),  # two contributing sources
        ("90 00 0001 00000000 00000000 bede 0001 11223344 41", b"A"),  # extension
        ("90 00 0001 00000000 00000000 bede 0000 41", b"A"),  # empty extension
        ("a0 00 0001 00000000 00000000 41 00 00 03", b"A"),  # padding
        ("a0 00 0001 00000000 00000000 00 02", b""),  # nothing but padding
        ("b1 00 0001 00000000 00000000 00000001 bede 0001 11223344 41 01", b"A"),
    ],
)
def test_finds_the_payload(wire: str, payload: bytes) -> None:
    assert RtpPacket.parse(bytes.fromhex(wire)).payload == payload


@pytest.mark.parametrize(
    "wire",
    [
        "",
        "80 00 0001 00000000 000000",  # a byte short
        "40 00 0001 00000000 00000000",  # version 1
        "c0 00 0001 00000000 00000000",  # version 3
        "8f 00 0001 00000000 00000000 00000001",  # fifteen contributing sources, one there
        "90 00 0001 00000000 00000000 bede",  # extension cut short
        "90 00 0001 00000000 00000000 bede 0002 11223344",  # longer than the packet
        "a0 00 0001 00000000 00000000 41 00",  # padding of 0
        "a0 00 0001 00000000 00000000 41 09",  # more padding than packet
        "a0 00 0001 00000000 00000000",  # padding bit, and no byte to count
    ],
)
def test_refuses_what_is_no_packet(wire: str) -> None:
    with pytest.raises(RtpError):
        RtpPacket.parse(bytes.fromhex(wire))


@given(st.binary(max_size=80))
def test_any_bytes_give_a_packet_or_an_rtp_error(data: bytes) -> None:
    try:
        packet = RtpPacket.parse(data)
    except RtpError:
        return
    assert packet.payload in data
    assert RtpPacket.parse(bytes(packet)) == packet


@given(
    st.builds(
        RtpPacket,
        st.integers(0, 127),
        st.integers(0, 0xFFFF),
        st.integers(0, 0xFFFFFFFF),
        st.integers(0, 0xFFFFFFFF),
        st.binary(max_size=40),
        st.booleans(),
    )
)
def test_round_trip(packet: RtpPacket) -> None:
    assert RtpPacket.parse(bytes(packet)) == packet


@pytest.mark.parametrize(("second", "rtcp"), [(191, False), (192, True), (223, True), (224, False)])
def test_tells_rtcp_from_rtp_on_a_shared_port(second: int, rtcp: bool) -> None:
    assert is_rtcp(bytes((128, second))) is rtcp


def test_what_is_too_short_is_no_rtcp() -> None:
    assert not is_rtcp(b"\x80")


@pytest.mark.parametrize(
    ("a", "b", "difference"),
    [
        (1, 0, 1),
        (0, 1, -1),
        (0, 0xFFFF, 1),
        (0xFFFF, 0, -1),
        (0x8000, 0, -0x8000),
        (0x7FFF, 0, 0x7FFF),
    ],
)
def test_sequence_numbers_go_in_a_circle(a: int, b: int, difference: int) -> None:
    assert sequence_difference(a, b) == difference


@given(st.integers(0, 0xFFFFFFFF), st.integers(-(2**31), 2**31 - 1))
def test_timestamps_go_in_a_circle(start: int, step: int) -> None:
    assert timestamp_difference((start + step) & 0xFFFFFFFF, start) == step
