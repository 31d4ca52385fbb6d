"""A real browser whose phone changes its network, six times in a call: the call is held while
there is none, and heard again soon after there is another. It calls an echo, so what comes back has
passed both ways.
"""

import asyncio
import sys
import time

import pytest

from tests.lab.asterisk import Asterisk
from tests.lab.browser import TONE, BrowserCall, Phone
from tests.lab.lab import Lab, number
from tests.network.conftest import Network

# Seconds without any network: so short that the browser's own restart comes just when ours
# succeeds, until everybody has given up the old path, and between.
AWAY = 5.8, 7.0, 9.3, 6.4, 12.0, 8.1
BACK_WITHIN = 4.0  # two of them until Chromium sees that it has an address


async def echoed(call: BrowserCall, *, within: float) -> float:
    """Seconds until the browser hears itself."""
    start = time.monotonic()
    while True:
        await call.forget()
        await asyncio.sleep(0.2)
        if (await call.heard()).heard(TONE):
            return time.monotonic() - start
        assert time.monotonic() - start < within, f"nothing was heard for {within} s"


async def negotiations(phone: Phone, since: int) -> list[str]:
    """Offers and answers within the call, and whose they were."""
    events = [event for event in (await phone.events())[since:] if event["what"] == "event"]
    return [
        f"{'phone' if event['sender'] == phone.user else 'bridge'} "
        f"{event['content']['description']['type']}"
        for event in events
        if event["type"] == "m.call.negotiate"
    ]


async def place(lab: Lab, phone: Phone, direction: str) -> BrowserCall:
    if direction == "out":
        room = await phone.direct(lab.bridge.ghost(number("1000")))
        return await phone.place(room)
    seen = await phone.mark()
    await lab.pbx.call("ringback", exten="1000")
    call = await phone.rung(seen)
    await call.answer()
    return call


@pytest.mark.timeout(300)
@pytest.mark.parametrize("direction", ["out", "in"])
async def test_a_phone_that_changes_its_network_keeps_its_call(
    direction: str, lab: Lab, phone: Phone, network: Network
) -> None:
    pbx: Asterisk = lab.pbx
    since = await phone.mark()
    call = await place(lab, phone, direction)
    await call.state("connected")
    await echoed(call, within=5)
    took: list[float] = []
    for away in AWAY:
        network.leave()
        await asyncio.sleep(away - 1)
        await call.forget()
        await asyncio.sleep(1)
        heard = (await call.heard()).heard(TONE)
        assert not heard, f"the phone has a network yet: {await call.stats()}"
        network.join()
        took.append(await echoed(call, within=25))
        await asyncio.sleep(3)
    said = ", ".join(await negotiations(phone, since))
    times = ", ".join(f"{seconds:.1f} s" for seconds in took)
    sys.stdout.write(f"\ncall {direction}: heard {times} after each new network ({said})\n")
    await call.hang_up()
    await pbx.quiet()
    assert max(took) <= BACK_WITHIN
