"""Digits that we say in INFO requests, one after the other: the next one waits for the answer to
the one before, so that none overtakes another on its way through challenges and proxies.
"""

from collections import deque
from collections.abc import Callable

from sip.core import Core, with_body
from sip.dialog import Dialog
from sip.events import Body
from sip.transaction import Outcome

MAX_WAITING = 64

_NOT_TAKEN = (405, 415, 469, 489, 501)  # such digits are never taken here


class DigitSender:
    """The digits of one dialog.

    Args:
        refused: called once with the status when the peer takes no digits by INFO; those that
            wait, and all later ones, are not sent.
    """

    def __init__(self, core: Core, dialog: Dialog, *, refused: Callable[[int], None]) -> None:
        self._core = core
        self._dialog = dialog
        self._refused = refused
        self._waiting: deque[Body] = deque()
        self._under_way = False
        self._is_refused = False

    def send(self, digit: Body, now: float) -> None:
        """Send what `write_digit` wrote, or have it wait."""
        if self._is_refused or len(self._waiting) >= MAX_WAITING:
            return
        self._waiting.append(digit)
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
            self._refused(outcome.status)
        self._next(now)
