"""VoIP.ms.

In: no signature, so that the secret in our address is all that a hook has to prove. Either a GET
whose query the customer lays out with placeholders (we ask for the names below), or JSON of the
form that Telnyx uses. Wants the two letters `ok` and nothing else; repeats every half hour until it
gets them, where the customer has turned that on.

Out: one REST address for everything, from addresses that the customer lists there. The password
goes in the body of a POST, where no proxy's log keeps it. North American numbers of ten digits, 160
characters, or 2,048 and three attachments as MMS, which go along as `data:` addresses.

Its list of texts goes by days, in a time zone that the account sets.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from bridge.road import payload, window
from bridge.road.kind import PICTURES
from bridge.road.request import post_form
from bridge.road.result import by_status, refused
from bridge.road.road import (
    ApiAnswer,
    ApiRequest,
    Arrival,
    Attachment,
    Departure,
    History,
    Hook,
    Limits,
    Outcome,
    Receipt,
    Taken,
    Thanks,
    Unreadable,
    Writing,
)

API = "https://voip.ms/api/v1/rest.php"
SMS_CHARACTERS = 160
MOST_LISTED = 5000
DAY = 86_400

# What the customer puts behind our address in the portal.
QUERY = "?id={ID}&from={FROM}&to={TO}&message={MESSAGE}&media={MEDIA}"

_EMPTY = "no_sms"
_REASONS = {
    "invalid_credentials": "the provider does not know our credentials",
    "ip_not_enabled": "the provider does not take requests from our address: list it in its portal",
    "api_not_enabled": "the provider's API is not enabled in its portal",
    "invalid_dst": "the number is not valid",
    "sms_toolong": "the text is too long",
    "limit_reached": "the provider's daily limit is reached",
    "missing_sms": "the text is empty",
    "sms_failed": "the provider could not send it",
    "mms_failed": "the provider could not send it",
    "did_not_found": "our number is not on this account",
    "no_sms": "texts are not enabled for our number",
}


class VoipMs:
    """One account at VoIP.ms.

    Args:
        username: of the API, an e-mail address.
        password: of the API, not of the portal.
        base: another for tests.
    """

    limits = Limits(
        characters=2048,
        parts=14,
        media=3,
        media_octets=1_200_000,
        media_types=(
            *PICTURES, "audio/mpeg", "audio/wav", "audio/amr", "video/mp4", "video/3gpp"
        ),
        media_inline=True,
        writing=Writing.NATIONAL,
    )  # fmt: skip
    repeatable = False
    thanks = Thanks(body=b"ok")

    def __init__(self, username: str, password: str, *, base: str = API) -> None:
        self._username = username
        self._password = password
        self._base = base

    def read(self, hook: Hook, now: float) -> Sequence[Arrival | Receipt]:
        """Read a text in either form."""
        if hook.method == "GET":
            return (_from_query(payload.query(hook)),)
        return (_from_json(payload.at(payload.document(hook.body), "data", "payload")),)

    def write(self, text: Departure) -> ApiRequest:
        """One SMS, or an MMS where it is longer or has pictures."""
        mms = bool(text.media) or len(text.body) > SMS_CHARACTERS
        fields = {
            "method": "sendMMS" if mms else "sendSMS",
            "did": text.sender,
            "dst": text.to[0],
            "message": text.body,
        }
        fields |= {f"media{index}": url for index, url in enumerate(text.media, 1)}
        return self._request(fields)

    def begin(self, now: float) -> str:
        """From the day before on: the list's days are not ours."""
        return window.begin(now)

    def ask(self, cursor: str) -> ApiRequest:
        """All incoming texts and MMS of some days."""
        since = window.read_cursor(cursor).since - DAY
        return self._request(
            {
                "method": "getMMS",
                "all_messages": "1",
                "type": "1",
                "from": window.iso(since)[:10],
                "limit": str(MOST_LISTED),
            }
        )

    def history(self, answer: ApiAnswer, cursor: str) -> History:
        """One list; no texts are a status of their own."""
        said = payload.document(answer.body)
        status = payload.text_at(said, "status")
        if status not in ("success", _EMPTY):
            raise Unreadable(_REASONS.get(status) or status or "no status")
        items = payload.list_at(said, "sms")
        return window.read_cursor(cursor).turn(items, _listed, next_page="")

    def _request(self, fields: Mapping[str, str]) -> ApiRequest:
        login = {"api_username": self._username, "api_password": self._password}
        return post_form(self._base, login | dict(fields))

    def outcome(self, answer: ApiAnswer) -> Outcome:
        """200 whatever happened; the word in `status` says what."""
        if (other := by_status(answer)) is not None:
            return other
        said = payload.document(answer.body)
        status = payload.text_at(said, "status")
        if status == "success":
            return Taken(payload.text_at(said, "sms") or payload.text_at(said, "mms"))
        return refused(answer, _REASONS.get(status, status))


def _from_query(fields: dict[str, str]) -> Arrival:
    media = (url.strip() for url in fields.get("media", "").split(","))
    return Arrival(
        id=payload.required(fields.get("id", ""), "id"),
        sender=payload.required(fields.get("from", ""), "from"),
        to=payload.required(fields.get("to", ""), "to"),
        body=fields.get("message", ""),
        attachments=tuple(Attachment(url) for url in media if url),
    )


def _from_json(message: Any) -> Arrival:
    return Arrival(
        id=payload.required(payload.text_at(message, "id"), "id"),
        sender=payload.required(payload.text_at(message, "from", "phone_number"), "from"),
        to=payload.required(payload.text_at(message, "to", 0, "phone_number"), "to"),
        body=payload.text_at(message, "text"),
        attachments=tuple(
            Attachment(url)
            for media in payload.list_at(message, "media")
            if (url := payload.text_at(media, "url"))
        ),
    )


def _listed(message: Any) -> window.Dated | None:
    """A text of the list, None for one of ours."""
    if payload.text_at(message, "type") != "1":
        return None
    media = [url for url in payload.list_at(message, "media") if isinstance(url, str)]
    media = media or [payload.text_at(message, f"col_media{index}") for index in (1, 2, 3)]
    return (
        window.read_iso(payload.text_at(message, "date")),
        Arrival(
            id=payload.required(payload.text_at(message, "id"), "id"),
            sender=payload.required(payload.text_at(message, "contact"), "contact"),
            to=payload.required(payload.text_at(message, "did"), "did"),
            body=payload.text_at(message, "message"),
            attachments=tuple(Attachment(url) for url in media if url),
        ),
    )
