"""The law of the core as the driver keeps it: every input ends in a pump, one timer is armed."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from sip.agent import UserAgent
from sip.events import Event, Registered, RegistrationFailed
from sip.framing import Malformed
from sip.io.client import RandomIds
from sip.io.driver import Driver
from sip.io.flow import Connection
from sip.message import Message, parse_message
from sip.trunk import Trunk
from tests.sip.io.registrar import Registrar, a_request
from tests.sip.io.wiring import FakeTransport, VirtualLoop, run_virtually

TRUNK = Trunk(name="test", domain="pbx.example", username="bridge", password="secret")


class WatchedAgent(UserAgent):
    """The real agent; counts what the driver does with its timer, and fails where told to."""

    def __init__(self) -> None:
        super().__init__(TRUNK, ids=RandomIds())
        self.fired = 0
        self.broken = False

    def handle_timer(self, now: float) -> None:
        deadline = self.deadline()
        assert deadline is not None
        assert now >= deadline, "the driver told a time before the deadline"
        self.fired += 1
        super().handle_timer(now)

    def receive(self, message: Message | Malformed, flow_id: int, now: float) -> None:
        if self.broken:
            raise RuntimeError("a bug")
        super().receive(message, flow_id, now)


class Bench:
    """A driver, its agent, and a registrar at the other end of an in-memory flow."""

    def __init__(self, listener: Callable[[Event], None] | None = None) -> None:
        self.agent = WatchedAgent()
        self.said: list[Event] = []
        self.lost: list[str] = []
        self.registrar = Registrar()
        self.driver = Driver(
            agent=self.agent,
            listener=listener or self.said.append,
            on_lost=lambda connection, reason: self.lost.append(reason),
        )

    def open(self, id: int = 1) -> FakeTransport:
        connection = Connection(id=id, trunk=TRUNK, listener=self.driver)
        transport = FakeTransport(connection)
        loop = asyncio.get_running_loop()

        def hear(data: bytes) -> None:
            for answer in self.registrar.take(parse_message(data)):
                loop.call_soon(transport.deliver, bytes(answer))

        transport.on_write = hear
        connection.connection_made(transport)
        return transport


def test_timer_that_fires_early_does_not_spin() -> None:
    class CoarseLoop(VirtualLoop):
        def __init__(self) -> None:
            super().__init__()
            self._clock_resolution = 0.5  # what a loop on a coarse clock has

    async def main() -> None:
        bench = Bench()
        bench.open()
        await asyncio.sleep(1000)
        assert 3 <= bench.agent.fired <= 20
        assert len(bench.registrar.of("REGISTER")) >= 4
        bench.driver.stop()

    with asyncio.Runner(loop_factory=CoarseLoop) as runner:
        runner.run(main())


def test_timer_is_armed_anew_only_when_the_deadline_moved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        bench = Bench()
        transport = bench.open()
        await asyncio.sleep(1)
        loop = asyncio.get_running_loop()
        armed: list[float] = []
        arm = loop.call_at

        def counted(when: float, callback: Callable[..., Any], *args: Any, **more: Any) -> Any:
            armed.append(when)
            return arm(when, callback, *args, **more)

        monkeypatch.setattr(loop, "call_at", counted)
        for _ in range(5):
            bench.driver.pump()
        assert armed == []
        options = a_request("OPTIONS", uri="sip:bridge@192.0.2.1")
        transport.deliver(bytes(options))
        assert len(armed) <= 1
        bench.driver.stop()

    run_virtually(main())


def test_verb_within_a_listener_is_carried_out_by_the_same_pump() -> None:
    async def main() -> None:
        def listener(event: Event) -> None:
            if isinstance(event, Registered):
                bench.agent.ping(now=bench.driver.now())
                bench.driver.pump()

        bench = Bench(listener)
        bench.open()
        await asyncio.sleep(1)
        assert len(bench.registrar.of("OPTIONS")) == 1
        bench.driver.stop()

    run_virtually(main())


def test_bug_in_the_core_costs_one_message_not_the_flow(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        bench = Bench()
        transport = bench.open()
        await asyncio.sleep(1)
        bench.agent.broken = True
        transport.deliver(bytes(a_request("OPTIONS", uri="sip:bridge@192.0.2.1")))
        bench.agent.broken = False
        written = len(transport.written)
        transport.deliver(bytes(a_request("OPTIONS", uri="sip:bridge@192.0.2.1", seq=2)))
        assert b"SIP/2.0 200" in transport.written[written:]
        bench.driver.stop()

    run_virtually(main())
    assert "failed on a message of flow 1" in caplog.text


def test_second_connection_is_turned_away() -> None:
    async def main() -> None:
        bench = Bench()
        first = bench.open(1)
        second = bench.open(2)
        await asyncio.sleep(1)
        assert second.is_closing()
        assert not first.is_closing()
        assert second.written == b""
        assert bench.lost == []
        bench.driver.stop()

    run_virtually(main())


def test_lost_flow_reaches_the_agent_and_the_owner() -> None:
    async def main() -> None:
        bench = Bench()
        transport = bench.open()
        await asyncio.sleep(1)
        transport.lose(None)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert bench.lost == ["the connection was closed"]
        assert isinstance(bench.said[-1], RegistrationFailed)
        assert bench.driver.connection is None
        assert bench.agent.deadline() is None

    run_virtually(main())


def test_idle_follows_what_waits_for_an_answer() -> None:
    async def main() -> None:
        bench = Bench()
        bench.registrar.silent.add("OPTIONS")
        bench.open()
        await asyncio.sleep(1)
        assert bench.driver.idle.is_set()
        bench.agent.ping(now=bench.driver.now())
        bench.driver.pump()
        assert not bench.driver.idle.is_set()
        bench.driver.stop()

    run_virtually(main())


def test_listener_that_answers_every_event_with_another_is_stopped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        def listener(event: Event) -> None:
            bench.agent.unregister(now=bench.driver.now())

        bench = Bench(listener)
        bench.agent.unregister(now=bench.driver.now())
        bench.driver.pump()
        bench.driver.stop()

    run_virtually(main())
    assert "keep each other busy" in caplog.text
