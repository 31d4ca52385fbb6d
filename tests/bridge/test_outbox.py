"""Texts out by a provider's road, and what its hooks bring, on real databases."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from bridge.attachment import Attachments
from bridge.config import LineSection, TrunkSection
from bridge.db.ghosts import GhostTable
from bridge.db.interface import Database, DatabaseAway
from bridge.db.portals import PortalTable
from bridge.db.texts import IncomingTexts, OutgoingText, OutgoingTexts
from bridge.ghost import Ghosts
from bridge.handout import Handouts
from bridge.matrix.events import RoomEvent, parse_text
from bridge.matrix.repository import RoomFiles
from bridge.numbers import PhoneNumber
from bridge.outbox import KEEP_TRYING, STATUS, now_ms
from bridge.portal import Portal, Portals
from bridge.road.carrier import MAX_ANSWER, Carrier
from bridge.road.fetch import Fetched, Fetcher, NotFetched
from bridge.road.generic import Generic, Outward
from bridge.road.road import (
    ApiAnswer,
    ApiRequest,
    Arrival,
    Attachment,
    Delivery,
    Later,
    Limits,
    Receipt,
    Road,
    Unsure,
    Writing,
)
from bridge.road.way import RoadWay
from bridge.routing import Routing
from bridge.senders import Senders
from bridge.texting import Texting
from tests.bridge.fakes import FakeMatrix, FakeTrunk
from tests.bridge.test_texting import ALICE, BOB, states, until, worked_off

NUMBER = PhoneNumber("+15551234567")
OURS = "+15557654321"
GHOST = "@tel_15551234567:example.org"


class Provider(Carrier):
    """Answers requests as it is told, without a network."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[ApiRequest] = []
        self.answers: list[ApiAnswer | Later | Unsure] = []
        self.hold: asyncio.Event | None = None

    async def request(
        self, request: ApiRequest, *, most: int = MAX_ANSWER
    ) -> ApiAnswer | Later | Unsure:
        self.requests.append(request)
        if self.hold is not None:
            await self.hold.wait()
        if self.answers:
            return self.answers.pop(0)
        return ApiAnswer(200, body=b'{"id": "r%d"}' % len(self.requests))


class Files(Fetcher):
    """Has files at addresses, without a network."""

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, Fetched] = {}

    async def fetch(self, url: str, headers: Mapping[str, str] | None = None) -> Fetched:
        if url not in self.files:
            raise NotFetched("the server answered 404", final=False)
        return self.files[url]


