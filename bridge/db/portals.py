"""Rooms at rest: which is for which number, on which line, of which user; and which is whose
direct chat with the bot."""

from dataclasses import dataclass

from bridge.db.interface import Connection, Database


@dataclass(frozen=True, slots=True)
class PortalRow:
    """A room for one remote number on one line with one of the line's users.

    Attributes:
        number: text of the `PhoneNumber`.
    """

    room_id: str
    line: str
    number: str
    user_id: str


@dataclass(frozen=True, slots=True)
class Party:
    """Who speaks with whom: a remote number, on a line, with one of the line's users."""

    line: str
    number: str
    user_id: str


class PortalTable:
    """Repository of the tables `portal` and `portal_begun`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> list[PortalRow]:
        """Every portal, oldest first."""
        rows = await self._database.fetch(
            "SELECT room_id, line, number, user_id FROM portal ORDER BY seq"
        )
        return [
            PortalRow(row["room_id"], row["line"], row["number"], row["user_id"]) for row in rows
        ]

    async def put(self, row: PortalRow) -> None:
        """Keep a portal; a room that is one already changes what it is for."""

        async def put(connection: Connection) -> None:
            await connection.execute(
                "INSERT INTO portal (room_id, line, number, user_id) VALUES ($1, $2, $3, $4)"
                " ON CONFLICT (room_id) DO UPDATE SET line = excluded.line,"
                " number = excluded.number, user_id = excluded.user_id",
                row.room_id,
                row.line,
                row.number,
                row.user_id,
            )
            await connection.execute(_FORGET_BEGUN, row.line, row.number, row.user_id)

        await self._database.commit(put)

    async def begin(self, party: Party) -> None:
        """A room is about to be made; `put` is the end of that."""
        await self._database.execute(
            "INSERT INTO portal_begun (line, number, user_id) VALUES ($1, $2, $3)"
            " ON CONFLICT (line, number, user_id) DO NOTHING",
            party.line,
            party.number,
            party.user_id,
        )

    async def begun(self) -> list[Party]:
        """For whom a room may have been made without having been noted."""
        rows = await self._database.fetch("SELECT line, number, user_id FROM portal_begun")
        return [Party(row["line"], row["number"], row["user_id"]) for row in rows]

    async def forget_begun(self, party: Party) -> None:
        """No room was made."""
        await self._database.execute(_FORGET_BEGUN, party.line, party.number, party.user_id)

    async def delete(self, room_id: str) -> None:
        await self._database.execute("DELETE FROM portal WHERE room_id = $1", room_id)


_FORGET_BEGUN = "DELETE FROM portal_begun WHERE line = $1 AND number = $2 AND user_id = $3"


class BotRoomTable:
    """Repository of the table `bot_room`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> dict[str, str]:
        """Room by user."""
        rows = await self._database.fetch("SELECT user_id, room_id FROM bot_room")
        return {row["user_id"]: row["room_id"] for row in rows}

    async def put(self, user_id: str, room_id: str) -> None:
        async def replace(connection: Connection) -> None:
            await connection.execute("DELETE FROM bot_room WHERE room_id = $1", room_id)
            await connection.execute(
                "INSERT INTO bot_room (user_id, room_id) VALUES ($1, $2)"
                " ON CONFLICT (user_id) DO UPDATE SET room_id = excluded.room_id",
                user_id,
                room_id,
            )

        await self._database.commit(replace)

    async def delete(self, room_id: str) -> None:
        await self._database.execute("DELETE FROM bot_room WHERE room_id = $1", room_id)
