"""The servers, once for all tests, on one event loop; and phones that register at them."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Protocol

import pytest
import pytest_asyncio

from sip.trunk import Trunk
from tests.interop.accounts import MODERN, OLD
from tests.interop.kamailio import Kamailio
from tests.interop.phone import Phone, account
from tests.lab import cache
from tests.lab.asterisk import Asterisk
from tests.lab.baresip import Baresip
from tests.lab.certificate import Authority
from tests.lab.collection import mark
from tests.lab.ports import Ports

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mark(items, HERE)


@pytest.fixture(autouse=True)
def traced(caplog: pytest.LogCaptureFixture) -> None:
    """A test that fails shows what our agent said and heard on the wire."""
    caplog.set_level(logging.DEBUG, logger="sip")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("interop", numbered=False)


@pytest.fixture(scope="session")
def ports() -> Ports:
    return Ports()


@pytest.fixture(scope="session")
def authority(folder: Path) -> Authority:
    return Authority(folder / "certificates")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def modern(folder: Path, ports: Ports, authority: Authority) -> AsyncIterator[Asterisk]:
    """Asterisk of today."""
    pbx = Asterisk(folder / "asterisk", ports, authority, MODERN)
    await pbx.start()
    yield pbx
    await pbx.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def old(folder: Path, ports: Ports, authority: Authority) -> AsyncIterator[Asterisk]:
    """Asterisk 16."""
    pbx = Asterisk(folder / "asterisk-16", ports, authority, OLD, suites=cache.OLD_SUITES)
    await pbx.start()
    yield pbx
    await pbx.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def equipped(folder: Path, ports: Ports, authority: Authority) -> AsyncIterator[Asterisk]:
    """Asterisk of today with every suite of SRTP."""
    pbx = Asterisk(folder / "equipped", ports, authority, MODERN, every_suite=True)
    await pbx.start()
    yield pbx
    await pbx.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def proxies(
    folder: Path, ports: Ports, authority: Authority, modern: Asterisk
) -> AsyncIterator[dict[str, Kamailio]]:
    """One Kamailio for each digest; the PBX stands behind both."""
    proxies = {
        algorithm: Kamailio(
            folder / f"kamailio-{algorithm.lower()}",
            ports,
            authority,
            pbx_port=modern.tls_port,
            algorithm=algorithm,
        )
        for algorithm in ("MD5", "SHA-256")
    }
    await asyncio.gather(*(proxy.start() for proxy in proxies.values()))
    yield proxies
    await asyncio.gather(*(proxy.stop() for proxy in proxies.values()))


@pytest.fixture
def proxy(proxies: dict[str, Kamailio]) -> Kamailio:
    return proxies["MD5"]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def telephone(
    folder: Path, ports: Ports, authority: Authority, proxies: dict[str, Kamailio]
) -> AsyncIterator[Baresip]:
    """A baresip, registered at the proxy as `telephone`."""
    baresip = Baresip(folder / "baresip", ports, authority, proxies["MD5"], "telephone")
    await baresip.start()
    yield baresip
    await baresip.stop()


@pytest_asyncio.fixture(loop_scope="session", params=["modern", "old"])
async def pbx(request: pytest.FixtureRequest, modern: Asterisk, old: Asterisk) -> Any:
    """Either Asterisk; whatever a test does, no call may be left when it ends."""
    chosen = modern if request.param == "modern" else old
    yield chosen
    await chosen.quiet()


class Server(Protocol):
    """Where phones register: a PBX or a proxy."""

    domain: str
    tls_port: int

    def password(self, name: str) -> str: ...


class Phones:
    """Phones by server and account, which stay registered from test to test."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        self._standing: dict[tuple[int, str], Phone] = {}
        self._own: list[Phone] = []

    async def standing(self, server: Server, name: str) -> Phone:
        """The phone of this account, registered."""
        key = (server.tls_port, name)
        if key not in self._standing:
            self._standing[key] = Phone(self._account(server, name))
            await self._standing[key].start()
            await self._standing[key].registered()
        return self._standing[key]

    async def own(self, server: Server, name: str, **settings: Any) -> Phone:
        """A phone of one test alone, perhaps with wrong settings: not yet registered."""
        phone = Phone(self._account(server, name, **settings))
        self._own.append(phone)
        await phone.start()
        return phone

    async def rest(self) -> None:
        """Leave nothing of a test behind: no call, no event."""
        await asyncio.gather(*(phone.stop() for phone in self._own))
        self._own.clear()
        for phone in self._standing.values():
            await phone.rest()

    async def stop(self) -> None:
        await asyncio.gather(*(phone.stop() for phone in self._standing.values()))

    def _account(self, server: Server, name: str, **settings: Any) -> Trunk:
        return account(
            self._authority,
            name,
            domain=server.domain,
            **{"port": server.tls_port, "password": server.password(name), **settings},
        )


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def all_phones(authority: Authority) -> AsyncIterator[Phones]:
    phones = Phones(authority)
    yield phones
    await phones.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def phones(all_phones: Phones) -> AsyncIterator[Phones]:
    yield all_phones
    await all_phones.rest()
