"""What is known of those who write to us, beyond their number: who is no phone, and who wants no
more texts.

A sender that is a word or a short number, as a provider's road brings it, can be called by nobody,
and a word cannot be answered either. A number that has said STOP is blocked by its carrier or ours
until it says START, and every text to it costs reputation: so we do not even try.

All of it is in memory, a few octets for each such number, because a call must not wait for the
database.
"""

from bridge.db.senders import SenderTable
from bridge.numbers import PhoneNumber

# The words that carriers themselves act upon, when they are the whole text. Others that some act
# upon too (CANCEL, END, QUIT, YES) are what friends answer each other; where such a one has blocked
# a number, the provider's refusal says so.
STOP_WORDS = frozenset({"STOP", "STOPALL", "STOP ALL", "UNSUBSCRIBE"})
START_WORDS = frozenset({"START", "UNSTOP"})


def is_wish(body: str) -> bool:
    """Whether a text asks for no more texts, or for texts again."""
    return _word(body) in STOP_WORDS | START_WORDS


def _word(body: str) -> str:
    return " ".join(body.split()).upper()


class Senders:
    """Knows senders. Before it is loaded, what it learns lasts as long as it."""

    def __init__(self) -> None:
        self._table: SenderTable | None = None
        self._codes: set[tuple[str, str]] = set()
        self._stopped: set[tuple[str, str]] = set()

    async def load(self, table: SenderTable) -> None:
        """Read what earlier runs have learned."""
        self._table = table
        for row in await table.all():
            key = (row.line, row.number)
            if row.is_code:
                self._codes.add(key)
            if row.has_stopped:
                self._stopped.add(key)

    async def learn(self, line: str, number: PhoneNumber, body: str) -> bool:
        """Take what a text by a road says of its sender; returns when it is stored.

        Returns:
            Whether it has stopped or started with this text.
        """
        key = (line, number.text)
        is_code = not (number.is_e164 or number.is_anonymous)
        word = _word(body)
        was = (key in self._codes, key in self._stopped)
        stopped = word in STOP_WORDS or (was[1] and word not in START_WORDS)
        if (is_code, stopped) == was:
            return False
        if self._table is not None:
            await self._table.put(line, number.text, is_code=is_code, has_stopped=stopped)
        for known, is_so in ((self._codes, is_code), (self._stopped, stopped)):
            if is_so:
                known.add(key)
            else:
                known.discard(key)
        return stopped != was[1]

    def is_code(self, line: str, number: PhoneNumber) -> bool:
        """Whether this is a short number or a word, which no call reaches."""
        return (line, number.text) in self._codes

    def has_stopped(self, line: str, number: PhoneNumber) -> bool:
        """Whether the number has said STOP, and not START since."""
        return (line, number.text) in self._stopped
