"""What a session itself repeats, because it goes from end to end and not from hop to hop.

`Acceptance` is our 2xx to an INVITE until its ACK (RFC 3261 §13.3.1.4), `Acks` are our ACKs for as
long as the peer repeats its 2xx (§13.2.2.4), `Provisionals` are reliable provisional responses
until their PRACK (RFC 3262 §3). All of it on reliable transports
too: the hop is reliable, the path behind it may not be.
"""

from collections import deque
from collections.abc import Callable

from sip.core import Core, with_body
from sip.dialog import Dialog
from sip.events import Body
from sip.headers import RAck
from sip.message import Request, Response
from sip.transaction import PATIENCE, T1, T2

# A caller that acknowledges nothing must not make us keep more.
MAX_WAITING = 8

# A 2xx is repeated for half a minute; a session changes and forks less often in that time.
MAX_ACKS = 32


class Acceptance:
    """One 2xx of ours to an INVITE; the transaction sent it for the first time."""

    def __init__(self, core: Core, response: Response, now: float) -> None:
        self._core = core
        self._response = response
        self._interval = T1
        self._again_at = now + T1
        self._give_up_at = now + PATIENCE

    @property
    def deadline(self) -> float:
        return min(self._again_at, self._give_up_at)

    def is_acknowledged_by(self, ack: Request) -> bool:
        return ack.headers.cseq.number == self._response.headers.cseq.number

    def handle_timer(self, now: float) -> bool:
        """Repeat it if it is time; False when the peer had its time."""
        if now >= self._give_up_at:
            return False
        if now >= self._again_at:
            self._interval = min(2 * self._interval, T2)
            self._again_at = now + self._interval
            flow = self._core.current
            if flow is not None:
                self._core.send(flow.id, self._response)
        return True


class Acks:
    """The ACKs that we sent for 2xx responses, by To tag and number."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._sent: dict[tuple[str, int], Request] = {}

    def send(
        self, dialog: Dialog, invite: Request, response: Response, body: Body | None = None
    ) -> None:
        """Acknowledge a 2xx, with the credentials of its INVITE (RFC 3261 §22.1).

        Deviation: not where the ACK goes to another host than the trunk's. Nobody can challenge an
        ACK, and a proof of our password is none of that host's business.

        Args:
            body: our answer, where the 2xx made the offer.
        """
        number = response.headers.cseq.number
        ack = self._core.dress(dialog.ack(number))
        flow = self._core.current
        if flow is not None and self._core.is_home(ack, flow):
            for name in ("Authorization", "Proxy-Authorization"):
                for value in invite.headers.get_all(name):
                    ack.headers.add(name, value)
        ack = with_body(ack, body)
        self._sent[response.headers.to.tag or "", number] = ack
        if len(self._sent) > MAX_ACKS:
            del self._sent[next(iter(self._sent))]
        self._put(ack)

    def repeat(self, response: Response) -> bool:
        """Acknowledge a 2xx that came again, over the flow of today; False if it is new."""
        ack = self._sent.get((response.headers.to.tag or "", response.headers.cseq.number))
        if ack is None:
            return False
        self._put(ack)
        return True

    def _put(self, ack: Request) -> None:
        flow = self._core.current
        if flow is not None:
            ack.headers.remove("Via")
            ack.headers.put_first("Via", self._core.via(flow))
            self._core.send(flow.id, ack)


class Provisionals:
    """The reliable provisional responses to one INVITE: one waits for its PRACK at a time."""

    def __init__(self, *, first: int, send: Callable[[Response, float], None]) -> None:
        self._rseq = first
        self._send = send
        self._current: Response | None = None
        self._waiting: deque[Response] = deque()
        self._interval = T1
        self._again_at = 0.0
        self._give_up_at = 0.0

    @property
    def pending(self) -> bool:
        """Whether a response still waits for its PRACK."""
        return self._current is not None

    @property
    def describing(self) -> bool:
        """Whether a response with a body still waits: then no 2xx may be sent (RFC 3262 §3)."""
        waiting = (self._current, *self._waiting)
        return any(response is not None and response.body for response in waiting)

    @property
    def deadline(self) -> float | None:
        return min(self._again_at, self._give_up_at) if self.pending else None

    def put(self, response: Response, now: float) -> bool:
        """Send a response reliably, now or after those before it; False if too many wait."""
        response.headers.add("Require", "100rel")
        if self._current is None:
            self._begin(response, now)
        elif len(self._waiting) < MAX_WAITING:
            self._waiting.append(response)
        else:
            return False
        return True

    def acknowledge(self, rack: RAck, now: float) -> bool:
        """Take a PRACK; False if it is about nothing that waits (then 481)."""
        current = self._current
        if current is None or rack.rseq != self._rseq or rack.cseq != current.headers.cseq:
            return False
        self._current = None
        self._rseq += 1
        if self._waiting:
            self._begin(self._waiting.popleft(), now)
        return True

    def handle_timer(self, now: float) -> bool:
        """Repeat what waits; False when the caller had its time (the INVITE is to be refused)."""
        if self._current is None:
            return True
        if now >= self._give_up_at:
            self.stop()
            return False
        if now >= self._again_at:
            self._interval *= 2
            self._again_at = now + self._interval
            self._send(self._current, now)
        return True

    def stop(self) -> None:
        self._current = None
        self._waiting.clear()

    def _begin(self, response: Response, now: float) -> None:
        response.headers.set("RSeq", self._rseq)
        self._current = response
        self._interval = T1
        self._again_at = now + T1
        self._give_up_at = now + PATIENCE
        self._send(response, now)
