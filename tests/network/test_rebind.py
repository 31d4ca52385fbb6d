"""A NAT between a real browser and the bridge gives the browser's socket another port in the call,
twice. The browser knows nothing of it and offers nothing: what it sends merely comes from
elsewhere.
"""

import asyncio
import sys
from itertools import pairwise

import pytest

from tests.lab.asterisk import Asterisk
from tests.lab.browser import TONE, BrowserCall, Phone
from tests.lab.lab import Lab
from tests.network.conftest import Network
from tests.network.test_restart import echoed, negotiations, place

LISTENED = 5.0  # seconds after each new port
SILENT_AT_MOST = 4.0  # 3 for a machine that has nothing else to do


async def silence(call: BrowserCall, seconds: float) -> float:
    """The longest time, of these seconds, in which the browser does not hear itself."""
    await call.forget()
    await asyncio.sleep(seconds)
    sound = await call.heard()
    heard = [(0.0, 0.0), *sound.heard(TONE), (sound.seconds, sound.seconds)]
    return max(later - earlier for (_, earlier), (later, _) in pairwise(heard))


@pytest.mark.parametrize("direction", ["out", "in"])
async def test_a_nat_that_gives_the_browser_another_port_is_followed(
    direction: str, lab: Lab, phone: Phone, network: Network
) -> None:
    pbx: Asterisk = lab.pbx
    network.rebind()
    since = await phone.mark()
    call = await place(lab, phone, direction)
    await call.state("connected")
    await echoed(call, within=5)
    took: list[float] = []
    for _ in range(2):
        assert await silence(call, 2) < 0.3
        known = network.mappings
        network.rebind()
        took.append(await silence(call, LISTENED))
        assert network.mappings > known, "the NAT changed nothing"
    said = ", ".join(await negotiations(phone, since))
    await call.hang_up()
    await pbx.quiet()
    network.forget_nat()
    times = ", ".join(f"{seconds:.1f} s" for seconds in took)
    sys.stdout.write(
        f"\ncall {direction}: silent for {times} at each new port ({said or 'no offer'})\n"
    )
    assert max(took) <= SILENT_AT_MOST
