"""Plivo, from "Receive a message", "Message status callbacks", "Send a message" and the validators
of its libraries: `X-Plivo-Signature-V2` is HMAC-SHA256 over scheme, host, path and a nonce, and not
over the fields; the answer is XML, whose `Message` elements it sends.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from uuid import NAMESPACE_URL, uuid4, uuid5
from xml.etree import ElementTree

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
    form,
    json_object,
    messages_in,
    nonce,
    require,
)

AUTH_ID, TOKEN = "MA0123456789ABCDEFGH", "0123456789abcdefghijklmnopqrstuvwxyzABCD"


class Plivo(StandIn):
    api = "https://api.plivo.com"
    tries = 3
    pause_s = 60.0
    covers = frozenset({Covers.KEY, Covers.ADDRESS})

    def section(self) -> Mapping[str, Any]:
        return {"plivo": {"account": AUTH_ID, "token": TOKEN}}

    def content(self, id: str, sender: str, to: str, body: str) -> Push:
        return form(
            {
                "From": digits(sender),
                "MessageIntent": "",
                "MessageUUID": str(uuid5(NAMESPACE_URL, id)),
                "PowerpackUUID": "",
                "Text": body,
                "To": digits(to),
                "TotalAmount": "0",
                "TotalRate": "0",
                "Type": "sms",
                "Units": "1",
            }
        )

    def report(self, taken: Taken, fate: Fate) -> Push:
        status = {Fate.SENT: "sent", Fate.DELIVERED: "delivered", Fate.LOST: "undelivered"}[fate]
        return form(
            {
                "ErrorCode": "30" if fate is Fate.LOST else "000",
                "From": taken.sender,
                "MessageUUID": taken.id,
                "ParentMessageUUID": taken.id,
                "PartInfo": "1 of 1",
                "Sequence": "1",
                "Status": status,
                "To": taken.to,
                "Units": "1",
            }
        )

    def sign(self, push: Push, url: str, by: Signer = HONEST) -> Push:
        parts, once = urlsplit(url), nonce()
        signed = f"{parts.scheme}://{parts.netloc}{parts.path}{once}"
        digest = hmac.new(
            (by.key or TOKEN).encode(), signed.encode(), by.algorithm or hashlib.sha256
        )
        proof = {
            "X-Plivo-Signature-V2": base64.b64encode(digest.digest()).decode(),
            "X-Plivo-Signature-V2-Nonce": once,
        }
        return Push(push.body, {**push.headers, **proof})

    def acknowledged(self, status: int, content_type: str, body: bytes) -> bool:
        if not 200 <= status < 300:
            return False
        if body:
            if content_type not in ("text/xml", "application/xml"):
                return False
            try:
                self.sent_replies += messages_in(body)
            except ElementTree.ParseError:
                return False
        return True

    def read(self, path: str, headers: Mapping[str, str], body: bytes) -> Taken:
        login = base64.b64encode(f"{AUTH_ID}:{TOKEN}".encode()).decode()
        fits = headers.get("authorization") == f"Basic {login}"
        require(fits, 401, {"error": "authentication failed"})
        require(path == f"/v1/Account/{AUTH_ID}/Message/", 404, {"error": "not found"})
        said = json_object(body)
        for name in ("src", "dst"):
            wrong = {"api_id": self.new_id(), "error": f"{name} is not a valid number"}
            require(re.fullmatch(r"[1-9]\d{6,14}", str(said.get(name))), 400, wrong)
        media = tuple(said.get("media_urls", ()))
        wrong = {"api_id": self.new_id(), "error": "media_urls is for type mms"}
        require(not media or said.get("type") == "mms", 400, wrong)
        callback = said.get("url", "")
        return Taken(str(uuid4()), said["src"], said["dst"], said["text"], callback, media)

    def accepted(self, taken: Taken) -> web.Response:
        said = {"message": "message(s) queued", "message_uuid": [taken.id], "api_id": "1"}
        return web.json_response(said, status=202)
