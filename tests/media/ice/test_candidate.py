"""Candidates as Chromium, nheko and others write them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.ice.candidate import Candidate, foundation, pair_priority, priority

CHROMIUM = (
    "candidate:3257099160 1 udp 2122260223 127.0.0.1 40536 typ host generation 0 ufrag ai4U "
    "network-id 1 network-cost 50"
)
CHROMIUM_TCP = (
    "candidate:3169616128 1 tcp 1518280447 127.0.0.1 9 typ host tcptype active generation 0 "
    "ufrag ai4U network-id 1 network-cost 50"
)
NHEKO = "candidate:4 1 UDP 2015363583 fd00::2 32916 typ host"
NHEKO_TCP = "candidate:3 1 TCP 1010827519 192.0.2.2 42891 typ host tcptype passive"
REFLEXIVE = (
    "a=candidate:842163049 1 udp 1677729535 203.0.113.7 46154 typ srflx raddr 10.0.1.1 rport 46154"
)
MDNS = (
    "candidate:1 1 udp 2113937151 7f3d2b8a-9a1f-4f3c-8f0a-0d6c4f5b6a7e.local 54400 typ host "
    "generation 0"
)


def test_chromium() -> None:
    candidate = Candidate.parse(CHROMIUM)
    assert candidate == Candidate(
        "3257099160", 1, "udp", 2122260223, "127.0.0.1", 40536, "host", ufrag="ai4U"
    )
    assert Candidate.parse(CHROMIUM_TCP).tcptype == "active"


def test_nheko_writes_transports_in_capitals() -> None:
    assert Candidate.parse(NHEKO).transport == "udp"
    tcp = Candidate.parse(NHEKO_TCP)
    assert (tcp.transport, tcp.tcptype) == ("tcp", "passive")


def test_reflexive_has_a_related_address() -> None:
    candidate = Candidate.parse(REFLEXIVE)
    assert (candidate.type, candidate.related) == ("srflx", ("10.0.1.1", 46154))
    assert str(candidate) == REFLEXIVE.removeprefix("a=")


def test_mdns_name_is_kept_as_it_is() -> None:
    assert Candidate.parse(MDNS).address.endswith(".local")


def test_addresses_get_the_spelling_of_sockets() -> None:
    assert Candidate.parse("candidate:1 1 udp 1 FD00:0::2 9 typ host").address == "fd00::2"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "candidate:",
        "candidate:1 1 udp 1 192.0.2.1 9",
        "candidate:1 1 udp 1 192.0.2.1 9 typ",
        "candidate:1 1 udp 1 192.0.2.1 9 type host",
        "candidate:1 1 udp 1 192.0.2.1 9 typ strange",
        "candidate:1 1 udp 4294967296 192.0.2.1 9 typ host",
        "candidate:1 1 udp 1 192.0.2.1 65536 typ host",
        "candidate:1 1 udp -1 192.0.2.1 9 typ host",
        "candidate:1 1 udp ² 192.0.2.1 9 typ host",
        "candidate:1 257 udp 1 192.0.2.1 9 typ host",
        "candidate:1! 1 udp 1 192.0.2.1 9 typ host",
        "candidate:1 1 udp 1 192.0.2.1  9 typ host",
        "candidate:1 1 udp 1 192.0.2.1 9 typ host\r\na=evil",
        "candidate:1 1 udp 1 192.0.2.1 9 typ srflx raddr 10.0.0.1 rport x",
        "candidate:" + "1" * 33 + " 1 udp 1 192.0.2.1 9 typ host",
    ],
)
def test_rubbish_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # the message is for people
        Candidate.parse(text)


_words = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=20)


@settings(max_examples=200, deadline=None)
@given(
    st.builds(
        Candidate,
        foundation=st.from_regex(r"[A-Za-z0-9+/]{1,32}", fullmatch=True),
        component=st.integers(0, 256),
        transport=st.sampled_from(["udp", "tcp"]),
        priority=st.integers(0, 2**32 - 1),
        address=st.ip_addresses().map(str),
        port=st.integers(0, 65535),
        type=st.sampled_from(["host", "srflx", "prflx", "relay"]),
        related=st.one_of(st.none(), st.tuples(st.ip_addresses().map(str), st.integers(0, 65535))),
        tcptype=st.one_of(st.none(), st.sampled_from(["active", "passive", "so"])),
        ufrag=st.one_of(st.none(), _words),
    )
)
def test_what_is_written_is_read(candidate: Candidate) -> None:
    assert Candidate.parse(str(candidate)) == candidate


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=100), st.lists(_words, max_size=14).map(" ".join)))
def test_any_text_is_a_candidate_or_a_value_error(text: str) -> None:
    try:
        Candidate.parse("candidate:1 1 udp 1 192.0.2.1 9 typ host " + text)
        Candidate.parse(text)
    except ValueError:
        pass


def test_priorities_follow_the_formulas() -> None:
    assert priority("host", 65535) == 2130706431
    assert priority("relay", 0, component=2) == 254
    assert pair_priority(3, 2) == (2 << 32) + 7
    assert pair_priority(2, 3) == (2 << 32) + 6


def test_foundations_tell_what_they_should() -> None:
    same = foundation("srflx", "192.0.2.1", "203.0.113.1")
    assert same == foundation("srflx", "192.0.2.1", "203.0.113.1")
    others = {
        foundation("relay", "192.0.2.1", "203.0.113.1"),
        foundation("srflx", "192.0.2.2", "203.0.113.1"),
        foundation("srflx", "192.0.2.1", "203.0.113.2"),
        foundation("srflx", "192.0.2.1", "203.0.113.1", "tcp"),
    }
    assert len(others | {same}) == 5
