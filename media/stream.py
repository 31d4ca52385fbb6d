"""A TCP or TLS connection to a TURN server, never blocking (RFC 8656 §2.1).

For the worker's loop: it registers `fileno()` for reading, and for writing while `wants_write`, and
calls `handle` when either is possible. What cannot be written at once waits in a bounded buffer;
beyond it whole frames are dropped, as a datagram socket would.
"""

import socket
import ssl
from collections.abc import Iterator
from enum import Enum

MAX_BUFFERED = 64 * 1024
_READ_SIZE = 16 * 1024  # a record of TLS, so that none is left where no loop can see it
_MOST_READS = 4  # in a row: whoever sends faster than we read must not keep other calls waiting


class Stage(Enum):
    CONNECTING = "connecting"
    HANDSHAKING = "handshaking"
    OPEN = "open"
    CLOSED = "closed"


class Stream:
    """One connection. `handle` gives `True` when it opens, bytes as they come, `None` at its end.

    Args:
        tls_name: None for plain TCP, else the name that the server's certificate must have.

    Raises:
        OSError: the system gives no socket for such an address, or no more sockets.
    """

    def __init__(
        self, address: str, port: int, tls_name: str | None, context: ssl.SSLContext | None
    ) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._fd = self._socket.fileno()
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._tls_name = tls_name
        self._context = context
        self._buffer = bytearray()
        self._write_blocked = False
        self.stage = Stage.CONNECTING
        try:
            self._socket.connect_ex((address, port))
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """The same number all along, by which it can be forgotten once it is closed."""
        return self._fd

    @property
    def wants_write(self) -> bool:
        if self.stage is Stage.CONNECTING:
            return True
        return self._write_blocked or (self.stage is Stage.OPEN and bool(self._buffer))

    def send(self, data: bytes) -> None:
        if self.stage is not Stage.CLOSED and len(self._buffer) + len(data) <= MAX_BUFFERED:
            self._buffer += data
            if self.stage is Stage.OPEN:
                self._write()

    def close(self) -> None:
        """What can be written now is; the rest is lost."""
        if self.stage is Stage.OPEN:
            self._write()
        self.stage = Stage.CLOSED
        self._socket.close()

    def handle(self) -> Iterator[bool | bytes | None]:
        """The socket is readable or writable."""
        self._write_blocked = False
        if self.stage is Stage.CONNECTING:
            self._connected()
        if self.stage is Stage.HANDSHAKING and self._shook_hands():
            self.stage = Stage.OPEN
            yield True
        if self.stage is Stage.OPEN:
            self._write()
            yield from self._read()
        if self.stage is Stage.CLOSED:
            yield None

    def _connected(self) -> None:
        if self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.stage = Stage.CLOSED
            return
        self.stage = Stage.HANDSHAKING
        if self._context is None or self._tls_name is None:
            return
        try:
            self._socket = self._context.wrap_socket(
                self._socket,
                server_hostname=self._tls_name,
                do_handshake_on_connect=False,
            )
        except (OSError, ValueError):  # it has gone again, or no certificate can have that name
            self.stage = Stage.CLOSED

    def _shook_hands(self) -> bool:
        if not isinstance(self._socket, ssl.SSLSocket):
            return True
        try:
            self._socket.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLWantWriteError:
            self._write_blocked = True
            return False
        except OSError:  # a certificate that does not verify among them
            self.stage = Stage.CLOSED
            return False
        return True

    def _write(self) -> None:
        while self._buffer:
            try:
                sent = self._socket.send(self._buffer)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            except OSError:
                self.stage = Stage.CLOSED
                return
            del self._buffer[:sent]

    def _read(self) -> Iterator[bytes]:
        for _ in range(_MOST_READS):
            try:
                data = self._socket.recv(_READ_SIZE)
            except (BlockingIOError, ssl.SSLWantReadError):
                return
            except ssl.SSLWantWriteError:
                self._write_blocked = True
                return
            except OSError:
                data = b""
            if data:
                yield data
            else:
                self.stage = Stage.CLOSED
            if self.stage is not Stage.OPEN:
                return
