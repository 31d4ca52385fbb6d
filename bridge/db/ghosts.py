"""Ghosts at rest: which exist at the homeserver, and the name that each bears there."""

from bridge.db.interface import Database


class GhostTable:
    """Repository of the table `ghost`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def name(self, number: str) -> str | None:
        """The display name of a number's ghost; None if we have not made that ghost."""
        row = await self._database.fetchrow(
            "SELECT display_name FROM ghost WHERE number = $1", number
        )
        return None if row is None else str(row["display_name"])

    async def put(self, number: str, display_name: str) -> None:
        await self._database.execute(
            "INSERT INTO ghost (number, display_name) VALUES ($1, $2)"
            " ON CONFLICT (number) DO UPDATE SET display_name = excluded.display_name",
            number,
            display_name,
        )
