"""Our session description for one side, as last sent (RFC 3264 §5, §8)."""

from collections.abc import Callable
from dataclasses import dataclass, field

from media.sdp import Direction


@dataclass(slots=True)
class Description:
    """What stays and what counts in it.

    Attributes:
        session_id, version: of its `o=` line.
        text: "" before the first.
    """

    session_id: int
    version: int = 1
    text: str = field(default="", repr=False)  # has keys in it

    def write(self, make: Callable[[], tuple[str, Direction]]) -> Direction:
        """Make it again; its version counts up if it became another one."""
        text, direction = make()
        if self.text and text != self.text:
            self.version += 1
            text, direction = make()
        self.text = text
        return direction
