"""How texts leave: over a trunk by SIP MESSAGE, or over a road by its provider's interface.

Both are a `Way`; `bridge.texting` knows no other difference between them. A way does not decide
what is told to people or when something is tried again: it says what became of one attempt.
"""

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

from bridge import wording
from bridge.config import LineSection
from bridge.db.texts import OutgoingText
from bridge.handout import FOR_PROVIDERS, Handouts
from bridge.matrix.file import FileError, FileTooLarge, RoomFile
from bridge.matrix.repository import RoomFiles
from bridge.numbers import NotANumber, PhoneNumber
from bridge.road.carrier import Carrier
from bridge.road.kind import is_scalable, kind_of
from bridge.road.road import (
    Delivery,
    Departure,
    Later,
    Outcome,
    Receipt,
    Refused,
    Road,
    Taken,
    Unsure,
)
from bridge.road.segments import count
from bridge.road.writing import write_number
from bridge.routing import Routing
from sip.agent import UserAgent
from sip.errors import LocalError
from sip.events import Body, MessageNotified, MessageSent
from sip.imdn import Status, Wish
from sip.io.client import TrunkStatus

log = logging.getLogger(__name__)

PLAIN = "text/plain;charset=UTF-8"
ANSWER_LIMIT = 45.0  # beyond the agent's own 32 s: then something is wrong with us
RECEIPTS = frozenset({Wish.POSITIVE_DELIVERY, Wish.NEGATIVE_DELIVERY, Wish.DISPLAY})

Leaving = Callable[[], Awaitable[None]]


class TrunkPort(Protocol):
    """What texting needs of `sip.io.client.TrunkClient`."""

    agent: UserAgent

    @property
    def status(self) -> TrunkStatus: ...

    def now(self) -> float: ...

    def pump(self) -> None: ...


class Way(Protocol):
    """Takes texts of our lines to phones.

    Attributes:
        name: as the database knows it.
        repeatable: whether an attempt in doubt may be made again without doubling the text.
        has_receipts: whether it may say later what became of a text that it took.
        recipients: most numbers of one text, all of whom see it and each other's answers.
    """

    @property
    def name(self) -> str: ...

    @property
    def repeatable(self) -> bool: ...

    @property
    def has_receipts(self) -> bool: ...

    @property
    def recipients(self) -> int: ...

    def refusal(self, body: str, file: RoomFile | None = None) -> str | None:
        """Why a text cannot go this way at all, in words for its author; None if it can."""

    def file_refusal(self, file: RoomFile) -> str | None:
        """Why a file cannot go this way, as a part of a sentence; None if it can."""

    def warning(self, body: str) -> str | None:
        """What its author should know before it leaves, and confirm; None if there is nothing."""

    async def send(self, line: LineSection, text: OutgoingText, leaving: Leaving) -> Outcome:
        """Make one attempt.

        Args:
            leaving: awaited right before the bytes may leave.
        """


class MessageWay:
    """SIP MESSAGE on a trunk (RFC 3428). There is no way to know a repeat as one for certain."""

    repeatable = False
    recipients = 1

    def __init__(self, name: str, trunk: TrunkPort, routing: Routing) -> None:
        self._trunk_name = name
        self._trunk = trunk
        self._routing = routing
        self._answers: dict[str, asyncio.Future[MessageSent]] = {}

    @property
    def name(self) -> str:
        return f"sip:{self._trunk_name}"

    @property
    def has_receipts(self) -> bool:
        return self._routing.trunks[self._trunk_name].delivery_receipts

    def refusal(self, body: str, file: RoomFile | None = None) -> str | None:
        """A trunk says itself which words it does not take."""
        return None if file is None else wording.file_refused(self.file_refusal(file))

    def file_refusal(self, file: RoomFile) -> str:
        """MESSAGE may carry anything, and no phone or provider takes more than words by it."""
        return wording.WORDS_ONLY

    def warning(self, body: str) -> str | None:
        """What a MESSAGE costs does not depend on its length."""
        return None

    async def send(self, line: LineSection, text: OutgoingText, leaving: Leaving) -> Outcome:
        """Send the MESSAGE and wait for its outcome."""
        trunk = self._trunk
        if not trunk.status.up:
            return Later(f"the phone line is down: {trunk.status.text}")
        await leaving()
        try:
            id = trunk.agent.send_message(
                self._routing.target(line, PhoneNumber(text.number)),
                Body(PLAIN, text.body.encode("utf-8", "replace")),
                now=trunk.now(),
                sender=self._routing.presentation(line),
                key=text.event_id,
                wishes=RECEIPTS if self.has_receipts else frozenset(),
                sent_at=_iso_time(text.created_ms),
            )
        except LocalError as error:
            return Refused(str(error))
        self._answers[id] = asyncio.get_running_loop().create_future()
        try:
            trunk.pump()
            async with asyncio.timeout(ANSWER_LIMIT):
                return _outcome(await self._answers[id])
        except TimeoutError:
            return Unsure("no outcome", id)
        finally:
            del self._answers[id]

    def receive(self, event: MessageSent) -> None:
        """Take the outcome of a MESSAGE of ours."""
        answer = self._answers.get(event.id)
        if answer is not None and not answer.done():
            answer.set_result(event)


