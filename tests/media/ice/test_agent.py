"""Two agents in a virtual network: paths found, kept, lost and replaced; strangers kept out."""

from functools import partial

import pytest

from media.ice import stun
from media.ice.candidate import Candidate
from media.ice.events import CandidateFound, Connected, Disconnected, Failed, Transmit
from media.ice.stun import Kind, Message, Method
from tests.media.ice.world import Address, Nat, Peer, World, both, describe, pair, talk


@pytest.mark.parametrize("roles", [(True, False), (False, True)])
def test_pair_connects_within_a_few_round_trips(roles: tuple[bool, bool]) -> None:
    world = World(delay=0.02)
    a, b = pair(world, roles=roles)
    describe(world, a, b)
    world.run(5, until=both(a, b))
    assert both(a, b)()
    # The answer is in at 0.1 s; then request, response, nomination.
    assert world.now - 1000 < 0.1 + 5 * 0.02
    assert str(a.of(Connected)[0].pair) == "udp host→host"
    talk(world, a, b)


@pytest.mark.parametrize("role", [True, False])
def test_role_conflict_is_solved(role: bool) -> None:
    world = World()
    a, b = pair(world, roles=(role, role))
    describe(world, a, b)
    world.run(5, until=both(a, b))
    assert both(a, b)()
    assert a.agent.controlling != b.agent.controlling
    talk(world, a, b)


@pytest.mark.parametrize("seed", range(20))
def test_loss_and_reordering_only_delay(seed: int) -> None:
    world = World(seed=seed, delay=0.02, jitter=0.1, loss=0.2)
    a, b = pair(world, ("192.0.2.1", "2001:db8::1"), ("198.51.100.1", "2001:db8::2"))
    describe(world, a, b)
    world.run(8, until=both(a, b))
    assert both(a, b)()
    world.loss = 0.0
    world.run(8)
    assert a.of(Connected)[-1].pair.local.address == b.of(Connected)[-1].pair.remote.address
    talk(world, a, b)


def test_first_candidate_family_is_preferred_when_all_work() -> None:
    world = World()
    a, b = pair(world, ("2001:db8::1", "192.0.2.1"), ("2001:db8::2", "198.51.100.1"))
    describe(world, a, b)
    world.run(5, until=both(a, b))
    assert a.of(Connected)[0].pair.remote.address == "2001:db8::2"
    assert b.of(Connected)[-1].pair.remote.address == "2001:db8::1"


def test_dead_address_does_not_hold_up_the_other() -> None:
    world = World()
    a, b = pair(world, ("2001:db8::1", "192.0.2.1"), ("2001:db8::2", "198.51.100.1"))
    world.lose = lambda source, to, data: ":" in to[0]
    describe(world, a, b)
    world.run(5, until=both(a, b))
    assert world.now - 1000 < 0.4
    talk(world, a, b)


def test_peer_behind_nat_becomes_peer_reflexive() -> None:
    world = World()
    nat = world.nats["203.0.113.9"] = Nat("203.0.113.9")
    world.behind["10.0.0.5"] = nat
    a, b = pair(world, ("192.0.2.1",), ("10.0.0.5",))
    describe(world, a, b)
    world.run(5, until=both(a, b))
    remote = a.of(Connected)[0].pair.remote
    assert (remote.type, remote.address) == ("prflx", "203.0.113.9")
    talk(world, a, b)


@pytest.mark.parametrize("inside_controls", [True, False])
def test_nat_rebinding_is_followed(inside_controls: bool) -> None:
    world = World()
    nat = world.nats["203.0.113.9"] = Nat("203.0.113.9")
    world.behind["10.0.0.5"] = nat
    a, b = pair(world, ("192.0.2.1",), ("10.0.0.5",), roles=(not inside_controls, inside_controls))
    describe(world, a, b)
    world.run(5, until=both(a, b))
    world.run(10)
    before = a.of(Connected)[-1].pair.remote.port
    nat.rebind()
    # Nothing tells anybody; the inside agent's next consent check shows the new address.
    start = world.now
    world.run(9, until=lambda: a.of(Connected)[-1].pair.remote.port != before)
    assert world.now - start <= 3
    talk(world, a, b)


