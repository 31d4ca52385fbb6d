import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.numbers import (
    ANONYMOUS,
    NotANumber,
    PhoneNumber,
    clean_name,
    from_localpart,
    is_emergency,
    parse_caller,
    parse_dialled,
    to_localpart,
)


@pytest.mark.parametrize(
    ("typed", "region", "number"),
    [
        ("+49 30 12345678", None, "+493012345678"),
        ("+1 (555) 123-4567", "DE", "+15551234567"),
        ("+49 (0) 30 12345678", None, "+493012345678"),
        ("+44(0)20 7946 0018", "DE", "+442079460018"),
        ("+39 (0)6 69812345", "DE", "+390669812345"),
        ("\u202a+49 30 12345678\u202c", None, "+493012345678"),
        ("030 12345678", "DE", "+493012345678"),
        ("0049 30 12345678", "DE", "+493012345678"),
        ("(202) 456-1111", "US", "+12024561111"),
        ("011 49 30 12345678", "US", "+493012345678"),
        ("tel:+493012345678;phone-context=x", None, "+493012345678"),
        ("sip:+493012345678@pbx.example.org", None, "+493012345678"),
        ("+４９３０１２３４５６７８", None, "+493012345678"),
        ("1000", "DE", "1000"),
        ("*43", "DE", "*43"),
        ("110", "DE", "110"),
        ("echo", None, "echo"),
        ("front.desk-1", "DE", "front.desk-1"),
        ("030 12345678", None, "03012345678"),
        ("+15550100", None, "+15550100"),
    ],
)
def test_dialled_text_becomes_one_number(typed: str, region: str | None, number: str) -> None:
    assert parse_dialled(typed, region) == PhoneNumber(number)


@pytest.mark.parametrize(
    "typed", ["", "   ", "+", "+12ab", "+1234567890123456", "+0301234567", "@"]
)
def test_what_cannot_be_dialled_is_refused(typed: str) -> None:
    with pytest.raises(NotANumber):
        parse_dialled(typed, "DE")


@pytest.mark.parametrize("typed", ["a\r\nVia: x", "1000\x00", "é", "a b"])
def test_nothing_that_could_end_a_header_is_a_number(typed: str) -> None:
    with pytest.raises(NotANumber):
        parse_dialled(typed, "DE")


@pytest.mark.parametrize("user", ["", "anonymous", "Anonymous", "unknown", "??", "ein anderer"])
def test_callers_without_a_readable_number_are_withheld(user: str) -> None:
    assert parse_caller(user, "DE") == ANONYMOUS


@pytest.mark.parametrize(
    ("number", "localpart"),
    [
        (PhoneNumber("+493012345678"), "tel_493012345678"),
        (PhoneNumber("1000"), "tel_1000"),
        (PhoneNumber("03012345678"), "tel_x03012345678"),
        (PhoneNumber("*43#"), "tel_x=2a43=23"),
        (PhoneNumber("Echo"), "tel_x=45cho"),
        (ANONYMOUS, "tel_anonymous"),
        (PhoneNumber("anonymous"), "tel_xanonymous"),
    ],
)
def test_ghosts_are_named_as_documented(number: PhoneNumber, localpart: str) -> None:
    assert to_localpart(number, "tel_") == localpart
    assert from_localpart(localpart, "tel_") == number


@pytest.mark.parametrize(
    "localpart",
    ["alice", "tel_", "tel_0301234567", "tel_x1000", "tel_X", "tel_xEcho", "tel_x=zz", "tel_x=ff",
     "tel_+4930123456", "tel_x=0d=0a", "tel_1234567890123456"],
)  # fmt: skip
def test_other_local_parts_are_nobody(localpart: str) -> None:
    assert from_localpart(localpart, "tel_") is None


@given(st.from_regex(r"(\+[1-9][0-9]{6,14}|[A-Za-z0-9*#][A-Za-z0-9*#._+-]{0,63})", fullmatch=True))
def test_every_number_comes_back_from_its_ghost(text: str) -> None:
    number = PhoneNumber(text)
    assert from_localpart(to_localpart(number, "tel_"), "tel_") == number


@given(st.text())
def test_no_local_part_stands_for_a_number_of_another(text: str) -> None:
    number = from_localpart(f"tel_{text}", "tel_")
    if number is not None:
        assert to_localpart(number, "tel_") == f"tel_{text}"


@pytest.mark.parametrize(
    ("number", "region"),
    [("112", "DE"), ("110", "DE"), ("911", "US"), ("112", None), ("911", None), ("112#", "DE")],
)
def test_emergency_numbers_are_known(number: str, region: str | None) -> None:
    assert is_emergency(PhoneNumber(number), region)


@pytest.mark.parametrize(
    ("number", "region"), [("1000", "DE"), ("1120", "DE"), ("+49112", "DE"), ("echo", None)]
)
def test_other_numbers_are_no_emergency(number: str, region: str | None) -> None:
    assert not is_emergency(PhoneNumber(number), region)


def test_numbers_are_shown_to_people_and_shortened_for_logs() -> None:
    number = PhoneNumber("+493012345678")
    assert (number.show(), number.short()) == ("+49 30 12345678", "…78")
    assert (PhoneNumber("1000").show(), ANONYMOUS.show()) == ("1000", "withheld number")


def test_display_names_lose_controls_and_direction_marks() -> None:
    assert clean_name("Ca\u202erol\x07 \n Smith\u200f") == "Carol Smith"
    assert len(clean_name("x" * 500)) == 64
