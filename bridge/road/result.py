"""What the status of a provider's answer means, where all of them agree.

A refusal with a reason in the body is each provider's own. What matters is the line between "not
taken, ask again" and "nobody knows": a 503 or 429 is said before anything was done, while a gateway
that answers 500, 502 or 504 may have handed the text on first.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from bridge.road import payload
from bridge.road.road import ApiAnswer, Later, Outcome, Refused, Taken, Unsure

Failure = Later | Refused | Unsure

# A provider that sends us away for longer is asked again all the same.
LONGEST_AFTER = 3600.0
# Of a provider's own words about a failure, which are shown to people.
LONGEST_WORDS = 200
# A receipt that says only that a text was not delivered.
NO_REASON = "the network did not say why"


def by_status(answer: ApiAnswer) -> Failure | None:
    """The outcome, None where the body has to say it."""
    match answer.status:
        case 429 | 503:
            return Later(f"the provider is busy ({answer.status})", _after(answer))
        case 401:
            return Refused("the provider does not know our credentials (401)")
        case status if status >= 500:
            return Unsure(f"the provider answered {status}")
        case _:
            return None


Path = Sequence[str | int]


def read_outcome(
    answer: ApiAnswer, *, statuses: Sequence[int], id: Path, words: Sequence[Path]
) -> Outcome:
    """What an answer in JSON means, of most providers.

    Args:
        statuses: of success.
        id: where the provider's id of the text stands then.
        words: where its words about a failure stand, the best place first.
    """
    if (other := by_status(answer)) is not None:
        return other
    said = payload.document(answer.body)
    if answer.status in statuses:
        return Taken(payload.text_at(said, *id))
    found = (payload.text_at(said, *path) for path in words)
    return refused(answer, next(filter(None, found), ""))


def refused(answer: ApiAnswer, words: str = "") -> Refused:
    """A refusal in the provider's words, or with its status where it has none."""
    return Refused(words.strip()[:LONGEST_WORDS] or f"the provider answered {answer.status}")


def _after(answer: ApiAnswer) -> float | None:
    """Seconds until we may ask again (RFC 9110 §10.2.3); None where that is not said."""
    told = answer.headers.get("retry-after", "").strip()
    if told.isascii() and told.isdecimal() and len(told) < 9:
        return min(float(told), LONGEST_AFTER)
    # A date, by the provider's own clock.
    until, now = _date(told), _date(answer.headers.get("date", ""))
    if until is None or now is None:
        return None
    return min(max(0.0, (until - now).total_seconds()), LONGEST_AFTER)


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)
