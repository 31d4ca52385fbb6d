"""A wire between a phone and its server that can be cut."""

import asyncio
import contextlib
from types import TracebackType

from tests.lab.ports import HOST


class Relay:
    """`async with Relay(port) as relay`: what comes to `relay.port` goes on to `port`, unread."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def port(self) -> int:
        assert self._server is not None, "not started"
        return int(self._server.sockets[0].getsockname()[1])

    async def __aenter__(self) -> "Relay":
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None, "not started"
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """Reset every connection on both sides, without a word; new ones may come."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(HOST, self._to)
        ends = {writer, far_writer}
        self._writers |= ends
        try:
            await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))
        finally:
            self._writers -= ends
            for end in ends:
                end.close()


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()
