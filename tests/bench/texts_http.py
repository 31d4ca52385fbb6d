"""HTTP/1.1 as light as it can be, for stand-ins whose own work shall not weigh: no chunks, no
limits, no mercy; each message whole and with a length."""

import asyncio
from collections.abc import Callable

# Method, path and body to status and body.
Respond = Callable[[str, str, bytes], tuple[int, bytes]]


class _Reader:
    """Cuts what arrives into messages."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> list[tuple[str, bytes]]:
        """The first line and the body of each message that is complete."""
        self._buffer += data
        found = []
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            place = head.find(b"content-length:")
            length = int(head[place + 15 :].split(b"\r\n", 1)[0]) if place >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                break
            first = self._buffer[:end].split(b"\r\n", 1)[0].decode()
            found.append((first, self._buffer[end + 4 : end + 4 + length]))
            self._buffer = self._buffer[end + 4 + length :]
        return found


class _Server(asyncio.Protocol):
    def __init__(self, respond: Respond) -> None:
        self._respond = respond
        self._reader = _Reader()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None, "a connection comes before its data"
        for first, body in self._reader.feed(data):
            method, path, _ = first.split(" ", 2)
            status, answer = self._respond(method, path, body)
            head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n"
            self._transport.write(f"{head}Content-Length: {len(answer)}\r\n\r\n".encode() + answer)


async def serve(host: str, port: int, respond: Respond) -> asyncio.Server:
    """Answer requests."""
    return await asyncio.get_running_loop().create_server(lambda: _Server(respond), host, port)


class Client(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self) -> None:
        self._reader = _Reader()
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[int] | None = None

    @classmethod
    async def connect(cls, host: str, port: int) -> "Client":
        _, client = await asyncio.get_running_loop().create_connection(cls, host, port)
        return client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        for first, _ in self._reader.feed(data):
            if self._answer is not None:
                self._answer.set_result(int(first.split(" ")[1]))

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("the bridge hung up"))

    async def ask(self, request: bytes) -> int:
        """Send a request as it is; the status of the answer."""
        assert self._transport is not None, "connected"
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        async with asyncio.timeout(60):
            return await self._answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def request(method: str, host: str, path: str, body: bytes, **headers: str) -> bytes:
    """A request's octets; underscores in names of header fields stand for hyphens."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
