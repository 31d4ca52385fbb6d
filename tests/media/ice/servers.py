"""A STUN and TURN server for the virtual network, strict where a client might be careless (RFC
8656).

Long-term credentials, nonces that go stale, permissions and channels with lifetimes; over UDP in
the `World`, or over a stream whose bytes are handed over in pieces.
"""

from dataclasses import dataclass, field
from typing import Any

from media.ice import stun
from media.ice.events import OpenStream
from media.ice.stun import Kind, Message, Method, long_term_key
from media.ice.turn import StreamFramer
from tests.media.ice.world import Address, Peer, World

Attributes = tuple[tuple[stun.Attribute[Any], Any], ...]

USER, PASSWORD, REALM = "alice", "secret", "example.org"


@dataclass
class Allocation:
    relayed: Address
    expires: float
    permissions: dict[str, float] = field(default_factory=dict)
    channels: dict[int, Address] = field(default_factory=dict)
    bound_until: dict[int, float] = field(default_factory=dict)


class FakeServer:
    """One server on one address; `client` is an address, or a (peer, socket) of a stream."""

    def __init__(self, world: World, address: Address = ("203.0.113.50", 3478)) -> None:
        self.world = world
        self.address = address
        self.nonce = b"nonce-1"
        self.allocations: dict[object, Allocation] = {}
        self.streams: dict[tuple[Peer, int], StreamFramer] = {}
        self.wrapped: set[str] = set()  # how payloads came: "indication" or "channel"
        self.requests: list[Method] = []
        self.refused: set[str] = set()  # peers that it will not relay to
        self.answers = True
        self._next_port = 49152
        world.hosts[address] = lambda data, source, to: self._receive(data, source, source)

    def attach(self, peer: Peer) -> None:
        """Let this peer open streams to us."""
        peer.open_stream = self._open
        peer.write_stream = self._written

    def renew_nonce(self) -> None:
        self.nonce = b"nonce-%d" % (int(self.nonce[6:]) + 1)

    # --- streams

    def _open(self, peer: Peer, request: OpenStream) -> None:
        def opened() -> None:
            if not self.answers or (request.address, request.port) != self.address:
                peer.agent.stream_closed(request.socket, self.world.now)
            else:
                self.streams[peer, request.socket] = StreamFramer()
                peer.agent.stream_opened(request.socket, self.world.now)
            peer.carry_out()

        self.world.at(self.world.now + 0.03, opened)

    def _written(self, peer: Peer, socket: int, data: bytes) -> None:
        def arrived() -> None:
            for frame in self.streams[peer, socket].feed(data):
                self._receive(frame, (peer, socket), ("192.0.2.200", 40000))

        self.world.at(self.world.now + self.world.delay, arrived)

    def _reply(self, client: object, frame: bytes) -> None:
        if not isinstance(client, tuple) or not isinstance(client[0], Peer):
            self.world.send(self.address, client, frame)  # type: ignore[arg-type]  # an address then
            return
        peer, socket = client
        frame += bytes(-len(frame) % 4)
        for piece in (frame[:3], frame[3:30], frame[30:]):  # streams are cut anywhere

            def arrived(piece: bytes = piece) -> None:
                peer.received += peer.agent.receive_stream(piece, socket, self.world.now)
                peer.carry_out()

            self.world.at(self.world.now + self.world.delay, arrived)

    # --- requests

    def _receive(self, data: bytes, client: object, mapped: Address) -> None:
        if not self.answers:
            return
        allocation = self.allocations.get(client)
        if 0x40 <= data[0] < 0x50:
            if allocation is not None:
                number, size = int.from_bytes(data[:2], "big"), int.from_bytes(data[2:4], "big")
                assert allocation.bound_until[number] > self.world.now
                self.wrapped.add("channel")
                self._relay(allocation, allocation.channels[number], data[4 : 4 + size])
            return
        message = Message.parse(data)
        if message.kind is Kind.INDICATION:
            if message.method == Method.SEND and allocation is not None:
                peer, payload = message.get(stun.XOR_PEER_ADDRESS), message.get(stun.DATA)
                assert peer is not None
                assert payload is not None
                self.wrapped.add("indication")
                self._relay(allocation, peer, payload)
            return
        method = Method(message.method)
        self.requests.append(method)
        if method is Method.BINDING:
            self._answer(client, message, ((stun.XOR_MAPPED_ADDRESS, mapped),), key=None)
            return
        key = long_term_key(USER, REALM, PASSWORD)
        challenge = ((stun.REALM, REALM), (stun.NONCE, self.nonce))
        if message.get(stun.NONCE) is None or not message.verify(key):
            self._refuse(client, message, 401, challenge)
        elif message.get(stun.NONCE) != self.nonce:
            self._refuse(client, message, 438, challenge)
        else:
            self._serve(client, message, mapped, key)

    def _serve(self, client: object, message: Message, mapped: Address, key: bytes) -> None:
        allocation = self.allocations.get(client)
        peer = message.get(stun.XOR_PEER_ADDRESS)
        if message.method == Method.ALLOCATE:
            assert allocation is None
            assert message.get(stun.REQUESTED_TRANSPORT) == 17
            relayed = self.address[0], self._next_port
            self._next_port += 1
            self.allocations[client] = Allocation(relayed, self.world.now + 600)
            self.world.hosts[relayed] = lambda data, source, to: self._from_peer(
                client, data, source
            )
            found = (
                (stun.XOR_RELAYED_ADDRESS, relayed),
                (stun.XOR_MAPPED_ADDRESS, mapped),
                (stun.LIFETIME, 600),
            )
            self._answer(client, message, found, key)
            return
        if allocation is None or allocation.expires < self.world.now:
            self._refuse(client, message, 437, ())
        elif message.method == Method.REFRESH:
            lifetime = message.get(stun.LIFETIME)
            assert lifetime is not None
            if lifetime:
                allocation.expires = self.world.now + lifetime
            else:
                del self.allocations[client]
            self._answer(client, message, ((stun.LIFETIME, lifetime),), key)
        elif peer is not None and peer[0] in self.refused:
            self._refuse(client, message, 403, ())
        elif message.method == Method.CREATE_PERMISSION and peer is not None:
            allocation.permissions[peer[0]] = self.world.now + 300
            self._answer(client, message, (), key)
        elif message.method == Method.CHANNEL_BIND and peer is not None:
            number = message.get(stun.CHANNEL_NUMBER)
            assert number is not None
            assert 0x4000 <= number <= 0x4FFF
            assert allocation.channels.get(number, peer) == peer
            allocation.channels[number] = peer
            allocation.bound_until[number] = self.world.now + 600
            allocation.permissions[peer[0]] = self.world.now + 300
            self._answer(client, message, (), key)

    def _answer(
        self, client: object, message: Message, attributes: Attributes, key: bytes | None
    ) -> None:
        answer = Message(message.method, Kind.SUCCESS, message.transaction_id, attributes)
        self._reply(client, answer.encode(key))

    def _refuse(self, client: object, message: Message, code: int, attributes: Attributes) -> None:
        attributes = ((stun.ERROR_CODE, (code, "No")), *attributes)
        answer = Message(message.method, Kind.ERROR, message.transaction_id, attributes)
        self._reply(client, answer.encode())

    # --- relaying

    def _relay(self, allocation: Allocation, peer: Address, data: bytes) -> None:
        if allocation.permissions.get(peer[0], 0) > self.world.now:
            self.world.send(allocation.relayed, peer, data)

    def _from_peer(self, client: object, data: bytes, source: Address) -> None:
        allocation = self.allocations.get(client)
        if allocation is None or allocation.permissions.get(source[0], 0) < self.world.now:
            return
        for number, peer in allocation.channels.items():
            if peer == source:
                self._reply(client, number.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data)
                return
        attributes = ((stun.XOR_PEER_ADDRESS, source), (stun.DATA, data))
        indication = Message(Method.DATA, Kind.INDICATION, bytes(12), attributes)
        self._reply(client, indication.encode())
