"""Which worker takes a new call; pure.

Calls share a worker up to a point, because they are cheaper together: a worker that is woken all
the time takes several packets at once (`media.pace`). The point is where it has half of a core to
do, by its own account, or as many calls as one process should take along when it ends. From there
on the one with the fewest takes the next; one without ports for it does only if none has any.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_MOST_CALLS: Final = 25
_MOST_SHARE: Final = 0.5  # of a core
_ASSUMED: Final = 0.02  # of a core, for a call that the worker's account does not hold yet


@dataclass(slots=True)
class Load:
    """What is known of a worker.

    Attributes:
        calls: that it has now.
        has_ports: for one more.
        share: of a core, by its last account.
        fresh: calls since that account.
    """

    calls: int
    has_ports: bool = True
    share: float = 0.0
    fresh: int = 0

    @property
    def has_room(self) -> bool:
        share = self.share + _ASSUMED * self.fresh
        return self.has_ports and self.calls < _MOST_CALLS and share < _MOST_SHARE


def choose(loads: Sequence[Load]) -> int:
    """The place in `loads`, which is not empty, of the worker that takes the next call."""
    roomy = [i for i, load in enumerate(loads) if load.has_room]
    if roomy:
        return max(roomy, key=lambda i: loads[i].calls)
    return min(range(len(loads)), key=lambda i: (not loads[i].has_ports, loads[i].calls))
