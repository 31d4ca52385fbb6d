"""Calls that a user sends elsewhere: asked of the phone system, and its answers said in the room.

The phone system does the transfer (RFC 5589): it calls the other number, or joins two calls of the
user's. Once it has, the SIP session ends, and with it the call; if it cannot, the call goes on. So
a `Call` knows nothing of all this. What became of a transfer may be known only after its call is
over, which is why it is kept here and not there.

A transfer costs what a call out costs, so the same rules allow it.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from bridge import wording
from bridge.call.live import LiveCall, TrunkPort
from bridge.call.matrix_leg import MatrixLeg
from bridge.call.sip_leg import SipLeg, reason_of
from bridge.numbers import PhoneNumber
from bridge.routing import Routing
from sip.errors import LocalError
from sip.events import TransferEnded, TransferProgressed
from sip.uri import Uri


@dataclass(frozen=True, slots=True)
class _Spoken:
    """A call with the leg of the user who speaks in it."""

    live: LiveCall
    leg: MatrixLeg


@dataclass(slots=True)
class _Transfer:
    """One that is under way.

    Attributes:
        room_id: where the user hears of it.
        number: who shall have the call.
        id: names it among all.
        rang: whether the user knows that the other phone rings.
    """

    room_id: str
    number: PhoneNumber
    id: str
    rang: bool = False


class Transfers:
    """The transfers that are under way; each ends by itself within minutes.

    Args:
        calls: all that are live.
        say: says a line in a room; the same again about the same is said once.
    """

    def __init__(
        self,
        *,
        routing: Routing,
        trunks: Mapping[str, TrunkPort],
        calls: Collection[LiveCall],
        say: Callable[[str, str, str], None],
        clock: Callable[[], float],
        token: Callable[[], str],
    ) -> None:
        self._routing = routing
        self._trunks = trunks
        self._calls = calls
        self._say = say
        self._clock = clock
        self._token = token
        self._live: dict[tuple[str, str], _Transfer] = {}

    def is_speaking(self, user: str, room_id: str) -> bool:
        """Whether a user has an answered call in a room."""
        return any(spoken.leg.room_id == room_id for spoken in self._spoken(user))

    def ask(self, user: str, words: str, *, room_id: str) -> str:
        """Send the call that a user has elsewhere, or join two of the user's calls.

        Args:
            words: the number, "" to join two.
            room_id: where the user said so; a call in that room is meant before any other.

        Returns:
            What to tell the user now; what becomes of it is said in the room of the call.

        Raises:
            NotANumber: nothing that can be dialled.
        """
        calls = self._spoken(user)
        if not calls:
            return wording.TRANSFER_NOTHING
        if not words:
            return self._join(calls)
        here = [spoken for spoken in calls if spoken.leg.room_id == room_id] or calls
        if len(here) > 1:
            return wording.TRANSFER_SEVERAL.format(words=words)
        line = here[0].live.line
        number = self._routing.read(words, line)
        refusal = self._routing.refusal(line, number, user)
        if refusal is not None:
            return refusal.text
        return self._start(here[0], self._routing.target(line, number), number, joined=None)

    def receive(self, trunk: str, event: TransferProgressed | TransferEnded) -> None:
        """Take what the phone system says of one."""
        key = (trunk, event.session.id)
        transfer = self._live.get(key)
        if transfer is None:
            return
        if isinstance(event, TransferProgressed):
            if event.status == 180 and not transfer.rang:
                transfer.rang = True
                text = wording.TRANSFER_RINGS.format(number=transfer.number.show())
                self._say(transfer.room_id, text, f"transfer {transfer.id} rings")
            return
        del self._live[key]
        if event.succeeded:
            text = wording.TRANSFERRED.format(number=transfer.number.show())
        elif event.status == 202:
            text = wording.TRANSFER_TAKEN.format(number=transfer.number.show())
        else:
            said = f"{event.status} {event.reason}".strip()
            text = wording.not_transferred(reason_of(event.status), transfer.number, said)
        self._say(transfer.room_id, text, f"transfer {transfer.id} ended")

    def _spoken(self, user: str) -> list[_Spoken]:
        """The calls in which a user speaks, the one that was answered first in front."""
        found = [
            _Spoken(live, leg)
            for live in self._calls
            if (leg := live.speaking) is not None and leg.user == user
        ]
        return sorted(found, key=lambda spoken: spoken.live.call.instants["answered"])

    def _join(self, calls: list[_Spoken]) -> str:
        """Attended: whom the user spoke with first is sent to the other."""
        if len(calls) != 2 or calls[0].live.line.trunk != calls[1].live.line.trunk:
            return wording.TRANSFER_NEEDS_TWO
        first, second = calls
        return self._start(first, None, second.live.number, joined=second.live.sip_leg)

    def _start(
        self, spoken: _Spoken, target: Uri | None, number: PhoneNumber, *, joined: SipLeg | None
    ) -> str:
        live, trunk = spoken.live, spoken.live.line.trunk
        session = live.sip_leg.session
        assert session is not None, "an answered call has a session"
        if (trunk, session.id) in self._live:
            return wording.TRANSFER_UNDER_WAY
        try:
            live.sip_leg.transfer(target, self._clock(), joined=joined)
        except LocalError as error:
            live.log.info("not to be transferred: %s", error)
            return wording.TRANSFER_NOTHING
        live.log.info("to be transferred to %s", number.short())
        self._live[trunk, session.id] = _Transfer(spoken.leg.room_id, number, self._token())
        self._trunks[trunk].pump()
        return wording.transferring(number)
