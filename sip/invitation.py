"""One INVITE of ours as seen in one dialog: what its responses bring of offer and answer.

With an offer in the INVITE, the first description in a reliable response (RFC 3262) or in the 2xx
is the answer, and all that come after are left out of account (RFC 6337 §3.1.1). Without one, the
first description in a reliable response is the peer's offer, and the PRACK or ACK of that response
waits for our answer.

Deviation: RFC 3261 §13.2.1 takes the first description of any response for the answer; one in an
unreliable response is a preview to us, which the 2xx may replace. PBXs that put a call through
elsewhere do so.
"""

from enum import Enum

from sip.dialog import Dialog
from sip.errors import RemoteError
from sip.events import Body
from sip.headers import RAck
from sip.message import Message, Request, Response
from sip.multipart import description_of
from sip.negotiation import Negotiation


class Heard(Enum):
    """What a response meant to the exchange."""

    NOTHING = "nothing"
    ANSWER = "answer"
    OFFER = "offer"


class Invitation:
    """The client's half of an INVITE's exchange, in one dialog.

    Args:
        offering: whether the INVITE has an offer, which is open in `negotiation`.

    Attributes:
        held: the response whose PRACK or ACK waits for our answer.
    """

    def __init__(self, dialog: Dialog, negotiation: Negotiation, *, offering: bool) -> None:
        self.held: Response | None = None
        self._dialog = dialog
        self._negotiation = negotiation
        self._unanswered = offering
        self._asking = not offering
        self._preview: Body | None = None
        self._rseq: int | None = None

    @property
    def settled(self) -> bool:
        """Whether the INVITE's exchange is complete, so that others may begin beside it."""
        return not self._unanswered and not self._asking and self.held is None

    def admits(self, response: Response) -> bool:
        """Whether a provisional response is new and in order (RFC 3262 §4).

        Raises:
            RemoteError: its number is unreadable.
        """
        if not is_reliable(response):
            return True
        number = response.headers.integer("RSeq")
        if number is None or self.held is not None:
            return False
        return self._rseq is None or number == self._rseq + 1

    def early(self, response: Response) -> Body | None:
        """The description in a provisional response if it is the answer or its preview."""
        return read_description(response) if self._unanswered else None

    def receive_provisional(self, response: Response) -> Heard:
        """Take a provisional response that was admitted."""
        body = read_description(response)
        if not is_reliable(response):
            if self._unanswered:
                self._preview = body or self._preview
            return Heard.NOTHING
        self._rseq = response.headers.integer("RSeq")
        return self._hear(response, body)

    def receive_acceptance(self, response: Response) -> Heard:
        """Take the 2xx."""
        heard = self._hear(response, read_description(response) or self._preview)
        if self._unanswered:  # against the standard; nothing was agreed on then
            self._negotiation.roll_back()
        self._unanswered = self._asking = False
        return heard

    def prack(self, response: Response) -> Request:
        """Build the PRACK of a reliable response (RFC 3262 §7.2)."""
        prack = self._dialog.request("PRACK")
        prack.headers.add("RAck", RAck(self._rseq or 0, response.headers.cseq))
        return prack

    def _hear(self, response: Response, body: Body | None) -> Heard:
        if body is None:
            return Heard.NOTHING
        if self._unanswered:
            self._unanswered = False
            self._negotiation.take_answer(body)
            return Heard.ANSWER
        if self._asking and self._negotiation.stable:
            self._asking = False
            self._negotiation.take_offer(body)
            self.held = response
            return Heard.OFFER
        return Heard.NOTHING


def is_reliable(response: Response) -> bool:
    """Whether a provisional response wants a PRACK."""
    return response.status < 200 and "100rel" in response.headers.tokens("Require")


def read_description(message: Message) -> Body | None:
    """Return the description in a message that cannot be refused: one that we do not understand is
    none."""
    try:
        return description_of(message)
    except RemoteError:
        return None
