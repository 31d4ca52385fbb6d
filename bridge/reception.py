"""Takes each room event to where it is handled: the exchange, texting, the bot, or nowhere.

Also what happens when somebody opens a chat with a ghost or the bot. A client that dials from its
pad invites the ghost and calls at once, and the homeserver gives us nothing from before the ghost
has joined: so the ghost joins first, and then what was said meanwhile is read from the room.
"""

import logging
import time

from bridge import wording
from bridge.bot import Bot
from bridge.call.exchange import Exchange
from bridge.commands import Commands
from bridge.ghost import Ghosts
from bridge.matrix.client import MatrixClient
from bridge.matrix.events import (
    CallHangup,
    CallInvite,
    CallReject,
    Membership,
    RoomEvent,
    Text,
    parse_call_event,
    parse_membership,
    parse_reaction,
    parse_redaction,
    parse_text,
)
from bridge.matrix.homeserver import MatrixError
from bridge.numbers import NotANumber, PhoneNumber
from bridge.portal import Portal, Portals
from bridge.routing import Routing
from bridge.texting import Texting
from bridge.txn import txn_id

log = logging.getLogger(__name__)

# What was said before the ghost joined is meant for the phone only if it was said just now: the
# ghost may have been invited back into an old room.
FRESH_MS = 60_000
MAX_SEEN = 4096

_ENCRYPTED = ("m.room.encrypted", "m.room.encryption")

# What is said to us and not to the phone: in the room of a call, and in any portal. Anything else
# goes to the phone.
IN_CALL_COMMAND = "!transfer"
IN_PORTAL_COMMANDS = ("!retry", "!more")


