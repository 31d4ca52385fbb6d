"""How long each step of a call takes, over many real calls: browser, homeserver, bridge, PBX.

The moments inside the bridge come from its own record of each call (one monotonic clock); the two
that a person feels, from the button or the answer to the first sound, from the browser.
"""

import asyncio
import contextlib
import json
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from tests.bench.distribution import Distribution
from tests.demo.__main__ import NUMBER, Demo
from tests.lab.browser import Phone

STEPS = {
    "out": (
        ("`m.call.invite` delivered → INVITE on the wire", "invite_received", "invite_sent", 20),
        ("200 received → `m.call.answer` on its way", "ok_received", "matrix_answer_out", 50),
        ("200 received → homeserver has it", "ok_received", "matrix_answer_sent", None),
        ("200 received → audio from both ends", "ok_received", "flowing_both", 400),
    ),
    "in": (
        ("INVITE → `m.call.invite` accepted by the homeserver", "offered", "ringing", None),
        ("`m.call.answer` delivered → 200 on the wire", "answer_received", "ok_sent", None),
        (
            "`m.call.answer` delivered → audio from both ends",
            "answer_received",
            "flowing_both",
            400,
        ),
    ),
}
TALK = 1.5  # seconds of each call that are talked


async def measure(folder: Path, *, calls: int, say: Callable[[str], None]) -> list[Distribution]:
    """`calls` calls each way."""
    demo = Demo(folder)
    async with contextlib.AsyncExitStack() as stack:
        await demo.start(stack)
        phone = demo.phone
        room = await phone.direct(demo.bridge.ghost(NUMBER))
        felt: dict[str, list[float]] = defaultdict(list)
        logged = demo.bridge.mark
        for index in range(calls):
            felt["call button → first sound in the browser"].append(
                await call_out(demo, phone, room)
            )
            felt["answer button → first sound in the browser"].append(await call_in(demo, phone))
            if (index + 1) % 10 == 0:
                say(f"{index + 1} of {calls} calls each way")
        log = demo.bridge.log(logged)
    return [*of_records(log), *(Distribution(name, tuple(ms)) for name, ms in felt.items())]


async def call_out(demo: Demo, phone: Phone, room: str) -> float:
    """One call; milliseconds from the button to the first sound."""
    call = await phone.place(room)
    await call.state("connected")
    await asyncio.sleep(TALK)
    about = await call.about()
    await call.hang_up()
    await call.state("ended")
    await demo.pbx.quiet()
    return float(about["heardAt"] - about["started"])


async def call_in(demo: Demo, phone: Phone) -> float:
    """One call; milliseconds from the answer to the first sound."""
    seen = await phone.mark()
    await demo.pbx.call("ringback")
    call = await phone.rung(seen)
    answered = time.time() * 1000
    await call.answer()
    await call.state("connected")
    await asyncio.sleep(TALK)
    about = await call.about()
    await call.hang_up()
    await call.state("ended")
    await demo.pbx.quiet()
    return float(about["heardAt"]) - answered


def of_records(log: str) -> list[Distribution]:
    """The steps out of the bridge's records."""
    found: dict[str, list[float]] = {step[0]: [] for steps in STEPS.values() for step in steps}
    for text in log.splitlines():
        if "bridge.call.record" not in text or '{"call"' not in text:
            continue
        record = json.loads(text[text.index("{") :])
        moments = record["timeline_ms"]
        sides = [moments.get("flowing_webrtc"), moments.get("flowing_sdes")]
        if None not in sides:
            moments["flowing_both"] = max(sides)
        for name, first, last, _ in STEPS[record["direction"]]:
            if first in moments and last in moments:
                found[name].append(moments[last] - moments[first])
    aims = {step[0]: step[3] for steps in STEPS.values() for step in steps}
    return [Distribution(name, tuple(values), aims[name]) for name, values in found.items()]
