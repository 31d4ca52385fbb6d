"""Phone numbers: read, normalised, shown, and turned into the names of ghosts and back.

A `PhoneNumber` is what names the remote party on a trunk. Most are E.164 ("+493012345678"); a PBX
also has extensions and names ("1000", "echo"), kept as dialled because only the PBX knows what they
mean; and a caller may withhold the number. The remote party of a group text is several numbers
("+493012345678,+493087654321", in order), which stand together for their conversation; a group has
no ghost, but each of its members.

Ghosts: the local part of a ghost's user id is the configured prefix and then

    493012345678     7 to 15 digits, not starting with 0: the E.164 number +493012345678
    1000             up to 6 digits: an extension
    x...             anything else, other bytes than a-z, 0-9, "." and "-" as "=" and two hex digits
    anonymous        whoever withheld the number

so that each number has exactly one user id, a person can type the usual ones by hand, and an old
homeserver never sees a "+" in a local part.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

import phonenumbers

from sip.identity import UNKNOWN_USERS, WITHHELD_USERS

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_EXTENSION = re.compile(r"[0-9]{1,6}")
# What a PBX may be asked for: digits and the keys of a phone, or a name.
_DIALLED = re.compile(r"[A-Za-z0-9*#][A-Za-z0-9*#._+-]{0,63}")
# Marks that people write into numbers. Letters are not turned into digits: a PBX has names.
_MARKS = re.compile(r"[\s().\-/\u00a0\u2010-\u2015]+")
# Italy and San Marino, whose numbers begin with their 0 from everywhere.
_ZERO_STAYS = ("+39", "+378")
_SCHEME = re.compile(r"(?:tel|sips?):", re.IGNORECASE)
_MAX_NAME = 64
# Between the members of a group; nothing that can be dialled holds one.
_COMMA = ","
# Letters, marks and symbols that show nothing; the other invisible ones are of category Cf.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0100-\U000e01ef]"
)


class NotANumber(ValueError):
    """The text is nothing that can be dialled."""


@dataclass(frozen=True, slots=True)
class PhoneNumber:
    """The remote party's number on its trunk.

    Attributes:
        text: "+" and digits for E.164, else as dialled; "" for a withheld number; the members of a
            group with commas between them.
    """

    text: str

    @property
    def is_e164(self) -> bool:
        return _E164.fullmatch(self.text) is not None

    @property
    def is_anonymous(self) -> bool:
        return not self.text

    @property
    def is_group(self) -> bool:
        return _COMMA in self.text

    @property
    def members(self) -> "tuple[PhoneNumber, ...]":
        """The numbers of a group; of anything else itself."""
        return tuple(PhoneNumber(text) for text in self.text.split(_COMMA))

    def show(self) -> str:
        """For people: international writing, extensions as they are."""
        if self.is_anonymous:
            return "withheld number"
        if self.is_group:
            return ", ".join(member.show() for member in self.members)
        if not self.is_e164:
            return self.text
        try:
            number = phonenumbers.parse(self.text)
        except phonenumbers.NumberParseException:
            return self.text
        return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.INTERNATIONAL)

    def short(self) -> str:
        """For logs: the last two characters."""
        return f"…{self.text[-2:]}" if self.text else "withheld"

    def __str__(self) -> str:
        return self.text


ANONYMOUS = PhoneNumber("")


def group_of(numbers: Iterable[PhoneNumber]) -> PhoneNumber:
    """The group of these numbers, whatever their order; of one it is that number."""
    return PhoneNumber(_COMMA.join(sorted({number.text for number in numbers})))


def parse_dialled(text: str, region: str | None) -> PhoneNumber:
    """What a person typed, or the dial pad of a client handed on raw.

    Args:
        region: ISO 3166 country whose national numbers are understood; None keeps them as dialled.

    Raises:
        NotANumber: nothing that can be dialled, in words for a person.
    """
    text = unicodedata.normalize("NFKC", text)  # full-width digits and the like
    # Address books copy marks of writing direction along.
    text = "".join(one for one in text if unicodedata.category(one) != "Cf").strip()
    text = _SCHEME.sub("", text, count=1).partition("@")[0].partition(";")[0]
    if text.startswith("+") and not text.startswith(_ZERO_STAYS):
        text = text.replace("(0)", "")  # the 0 of who dials from within the country
    bare = _MARKS.sub("", text)
    if bare.startswith("+"):
        if _E164.fullmatch(bare) is None:
            raise NotANumber("an international number is a + and 7 to 15 digits")
        return PhoneNumber(bare)
    # An extension is not looked at as a national number: no country's are so short, but for
    # emergency and service numbers, which stay as they are dialled too.
    if bare.isascii() and bare.isdigit() and region is not None and len(bare) > 6:
        try:
            number = phonenumbers.parse(bare, region)
        except phonenumbers.NumberParseException:
            number = None
        if number is not None and phonenumbers.is_valid_number(number):
            written = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
            if _E164.fullmatch(written):
                return PhoneNumber(written)
    if re.search(r"[A-Za-z]", text):
        bare = text  # a name keeps its dots and dashes
    if _DIALLED.fullmatch(bare) is None:
        raise NotANumber("this is neither a phone number nor an extension")
    return PhoneNumber(bare)


def parse_caller(user: str, region: str | None) -> PhoneNumber:
    """The user part of a caller's address; never fails: what cannot be read is withheld."""
    if user.strip().lower() in WITHHELD_USERS | UNKNOWN_USERS:
        return ANONYMOUS
    try:
        return parse_dialled(user, region)
    except NotANumber:
        return ANONYMOUS


