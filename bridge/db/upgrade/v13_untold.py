"""Version 13: what became of a text and was not told yet."""

from mautrix.util.async_db import Connection, Scheme


async def upgrade(conn: Connection, scheme: Scheme) -> None:
    # Why a text did not arrive, until its author knows.
    await conn.execute("ALTER TABLE text_out ADD COLUMN untold TEXT")
    await conn.execute("CREATE INDEX text_out_untold ON text_out (seq) WHERE untold IS NOT NULL")
