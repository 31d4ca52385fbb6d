"""What a session does beside carrying the call, as its user orders it, and what it tells of that.

An order is a value: `session.perform(Play(...))`. It returns at once, like every verb of the plane;
what comes of it arrives as an event. After rtpengine's "play media", "play DTMF" and "start
recording".
"""

from dataclasses import dataclass
from enum import Enum
from pathlib import PurePath

from media.dtmf import DIGITS
from media.side import Side


@dataclass(frozen=True, slots=True)
class Press:
    """Send a digit of ours to `side`: as a telephone-event (RFC 4733), or as the tones that it
    stands for where the side takes none. Digits wait for each other, and for the end of a hold. A
    side for which `digits_in_media` is off is sent nothing.

    Attributes:
        digit: one of 0-9, *, #, A-D; else `ValueError`.
        duration_ms: 100 at least go out, and 10 000 at most.
    """

    side: Side
    digit: str
    duration_ms: int = 100

    def __post_init__(self) -> None:
        _check_digit(self.digit)


@dataclass(frozen=True, slots=True)
class TakeDigit:
    """`side` pressed a digit and said so beside its media (SIP INFO).

    It is treated like one that came in the media: told as `Digit` and passed on. If the media bring
    digits too, it is dropped: some PBXs say everything twice.
    """

    side: Side
    digit: str
    duration_ms: int

    def __post_init__(self) -> None:
        _check_digit(self.digit)


class Tone(Enum):
    """Call progress tones (ITU-T E.182)."""

    RINGBACK = "ringback"  # the far end rings
    BUSY = "busy"
    CONGESTION = "congestion"  # no line; "reorder" in North America
    INFORMATION = "information"  # three notes: an announcement follows, or the number is not in use
    BEEP = "beep"  # speak now: what answering machines say, of no recommendation


@dataclass(frozen=True, slots=True)
class ToneSignal:
    """A tone as a country has it.

    Attributes:
        country: as in ISO 3166-1, "DE"; one that is not known has what ITU-T E.180 recommends.
    """

    tone: Tone
    country: str = ""


@dataclass(frozen=True, slots=True)
class SoundFile:
    """A file: WAV, Ogg, Opus, MP3 and whatever else FFmpeg reads; its first ten minutes.

    Attributes:
        path: on the machine of the engine's user, who must be able to read it.
    """

    path: str


Prompt = ToneSignal | SoundFile


@dataclass(frozen=True, slots=True)
class Accept:
    """Take the call that `side` offered ourselves, before the other side answers or without it:
    AnswerReady(side) follows. Who answers later joins. Nothing happens if it was answered."""

    side: Side


@dataclass(frozen=True, slots=True)
class Play:
    """Let `side` hear something in place of the other side, which goes on unheard.

    As soon as there are terms with `side`: before the other side answered by `Accept`. What is
    playing there already ends (`PlayEnd.REPLACED`); `Played` tells of the end.

    Attributes:
        repeat: how often, of a tone its whole cadence; None: until it is stopped.
        until_digit: a key that `side` presses while it is played ends it (barge-in).
    """

    side: Side
    prompt: Prompt
    repeat: int | None = 1
    until_digit: bool = False

    def __post_init__(self) -> None:
        if self.repeat is not None and self.repeat < 1:
            raise ValueError("what is played is played once at least")


@dataclass(frozen=True, slots=True)
class StopPlaying:
    """End what `side` hears of ours."""

    side: Side


@dataclass(frozen=True, slots=True)
class Expect:
    """From now on `side` is to be heard: it was answered early, and might be silent while it
    rang."""

    side: Side


@dataclass(frozen=True, slots=True)
class Record:
    """Store what is said as an Ogg Opus file (RFC 7845), one recording at a time; `Recorded` tells
    of its end. Silence before and between is part of it, and half a second of what ended it.

    Attributes:
        path: where the file will be once it is whole; one that is there is replaced. Until then its
            name begins with a dot and ends with ".part".
        side: whom; None for both, mixed.
        max_seconds: at most an hour.
        max_bytes: of sound.
        silence: seconds without a sound above -45 dBov after which it ends; None: never, and
            silence at the end is kept, too.
        until_digit: a digit of `side` (of either, if it is None) ends it.
    """

    path: str
    side: Side | None = None
    max_seconds: float = 300.0
    max_bytes: int = 8_000_000
    silence: float | None = None
    until_digit: bool = False

    def __post_init__(self) -> None:
        if not PurePath(self.path).name or "\0" in self.path:
            raise ValueError(f"not the name of a file: {self.path!r}")
        if not 0 < self.max_seconds <= 3600 or self.max_bytes <= 0:
            raise ValueError("a recording needs a limit, of an hour at most")


