"""Consent freshness: whether the peer still wants what we send (RFC 7675).

A Binding request every 2 s, ±20 %, over the selected pair; 30 s without a response end the right to
send.

Deviation: RFC 7675 asks every 5 s (browsers, every 2.5 s), which would notice a dead path only
after ten. And while a check is unanswered the next ones follow every quarter of a second, then
every second, as retransmissions would: one lost packet says nothing, and some eight in a row say
within 5 s that the path is in trouble.
"""

from collections.abc import Callable
from typing import Final

_INTERVAL: Final = 2.0
_RETRY: Final = 0.25
_RETRY_DISCONNECTED: Final = 1.0
_DOUBT: Final = 0.5  # a check unanswered this long: look for another pair
_DISCONNECT: Final = 2.4
_EXPIRY: Final = 30.0


class Consent:
    """The state of consent for one pair.

    Attributes:
        check_at: when the next check is due.
        disconnected: whether the path was found to be in trouble.
    """

    def __init__(self, random: Callable[[int], bytes], now: float, *, check_now: bool) -> None:
        self._random = random
        self._renewed_at = now
        self._unanswered_since: float | None = None
        self.disconnected = False
        self.check_at = now if check_now else now + self._spread(_INTERVAL)

    @property
    def expires_at(self) -> float:
        return self._renewed_at + _EXPIRY

    @property
    def unanswered_since(self) -> float | None:
        return self._unanswered_since

    def checked(self, now: float) -> None:
        """A check was sent."""
        if self._unanswered_since is None:
            self._unanswered_since = now
        retry = _RETRY_DISCONNECTED if self.disconnected else _RETRY
        self.check_at = now + self._spread(retry)

    def renewed(self, now: float) -> None:
        """A check was answered."""
        self._renewed_at = now
        self._unanswered_since = None
        self.disconnected = False
        self.check_at = now + self._spread(_INTERVAL)

    def hurry(self, now: float) -> None:
        """Something suggests that the path has changed: check at once."""
        if self._unanswered_since is None:
            self.check_at = now

    def doubtful(self, now: float) -> bool:
        since = self._unanswered_since
        return since is not None and now - since >= _DOUBT

    def silent(self, now: float) -> bool:
        since = self._unanswered_since
        return since is not None and now - since >= _DISCONNECT

    def _spread(self, interval: float) -> float:
        return interval * (0.8 + 0.4 * self._random(1)[0] / 255)