class RoadWay:
    """A provider's interface.

    Args:
        receipts: the address for delivery receipts, None where there is none.
        parts: texts of more parts are refused.
        warn_parts: texts of more parts are warned of.
        files: where the files of texts are read; None where none are sent.
        handouts: where a provider may fetch them; None without a public address.
    """

    def __init__(
        self,
        name: str,
        road: Road,
        carrier: Carrier,
        *,
        receipts: str | None,
        parts: int,
        warn_parts: int = 255,
        files: RoomFiles | None = None,
        handouts: Handouts | None = None,
    ) -> None:
        self._name = name
        self._road = road
        self._carrier = carrier
        self._receipts = receipts
        self._parts = min(parts, road.limits.parts)
        self._warn_parts = warn_parts
        self._files = files
        self._handouts = handouts

    @property
    def name(self) -> str:
        return self._name

    @property
    def repeatable(self) -> bool:
        return self._road.repeatable

    @property
    def has_receipts(self) -> bool:
        return self._receipts is not None

    @property
    def recipients(self) -> int:
        return self._road.limits.recipients

    def refusal(self, body: str, file: RoomFile | None = None) -> str | None:
        """What the provider would refuse, or what would cost more than the owner wants."""
        longest = self._road.limits.characters
        if len(body) > longest:
            return wording.text_too_long(len(body), longest)
        if file is not None:  # an MMS is one, however long its words are
            why = self.file_refusal(file)
            return None if why is None else wording.file_refused(why)
        parts = count(body).parts
        return wording.text_in_parts(parts, self._parts) if parts > self._parts else None

    def file_refusal(self, file: RoomFile) -> str | None:
        """What the provider does not take, as far as the file's sender says the truth of it."""
        limits = self._road.limits
        if not limits.media or self._files is None:
            return wording.WORDS_ONLY
        if not limits.media_inline and self._handouts is None:
            return wording.NO_PUBLIC_ADDRESS
        if is_scalable(file):
            return None
        if kind_of(file) not in limits.media_types:
            return wording.KIND_NOT_CARRIED
        if (file.octets or 0) > limits.media_octets:
            return wording.file_too_large(file.octets or 0, limits.media_octets)
        return None

    def warning(self, body: str) -> str | None:
        """What is not forbidden, but costs more than its author may think."""
        parts = count(body).parts
        return wording.text_costs(parts) if parts > self._warn_parts else None

    async def send(self, line: LineSection, text: OutgoingText, leaving: Leaving) -> Outcome:
        """Hand the text to the provider."""
        assert line.number is not None, "the configuration demands one"
        writing = self._road.limits.writing
        try:
            sender = write_number(PhoneNumber(line.number), writing)
            to = tuple(write_number(number, writing) for number in PhoneNumber(text.number).members)
            media, kind = ("", "") if text.file is None else await self._media(text, text.file)
        except NotANumber as error:
            return Refused(str(error))
        except FileError as error:
            words = wording.file_unreadable(str(error))
            return Refused(words) if error.final else Later(words)
        departure = Departure(
            text.event_id,
            sender,
            to,
            text.body,
            media=(media,) if media else (),
            kind=kind,
            receipts=self._receipts,
        )
        return await self._carrier.carry(self._road, departure, leaving)

    async def _media(self, text: OutgoingText, file: RoomFile) -> tuple[str, str]:
        """Where the provider finds a file, and its content type. It is read before, so that its
        author hears at once if it is not there, or not what its message said of it.

        Raises:
            FileError: it cannot go.
        """
        refusal = self.file_refusal(file)
        if refusal is not None or self._files is None:
            raise FileError(refusal or wording.WORDS_ONLY, final=True)
        file, kind, data = await self._read(self._files, file)
        if self._road.limits.media_inline or self._handouts is None:
            return f"data:{kind};base64,{base64.b64encode(data).decode()}", kind
        most = self._road.limits.media_octets
        url = await self._handouts.put(
            file, kind, about=text.message_id, most=most, seconds=FOR_PROVIDERS
        )
        return url, kind

    async def _read(self, files: RoomFiles, file: RoomFile) -> tuple[RoomFile, str, bytes]:
        """The file as the road can carry it: as it is, or the homeserver's smaller picture.

        Raises:
            FileError: neither can be had.
        """
        limits, kind = self._road.limits, kind_of(file)
        why: FileError = FileError(wording.KIND_NOT_CARRIED, final=True)
        if kind in limits.media_types:
            try:
                data, _ = await files.read(file, most=limits.media_octets)
            except FileTooLarge as error:
                why = error
            else:
                return file, kind, data
        if not is_scalable(file):
            raise why
        scaled = replace(file, scaled=True)
        try:
            data, made = await files.read(scaled, most=limits.media_octets)
        except FileError as error:
            raise (why if error.final else error) from error
        if made not in limits.media_types:
            raise why
        return scaled, made, data


def receipt_of(event: MessageNotified) -> Receipt | None:
    """A recipient's notification (RFC 5438) as a receipt; None for what is no news."""
    match event.status:
        case Status.DELIVERED:
            return Receipt(event.id, Delivery.DELIVERED)
        case Status.DISPLAYED:
            return Receipt(event.id, Delivery.READ)
        case Status.FAILED:
            return Receipt(event.id, Delivery.FAILED, wording.LOST)
        case _:
            return None


def _outcome(event: MessageSent) -> Outcome:
    if not event.answered:
        return Unsure("no answer came", event.id)
    if 200 <= event.status < 300:
        return Taken(event.id)
    if event.status == 503:
        return Later(wording.message_refused(event.status, event.reason))
    log.info("a text was refused with %d", event.status)
    return Refused(wording.message_refused(event.status, event.reason))


def _iso_time(ms: int) -> str:
    """Date and time of RFC 3339."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")