class Reception:
    """The handler of room events, and of the homeserver's questions about users and numbers."""

    def __init__(
        self,
        *,
        matrix: MatrixClient,
        ghosts: Ghosts,
        portals: Portals,
        routing: Routing,
        bot: Bot,
        commands: Commands,
        texting: Texting,
        exchange: Exchange,
    ) -> None:
        self._matrix = matrix
        self._ghosts = ghosts
        self._portals = portals
        self._routing = routing
        self._bot = bot
        self._commands = commands
        self._texting = texting
        self._exchange = exchange
        self._seen: dict[str, None] = {}

    async def handle(self, event: RoomEvent) -> None:
        """Take one event of a room."""
        if self._ghosts.is_ours(event.sender):
            return
        membership = parse_membership(event)
        if membership is not None:
            await self._handle_membership(event, membership)
        elif (portal := self._portals.by_room(event.room_id)) is not None:
            await self._handle_in_portal(portal, event)
        elif self._bot.user_in(event.room_id) is not None:
            await self._handle_in_bot_room(event)

    # --- the homeserver's questions

    async def user_exists(self, user_id: str) -> bool:
        """Whether somebody of our namespace stands for a number; makes the ghost then."""
        number = self._ghosts.number(user_id)
        if number is None:
            return user_id == self._bot.user_id
        await self._ghosts.name(number)
        return True

    async def find_number(self, text: str) -> str | None:
        """The ghost for what somebody typed on a dial pad, read as on our first line; made if
        need be, because the client opens a chat with it next."""
        try:
            number = self._routing.read(text, self._routing.lines[0])
        except NotANumber:
            return None
        return await self._ghosts.name(number)

    # --- events

    async def _handle_in_portal(self, portal: Portal, event: RoomEvent) -> None:
        if event.event_id in self._seen:
            return  # was read from the room's history already
        if event.type in _ENCRYPTED:
            await self._leave_encrypted(portal)
        elif event.type == "m.room.tombstone":
            await self._quit(portal)  # the next call or text makes a new room
        elif event.type.startswith("m.call.") and portal.number.is_group:
            if event.type == "m.call.invite":
                await self._tell_in(portal, wording.GROUP_CALLED, about=event.event_id)
        elif event.type.startswith("m.call."):
            call_event = parse_call_event(event)
            if call_event is not None:
                await self._exchange.receive(portal, event, call_event)
        elif (redacted := parse_redaction(event)) is not None:
            await self._texting.withdraw(portal.room_id, redacted)
        elif (reaction := parse_reaction(event)) is not None:
            await self._texting.react(event, reaction)
        elif (text := parse_text(event)) is not None:
            if self._is_command(portal, event.sender, text):
                await self._run_in_portal(portal, event, text)
            else:
                await self._texting.receive(portal, event, text)

    def _is_command(self, portal: Portal, user: str, text: Text) -> bool:
        """Whether a text is meant for us and not for the phone."""
        if text.msgtype != "m.text" or text.edits is not None or not self._routing.lines_of(user):
            return False
        words = text.words.strip().lower()
        if words in IN_PORTAL_COMMANDS:
            return True
        in_call = words.partition(" ")[0] == IN_CALL_COMMAND
        return in_call and self._exchange.is_speaking(user, portal.room_id)

    async def _run_in_portal(self, portal: Portal, event: RoomEvent, text: Text) -> None:
        answer = await self._run(event, text)
        if answer is not None:
            await self._tell_in(portal, answer, about=event.event_id)

    async def _tell_in(self, portal: Portal, text: str, *, about: str) -> None:
        speaker, txn = self._ghosts.speaker(portal.number), txn_id("answer", about)
        await self._matrix.send_notice(portal.room_id, text, sender=speaker, txn_id=txn)

    async def _handle_in_bot_room(self, event: RoomEvent) -> None:
        text = parse_text(event)
        if text is not None:
            if text.msgtype != "m.text" or text.edits is not None:
                return
            if not self._routing.lines_of(event.sender):
                await self._tell_stranger(event.room_id)
                return
            answer = await self._run(event, text)
            if answer is not None:
                await self._bot.answer(event.room_id, answer, to=event.event_id)
        elif (redacted := parse_redaction(event)) is not None:
            await self._texting.withdraw(event.room_id, redacted)
        elif (reaction := parse_reaction(event)) is not None:
            await self._texting.react(event, reaction)
        elif event.type in _ENCRYPTED:
            txn = txn_id("encrypted", event.room_id)
            await self._bot.answer(event.room_id, wording.BOT_ENCRYPTED, to=txn)
            await self._quit_bot_room(event.room_id)
        elif event.type == "m.room.tombstone":
            await self._quit_bot_room(event.room_id)
        elif event.type == "m.call.invite":
            await self._bot.answer(event.room_id, wording.BOT_CALLED, to=event.event_id)

    async def _run(self, event: RoomEvent, text: Text) -> str | None:
        """Do a command once: it comes again if its answer could not be said."""
        if event.event_id in self._seen:
            return None
        answer = await self._commands.run(
            event.sender,
            text.words,
            room_id=event.room_id,
            event_id=event.event_id,
            replies_to=text.replies_to,
        )
        self._remember(event.event_id)
        return answer

    async def _tell_stranger(self, room_id: str) -> None:
        """Somebody who has no line any more, told once."""
        txn = txn_id("stranger", room_id)
        if txn not in self._seen:
            self._remember(txn)
            await self._bot.answer(room_id, wording.NOT_A_USER, to=txn)

    async def _leave_encrypted(self, portal: Portal) -> None:
        """Say why, and go: a client that is to open a new chat takes the old one while we are in
        it, and the next call would ring where its answer cannot be read."""
        text = wording.encrypted(portal.number, self._bot.user_id)
        ghost = self._ghosts.speaker(portal.number)
        txn = txn_id("encrypted", portal.room_id)
        await self._matrix.send_notice(portal.room_id, text, sender=ghost, txn_id=txn)
        await self._quit(portal, reason=wording.NO_ENCRYPTION)

    async def _quit(self, portal: Portal, *, reason: str = "") -> None:
        """Leave a room that is a portal no more, and end what goes on in it."""
        room_id = portal.room_id
        self._exchange.left(room_id, portal.user)
        await self._portals.forget(room_id)
        for number in portal.number.members:
            await self._leave(room_id, self._ghosts.user_id(number), reason=reason)
        if portal.number.is_group:
            await self._leave(room_id, self._bot.user_id, reason=reason)

    async def _quit_bot_room(self, room_id: str) -> None:
        await self._bot.forget(room_id)
        await self._leave(room_id, self._bot.user_id)

    # --- memberships

    async def _handle_membership(self, event: RoomEvent, membership: Membership) -> None:
        room_id, user = event.room_id, membership.user
        number = self._ghosts.number(user)
        if membership.membership == "invite":
            if user == self._bot.user_id:
                await self._bot_invited(event)
            elif number is not None:
                await self._ghost_invited(event, membership, number)
        elif membership.membership in ("leave", "ban"):
            if number is not None:
                self._exchange.left(room_id, event.sender)
                await self._portals.forget(room_id)
            elif user == self._bot.user_id or self._bot.user_in(room_id) == user:
                await self._bot.forget(room_id)
                await self._portals.forget(room_id)
            else:
                await self._user_left(room_id, user)

    async def _user_left(self, room_id: str, user: str) -> None:
        portal = self._portals.by_room(room_id)
        if portal is not None and portal.user == user:
            await self._quit(portal)

    async def _bot_invited(self, event: RoomEvent) -> None:
        if not self._routing.lines_of(event.sender):
            # Any user of any homeserver may invite us, into rooms of any size.
            await self._leave(event.room_id, self._bot.user_id, reason=wording.NOT_A_USER)
            return
        if self._portals.by_room(event.room_id) is not None:
            await self._leave(event.room_id, self._bot.user_id, reason=wording.NO_GROUPS)
            return
        await self._bot.join(event.room_id, event.sender)
        await self._bot.answer(event.room_id, wording.BOT_WELCOME, to=event.event_id)

    async def _ghost_invited(
        self, event: RoomEvent, membership: Membership, number: PhoneNumber
    ) -> None:
        """Join before anything else; then see who is there and what was said meanwhile."""
        room_id, user = event.room_id, event.sender
        ghost = await self._ghosts.make(number)
        lines = self._routing.lines_of(user)
        if not lines:
            await self._leave(room_id, ghost, reason=wording.NOT_A_USER)
            return
        await self._matrix.join(room_id, ghost)
        if not membership.is_direct:
            members = await self._matrix.joined_members(room_id, ghost)
            if len(members) > 2:
                await self._leave(room_id, ghost, reason=wording.NO_GROUPS)
                return
        line = self._portals.line_between(user, number, lines)
        portal = await self._portals.adopt(room_id, line.name, number, user)
        log.info("%s has a new chat on line %s", number.short(), line.name)
        try:
            await self._catch_up(portal, ghost)
        except MatrixError as error:
            log.warning("a new chat's first events could not be read: %s", error)
        await self._ghosts.name(number)

    async def _catch_up(self, portal: Portal, ghost: str) -> None:
        """Handle what the user said before the ghost had joined."""
        now = time.monotonic()
        events = [
            event
            for event in await self._matrix.recent_events(portal.room_id, user=ghost)
            if (event.sender == portal.user and event.state_key is None) or _is_encryption(event)
        ]
        if any(map(_is_encryption, events)):
            await self._leave_encrypted(portal)
            return
        over = set()
        for event in events:
            call_event = parse_call_event(event)
            if isinstance(call_event, CallHangup | CallReject):
                over.add(call_event.call_id)
        for event in events:
            age_ms = event.age_at(now)
            call_event = parse_call_event(event)
            if isinstance(call_event, CallInvite) and call_event.call_id in over:
                continue
            if (age_ms is None or age_ms > FRESH_MS) and call_event is None:
                continue
            if event.event_id not in self._seen:
                await self._handle_in_portal(portal, event)
                self._remember(event.event_id)

    async def _leave(self, room_id: str, user: str, *, reason: str = "") -> None:
        """Have a ghost or the bot leave, or decline."""
        try:
            await self._matrix.leave(room_id, user, reason=reason)
        except MatrixError as error:
            log.info("one of our users could not leave a room: %s", error)

    def _remember(self, id: str) -> None:
        self._seen[id] = None
        while len(self._seen) > MAX_SEEN:
            del self._seen[next(iter(self._seen))]


def _is_encryption(event: RoomEvent) -> bool:
    return event.type in _ENCRYPTED
