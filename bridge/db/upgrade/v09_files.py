"""Version 9: files that leave with texts, and the addresses at which they are fetched meanwhile."""

from mautrix.util.async_db import Connection, Scheme

# `about` is the message whose file it is; times are milliseconds since 1970.
_HANDOUT = """
    token      TEXT    NOT NULL PRIMARY KEY,
    about      TEXT    NOT NULL UNIQUE,
    file       TEXT    NOT NULL,
    kind       TEXT    NOT NULL,
    octets     BIGINT  NOT NULL,
    expires_ms BIGINT  NOT NULL
"""


async def upgrade(conn: Connection, scheme: Scheme) -> None:
    # A `RoomFile`, as long as the text has a body.
    await conn.execute("ALTER TABLE text_out ADD COLUMN file TEXT")
    await conn.execute(f"CREATE TABLE handout ({_HANDOUT})")
