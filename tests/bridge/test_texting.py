"""Texts both ways on real databases, between a fake homeserver and a fake trunk."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Any

import pytest

from bridge.config import LineSection, TrunkSection
from bridge.db.ghosts import GhostTable
from bridge.db.interface import Database, DatabaseAway
from bridge.db.portals import PortalTable
from bridge.db.texts import IncomingTexts, OutgoingTexts
from bridge.ghost import Ghosts
from bridge.matrix.events import RoomEvent, parse_text
from bridge.matrix.homeserver import MatrixRefused
from bridge.numbers import PhoneNumber
from bridge.outbox import KEEP_TRYING, LONGEST_DELAY, STATUS
from bridge.portal import Portal, Portals
from bridge.routing import Routing
from bridge.texting import Texting
from sip.events import Body, MessageNotified, MessageReceived, MessageSent
from sip.identity import Identity, Verstat
from sip.imdn import Kind, NotificationsWanted, Status
from sip.presentation import Presentation
from sip.uri import NameAddr, Uri
from tests.bridge.fakes import FakeMatrix, FakeTrunk

ALICE, BOB = "@alice:example.org", "@bob:example.org"
NUMBER = PhoneNumber("+15551234567")
GHOST = "@tel_15551234567:example.org"


class World:
    """Texting and everything around it, on one database."""

    def __init__(
        self,
        database: Database,
        matrix: FakeMatrix,
        *,
        users: tuple[str, ...] = (ALICE,),
        delivery_receipts: bool = False,
        read_receipts: bool = False,
    ) -> None:
        self.matrix = matrix
        self.trunk = FakeTrunk()
        self.slept: list[float] = []
        self.hold: asyncio.Event | None = None  # what sleeping waits for once something was told
        ghosts = Ghosts(matrix=matrix.real, table=GhostTable(database), prefix="tel_")
        self.portals = Portals(matrix=matrix.real, ghosts=ghosts, table=PortalTable(database))
        self.line = LineSection(
            name="house",
            trunk="home",
            called=("ringback",),
            caller_id="+493011111",
            display_name="House",
            region="DE",
            users=users,
        )
        trunk = TrunkSection(
            name="home",
            domain="pbx.example.org",
            username="ringback",
            password="secret",
            delivery_receipts=delivery_receipts,
            read_receipts=read_receipts,
        )
        self.texting = Texting(
            matrix=matrix.real,
            ghosts=ghosts,
            portals=self.portals,
            routing=Routing(lines=(self.line,), trunks={"home": trunk}),
            outgoing=OutgoingTexts(database),
            incoming=IncomingTexts(database),
            trunks={"home": self.trunk},
            sleep=self._sleep,
        )

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if self.hold is not None and self.matrix.notices():
            await self.hold.wait()
        await asyncio.sleep(0)

    async def write(
        self,
        portal: Portal,
        body: str,
        *,
        id: str = "$t1",
        msgtype: str = "m.text",
        more: Mapping[str, Any] | None = None,
    ) -> None:
        content = {"msgtype": msgtype, "body": body, **(more or {})}
        event = RoomEvent(id, portal.room_id, portal.user, "m.room.message", content)
        text = parse_text(event)
        assert text is not None
        await self.texting.receive(portal, event, text)

    def arrive(
        self,
        body: bytes,
        *,
        key: str = "k1",
        type: str = "text/plain",
        to: str = "ringback",
        verstat: Verstat | None = None,
        wanted: NotificationsWanted | None = None,
    ) -> None:
        sender = NameAddr.parse('"Carol" <sip:+493087654321@pbx.example.org>')
        target = NameAddr.parse(f"<sip:{to}@pbx.example.org>")
        uri = Uri.parse(f"sip:{to}@192.0.2.1")
        identity = Identity(sender, verstat=verstat)
        event = MessageReceived(
            key, key, uri, target, sender, identity, Body(type, body), wanted=wanted
        )
        self.texting.receive_sip("home", event)

    def outcome(self, id: str, status: int, *, answered: bool = True) -> None:
        self.texting.receive_sip("home", MessageSent(id, status, "words", answered))


async def until(condition: Callable[[], Any]) -> None:
    """Wait for something that a database in another thread has a part in."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - a thread takes part in it
            await asyncio.sleep(0.001)


async def worked_off(texting: Texting) -> None:
    """Wait until nothing is done any more of what came."""
    await until(lambda: not texting._tasks._running)


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    made = World(database, FakeMatrix())
    yield made
    await made.texting.stop()


