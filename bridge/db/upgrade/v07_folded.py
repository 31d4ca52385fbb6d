"""Version 7: texts that are not said at once, because their number sends too many."""

from mautrix.util.async_db import Connection, Scheme


async def upgrade(conn: Connection, scheme: Scheme) -> None:
    await conn.execute(
        "CREATE INDEX text_in_folded ON text_in (line, number, user_id, seq)"
        " WHERE state IN ('folded', 'told')"
    )
