"""The port to which peers send datagrams (`listener.insecure_udp`): a flow for each that may.

UDP has no connection that could be proven: the sender's address is all there is, and it can be
forged. So only trunks that name networks are reached here, datagrams from elsewhere are dropped
unread, and the setting is called what it is. A flow is one address and port of a peer's; the one
that was silent for longest gives way when a trunk has too many.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from typing import cast

from sip.io.door import Door, Stranger
from sip.io.flow import Connection, plain

logger = logging.getLogger(__name__)

MAX_FLOWS = 32  # of one trunk: as many as it may have connections


class DatagramPort(asyncio.DatagramProtocol):
    """Sorts datagrams by where they come from.

    Args:
        doors: the trunks that are reached here.
    """

    def __init__(self, doors: Sequence[Door]) -> None:
        self._doors = [door for door in doors if _is_open(door)]
        self._flows: dict[tuple[str, int], tuple[Door, Connection]] = {}
        self._transport: asyncio.DatagramTransport | None = None

    def close(self) -> None:
        """Close the port and with it all flows."""
        for _, connection in list(self._flows.values()):
            connection.close("stopped")
        if self._transport is not None:
            self._transport.close()

    # --- asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Python 3.11's datagram transport is none by class.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        key = (addr[0], addr[1])
        if key not in self._flows and not self._open(key, addr):
            return
        _, connection = self._flows[key]
        connection.datagram_received(data, addr)

    # ---

    def _open(self, key: tuple[str, int], addr: tuple[str, int]) -> bool:
        """Make a flow for a new address, if it may have one."""
        address = plain(addr[0])
        door = next((door for door in self._doors if door.is_open_to(address)), None)
        if door is None or self._transport is None:
            logger.debug("a datagram from %s is nobody's", address)
            return False
        self._make_room(door)
        stranger = Stranger()
        stranger.meets(door)
        connection = Connection(id=0, trunk=None, listener=stranger, transport="UDP", inbound=True)
        path = _Path(self._transport, addr, lambda: self._forget(key, connection))
        self._flows[key] = door, connection
        connection.connection_made(path)
        return key in self._flows and not path.is_closing()

    def _make_room(self, door: Door) -> None:
        flows = [connection for owner, connection in self._flows.values() if owner is door]
        if len(flows) >= MAX_FLOWS:
            min(flows, key=lambda flow: flow.heard_at).abort("another one took its place")

    def _forget(self, key: tuple[str, int], connection: Connection) -> None:
        if self._flows.get(key, (None, None))[1] is connection:
            del self._flows[key]
        connection.connection_lost(None)


class _Path(asyncio.DatagramTransport):
    """The transport of one flow: the shared port, and where to send."""

    def __init__(
        self,
        port: asyncio.DatagramTransport,
        addr: tuple[str, int],
        on_close: Callable[[], None],
    ) -> None:
        peer = plain(addr[0])
        _, number, *_ = port.get_extra_info("sockname")
        super().__init__({"sockname": (_way_to(peer), number), "peername": (peer, addr[1])})
        self._port = port
        self._addr = addr
        self._on_close = on_close
        self._closing = False

    def sendto(self, data: bytes, addr: tuple[str, int] | None = None) -> None:  # type: ignore[override]
        """Send to the peer; of `addr` only the port counts."""
        if not self._port.is_closing():
            port = self._addr[1] if addr is None else addr[1]
            self._port.sendto(data, (self._addr[0], port, *self._addr[2:]))

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._on_close()

    def abort(self) -> None:
        self.close()


def _way_to(peer: str) -> str:
    """Which of our addresses a peer sees; the port itself may be bound to all of them."""
    family = socket.AF_INET6 if ":" in peer else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as tried:
        try:
            tried.connect((peer, 9))  # nothing is sent by that
        except OSError as error:
            logger.debug("no way back to %s: %s", peer, error)
        return str(tried.getsockname()[0])


def _is_open(door: Door) -> bool:
    """Whether a trunk wants no more proof than an address."""
    inbound = door.inbound
    return bool(inbound.networks) and not inbound.certificate and not inbound.digest
