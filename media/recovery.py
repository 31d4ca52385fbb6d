"""When a lost path to the browser is worth an offer of ours to restart ICE (RFC 8445 §2.4, RFC 8839
§4.4.1.1.1), and when to give up. Pure: what is due, and until when.

The path is offered a restart as soon as it is lost. The offer waits at the homeserver as long as
the phone has no network, and is answered with the candidates of its new one. An answer that brings
no path is followed by another offer; an offer without an answer is not.

When both sides offer at once (glare), the side whose call it is insists and the other one yields
("perfect negotiation"; matrix-js-sdk does so, too). A browser that called us therefore gets its
way. From one that we called we wait a little for the answer to ours, and take its offer if there is
none: it may never have seen ours.
"""

from typing import Final

AGAIN: Final = 8.0  # seconds after an answer, or after we yielded, that brought no path
INSIST: Final = 3.0  # seconds that an offer of the peer's waits for its answer to ours
_GRACE: Final = 10.0  # seconds that an answer is given to bring a path, whatever the limit
_STALE: Final = 60.0  # seconds after which an unanswered offer of ours is not answered any more


class Recovery:
    """Times of one session.

    Args:
        insists: whether our offer prevails when both sides offer at once.
        limit: seconds that a lost path is waited for.

    Attributes:
        is_lost: whether there is no path at present.
        is_open: whether an offer of ours has no answer yet.
    """

    def __init__(self, *, insists: bool, limit: float) -> None:
        self.is_lost = False
        self.is_open = False
        self._waiting: str | None = None
        self._insists = insists
        self._limit = limit
        self._offer_at: float | None = None
        self._yield_at: float | None = None
        self._until: float | None = None
        self._offered_at = 0.0

    # --- what happens

    def lost(self, now: float) -> None:
        """The path does not answer any more."""
        if not self.is_lost:
            self.is_lost = True
            self._until = now + self._limit
            if not self._is_pending(now):
                self._offer_at = now

    def found(self) -> None:
        """There is a path."""
        self.is_lost = False
        self._until = self._offer_at = None

    def offered(self, now: float) -> None:
        """Our offer is out."""
        self.is_open = True
        self._offered_at = now
        self._offer_at = None

    def settled(self, now: float) -> None:
        """Our offer was answered, or the peer's was, which took its place."""
        self.is_open = False
        self._waiting = self._yield_at = None
        if self.is_lost:
            self._offer_at = now + AGAIN
            self._until = max(self._until or now, now + _GRACE)

    def meet(self, sdp: str, now: float) -> bool:
        """The peer offers; whether that is to be answered now. Else it waits."""
        if not (self._insists and self._is_pending(now)):
            return True
        if self._yield_at is None:
            self._yield_at = now + INSIST
        self._waiting = sdp
        return False

    def _is_pending(self, now: float) -> bool:
        return self.is_open and now - self._offered_at < _STALE

    # --- what is due

    def offers(self, now: float) -> bool:
        """Whether to make an offer; said once."""
        is_due = self._offer_at is not None and self._offer_at <= now
        if is_due:
            self._offer_at = None
        return is_due

    def yields(self, now: float) -> str | None:
        """The peer's offer that has waited long enough; it is to be answered now."""
        if self._yield_at is None or self._yield_at > now:
            return None
        sdp, self._waiting, self._yield_at = self._waiting, None, None
        return sdp

    def is_over(self, now: float) -> bool:
        """Whether the path was waited for long enough."""
        return self._until is not None and self._until <= now

    def deadline(self) -> float | None:
        times = (self._offer_at, self._yield_at, self._until)
        return min((at for at in times if at is not None), default=None)
