import pytest

from bridge.road.segments import Count, count


@pytest.mark.parametrize(
    ("text", "counted"),
    [
        ("", Count(1, False, 0)),
        ("a" * 160, Count(1, False, 160)),
        ("a" * 161, Count(2, False, 161)),
        ("a" * 306, Count(2, False, 306)),
        ("a" * 307, Count(3, False, 307)),
        ("ä€", Count(1, False, 3)),  # the euro sign is in the extension table
        ("{" * 80, Count(1, False, 160)),
        ("{" * 81, Count(2, False, 162)),
        ("ç", Count(1, True, 1)),  # only the capital is in the alphabet
        ("Ω", Count(1, False, 1)),
        ("я" * 70, Count(1, True, 70)),
        ("я" * 71, Count(2, True, 71)),
        ("я" * 134, Count(2, True, 134)),
        ("я" * 135, Count(3, True, 135)),
        ("👍" * 35, Count(1, True, 70)),
        ("👍" * 36, Count(2, True, 72)),
    ],
)
def test_texts_are_counted_as_carriers_count(text: str, counted: Count) -> None:
    assert count(text) == counted


def test_an_escape_is_not_cut_in_two() -> None:
    # 152 and an escape of two: the part of 153 has no room for its second half.
    assert count("a" * 152 + "€" + "a" * 152).parts == 3
    assert count("a" * 151 + "€" + "a" * 153).parts == 2


def test_a_surrogate_pair_is_not_cut_in_two() -> None:
    assert count("я" * 66 + "👍" + "я" * 66).parts == 3
    assert count("я" * 65 + "👍" + "я" * 67).parts == 2
