"""Every order of a few inputs; `make search` plays longer ones."""

from tests.sip import search


def test_the_transaction_machines_are_those_of_the_standard() -> None:
    assert search.search_machines(3) > 2000


def test_every_order_of_two_inputs_to_a_session_ends_in_peace() -> None:
    assert search.search_sessions(2) > 500
