"""Texts between rooms and phones: `m.room.message` on one side, SIP MESSAGE or a provider on the
other.

Both ways a text is in the database before anybody is told that we have it, and each effect has an
id of ours, so that a repeat does its work once.

    room → phone   `bridge.outbox`
    phone → room   `bridge.delivery`

Texts of one number keep their order, by a queue for each; different numbers do not wait for each
other.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from bridge import wording
from bridge.attachment import Attachments, keep
from bridge.burst import Bursts, FirstContacts
from bridge.charset import decode_text
from bridge.config import LineSection
from bridge.db.interface import DatabaseAway
from bridge.db.portals import Party
from bridge.db.texts import IncomingText, IncomingTexts, OutgoingText, OutgoingTexts
from bridge.delivery import ATTACHMENT, Deliveries
from bridge.ghost import Ghosts
from bridge.handout import FOR_READERS, Handouts
from bridge.matrix.client import MatrixClient
from bridge.matrix.events import FILE_TYPES, Reaction, ReadReceipt, RoomEvent, Text
from bridge.matrix.file import RoomFile
from bridge.matrix.homeserver import MatrixError
from bridge.numbers import PhoneNumber, group_of
from bridge.outbox import Outbox, now_ms, way_name
from bridge.portal import Portal, Portals
from bridge.reading import Reading, keep_wanted
from bridge.road.kind import kind_of
from bridge.road.road import Arrival, Receipt, Writing
from bridge.road.settings import SIP
from bridge.road.way import MessageWay, TrunkPort, Way, receipt_of
from bridge.road.writing import read_number
from bridge.routing import Routing
from bridge.senders import Senders, is_wish
from bridge.spoken import spoken
from bridge.task import Tasks
from bridge.txn import txn_id
from sip.events import MessageNotified, MessageReceived, MessageSent
from sip.presentation import ACCOUNT, Presentation

log = logging.getLogger(__name__)

MAX_STORING = 100  # MESSAGEs that wait for the database at once; more are told to come again
MAX_TOLD = 4096
RETRY_SIGNS = ("🔁", "🔄")


@dataclass(frozen=True, slots=True)
class _Said:
    """A text or a notice about it.

    Attributes:
        key: the same for a repeat.
        msgtype: as in `IncomingText`.
    """

    key: str
    body: str
    msgtype: str = "m.text"


class Texting:
    """Carries texts both ways.

    Args:
        trunks: by name; may be filled after construction.
        roads: how texts leave besides SIP, by name.
        attachments: needed where a road's texts may have any.
        senders: learns from the texts of roads.
        handouts: where files can be fetched that leave as links; None without a public address.
        sleep: waits between attempts; replaced by tests.

    Attributes:
        strangers: who of them gets a room now; calls ask too.
    """

    def __init__(
        self,
        *,
        matrix: MatrixClient,
        ghosts: Ghosts,
        portals: Portals,
        routing: Routing,
        outgoing: OutgoingTexts,
        incoming: IncomingTexts,
        trunks: Mapping[str, TrunkPort],
        roads: Mapping[str, Way] | None = None,
        attachments: Attachments | None = None,
        senders: Senders | None = None,
        handouts: Handouts | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._matrix = matrix
        self._ghosts = ghosts
        self._portals = portals
        self._routing = routing
        self._incoming = incoming
        self._trunks = trunks
        self._senders = senders or Senders()
        self._handouts = handouts
        self._sleep = sleep
        self._tasks = Tasks()
        self._roads = dict(roads or {})
        self._messages: dict[str, MessageWay] = {}
        self._outbox = Outbox(
            matrix=matrix,
            ghosts=ghosts,
            portals=portals,
            routing=routing,
            texts=outgoing,
            find_way=self._find_way,
            notices=self,
            tasks=self._tasks,
            sleep=sleep,
        )
        self.strangers = FirstContacts(sleep=sleep)
        self._deliveries = Deliveries(
            matrix=matrix,
            ghosts=ghosts,
            portals=portals,
            routing=routing,
            texts=incoming,
            attachments=attachments,
            senders=self._senders,
            strangers=self.strangers,
            tasks=self._tasks,
            sleep=sleep,
        )
        self._reading = Reading(
            portals=portals,
            routing=routing,
            texts=incoming,
            trunks=trunks,
            tasks=self._tasks,
            sleep=sleep,
        )
        self._bursts = Bursts(
            texts=incoming, routing=routing, notices=self, tasks=self._tasks, sleep=sleep
        )
        self._told: dict[str, None] = {}
        self._storing = 0

    async def start(self) -> None:
        """Take up what an earlier run left."""
        await self._incoming.prune(now_ms=now_ms())
        await self._outbox.start()
        await self._deliveries.resume()
        await self._bursts.start()

    async def resume(self) -> None:
        """Take up what the database has and nobody works on, after it was away.

        Raises:
            DatabaseAway: it is still away.
        """
        await self._outbox.resume()
        await self._deliveries.resume()

    async def stop(self) -> None:
        """Stop at once: whatever is not done stays in the database."""
        await self._tasks.stop()

    def _find_way(self, name: str) -> Way | None:
        """A way by its name; None if the configuration has it no more."""
        scheme, colon, trunk = name.partition(":")
        if colon and scheme == SIP:
            return self._message_way(trunk) if trunk in self._trunks else None
        return self._roads.get(name)

    def _message_way(self, trunk: str) -> MessageWay:
        way = self._messages.get(trunk)
        if way is None:
            way = self._messages[trunk] = MessageWay(trunk, self._trunks[trunk], self._routing)
        return way

    # --- room to phone

    async def receive(self, portal: Portal, event: RoomEvent, text: Text) -> None:
        """Take a message of a user in a portal; returns when it is stored."""
        if text.msgtype == "m.notice":
            return  # a bot's words are not meant for people on the phone
        words = spoken(text)
        if words is None:
            await self._tell_once(portal, wording.NOT_A_TEXT)
            return
        if text.msgtype in FILE_TYPES and text.edits is None:
            await self._receive_file(portal, event, text)
            return
        if not words.strip() and text.msgtype not in FILE_TYPES:
            await self._tell_once(portal, wording.EMPTY_TEXT)
            return
        if text.edits is not None:
            about_file = text.msgtype in FILE_TYPES
            await self._change(portal, event, text.edits, words, about_file=about_file)
            return
        await self.submit(
            portal.line,
            portal.number,
            words,
            event_id=event.event_id,
            room_id=portal.room_id,
            user=event.sender,
        )

    async def _receive_file(self, portal: Portal, event: RoomEvent, text: Text) -> None:
        if text.file is None:
            await self._tell_once(portal, wording.FILE_UNREADABLE)
            return
        written = OutgoingText(
            event.event_id,
            portal.room_id,
            portal.line,
            portal.number.text,
            text.words,
            now_ms(),
            file=text.file,
        )
        line = self._routing.line(portal.line)
        if line is not None and line.media_links and self._handouts is not None:
            why = self._outbox.file_refusal(line, text.file)
            if why is not None:
                written = await self._as_link(written, text.file, self._handouts)
        await self._outbox.submit(written, event.sender)

    async def _as_link(
        self, text: OutgoingText, file: RoomFile, handouts: Handouts
    ) -> OutgoingText:
        """The same with an address in the place of the file."""
        url = await handouts.put(file, kind_of(file), about=text.event_id, seconds=FOR_READERS)
        return replace(text, body=wording.with_link(text.body, url), file=None)

    async def submit(
        self,
        line_name: str,
        number: PhoneNumber,
        body: str,
        *,
        event_id: str,
        room_id: str,
        user: str,
    ) -> None:
        """Store a text for a phone; it leaves when those before it are done.

        Args:
            event_id: the event that asked for it; a repeat is the same text.
            room_id: where it was asked for, and where its failure is told.
        """
        text = OutgoingText(event_id, room_id, line_name, number.text, body, now_ms())
        await self._outbox.submit(text, user)

    async def _change(
        self, portal: Portal, event: RoomEvent, edited: str, words: str, *, about_file: bool
    ) -> None:
        """Change a text, unless it is too late, or has a link in the place of its file."""
        written = await self._outbox.find(edited)
        if written is not None:
            is_link = about_file and written.file is None
            written = None if is_link or written.room_id != portal.room_id else written
        if written is None or not await self._outbox.change(
            written, words, event.sender, asked_by=event.event_id
        ):
            await self._tell_once(portal, wording.NO_EDITS)

    async def withdraw(self, room_id: str, event_id: str) -> None:
        """Take back a text whose event was redacted, if that is still possible.

        Args:
            room_id: of the redaction; one may name events of other rooms, and means nothing there.
        """
        written = await self._outbox.find(event_id)
        if written is not None and written.room_id != room_id:
            return
        if self._handouts is not None:
            await self._handouts.withdraw(event_id)
        if written is None or await self._outbox.withdraw(written):
            return
        portal = self._portals.by_room(room_id)
        if portal is not None:
            await self._tell_once(portal, wording.NO_WAY_BACK)

    async def react(self, event: RoomEvent, reaction: Reaction) -> None:
        """Take a reaction of a user: one asks to send a text again, the others are texts only
        where the line's setting wants it."""
        if _bare(reaction.key) not in RETRY_SIGNS:
            await self._send_reaction(event, reaction)
            return
        written = await self._outbox.look_up(event.room_id, reaction.to)
        if written is not None and written.room_id == event.room_id:
            await self._outbox.retry(written, event.sender, asked_by=event.event_id)

    async def _send_reaction(self, event: RoomEvent, reaction: Reaction) -> None:
        portal = self._portals.by_room(event.room_id)
        line = None if portal is None else self._routing.line(portal.line)
        is_picture = reaction.key.startswith("mxc:")
        if portal is None or line is None or is_picture or not line.send_reactions:
            return
        await self.submit(
            portal.line,
            portal.number,
            reaction.key,
            event_id=event.event_id,
            room_id=portal.room_id,
            user=event.sender,
        )

    async def retry(
        self, room_id: str, message_id: str | None, user: str, *, asked_by: str
    ) -> str | None:
        """Send a text again that did not arrive, or may not have.

        Args:
            message_id: the text or a notice about it; None for the last one of the room.
            asked_by: the event that asks; a repeat of it asks for nothing new.

        Returns:
            What to say where no such text is known; None if there is one.
        """
        if message_id is None:
            if await self._outbox.is_departure(asked_by):
                return None
            written = await self._outbox.find_failed(room_id)
        else:
            written = await self._outbox.look_up(room_id, message_id)
        if written is None or written.room_id != room_id:
            return wording.NOTHING_TO_RETRY
        await self._outbox.retry(written, user, asked_by=asked_by)
        return None

    async def _tell_once(self, portal: Portal, words: str) -> None:
        txn = txn_id("once", portal.room_id, words)
        if txn in self._told:
            return
        self._told[txn] = None
        while len(self._told) > MAX_TOLD:
            del self._told[next(iter(self._told))]
        sender = self._ghosts.speaker(portal.number)
        try:
            await self._matrix.send_notice(portal.room_id, words, sender=sender, txn_id=txn)
        except MatrixError as error:
            log.warning("a notice could not be sent: %s", error)

    # --- phone to room

    def receive_read(self, receipt: ReadReceipt) -> None:
        """Take a user's read receipt; returns at once."""
        self._reading.receive(receipt)

    def receive_sip(
        self, trunk: str, event: MessageReceived | MessageSent | MessageNotified
    ) -> None:
        """Take a text of a phone, or what became of one of ours; returns at once."""
        match event:
            case MessageSent():
                self._message_way(trunk).receive(event)
            case MessageNotified():
                if (receipt := receipt_of(event)) is not None:
                    self._outbox.receive_receipt(self._message_way(trunk).name, receipt)
            case MessageReceived():
                self._receive_text(trunk, event)

    def _receive_text(self, trunk: str, event: MessageReceived) -> None:
        line = self._routing.called_line(trunk, event)
        text = decode_text(event.body)
        if line is None:
            self._answer(trunk, event, 404)
        elif text is None:
            self._answer(trunk, event, 415)
        elif self._storing >= MAX_STORING:
            self._answer(trunk, event, 503)
        else:
            self._storing += 1
            self._tasks.start("store a text", self._store(trunk, line, event, text))

    def _answer(
        self, trunk: str, event: MessageReceived, status: int, *, sender: Presentation = ACCOUNT
    ) -> None:
        port = self._trunks[trunk]
        port.agent.answer_message(event.id, status, now=port.now(), sender=sender)
        port.pump()

    async def _store(
        self, trunk: str, line: LineSection, event: MessageReceived, body: str
    ) -> None:
        remote = self._routing.remote(event, line)
        said = [_Said(f"sip:{trunk}:{event.key}", body)]
        if (doubt := wording.sender_comes(remote)) is not None:
            said.insert(0, _Said(f"sender:{trunk}:{event.key}", doubt, "m.notice"))
        copies = _copies(line, remote.number, remote.name, said, users=line.users)
        copies = copies if body.strip() else []
        if self._routing.trunks[trunk].read_receipts:
            wanted = keep_wanted(trunk, event.wanted)
            copies = [
                replace(copy, wanted=wanted if copy.msgtype == "m.text" else "") for copy in copies
            ]
        try:
            fresh = await self._deliveries.store(copies)
        except DatabaseAway as error:
            log.warning("a text could not be stored: %s", error)
            self._answer(trunk, event, 500)
            return
        except Exception:  # the top of this MESSAGE: its sender keeps the text
            log.exception("a text could not be stored")
            self._answer(trunk, event, 500)
            return
        finally:
            self._storing -= 1
        self._answer(trunk, event, 200, sender=self._routing.presentation(line))
        await self._take([copies], fresh)

    async def receive_hook(self, road: str, happenings: Sequence[Arrival | Receipt]) -> bool:
        """Take what a provider pushed; returns when it is stored.

        Returns:
            False if a text is for a number that no line has: what came is not acknowledged then,
            so that it may come again when the configuration is mended.
        """
        arrivals: list[list[IncomingText]] = []
        placed = True
        for happening in happenings:
            if isinstance(happening, Receipt):
                await self._outbox.take_receipt(road, happening)
                continue
            line = self._routing.texted_line(road, happening.to)
            if line is None:
                log.warning("road %s: a text for a number that no line has comes this way", road)
                placed = False
                continue
            writing = self._routing.writing(road)
            number = read_number(happening.sender, writing, line.region)
            name = "" if number.text.lstrip("+").isdigit() else happening.sender
            group = self._group(line, writing, number, happening)
            said = _said(road, happening, None if group is not None else number)
            said += await self._learn(road, line, number, happening)
            if group is not None:
                copies = _copies(line, group, "", said, users=line.users, sender=number)
            else:
                copies = _copies(line, number, name, said, users=line.users)
            arrivals.append(copies)
        fresh = await self._deliveries.store([copy for copies in arrivals for copy in copies])
        await self._take(arrivals, fresh)
        return placed

    def _group(
        self, line: LineSection, writing: Writing, sender: PhoneNumber, text: Arrival
    ) -> PhoneNumber | None:
        """The group that a text went to, without us; None for a text to us alone, and where an
        answer could not go to all of them."""
        if not text.group:
            return None
        others = [read_number(number, writing, line.region) for number in text.group]
        group = group_of([sender, *others])
        way = self._find_way(way_name(line))
        fits = way is not None and 1 < len(group.members) <= way.recipients
        return group if fits and all(one.is_e164 for one in group.members) else None

    async def _learn(
        self, road: str, line: LineSection, number: PhoneNumber, text: Arrival
    ) -> list[_Said]:
        """Take what a text says of its sender; returns what to say of that."""
        key = _key(road, text)
        if is_wish(text.body) and await self._incoming.has(key):
            return []  # a list of old texts has it still, and it may not hold any more
        if not await self._senders.learn(line.name, number, text.body):
            return []
        has_stopped = self._senders.has_stopped(line.name, number)
        words = wording.STOPPED if has_stopped else wording.STARTED
        if text.group:  # whose room may be that of others too
            words = f"{number.show()}: {words}"
        return [_Said(f"{key}:wish", words, "m.notice")]

    async def receive_polled(self, road: str, texts: Sequence[Arrival]) -> None:
        """Take what was fetched from a provider; returns when it is stored. A list has the texts of
        the whole account: those for numbers that no line has are left there."""
        ours = [text for text in texts if self._routing.texted_line(road, text.to) is not None]
        await self.receive_hook(road, ours)

    async def _take(
        self, arrivals: Sequence[Sequence[IncomingText]], fresh: Sequence[IncomingText]
    ) -> None:
        """Say what is new of what came, or fold it.

        Args:
            arrivals: for each text, the copies of all that belongs to it.
            fresh: the copies that are no repeats.
        """
        new = {(text.key, text.user_id): text for text in fresh}
        folded: list[IncomingText] = []
        for copies in arrivals:
            texts = [new[key] for copy in copies if (key := (copy.key, copy.user_id)) in new]
            if texts and not self._bursts.admits(texts[0], now_ms()):
                folded += texts
                continue
            for text in texts:
                self._deliveries.add(text)
        await self._bursts.fold(folded)

    async def more(self, room_id: str) -> str:
        """Say folded texts of the number of this room; returns what to say of them."""
        portal = self._portals.by_room(room_id)
        if portal is None:
            return wording.MORE_WHERE
        party = Party(portal.line, portal.number.text, portal.user)
        texts, left = await self._bursts.more(party)
        for text in texts:
            self._deliveries.add(text)
        return wording.unfolded(left) if texts else wording.NOTHING_FOLDED

    async def leave_notice(
        self, line: LineSection, number: PhoneNumber, user: str, text: str, *, name: str, key: str
    ) -> None:
        """Say something about a number to one user of the line, as soon as the homeserver takes it.

        Args:
            key: a repeat with the same key is the same notice.
        """
        notice = _copies(line, number, name, [_Said(key, text, "m.notice")], users=(user,))
        await self._deliveries.leave(notice)