def test_early_check_is_answered_and_followed_up() -> None:
    world = World()
    a, b = pair(world)
    a.describe(0.0)  # b knows a, and checks; a learns of b two seconds later
    b.describe(2.0)
    world.run(1.9)
    assert not a.connected
    b_to_a = b.agent.send(b"\x80early", world.now)
    assert b_to_a is not None  # a answered: the path is valid for b already
    world.run(1, until=both(a, b))
    assert world.now - 1000 < 2.2
    talk(world, a, b)


def test_payload_passes_before_nomination() -> None:
    world = World()
    a, b = pair(world, roles=(False, True))
    # The controlling side's nomination is lost for long; its ClientHello must not wait for that.
    world.lose = lambda source, to, data: (
        stun.is_message(data) and Message.parse(data).has(stun.USE_CANDIDATE)
    )
    describe(world, a, b)
    world.run(0.5)
    assert b.connected
    assert not a.connected
    assert b.send(b"\x16hello")
    world.run(0.1)
    assert a.received == [b"\x16hello"]
    assert a.send(b"\x16answer")
    world.run(0.1)
    assert b.received == [b"\x16answer"]


def test_dtls_waits_for_the_first_path_and_rtp_does_not() -> None:
    world = World()
    a, b = pair(world)
    assert not a.send(b"\x80rtp")
    for number in range(20):
        assert not a.send(b"\x16flight%d" % number)
    describe(world, a, b)
    world.run(5, until=both(a, b))
    world.run(0.1)
    assert b.received == [b"\x16flight%d" % number for number in range(8)]


def test_no_path_fails_at_the_limit() -> None:
    world = World()
    a, b = pair(world)
    world.lose = lambda source, to, data: True
    describe(world, a, b)
    world.run(0.2)
    a.agent.start_limit(world.now)
    world.run(29.5)
    assert not a.of(Failed)
    world.run(1)
    assert len(a.of(Failed)) == 1
    assert not b.of(Failed)  # its limit was never started
    assert a.agent.deadline() is None  # and nothing is tried for ever


def test_peer_that_comes_late_revives_failed_pairs() -> None:
    world = World()
    a, b = pair(world)
    world.lose = lambda source, to, data: to[0] == "198.51.100.1"
    a.describe(0.0)
    b.describe(0.0)
    world.run(60)
    world.lose = lambda source, to, data: False
    b.agent.restart(world.now)
    b.describe(0.0)  # the peer begins anew, so we do
    world.run(0.01)
    a.describe(0.0)
    a.renew()
    b.renew()
    world.run(5, until=both(a, b))
    talk(world, a, b)


def test_consent_is_checked_every_two_seconds() -> None:
    world = World()
    a, b = pair(world)
    describe(world, a, b)
    world.run(5, until=both(a, b))
    world.run(5)
    before = world.sent
    world.run(100)
    # Both sides: a request and its response every 1.6 to 2.4 s.
    assert 2 * 2 * 100 / 2.4 <= world.sent - before <= 2 * 2 * 100 / 1.6
    assert not a.of(Disconnected)
    talk(world, a, b)


def test_lost_consent_disconnects_then_fails_and_stops_sending() -> None:
    world = World()
    a, b = pair(world)
    describe(world, a, b)
    world.run(5, until=both(a, b))
    world.run(10)
    world.lose = lambda source, to, data: True
    start = world.now
    world.run(60, until=lambda: bool(a.of(Disconnected)))
    assert world.now - start <= 5
    assert a.send(b"\x80still")
    world.run(60, until=lambda: bool(a.of(Failed)))
    assert 27 <= world.now - start <= 31
    assert not a.send(b"\x80no more")
    before = world.sent
    world.run(1)
    b.agent.close(world.now)
    world.run(100)
    assert world.sent - before <= 2
    assert len(a.of(Failed)) == 1


def test_path_that_comes_back_reconnects() -> None:
    world = World()
    a, b = pair(world)
    describe(world, a, b)
    world.run(5, until=both(a, b))
    world.run(10)
    world.lose = lambda source, to, data: True
    world.run(14)
    assert a.of(Disconnected)
    world.lose = lambda source, to, data: False
    world.run(2)
    assert a.connected
    assert b.connected
    talk(world, a, b)


@pytest.mark.parametrize("roles", [(True, False), (False, True)])
def test_selected_pair_that_dies_is_replaced_by_another(roles: tuple[bool, bool]) -> None:
    world = World()
    a, b = pair(world, ("192.0.2.1", "2001:db8::1"), ("198.51.100.1", "2001:db8::2"), roles=roles)
    describe(world, a, b)
    world.run(5, until=both(a, b))
    world.run(5)
    dead = a.of(Connected)[-1].pair.remote.address
    world.lose = lambda source, to, data: (":" in to[0]) == (":" in dead)
    start = world.now
    world.run(20, until=lambda: a.of(Connected)[-1].pair.remote.address != dead)
    assert world.now - start < 9
    world.run(3)
    talk(world, a, b)


