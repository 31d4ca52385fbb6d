"""A TURN client: one allocation on one server, sans-IO (RFC 8656).

Frames in (`receive`), frames out (`poll`), where a frame is a STUN message or ChannelData, whole:
over UDP that is a datagram; over TCP and TLS `StreamFramer` cuts and pads. The connection belongs
to the driver.

The first request goes without credentials, learns realm and nonce from the 401, and is repeated; a
stale nonce (438) is taken over the same way. What was asked for once (the allocation, permissions,
channels) is refreshed until `close`. Payloads go as Send indications until the peer's channel is
bound.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Final

from media.ice import stun
from media.ice.stun import Address, Attribute, Kind, Message, Method, StunError

_UDP: Final = 17
_LIFETIME: Final = 600  # of an allocation, as asked for; the server's answer counts
_REFRESH_PERMISSION: Final = 240.0  # they last 300 s (RFC 8656 §9)
_REFRESH_CHANNEL: Final = 480.0  # they last 600 s (RFC 8656 §12)
_KEEPALIVE: Final = 20.0  # holds the NAT's binding towards the server while a call rings
_STREAM_TIMEOUT: Final = 10.0
_FIRST_CHANNEL: Final = 0x4000
_CHALLENGES: Final = 3  # how often one request is repeated with a new nonce
_PEERS: Final = 128  # permissions and channels, each; more than the agent has remote candidates


@dataclass(frozen=True, slots=True)
class Allocated:
    """The server relays for us: `relayed` is our address there, `mapped` the one it saw us at."""

    relayed: Address
    mapped: Address | None


@dataclass(frozen=True, slots=True)
class Permitted:
    """Packets to and from this host pass."""

    host: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The server will not relay to or from this host."""

    host: str


@dataclass(frozen=True, slots=True)
class Lost:
    """There is no allocation, or none any more. Nothing follows."""

    text: str


TurnOutput = bytes | Allocated | Permitted | Refused | Lost


class _State(Enum):
    IDLE = auto()
    ALLOCATING = auto()
    ALLOCATED = auto()
    OVER = auto()


@dataclass(slots=True)
class _Request:
    method: Method
    attributes: tuple[tuple[Attribute[Any], Any], ...]
    subject: Address  # the peer that it is about, if any
    frame: bytes = b""
    signed: bool = False
    sent: int = 0
    challenges: int = 0
    at: float = 0.0


@dataclass(slots=True)
class _Channel:
    number: int
    bound: bool = False
    refresh_at: float | None = None


@dataclass(slots=True)
class _Permission:
    granted: bool = False
    refresh_at: float | None = None


@dataclass(slots=True)
class _Challenge:
    realm: str = ""
    nonce: bytes = b""
    key: bytes | None = field(default=None, repr=False)


