"""What of a room's message a text can carry: its words.

The plain body is taken as the client wrote it, which keeps Markdown and the names of those who are
mentioned; a phone shows neither colours nor links behind words. A place becomes a link that every
phone opens, since few know `geo:` addresses.
"""

import re

from bridge.matrix.events import FILE_TYPES, Text

# Latitude, longitude; what may follow (height, uncertainty) is nothing for a link. RFC 5870.
_GEO = re.compile(r"geo:(-?\d{1,2}(?:\.\d{1,10})?),(-?\d{1,3}(?:\.\d{1,10})?)(?:[,;].*)?")


def spoken(text: Text) -> str | None:
    """The words of a message, "" if it has none; None if it is of a kind that no text carries."""
    match text.msgtype:
        case "m.text":
            return text.words
        case msgtype if msgtype in FILE_TYPES:
            return text.words
        case "m.emote":
            return f"*{text.words.strip()}*" if text.words.strip() else ""
        case "m.location":
            return _place(text)
        case _:
            return None


def _place(text: Text) -> str:
    found = _GEO.fullmatch(text.geo_uri or "")
    if found is None:
        return text.words
    return f"https://www.openstreetmap.org/?mlat={found[1]}&mlon={found[2]}"
