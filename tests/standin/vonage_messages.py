"""Vonage's Messages API, version 1, from its reference and "Decoding signed webhooks" of its
documentation: a token (HS256) in `Authorization` with the SHA-256 of the body; 200, else again for
a day; 1,000 characters.
"""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from typing import Any
from uuid import NAMESPACE_URL, uuid4, uuid5

from aiohttp import web

from tests.standin.standin import (
    HONEST,
    Covers,
    Fate,
    Push,
    Signer,
    StandIn,
    Taken,
    digits,
    document,
    json_object,
    require,
)

KEY, SECRET, SIGNATURE_SECRET = "abcd1234", "api-secret", "signature-secret-of-the-account"


class VonageMessages(StandIn):
    api = "https://api.nexmo.com"
    tries = 30
    pause_s = 60.0
    covers = frozenset({Covers.KEY, Covers.BODY, Covers.TIME})
    longest = 1000

    def section(self) -> Mapping[str, Any]:
        return {
            "vonage_messages": {
                "api_key": KEY,
                "api_secret": SECRET,
                "signature_secret": SIGNATURE_SECRET,
            }
        }

    def content(self, id: str, sender: str, to: str, body: str) -> Push:
        return document(
            {
                "channel": "sms",
                "message_uuid": str(uuid5(NAMESPACE_URL, id)),
                "to": digits(to),
                "from": digits(sender),
                "timestamp": "2026-01-01T00:00:00Z",
                "message_type": "text",
                "text": body,
                "sms": {"num_messages": "1"},
                "usage": {"currency": "EUR", "price": "0.0333"},
            }
        )

    def report(self, taken: Taken, fate: Fate) -> Push:
        status = {Fate.SENT: "submitted", Fate.DELIVERED: "delivered", Fate.LOST: "undeliverable"}
        error = {"type": "https://example.org/errors#1", "title": 1, "detail": "Absent subscriber"}
        said = {
            "message_uuid": taken.id,
            "to": taken.to,
            "from": taken.sender,
            "timestamp": "2026-01-01T00:00:00Z",
            "status": status[fate],
            "channel": "sms",
        }
        return document(said | ({"error": error} if fate is Fate.LOST else {}))

    def sign(self, push: Push, url: str, by: Signer = HONEST) -> Push:
        head = {"alg": by.algorithm or "HS256", "typ": "JWT"}
        claims = {
            "iat": int(self.clock() if by.at is None else by.at),
            "jti": str(uuid4()),
            "iss": "Vonage",
            "payload_hash": hashlib.sha256(push.body).hexdigest(),
            "api_key": KEY,
            "application_id": str(uuid5(NAMESPACE_URL, "application")),
        }
        signed = f"{_encode(json.dumps(head).encode())}.{_encode(json.dumps(claims).encode())}"
        digest = hmac.new((by.key or SIGNATURE_SECRET).encode(), signed.encode(), hashlib.sha256)
        signature = "" if by.algorithm == "none" else _encode(digest.digest())
        token = f"Bearer {signed}.{signature}"
        return Push(push.body, {**push.headers, "Authorization": token})

    def acknowledged(self, status: int, content_type: str, body: bytes) -> bool:
        return status == 200

    def read(self, path: str, headers: Mapping[str, str], body: bytes) -> Taken:
        login = base64.b64encode(f"{KEY}:{SECRET}".encode()).decode()
        fits = headers.get("authorization") == f"Basic {login}"
        require(fits, 401, {"title": "Unauthorized", "detail": "You did not provide credentials."})
        require(path == "/v1/messages", 404, {"title": "Not Found"})
        said = json_object(body)
        for name in ("to", "from"):
            wrong = {"title": "Invalid params", "detail": f"'{name}' is not a valid number"}
            require(re.fullmatch(r"[1-9]\d{6,14}", str(said.get(name))), 422, wrong)
        kind = (said.get("channel"), said.get("message_type"))
        if kind == ("mms", "image"):
            image, callback = said["image"], said.get("webhook_url", "")
            words = image.get("caption", "")
            return Taken(str(uuid4()), said["from"], said["to"], words, callback, (image["url"],))
        require(kind == ("sms", "text"), 422, {"title": "Invalid params"})
        too_long = {"title": "Invalid params", "detail": "text: longer than 1000"}
        require(len(said["text"]) <= 1000, 422, too_long)
        return Taken(
            str(uuid4()), said["from"], said["to"], said["text"], said.get("webhook_url", "")
        )

    def accepted(self, taken: Taken) -> web.Response:
        return web.json_response({"message_uuid": taken.id}, status=202)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
