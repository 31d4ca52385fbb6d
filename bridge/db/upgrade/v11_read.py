"""Version 11: who wants to be told that a text was read."""

from mautrix.util.async_db import Connection, Scheme


async def upgrade(conn: Connection, scheme: Scheme) -> None:
    # The event by which a text was said, where it matters, and what its sender wants to be told
    # until it is.
    await conn.execute("ALTER TABLE text_in ADD COLUMN event_id TEXT")
    await conn.execute("ALTER TABLE text_in ADD COLUMN wanted TEXT")
    await conn.execute(
        "CREATE INDEX text_in_event ON text_in (event_id) WHERE event_id IS NOT NULL"
    )
    await conn.execute(
        "CREATE INDEX text_in_wanted ON text_in (line, number, user_id) WHERE wanted IS NOT NULL"
    )
