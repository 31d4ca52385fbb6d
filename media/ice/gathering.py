"""Gathering: from sockets and servers to the candidates of ours, and the bases that packets leave
from (RFC 8445 §5.1.1).

A base is a UDP socket of ours, or an address that a TURN server lends us; checks and payloads go
out through `Base.transmit` whichever it is. STUN servers are asked from every socket of their
address family, TURN servers from one; TURN over TCP or TLS runs on a stream that the driver opens.
A server's refusal costs its candidates and nothing else, and a silent one holds up the end of
gathering for five seconds at most.
"""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from media.ice import stun, turn
from media.ice.candidate import Candidate, foundation, priority
from media.ice.events import CandidateFound, CloseStream, GatheringDone, OpenStream, Transmit
from media.ice.server import Server
from media.ice.stun import Address, Kind, Message, Method, StunError

_LIMIT: Final = 5.0  # gathering is called done then, whoever has not answered
_KEEPALIVE: Final = 20.0  # for the NAT's binding behind a server-reflexive candidate
_SERVERS: Final = 8  # a homeserver names two or three URIs
# Among relays the plain datagram is best, and a second encryption worst.
_TRANSPORT_RANK: Final = {"udp": 0, "tcp": 1, "tls": 2}


@dataclass(slots=True, eq=False)
class Base:
    """Where packets leave from and arrive.

    Attributes:
        number: the socket's, or a negative one for a relayed address.
    """

    number: int
    candidate: Candidate
    relay: "Relay | None" = None

    def transmit(self, data: bytes, destination: Address) -> Transmit:
        """What sends this to a peer."""
        if self.relay is None:
            return Transmit(self.number, destination, data)
        return self.relay.transmit(self.relay.client.wrap(data, destination))

    def ready(self, host: str) -> bool:
        """Whether packets for this host would be let through."""
        return self.relay is None or self.relay.client.permitted(host)


@dataclass(slots=True, eq=False)
class Relay:
    """A TURN server and how we reach it: over `socket`, which is negative for a stream."""

    server: Server
    address: Address
    socket: int
    client: turn.TurnClient
    framer: turn.StreamFramer | None = None
    base: Base | None = None
    pending: bool = True

    def transmit(self, frame: bytes) -> Transmit:
        return Transmit(self.socket, self.address, frame)


@dataclass(slots=True)
class _Query:
    """A Binding request to a STUN server (RFC 8489 §2.1), then the keepalive of what it made."""

    base: Base
    server: Address
    frame: bytes
    sent: int = 0
    at: float = 0.0
    answered: bool = False


@dataclass(frozen=True, slots=True)
class BaseFound:
    """A new base to send checks from."""

    base: Base


@dataclass(frozen=True, slots=True)
class BaseLost:
    """The base is gone with its TURN allocation."""

    base: Base


@dataclass(frozen=True, slots=True)
class Opened:
    """The relay lets packets of this host through now."""

    base: Base
    host: str


@dataclass(frozen=True, slots=True)
class Barred:
    """The relay refuses this host."""

    base: Base
    host: str


@dataclass(frozen=True, slots=True)
class Arrival:
    """Something that a relay passed on: from whom, and what."""

    base: Base
    source: Address
    data: bytes


GatheringOutput = (
    Transmit
    | OpenStream
    | CloseStream
    | CandidateFound
    | GatheringDone
    | BaseFound
    | BaseLost
    | Opened
    | Barred
)