class World:
    """Texting over one road, on one database."""

    def __init__(
        self,
        database: Database,
        matrix: FakeMatrix,
        *,
        users: tuple[str, ...] = (ALICE,),
        repeatable: bool = False,
        parts: int = 3,
        writing: Writing = Writing.NATIONAL,
        receipts: str | None = None,
        warn_parts: int = 255,
        road: Road | None = None,
        files: RoomFiles | None = None,
        handouts: Handouts | None = None,
        **settings: Any,
    ) -> None:
        self.matrix = matrix
        self.provider = Provider()
        self.files = Files()
        self.slept: list[float] = []
        self.pause: asyncio.Event | None = None  # a sleep lasts until it is set
        ghosts = Ghosts(matrix=matrix.real, table=GhostTable(database), prefix="tel_")
        self.portals = Portals(matrix=matrix.real, ghosts=ghosts, table=PortalTable(database))
        line = self.line(users=users, **settings)
        trunk = TrunkSection(
            name="home", domain="pbx.example.org", username="ringback", password="secret"
        )
        outward = Outward(
            "https://acme.example/send", {"t": "{text}", "to": "{to}", "k": "{key}"}, id="id"
        )
        road = road or Generic(
            inward=None,
            outward=outward,
            limits=Limits(characters=1000, writing=writing),
            repeatable=repeatable,
        )
        way = RoadWay(
            "acme",
            road,
            self.provider,
            receipts=receipts,
            parts=parts,
            warn_parts=warn_parts,
            files=files,
            handouts=handouts,
        )
        self.senders = Senders()
        self.routing = Routing(
            lines=(line,),
            trunks={"home": trunk},
            writings={"acme": writing},
            senders=self.senders,
        )
        self.texting = Texting(
            matrix=matrix.real,
            ghosts=ghosts,
            portals=self.portals,
            routing=self.routing,
            senders=self.senders,
            outgoing=OutgoingTexts(database),
            incoming=IncomingTexts(database),
            trunks={"home": FakeTrunk()},
            roads={"acme": way},
            attachments=Attachments(matrix=matrix.real, fetcher=self.files, sleep=self._sleep),
            handouts=handouts,
            sleep=self._sleep,
        )

    @staticmethod
    def line(**settings: Any) -> LineSection:
        return LineSection(
            name="sms",
            trunk="home",
            number=OURS,
            called=("x",),
            region="US",
            texts_in="acme",
            texts_out="acme",
            **settings,
        )

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await (self.pause.wait() if self.pause is not None else asyncio.sleep(0))

    async def edit(self, portal: Portal, message_id: str, body: str) -> None:
        relation = {"rel_type": "m.replace", "event_id": message_id}
        more = {
            "m.new_content": {"msgtype": "m.text", "body": body},
            "m.relates_to": relation,
        }
        await self.write(portal, f"* {body}", id=f"$edit of {message_id}: {body}", more=more)

    async def write(
        self,
        portal: Portal,
        body: str,
        *,
        id: str = "$t1",
        more: Mapping[str, Any] | None = None,
    ) -> None:
        content = {"msgtype": "m.text", "body": body, **(more or {})}
        event = RoomEvent(id, portal.room_id, portal.user, "m.room.message", content)
        text = parse_text(event)
        assert text is not None
        await self.texting.receive(portal, event, text)

    def shown(self) -> list[tuple[str, str]]:
        """Status and words of what was shown on texts."""
        return [
            (sent.content["status"], sent.content.get("message", ""))
            for sent in self.matrix.sent
            if sent.type == STATUS
        ]


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    made = World(database, FakeMatrix())
    yield made
    await made.texting.stop()


@pytest.fixture
async def portal(world: World) -> Portal:
    return await world.portals.adopt("!room:example.org", "sms", NUMBER, ALICE)


async def settle(database: Database, wanted: list[str]) -> None:
    async with asyncio.timeout(10):
        while await states(database, "text_out") != wanted:  # noqa: ASYNC110 - a thread's work
            await asyncio.sleep(0.001)


def arrival(**changes: Any) -> Arrival:
    given = {"id": "a1", "sender": NUMBER.text[2:], "to": OURS[2:], "body": "hello"}
    return Arrival(**(given | changes))


# --- out


async def test_a_text_leaves_by_the_road_of_its_line(
    world: World, portal: Portal, database: Database
) -> None:
    await world.write(portal, "Grüße & more")
    await settle(database, ["sent"])
    (request,) = world.provider.requests
    assert request.body == b"t=Gr%C3%BC%C3%9Fe+%26+more&to=5551234567&k=%24t1"
    await until(world.shown)
    assert world.shown() == [("SUCCESS", "")]
    assert world.matrix.notices() == []


@pytest.mark.parametrize("id", ["r1", "unknown"])
async def test_a_receipt_shows_delivery(
    world: World, portal: Portal, database: Database, id: str
) -> None:
    await world.write(portal, "hello")
    await settle(database, ["sent"])
    await world.texting.receive_hook("acme", [Receipt(id, Delivery.DELIVERED)] * 2)
    if id == "r1":
        await settle(database, ["delivered"])
        await until(lambda: len(world.shown()) == 2)
        assert world.matrix.sent[-1].content["delivered_to_users"] == [GHOST]
    else:
        await worked_off(world.texting)
        assert await states(database, "text_out") == ["sent"]


async def test_a_receipt_that_overtakes_the_answer_is_not_lost(
    world: World, portal: Portal, database: Database
) -> None:
    world.provider.hold = asyncio.Event()
    await world.write(portal, "hello")
    await until(lambda: world.provider.requests)
    await world.texting.receive_hook("acme", [Receipt("r1", Delivery.DELIVERED)])
    await asyncio.sleep(0.02)
    world.provider.hold.set()
    await settle(database, ["delivered"])


