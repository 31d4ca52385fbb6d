"""All targets by name, those of `sip` and of `media`, and what each begins with."""

import logging
import time
from collections.abc import Iterator

from tests.fuzz import parser, plane
from tests.fuzz.line import SEEDS, sequence
from tests.fuzz.mutation import mutated
from tests.fuzz.parser import Target

SIP: dict[str, Target] = {**parser.TARGETS, "sequence": sequence}
MEDIA: dict[str, Target] = plane.TARGETS
TARGETS = SIP | MEDIA

# What plays a whole call or a whole line: many inputs in one, so that no limit of time is held.
PLAYED = ("sequence", "call", "audio", "handshake")

# No peer may hold up the loop for longer with one input (64 KiB at the most).
SLOW = 0.05

_VALUES = [
    b"sip:alice:secret@[2001:db8::1]:5061;transport=tls?a=b",
    b'"Alice \\"A\\"" <sips:a%20b@example.net;lr>;tag=x;q=0.5',
    b"SIP / 2.0 / UDP host:5060 ;branch=z9hG4bK1;received=::1;rport",
    b"4711 INVITE",
    b'Digest realm="a, b", nonce="n", algorithm=SHA-256, qop="auth,auth-int", stale=TRUE',
    b'Digest username="a", realm="b", nonce="c", uri="sip:d", response="e", nc=00000001, qop=auth',
    b"call@host;to-tag=a;from-tag=b;early-only",
    b'Q.850;cause=16;text="Normal, clearing"',
    b"eyJhIjoxfQ.eyJkZXN0Ijp7InRuIjpbIjEiXX19.c2ln;info=<https://x.example/c>;ppt=shaken",
    b'<sip:a@b?Reason=SIP%3Bcause%3D302>;index=1.2;mp=1, <sip:c@d>;index="1"',
]
# The first byte names the reader and the type (see `parser.body`).
_BODIES = [
    b"\x00--b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--b\r\n\r\ntext\r\n--b--\r\n",
    b"\x09Signal=5\r\nDuration=160\r\n",
    b"\x1bSIP/2.0 180 Ringing\r\n",
    b"\x22Messages-Waiting: yes\r\nMessage-Account: sip:a@b\r\nVoice-Message: 2/8 (0/2)\r\n",
    *(
        number + b"From: <im:a@b>\r\nNS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: x\r\n"
        b"imdn.Disposition-Notification: positive-delivery, display\r\n\r\n"
        b"Content-Type: text/plain\r\n\r\nhello"
        for number in (b"\x04", b"\x05", b"\x06")
    ),
    b'\x07<?xml version="1.0"?><imdn xmlns="urn:ietf:params:xml:ns:imdn"><message-id>1</message-id>'
    b"<delivery-notification><status><delivered/></status></delivery-notification></imdn>",
]


def seeds_of(name: str) -> list[bytes]:
    """What a run of a target begins with."""
    if name in plane.SEEDS:
        return plane.SEEDS[name]
    match name:
        case "value" | "field":
            return [bytes((number,)) + text for number, text in enumerate(_VALUES * 3)]
        case "body":
            return _BODIES
        case "stream":
            return [bytes(range(40, 48)) + data for data in SEEDS]
        case "sequence":
            return [bytes((number * 7 + step) & 255 for step in range(60)) for number in range(32)]
        case _:
            return SEEDS


def inputs(name: str, count: int, *, first: int = 0) -> Iterator[bytes]:
    """Mutations of a target's seeds: the same on every machine."""
    return mutated(seeds_of(name), count, first=first)


def time_of(target: Target, data: bytes) -> float:
    """Run a target and return its CPU time in seconds."""
    logging.disable(logging.CRITICAL)
    try:
        began = time.process_time()
        target(data)
        return time.process_time() - began
    finally:
        logging.disable(logging.NOTSET)
