"""Candidates from servers, and paths that exist only through a relay: over UDP and over streams."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.ice import stun
from media.ice.candidate import Candidate
from media.ice.events import CandidateFound, CloseStream, Connected, GatheringDone, OpenStream
from media.ice.server import Server
from media.ice.stun import Kind, Message, Method, StunError
from media.ice.turn import Allocated, Lost, StreamFramer, TurnClient
from tests.media.ice.servers import PASSWORD, REALM, USER, FakeServer
from tests.media.ice.world import Nat, Peer, World, both, describe, pair, talk

STUN = Server(False, "stun.example.org", 3478, "udp")


def turn(transport: str = "udp", password: str = PASSWORD) -> Server:
    scheme = "turns" if transport == "tls" else "turn"
    uri = f"{scheme}:turn.example.org:3478?transport={'udp' if transport == 'udp' else 'tcp'}"
    return Server.parse(uri, USER, password)


def use(peer: Peer, server: Server, address: str = "203.0.113.50") -> None:
    peer.agent.add_server(server, address, peer.world.now)
    peer.carry_out()


def candidates(peer: Peer) -> list[Candidate]:
    return [event.candidate for event in peer.of(CandidateFound)]


def test_stun_server_tells_the_reflexive_address() -> None:
    world = World()
    FakeServer(world)
    nat = world.nats["203.0.113.9"] = Nat("203.0.113.9")
    world.behind["10.0.0.5"] = nat
    a, _ = pair(world, ("10.0.0.5", "2001:db8::5", "127.0.0.1"))
    use(a, STUN)
    gathered_at_first = a.agent.gathering_complete
    world.run(1, until=lambda: a.gathered)
    assert (gathered_at_first, a.agent.gathering_complete) == (False, True)
    found = candidates(a)[-1]
    assert (found.type, found.address, found.port) == ("srflx", "203.0.113.9", 30000)
    assert found.related == ("10.0.0.5", 5000)
    assert a.agent.local_candidates()[-1] == found
    # The NAT's binding is kept.
    before = world.sent
    world.run(60)
    assert world.sent - before == 3


def test_without_nat_the_reflexive_address_is_nothing_new() -> None:
    world = World()
    FakeServer(world)
    a, _ = pair(world)
    use(a, STUN)
    world.run(1, until=lambda: a.gathered)
    assert [each.type for each in candidates(a)] == ["host"]


def test_silent_servers_hold_up_gathering_for_five_seconds() -> None:
    world = World()
    a, _ = pair(world)
    for number in range(20):  # and too many are not asked
        use(a, STUN, f"203.0.113.{number}")
        use(a, turn(), f"203.0.113.{100 + number}")
    world.run(4.9)
    assert not a.gathered
    assert world.sent == 8 * 5
    world.run(0.2)
    assert len(a.of(GatheringDone)) == 1
    world.run(60)
    assert len(a.of(GatheringDone)) == 1
    assert a.agent.deadline() is None


def test_lost_requests_to_servers_are_repeated() -> None:
    world = World()
    FakeServer(world)
    lost: list[bytes] = []

    def lose(source: object, to: object, data: bytes) -> bool:
        if len(lost) < 3 and stun.is_message(data):
            lost.append(data)
            return True
        return False

    world.lose = lose
    a, _ = pair(world)
    use(a, turn())
    world.run(4, until=lambda: a.gathered)
    assert [each.type for each in candidates(a)] == ["host", "relay"]


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
@pytest.mark.parametrize("controlling", [True, False])
def test_relay_carries_what_cannot_go_directly(transport: str, controlling: bool) -> None:
    world = World()
    server = FakeServer(world)
    a, b = pair(world, roles=(controlling, not controlling))
    server.attach(a)
    world.lose = lambda source, to, data: (
        {source[0], to[0]} == {"192.0.2.1", "198.51.100.1"}  # no direct path
    )
    use(a, turn(transport))
    if transport != "udp":
        (stream,) = a.streams.values()
        expected = "turn.example.org" if transport == "tls" else None
        assert stream == OpenStream(-1, "203.0.113.50", 3478, expected)
    describe(world, a, b)
    world.run(5, until=both(a, b))
    assert world.now - 1000 < 0.7
    assert str(a.of(Connected)[-1].pair) == "udp relay→host"
    assert b.of(Connected)[-1].pair.remote.type in ("relay", "prflx")
    talk(world, a, b)
    world.run(1)
    server.wrapped.clear()
    talk(world, a, b)
    assert server.wrapped == {"channel"}
    # All that has a lifetime is refreshed, over a nonce that changes.
    for _ in range(5):
        server.renew_nonce()
        world.run(300)
        talk(world, a, b)
    assert Method.REFRESH in server.requests
    # Nothing of it comes from strangers.
    relayed = next(iter(server.allocations.values())).relayed
    before = list(a.received)
    world.send(("198.51.100.99", 5000), relayed, b"\x80stranger without permission")
    world.send(("198.51.100.1", 5001), relayed, b"\x80stranger on the peer's host")
    world.run(1)
    assert a.received == before
    # And at the end the server gets it back.
    a.agent.close(world.now)
    a.carry_out()
    world.run(1)
    assert server.allocations == {}
    assert a.streams == {}


def test_direct_path_is_preferred_to_the_relay() -> None:
    world = World()
    FakeServer(world)
    a, b = pair(world)
    use(a, turn())
    world.run(1, until=lambda: a.gathered)
    describe(world, a, b)
    world.run(5, until=both(a, b))
    world.run(5)
    assert str(a.of(Connected)[-1].pair) == "udp host→host"


def test_direct_path_that_opens_late_replaces_the_relay() -> None:
    world = World()
    FakeServer(world)
    a, b = pair(world)
    closed = [True]
    world.lose = lambda source, to, data: (
        closed[0] and {source[0], to[0]} == {"192.0.2.1", "198.51.100.1"}
    )
    use(a, turn())
    describe(world, a, b)
    world.run(2, until=both(a, b))
    assert str(a.of(Connected)[-1].pair) == "udp relay→host"
    closed[0] = False
    world.run(3)
    assert str(a.of(Connected)[-1].pair) == "udp host→host"
    talk(world, a, b)


def test_answer_from_elsewhere_than_the_stun_server_is_ignored() -> None:
    world = World()
    a, _ = pair(world)
    requests: list[bytes] = []

    def lose(source: object, to: object, data: bytes) -> bool:
        requests.append(data)
        return True

    world.lose = lose
    use(a, STUN)
    attributes = ((stun.XOR_MAPPED_ADDRESS, ("203.0.113.66", 6666)),)
    transaction_id = Message.parse(requests[0]).transaction_id
    forged = Message(Method.BINDING, Kind.SUCCESS, transaction_id, attributes).encode()
    a.agent.receive(forged, ("203.0.113.51", 3478), 0, world.now)
    a.carry_out()
    assert [each.type for each in candidates(a)] == ["host"]
    a.agent.receive(forged, ("203.0.113.50", 3478), 0, world.now)
    a.carry_out()
    assert [each.type for each in candidates(a)] == ["host", "srflx"]


def _client() -> TurnClient:
    world = World()
    client = TurnClient(
        username=USER, credential=PASSWORD, random=world.chance.randbytes, reliable=False
    )
    client.allocate(0.0)
    return client


def _request(client: TurnClient) -> Message:
    (frame,) = client.poll()
    assert isinstance(frame, bytes)
    return Message.parse(frame)


def _refuse(client: TurnClient, request: Message, code: int, nonce: bytes) -> None:
    attributes = (
        (stun.ERROR_CODE, (code, "No")),
        (stun.REALM, REALM),
        (stun.NONCE, nonce),
    )
    error = Message(request.method, Kind.ERROR, request.transaction_id, attributes)
    client.receive(error.encode(), 0.0)


def test_server_that_always_wants_a_new_nonce_is_given_up() -> None:
    client = _client()
    _refuse(client, _request(client), 401, b"first")
    for number in range(2):
        _refuse(client, _request(client), 438, b"%d" % number)
    _refuse(client, _request(client), 438, b"last")
    assert client.poll() == [Lost("the TURN server refused: 438 No")]


def test_unsigned_success_is_ignored_once_there_are_credentials() -> None:
    client = _client()
    _refuse(client, _request(client), 401, b"nonce")
    request = _request(client)
    key = stun.long_term_key(USER, REALM, PASSWORD)
    assert request.verify(key)
    attributes = ((stun.XOR_RELAYED_ADDRESS, ("203.0.113.66", 6666)),)
    answer = Message(request.method, Kind.SUCCESS, request.transaction_id, attributes)
    for forged in (None, b"guess"):
        client.receive(answer.encode(forged), 0.0)
        assert client.poll() == []
    client.receive(answer.encode(key), 0.0)
    assert client.poll() == [Allocated(("203.0.113.66", 6666), None)]


def test_wrong_password_costs_the_relay_only() -> None:
    world = World()
    server = FakeServer(world)
    a, b = pair(world)
    use(a, turn(password="wrong"))
    world.run(2, until=lambda: a.gathered)
    assert server.requests == [Method.ALLOCATE, Method.ALLOCATE]
    assert [each.type for each in candidates(a)] == ["host"]
    describe(world, a, b)
    world.run(5, until=both(a, b))
    talk(world, a, b)


def test_peer_that_the_server_refuses_is_not_tried() -> None:
    world = World()
    server = FakeServer(world)
    server.refused.add("198.51.100.1")
    a, b = pair(world)
    world.lose = lambda source, to, data: {source[0], to[0]} == {"192.0.2.1", "198.51.100.1"}
    use(a, turn())
    describe(world, a, b)
    world.run(30)
    assert not a.connected
    assert server.wrapped == set()
    assert server.requests.count(Method.CREATE_PERMISSION) == 1


def test_stream_that_cannot_be_opened_costs_the_relay_only() -> None:
    world = World()
    server = FakeServer(world)
    server.answers = False
    a, b = pair(world)
    server.attach(a)
    use(a, turn("tls"))
    world.run(1, until=lambda: a.gathered)
    describe(world, a, b)
    world.run(5, until=both(a, b))
    talk(world, a, b)


@pytest.mark.parametrize("how", ["closed", "out of step"])
def test_stream_that_ends_takes_its_pairs_with_it(how: str) -> None:
    world = World()
    server = FakeServer(world)
    a, b = pair(world)
    server.attach(a)
    cut = [True]
    world.lose = lambda source, to, data: (
        cut[0] and {source[0], to[0]} == {"192.0.2.1", "198.51.100.1"}
    )
    use(a, turn("tcp"))
    describe(world, a, b)
    world.run(5, until=both(a, b))
    if how == "closed":
        a.agent.stream_closed(-1, world.now)
    else:
        assert a.agent.receive_stream(b"SSH-2.0-OpenSSH_9.2\r\n", -1, world.now) == []
        (closed,) = [each for each in a.agent.poll() if isinstance(each, CloseStream)]
        assert closed.socket == -1
    a.carry_out()
    assert not a.send(b"\x80")
    assert a.agent.receive_stream(b"\x40\x00\x00\x00", -1, world.now) == []


def test_server_that_falls_silent_loses_the_allocation() -> None:
    world = World()
    client = TurnClient(
        username=USER, credential=PASSWORD, random=world.chance.randbytes, reliable=True
    )
    client.allocate(0.0)
    client.poll()
    client.handle_timer(9.9)
    assert client.poll() == []
    client.handle_timer(10.0)
    assert [type(each) for each in client.poll()] == [Lost]
    assert client.deadline() is None
    client.allocate(11.0)
    client.permit("192.0.2.1", 11.0)
    client.bind(("192.0.2.1", 1), 11.0)
    client.close(11.0)
    assert client.poll() == []


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.binary(max_size=40)), max_size=6),
    st.lists(st.integers(1, 50), max_size=20),
)
def test_framing_does_not_depend_on_chunks(
    contents: list[tuple[bool, bytes]], cuts: list[int]
) -> None:
    frames, stream = [], b""
    for channel, data in contents:
        if channel:
            frame = b"\x40\x01" + len(data).to_bytes(2, "big") + data
        else:
            attributes = ((stun.DATA, data),)
            frame = stun.Message(Method.DATA, stun.Kind.INDICATION, bytes(12), attributes).encode()
        frames.append(frame)
        stream += frame + bytes(-len(frame) % 4)
    framer, got = StreamFramer(), []
    for cut in cuts:
        got += framer.feed(stream[:cut])
        stream = stream[cut:]
    assert got + framer.feed(stream) == frames


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=100), max_size=5))
def test_any_stream_is_framed_or_refused(chunks: list[bytes]) -> None:
    framer = StreamFramer()
    client = TurnClient(username="", credential="", random=bytes, reliable=True)
    client.allocate(0.0)
    try:
        for chunk in chunks:
            for frame in framer.feed(chunk):
                assert client.receive(frame, 0.0) is None or frame[0] < 0x50
    except StunError:
        return
