"""What a road is: how one provider hands texts to us, and how it takes ours.

A road is pure, like the protocol cores of `sip` and `media`: the bytes of a request come in and
texts come out, a text goes in and the request that sends it comes out. Sockets, retries, clocks and
the database are with `bridge.road.hook`, `carrier`, `poller` and `bridge.texting`. So one table
of a provider's documented payloads is the whole test of its file.

    in    provider ── POST ──▶ hook ──▶ Road.read ──▶ Arrival, Receipt ──▶ stored ──▶ Road.thanks
    out   stored ──▶ Road.write ──▶ ApiRequest ── POST ──▶ provider ──▶ ApiAnswer ──▶ Road.outcome
    poll  PolledRoad.ask ──▶ ApiRequest ──▶ provider ──▶ ApiAnswer ──▶ PolledRoad.history ──▶ stored

What is acknowledged is stored: `thanks` is sent after the commit and never before. A provider that
has no signature is trusted as far as the secret in the hook's path and its addresses go.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol, runtime_checkable


class RoadError(Exception):
    """A request or an answer of a provider that cannot be used; the text says why, without data."""


class Forged(RoadError):
    """A hook whose signature, secret or address is not the provider's: 403, and nothing is read."""


class Unreadable(RoadError):
    """It is the provider's, but not of the documented form: 400."""


class Writing(Enum):
    """How a provider writes phone numbers."""

    E164 = "e164"  # +15551234567
    BARE = "bare"  # 15551234567
    NATIONAL = "national"  # 5551234567, in North America


@dataclass(frozen=True, slots=True)
class Limits:
    """What a provider carries.

    Attributes:
        characters: longest text of one request; the provider cuts it into parts by itself.
        parts: most parts of one text; more is refused before it is sent.
        media: most attachments of one text, 0 where there are none.
        media_octets: largest attachment.
        media_types: content types of attachments.
        media_inline: attachments go within the request, as `data:` addresses (RFC 2397); else the
            provider fetches them.
        recipients: most numbers of one text; 1 where there are no groups.
        answer_s: the provider repeats or gives up a hook that is not answered within this time.
        writing: how numbers are written.
    """

    characters: int = 1600
    parts: int = 10
    media: int = 0
    media_octets: int = 0
    media_types: tuple[str, ...] = ()
    media_inline: bool = False
    recipients: int = 1
    answer_s: float = 10.0
    writing: Writing = Writing.E164


# --- in


@dataclass(frozen=True, slots=True)
class Hook:
    """A request to our web hook as it came: signatures are over exactly this.

    Attributes:
        method: "GET" or "POST".
        url: as the provider knows it: our public address, path and raw query.
        headers: names in lower case.
        source: the address that it came from, as a trusted proxy says it.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    source: str


@dataclass(frozen=True, slots=True)
class Attachment:
    """A picture or file of an arriving text, to be fetched from the provider.

    Attributes:
        content_type: as the provider says, "" if it does not.
    """

    url: str = field(repr=False)
    content_type: str = ""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A text for one of our numbers.

    Attributes:
        id: the provider's; a repeat has the same.
        sender: a number, a short code or a word, as the provider writes it.
        to: our number.
        group: the other numbers of a group text, without ours; empty for a text to us alone.
    """

    id: str
    sender: str
    to: str
    body: str = field(repr=False)
    attachments: tuple[Attachment, ...] = ()
    group: tuple[str, ...] = ()


class Delivery(Enum):
    """What became of a text of ours. A later state never goes back to an earlier one."""

    TAKEN = "taken"  # the provider has it
    SENT = "sent"  # the phone network has it
    DELIVERED = "delivered"
    READ = "read"  # somebody has seen it
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the provider says later about a text of ours.

    Attributes:
        id: what `Taken.id` was.
        reason: why it failed, in words for a person; "" else.
        to: which recipient it is about, as the provider writes it; "" if it does not say.
    """

    id: str
    state: Delivery
    reason: str = ""
    to: str = ""


@dataclass(frozen=True, slots=True)
class Thanks:
    """What the provider wants to hear once the text is stored."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain"


