"""Version 10: who of a group has written a text."""

from mautrix.util.async_db import Connection, Scheme


async def upgrade(conn: Connection, scheme: Scheme) -> None:
    # A number of the group that `number` is then; "" where `number` itself says it.
    await conn.execute("ALTER TABLE text_in ADD COLUMN sender TEXT NOT NULL DEFAULT ''")
