"""Room events on their way to whoever handles them, on a real database."""

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import pytest

from bridge import wording
from bridge.bot import Bot
from bridge.call.exchange import Exchange
from bridge.commands import COMMANDS, Commands
from bridge.config import LineSection, TrunkSection
from bridge.db.ghosts import GhostTable
from bridge.db.interface import Database
from bridge.db.portals import BotRoomTable, PortalTable
from bridge.db.texts import IncomingTexts, OutgoingTexts
from bridge.ghost import Ghosts
from bridge.matrix.events import RoomEvent
from bridge.matrix.homeserver import MatrixUnavailable
from bridge.numbers import PhoneNumber
from bridge.portal import Portals
from bridge.reception import Reception
from bridge.routing import Routing
from bridge.texting import Texting
from sip.events import SessionAnswered
from tests.bridge.fakes import FakeMatrix, FakePlane, FakeTrunk, sdp_body

ALICE, STRANGER = "@alice:example.org", "@stranger:example.org"
BOT = "@ringback:example.org"
NUMBER = PhoneNumber("+15551234567")
GHOST = "@tel_15551234567:example.org"
ROOM = "!dm:example.org"


class World:
    """Everything that the composition root would build, on one database."""

    def __init__(self, database: Database, *others: LineSection) -> None:
        self.matrix = FakeMatrix()
        self.trunk = FakeTrunk()
        matrix = self.matrix.real
        line = LineSection(
            name="house",
            trunk="home",
            number="+493012345678",
            called=("ringback",),
            region="DE",
            users=(ALICE,),
        )
        section = TrunkSection(
            name="home", domain="pbx.example.org", username="ringback", password="secret"
        )
        self.routing = routing = Routing(lines=(line, *others), trunks={"home": section})
        trunks = {"home": self.trunk}
        ghosts = Ghosts(matrix=matrix, table=GhostTable(database), prefix="tel_")
        self.portals = Portals(matrix=matrix, ghosts=ghosts, table=PortalTable(database))
        self.texting = Texting(
            matrix=matrix,
            ghosts=ghosts,
            portals=self.portals,
            routing=routing,
            outgoing=OutgoingTexts(database),
            incoming=IncomingTexts(database),
            trunks=trunks,
        )
        self.exchange = Exchange(
            plane=FakePlane(),
            matrix=matrix,
            ghosts=ghosts,
            portals=self.portals,
            routing=routing,
            notices=self.texting,
            trunks=trunks,
        )
        self.bot = Bot(matrix=matrix, table=BotRoomTable(database))
        self.reception = Reception(
            matrix=matrix,
            ghosts=ghosts,
            portals=self.portals,
            routing=routing,
            bot=self.bot,
            commands=Commands(
                routing=routing,
                portals=self.portals,
                texting=self.texting,
                calls=self.exchange,
                trunks=trunks,
                server="example.org",
            ),
            texting=self.texting,
            exchange=self.exchange,
        )
        self._ids = count()

    def event(
        self,
        type: str,
        content: dict[str, Any],
        *,
        sender: str = ALICE,
        room: str = ROOM,
        state_key: str | None = None,
        age_ms: int = 50,
    ) -> RoomEvent:
        return RoomEvent(
            f"$e{next(self._ids)}", room, sender, type, content, state_key, age_ms, time.monotonic()
        )

    async def member(self, user: str, membership: str, **more: Any) -> None:
        sender, room = more.pop("sender", ALICE), more.pop("room", ROOM)
        content = {"membership": membership, **more}
        await self.reception.handle(
            self.event("m.room.member", content, state_key=user, sender=sender, room=room)
        )

    async def tell_bot(self, body: str, *, sender: str = ALICE, room: str = "!bot:x") -> str | None:
        """Say something to the bot; its answer."""
        self.matrix.take()
        content = {"msgtype": "m.text", "body": body}
        await self.reception.handle(self.event("m.room.message", content, sender=sender, room=room))
        sent = self.matrix.take()
        return str(sent[-1].content["body"]) if sent else None

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - a thread takes part in it
                await asyncio.sleep(0.001)


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    made = World(database)
    await made.bot.start()
    yield made
    await made.exchange.stop()
    await made.texting.stop()