# --- out


@dataclass(frozen=True, slots=True)
class Departure:
    """A text of ours.

    Attributes:
        key: ours, the same for a repeat; goes out as idempotency key or reference where there is
            such a thing.
        sender: our number in E.164.
        to: recipients in E.164, or as dialled.
        media: addresses of attachments, all of one kind.
        receipts: where delivery receipts are to be sent; None without a public address.
        kind: content type of the attachments, "" without any.
    """

    key: str
    sender: str
    to: tuple[str, ...]
    body: str = field(repr=False)
    media: tuple[str, ...] = ()
    receipts: str | None = None
    kind: str = ""


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """A request to the provider."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class ApiAnswer:
    """What the provider answered.

    Attributes:
        headers: names in lower case.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Taken:
    """The provider has the text.

    Attributes:
        id: the provider's, by which receipts name it; "" if it gives none.
    """

    id: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """The provider does not take it, and will not when asked again."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unsure:
    """Nobody can say whether it was taken: no answer, or one that is no answer.

    Attributes:
        id: by which a receipt would name it all the same, "" if nobody knows.
    """

    reason: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class Later:
    """The provider has not taken it, and may when asked again (429, 503).

    Attributes:
        after: seconds that the provider asks for, None if it does not.
    """

    reason: str
    after: float | None = None


Outcome = Taken | Refused | Unsure | Later


class Road(Protocol):
    """One provider, as one account or number of ours uses it.

    Attributes:
        limits: what it carries.
        repeatable: whether the provider knows a repeated request by `Departure.key`, so that a send
            in doubt may simply be repeated.
    """

    limits: Limits
    repeatable: bool

    def read(self, hook: Hook, now: float) -> Sequence[Arrival | Receipt]:
        """Verify a hook and read it.

        Args:
            now: wall clock, seconds since 1970, for signatures that carry a time.

        Raises:
            Forged: it is not the provider's.
            Unreadable: it is, but not as documented.
        """

    @property
    def thanks(self) -> Thanks:
        """The answer to a hook whose texts are stored."""

    def write(self, text: Departure) -> ApiRequest:
        """The request that sends a text."""

    def outcome(self, answer: ApiAnswer) -> Outcome:
        """What the answer to `write`'s request means."""


@dataclass(frozen=True, slots=True)
class History:
    """A page of what a provider lists.

    Attributes:
        texts: those for numbers of the account, oldest first.
        cursor: where to go on.
        more: whether there is another page; only the cursor after the last is worth keeping,
            because what names a page may not live long.
        unreadable: how many were not as documented, and are left out: one odd text must not keep
            all others from coming.
    """

    texts: Sequence[Arrival]
    cursor: str
    more: bool = False
    unreadable: int = 0


@runtime_checkable
class PolledRoad(Protocol):
    """A road whose texts can be fetched: where the provider has no hook or we no public address,
    and to catch up on what a hook could not bring."""

    def begin(self, now: float) -> str:
        """The cursor of a road that was never asked: only what comes from now on is wanted.

        Args:
            now: wall clock, seconds since 1970.
        """

    def ask(self, cursor: str) -> ApiRequest:
        """The request for a page. Pages overlap, because lists are not always written in the order
        of their times; what comes again is known by its id."""

    def history(self, answer: ApiAnswer, cursor: str) -> History:
        """Read the answer, of status 200, to `ask(cursor)`.

        Raises:
            Unreadable: it is not as documented, or a refusal in the provider's words.
        """


@runtime_checkable
class GuardedMedia(Protocol):
    """A road whose attachments are handed out to the account only."""

    def media_headers(self, url: str) -> Mapping[str, str]:
        """What a request for an attachment has to say; nothing, unless it is the provider's own
        host that is asked: a hook may name any."""
