import asyncio

import pytest

from bridge.task import Tasks


async def test_a_crash_is_logged_under_its_name(caplog: pytest.LogCaptureFixture) -> None:
    tasks = Tasks()

    async def crash() -> None:
        raise ZeroDivisionError

    task = tasks.start("the clerk", crash())
    await asyncio.wait({task})
    assert "the clerk" in caplog.text
    assert "ZeroDivisionError" in caplog.text
    await tasks.stop()


async def test_stop_waits_for_what_ends_in_time_and_cancels_the_rest() -> None:
    tasks, ended = Tasks(), []

    async def short() -> None:
        await asyncio.sleep(0)
        ended.append("short")

    async def long() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("long")

    tasks.start("short", short())
    tasks.start("long", long())
    await tasks.stop(grace=0.01)
    assert sorted(ended) == ["long", "short"]


async def test_what_is_started_while_we_stop_has_its_grace_too() -> None:
    tasks, ended = Tasks(), []

    async def second() -> None:
        for _ in range(10):
            await asyncio.sleep(0)
        ended.append("second")

    async def first() -> None:
        tasks.start("second", second())

    tasks.start("first", first())
    await tasks.stop(grace=10)
    assert ended == ["second"]


async def test_a_cancelled_task_is_no_crash(caplog: pytest.LogCaptureFixture) -> None:
    tasks = Tasks()
    tasks.start("waiting", asyncio.sleep(1000))
    await asyncio.sleep(0)
    await tasks.stop()
    assert caplog.text == ""
