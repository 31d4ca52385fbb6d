"""Responses that a session itself repeats until the peer acknowledges them.

`Acceptance` is our 2xx to an INVITE until its ACK (RFC 3261 §13.3.1.4); `Provisionals` are reliable
provisional responses until their PRACK (RFC 3262 §3), for callers that require them. Both repeat on
reliable transports too: the hop is reliable, the path behind it may not be.
"""

from collections import deque
from collections.abc import Callable

from sip.headers import RAck
from sip.message import Request, Response
from sip.transaction import PATIENCE, T1, T2

# A caller that acknowledges nothing must not make us keep more.
MAX_WAITING = 8


class Acceptance:
    """One 2xx of ours to an INVITE.

    Attributes:
        initial: whether the INVITE opened the session; False for a re-INVITE.
    """

    def __init__(
        self, response: Response, *, initial: bool, repeat: Callable[[Response], None], now: float
    ) -> None:
        self.initial = initial
        self._response = response
        self._repeat = repeat
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
            self._repeat(self._response)
        return True


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
    def deadline(self) -> float | None:
        return min(self._again_at, self._give_up_at) if self.pending else None

    def put(self, response: Response, now: float) -> None:
        """Send a response reliably, now or after those before it."""
        response.headers.add("Require", "100rel")
        if self._current is None:
            self._begin(response, now)
        elif len(self._waiting) < MAX_WAITING:
            self._waiting.append(response)

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