class Gathering:
    """All our candidates, and the servers they came from.

    Attributes:
        bases: by number; hosts' by their socket.
    """

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self.bases: dict[int, Base] = {}
        self._random = random
        self._candidates: list[Candidate] = []
        self._queries: dict[bytes, _Query] = {}
        self._relays: dict[tuple[int, Address], Relay] = {}
        self._streams: dict[int, Relay] = {}
        self._numbers = 0
        self._servers = 0
        self._pending = False
        self._done = False
        self._limit_at: float | None = None
        self._outputs: list[GatheringOutput] = []

    @property
    def complete(self) -> bool:
        return not self._pending

    def candidates(self) -> list[Candidate]:
        """All that the peer was or should be told, best first."""
        return sorted(self._candidates, key=lambda each: -each.priority)

    # --- verbs

    def add_socket(self, socket: int, address: str, port: int) -> None:
        """Earlier sockets are preferred."""
        ip = ipaddress.ip_address(address)
        if ip.version == 6 and ip.is_link_local:
            return  # its zone means nothing to the peer
        preference = 65535 - 256 * min(len(self.bases), 200)
        base = Base(
            socket,
            Candidate(
                foundation=foundation("host", str(ip)),
                component=1,
                transport="udp",
                priority=priority("host", preference),
                address=str(ip),
                port=port,
                type="host",
            ),
        )
        self._add_base(base)

    def remove_socket(self, socket: int) -> None:
        """A socket whose address this machine has no more: everything that left from it goes."""
        base = self.bases.pop(socket, None)
        if base is None:
            return
        ours = base.candidate.address, base.candidate.port
        self._candidates = [
            each
            for each in self._candidates
            if (each.address, each.port) != ours
            and not (each.type == "srflx" and each.related == ours)
        ]
        for transaction_id, query in list(self._queries.items()):
            if query.base is base:
                del self._queries[transaction_id]
        for relay in list(self._relays.values()):
            if relay.socket == socket:
                self._drop(relay)
        self._outputs.append(BaseLost(base))
        self._settle()

    def begin_anew(self) -> None:
        """Let all servers be asked again, for addresses that are new."""
        self._servers = 0
        self._done = False

    def add_server(self, server: Server, address: str, now: float) -> None:
        """More than eight servers are not asked."""
        target = str(ipaddress.ip_address(address)), server.port
        sockets = [
            base
            for base in self.bases.values()
            if base.relay is None and _reach(base.candidate.address, target[0])
        ]
        if self._servers >= _SERVERS:
            return
        self._servers += 1
        if server.turn:
            self._add_relay(server, target, sockets, now)
        else:
            for base in sockets:
                self._ask(base, target, now)
        if self._unanswered():
            self._pending, self._done = True, False
            self._limit_at = now + _LIMIT

    def release(self, base: Base, host: str, now: float) -> None:
        """Make a relayed base let packets of this host through."""
        if base.relay is not None:
            base.relay.client.permit(host, now)
            self._drain(base.relay)

    def bind(self, base: Base, peer: Address, now: float) -> None:
        """Make packets between a relayed base and this peer short."""
        if base.relay is not None:
            base.relay.client.bind(peer, now)
            self._drain(base.relay)

    def close(self, now: float) -> None:
        """Give allocations back and close streams."""
        for relay in list(self._relays.values()):
            relay.client.close(now)
            self._drain(relay)
            if relay.framer is not None:
                self._outputs.append(CloseStream(relay.socket))
        self._relays.clear()
        self._streams.clear()
        self._queries.clear()
        self._pending = False
        self._limit_at = None

    # --- inputs

    def relay_at(self, socket: int, source: Address) -> Relay | None:
        """The TURN server that datagrams from there come from."""
        return self._relays.get((socket, source))

    def receive(self, relay: Relay, frame: bytes, now: float) -> Arrival | None:
        """A frame of a TURN server's."""
        payload = relay.client.receive(frame, now)
        if payload is None:
            self._drain(relay)
            return None
        if relay.base is None:
            return None
        return Arrival(relay.base, payload[0], payload[1])

    def receive_stream(self, data: bytes, socket: int, now: float) -> list[Arrival]:
        """Bytes of a stream; one that is out of step is closed."""
        relay = self._streams.get(socket)
        if relay is None or relay.framer is None:
            return []
        try:
            frames = relay.framer.feed(data)
        except StunError:
            self._outputs.append(CloseStream(socket))
            self.stream_closed(socket, now)
            return []
        arrivals = (self.receive(relay, frame, now) for frame in frames)
        return [arrival for arrival in arrivals if arrival is not None]

    def stream_opened(self, socket: int, now: float) -> None:
        relay = self._streams.get(socket)
        if relay is not None:
            relay.client.allocate(now)
            self._drain(relay)

    def stream_closed(self, socket: int, now: float) -> None:
        relay = self._streams.pop(socket, None)
        if relay is not None:
            self._drop(relay)

    def receive_response(self, base: Base, message: Message, source: Address, now: float) -> bool:
        """A STUN response on a socket of ours; whether it was for a query of ours."""
        query = self._queries.get(message.transaction_id)
        if query is None or query.base is not base or query.server != source:
            return False
        mapped = message.get(stun.XOR_MAPPED_ADDRESS) or message.get(stun.MAPPED_ADDRESS)
        if message.kind is Kind.SUCCESS and mapped is not None:
            if not query.answered:
                query.answered = True
                self._add_reflexive(base, mapped, source[0])
            query.at = now + _KEEPALIVE
        elif not query.answered:
            del self._queries[message.transaction_id]
        self._settle()
        return True

    def handle_timer(self, now: float) -> None:
        for transaction_id, query in list(self._queries.items()):
            if query.at > now:
                continue
            if query.answered:
                keepalive = Message(Method.BINDING, Kind.INDICATION, self._random(12)).encode()
                self._outputs.append(query.base.transmit(keepalive, query.server))
                query.at = now + _KEEPALIVE
            elif stun.exhausted(query.sent):
                del self._queries[transaction_id]
            else:
                self._send(query, now)
        for relay in list(self._relays.values()):
            relay.client.handle_timer(now)
            self._drain(relay)
        if self._limit_at is not None and self._limit_at <= now:
            self._finish()
        self._settle()

    def deadline(self) -> float | None:
        times = [query.at for query in self._queries.values()]
        for relay in self._relays.values():
            at = relay.client.deadline()
            if at is not None:
                times.append(at)
        if self._limit_at is not None:
            times.append(self._limit_at)
        return min(times, default=None)

    def poll(self) -> list[GatheringOutput]:
        outputs, self._outputs = self._outputs, []
        return outputs

    # --- STUN servers

    def _ask(self, base: Base, server: Address, now: float) -> None:
        transaction_id = self._random(stun.TRANSACTION_ID_SIZE)
        frame = Message(Method.BINDING, Kind.REQUEST, transaction_id).encode()
        query = self._queries[transaction_id] = _Query(base, server, frame)
        self._send(query, now)

    def _send(self, query: _Query, now: float) -> None:
        query.sent += 1
        query.at = now + stun.interval(query.sent)
        self._outputs.append(query.base.transmit(query.frame, query.server))

    def _add_reflexive(self, base: Base, mapped: Address, server: str) -> None:
        host = base.candidate
        if mapped == (host.address, host.port):
            return
        candidate = replace(
            host,
            foundation=foundation("srflx", host.address, server),
            priority=priority("srflx", host.priority >> 8 & 0xFFFF),
            address=mapped[0],
            port=mapped[1],
            type="srflx",
            related=(host.address, host.port),
        )
        self._tell(candidate)

    # --- TURN servers

    def _add_relay(self, server: Server, target: Address, sockets: list[Base], now: float) -> None:
        stream = server.transport != "udp"
        if not stream and not sockets:
            return
        client = turn.TurnClient(
            username=server.username,
            credential=server.credential,
            random=self._random,
            reliable=stream,
        )
        socket = self._number() if stream else sockets[0].number
        if (socket, target) in self._relays:
            return
        relay = Relay(server, target, socket, client)
        self._relays[socket, target] = relay
        if stream:
            relay.framer = turn.StreamFramer()
            self._streams[socket] = relay
            tls_name = server.host if server.transport == "tls" else None
            self._outputs.append(OpenStream(socket, target[0], target[1], tls_name))
        else:
            client.allocate(now)
            self._drain(relay)

    def _drain(self, relay: Relay) -> None:
        """Carry out what the TURN client put out."""
        for output in relay.client.poll():
            match output:
                case bytes():
                    self._outputs.append(relay.transmit(output))
                case turn.Allocated():
                    self._relayed(relay, output)
                case turn.Permitted(host):
                    if relay.base is not None:
                        self._outputs.append(Opened(relay.base, host))
                case turn.Refused(host):
                    if relay.base is not None:
                        self._outputs.append(Barred(relay.base, host))
                case turn.Lost():
                    if relay.framer is not None:
                        self._streams.pop(relay.socket, None)
                        self._outputs.append(CloseStream(relay.socket))
                    self._drop(relay)

    def _relayed(self, relay: Relay, allocated: turn.Allocated) -> None:
        relay.pending = False
        address, port = allocated.relayed
        preference = 65535 - 16384 * _TRANSPORT_RANK[relay.server.transport] - len(self.bases)
        candidate = Candidate(
            foundation=foundation("relay", address, relay.address[0], relay.server.transport),
            component=1,
            transport="udp",
            priority=priority("relay", preference),
            address=address,
            port=port,
            type="relay",
            related=allocated.mapped or ("0.0.0.0", 0),
        )
        if relay.framer is None and allocated.mapped is not None:
            self._add_reflexive(self.bases[relay.socket], allocated.mapped, relay.address[0])
        relay.base = Base(self._number(), candidate, relay)
        self._add_base(relay.base)
        self._settle()

    def _drop(self, relay: Relay) -> None:
        self._relays.pop((relay.socket, relay.address), None)
        if relay.base is not None:
            self.bases.pop(relay.base.number, None)
            lent = relay.base.candidate
            self._candidates = [each for each in self._candidates if each is not lent]
            self._outputs.append(BaseLost(relay.base))
        self._settle()

    # --- the rest

    def _add_base(self, base: Base) -> None:
        self.bases[base.number] = base
        self._outputs.append(BaseFound(base))
        self._tell(base.candidate)

    def _tell(self, candidate: Candidate) -> None:
        """Deviation: a candidate that comes after the end was announced (RFC 8838 §13) is used and
        not told; the peer learns it from our checks."""
        address = candidate.address, candidate.port
        known = any((each.address, each.port) == address for each in self._candidates)
        if not known and not self._done:
            self._candidates.append(candidate)
            self._outputs.append(CandidateFound(candidate))

    def _number(self) -> int:
        self._numbers -= 1
        return self._numbers

    def _unanswered(self) -> bool:
        return any(not query.answered for query in self._queries.values()) or any(
            relay.pending for relay in self._relays.values()
        )

    def _settle(self) -> None:
        if self._pending and not self._unanswered():
            self._finish()

    def _finish(self) -> None:
        self._limit_at = None
        if self._pending:
            self._pending, self._done = False, True
            self._outputs.append(GatheringDone())


def _reach(ours: str, theirs: str) -> bool:
    """Whether asking from here can work: same family, and the loopback only reaches itself."""
    a, b = ipaddress.ip_address(ours), ipaddress.ip_address(theirs)
    return a.version == b.version and a.is_loopback == b.is_loopback
