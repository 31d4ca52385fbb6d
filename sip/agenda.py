"""Who of many is to be called next: the deadlines of all machines of one kind in one heap.

A machine keeps its own timers and has one `deadline`; whoever keeps many of them writes each
deadline down here when it may have moved. So a message costs no more because a thousand calls wait
for something.

An entry that is no longer true stays in the heap, emptied, until it comes up or until such entries
are the majority; then the heap is made anew. Both spread to O(log n) for each change.
"""

import heapq
import itertools
from collections.abc import Hashable
from typing import Generic, TypeVar

# Below this a heap is not worth making anew.
_SMALL = 64

Owner = TypeVar("Owner", bound=Hashable)


def soonest(*deadlines: float | None) -> float | None:
    """Return the earliest of a few deadlines, None if nothing waits."""
    earliest: float | None = None
    for at in deadlines:
        if at is not None and (earliest is None or at < earliest):
            earliest = at
    return earliest


class _Entry(Generic[Owner]):
    """One deadline; `owner` is None once it is no longer true."""

    __slots__ = ("at", "owner")

    def __init__(self, at: float, owner: Owner) -> None:
        self.at = at
        self.owner: Owner | None = owner


class Agenda(Generic[Owner]):
    """Deadlines of many owners, one each."""

    def __init__(self) -> None:
        self._entries: dict[Owner, _Entry[Owner]] = {}
        self._heap: list[tuple[float, int, _Entry[Owner]]] = []
        self._order = itertools.count()

    def set(self, owner: Owner, at: float | None) -> None:
        """Write down when `owner` is to be called; None is never."""
        old = self._entries.get(owner)
        if old is not None:
            if old.at == at:
                return
            old.owner = None
            del self._entries[owner]
        if at is not None:
            entry = self._entries[owner] = _Entry(at, owner)
            heapq.heappush(self._heap, (at, next(self._order), entry))
        if len(self._heap) > _SMALL + 2 * len(self._entries):
            self._heap = [item for item in self._heap if item[2].owner is not None]
            heapq.heapify(self._heap)

    @property
    def deadline(self) -> float | None:
        """The earliest of all."""
        heap = self._heap
        while heap and heap[0][2].owner is None:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def take_due(self, now: float) -> Owner | None:
        """Remove and return whose turn it is, the earliest first; None when nobody's is."""
        deadline = self.deadline
        if deadline is None or deadline > now:
            return None
        owner = heapq.heappop(self._heap)[2].owner
        if owner is not None:  # `deadline` left a true entry in front
            del self._entries[owner]
        return owner
