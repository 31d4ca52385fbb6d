"""Our BYE (RFC 3261 §15.1.1), which outlives the flow that it was sent on: what was cut off, or had
no flow to go, is sent again on the next one, for as long as the peer would wait for anything.
"""

from collections.abc import Callable

from sip.core import Core
from sip.dialog import Dialog
from sip.transaction import PATIENCE, Failure, Outcome


class Farewell:
    """The end of one dialog by us.

    Args:
        done: called when the peer has answered, or will not.

    Attributes:
        headers: what the BYE says besides, such as Reason.
        owed: whether it waits for a flow.
    """

    def __init__(self, core: Core, *, done: Callable[[float], None]) -> None:
        self.headers: list[tuple[str, str]] = []
        self.owed = False
        self._core = core
        self._done = done
        self._over = False
        self._give_up_at: float | None = None

    @property
    def deadline(self) -> float | None:
        return self._give_up_at

    def send(self, dialog: Dialog, now: float) -> None:
        if self._core.current is None:
            self._owe(now)
            return
        self.owed = False
        bye = self._core.dress(dialog.request("BYE"), self.headers)
        self._core.submit(bye, self._receive, now, next_seq=dialog.next_seq)

    def handle_timer(self, now: float) -> None:
        if self._give_up_at is not None and now >= self._give_up_at:
            self._done(now)

    def stop(self) -> None:
        """Wait no longer."""
        self._over, self.owed, self._give_up_at = True, False, None

    def _receive(self, outcome: Outcome, now: float) -> None:
        if self._over or outcome.status < 200:
            return
        if isinstance(outcome, Failure) and outcome.status == 503:
            self._owe(now)
        else:
            self._done(now)

    def _owe(self, now: float) -> None:
        self.owed = True
        if self._give_up_at is None:
            self._give_up_at = now + PATIENCE
