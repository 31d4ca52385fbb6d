"""Plivo Messaging.

In: a form, signed with HMAC-SHA256 under the auth token. `X-Plivo-Signature-V2` covers our address
without its query and a nonce, **not the fields**: who has overheard one hook can write others. It
is the one that is documented for messages; where `V3` comes, which covers the fields, it is the one
that counts. `-Ma-` is the same under the main account's token, for hooks of a subaccount. The
answer is to be XML; an empty `Response` sends nothing.

Out: JSON with basic authentication. A long text gets an id for each part, and its receipts name the
first one as `ParentMessageUUID`. No idempotency key.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from bridge.road import payload
from bridge.road.kind import CARDS, FILMS, PICTURES, SOUNDS
from bridge.road.proof import basic
from bridge.road.request import post_json
from bridge.road.result import NO_REASON, read_outcome
from bridge.road.road import (
    ApiAnswer,
    ApiRequest,
    Arrival,
    Attachment,
    Delivery,
    Departure,
    Forged,
    Hook,
    Limits,
    Outcome,
    Receipt,
    Thanks,
    Unreadable,
    Writing,
)

API = "https://api.plivo.com/v1"

_STATES = {
    "queued": Delivery.TAKEN,
    "sent": Delivery.SENT,
    "delivered": Delivery.DELIVERED,
    "read": Delivery.READ,
    "undelivered": Delivery.FAILED,
    "failed": Delivery.FAILED,
    "rejected": Delivery.FAILED,
}
_NO_ERROR = ("", "000")


class Plivo:
    """One account or subaccount at Plivo.

    Args:
        account: auth id.
        token: auth token, of the main account or of the subaccount.
        base: of the interface; another for tests.
    """

    limits = Limits(
        characters=1600,
        parts=10,
        media=10,
        media_octets=5_000_000,
        media_types=(*PICTURES, *SOUNDS, *FILMS, *CARDS, "application/pdf"),
        writing=Writing.BARE,
    )
    repeatable = False
    thanks = Thanks(body=b"<Response></Response>", content_type="text/xml")

    def __init__(self, account: str, token: str, *, base: str = API) -> None:
        self._account = account
        self._login = basic(account, token)
        self._key = token.encode()
        self._base = base.rstrip("/")

    def read(self, hook: Hook, now: float) -> Sequence[Arrival | Receipt]:
        """Read a text or a delivery report; both come as forms."""
        fields = payload.form(hook.body)
        if not self._signed(hook, fields):
            raise Forged("the signature does not fit")
        id = payload.required(fields.get("MessageUUID", ""), "MessageUUID")
        if "Status" in fields:
            return (_receipt(fields.get("ParentMessageUUID") or id, fields),)
        return (
            Arrival(
                id=id,
                sender=payload.required(fields.get("From", ""), "From"),
                to=payload.required(fields.get("To", ""), "To"),
                body=fields.get("Text") or fields.get("Body", ""),
                attachments=tuple(_attachments(fields)),
            ),
        )

    def write(self, text: Departure) -> ApiRequest:
        """One SMS, or an MMS where it has pictures."""
        body: dict[str, Any] = {"src": text.sender, "dst": text.to[0], "text": text.body}
        if text.media:
            body |= {"type": "mms", "media_urls": list(text.media)}
        if text.receipts is not None:
            body |= {"url": text.receipts, "method": "POST"}
        url = f"{self._base}/Account/{quote(self._account, safe='')}/Message/"
        return post_json(url, body, login=self._login)

    def outcome(self, answer: ApiAnswer) -> Outcome:
        """202 with an id for each part, or an error in words."""
        return read_outcome(
            answer, statuses=(200, 201, 202), id=("message_uuid", 0), words=(("error",),)
        )

    def _signed(self, hook: Hook, fields: Mapping[str, str]) -> bool:
        """Whether any signature of the best version that came fits; never an older one instead."""
        signed, version = _third(hook.url, fields), "v3"
        if not any(name in hook.headers for name in _names("v3")):
            signed, version = hook.url.partition("?")[0], "v2"
        nonce = hook.headers.get(f"x-plivo-signature-{version}-nonce", "")
        told = [
            one.strip() for name in _names(version) for one in hook.headers.get(name, "").split(",")
        ]
        digest = hmac.new(self._key, f"{signed}{nonce}".encode(), hashlib.sha256).digest()
        wanted = base64.b64encode(digest)
        fits = False
        for one in told:
            fits |= hmac.compare_digest(wanted, one.encode())
        return fits and nonce != ""


def _names(version: str) -> tuple[str, str]:
    return f"x-plivo-signature-{version}", f"x-plivo-signature-ma-{version}"


def _third(url: str, fields: Mapping[str, str]) -> str:
    """What the third version signs of a POST, up to the nonce: address, sorted query, fields."""
    address, _, _ = url.partition("?")
    query = sorted(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    asked = "&".join(f"{name}={value}" for name, value in query)
    said = "".join(f"{name}{fields[name]}" for name in sorted(fields))
    if not asked and not said:
        return f"{address}."
    return f"{address}?{asked}{'.' if asked else ''}{said}."


def _attachments(fields: Mapping[str, str]) -> list[Attachment]:
    count = fields.get("MediaCount") or "0"
    if not (count.isascii() and count.isdecimal()) or int(count[:9]) > Plivo.limits.media:
        raise Unreadable("MediaCount is no small number")
    # Counted from 1 in the documentation; a zeroth does no harm.
    names = (f"Media{index}" for index in range(int(count) + 1))
    return [Attachment(fields[name]) for name in names if fields.get(name)]


def _receipt(id: str, fields: Mapping[str, str]) -> Receipt:
    state = _STATES.get(fields["Status"].lower())
    if state is None:
        raise Unreadable("a status that is not documented")
    if state is not Delivery.FAILED:
        return Receipt(id, state)
    code = fields.get("ErrorCode", "")
    return Receipt(id, state, NO_REASON if code in _NO_ERROR else f"error {code}")
