"""Files that may be fetched from outside for a while, at an address that nobody can guess."""

from dataclasses import dataclass, field

from bridge.db.interface import Database
from bridge.matrix.file import RoomFile


@dataclass(frozen=True, slots=True)
class Handout:
    """A file that is handed out.

    Attributes:
        token: what its address ends with.
        about: the message whose file it is.
        kind: the content type under which it leaves.
        octets: it is no longer than this.
        expires_ms: milliseconds since 1970.
    """

    token: str = field(repr=False)
    about: str
    file: RoomFile
    kind: str
    octets: int
    expires_ms: int


class HandoutTable:
    """Repository of the table `handout`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, handout: Handout) -> str:
        """Keep it; a message whose file is handed out already keeps its token.

        Returns:
            The token.
        """
        (row,) = await self._database.write(
            "INSERT INTO handout (token, about, file, kind, octets, expires_ms)"
            " VALUES ($1, $2, $3, $4, $5, $6)"
            " ON CONFLICT (about) DO UPDATE SET file = excluded.file, kind = excluded.kind,"
            " octets = excluded.octets, expires_ms = excluded.expires_ms RETURNING token",
            handout.token,
            handout.about,
            handout.file.to_json(),
            handout.kind,
            handout.octets,
            handout.expires_ms,
        )
        return str(row["token"])

    async def find(self, token: str, *, now_ms: int) -> Handout | None:
        """What a token stands for; None for one that is over, or was never given."""
        row = await self._database.fetchrow(
            "SELECT about, file, kind, octets, expires_ms FROM handout"
            " WHERE token = $1 AND expires_ms > $2",
            token,
            now_ms,
        )
        if row is None:
            return None
        return Handout(
            token,
            row["about"],
            RoomFile.from_json(row["file"]),
            row["kind"],
            row["octets"],
            row["expires_ms"],
        )

    async def withdraw(self, about: str) -> None:
        """Hand the file of a message out no more."""
        await self._database.execute("DELETE FROM handout WHERE about = $1", about)

    async def prune(self, *, now_ms: int) -> None:
        await self._database.execute("DELETE FROM handout WHERE expires_ms <= $1", now_ms)
