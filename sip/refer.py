"""What a transfer says on the wire: Refer-To (RFC 3515 §2.1), Replaces (RFC 3891 §6) and the
message/sipfrag in which its progress is told (RFC 3420).

Values only; the machines that use them are in `sip.transfer`. Of the header fields that a Refer-To
may carry behind its "?", Replaces is the one that a phone acts upon. The others are left out, since
RFC 3261 §19.1.5 calls it dangerous to obey them.
"""

import re
from dataclasses import dataclass, replace
from urllib.parse import quote, unquote

from sip import grammar
from sip.errors import LocalError, RemoteError
from sip.events import Body
from sip.headers import Headers
from sip.uri import NameAddr, Parameters, Uri

SIPFRAG = "message/sipfrag"

# hvalue = *( hnv-unreserved / unreserved / escaped )
_SAFE_IN_VALUE = "[]/?:+$-_.!~*'()"

# word [ "@" word ]; nothing in it ends a parameter.
_CALL_ID = re.compile(r'[^\s;,"<>]+')

_STATUS_LINE = re.compile(r"SIP/2\.0[ \t]+([1-6][0-9]{2})(?:[ \t]+(.*))?", re.IGNORECASE)

# What we can be asked to call.
_SCHEMES = ("sip", "sips", "tel")


@dataclass(frozen=True, slots=True)
class Replaces:
    """Names the dialog whose place a new one takes (RFC 3891 §6.1).

    Attributes:
        call_id: of the dialog.
        to_tag: the tag of the one who gets the INVITE.
        from_tag: the tag of its peer.
        early_only: only if the dialog is not confirmed.
    """

    call_id: str
    to_tag: str
    from_tag: str
    early_only: bool = False

    @classmethod
    def parse(cls, text: str) -> "Replaces":
        """Read a header field's value.

        Raises:
            RemoteError: it is none.
        """
        call_id, _, rest = text.partition(";")
        parameters = Parameters.parse(rest)
        names = [name.lower() for name in parameters]
        call_id = call_id.strip()
        to_tag, from_tag = parameters.get("to-tag"), parameters.get("from-tag")
        if not _CALL_ID.fullmatch(call_id) or not to_tag or not from_tag:
            raise RemoteError("malformed Replaces")
        if names.count("to-tag") > 1 or names.count("from-tag") > 1:
            raise RemoteError("a tag stands twice in Replaces")
        return cls(call_id, to_tag, from_tag, "early-only" in parameters)

    def __str__(self) -> str:
        early = ";early-only" if self.early_only else ""
        return f"{self.call_id};to-tag={self.to_tag};from-tag={self.from_tag}{early}"


@dataclass(frozen=True, slots=True)
class ReferTo:
    """Whom the recipient of a REFER shall call.

    Attributes:
        target: without the parameter `method` and without header fields.
        replaces: the dialog that the call takes the place of, for an attended transfer.
    """

    target: Uri
    replaces: Replaces | None = None

    @classmethod
    def of(cls, headers: Headers) -> "ReferTo":
        """Read the one Refer-To of a REFER (RFC 3515 §2.4.2).

        Raises:
            RemoteError: there is none, or more than one, or it asks for what we do not do.
        """
        values = headers.elements("Refer-To")
        if len(values) != 1:
            raise RemoteError("a REFER has one Refer-To")
        uri = NameAddr.parse(values[0]).uri
        if uri.scheme not in _SCHEMES:
            raise RemoteError("URI scheme not supported", status=416)
        if (uri.parameters.get("method") or "INVITE").upper() != "INVITE":
            raise RemoteError("only calls are made on request", status=603)
        target = replace(uri, headers=None, parameters=uri.parameters.without("method"))
        return cls(target, _embedded_replaces(uri.headers or ""))

    def __str__(self) -> str:
        if self.replaces is None:
            return f"<{self.target}>"
        if self.target.scheme == "tel":
            raise LocalError("a tel URI has no room for Replaces")
        value = quote(str(self.replaces), safe=_SAFE_IN_VALUE)
        return f"<{replace(self.target, headers=f'Replaces={value}')}>"


def _embedded_replaces(headers: str) -> Replaces | None:
    found = [
        unquote(value, errors="replace")
        for name, _, value in (piece.partition("=") for piece in headers.split("&"))
        if name.lower() == "replaces"
    ]
    if len(found) > 1:
        raise RemoteError("more than one Replaces")
    return Replaces.parse(found[0]) if found else None


def replaces_of(headers: Headers) -> Replaces | None:
    """Read the Replaces of an INVITE (RFC 3891 §3).

    Raises:
        RemoteError: there is more than one, or a Join beside it, or it is unreadable.
    """
    values = headers.get_all("Replaces")
    if not values:
        return None
    if len(values) > 1 or "Join" in headers:
        raise RemoteError("more than one dialog to replace or to join")
    return Replaces.parse(values[0])


def referred_by(headers: Headers) -> NameAddr | None:
    """Read Referred-By (RFC 3892); None if absent or unreadable: it is said, not proven."""
    try:
        return next((NameAddr.parse(value) for value in headers.elements("Referred-By")), None)
    except RemoteError:
        return None


def sipfrag(status: int, reason: str) -> Body:
    """Write how a call goes on (RFC 3515 §2.4.5: the status line will do)."""
    line = grammar.refuse_injection(f"SIP/2.0 {status} {reason}", what="a reason phrase")
    return Body(f"{SIPFRAG};version=2.0", f"{line}\r\n".encode())


def read_sipfrag(body: Body) -> tuple[int, str]:
    """Read status and reason phrase of a fragment.

    Raises:
        RemoteError: it is of another type, or does not begin with a status line.
    """
    if body.content_type.partition(";")[0].strip().lower() != SIPFRAG:
        raise RemoteError("not a message/sipfrag", status=415)
    line = body.data.lstrip(b"\r\n").partition(b"\n")[0].decode(errors="replace").rstrip()
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        raise RemoteError("a fragment without a status line")
    return int(match[1]), match[2] or ""
