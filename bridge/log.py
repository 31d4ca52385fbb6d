"""What reaches the log: plain lines on standard error, without secrets and without whole numbers.

The first rule is that nobody logs a body, a key or a token. This is the second net: the configured
secrets are cut out of every line by value, and whatever looks like a phone number keeps its last
two digits, at every level and in tracebacks too, since what goes wrong is often shown with what it
went wrong on.
"""

import logging
import re
from collections.abc import Iterable

_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
# Shorter ones would cut harmless words to pieces.
_SHORTEST_SECRET = 4
# A number after a plus or a word that says so, whatever follows it; or standing alone. Hexadecimal
# identifiers, addresses, event ids and fractions have letters, dots or colons around them.
_NUMBER = re.compile(
    r"(?:(?<=\+)|(?<=tel_)|(?<=sip:)|(?<=sips:)|(?<=tel:)|(?<![\w.:$!/%+-]))\d{5,15}(?![\w:]|\.\d)"
    r"|(?<=\+)\d{5,15}|(?<=tel_)\d{5,15}"
)
_FEWEST_DIGITS = 7


def shorten_numbers(text: str) -> str:
    """The text with every phone number down to its last two digits."""
    return _NUMBER.sub(_shorten, text)


def _shorten(match: re.Match[str]) -> str:
    digits = match[0]
    before = match.string[max(0, match.start() - 1) : match.start()]
    if len(digits) < _FEWEST_DIGITS and before not in ("+", "_", ":"):
        return digits
    return f"…{digits[-2:]}"


class RedactingFormatter(logging.Formatter):
    """Formats a record, then takes out what must not be in it."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__(_FORMAT)
        # The longest first, so that a secret that is a part of another does not leave the rest.
        known = sorted({text for text in secrets if len(text) >= _SHORTEST_SECRET}, key=len)
        self._secrets = re.compile("|".join(map(re.escape, reversed(known)))) if known else None

    def format(self, record: logging.LogRecord) -> str:
        head, colon, rest = super().format(record).partition(f"{record.name}: ")
        if self._secrets is not None:
            rest = self._secrets.sub("[secret]", rest)
        return head + colon + shorten_numbers(rest)


def set_up_logging(level: str, secrets: Iterable[str] = ()) -> None:
    """Send all logs to standard error.

    Args:
        level: "debug", "info" or "warning", for what is ours; the libraries are quieter, because at
            DEBUG they print bodies.
        secrets: never shown.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(RedactingFormatter(secrets))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for ours in ("bridge", "sip", "media"):
        logging.getLogger(ours).setLevel(level.upper())
    for loud in ("mau", "aiohttp", "asyncio", "aiosqlite", "asyncpg"):
        logging.getLogger(loud).setLevel(logging.WARNING)
