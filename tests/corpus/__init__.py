"""The messages in this folder, as they go over a wire; README.md says where they come from."""

import re
from pathlib import Path

_FOLDER = Path(__file__).parent


def messages(rfc: str) -> dict[str, bytes]:
    """Return the messages of "rfc4475" or "rfc5118" by their names."""
    files = {path.stem: path.read_bytes() for path in sorted((_FOLDER / rfc).glob("*.dat"))}
    return {name: _mended(data) for name, data in files.items()} if rfc == "rfc5118" else files


def _mended(published: bytes) -> bytes:
    """Give a message of RFC 5118 what its archive lost: CRLF, empty line, and its body's length."""
    data = published.replace(b"\n", b"\r\n")
    if b"\r\n\r\n" not in data:
        data += b"\r\n"
    head, end, body = data.partition(b"\r\n\r\n")
    return re.sub(rb"Content-Length: [0-9]+", b"Content-Length: %d" % len(body), head) + end + body
