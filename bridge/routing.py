"""Who may call what, and on which line: pure decisions over the configuration.

Outwards the portal names the line; a chat that a user opened with a ghost takes the first of the
user's lines. Inwards the called address names it: the Request-URI, or To where the PBX calls our
bare Contact. Of what we are called by, our user name at the trunk says the least: where a trunk
registers once for many numbers, each call has it in the Request-URI.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bridge.call.events import EndReason
from bridge.config import LineSection, TrunkSection
from bridge.numbers import (
    ANONYMOUS,
    NotANumber,
    PhoneNumber,
    is_another_number,
    is_emergency,
    parse_caller,
    parse_dialled,
)
from bridge.road.road import Writing
from bridge.road.writing import read_number
from bridge.senders import Senders
from sip.events import IncomingSession, MessageReceived
from sip.identity import Verstat
from sip.presentation import Presentation
from sip.uri import Uri

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a call or a text does not leave.

    Attributes:
        text: one plain sentence for the user.
    """

    reason: EndReason
    text: str


@dataclass(frozen=True, slots=True)
class Remote:
    """Who calls or writes.

    Attributes:
        name: what the network says; not cleaned, not to be trusted.
        verstat: what the network found when it checked the number; None where it did not say.
        forwarded_by: who forwarded the call to us; None for a call that was not.
    """

    number: PhoneNumber
    name: str
    verstat: Verstat | None = None
    forwarded_by: PhoneNumber | None = None


class Routing:
    """The lines, and the decisions that follow from them.

    Args:
        lines: of the configuration.
        trunks: of the configuration, by name.
        writings: how numbers are written on the roads of the configuration, by name.
        senders: what is known of numbers besides; it grows while we run.
    """

    def __init__(
        self,
        *,
        lines: Sequence[LineSection],
        trunks: Mapping[str, TrunkSection],
        writings: Mapping[str, Writing] | None = None,
        senders: Senders | None = None,
    ) -> None:
        self.lines = tuple(lines)
        self.trunks = dict(trunks)
        self._writings = dict(writings or {})
        self._senders = senders or Senders()
        self._by_name = {line.name: line for line in lines}

    def line(self, name: str) -> LineSection | None:
        """The line of that name; None if the configuration has none (any more)."""
        return self._by_name.get(name)

    def lines_of(self, user: str) -> list[LineSection]:
        """The lines that a user may use, in the order of the configuration."""
        return [line for line in self.lines if user in line.users]

    def texted_line(self, road: str, to: str) -> LineSection | None:
        """The line whose texts come by a road, of the number as its provider writes it."""
        writing = self.writing(road)
        for line in self.lines_texted(road):
            if read_number(to, writing, line.region).text == line.number:
                return line
        return None

    def lines_texted(self, road: str) -> list[LineSection]:
        """The lines whose texts come by a road."""
        return [line for line in self.lines if line.texts_in == road]

    def writing(self, road: str) -> Writing:
        """How a road's provider writes numbers."""
        return self._writings.get(road, Writing.E164)

    def lines_on(self, trunk: str) -> list[LineSection]:
        return [line for line in self.lines if line.trunk == trunk]

    def called_line(
        self, trunk: str, event: IncomingSession | MessageReceived
    ) -> LineSection | None:
        """The line that somebody on this trunk means."""
        users = _called_users(event)
        account = self.trunks[trunk].username if trunk in self.trunks else ""
        users.sort(key=lambda user: user == account)  # stable: else the order stays
        for user in users:
            for line in self.lines_on(trunk):
                if user in line.called or _same_number(user, line):
                    return line
        called = ", ".join(dict.fromkeys(_shortened(user) for user in users if user)) or "nobody"
        log.warning("on trunk %s no line is called %s: see `called` of its lines", trunk, called)
        return None

    def remote(self, event: IncomingSession | MessageReceived, line: LineSection) -> Remote:
        """Who calls or writes."""
        identity = event.identity
        forwarded_by = None
        if identity.diverted:
            by = identity.diverter
            forwarded_by = parse_caller(by.uri.user if by is not None else "", line.region)
        address = identity.address
        number = parse_caller(address.uri.user if address is not None else "", line.region)
        if address is None or number.is_anonymous:
            return Remote(ANONYMOUS, "", forwarded_by=forwarded_by)
        name = address.display_name
        if is_another_number(name, number, line.region):
            name = ""
        return Remote(number, name, identity.verstat, forwarded_by)

    def read(self, text: str, line: LineSection) -> PhoneNumber:
        """What a user of this line typed.

        Raises:
            NotANumber: nothing that can be dialled.
        """
        number = parse_dialled(text, line.region)
        if number.is_anonymous:
            raise NotANumber("there is no number")
        return number

    def refusal(
        self, line: LineSection, number: PhoneNumber, user: str, *, by_text: bool = False
    ) -> Refusal | None:
        """Why this user may not call this number on this line; None if nothing speaks against it.

        Args:
            by_text: the user wants to text it.
        """
        if number.is_group:
            found = (self.refusal(line, one, user, by_text=by_text) for one in number.members)
            return next((refusal for refusal in found if refusal is not None), None)
        if user not in line.users:
            text = f"You are not a user of the line “{line.name}”."
            return Refusal(EndReason.NOT_ALLOWED, text)
        if number.is_anonymous:
            text = "A withheld number can be neither called nor texted."
            return Refusal(EndReason.UNKNOWN_NUMBER, text)
        if is_emergency(number, line.region):
            text = (
                f"{number} is an emergency number, which cannot be reached through this bridge: "
                "please use a phone."
            )
            return Refusal(EndReason.NOT_ALLOWED, text)
        return self._refusal_by_sender(line, number, by_text=by_text)

    def _refusal_by_sender(
        self, line: LineSection, number: PhoneNumber, *, by_text: bool
    ) -> Refusal | None:
        if by_text and self._senders.has_stopped(line.name, number):
            text = (
                f"Not sent: {number.show()} has asked for no more texts (STOP), and gets none "
                "until it says START."
            )
            return Refusal(EndReason.NOT_ALLOWED, text)
        if not self._senders.is_code(line.name, number):
            return None
        if not number.text.isdigit():
            text = f"“{number}” is a name and no number: it can be neither called nor answered."
        elif by_text:
            return None
        else:
            text = f"{number} is a short number for texts: it cannot be called."
        return Refusal(EndReason.UNKNOWN_NUMBER, text)

    def presentation(self, line: LineSection, *, withheld: bool = False) -> Presentation:
        """What those see of the line whom it calls or writes to.

        Args:
            withheld: nothing, whatever the line's setting.
        """
        return Presentation(
            line.caller_id or line.number, line.display_name, withheld or line.anonymous
        )

    def target(self, line: LineSection, number: PhoneNumber) -> Uri:
        """Where the INVITE or the MESSAGE goes."""
        return Uri(scheme="sip", user=number.text, host=self.trunks[line.trunk].domain)


def _called_users(event: IncomingSession | MessageReceived) -> list[str]:
    """By which names or numbers somebody means us, the surest first."""
    party = event.called_party
    users = (event.target.user, party.uri.user if party is not None else "", event.to.uri.user)
    return [user.partition(";")[0] for user in users]


def _shortened(user: str) -> str:
    """For the log: a number by its last two digits, a name as it is."""
    return PhoneNumber(user).short() if user.lstrip("+").isdigit() else user


def _same_number(user: str, line: LineSection) -> bool:
    """Whether a called user part is the line's number in another writing (national, 00…)."""
    if line.number is None:
        return False
    try:
        return parse_dialled(user, line.region).text == line.number
    except NotANumber:
        return False
