"""Common Presence and Instant Messaging: a text with header fields of its own (RFC 3862).

What is asked about a text's fate (`sip.imdn`) has to travel with it from end to end, so it does not
stand in the SIP message but in the body, before the text:

    From: Ann <sip:ann@example.net>         header fields of the message
    NS: imdn <urn:ietf:params:imdn>         the meaning of the prefix in the next one
    imdn.Message-ID: 34jk324j

    Content-Type: text/plain;charset=UTF-8  MIME header fields of its content

    Hello!                                  the content

Values are held as they are written. What such a message says of its sender is the sender's claim:
nobody on the way has looked at it.
"""

import base64
import binascii
import quopri
import re
from dataclasses import dataclass

from sip.errors import RemoteError
from sip.events import Body
from sip.headers import Headers
from sip.multipart import Part, read_part
from sip.uri import NameAddr

MESSAGE_CPIM = "message/cpim"

# NS: prefix <URI>, or <URI> alone for names without a prefix (§3.4).
_NAMESPACE = re.compile(r"(?:([A-Za-z0-9!#$%&'*+\-^_`|~]+)\s+)?<([^<>\s]+)>")

# §2.3.1: what a backslash makes of the character behind it.
_ESCAPED = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|(.))")
_MEANINGS = {"b": "\b", "t": "\t", "n": "\n", "r": "\r"}


@dataclass(frozen=True, slots=True)
class Cpim:
    """One message/cpim.

    Attributes:
        headers: of the message.
        content: what it carries, with its MIME header fields.
    """

    headers: Headers
    content: Part

    @classmethod
    def parse(cls, data: bytes) -> "Cpim":
        """Read one message.

        Raises:
            RemoteError: it is none.
        """
        message = read_part(data)
        if not len(message.headers):
            raise RemoteError("a message/cpim without header fields")
        return cls(message.headers, read_part(message.data))

    @property
    def body(self) -> Body:
        """The content with its type, out of its transfer encoding.

        Raises:
            RemoteError: the encoding is not known, or is broken.
        """
        part = self.content
        encoding = (part.headers.get("Content-Transfer-Encoding") or "binary").strip().lower()
        match encoding:
            case "7bit" | "8bit" | "binary":
                return part.body
            case "base64":
                try:
                    return Body(part.body.content_type, base64.b64decode(part.data))
                except binascii.Error:
                    raise RemoteError("the content is no base64") from None
            case "quoted-printable":
                return Body(part.body.content_type, quopri.decodestring(part.data))
            case _:
                raise RemoteError("transfer encoding not known", status=415)

    @property
    def sender(self) -> NameAddr | None:
        """From; None if absent or unreadable."""
        try:
            return NameAddr.parse(self.headers.get("From") or "")
        except RemoteError:
            return None

    @property
    def sent_at(self) -> str:
        """DateTime, as it came (RFC 3339); "" if absent."""
        return self.headers.get("DateTime") or ""

    @property
    def subject(self) -> str:
        """The first Subject, without its language; "" if absent."""
        text = re.sub(r"\A;\S*\s?", "", self.headers.get("Subject") or "")
        return _ESCAPED.sub(_unescape, text)

    def named(self, namespace: str, name: str, *, usual: str) -> list[str]:
        """Return the values of an extension's header field.

        Args:
            namespace: the URI that the extension defines.
            usual: the prefix that is taken where the message does not declare one, as some do not.
        """
        prefixes = [
            match[1] or ""
            for value in self.headers.get_all("NS")
            if (match := _NAMESPACE.fullmatch(value)) is not None and match[2] == namespace
        ]
        for prefix in prefixes or [usual]:
            values = self.headers.get_all(f"{prefix}.{name}" if prefix else name)
            if values:
                return values
        return []

    def __bytes__(self) -> bytes:
        return _written(self.headers) + _written(self.content.headers) + self.content.data


def _written(headers: Headers) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in headers).encode() + b"\r\n"


def _unescape(match: re.Match[str]) -> str:
    if match[1] is None:
        return _MEANINGS.get(match[2], match[2])
    character = chr(int(match[1], 16))
    return "\ufffd" if "\ud800" <= character <= "\udfff" else character
