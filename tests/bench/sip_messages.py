"""Messages parsed and printed per second of one core: ours beside the other libraries for Python.

The messages are what a user agent receives over calls in and out and a registration: INVITE with
a description, ACK, BYE, 180, 200 with a description, 200 to REGISTER. Those of one call share its
addresses; each call has its own.

To *read* is to parse and to know what every user agent must: the branch of the top Via, both tags,
Call-ID, CSeq, and the Contact's host. The libraries differ in what they put off until they are
asked, so *parse* alone compares unlike work: of ours it is a message whose start line, Via, From,
To, Call-ID and CSeq are known to be lawful.

What is measured is CPU time, each library in a process of its own, in windows that take turns. The
median of the windows counts.
"""

import statistics
from collections.abc import Callable
from pathlib import Path

from tests.bench.sip_calls import Contender, Running

WORKS = ("read", "parse", "write")
US = "ringback"
PEERS = {"sipmessage": "0.7.1", "aiosipua": "0.7.1", "sippy": "2.5.0"}

# Of messages: a third of a second for us.
WINDOW = 6000

HEAD = (
    "| library | read: messages/s (min … max) | parsed only | printed | ours is, reading / parsing "
    "/ printing |\n| --- | --- | --- | --- | --- |"
)


def measure(
    *, python: Path, peers: Path | None, windows: int, say: Callable[[str], object]
) -> list[str]:
    """Return the rows of a table.

    Args:
        python: the interpreter for us.
        peers: one that has the peers, None to go without them.
    """
    interpreters = {US: python} | ({} if peers is None else dict.fromkeys(PEERS, peers))
    running = {
        (name, work): Running(Contender(name, "messages", WINDOW, arguments=(name, work)), at)
        for name, at in interpreters.items()
        for work in WORKS
    }
    try:
        for number in range(windows + 1):
            say(f"messages: window {number} of {windows}" if number else "messages: warming up")
            for one in running.values():
                one.window(warm_up=number == 0)
    finally:
        for one in running.values():
            one.end()
    rates = {key: [1000 / cost for cost in one.per_call] for key, one in running.items()}
    return [_row(name, rates) for name in interpreters]


def _row(name: str, rates: dict[tuple[str, str], list[float]]) -> str:
    middles = [statistics.median(rates[name, work]) for work in WORKS]
    reads = rates[name, "read"]
    spread = f"{middles[0]:,.0f} ({min(reads):,.0f} … {max(reads):,.0f})"
    ratios = (
        statistics.median(rates[US, work]) / middle
        for work, middle in zip(WORKS, middles, strict=True)
    )
    times = "" if name == US else " / ".join(f"{ratio:.2f} ×" for ratio in ratios)
    title = "Ringback" if name == US else f"{name} {PEERS[name]}"
    return f"| {title} | {spread} | {middles[1]:,.0f} | {middles[2]:,.0f} | {times} |"
