"""Vonage's SMS API.

In: a form, JSON or a query, as the account is set. Signed (`sig`) once the provider's support has
turned that on, over all other fields by name, with a secret and an algorithm that the account sets;
"&" and "=" of values are signed as "_", so that those two can be swapped without notice. Unsigned
hooks prove no more than the secret in our address, and are taken only under a setting that says so.
Wants 200 or 204; repeats for 24 hours, so that a signature is good that long: the id of a text is
what makes a repeat, or a replay, a repeat. A long text may come in parts, each a text of its own.

Out: a form with key and secret in its body. Each part of a long text gets an id; receipts are
followed for the first. No idempotency key.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from bridge.road import payload
from bridge.road.request import post_form
from bridge.road.result import NO_REASON, by_status, refused
from bridge.road.road import (
    ApiAnswer,
    ApiRequest,
    Arrival,
    Delivery,
    Departure,
    Forged,
    Hook,
    Later,
    Limits,
    Outcome,
    Receipt,
    Refused,
    Taken,
    Thanks,
    Unreadable,
    Unsure,
    Writing,
)
from bridge.road.segments import count

API = "https://rest.nexmo.com"
TOLERANCE = 25 * 3600.0  # seconds: it repeats for 24 hours

_STATES = {
    "submitted": Delivery.TAKEN,
    "accepted": Delivery.SENT,
    "buffered": Delivery.SENT,
    "unknown": Delivery.SENT,
    "delivered": Delivery.DELIVERED,
    "expired": Delivery.FAILED,
    "failed": Delivery.FAILED,
    "rejected": Delivery.FAILED,
}
_TAKEN, _THROTTLED, _INTERNAL = "0", "1", "5"
_REASONS = {
    "4": "the provider does not know our credentials",
    "6": "the number is not valid",
    "7": "the number is barred",
    "9": "the account has no credit left",
    "15": "our number may not send there",
    "29": "the number is not allowed for a demo account",
}
_LONGEST_CALLBACK = 100
_LONGEST_REFERENCE = 100


class SignatureMethod(Enum):
    """How the account signs, as its dashboard names it."""

    MD5_HASH = "md5hash"
    MD5 = "md5"
    SHA1 = "sha1"
    SHA256 = "sha256"
    SHA512 = "sha512"


class VonageSms:
    """One account at Vonage, by its SMS API.

    Args:
        api_key: of the account.
        api_secret: of the account.
        signature_secret: with which hooks are signed; None where they are not.
        method: how they are signed.
        base: of the interface; another for tests.
    """

    limits = Limits(characters=3200, parts=21, writing=Writing.BARE)
    repeatable = False
    thanks = Thanks()

    def __init__(
        self,
        api_key: str,
        api_secret: str,
        *,
        signature_secret: str | None,
        method: SignatureMethod = SignatureMethod.SHA256,
        base: str = API,
    ) -> None:
        self._api_key = api_key
        self._api_secret = api_secret
        self._signature_secret = signature_secret
        self._method = method
        self._base = base.rstrip("/")

    def read(self, hook: Hook, now: float) -> Sequence[Arrival | Receipt]:
        """Read a text or a delivery receipt."""
        fields = _fields(hook)
        if self._signature_secret is not None:
            self._verify(fields, self._signature_secret, now)
        id = payload.required(fields.get("messageId", ""), "messageId")
        if "status" in fields:
            return (_receipt(id, fields),)
        if fields.get("type", "text") not in ("text", "unicode"):
            return ()  # binary: settings and ring tones, not words
        return (
            Arrival(
                id=id,
                sender=payload.required(fields.get("msisdn", ""), "msisdn"),
                to=payload.required(fields.get("to", ""), "to"),
                body=fields.get("text", ""),
            ),
        )

    def write(self, text: Departure) -> ApiRequest:
        """One text, which the provider cuts into parts."""
        fields = {
            "api_key": self._api_key,
            "api_secret": self._api_secret,
            "from": text.sender,
            "to": text.to[0],
            "text": text.body,
            "type": "unicode" if count(text.body).unicode else "text",
            "client-ref": text.key[:_LONGEST_REFERENCE],
        }
        if text.receipts is not None and len(text.receipts) <= _LONGEST_CALLBACK:
            fields |= {"callback": text.receipts, "status-report-req": "1"}
        return post_form(f"{self._base}/sms/json", fields)

    def outcome(self, answer: ApiAnswer) -> Outcome:
        """200 whatever happened; each part has a status, and one that went makes it a text that
        went."""
        if (other := by_status(answer)) is not None:
            return other
        parts = payload.list_at(payload.document(answer.body), "messages")
        for part in parts:
            if payload.text_at(part, "status") == _TAKEN:
                return Taken(payload.text_at(part, "message-id"))
        return _failure(answer, parts[0] if parts else None)

    def _verify(self, fields: Mapping[str, str], secret: str, now: float) -> None:
        told = fields.get("sig", "").lower()
        signed = "".join(
            f"&{name}={fields[name].replace('&', '_').replace('=', '_')}"
            for name in sorted(fields)
            if name != "sig"
        )
        if not hmac.compare_digest(self._sign(signed, secret).encode(), told.encode()):
            raise Forged("the signature does not fit")
        try:
            age = abs(now - int(fields.get("timestamp", "")[:15]))
        except ValueError as error:
            raise Forged("the signature has no time") from error
        if age > TOLERANCE:
            raise Forged("the signature is too old")

    def _sign(self, signed: str, secret: str) -> str:
        if self._method is SignatureMethod.MD5_HASH:
            # The provider's choice, not ours: its oldest algorithm and still its default.
            return hashlib.md5(f"{signed}{secret}".encode(), usedforsecurity=False).hexdigest()
        return hmac.new(secret.encode(), signed.encode(), self._method.value).hexdigest()


def _fields(hook: Hook) -> dict[str, str]:
    if hook.method == "GET":
        return payload.query(hook)
    if "json" not in hook.headers.get("content-type", ""):
        return payload.form(hook.body)
    said = payload.document(hook.body)
    if not isinstance(said, dict):
        raise Unreadable("no object")
    return {name: payload.text_at(said, name) for name in said}


def _receipt(id: str, fields: Mapping[str, str]) -> Receipt:
    state = _STATES.get(fields["status"])
    if state is None:
        raise Unreadable("a status that is not documented")
    if state is not Delivery.FAILED:
        return Receipt(id, state)
    code = fields.get("err-code", "")
    return Receipt(id, state, NO_REASON if code in ("", "0") else f"error {code}")


def _failure(answer: ApiAnswer, part: Any) -> Outcome:
    status = payload.text_at(part, "status")
    words = payload.text_at(part, "error-text")
    match status:
        case "":
            return refused(answer)
        case _ if status == _THROTTLED:
            return Later("the provider is busy")
        case _ if status == _INTERNAL:
            return Unsure("the provider had an error of its own")
        case _:
            return Refused(_REASONS.get(status) or words or f"error {status}")