def call_invite(call: str = "c1") -> dict[str, Any]:
    offer = {"type": "offer", "sdp": "offer"}
    return {"call_id": call, "party_id": "P", "version": "1", "lifetime": 60_000, "offer": offer}


# --- a chat with a ghost


async def test_a_ghost_joins_at_once_and_calls_what_was_asked_before(world: World) -> None:
    events = [
        world.event("m.call.invite", call_invite("over")),
        world.event("m.call.hangup", {"call_id": "over", "party_id": "P", "version": "1"}),
        world.event("m.call.invite", call_invite("old"), age_ms=70_000),
        world.event("m.call.invite", call_invite()),
        world.event("m.room.message", {"msgtype": "m.text", "body": "hello"}),
        world.event("m.room.message", {"msgtype": "m.text", "body": "old"}, age_ms=90_000),
    ]
    world.matrix.said[ROOM] = events
    await world.member(GHOST, "invite", is_direct=True)
    assert world.matrix.joined == [(ROOM, GHOST)]
    await world.until(lambda: world.trunk.fake.invites and world.trunk.fake.messages)
    assert world.trunk.fake.invites == [("sip:+15551234567@pbx.example.org", "offer'")]
    portal = world.portals.by_room(ROOM)
    assert portal is not None
    assert (portal.line, portal.number, portal.user) == ("house", NUMBER, ALICE)
    # The homeserver pushes the same events once the ghost has joined.
    for event in events:
        await world.reception.handle(event)
    assert len(world.trunk.fake.invites) == 1
    assert [body for _, _, body in world.trunk.fake.messages] == ["hello"]
    assert world.matrix.users[GHOST] == "+1 555-123-4567"


async def test_strangers_get_no_ghost(world: World) -> None:
    await world.member(GHOST, "invite", sender=STRANGER, is_direct=True)
    assert world.matrix.joined == []
    assert world.matrix.left == [(ROOM, GHOST)]
    assert world.portals.by_room(ROOM) is None


async def test_second_thoughts_reach_the_text_that_they_are_about(world: World) -> None:
    portal = await world.portals.adopt(ROOM, "house", NUMBER, ALICE)
    await world.reception.handle(world.event("m.room.message", {"msgtype": "m.text", "body": "hi"}))
    await world.until(lambda: world.trunk.fake.messages)
    told = {"msgtype": "m.text", "body": "> <@a:x> hi\n\n!retry"}
    reply = {"m.relates_to": {"m.in_reply_to": {"event_id": "$e0"}}}
    await world.reception.handle(world.event("m.room.message", told | reply))
    annotation = {"rel_type": "m.annotation", "event_id": "$e0", "key": "🔁"}
    await world.reception.handle(world.event("m.reaction", {"m.relates_to": annotation}))
    redaction = world.event("m.room.redaction", {})
    await world.reception.handle(dataclasses.replace(redaction, redacts="$e0"))
    assert world.matrix.notices() == [
        "This text is leaving just now.",
        "This text is leaving just now.",
        wording.NO_WAY_BACK,
    ]
    assert {sent.room_id for sent in world.matrix.sent} == {portal.room_id}
    assert "no text here that failed" in (await world.tell_bot("!retry", room=ROOM) or "")


async def test_a_strangers_command_is_none(world: World) -> None:
    await world.portals.adopt(ROOM, "house", NUMBER, ALICE)
    answer = await world.tell_bot("!more", sender=STRANGER, room=ROOM)
    assert answer == "You are not a user of the line “house”."


async def test_ghosts_do_not_stay_in_groups(world: World) -> None:
    world.matrix.members[ROOM] = (ALICE, GHOST, STRANGER)
    await world.member(GHOST, "invite")
    assert world.matrix.left == [(ROOM, GHOST)]
    assert world.portals.by_room(ROOM) is None


async def test_an_encrypted_chat_is_told_once(world: World) -> None:
    encryption = world.event("m.room.encryption", {"algorithm": "m.megolm"}, state_key="")
    world.matrix.said[ROOM] = [encryption]
    await world.member(GHOST, "invite", is_direct=True)
    for _ in range(2):
        await world.reception.handle(
            world.event("m.room.encrypted", {"algorithm": "m.megolm.v1.aes-sha2"})
        )
    (notice,) = world.matrix.notices()
    assert "encrypted rooms are not supported yet" in notice
    assert "call +15551234567" in notice