@dataclass(frozen=True, slots=True)
class StopRecording:
    """End the recording."""


@dataclass(frozen=True, slots=True)
class Collect:
    """Gather digits of `side`; `Collected` tells of them. Each is told as `Digit` too, and the
    other side hears them as ever.

    A second order for the same side ends the first. Patience begins when nothing is played to the
    side; with `Play.until_digit` the first digit ends the prompt.

    Attributes:
        most: so many end it.
        terminators: each of these ends it, and is not among the digits.
        first_timeout: seconds for the first digit.
        digit_timeout: seconds from one digit to the next.
    """

    side: Side
    most: int = 32
    terminators: str = "#"
    first_timeout: float = 10.0
    digit_timeout: float = 4.0

    def __post_init__(self) -> None:
        if not 1 <= self.most <= 64:
            raise ValueError("from 1 to 64 digits can be collected")


@dataclass(frozen=True, slots=True)
class Listen:
    """Tell how loud `side` is: a `Level` every so often, until the next order.

    Attributes:
        interval: seconds from one to the next, a tenth at least; None: no more.
    """

    side: Side
    interval: float | None = 1.0

    def __post_init__(self) -> None:
        if self.interval is not None and self.interval < 0.1:
            raise ValueError("a level is told ten times a second at most")


@dataclass(frozen=True, slots=True)
class StopCollecting:
    """End gathering the digits of `side`."""

    side: Side


def _check_digit(digit: str) -> None:
    if len(digit) != 1 or digit not in DIGITS:
        raise ValueError(f"not a DTMF digit: {digit!r}")


Order = (
    Accept
    | Press
    | TakeDigit
    | Play
    | StopPlaying
    | Record
    | StopRecording
    | Collect
    | StopCollecting
    | Listen
    | Expect
)


# --- what is told of them


class PlayEnd(Enum):
    """Why something is no longer played."""

    FINISHED = "finished"
    STOPPED = "stopped"  # by order, or with the session
    DIGIT = "digit"  # the side pressed one
    REPLACED = "replaced"  # by something else that was played
    FAILED = "failed"  # nothing agreed with that side yet, or the file cannot be read


@dataclass(frozen=True, slots=True)
class Played:
    """What `Play` began has ended.

    Attributes:
        seconds: for how long it was heard.
        text: of a failure, in words for a person.
    """

    side: Side
    reason: PlayEnd
    seconds: float
    text: str = ""


class RecordEnd(Enum):
    """Why a recording ended."""

    STOPPED = "stopped"  # by order, or with the session
    DIGIT = "digit"
    SILENCE = "silence"
    LIMIT = "limit"  # of seconds or bytes
    FAILED = "failed"  # the file cannot be written, or the engine stopped


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recording has ended, and its file is whole.

    Attributes:
        path: None if there is no file.
        size: of the file, in bytes.
        level_dbov: the mean level.
        waveform: at most 100 values from 0 to 1024 for a voice message (MSC3246).
        text: of a failure, in words for a person.
    """

    path: str | None
    reason: RecordEnd
    seconds: float = 0.0
    size: int = 0
    level_dbov: float | None = None
    waveform: tuple[int, ...] = ()
    text: str = ""


@dataclass(frozen=True, slots=True)
class Level:
    """How loud a side that is listened to has been since the last one.

    Attributes:
        dbov: the mean, from -127 for nothing; speech is around -30.
        quiet_seconds: for how long nothing above -45 dBov has been heard.
    """

    side: Side
    dbov: float
    quiet_seconds: float


class CollectEnd(Enum):
    """Why no more digits are collected."""

    FULL = "full"
    TERMINATOR = "terminator"
    TIMEOUT = "timeout"
    STOPPED = "stopped"  # by order, by another `Collect`, or with the session


@dataclass(frozen=True, slots=True)
class Collected:
    """What `Collect` gathered.

    Attributes:
        digits: perhaps none.
        terminator: the digit that ended them, if one did.
    """

    side: Side
    digits: str
    reason: CollectEnd
    terminator: str = ""


Ordered = Played | Recorded | Collected | Level
