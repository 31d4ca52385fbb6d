"""Texts both ways while something is killed or the database is away: how many are lost, doubled or
out of order.

The lab's tests run this small; `make durable` runs it as large as the promise is.
"""

import argparse
import asyncio
import contextlib
import os
import random
import secrets
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.matrix import MatrixUser
from tests.lab.postgres import Postgres
from tests.lab.process import children, eventually
from tests.lab.rig import Rig, Station, friends, said_by_friends
from tests.lab.trouble import gone, locked, station_file

IN_DOUBT = "may not have"
FRIENDS = 5  # of each way
STARTS = 3  # of a bridge that was killed, until it is up
SUSPENDED = 120.0  # seconds
SOUNDLESS = 8.0  # seconds for which a call may well be without any sound


@dataclass
class Verdict:
    """What became of the texts.

    Attributes:
        texts: of each direction.
        doubts: texts of ours of which the author was told that they may not have arrived.
        lost: neither arrived nor told of.
        odd_in, odd_out: conversations that are out of order.
        behind: seconds from the last acknowledgement until all was in its place.
    """

    texts: int
    kills: int
    seconds: float = 0.0
    behind: float = 0.0
    doubts: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    odd_in: list[str] = field(default_factory=list)
    odd_out: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = ", ".join(
            f"{len(what)} {name}"
            for name, what in (
                ("lost", self.lost),
                ("doubled", self.doubled),
                ("conversations in out of order", self.odd_in),
                ("out", self.odd_out),
                ("in doubt and told", self.doubts),
            )
        )
        took = f"{self.seconds:.0f} s, all in place {self.behind:.0f} s later"
        return f"{self.texts} texts each way, {self.kills} kills, {took}: {counts}"

    def check(self) -> None:
        """Nothing lost, nothing doubled, order kept, and of doubts no more than the unsafe instant
        explains: one for each kill and conversation."""
        assert not self.lost, f"{self}\nlost: {self.lost[:10]}"
        assert not self.doubled, f"{self}\ndoubled: {self.doubled[:10]}"
        assert not self.odd_in, f"{self}\nout of order: {self.odd_in}"
        assert not self.odd_out, f"{self}\nout of order: {self.odd_out}"
        assert len(self.doubts) <= self.kills * 2 * FRIENDS, f"{self}"


