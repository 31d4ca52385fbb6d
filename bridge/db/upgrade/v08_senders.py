"""Version 8: which senders are no phones, and which want no texts."""

from mautrix.util.async_db import Connection, Scheme

_SENDER = """
    line        TEXT    NOT NULL,
    number      TEXT    NOT NULL,
    is_code     BOOLEAN NOT NULL,
    has_stopped BOOLEAN NOT NULL,
    PRIMARY KEY (line, number)
"""


async def upgrade(conn: Connection, scheme: Scheme) -> None:
    await conn.execute(f"CREATE TABLE sender ({_SENDER})")
