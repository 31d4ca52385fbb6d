"""The way in for a peer that comes to us: what it must show, and how a stranger is kept waiting.

Nothing of a stranger reaches an agent. He is heard only where he is to prove a password, and then
only as far as that goes; see `sip.io.listener`.
"""

import asyncio
import ipaddress
import logging
from dataclasses import dataclass

from sip.framing import Malformed
from sip.io.certificate import Certificate
from sip.io.client import TrunkClient
from sip.io.flow import Connection
from sip.message import Message, Request
from sip.trunk import Inbound

logger = logging.getLogger(__name__)

MAX_QUESTIONS = 8  # requests that a stranger may try to prove himself with


@dataclass(frozen=True, slots=True)
class Door:
    """The way to one trunk."""

    client: TrunkClient
    inbound: Inbound

    def is_open_to(self, address: str) -> bool:
        """Whether somebody at `address` can be the peer."""
        if not self.inbound.networks:
            return self.inbound.certificate is not None or self.inbound.digest
        ip = ipaddress.ip_address(address)
        return any(
            ip in ipaddress.ip_network(network, strict=False) for network in self.inbound.networks
        )

    def opens_to(self, address: str, certificate: Certificate | None) -> bool:
        """Whether somebody with this certificate, verified, is the peer."""
        name = self.inbound.certificate
        named = name is None or (certificate is not None and certificate.carries(name))
        return named and self.is_open_to(address)


class Stranger:
    """Stands at a door until he is let in or sent away.

    Attributes:
        settled: set when that is decided.
    """

    def __init__(self) -> None:
        self.settled = asyncio.Event()
        self._door: Door | None = None
        self._connection: Connection | None = None
        self._questions = 0

    def meets(self, door: Door) -> None:
        """Let what he showed so far be enough for `door`."""
        self._door = door

    def turn_away(self, reason: str) -> None:
        """Hang up, if he is still a stranger."""
        if self._connection is not None and not self.settled.is_set():
            self._connection.abort(reason)

    # --- FlowListener

    def flow_made(self, connection: Connection) -> None:
        self._connection = connection
        assert self._door is not None, "the check lets nobody pass who has met no door"
        if not self._door.inbound.digest:
            self._let_in(connection, self._door)

    def flow_heard(self, connection: Connection, message: Message | Malformed) -> None:
        assert self._door is not None, "nobody is heard before he met a door"
        if not isinstance(message, Request) or message.method == "ACK":
            return
        self._questions += 1
        client = self._door.client
        answer = client.agent.recognise(message, now=client.now())
        if answer is None:
            self._let_in(connection, self._door)
            connection.listener.flow_heard(connection, message)
        elif self._questions > MAX_QUESTIONS:
            self.turn_away("he asked too often")
        elif message.method != "CANCEL":  # which cannot be challenged (§22.1)
            connection.send(answer)

    def flow_ponged(self, connection: Connection) -> None:
        """Nobody was pinged."""

    def flow_lost(self, connection: Connection, reason: str) -> None:
        self.settled.set()
        logger.info("a stranger is gone: %s", reason)

    # ---

    def _let_in(self, connection: Connection, door: Door) -> None:
        self.settled.set()
        if not door.client.adopt(connection):
            connection.abort("no room for another connection")