@pytest.mark.parametrize("starter", ["a", "b"])
def test_restart_twice_keeps_media_flowing_meanwhile(starter: str) -> None:
    world = World()
    a, b = pair(world)
    describe(world, a, b)
    world.run(5, until=both(a, b))
    talk(world, a, b)
    first, second = (a, b) if starter == "a" else (b, a)
    for generation in range(1, 3):
        old = first.agent.local, second.agent.local
        first.agent.restart(world.now)
        first.describe(0.3)
        first.renew()
        talk(world, a, b)  # the old pair carries on while the offer is under way
        world.run(0.05)
        assert second.agent.local != old[1]  # the peer's change made it change too
        second.describe(0.3)
        second.renew()
        talk(world, a, b)
        before = len(a.of(Connected))
        world.run(3)
        assert len(a.of(Connected)) == before
        assert len(a.of(Connected)) == len(b.of(Connected)) == 1 + generation
        assert first.agent.local != old[0]
        talk(world, a, b)
        world.run(20)
        talk(world, a, b)
    assert not a.of(Disconnected)


def test_restart_onto_a_new_address_after_the_old_one_died() -> None:
    world = World()
    a, b = pair(world)
    describe(world, a, b)
    world.run(5, until=both(a, b))
    gone: list[str] = []
    world.lose = lambda source, to, data: source[0] in gone or to[0] in gone
    for address in ("198.51.100.2", "198.51.100.3"):  # a phone changes its network, twice
        gone.append(b.sockets[len(b.sockets) - 1][0])
        b.tells = False
        b.add_socket(address)
        world.run(2)
        b.agent.restart(world.now)
        b.describe(0.1)
        b.renew()
        world.run(0.15)
        a.describe(0.1)
        a.renew()
        start = world.now
        world.run(10, until=lambda: b.of(Connected)[-1].pair.local.address == address)  # noqa: B023
        assert world.now - start < 1
        talk(world, a, b)
    assert not a.of(Failed)


def test_restart_that_the_peer_does_not_take_up_changes_nothing() -> None:
    world = World()
    a, b = pair(world)
    describe(world, a, b)
    world.run(5, until=both(a, b))
    a.agent.restart(world.now)
    b.describe(0.1)  # the same credentials again
    world.run(60)
    talk(world, a, b)
    assert not a.of(Failed)
    assert not a.of(Disconnected)


def test_answer_of_the_old_generation_is_no_restart() -> None:
    world = World()
    a, b = pair(world)
    describe(world, a, b)
    world.run(5, until=both(a, b))
    local = a.agent.local
    b.describe(0.0)
    world.run(1)
    assert a.agent.local == local


def test_offer_that_crosses_our_restart_is_not_taken_for_its_answer() -> None:
    world = World()
    a, b = pair(world)
    describe(world, a, b)
    world.run(5, until=both(a, b))
    a.agent.restart(world.now)
    ours = a.agent.local
    b.describe(0.1)  # say, a hold: with the credentials of before
    a.describe(0.3)
    a.renew()
    world.run(0.4)
    b.describe(0.1)
    b.renew()
    world.run(2)
    assert a.agent.local == ours
    assert len(a.of(Connected)) == len(b.of(Connected)) == 2
    talk(world, a, b)


def test_old_credentials_are_worth_nothing_after_a_restart() -> None:
    world = World()
    a, b = pair(world)
    describe(world, a, b)
    world.run(5, until=both(a, b))
    old = a.agent.local
    username = (stun.USERNAME, f"{old.ufrag}:{b.agent.local.ufrag}")
    message = Message(Method.BINDING, Kind.REQUEST, bytes(12), (username,))
    request = message.encode(old.pwd.encode())
    stranger = "203.0.113.1", 9
    a.agent.restart(world.now)
    a.describe()
    world.run(0.1)
    b.describe()
    b.renew()
    a.agent.receive(request, stranger, 0, world.now)
    assert a.agent.poll()  # the old pair is still in use
    world.run(3)
    world.run(5)
    a.agent.receive(request, stranger, 0, world.now)
    assert a.agent.poll() == []
    assert a.agent.counters.unauthentic == 1


