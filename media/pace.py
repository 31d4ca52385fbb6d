"""When a worker reads its sockets: at once or, with many calls, every 1.2 ms; pure.

A packet for which a worker is woken costs it several times what one costs that comes next in the
same round, because caches and branch predictors have forgotten the way by then. So a worker that is
woken all the time anyway rests a little after each round, and then finds several packets. One with
a few calls does not: it would be woken by the clock as well as by the packets, and save nothing.
"""

from typing import Final

REST: Final = 0.001_2  # seconds from one wake-up to the next; a packet waits half of it on average
_DENSE: Final = 1000.0  # packets a second, those of ten calls: more than one comes in a rest
_WINDOW: Final = 0.25  # seconds over which they are counted


class Pace:
    """Counts what comes. `rests` says whether it is dense, as of the last window that is over."""

    __slots__ = ("_count", "_since", "rests")

    def __init__(self, now: float) -> None:
        self.rests = False
        self._count = 0
        self._since = now

    def took(self, packets: int, now: float) -> None:
        """A round is over that began at `now`."""
        self._count += packets
        span = now - self._since
        if span >= _WINDOW:
            self.rests = self._count >= _DENSE * span
            self._count, self._since = 0, now
