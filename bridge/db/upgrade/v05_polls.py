"""Version 5: how far the list of a road has been read, where texts are fetched."""

from mautrix.util.async_db import Connection, Scheme


async def upgrade(conn: Connection, scheme: Scheme) -> None:
    await conn.execute("CREATE TABLE poll (road TEXT NOT NULL PRIMARY KEY, cursor TEXT NOT NULL)")
