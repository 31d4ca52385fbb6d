"""The refresh of an established session: nothing changes, but the peer hears that we are there, and
where (RFC 4028 §7.4, RFC 3261 §12.2). An UPDATE without an offer does it, which collides with
nothing.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from sip.core import Core
from sip.dialog import Dialog
from sip.timer import SessionTimer
from sip.transaction import Failure, Outcome

if TYPE_CHECKING:
    from sip.session import Session


class Refresh:
    """Our UPDATEs without an offer, in one dialog.

    Args:
        broken: called with a status and a reason when the peer has no such dialog, or says nothing.
    """

    def __init__(
        self,
        core: Core,
        session: "Session",
        dialog: Dialog,
        *,
        timer: SessionTimer,
        broken: Callable[[int, str, float], None],
    ) -> None:
        self._core = core
        self._session = session
        self._dialog = dialog
        self._timer = timer
        self._broken = broken

    def send(self, now: float) -> None:
        headers = [*self._core.target_headers, *self._timer.offer()]
        update = self._core.dress(self._dialog.request("UPDATE"), headers)
        self._core.submit(update, self._receive, now, next_seq=self._dialog.next_seq)

    def _receive(self, outcome: Outcome, now: float) -> None:
        if outcome.status < 200 or self._session.ended:
            return
        if outcome.status in (408, 481):
            self._broken(outcome.status, outcome.reason, now)
        elif isinstance(outcome, Failure):
            self._timer.postpone(now)  # the next flow refreshes anyway
        elif outcome.status < 300:
            self._dialog.refresh_target(outcome)
            self._timer.accepted(outcome, now)
        elif outcome.status == 422 and self._timer.too_small(outcome):
            self.send(now)
        else:
            self._timer.postpone(now)
