"""Troubles that a line can be in, and what must be true of it during each and afterwards."""

import asyncio
import random
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise

from sip.io.backoff import CAP, Pace
from sip.io.client import STEADY, TrunkClient, TrunkDown, TrunkUp
from sip.message import Message, Request
from sip.registration import REFUSED_DELAY
from tests.sip.io.network import Network, is_up, played
from tests.sip.io.registrar import Registrar
from tests.sip.io.wiring import run_virtually

STATUSES = (401, 403, 404, 423, 439, 480, 500, 503, 606)
TROUBLES = (*map(str, STATUSES), "DNS", "certificate", "refused", "silence")

TOLD_WITHIN = 60.0
SPREAD = 10.0  # seconds, for a thousand accounts


@contextmanager
def trouble(name: str, network: Network) -> Iterator[None]:
    """Let something be wrong with the line while the block runs."""
    registrar = network.hosts["a"]
    assert isinstance(registrar, Registrar)
    match name:
        case "DNS":
            network.unresolvable = "the name pbx.example has no address"
        case "certificate":
            expired = ssl.SSLCertVerificationError("certificate has expired")
            expired.verify_code, expired.verify_message = 10, "certificate has expired"
            network.hosts["a"] = expired
        case "refused":
            network.hosts["a"] = ConnectionRefusedError(111, "refused")
        case "silence":
            registrar.silent |= {"REGISTER", "OPTIONS"}
        case "401":
            registrar.password = "another"
        case status:
            registrar.refusing = int(status)
    try:
        yield
    finally:
        network.unresolvable = ""
        network.hosts["a"] = registrar
        registrar.silent.clear()
        registrar.password = "secret"
        registrar.refusing = 0


@dataclass
class Watched(Registrar):
    """A registrar that remembers when it was asked.

    Attributes:
        asked: loop times of REGISTERs.
        alone: whether each who asks is the only one of its account.
    """

    asked: list[float] = field(default_factory=list)
    alone: bool = False

    def take(self, message: Message) -> list[Message]:
        if isinstance(message, Request) and message.method == "REGISTER":
            self.asked.append(asyncio.get_running_loop().time())
            if self.alone:
                self.bindings.clear()
        return super().take(message)


def prove(name: str, *, hours: float, chance: Callable[[], float]) -> int:
    """Keep a line in trouble for so many hours and see it come back; return how often it tried."""
    registrar = Watched()
    network = Network({"a": registrar}, chance=chance)
    # A refused password is tried again rarely; everything else within a minute, after what it takes
    # to know that nobody answers (timer F).
    pause = 1.1 * REFUSED_DELAY if name in ("401", "403") else CAP + 32

    def tried() -> list[float]:
        """When the line was tried; what happens in one moment of virtual time is one try."""
        return sorted({*network.lookups, *(at - network.began for at in registrar.asked)})

    async def play(client: TrunkClient) -> None:
        await asyncio.sleep(100)
        assert is_up(client)
        with trouble(name, network):
            registrar.bindings.clear()
            network.cut()
            broke = network.now()
            await asyncio.sleep(hours * 3600)
            assert not is_up(client)
            ended = network.now()
            tries = [at for at in tried() if at > broke]
        await asyncio.sleep(pause + TOLD_WITHIN)
        assert is_up(client)
        assert len(registrar.bindings) == 1

        assert all(later - earlier <= pause for earlier, later in pairwise([*tries, ended]))
        assert len(tries) <= hours * 3600 / (CAP / 2) + 10, "faster than the back-off"
        told = [said for said in network.said if isinstance(said[1], TrunkUp | TrunkDown)]
        assert [type(event) for _, event in told] == [TrunkUp, TrunkDown, TrunkUp]
        down = told[1][1]
        assert isinstance(down, TrunkDown)
        assert "internal error" not in down.text
        assert broke <= told[1][0] <= broke + TOLD_WITHIN
        assert ended <= told[2][0] <= ended + pause + STEADY

    played(network, play)
    return len(tried())


def prove_spread(accounts: int) -> None:
    """Start so many accounts at once, and let them lose their common PBX: each comes back, once,
    and not all in the same moment."""
    registrar = Watched(alone=True)
    network = Network({"a": registrar}, chance=random.Random(7).random, pace=Pace())

    def check(clients: list[TrunkClient], *, times: int) -> None:
        assert all(client.status.up for client in clients)
        assert len(network.attempts) == times * accounts
        # The first REGISTER of an account is challenged, later ones carry credentials.
        assert len(registrar.asked) == (times + 1) * accounts
        latest = [at for at, _ in network.attempts[-accounts:]]
        assert latest[-1] - latest[0] >= SPREAD * accounts / 1000

    async def main() -> None:
        clients = [network.client() for _ in range(accounts)]
        for client in clients:
            await client.start()
        await asyncio.sleep(30)
        check(clients, times=1)
        network.cut_all()
        await asyncio.sleep(30)
        check(clients, times=2)

    run_virtually(main())