async def test_an_encrypted_chat_is_left_for_a_room_that_we_can_read(world: World) -> None:
    await world.member(GHOST, "invite", is_direct=True)
    encryption = world.event("m.room.encryption", {"algorithm": "m.megolm"}, state_key="")
    await world.reception.handle(encryption)
    assert world.matrix.left == [(ROOM, GHOST)]
    await world.member(BOT, "invite", room="!bot:x")
    answer = await world.tell_bot("call +1 555 123 4567")
    assert answer is not None
    assert "!made0:example.org" in answer


async def test_a_chat_with_the_bot_that_is_encrypted_is_left(world: World) -> None:
    await world.member(BOT, "invite", room="!bot:x")
    encrypted = {"algorithm": "m.megolm.v1.aes-sha2"}
    for _ in range(2):
        await world.reception.handle(world.event("m.room.encrypted", encrypted, room="!bot:x"))
    assert world.matrix.notices()[1:] == [wording.BOT_ENCRYPTED]
    assert world.matrix.left == [("!bot:x", BOT)]
    await world.bot.say(ALICE, "down", key="1")
    assert world.matrix.sent[-1].room_id == "!made0:example.org"


async def test_a_room_that_was_upgraded_is_no_portal_any_more(world: World) -> None:
    await world.member(GHOST, "invite", is_direct=True)
    content = {"body": "moved", "replacement_room": "!new:example.org"}
    await world.reception.handle(world.event("m.room.tombstone", content, state_key=""))
    assert world.portals.find("house", NUMBER, ALICE) is None
    assert world.matrix.left == [(ROOM, GHOST)]


async def test_a_room_that_is_given_to_another_number_is_not_the_first_ones_any_more(
    world: World,
) -> None:
    await world.portals.adopt(ROOM, "house", NUMBER, ALICE)
    await world.portals.adopt(ROOM, "house", PhoneNumber("1000"), ALICE)
    assert world.portals.find("house", NUMBER, ALICE) is None


async def test_the_portal_ends_when_the_user_leaves(world: World, database: Database) -> None:
    await world.member(GHOST, "invite", is_direct=True)
    await world.member(ALICE, "leave")
    assert world.portals.by_room(ROOM) is None
    assert world.matrix.left == [(ROOM, GHOST)]
    assert await PortalTable(database).all() == []


async def test_the_portal_ends_when_the_ghost_is_removed(world: World) -> None:
    await world.member(GHOST, "invite", is_direct=True)
    await world.member(GHOST, "leave")
    assert world.portals.by_room(ROOM) is None


async def test_portals_are_found_after_a_restart(world: World, database: Database) -> None:
    await world.member(GHOST, "invite", is_direct=True)
    again = World(database)
    await again.portals.load()
    assert again.portals.find("house", NUMBER, ALICE) == world.portals.by_room(ROOM)


async def test_our_own_events_are_nothing_new(world: World) -> None:
    await world.member(GHOST, "invite", is_direct=True)
    message = {"msgtype": "m.text", "body": "hello"}
    await world.reception.handle(world.event("m.room.message", message, sender=GHOST))
    await asyncio.sleep(0.01)
    assert world.trunk.fake.messages == []


async def test_rooms_of_nobody_are_left_alone(world: World) -> None:
    await world.reception.handle(world.event("m.call.invite", call_invite(), room="!other:x"))
    assert world.trunk.fake.invites == []


async def test_the_newest_room_is_where_calls_come_in(world: World) -> None:
    await world.member(GHOST, "invite", is_direct=True)
    await world.member(GHOST, "invite", is_direct=True, room="!newer:x")
    found = world.portals.find("house", NUMBER, ALICE)
    assert found is not None
    assert found.room_id == "!newer:x"
    await world.portals.forget("!newer:x")
    found = world.portals.find("house", NUMBER, ALICE)
    assert found is not None
    assert found.room_id == ROOM


async def test_one_portal_is_made_however_many_ask_at_once(world: World) -> None:
    line = world.reception._routing.lines[0]
    made = await asyncio.gather(*(world.portals.open(line, NUMBER, ALICE) for _ in range(5)))
    assert len({portal.room_id for portal in made}) == 1
    assert len(world.matrix.rooms) == 1