class Traffic:
    """Texts of some conversations, both ways, by road and by SIP.

    Args:
        pace: seconds from one text of somebody to the next, besides what it takes.
    """

    def __init__(self, rig: Rig, station: Station, texts: int, *, pace: float = 0.0) -> None:
        self._user: MatrixUser = rig.user
        self._rig = rig
        self._station = station
        self._each = texts // (2 * FRIENDS)
        self._pace = pace
        self.mark = secrets.token_hex(3)
        self.by_road = friends(FRIENDS, "777")
        self.by_sip = friends(FRIENDS, "888")
        self.rooms: dict[str, str] = {}
        self.events: dict[str, str] = {}  # what we said, by the event that it is
        self.seen = 0

    async def open(self) -> None:
        """Make the rooms of those whom we write to. Who writes to us makes a room by that."""
        numbers = [*self.by_road, *self.by_sip]
        made = await asyncio.gather(
            *(
                self._rig.room(self._station, number, by_road=number in self.by_road)
                for number in numbers
            )
        )
        self.rooms = dict(zip(numbers, made, strict=True))
        self.seen = self._user.mark

    def incoming(self, number: str) -> list[str]:
        return [f"{self.mark} in {number} {n}" for n in range(self._each)]

    def outgoing(self, number: str) -> list[str]:
        return [f"{self.mark} out {number} {n}" for n in range(self._each)]

    async def flow(self) -> None:
        """Everybody writes; returns when all of it was acknowledged."""
        strangers = friends(2, "666")  # their rooms have to be made meanwhile
        self.by_road[:2], written = strangers, self.by_road[:2]
        self._written = [*written, *self.by_road[2:], *self.by_sip]
        async with asyncio.TaskGroup() as group:
            for number in self.by_road:
                group.create_task(self._write_in(self._station.text_by_road, number))
            for number in self.by_sip:
                group.create_task(self._write_in(self._station.text_by_sip, number))
            for number in self._written:
                group.create_task(self._write_out(number))

    async def _write_in(self, send: Callable[[str, str], Awaitable[None]], number: str) -> None:
        for body in self.incoming(number):
            await send(number, body)
            await asyncio.sleep(self._pace)

    async def _write_out(self, number: str) -> None:
        for body in self.outgoing(number):
            self.events[await self._user.insist(self.rooms[number], body)] = body
            await asyncio.sleep(self._pace)

    # --- afterwards

    async def judge(self, verdict: Verdict, *, within: float) -> None:
        """Wait until all has come or is told of, and a little longer for what comes twice."""
        writers = [*self.by_road, *self.by_sip]
        wanted_in = {body for number in writers for body in self.incoming(number)}
        wanted_out = [self.outgoing(number) for number in self._written]
        everything = {body for bodies in wanted_out for body in bodies}
        # In the rooms themselves: what a client sees of them may have gaps after an outage.
        began, said = time.monotonic(), set[str]()
        while not (wanted_in <= said and everything <= {*self.arrived(), *self._doubted()}):
            if time.monotonic() - began > within:
                break  # what is missing is counted below
            await asyncio.sleep(1)
            said = set(await said_by_friends(self._user, f"{self.mark} in"))
        verdict.behind = time.monotonic() - began
        await asyncio.sleep(2)
        heard = await said_by_friends(self._user, f"{self.mark} in")
        arrived = self.arrived()
        counts = Counter([*heard, *arrived])
        verdict.doubts = sorted(self._doubted())
        verdict.doubled = [body for body, count in counts.items() if count > 1]
        verdict.lost = sorted({*wanted_in, *everything} - {*counts, *verdict.doubts})
        verdict.odd_in = [n for n in writers if not in_order(self.incoming(n), heard)]
        verdict.odd_out = [n for n in self._written if not in_order(self.outgoing(n), arrived)]

    def arrived(self) -> list[str]:
        """What the provider and the telephone system have of ours."""
        texts = [taken.body for taken in self._station.outward.taken]
        return [t for t in (*texts, *self._station.texts_heard()) if t.startswith(self.mark)]

    def _doubted(self) -> set[str]:
        found = set()
        for event in self._user.events[self.seen :]:
            if IN_DOUBT in event.body:
                about = event.content.get("m.relates_to", {}).get("m.in_reply_to", {})
                found.add(self.events.get(about.get("event_id", ""), ""))
        return found - {""}


def in_order(wanted: Sequence[str], found: Sequence[str]) -> bool:
    """Whether what was found of these is in their order."""
    places = {body: place for place, body in enumerate(wanted)}
    mine = [places[body] for body in found if body in places]
    return mine == sorted(mine)


async def kill_bridge(rig: Rig, station: Station) -> None:
    """Kill it, and start it again as what supervises it does: however often that takes."""
    await station.bridge.process.stop(signal.SIGKILL)
    for _ in range(STARTS - 1):
        with contextlib.suppress(RuntimeError):  # the machine was too busy for its media workers
            await station.bridge.start()
            return
        await station.bridge.process.stop(signal.SIGKILL)
    await station.bridge.start()


async def kill_homeserver(rig: Rig, station: Station) -> None:
    await rig.synapse.process.stop(signal.SIGKILL)
    await rig.synapse.start()


