"""A network in virtual time for ICE agents: delay, jitter, loss, NATs, cut paths, and an attacker's
spray.

`World.run` always goes to the earliest of: the next delivery, each agent's deadline, each scripted
action. The drain law (empty `poll()` after every input) is kept in one place, `Peer._carry_out`.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from media.ice.agent import IceAgent
from media.ice.events import (
    CandidateFound,
    CloseStream,
    Connected,
    Disconnected,
    Failed,
    GatheringDone,
    IceOutput,
    OpenStream,
    Transmit,
)

Address = tuple[str, int]


@dataclass
class Nat:
    """Endpoint-independent mapping of private addresses to one public address."""

    public: str
    mappings: dict[Address, int] = field(default_factory=dict)
    next_port: int = 30000

    def out(self, source: Address) -> Address:
        if source not in self.mappings:
            self.mappings[source] = self.next_port
            self.next_port += 1
        return self.public, self.mappings[source]

    def into(self, port: int) -> Address | None:
        return next((inner for inner, outer in self.mappings.items() if outer == port), None)

    def rebind(self) -> None:
        """Forget all mappings, as after a restart of the router."""
        self.mappings.clear()


class World:
    """The wires, and the clock."""

    def __init__(
        self, *, seed: int = 1, delay: float = 0.01, jitter: float = 0.0, loss: float = 0.0
    ) -> None:
        self.now = 1000.0
        self.chance = random.Random(seed)
        self.delay, self.jitter, self.loss = delay, jitter, loss
        self.lose: Callable[[Address, Address, bytes], bool] = lambda source, to, data: False
        self.hosts: dict[Address, Callable[[bytes, Address, Address], None]] = {}
        self.nats: dict[str, Nat] = {}
        self.behind: dict[str, Nat] = {}
        self.peers: list[Peer] = []
        self.sent = 0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0

    def at(self, when: float, action: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._queue, (when, self._order, action))

    def send(self, source: Address, to: Address, data: bytes) -> None:
        self.sent += 1
        nat = self.behind.get(source[0])
        if nat is not None and to[0] not in self.behind:
            source = nat.out(source)
        if self.lose(source, to, data) or self.chance.random() < self.loss:
            return
        delay = self.delay + self.chance.random() * self.jitter
        self.at(self.now + delay, lambda: self._deliver(source, to, data))

    def _deliver(self, source: Address, to: Address, data: bytes) -> None:
        nat = self.nats.get(to[0])
        if nat is not None:
            inner = nat.into(to[1])
            if inner is None:
                return
            to = inner
        receive = self.hosts.get(to)
        if receive is not None:
            receive(data, source, to)

    def run(self, seconds: float, *, until: Callable[[], bool] = lambda: False) -> None:
        """Let time pass, up to `seconds`, or until something holds."""
        end = self.now + seconds
        while not until():
            due = [(self._queue[0][0], None)] if self._queue else []
            times: list[tuple[float, Any]] = list(due)
            for peer in self.peers:
                deadline = peer.agent.deadline()
                if deadline is not None:
                    times.append((deadline, peer))
            when, who = min(times, key=lambda each: each[0], default=(end + 1, None))
            if when > end:
                self.now = end
                return
            self.now = max(self.now, when)
            if who is None:
                heapq.heappop(self._queue)[2]()
            else:
                who.agent.handle_timer(self.now)
                who.carry_out()


class Peer:
    """One agent with its sockets; collects what happens, trickles candidates to `other`."""

    def __init__(self, world: World, *, controlling: bool, addresses: tuple[str, ...]) -> None:
        self.world = world
        self.agent = IceAgent(controlling=controlling, random=world.chance.randbytes, now=world.now)
        self.other: Peer | None = None
        self.trickle_delay = 0.05
        self.tells = True
        self.events: list[IceOutput] = []
        self.received: list[bytes] = []
        self.streams: dict[int, OpenStream] = {}
        self.open_stream: Callable[[Peer, OpenStream], Any] | None = None
        self.write_stream: Callable[[Peer, int, bytes], None] | None = None
        self.sockets: dict[int, Address] = {}
        world.peers.append(self)
        for address in addresses:
            self.add_socket(address)

    def add_socket(self, address: str, port: int = 5000) -> None:
        number = len(self.sockets)
        self.sockets[number] = (address, port)
        self.world.hosts[address, port] = self._receive
        self.agent.add_socket(number, address, port)
        self.carry_out()

    def _receive(self, data: bytes, source: Address, to: Address) -> None:
        number = next(number for number, own in self.sockets.items() if own == to)
        payload = self.agent.receive(data, source, number, self.world.now)
        if payload is not None:
            self.received.append(payload)
        self.carry_out()

    def send(self, data: bytes) -> bool:
        transmit = self.agent.send(data, self.world.now)
        if transmit is not None:
            self._transmit(transmit)
        return transmit is not None

    def _transmit(self, transmit: Transmit) -> None:
        if transmit.socket < 0:
            assert self.write_stream is not None
            self.write_stream(self, transmit.socket, transmit.data)
        else:
            self.world.send(self.sockets[transmit.socket], transmit.destination, transmit.data)

    def carry_out(self) -> None:
        for output in self.agent.poll():
            match output:
                case Transmit():
                    self._transmit(output)
                case OpenStream():
                    assert self.open_stream is not None
                    self.streams[output.socket] = output
                    self.open_stream(self, output)
                case CloseStream():
                    self.streams.pop(output.socket)
                case CandidateFound(candidate):
                    self.events.append(output)
                    if self.tells:
                        self.tell(str(candidate))
                case _:
                    self.events.append(output)

    def tell(self, candidate: str) -> None:
        def arrive() -> None:
            if self.other is not None:
                self.other.agent.add_remote(candidate, self.world.now)
                self.other.carry_out()

        self.world.at(self.world.now + self.trickle_delay, arrive)

    def describe(self, delay: float = 0.05) -> None:
        """Send credentials to the other side, as an offer or answer does, then all candidates known
        so far."""
        local = self.agent.local

        def arrive() -> None:
            assert self.other is not None
            self.other.agent.set_remote(local.ufrag, local.pwd, self.world.now)
            self.other.carry_out()

        self.world.at(self.world.now + delay, arrive)

    def renew(self) -> None:
        """The candidates once more, after a restart."""
        for candidate in self.agent.local_candidates():
            self.tell(str(candidate))

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def connected(self) -> bool:
        states = [
            event for event in self.events if isinstance(event, Connected | Disconnected | Failed)
        ]
        return bool(states) and isinstance(states[-1], Connected)

    @property
    def gathered(self) -> bool:
        return bool(self.of(GatheringDone))


def pair(
    world: World,
    left: tuple[str, ...] = ("192.0.2.1",),
    right: tuple[str, ...] = ("198.51.100.1",),
    *,
    roles: tuple[bool, bool] = (True, False),
) -> tuple[Peer, Peer]:
    """Two peers that know of each other and have not exchanged descriptions yet."""
    a = Peer(world, controlling=roles[0], addresses=left)
    b = Peer(world, controlling=roles[1], addresses=right)
    a.other, b.other = b, a
    return a, b


def describe(world: World, a: Peer, b: Peer) -> None:
    """Offer and answer: `b` hears first."""
    a.describe(0.05)
    b.describe(0.1)


def both(a: Peer, b: Peer) -> Callable[[], bool]:
    return lambda: a.connected and b.connected


def talk(world: World, a: Peer, b: Peer) -> None:
    """Assert that RTP passes in both directions now."""
    world.run(0.2)
    left, right = b"\x80left" + world.chance.randbytes(4), b"\x80right" + world.chance.randbytes(4)
    assert a.send(left)
    assert b.send(right)
    world.run(0.5)
    assert left in b.received
    assert right in a.received
