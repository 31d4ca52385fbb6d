"""The inbox: what the homeserver gave us, from before its 200 until it is done.

A row is `pending` until the event has been handled, then `done`; what could not be read at all, or
failed too often, is `aside`. Done rows lose their payload and keep their id, because a homeserver
may send an event again, much later and under another transaction id: the event id alone says that
it is the same.
"""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bridge.db.interface import Connection, Database, Row

log = logging.getLogger(__name__)

# A handler that failed this often, at as many starts, will not succeed at the next one.
MOST_ATTEMPTS = 5
# Longer than any homeserver repeats anything.
KEEP_MS = 30 * 24 * 3600 * 1000
# PostgreSQL and SQLite both take some 32,000 parameters in a statement.
_MOST_ROWS = 1000


@dataclass(frozen=True, slots=True)
class InboxEvent:
    """A row that is owed.

    Attributes:
        seq: grows in the order of arrival.
        raw: the event as it came.
        received_ms: wall clock at arrival.
    """

    seq: int
    event_id: str
    room_id: str
    raw: Mapping[str, Any] = field(repr=False)
    received_ms: int

    @property
    def is_call(self) -> bool:
        """Whether it is signalling of a call."""
        return str(self.raw.get("type")).startswith("m.call.")

    @property
    def said_ms(self) -> int:
        """When it was said, by the homeserver's clock; when it came, if that is not told."""
        told = self.raw.get("origin_server_ts")
        return told if isinstance(told, int) else self.received_ms


