"""Ports are taken in turn, rest after use, and yield to whoever holds them."""

import random
import socket
from collections.abc import Iterator

import pytest

from media.port import Ports

HOST = "127.0.0.1"


@pytest.fixture
def first() -> int:
    """Of a range that is very probably free; nothing can promise it."""
    return random.randrange(35000, 39000) & ~1


@pytest.fixture
def held() -> Iterator[list[socket.socket]]:
    sockets: list[socket.socket] = []
    yield sockets
    for one in sockets:
        one.close()


def _numbers(sockets: list[socket.socket]) -> list[int]:
    return [one.getsockname()[1] for one in sockets]


def test_a_pair_is_even_and_odd(first: int, held: list[socket.socket]) -> None:
    ports = Ports(first + 1, first + 4)
    held += ports.bind_pair(HOST, 0.0)
    assert _numbers(held) == [first + 2, first + 3]


def test_it_may_begin_in_the_middle_and_goes_round(first: int, held: list[socket.socket]) -> None:
    ports = Ports(first, first + 3, begin=first + 2)
    held += ports.bind_pair(HOST, 0.0)
    held += ports.bind_pair(HOST, 0.0)
    assert _numbers(held) == [first + 2, first + 3, first, first + 1]


def test_leftovers_go_to_single_sockets(first: int, held: list[socket.socket]) -> None:
    ports = Ports(first, first + 2)
    held += ports.bind_each([HOST, "127.0.0.2"], 0.0)
    assert _numbers(held) == [first + 2, first + 2]
    held += ports.bind_pair(HOST, 0.0)
    assert _numbers(held)[2:] == [first, first + 1]


def test_a_port_rests_before_it_is_used_again(first: int) -> None:
    ports = Ports(first, first + 1, rest=30.0)
    pair = ports.bind_pair(HOST, 0.0)
    numbers = _numbers(pair)
    for one in pair:
        one.close()
    ports.give_back(numbers, 10.0)
    with pytest.raises(OSError, match="no pair"):
        ports.bind_pair(HOST, 39.9)
    again = ports.bind_pair(HOST, 40.0)
    assert _numbers(again) == numbers
    for one in again:
        one.close()


def test_a_port_that_somebody_holds_is_passed_over(first: int, held: list[socket.socket]) -> None:
    other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    other.bind((HOST, first + 1))
    held.append(other)
    ports = Ports(first, first + 3)
    pair = ports.bind_pair(HOST, 0.0)
    held += pair
    assert _numbers(pair) == [first + 2, first + 3]


def test_addresses_that_have_gone_are_left_out(first: int, held: list[socket.socket]) -> None:
    ports = Ports(first, first + 1)
    held += ports.bind_each(["192.0.2.77", HOST], 0.0)
    assert [one.getsockname()[0] for one in held] == [HOST]


def test_an_address_that_has_gone_uses_up_no_ports(first: int, held: list[socket.socket]) -> None:
    ports = Ports(first, first + 2)
    with pytest.raises(OSError, match=r"192\.0\.2\.77"):
        ports.bind_pair("192.0.2.77", 0.0)
    with pytest.raises(OSError, match=r"192\.0\.2\.77"):
        ports.bind_each(["192.0.2.77"], 0.0)
    held += ports.bind_pair(HOST, 0.0)
    held += ports.bind_each([HOST], 0.0)
    with pytest.raises(OSError, match="no media port"):
        ports.bind_each([HOST], 0.0)
