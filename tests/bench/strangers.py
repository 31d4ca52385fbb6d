"""Sieges as large as the project's bars have them: `python -m tests.bench.strangers`.

1. A hundred calls connect through a real worker over loopback, while ClientHellos, alerts and
   garbage arrive at each port of the plane two hundred times a second, before the handshake, during
   it and after it.
2. A hundred thousand forgeries at a call that is up: none is forwarded, redirects, or ends it, and
   nothing of them is kept.
3. Two hundred thousand good packets over their roll-overs and re-offers, each replayed three times:
   none is refused, none passes twice.

Says in a line each what came of it; the exit status tells whether a bar was missed.
"""

import asyncio
import logging
import random
import resource
import socket
import sys
import time
from itertools import cycle
from pathlib import Path

from media.local import LocalPlane
from media.srtp import SUITES
from tests.lab.ports import HOST, Ports
from tests.media.forged import ALERT
from tests.media.siege import HELLO, forge, replay
from tests.media.test_local import Call

CALLS, AT_ONCE = 100, 4
PORTS = 600  # each rests when its call is over
RATE = 200  # a second, at each port in use
FORGERIES = 100_000
GOOD = 200_000
MEMORY = 1024 * 1024


def main() -> int:
    logging.disable(logging.WARNING)
    missed = [asyncio.run(_connect()), *_play()]
    return int(any(missed))


async def _connect() -> bool:
    quiet, _ = await _calls(AT_ONCE * 5, rate=0)
    took, shots = await _calls(CALLS, rate=RATE)
    middle, worst = sorted(took)[len(took) // 2], max(took, default=0.0)
    _say(
        f"calls that connect under fire: {len(took)} of {CALLS}, {shots:,} datagrams of strangers; "
        f"to first sound {middle * 1000:.0f} ms in the middle, {worst * 1000:.0f} ms at worst "
        f"(in peace {sorted(quiet)[len(quiet) // 2] * 1000:.0f} ms)"
    )
    return len(took) < CALLS


async def _calls(count: int, *, rate: int) -> tuple[list[float], int]:
    """Seconds that each call took until both sides were heard; and how much was shot."""
    took: list[float] = []
    ports = Ports().pick_range(PORTS)
    plane = LocalPlane(listen=(HOST,), ports=(ports[0], ports[-1]), workers=1)
    await plane.start()
    siege = asyncio.create_task(shoot(ports, rate))
    try:

        async def one() -> None:
            call = Call(plane)
            began = time.monotonic()
            try:
                await call.connect()
            except TimeoutError:
                await call.leave()
                return
            took.append(time.monotonic() - began)
            await call.hang_up()

        for _ in range(0, count, AT_ONCE):
            await asyncio.gather(*(one() for _ in range(AT_ONCE)))
    finally:
        siege.cancel()
        await plane.stop()
    return took, await siege


async def shoot(ports: range, rate: int) -> int:
    """Shoot from many ports of ours at each of theirs until cancelled; how often."""
    guns = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(8)]
    chance, shots = random.Random(1), 0
    began, rounds = time.monotonic(), 0
    try:
        for gun in cycle(guns):
            if not rate:
                await asyncio.Event().wait()
            for port in in_use(ports):
                data = chance.choice((HELLO, ALERT, chance.randbytes(200)))
                gun.sendto(data, (HOST, port))
                shots += 1
            rounds += 1
            await asyncio.sleep(max(0.0, began + rounds / rate - time.monotonic()))
    except asyncio.CancelledError:
        pass
    finally:
        for gun in guns:
            gun.close()
    return shots


def in_use(ports: range) -> list[int]:
    """Ports on which somebody of this machine listens: a stranger has guessed them."""
    lines = Path("/proc/net/udp").read_text().splitlines()[1:]
    bound = {int(line.split()[1].rpartition(":")[2], 16) for line in lines}
    return sorted(bound.intersection(ports))


def _play() -> list[bool]:
    forge(FORGERIES // 10)  # what a process needs once
    before = _resident()
    forged = forge(FORGERIES)
    grown, measured = _resident() - before, forge(FORGERIES, measure=True)
    _say(
        f"forgeries: {forged.sent:,}, forwarded {forged.forwarded}, redirected "
        f"{forged.redirected}, calls ended {int(forged.ended)}, memory "
        f"{measured.bytes_kept / 1024:+.1f} KiB of objects and {grown / 1024:+.0f} KiB of the "
        f"process; heard after it {forged.heard}"
    )
    missed = [
        bool(forged.forwarded or forged.redirected or forged.ended),
        max(grown, measured.bytes_kept) > MEMORY,
    ]
    for suite in SUITES:
        replayed = replay(GOOD, suite)
        _say(
            f"{suite}: {replayed.captured:,} good packets, {replayed.refused} refused; "
            f"{replayed.twice} replays passed"
        )
        missed.append(bool(replayed.refused or replayed.twice))
    return missed


def _resident() -> int:
    """Bytes of memory that this process has, the libraries' included."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
