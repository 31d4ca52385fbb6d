"""Twilio, from "Twilio's request to your incoming message webhook", "Secure webhooks" and the
Message resource of its documentation. Each hook is tried once; TwiML in the answer sends texts.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qsl
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
    fields_of,
    form,
    messages_in,
    require,
)

ACCOUNT = "AC0123456789abcdef0123456789abcdef"
TOKEN = "0123456789abcdef0123456789abcdef"


class Twilio(StandIn):
    api = "https://api.twilio.com"
    patience_s = 15.0
    covers = frozenset({Covers.KEY, Covers.ADDRESS, Covers.BODY})

    def section(self) -> Mapping[str, Any]:
        return {"twilio": {"account": ACCOUNT, "token": TOKEN}}

    def content(self, id: str, sender: str, to: str, body: str) -> Push:
        sid = _sid(id)
        return form(
            {
                "ToCountry": "US",
                "SmsMessageSid": sid,
                "NumMedia": "0",
                "SmsSid": sid,
                "SmsStatus": "received",
                "Body": body,
                "To": to,
                "NumSegments": "1",
                "MessageSid": sid,
                "AccountSid": ACCOUNT,
                "From": sender,
                "ApiVersion": "2010-04-01",
            }
        )

    def report(self, taken: Taken, fate: Fate) -> Push:
        status = {Fate.SENT: "sent", Fate.DELIVERED: "delivered", Fate.LOST: "undelivered"}[fate]
        fields = {
            "SmsSid": taken.id,
            "SmsStatus": status,
            "MessageStatus": status,
            "To": taken.to,
            "MessageSid": taken.id,
            "AccountSid": ACCOUNT,
            "From": taken.sender,
            "ApiVersion": "2010-04-01",
        }
        return form(fields | ({"ErrorCode": "30003"} if fate is Fate.LOST else {}))

    def sign(self, push: Push, url: str, by: Signer = HONEST) -> Push:
        fields = fields_of(push)
        signed = url + "".join(f"{name}{fields[name]}" for name in sorted(fields))
        digest = hmac.new((by.key or TOKEN).encode(), signed.encode(), by.algorithm or hashlib.sha1)
        signature = base64.b64encode(digest.digest()).decode()
        return Push(push.body, {**push.headers, "X-Twilio-Signature": signature})

    def acknowledged(self, status: int, content_type: str, body: bytes) -> bool:
        if not 200 <= status < 300:
            return False
        if body:
            try:
                self.sent_replies += messages_in(body)
            except ElementTree.ParseError:
                # Anything that is no TwiML is sent back to the phone where it is plain text.
                self.sent_replies += [body.decode()] if content_type == "text/plain" else []
        return True

    def read(self, path: str, headers: Mapping[str, str], body: bytes) -> Taken:
        self._check_login(headers)
        known = path == f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
        require(known, 404, {"code": 20404, "status": 404})
        pairs = parse_qsl(body.decode(), keep_blank_values=True)
        fields = dict(pairs)
        media = tuple(value for name, value in pairs if name == "MediaUrl")
        require(
            re.fullmatch(r"\+[1-9]\d{6,14}", fields.get("To", "")),
            400,
            {"code": 21211, "message": f"Invalid 'To' Phone Number: {fields.get('To')}"},
        )
        require(len(fields.get("Body", "")) <= 1600, 400, {"code": 21617, "message": "too long"})
        require(
            fields.get("Body") or media,
            400,
            {"code": 21602, "message": "Message body is required."},
        )
        return Taken(
            _sid(self.new_id()),
            fields["From"],
            fields["To"],
            fields.get("Body", ""),
            fields.get("StatusCallback", ""),
            media,
        )

    def accepted(self, taken: Taken) -> web.Response:
        said = {
            "sid": taken.id,
            "status": "queued",
            "error_code": None,
            "direction": "outbound-api",
        }
        return web.json_response(said, status=201)

    def listed(self, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Any:
        self._check_login(headers)
        require(path.endswith(f"/Accounts/{ACCOUNT}/Messages.json"), 404, {"code": 20404})
        since = datetime.fromisoformat(query["DateSent>"])
        found = [item for item in reversed(self.inbox) if item.at >= since.timestamp()]
        size, page = int(query["PageSize"]), int(query.get("Page", "0"))
        more = len(found) > size * (page + 1)
        following = f"{path}?PageSize={size}&Page={page + 1}&DateSent%3E={query['DateSent>']}"
        return {
            "messages": [
                {
                    "sid": _sid(item.id),
                    "from": item.sender,
                    "to": item.to,
                    "body": item.body,
                    "direction": "inbound",
                    "num_media": "0",
                    "date_sent": format_datetime(datetime.fromtimestamp(item.at, UTC)),
                }
                for item in found[size * page : size * (page + 1)]
            ],
            "next_page_uri": following if more else None,
        }

    def _check_login(self, headers: Mapping[str, str]) -> None:
        login = base64.b64encode(f"{ACCOUNT}:{TOKEN}".encode()).decode()
        fits = headers.get("authorization") == f"Basic {login}"
        require(fits, 401, {"code": 20003, "message": "Authenticate", "status": 401})


def _sid(id: str) -> str:
    """Two letters and 32 of hexadecimal."""
    return f"SM{hashlib.sha256(id.encode()).hexdigest()[:32]}"
