"""In-memory transports, and a loop with virtual time: what the driver stands on, under control."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

from sip.events import Event
from sip.framing import Malformed
from sip.io.client import TrunkDown, TrunkUp
from sip.io.flow import Connection
from sip.message import Message

T = TypeVar("T")
Said = Event | TrunkUp | TrunkDown
E = TypeVar("E")


class Inbox:
    """What the client said, to be waited for."""

    def __init__(self) -> None:
        self.said: list[Said] = []
        self._happened = asyncio.Event()

    def __call__(self, event: Said) -> None:
        self.said.append(event)
        self._happened.set()

    async def expect(self, kind: type[E]) -> E:
        """Wait for an event of a kind; it is taken out."""
        while True:
            for event in self.said:
                if isinstance(event, kind):
                    self.said.remove(event)
                    return event
            self._happened.clear()
            await self._happened.wait()


class Ear:
    """A `FlowListener` that remembers.

    Attributes:
        made: connections that stood.
        heard: messages, of all of them.
        lost: reasons.
    """

    def __init__(self) -> None:
        self.made: list[Connection] = []
        self.heard: list[Message | Malformed] = []
        self.lost: list[str] = []
        self._happened = asyncio.Event()

    def flow_made(self, connection: Connection) -> None:
        self.made.append(connection)

    def flow_heard(self, connection: Connection, message: Message | Malformed) -> None:
        self.heard.append(message)
        self._happened.set()

    def flow_ponged(self, connection: Connection) -> None:
        """Nobody was pinged."""

    def flow_lost(self, connection: Connection, reason: str) -> None:
        self.lost.append(reason)

    async def hear(self, count: int) -> None:
        """Wait until `count` messages arrived."""
        while len(self.heard) < count:
            self._happened.clear()
            await self._happened.wait()


class FakeTransport(asyncio.Transport):
    """Takes what is written; the test is the peer.

    Attributes:
        written: all bytes, in order.
        high: what `set_write_buffer_limits` was told.
        on_write: called with each piece that is written.
    """

    def __init__(self, protocol: asyncio.BaseProtocol, *, local_port: int = 40000) -> None:
        super().__init__(
            {"sockname": ("192.0.2.1", local_port), "peername": ("192.0.2.9", 5061), "socket": None}
        )
        self.written = bytearray()
        self.high: int | None = None
        self.on_write: Callable[[bytes], None] = lambda data: None
        self._protocol = cast(asyncio.Protocol, protocol)
        self._closing = False

    def write(self, data: "bytes | bytearray | memoryview[int]") -> None:
        assert not self._closing
        self.written += data
        self.on_write(bytes(data))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = high

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self.lose(None)

    def abort(self) -> None:
        self.lose(None)

    # --- the peer's side

    def lose(self, error: Exception | None) -> None:
        """End the connection, as the network would."""
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, error)

    def deliver(self, data: bytes) -> None:
        """Let `data` arrive."""
        if not self._closing:
            self._protocol.data_received(data)


class _Selector(selectors.DefaultSelector):
    """Instead of waiting, moves the clock to where the waiting would have ended."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "all wait for nothing: the test would hang"
            self.now += max(0.0, timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop on which an hour passes in a moment; only for code without real sockets."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` on a `VirtualLoop`."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
