"""What the agent decides by itself: refusals, capabilities, probes; and that nothing breaks it."""

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sip import agent as agent_module
from sip import matching
from sip.errors import LocalError
from sip.events import Body, FlowFailed, IncomingSession, MessageReceived
from sip.framing import frame_datagram
from sip.uri import Uri
from tests.sip.test_message import GOOD
from tests.sip.test_session import answered, taken
from tests.sip.world import OFFER, Phone, Script, World


def test_options_tells_what_we_can(alice: Phone, pbx: Script) -> None:
    pbx.request("OPTIONS")
    response = pbx.last_response()
    assert response.status == 200
    assert "invite" in response.headers.tokens("Allow")
    assert "refer" in response.headers.tokens("Allow")
    assert "application/sdp" in response.headers.tokens("Accept")
    supported = {"100rel", "timer", "replaces", "norefersub"}
    assert response.headers.tokens("Supported") == supported
    assert response.headers.to.tag is not None


@pytest.mark.parametrize(
    ("method", "status"),
    [
        ("REGISTER", 405),
        ("SUBSCRIBE", 489),
        ("PUBLISH", 405),
        ("DANCE", 501),
        ("REFER", 403),
        ("BYE", 481),
        ("UPDATE", 481),
        ("PRACK", 481),
        ("INFO", 481),
    ],
)
def test_requests_that_are_not_for_us(alice: Phone, pbx: Script, method: str, status: int) -> None:
    pbx.request(method)
    assert pbx.last_response().status == status
    assert ("Allow" in pbx.last_response().headers) == (status in (405, 501))
    assert alice.events == []


def test_an_unknown_extension_is_refused_by_name(alice: Phone, pbx: Script) -> None:
    pbx.request("INVITE", body=OFFER, headers=[("Require", "timer, teleport, answermode")])
    assert pbx.last_response().status == 420
    assert pbx.last_response().headers.get("Unsupported") == "answermode, teleport"


def test_an_unknown_scheme_or_encoding_is_refused(alice: Phone, pbx: Script) -> None:
    pbx.request("INVITE", uri="soap.beep://192.0.2.1:3002", body=OFFER)
    assert pbx.last_response().status == 416
    pbx.request("INVITE", seq=2, body=OFFER, headers=[("Content-Encoding", "gzip")])
    assert pbx.last_response().status == 415
    pbx.request("OPTIONS", seq=3, headers=[("Content-Encoding", "identity")])
    assert pbx.last_response().status == 200


def test_a_tel_uri_is_called_like_any_other(alice: Phone, pbx: Script) -> None:
    pbx.request("INVITE", uri="tel:+15550199", body=OFFER)
    assert alice.last(IncomingSession).target == Uri("tel", "+15550199")


def test_a_merged_request_is_refused(alice: Phone, pbx: Script) -> None:
    pbx.request("INVITE", body=OFFER)
    pbx.request("INVITE", body=OFFER)
    assert pbx.last_response().status == 482
    assert len(alice.all(IncomingSession)) == 1


def test_requests_within_no_dialog_are_481_and_their_ack_is_dropped(
    alice: Phone, pbx: Script
) -> None:
    for method in ("INVITE", "MESSAGE", "OPTIONS", "NOTIFY"):
        pbx.request(method, to_tag="unknown")
        assert pbx.last_response().status == 481
    count = len(pbx.inbox)
    pbx.request("ACK", to_tag="unknown")
    assert len(pbx.inbox) == count


def test_requests_within_a_dialog_that_are_not_the_sessions(alice: Phone, pbx: Script) -> None:
    session = taken(alice, pbx)
    pbx.within(session, "OPTIONS", seq=2)
    assert pbx.last_response().status == 200
    pbx.within(session, "MESSAGE", seq=3, body=Body("text/plain", b"hello"))
    assert alice.last(MessageReceived).body.data == b"hello"
    assert session.established