class TurnClient:
    """One allocation.

    Attributes:
        relayed: our address on the server, once allocated.
    """

    def __init__(
        self, *, username: str, credential: str, random: Callable[[int], bytes], reliable: bool
    ) -> None:
        """`reliable`: over TCP or TLS, where nothing is sent twice (RFC 8489 §6.2.2)."""
        self.relayed: Address | None = None
        self._username = username
        self._credential = credential
        self._random = random
        self._reliable = reliable
        self._state = _State.IDLE
        self._challenge = _Challenge()
        self._requests: dict[bytes, _Request] = {}
        self._permissions: dict[str, _Permission] = {}
        self._channels: dict[Address, _Channel] = {}
        self._peers: dict[int, Address] = {}  # by number of a channel
        self._refresh_at: float | None = None
        self._keepalive_at: float | None = None
        self._outputs: list[TurnOutput] = []

    # --- verbs

    def allocate(self, now: float) -> None:
        """Ask for the relayed address; `Allocated` or `Lost` follows."""
        if self._state is _State.IDLE:
            self._state = _State.ALLOCATING
            attributes = ((stun.REQUESTED_TRANSPORT, _UDP), (stun.LIFETIME, _LIFETIME))
            self._request(Method.ALLOCATE, attributes, ("", 0), now)

    def permit(self, host: str, now: float) -> None:
        """Let packets of this host through (RFC 8656 §9); `Permitted` or `Refused` follows,
        once."""
        if self._state is not _State.ALLOCATED or host in self._permissions:
            return
        if len(self._permissions) >= _PEERS:
            self._outputs.append(Refused(host))
            return
        self._permissions[host] = _Permission()
        self._ask_permission(host, now)

    def permitted(self, host: str) -> bool:
        """Whether packets to and from this host pass by now."""
        permission = self._permissions.get(host)
        return permission is not None and permission.granted

    def bind(self, peer: Address, now: float) -> None:
        """Spare the packets of this peer the longer header (RFC 8656 §12)."""
        number = _FIRST_CHANNEL + len(self._channels)
        if (
            self._state is _State.ALLOCATED
            and peer not in self._channels
            and len(self._channels) < _PEERS
        ):
            self._channels[peer] = _Channel(number)
            self._peers[number] = peer
            self._ask_channel(peer, now)

    def wrap(self, data: bytes, peer: Address) -> bytes:
        """The frame that makes the server send `data` to `peer`."""
        channel = self._channels.get(peer)
        if channel is not None and channel.bound:
            return _pad(struct.pack("!HH", channel.number, len(data)) + data, self._reliable)
        attributes = ((stun.XOR_PEER_ADDRESS, peer), (stun.DATA, data))
        message = Message(Method.SEND, Kind.INDICATION, self._random(12), attributes)
        return message.encode(fingerprint=False)

    def close(self, now: float) -> None:
        """Give the allocation back (RFC 8656 §8.2), once and without waiting for the answer."""
        if self._state is _State.ALLOCATED:
            self._requests.clear()
            self._request(Method.REFRESH, ((stun.LIFETIME, 0),), ("", 0), now)
        self._end()

    # --- inputs

    def receive(self, frame: bytes, now: float) -> tuple[Address, bytes] | None:
        """A frame of the server's. A payload is returned with the peer it came from; who that is
        must be judged by the caller. Broken frames are ignored."""
        if len(frame) >= 4 and 0x40 <= frame[0] < 0x50:
            number, length = struct.unpack_from("!HH", frame)
            peer = self._peers.get(number)
            if peer is None or len(frame) < 4 + length:
                return None
            return peer, frame[4 : 4 + length]
        try:
            message = Message.parse(frame)
        except StunError:
            return None
        if message.kind is Kind.INDICATION:
            source, data = message.get(stun.XOR_PEER_ADDRESS), message.get(stun.DATA)
            if message.method == Method.DATA and source is not None and data is not None:
                return source, data
            return None
        request = self._requests.get(message.transaction_id)
        if request is None or message.method != request.method:
            return None
        if message.kind is Kind.SUCCESS:
            key = self._challenge.key
            if request.signed and key is not None and not message.verify(key):
                return None
            del self._requests[message.transaction_id]
            self._succeeded(request, message, now)
        elif message.kind is Kind.ERROR:
            del self._requests[message.transaction_id]
            self._refused(request, message, now)
        return None

    def handle_timer(self, now: float) -> None:
        """Send again, refresh, give up: whatever is due."""
        for transaction_id, request in list(self._requests.items()):
            if request.at > now or transaction_id not in self._requests:
                continue
            if self._reliable or stun.exhausted(request.sent):
                del self._requests[transaction_id]
                self._failed(request, "the TURN server does not answer")
            else:
                self._send(request, now)
        if self._state is not _State.ALLOCATED:
            return
        if self._refresh_at is not None and self._refresh_at <= now:
            self._refresh_at = None
            self._request(Method.REFRESH, ((stun.LIFETIME, _LIFETIME),), ("", 0), now)
        for host, permission in self._permissions.items():
            if permission.refresh_at is not None and permission.refresh_at <= now:
                permission.refresh_at = None
                self._ask_permission(host, now)
        for peer, channel in self._channels.items():
            if channel.refresh_at is not None and channel.refresh_at <= now:
                channel.refresh_at = None
                self._ask_channel(peer, now)
        if self._keepalive_at is not None and self._keepalive_at <= now:
            self._keepalive_at = now + _KEEPALIVE
            message = Message(Method.BINDING, Kind.INDICATION, self._random(12))
            self._outputs.append(message.encode())

    def deadline(self) -> float | None:
        """When `handle_timer` is wanted next."""
        times = [request.at for request in self._requests.values()]
        if self._state is _State.ALLOCATED:
            refreshes = [self._refresh_at, self._keepalive_at]
            refreshes += [each.refresh_at for each in self._permissions.values()]
            refreshes += [each.refresh_at for each in self._channels.values()]
            times += [at for at in refreshes if at is not None]
        return min(times, default=None)

    def poll(self) -> list[TurnOutput]:
        """Outputs since the last call, in order."""
        outputs, self._outputs = self._outputs, []
        return outputs

    # --- transactions

    def _ask_permission(self, host: str, now: float) -> None:
        attributes = ((stun.XOR_PEER_ADDRESS, (host, 0)),)
        self._request(Method.CREATE_PERMISSION, attributes, (host, 0), now)

    def _ask_channel(self, peer: Address, now: float) -> None:
        number = self._channels[peer].number
        attributes = ((stun.CHANNEL_NUMBER, number), (stun.XOR_PEER_ADDRESS, peer))
        self._request(Method.CHANNEL_BIND, attributes, peer, now)

    def _request(
        self,
        method: Method,
        attributes: tuple[tuple[Attribute[Any], Any], ...],
        subject: Address,
        now: float,
    ) -> None:
        self._start(_Request(method, attributes, subject), now)

    def _start(self, request: _Request, now: float) -> None:
        transaction_id = self._random(stun.TRANSACTION_ID_SIZE)
        attributes = request.attributes
        challenge = self._challenge
        if challenge.key is not None:
            attributes += (
                (stun.USERNAME, self._username),
                (stun.REALM, challenge.realm),
                (stun.NONCE, challenge.nonce),
            )
        message = Message(request.method, Kind.REQUEST, transaction_id, attributes)
        request.frame = message.encode(challenge.key)
        request.signed = challenge.key is not None
        request.sent = 0
        self._requests[transaction_id] = request
        self._send(request, now)

    def _send(self, request: _Request, now: float) -> None:
        request.sent += 1
        request.at = now + (_STREAM_TIMEOUT if self._reliable else stun.interval(request.sent))
        self._outputs.append(request.frame)

    def _succeeded(self, request: _Request, message: Message, now: float) -> None:
        match request.method:
            case Method.ALLOCATE:
                self._allocated(message, now)
            case Method.REFRESH:
                self._plan_refresh(message, now)
            case Method.CREATE_PERMISSION:
                host = request.subject[0]
                permission = self._permissions[host]
                permission.refresh_at = now + _REFRESH_PERMISSION
                if not permission.granted:
                    permission.granted = True
                    self._outputs.append(Permitted(host))
            case Method.CHANNEL_BIND:
                channel = self._channels[request.subject]
                channel.bound = True
                channel.refresh_at = now + _REFRESH_CHANNEL

    def _allocated(self, message: Message, now: float) -> None:
        relayed = message.get(stun.XOR_RELAYED_ADDRESS)
        if relayed is None:
            self._lose("the TURN server gave no address")
            return
        self.relayed = relayed
        self._state = _State.ALLOCATED
        self._plan_refresh(message, now)
        self._keepalive_at = now + _KEEPALIVE
        self._outputs.append(Allocated(relayed, message.get(stun.XOR_MAPPED_ADDRESS)))

    def _plan_refresh(self, message: Message, now: float) -> None:
        lifetime = message.get(stun.LIFETIME) or _LIFETIME
        # A minute early leaves room for a lost request or two; short lifetimes get three quarters.
        self._refresh_at = now + max(lifetime - 60, lifetime * 0.75)

    def _refused(self, request: _Request, message: Message, now: float) -> None:
        code, reason = message.get(stun.ERROR_CODE) or (0, "")
        nonce = message.get(stun.NONCE)
        again = code == 438 or (code == 401 and not request.signed)
        if again and nonce is not None and request.challenges < _CHALLENGES:
            realm = message.get(stun.REALM) or self._challenge.realm
            key = stun.long_term_key(self._username, realm, self._credential)
            self._challenge = _Challenge(realm, nonce, key)
            request.challenges += 1
            self._start(request, now)
            return
        words = "".join(each for each in reason if each.isprintable())[:80]
        self._failed(request, f"the TURN server refused: {code} {words}".rstrip())

    def _failed(self, request: _Request, text: str) -> None:
        match request.method:
            case Method.ALLOCATE | Method.REFRESH:
                self._lose(text)
            case Method.CREATE_PERMISSION:
                host = request.subject[0]
                self._permissions[host].granted = False
                self._outputs.append(Refused(host))
            case Method.CHANNEL_BIND:
                # Indications do the same at the price of some bytes.
                self._channels[request.subject].bound = False

    def _lose(self, text: str) -> None:
        if self._state is not _State.OVER:
            self._end()
            self._outputs.append(Lost(text))

    def _end(self) -> None:
        self._state = _State.OVER
        self.relayed = None
        self._requests.clear()
        self._permissions.clear()
        self._channels.clear()
        self._peers.clear()


class StreamFramer:
    """Cuts a TCP or TLS stream from a TURN server into frames (RFC 8656 §12.5)."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that are whole by now, without padding. `StunError` when the stream is no
        TURN: nothing can be made of it any more. Keeps less than one frame (64 KiB)."""
        buffer = self._buffer
        buffer += data
        frames: list[bytes] = []
        at = 0
        while len(buffer) - at >= 4:
            first, length = buffer[at], int.from_bytes(buffer[at + 2 : at + 4], "big")
            if first < 0x40:
                size = padded = stun.HEADER_SIZE + length
            elif first < 0x50:
                size = 4 + length
                padded = size + (-size % 4)
            else:
                raise StunError("the stream is out of step")
            if len(buffer) - at < padded:
                break
            frames.append(bytes(buffer[at : at + size]))
            at += padded
        del buffer[:at]
        return frames


def _pad(frame: bytes, reliable: bool) -> bytes:
    """On streams ChannelData ends on a multiple of four bytes."""
    return frame + bytes(-len(frame) % 4) if reliable else frame
