"""Whether a TCP port could be listened on now, before anything hangs on it."""

import errno
import socket

from bridge.setting import Endpoint


class PortTaken(OSError):
    """Somebody listens there."""


def try_port(listen: Endpoint) -> None:
    """Bind the port and let it go again.

    Raises:
        PortTaken: somebody listens there.
        OSError: it cannot be bound; `strerror` says it in words, with the port.
    """
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # With it only a socket that listens is in the way, not the remains of old connections.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listen.host, listen.port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortTaken(error.errno, f"{listen} is in use") from error
            words = f"{listen} cannot be bound: {error.strerror or error}"
            raise OSError(error.errno, words) from error
