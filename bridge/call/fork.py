"""Several Matrix users ringing for one call, as one leg.

Each has a leg and a room of their own and gets the same offer. The first who answers has the call;
the others are told that it was answered elsewhere. While one still rings the call rings: a decline
speaks for one user, and what is reported when nobody is left is the strongest of what they said.
"""

from collections.abc import Sequence

from bridge.call.events import Answered, Ended, EndReason, LegEvent, Ringing
from bridge.call.matrix_leg import MatrixLeg

# From the answer that a person gave down to trouble of ours.
_STRENGTH = (
    EndReason.BUSY,
    EndReason.DECLINED,
    EndReason.NO_ANSWER,
    EndReason.MEDIA_FAILED,
    EndReason.MATRIX_DOWN,
)


class ForkLeg:
    """A composite of `MatrixLeg`s that obeys `Leg`.

    Finding the users' rooms takes time, so the legs come by `add` after `place`, or `fail` says why
    there are none.

    Attributes:
        winner: the leg that answered, None before.
    """

    def __init__(self) -> None:
        self.legs: list[MatrixLeg] = []
        self.winner: MatrixLeg | None = None
        self._ended: dict[int, Ended] = {}
        self._rang = False
        self._over = False
        self._offer: str | None = None
        self._failure: Ended | None = None

    @property
    def waiting(self) -> bool:
        """Whether the call is placed and nobody knows yet whom to call."""
        return self._offer is not None and not self.legs and not self._over

    def add(self, legs: Sequence[MatrixLeg], now: float) -> None:
        """Call these users, unless it is over already."""
        self.legs.extend(legs)
        if self._offer is not None and not self._over:
            for leg in legs:
                leg.place(self._offer, now)

    def fail(self, reason: EndReason, text: str) -> None:
        """There is nobody to call."""
        if not self._over:
            self._over = True
            self._failure = Ended(reason, text)

    def place(self, sdp: str, now: float) -> None:
        if self._offer is None:
            self._offer = sdp
            for leg in self.legs:
                leg.place(sdp, now)

    def ring(self, now: float) -> None:
        """A fork is called and never calls."""

    def answer(self, sdp: str, now: float) -> None:
        """A fork is called and never calls."""

    def update(self, sdp: str | None, now: float) -> None:
        if self.winner is not None:
            self.winner.update(sdp, now)

    def offer(self, sdp: str, now: float) -> None:
        if self.winner is not None:
            self.winner.offer(sdp, now)

    def hang_up(self, reason: EndReason, now: float) -> None:
        self._over = True
        for index, leg in enumerate(self.legs):
            if index not in self._ended:
                leg.hang_up(reason, now)

    def poll(self, now: float) -> list[LegEvent]:
        """What the legs have said since the last time, as one leg would have said it."""
        events: list[LegEvent] = []
        if self._failure is not None:
            events.append(self._failure)
            self._failure = None
        for index, leg in enumerate(self.legs):
            for event in leg.poll(now):
                if not self._over:
                    events.extend(self._take(index, leg, event, now))
        return events

    def _take(self, index: int, leg: MatrixLeg, event: LegEvent, now: float) -> list[LegEvent]:
        match event:
            case Ended():
                self._ended[index] = event
                if self.winner is leg or len(self._ended) == len(self.legs):
                    self._over = True
                    return [event if self.winner is leg else self._strongest()]
                return []
            case Ringing():
                first, self._rang = not self._rang, True
                return [event] if first else []
            case Answered():
                self.winner = leg
                for other, loser in enumerate(self.legs):
                    if loser is not leg and other not in self._ended:
                        loser.hang_up(EndReason.ANSWERED_ELSEWHERE, now)
                        self._ended[other] = Ended(EndReason.ANSWERED_ELSEWHERE)
                return [event]
            case _:
                return [event] if self.winner is leg else []

    def _strongest(self) -> Ended:
        said = sorted(
            self._ended.values(),
            key=lambda ended: (
                _STRENGTH.index(ended.reason) if ended.reason in _STRENGTH else len(_STRENGTH)
            ),
        )
        return said[0]
