"""Telnyx Messaging.

In: JSON, signed with Ed25519 over the time, a bar and the body; a signature is good for five
minutes, so that a hook that somebody has overheard cannot be played again later. Wants 2xx within
two seconds; repeats, then the fail-over address; out of order and doubled by its own words. An
event and its repeat have the same message id, which is what we keep.

Out: JSON with a bearer key. No idempotency key for messages. A group text is always an MMS.
"""

import base64
from collections.abc import Sequence
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from bridge.road import payload
from bridge.road.kind import CARDS, MORE_PICTURES, PICTURES
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
)

API = "https://api.telnyx.com/v2"
TOLERANCE = 300.0  # seconds between the provider's clock and ours, the way included

_STATES = {
    "queued": Delivery.TAKEN,
    "sending": Delivery.TAKEN,
    "sent": Delivery.SENT,
    "delivery_unconfirmed": Delivery.SENT,
    "delivered": Delivery.DELIVERED,
    "webhook_delivered": Delivery.DELIVERED,
    "sending_failed": Delivery.FAILED,
    "delivery_failed": Delivery.FAILED,
}


class Telnyx:
    """One account at Telnyx.

    Args:
        api_key: for sending.
        public_key: the account's key that signs hooks, base64 as the portal shows it.
        base: of the interface; another for tests.

    Raises:
        ValueError: `public_key` is none.
    """

    limits = Limits(
        characters=1600,
        parts=10,
        media=10,
        media_octets=1_000_000,
        media_types=(
            *PICTURES, *MORE_PICTURES, *CARDS,
            "audio/mpeg", "audio/wav", "audio/amr", "audio/ogg",
            "video/mp4", "video/3gpp", "video/quicktime",
            "application/pdf",
        ),
        recipients=8,
        answer_s=2.0,
    )  # fmt: skip
    repeatable = False
    thanks = Thanks()

    def __init__(self, api_key: str, public_key: str, *, base: str = API) -> None:
        self._api_key = api_key
        self._key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key, validate=True))
        self._base = base.rstrip("/")

    def read(self, hook: Hook, now: float) -> Sequence[Arrival | Receipt]:
        """Read one event."""
        self._verify(hook, now)
        event = payload.document(hook.body)
        kind = payload.text_at(event, "data", "event_type")
        message = payload.at(event, "data", "payload")
        match kind:
            case "message.received":
                return (_arrival(message),)
            case "message.sent" | "message.finalized":
                return _receipts(message)
            case "":
                raise Unreadable("without event_type")
            case _:
                return ()  # other things that the messaging profile may tell of

    def write(self, text: Departure) -> ApiRequest:
        """One message, or one group message."""
        group = len(text.to) > 1
        body: dict[str, Any] = {
            "from": text.sender,
            "to": list(text.to) if group else text.to[0],
            "text": text.body,
        }
        if text.media:
            body["media_urls"] = list(text.media)
        if text.receipts is not None:
            body["webhook_url"] = text.receipts
        path = "messages/group_mms" if group else "messages"
        return post_json(f"{self._base}/{path}", body, login=f"Bearer {self._api_key}")

    def outcome(self, answer: ApiAnswer) -> Outcome:
        """200 with the message, or a list of errors."""
        words = (("errors", 0, "detail"), ("errors", 0, "title"))
        return read_outcome(answer, statuses=(200, 201, 202), id=("data", "id"), words=words)

    def _verify(self, hook: Hook, now: float) -> None:
        time = hook.headers.get("telnyx-timestamp", "")
        try:
            age = abs(now - int(time[:15]))
            signature = base64.b64decode(
                hook.headers.get("telnyx-signature-ed25519", ""), validate=True
            )
            self._key.verify(signature, time.encode() + b"|" + hook.body)
        except (ValueError, InvalidSignature) as error:
            raise Forged("the signature does not fit") from error
        if age > TOLERANCE:
            raise Forged("the signature is too old")


def _arrival(message: Any) -> Arrival:
    to, *others = [
        number
        for recipient in (*payload.list_at(message, "to"), *payload.list_at(message, "cc"))
        if (number := payload.text_at(recipient, "phone_number"))
    ] or [""]
    sender = payload.required(payload.text_at(message, "from", "phone_number"), "from")
    return Arrival(
        id=payload.required(payload.text_at(message, "id"), "id"),
        sender=sender,
        to=payload.required(to, "to"),
        body=payload.text_at(message, "text"),
        attachments=tuple(
            Attachment(url, payload.text_at(media, "content_type"))
            for media in payload.list_at(message, "media")
            if (url := payload.text_at(media, "url"))
        ),
        # `cc` may have everybody in it, us and the sender too.
        group=tuple(dict.fromkeys(other for other in others if other not in (to, sender))),
    )


def _receipts(message: Any) -> list[Receipt]:
    """One for each recipient: of a group a hook comes for each, with all of them in it."""
    id = payload.required(payload.text_at(message, "id"), "id")
    recipients = payload.list_at(message, "to")
    found = []
    for recipient in recipients:
        state = _STATES.get(payload.text_at(recipient, "status"))
        if state is not None:
            reason = (_error(message) or NO_REASON) if state is Delivery.FAILED else ""
            found.append(Receipt(id, state, reason, payload.text_at(recipient, "phone_number")))
        elif len(recipients) == 1:
            raise Unreadable("a status that is not documented")
    return found


def _error(said: Any) -> str:
    first = payload.at(said, "errors", 0)
    return payload.text_at(first, "detail") or payload.text_at(first, "title")
