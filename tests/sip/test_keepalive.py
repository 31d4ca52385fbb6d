"""How a dead flow is found out: by OPTIONS, or by line ends where the registrar agreed to them."""

import pytest

from sip.events import FlowFailed
from sip.keepalive import ANSWER_LIMIT, DEFAULT_FLOW_TIMER, SHORTEST_FLOW_TIMER
from tests.sip.world import Phone, Script, World

OUTBOUND = [("Require", "outbound"), ("Supported", "path, outbound")]


@pytest.fixture
def alice(world: World) -> Phone:
    return world.phone("alice", register=True)


def ping(alice: Phone) -> None:
    alice.agent.ping(now=alice.now)
    alice.pump()
    alice.world.settle()


def agree(pbx: Script, *more: tuple[str, str]) -> None:
    """Let the registrar accept, and promise to answer pings."""
    pbx.world.settle()
    pbx.reply(pbx.last_request("REGISTER"), 200, headers=[*OUTBOUND, *more])


def test_a_peer_that_promised_nothing_is_asked_with_options(alice: Phone, pbx: Script) -> None:
    pbx.world.settle()
    pbx.reply(pbx.last_request("REGISTER"), 200)
    assert alice.agent.ping_interval is None
    ping(alice)
    assert len(pbx.requests("OPTIONS")) == 1
    assert pbx.pings == []


@pytest.mark.parametrize("status", [200, 404, 481, 503])
def test_any_answer_to_options_will_do(
    alice: Phone, pbx: Script, world: World, status: int
) -> None:
    ping(alice)
    pbx.reply(pbx.last_request("OPTIONS"), status)
    world.run(ANSWER_LIMIT + 1)
    assert alice.all(FlowFailed) == []


def test_whatever_else_comes_is_an_answer_too(alice: Phone, pbx: Script, world: World) -> None:
    ping(alice)
    pbx.request("OPTIONS")
    world.run(ANSWER_LIMIT + 1)
    assert alice.all(FlowFailed) == []


def test_silence_is_a_dead_flow_and_said_once(alice: Phone, pbx: Script, world: World) -> None:
    ping(alice)
    world.run(ANSWER_LIMIT + 1)
    assert [event.reason for event in alice.all(FlowFailed)] == ["OPTIONS was not answered"]


def test_a_promised_pong_is_asked_for_with_line_ends(
    alice: Phone, pbx: Script, world: World
) -> None:
    agree(pbx)
    assert alice.agent.ping_interval == DEFAULT_FLOW_TIMER
    pbx.answers_pings = True
    ping(alice)
    world.run(ANSWER_LIMIT + 1)
    assert len(pbx.pings) == 1
    assert pbx.requests("OPTIONS") == []
    assert alice.all(FlowFailed) == []


def test_a_promised_pong_that_does_not_come_is_a_dead_flow(
    alice: Phone, pbx: Script, world: World
) -> None:
    agree(pbx)
    ping(alice)
    ping(alice)
    world.run(ANSWER_LIMIT - 1)
    assert alice.all(FlowFailed) == []
    world.run(2)
    assert [event.reason for event in alice.all(FlowFailed)] == ["a ping was not answered"]
    assert len(pbx.pings) == 1


@pytest.mark.parametrize(
    ("timer", "interval"),
    [("60", 60), ("0", DEFAULT_FLOW_TIMER), ("1", SHORTEST_FLOW_TIMER), ("x", DEFAULT_FLOW_TIMER)],
)
def test_the_registrar_says_how_often(alice: Phone, pbx: Script, timer: str, interval: int) -> None:
    agree(pbx, ("Flow-Timer", timer))
    assert alice.agent.ping_interval == interval


@pytest.mark.parametrize(("value", "interval"), [("45", 45), ("0", DEFAULT_FLOW_TIMER)])
def test_keep_in_via_is_a_promise_as_well(
    alice: Phone, pbx: Script, value: str, interval: int
) -> None:
    pbx.world.settle()
    register = pbx.last_request("REGISTER")
    assert "keep" in register.headers.via.parameters
    via = str(register.headers.via).replace(";keep", f";keep={value}")
    register.headers.set("Via", via)
    pbx.reply(register, 200)
    assert alice.agent.ping_interval == interval


def test_a_promise_ends_with_its_flow(alice: Phone, pbx: Script, world: World) -> None:
    agree(pbx)
    ping(alice)
    assert pbx.link is not None
    pbx.link.cut()
    world.settle()
    world.link(alice, pbx)
    world.settle()
    assert alice.agent.ping_interval is None
    world.run(ANSWER_LIMIT + 1)
    assert alice.all(FlowFailed) == []


def test_datagrams_are_kept_alive_with_options(alice: Phone, world: World) -> None:
    pbx = Script(world)
    world.link(alice, pbx, "UDP")
    world.settle()
    register = pbx.last_request("REGISTER")
    assert "keep" not in register.headers.via.parameters
    agree(pbx)
    ping(alice)
    assert len(pbx.requests("OPTIONS")) == 1


def test_without_a_flow_nobody_is_asked(world: World) -> None:
    phone = world.phone("carol")
    phone.agent.ping(now=world.now)
    phone.pump()
    assert phone.agent.deadline() is None
    assert phone.events == []
