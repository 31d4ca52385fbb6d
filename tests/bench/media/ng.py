"""rtpengine's control protocol: a cookie, a space, a bencoded dictionary, over UDP.

Only what the benchmark says and reads: dictionaries, lists, strings and whole numbers.
"""

import asyncio
import os
import socket

Value = int | str | list["Value"] | dict[str, "Value"]

_LIMIT = 2.0  # seconds for an answer; the cookie makes a repetition harmless
_TRIES = 3


class NgError(OSError):
    """rtpengine does not answer, or refuses."""


def bencode(value: Value) -> bytes:
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, str):
        data = value.encode()
        return b"%d:%s" % (len(data), data)
    if isinstance(value, list):
        return b"l" + b"".join(map(bencode, value)) + b"e"
    return b"d" + b"".join(bencode(k) + bencode(v) for k, v in sorted(value.items())) + b"e"


def bdecode(data: bytes, start: int = 0) -> tuple[Value, int]:
    """The value at `start`, and where the next one begins."""
    mark = data[start : start + 1]
    if mark == b"i":
        end = data.index(b"e", start)
        return int(data[start + 1 : end]), end + 1
    if mark in (b"l", b"d"):
        items: list[Value] = []
        at = start + 1
        while data[at : at + 1] != b"e":
            item, at = bdecode(data, at)
            items.append(item)
        if mark == b"l":
            return items, at + 1
        return {str(k): v for k, v in zip(items[::2], items[1::2], strict=True)}, at + 1
    colon = data.index(b":", start)
    end = colon + 1 + int(data[start:colon])
    return data[colon + 1 : end].decode(errors="replace"), end


class Ng:
    """A client of one rtpengine."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect(address)
        self._socket.setblocking(False)

    def close(self) -> None:
        self._socket.close()

    async def do(self, command: str, **fields: Value) -> dict[str, Value]:
        """Say a command; underscores in names stand for hyphens. Raises `NgError`."""
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        cookie = os.urandom(6).hex().encode() + b" "
        message = cookie + bencode({"command": command, **named})
        for _ in range(_TRIES):
            try:
                async with asyncio.timeout(_LIMIT):
                    answer = await self._ask(cookie, message)
            except (TimeoutError, ConnectionRefusedError):
                await asyncio.sleep(0.1)
                continue
            if answer.get("result") == "error":
                raise NgError(f"rtpengine refuses: {answer.get('error-reason')}")
            return answer
        raise NgError("rtpengine does not answer")

    async def _ask(self, cookie: bytes, message: bytes) -> dict[str, Value]:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self._socket, message)
        while True:
            data = await loop.sock_recv(self._socket, 65535)
            if data.startswith(cookie):
                answer, _ = bdecode(data, len(cookie))
                if isinstance(answer, dict):
                    return answer