@pytest.fixture
async def portal(world: World) -> Portal:
    return await world.portals.adopt("!room:example.org", "house", NUMBER, ALICE)


async def states(database: Database, table: str) -> list[str]:
    rows = await database.fetch(f"SELECT state FROM {table} ORDER BY seq")
    return [row["state"] for row in rows]


# --- room to phone


async def test_a_text_out_goes_whole_and_its_success_is_quiet(
    world: World, portal: Portal, database: Database
) -> None:
    await world.write(portal, "Grüße 👍🏽 z\u200dj")
    await until(lambda: world.trunk.fake.messages)
    assert world.trunk.fake.messages == [
        ("m0", "sip:+15551234567@pbx.example.org", "Grüße 👍🏽 z\u200dj")
    ]
    assert world.trunk.fake.callers == [Presentation("+493011111", "House")]
    assert await states(database, "text_out") == ["sending"]
    world.outcome("m0", 202)
    async with asyncio.timeout(10):
        while await states(database, "text_out") != ["sent"]:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.001)
    await until(lambda: world.matrix.sent)
    (shown,) = world.matrix.sent
    assert (shown.type, shown.sender) == (STATUS, GHOST)
    assert shown.content == {
        "m.relates_to": {"rel_type": "m.reference", "event_id": "$t1"},
        "network": "ringback",
        "status": "SUCCESS",
        "delivered_to_users": [],
    }
    assert await database.fetchval("SELECT body FROM text_out") is None


async def test_the_same_event_again_is_sent_once(world: World, portal: Portal) -> None:
    await world.write(portal, "one")
    await world.write(portal, "one")
    await world.write(portal, "two", id="$t2")
    await until(lambda: world.trunk.fake.messages)
    world.outcome("m0", 200)
    await until(lambda: len(world.trunk.fake.messages) == 2)
    assert [body for _, _, body in world.trunk.fake.messages] == ["one", "two"]


async def test_texts_of_a_portal_wait_for_each_other(world: World, portal: Portal) -> None:
    for number in range(3):
        await world.write(portal, f"text {number}", id=f"$t{number}")
    for number in range(3):
        await until(partial(_is_at, world, number + 1))
        await asyncio.sleep(0.01)
        assert len(world.trunk.fake.messages) == number + 1
        world.outcome(f"m{number}", 200)
    assert [body[-1] for _, _, body in world.trunk.fake.messages] == ["0", "1", "2"]


def _is_at(world: World, count: int) -> bool:
    return len(world.trunk.fake.messages) == count


def _has_sent(world: World) -> bool:
    return bool(world.matrix.sent)


async def test_another_number_does_not_wait(world: World, portal: Portal) -> None:
    other = await world.portals.adopt("!r2:example.org", "house", PhoneNumber("1000"), ALICE)
    await world.write(portal, "stuck")
    await world.write(other, "free", id="$t2")
    await until(lambda: len(world.trunk.fake.messages) == 2)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (404, "Not delivered to +1 555-123-4567: the number is unknown."),
        (
            415,
            "Not delivered to +1 555-123-4567: the phone system does not take this kind of text.",
        ),
        (499, "Not delivered to +1 555-123-4567: words."),
    ],
)
async def test_a_refusal_is_told_as_a_reply(
    world: World, portal: Portal, database: Database, status: int, words: str
) -> None:
    await world.write(portal, "hello")
    await until(lambda: world.trunk.fake.messages)
    world.outcome("m0", status)
    await until(world.matrix.notices)
    shown, notice = world.matrix.sent
    assert (notice.sender, notice.room_id) == (GHOST, portal.room_id)
    assert notice.content["body"] == words
    assert (shown.type, shown.content["status"]) == (STATUS, "FAIL_PERMANENT")
    assert shown.content["message"] in words
    assert notice.content["m.relates_to"] == {"m.in_reply_to": {"event_id": "$t1"}}
    assert await states(database, "text_out") == ["refused"]


async def test_no_answer_is_a_doubt_and_is_not_sent_again(
    world: World, portal: Portal, database: Database
) -> None:
    await world.write(portal, "hello")
    await until(lambda: world.trunk.fake.messages)
    world.outcome("m0", 408, answered=False)
    await until(lambda: world.matrix.sent)
    assert "may not have reached" in world.matrix.notices()[0]
    assert await states(database, "text_out") == ["doubt"]
    assert len(world.trunk.fake.messages) == 1


async def told_states(database: Database, wanted: list[str]) -> None:
    async with asyncio.timeout(10):
        while await states(database, "text_out") != wanted:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.001)


