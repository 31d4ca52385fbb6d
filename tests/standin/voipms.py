"""VoIP.ms, from its API manual and its wiki about SMS: a GET of an address in which the customer
put placeholders; the body of the answer has to be `ok`, else it is asked every half hour again. Ten
digits, 160 characters in an SMS, answers of status 200 whatever happened.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, quote

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
    require,
)

USERNAME, PASSWORD = "owner@example.org", "api-password"
LAYOUT = "?id={ID}&from={FROM}&to={TO}&message={MESSAGE}&media={MEDIA}"


class VoipMs(StandIn):
    api = "https://voip.ms"
    tries = 48
    pause_s = 1800.0
    covers = frozenset[Covers]()
    longest = 2048
    has_receipts = False

    def section(self) -> Mapping[str, Any]:
        return {"voipms": {"username": USERNAME, "password": PASSWORD}}

    def content(self, id: str, sender: str, to: str, body: str) -> Push:
        query = LAYOUT
        for name, value in {
            "ID": id,
            "FROM": _national(sender),
            "TO": _national(to),
            "MESSAGE": body,
            "MEDIA": "",
        }.items():
            query = query.replace(f"{{{name}}}", quote(value, safe=""))
        return Push(method="GET", query=query)

    def report(self, taken: Taken, fate: Fate) -> Push:
        raise NotImplementedError("it has none")

    def sign(self, push: Push, url: str, by: Signer = HONEST) -> Push:
        return push

    def acknowledged(self, status: int, content_type: str, body: bytes) -> bool:
        return status == 200 and body == b"ok"

    def read(self, path: str, headers: Mapping[str, str], body: bytes) -> Taken:
        require(path == "/api/v1/rest.php", 404, {})
        fields = dict(parse_qsl(body.decode(), keep_blank_values=True))
        _require(fields.get("api_username") == USERNAME, "invalid_credentials")
        _require(fields.get("api_password") == PASSWORD, "invalid_credentials")
        if fields["method"] in ("getSMS", "getMMS"):
            raise Rejected(web.json_response(self._list(fields)))
        _require(fields["method"] in ("sendSMS", "sendMMS"), "invalid_method")
        _require(re.fullmatch(r"\d{10}", fields.get("did", "")), "did_not_found")
        _require(re.fullmatch(r"\d{10}", fields.get("dst", "")), "invalid_dst")
        longest = 160 if fields["method"] == "sendSMS" else 2048
        _require(len(fields["message"]) <= longest, "sms_toolong")
        id = str(int(self.new_id(), 16))
        media = tuple(fields[name] for name in ("media1", "media2", "media3") if fields.get(name))
        _require(not media or fields["method"] == "sendMMS", "invalid_media")
        return Taken(id, fields["did"], fields["dst"], fields["message"], media=media)

    def accepted(self, taken: Taken) -> web.Response:
        kind = "sms" if len(taken.body) <= 160 else "mms"
        return web.json_response({"status": "success", kind: int(taken.id)})

    def _list(self, fields: Mapping[str, str]) -> Any:
        since = datetime.fromisoformat(fields["from"]).replace(tzinfo=UTC).timestamp()
        found = [item for item in self.inbox if item.at >= since]
        if not found:
            return {"status": "no_sms"}
        return {
            "status": "success",
            "sms": [
                {
                    "id": item.id,
                    "date": datetime.fromtimestamp(item.at, UTC).strftime("%Y-%m-%d %H:%M:%S"),
                    "type": "1",
                    "did": _national(item.to),
                    "contact": _national(item.sender),
                    "message": item.body,
                    "col_media1": "",
                }
                for item in reversed(found)
            ],
        }


def _national(number: str) -> str:
    return number.removeprefix("+1")


def _require(holds: object, status: str) -> None:
    require(holds, 200, {"status": status})
