"""Texts of phones, decoded: which kinds of body are a text for a room, and what they say.

Only plain text is (RFC 3428 §7); everything else is refused with the list of what is taken. That
goes for `application/im-iscomposing+xml` too (RFC 3994): a peer that is told so stops sending it,
which is what its standard asks for, while a 200 would let it go on for nobody.
"""

import codecs

from sip.errors import RemoteError
from sip.events import Body
from sip.multipart import media_type

# What phones and gateways write, and the codec that reads it. Others are not looked up by the
# stranger's name for them: Python has codecs that are none of characters.
_CODECS = {
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "us-ascii": "utf-8",
    "ascii": "utf-8",
    "iso-8859-1": "cp1252",  # what "Latin-1" means in practice, as browsers read it
    "latin1": "cp1252",
    "windows-1252": "cp1252",
    "iso-8859-15": "iso-8859-15",
    "utf-16": "utf-16",
    "utf-16be": "utf-16-be",
    "utf-16le": "utf-16-le",
}


def decode_text(body: Body) -> str | None:
    """Return the text of a body, None if it is of a kind that we do not take.

    What is not of its charset is shown as a replacement character: most of a text is better than
    none of it.
    """
    try:
        kind, parameters = media_type(body.content_type)
    except RemoteError:
        return None
    codec = _CODECS.get((parameters.get("charset") or "utf-8").strip().lower())
    if kind != "text/plain" or codec is None:
        return None
    data = body.data
    if codec == "utf-16" and not data.startswith((codecs.BOM_UTF16_BE, codecs.BOM_UTF16_LE)):
        codec = "utf-16-be"  # RFC 2781 §4.3
    return data.decode(codec, "replace").removeprefix("\ufeff").replace("\x00", "\ufffd")