# --- the homeserver's questions


@pytest.mark.parametrize(
    ("typed", "ghost"),
    [
        ("030 87654321", "@tel_493087654321:example.org"),
        ("+1 555 123 4567", GHOST),
        ("1000", "@tel_1000:example.org"),
        ("", None),
        ("+++", None),
    ],
)
async def test_the_dial_pad_finds_the_ghost(world: World, typed: str, ghost: str | None) -> None:
    assert await world.reception.find_number(typed) == ghost
    assert ghost is None or ghost in world.matrix.users


async def test_users_that_stand_for_a_number_exist(world: World) -> None:
    assert await world.reception.user_exists("@tel_1000:example.org")
    assert not await world.reception.user_exists("@tel_0:elsewhere.org")
    assert not await world.reception.user_exists("@tel_:example.org")


# --- the bot


async def test_the_bot_joins_and_helps(world: World) -> None:
    await world.member(BOT, "invite", room="!bot:x")
    assert world.matrix.joined == [("!bot:x", BOT)]
    assert "help" in world.matrix.notices()[0]
    answer = await world.tell_bot("help")
    assert answer is not None
    for word in COMMANDS:
        assert word in answer
    assert "do not know" in (await world.tell_bot("dance") or "")


async def test_a_command_whose_answer_could_not_be_said_is_done_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.member(BOT, "invite", room="!bot:x")
    transferred: list[str] = []

    def transfer(user: str, words: str, *, room_id: str) -> str:
        transferred.append(words)
        return "done"

    monkeypatch.setattr(world.exchange, "transfer", transfer)
    content = {"msgtype": "m.text", "body": "transfer +15551234567"}
    event = world.event("m.room.message", content, room="!bot:x")
    world.matrix.away = True
    with pytest.raises(MatrixUnavailable):
        await world.reception.handle(event)
    world.matrix.away = False
    await world.reception.handle(event)
    assert transferred == ["+15551234567"]


async def test_call_opens_the_portal_and_says_where(world: World) -> None:
    await world.member(BOT, "invite", room="!bot:x")
    answer = await world.tell_bot("call +1 555 123 4567")
    assert answer is not None
    assert "https://matrix.to/#/!made0:example.org?via=example.org" in answer
    assert world.matrix.rooms["!made0:example.org"]["invite"] == [ALICE]
    again = await world.tell_bot("!CALL +15551234567")
    assert again is not None
    assert "!made0:example.org" in again


async def test_the_next_call_after_the_command_is_anonymous(world: World) -> None:
    await world.member(BOT, "invite", room="!bot:x")
    answer = await world.tell_bot("anonymous +1 555 123 4567")
    assert answer is not None
    assert "https://matrix.to/#/!made0:example.org?via=example.org" in answer
    assert "five minutes" in answer
    assert "emergency" in (await world.tell_bot("anonymous 110") or "")


@pytest.mark.parametrize(
    ("words", "part"),
    [("call", "cannot be dialled"), ("call +++", "cannot be dialled"), ("call 112", "emergency"),
     ("text +15551234567", "Say: text"), ("text 110 help", "emergency")],
)  # fmt: skip
async def test_what_cannot_be_done_is_said(world: World, words: str, part: str) -> None:
    await world.member(BOT, "invite", room="!bot:x")
    assert part in (await world.tell_bot(words) or "")
    assert world.matrix.rooms == {}


async def test_a_call_is_transferred_by_a_word_in_its_room_or_to_the_bot(world: World) -> None:
    await world.member(BOT, "invite", room="!bot:x")
    assert "no answered call" in (await world.tell_bot("transfer 030 123123") or "")
    await world.member(GHOST, "invite", is_direct=True)
    await world.reception.handle(world.event("m.call.invite", call_invite()))
    await world.until(lambda: world.trunk.fake.sessions)
    (session,) = world.trunk.fake.sessions
    world.exchange.receive_sip("home", SessionAnswered(session.real, sdp_body("answer")))
    await world.until(lambda: world.exchange.is_speaking(ALICE, ROOM))
    world.matrix.take()
    content = {"msgtype": "m.text", "body": "!transfer 110"}
    await world.reception.handle(world.event("m.room.message", content))
    assert "emergency" in world.matrix.notices()[-1]
    assert world.matrix.sent[-1].sender == GHOST
    assert "Transferring" in (await world.tell_bot("transfer 030 123123") or "")
    assert session.said == [("transfer", "sip:+4930123123@pbx.example.org")]
    assert world.trunk.fake.messages == []
    content = {"msgtype": "m.text", "body": "transfer is what I wanted"}
    await world.reception.handle(world.event("m.room.message", content))
    await world.until(lambda: world.trunk.fake.messages)


