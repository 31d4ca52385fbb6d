"""How many SMS a text takes (3GPP TS 23.038 and 23.040), as carriers count and charge.

A text whose characters are all in the GSM alphabet takes 7 bits for each, two for those of its
extension table ("€", "[", "{" …): 160 fit into one message. Any other character turns the whole
text into UCS-2, 70 to a message, with two places for what lies outside the basic plane (emoji). A
text of several parts loses 6 octets of each to the header that joins them: 153 and 67 are left, and
neither an escape nor a surrogate pair is cut in two.
"""

import functools
from dataclasses import dataclass

from gsm0338 import Codec

_GSM = Codec()

_SINGLE_GSM, _PART_GSM = 160, 153
_SINGLE_UCS2, _PART_UCS2 = 70, 67


@dataclass(frozen=True, slots=True)
class Count:
    """What a text costs.

    Attributes:
        parts: messages that it takes; an empty text takes one.
        unicode: whether it is sent as UCS-2.
        units: septets or 16-bit units.
    """

    parts: int
    unicode: bool
    units: int


@functools.lru_cache(maxsize=16)  # what a text costs is asked several times on its way
def count(text: str) -> Count:
    """Count the parts of a text."""
    try:
        widths = [len(_GSM.encode(character)[0]) for character in text]
        single, part, unicode = _SINGLE_GSM, _PART_GSM, False
    except UnicodeEncodeError:
        widths = [2 if ord(character) > 0xFFFF else 1 for character in text]
        single, part, unicode = _SINGLE_UCS2, _PART_UCS2, True
    units = sum(widths)
    if units <= single:
        return Count(1, unicode, units)
    parts, room = 1, part
    for width in widths:
        if width > room:
            parts, room = parts + 1, part
        room -= width
    return Count(parts, unicode, units)
