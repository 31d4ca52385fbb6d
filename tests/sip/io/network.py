"""A network without sockets: what answers at each address is a script, and time is virtual."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from sip.events import Event
from sip.framing import Broken, Framer, Malformed, Ping
from sip.io.backoff import Pace
from sip.io.client import TrunkClient, TrunkDown, TrunkUp
from sip.io.flow import Connection, FlowListener
from sip.io.resolver import ResolveError, Target
from sip.message import Response
from sip.trunk import Trunk
from tests.sip.io.registrar import Registrar
from tests.sip.io.wiring import FakeTransport, run_virtually

TRUNK = Trunk(name="test", domain="pbx.example", username="bridge", password="secret")


@dataclass
class Network:
    """Addresses, what answers at each, and all that happened, with its time.

    Attributes:
        hosts: host → the registrar there, or the error of connecting, in the order of DNS.
        lookups: when the name was looked up.
        attempts: when and to where we connected or tried.
        close_on: a status after which the other side resets the connection.
        pace: the turns of the clients; each has its own if None.
        said: what the client told its listener, with the time.
    """

    hosts: dict[str, Registrar | Exception] = field(default_factory=lambda: {"a": Registrar()})
    trunk: Trunk = TRUNK
    chance: Callable[[], float] = lambda: 0.5
    unresolvable: str = ""
    lookups: list[float] = field(default_factory=list)
    attempts: list[tuple[float, str]] = field(default_factory=list)
    transports: list[FakeTransport] = field(default_factory=list)
    said: list[tuple[float, Event | TrunkUp | TrunkDown]] = field(default_factory=list)
    close_on: int = 0
    pace: Pace | None = None
    began: float = 0.0

    def now(self) -> float:
        return asyncio.get_running_loop().time() - self.began

    def client(self) -> TrunkClient:
        self.began = self.began or asyncio.get_running_loop().time()
        return TrunkClient(
            self.trunk,
            listener=lambda event: self.said.append((self.now(), event)),
            resolver=self,
            connector=self.connect,
            chance=self.chance,
            pace=self.pace,
        )

    @property
    def line(self) -> list[tuple[float, str]]:
        """When the listener was told that the line is up or down."""
        return [
            (round(at, 3), type(event).__name__)
            for at, event in self.said
            if isinstance(event, TrunkUp | TrunkDown)
        ]

    def cut(self) -> None:
        """Reset the live connection."""
        self.transports[-1].lose(ConnectionResetError(104, "reset"))

    def cut_all(self) -> None:
        """Reset every connection that was ever made."""
        for transport in self.transports:
            transport.lose(ConnectionResetError(104, "reset"))

    # --- Resolver and Connector

    async def resolve(self, trunk: Trunk) -> list[Target]:
        self.lookups.append(self.now())
        if self.unresolvable:
            raise ResolveError(self.unresolvable)
        return [Target(host, 5061, host, socket.AF_INET) for host in self.hosts]

    async def connect(
        self, trunk: Trunk, target: Target, *, id: int, listener: FlowListener
    ) -> Connection:
        self.attempts.append((round(self.now(), 3), target.host))
        there = self.hosts[target.host]
        if isinstance(there, Exception):
            raise there.with_traceback(None)  # raised again and again, it would remember each time
        connection = Connection(id=id, trunk=trunk, listener=listener)
        transport = FakeTransport(connection, local_port=40000 + id)
        framer = Framer()

        def hear(data: bytes) -> None:
            for frame in framer.feed(data):
                if isinstance(frame, Ping):
                    continue  # two pongs in a row look like one
                assert not isinstance(frame, Malformed | Broken), frame
                for answer in there.take(frame):
                    loop.call_soon(transport.deliver, bytes(answer))
                    if isinstance(answer, Response) and answer.status == self.close_on:
                        loop.call_soon(self.cut)

        loop = asyncio.get_running_loop()
        transport.on_write = hear
        self.transports.append(transport)
        connection.connection_made(transport)
        return connection


def played(network: Network, play: Callable[[TrunkClient], Awaitable[None]]) -> None:
    """Start a client on virtual time, run `play`, stop the client."""

    async def main() -> None:
        client = network.client()
        await client.start()
        await play(client)
        await client.stop()

    run_virtually(main())


def is_up(client: TrunkClient) -> bool:
    return client.status.up


def after(seconds: float) -> Callable[[TrunkClient], Awaitable[None]]:
    async def play(client: TrunkClient) -> None:
        await asyncio.sleep(seconds)

    return play
