"""The lab in a network namespace of its own, where a phone's network can be taken away.

`make lab-network` makes the namespace: these tests change the addresses of the machine that they
run on, and refuse one that has any.
"""

import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.lab.browser import Browser, Phone
from tests.lab.collection import mark
from tests.lab.lab import Lab

HERE = Path(__file__).parent
NAT_PORTS = "20000-21999"  # which no socket is given by itself


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mark(items, HERE)


def ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
    return done.stdout


def iptables(table: str, chain: str, *rule: str) -> None:
    """A rule for UDP at the end of a chain."""
    where = ("-t", table, "-A", chain, "-p", "udp")
    subprocess.run(["iptables", *where, *rule], check=True)


def flush(table: str) -> None:
    subprocess.run(["iptables", "-t", table, "-F"], check=True)


def drop(*what: str) -> None:
    iptables("filter", "INPUT", *what, "-j", "DROP")


class Network:
    """The phone's one interface, whose addresses come and go; the bridge's audio is elsewhere.

    A browser without a network sends from wherever it can: on one machine, from the very address
    that it sends to, and to a TURN server on the loopback. These ways are closed.
    """

    bridge = "198.18.78.1"  # RFC 2544: nobody's
    phone = "198.18.77.0/24"

    def __init__(self) -> None:
        self._count = 1
        self._zone = 0
        self._address: str | None = None

    def join(self) -> None:
        """A new address, as in another network."""
        self._count += 1
        self._address = f"198.18.77.{self._count}/24"
        ip("address", "add", self._address, "dev", "phone")

    @property
    def here(self) -> str:
        """The phone's address now."""
        assert self._address is not None, "no network"
        return self._address.partition("/")[0]

    def rebind(self) -> None:
        """The phone is behind a NAT from now on, or behind one that has forgotten it and gives each
        of its sockets another port. Kept apart by zones of the kernel's tables, old and new flows
        do not know of each other."""
        out, back = ("-s", self.phone, "-d", self.bridge), ("-s", self.bridge, "-d", self.phone)
        if not self._zone:
            iptables("nat", "POSTROUTING", *out, "-j", "SNAT", "--to", f":{NAT_PORTS}", "--random")
        self._zone += 1
        flush("raw")
        known = NAT_PORTS.replace("-", ":")
        iptables("raw", "OUTPUT", *back, "!", "--dport", known, "-j", "DROP")  # unasked
        for chain in ("OUTPUT", "PREROUTING"):
            for way in (out, back):
                iptables("raw", chain, *way, "-j", "CT", "--zone", str(self._zone))

    @property
    def mappings(self) -> int:
        """How many flows the NAT has given a port to."""
        command = ["iptables", "-t", "nat", "-nvxL", "POSTROUTING"]
        listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return sum(int(line.split()[0]) for line in listed.splitlines() if "SNAT" in line)

    def forget_nat(self) -> None:
        """No NAT any more."""
        for table in ("nat", "raw"):
            flush(table)
        self._zone = 0

    def move_bridge(self, address: str) -> None:
        """The bridge has this address instead of the one before, as with a new lease."""
        ip("address", "delete", f"{self.bridge}/24", "dev", "tower")
        self.bridge = address
        ip("address", "add", f"{address}/24", "dev", "tower")
        drop("-s", address, "-d", address)

    def leave(self) -> None:
        """No network at all."""
        if self._address is not None:
            ip("address", "delete", self._address, "dev", "phone")
            self._address = None


@pytest.fixture(scope="session")
def network() -> Iterator[Network]:
    names = [line.split()[1] for line in ip("-oneline", "address").splitlines()]
    assert set(names) == {"lo"}, "not in a namespace of its own: use `make lab-network`"
    ip("link", "add", "phone", "type", "veth", "peer", "name", "tower")
    for name in ("phone", "tower"):
        ip("link", "set", name, "up")
    ip("address", "add", f"{Network.bridge}/24", "dev", "tower")
    drop("-s", Network.bridge, "-d", Network.bridge)
    network = Network()
    network.join()
    yield network
    ip("link", "delete", "phone")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def lab(network: Network, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lab]:
    async with Lab(tmp_path_factory.mktemp("lab", numbered=False), media=network.bridge) as lab:
        drop("--dport", str(lab.turn.port))
        yield lab


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def phone(lab: Lab) -> Phone:
    browser = Browser(lab.folder / "browser", loopback=False)
    await lab.up(browser)
    return await browser.phone(lab.synapse.url, "alice", "alice-secret")
