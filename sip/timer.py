"""The session timer (RFC 4028): a session that nobody refreshes ends, so that no call outlives its
peers.

`SessionTimer` negotiates and keeps the two deadlines; sending refreshes and the BYE is the
session's. We ask for the interval that the standard recommends and take the peer's wishes
otherwise. The party that is asked to choose lets the caller refresh.
"""

from sip.agenda import soonest
from sip.errors import RemoteError
from sip.headers import SessionExpires
from sip.message import Request, Response

# §4.2 recommends 1800 s; §5 forbids less than 90 s.
INTERVAL = 1800
MIN_INTERVAL = 90

# The largest Min-SE of a peer that we follow: beyond a day the timer protects nobody.
_MAX_INTERVAL = 86_400

# A proxy on the way raises the interval once; who does it again and again is playing with us.
_MAX_RAISES = 4

# However short an interval a peer forces on us, we refresh no more often, seconds.
_MIN_REFRESH = 10.0


class SessionTimer:
    """Negotiated interval and its deadlines.

    Attributes:
        refresh_at: when we refresh; None if the peer does, or nobody.
        expire_at: when the session is over for want of a refresh; None without a timer.
    """

    def __init__(self) -> None:
        self.refresh_at: float | None = None
        self.expire_at: float | None = None
        self._interval = INTERVAL
        self._min = MIN_INTERVAL
        self._we_refresh: bool | None = None  # None: no timer is agreed
        self._raises = 0

    @property
    def deadline(self) -> float | None:
        return soonest(self.refresh_at, self.expire_at)

    def offer(self) -> list[tuple[str, str]]:
        """Header fields for an INVITE or UPDATE of ours (§7.1, §7.4)."""
        refresher = None
        if self._we_refresh is not None:
            refresher = "uac" if self._we_refresh else "uas"
        return [
            (
                "Session-Expires",
                str(SessionExpires(max(self._interval, self._min), refresher)),
            ),
            ("Min-SE", str(self._min)),
        ]

    def too_small(self, response: Response) -> bool:
        """Take the Min-SE of a 422; False if another attempt is useless (§7.4)."""
        try:
            minimum = response.headers.integer("Min-SE", limit=_MAX_INTERVAL) or 0
        except RemoteError:
            return False
        if minimum <= self._interval or self._raises >= _MAX_RAISES:
            return False
        self._raises += 1
        self._interval = self._min = minimum
        return True

    def accept(self, request: Request, now: float) -> list[tuple[str, str]]:
        """Answer the wishes of an INVITE or UPDATE of the peer (§9); header fields for its 2xx."""
        wish = request.headers.session_expires
        supported = "timer" in request.headers.tokens("Supported")
        # What the peer calls too short once is too short for our refreshes too (§7.4).
        self._min = max(self._min, request.headers.integer("Min-SE", limit=_MAX_INTERVAL) or 0)
        if wish is None:
            if not supported:
                self._agree(None, we_refresh=None, now=now)
                return []
            # It did not ask: then we do the work.
            wish = SessionExpires(max(self._interval, self._min), "uas")
        refresher = wish.refresher or ("uas" if self._we_refresh else "uac")
        if not supported:
            refresher = "uas"  # the wish is a proxy's (§9, table 2)
        self._agree(wish.interval, we_refresh=refresher == "uas", now=now)
        headers = [("Session-Expires", str(SessionExpires(wish.interval, refresher)))]
        if refresher == "uac":
            headers.append(("Require", "timer"))
        return headers

    def accepted(self, response: Response, now: float) -> None:
        """Take the 2xx to an INVITE or UPDATE of ours (§7.2)."""
        try:
            agreed = response.headers.session_expires
        except RemoteError:
            agreed = None
        if agreed is None:
            self._agree(None, we_refresh=None, now=now)
        else:
            self._agree(agreed.interval, we_refresh=agreed.refresher != "uas", now=now)

    def postpone(self, now: float) -> None:
        """A refresh failed in a way that may pass: try again well before the end."""
        if self._we_refresh:
            self.refresh_at = now + self._interval / 8

    def stop(self) -> None:
        self.refresh_at = self.expire_at = None

    def _agree(self, interval: int | None, *, we_refresh: bool | None, now: float) -> None:
        self.stop()
        self._we_refresh = we_refresh
        if interval is None:
            return
        self._interval = max(interval, 1)
        # §10: refresh after half the interval; end it a little before it is over.
        if we_refresh:
            self.refresh_at = now + max(self._interval / 2, _MIN_REFRESH)
        self.expire_at = now + self._interval - min(32.0, self._interval / 3)


def check_interval(request: Request) -> None:
    """Refuse a session that would have to be refreshed all the time (§9).

    Raises:
        RemoteError: 422.
    """
    wish = request.headers.session_expires
    if (
        wish is not None
        and wish.interval < MIN_INTERVAL
        and "timer" in request.headers.tokens("Supported")
    ):
        raise RemoteError("session interval too small", status=422)
