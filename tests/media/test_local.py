"""The local plane with real worker processes, and a call's sound through them over loopback."""

import asyncio
import contextlib
import os
import random
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import ifaddr
import pytest

from media import process
from media.ice.events import Transmit
from media.local import LocalPlane, LocalSession
from media.negotiate import read_webrtc
from media.order import (
    Press,
    TakeDigit,
)
from media.plane import (
    AnswerReady,
    Closed,
    Connected,
    Digit,
    Failed,
    Failure,
    Flowing,
    IceServer,
    MediaEvent,
    OfferReady,
    SessionSettings,
    Side,
)
from tests.media.party import FRAME, Browser, Pbx, Voice

HOST = "127.0.0.1"
T = TypeVar("T")


def _ports(count: int) -> tuple[int, int]:
    """A range that is very probably free; nothing can promise it."""
    first = random.randrange(20000, 32000 - count) & ~1
    return first, first + count - 1


@asynccontextmanager
async def running(workers: int = 1, ports: int = 40, host: str = HOST) -> AsyncIterator[LocalPlane]:
    plane = LocalPlane(listen=(host,), ports=_ports(ports), workers=workers)
    await plane.start()
    try:
        yield plane
    finally:
        await plane.stop()


class Call:
    """A session of the plane, with a browser and a PBX on sockets of their own."""

    def __init__(
        self,
        plane: LocalPlane,
        settings: SessionSettings | None = None,
        host: str = HOST,
        *,
        pbx: str | None = None,
    ) -> None:
        self.events: list[MediaEvent] = []
        self._news = asyncio.Event()
        self.session: LocalSession = plane.open(settings or SessionSettings(), self._hear)
        self._browser_socket, self._pbx_socket = _bound(host), _bound(pbx or host)
        self.browser = Browser(
            offers=True, address=self._browser_socket.getsockname()[:2], now=time.monotonic()
        )
        self.pbx = Pbx(address=self._pbx_socket.getsockname()[:2])
        self.frames = 0
        self._task: asyncio.Task[None] | None = None

    def _hear(self, event: MediaEvent) -> None:
        self.events.append(event)
        self._news.set()

    async def until(self, kind: type[T], count: int = 1) -> T:
        """The event of a kind, once so many of them have come."""
        async with asyncio.timeout(10):
            while True:
                found = [e for e in self.events if isinstance(e, kind)]
                if len(found) >= count:
                    return found[count - 1]
                self._news.clear()
                await self._news.wait()

    async def connect(self) -> None:
        """The browser calls the PBX; both speak from then on."""
        self.session.offer(Side.WEBRTC, self.to_us(self.browser.offer()))
        offer = await self.until(OfferReady)
        self.session.answer(Side.SDES, self.pbx.answer(offer.sdp))
        answer = await self.until(AnswerReady)
        self.browser.accept(self.to_browser(answer.sdp), time.monotonic())
        self._task = asyncio.create_task(self._live())
        await self.until(Connected)
        await self.until(Flowing, 2)

    def to_us(self, sdp: str) -> str:
        """What arrives of a description of the browser's."""
        return sdp

    def to_browser(self, sdp: str) -> str:
        """What arrives of one of ours."""
        return sdp

    async def _live(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(self._browser_socket, self._read_browser)
        loop.add_reader(self._pbx_socket, self._read_pbx)
        voices = Voice("opus", 111, 600.0), Voice("pcmu", 0, 1000.0)
        started = loop.time()
        try:
            while True:
                now = time.monotonic()
                self.browser.end.handle_timer(now)
                self._flush()
                for transmit in self.browser.say(voices[0].next(), now):
                    _send(self._browser_socket, transmit)
                for transmit in self.pbx.say(voices[1].next()):
                    _send(self._pbx_socket, transmit)
                self.frames += 1
                await asyncio.sleep(started + self.frames * FRAME - loop.time())
        finally:
            loop.remove_reader(self._browser_socket)
            loop.remove_reader(self._pbx_socket)

    def _read_browser(self) -> None:
        data, source = self._browser_socket.recvfrom(2048)
        self.browser.receive(data, source[:2], time.monotonic())
        self._flush()

    def _read_pbx(self) -> None:
        self.pbx.receive(self._pbx_socket.recv(2048))

    def _flush(self) -> None:
        for transmit in self.browser.poll():
            _send(self._browser_socket, transmit)

    async def hang_up(self) -> Closed:
        self.session.close()
        closed = await self.until(Closed)
        await self.leave()
        return closed

    async def leave(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._browser_socket.close()
        self._pbx_socket.close()

    async def talked(self, seconds: float) -> None:
        """Both have spoken for so long from now on."""
        until = self.frames + round(seconds / FRAME)
        while self.frames < until:  # noqa: ASYNC110  # frames tell nobody
            await asyncio.sleep(FRAME)

    async def hears_tones(self) -> None:
        """Each hears the other, within 1 Hz and 3 dB, once the machine lets us."""
        async with asyncio.timeout(30):
            while not self._heard_tones():  # noqa: ASYNC110  # a measurement, not an event
                await asyncio.sleep(0.3)

    def _heard_tones(self) -> bool:
        browser, pbx = self.browser.ear, self.pbx.ear
        if min(len(browser.packets), len(pbx.packets)) < 30:
            return False
        pitch = browser.frequency("opus", 111) - 1000, pbx.frequency("pcmu", 0) - 600
        level = browser.level_db("opus", 111), pbx.level_db("pcmu", 0)
        return max(map(abs, pitch)) <= 1 and max(map(abs, level)) <= 3


def _send(one: socket.socket, transmit: Transmit) -> None:
    with contextlib.suppress(OSError):  # where there is no way, a packet is lost
        one.sendto(transmit.data, transmit.destination)


def _bound(host: str) -> socket.socket:
    one = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    one.bind((host, 0))
    one.setblocking(False)
    return one


def pids(plane: LocalPlane) -> list[int]:
    workers = [slot.worker for slot in plane._slots]
    return [w.pid for w in workers if w is not None and w.is_alive]


async def _replaced(plane: LocalPlane, count: int) -> None:
    """Wait until the plane has so many workers again."""
    async with asyncio.timeout(20):  # on a machine that has much else to do
        while len(pids(plane)) < count:  # noqa: ASYNC110  # the plane does not tell, on purpose
            await asyncio.sleep(0.01)


async def test_a_tone_is_heard_both_ways_through_a_worker() -> None:
    async with running() as plane:
        call = Call(plane)
        await call.connect()
        await call.hears_tones()
        closed = await call.hang_up()
        report = closed.report
        assert report.transcoding
        assert report.webrtc.transport == "udp host→host"
        assert report.webrtc.packets_discarded == 0
        assert report.sdes.packets_received == pytest.approx(call.frames, abs=5)
        assert report.sdes.packets_lost == 0
        assert report.connected_after is not None


async def test_ipv6_alone_serves_both_sides() -> None:
    async with running(host="::1") as plane:
        call = Call(plane, host="::1")
        await call.connect()
        await call.hears_tones()
        assert call.pbx.far[0] == "::1"
        await call.hang_up()


async def test_an_offer_is_made_for_a_trunk_that_asks_for_it() -> None:
    async with running() as plane:
        call = Call(plane)
        call.session.ask(Side.SDES)
        assert (await call.until(OfferReady)).side is Side.WEBRTC
        await call.hang_up()


async def test_a_killed_worker_costs_its_own_calls_and_is_replaced() -> None:
    async with running(workers=2, ports=8) as plane:  # each has ports for one call
        calls = [Call(plane), Call(plane)]
        for call in calls:
            await call.connect()
        victim = calls[0]
        before = pids(plane)
        os.kill(before[0], signal.SIGKILL)
        failed = await victim.until(Failed)
        assert failed.failure is Failure.ENGINE
        await victim.hang_up()
        await _replaced(plane, 2)
        assert before[0] not in pids(plane)
        # The other call has not noticed, and the new worker takes the next one.
        third = Call(plane)
        await third.connect()
        for call in (calls[1], third):
            await call.hears_tones()
            await call.hang_up()
            assert not [e for e in call.events if isinstance(e, Failed)]


async def test_sessions_share_a_worker_until_it_is_full() -> None:
    async with running(workers=2, ports=16) as plane:  # each has ports for two calls
        calls = [Call(plane) for _ in range(3)]
        assert [len(slot.worker.sessions) for slot in plane._slots if slot.worker] == [2, 1]
        for call in calls:
            await call.hang_up()


async def test_a_stopping_plane_closes_its_sessions() -> None:
    async with running() as plane:
        call = Call(plane)
        call.session.offer(Side.WEBRTC, call.browser.offer())
        await call.until(OfferReady)
        pid = pids(plane)[0]
    assert [type(e) for e in call.events] == [OfferReady, Closed]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    call.session.close()  # nothing arrives after Closed
    call.session.offer(Side.WEBRTC, "")
    await asyncio.sleep(0.05)
    assert len(call.events) == 2
    await call.leave()


async def test_used_up_ports_are_said_and_rest_after_a_call() -> None:
    async with running(ports=4) as plane:
        first, second = Call(plane), Call(plane)
        failed = await second.until(Failed)
        assert failed.failure is Failure.NO_PORT
        await second.hang_up()
        await first.hang_up()
        third = Call(plane)
        assert (await third.until(Failed)).failure is Failure.NO_PORT
        await third.hang_up()


async def test_a_session_goes_where_ports_are_left_while_others_rest() -> None:
    async with running(workers=2, ports=8) as plane:
        for _ in range(2):
            call = Call(plane)
            call.session.offer(Side.WEBRTC, call.browser.offer())
            await call.until(OfferReady)
            await call.hang_up()


async def test_a_plane_that_does_not_run_says_so() -> None:
    plane = LocalPlane(listen=(HOST,), ports=_ports(40), workers=1)
    call = Call(plane)
    assert not call.events  # from the loop, never from inside `open`
    assert (await call.until(Failed)).failure is Failure.ENGINE
    await call.hang_up()


async def test_a_machine_whose_addresses_cannot_be_told_takes_no_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_more_files() -> None:
        raise OSError(24, "Too many open files")

    async with running(host="0.0.0.0") as plane:
        monkeypatch.setattr(ifaddr, "get_adapters", no_more_files)
        call = Call(plane)
        assert "addresses" in (await call.until(Failed)).text
        await call.hang_up()


async def test_too_few_ports_are_refused_at_the_start() -> None:
    plane = LocalPlane(listen=(HOST,), ports=(30000, 30007), workers=4)
    with pytest.raises(OSError, match="need more media ports"):
        await plane.start()


async def test_a_plane_of_which_one_worker_cannot_start_leaves_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[asyncio.subprocess.Process] = []
    start, turns = asyncio.create_subprocess_exec, iter((True, False))

    async def second_fails(*args: str, **kwargs: Any) -> asyncio.subprocess.Process:
        if not next(turns):
            raise OSError("no more processes")
        started.append(await start(*args, **kwargs))
        return started[0]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", second_fails)
    plane = LocalPlane(listen=(HOST,), ports=_ports(80), workers=2)
    with pytest.raises(OSError, match="no more"):
        await plane.start()
    assert started[0].returncode is not None
    assert plane.pids == ()


async def test_a_worker_that_hangs_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_PING_INTERVAL", 0.4)
    async with running() as plane:
        call = Call(plane)
        (pid,) = pids(plane)
        os.kill(pid, signal.SIGSTOP)
        monkeypatch.setattr(process, "STOP_LIMIT", 0.2)
        assert (await call.until(Failed)).failure is Failure.ENGINE
        await call.hang_up()
        await _replaced(plane, 1)
        assert pids(plane) != [pid]


async def test_servers_that_cannot_be_used_do_not_keep_a_call() -> None:
    servers = (IceServer(("turn:", "http://x", "stun:name.invalid", "turns:t.invalid")),)
    async with running() as plane:
        call = Call(plane, SessionSettings(ice_servers=servers))
        call.session.offer(Side.SDES, call.pbx.offer())
        offer = await call.until(OfferReady)
        assert offer.side is Side.WEBRTC
        await call.hang_up()


async def test_names_that_nobody_answers_for_keep_no_other_work_waiting(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Files are read and written by threads too, of which there are few."""
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(20) and [])
    names = tuple(f"turn:{i}.test" for i in range(4))
    try:
        async with running() as plane:
            for _ in range(10):
                plane.open(SessionSettings(ice_servers=(IceServer(names),)), lambda event: None)
            await asyncio.sleep(0.05)  # each begins to look up its names
            async with asyncio.timeout(5):
                await asyncio.to_thread(int)
                await asyncio.wait(plane._resolving)
        assert "0.test cannot be resolved: timeout" in caplog.text
    finally:
        over.set()


async def test_a_listener_that_raises_harms_nobody_else() -> None:
    async with running() as plane:

        def listener(_: MediaEvent) -> None:
            raise RuntimeError("of the user")

        broken = plane.open(SessionSettings(), listener)
        broken.offer(Side.WEBRTC, "garbage")
        call = Call(plane)
        call.session.offer(Side.WEBRTC, call.browser.offer())
        await call.until(OfferReady)
        await call.hang_up()


async def test_a_digit_is_sent_and_one_is_taken_through_a_worker() -> None:
    async with running() as plane:
        call = Call(plane)
        await call.connect()
        call.session.perform(Press(Side.WEBRTC, "#"))
        call.session.perform(TakeDigit(Side.WEBRTC, "7", 100))
        assert await call.until(Digit) == Digit(Side.WEBRTC, "7", 100)
        async with asyncio.timeout(10):
            while not (call.browser.ear.of(110) and call.pbx.ear.of(101)):  # noqa: ASYNC110
                await asyncio.sleep(FRAME)  # packets tell nobody
        await call.hang_up()
        assert {p.payload[0] for p in call.browser.ear.of(110)} == {11}
        assert {p.payload[0] for p in call.pbx.ear.of(101)} == {7}


async def test_a_call_follows_the_machine_to_another_address() -> None:
    """Which is only half a move here: nothing takes the old address away."""
    async with running(host="0.0.0.0") as plane:
        call = Call(plane)
        await call.connect()
        call.session.move(("127.0.0.2",), "127.0.0.2")
        trunk = await call.until(OfferReady, 2)
        browser = await call.until(OfferReady, 3)
        if trunk.side is not Side.SDES:
            trunk, browser = browser, trunk
        assert "c=IN IP4 127.0.0.2" in trunk.sdp
        assert {c.split()[4] for c in read_webrtc(browser.sdp).candidates} == {"127.0.0.2"}
        call.session.answer(Side.SDES, call.pbx.answer(trunk.sdp))
        answer = call.browser.answer(browser.sdp, time.monotonic())
        call.session.answer(Side.WEBRTC, answer)
        call.pbx.ear.packets.clear()
        call.browser.ear.packets.clear()
        await call.hears_tones()
        closed = await call.hang_up()
        assert closed.report.webrtc.packets_received > 30
        assert not [e for e in call.events if isinstance(e, Failed)]
