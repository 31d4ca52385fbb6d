"""Telnyx, from "Receiving webhooks" and "Send a message" of its documentation: an Ed25519 signature
over time, a bar and the body; 2xx within two seconds, else it tries twice more; events may come
twice and in any order.
"""

import base64
import re
from collections.abc import Mapping
from typing import Any
from uuid import NAMESPACE_URL, uuid4, uuid5

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

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

API_KEY = "KEY0123456789ABCDEF_standin"
OURS = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ANOTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))


class Telnyx(StandIn):
    api = "https://api.telnyx.com"
    tries = 3
    pause_s = 5.0
    patience_s = 2.0
    covers = frozenset({Covers.KEY, Covers.BODY, Covers.TIME})

    def section(self) -> Mapping[str, Any]:
        public = base64.b64encode(OURS.public_key().public_bytes_raw()).decode()
        return {"telnyx": {"api_key": API_KEY, "public_key": public}}

    def content(self, id: str, sender: str, to: str, body: str) -> Push:
        payload = {
            "direction": "inbound",
            "id": str(uuid5(NAMESPACE_URL, id)),
            "type": "SMS",
            "from": {"phone_number": sender, "carrier": "", "line_type": "", "status": ""},
            "to": [{"phone_number": to, "status": "webhook_delivered", "carrier": "Telnyx"}],
            "cc": [],
            "text": body,
            "media": [],
            "encoding": "GSM-7",
            "parts": 1,
            "errors": [],
        }
        return self._event("message.received", payload)

    def report(self, taken: Taken, fate: Fate) -> Push:
        status = {Fate.SENT: "sent", Fate.DELIVERED: "delivered", Fate.LOST: "delivery_failed"}
        errors = [{"code": "40008", "title": "Undeliverable", "detail": "The phone is off."}]
        payload = {
            "direction": "outbound",
            "id": taken.id,
            "from": {"phone_number": taken.sender},
            "to": [{"phone_number": taken.to, "status": status[fate]}],
            "text": taken.body,
            "errors": errors if fate is Fate.LOST else [],
        }
        kind = "message.sent" if fate is Fate.SENT else "message.finalized"
        return self._event(kind, payload)

    def _event(self, kind: str, payload: Mapping[str, Any]) -> Push:
        data = {
            "event_type": kind,
            "id": str(uuid4()),
            "occurred_at": "2026-01-01T00:00:00.000+00:00",
            "payload": payload,
            "record_type": "event",
        }
        return document({"data": data, "meta": {"attempt": 1, "delivered_to": self.hook_url}})

    def sign(self, push: Push, url: str, by: Signer = HONEST) -> Push:
        time = str(int(self.clock() if by.at is None else by.at))
        # There is no other algorithm; the words without their time are another message.
        signed = push.body if by.algorithm else f"{time}|".encode() + push.body
        signature = (OURS if by.key is None else ANOTHER).sign(signed)
        proof = {
            "telnyx-signature-ed25519": base64.b64encode(signature).decode(),
            "telnyx-timestamp": time,
        }
        return Push(push.body, {**push.headers, **proof})

    def acknowledged(self, status: int, content_type: str, body: bytes) -> bool:
        return 200 <= status < 300

    def read(self, path: str, headers: Mapping[str, str], body: bytes) -> Taken:
        login = headers.get("authorization") == f"Bearer {API_KEY}"
        require(login, 401, {"errors": [{"code": "10009", "title": "Authentication failed"}]})
        require(path == "/v2/messages", 404, {"errors": [{"code": "10005", "title": "Not found"}]})
        require(headers.get("content-type") == "application/json", 415, {"errors": []})
        said = json_object(body)
        wrong = {"code": "40310", "title": "Invalid 'to' address", "detail": "no E.164 number"}
        fits = re.fullmatch(r"\+[1-9]\d{6,14}", str(said.get("to")))
        require(fits, 400, {"errors": [wrong]})
        callback, media = said.get("webhook_url", ""), tuple(said.get("media_urls", ()))
        return Taken(str(uuid4()), said["from"], said["to"], said["text"], callback, media)

    def accepted(self, taken: Taken) -> web.Response:
        to = [{"phone_number": taken.to, "status": "queued"}]
        return web.json_response({"data": {"record_type": "message", "id": taken.id, "to": to}})
