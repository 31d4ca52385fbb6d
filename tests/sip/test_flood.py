"""A flood of INVITEs on one flow: nothing grows for long, and a good call gets through.

Virtual time and hand-made bytes; `make flood` does it for a minute over real sockets.
"""

import gc
import tracemalloc
from collections.abc import Callable
from functools import _lru_cache_wrapper
from pathlib import Path

import pytest

import sip
from sip.agent import Flow, UserAgent
from sip.events import IncomingSession, Send, SessionEnded
from sip.framing import Framer
from sip.message import Request, Response
from sip.session import Session
from sip.trunk import Trunk
from tests.sip.world import CountingIds

SIP = Path(sip.__file__).parent
CACHES = [
    found
    for found in gc.get_objects()
    if isinstance(found, _lru_cache_wrapper) and found.__module__.startswith("sip.")
]
RATE = 200
SECONDS = 4

INVITE = b"""INVITE sip:{user}@198.51.100.1:40001;transport=tls SIP/2.0\r
Via: SIP/2.0/TLS 192.0.2.9:5061;rport;branch=z9hG4bK{n}\r
Max-Forwards: 70\r
From: <sip:+15550100@example.net>;tag=from{n}\r
To: <sip:{user}@example.net>\r
Call-ID: {n}@192.0.2.9\r
CSeq: 1 INVITE\r
Contact: <sip:192.0.2.9:5061;transport=tls>\r
Content-Type: application/sdp\r
Content-Length: 5\r
\r
v=0\r
"""


class Victim:
    """A phone on whose line everything comes at once."""

    def __init__(self, take: Callable[[Session, float], None]) -> None:
        self.now = 1000.0
        self.statuses: list[int] = []
        self.rang: list[str] = []
        self.ended = 0
        self._take = take
        self._framer = Framer()
        trunk = Trunk(name="t", domain="example.net", username="us", password="x", register=False)
        self.agent = UserAgent(trunk, ids=CountingIds("us"))
        self.agent.flow_opened(Flow(1, "TLS", "198.51.100.1", 40001), self.now)

    def receive(self, data: bytes) -> None:
        for frame in self._framer.feed(data):
            assert isinstance(frame, Request)
            self.agent.receive(frame, 1, self.now)
            self._pump()

    def wait(self, seconds: float) -> None:
        until = self.now + seconds
        while (at := self.agent.deadline()) is not None and at <= until:
            self.now = max(self.now, at)
            self.agent.handle_timer(self.now)
            self._pump()
        self.now = until

    def _pump(self) -> None:
        while outputs := self.agent.poll():
            for output in outputs:
                match output:
                    case Send(message=Response(status=status)):
                        self.statuses.append(status)
                        if status == 180:
                            self.rang.append(output.message.headers.call_id)
                    case IncomingSession(session=session, target=target):
                        if target.user == "good":
                            session.ring(now=self.now)
                        else:
                            self._take(session, self.now)
                    case SessionEnded():
                        self.ended += 1
                    case _:
                        pass

    def flood(self, first: int = 0) -> None:
        for n in range(first, first + RATE * SECONDS):
            self.receive(invite(n, "nobody"))
            self.wait(1 / RATE)


def invite(n: int, user: str) -> bytes:
    return INVITE.replace(b"{n}", b"%d" % n).replace(b"{user}", user.encode())


def refuse(session: Session, now: float) -> None:
    session.reject(404, now=now)


def ring(session: Session, now: float) -> None:
    session.ring(now=now)


def test_a_good_call_rings_in_a_flood_of_calls_that_are_refused() -> None:
    """The refused ones are never acknowledged: each lingers for half a minute."""
    victim = Victim(refuse)
    victim.flood()
    victim.receive(invite(999_999, "good"))
    assert victim.rang == ["999999@192.0.2.9"]
    assert victim.ended == RATE * SECONDS


def test_a_flood_of_ringing_calls_stops_at_the_limit_of_a_flow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    victim = Victim(ring)
    victim.flood()
    assert len(victim.agent.sessions) == 500
    assert victim.statuses.count(503) == RATE * SECONDS - 500
    victim.wait(700)
    assert victim.agent.sessions == []
    victim.receive(invite(999_999, "good"))
    assert victim.rang[-1] == "999999@192.0.2.9"


@pytest.mark.parametrize("take", [refuse, ring])
def test_after_a_flood_memory_is_where_it_was(take: Callable[[Session, float], None]) -> None:
    victim = Victim(take)
    tracemalloc.start()
    try:
        expect_to_forget(victim)
    finally:
        tracemalloc.stop()


def expect_to_forget(victim: Victim) -> None:
    def flood(first: int) -> None:
        for n in range(first, first + 100):
            victim.receive(invite(n, "nobody"))
            victim.wait(1 / RATE)

    def memory() -> tracemalloc.Snapshot:
        """What `sip` holds but for addresses that it remembers, which have a bound of their own;
        the runner of the tests has memory too."""
        for cache in CACHES:
            assert cache.cache_info().maxsize
            cache.cache_clear()
        gc.collect()
        ours = tracemalloc.Filter(True, str(SIP / "*"))
        return tracemalloc.take_snapshot().filter_traces([ours])

    def forget() -> None:
        victim.wait(700)
        victim.statuses.clear()
        victim.rang.clear()

    flood(20_000)  # what is made once for all is made, tables have their size
    forget()
    before = memory()
    flood(10_000)
    during = memory()
    forget()
    after = memory()
    assert victim.agent.transactions == 0
    assert victim.agent.deadline() is None
    assert size(during) - size(before) > 200_000  # it was a flood
    grown = [str(line) for line in after.compare_to(before, "lineno")[:10]]
    assert size(after) - size(before) < 50_000, "\n".join(grown)


def size(snapshot: tracemalloc.Snapshot) -> int:
    return sum(trace.size for trace in snapshot.traces)
