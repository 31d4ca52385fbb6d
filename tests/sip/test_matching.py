"""How messages find their transactions, and how many there may be."""

import pytest

from sip import matching
from sip.matching import Transactions
from sip.message import Request, response_to
from sip.transaction import State
from tests.sip.test_transaction import Bench, make


@pytest.fixture
def bench() -> Bench:
    return Bench()


def table(bench: Bench) -> Transactions:
    transactions = Transactions()
    for method, branch in (("INVITE", "z9hG4bKa"), ("BYE", "z9hG4bKb")):
        transactions.start(
            make(method, branch),
            flow=1,
            reliable=True,
            send=bench.send,
            listener=bench.listen,
            now=0.0,
        )
    return transactions


def test_a_response_finds_its_transaction_by_branch_and_method(bench: Bench) -> None:
    transactions = table(bench)
    assert transactions.waiting
    assert not transactions.receive_response(
        response_to(make("INVITE", "z9hG4bKx"), 200), 1.0, flow=1
    )
    assert not transactions.receive_response(
        response_to(make("CANCEL", "z9hG4bKa"), 200), 1.0, flow=1
    )
    assert transactions.receive_response(response_to(make("BYE", "z9hG4bKb"), 200), 1.0, flow=1)
    assert bench.told == [(200, 1.0)]
    assert len(transactions) == 1


def test_a_lost_flow_fails_its_transactions_at_once(bench: Bench) -> None:
    transactions = table(bench)
    transactions.serve(make("OPTIONS"), flow=1, reliable=True, send=bench.send, now=0.0)
    transactions.flow_closed(2, 1.0)
    assert bench.told == []
    transactions.flow_closed(1, 1.0)
    assert bench.told == [(503, 1.0), (503, 1.0)]
    assert len(transactions) == 0
    assert transactions.deadline is None


def serve(transactions: Transactions, request: Request, bench: Bench) -> None:
    transactions.serve(request, flow=1, reliable=False, send=bench.send, now=0.0)


def test_requests_find_their_transaction_by_branch_sent_by_and_method(bench: Bench) -> None:
    transactions = Transactions()
    serve(transactions, make("INVITE"), bench)
    assert transactions.receive_request(make("INVITE"), 0.1)
    assert not transactions.receive_request(make("INVITE", host="other"), 0.1)
    assert not transactions.receive_request(make("CANCEL"), 0.1)
    assert transactions.find_cancelled(make("CANCEL")) is not None
    assert transactions.find_cancelled(make("CANCEL", "z9hG4bK2")) is None


def test_requests_of_rfc_2543_are_matched_by_everything_they_have(bench: Bench) -> None:
    transactions = Transactions()
    serve(transactions, make("INVITE", "1"), bench)
    assert transactions.receive_request(make("INVITE", "1"), 0.1)
    assert not transactions.receive_request(make("INVITE", "2"), 0.1)


def test_the_same_request_by_another_way_is_merged(bench: Bench) -> None:
    transactions = Transactions()
    serve(transactions, make("INVITE"), bench)
    assert transactions.is_merged(make("INVITE", "z9hG4bK2"))
    assert not transactions.is_merged(make("INVITE", "z9hG4bK2", tag="b"))
    transactions.flow_closed(1, 1.0)
    assert not transactions.is_merged(make("INVITE", "z9hG4bK2"))


def offer(transactions: Transactions, bench: Bench, branch: str, *, flow: int = 1) -> None:
    transactions.serve(
        make("INVITE", f"z9hG4bK{branch}"), flow=flow, reliable=True, send=bench.send, now=0.0
    )


def answer(transactions: Transactions, branch: str, status: int) -> None:
    server = transactions.find_cancelled(make("CANCEL", f"z9hG4bK{branch}"))
    assert server is not None
    server.respond(response_to(server.request, status, to_tag="x"), 0.0)


def test_a_flow_has_room_again_when_its_requests_are_answered(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "MAX_OPEN_PER_FLOW", 2)
    transactions = Transactions()
    offer(transactions, bench, "a")
    offer(transactions, bench, "b")
    assert transactions.is_full(1)
    assert not transactions.is_full(2)
    answer(transactions, "a", 486)
    assert not transactions.is_full(1)
    offer(transactions, bench, "c")
    transactions.flow_closed(1, 1.0)
    assert not transactions.is_full(1)


def test_all_flows_together_have_a_limit(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "MAX_OPEN", 2)
    transactions = Transactions()
    offer(transactions, bench, "a", flow=1)
    offer(transactions, bench, "b", flow=2)
    assert transactions.is_full(3)
    answer(transactions, "b", 200)
    assert not transactions.is_full(3)


def test_of_too_many_answered_requests_the_oldest_is_forgotten(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "MAX_LINGERING", 2)
    transactions = Transactions()
    for branch in "abc":
        offer(transactions, bench, branch)
        answer(transactions, branch, 486)
    assert len(transactions) == 2
    assert not transactions.receive_request(make("INVITE", "z9hG4bKa"), 1.0)
    assert transactions.receive_request(make("INVITE", "z9hG4bKb"), 1.0)


def test_timers_come_in_the_order_of_their_time(bench: Bench) -> None:
    transactions = Transactions()
    late = transactions.serve(
        make("OPTIONS", "z9hG4bKlate"), flow=1, reliable=False, send=bench.send, now=5.0
    )
    early = transactions.serve(
        make("OPTIONS", "z9hG4bKearly"), flow=1, reliable=False, send=bench.send, now=0.0
    )
    assert transactions.deadline == 3.5
    transactions.handle_timer(3.5)
    assert (early.state, late.state) == (State.PROCEEDING, State.TRYING)
    assert transactions.deadline == 8.5
    transactions.handle_timer(100.0)
    assert len(transactions) == 0
    assert transactions.deadline is None
