"""A provider that nobody has heard of, for the generic road: JSON, HMAC-SHA256 in hexadecimal over
the body, wants to hear "stored" with 202, and knows the repeat of a send by our key.
"""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from tests.standin.standin import (
    HONEST,
    Covers,
    Fate,
    Push,
    Signer,
    StandIn,
    Taken,
    document,
    json_object,
    require,
)

API_KEY, HOOK_KEY = "acme-api-key-0123456789", "acme-hook-key-0123456789"


class Acme(StandIn):
    api = "https://sms.acme.example"
    tries = 10
    pause_s = 10.0
    patience_s = 5.0
    covers = frozenset({Covers.KEY, Covers.BODY})
    has_receipts = False

    def section(self) -> Mapping[str, Any]:
        return {
            "generic": {
                "receive": {
                    "form": "json",
                    "id": "message.uid",
                    "from": "message.source",
                    "to": "message.target",
                    "text": "message.words",
                    "answer": "stored",
                    "answer_status": 202,
                    "hmac": {"header": "X-Acme-Signature", "secret": HOOK_KEY, "prefix": "v1="},
                },
                "send": {
                    "url": f"{self.api}/send",
                    "form": "json",
                    "headers": {"X-Api-Key": "{secret}", "Idempotency-Key": "{key}"},
                    "fields": {"source": "{from}", "target": "{to}", "words": "{text}"},
                    "secret": API_KEY,
                    "id": "uid",
                    "error": "problem",
                    "repeatable": True,
                },
            }
        }

    def content(self, id: str, sender: str, to: str, body: str) -> Push:
        message = {"uid": id, "source": sender, "target": to, "words": body}
        return document({"kind": "sms", "message": message})

    def report(self, taken: Taken, fate: Fate) -> Push:
        raise NotImplementedError("it has none")

    def sign(self, push: Push, url: str, by: Signer = HONEST) -> Push:
        digest = hmac.new((by.key or HOOK_KEY).encode(), push.body, by.algorithm or hashlib.sha256)
        return Push(push.body, {**push.headers, "X-Acme-Signature": f"v1={digest.hexdigest()}"})

    def acknowledged(self, status: int, content_type: str, body: bytes) -> bool:
        return (status, body) == (202, b"stored")

    def read(self, path: str, headers: Mapping[str, str], body: bytes) -> Taken:
        require(headers.get("x-api-key") == API_KEY, 401, {"problem": "who are you?"})
        require(path == "/send", 404, {"problem": "nothing here"})
        said = json_object(body)
        require(str(said["target"]).startswith("+"), 422, {"problem": "that is no number"})
        return Taken(headers["idempotency-key"], said["source"], said["target"], said["words"])

    def accepted(self, taken: Taken) -> web.Response:
        return web.json_response({"uid": taken.id})
