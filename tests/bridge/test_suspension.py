import asyncio

import pytest

from bridge import suspension


async def test_each_long_sleep_is_said_once_and_a_short_one_is_not() -> None:
    slept = iter([5.0, 5.0, 3605.0, 3605.001, 3615.0, 3700.0])
    said: list[float] = []

    def look() -> float:
        try:
            return next(slept)
        except StopIteration:
            raise asyncio.CancelledError from None

    async def sleep(seconds: float) -> None:
        assert seconds == suspension.LOOK

    with pytest.raises(asyncio.CancelledError):
        await suspension.watch(said.append, look=look, sleep=sleep)
    assert said == [3600.0, 85.0]


def test_the_clock_is_there() -> None:
    assert suspension.slept_seconds() == pytest.approx(suspension.slept_seconds(), abs=1)
