"""`make flood`: INVITEs to nobody, 200 a second for a minute, over one TLS connection on loopback.

The flood is never acknowledged. Beside it a good call comes each second, which must ring within a
second; and afterwards the process must be as small as it was.

    python -m tests.bench.sip_flood [--rate R] [--seconds S]
"""

import asyncio
import sys
import tempfile
from pathlib import Path

import click

from tests.bench.sip_load import NAME, Accounts, Pbx, memory
from tests.sip.io.authority import Authority

# Until timer H has let go of the last one that nobody acknowledged.
REST = 35.0

# What a heap keeps of its highest level, fragments of pages, is no leak. (Bar: 5 MiB.)
GROWTH_LIMIT = 5 * 2**20


async def flood(rate: float, seconds: float) -> tuple[dict[str, float], list[int]]:
    """Return what the PBX found, and our memory before, at the end of the flood, and after."""
    with tempfile.TemporaryDirectory(prefix="ringback-flood-") as folder:
        authority = Authority(Path(folder))
        pbx, port = await Pbx.start(authority.issue(NAME))
        ours = Accounts()
        try:
            await ours.start(1, port, authority.file)
            await pbx.ask("flood", rate, 5)
            await asyncio.sleep(REST)
            weights = [memory()]
            found = await pbx.ask("flood", rate, seconds)
            weights.append(memory())
            await asyncio.sleep(REST)
            weights.append(memory())
        finally:
            await ours.stop()
            await pbx.stop()
    return found, weights


@click.command()
@click.option("--rate", default=200.0, show_default=True, help="INVITEs per second.")
@click.option("--seconds", default=60.0, show_default=True)
def main(rate: float, seconds: float) -> None:
    """Flood a user agent, and fail if a good call did not ring or memory was kept."""
    found, (before, during, after) = asyncio.run(flood(rate, seconds))
    mebi = [f"{weight / 2**20:.1f}" for weight in (before, during, after)]
    click.echo(f"{found['made'] - found['good']:.0f} INVITEs in {seconds:.0f} s")
    click.echo(
        f"good calls: {found['good']:.0f}, rang within 1 s: {found['rang']:.0f}, "
        f"ended: {found['ended']:.0f}, slowest ring {1000 * found['slowest']:.0f} ms"
    )
    click.echo(f"RSS, MiB: {mebi[0]} before, {mebi[1]} at the end, {mebi[2]} {REST:.0f} s after")
    if found["rang"] < found["good"] or after - before > GROWTH_LIMIT:
        sys.exit("the flood did harm")


if __name__ == "__main__":
    main()
