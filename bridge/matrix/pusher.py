"""Notices that the homeserver, or the worker of it that pushes to us, has ended and is back.

What ends in the middle of its pushes can lose the events behind the one in flight, for which
`bridge.reconcile` makes up. Whoever asks it for something while it is away knows; but a worker that
pushes is asked by nobody, and a quick restart falls between two probes. Its connection knows: a
homeserver keeps it for minutes; one that ends while a push is in flight, or just after, was cut.

A homeserver or a proxy that closes each connection after its push tells us nothing in this way.
"""

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

# After a push; what was behind it in the homeserver's queue has long followed by then.
SOON = 1.0


class Pusher:
    """The homeserver's end of the connection that its pushes come by.

    Args:
        on_cut: told when it was cut; returns at once.
        sleep: waits; replaced by tests.
    """

    def __init__(
        self,
        *,
        on_cut: Callable[[], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._on_cut = on_cut
        self._sleep = sleep
        self._pushed = asyncio.Event()
        self._connection: asyncio.BaseTransport | None = None
        self._is_kept = False  # whether it uses a connection more than once

    def note(self, request: web.Request) -> None:
        """A push is about to be answered."""
        connection = request.transport
        if connection is None:  # nobody waits for the answer
            self._on_cut()
            return
        self._is_kept = self._is_kept or connection is self._connection
        self._connection = connection
        self._pushed.set()

    async def watch(self) -> None:
        """Look after the connection; never returns."""
        while True:
            await self._pushed.wait()
            self._pushed.clear()
            await self._sleep(SOON)
            if self._connection is not None and self._connection.is_closing():
                self._connection = None
                if self._is_kept:
                    self._on_cut()
