"""Version 2: portals, ghosts, and the texts on their way in either direction."""

from mautrix.util.async_db import Connection, Scheme

# `number` is a `PhoneNumber`'s text: E.164, an extension, or "" for a withheld number.
# A user may open several rooms with one ghost; the newest is the one that we speak in first.
_PORTAL = """
    room_id TEXT NOT NULL UNIQUE,
    line    TEXT NOT NULL,
    number  TEXT NOT NULL,
    user_id TEXT NOT NULL
"""

_GHOST = """
    number       TEXT NOT NULL PRIMARY KEY,
    display_name TEXT NOT NULL
"""

# A user's direct chat with the bot.
_BOT_ROOM = """
    user_id TEXT NOT NULL PRIMARY KEY,
    room_id TEXT NOT NULL UNIQUE
"""

# Room to phone. `state`: waiting, sending (the bytes may have left), sent, refused, doubt.
# The body is NULL once nothing more can come of it.
_TEXT_OUT = """
    event_id   TEXT   NOT NULL UNIQUE,
    room_id    TEXT   NOT NULL,
    line       TEXT   NOT NULL,
    number     TEXT   NOT NULL,
    body       TEXT,
    state      TEXT   NOT NULL,
    created_ms BIGINT NOT NULL
"""

# Phone to room, one row for each user of the line. `state`: waiting, sent, refused. `key` is the
# same for a repeat of the same text.
_TEXT_IN = """
    key        TEXT   NOT NULL,
    user_id    TEXT   NOT NULL,
    line       TEXT   NOT NULL,
    number     TEXT   NOT NULL,
    name       TEXT   NOT NULL,
    msgtype    TEXT   NOT NULL,
    body       TEXT,
    state      TEXT   NOT NULL,
    created_ms BIGINT NOT NULL,
    UNIQUE (key, user_id)
"""


async def upgrade(conn: Connection, scheme: Scheme) -> None:
    if scheme == Scheme.SQLITE:
        sequence = "INTEGER PRIMARY KEY AUTOINCREMENT"
    else:
        sequence = "BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY"
    await conn.execute(f"CREATE TABLE portal (seq {sequence}, {_PORTAL})")
    await conn.execute(f"CREATE TABLE ghost ({_GHOST})")
    await conn.execute(f"CREATE TABLE bot_room ({_BOT_ROOM})")
    for table, columns in (("text_out", _TEXT_OUT), ("text_in", _TEXT_IN)):
        await conn.execute(f"CREATE TABLE {table} (seq {sequence}, {columns})")
        await conn.execute(
            f"CREATE INDEX {table}_open ON {table} (seq) WHERE state IN ('waiting', 'sending')"
        )
