"""Digits gathered into one answer: so many, or up to a key that ends them, or as long as they come.

What is asked of the caller is played meanwhile, so the patience for the first digit begins when
nothing is played any more.
"""

from media.order import (
    Collect,
    CollectEnd,
)


class Collector:
    """Takes digits one by one; has ended as soon as `end` is set.

    Attributes:
        digits: those that came, without the one that ended them.
        terminator: the one that ended them, if one did.
    """

    def __init__(self, order: Collect, now: float, *, is_prompting: bool) -> None:
        self.digits = ""
        self.terminator = ""
        self.end: CollectEnd | None = None
        self._order = order
        self._until: float | None = None if is_prompting else now + order.first_timeout

    def digit(self, digit: str, now: float) -> None:
        """One was pressed."""
        if digit in self._order.terminators:
            self.terminator, self.end = digit, CollectEnd.TERMINATOR
            return
        self.digits += digit
        self._until = now + self._order.digit_timeout
        if len(self.digits) >= self._order.most:
            self.end = CollectEnd.FULL

    def prompt_began(self) -> None:
        """Something is played: who has not pressed anything yet may hear it first."""
        if not self.digits:
            self._until = None

    def prompt_ended(self, now: float) -> None:
        """Nothing is played any more."""
        if self._until is None:
            self._until = now + self._order.first_timeout

    def handle_timer(self, now: float) -> None:
        """To be called now and then: end when patience does."""
        if self._until is not None and now >= self._until and self.end is None:
            self.end = CollectEnd.TIMEOUT
