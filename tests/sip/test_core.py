"""The ground that the usages stand on: which flow a request of ours takes."""

from sip.agent import UserAgent
from sip.core import Core, Flow
from sip.events import Send
from sip.trunk import Trunk
from tests.sip.world import CountingIds

TRUNK = Trunk(name="test", domain="pbx.example", username="bridge", password="secret")


def a_flow(id: int, *, inbound: bool = False) -> Flow:
    return Flow(id, "TLS", "192.0.2.1", 40000 + id, inbound=inbound)


def taken(core: Core) -> int | None:
    return None if core.current is None else core.current.id


def test_new_requests_take_our_own_flow_and_else_the_latest_of_the_peers() -> None:
    core = Core(TRUNK, ids=CountingIds("us"), product="Test")
    order = [taken(core)]
    for flow in (a_flow(1, inbound=True), a_flow(2), a_flow(3, inbound=True)):
        core.open_flow(flow)
        order.append(taken(core))
    for closed in (2, 3, 1):
        core.close_flow(closed)
        order.append(taken(core))
    assert order == [None, 1, 2, 2, 3, 1, None]


def test_flow_of_the_peer_is_not_registered_over() -> None:
    agent = UserAgent(TRUNK, ids=CountingIds("us"))
    agent.flow_opened(a_flow(1), 0.0)
    agent.flow_opened(a_flow(2, inbound=True), 1.0)
    sent = [output for output in agent.poll() if isinstance(output, Send)]
    assert [output.flow for output in sent] == [1]