def test_a_malformed_request_is_answered_and_the_stream_goes_on(
    alice: Phone, pbx: Script, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        pbx.send_bytes(GOOD.replace(b"Max-Forwards: 70", b"Max-Forwards: none"))
    assert pbx.last_response().status == 400
    assert pbx.last_response().headers.to.tag is not None
    assert "malformed" in caplog.text
    pbx.send_bytes(GOOD.replace(b"bob@example.net SIP/2.0", b"bob@example.net SIP/9.9"))
    assert pbx.last_response().status == 505
    pbx.send_bytes(GOOD.replace(b"7 INVITE", b"8 ACK").replace(b"INVITE sip", b"ACK  sip"))
    pbx.send_bytes(GOOD.replace(b"INVITE sip:bob@example.net SIP/2.0", b"SIP/2.0 999 x"))
    assert len(pbx.responses()) == 2
    pbx.request("OPTIONS")
    assert pbx.last_response().status == 200


def test_bad_optional_fields_are_refused_with_400(alice: Phone, pbx: Script) -> None:
    pbx.request("INVITE", body=OFFER, contact=False, headers=[("Contact", "<<nonsense>>")])
    assert pbx.last_response().status == 400
    pbx.request("INVITE", seq=2, body=OFFER, headers=[("Session-Expires", "soon")])
    assert pbx.last_response().status == 400
    assert alice.events == []


def test_an_unusable_response_is_logged_and_dropped(
    alice: Phone, pbx: Script, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    session = alice.call()
    world.settle()
    headers = [("Require", "100rel"), ("RSeq", "nonsense")]
    pbx.reply(pbx.last_request("INVITE"), 183, headers=headers)
    assert "unusable" in caplog.text
    assert not session.ended


def test_responses_to_nothing_are_dropped(alice: Phone, pbx: Script, world: World) -> None:
    alice.call()
    world.settle()
    invite = pbx.last_request("INVITE")
    invite.headers.set("Via", "SIP/2.0/TLS x;branch=z9hG4bK-other")
    pbx.reply(invite, 200)
    assert alice.events == []
    assert pbx.requests("ACK") == []


def test_what_crossed_a_closed_flow_is_dropped(alice: Phone, pbx: Script, world: World) -> None:
    request = pbx.request("OPTIONS", send=False)
    alice.agent.receive(request, 999_999, world.now)
    alice.agent.flow_closed(999_999, world.now)
    assert alice.agent.poll() == []


def test_too_many_requests_and_calls_are_turned_away(
    alice: Phone, pbx: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_module, "MAX_SESSIONS", 2)
    for number in range(3):
        pbx.request("INVITE", call_id=f"call{number}", body=OFFER)
    assert pbx.last_response().status == 503
    assert pbx.last_response().headers.retry_after == 5
    assert len(alice.agent.sessions) == 2
    monkeypatch.setattr(matching, "MAX_OPEN_PER_FLOW", 2)
    pbx.request("OPTIONS")
    assert pbx.last_response().status == 503
    assert pbx.last_response().headers.retry_after == 5


def test_the_source_is_written_into_via(world: World, alice: Phone) -> None:
    from sip.agent import Flow

    agent = alice.agent
    agent.flow_opened(Flow(7, "TLS", "198.51.100.1", 40001, "203.0.113.5", 61000), world.now)
    pbx = Script(world)
    request = pbx.request("OPTIONS", send=False, headers=[("Via", "SIP/2.0/TLS inner;branch=x")])
    agent.receive(request, 7, world.now)
    (output,) = agent.poll()
    message = output.message  # type: ignore[union-attr]  # the only output is a Send
    via = message.headers.via
    assert (via.parameters.get("received"), via.parameters.get("rport")) == ("203.0.113.5", "61000")
    assert len(message.headers.elements("Via")) == 2
    assert message.headers.elements("Via")[1].startswith("SIP/2.0/TLS inner")


def test_a_probe_is_content_with_any_answer(alice: Phone, pbx: Script, world: World) -> None:
    alice.agent.ping(now=world.now)
    alice.agent.ping(now=world.now)
    alice.pump()
    world.settle()
    assert len(pbx.requests("OPTIONS")) == 1
    pbx.reply(pbx.last_request("OPTIONS"), 404)
    world.run(60)
    assert alice.all(FlowFailed) == []


def test_a_probe_without_an_answer_fails_its_flow(alice: Phone, pbx: Script, world: World) -> None:
    alice.agent.ping(now=world.now)
    alice.pump()
    world.run(9.9)
    assert alice.all(FlowFailed) == []
    world.run(0.2)
    assert len(alice.all(FlowFailed)) == 1
    world.run(60)
    assert len(alice.all(FlowFailed)) == 1


def test_a_probe_dies_with_its_flow(alice: Phone, pbx: Script, world: World) -> None:
    alice.agent.ping(now=world.now)
    alice.pump()
    assert pbx.link is not None
    pbx.link.cut()
    world.run(60)
    assert alice.all(FlowFailed) == []
    alice.agent.ping(now=world.now)
    assert alice.agent.poll() == []


def test_no_secret_and_no_number_is_logged_at_info(
    alice: Phone, pbx: Script, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        session = answered(alice, pbx)
        taken(alice, pbx)
        session.hang_up(now=world.now)
        alice.pump()
        world.settle()
    assert "alice-secret" not in caplog.text
    assert "15550100" not in caplog.text
    assert "alice-secret" not in repr(alice.agent)


METHODS = ["INVITE", "ACK", "CANCEL", "BYE", "UPDATE", "PRACK", "INFO", "MESSAGE", "NOTIFY", "X"]


@settings(max_examples=50)
@given(st.data())
def test_no_message_breaks_the_agent(data: st.DataObject) -> None:
    """Whatever well-framed thing a peer says at whatever time, the agent lives and ends."""
    world = World()
    alice, pbx = world.phone(), Script(world)
    world.link(alice, pbx)
    session = answered(alice, pbx) if data.draw(st.booleans()) else taken(alice, pbx)
    for seq in range(2, 2 + data.draw(st.integers(1, 5))):
        method = data.draw(st.sampled_from(METHODS))
        headers = data.draw(
            st.lists(
                st.tuples(
                    st.sampled_from(
                        ["Require", "RAck", "Session-Expires", "Contact", "Event", "Min-SE"]
                    ),
                    st.sampled_from(["", "timer", "100rel", "1 1 INVITE", "90", "<sip:x@y>", "<"]),
                ),
                max_size=3,
            )
        )
        body = data.draw(st.sampled_from([None, OFFER]))
        if data.draw(st.booleans()):
            pbx.within(session, method, seq=seq, headers=headers, body=body)
        else:
            pbx.request(method, seq=seq, call_id=f"c{seq}", headers=headers, body=body)
    for live in alice.agent.sessions:
        live.hang_up(now=world.now)
    alice.pump()
    world.run(200)
    assert alice.agent.deadline() is None
    assert not alice.agent.busy


@given(st.lists(st.binary(max_size=200), max_size=3), st.integers(0, len(GOOD)))
def test_no_bytes_break_the_agent(noise: list[bytes], cut: int) -> None:
    world = World()
    alice, pbx = world.phone(), Script(world)
    world.link(alice, pbx, "UDP")
    for data in [*noise, GOOD[:cut], GOOD[:cut] + b"".join(noise)]:
        frame = frame_datagram(data)
        if frame is not None:
            alice.deliver(frame, next(iter(alice.links)))


def test_a_driver_that_takes_no_outputs_is_told_so(
    alice: Phone, pbx: Script, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_module, "MAX_OUTPUTS", 3)
    (flow,) = alice.links
    for number in range(4):
        request = pbx.request("OPTIONS", seq=number, send=False)
        alice.agent.receive(request, flow, world.now)
    with pytest.raises(LocalError):
        alice.agent.receive(request, flow, world.now)
    alice.pump()
    alice.agent.receive(request, flow, world.now)
