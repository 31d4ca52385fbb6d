"""sipgate.

In: its web hooks tell of calls only, so that texts are fetched from the history. That lists what
the token's user may see.

Out: JSON with a personal access token, of an SMS extension (`s0`); the recipient sees the number
that the portal has set for it. 204 and no id: nothing is heard of a text again.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from bridge.road import payload, window
from bridge.road.proof import basic
from bridge.road.request import post_json
from bridge.road.result import by_status, refused
from bridge.road.road import (
    ApiAnswer,
    ApiRequest,
    Arrival,
    Departure,
    Forged,
    History,
    Hook,
    Limits,
    Outcome,
    Receipt,
    Taken,
    Thanks,
    Unreadable,
)

API = "https://api.sipgate.com/v2"
PAGE = 100

_REASONS = {
    402: "the account has no credit left",
    403: "the token may not send texts by this extension",
}


class Sipgate:
    """One account at sipgate.

    Args:
        token_id: of a personal access token with the scopes `sessions:sms:write` and
            `history:read`.
        token: that token.
        extension: by which texts are sent.
        base: of the interface; another for tests.
    """

    limits = Limits()
    repeatable = False
    thanks = Thanks()

    def __init__(
        self, token_id: str, token: str, *, extension: str = "s0", base: str = API
    ) -> None:
        self._login = basic(token_id, token)
        self._extension = extension
        self._base = base.rstrip("/")

    def read(self, hook: Hook, now: float) -> Sequence[Arrival | Receipt]:
        """There are no hooks for texts."""
        raise Forged("no texts come this way")

    def write(self, text: Departure) -> ApiRequest:
        """One text."""
        body = {"smsId": self._extension, "recipient": text.to[0], "message": text.body}
        return post_json(f"{self._base}/sessions/sms", body, login=self._login)

    def outcome(self, answer: ApiAnswer) -> Outcome:
        """204 and nothing else."""
        if answer.status in (200, 204):
            return Taken()
        return by_status(answer) or refused(answer, _REASONS.get(answer.status, ""))

    def begin(self, now: float) -> str:
        """From now on."""
        return window.begin(now)

    def ask(self, cursor: str) -> ApiRequest:
        """A page of incoming texts, the newest first."""
        place = window.read_cursor(cursor)
        query = {
            "types": "SMS",
            "directions": "INCOMING",
            "from": window.iso(place.since - window.OVERLAP),
            "limit": str(PAGE),
            "offset": place.page or "0",
        }
        return ApiRequest(
            "GET",
            f"{self._base}/history?{urlencode(query)}",
            {"Authorization": self._login, "Accept": "application/json"},
        )

    def history(self, answer: ApiAnswer, cursor: str) -> History:
        """Entries of the history."""
        place = window.read_cursor(cursor)
        items = payload.at(payload.document(answer.body), "items")
        if not isinstance(items, list):
            raise Unreadable("no list of entries")
        # What arrives meanwhile moves the others on to the next page, where they come twice.
        offset = int(place.page or "0") + len(items)
        return place.turn(items, _read, next_page=str(offset) if len(items) >= PAGE else "")


def _read(entry: Any) -> window.Dated | None:
    incoming = payload.text_at(entry, "direction") == "INCOMING"
    if payload.text_at(entry, "type") != "SMS" or not incoming:
        return None
    # The field is named so in the description of the interface and otherwise in its libraries.
    body = payload.text_at(entry, "smsContent") or payload.text_at(entry, "content")
    return (
        window.read_iso(payload.text_at(entry, "created")),
        Arrival(
            id=payload.required(payload.text_at(entry, "id"), "id"),
            sender=payload.required(payload.text_at(entry, "source"), "source"),
            to=payload.required(payload.text_at(entry, "target"), "target"),
            body=body,
        ),
    )
