"""ICE and DTLS together under fire: bar B8, in virtual time.

The stock Python library connects none of these calls: it hands DTLS whatever reaches its port.
"""

import os
import tracemalloc
from collections.abc import Iterable

import pytest

from media.dtls import Certificate, DtlsConnected, DtlsFailed, DtlsTransport
from media.ice.agent import IceAgent
from media.ice.events import Connected, Transmit
from tests.media.ice.world import Peer, World, both, describe, pair, talk

LEFT, RIGHT = Certificate.generate(), Certificate.generate()
ALERT = b"\x15\xfe\xfd" + bytes(8) + b"\x00\x02\x02\x28"


class End:
    """A peer with DTLS on top, wired as a session does it."""

    def __init__(self, peer: Peer, transport: DtlsTransport) -> None:
        self.peer, self.transport = peer, transport
        self.events: list[object] = []
        self.started = False

    def step(self) -> None:
        now = self.peer.world.now
        if not self.started and self.peer.of(Connected):
            self.started = True
            self.transport.start(now)
        for payload in self.peer.received:
            self.transport.receive(payload, now)
        self.peer.received.clear()
        deadline = self.transport.deadline()
        if deadline is not None and deadline <= now:
            self.transport.handle_timer(now)
        for output in self.transport.poll():
            if isinstance(output, bytes):
                self.peer.send(output)
            else:
                self.events.append(output)


def call(seed: int) -> tuple[World, Peer, Peer, tuple[End, End]]:
    world = World(seed=seed, delay=0.02, jitter=0.02)
    a, b = pair(world)
    client = DtlsTransport(LEFT, client=True, fingerprints=[("sha-256", RIGHT.fingerprint)])
    server = DtlsTransport(RIGHT, client=False, fingerprints=[("sha-256", LEFT.fingerprint)])
    return world, a, b, (End(a, client), End(b, server))


@pytest.mark.parametrize("seed", range(10))
def test_every_call_connects_while_strangers_shoot(seed: int) -> None:
    world, a, b, ends = call(seed)
    stranger = DtlsTransport(
        Certificate.generate(), client=True, fingerprints=[("sha-256", RIGHT.fingerprint)]
    )
    stranger.start(0.0)
    hello = next(each for each in stranger.poll() if isinstance(each, bytes))

    def shoot() -> None:
        data = world.chance.choice([hello, ALERT, world.chance.randbytes(300)])
        source = world.chance.choice(["203.0.113.7", "192.0.2.1", "198.51.100.1"])
        for victim in (a, b):
            # Also from the peers' own hosts, but not from their ports.
            world.send((source, world.chance.randrange(6000, 65536)), victim.sockets[0], data)
        world.at(world.now + 0.005, shoot)

    shoot()
    describe(world, a, b)
    for _ in range(200):
        world.run(0.005)
        for end in ends:
            end.step()
    for end in ends:
        assert [type(event) for event in end.events] == [DtlsConnected]
        assert not any(isinstance(event, DtlsFailed) for event in end.events)


def test_a_hundred_thousand_strays_leave_nothing_behind() -> None:
    world = World()
    a, b = pair(world)
    describe(world, a, b)
    world.run(1)
    spray = [ALERT + world.chance.randbytes(100) for _ in range(100)]
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(100_000):
        source = f"203.0.113.{number % 250}", 1024 + number % 60_000
        a.agent.receive(spray[number % 100], source, 0, world.now)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 50_000
    assert a.agent.counters.stray == 100_000


VICTIM = "203.0.113.66"


def _aimed(
    agent: IceAgent, targets: Iterable[tuple[str, int]], now: float, seconds: float
) -> list[Transmit]:
    """What an agent sends in so many seconds at the peer's word: no one answers."""
    for address, port in targets:
        agent.add_remote(f"candidate:1 1 udp 2113937151 {address} {port} typ host", now)
    sent: list[Transmit] = []
    until = now + seconds
    while True:
        sent += [each for each in agent.poll() if isinstance(each, Transmit)]
        at = agent.deadline()
        if at is None or at > until:
            return sent
        now = max(now, at)
        agent.handle_timer(now)


def _agent(*addresses: str) -> IceAgent:
    agent = IceAgent(controlling=True, random=os.urandom, now=0.0)
    for number, address in enumerate(addresses):
        agent.add_socket(number, address, 5000)
    return agent


@pytest.mark.parametrize(
    "target", ["127.0.0.1", "127.9.9.9", "169.254.169.254", "::1", "::ffff:127.0.0.1", "fe80::1",
               "2001:db8::9%eth0", "0.0.0.0", "255.255.255.255", "224.0.0.1", "ff02::1"],
)  # fmt: skip
def test_a_peer_has_us_send_nothing_to_our_own_host_or_link(target: str) -> None:
    """Services of the machine and of its cloud listen there, and trust whoever reaches them."""
    agent = _agent("192.0.2.1", "2001:db8::1")
    agent.set_remote("ufrag", "password-of-the-peer-01", 0.0)
    assert not _aimed(agent, [(target, 53)], 0.0, 30.0)


def test_on_the_loopback_peers_reach_each_other() -> None:
    agent = _agent("127.0.0.1")
    agent.set_remote("ufrag", "password-of-the-peer-01", 0.0)
    assert _aimed(agent, [("127.0.0.1", 53)], 0.0, 1.0)


@pytest.mark.parametrize(
    ("ours", "theirs"), [("127.0.0.1", "192.0.2.9"), ("192.0.2.1", "127.0.0.1")]
)
def test_who_shows_the_password_is_answered_wherever_he_is(ours: str, theirs: str) -> None:
    """A browser on our machine may check one of our addresses from any of its own."""
    world = World()
    a, b = pair(world, (ours,), (theirs,))
    describe(world, a, b)
    world.run(5, until=both(a, b))
    assert both(a, b)()
    talk(world, a, b)


def test_a_peer_that_names_others_has_us_send_them_little() -> None:
    """One description costs a victim a hundred checks (RFC 8445 §19.5.1); a new one each second
    costs him less than a call would."""
    agent = _agent("192.0.2.1", "198.51.100.1", "203.0.113.1")
    victims = [(VICTIM, port) for port in range(1000, 1200)]
    agent.set_remote("first", "password-of-the-peer-01", 0.0)
    burst = _aimed(agent, victims, 0.0, 30.0)
    assert len({(each.socket, each.destination) for each in burst}) <= 100
    assert len(burst) <= 700
    sent: list[int] = []
    for second in range(100, 130):
        agent.set_remote(f"again{second}", "password-of-the-peer-01", float(second))
        sent.append(len(_aimed(agent, victims, float(second), 0.999)))
    assert sum(sent) < 1200  # while what is free is used up
    assert max(sent[10:]) < 25
