"""The words with which a session ends or is refused, in both directions: Reason (RFC 3326), Warning
and Retry-After (RFC 3261 §20.43, §20.33).
"""

from typing import TYPE_CHECKING

from sip.errors import LocalError
from sip.events import Reason, SessionEnded, SipWarning
from sip.headers import reason_value, warning_value
from sip.message import Response
from sip.redirect import contacts_of

if TYPE_CHECKING:
    from sip.session import Session


def expect_refusal(status: int) -> None:
    """Check what a user wants to refuse something with.

    Raises:
        LocalError: `status` refuses nothing.
    """
    if not 300 <= status <= 699:
        raise LocalError(f"{status} refuses nothing")


def refusal_headers(
    reason: Reason | None = None,
    warning: SipWarning | None = None,
    *,
    retry_after: int | None = None,
    agent: str = "",
) -> list[tuple[str, str]]:
    """Header fields of a refusal, or of a BYE or CANCEL.

    Args:
        retry_after: seconds, for a refusal that will pass.
        agent: our name, where a warning names none.
    """
    headers = []
    if reason is not None:
        headers.append(("Reason", reason_value(reason)))
    if warning is not None:
        headers.append(("Warning", warning_value(warning, agent=agent)))
    if retry_after is not None:
        headers.append(("Retry-After", str(retry_after)))
    return headers


def ended_by(session: "Session", refusal: Response) -> SessionEnded:
    """The end of a call that the peer refused, with all that it says of why."""
    return SessionEnded(
        session,
        refusal.status,
        True,
        refusal.headers.reason,
        retry_after=refusal.headers.retry_after,
        warning=refusal.headers.warning,
        contacts=contacts_of(refusal),
    )
