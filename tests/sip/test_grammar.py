import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip import grammar
from sip.errors import LocalError, RemoteError


@given(st.text())
def test_quoting_is_undone_by_unquoting(text: str) -> None:
    assert grammar.unquote(grammar.quote(text)) == text


@given(st.lists(st.text(min_size=1).map(grammar.quote), max_size=5))
def test_splitting_respects_quotes(pieces: list[str]) -> None:
    assert list(grammar.split(" , ".join(pieces), ",")) == pieces


def test_splitting_respects_angle_brackets_and_leaves_out_nothing_between_separators() -> None:
    assert list(grammar.split("<a,b>, ,c;d,", ",")) == ["<a,b>", "c;d"]


@pytest.mark.parametrize("text", ["", "-1", "+1", " 1", "1 ", "٣", "99999999999", "4294967296"])
def test_what_is_no_number_is_the_peers_fault(text: str) -> None:
    with pytest.raises(RemoteError):
        grammar.number(text, what="it")


def test_unquote_leaves_other_text() -> None:
    assert grammar.unquote('a"b"') == 'a"b"'


@pytest.mark.parametrize("text", ["a\rb", "a\nb", "a\ud800b"])
def test_line_breaks_and_lone_surrogates_are_refused(text: str) -> None:
    with pytest.raises(LocalError):
        grammar.refuse_injection(text, what="it")


def test_what_is_not_closed_goes_on_to_the_end() -> None:
    assert grammar.split('a, "b, c', ",") == ["a", '"b, c']
    assert grammar.split("a; <b; c", ";") == ["a", "<b; c"]


def test_empty_pieces_are_left_out_wherever_they_stand() -> None:
    assert grammar.split(",, a,<b>, , ,c,", ",") == ["a", "<b>", "c"]
    assert grammar.split(', "," ,', ",") == ['","']
