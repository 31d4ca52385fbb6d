"""Ports that nobody uses, picked at start, so that any number of labs run side by side."""

import random
import socket
from pathlib import Path

HOST = "127.0.0.1"


class Ports:
    """Hands out each port once. Below the range that the kernel takes for outgoing connections."""

    def __init__(self) -> None:
        ephemeral = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
        self._limits = (10_000, min(32_000, int(ephemeral[0])))
        self._given: set[int] = set()

    def pick(self) -> int:
        return self.pick_range(1)[0]

    def pick_range(self, size: int) -> range:
        """`size` ports in a row, the first even, free for UDP and for TCP."""
        for _ in range(500):
            first = random.randrange(self._limits[0], self._limits[1] - size) & ~1
            ports = range(first, first + size)
            if self._given.isdisjoint(ports) and all(free(port) for port in ports):
                self._given.update(ports)
                return ports
        raise OSError(f"no {size} free ports in a row on {HOST}")


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
