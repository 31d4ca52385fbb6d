"""Version 1: the events that the homeserver gave us and that we still owe something."""

from mautrix.util.async_db import Connection, Scheme

# `payload` is the event while it is owed and NULL once it is done: what remains is the id, by which
# a repeat is known. Times are milliseconds since 1970.
_COLUMNS = """
    event_id    TEXT    NOT NULL UNIQUE,
    room_id     TEXT    NOT NULL,
    txn_id      TEXT    NOT NULL,
    payload     TEXT,
    state       TEXT    NOT NULL,
    attempts    INTEGER NOT NULL DEFAULT 0,
    received_ms BIGINT  NOT NULL
"""


async def upgrade(conn: Connection, scheme: Scheme) -> None:
    if scheme == Scheme.SQLITE:
        sequence = "INTEGER PRIMARY KEY AUTOINCREMENT"
    else:
        sequence = "BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY"
    await conn.execute(f"CREATE TABLE inbox (seq {sequence}, {_COLUMNS})")
    # Few rows are pending at any time, so this index stays small however large the table is.
    await conn.execute("CREATE INDEX inbox_pending ON inbox (room_id, seq) WHERE state = 'pending'")
    await conn.execute("CREATE INDEX inbox_received ON inbox (received_ms)")
