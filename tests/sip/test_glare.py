import pytest

from sip.glare import come_back, retry_delay
from sip.headers import Headers
from sip.message import Response


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
def test_the_two_ends_come_back_at_different_times(chance: float) -> None:
    refusal = Response(491, "Request Pending", Headers())
    caller = retry_delay(refusal, incoming=False, chance=chance)
    callee = retry_delay(refusal, incoming=True, chance=chance)
    assert caller is not None
    assert callee is not None
    assert 0 <= callee <= 2.0 < 2.1 <= caller <= 4.0


@pytest.mark.parametrize(
    ("status", "retry_after", "delay"),
    [(500, 7, 7.0), (500, 11, None), (500, None, None), (488, 1, None)],
)
def test_who_is_sent_away_for_a_moment_comes_back(
    status: int, retry_after: int | None, delay: float | None
) -> None:
    headers = Headers([] if retry_after is None else [("Retry-After", str(retry_after))])
    assert retry_delay(Response(status, "No", headers), incoming=True, chance=0.5) == delay


@pytest.mark.parametrize(("chance", "seconds"), [(0.0, "0"), (0.999, "10")])
def test_the_peer_is_sent_away_for_ten_seconds_at_most(chance: float, seconds: str) -> None:
    error = come_back(chance)
    assert (error.status, list(error.headers)) == (500, [("Retry-After", seconds)])
