"""What is repeated from end to end; with a session around it, see test_session."""

from sip.headers import CSeq, Headers, RAck
from sip.message import Response
from sip.reliable import MAX_WAITING, Provisionals


class Sent:
    """Collects what goes out."""

    def __init__(self) -> None:
        self.at: list[tuple[float, str | None]] = []

    def __call__(self, response: Response, now: float) -> None:
        self.at.append((now, response.headers.get("RSeq")))


def ringing() -> Response:
    return Response(180, "Ringing", Headers([("CSeq", "1 INVITE")]))


def rack(rseq: int) -> RAck:
    return RAck(rseq, CSeq(1, "INVITE"))


def test_a_response_is_repeated_with_doubled_gaps_and_given_up() -> None:
    sent = Sent()
    provisionals = Provisionals(first=7, send=sent)
    provisionals.put(ringing(), 0.0)
    alive = True
    while (deadline := provisionals.deadline) is not None:
        alive = provisionals.handle_timer(deadline)
    assert [at for at, _ in sent.at] == [0.0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert not alive
    assert not provisionals.pending


def test_the_next_response_waits_for_the_prack_of_the_one_before() -> None:
    sent = Sent()
    provisionals = Provisionals(first=7, send=sent)
    provisionals.put(ringing(), 0.0)
    provisionals.put(ringing(), 0.1)
    assert not provisionals.acknowledge(rack(8), 0.2)
    assert provisionals.acknowledge(rack(7), 0.2)
    assert sent.at == [(0.0, "7"), (0.2, "8")]
    assert provisionals.acknowledge(rack(8), 0.3)
    assert not provisionals.acknowledge(rack(8), 0.4)
    assert provisionals.handle_timer(99.0)
    assert provisionals.deadline is None


def test_the_queue_has_an_end() -> None:
    sent = Sent()
    provisionals = Provisionals(first=1, send=sent)
    for _ in range(100):
        provisionals.put(ringing(), 0.0)
    acknowledged = 0
    while provisionals.acknowledge(rack(acknowledged + 1), 1.0):
        acknowledged += 1
    assert acknowledged == MAX_WAITING + 1


def test_a_timer_that_fires_early_repeats_nothing() -> None:
    sent = Sent()
    provisionals = Provisionals(first=1, send=sent)
    provisionals.put(ringing(), 0.0)
    assert provisionals.handle_timer(0.1)
    assert len(sent.at) == 1
