"""Two offers that cross (RFC 3261 §14, RFC 3311 §5): both are refused, and both ends come back,
after times that differ and that each draws for itself.
"""

from sip.errors import RemoteError
from sip.message import Response

# §14.2: who is sent away with 500 is told to come back within so many seconds; longer is no glare.
MAX_RETRY_AFTER = 10


def come_back(chance: float) -> RemoteError:
    """What refuses an offer of the peer's that comes while another of its own is open (§14.2).

    Args:
        chance: drawn from 0 to 1.
    """
    again = str(int(chance * (MAX_RETRY_AFTER + 1)))
    return RemoteError("come back later", status=500, headers=[("Retry-After", again)])


def retry_delay(response: Response, *, incoming: bool, chance: float) -> float | None:
    """Seconds after which our offer is made again (§14.1); None if it was refused for good.

    Args:
        response: the refusal.
        incoming: whether the peer chose the Call-ID: who did so waits longer.
        chance: drawn from 0 to 1.
    """
    if response.status == 491:
        return 2.0 * chance if incoming else 2.1 + 1.9 * chance
    retry_after = response.headers.retry_after
    if response.status == 500 and retry_after is not None and retry_after <= MAX_RETRY_AFTER:
        return float(retry_after)
    return None
