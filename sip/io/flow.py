"""One connection to a trunk as an asyncio protocol: bytes to messages and back, and the end of it.

TLS is the transport; TCP and UDP only where the trunk's settings ask for them by the name
`insecure_transport`. The connection frames what arrives, answers the peer's keep-alive pings
(RFC 5626 §3.5.1), writes what it is given, and says once that it is lost and why. It knows neither
the user agent nor the clock.

A peer that stops reading, or whose bytes are no SIP, costs it the connection: on a stream there is
no place to begin anew (RFC 3261 §18.3), and a queue without bound would only hide the loss.
"""

import asyncio
import ipaddress
import logging
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Protocol, cast

from sip.agent import Flow
from sip.framing import PING, PONG, Broken, Frame, Framer, Malformed, Ping, frame_datagram
from sip.io.resolver import Target
from sip.io.tls import Renewed, check_peer, client_context, explain, server_name, system_authorities
from sip.io.wirelog import shown
from sip.message import Message, Response
from sip.trunk import TlsSettings, Trunk

logger = logging.getLogger(__name__)
wire = logging.getLogger("sip.wire")

CONNECT_LIMIT = 4.0  # TCP and TLS together, so that the next target gets its turn within 5 s
WRITE_LIMIT = (
    256 * 1024
)  # octets not yet taken by the peer: hundreds of messages, a minute of silence
MAX_DATAGRAM = 65_507  # what UDP over IPv4 carries
SAFE_DATAGRAM = 1300  # what arrives in one piece nearly everywhere (RFC 3261 §18.1.1)
DEFAULT_PORT = 5060  # of UDP (§19.1.2)
USER_TIMEOUT_MS = 15_000  # sent and not acknowledged for so long: the way is broken (RFC 5482)
REST_LIMIT = 32.0  # for the rest of a message: then its transaction is over anyway (64*T1)
KEEPALIVE_IDLE = 30
KEEPALIVE_INTERVAL = 10
KEEPALIVE_PROBES = 3


class FlowListener(Protocol):
    """Hears of the life of connections."""

    def flow_made(self, connection: "Connection") -> None:
        """The connection stands, TLS included; nothing was received yet."""
        ...

    def flow_heard(self, connection: "Connection", message: Message | Malformed) -> None:
        """One message arrived."""
        ...

    def flow_ponged(self, connection: "Connection") -> None:
        """Nothing but line ends arrived: the answer to our ping, if we sent one."""
        ...

    def flow_lost(self, connection: "Connection", reason: str) -> None:
        """The connection is gone, said once; `reason` is for people."""
        ...