async def test_a_failed_delivery_is_told_once_with_its_reason(
    world: World, portal: Portal, database: Database
) -> None:
    await world.write(portal, "hello")
    await settle(database, ["sent"])
    failed = Receipt("r1", Delivery.FAILED, "the recipient has blocked texts")
    await world.texting.receive_hook("acme", [failed])
    await settle(database, ["failed"])
    await world.texting.receive_hook("acme", [failed, Receipt("r1", Delivery.DELIVERED)])
    await until(world.matrix.notices)
    await worked_off(world.texting)
    assert world.matrix.notices() == [
        "Not delivered to +1 555-123-4567: the recipient has blocked texts."
    ]
    assert await states(database, "text_out") == ["failed"]


async def test_a_busy_provider_is_asked_again_when_it_says_so(
    world: World, portal: Portal, database: Database
) -> None:
    world.provider.answers = [ApiAnswer(429, {"retry-after": "7"}), ApiAnswer(503)]
    await world.write(portal, "hello")
    await settle(database, ["sent"])
    assert len(world.provider.requests) == 3
    assert world.slept[0] == 7.0
    assert world.matrix.notices() == []


async def test_a_provider_that_stays_away_is_given_up_and_told(
    world: World, portal: Portal, database: Database
) -> None:
    world.provider.answers = [Later("the provider cannot be reached (refused)")] * 1000
    await world.write(portal, "hello")
    await settle(database, ["refused"])
    await until(lambda: len(world.matrix.notices()) == 2)
    assert "Not sent to +1 555-123-4567 yet" in world.matrix.notices()[0]
    assert "Not delivered" in world.matrix.notices()[1]
    assert sum(world.slept) >= KEEP_TRYING
    assert [status for status, _ in world.shown()] == ["PENDING", "FAIL_PERMANENT"]


async def test_no_answer_is_a_doubt(world: World, portal: Portal, database: Database) -> None:
    world.provider.answers = [Unsure("the provider did not answer in time")]
    await world.write(portal, "hello")
    await settle(database, ["doubt"])
    await until(world.matrix.notices)
    assert "may not have reached" in world.matrix.notices()[0]
    assert len(world.provider.requests) == 1


