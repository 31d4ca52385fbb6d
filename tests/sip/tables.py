"""The transaction machines as the standard's figures draw them, to hold ours against.

RFC 3261 figures 5, 6 and 8, RFC 6026 figure 7 and its changed figure 5, RFC 4320 §4.1. Written
from the standards and not from our code: rows of state, input, what is done, next state; and how
long the timers of a state run. `Model` plays them.

Inputs are responses (`1xx`, `2xx`, `3xx` for every refusal), `again` (the request repeated), `ACK`,
what the user answers (`!1xx`, `!2xx`, `!3xx`), `lost` (the flow), and timers by their letters. What
no row names does nothing. Done is `send` (the request), `ack`, `tell`, `408` and `503` (a failure
is told), `!` (the user's response is sent), `last` (the last one again), `100`, `up` (the ACK is
handed up).
"""

import heapq
from dataclasses import dataclass

T1, T2, T4 = 0.5, 4.0, 5.0

INVITE_CLIENT = """
calling     1xx   tell      proceeding
calling     2xx   tell      accepted
calling     3xx   ack,tell  completed
calling     lost  503       terminated
calling     A     send      calling
calling     B     408       terminated
proceeding  1xx   tell      proceeding
proceeding  2xx   tell      accepted
proceeding  3xx   ack,tell  completed
proceeding  lost  503       terminated
completed   3xx   ack       completed
completed   lost  -         terminated
completed   D     -         terminated
accepted    2xx   tell      accepted
accepted    M     -         terminated
"""

CLIENT = """
trying      1xx   tell      proceeding
trying      2xx   tell      completed
trying      3xx   tell      completed
trying      lost  503       terminated
trying      E     send      trying
trying      F     408       terminated
proceeding  1xx   tell      proceeding
proceeding  2xx   tell      completed
proceeding  3xx   tell      completed
proceeding  lost  503       terminated
proceeding  E     send      proceeding
proceeding  F     408       terminated
completed   lost  -         terminated
completed   K     -         terminated
"""

INVITE_SERVER = """
proceeding  again last      proceeding
proceeding  !1xx  !         proceeding
proceeding  !2xx  !         accepted
proceeding  !3xx  !         completed
proceeding  lost  -         terminated
completed   again last      completed
completed   ACK   -         confirmed
completed   G     last      completed
completed   H     -         terminated
completed   lost  -         terminated
confirmed   I     -         terminated
confirmed   lost  -         terminated
accepted    !2xx  !         accepted
accepted    ACK   up        accepted
accepted    L     -         terminated
"""

SERVER = """
trying      !1xx  !         proceeding
trying      !2xx  !         completed
trying      !3xx  !         completed
trying      late  100       proceeding
trying      gone  -         terminated
trying      lost  -         terminated
proceeding  again last      proceeding
proceeding  !1xx  !         proceeding
proceeding  !2xx  !         completed
proceeding  !3xx  !         completed
proceeding  gone  -         terminated
proceeding  lost  -         terminated
completed   again last      completed
completed   J     -         terminated
completed   lost  -         terminated
"""

# Seconds, on datagrams and on a reliable transport; None where the timer does not run. `late` is
# the moment at which timer E of the client has reached T2, `gone` its timer F.
TIMERS: dict[str, tuple[float | None, float | None]] = {
    "A": (T1, None),
    "B": (64 * T1, 64 * T1),
    "D": (32.0, 0.0),
    "E": (T1, None),
    "F": (64 * T1, 64 * T1),
    "G": (T1, None),
    "H": (64 * T1, 64 * T1),
    "I": (T4, 0.0),
    "J": (64 * T1, 0.0),
    "K": (T4, 0.0),
    "L": (64 * T1, 64 * T1),
    "M": (64 * T1, 64 * T1),
    "late": (3.5, 3.5),
    "gone": (64 * T1, 64 * T1),
}

# Which timers run in which state of which machine; those of a later row of the same machine go on
# where the state before had them too.
RUNNING = {
    "INVITE_CLIENT": {"calling": "A B", "completed": "D", "accepted": "M"},
    "CLIENT": {"trying": "E F", "proceeding": "E F", "completed": "K"},
    "INVITE_SERVER": {"completed": "G H", "confirmed": "I", "accepted": "L"},
    "SERVER": {"trying": "late gone", "proceeding": "late gone", "completed": "J"},
}


@dataclass(frozen=True)
class Figure:
    """One machine."""

    name: str
    first: str
    rows: dict[tuple[str, str], tuple[tuple[str, ...], str]]


def _figure(name: str, text: str) -> Figure:
    rows = {}
    for line in text.strip().splitlines():
        state, heard, done, after = line.split()
        rows[state, heard] = (() if done == "-" else tuple(done.split(","))), after
    return Figure(name, text.split()[0], rows)


FIGURES = {
    "INVITE_CLIENT": _figure("INVITE_CLIENT", INVITE_CLIENT),
    "CLIENT": _figure("CLIENT", CLIENT),
    "INVITE_SERVER": _figure("INVITE_SERVER", INVITE_SERVER),
    "SERVER": _figure("SERVER", SERVER),
}


class Model:
    """A figure at work."""

    def __init__(self, figure: Figure, *, reliable: bool) -> None:
        self.figure = figure
        self.reliable = reliable
        self.now = 0.0
        self.state = ""
        self.last: str | None = None
        self.done: list[str] = []
        self.timers: dict[str, float] = {}
        self._interval = T1
        self._enter(figure.first)

    @property
    def deadline(self) -> float | None:
        return min(self.timers.values(), default=None)

    def hear(self, heard: str) -> None:
        done, after = self.figure.rows.get((self.state, heard), ((), self.state))
        for what in done:
            if what == "!":
                self.last = heard
                self.done.append(heard)
            elif what == "100":
                self.last = "!1xx"
                self.done.append("!1xx")
            elif what == "last":
                if self.last is not None:
                    self.done.append(self.last)
            else:
                self.done.append(what)
        if after != self.state:
            self._enter(after)

    def wait(self, seconds: float | None = None) -> None:
        """Let time pass: until the next timer, or so many seconds with all that come in them."""
        until = self.deadline if seconds is None else self.now + seconds
        if until is None:
            return
        while self.deadline is not None and self.deadline <= until:
            self.now, timer = heapq.nsmallest(1, [(at, n) for n, at in self.timers.items()])[0]
            del self.timers[timer]
            self.hear(timer)
            self._repeat(timer)
        self.now = until

    def _repeat(self, timer: str) -> None:
        if timer == "A" and self.state == "calling":
            self._interval *= 2
        elif timer == "G" and self.state == "completed":
            self._interval = min(2 * self._interval, T2)
        elif timer == "E" and self.state in ("trying", "proceeding"):
            proceeding = self.state == "proceeding"
            self._interval = T2 if proceeding else min(2 * self._interval, T2)
        else:
            return
        self.timers[timer] = self.now + self._interval

    def _enter(self, state: str) -> None:
        self.state = state
        wanted = RUNNING[self.figure.name].get(state, "").split()
        kept = {name: at for name, at in self.timers.items() if name in wanted}
        self.timers = {}
        for name in wanted:
            lasts = TIMERS[name][self.reliable]
            if name in kept:
                self.timers[name] = kept[name]
            elif lasts == 0.0:
                self.state = "terminated"
                self.timers = {}
                return
            elif lasts is not None and not (name == "late" and state == "proceeding"):
                self.timers[name] = self.now + lasts
