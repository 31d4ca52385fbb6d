"""Silence is impossible: whatever is wrong with a line, it is tried again for ever, and its owner
is told once when it breaks and once when it is back. `make outage` plays three days of each.
"""

import asyncio
import random

import pytest

from sip.io.client import GRACE, STEADY, TrunkClient
from tests.sip.io.network import Network, is_up, played
from tests.sip.io.outage import TROUBLES, prove, prove_spread


@pytest.mark.parametrize("name", TROUBLES)
def test_a_line_in_trouble_is_told_once_and_never_given_up(name: str) -> None:
    prove(name, hours=1, chance=random.Random(7).random)


def test_a_line_that_falls_as_soon_as_it_stands_is_told_once() -> None:
    network = Network(chance=random.Random(7).random)

    async def play(client: TrunkClient) -> None:
        for _ in range(36_000):
            await asyncio.sleep(0.1)
            if is_up(client):
                network.cut()
        await asyncio.sleep(60 + STEADY)

    played(network, play)
    assert [name for _, name in network.line] == ["TrunkUp", "TrunkDown", "TrunkUp"]


def test_a_line_that_is_back_at_once_was_never_down() -> None:
    network = Network(chance=random.Random(7).random)

    async def play(client: TrunkClient) -> None:
        for _ in range(60):
            await asyncio.sleep(60)
            network.cut()
            await asyncio.sleep(GRACE)
            assert is_up(client)

    played(network, play)
    assert [name for _, name in network.line] == ["TrunkUp"]


def test_many_accounts_spread_their_registers() -> None:
    prove_spread(200)