def test_restart_without_an_answer_on_a_dead_path_fails_in_the_end() -> None:
    world = World()
    a, b = pair(world)
    describe(world, a, b)
    world.run(5, until=both(a, b))
    world.lose = lambda source, to, data: True
    world.run(15)
    assert a.of(Disconnected)
    a.agent.restart(world.now)
    world.run(80)
    assert len(a.of(Failed)) == 1


def test_a_check_that_overtakes_its_restart_is_not_answered() -> None:
    """Chromium stays for good with a pair of its new and our old credentials, if one answers."""
    world = World()
    a, b = pair(world)
    describe(world, a, b)
    world.run(5, until=both(a, b))
    ours = a.agent.local
    username = (stun.USERNAME, f"{ours.ufrag}:next")
    request = Message(Method.BINDING, Kind.REQUEST, bytes(12), (username,))
    a.agent.receive(request.encode(ours.pwd.encode()), ("198.51.100.7", 9), 0, world.now)
    assert a.agent.poll() == []
    world.run(5)
    talk(world, a, b)


def test_a_restart_is_taken_back_for_an_offer_of_the_peers() -> None:
    world = World()
    a, b = pair(world)
    describe(world, a, b)
    world.run(5, until=both(a, b))
    local = a.agent.local
    assert not a.agent.roll_back(world.now)
    a.agent.restart(world.now)
    assert a.agent.local != local
    assert a.agent.roll_back(world.now)
    assert a.agent.local == local
    world.run(60)
    talk(world, a, b)
    assert len(a.of(Connected)) == 1
    assert not a.of(Disconnected)


def test_a_path_that_was_given_up_may_come_back_while_a_restart_waits() -> None:
    world = World()
    a, b = pair(world)
    describe(world, a, b)
    world.run(5, until=both(a, b))
    world.lose = lambda source, to, data: True
    world.run(20)
    a.agent.restart(world.now)
    world.run(20)
    assert a.of(Failed)
    a.agent.roll_back(world.now)
    a.agent.restart(world.now)
    world.lose = lambda source, to, data: False
    a.describe(0.1)
    a.renew()
    world.run(0.2)
    b.describe(0.1)
    b.renew()
    world.run(3)
    talk(world, a, b)


# --- a peer by hand


class Hand:
    """A peer whose every check is made by the test; it answers those that come as long as it
    `answers`."""

    def __init__(self, world: World, agent: Peer, *, role: stun.Attribute[int], tie: int) -> None:
        self.world, self.victim, self.role, self.tie = world, agent, role, tie
        self.answers: set[str] = set()
        self.got: list[Message] = []
        self.delay_answers = 0.0
        agent.agent.set_remote("hand", "handhandhandhandhandhand", world.now)

    def at(self, address: str, port: int = 5000) -> Address:
        self.world.hosts[address, port] = self._receive
        self.answers.add(address)
        return address, port

    def _receive(self, data: bytes, source: Address, to: Address) -> None:
        message = Message.parse(data)
        self.got.append(message)
        if message.kind is Kind.REQUEST and to[0] in self.answers:
            attributes = ((stun.XOR_MAPPED_ADDRESS, source),)
            answer = Message(Method.BINDING, Kind.SUCCESS, message.transaction_id, attributes)
            self.world.send(to, source, answer.encode(b"handhandhandhandhandhand"))

    def check(
        self, source: Address, to: Address, *, nominate: bool = False, priority: int = 1
    ) -> None:
        local = self.victim.agent.local
        attributes = (
            (stun.USERNAME, f"{local.ufrag}:hand"),
            (stun.PRIORITY, priority),
            (self.role, self.tie),
            *(((stun.USE_CANDIDATE, None),) if nominate else ()),
        )
        transaction_id = self.world.chance.randbytes(12)
        message = Message(Method.BINDING, Kind.REQUEST, transaction_id, attributes)
        self.world.send(source, to, message.encode(local.pwd.encode()))
        self.world.run(0.1)


