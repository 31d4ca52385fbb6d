"""The UDP ports of a worker: which are free, which still rest.

A port that was given back rests for a while, so that stray packets of the last call cannot enter
the next one. Ports are taken in turn for the same reason. One that somebody else holds rests too.
"""

import contextlib
import errno
import socket
from collections import deque
from collections.abc import Iterable, Sequence

REST = 30.0


class Ports:
    """Ports from `first` to `last`, both included. Binding raises `OSError` when none is free.

    Args:
        begin: the one that is taken first, of the range; then they go round.
        rest: seconds.
    """

    def __init__(
        self, first: int, last: int, *, begin: int | None = None, rest: float = REST
    ) -> None:
        start = first if begin is None else begin
        self._free = dict.fromkeys((*range(start, last + 1), *range(first, start)))
        self._resting: deque[tuple[float, int]] = deque()
        self._rest = rest

    def bind_pair(self, address: str, now: float) -> list[socket.socket]:
        """An even port and the next one, for RTP and RTCP (RFC 3550 §11)."""
        self._wake(now)
        for port in list(self._free):
            if port % 2 == 0 and port + 1 in self._free:
                bound = self._try([(address, port), (address, port + 1)], now)
                if bound:
                    return bound
        raise OSError(errno.EADDRINUSE, "no pair of media ports is free")

    def bind_each(self, addresses: Sequence[str], now: float) -> list[socket.socket]:
        """One port on each address that can be bound; those left over from pairs go first."""
        self._wake(now)
        for port in sorted(self._free, key=lambda p: (p ^ 1) in self._free):
            bound = self._try([(address, port) for address in addresses], now)
            if bound:
                return bound
        raise OSError(errno.EADDRINUSE, "no media port is free")

    def give_back(self, ports: Iterable[int], now: float) -> None:
        for port in ports:
            self._resting.append((now + self._rest, port))

    def _wake(self, now: float) -> None:
        while self._resting and self._resting[0][0] <= now:
            self._free[self._resting.popleft()[1]] = None

    def _try(self, wanted: Sequence[tuple[str, int]], now: float) -> list[socket.socket]:
        """Bind all, but for addresses that have gone; nothing if somebody else has a port.

        Raises `OSError` if it is not for want of a port that nothing can be bound.
        """
        bound: list[socket.socket] = []
        ports = {port for _, port in wanted}
        try:
            for address, port in wanted:
                with contextlib.suppress(_Gone):
                    bound.append(_bind(address, port))
        except OSError as error:
            for one in bound:
                one.close()
            if error.errno != errno.EADDRINUSE:
                raise
            bound = []
            self.give_back(ports, now)
        else:
            if not bound:
                addresses = ", ".join(dict.fromkeys(address for address, _ in wanted))
                raise OSError(errno.EADDRNOTAVAIL, f"none of this machine's addresses: {addresses}")
        for port in ports:
            del self._free[port]
        return bound


class _Gone(Exception):
    """The machine does not have the address (any more)."""


def _bind(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    one = socket.socket(family, socket.SOCK_DGRAM)
    try:
        one.setblocking(False)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind((address, port))
    except OSError as error:
        one.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise _Gone from None
        raise
    return one
