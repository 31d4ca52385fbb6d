"""Ports that nobody uses, picked at start, so that any number of labs run side by side.

What is picked is not bound before its server starts, which may be a minute later. So that another
lab does not pick the same meanwhile, each port is an octet of a file that is locked by who has it;
the kernel lets go of the locks when the process ends, however it ends.
"""

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path

HOST = "127.0.0.1"


class Ports:
    """Hands out each port once. Below the range that the kernel takes for outgoing connections."""

    def __init__(self) -> None:
        ephemeral = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
        self._limits = (10_000, min(32_000, int(ephemeral[0])))

    def pick(self) -> int:
        return self.pick_range(1)[0]

    def pick_range(self, size: int) -> range:
        """`size` ports in a row, the first even, free for UDP and for TCP."""
        for _ in range(500):
            first = random.randrange(self._limits[0], self._limits[1] - size) & ~1
            ports = range(first, first + size)
            if all(free(port) for port in ports) and _CLAIMS.take(ports):
                return ports
        raise OSError(f"no {size} free ports in a row on {HOST}")


class _Claims:
    """Which ports this process has, and no other."""

    def __init__(self) -> None:
        self._given: set[int] = set()
        self._file = -1

    def take(self, ports: range) -> bool:
        """Claim these; whether none of them was taken."""
        if not self._given.isdisjoint(ports):  # a process has no locks against itself
            return False
        if self._file < 0:
            path = Path(tempfile.gettempdir()) / f"ringback-lab-ports-{os.getuid()}"
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, len(ports), ports[0])
        except OSError:
            return False
        self._given.update(ports)
        return True


_CLAIMS = _Claims()


def free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                return False
    return True
