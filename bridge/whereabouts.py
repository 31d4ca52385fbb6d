"""Notice when the machine has other addresses: a laptop in another network, a new lease, another
IPv6 prefix. The kernel tells no connection and no socket; packets vanish, and a call is silent.
"""

import asyncio
import logging
from collections.abc import Callable

from media.address import local_addresses

log = logging.getLogger(__name__)

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
    """Call `changed` whenever the addresses are others than before; never returns. A look that
    fails, as with too many open files, is followed by the next."""
    known = look()
    while True:
        await asyncio.sleep(interval)
        try:
            found = look()
        except OSError as error:
            log.warning("the machine's addresses cannot be told: %s", error)
            continue
        if found != known:
            known = found
            changed()
