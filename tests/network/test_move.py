"""The bridge's own machine gets another address in a call, twice, and both sides follow: real
workers and sockets, with the parties of the unit tests on the other machine's address.
"""

import asyncio
import sys
import time

from bridge import whereabouts
from media.local import LocalPlane
from media.plane import Failed, OfferReady, Side
from tests.media.test_local import Call
from tests.network.conftest import Network, drop

ADDRESSES = "198.18.78.21", "198.18.78.22"
HEARD_WITHIN = 3.0  # one of them until the change is noticed


async def heard_again(call: Call) -> float:
    start = time.monotonic()
    call.browser.ear.packets.clear()
    call.pbx.ear.packets.clear()
    async with asyncio.timeout(10):
        while min(len(call.browser.ear.packets), len(call.pbx.ear.packets)) < 5:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return time.monotonic() - start


async def test_a_call_follows_its_bridge_to_another_address(network: Network) -> None:
    drop("-s", network.phone, "-d", network.phone)  # both machines are one here
    plane = LocalPlane(listen=("0.0.0.0",), ports=(29000, 29099), workers=1)
    await plane.start()
    watching = asyncio.create_task(whereabouts.watch(plane.readdress))
    call = Call(plane, host=network.here, pbx="127.0.0.1")
    took = []
    try:
        await call.connect()
        await call.talked(1)
        for count, address in enumerate(ADDRESSES, 1):
            network.move_bridge(address)
            start = time.monotonic()
            await call.until(OfferReady, 1 + 2 * count)
            offers = [event for event in call.events if isinstance(event, OfferReady)][-2:]
            for offer in offers:
                if offer.side is Side.SDES:
                    assert f"c=IN IP4 {address}" in offer.sdp
                    call.session.answer(Side.SDES, call.pbx.answer(offer.sdp))
                else:
                    answer = call.browser.answer(offer.sdp, time.monotonic())
                    call.session.answer(Side.WEBRTC, answer)
            await heard_again(call)
            took.append(time.monotonic() - start)
            await call.talked(3)
        assert not [event for event in call.events if isinstance(event, Failed)]
        await call.hang_up()
    finally:
        watching.cancel()
        await plane.stop()
        network.move_bridge(Network.bridge)
    sys.stdout.write(f"\nheard {' and '.join(f'{s:.1f} s' for s in took)} after each new address\n")
    assert max(took) <= HEARD_WITHIN
