"""Numbers as providers write them, to and from ours.

Besides phone numbers there are short codes, which only their own country knows and which are
answered as they stand, and senders that are words, which cannot be answered at all.
"""

import re

from bridge.numbers import ANONYMOUS, NotANumber, PhoneNumber, parse_dialled
from bridge.road.road import Writing

# The longest short code has eight digits; no phone number with its country code has fewer.
_LONGEST_CODE = 8
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9*#._+-]+")


def read_number(text: str, writing: Writing, region: str | None) -> PhoneNumber:
    """A sender or one of our numbers, in the provider's writing; never fails.

    Args:
        region: the line's country, for what is written without one.
    """
    text = text.strip()
    bare = text.removeprefix("+")
    if bare.isascii() and bare.isdigit():
        if text.startswith("+"):
            return _international(bare)
        if writing is Writing.NATIONAL:
            if len(bare) == 10:
                return _international(f"1{bare}")
            return _international(bare) if len(bare) == 11 else PhoneNumber(bare[:_MAX])
        if len(bare) <= _LONGEST_CODE:
            return PhoneNumber(bare)
        return _international(bare)
    try:
        return parse_dialled(_NOT_IN_A_NAME.sub("-", text).strip("-"), region)
    except NotANumber:
        return ANONYMOUS


def write_number(number: PhoneNumber, writing: Writing) -> str:
    """A recipient in the provider's writing.

    Raises:
        NotANumber: the provider does not carry texts there, in words for a person.
    """
    text = number.text
    digits = text.removeprefix("+")
    if not (digits.isascii() and digits.isdigit()):
        raise NotANumber("a sender whose name is a word cannot be answered")
    if not number.is_e164 or writing is Writing.E164:
        return text
    if writing is Writing.BARE:
        return digits
    if len(digits) != 11 or not digits.startswith("1"):
        raise NotANumber("this provider carries texts within North America only")
    return digits[1:]


_MAX = 20


def _international(digits: str) -> PhoneNumber:
    number = PhoneNumber(f"+{digits}")
    return number if number.is_e164 else PhoneNumber(digits[:_MAX])
