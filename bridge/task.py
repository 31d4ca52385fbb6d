"""Background tasks that are neither lost nor silent.

The loop keeps weak references only, and an exception in a task that nobody awaits shows up late or
never. `Tasks` keeps what it started, logs what crashes, and ends all of it at the end.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Hashable
from typing import Any

log = logging.getLogger(__name__)

Work = Callable[[], Coroutine[Any, Any, None]]


class Tasks:
    """A set of running tasks with one owner."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` until it ends or `stop` is called; its crash is logged under `name`."""
        task = asyncio.create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    async def stop(self, *, grace: float = 0.0) -> None:
        """Let everything end by itself for `grace` seconds, then cancel what is left."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                while grace > 0 and self._running:  # one may start another on its way out
                    await asyncio.wait(self._running)
        left = list(self._running)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("task %s crashed", task.get_name(), exc_info=error)


class Queues:
    """Work in order per key: a queue and a task for each key that has any. What the database owes
    is looked for now and then, so each piece of work has an id, and is not taken up twice.

    Args:
        name: what the tasks are called.
    """

    def __init__(self, tasks: Tasks, name: str) -> None:
        self._tasks = tasks
        self._name = name
        self._queues: dict[tuple[str, ...], deque[tuple[Hashable, Work]]] = {}
        self._under_way: set[Hashable] = set()

    def add(self, key: tuple[str, ...], id: Hashable, work: Work) -> None:
        """Do `work` when everything that was added before with the same key is done; nothing if
        work of this id waits or is being done already."""
        if id in self._under_way:
            return
        self._under_way.add(id)
        queue = self._queues.get(key)
        if queue is not None:
            queue.append((id, work))
            return
        self._queues[key] = deque([(id, work)])
        self._tasks.start(self._name, self._work_off(key))

    async def _work_off(self, key: tuple[str, ...]) -> None:
        queue = self._queues[key]
        try:
            while queue:
                id, work = queue[0]
                try:
                    await work()
                except Exception:  # the top of one piece of work; the next is not its victim
                    log.exception("%s: a piece of work failed", self._name)
                queue.popleft()
                self._under_way.discard(id)
        finally:
            self._under_way.difference_update(id for id, _ in queue)
            del self._queues[key]


async def first(*either: Coroutine[Any, Any, object]) -> None:
    """Wait for one of them, and drop the others."""
    tasks = [asyncio.create_task(each) for each in either]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
