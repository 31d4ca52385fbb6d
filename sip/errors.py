"""What can go wrong in the SIP user agent, and whose fault it is.

    SipError
     ├─ LocalError            we were called wrongly: a bug of the caller, never of the peer
     └─ RemoteError(status)   the peer broke the protocol; `status` is what a UAS answers (RFC 3261
     §21)

A busy callee or a refused registration is neither: those are events (`sip.events`).
"""

from collections.abc import Iterable


class SipError(Exception):
    """Root of all errors that this package raises on purpose."""


class LocalError(SipError):
    """The user of the package asked for something that cannot be done or must not be sent."""


class RemoteError(SipError):
    """The peer sent something that the standard forbids.

    Attributes:
        status: the response code that tells the peer so, 400 unless the standard names a better
            one.
        headers: what the response says besides, such as Accept in a 415.
    """

    def __init__(
        self, reason: str, *, status: int = 400, headers: Iterable[tuple[str, str]] = ()
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.headers = tuple(headers)
