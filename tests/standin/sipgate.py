"""sipgate, from the description of its REST interface, version 2: texts are listed, newest first,
and sent with 204 and no id. Its web hooks tell of calls only.
"""

import base64
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

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
    json_object,
    require,
)

TOKEN_ID, TOKEN = "token-0123AB", "00000000-1111-2222-3333-444444444444"


class Sipgate(StandIn):
    api = "https://api.sipgate.com"
    covers = frozenset[Covers]()
    has_hooks = False
    has_receipts = False

    def section(self) -> Mapping[str, Any]:
        return {"sipgate": {"token_id": TOKEN_ID, "token": TOKEN}}

    def content(self, id: str, sender: str, to: str, body: str) -> Push:
        raise NotImplementedError("it has no hooks for texts")

    def report(self, taken: Taken, fate: Fate) -> Push:
        raise NotImplementedError("it has none")

    def sign(self, push: Push, url: str, by: Signer = HONEST) -> Push:
        return push

    def acknowledged(self, status: int, content_type: str, body: bytes) -> bool:
        raise NotImplementedError("it has no hooks for texts")

    def read(self, path: str, headers: Mapping[str, str], body: bytes) -> Taken:
        self._check_login(headers)
        require(path == "/v2/sessions/sms", 404, {})
        said = json_object(body)
        _require(re.fullmatch(r"s\d+", str(said.get("smsId"))) is not None, 403)
        _require(re.fullmatch(r"\+[1-9]\d{6,14}", str(said.get("recipient"))) is not None, 400)
        return Taken(self.new_id(), said["smsId"], said["recipient"], said["message"])

    def accepted(self, taken: Taken) -> web.Response:
        return web.Response(status=204)

    def listed(self, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Any:
        self._check_login(headers)
        require(path == "/v2/history", 404, {})
        asked = (query["types"], query["directions"])
        require(asked == ("SMS", "INCOMING"), 400, {})
        limit, offset = int(query.get("limit", "10")), int(query.get("offset", "0"))
        require(1 <= limit <= 100, 400, {})
        since = datetime.fromisoformat(query["from"]).timestamp()
        found = [came for came in reversed(self.inbox) if came.at >= since]
        return {
            "items": [
                {
                    "id": came.id,
                    "source": came.sender,
                    "target": came.to,
                    "type": "SMS",
                    "direction": "INCOMING",
                    "created": datetime.fromtimestamp(came.at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                    "smsContent": came.body,
                    "read": False,
                }
                for came in found[offset : offset + limit]
            ],
            "totalCount": len(found),
        }

    def _check_login(self, headers: Mapping[str, str]) -> None:
        login = base64.b64encode(f"{TOKEN_ID}:{TOKEN}".encode()).decode()
        _require(headers.get("authorization") == f"Basic {login}", 401)


def _require(holds: bool, status: int) -> None:
    if not holds:
        raise Rejected(web.Response(status=status))
