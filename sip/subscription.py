"""What SUBSCRIBE and NOTIFY say whatever the event (RFC 6665): Event and Subscription-State.

Two usages need them: a transfer, whose REFER subscribes by itself (`sip.transfer`), and the mailbox
(`sip.mailbox`).
"""

from contextlib import suppress
from dataclasses import dataclass

from sip import grammar
from sip.errors import RemoteError
from sip.headers import Headers
from sip.uri import Parameters


@dataclass(frozen=True, slots=True)
class EventName:
    """An event package, and which of several subscriptions to it is meant (§8.2.1).

    Attributes:
        package: in lower case; "" if the message names none.
        id: None if absent.
    """

    package: str
    id: str | None = None

    @classmethod
    def of(cls, headers: Headers) -> "EventName":
        package, _, rest = (headers.get("Event") or "").partition(";")
        return cls(package.strip().lower(), Parameters.parse(rest).get("id"))

    def __str__(self) -> str:
        return self.package if self.id is None else f"{self.package};id={self.id}"


@dataclass(frozen=True, slots=True)
class SubscriptionState:
    """How a subscription stands, as a NOTIFY says it (§4.1.3, §8.2.3).

    Attributes:
        state: "active", "pending", "terminated", or what the peer made up, in lower case.
        expires: seconds until it ends unless it is refreshed.
        reason: why it was terminated, "" if nothing is said.
        retry_after: seconds to wait before another try.
    """

    state: str
    expires: int | None = None
    reason: str = ""
    retry_after: int | None = None

    @classmethod
    def of(cls, headers: Headers) -> "SubscriptionState":
        """Read it; a NOTIFY that should have one and has none counts as active.

        Raises:
            RemoteError: it is unreadable.
        """
        state, _, rest = (headers.get("Subscription-State") or "active").partition(";")
        parameters = Parameters.parse(rest)
        return cls(
            state.strip().lower(),
            _seconds(parameters, "expires"),
            (parameters.get("reason") or "").lower(),
            _seconds(parameters, "retry-after"),
        )

    @property
    def terminated(self) -> bool:
        return self.state == "terminated"

    def __str__(self) -> str:
        expires = "" if self.expires is None else f";expires={self.expires}"
        reason = f";reason={self.reason}" if self.reason else ""
        retry_after = "" if self.retry_after is None else f";retry-after={self.retry_after}"
        return f"{self.state}{expires}{reason}{retry_after}"


def _seconds(parameters: Parameters, name: str) -> int | None:
    """A parameter that is advice: unreadable is as good as absent."""
    with suppress(RemoteError):
        value = parameters.get(name)
        return None if value is None else grammar.number(value, what=name)
    return None
