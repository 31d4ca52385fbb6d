"""Vonage's Messages API, version 1, for SMS and MMS.

In: JSON, with a token (JWT, HS256 under the account's signature secret) in `Authorization` whose
claim `payload_hash` is the SHA-256 of the body. A token without that claim says nothing about the
body and is refused, as is any other algorithm. Wants 200; repeats for 24 hours, so that a token is
good that long: the id of a text is what makes a repeat, or a replay, a repeat.

Out: JSON with key and secret of the account, which the provider takes as it takes a token of an
application; then texts and receipts come to the addresses of the account's settings, or for
receipts to the one that the text names. No idempotency key.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import Any

from bridge.road import payload
from bridge.road.kind import PICTURES
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

API = "https://api.nexmo.com/v1"
TOLERANCE = 25 * 3600.0  # seconds: it repeats for 24 hours

_STATES = {
    "submitted": Delivery.SENT,
    "delivered": Delivery.DELIVERED,
    "read": Delivery.READ,
    "rejected": Delivery.FAILED,
    "undeliverable": Delivery.FAILED,
}
_CHANNELS = ("sms", "mms")
_MEDIA = ("image", "audio", "video", "file", "vcard")
_BEARER = "Bearer "
_LONGEST_REFERENCE = 100


class VonageMessages:
    """One account at Vonage, by its Messages API.

    Args:
        api_key: of the account.
        api_secret: of the account.
        signature_secret: with which hooks are signed.
        base: of the interface; another for tests.
    """

    limits = Limits(
        characters=1000,
        parts=15,
        media=1,
        media_octets=600_000,
        media_types=(*PICTURES, "audio/mpeg", "video/mp4", "text/vcard"),
        writing=Writing.BARE,
    )
    repeatable = False
    thanks = Thanks()

    def __init__(
        self, api_key: str, api_secret: str, signature_secret: str, *, base: str = API
    ) -> None:
        self._login = basic(api_key, api_secret)
        self._key = signature_secret.encode()
        self._base = base.rstrip("/")

    def read(self, hook: Hook, now: float) -> Sequence[Arrival | Receipt]:
        """Read a text or a status; other channels than SMS and MMS are none of ours."""
        self._verify(hook, now)
        said = payload.document(hook.body)
        if payload.required(payload.text_at(said, "channel"), "channel") not in _CHANNELS:
            return ()
        id = payload.required(payload.text_at(said, "message_uuid"), "message_uuid")
        status = payload.text_at(said, "status")
        if status:
            return (_receipt(id, status, said),)
        return (
            Arrival(
                id=id,
                sender=payload.required(payload.text_at(said, "from"), "from"),
                to=payload.required(payload.text_at(said, "to"), "to"),
                body=_body(said),
                attachments=tuple(_attachments(said)),
            ),
        )

    def write(self, text: Departure) -> ApiRequest:
        """One SMS, or one MMS with a picture, a sound, a film or a visiting card."""
        body: dict[str, Any] = {
            "from": text.sender,
            "to": text.to[0],
            "client_ref": text.key[:_LONGEST_REFERENCE],
        }
        if text.media:
            what = "vcard" if text.kind == "text/vcard" else text.kind.partition("/")[0]
            media = {"url": text.media[0]} | ({"caption": text.body} if text.body else {})
            body |= {"channel": "mms", "message_type": what, what: media}
        else:
            body |= {"channel": "sms", "message_type": "text", "text": text.body}
        if text.receipts is not None:
            body |= {"webhook_url": text.receipts, "webhook_version": "v1"}
        return post_json(f"{self._base}/messages", body, login=self._login)

    def outcome(self, answer: ApiAnswer) -> Outcome:
        """202 with the id, or a problem (RFC 9457)."""
        words = (("detail",), ("title",))
        return read_outcome(answer, statuses=(200, 202), id=("message_uuid",), words=words)

    def _verify(self, hook: Hook, now: float) -> None:
        """Check the token (RFC 7515), and that it is of this body."""
        told = hook.headers.get("authorization", "")
        signed, _, signature = told.removeprefix(_BEARER).rpartition(".")
        head, _, claims = signed.partition(".")
        try:
            digest = hmac.new(self._key, signed.encode("ascii"), hashlib.sha256).digest()
            fits = hmac.compare_digest(digest, _decode(signature))
            algorithm = payload.text_at(payload.document(_decode(head)), "alg")
            said = payload.document(_decode(claims))
        except (ValueError, Unreadable) as error:
            raise Forged("the token cannot be read") from error
        if not (fits and told.startswith(_BEARER) and algorithm == "HS256"):
            raise Forged("the signature of the token does not fit")
        body_hash = hashlib.sha256(hook.body).hexdigest()
        if not hmac.compare_digest(
            body_hash.encode(), payload.text_at(said, "payload_hash").lower().encode()
        ):
            raise Forged("the token is of another body")
        issued = payload.at(said, "iat")
        if not isinstance(issued, int) or abs(now - issued) > TOLERANCE:
            raise Forged("the token is too old")


def _decode(text: str) -> bytes:
    """Base64 for URLs without padding (RFC 7515 §2).

    Raises:
        ValueError: it is none.
    """
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _body(said: Any) -> str:
    kind = payload.text_at(said, "message_type")
    captions = [payload.text_at(said, kind, "caption")]
    captions += [payload.text_at(part, "caption") for part in payload.list_at(said, "content")]
    return payload.text_at(said, "text") or "\n".join(filter(None, captions))


def _attachments(said: Any) -> list[Attachment]:
    """One of a kind of its own, or a list of several."""
    found = [payload.text_at(said, kind, "url") for kind in _MEDIA]
    found += [payload.text_at(part, "url") for part in payload.list_at(said, "content")]
    return [Attachment(url) for url in found if url]


def _receipt(id: str, status: str, said: Any) -> Receipt:
    state = _STATES.get(status)
    if state is None:
        raise Unreadable("a status that is not documented")
    if state is not Delivery.FAILED:
        return Receipt(id, state)
    words = payload.text_at(said, "error", "detail") or payload.text_at(said, "error", "title")
    return Receipt(id, state, words or NO_REASON)
