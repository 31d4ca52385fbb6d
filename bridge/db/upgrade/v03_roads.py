"""Version 3: by which road a text left, and what that road calls it, so that receipts find it."""

from mautrix.util.async_db import Connection, Scheme


async def upgrade(conn: Connection, scheme: Scheme) -> None:
    # "sip:TRUNK", or the name of a road; "" before the text left.
    await conn.execute("ALTER TABLE text_out ADD COLUMN road TEXT NOT NULL DEFAULT ''")
    await conn.execute("ALTER TABLE text_out ADD COLUMN remote_id TEXT")
    await conn.execute(
        "CREATE INDEX text_out_remote ON text_out (road, remote_id) WHERE remote_id IS NOT NULL"
    )