class Inbox:
    """Repository of the table `inbox`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def store(
        self, txn_id: str, events: Sequence[object], *, now_ms: int
    ) -> list[InboxEvent]:
        """Keep the events of one homeserver transaction, all or none.

        When this returns they are on the disk. Whatever has no usable event id and room id is set
        aside, under a name made of its content.

        Returns:
            Those that are new and readable, in order.
        """
        rows: dict[str, tuple[str, object, str]] = {}
        for raw in events:
            event_id, room_id = _address(raw)
            if event_id and room_id:
                rows.setdefault(event_id, (room_id, raw, "pending"))
            else:
                name = hashlib.sha256(_dump(raw).encode()).hexdigest()
                rows.setdefault(f"unreadable:{name}", ("", raw, "aside"))

        keys = list(rows)
        statements = [
            _insertion(
                txn_id[:255], {key: rows[key] for key in keys[start : start + _MOST_ROWS]}, now_ms
            )
            for start in range(0, len(keys), _MOST_ROWS)
        ]

        async def insert(connection: Connection) -> list[Row]:
            return [
                row
                for query, arguments in statements
                for row in await connection.fetch(query, *arguments)
            ]

        fresh: list[Row] = []
        if len(statements) == 1:
            query, arguments = statements[0]
            fresh = await self._database.write(query, *arguments)
        elif statements:
            fresh = await self._database.commit(insert)
        found = []
        for row in fresh:
            room_id, raw, state = rows[row["event_id"]]
            if state == "pending" and isinstance(raw, dict):
                found.append(InboxEvent(row["seq"], row["event_id"], room_id, raw, now_ms))
        if aside := sum(state == "aside" for _, _, state in rows.values()):
            log.warning("%d events of a transaction have no usable id: set aside", aside)
        return sorted(found, key=lambda event: event.seq)

    async def pending_rooms(self) -> list[str]:
        """Rooms in which something is owed, the longest waiting first."""
        rows = await self._database.fetch(
            "SELECT room_id, MIN(seq) AS oldest FROM inbox WHERE state = 'pending'"
            " GROUP BY room_id ORDER BY oldest"
        )
        return [row["room_id"] for row in rows]

    async def pending(self, room_id: str, *, after: int = 0, limit: int = 100) -> list[InboxEvent]:
        """What is owed in a room and came after `after`, in order."""
        rows = await self._database.fetch(
            "SELECT seq, event_id, room_id, payload, received_ms FROM inbox"
            " WHERE state = 'pending' AND room_id = $1 AND seq > $2 ORDER BY seq LIMIT $3",
            room_id,
            after,
            limit,
        )
        return [
            InboxEvent(
                row["seq"],
                row["event_id"],
                row["room_id"],
                json.loads(row["payload"]),
                row["received_ms"],
            )
            for row in rows
        ]

    async def done(self, event_id: str) -> None:
        """The event needs nothing more."""
        await self._database.execute(
            "UPDATE inbox SET state = 'done', payload = NULL"
            " WHERE event_id = $1 AND state = 'pending'",
            event_id,
        )

    async def failed(self, event_id: str) -> bool:
        """Handling the event failed; it is owed still, unless that was once too often.

        Returns:
            Whether it will be tried again at the next start.
        """
        rows = await self._database.write(
            "UPDATE inbox SET attempts = attempts + 1,"
            " state = CASE WHEN attempts + 1 >= $2 THEN 'aside' ELSE state END"
            " WHERE event_id = $1 AND state = 'pending' RETURNING state",
            event_id,
            MOST_ATTEMPTS,
        )
        return bool(rows) and bool(rows[0]["state"] == "pending")

    async def known(self, event_ids: Sequence[str]) -> dict[str, int]:
        """Those of these events that came here, in whatever state they are, with their `seq`."""
        places = ", ".join(f"${number}" for number in range(1, len(event_ids) + 1))
        if not places:
            return {}
        rows = await self._database.fetch(
            f"SELECT event_id, seq FROM inbox WHERE event_id IN ({places})", *event_ids
        )
        return {row["event_id"]: row["seq"] for row in rows}

    async def newest(self) -> int:
        """The newest event's `seq`, 0 if there is none."""
        return int(await self._database.fetchval("SELECT MAX(seq) FROM inbox") or 0)

    async def reconciled(self) -> int | None:
        """Up to which `seq` nothing is missing; None if nobody ever looked."""
        seq = await self._database.fetchval("SELECT seq FROM reconciled")
        return None if seq is None else int(seq)

    async def note_reconciled(self, seq: int) -> None:
        """Nothing is missing before this event."""
        await self._database.execute(
            "INSERT INTO reconciled (one, seq) VALUES (1, $1)"
            " ON CONFLICT (one) DO UPDATE SET seq = excluded.seq",
            seq,
        )

    async def prune(self, *, now_ms: int) -> None:
        """Forget what is over and so old that nobody will send it again."""
        await self._database.execute(
            "DELETE FROM inbox WHERE state <> 'pending' AND received_ms < $1", now_ms - KEEP_MS
        )


def _insertion(
    txn_id: str, rows: Mapping[str, tuple[str, object, str]], now_ms: int
) -> tuple[str, list[object]]:
    """A statement that stores these events, and what goes into its places."""
    arguments: list[object] = []
    places = []
    for event_id, (room_id, raw, state) in rows.items():
        first = len(arguments) + 1
        places.append(f"({', '.join(f'${first + i}' for i in range(6))})")
        arguments += [event_id, room_id, txn_id, _dump(raw), state, now_ms]
    query = (
        "INSERT INTO inbox (event_id, room_id, txn_id, payload, state, received_ms)"
        f" VALUES {', '.join(places)}"
        " ON CONFLICT (event_id) DO NOTHING RETURNING seq, event_id"
    )
    return query, arguments


def _dump(raw: object) -> str:
    """ASCII, so that no half of a surrogate pair and no NUL can upset a database."""
    return json.dumps(raw, separators=(",", ":"))


def _address(raw: object) -> tuple[str, str]:
    """Event id and room id, empty if there is none or it cannot be one."""
    if not isinstance(raw, dict):
        return "", ""
    found = raw.get("event_id"), raw.get("room_id")
    event_id, room_id = (
        text if isinstance(text, str) and len(text) <= 255 and text.isprintable() else ""
        for text in found
    )
    return event_id, room_id