def is_emergency(number: PhoneNumber, region: str | None) -> bool:
    """Whether this would be an emergency call, in the line's country or in most.

    Only as a whole, since 1120 may be an extension; a "#" behind it ends dialling, to many PBXs.
    """
    digits = number.text.rstrip("#")
    if not digits.isdigit():
        return False
    known = {"112", "911", "999"} if region is None else {"112"}
    if digits in known:
        return True
    return region is not None and phonenumbers.is_emergency_number(digits, region)


def is_another_number(name: str, number: PhoneNumber, region: str | None) -> bool:
    """Whether a caller's name reads as a phone number that is not the caller's own: shown in the
    place of a name, it would be taken for who calls."""
    written = clean_name(name)
    if not any(character.isdigit() for character in written) or re.search(r"[^\W\d_]", written):
        return False
    return parse_caller(written, region) != number


def clean_name(text: str) -> str:
    """A display name from the network without what a person does not see: control characters,
    writing-direction tricks, zero-width and blank marks."""
    kept = "".join(
        character
        for character in text
        if unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co")
        and not _INVISIBLE.match(character)
    )
    return " ".join(kept.split())[:_MAX_NAME]


# --- ghosts


def to_localpart(number: PhoneNumber, prefix: str) -> str:
    """The local part of the number's ghost."""
    if number.is_anonymous:
        return f"{prefix}anonymous"
    if number.is_e164:
        return prefix + number.text[1:]
    if _EXTENSION.fullmatch(number.text):
        return prefix + number.text
    escaped = "".join(
        chr(byte) if chr(byte) in _PLAIN else f"={byte:02x}" for byte in number.text.encode()
    )
    return f"{prefix}x{escaped}"


def from_localpart(localpart: str, prefix: str) -> PhoneNumber | None:
    """The number of a ghost; None for a local part that is none of ours, or not the one way to
    write its number."""
    rest = localpart.removeprefix(prefix)
    if rest == localpart:
        return None
    if rest == "anonymous":
        return ANONYMOUS
    if _EXTENSION.fullmatch(rest):
        number = PhoneNumber(rest)
    elif _E164.fullmatch(f"+{rest}"):
        number = PhoneNumber(f"+{rest}")
    elif rest.startswith("x"):
        try:
            raw = re.sub(rb"=([0-9a-f]{2})", _unescape, rest[1:].encode())
            number = PhoneNumber(raw.decode())
        except UnicodeDecodeError:
            return None
        if _DIALLED.fullmatch(number.text) is None:
            return None
    else:
        return None
    return number if to_localpart(number, prefix) == localpart else None


_PLAIN = "abcdefghijklmnopqrstuvwxyz0123456789.-"


def _unescape(match: re.Match[bytes]) -> bytes:
    return bytes([int(match[1], 16)])
