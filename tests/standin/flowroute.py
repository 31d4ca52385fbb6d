"""Flowroute, version 2.2, from "Receive an SMS", "Receive a DLR", "Send an SMS" and its guide to
inbound messages: nothing is signed, it comes from listed addresses; 200 and nothing else, or it is
sent again four times, 30 seconds apart; receipts have two levels.
"""

import base64
import re
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
    digits,
    document,
    json_object,
    require,
)

ACCESS, SECRET = "0123abcd", "0123456789abcdef0123456789abcdef"
SOURCE = "52.88.246.140"


class Flowroute(StandIn):
    api = "https://api.flowroute.com"
    tries = 5
    pause_s = 30.0
    covers = frozenset({Covers.SOURCE})

    def section(self) -> Mapping[str, Any]:
        sources = [f"{SOURCE}/32", "52.10.220.50/32"]
        return {"flowroute": {"access_key": ACCESS, "secret_key": SECRET, "sources": sources}}

    def content(self, id: str, sender: str, to: str, body: str) -> Push:
        attributes = {
            "status": "delivered",
            "body": body,
            "direction": "inbound",
            "amount_nanodollars": 4000000,
            "message_encoding": 0,
            "timestamp": "2026-01-01T00:00:00.00Z",
            "to": digits(to),
            "amount_display": "$0.0040",
            "from": digits(sender),
            "is_mms": False,
            "message_type": "longcode",
        }
        data = {"attributes": attributes, "type": "message", "id": f"mdr2-{id}"}
        return document({"data": data})

    def report(self, taken: Taken, fate: Fate) -> Push:
        status, level, words = {
            Fate.SENT: ("message buffered", 1, "Message accepted by the carrier"),
            Fate.DELIVERED: ("delivered", 2, "Message delivered to handset"),
            Fate.LOST: ("undelivered", 2, "Absent subscriber"),
        }[fate]
        attributes = {
            "body": taken.body,
            "level": level,
            "status": status,
            "status_code": 1001,
            "status_code_description": words,
            "timestamp": "2026-01-01T00:00:00.00Z",
        }
        data = {"type": "delivery_receipt", "id": taken.id, "attributes": attributes}
        return document({"data": data})

    def sign(self, push: Push, url: str, by: Signer = HONEST) -> Push:
        return Push(push.body, push.headers, source=SOURCE)

    def acknowledged(self, status: int, content_type: str, body: bytes) -> bool:
        return status == 200

    def read(self, path: str, headers: Mapping[str, str], body: bytes) -> Taken:
        login = base64.b64encode(f"{ACCESS}:{SECRET}".encode()).decode()
        fits = headers.get("authorization") == f"Basic {login}"
        require(fits, 401, {"errors": [{"title": "Unauthorized", "status": 401}]})
        require(path == "/v2.2/messages", 404, {"errors": [{"title": "Not found"}]})
        said = json_object(body)
        wrong = {"title": "Unprocessable", "detail": f"{said.get('to')} is no valid number"}
        fits = re.fullmatch(r"\+[1-9]\d{6,14}", str(said.get("to"))) is not None
        require(fits, 422, {"errors": [wrong]})
        callback = said.get("dlr_callback", "")
        media = tuple(said.get("media_urls", ()))
        id = f"mdr2-{self.new_id()}"
        return Taken(id, said["from"], said["to"], said["body"], callback, media)

    def accepted(self, taken: Taken) -> web.Response:
        data = {"links": {"self": f"{self.api}/v2.2/messages/{taken.id}"}, "type": "message"}
        return web.json_response({"data": data | {"id": taken.id}}, status=202)
