"""What is known of senders, at rest."""

from dataclasses import dataclass

from bridge.db.interface import Database


@dataclass(frozen=True, slots=True)
class SenderRow:
    """A number that has written to a line.

    Attributes:
        is_code: it is a short number or a word.
        has_stopped: it wants no texts.
    """

    line: str
    number: str
    is_code: bool
    has_stopped: bool


class SenderTable:
    """Repository of the table `sender`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> list[SenderRow]:
        rows = await self._database.fetch("SELECT line, number, is_code, has_stopped FROM sender")
        return [
            SenderRow(row["line"], row["number"], bool(row["is_code"]), bool(row["has_stopped"]))
            for row in rows
        ]

    async def put(self, line: str, number: str, *, is_code: bool, has_stopped: bool) -> None:
        await self._database.execute(
            "INSERT INTO sender (line, number, is_code, has_stopped) VALUES ($1, $2, $3, $4)"
            " ON CONFLICT (line, number) DO UPDATE SET is_code = excluded.is_code,"
            " has_stopped = excluded.has_stopped",
            line,
            number,
            is_code,
            has_stopped,
        )
