"""Rooms that were made without our knowing: the answer was lost, or we were killed before it could
be noted."""

import asyncio
from typing import Any

import pytest

from bridge.config import LineSection
from bridge.db.ghosts import GhostTable
from bridge.db.interface import Database
from bridge.db.portals import PortalTable
from bridge.ghost import Ghosts
from bridge.matrix.homeserver import MatrixRefused, MatrixUnavailable
from bridge.numbers import PhoneNumber, group_of
from bridge.portal import Portals
from tests.bridge.fakes import FakeMatrix

ALICE, BOB = "@alice:example.org", "@bob:example.org"
NUMBER = PhoneNumber("+15551234567")
LINE = LineSection(name="house", trunk="home", called=("ringback",), users=(ALICE, BOB))
GROUP = group_of([NUMBER, PhoneNumber("+15557654321")])


class Homeserver(FakeMatrix):
    """Makes a room, and does not get round to saying so.

    Attributes:
        trouble: what happens in the place of its answer.
    """

    trouble: BaseException | None = None

    async def create_room(self, **wanted: Any) -> str:
        if isinstance(self.trouble, MatrixRefused):
            raise self.trouble
        room_id = await super().create_room(**wanted)
        if self.trouble is not None:
            raise self.trouble
        return room_id


@pytest.fixture
def matrix() -> Homeserver:
    return Homeserver()


def start(matrix: Homeserver, database: Database) -> Portals:
    ghosts = Ghosts(matrix=matrix.real, table=GhostTable(database), prefix="_ringback_")
    return Portals(matrix=matrix.real, ghosts=ghosts, table=PortalTable(database))


async def restart(matrix: Homeserver, database: Database) -> Portals:
    portals = start(matrix, database)
    await portals.load()
    await portals.take_up()
    return portals


@pytest.mark.parametrize("number", [NUMBER, PhoneNumber(""), GROUP])
async def test_a_room_is_found_again_after_we_were_killed(
    matrix: Homeserver, database: Database, number: PhoneNumber
) -> None:
    matrix.trouble = asyncio.CancelledError()  # which ends what makes it, as a kill does
    with pytest.raises(asyncio.CancelledError):
        await start(matrix, database).open(LINE, number, ALICE)
    matrix.trouble = None
    portals = await restart(matrix, database)
    (made,) = matrix.rooms
    assert portals.by_room(made) == portals.find(LINE.name, number, ALICE)
    assert (await portals.open(LINE, number, ALICE)).room_id == made
    again = await restart(matrix, database)
    assert [portal.room_id for portal in again.all()] == [made]
    assert not await PortalTable(database).begun()


async def test_a_room_whose_answer_was_lost_is_not_made_twice(
    matrix: Homeserver, database: Database
) -> None:
    portals = start(matrix, database)
    matrix.trouble = MatrixUnavailable("no answer")
    with pytest.raises(MatrixUnavailable):
        await portals.open(LINE, NUMBER, ALICE)
    matrix.trouble = None
    portal = await portals.open(LINE, NUMBER, ALICE)
    assert [portal.room_id] == list(matrix.rooms)


async def test_what_was_not_made_is_made(matrix: Homeserver, database: Database) -> None:
    matrix.trouble = MatrixRefused("M_FORBIDDEN", "no")
    portals = start(matrix, database)
    with pytest.raises(MatrixRefused):
        await portals.open(LINE, NUMBER, ALICE)
    assert not await PortalTable(database).begun()
    matrix.trouble = None
    await portals.open(LINE, NUMBER, ALICE)
    assert len(matrix.rooms) == 1


async def test_a_room_of_somebody_else_is_not_taken(matrix: Homeserver, database: Database) -> None:
    """Of the same number: another user's, one that its user has left, one that is no portal."""
    matrix.trouble = MatrixUnavailable("no answer")
    portals = start(matrix, database)
    for user in (ALICE, BOB):
        with pytest.raises(MatrixUnavailable):
            await portals.open(LINE, NUMBER, user)
    matrix.trouble = None
    first, second = matrix.rooms
    matrix.rooms["!other:example.org"] = {**matrix.rooms[first], "initial_state": []}
    matrix.rooms[first]["invite"] = []
    portals = await restart(matrix, database)
    assert [(portal.room_id, portal.user) for portal in portals.all()] == [(second, BOB)]
    assert (await portals.open(LINE, NUMBER, ALICE)).room_id not in (first, second)


async def test_a_homeserver_that_is_away_is_asked_later(
    matrix: Homeserver, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    matrix.trouble = MatrixUnavailable("no answer")
    with pytest.raises(MatrixUnavailable):
        await start(matrix, database).open(LINE, NUMBER, ALICE)

    async def away(user: str) -> tuple[str, ...]:
        raise MatrixUnavailable("no connection")

    matrix.trouble = None
    monkeypatch.setattr(matrix, "joined_rooms", away)
    portals = await restart(matrix, database)
    assert not portals.all()
    monkeypatch.undo()
    await portals.open(LINE, NUMBER, ALICE)
    assert len(matrix.rooms) == 1
