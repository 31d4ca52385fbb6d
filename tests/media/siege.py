"""Strangers against a call that is up, in virtual time: forgeries, replays, and how much they cost.

Each function plays a siege as large as it is told and returns what came of it. Unit tests play
small ones; `python -m tests.bench.strangers` plays those of the project's bars.
"""

import os
import random
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass

from media import crypto
from media.ice import stun
from media.ice.events import Transmit
from media.negotiate import read_webrtc
from media.plane import (
    Closed,
    Failed,
    Side,
)
from media.rtcp import Goodbye
from media.rtp import build
from media.sdes import SdesEnd
from media.srtp import Srtp
from media.webrtc import LocalSocket
from tests.media.forged import ALERT, forgeries
from tests.media.session_lab import BRIDGE, BROWSER, PBX, Lab

_PAUSE = 0.0001  # seconds between two forgeries
_PBX_CONTROL = (PBX[0], PBX[1] + 1)
FIRST_SEQUENCE = 100  # of a `Voice`
_MARK = b"\xd5" * 160  # what nobody who may speak says
HELLO = bytes.fromhex("16fefd0000000000000000 0040 0100003400000000 00000034fefd") + bytes(50)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a siege came to.

    Attributes:
        counted: forgeries that the report of the call tells of, as discarded or as strays.
        forwarded: forgeries that were counted as received, from either side.
        redirected: datagrams of ours that went elsewhere than to the two parties.
        ended: whether the call failed.
        bytes_kept: of memory after it, above what there was before.
        heard: packets that both parties heard of each other after it.
    """

    sent: int
    counted: int
    forwarded: int
    redirected: int
    ended: bool
    bytes_kept: int
    heard: tuple[int, int]


class _Call:
    """A call that is up and is not spoken in, with what an eavesdropper knows of it."""

    def __init__(self) -> None:
        self.lab = Lab()
        self.lab.call_out()
        self.lab.run(0.3)
        self.lab.talk(0.2)
        self.lab.run(0.1)
        self.ours = read_webrtc(self.lab.answers(Side.WEBRTC)[0].sdp)
        self.theirs = self.lab.browser.end.credentials
        self.destinations: set[tuple[str, int]] = set()
        self.chance = random.Random(7)
        self._records = [HELLO, ALERT, *forgeries(7)]

    def shoot(self, data: bytes, source: tuple[str, int], port: int) -> None:
        session = self.lab.session
        session.receive(data, source, {40000: 0, 40001: 1, 40002: 2}[port], self.lab.now)
        for output in session.poll():
            if isinstance(output, Transmit):
                self.destinations.add(output.destination)
                self.lab.put([output], (BRIDGE, port))
            else:
                self.lab.events.append(output)  # type: ignore[arg-type]  # no streams without TURN
        self.lab.run(_PAUSE)

    # --- what is shot

    def rtp(self) -> bytes:
        """The stream's own SSRC and, more often than not, its next numbers."""
        number = self.chance.choice((110, 111, 120, self.chance.randrange(65536)))
        return build(0, number, 160 * number, 77, _MARK) + self.chance.randbytes(10)

    def rtcp(self) -> bytes:
        return bytes(Goodbye((77,))) + self.chance.randbytes(14)

    def check(self) -> bytes:
        """A connectivity check with the right name, signed with a guess."""
        name = f"{self.ours.ufrag}:{self.theirs.ufrag}"
        attributes = ((stun.USERNAME, name), (stun.PRIORITY, 1), (stun.USE_CANDIDATE, None))
        key = self.chance.choice((None, b"guess"))
        transaction = self.chance.randbytes(12)
        request = stun.Message(stun.Method.BINDING, stun.Kind.REQUEST, transaction, attributes)
        return request.encode(key)

    def response(self) -> bytes:
        """An answer to a check of ours that nobody asked for: success, or a conflict of roles."""
        kind = self.chance.choice((stun.Kind.SUCCESS, stun.Kind.ERROR))
        where = ((stun.XOR_MAPPED_ADDRESS, ("203.0.113.9", 9)),)
        return stun.Message(stun.Method.BINDING, kind, self.chance.randbytes(12), where).encode(
            b"x"
        )

    def dtls(self) -> bytes:
        return self.chance.choice(self._records)

    def rubbish(self) -> bytes:
        return self.chance.randbytes(self.chance.choice((1, 12, 60, 300)))

    def finish(self) -> tuple[int, int, tuple[int, int]]:
        """Both parties speak on: how much was turned away, how much more was taken than they said,
        and what each heard."""
        lab = self.lab
        lab.browser.ear.packets.clear()
        lab.pbx.ear.packets.clear()
        lab.talk(1.0)
        lab.run(0.1)
        heard = len(lab.browser.ear.packets), len(lab.pbx.ear.packets)
        lab.session.close(lab.now)
        report = lab.of(Closed)[0].report
        said = sum(voice.sequence - FIRST_SEQUENCE for voice in lab.voices.values())
        sides = report.webrtc, report.sdes
        counted = sum(side.packets_discarded + side.strays for side in sides)
        return counted, sum(side.packets_received for side in sides) - said, heard