async def test_a_clock_that_jumps_gives_up_no_text(
    world: World, portal: Portal, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a day, while the text waits for a provider that is busy."""
    world.provider.answers = [Later("busy"), Later("busy"), Later("busy")]
    world.pause = asyncio.Event()
    await world.write(portal, "hello")
    await until(lambda: world.slept)
    monkeypatch.setattr("bridge.outbox.now_ms", lambda: time.time_ns() // 1_000_000 + 86_400_000)
    world.pause.set()
    await settle(database, ["sent"])
    assert not [words for words in world.matrix.notices() if "Not delivered" in words]


async def test_no_answer_is_asked_for_again_where_a_repeat_is_known_as_one(
    database: Database,
) -> None:
    world = World(database, FakeMatrix(), repeatable=True)
    portal = await world.portals.adopt("!room:example.org", "sms", NUMBER, ALICE)
    world.provider.answers = [Unsure("no answer"), Unsure("no answer")]
    await world.write(portal, "hello")
    await settle(database, ["sent"])
    assert len({request.body for request in world.provider.requests}) == 1
    assert len(world.provider.requests) == 3
    assert world.matrix.notices() == []
    await world.texting.stop()


async def test_what_nobody_knows_after_an_hour_is_a_doubt_though_it_was_repeated(
    database: Database,
) -> None:
    world = World(database, FakeMatrix(), repeatable=True)
    portal = await world.portals.adopt("!room:example.org", "sms", NUMBER, ALICE)
    # Taken perhaps by the first, and certainly not by the others.
    world.provider.answers = [Unsure("no answer"), *[Later("busy")] * 200]
    await world.write(portal, "hello")
    await settle(database, ["doubt"])
    await until(lambda: [n for n in world.matrix.notices() if "may not have reached" in n])
    assert sum(world.slept) >= KEEP_TRYING
    await world.texting.stop()


@pytest.mark.parametrize("repeatable", [False, True])
async def test_a_crash_while_sending(database: Database, repeatable: bool) -> None:
    world = World(database, FakeMatrix(), repeatable=repeatable)
    portal = await world.portals.adopt("!room:example.org", "sms", NUMBER, ALICE)
    world.provider.hold = asyncio.Event()
    await world.write(portal, "hello")
    await until(lambda: world.provider.requests)
    await world.texting.stop()
    again = World(database, world.matrix, repeatable=repeatable)
    await again.portals.load()
    await again.texting.start()
    if repeatable:
        await settle(database, ["sent"])
        assert again.provider.requests == world.provider.requests
        assert again.matrix.notices() == []
    else:
        await settle(database, ["doubt"])
        await until(again.matrix.notices)
        assert again.provider.requests == []
    await again.texting.stop()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("x" * 1001, "the text has 1001 characters, and no more than 1000"),
        ("x" * 460, "would take 4 messages"),
        ("я" * 202, "would take 4 messages"),
    ],
)
async def test_a_text_that_is_too_long_is_refused_before_it_costs(
    world: World, portal: Portal, database: Database, body: str, words: str
) -> None:
    await world.write(portal, body)
    await until(world.matrix.notices)
    assert words in world.matrix.notices()[0]
    assert world.provider.requests == []
    assert await states(database, "text_out") == []


@pytest.mark.parametrize(
    ("number", "words"),
    [("My-Bank", "cannot be answered"), ("+493012345678", "within North America only")],
)
async def test_where_the_provider_does_not_reach_is_told(
    world: World, database: Database, number: str, words: str
) -> None:
    portal = await world.portals.adopt("!r:example.org", "sms", PhoneNumber(number), ALICE)
    await world.write(portal, "hello")
    await until(world.matrix.notices)
    assert words in world.matrix.notices()[0]
    assert world.provider.requests == []


# --- in


async def test_a_text_of_a_hook_is_stored_and_said_by_its_ghost(
    world: World, database: Database
) -> None:
    assert await world.texting.receive_hook("acme", [arrival()])
    assert await database.fetchval("SELECT COUNT(*) FROM text_in") == 1
    await until(lambda: world.matrix.sent)
    (text,) = world.matrix.sent
    assert (text.sender, text.content) == (GHOST, {"msgtype": "m.text", "body": "hello"})


async def test_a_hook_that_comes_again_is_one_text(world: World) -> None:
    for _ in range(3):
        assert await world.texting.receive_hook("acme", [arrival()])
    assert await world.texting.receive_hook("acme", [arrival(id="a2")])
    await until(lambda: len(world.matrix.sent) == 2)


async def test_every_user_of_the_line_gets_it(database: Database) -> None:
    world = World(database, FakeMatrix(), users=(ALICE, BOB))
    await world.texting.receive_hook("acme", [arrival()])
    await until(lambda: len(world.matrix.sent) == 2)
    assert {room["invite"][0] for room in world.matrix.rooms.values()} == {ALICE, BOB}
    await world.texting.stop()


async def test_a_text_for_nobodys_number_may_come_again(world: World) -> None:
    other = arrival(to="5550000000")
    assert not await world.texting.receive_hook("acme", [other, arrival()])
    await until(lambda: world.matrix.sent)  # the one that has a place is not held back


async def test_a_text_with_pictures_to_a_group_is_told_whole(world: World) -> None:
    pictures = (Attachment("https://acme.example/1.jpg", "image/jpeg"),)
    world.files.files["https://acme.example/1.jpg"] = Fetched("image/jpeg", b"jpeg")
    await world.texting.receive_hook(
        "acme", [arrival(attachments=pictures, group=("+15550001111",))]
    )
    await until(lambda: len(world.matrix.sent) == 3)
    text, picture, group = world.matrix.sent
    assert text.content["body"] == "hello"
    assert (picture.content["msgtype"], picture.content["url"]) == (
        "m.image",
        "mxc://example.org/1",
    )
    assert "+15550001111 have it too" in group.content["body"]


async def test_a_picture_waits_for_a_homeserver_that_is_away(world: World) -> None:
    world.files.files["https://acme.example/1.jpg"] = Fetched("image/jpeg", b"jpeg")
    world.matrix.away = True
    pictures = (Attachment("https://acme.example/1.jpg"),)
    await world.texting.receive_hook("acme", [arrival(body="", attachments=pictures)])
    await until(lambda: len(world.slept) >= 2)  # it has tried
    assert world.matrix.sent == []


async def test_a_sender_that_is_a_word_has_a_portal(world: World) -> None:
    await world.texting.receive_hook("acme", [arrival(sender="My Bank")])
    await until(lambda: world.matrix.sent)
    (room,) = world.matrix.rooms.values()
    assert "My Bank" in room["name"]


async def test_a_store_that_fails_is_the_hooks_to_answer_for(
    world: World, portal: Portal, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:

    async def fail(*args: Any) -> Any:
        raise DatabaseAway("disk full")

    monkeypatch.setattr(database, "change", fail)
    with pytest.raises(DatabaseAway):
        await world.texting.receive_hook("acme", [arrival()])
    assert world.matrix.sent == []


# --- what did not arrive is told, whatever happens meanwhile


@pytest.mark.parametrize(
    ("answer", "state", "words"),
    [
        (Unsure("no answer"), "doubt", "may not have reached"),
        (ApiAnswer(400), "refused", "Not delivered"),
        (ApiAnswer(200, body=b'{"id": "r1"}'), "failed", "it was blocked"),
    ],
)
async def test_what_was_noted_and_not_told_is_told_after_a_crash(
    database: Database, answer: ApiAnswer | Unsure, state: str, words: str
) -> None:
    first = World(database, FakeMatrix())
    portal = await first.portals.adopt("!room:example.org", "sms", NUMBER, ALICE)
    first.matrix.slow = 3600.0  # it does not get round to it
    first.provider.answers = [answer]
    await first.write(portal, "hello")
    if state == "failed":
        await settle(database, ["sent"])
        blocked = Receipt("r1", Delivery.FAILED, "it was blocked")
        await first.texting.receive_hook("acme", [blocked])
    await settle(database, [state])
    await first.texting.stop()
    matrix = FakeMatrix()
    for _ in range(2):
        world = World(database, matrix)
        await world.portals.load()
        await world.texting.start()
        await worked_off(world.texting)
        await world.texting.stop()
        assert len(matrix.notices()) == 1
    assert words in matrix.notices()[0]
    assert [status for status, _ in world.shown()] == ["FAIL_PERMANENT"]


async def test_what_became_of_a_text_by_command_waits_for_the_homeserver(
    world: World, database: Database
) -> None:
    """Its room is no portal, in which a notice could be left."""
    world.provider.answers = [ApiAnswer(400)]
    world.provider.hold = asyncio.Event()
    await world.texting.submit(
        "sms", NUMBER, "hello", event_id="$t1", room_id="!bot:example.org", user=ALICE
    )
    await until(lambda: world.provider.requests)
    world.matrix.away = True
    world.provider.hold.set()
    await until(lambda: len(world.slept) >= 3)
    assert not world.matrix.notices()
    world.matrix.away = False
    await until(world.matrix.notices)
    assert "Not delivered" in world.matrix.notices()[0]
    await worked_off(world.texting)
    assert not await OutgoingTexts(database).untold()


async def test_a_text_that_is_sent_again_is_not_told_of_any_more(
    world: World, portal: Portal, database: Database
) -> None:
    texts = OutgoingTexts(database)
    text = await texts.store(OutgoingText("$t1", "!room:x", "sms", NUMBER.text, "hello", now_ms()))
    assert text is not None
    await texts.done("$t1", "refused", keep_body=True, untold="busy")
    assert [(one.event_id, reason) for one, reason in await texts.untold()] == [("$t1", "busy")]
    await texts.again(text, "$again", now_ms=now_ms())
    assert not await texts.untold()
