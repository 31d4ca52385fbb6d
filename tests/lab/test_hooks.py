"""A thousand good hooks, each of which comes three times, over real HTTP and with durable commits:
each is one text, and no provider waits long for its answer (Telnyx is the least patient of them,
with two seconds).
"""

import asyncio
import random
import time
from pathlib import Path

from tests.bridge.road.desk import FRIEND, HOOK_URL, NOW, OURS, opened
from tests.lab.process import eventually
from tests.standin.telnyx import Telnyx

TEXTS, TIMES, AT_ONCE = 1000, 3, 8


async def test_a_thousand_hooks_that_come_three_times_are_a_thousand_texts(tmp_path: Path) -> None:
    provider = Telnyx(HOOK_URL, clock=lambda: NOW)
    took: list[float] = []
    async with opened(provider, tmp_path) as desk:
        order = [f"text {n}" for n in range(TEXTS)] * TIMES
        random.Random(1).shuffle(order)
        waiting = iter(order)

        async def push() -> None:
            for body in waiting:
                hook = provider.text(body, FRIEND, OURS, body)
                started = time.perf_counter()
                assert await provider.deliver(hook) == 1
                took.append(time.perf_counter() - started)

        await asyncio.gather(*(push() for _ in range(AT_ONCE)))
        assert await desk.stored() == TEXTS
        await eventually(lambda: len(desk.said()) >= TEXTS, within=120)
        assert sorted(desk.said()) == sorted({*order})
    took.sort()
    median, late = took[len(took) // 2], took[len(took) * 99 // 100]
    print(f"\n{len(took)} hooks: answered in {median * 1000:.1f} ms, p99 {late * 1000:.1f} ms")  # noqa: T201
    assert late <= 0.2