async def suspend_bridge(rig: Rig, station: Station) -> None:
    """Stop the bridge, its media workers too, as a machine's suspension does; then it goes on."""
    pids = [station.bridge.process.pid, *children(station.bridge.process.pid)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(SUSPENDED)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


async def kills(
    rig: Rig,
    station: Station,
    kill: Callable[[Rig, Station], Awaitable[None]],
    *,
    texts: int,
    count: int,
    pause: float,
    within: float = 120.0,
) -> Verdict:
    """Let texts flow, and kill so often while they do.

    Args:
        pause: seconds from one start to the next kill, half of it to one and a half.
        within: seconds after the last text and kill for everything to be in its place.
    """
    traffic, verdict = Traffic(rig, station, texts), Verdict(texts, count)
    await traffic.open()
    started = time.monotonic()
    flowing = asyncio.create_task(traffic.flow())
    for _ in range(count):
        await asyncio.sleep(pause * random.uniform(0.5, 1.5))
        await kill(rig, station)
    await flowing
    verdict.seconds = time.monotonic() - started
    await traffic.judge(verdict, within=within)
    return verdict


# --- its database is away


async def survives(
    rig: Rig, station: Station, trouble: AbstractAsyncContextManager[None], *, seconds: float
) -> Verdict:
    """Take a bridge's database away while texts flow both ways. It refuses what it cannot keep and
    cuts no call; afterwards everything arrives, once, without a restart."""
    traffic, verdict = Traffic(rig, station, texts=60, pace=0.4), Verdict(60, 0)
    await traffic.open()
    first = len(station.inward.statuses)
    call = await station.call(rig.user, traffic.rooms[traffic.by_sip[0]])
    process, started = station.bridge.process.pid, time.monotonic()
    flowing = asyncio.create_task(traffic.flow())
    await eventually(lambda: len(station.inward.statuses) >= first + 2 * FRIENDS)
    before = len(station.inward.statuses)
    async with trouble:
        # A call without sound ends by itself after a while, whatever the database does.
        await asyncio.sleep(min(seconds, SOUNDLESS))
        assert call.is_up(), "the call was cut"
        await asyncio.sleep(max(0.0, seconds - SOUNDLESS))
        statuses = station.inward.statuses[before:]
        assert [status for status in statuses if status >= 500], f"nothing was refused: {statuses}"
    if call.is_up():
        await call.end()
    await flowing
    verdict.seconds = time.monotonic() - started
    await traffic.judge(verdict, within=120)
    assert station.bridge.process.pid == process
    assert station.bridge.process.running
    return verdict


# --- as large as the promise


TRIALS = ("bridge", "homeserver", "database", "suspended")


async def main(
    texts: int, count: int, database: str, trials: Sequence[str], kept: Path | None
) -> bool:
    """These trials on one database; whether all of it held.

    Args:
        kept: a folder for the logs; they are thrown away if there is none.
    """
    good = True
    async with contextlib.AsyncExitStack() as stack:
        folder = kept or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="ringback-durable-"))
        )
        postgres = Postgres()
        if database == "postgres":
            stack.push_async_callback(postgres.stop)
            await postgres.start()
        rig = Rig(folder)
        station = rig.add("ringback", database=postgres.url if database == "postgres" else None)
        await stack.enter_async_context(rig)
        await rig.up(station)

        async def hold(name: str, trial: Awaitable[Verdict]) -> None:
            nonlocal good
            try:
                verdict = await trial
                said = str(verdict)
                verdict.check()
            except AssertionError as error:
                good, said = False, f"FAILED: {error}"
            print(f"{database}, {name}: {said}", flush=True)  # noqa: T201

        half = max(1, count // 2)
        for trial, name, kill, times in (
            ("bridge", "kill -9 of the bridge", kill_bridge, count),
            ("homeserver", "kill -9 of the homeserver", kill_homeserver, half),
            ("suspended", "suspended for two minutes", suspend_bridge, 1),
        ):
            if trial not in trials:
                continue
            pause = texts / 20 / times  # the homeserver takes some twenty a second
            await hold(
                name, kills(rig, station, kill, texts=texts, count=times, pause=pause, within=600)
            )
        if "database" not in trials:
            return good
        if database == "postgres":
            away = survives(rig, station, gone(postgres), seconds=60)
            await hold("PostgreSQL stopped for a minute", away)
        else:
            away = survives(rig, station, locked(station_file(station)), seconds=30)
            await hold("the file locked for half a minute", away)
    return good


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.lab.durable", description=__doc__)
    parser.add_argument("--texts", type=int, default=1000, help="of each direction")
    parser.add_argument("--kills", type=int, default=20, help="of the bridge; half as many of it")
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--trials", nargs="+", choices=TRIALS, default=TRIALS)
    parser.add_argument("--keep", type=Path, help="a folder for everybody's logs")
    given = parser.parse_args()
    held = asyncio.run(main(given.texts, given.kills, given.database, given.trials, given.keep))
    sys.exit(0 if held else 1)
