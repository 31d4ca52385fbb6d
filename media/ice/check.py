"""Connectivity checks as messages: Binding requests out, answers in, and the reverse (RFC 8445 §7).

Keeps which requests are under way and in which role they were sent. What follows from an answer is
the agent's to say.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from media.ice import stun
from media.ice.candidate import priority
from media.ice.checklist import Checklist, Pair, PairState
from media.ice.events import Transmit
from media.ice.gathering import Base
from media.ice.stun import Address, Kind, Message, Method


@dataclass(frozen=True, slots=True)
class Check:
    """A request that is under way.

    Attributes:
        controlling: our role when it was sent.
    """

    checklist: Checklist
    pair: Pair
    controlling: bool


class Checks:
    """All checks of an agent.

    Attributes:
        controlling: our role.
    """

    def __init__(self, random: Callable[[int], bytes], *, controlling: bool) -> None:
        self.controlling = controlling
        self._random = random
        self._tie_breaker = int.from_bytes(random(8), "big")
        self._under_way: dict[bytes, Check] = {}

    # --- ours

    def start(
        self, checklist: Checklist, pair: Pair, now: float, *, nominate: bool = False
    ) -> Transmit:
        """A check that is sent again until it is answered (§7.2.4)."""
        pair.frame = self._request(checklist, pair, nominate=nominate)
        pair.sent = 0
        if pair.state is not PairState.SUCCEEDED:
            pair.state = PairState.IN_PROGRESS
        return self.again(pair, now)

    def again(self, pair: Pair, now: float) -> Transmit:
        """The check of this pair once more."""
        pair.sent += 1
        pair.sent_at = now
        pair.resend_at = now + stun.interval(pair.sent)
        return pair.base.transmit(pair.frame, pair.address)

    def once(self, checklist: Checklist, pair: Pair) -> Transmit:
        """A check for consent, which is not repeated (RFC 7675 §5.1). As the controlling side it
        nominates each time, in case the nomination was lost."""
        frame = self._request(checklist, pair, nominate=self.controlling)
        return pair.base.transmit(frame, pair.address)

    def find(self, response: Message) -> Check | None:
        """What this is the response to."""
        return self._under_way.get(response.transaction_id)

    def drop(self, pair: Pair) -> None:
        """No answer over this pair is waited for any more."""
        for transaction_id, check in list(self._under_way.items()):
            if check.pair is pair:
                del self._under_way[transaction_id]

    def keep(self, checklists: Iterable[Checklist]) -> None:
        """Drop the checks of all other checklists."""
        live = tuple(checklists)
        for transaction_id, check in list(self._under_way.items()):
            if check.checklist not in live:
                del self._under_way[transaction_id]

    def _request(self, checklist: Checklist, pair: Pair, *, nominate: bool) -> bytes:
        assert checklist.remote is not None, "pairs are checked only once the peer is described"
        transaction_id = self._random(stun.TRANSACTION_ID_SIZE)
        preference = pair.base.candidate.priority >> 8 & 0xFFFF
        role = stun.ICE_CONTROLLING if self.controlling else stun.ICE_CONTROLLED
        attributes = (
            (stun.USERNAME, f"{checklist.remote.ufrag}:{checklist.local.ufrag}"),
            (stun.PRIORITY, priority("prflx", preference)),
            (role, self._tie_breaker),
            *(((stun.USE_CANDIDATE, None),) if nominate else ()),
        )
        self._under_way[transaction_id] = Check(checklist, pair, self.controlling)
        message = Message(Method.BINDING, Kind.REQUEST, transaction_id, attributes)
        return message.encode(checklist.remote_key)

    # --- the peer's

    def accept(
        self, checklist: Checklist, base: Base, request: Message, source: Address
    ) -> Transmit:
        """The answer to a request that is in order (§7.3.1.2)."""
        attributes = ((stun.XOR_MAPPED_ADDRESS, source),)
        response = Message(Method.BINDING, Kind.SUCCESS, request.transaction_id, attributes)
        return base.transmit(response.encode(checklist.local_key), source)

    def refuse(
        self,
        checklist: Checklist,
        base: Base,
        request: Message,
        source: Address,
        *,
        error: tuple[int, str],
    ) -> Transmit:
        """The answer to a request that is authentic and wrong."""
        unknown = ((stun.UNKNOWN_ATTRIBUTES, request.unknown),) if request.unknown else ()
        attributes = ((stun.ERROR_CODE, error), *unknown)
        response = Message(Method.BINDING, Kind.ERROR, request.transaction_id, attributes)
        return base.transmit(response.encode(checklist.local_key), source)

    def conflicts(self, request: Message) -> bool:
        """Whether the peer claims the role that we have (§7.3.1.1)."""
        return request.has(stun.ICE_CONTROLLING if self.controlling else stun.ICE_CONTROLLED)

    def prevails(self, request: Message) -> bool:
        """Whether it is the peer that must give up its claim, by the tie-breakers (§7.3.1.1)."""
        theirs = request.get(stun.ICE_CONTROLLING if self.controlling else stun.ICE_CONTROLLED)
        ours_is_larger = self._tie_breaker >= (theirs or 0)
        return ours_is_larger == self.controlling