@pytest.mark.parametrize("controlling", [True, False])
@pytest.mark.parametrize("tie", [0, 2**64 - 1])
def test_larger_tie_breaker_controls(controlling: bool, tie: int) -> None:
    world = World()
    a = Peer(world, controlling=controlling, addresses=("192.0.2.1",))
    role = stun.ICE_CONTROLLING if controlling else stun.ICE_CONTROLLED
    hand = Hand(world, a, role=role, tie=tie)
    hand.check(hand.at("198.51.100.1"), a.sockets[0])
    ours_is_larger = tie == 0
    assert a.agent.controlling is ours_is_larger
    answer = next(each for each in hand.got if each.kind is not Kind.REQUEST)
    # Who has the larger one sends a 487 if it controls already, and takes over in silence if not.
    refused = ours_is_larger == controlling
    assert (answer.kind is Kind.ERROR) is refused
    if refused:
        assert answer.get(stun.ERROR_CODE) == (487, "Role Conflict")


def test_late_487_does_not_turn_the_role_back() -> None:
    world = World()
    a = Peer(world, controlling=True, addresses=("192.0.2.1",))
    hand = Hand(world, a, role=stun.ICE_CONTROLLING, tie=2**64 - 1)
    source = hand.at("198.51.100.1")
    hand.answers.clear()
    a.agent.add_remote("candidate:1 1 udp 1 198.51.100.1 5000 typ host", world.now)
    a.carry_out()
    world.run(0.1)
    request = hand.got[-1]
    hand.check(source, a.sockets[0])  # a gives up the role
    error = Message(
        Method.BINDING,
        Kind.ERROR,
        request.transaction_id,
        ((stun.ERROR_CODE, (487, "Role Conflict")),),
    )
    world.send(source, a.sockets[0], error.encode(b"handhandhandhandhandhand"))
    world.run(0.1)
    assert not a.agent.controlling
    assert hand.got[-1].has(stun.ICE_CONTROLLED)


def test_of_many_nominations_the_best_counts_while_it_lives() -> None:
    world = World()
    a = Peer(world, controlling=False, addresses=("192.0.2.1",))
    hand = Hand(world, a, role=stun.ICE_CONTROLLING, tie=1)
    worse, better = hand.at("198.51.100.1"), hand.at("198.51.100.2")
    hand.check(worse, a.sockets[0], nominate=True, priority=1000)
    hand.check(better, a.sockets[0], nominate=True, priority=2000)
    hand.check(worse, a.sockets[0], nominate=True, priority=1000)
    world.run(3)
    chosen = [event.pair.remote.address for event in a.of(Connected)]
    assert chosen == ["198.51.100.1", "198.51.100.2"]
    # The peer has moved on, and the better one no longer answers.
    hand.answers.remove("198.51.100.2")
    hand.check(worse, a.sockets[0], nominate=True, priority=1000)
    world.run(2.5)
    hand.check(worse, a.sockets[0], nominate=True, priority=1000)
    assert a.of(Connected)[-1].pair.remote.address == "198.51.100.1"


def test_changed_source_is_followed_soon_after_its_first_check() -> None:
    world = World()
    a = Peer(world, controlling=True, addresses=("192.0.2.1",))
    hand = Hand(world, a, role=stun.ICE_CONTROLLED, tie=1)
    hand.check(hand.at("198.51.100.1", 5000), a.sockets[0])
    assert a.connected
    hand.answers.clear()
    hand.check(hand.at("198.51.100.2", 5001), a.sockets[0])
    start = world.now
    world.run(10, until=lambda: a.of(Connected)[-1].pair.remote.port == 5001)
    assert world.now - start < 1.5


def test_authentic_checks_from_everywhere_are_bounded() -> None:
    world = World()
    a = Peer(world, controlling=False, addresses=("192.0.2.1", "192.0.2.2"))
    hand = Hand(world, a, role=stun.ICE_CONTROLLING, tie=1)
    for number in range(200):
        hand.check(hand.at("198.51.100.1", 6000 + number), a.sockets[number % 2])
    places = {(each, port) for each in (0, 1) for port in range(6000, 6200)}
    opened = [
        a.agent.receive(b"\x80rtp", ("198.51.100.1", port), socket, world.now)
        for socket, port in places
    ]
    assert sum(each is not None for each in opened) == 64


def test_early_checks_are_bounded() -> None:
    world = World()
    a = Peer(world, controlling=False, addresses=("192.0.2.1",))
    local = a.agent.local
    for number in range(100):
        message = Message(
            Method.BINDING, Kind.REQUEST, bytes(12), ((stun.USERNAME, f"{local.ufrag}:x"),)
        )
        source = "198.51.100.1", 6000 + number % 50
        a.agent.receive(message.encode(local.pwd.encode()), source, 0, world.now)
        a.carry_out()
    before = world.sent
    a.agent.set_remote("x", "y" * 24, world.now)
    a.carry_out()
    assert world.sent - before == 16


