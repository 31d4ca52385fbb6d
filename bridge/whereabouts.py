"""Notice when the machine has other addresses: a laptop in another network, a new lease, another
IPv6 prefix. The kernel tells no connection and no socket; packets vanish, and a call is silent.
"""

import asyncio
from collections.abc import Callable

from media.address import local_addresses

_INTERVAL = 1.0  # seconds between two looks, of 0.7 ms each
_EVERYTHING = ("0.0.0.0",)


def addresses_now() -> frozenset[str]:
    """All that others could reach us at, IPv4 and IPv6."""
    return frozenset(local_addresses(_EVERYTHING))


async def watch(
    changed: Callable[[], None],
    *,
    look: Callable[[], frozenset[str]] = addresses_now,
    interval: float = _INTERVAL,
) -> None:
    """Call `changed` whenever the addresses are others than before; never returns."""
    known = look()
    while True:
        await asyncio.sleep(interval)
        found = look()
        if found != known:
            known = found
            changed()
