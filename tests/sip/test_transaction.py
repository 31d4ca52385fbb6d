"""The four machines, timer by timer (RFC 3261 figures 5 to 8, RFC 6026 figures 3 and 7)."""

import pytest

from sip.headers import Headers
from sip.message import Message, Request, Response, response_to
from sip.transaction import (
    PATIENCE,
    ClientTransaction,
    Failure,
    InviteClientTransaction,
    InviteServerTransaction,
    Outcome,
    ServerTransaction,
    State,
    Timers,
    derived_request,
)
from sip.uri import Uri


def make(method: str, branch: str = "z9hG4bK1", tag: str | None = None, host: str = "h") -> Request:
    to = "<sip:b@h>" + (f";tag={tag}" if tag else "")
    return Request(
        method,
        Uri.parse("sip:b@h"),
        Headers(
            [
                ("Via", f"SIP/2.0/UDP {host};branch={branch}"),
                ("Route", "<sip:proxy;lr>"),
                ("From", "<sip:a@h>;tag=a"),
                ("To", to),
                ("Call-ID", "c"),
                ("CSeq", f"1 {method}"),
            ]
        ),
    )


class Bench:
    """A machine on a bench: what it sent, what it told."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.told: list[tuple[int, float]] = []

    def send(self, message: Message) -> None:
        self.sent.append(message)

    def listen(self, outcome: Outcome, now: float) -> None:
        self.told.append((outcome.status, now))

    def take(self) -> list[str]:
        names = [str(m.status) if isinstance(m, Response) else m.method for m in self.sent]
        self.sent.clear()
        return names


Any = InviteClientTransaction | ClientTransaction | InviteServerTransaction | ServerTransaction


def run_out(machine: Any, now: float = 0.0) -> list[float]:
    """Fire every timer at its time and return the times."""
    times = []
    while (deadline := machine.deadline) is not None:
        assert deadline > now
        now = deadline
        machine.handle_timer(now)
        times.append(now)
    return times


@pytest.fixture
def bench() -> Bench:
    return Bench()


def invite_client(bench: Bench, *, reliable: bool) -> InviteClientTransaction:
    machine = InviteClientTransaction(
        make("INVITE"), flow=1, reliable=reliable, send=bench.send, listener=bench.listen
    )
    machine.start(0.0)
    return machine


def client(bench: Bench, *, reliable: bool) -> ClientTransaction:
    machine = ClientTransaction(
        make("BYE"), flow=1, reliable=reliable, send=bench.send, listener=bench.listen
    )
    machine.start(0.0)
    return machine


def test_invite_on_udp_is_repeated_with_timer_a_until_timer_b(bench: Bench) -> None:
    machine = invite_client(bench, reliable=False)
    assert run_out(machine) == [0.5, 1.5, 3.5, 7.5, 15.5, 31.5, 32.0]
    assert bench.take() == ["INVITE"] * 7
    assert bench.told == [(408, 32.0)]
    assert machine.state is State.TERMINATED


def test_invite_on_tls_is_sent_once(bench: Bench) -> None:
    machine = invite_client(bench, reliable=True)
    assert run_out(machine) == [PATIENCE]
    assert bench.take() == ["INVITE"]
    assert bench.told == [(408, 32.0)]


def test_a_provisional_response_ends_retransmission_and_patience(bench: Bench) -> None:
    machine = invite_client(bench, reliable=False)
    machine.receive(response_to(machine.request, 180, to_tag="x"), 0.1)
    assert machine.deadline is None
    assert machine.state is State.PROCEEDING


def test_a_refusal_is_acknowledged_as_often_as_it_comes(bench: Bench) -> None:
    machine = invite_client(bench, reliable=False)
    busy = response_to(machine.request, 486, to_tag="x")
    machine.receive(busy, 0.1)
    machine.receive(busy, 0.6)
    assert bench.told == [(486, 0.1)]
    ack = bench.sent[-1]
    assert isinstance(ack, Request)
    assert ack.headers.to.tag == "x"
    assert ack.headers.via.branch == "z9hG4bK1"
    assert ack.headers.get("Route") == "<sip:proxy;lr>"
    assert str(ack.headers.cseq) == "1 ACK"
    assert bench.take() == ["INVITE", "ACK", "ACK"]
    assert run_out(machine, 0.6) == [32.1]  # timer D


def test_a_refusal_on_tls_ends_the_transaction_at_once(bench: Bench) -> None:
    machine = invite_client(bench, reliable=True)
    machine.receive(response_to(machine.request, 486, to_tag="x"), 0.1)
    assert machine.state is State.TERMINATED


def test_each_2xx_is_told_until_timer_m(bench: Bench) -> None:
    machine = invite_client(bench, reliable=True)
    ok = response_to(machine.request, 200, to_tag="x")
    machine.receive(ok, 1.0)
    machine.receive(ok, 1.5)
    machine.receive(response_to(machine.request, 486, to_tag="y"), 1.6)
    assert bench.told == [(200, 1.0), (200, 1.5)]
    assert bench.take() == ["INVITE"]  # its ACK is the session's
    machine.fail(Failure(503, "connection lost"), 2.0)
    assert machine.state is State.ACCEPTED
    assert run_out(machine, 2.0) == [33.0]


def test_a_request_on_udp_is_repeated_with_timer_e_until_timer_f(bench: Bench) -> None:
    machine = client(bench, reliable=False)
    assert run_out(machine) == [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5, 32.0]
    assert bench.told == [(408, 32.0)]


def test_after_a_provisional_response_a_request_is_repeated_every_t2(bench: Bench) -> None:
    machine = client(bench, reliable=False)
    machine.receive(response_to(machine.request, 100), 0.1)
    assert run_out(machine, 0.1)[:3] == [0.5, 4.5, 8.5]


def test_the_final_response_is_told_once_and_kept_for_timer_k(bench: Bench) -> None:
    machine = client(bench, reliable=False)
    ok = response_to(machine.request, 200, to_tag="x")
    machine.receive(ok, 1.0)
    machine.receive(ok, 1.1)
    machine.fail(Failure(503, "late"), 1.2)
    assert bench.told == [(200, 1.0)]
    other = client(bench, reliable=False)
    other.receive(ok, 1.0)
    assert run_out(other, 1.0) == [6.0]


def test_on_tls_a_request_is_over_with_its_response(bench: Bench) -> None:
    machine = client(bench, reliable=True)
    machine.receive(response_to(machine.request, 200, to_tag="x"), 1.0)
    assert machine.state is State.TERMINATED
    assert bench.take() == ["BYE"]


def invite_server(bench: Bench, *, reliable: bool) -> InviteServerTransaction:
    return InviteServerTransaction(make("INVITE"), flow=1, reliable=reliable, send=bench.send)


def test_a_refusal_on_udp_is_repeated_with_timer_g_until_timer_h(bench: Bench) -> None:
    machine = invite_server(bench, reliable=False)
    machine.respond(response_to(machine.request, 486, to_tag="x"), 0.0)
    times = run_out(machine)
    assert times == [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5, 32.0]
    assert len(bench.take()) == 11


def test_an_ack_ends_the_repetition_and_timer_i_absorbs_others(bench: Bench) -> None:
    machine = invite_server(bench, reliable=False)
    machine.respond(response_to(machine.request, 486, to_tag="x"), 0.0)
    assert machine.receive(make("ACK"), 0.1)
    assert machine.state is State.CONFIRMED
    assert machine.receive(make("ACK"), 0.2)
    assert run_out(machine, 0.2) == [5.1]
    reliable = invite_server(bench, reliable=True)
    reliable.respond(response_to(machine.request, 486, to_tag="x"), 0.0)
    reliable.receive(make("ACK"), 0.1)
    assert reliable.state is State.TERMINATED


def test_a_repeated_invite_gets_the_last_response_again(bench: Bench) -> None:
    machine = invite_server(bench, reliable=False)
    machine.receive(make("INVITE"), 0.0)
    machine.respond(response_to(machine.request, 100), 0.0)
    machine.respond(response_to(machine.request, 180, to_tag="x"), 0.1)
    machine.receive(make("INVITE"), 0.5)
    machine.respond(response_to(machine.request, 486, to_tag="x"), 0.6)
    machine.receive(make("INVITE"), 0.7)
    assert bench.take() == ["100", "180", "180", "486", "486"]
    machine.respond(response_to(machine.request, 200, to_tag="x"), 0.8)
    assert bench.take() == []


def test_after_a_2xx_only_2xx_are_sent_and_its_ack_is_passed_up(bench: Bench) -> None:
    machine = invite_server(bench, reliable=False)
    ok = response_to(machine.request, 200, to_tag="x")
    machine.respond(ok, 0.0)
    machine.respond(ok, 0.5)
    machine.respond(response_to(machine.request, 486, to_tag="x"), 0.6)
    assert machine.receive(make("INVITE"), 0.7)
    assert not machine.receive(make("ACK"), 0.8)
    machine.flow_lost()
    assert bench.take() == ["200", "200"]
    assert run_out(machine, 0.8) == [32.0]  # timer L


def test_another_request_is_answered_again_until_timer_j(bench: Bench) -> None:
    machine = ServerTransaction(make("MESSAGE"), flow=1, reliable=False, send=bench.send)
    machine.start(0.0)
    machine.receive(make("MESSAGE"), 0.1)
    assert bench.take() == []
    machine.respond(response_to(machine.request, 100), 0.2)
    machine.respond(response_to(machine.request, 200, to_tag="x"), 0.3)
    machine.receive(make("MESSAGE"), 0.5)
    machine.respond(response_to(machine.request, 500, to_tag="x"), 0.6)
    assert bench.take() == ["100", "200", "200"]
    assert run_out(machine, 0.6) == [32.3]


@pytest.mark.parametrize("reliable", [True, False])
def test_a_request_that_nobody_answers_gets_a_100_and_is_forgotten(
    bench: Bench, reliable: bool
) -> None:
    """RFC 4320 §4: 100 once timer E of the client has reached T2, and no 408 at the end."""
    machine = ServerTransaction(make("MESSAGE"), flow=1, reliable=reliable, send=bench.send)
    machine.start(0.0)
    assert run_out(machine) == [3.5, 32.0]
    assert bench.take() == ["100"]
    machine.respond(response_to(machine.request, 200, to_tag="x"), 33.0)
    assert bench.take() == []


def test_a_request_that_was_answered_in_time_gets_no_100(bench: Bench) -> None:
    machine = ServerTransaction(make("MESSAGE"), flow=1, reliable=False, send=bench.send)
    machine.start(0.0)
    machine.respond(response_to(machine.request, 100), 1.0)
    assert run_out(machine) == [3.5, 32.0]
    assert bench.take() == ["100"]


def test_a_cancel_repeats_what_identifies_the_invite() -> None:
    cancel = derived_request(make("INVITE"), "CANCEL")
    assert str(cancel.headers.cseq) == "1 CANCEL"
    assert cancel.headers.via.branch == "z9hG4bK1"
    assert cancel.headers.to.tag is None


def test_timers_are_taken_in_their_order() -> None:
    timers = Timers()
    timers.arm("late", 2.0)
    timers.arm("early", 1.0)
    assert timers.take_due(0.5) is None
    assert [timers.take_due(3.0), timers.take_due(3.0), timers.take_due(3.0)] == [
        "early",
        "late",
        None,
    ]
