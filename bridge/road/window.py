"""Where a poll stands in a list that a provider shows newest first, page by page, from a time on.

The next list begins at the newest text that was seen, once all pages of this one are through.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bridge.road.road import Arrival, History, Unreadable

# Texts may appear in a list later than others that are newer.
OVERLAP = 600

Dated = tuple[int, Arrival]


@dataclass(frozen=True, slots=True)
class Window:
    """A cursor, read.

    Attributes:
        since: from where the list is asked for, seconds since 1970.
        newest: of the texts seen so far, the same.
        page: what names the next page, "" for the first.
    """

    since: int
    newest: int
    page: str = ""

    def write(self) -> str:
        """The cursor."""
        return f"{self.since} {self.newest} {self.page}".rstrip()

    def turn(
        self, items: Iterable[Any], read: Callable[[Any], Dated | None], *, next_page: str
    ) -> History:
        """Read a page.

        Args:
            read: one item: its time and text, None if it is no text for us; may raise `Unreadable`.
            next_page: what names the page after this one, "" after the last.
        """
        found: list[Dated] = []
        unreadable = 0
        for item in items:
            try:
                dated = read(item)
            except Unreadable:
                unreadable += 1
            else:
                found += [dated] if dated is not None else []
        found.sort(key=lambda dated: dated[0])
        newest = max(self.newest, found[-1][0]) if found else self.newest
        window = Window(self.since if next_page else newest, newest, next_page)
        texts = tuple(text for _, text in found)
        return History(texts, window.write(), next_page != "", unreadable)


def begin(now: float) -> str:
    """The cursor of a list that begins now."""
    return Window(int(now), int(now)).write()


def read_cursor(cursor: str) -> Window:
    """What `Window.write` wrote."""
    since, _, rest = cursor.partition(" ")
    newest, _, page = rest.partition(" ")
    return Window(int(since), int(newest), page)


def iso(seconds: int) -> str:
    """A time as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_of(time: datetime) -> int:
    """A time as seconds since 1970; one without a zone is UTC."""
    return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())


def read_iso(text: str) -> int:
    """A time of ISO 8601 as seconds since 1970.

    Raises:
        Unreadable: it is none.
    """
    try:
        return seconds_of(datetime.fromisoformat(text))
    except (ValueError, OverflowError) as error:
        raise Unreadable("a time that is none") from error
