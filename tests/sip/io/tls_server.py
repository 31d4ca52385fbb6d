"""A TLS server on loopback that remembers what was said to it after the handshake."""

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path


def server_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@dataclass
class Listener:
    """What the server saw.

    Attributes:
        heard: bytes of the application.
        accepted: connections whose handshake was complete on the server's side.
    """

    port: int = 0
    heard: bytearray = field(default_factory=bytearray)
    accepted: int = 0
    _happened: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, data: bytes) -> None:
        self.heard.extend(data)
        self._happened.set()

    async def hear(self, count: int) -> None:
        """Wait until `count` octets arrived."""
        while len(self.heard) < count:
            self._happened.clear()
            await self._happened.wait()


@asynccontextmanager
async def listening(context: ssl.SSLContext | None) -> AsyncIterator[Listener]:
    """Serve on a free port until the block ends."""
    seen = Listener()
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.accepted += 1
        writers.append(writer)
        try:
            while data := await reader.read(4096):
                seen.take(data)
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    seen.port = server.sockets[0].getsockname()[1]
    try:
        yield seen
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()


@contextmanager
def refusing(context: ssl.SSLContext, heard: bytearray | None = None) -> Iterator[int]:
    """Serve one handshake in a thread, on a free port; what follows it goes to `heard`.

    asyncio's servers drop the alert that says why a handshake failed; OpenSSL's own way sends it,
    as a PBX does.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)

        def serve() -> None:
            with suppress(OSError):
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    connection.settimeout(5)
                    with context.wrap_socket(connection, server_side=True) as secure:
                        data = secure.recv(4096)
                        if heard is not None:
                            heard.extend(data)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join()
