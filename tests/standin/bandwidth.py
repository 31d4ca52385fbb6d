"""Bandwidth, from "Webhooks" and "Create message" of its documentation: an array of events with the
user name and password of the application; any 2xx within ten seconds, else again for a day; at
least once by its own words.
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
    document,
    json_object,
    require,
)

ACCOUNT, APPLICATION = "9900000", "93de2206-9669-4e07-948d-329f4b722ee2"
USER, PASSWORD = "api-user", "api-password"
HOOK_USER, HOOK_PASSWORD = "bandwidth", "hook-password"
TIME = "2026-01-01T00:00:00.000Z"


class Bandwidth(StandIn):
    api = "https://messaging.bandwidth.com"
    tries = 20
    pause_s = 3600.0
    covers = frozenset({Covers.KEY})
    longest = 2048

    def section(self) -> Mapping[str, Any]:
        return {
            "bandwidth": {
                "account": ACCOUNT,
                "application": APPLICATION,
                "username": USER,
                "password": PASSWORD,
                "hook_username": HOOK_USER,
                "hook_password": HOOK_PASSWORD,
            }
        }

    def content(self, id: str, sender: str, to: str, body: str) -> Push:
        message = _message(id, "in", to, sender, to, body)
        return document(
            [
                {
                    "type": "message-received",
                    "time": TIME,
                    "description": "Incoming message received",
                    "to": to,
                    "message": message,
                }
            ]
        )

    def report(self, taken: Taken, fate: Fate) -> Push:
        kind = {
            Fate.SENT: "message-sending",
            Fate.DELIVERED: "message-delivered",
            Fate.LOST: "message-failed",
        }[fate]
        event = {
            "type": kind,
            "time": TIME,
            "description": "ok" if fate is not Fate.LOST else "destination-unreachable",
            "to": taken.to,
            "message": _message(taken.id, "out", taken.sender, taken.sender, taken.to, ""),
        }
        return document([event | ({"errorCode": 4720} if fate is Fate.LOST else {})])

    def sign(self, push: Push, url: str, by: Signer = HONEST) -> Push:
        login = f"{HOOK_USER}:{by.key or HOOK_PASSWORD}".encode()
        scheme = "Basic" if by.algorithm is None else "Bearer"
        proof = f"{scheme} {base64.b64encode(login).decode()}"
        return Push(push.body, {**push.headers, "Authorization": proof})

    def acknowledged(self, status: int, content_type: str, body: bytes) -> bool:
        return 200 <= status < 300

    def read(self, path: str, headers: Mapping[str, str], body: bytes) -> Taken:
        login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        fits = headers.get("authorization") == f"Basic {login}"
        require(fits, 401, {"type": "unauthorized", "description": "Authentication Failed"})
        require(path == f"/api/v2/users/{ACCOUNT}/messages", 404, {"type": "not-found"})
        said = json_object(body)
        wrong: list[Any] = []
        if said.get("applicationId") != APPLICATION:
            wrong.append({"fieldName": "applicationId", "description": "unknown application"})
        if not all(re.fullmatch(r"\+[1-9]\d{6,14}", number) for number in said.get("to", [""])):
            wrong.append({"fieldName": "to", "description": "'to' must be E164"})
        refusal = {"type": "request-validation", "description": "invalid", "fieldErrors": wrong}
        require(not wrong, 400, refusal)
        media = tuple(said.get("media", ()))
        return Taken(self.new_id(), said["from"], said["to"][0], said["text"], media=media)

    def accepted(self, taken: Taken) -> web.Response:
        said = _message(taken.id, "out", taken.sender, taken.sender, taken.to, taken.body)
        return web.json_response(said, status=202)


def _message(id: str, way: str, owner: str, sender: str, to: str, body: str) -> dict[str, Any]:
    return {
        "id": id,
        "time": TIME,
        "to": [to],
        "from": sender,
        "text": body,
        "applicationId": APPLICATION,
        "owner": owner,
        "direction": way,
        "segmentCount": 1,
    }
