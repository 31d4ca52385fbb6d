"""46elks.

In: a form, without a signature. What proves it is the secret in our address and the addresses that
the provider sends from, which it documents. Wants a status from 200 to 204 and tries for at least
six hours and five times. **The body of our answer would be sent to the sender as a reply**, so it
is empty.

Out: a form with basic authentication. No idempotency key. A picture goes along as a `data:`
address in an MMS, which has no delivery report and needs a number that can do it.
"""

import ipaddress
from collections.abc import Mapping, Sequence

from bridge.road import payload
from bridge.road.kind import PICTURES
from bridge.road.proof import Network, basic, check_source, login_for
from bridge.road.request import post_form
from bridge.road.result import NO_REASON, by_status, refused
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
    Taken,
    Thanks,
    Unreadable,
)

API = "https://api.46elks.com/a1"
# As its page "IP addresses" lists them; changes are told to customers by e-mail.
SOURCES = ("176.10.154.199/32", "85.24.146.132/32", "185.39.146.243/32", "2001:9b0:2:902::199/128")

_STATES = {
    "sent": Delivery.SENT,
    "delivered": Delivery.DELIVERED,
    "failed": Delivery.FAILED,
}
_MOST_IMAGES = 10


class Elks:
    """One account at 46elks.

    Args:
        username: of the API.
        password: of the API.
        sources: addresses that hooks come from.
        base: of the interface; another for tests.
    """

    limits = Limits(
        characters=1600,
        parts=10,
        media=1,
        media_octets=300_000,  # 320 kB with all that is around it
        media_types=PICTURES,
        media_inline=True,
    )
    repeatable = False
    thanks = Thanks()

    def __init__(
        self,
        username: str,
        password: str,
        *,
        sources: Sequence[Network] = tuple(map(ipaddress.ip_network, SOURCES)),
        base: str = API,
    ) -> None:
        self._login = basic(username, password)
        self._sources = tuple(sources)
        self._base = base.rstrip("/")

    def read(self, hook: Hook, now: float) -> Sequence[Arrival | Receipt]:
        """Read an SMS, an MMS or a delivery report."""
        check_source(hook, self._sources)
        fields = payload.form(hook.body)
        id = payload.required(fields.get("id", ""), "id")
        if "status" in fields:
            return (_receipt(id, fields["status"]),)
        if fields.get("direction") != "incoming":
            raise Unreadable("neither a text for us nor a report")
        names = ("image", *(f"image{index}" for index in range(2, _MOST_IMAGES + 1)))
        return (
            Arrival(
                id=id,
                sender=payload.required(fields.get("from", ""), "from"),
                to=payload.required(fields.get("to", ""), "to"),
                body=fields.get("message", ""),
                attachments=tuple(Attachment(fields[name]) for name in names if fields.get(name)),
            ),
        )

    def media_headers(self, url: str) -> Mapping[str, str]:
        """The login of the interface, whose host has the pictures."""
        return login_for(url, self._login, base=self._base)

    def write(self, text: Departure) -> ApiRequest:
        """One SMS, or one MMS with a picture."""
        fields = {"from": text.sender, "to": text.to[0], "message": text.body}
        if text.media:
            fields["image"] = text.media[0]
        elif text.receipts is not None:
            fields["whendelivered"] = text.receipts
        kind = "mms" if text.media else "sms"
        return post_form(f"{self._base}/{kind}", fields, login=self._login)

    def outcome(self, answer: ApiAnswer) -> Outcome:
        """200 with the message, or a status with a bare sentence."""
        if (other := by_status(answer)) is not None:
            return other
        if answer.status == 200:
            return Taken(payload.text_at(payload.document(answer.body), "id"))
        return refused(answer, answer.body.decode("utf-8", "replace"))


def _receipt(id: str, status: str) -> Receipt:
    state = _STATES.get(status)
    if state is None:
        raise Unreadable("a status that is not documented")
    return Receipt(id, state, NO_REASON if state is Delivery.FAILED else "")