async def test_without_a_call_the_word_is_a_text(world: World) -> None:
    await world.member(GHOST, "invite", is_direct=True)
    content = {"msgtype": "m.text", "body": "!transfer 110"}
    await world.reception.handle(world.event("m.room.message", content))
    await world.until(lambda: world.trunk.fake.messages)
    assert world.trunk.fake.messages[0][2] == "!transfer 110"


async def test_text_sends_and_says_how_it_went(world: World) -> None:
    from sip.events import MessageSent

    await world.member(BOT, "invite", room="!bot:x")
    assert await world.tell_bot("text +15551234567 Hello there") is None
    await world.until(lambda: world.trunk.fake.messages)
    assert world.trunk.fake.messages[0][2] == "Hello there"
    world.texting.receive_sip("home", MessageSent("m0", 200, "OK", True))
    await world.until(lambda: world.matrix.sent)
    assert world.matrix.notices() == ["Sent to +1 555-123-4567."]
    assert world.matrix.sent[0].sender == BOT


OFFICE = LineSection(
    name="office", trunk="home", number="+15557654321", called=("x",), region="US", users=(ALICE,)
)


@pytest.fixture
async def two_lines(database: Database) -> AsyncIterator[World]:
    made = World(database, OFFICE)
    await made.bot.start()
    await made.member(BOT, "invite", room="!bot:x")
    yield made
    await made.texting.stop()
    await made.exchange.stop()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("+15551234567 Hello", "+493012345678"),
        ("house +15551234567 Hello", "+493012345678"),
        ("office +15551234567 Hello", "+15557654321"),
    ],
)
async def test_a_text_leaves_on_the_line_that_is_named(
    two_lines: World, words: str, line: str
) -> None:
    assert await two_lines.tell_bot(f"text {words}") is None
    await two_lines.until(lambda: two_lines.trunk.fake.messages)
    assert two_lines.trunk.fake.messages[0][1:] == ("sip:+15551234567@pbx.example.org", "Hello")
    assert two_lines.trunk.fake.callers[-1].user == line


async def test_who_has_a_room_on_a_line_is_spoken_with_on_that_line(two_lines: World) -> None:
    await two_lines.portals.adopt("!old:example.org", "office", NUMBER, ALICE)
    assert await two_lines.tell_bot("text +15551234567 Hello") is None
    await two_lines.until(lambda: two_lines.trunk.fake.messages)
    assert two_lines.trunk.fake.callers[-1].user == "+15557654321"
    await two_lines.member(GHOST, "invite", is_direct=True)
    portal = two_lines.portals.by_room(ROOM)
    assert portal is not None
    assert portal.line == "office"
    answer = await two_lines.tell_bot("call house +15551234567")
    assert answer is not None
    assert two_lines.portals.find("house", NUMBER, ALICE) is not None


async def test_status_shows_the_users_lines(world: World) -> None:
    await world.member(BOT, "invite", room="!bot:x")
    assert await world.tell_bot("status") == "house, +49 30 12345678: up (registered)"
    world.trunk.up, world.trunk.why = False, "no route"
    assert await world.tell_bot("lines") == "house, +49 30 12345678: down (no route)"


@pytest.mark.parametrize(("setting", "said"), wording.CLEAR.items())
async def test_status_says_where_calls_are_not_encrypted(
    setting: str, said: str, world: World
) -> None:
    trunks = world.routing.trunks
    for name, trunk in trunks.items():
        trunks[name] = trunk.model_copy(update={"insecure_rtp": setting})
    await world.member(BOT, "invite", room="!bot:x")
    assert await world.tell_bot("status") == f"house, +49 30 12345678: up (registered){said}"


