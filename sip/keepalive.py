"""Whether a flow is alive, asked of the peer (RFC 5626 §3.5.1 and §4.4, RFC 6223, RFC 3261 §11).

A ping of two line ends is four bytes and its pong two, but a peer that was not asked beforehand
need not answer it, and Asterisk does not. So line ends are sent only where the registrar agreed to
them; everywhere else the question is an OPTIONS, which every peer must answer, with whatever
status. Anything at all that comes over the flow is an answer. Who drives the agent says when to
ask.
"""

from sip.core import Core
from sip.events import FlowFailed, KeepAlive
from sip.transaction import Failure, Outcome
from sip.uri import NameAddr, Uri

# RFC 5626 §4.4.1: how long a pong may take. An OPTIONS gets as long.
ANSWER_LIMIT = 10.0

# RFC 5626 §4.4.1: the interval of a registrar that names none.
DEFAULT_FLOW_TIMER = 120

# No registrar needs to hear from each phone more often; one that asks for it is mistaken.
SHORTEST_FLOW_TIMER = 10


class KeepAlives:
    """The keep-alives of one account's flows."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._agreed: dict[int, int] = {}  # by flow, seconds
        self._asked: int | None = None  # the flow that owes an answer
        self._limit: float | None = None

    @property
    def deadline(self) -> float | None:
        return self._limit

    @property
    def interval(self) -> int | None:
        """Within how many seconds the peer wants to hear from us on the current flow; None where
        it did not say."""
        flow = self._core.current
        return None if flow is None else self._agreed.get(flow.id)

    def agree(self, flow_id: int, seconds: int | None) -> None:
        """Use line ends on this flow: the registrar answers them.

        Args:
            seconds: Flow-Timer (RFC 5626 §4.4), or `keep` (RFC 6223); None where it names none.
        """
        self._agreed[flow_id] = max(seconds or DEFAULT_FLOW_TIMER, SHORTEST_FLOW_TIMER)

    def probe(self, now: float) -> None:
        """Ask over the current flow, unless it owes an answer already; `FlowFailed` follows if it
        gives none."""
        flow = self._core.current
        if flow is None or self._limit is not None:
            return
        self._asked, self._limit = flow.id, now + ANSWER_LIMIT
        if flow.id in self._agreed:
            self._core.emit(KeepAlive(flow.id))
            return
        us = NameAddr(self._core.address)
        domain = Uri("sip", host=self._core.trunk.domain)
        request = self._core.request(
            "OPTIONS",
            domain,
            sender=us.with_tag(self._core.ids.tag()),
            to=NameAddr(domain),
            call_id=self._core.ids.call_id(),
            seq=1,
        )
        request.headers.add("Accept", "application/sdp")  # §11.1: a body that we could read
        request.headers.put_first("Via", self._core.via(flow))
        self._core.start(request, flow.id, self._answered, now)

    def heard(self, flow_id: int) -> None:
        """Know that something came over a flow."""
        if flow_id == self._asked:
            self._asked = self._limit = None

    def flow_closed(self, flow_id: int) -> None:
        self._agreed.pop(flow_id, None)
        self.heard(flow_id)  # it owes nothing any more

    def handle_timer(self, now: float) -> None:
        if self._limit is None or now < self._limit or self._asked is None:
            return
        how = "a ping" if self._asked in self._agreed else "OPTIONS"
        self._core.emit(FlowFailed(self._asked, f"{how} was not answered"))
        self._asked = self._limit = None

    def _answered(self, outcome: Outcome, now: float) -> None:
        """What came over the flow was noticed there; silence is for the deadline to judge."""
        if not isinstance(outcome, Failure):
            self._asked = self._limit = None