def test_pairs_are_bounded_and_the_best_are_kept() -> None:
    world = World()
    a = Peer(world, controlling=True, addresses=("192.0.2.1", "192.0.2.2", "192.0.2.3"))
    a.agent.set_remote("hand", "handhandhandhandhandhand", world.now)
    for number in range(60):  # the best come last
        candidate = f"candidate:1 1 udp {number + 1} 203.0.113.1 {1000 + number} typ host"
        a.agent.add_remote(candidate, world.now)
    pairs: set[tuple[Address, Address]] = set()

    def note(source: Address, to: Address, data: bytes) -> bool:
        pairs.add((source, to))
        return True

    world.lose = note
    a.carry_out()
    world.run(30)
    assert 100 <= len(pairs) <= 101  # the first was sent before it had to make room
    assert (("192.0.2.1", 5000), ("203.0.113.1", 1059)) in pairs


# --- strangers


def _strangers(world: World, victims: tuple[Peer, ...]) -> None:
    """200 datagrams a second from other addresses, as long as the test runs."""
    hello = b"\x16\xfe\xfd" + bytes(8) + b"\x00\x40" + bytes(64)
    alert = b"\x15\xfe\xfd" + bytes(8) + b"\x00\x02\x02\x28"
    request = Message(Method.BINDING, Kind.REQUEST, bytes(12), ((stun.USERNAME, "a:b"),))
    spray = [hello, alert, b"", b"\x00", b"\x80" + bytes(50), bytes(500), b"\x01\x01\x00\x00"]
    spray += [request.encode(b"wrong"), request.encode(), b"\xff" * 100, b"\x40\x00\x00\x04abcd"]

    def shoot() -> None:
        for victim in victims:
            source = f"203.0.113.{world.chance.randrange(255)}", world.chance.randrange(1, 65536)
            for to in victim.sockets.values():
                world.send(source, to, world.chance.choice(spray))
        world.at(world.now + 0.005, shoot)

    shoot()


def test_strangers_neither_get_in_nor_hold_anything_up() -> None:
    world = World()
    a, b = pair(world)
    _strangers(world, (a, b))
    world.run(0.5)
    describe(world, a, b)
    world.run(5, until=both(a, b))
    assert world.now - 1000.5 < 0.3
    world.run(5)
    assert a.received == b.received == []
    talk(world, a, b)
    assert len(a.received) == len(b.received) == 1
    counters = a.agent.counters
    assert counters.stray + counters.unauthentic > 900
    assert a.of(Connected)[0].pair.remote.address == "198.51.100.1"
    assert len(a.of(Connected)) == 1


def test_nothing_is_answered_without_the_password() -> None:
    world = World()
    a, _ = pair(world)
    a.other = None
    outputs = a.agent.poll()
    ufrag = a.agent.local.ufrag
    for key in (None, b"", b"guess"):
        message = Message(
            Method.BINDING,
            Kind.REQUEST,
            bytes(12),
            ((stun.USERNAME, f"{ufrag}:peer"), (stun.PRIORITY, 1), (stun.USE_CANDIDATE, None)),
        )
        assert a.agent.receive(message.encode(key), ("203.0.113.1", 9), 0, world.now) is None
    outputs = a.agent.poll()
    assert outputs == []
    assert a.agent.counters.unauthentic == 3


def test_forged_answers_to_checks_are_ignored() -> None:
    world = World()
    a, b = pair(world)
    forged: list[bytes] = []

    def forge(source: Address, to: Address, data: bytes) -> bool:
        """An attacker on the wire sees a's checks, and answers in b's name without the password."""
        if source[0] == "192.0.2.1" and stun.is_message(data):
            message = Message.parse(data)
            if message.kind is Kind.REQUEST:
                for kind, extra in (
                    (Kind.SUCCESS, ((stun.XOR_MAPPED_ADDRESS, source),)),
                    (Kind.ERROR, ((stun.ERROR_CODE, (487, "Role Conflict")),)),
                    (Kind.ERROR, ((stun.ERROR_CODE, (401, "Unauthorized")),)),
                ):
                    answer = Message(Method.BINDING, kind, message.transaction_id, extra)
                    forged.append(answer.encode(b"guess"))
                    world.at(world.now, partial(_inject, a, forged[-1], to))
                return True
        return source[0] == "198.51.100.1"

    world.lose = forge
    describe(world, a, b)
    world.run(12)
    assert forged
    assert not a.connected
    assert a.agent.controlling
    assert a.agent.counters.unauthentic == len(forged)
    assert not a.send(b"\x80")