async def test_the_bot_goes_into_no_room_of_a_stranger(world: World) -> None:
    await world.member(BOT, "invite", room="!bot:x", sender=STRANGER)
    assert (world.matrix.joined, world.matrix.left) == ([], [("!bot:x", BOT)])
    assert await world.tell_bot("call +15551234567", sender=STRANGER) is None
    assert world.bot.user_in("!bot:x") is None
    assert world.matrix.rooms == {}


async def test_the_bot_stays_out_of_the_room_of_a_number(world: World) -> None:
    await world.portals.adopt(ROOM, "house", NUMBER, ALICE)
    await world.member(BOT, "invite")
    assert (world.matrix.joined, world.matrix.left) == ([], [(ROOM, BOT)])
    await world.bot.say(ALICE, "down", key="1")
    assert world.matrix.sent[-1].room_id != ROOM


async def test_who_is_no_user_any_more_is_told_once(world: World) -> None:
    await world.bot.join("!bot:x", STRANGER)
    assert "not a user" in (await world.tell_bot("help", sender=STRANGER) or "")
    assert await world.tell_bot("call +15551234567", sender=STRANGER) is None
    assert world.matrix.rooms == {}


async def test_two_things_at_once_are_said_in_one_room(world: World) -> None:
    world.matrix.slow = 0.001
    await asyncio.gather(*(world.bot.say(ALICE, key, key=key) for key in ("down", "up")))
    assert len(world.matrix.rooms) == 1
    assert {sent.room_id for sent in world.matrix.sent} == {"!made0:example.org"}


async def test_the_bot_speaks_to_a_user_in_one_room_and_remembers_it(
    world: World, database: Database
) -> None:
    await world.bot.say(ALICE, "down", key="1")
    await world.bot.say(ALICE, "down", key="1")
    await world.bot.say(ALICE, "up", key="2")
    assert world.matrix.notices() == ["down", "up"]
    assert len(world.matrix.rooms) == 1
    again = World(database)
    await again.bot.start()
    assert again.bot.user_in("!made0:example.org") == ALICE


async def test_a_user_who_left_the_bots_room_gets_another(world: World) -> None:
    await world.bot.say(ALICE, "down", key="1")
    await world.member(ALICE, "leave", room="!made0:example.org")
    await world.bot.say(ALICE, "up", key="2")
    assert len(world.matrix.rooms) == 2


# --- groups

GROUP = PhoneNumber("+15550001111,+15551234567")
GROUP_ROOM = "!group:example.org"


async def test_a_group_cannot_be_called(world: World) -> None:
    await world.portals.adopt(GROUP_ROOM, "house", GROUP, ALICE)
    invite = {"call_id": "c", "version": "1", "party_id": "p", "offer": {"sdp": "x"}}
    await world.reception.handle(world.event("m.call.invite", invite, room=GROUP_ROOM))
    await world.reception.handle(world.event("m.call.hangup", {"call_id": "c"}, room=GROUP_ROOM))
    assert [sent.content["body"] for sent in world.matrix.sent] == [wording.GROUP_CALLED]
    assert world.matrix.sent[0].sender == BOT
    assert world.trunk.fake.invites == []


async def test_who_leaves_a_group_leaves_nobody_behind(world: World) -> None:
    await world.portals.adopt(GROUP_ROOM, "house", GROUP, ALICE)
    await world.member(ALICE, "leave", room=GROUP_ROOM)
    ghosts = ["@tel_15550001111:example.org", GHOST, BOT]
    assert world.matrix.left == [(GROUP_ROOM, user) for user in ghosts]
    assert world.portals.by_room(GROUP_ROOM) is None


async def test_a_bot_that_is_put_out_of_a_group_ends_it(world: World) -> None:
    await world.portals.adopt(GROUP_ROOM, "house", GROUP, ALICE)
    await world.member(BOT, "leave", room=GROUP_ROOM)
    assert world.portals.by_room(GROUP_ROOM) is None


async def test_a_group_is_texted_by_command_where_the_line_can(world: World) -> None:
    await world.bot.join("!bot:x", ALICE)
    assert await world.tell_bot("text +15550001111,+15551234567 hello") == wording.NO_GROUP_TEXTS
    answer = await world.tell_bot("text +15550001111,112 hello")
    assert answer is not None
    assert "emergency" in answer
    answer = await world.tell_bot("text +15550001111, hello")
    assert answer is not None
    assert "cannot be dialled" in answer