def notification(status: Status, id: str = "m0") -> MessageNotified:
    sender = NameAddr.parse(f"<sip:{NUMBER.text}@pbx.example.org>")
    return MessageNotified(id, Kind.DELIVERY, status, sender)


async def test_without_the_setting_nobody_is_asked_for_receipts(
    world: World, portal: Portal
) -> None:
    await world.write(portal, "hello")
    await until(lambda: world.trunk.fake.messages)
    assert world.trunk.fake.wishes[0][0] == frozenset()


async def test_a_receipt_settles_a_doubt(database: Database) -> None:
    world = World(database, FakeMatrix(), delivery_receipts=True)
    portal = await world.portals.adopt("!room:example.org", "house", NUMBER, ALICE)
    await world.write(portal, "hello")
    await until(lambda: world.trunk.fake.messages)
    wishes, sent_at = world.trunk.fake.wishes[0]
    asked = {"positive-delivery", "negative-delivery", "display"}
    assert {wish.value for wish in wishes} == asked
    assert sent_at.endswith("+00:00")
    world.outcome("m0", 408, answered=False)
    await told_states(database, ["doubt"])
    world.texting.receive_sip("home", notification(Status.DELIVERED, "m9"))
    world.texting.receive_sip("home", notification(Status.ERROR))
    world.texting.receive_sip("home", notification(Status.DELIVERED))
    await told_states(database, ["delivered"])
    await until(lambda: world.matrix.sent[-1].content.get("delivered_to_users"))
    assert world.matrix.sent[-1].content["delivered_to_users"] == [GHOST]
    await world.texting.stop()


async def test_a_text_that_was_lost_later_is_told(database: Database) -> None:
    world = World(database, FakeMatrix(), delivery_receipts=True)
    portal = await world.portals.adopt("!room:example.org", "house", NUMBER, ALICE)
    await world.write(portal, "hello")
    await until(lambda: world.trunk.fake.messages)
    world.texting.receive_sip("home", notification(Status.FAILED))  # overtakes the answer
    world.texting.receive_sip("home", notification(Status.FAILED))
    world.outcome("m0", 202)
    await until(world.matrix.notices)
    assert world.matrix.notices() == [
        "Not delivered to +1 555-123-4567: the phone system could not pass it on."
    ]
    await told_states(database, ["failed"])
    await world.texting.stop()


async def test_a_text_waits_for_a_line_that_is_down(
    world: World, portal: Portal, database: Database
) -> None:
    world.trunk.up, world.hold = False, asyncio.Event()
    await world.write(portal, "hello")
    await until(world.matrix.notices)
    (notice,) = world.matrix.notices()
    assert "Not sent to +1 555-123-4567 yet: the phone line is down" in notice
    assert await states(database, "text_out") == ["waiting"]
    world.trunk.up = True
    world.hold.set()
    await until(lambda: world.trunk.fake.messages)


async def test_a_line_that_stays_down_is_told_in_the_end(world: World, portal: Portal) -> None:
    world.trunk.up = False
    await world.write(portal, "hello")
    await until(lambda: len(world.matrix.notices()) == 2)
    assert "Not delivered to +1 555-123-4567: the phone line is down" in world.matrix.notices()[1]
    assert KEEP_TRYING <= sum(world.slept) <= KEEP_TRYING + LONGEST_DELAY
    assert max(world.slept) <= LONGEST_DELAY
    assert world.trunk.fake.messages == []


async def test_a_crash_while_sending_is_told_at_the_next_start(
    world: World, portal: Portal, database: Database
) -> None:
    await world.write(portal, "on its way")
    await until(lambda: world.trunk.fake.messages)
    await world.write(portal, "still here", id="$t2")
    await world.texting.stop()
    again = World(database, world.matrix)
    await again.portals.load()
    await again.texting.start()
    await until(lambda: again.matrix.sent and again.trunk.fake.messages)
    assert "may not have reached" in again.matrix.notices()[0]
    assert [body for _, _, body in again.trunk.fake.messages] == ["still here"]
    await again.texting.stop()


async def test_what_is_no_text_is_told_once_and_not_sent(world: World, portal: Portal) -> None:
    await world.write(portal, "photos", msgtype="m.gallery")
    await world.write(portal, "photos", id="$t2", msgtype="m.gallery")
    await world.write(portal, "I am a bot", id="$t3", msgtype="m.notice")
    await world.write(
        portal,
        "* hello",
        id="$t4",
        more={
            "m.new_content": {"msgtype": "m.text", "body": "hello"},
            "m.relates_to": {"rel_type": "m.replace", "event_id": "$t1"},
        },
    )
    assert len(world.matrix.notices()) == 2
    assert world.trunk.fake.messages == []


