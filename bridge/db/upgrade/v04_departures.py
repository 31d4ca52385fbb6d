"""Version 4: a text that did not arrive may leave again, as a departure of its own."""

from mautrix.util.async_db import Connection, Scheme


async def upgrade(conn: Connection, scheme: Scheme) -> None:
    # The event whose text this is where somebody asked for it again; "" for a first departure.
    await conn.execute("ALTER TABLE text_out ADD COLUMN origin TEXT NOT NULL DEFAULT ''")
    await conn.execute("CREATE INDEX text_out_origin ON text_out (origin) WHERE origin <> ''")
