"""When to try to connect again.

The first retry comes within a second, since most lost flows are a restart or a reset; then the wait
doubles from 2 s to a minute. Every wait is drawn by lot between half and the whole of it, so that a
thousand bridges do not come back to a PBX in the same second. The count belongs to the account: it
starts anew only after the line has stood for a while, and no further failure can shorten a wait.

The accounts of one process take turns besides (`Pace`): when the PBX of a thousand accounts comes
back, a chance of a second each is a thousand handshakes in that second.

Deviation: RFC 5626 §4.5 caps at 30 minutes; a phone that is not back within a minute is broken.
"""

from collections.abc import Callable

FIRST = 1.0
SECOND = 2.0
CAP = 60.0
PACE = 0.02  # between two attempts of a process: 1,000 accounts in 20 s, a handful at once
SETTLED_AFTER = 30.0  # a line that stood for so long has proven itself


class Backoff:
    """The next time to try, for one account.

    Args:
        chance: returns a number in [0, 1).

    Attributes:
        due: earliest time of the next attempt; 0 at first.
    """

    def __init__(self, *, chance: Callable[[], float]) -> None:
        self.due = 0.0
        self._chance = chance
        self._failures = 0
        self._up_since: float | None = None

    def up(self, now: float) -> None:
        """The line stands since `now`."""
        if self._up_since is None:
            self._up_since = now

    def failed(self, now: float) -> None:
        """The line was lost, or an attempt failed: put the next one off."""
        if self._up_since is not None and now - self._up_since >= SETTLED_AFTER:
            self._failures = 0
        self._up_since = None
        if self._failures == 0:
            wait = FIRST * self._chance()
        else:
            wait = min(CAP, SECOND * 2.0 ** min(self._failures - 1, 16)) * (1 + self._chance()) / 2
        self._failures += 1
        self.hold(now + wait)

    def hold(self, until: float) -> None:
        """Make no attempt before `until`: the registrar said so (Retry-After, a refusal)."""
        self.due = max(self.due, until)


class Pace:
    """The turns in which the accounts of one process connect.

    Args:
        gap: seconds between two turns.
    """

    def __init__(self, *, gap: float = PACE) -> None:
        self._gap = gap
        self._next = 0.0

    def turn(self, now: float) -> float:
        """Take the next turn, and return when it is."""
        at = max(now, self._next)
        self._next = at + self._gap
        return at
