"""Flowroute Messages, version 2.2.

In: JSON without a signature. What proves a hook is the secret in our address, and the addresses
that the provider sends from where the owner lists them. Wants 200 exactly; sends again four times,
30 s apart, and keeps the text in its list afterwards. Accounts that were set up for version 1 get
the same four things in a flat object, which is read too.

Out: JSON with access key and secret key; 202 names the record. Receipts come in two levels: first
that the next station has it, then what became of it. No idempotency key.
"""

from collections.abc import Sequence
from typing import Any

from bridge.road import payload
from bridge.road.kind import PICTURES
from bridge.road.proof import Network, basic, check_source
from bridge.road.request import post_json
from bridge.road.result import NO_REASON, read_outcome
from bridge.road.road import (
    ApiAnswer,
    ApiRequest,
    Arrival,
    Attachment,
    Delivery,
    Departure,
    Hook,
    Limits,
    Outcome,
    Receipt,
    Thanks,
    Unreadable,
)

API = "https://api.flowroute.com/v2.2"

# A second-level receipt is in the words of many carriers. What is certain is named, and the rest
# is no more than "sent".
_DELIVERED = "delivered"
_FAILED = ("failed", "undelivered", "undeliverable", "rejected", "expired", "deleted", "blocked")


class Flowroute:
    """One account at Flowroute.

    Args:
        access_key: of the API.
        secret_key: of the API.
        sources: addresses that hooks come from; empty to look at none.
        base: of the interface; another for tests.
    """

    limits = Limits(
        characters=1600,
        parts=10,
        media=5,
        media_octets=740_000,  # 750 kB with the words
        media_types=(
            *PICTURES,
            "image/bmp",
            "audio/amr", "audio/wav", "audio/mpeg",
            "video/3gpp", "video/mp4", "video/mpeg",
            "text/plain",
        ),
    )  # fmt: skip
    repeatable = False
    thanks = Thanks()

    def __init__(
        self,
        access_key: str,
        secret_key: str,
        *,
        sources: Sequence[Network] = (),
        base: str = API,
    ) -> None:
        self._login = basic(access_key, secret_key)
        self._sources = tuple(sources)
        self._base = base.rstrip("/")

    def read(self, hook: Hook, now: float) -> Sequence[Arrival | Receipt]:
        """Read a text or a receipt."""
        if self._sources:
            check_source(hook, self._sources)
        said = payload.document(hook.body)
        data = payload.at(said, "data")
        if data is None:
            return (_arrival(payload.text_at(said, "id"), said),)
        id = payload.text_at(data, "id")
        attributes = payload.at(data, "attributes")
        match payload.text_at(data, "type"):
            case "message":
                return (_arrival(id, attributes, payload.list_at(said, "included")),)
            case "delivery_receipt":
                return (_receipt(id, attributes),)
            case _:
                raise Unreadable("neither a message nor a receipt")

    def write(self, text: Departure) -> ApiRequest:
        """One SMS, or an MMS where it has pictures."""
        body: dict[str, Any] = {"to": text.to[0], "from": text.sender, "body": text.body}
        if text.media:
            body |= {"is_mms": True, "media_urls": list(text.media)}
        if text.receipts is not None:
            body["dlr_callback"] = text.receipts
        url, kind = f"{self._base}/messages", "application/vnd.api+json"
        return post_json(url, body, login=self._login, content_type=kind)

    def outcome(self, answer: ApiAnswer) -> Outcome:
        """202 with the record, or a list of errors."""
        words = (("errors", 0, "detail"), ("errors", 0, "title"))
        return read_outcome(answer, statuses=(200, 202), id=("data", "id"), words=words)


def _arrival(id: str, message: Any, included: Sequence[Any] = ()) -> Arrival:
    if payload.text_at(message, "direction") not in ("", "inbound"):
        raise Unreadable("a message of ours")
    media = (payload.at(one, "attributes") for one in included)
    return Arrival(
        id=payload.required(id, "id"),
        sender=payload.required(payload.text_at(message, "from"), "from"),
        to=payload.required(payload.text_at(message, "to"), "to"),
        body=payload.text_at(message, "body"),
        attachments=tuple(
            Attachment(url, payload.text_at(one, "mime_type"))
            for one in media
            if (url := payload.text_at(one, "url"))
        ),
    )


def _receipt(id: str, receipt: Any) -> Receipt:
    payload.required(id, "id")
    status = payload.required(payload.text_at(receipt, "status"), "status").lower()
    if status == _DELIVERED and payload.text_at(receipt, "level") == "2":
        return Receipt(id, Delivery.DELIVERED)
    if any(word in status for word in _FAILED):
        words = payload.text_at(receipt, "status_code_description")
        return Receipt(id, Delivery.FAILED, words or NO_REASON)
    return Receipt(id, Delivery.SENT)
