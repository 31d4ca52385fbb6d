"""`make quality`: how calls sound on bad networks, beside rtpengine and aiortc.

    python -m tests.bench.quality --judge PYTHON [--peers PYTHON] [--quick | --virtual]

Every engine carries the same calls, with the same packets lost and late, in one run; what is heard
at the far end is scored by PESQ and, in some cells, by ViSQOL. A cell is the median of four calls,
each with its own voice and its own luck. `--virtual` takes our audio path alone, without sockets
and waiting. Prints Markdown tables; `docs/benchmarks.md` holds a run of them.

The listener is the same for all: a playout buffer, concealment and FEC of ours, so that an engine
which passes jitter and loss on is not worse off for it.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import click

from media.codec import common_rate
from tests.bench.media.engines import Engine, EngineError, engines
from tests.bench.media.load import Load
from tests.bench.quality import virtual
from tests.bench.quality.network import NETWORKS, Network
from tests.bench.quality.speech import TALKERS, say
from tests.bench.quality.virtual import FORMATS

SCORE = Path(__file__).with_name("score.py")
FLOWS = {
    "up": "browser → PBX, the browser's network is bad",
    "down": "PBX → browser, the PBX's network is bad",
    "air": "PBX → browser, the browser's network is bad",
}
CASES = {"T": ("opus", "pcmu"), "W": ("opus", "g722")}
AT_ONCE = {"Ringback": 16, "rtpengine": 16, "aiortc": 8}  # calls: what two cores carry, load beside
TOO_BUSY = 0.005  # seconds by which one of a hundred packets is sent late
LISTENED = (Network(), Network(0.05), Network(0.05, bursty=True), Network(jitter=0.2))
"""Where ViSQOL listens too: it takes 4 s for each call."""


@dataclass
class Cell:
    """What an engine made of one network, in one direction."""

    pesq: list[float] = field(default_factory=list)
    visqol: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Plan:
    """One call: who speaks, over which network, and where that is."""

    talker: int
    network: Network
    place: str  # "sent" or "received", see `player`
    seed: int

    def as_wish(self) -> dict[str, Any]:
        n = self.network
        return {
            "talker": self.talker,
            "network": [n.loss, n.bursty, n.jitter],
            "place": self.place,
            "seed": self.seed,
        }


@dataclass(frozen=True, slots=True)
class Heard:
    """A sound to be judged."""

    engine: str
    flow: str
    plan: Plan
    path: str
    rate: int


@click.command()
@click.option("--judge", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--peers", type=click.Path(exists=True, path_type=Path))
@click.option("--quick", is_flag=True, help="Four networks, one call for each, T only.")
@click.option("--virtual", "alone", is_flag=True, help="Our audio path alone, in virtual time.")
@click.option("--calls", default=len(TALKERS), show_default=True, help="For each network.")
@click.option("--only", default="TW", show_default=True, help="Cases.")
def main(judge: Path, peers: Path | None, quick: bool, alone: bool, calls: int, only: str) -> None:
    """Judge the sound of calls."""
    calls = 1 if quick else calls
    networks = LISTENED if quick else NETWORKS
    for letter, codecs in CASES.items():
        if letter not in only.upper() or (quick and letter != "T"):
            continue
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            if alone:
                heard = imagine(codecs, networks, calls, folder)
            else:
                plans = planned(networks, calls)
                heard = asyncio.run(listen(codecs, plans, engines(peers), folder))
            table = judged(judge, heard, folder)
        show(letter, codecs, networks, table)


def planned(networks: Sequence[Network], calls: int) -> list[Plan]:
    """So many calls for each network, the voices in turn; half of them where the network is behind
    the engine, as each of those is listened to twice."""
    behind = [n for n in networks if not n.jitter]  # jitter there is the browser's own affair
    return [
        *(_plan(i, network, "sent") for network in networks for i in range(calls)),
        *(_plan(i, network, "received") for network in behind for i in range(0, calls, 2)),
    ]


def _plan(number: int, network: Network, place: str) -> Plan:
    return Plan(number % len(TALKERS), network, place, 10 * number)


async def listen(
    codecs: tuple[str, str],
    plans: Sequence[Plan],
    makers: Sequence[Callable[[], Engine]],
    folder: Path,
) -> list[Heard]:
    """Every engine in turn; who fails is told and left out."""
    heard: list[Heard] = []
    load = Load("tests.bench.quality.player")
    await load.start()
    try:
        for make in makers:
            size = AT_ONCE[make().name]
            for first in range(0, len(plans), size):
                part = plans[first : first + size]
                try:
                    heard += await carry(make(), load, codecs, part, folder)
                except (EngineError, TimeoutError) as error:
                    progress(f"{make().name}: {error or 'no answer'}")
    finally:
        await load.stop()
    return heard


async def carry(
    engine: Engine, load: Load, codecs: tuple[str, str], plans: Sequence[Plan], folder: Path
) -> list[Heard]:
    mine = Path(tempfile.mkdtemp(dir=folder))
    try:
        await engine.start()
        await load.ask({"op": "reset"})
        opened = [await load.call(engine, i, *codecs) for i in range(len(plans))]
        told = await load.ask(
            {
                "op": "speak",
                "calls": {i: plan.as_wish() for i, plan in enumerate(plans)},
                "folder": str(mine),
            }
        )
        for one in opened:
            await one.close()
    finally:
        await engine.stop()
    behind = told["behind"]
    progress(f"{engine.name}: {len(plans)} calls heard, packets sent {behind * 1000:.1f} ms late")
    if behind > TOO_BUSY:
        progress("The machine is too busy: what is heard is that, and not the networks.")
    rate = common_rate(*codecs)
    return [Heard(engine.name, flow, plans[i], path, rate) for i, flow, path in told["heard"]]


def imagine(
    codecs: tuple[str, str], networks: Sequence[Network], calls: int, folder: Path
) -> list[Heard]:
    """The same through our audio path in virtual time."""
    heard: list[Heard] = []
    browser, pbx = codecs
    for network in networks:
        for number in range(calls):
            for flow in FLOWS if not network.jitter else ("up", "down"):
                plan = _plan(number, network, "received" if flow == "air" else "sent")
                source, sink = (browser, pbx) if flow == "up" else (pbx, browser)
                path = folder / f"{len(heard)}.pcm"
                path.write_bytes(through(source, sink, plan))
                heard.append(Heard("Ringback", flow, plan, str(path), common_rate(*codecs)))
    return heard


def through(source: str, sink: str, plan: Plan) -> bytes:
    before, behind = plan.network, Network()
    if plan.place == "received":
        before, behind = behind, before
    fmtp = virtual.NARROW_FMTP if sink == "pcmu" else virtual.BROWSER_FMTP
    payloads = virtual.spoken(TALKERS[plan.talker], source, before.loss, fmtp)
    arrivals = virtual.impair(virtual.sent(payloads, FORMATS[source]), before, plan.seed)
    left = virtual.bridge(arrivals, FORMATS[source], FORMATS[sink], behind.loss)
    if plan.place == "received":
        left = virtual.impair([one.packet for one in left], behind, plan.seed)
    return virtual.heard(left, FORMATS[sink], source)


def judged(
    judge: Path, heard: Sequence[Heard], folder: Path
) -> dict[tuple[str, Network, str], Cell]:
    """Scores by direction, network and engine."""
    references: dict[tuple[int, int], str] = {}
    jobs = []
    for one in heard:
        key = (one.plan.talker, one.rate)
        if key not in references:
            path = folder / f"reference-{key[0]}-{key[1]}.pcm"
            path.write_bytes(say(TALKERS[key[0]], one.rate))
            references[key] = str(path)
        visqol = one.plan.network in LISTENED and one.plan.seed < 20 and one.flow != "air"
        jobs.append(
            {
                "reference": references[key],
                "degraded": one.path,
                "rate": one.rate,
                "visqol": visqol,
            }
        )
    answers = subprocess.run(
        [judge, SCORE],
        input="".join(json.dumps(job) + "\n" for job in jobs),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    ).stdout.splitlines()
    table: dict[tuple[str, Network, str], Cell] = defaultdict(Cell)
    for one, line in zip(heard, answers, strict=True):
        score = json.loads(line)
        cell = table[one.flow, one.plan.network, one.engine]
        cell.pesq.append(score["pesq"])
        if score["visqol"] is not None:
            cell.visqol.append(score["visqol"])
    return table


def show(
    letter: str,
    codecs: tuple[str, str],
    networks: Sequence[Network],
    table: dict[tuple[str, Network, str], Cell],
) -> None:
    names = [name for name in AT_ONCE if any(key[2] == name for key in table)]
    click.echo(f"\n### {letter}: {codecs[0]} ↔ {codecs[1]}, MOS by PESQ (by ViSQOL)\n")
    below = cells = 0
    for flow, title in FLOWS.items():
        rows = [n for n in networks if (flow, n, names[0]) in table]
        if not rows:
            continue
        click.echo(f"{title}\n\n| network | " + " | ".join(names) + " |")
        click.echo("| --- |" + " --- |" * len(names))
        for network in rows:
            found = [table.get((flow, network, name)) for name in names]
            click.echo(f"| {network} | " + " | ".join(map(_figure, found)) + " |")
            scores = [median(cell.pesq) if cell is not None else 0.0 for cell in found]
            cells += 1
            below += round(scores[0], 2) < round(max(scores), 2)
        click.echo("")
    if len(names) > 1:
        click.echo(f"{names[0]} is below another in {below} of {cells} cells (PESQ).")


def _figure(cell: Cell | None) -> str:
    if cell is None:
        return "—"
    text = f"{median(cell.pesq):.2f}"
    return f"{text} ({median(cell.visqol):.2f})" if cell.visqol else text


def progress(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    main()
