"""Small sieges of a call; `make strangers` plays large ones."""

import pytest

from media.srtp import SUITES
from tests.media.siege import forge, replay


def test_nothing_forged_is_forwarded_redirects_or_ends_a_call() -> None:
    outcome = forge(3000, measure=True)
    assert (outcome.forwarded, outcome.redirected, outcome.ended) == (0, 0, False)
    # What is no record or no packet, but comes from an address that may speak, is told by nobody.
    assert 0.8 * outcome.sent < outcome.counted <= outcome.sent
    assert outcome.bytes_kept < 20_000
    assert min(outcome.heard) > 40


@pytest.mark.parametrize("suite", SUITES)
def test_no_packet_passes_twice_and_none_is_refused_over_a_roll_over(suite: str) -> None:
    outcome = replay(3000, suite)
    assert (outcome.twice, outcome.refused) == (0, 0)