class Connection(asyncio.Protocol, asyncio.DatagramProtocol):
    """One flow of a trunk.

    Args:
        id: number of the flow, not used again by its owner.
        trunk: whose flow this is; None while a peer has not shown yet who it is.
        listener: hears what happens.
        transport: "TLS", "TCP" or "UDP" where that is not the trunk's.
        inbound: whether the peer opened it.
        check: looks at the other side (its TLS, None without) before anybody hears of the
            connection; raises ssl.SSLError to end it.

    Attributes:
        listener: hears what happens; another one after `hand_over`.
        refused: what `check` raised.
        transport_name: "TLS", "TCP" or "UDP".
        heard_at: loop time at which something was received last.
    """

    def __init__(
        self,
        *,
        id: int,
        trunk: Trunk | None,
        listener: FlowListener,
        transport: str | None = None,
        inbound: bool = False,
        check: Callable[[ssl.SSLObject | None], None] | None = None,
    ) -> None:
        self.id = id
        self.inbound = inbound
        self.refused: ssl.SSLError | None = None
        insecure = None if trunk is None else trunk.insecure_transport
        self.transport_name = transport or (insecure or "tls").upper()
        self.heard_at = 0.0
        self._trunk = trunk
        self.listener = listener
        self._check = check
        self._framer = Framer()
        self._rest: asyncio.TimerHandle | None = None  # for the rest of a message that has begun
        self._fragments = False  # whether a datagram was too long for one packet
        self._transport: asyncio.Transport | None = None
        self._why_closed: str | None = None
        self._lost = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Connection {self.id} {self._name} {self.transport_name}>"

    # --- for the owner

    def flow(self) -> Flow:
        """This connection as the user agent sees it."""
        local_host, local_port = _address(self.extra("sockname"))
        remote_host, remote_port = _address(self.extra("peername"))
        return Flow(
            id=self.id,
            transport=self.transport_name,
            local_host=local_host,
            local_port=local_port,
            remote_host=remote_host,
            remote_port=remote_port,
            inbound=self.inbound,
        )

    def hand_over(self, *, id: int, trunk: Trunk, listener: FlowListener) -> None:
        """Let a connection whose peer has proven itself be a flow of its trunk."""
        self.id, self._trunk, self.listener = id, trunk, listener
        listener.flow_made(self)

    def extra(self, name: str) -> object:
        """What asyncio's transport says of `name`, None when it knows nothing."""
        return None if self._transport is None else self._transport.get_extra_info(name)

    def send(self, message: Message) -> None:
        """Write one message; without effect on a connection that is closing."""
        if self._transport is None or self._transport.is_closing():
            return
        self._log(">", message)
        if self.transport_name == "UDP":
            self._send_datagram(message)
        else:
            self._write(bytes(message))

    def ping(self) -> None:
        """Write the ping of RFC 5626 §3.5.1; without effect on a connection that is closing."""
        if self._transport is not None and not self._transport.is_closing():
            self._write(PING)

    def close(self, reason: str) -> None:
        """Close after what was written has left; `flow_lost` follows."""
        if self._transport is not None and self._why_closed is None:
            self._why_closed = reason
            self._transport.close()

    def abort(self, reason: str) -> None:
        """Close at once; `flow_lost` follows."""
        if self._transport is not None:
            self._why_closed = self._why_closed or reason
            self._transport.abort()

    async def wait_lost(self) -> None:
        """Wait until `flow_lost` was said."""
        await self._lost.wait()

    # --- asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Python 3.11's datagram transport is no DatagramTransport by class; what both kinds share
        # (close, abort, is_closing, get_extra_info) is what is used through this name.
        self._transport = cast(asyncio.Transport, transport)
        self.heard_at = asyncio.get_running_loop().time()
        if self.transport_name != "UDP":
            self._transport.set_write_buffer_limits(high=WRITE_LIMIT)
            _tune(transport.get_extra_info("socket"))
        if self._check is not None:
            secure = self.extra("ssl_object")
            try:
                self._check(secure if isinstance(secure, ssl.SSLObject) else None)
            except ssl.SSLError as error:
                self.refused = error
                self.abort(explain(error))
                return
        self.listener.flow_made(self)

    def data_received(self, data: bytes) -> None:
        self.heard_at = asyncio.get_running_loop().time()
        if not data.strip(b"\r\n"):
            self.listener.flow_ponged(self)
        frames = self._framer.feed(data)
        for frame in frames:
            self._take(frame)
        if frames or not self._framer.waiting:
            self._stop_waiting()
        if self._framer.waiting and self._rest is None:
            loop = asyncio.get_running_loop()
            why = "a message of the other side did not come to its end"
            self._rest = loop.call_later(REST_LIMIT, self.abort, why)

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.heard_at = asyncio.get_running_loop().time()
        if (frame := frame_datagram(data)) is not None:
            self._take(frame)

    def eof_received(self) -> bool:
        self._why_closed = self._why_closed or "the other side closed the connection"
        return False

    def error_received(self, exc: Exception) -> None:
        self.abort(explain(exc))

    def pause_writing(self) -> None:
        self.abort("the other side does not read what we send")

    def connection_lost(self, exc: Exception | None) -> None:
        reason = self._why_closed
        if reason is None:
            reason = "the connection was closed" if exc is None else explain(exc)
        self._why_closed = reason
        self._stop_waiting()
        self._lost.set()
        if self.refused is None:
            self.listener.flow_lost(self, reason)

    # ---

    @property
    def _name(self) -> str:
        return "a stranger" if self._trunk is None else self._trunk.name

    def _stop_waiting(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None

    def _take(self, frame: Frame) -> None:
        if self._why_closed is not None:
            return  # what follows a farewell is nobody's
        match frame:
            case Ping():
                self._write(PONG)
            case Malformed(error, _):
                logger.warning("%s sent a message that cannot be used: %s", self._name, error)
                self.listener.flow_heard(self, frame)
            case Broken(error, request):
                if request is not None:
                    self.listener.flow_heard(self, Malformed(error, request))
                self.close(f"the other side sent what is not SIP ({error.reason})")
            case message:
                self._log("<", message)
                self.listener.flow_heard(self, message)

    def _log(self, direction: str, message: Message) -> None:
        if wire.isEnabledFor(logging.DEBUG):
            text = shown(bytes(message))
            wire.debug("%s %d %s\n%s", self._name, self.id, direction, text)

    def _send_datagram(self, message: Message) -> None:
        data = bytes(message)
        if len(data) > MAX_DATAGRAM:
            logger.error("%s: %d octets fit no datagram: not sent", self._name, len(data))
            return
        if len(data) > SAFE_DATAGRAM and not self._fragments:
            self._fragments = True
            logger.warning(
                "%s: a message of %d octets goes in fragments, which some networks drop; with "
                "insecure_transport: tcp, or better TLS, it would go as it is",
                self._name,
                len(data),
            )
        transport = cast(asyncio.DatagramTransport, self._transport)
        if self.inbound and isinstance(message, Response):
            # RFC 3581 §4: back to where the request came from, if its sender said that he hears us
            # there; else to the port that he named (RFC 3261 §18.2.2).
            via = message.headers.via
            if "rport" not in via.parameters:
                host, _ = _address(self.extra("peername"))
                transport.sendto(data, (host, via.port or DEFAULT_PORT))
                return
        transport.sendto(data)

    def _write(self, data: bytes) -> None:
        if self._transport is None:
            return
        if self.transport_name == "UDP":
            cast(asyncio.DatagramTransport, self._transport).sendto(data)
        else:
            self._transport.write(data)


class Dialer:
    """Opens the flows of one trunk; `TrunkClient` has one.

    Certificates are read for each connection, so that a renewed one is used by the next.
    """

    def __init__(self, tls: TlsSettings) -> None:
        authorities = system_authorities() if tls.ca_file is None else (tls.ca_file,)
        files = (*authorities, tls.certificate_file, tls.key_file)
        self._renewed = Renewed(partial(client_context, tls), files)

    async def __call__(
        self, trunk: Trunk, target: Target, *, id: int, listener: FlowListener
    ) -> Connection:
        """Open a flow, as `connect` does."""
        context = None if trunk.insecure_transport else self._renewed.context()
        return await connect(trunk, target, id=id, listener=listener, context=context)


async def connect(
    trunk: Trunk,
    target: Target,
    *,
    id: int,
    listener: FlowListener,
    limit: float = CONNECT_LIMIT,
    context: ssl.SSLContext | None = None,
) -> Connection:
    """Open a flow to `target`; over TLS the certificate is verified before a byte of SIP is sent.

    Args:
        limit: seconds for TCP and TLS together.
        context: made from the trunk's settings before.

    Raises:
        OSError: the network or TLS refused (ssl.SSLError is one); `sip.io.tls.explain` has words.
        TimeoutError: nothing came of it within `limit`.
        TlsSettingsError: a file named in the trunk's settings cannot be used.
    """
    loop = asyncio.get_running_loop()

    def make() -> Connection:
        check = None if trunk.insecure_transport else partial(check_peer, trunk=trunk)
        return Connection(id=id, trunk=trunk, listener=listener, check=check)

    async with asyncio.timeout(limit):
        if trunk.insecure_transport == "udp":
            _, connection = await loop.create_datagram_endpoint(
                make, remote_addr=(target.address, target.port)
            )
            return connection
        if trunk.insecure_transport == "tcp":
            _, connection = await loop.create_connection(make, target.address, target.port)
            return connection
        _, connection = await loop.create_connection(
            make,
            target.address,
            target.port,
            ssl=context or client_context(trunk.tls),
            server_hostname=server_name(trunk),
            ssl_shutdown_timeout=1.0,
        )
        if connection.refused is not None:
            raise connection.refused
        return connection


def plain(address: str) -> str:
    """A numeric address as people write it: IPv4 behind a socket of both kinds looks like IPv6."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return str(mapped or ip)


def _address(name: object) -> tuple[str, int]:
    """Host and port of a socket name; IPv6 names have two fields more."""
    return (plain(name[0]), int(name[1])) if isinstance(name, tuple) else ("", 0)


def _tune(sock: socket.socket | None) -> None:
    """Let the kernel notice a broken way within seconds; where it cannot, OPTIONS still does."""
    if sock is None:
        return
    settings = {
        "TCP_KEEPIDLE": KEEPALIVE_IDLE,
        "TCP_KEEPINTVL": KEEPALIVE_INTERVAL,
        "TCP_KEEPCNT": KEEPALIVE_PROBES,
        "TCP_USER_TIMEOUT": USER_TIMEOUT_MS,
    }
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in settings.items():
            if (option := getattr(socket, name, None)) is not None:
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
    except OSError as error:
        logger.debug("cannot tune the socket: %s", error)
