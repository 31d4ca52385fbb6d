"""Vonage's SMS API, from "Signing messages", "Inbound SMS" and the reference of its documentation:
`sig` over all other fields by name, with "&" and "=" of values as "_"; HMAC in capital letters, and
the old MD5 in small ones; 200 or 204, else again for a day; what went wrong is in an answer of 200.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

from tests.standin.standin import (
    HONEST,
    Covers,
    Fate,
    Push,
    Rejected,
    Signer,
    StandIn,
    Taken,
    digits,
    document,
    nonce,
    require,
)

KEY, SECRET, SIGNATURE_SECRET = "abcd1234", "api-secret", "signature-secret-of-the-account"


class VonageSms(StandIn):
    api = "https://rest.nexmo.com"
    tries = 30
    pause_s = 60.0
    covers = frozenset({Covers.KEY, Covers.BODY, Covers.TIME})
    longest = 3200
    method = "sha256"

    def section(self) -> Mapping[str, Any]:
        return {
            "vonage_sms": {
                "api_key": KEY,
                "api_secret": SECRET,
                "signature_secret": SIGNATURE_SECRET,
                "signature_method": self.method,
            }
        }

    def content(self, id: str, sender: str, to: str, body: str) -> Push:
        return document(
            {
                "api-key": KEY,
                "msisdn": digits(sender),
                "to": digits(to),
                "messageId": id,
                "text": body,
                "type": "text" if body.isascii() else "unicode",
                "keyword": body.partition(" ")[0].upper(),
                "message-timestamp": "2026-01-01 00:00:00",
            }
        )

    def report(self, taken: Taken, fate: Fate) -> Push:
        status = {Fate.SENT: "accepted", Fate.DELIVERED: "delivered", Fate.LOST: "failed"}[fate]
        return document(
            {
                "api-key": KEY,
                "msisdn": taken.to,
                "to": taken.sender,
                "network-code": "310090",
                "messageId": taken.id,
                "price": "0.03330000",
                "status": status,
                "scts": "2601010000",
                "err-code": "1" if fate is Fate.LOST else "0",
                "message-timestamp": "2026-01-01 00:00:00",
            }
        )

    def sign(self, push: Push, url: str, by: Signer = HONEST) -> Push:
        fields: dict[str, str] = json.loads(push.body)
        fields |= {
            "nonce": nonce(),
            "timestamp": str(int(self.clock() if by.at is None else by.at)),
        }
        fields["sig"] = signature(fields, by.key or SIGNATURE_SECRET, by.algorithm or self.method)
        return document(fields)

    def acknowledged(self, status: int, content_type: str, body: bytes) -> bool:
        return status in (200, 204)

    def read(self, path: str, headers: Mapping[str, str], body: bytes) -> Taken:
        require(path == "/sms/json", 404, {})
        fields = dict(parse_qsl(body.decode(), keep_blank_values=True))
        _require(fields.get("api_key") == KEY, "4", "Bad Credentials")
        _require(fields.get("api_secret") == SECRET, "4", "Bad Credentials")
        # "Don't use a leading + or 00 when entering a phone number."
        _require(re.fullmatch(r"[1-9]\d{6,14}", fields.get("to", "")), "3", "Invalid to param")
        needs_unicode = not fields["text"].isascii()
        if needs_unicode and fields.get("type") != "unicode":
            # Not refused in life: what the alphabet lacks arrives as question marks.
            fields["text"] = fields["text"].encode("ascii", "replace").decode()
        callback = fields.get("callback", "")
        return Taken(f"0A{self.new_id()}", fields["from"], fields["to"], fields["text"], callback)

    def accepted(self, taken: Taken) -> web.Response:
        part = {
            "to": taken.to,
            "message-id": taken.id,
            "status": "0",
            "remaining-balance": "3.14159265",
            "message-price": "0.03330000",
            "network": "310090",
        }
        return web.json_response({"message-count": "1", "messages": [part]})

    def busy(self) -> web.Response:
        part = {"status": "1", "error-text": "Throughput Rate Exceeded - please wait [ 250 ] "}
        return web.json_response({"message-count": "1", "messages": [part]})


class VonageSmsOfOld(VonageSms):
    """The same with the default of old accounts."""

    method = "md5hash"


def signature(fields: Mapping[str, str], secret: str, method: str) -> str:
    signed = "".join(
        f"&{name}={value.replace('&', '_').replace('=', '_')}"
        for name, value in sorted(fields.items())
        if name != "sig"
    )
    if method == "md5hash":
        return hashlib.md5(f"{signed}{secret}".encode(), usedforsecurity=False).hexdigest()
    return hmac.new(secret.encode(), signed.encode(), method).hexdigest().upper()


def _require(holds: object, status: str, words: str) -> None:
    if not holds:
        part = {"status": status, "error-text": words}
        raise Rejected(web.json_response({"message-count": "1", "messages": [part]}))
