"""Texts on their way, in either direction, from before they are acknowledged until they are done.

Done rows lose their body and keep their key for a while, so that a repeat is known as one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mautrix.util.async_db import Connection, Database

from bridge.db.database import commit

# Longer than a homeserver repeats a transaction or a phone system a MESSAGE.
KEEP_MS = 30 * 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class OutgoingText:
    """From a room to a phone.

    Attributes:
        seq: grows in the order of arrival; 0 before it is stored.
        event_id: of the `m.room.message`.
        state: "waiting", "sending" (the bytes may have left), "sent", "delivered", "refused",
            "failed" (the network could not deliver it), or "doubt".
        road: by which it left, "" before.
    """

    event_id: str
    room_id: str
    line: str
    number: str
    body: str = field(repr=False)
    created_ms: int
    seq: int = 0
    state: str = "waiting"
    road: str = ""


@dataclass(frozen=True, slots=True)
class IncomingText:
    """From a phone to one user of the line: a text, or a notice of ours about that phone.

    Attributes:
        key: the same for a repeat of the same text.
        name: the sender's display name, "" if it has none.
        msgtype: "m.text", "m.notice", or "attachment" for what is still to be fetched.
        seq: grows in the order of arrival; 0 before it is stored.
    """

    key: str
    user_id: str
    line: str
    number: str
    name: str
    msgtype: str
    body: str = field(repr=False)
    created_ms: int
    seq: int = 0


class OutgoingTexts:
    """Repository of the table `text_out`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def store(self, text: OutgoingText) -> OutgoingText | None:
        """Keep a text; None if it is there already."""
        seq = await self._database.fetchval(
            "INSERT INTO text_out (event_id, room_id, line, number, body, state, created_ms)"
            " VALUES ($1, $2, $3, $4, $5, 'waiting', $6)"
            " ON CONFLICT (event_id) DO NOTHING RETURNING seq",
            text.event_id,
            text.room_id,
            text.line,
            text.number,
            text.body,
            text.created_ms,
        )
        if seq is None:
            return None
        return replace(text, seq=seq)

    async def open(self, state: str) -> list[OutgoingText]:
        """Texts that are "waiting" or "sending", oldest first."""
        rows = await self._database.fetch(
            f"SELECT {_OUTGOING} FROM text_out WHERE state = $1 ORDER BY seq", state
        )
        return [_outgoing(row) for row in rows]

    async def by_remote_id(self, road: str, remote_id: str) -> OutgoingText | None:
        """The text that a road calls so; its body is gone by then."""
        row = await self._database.fetchrow(
            f"SELECT {_OUTGOING} FROM text_out WHERE road = $1 AND remote_id = $2", road, remote_id
        )
        return None if row is None else _outgoing(row)

    async def sending(self, event_id: str, road: str) -> None:
        """The bytes are about to leave: from now on nobody can say that they did not."""
        await self._database.execute(
            "UPDATE text_out SET state = 'sending', road = $2 WHERE event_id = $1", event_id, road
        )

    async def waiting(self, event_id: str) -> None:
        """They did not leave after all."""
        await self._database.execute(
            "UPDATE text_out SET state = 'waiting' WHERE event_id = $1", event_id
        )

    async def done(self, event_id: str, state: str, *, remote_id: str = "") -> None:
        """Nothing more is to be sent; receipts may still say what became of it.

        Args:
            remote_id: what the road calls it, "" to leave that as it is.
        """
        await self._database.execute(
            "UPDATE text_out SET state = $2, body = NULL, remote_id = COALESCE($3, remote_id)"
            " WHERE event_id = $1",
            event_id,
            state,
            remote_id or None,
        )

    async def prune(self, *, now_ms: int) -> None:
        await self._database.execute(
            "DELETE FROM text_out WHERE state NOT IN ('waiting', 'sending') AND created_ms < $1",
            now_ms - KEEP_MS,
        )


_OUTGOING = "seq, event_id, room_id, line, number, body, created_ms, state, road"


def _outgoing(row: Any) -> OutgoingText:
    return OutgoingText(
        event_id=row["event_id"],
        room_id=row["room_id"],
        line=row["line"],
        number=row["number"],
        body=row["body"] or "",
        created_ms=row["created_ms"],
        seq=row["seq"],
        state=row["state"],
        road=row["road"],
    )


class IncomingTexts:
    """Repository of the table `text_in`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def store(self, texts: Sequence[IncomingText]) -> list[IncomingText]:
        """Keep the copies of one text, all or none.

        Returns:
            Those that were not there already.
        """
        fresh: list[IncomingText] = []

        async def insert(connection: Connection) -> None:
            for text in texts:
                seq = await connection.fetchval(
                    "INSERT INTO text_in"
                    " (key, user_id, line, number, name, msgtype, body, state, created_ms)"
                    " VALUES ($1, $2, $3, $4, $5, $6, $7, 'waiting', $8)"
                    " ON CONFLICT (key, user_id) DO NOTHING RETURNING seq",
                    text.key,
                    text.user_id,
                    text.line,
                    text.number,
                    text.name,
                    text.msgtype,
                    text.body,
                    text.created_ms,
                )
                if seq is not None:
                    fresh.append(replace(text, seq=seq))

        await commit(self._database, insert)
        return fresh

    async def open(self) -> list[IncomingText]:
        """Texts that no room has yet, oldest first."""
        rows = await self._database.fetch(
            "SELECT seq, key, user_id, line, number, name, msgtype, body, created_ms FROM text_in"
            " WHERE state = 'waiting' ORDER BY seq"
        )
        return [
            IncomingText(
                row["key"],
                row["user_id"],
                row["line"],
                row["number"],
                row["name"],
                row["msgtype"],
                row["body"] or "",
                row["created_ms"],
                row["seq"],
            )
            for row in rows
        ]

    async def done(self, text: IncomingText, state: str) -> None:
        """It is "sent", or "refused" by the homeserver for good."""
        await self._database.execute(
            "UPDATE text_in SET state = $3, body = NULL WHERE key = $1 AND user_id = $2",
            text.key,
            text.user_id,
            state,
        )

    async def prune(self, *, now_ms: int) -> None:
        await self._database.execute(
            "DELETE FROM text_in WHERE state <> 'waiting' AND created_ms < $1", now_ms - KEEP_MS
        )
