"""Bandwidth Messaging.

In: a JSON array of events, with the user name and password that the customer enters at the
application, and no signature. Wants 2xx within ten seconds; repeats for a day, and says itself that
an event may come twice. A group text comes once for each of our numbers in it, under an id of its
own each time.

Out: JSON with the basic authentication of an API user; 202 says that it is queued. Receipts come to
the application's address, which a text cannot name. No idempotency key.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from bridge.road import payload
from bridge.road.kind import CARDS, FILMS, MORE_PICTURES, PAPERS, PICTURES, SOUNDS
from bridge.road.proof import basic, check_login, login_for
from bridge.road.request import post_json
from bridge.road.result import NO_REASON, read_outcome
from bridge.road.road import (
    ApiAnswer,
    ApiRequest,
    Arrival,
    Attachment,
    Delivery,
    Departure,
    Hook,
    Limits,
    Outcome,
    Receipt,
    Thanks,
    Unreadable,
)

API = "https://messaging.bandwidth.com/api/v2"

_STATES = {
    "message-sending": Delivery.SENT,  # MMS: on its way to the carrier
    "message-sent": Delivery.SENT,
    "message-delivered": Delivery.DELIVERED,
    "message-read": Delivery.READ,
    "message-failed": Delivery.FAILED,
}
_MOST_EVENTS = 100


class Bandwidth:
    """One account at Bandwidth.

    Args:
        account: its id.
        application: id of the messaging application that our numbers belong to.
        username: of an API user.
        password: of that user.
        hook_username: what hooks log in with, as entered at the application.
        hook_password: the same.
        base: of the interface; another for tests.
    """

    limits = Limits(
        characters=2048,
        parts=14,
        media=10,
        media_octets=3_750_000,
        media_types=(*PICTURES, *MORE_PICTURES, *SOUNDS, *FILMS, *CARDS, *PAPERS),
        recipients=10,
    )
    repeatable = False
    thanks = Thanks()

    def __init__(
        self,
        account: str,
        application: str,
        username: str,
        password: str,
        *,
        hook_username: str,
        hook_password: str,
        base: str = API,
    ) -> None:
        self._account = account
        self._application = application
        self._login = basic(username, password)
        self._hook_username = hook_username
        self._hook_password = hook_password
        self._base = base.rstrip("/")

    def read(self, hook: Hook, now: float) -> Sequence[Arrival | Receipt]:
        """Read all events of a hook; kinds that we do not know are none of ours."""
        check_login(hook, self._hook_username, self._hook_password)
        events = payload.document(hook.body)
        if not isinstance(events, list) or len(events) > _MOST_EVENTS:
            raise Unreadable("no list of events")
        found: list[Arrival | Receipt] = []
        for event in events:
            kind = payload.required(payload.text_at(event, "type"), "type")
            if kind == "message-received":
                found.append(_arrival(event))
            elif (state := _STATES.get(kind)) is not None:
                found.append(_receipt(event, state))
        return found

    def media_headers(self, url: str) -> Mapping[str, str]:
        """The login of the interface, whose host has the pictures."""
        return login_for(url, self._login, base=self._base)

    def write(self, text: Departure) -> ApiRequest:
        """One message to one number or to a group."""
        body: dict[str, Any] = {
            "applicationId": self._application,
            "from": text.sender,
            "to": list(text.to),
            "text": text.body,
            "tag": text.key,
        }
        if text.media:
            body["media"] = list(text.media)
        url = f"{self._base}/users/{quote(self._account, safe='')}/messages"
        return post_json(url, body, login=self._login)

    def outcome(self, answer: ApiAnswer) -> Outcome:
        """202 with the message, or a description, of a field where one is wrong."""
        return read_outcome(
            answer,
            statuses=(202,),
            id=("id",),
            words=(("fieldErrors", 0, "description"), ("description",)),
        )


def _arrival(event: Any) -> Arrival:
    message = payload.at(event, "message")
    owner = payload.text_at(message, "owner") or payload.text_at(event, "to")
    sender = payload.required(payload.text_at(message, "from"), "from")
    numbers = [number for number in payload.list_at(message, "to") if isinstance(number, str)]
    return Arrival(
        id=payload.required(payload.text_at(message, "id"), "id"),
        sender=sender,
        to=payload.required(owner, "owner"),
        body=payload.text_at(message, "text"),
        attachments=tuple(
            Attachment(url)
            for url in payload.list_at(message, "media")
            if isinstance(url, str) and url
        ),
        group=tuple(number for number in numbers if number not in (owner, sender)),
    )


def _receipt(event: Any, state: Delivery) -> Receipt:
    id = payload.required(payload.text_at(event, "message", "id"), "id")
    to = payload.text_at(event, "to")
    if state is not Delivery.FAILED:
        return Receipt(id, state, to=to)
    code = payload.text_at(event, "errorCode")
    words = payload.text_at(event, "description")
    return Receipt(id, state, words or (f"error {code}" if code else NO_REASON), to)
