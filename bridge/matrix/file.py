"""Files that people put into rooms, as messages refer to them.

A message has the `mxc:` address of its file (client-server API, "Content repository"). In an
encrypted room the file itself is encrypted (AES-256 in counter mode) and its key stands in the
message ("Sending encrypted attachments"); such a message comes to rooms of ours too, where a client
forwards one. `bridge.matrix.repository` reads files from the homeserver.
"""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

_MXC = re.compile(r"mxc://([A-Za-z0-9.:\[\]-]{1,230})/([A-Za-z0-9_-]{1,255})")


class FileError(Exception):
    """A file cannot be read; the text says why, for a person.

    Attributes:
        final: whether another attempt is useless.
    """

    def __init__(self, reason: str, *, final: bool) -> None:
        super().__init__(reason)
        self.final = final


class FileTooLarge(FileError):
    """A file has more octets than were asked for."""

    def __init__(self, most: int) -> None:
        super().__init__(f"it is larger than {show_octets(most)}", final=True)


@dataclass(frozen=True, slots=True)
class FileKey:
    """What decrypts a file ("Sending encrypted attachments").

    Attributes:
        key: 32 octets.
        counter: 16 octets, the first block of the counter.
        digest: SHA-256 of the file as it is stored.
    """

    key: bytes = field(repr=False)
    counter: bytes = field(repr=False)
    digest: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class RoomFile:
    """What a message of a room refers to.

    Attributes:
        uri: an `mxc:` address.
        content_type: as the client says, in lower case, without parameters; "" if it does not.
        name: of the file, "" if it has none.
        octets: as the client says, None if it does not.
        key: None for a file that is not encrypted.
        scaled: it is the smaller picture that the homeserver makes of this one.
    """

    uri: str
    content_type: str = ""
    name: str = field(default="", repr=False)
    octets: int | None = None
    key: FileKey | None = None
    scaled: bool = False

    def to_json(self) -> str:
        """For the database; `from_json` reads it."""
        key = None
        if self.key is not None:
            parts = (self.key.key, self.key.counter, self.key.digest)
            key = [base64.b64encode(part).decode() for part in parts]
        return json.dumps([self.uri, self.content_type, self.name, self.octets, key, self.scaled])

    @property
    def place(self) -> tuple[str, str]:
        """Server and id of its `mxc:` address."""
        found = _MXC.fullmatch(self.uri)
        assert found is not None, "checked when it was read"
        return found[1], found[2]

    @classmethod
    def from_json(cls, text: str) -> "RoomFile":
        uri, content_type, name, octets, parts, scaled = json.loads(text)
        key = None if parts is None else FileKey(*(base64.b64decode(part) for part in parts))
        return cls(uri, content_type, name, octets, key, scaled)


def parse_file(content: Mapping[str, Any]) -> RoomFile | None:
    """Read what the content of an `m.image`, `m.audio`, `m.video` or `m.file` refers to; None if
    nothing that can be read."""
    info = content.get("info")
    info = info if isinstance(info, dict) else {}
    encrypted = content.get("file")
    key = None
    if isinstance(encrypted, dict):
        key = _parse_key(encrypted)
        if key is None:
            return None
        uri = encrypted.get("url")
    else:
        uri = content.get("url")
    if not isinstance(uri, str) or _MXC.fullmatch(uri) is None:
        return None
    told, octets = info.get("mimetype"), info.get("size")
    told = told if isinstance(told, str) and told.isascii() and len(told) < 100 else ""
    name = content.get("filename", content.get("body"))
    return RoomFile(
        uri,
        told.partition(";")[0].strip().lower(),
        name[:255] if isinstance(name, str) else "",
        octets if isinstance(octets, int) and octets >= 0 else None,
        key,
    )


def _parse_key(encrypted: Mapping[str, Any]) -> FileKey | None:
    key, hashes = encrypted.get("key"), encrypted.get("hashes")
    if not isinstance(key, dict) or not isinstance(hashes, dict):
        return None
    try:
        found = FileKey(
            *(_unpadded(text) for text in (key.get("k"), encrypted.get("iv"), hashes.get("sha256")))
        )
    except ValueError:
        return None
    sizes = (len(found.key), len(found.counter), len(found.digest))
    return found if key.get("alg") == "A256CTR" and sizes == (32, 16, 32) else None


def _unpadded(text: object) -> bytes:
    """Base64 without padding, in either alphabet: a key is a JWK's (RFC 7515), the rest is not."""
    if not isinstance(text, str) or len(text) > 100:
        raise ValueError("no base64")
    plain = text.rstrip("=").replace("-", "+").replace("_", "/")
    return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)


def decrypt(data: bytes, key: FileKey) -> bytes:
    """A file as its sender had it.

    Raises:
        FileError: it is not the file that the message means.
    """
    if not hmac.compare_digest(hashlib.sha256(data).digest(), key.digest):
        raise FileError("the file is not the one that was sent", final=True)
    decryptor = Cipher(AES(key.key), CTR(key.counter)).decryptor()
    return decryptor.update(data) + decryptor.finalize()


def show_octets(count: int) -> str:
    """A size as people write it."""
    return f"{count / 1_000_000:.1f} MB" if count >= 1_000_000 else f"{count // 1000} kB"