def forge(count: int, *, measure: bool = False) -> Outcome:
    """Forged RTP, RTCP, STUN and DTLS at every port, from elsewhere and from the parties' own
    addresses; then both speak on.

    Args:
        measure: look at memory, which takes several times longer.
    """
    call = _Call()
    lab, chance = call.lab, call.chance
    shots: list[Callable[[], bytes]] = [
        call.rtp, call.rtcp, call.check, call.response, call.dtls, call.rubbish,
    ]  # fmt: skip
    targets = [
        (40000, (PBX, ("203.0.113.9", 4711), BROWSER)),
        (40001, (_PBX_CONTROL, ("203.0.113.9", 4712))),
        (40002, (BROWSER, ("203.0.113.9", 4711), (BROWSER[0], 9), PBX)),
    ]
    if measure:
        tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(count):
        port, sources = chance.choice(targets)
        call.shoot(chance.choice(shots)(), chance.choice(sources), port)
        lab.browser.ear.packets.clear()
        lab.pbx.ear.packets.clear()
    after = tracemalloc.get_traced_memory()[0]
    if measure:
        tracemalloc.stop()
    ended = bool(lab.of(Failed))
    redirected = len(call.destinations - {BROWSER, PBX, _PBX_CONTROL})
    counted, forwarded, heard = call.finish()
    return Outcome(count, counted, forwarded, redirected, ended, after - before, heard)


@dataclass(frozen=True, slots=True)
class Replays:
    """What came of replays.

    Attributes:
        twice: packets that passed a second time.
        refused: good packets that did not pass.
    """

    captured: int
    twice: int
    refused: int


def replay(count: int, suite: str, *, first: int = 65_000) -> Replays:
    """A stream of `count` packets over its roll-overs, with a re-offer that keeps the keys at every
    tenth of it; each packet comes a second time soon, and again much later."""
    theirs = crypto.make(1, suite, os.urandom)
    ours = crypto.make(1, suite, os.urandom)
    end = SdesEnd(rtp=LocalSocket(0, "", 4000), rtcp=LocalSocket(1, "", 4001))
    peer = Srtp(suite, theirs.key, ours.key)
    captured: list[bytes] = []
    twice = refused = 0
    for number in range(count):
        if number % max(1, count // 10) == 0:
            end.set_keys(ours, theirs)
            end.set_remote(*PBX, PBX[1] + 1)
        sequence = first + number
        secret = peer.protect(build(0, sequence & 0xFFFF, 160 * number & 0xFFFFFFFF, 7, b"x" * 20))
        assert secret is not None
        refused += end.receive(secret, PBX, 0) is None
        captured.append(secret)
        for old in (number - 3, number - 1000, number - 65_536):
            if old >= 0:
                twice += end.receive(captured[old], PBX, 0) is not None
    return Replays(count, twice, refused)