def _key(road: str, text: Arrival) -> str:
    return f"road:{road}:{text.id}"


def _said(road: str, text: Arrival, sender: PhoneNumber | None) -> list[_Said]:
    """All that is to be said about a text of a road, in order.

    Args:
        sender: to whom alone an answer goes; None where it goes to all.
    """
    key = _key(road, text)
    said = [_Said(key, text.body.replace("\x00", "\ufffd"))] if text.body.strip() else []
    said += [
        _Said(f"{key}:attachment:{index}", keep(attachment, road), ATTACHMENT)
        for index, attachment in enumerate(text.attachments)
    ]
    if text.group and sender is not None:
        words = wording.group_text(sender.show(), text.group)
        said.append(_Said(f"{key}:group", words, "m.notice"))
    return said


def _copies(
    line: LineSection,
    number: PhoneNumber,
    name: str,
    said: Sequence[_Said],
    *,
    users: Sequence[str],
    sender: PhoneNumber | None = None,
) -> list[IncomingText]:
    """One of each for each of these users of the line.

    Args:
        sender: who of a group it is of.
    """
    created_ms = now_ms()
    return [
        IncomingText(
            key=one.key,
            user_id=user,
            line=line.name,
            number=number.text,
            name=name,
            msgtype=one.msgtype,
            body=one.body,
            created_ms=created_ms,
            sender="" if sender is None or one.msgtype == "m.notice" else sender.text,
        )
        for user in users
        for one in said
    ]


def _bare(sign: str) -> str:
    """An emoji without the mark that asks for its coloured form."""
    return sign.strip().removesuffix("\ufe0f")
