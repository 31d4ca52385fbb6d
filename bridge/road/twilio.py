"""Twilio's Programmable Messaging, and SignalWire, which speaks the same.

In: a form, signed with HMAC-SHA1 over our address and the sorted fields (`X-Twilio-Signature`,
`X-SignalWire-Signature`). The address is the one that the provider was given, with or without its
port. One try, then nothing: what we do not take is only in the provider's log, and its list is
asked for it. The list says how many pictures a text has, but not where they are.

Out: a form with basic authentication. There is no idempotency key, so that a send without an answer
stays in doubt.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from bridge.road import payload, window
from bridge.road.kind import CARDS, FILMS, PICTURES, SOUNDS
from bridge.road.proof import basic, login_for
from bridge.road.request import post_form
from bridge.road.result import by_status
from bridge.road.road import (
    ApiAnswer,
    ApiRequest,
    Arrival,
    Attachment,
    Delivery,
    Departure,
    Forged,
    History,
    Hook,
    Limits,
    Outcome,
    Receipt,
    Refused,
    Taken,
    Thanks,
    Unreadable,
)

TWILIO = "https://api.twilio.com"
PAGE = 100
# SignalWire takes smaller files, of local numbers, and other kinds.
SIGNALWIRE_LIMITS = Limits(
    characters=1600,
    parts=10,
    media=10,
    media_octets=1_200_000,
    media_types=(
        *PICTURES, *CARDS,
        "image/bmp",
        "audio/mpeg", "audio/mp4", "audio/ogg", "audio/amr",
        "video/mp4", "video/mpeg", "video/quicktime",
        "text/plain",
    ),
    answer_s=15.0,
)  # fmt: skip
_SIGNATURES = ("x-twilio-signature", "x-signalwire-signature")
_STATES = {
    "accepted": Delivery.TAKEN,
    "scheduled": Delivery.TAKEN,
    "queued": Delivery.TAKEN,
    "sending": Delivery.TAKEN,
    "sent": Delivery.SENT,
    "delivered": Delivery.DELIVERED,
    "read": Delivery.READ,
    "undelivered": Delivery.FAILED,
    "failed": Delivery.FAILED,
    "canceled": Delivery.FAILED,
}
# The error codes that a sender can do something about; the rest is told by number.
_REASONS = {
    "21211": "the number is not valid",
    "21408": "the account may not text that country",
    "21610": "the recipient has asked not to be texted (STOP)",
    "21614": "the number cannot receive texts",
    "30003": "the phone cannot be reached at the moment",
    "30004": "the recipient has blocked texts",
    "30005": "the number is unknown",
    "30006": "a landline, or a carrier that takes no texts",
    "30007": "a carrier filtered it as spam",
    "30034": "the number is not registered for texts to the United States (A2P 10DLC)",
}


class Twilio:
    """One account at Twilio or SignalWire.

    Args:
        account: account SID, or SignalWire's project.
        token: auth token; it signs hooks as well, unless `signing_key` is another.
        base: scheme and host of the interface, with SignalWire's path.
    """

    limits = Limits(
        characters=1600,
        parts=10,
        media=10,
        media_octets=5_000_000,
        media_types=(
            *PICTURES, *SOUNDS, *FILMS, *CARDS,
            "image/bmp", "image/tiff", "application/pdf",
        ),
        answer_s=15.0,
    )  # fmt: skip
    repeatable = False
    thanks = Thanks(body=b"<Response/>", content_type="text/xml")

    def __init__(
        self, account: str, token: str, *, base: str = TWILIO, signing_key: str | None = None
    ) -> None:
        if base != TWILIO:
            self.limits = SIGNALWIRE_LIMITS
        self._account = account
        self._token = token
        self._key = (signing_key or token).encode()
        self._base = base.rstrip("/")

    def read(self, hook: Hook, now: float) -> Sequence[Arrival | Receipt]:
        """Read a text or a status; both come as forms."""
        fields = payload.form(hook.body)
        if not self._signed(hook, fields):
            raise Forged("the signature does not fit")
        id = payload.required(fields.get("MessageSid") or fields.get("SmsSid", ""), "MessageSid")
        status = fields.get("MessageStatus") or fields.get("SmsStatus", "received")
        if status != "received" and status != "receiving":
            return self._receipt(id, status, fields)
        return (
            Arrival(
                id=id,
                sender=payload.required(fields.get("From", ""), "From"),
                to=payload.required(fields.get("To", ""), "To"),
                body=fields.get("Body", ""),
                attachments=tuple(_attachments(fields)),
            ),
        )

    def media_headers(self, url: str) -> Mapping[str, str]:
        """The login of the interface, whose host has the pictures."""
        return login_for(url, basic(self._account, self._token), base=self._base)

    def write(self, text: Departure) -> ApiRequest:
        """One message."""
        fields = [("To", text.to[0]), ("From", text.sender)]
        if text.body or not text.media:
            fields.append(("Body", text.body))
        fields += [("MediaUrl", url) for url in text.media]
        if text.receipts is not None:
            fields.append(("StatusCallback", text.receipts))
        login = basic(self._account, self._token)
        return post_form(f"{self._base}{self._messages}", fields, login=login)

    def outcome(self, answer: ApiAnswer) -> Outcome:
        """201 with the message, or an error with a code."""
        if answer.status not in (200, 201) and (other := by_status(answer)) is not None:
            return other
        said = payload.document(answer.body)
        if answer.status in (200, 201):
            return Taken(payload.text_at(said, "sid"))
        code = payload.text_at(said, "code")
        return Refused(_REASONS.get(code) or payload.text_at(said, "message") or f"error {code}")

    def begin(self, now: float) -> str:
        """From now on."""
        return window.begin(now)

    def ask(self, cursor: str) -> ApiRequest:
        """A page of messages of both directions, the newest first."""
        place = window.read_cursor(cursor)
        query = {
            "DateSent>": window.iso(place.since - window.OVERLAP),
            "PageSize": str(PAGE),
        }
        host = urlsplit(self._base)._replace(path="", query="").geturl()
        first = f"{self._base}{self._messages}?{urlencode(query)}"
        return ApiRequest(
            "GET",
            f"{host}{place.page}" if place.page else first,
            {"Authorization": basic(self._account, self._token)},
        )

    def history(self, answer: ApiAnswer, cursor: str) -> History:
        """A page, which names the next one by its path."""
        said = payload.document(answer.body)
        items = payload.at(said, "messages")
        if not isinstance(items, list):
            raise Unreadable("no list of messages")
        page = payload.text_at(said, "next_page_uri")
        ours = f"{urlsplit(self._base).path}{self._messages}?"
        if page and not page.startswith(ours):
            raise Unreadable("a next page elsewhere")
        return window.read_cursor(cursor).turn(items, _listed, next_page=page)

    @property
    def _messages(self) -> str:
        return f"/2010-04-01/Accounts/{quote(self._account, safe='')}/Messages.json"

    def _receipt(self, id: str, status: str, fields: dict[str, str]) -> Sequence[Receipt]:
        state = _STATES.get(status)
        if state is None:
            raise Unreadable("a status that is not documented")
        code = fields.get("ErrorCode", "")
        failed = state is Delivery.FAILED
        reason = _REASONS.get(code, f"error {code}" if code else status) if failed else ""
        return (Receipt(id, state, reason),)

    def _signed(self, hook: Hook, fields: dict[str, str]) -> bool:
        told = next((hook.headers[name] for name in _SIGNATURES if name in hook.headers), "")
        sorted_fields = "".join(f"{name}{fields[name]}" for name in sorted(fields))
        fits = False
        for url in _spellings(hook.url):
            digest = hmac.new(self._key, f"{url}{sorted_fields}".encode(), hashlib.sha1).digest()
            fits |= hmac.compare_digest(base64.b64encode(digest), told.encode())
        return fits


def _listed(message: Any) -> window.Dated | None:
    """A message of the list, None for one of ours."""
    if payload.text_at(message, "direction") != "inbound":
        return None
    sent = payload.text_at(message, "date_sent") or payload.text_at(message, "date_created")
    try:
        time = window.seconds_of(parsedate_to_datetime(sent))
    except (ValueError, OverflowError) as error:
        raise Unreadable("a time that is none") from error
    pictures = payload.text_at(message, "num_media")
    note = "" if pictures in ("", "0") else f"(attachments that the provider keeps: {pictures})"
    return (
        time,
        Arrival(
            id=payload.required(payload.text_at(message, "sid"), "sid"),
            sender=payload.required(payload.text_at(message, "from"), "from"),
            to=payload.required(payload.text_at(message, "to"), "to"),
            body="\n".join(filter(None, [payload.text_at(message, "body"), note])),
        ),
    )


def _attachments(fields: dict[str, str]) -> list[Attachment]:
    count = fields.get("NumMedia", "0")
    if not count.isdecimal() or int(count) > Twilio.limits.media:
        raise Unreadable("NumMedia is no small number")
    return [
        Attachment(url, fields.get(f"MediaContentType{index}", ""))
        for index in range(int(count))
        if (url := fields.get(f"MediaUrl{index}", ""))
    ]


def _spellings(url: str) -> tuple[str, str]:
    """The address with its port and without: the provider signs the one or the other."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    host = parts.netloc.rpartition("@")[2]
    bare = host.removesuffix(f":{port}")
    return (
        parts._replace(netloc=bare).geturl(),
        parts._replace(netloc=f"{bare}:{port}").geturl(),
    )