async def test_a_reply_leaves_without_the_quotation(world: World, portal: Portal) -> None:
    relation = {"m.relates_to": {"m.in_reply_to": {"event_id": "$x"}}}
    await world.write(portal, "> <@tel_1:x> how are you\n\nfine", more=relation)
    await until(lambda: world.trunk.fake.messages)
    assert world.trunk.fake.messages[0][2] == "fine"


async def test_emergency_numbers_take_no_texts(world: World) -> None:
    portal = await world.portals.adopt("!r2:example.org", "house", PhoneNumber("112"), ALICE)
    await world.write(portal, "help")
    assert "emergency" in world.matrix.notices()[0]
    assert world.trunk.fake.messages == []


async def test_an_outcome_waits_for_a_homeserver_that_is_away(
    world: World, portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.write(portal, "hello")
    await until(lambda: world.trunk.fake.messages)
    monkeypatch.setattr(world.matrix, "_reach", _unreachable)
    world.outcome("m0", 404)
    await until(lambda: world.slept)
    monkeypatch.undo()
    await until(lambda: world.matrix.sent)
    assert world.matrix.notices() == ["Not delivered to +1 555-123-4567: the number is unknown."]


async def _unreachable(within: float = 60.0) -> None:
    from bridge.matrix.homeserver import MatrixUnavailable

    raise MatrixUnavailable("no connection")


# --- phone to room


async def test_a_text_in_is_stored_before_it_is_acknowledged(
    world: World, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    commit = database.change
    answer = world.trunk.fake.answer_message

    async def watched(*args: Any) -> Any:
        result = await commit(*args)
        order.append("committed")
        return result

    def answered(id: str, status: int, *, now: float, sender: Presentation) -> None:
        order.append(f"answered {status}")
        answer(id, status, now=now, sender=sender)

    monkeypatch.setattr(database, "change", watched)
    monkeypatch.setattr(world.trunk.fake, "answer_message", answered)
    world.arrive("Grüße 👍".encode())
    await until(lambda: world.matrix.sent)
    assert order == ["committed", "answered 200"]
    assert world.trunk.fake.callers == [Presentation("+493011111", "House")]
    (text,) = world.matrix.sent
    assert text.sender == "@tel_493087654321:example.org"
    assert text.content == {"msgtype": "m.text", "body": "Grüße 👍"}
    (room,) = world.matrix.rooms.values()
    assert room["invite"] == [ALICE]


async def test_a_repeated_message_is_one_text(world: World, database: Database) -> None:
    world.arrive(b"hello")
    await until(lambda: world.matrix.sent)
    world.arrive(b"hello")
    await until(lambda: len(world.trunk.fake.answers) == 2)
    world.arrive(b"hello", key="k2")
    await until(lambda: len(world.matrix.sent) == 2)
    assert world.trunk.fake.answers == [("k1", 200), ("k1", 200), ("k2", 200)]
    assert len(world.matrix.rooms) == 1


async def test_every_user_of_the_line_gets_it(database: Database) -> None:
    world = World(database, FakeMatrix(), users=(ALICE, BOB))
    world.arrive(b"hello")
    await until(lambda: len(world.matrix.sent) == 2)
    assert {room["invite"][0] for room in world.matrix.rooms.values()} == {ALICE, BOB}
    await world.texting.stop()


async def test_an_unknown_line_is_404_and_another_type_415(world: World) -> None:
    world.arrive(b"hello", to="somebody")
    world.arrive(b"<xml/>", key="k2", type="application/im-iscomposing+xml")
    world.arrive(b"h\xe9llo", key="k3", type="text/plain;charset=unheard-of")
    assert world.trunk.fake.answers == [("k1", 404), ("k2", 415), ("k3", 415)]


async def test_a_text_of_another_charset_is_decoded(world: World) -> None:
    world.arrive(b"h\xe9llo", type="text/plain;charset=iso-8859-1")
    await until(lambda: world.matrix.sent)
    assert world.matrix.sent[0].content["body"] == "héllo"


async def test_a_number_that_may_be_forged_is_told_in_front_of_its_text(world: World) -> None:
    world.arrive(b"send money", verstat=Verstat.FAILED)
    await until(lambda: len(world.matrix.sent) == 2)
    warning, text = (sent.content["body"] for sent in world.matrix.sent)
    assert "could not confirm that the text comes from this number" in warning
    assert text == "send money"


async def test_a_database_in_trouble_is_a_500_so_that_it_comes_again(
    world: World, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*args: Any) -> Any:
        raise DatabaseAway("disk full")

    monkeypatch.setattr(database, "change", broken)
    world.arrive(b"hello")
    await until(lambda: world.trunk.fake.answers)
    assert world.trunk.fake.answers == [("k1", 500)]
    assert world.matrix.sent == []


async def test_texts_wait_for_the_homeserver_in_order_and_with_growing_delay(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.matrix, "_reach", _unreachable)
    world.arrive(b"one")
    await until(lambda: len(world.trunk.fake.answers) == 1)
    world.arrive(b"two", key="k2")
    await until(lambda: len(world.slept) > 8)
    monkeypatch.undo()
    await until(lambda: len(world.matrix.sent) == 2)
    assert [sent.content["body"] for sent in world.matrix.sent] == ["one", "two"]
    assert world.slept[:8] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


async def test_a_restart_delivers_what_waits_under_the_same_transaction_id(
    world: World, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.matrix, "_reach", _unreachable)
    world.arrive(b"hello")
    await until(lambda: world.slept)
    await world.texting.stop()
    monkeypatch.undo()
    ids = []
    for _ in range(2):
        again = World(database, FakeMatrix())
        await again.portals.load()
        await again.texting.start()
        await until(partial(_has_sent, again))
        ids.append(again.matrix.sent[0].txn_id)
        async with asyncio.timeout(10):
            while await states(database, "text_in") != ["sent"]:  # noqa: ASYNC110 - a thread's work
                await asyncio.sleep(0.001)
        await again.texting.stop()
        await database.execute("UPDATE text_in SET state = 'waiting', body = 'hello'")
    assert ids[0] == ids[1]


async def test_a_room_that_is_gone_is_made_anew(world: World) -> None:
    number = PhoneNumber("+493087654321")
    await world.portals.adopt("!gone:example.org", "house", number, ALICE)
    world.matrix.gone.add("!gone:example.org")
    world.arrive(b"hello")
    await until(lambda: world.matrix.sent)
    assert world.matrix.sent[0].room_id == "!made0:example.org"


@pytest.mark.parametrize("errcode", ["M_UNKNOWN_TOKEN", "M_UNKNOWN", "M_FORBIDDEN"])
async def test_a_homeserver_that_does_not_know_us_for_a_while_costs_no_text(
    world: World, database: Database, errcode: str
) -> None:
    """It came back without our registration, or a proxy answers in its place."""
    world.matrix.refusals = [MatrixRefused(errcode, "who are you", status=401)] * 5
    world.arrive(b"hello")
    await until(lambda: world.matrix.sent)
    assert world.matrix.sent[0].content["body"] == "hello"
    assert len(world.slept) >= 4
    await worked_off(world.texting)
    assert await states(database, "text_in") == ["sent"]


async def test_a_text_that_the_homeserver_does_not_take_is_told_of(
    world: World, database: Database
) -> None:
    world.matrix.refusals = [MatrixRefused("M_TOO_LARGE", "event too large", status=413)]
    world.arrive(b"long", key="one")
    world.arrive(b"short", key="two")
    await until(lambda: len(world.matrix.sent) == 2)
    assert [sent.content["body"] for sent in world.matrix.sent] == [
        "A text came here that the homeserver does not take (event too large). Its sender has it.",
        "short",
    ]
    assert world.matrix.sent[0].content["msgtype"] == "m.notice"
    await worked_off(world.texting)
    assert await states(database, "text_in") == ["sent", "sent"]


async def test_a_notice_that_is_left_comes_once(world: World) -> None:
    for _ in range(2):
        await world.texting.leave_notice(
            world.line, NUMBER, ALICE, "Missed call", name="", key="call:1"
        )
    await until(lambda: world.matrix.sent)
    await asyncio.sleep(0.02)
    assert world.matrix.notices() == ["Missed call"]


async def test_a_picture_is_told_not_to_go_by_message(world: World, portal: Portal) -> None:
    await world.write(portal, "photo.jpg", msgtype="m.image", more={"url": "mxc://example.org/one"})
    await world.write(portal, "photo.jpg", id="$t2", msgtype="m.image")
    assert world.matrix.notices() == [
        "Not sent: texts of this line carry words only.",
        "A file was not sent: its message does not say properly where it is.",
    ]
    assert world.trunk.fake.messages == []
