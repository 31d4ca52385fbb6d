import asyncio

import pytest

from bridge.task import Queues, Tasks


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


async def test_a_queue_keeps_order_and_takes_nothing_up_twice() -> None:
    tasks, done, hold = Tasks(), [], asyncio.Event()
    queues = Queues(tasks, "letters")

    async def work(name: str) -> None:
        await hold.wait()
        done.append(name)
        if name == "b":
            raise ZeroDivisionError

    for name in ("a", "b", "a", "c", "b"):
        queues.add(("x",), name, lambda name=name: work(name))  # type: ignore[misc]
    queues.add(("y",), "d", lambda: work("d"))
    hold.set()
    await tasks.stop(grace=10)
    assert sorted(done) == ["a", "b", "c", "d"]
    assert [name for name in done if name != "d"] == ["a", "b", "c"]
    for name in ("a", "b"):  # it is over, and may come again
        queues.add(("x",), name, lambda name=name: work(name))  # type: ignore[misc]
    await tasks.stop(grace=10)
    assert done[4:] == ["a", "b"]


async def test_a_queue_that_is_stopped_takes_the_same_again() -> None:
    tasks, done = Tasks(), []
    queues = Queues(tasks, "letters")

    async def forever() -> None:
        await asyncio.Event().wait()

    async def work() -> None:
        done.append(1)

    for name in ("a", "b"):
        queues.add(("x",), name, forever)
    await asyncio.sleep(0)
    await tasks.stop()
    queues.add(("x",), "b", work)
    await tasks.stop(grace=10)
    assert done == [1]
