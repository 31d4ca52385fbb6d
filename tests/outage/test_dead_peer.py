"""A peer that is frozen, and one whose packets no longer come through: known within 48 s, in real
time and with real sockets. The second needs root, for a network namespace.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sip.io.client import TrunkClient, TrunkDown, TrunkUp
from sip.trunk import TlsSettings, Trunk
from tests.sip.io.authority import Authority
from tests.sip.io.wiring import Inbox

NOTICED_WITHIN = 48.0
BACK_WITHIN = 75.0  # a minute of back-off at the most, and a line that must stand before it is told

NAMESPACE = "ringback-outage"
OURS, THEIRS = "198.18.77.1", "198.18.77.2"  # RFC 2544: nobody's


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@asynccontextmanager
async def peer(
    authority: Authority, host: str, *before: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """A peer's process and its port."""
    certificate = str(authority.issue("pbx.example"))
    command = (*before, sys.executable, "-m", "tests.outage.peer", certificate, host, "0")
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield process, int(await process.stdout.readline())
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def line(authority: Authority, host: str, port: int) -> AsyncIterator[Inbox]:
    trunk = Trunk(
        name="test",
        domain="pbx.example",
        host=host,
        port=port,
        username="bridge",
        password="secret",
        tls=TlsSettings(ca_file=authority.file),
    )
    inbox = Inbox()
    client = TrunkClient(trunk, listener=inbox)
    await client.start()
    try:
        async with asyncio.timeout(10):
            await inbox.expect(TrunkUp)
        yield inbox
    finally:
        await client.stop(grace_seconds=0.1)


async def dies_and_comes_back(
    inbox: Inbox, die: Callable[[], Awaitable[None]], live: Callable[[], Awaitable[None]]
) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.sleep(2)
    await die()
    died = loop.time()
    async with asyncio.timeout(NOTICED_WITHIN + 5):  # 5 s are its grace before it says so
        await inbox.expect(TrunkDown)
    noticed = loop.time() - died - 5
    await live()
    lived = loop.time()
    async with asyncio.timeout(BACK_WITHIN):
        await inbox.expect(TrunkUp)
    print(f"noticed after {noticed:.1f} s, told to be back after {loop.time() - lived:.1f} s")  # noqa: T201


@pytest.mark.timeout(180)
async def test_a_frozen_peer_is_noticed(authority: Authority) -> None:
    async with (
        peer(authority, "127.0.0.1") as (process, port),
        line(authority, "127.0.0.1", port) as inbox,
    ):

        async def freeze() -> None:
            os.kill(process.pid, signal.SIGSTOP)

        async def thaw() -> None:
            os.kill(process.pid, signal.SIGCONT)

        await dies_and_comes_back(inbox, freeze, thaw)


async def ip(*arguments: str) -> None:
    process = await asyncio.create_subprocess_exec("ip", *arguments)
    assert await process.wait() == 0, f"ip {' '.join(arguments)} failed; this needs root"


@asynccontextmanager
async def namespace() -> AsyncIterator[None]:
    """A network of its own behind a cable of two ends."""
    await ip("netns", "add", NAMESPACE)
    try:
        await ip("link", "add", "rb-ours", "type", "veth", "peer", "rb-theirs", "netns", NAMESPACE)
        await ip("addr", "add", f"{OURS}/30", "dev", "rb-ours")
        await ip("link", "set", "rb-ours", "up")
        await ip("-n", NAMESPACE, "addr", "add", f"{THEIRS}/30", "dev", "rb-theirs")
        await ip("-n", NAMESPACE, "link", "set", "rb-theirs", "up")
        yield
    finally:
        await ip("netns", "delete", NAMESPACE)


@pytest.mark.timeout(180)
async def test_a_peer_whose_packets_are_dropped_is_noticed(authority: Authority) -> None:
    inside = ("ip", "netns", "exec", NAMESPACE)
    async with (
        namespace(),
        peer(authority, THEIRS, *inside) as (_, port),
        line(authority, THEIRS, port) as inbox,
    ):

        async def drop() -> None:
            await ip("-n", NAMESPACE, "route", "add", "blackhole", f"{OURS}/32")

        async def pass_on() -> None:
            await ip("-n", NAMESPACE, "route", "delete", "blackhole", f"{OURS}/32")

        await dies_and_comes_back(inbox, drop, pass_on)
