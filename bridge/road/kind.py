"""Kinds of files that texts carry, by content type: what each provider takes is made of these.

The homeserver hands out whatever type an uploader has claimed, and a client may claim a page of
scripts. So a type that is not listed here never leaves us under its own name.
"""

import mimetypes

from bridge.matrix.file import RoomFile

PICTURES = ("image/jpeg", "image/png", "image/gif")
MORE_PICTURES = ("image/bmp", "image/webp", "image/tiff")
SOUNDS = ("audio/mpeg", "audio/mp4", "audio/ogg", "audio/amr", "audio/wav", "audio/3gpp")
FILMS = ("video/mp4", "video/3gpp", "video/mpeg", "video/quicktime", "video/webm")
CARDS = ("text/vcard", "text/calendar")
PAPERS = ("application/pdf", "text/plain")

# Of which a homeserver makes smaller pictures.
SCALABLE = (*PICTURES, "image/webp")

UNKNOWN = "application/octet-stream"

_EXTENSIONS = {
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/gif": ".gif",
    "image/bmp": ".bmp",
    "image/webp": ".webp",
    "image/tiff": ".tiff",
    "audio/mpeg": ".mp3",
    "audio/mp4": ".m4a",
    "audio/ogg": ".ogg",
    "audio/amr": ".amr",
    "audio/wav": ".wav",
    "audio/3gpp": ".3gp",
    "video/mp4": ".mp4",
    "video/3gpp": ".3gp",
    "video/mpeg": ".mpg",
    "video/quicktime": ".mov",
    "video/webm": ".webm",
    "text/vcard": ".vcf",
    "text/calendar": ".ics",
    "application/pdf": ".pdf",
    "text/plain": ".txt",
}
# Other names that clients and their systems have for the same.
_SAME = {
    "image/jpg": "image/jpeg",
    "image/x-ms-bmp": "image/bmp",
    "audio/mp3": "audio/mpeg",
    "audio/x-m4a": "audio/mp4",
    "audio/opus": "audio/ogg",
    "audio/x-wav": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/vnd.wave": "audio/wav",
    "text/x-vcard": "text/vcard",
    "application/ogg": "audio/ogg",
}


def kind_of(file: RoomFile) -> str:
    """The content type of a file, by what its sender says of it or else by its name; `UNKNOWN` for
    what is not listed."""
    guessed = mimetypes.guess_type(f"x.{file.name.rpartition('.')[2]}")[0] or ""
    for told in (file.content_type, guessed):
        kind = _SAME.get(told, told)
        if kind in _EXTENSIONS:
            return kind
    return UNKNOWN


def is_scalable(file: RoomFile) -> bool:
    """Whether the homeserver has a smaller picture of it, a JPEG or PNG; of what is encrypted it
    cannot make any."""
    return file.key is None and kind_of(file) in SCALABLE


def extension(kind: str) -> str:
    """What a file's name ends with: some providers go by that."""
    return _EXTENSIONS.get(kind, ".bin")


def is_shown(kind: str) -> bool:
    """Whether a browser shows or plays it; anything else is for saving."""
    return kind.partition("/")[0] in ("image", "audio", "video")
