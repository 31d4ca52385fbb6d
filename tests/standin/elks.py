"""46elks, from "Receive an SMS", "SMS delivery reports", "Send an SMS" and "IP addresses" of its
documentation: nothing is signed; a status from 200 to 204, else it tries for six hours and five
times at least; the body of the answer is sent to the sender as a reply.
"""

import base64
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

from tests.standin.standin import HONEST, Covers, Fate, Push, Rejected, Signer, StandIn, Taken, form

USERNAME, PASSWORD = "u0123456789abcdef0123456789abcdef", "0123456789ABCDEF0123456789ABCDEF"
SOURCE = "176.10.154.199"


class Elks(StandIn):
    api = "https://api.46elks.com"
    tries = 5
    pause_s = 3600.0
    covers = frozenset({Covers.SOURCE})

    def section(self) -> Mapping[str, Any]:
        return {"elks": {"username": USERNAME, "password": PASSWORD}}

    def content(self, id: str, sender: str, to: str, body: str) -> Push:
        return form(
            {
                "direction": "incoming",
                "id": f"s{id}",
                "from": sender,
                "to": to,
                "created": "2026-01-01T00:00:00.000000",
                "message": body,
            }
        )

    def report(self, taken: Taken, fate: Fate) -> Push:
        status = {Fate.SENT: "sent", Fate.DELIVERED: "delivered", Fate.LOST: "failed"}[fate]
        when = {"delivered": "2026-01-01T00:00:00.000000"} if fate is Fate.DELIVERED else {}
        return form({"id": taken.id, "status": status, **when})

    def sign(self, push: Push, url: str, by: Signer = HONEST) -> Push:
        return Push(push.body, push.headers, source=SOURCE)

    def acknowledged(self, status: int, content_type: str, body: bytes) -> bool:
        if not 200 <= status <= 204:
            return False
        if body:
            self.sent_replies.append(body.decode())
        return True

    def read(self, path: str, headers: Mapping[str, str], body: bytes) -> Taken:
        login = base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
        _require(headers.get("authorization") == f"Basic {login}", 401, "API access denied")
        _require(path in ("/a1/sms", "/a1/mms"), 404, "Not found")
        fields = dict(parse_qsl(body.decode(), keep_blank_values=True))
        number = fields.get("to", "")
        fits = re.fullmatch(r"\+[1-9]\d{6,14}", number) is not None
        _require(fits, 400, f"Missing or invalid to-number: {number}")
        callback = fields.get("whendelivered", "")
        media = (fields["image"],) if path == "/a1/mms" and fields.get("image") else ()
        _require(bool(media or fields.get("message")), 400, "Missing message")
        id = f"s{self.new_id()}"
        return Taken(id, fields["from"], number, fields["message"], callback, media)

    def accepted(self, taken: Taken) -> web.Response:
        said = {
            "status": "created",
            "direction": "outgoing",
            "from": taken.sender,
            "to": taken.to,
            "message": taken.body,
            "id": taken.id,
            "parts": 1,
            "cost": 3500,
        }
        return web.json_response(said)


def _require(holds: bool, status: int, words: str) -> None:
    if not holds:
        raise Rejected(web.Response(status=status, text=words))
