import pytest

from bridge.numbers import ANONYMOUS, NotANumber, PhoneNumber
from bridge.road.road import Writing
from bridge.road.writing import read_number, write_number

E164, BARE, NATIONAL = Writing.E164, Writing.BARE, Writing.NATIONAL


@pytest.mark.parametrize(
    ("text", "writing", "read"),
    [
        ("+15551234567", E164, "+15551234567"),
        ("+15551234567", NATIONAL, "+15551234567"),
        ("15551234567", BARE, "+15551234567"),
        ("493012345678", BARE, "+493012345678"),
        ("5551234567", NATIONAL, "+15551234567"),
        ("15551234567", NATIONAL, "+15551234567"),
        ("12345", E164, "12345"),
        ("12345", BARE, "12345"),
        ("12345", NATIONAL, "12345"),
        ("+12345", E164, "12345"),  # some providers put a plus in front of short codes
        ("VERIFY", E164, "VERIFY"),
        ("My Bank", BARE, "My-Bank"),
        ("", E164, ""),
        ("   ", E164, ""),
        ("<script>", E164, "script"),
        ("９９９", E164, ""),
        ("1" * 400, NATIONAL, "1" * 20),
    ],
)
def test_numbers_are_read(text: str, writing: Writing, read: str) -> None:
    assert read_number(text, writing, "US") == PhoneNumber(read)
    assert (read == "") == (read_number(text, writing, "US") == ANONYMOUS)


@pytest.mark.parametrize(
    ("number", "writing", "written"),
    [
        ("+15551234567", E164, "+15551234567"),
        ("+15551234567", BARE, "15551234567"),
        ("+15551234567", NATIONAL, "5551234567"),
        ("12345", NATIONAL, "12345"),
        ("12345", E164, "12345"),
    ],
)
def test_numbers_are_written(number: str, writing: Writing, written: str) -> None:
    assert write_number(PhoneNumber(number), writing) == written


@pytest.mark.parametrize(
    ("number", "writing", "words"),
    [
        ("VERIFY", E164, "cannot be answered"),
        ("My-Bank", BARE, "cannot be answered"),
        ("", E164, "cannot be answered"),
        ("+493012345678", NATIONAL, "within North America only"),
        ("+1555123456", NATIONAL, "within North America only"),
    ],
)
def test_some_cannot_be_written(number: str, writing: Writing, words: str) -> None:
    with pytest.raises(NotANumber, match=words):
        write_number(PhoneNumber(number), writing)
