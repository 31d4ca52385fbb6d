import socket

import pytest

from bridge.port import PortTaken, try_port
from bridge.setting import Endpoint


def test_a_port_is_free_or_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = Endpoint("127.0.0.1", server.getsockname()[1])
        with pytest.raises(PortTaken, match=r"127\.0\.0\.1:\d+ is in use"):
            try_port(endpoint)
    try_port(endpoint)


def test_an_address_that_is_not_ours_cannot_be_bound() -> None:
    with pytest.raises(OSError, match=r"\[2001:db8::1\]:0 cannot be bound: "):
        try_port(Endpoint("2001:db8::1", 0))