def _inject(victim: Peer, frame: bytes, source: Address) -> None:
    victim.agent.receive(frame, source, 0, victim.world.now)
    victim.carry_out()


def test_remote_candidates_are_bounded() -> None:
    world = World()
    a, b = pair(world)
    a.agent.set_remote(b.agent.local.ufrag, b.agent.local.pwd, world.now)
    for number in range(1000):
        candidate = f"candidate:1 1 udp {number} 203.0.113.1 {1000 + number} typ host"
        a.agent.add_remote(candidate, world.now)
    assert a.agent.counters.candidates == 1000 - 64
    before = world.sent
    a.carry_out()
    world.run(60)
    assert world.sent - before == 64 * 7


@pytest.mark.parametrize(
    "candidate",
    [
        "candidate:1 1 tcp 1518280447 127.0.0.1 9 typ host tcptype active",
        "candidate:1 1 udp 1 0a1b2c3d-1111-2222-3333-444455556666.local 5000 typ host",
        "candidate:1 2 udp 1 198.51.100.1 5001 typ host",
        "candidate:1 1 udp 1 fe80::1 5000 typ host",
        "candidate:1 1 udp 1 0.0.0.0 5000 typ host",
        "candidate:1 1 udp 1 239.1.2.3 5000 typ host",
        "candidate:1 1 udp 1 198.51.100.1 0 typ host",
        "candidate:1 1 udp 1 198.51.100.1 5000 typ host ufrag other",
        "rubbish",
    ],
)
def test_useless_candidates_are_counted_and_ignored(candidate: str) -> None:
    world = World()
    a, b = pair(world)
    a.agent.set_remote(b.agent.local.ufrag, b.agent.local.pwd, world.now)
    a.agent.add_remote(candidate, world.now)
    assert a.agent.counters.candidates == 1
    assert a.agent.deadline() is None


def test_candidate_of_the_next_generation_waits_for_its_description() -> None:
    world = World()
    a, _ = pair(world)
    a.agent.add_remote("candidate:1 1 udp 1 198.51.100.1 5000 typ host ufrag abcd", world.now)
    a.agent.add_remote("candidate:1 1 udp 1 198.51.100.2 5000 typ host ufrag xxxx", world.now)
    assert a.agent.deadline() is None
    a.agent.set_remote("abcd", "secret" * 4, world.now)
    a.carry_out()
    world.run(1)
    assert world.sent == 3  # only the first was checked: at 0, 0.25 and 0.75 s


def test_end_of_candidates_and_empty_candidate_do_nothing() -> None:
    world = World()
    a, _ = pair(world)
    a.agent.add_remote("", world.now)
    a.agent.end_of_candidates()
    assert a.agent.counters.candidates == 0


def test_host_candidates_need_no_gathering() -> None:
    world = World()
    a, _ = pair(world, ("192.0.2.1", "fe80::1", "2001:db8::1"))
    assert a.agent.gathering_complete
    found = [event.candidate for event in a.of(CandidateFound)]
    assert [each.address for each in found] == ["192.0.2.1", "2001:db8::1"]
    assert a.agent.local_candidates() == found
    assert all(Candidate.parse(str(each)) == each for each in found)


def test_unknown_attribute_that_must_be_understood_is_refused() -> None:
    world = World()
    a, _ = pair(world)
    odd: stun.Attribute[bytes] = stun.Attribute(0x7777, "ODD", lambda v, t: v, lambda d, t: d)
    message = Message(
        Method.BINDING,
        Kind.REQUEST,
        bytes(12),
        ((stun.USERNAME, f"{a.agent.local.ufrag}:peer"), (odd, b"1234")),
    )
    key = a.agent.local.pwd.encode()
    a.agent.receive(message.encode(key), ("198.51.100.1", 5000), 0, world.now)
    (answer,) = a.agent.poll()
    assert isinstance(answer, Transmit)
    parsed = Message.parse(answer.data)
    assert parsed.get(stun.ERROR_CODE) == (420, "Unknown Attribute")
    assert parsed.get(stun.UNKNOWN_ATTRIBUTES) == (0x7777,)
    assert parsed.verify(key)
