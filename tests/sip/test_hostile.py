"""Input of an enemy: nothing breaks, nothing takes long, nothing stays.

Short, seeded runs of the targets in tests/fuzz, which `make fuzz` runs for as long as one likes.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.invites import survive
from tests.fuzz.line import sequence
from tests.fuzz.target import SIP as TARGETS
from tests.fuzz.target import SLOW, inputs, time_of
from tests.sip.test_message import GOOD

SIZE = 65_000

HEAD = GOOD.partition(b"Max-Forwards")[0]

# What 64 KiB of one thing is put behind, and the things: whatever a regular expression could look
# at more than once, and whatever makes many of something.
BEFORE = [
    b"", HEAD, HEAD + b"no field\r\n", HEAD + b"Contact: <sip:a@b>", HEAD + b"Reason: a",
    b"\x00sip:a", b'\x01"', b"\x01<sip:a@b>;a", b"\x02SIP/2.0/TLS a", b"\x08Digest a=",
    b"\x0bDigest a=", b"\x05;a=\"", b"\x00--b\r\n", b"\x04a: b\r\n\r\n",
    b"\x06a: b\r\n\r\n", b"\x07<imdn>", b"\x22a: b\r\n",
]  # fmt: skip
THINGS = [
    b",", b";", b'"', b"\\", b"<", b" ", b"\t", b"\r\n ", b"9", b"%41", b"%", b";a", b";a=1",
    b",a", b'\\"', b'"\\', b'a="1",', b"a;", b"<sip:a@b>,", b"v: SIP/2.0/TLS a\r\n", b"l: 5\r\n",
    b"x\r\n", b"\r\n\r\n", b"\xff", b"a.", b"[", b"&a=b",
]  # fmt: skip


@pytest.mark.parametrize("name", [name for name in TARGETS if name != "sequence"])
def test_no_input_takes_long(name: str) -> None:
    target = TARGETS[name]
    for before in BEFORE:
        for thing in THINGS:
            data = before + thing * ((SIZE - len(before) - 4) // len(thing)) + b'"\r\n\r\n'
            took = time_of(target, data)
            if took > SLOW:
                took = min(took, time_of(target, data))  # the machine may have been elsewhere
            assert took <= SLOW, (before, thing)


@pytest.mark.parametrize("name", TARGETS)
def test_no_mutation_breaks_anything(name: str) -> None:
    for data in inputs(name, 60 if name == "sequence" else 300):
        TARGETS[name](data)


@settings(max_examples=60)
@given(st.binary(min_size=4, max_size=160))
def test_no_sequence_of_messages_timers_and_wishes_breaks_the_agent(data: bytes) -> None:
    sequence(data)


def test_the_agent_survives_mutated_invites() -> None:
    survive(600)
