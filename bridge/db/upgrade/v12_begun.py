"""Version 12: portals whose room is being made."""

from mautrix.util.async_db import Connection, Scheme

# Written before the homeserver is asked for the room, and gone with the portal that is noted.
_BEGUN = """
    line    TEXT NOT NULL,
    number  TEXT NOT NULL,
    user_id TEXT NOT NULL,
    PRIMARY KEY (line, number, user_id)
"""


async def upgrade(conn: Connection, scheme: Scheme) -> None:
    await conn.execute(f"CREATE TABLE portal_begun ({_BEGUN})")
