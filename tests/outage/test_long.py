"""What `tests/sip/io/test_outage.py` plays for an hour and for a few, for three days and for a
thousand; and the thousand over real TLS.
"""

import asyncio
import random
import resource
from pathlib import Path

import pytest

from sip.events import Registered
from sip.io.backoff import Pace
from sip.io.client import TrunkClient
from sip.trunk import TlsSettings, Trunk
from tests.sip.io.authority import Authority
from tests.sip.io.outage import SPREAD, TROUBLES, Watched, prove, prove_spread
from tests.sip.io.registrar import peering
from tests.sip.io.tls_server import server_context

ACCOUNTS = 1000


@pytest.mark.parametrize("name", TROUBLES)
def test_three_days_of_trouble(name: str) -> None:
    prove(name, hours=72, chance=random.Random(7).random)


def test_a_thousand_accounts_on_virtual_time() -> None:
    prove_spread(ACCOUNTS)


@pytest.mark.timeout(180)
async def test_a_thousand_accounts_over_tls(tmp_path: Path) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    authority = Authority(tmp_path)
    registrar = Watched(alone=True)
    pace = Pace()
    registered = 0
    all_registered = asyncio.Event()

    def hear(event: object) -> None:
        nonlocal registered
        if isinstance(event, Registered):
            registered += 1
            if registered % ACCOUNTS == 0:
                all_registered.set()

    async def spread(asked: int) -> float:
        """Wait until each is registered once more; over how long were its REGISTERs?"""
        before = len(registrar.asked)
        all_registered.clear()
        async with asyncio.timeout(60):
            await all_registered.wait()
        assert len(registrar.asked) == asked, "none doubled"
        return registrar.asked[-1] - registrar.asked[before]

    async with peering(server_context(authority.issue("pbx.example")), registrar) as peer:
        clients = [
            TrunkClient(
                Trunk(
                    name=f"account {number}",
                    domain="pbx.example",
                    host="127.0.0.1",
                    port=peer.port,
                    username=f"user{number}",
                    password="secret",
                    tls=TlsSettings(ca_file=authority.file),
                ),
                listener=hear,
                pace=pace,
            )
            for number in range(ACCOUNTS)
        ]
        for client in clients:
            await client.start()
        first = await spread(2 * ACCOUNTS)
        peer.cut()
        second = await spread(3 * ACCOUNTS)
        assert peer.connections == 2 * ACCOUNTS, "none doubled"
        await asyncio.gather(*(client.stop() for client in clients))
    print(f"spread over {first:.1f} s at the start, {second:.1f} s after the outage")  # noqa: T201
    assert min(first, second) >= SPREAD
