"""How far the lists of providers have been read."""

from bridge.db.interface import Database


class PollTable:
    """Repository of the table `poll`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def cursor(self, road: str) -> str | None:
        """Where to go on; None for a road that was never asked."""
        cursor: str | None = await self._database.fetchval(
            "SELECT cursor FROM poll WHERE road = $1", road
        )
        return cursor

    async def keep(self, road: str, cursor: str) -> None:
        """Everything before `cursor` is stored."""
        await self._database.execute(
            "INSERT INTO poll (road, cursor) VALUES ($1, $2)"
            " ON CONFLICT (road) DO UPDATE SET cursor = excluded.cursor",
            road,
            cursor,
        )
