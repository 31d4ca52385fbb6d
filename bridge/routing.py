"""Who may call what, and on which line: pure decisions over the configuration.

Outwards the portal names the line; a chat that a user opened with a ghost takes the first of the
user's lines. Inwards the called address names it: the Request-URI, or To where the PBX calls our
bare Contact.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bridge.call.events import EndReason
from bridge.config import LineSection, TrunkSection
from bridge.numbers import NotANumber, PhoneNumber, is_emergency, parse_caller, parse_dialled
from sip.events import IncomingSession, MessageReceived
from sip.uri import NameAddr, Uri


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
    """

    number: PhoneNumber
    name: str


class Routing:
    """The lines, and the decisions that follow from them.

    Args:
        lines: of the configuration.
        trunks: of the configuration, by name.
    """

    def __init__(self, *, lines: Sequence[LineSection], trunks: Mapping[str, TrunkSection]) -> None:
        self.lines = tuple(lines)
        self.trunks = dict(trunks)
        self._by_name = {line.name: line for line in lines}

    def line(self, name: str) -> LineSection | None:
        """The line of that name; None if the configuration has none (any more)."""
        return self._by_name.get(name)

    def lines_of(self, user: str) -> list[LineSection]:
        """The lines that a user may use, in the order of the configuration."""
        return [line for line in self.lines if user in line.users]

    def lines_on(self, trunk: str) -> list[LineSection]:
        return [line for line in self.lines if line.trunk == trunk]

    def called_line(self, trunk: str, target: Uri, to: NameAddr) -> LineSection | None:
        """The line that somebody on this trunk means."""
        for user in (target.user, to.uri.user):
            bare = user.partition(";")[0]
            for line in self.lines_on(trunk):
                if bare in line.called or _same_number(bare, line):
                    return line
        return None

    def remote(self, event: IncomingSession | MessageReceived, line: LineSection) -> Remote:
        """Who calls or writes: P-Asserted-Identity before From, unless From asks for privacy.

        A trunk is an account of ours behind verified TLS, which is what RFC 3325 §5 asks before
        an assertion is believed.
        """
        said = event.caller if isinstance(event, IncomingSession) else event.sender
        number = parse_caller(said.uri.user, line.region)
        if number.is_anonymous or said.uri.host.lower().endswith(".invalid"):
            return Remote(parse_caller("", None), "")
        if event.asserted is not None:
            asserted = parse_caller(event.asserted.uri.user, line.region)
            if not asserted.is_anonymous:
                return Remote(asserted, event.asserted.display_name or said.display_name)
        return Remote(number, said.display_name)

    def read(self, text: str, line: LineSection) -> PhoneNumber:
        """What a user of this line typed.

        Raises:
            NotANumber: nothing that can be dialled.
        """
        number = parse_dialled(text, line.region)
        if number.is_anonymous:
            raise NotANumber("there is no number")
        return number

    def refusal(self, line: LineSection, number: PhoneNumber, user: str) -> Refusal | None:
        """Why this user may not call or text this number on this line; None if nothing speaks
        against it."""
        if user not in line.users:
            text = f"You are not a user of the line “{line.name}”."
            return Refusal(EndReason.NOT_ALLOWED, text)
        if number.is_anonymous:
            text = "A withheld number cannot be called back."
            return Refusal(EndReason.UNKNOWN_NUMBER, text)
        if is_emergency(number, line.region):
            text = (
                f"{number} is an emergency number. Emergency calls cannot be made through this "
                "bridge: please use a phone."
            )
            return Refusal(EndReason.NOT_ALLOWED, text)
        return None

    def target(self, line: LineSection, number: PhoneNumber) -> Uri:
        """Where the INVITE or the MESSAGE goes."""
        return Uri(scheme="sip", user=number.text, host=self.trunks[line.trunk].domain)


def _same_number(user: str, line: LineSection) -> bool:
    """Whether a called user part is the line's number in another writing (national, 00…)."""
    if line.number is None:
        return False
    try:
        return parse_dialled(user, line.region).text == line.number
    except NotANumber:
        return False
