"""Where offer and answer stand in one dialog (RFC 3264; the states are those of RFC 9429 §3.2).

Every message that may carry a description (RFC 6337, table 1) goes through one of these, whatever
brought it: INVITE and its responses, ACK, PRACK, UPDATE. It knows nothing of messages; who may
speak when is decided above, by this state.
"""

from enum import Enum

from sip.events import Body


class State(Enum):
    """Whose offer waits for its answer."""

    STABLE = "stable"
    LOCAL_OFFER = "have-local-offer"
    REMOTE_OFFER = "have-remote-offer"


class Negotiation:
    """One dialog's descriptions.

    Attributes:
        state: whose offer is open.
        local: our description as last agreed on, None before the first exchange.
        remote: the peer's.
        rounds: exchanges that were completed; further offers are allowed after the first.
    """

    def __init__(self) -> None:
        self.state = State.STABLE
        self.local: Body | None = None
        self.remote: Body | None = None
        self.rounds = 0
        self._offer: Body | None = None

    @property
    def stable(self) -> bool:
        """Whether no offer is open in either direction."""
        return self.state is State.STABLE

    @property
    def agreed(self) -> tuple[Body | None, Body | None]:
        """Both descriptions, to be given to `restore`."""
        return self.local, self.remote

    def make_offer(self, body: Body) -> None:
        self._open(State.LOCAL_OFFER, body)

    def take_offer(self, body: Body) -> None:
        self._open(State.REMOTE_OFFER, body)

    def make_answer(self, body: Body) -> None:
        """Answer the peer's offer."""
        assert self.state is State.REMOTE_OFFER, "an answer answers an offer"
        self._close(body, self._offer)

    def take_answer(self, body: Body) -> None:
        """Take the peer's answer to our offer."""
        assert self.state is State.LOCAL_OFFER, "an answer answers an offer"
        self._close(self._offer, body)

    def roll_back(self) -> None:
        """Forget an open offer: it was refused, and what was agreed on before stands."""
        self.state, self._offer = State.STABLE, None

    def restore(self, agreed: tuple[Body | None, Body | None]) -> None:
        """Go back to what was agreed on before (RFC 6141 §3.4)."""
        self.roll_back()
        self.local, self.remote = agreed

    def _open(self, state: State, body: Body) -> None:
        assert self.stable, "one offer is open at a time"
        self.state, self._offer = state, body

    def _close(self, local: Body | None, remote: Body | None) -> None:
        self.local, self.remote = local, remote
        self.rounds += 1
        self.roll_back()
