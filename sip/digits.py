"""Digits of a session in INFO requests (RFC 6086), in both directions; what they look like is
`sip.info`'s.

Ours go one after the other: the next one waits for the answer to the one before, so that none
overtakes another on its way through challenges and proxies.
"""

from collections import deque
from typing import TYPE_CHECKING

from sip.core import Core, with_body
from sip.dialog import Dialog
from sip.errors import RemoteError
from sip.events import Body, DigitReceived, DigitsRefused
from sip.info import read_digit, write_digit
from sip.message import body_of
from sip.transaction import AnyServer, Outcome

if TYPE_CHECKING:
    from sip.session import Session

MAX_WAITING = 64

_NOT_TAKEN = (405, 415, 469, 489, 501)  # such digits are never taken here


class DigitSender:
    """Our digits in one dialog. If the peer takes none by INFO, `DigitsRefused` is said once; those
    that wait, and all later ones, are not sent.

    Args:
        session: named in events.
    """

    def __init__(self, core: Core, session: "Session", dialog: Dialog) -> None:
        self._core = core
        self._session = session
        self._dialog = dialog
        self._waiting: deque[Body] = deque()
        self._under_way = False
        self._is_refused = False

    def send(self, digit: str, duration_ms: int, now: float) -> None:
        """Send a digit, or have it wait.

        Raises:
            LocalError: it is no digit.
        """
        body = write_digit(digit, duration_ms)
        if self._is_refused or len(self._waiting) >= MAX_WAITING:
            return
        self._waiting.append(body)
        self._next(now)

    def _next(self, now: float) -> None:
        if self._under_way or not self._waiting:
            return
        self._under_way = True
        request = self._core.dress(self._dialog.request("INFO"))
        request = with_body(request, self._waiting.popleft())
        self._core.submit(request, self._receive, now, next_seq=self._dialog.next_seq)

    def _receive(self, outcome: Outcome, now: float) -> None:
        if outcome.status < 200:
            return
        self._under_way = False
        if outcome.status in _NOT_TAKEN:
            self._is_refused = True
            self._waiting.clear()
            if not self._session.ended:
                self._core.emit(DigitsRefused(self._session, outcome.status))
        self._next(now)


def receive_digit(core: Core, session: "Session", transaction: AnyServer, now: float) -> None:
    """Take an INFO of the peer; one without a body or package only asks whether we are there.

    Raises:
        RemoteError: it holds no digit, or belongs to a package (RFC 6086); we have none.
    """
    if "Info-Package" in transaction.request.headers:
        raise RemoteError("no such package", status=469, headers=[("Recv-Info", "")])
    body = body_of(transaction.request)
    if body is not None:
        digit, duration_ms = read_digit(body)
        if not session.ended:
            core.emit(DigitReceived(session, digit, duration_ms))
    core.respond(transaction, 200, now)
