import asyncio

import pytest

from bridge import whereabouts


async def test_each_change_of_addresses_is_said_once() -> None:
    here, there = frozenset({"192.0.2.1"}), frozenset({"198.51.100.7", "2001:db8::7"})
    seen = iter([here, here, there, there, frozenset(), there])
    changes: list[int] = []
    looks = 0

    def look() -> frozenset[str]:
        nonlocal looks
        looks += 1
        try:
            return next(seen)
        except StopIteration:
            raise asyncio.CancelledError from None

    with pytest.raises(asyncio.CancelledError):
        await whereabouts.watch(lambda: changes.append(looks), look=look, interval=0)
    assert changes == [3, 5, 6]


async def test_a_look_that_fails_is_followed_by_the_next() -> None:
    here, there = frozenset({"192.0.2.1"}), frozenset({"198.51.100.7"})
    looks: list[frozenset[str] | BaseException] = [here, OSError(24, "too many"), there]
    changes: list[int] = []

    def look() -> frozenset[str]:
        found = looks.pop(0) if looks else asyncio.CancelledError()
        if isinstance(found, BaseException):
            raise found
        return found

    with pytest.raises(asyncio.CancelledError):
        await whereabouts.watch(lambda: changes.append(1), look=look, interval=0)
    assert changes == [1]


def test_this_machine_has_an_address() -> None:
    assert whereabouts.addresses_now()
