"""Version 6: up to where the rooms were read for what the homeserver did not push."""

from mautrix.util.async_db import Connection, Scheme


async def upgrade(conn: Connection, scheme: Scheme) -> None:
    # A single row; `seq` is of the inbox.
    await conn.execute(
        "CREATE TABLE reconciled"
        " (one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1), seq BIGINT NOT NULL)"
    )
