"""Texts on their way, in either direction, from before they are acknowledged until they are done.

Done rows lose their body and keep their key for a while, so that a repeat is known as one. A text
that did not arrive keeps its body too, for who asks to send it again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bridge.db.interface import Connection, Database
from bridge.db.portals import Party
from bridge.matrix.file import RoomFile

# Longer than a homeserver repeats a transaction or a phone system a MESSAGE.
KEEP_MS = 30 * 24 * 3600 * 1000
# Nobody sends a text again that failed the day before yesterday, and receipts come sooner.
KEEP_BODY_MS = 48 * 3600 * 1000

# Certainly on no phone, and waiting for nobody but its author.
UNSENT = ("refused", "failed", "held")
# What may be sent again.
AGAIN = (*UNSENT, "doubt")


@dataclass(frozen=True, slots=True)
class OutgoingText:
    """From a room to a phone.

    Attributes:
        seq: grows in the order of arrival; 0 before it is stored.
        event_id: of the `m.room.message`, or of what asked for it again.
        state: "waiting", "sending" (the bytes may have left), "sent", "delivered", "refused",
            "failed" (the network could not deliver it), "doubt", "held" (until its author confirms
            it), "withdrawn" (by its author before it left), or "again" (another departure took its
            place).
        road: by which it left, "" before.
        origin: the `m.room.message` where that is another event, else "".
        file: a picture or the like that goes with it.
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
    origin: str = ""
    file: RoomFile | None = None

    @property
    def message_id(self) -> str:
        """The event that its author sees as this text."""
        return self.origin or self.event_id


@dataclass(frozen=True, slots=True)
class IncomingText:
    """From a phone to one user of the line: a text, or a notice of ours about that phone.

    Attributes:
        key: the same for a repeat of the same text.
        name: the sender's display name, "" if it has none.
        msgtype: "m.text", "m.notice", or "attachment" for what is still to be fetched.
        seq: grows in the order of arrival; 0 before it is stored.
        state: "waiting", "sent", "refused", "folded" (too many came at once), or "told" (folded,
            and its reader knows).
        sender: who of the group that `number` is; "" elsewhere, and for a notice.
        wanted: what its sender wants to be told when it is read; "" for nothing. It is written, and
            not read with the rest.
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
    state: str = "waiting"
    sender: str = ""
    wanted: str = field(default="", repr=False)

    @property
    def party(self) -> Party:
        return Party(self.line, self.number, self.user_id)


class OutgoingTexts:
    """Repository of the table `text_out`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def store(self, text: OutgoingText) -> OutgoingText | None:
        """Keep a text; None if it is there already."""
        row = await self._database.change(_INSERT_OUT, text.event_id, *_values(text))
        return None if row is None else replace(text, seq=row["seq"])

    async def again(self, text: OutgoingText, event_id: str, *, now_ms: int) -> OutgoingText | None:
        """Let a text that did not arrive leave again, as a departure with a key of its own.

        Args:
            event_id: of what asked for it; a repeat of that is the same departure.

        Returns:
            The departure; None if there is nothing (any more) to send again.
        """

        async def depart(connection: Connection) -> OutgoingText | None:
            body = await connection.fetchval(
                "SELECT body FROM text_out WHERE event_id = $1"
                f" AND state IN {AGAIN} AND body IS NOT NULL",
                text.event_id,
            )
            if body is None:
                return None
            fresh = replace(
                text,
                event_id=event_id,
                origin=text.message_id,
                body=body,
                created_ms=now_ms,
                state="waiting",
                road="",
            )
            row = await connection.fetchrow(_INSERT_OUT, event_id, *_values(fresh))
            if row is None:
                return None
            await connection.execute(
                f"UPDATE text_out SET state = 'again', untold = NULL, {_FORGET}"
                " WHERE event_id = $1",
                text.event_id,
            )
            return replace(fresh, seq=row["seq"])

        return await self._database.commit(depart)

    async def latest(self, message_id: str) -> OutgoingText | None:
        """The last departure of a text, by what its author sees as it."""
        row = await self._database.fetchrow(
            f"SELECT {_OUTGOING} FROM text_out WHERE event_id = $1 OR origin = $1"
            " ORDER BY seq DESC LIMIT 1",
            message_id,
        )
        return None if row is None else _outgoing(row)

    async def latest_failed(self, room_id: str) -> OutgoingText | None:
        """The last text written in a room that may be sent again."""
        row = await self._database.fetchrow(
            f"SELECT {_OUTGOING} FROM text_out WHERE room_id = $1 AND state IN {AGAIN}"
            " ORDER BY seq DESC LIMIT 1",
            room_id,
        )
        return None if row is None else _outgoing(row)

    async def change(self, event_id: str, body: str) -> bool:
        """Give a text that is on no phone another body; False if it may be on one by now."""
        changed = await self._database.write(
            "UPDATE text_out SET body = $2 WHERE event_id = $1"
            f" AND state IN {('waiting', *UNSENT)} RETURNING seq",
            event_id,
            body,
        )
        return bool(changed)

    async def withdraw(self, event_id: str) -> bool:
        """Forget a body, and send it no more; False if it may be on a phone by now."""
        withdrawn = await self._database.write(
            f"UPDATE text_out SET state = 'withdrawn', untold = NULL, {_FORGET} WHERE event_id = $1"
            f" AND state IN {('waiting', *UNSENT)} RETURNING seq",
            event_id,
        )
        if not withdrawn:
            await self._database.execute(
                f"UPDATE text_out SET {_FORGET} WHERE event_id = $1 AND state <> 'sending'",
                event_id,
            )
        return bool(withdrawn)

    async def open(self, state: str) -> list[OutgoingText]:
        """Texts that are "waiting" or "sending", oldest first."""
        rows = await self._database.fetch(
            f"SELECT {_OUTGOING} FROM text_out WHERE state = $1 ORDER BY seq", state
        )
        return [_outgoing(row) for row in rows]

    async def by_remote_id(self, road: str, remote_id: str) -> OutgoingText | None:
        """The text that a road calls so."""
        row = await self._database.fetchrow(
            f"SELECT {_OUTGOING} FROM text_out WHERE road = $1 AND remote_id = $2", road, remote_id
        )
        return None if row is None else _outgoing(row)

    async def sending(self, text: OutgoingText, road: str) -> bool:
        """The bytes are about to leave: from now on nobody can say that they did not.

        Returns:
            False if its author has changed it or taken it back meanwhile: it must not leave so.
        """
        marked = await self._database.change(
            "UPDATE text_out SET state = 'sending', road = $2 WHERE event_id = $1"
            " AND state IN ('waiting', 'sending') AND body = $3 RETURNING event_id",
            text.event_id,
            road,
            text.body,
        )
        return marked is not None

    async def waiting(self, text: OutgoingText) -> OutgoingText | None:
        """The bytes did not leave after all, or nobody tried.

        Returns:
            The text as it is now; None if its author has taken it back.
        """
        row = await self._database.change(
            "UPDATE text_out SET state = 'waiting' WHERE event_id = $1"
            " AND state IN ('waiting', 'sending') RETURNING event_id, body",
            text.event_id,
        )
        if row is None or row["body"] is None:
            return None
        return replace(text, body=row["body"])

    async def done(
        self,
        event_id: str,
        state: str,
        *,
        remote_id: str = "",
        keep_body: bool = False,
        untold: str | None = None,
    ) -> None:
        """Nothing more is to be sent; receipts may still say what became of it.

        Args:
            remote_id: what the road calls it, "" to leave that as it is.
            keep_body: for a while; it may have to be sent again.
            untold: why it did not arrive, where that is still to be told.
        """
        await self._database.execute(
            "UPDATE text_out SET state = $2, remote_id = COALESCE($3, remote_id), untold = $4"
            f"{'' if keep_body else f', {_FORGET}'} WHERE event_id = $1",
            event_id,
            state,
            remote_id or None,
            untold,
        )

    async def untold(self) -> list[tuple[OutgoingText, str]]:
        """Texts that did not arrive, of which their authors do not know, and why."""
        rows = await self._database.fetch(
            f"SELECT {_OUTGOING}, untold FROM text_out WHERE untold IS NOT NULL ORDER BY seq"
        )
        return [(_outgoing(row), row["untold"]) for row in rows]

    async def told(self, event_id: str) -> None:
        """Its author knows."""
        await self._database.execute(
            "UPDATE text_out SET untold = NULL WHERE event_id = $1", event_id
        )

    async def prune(self, *, now_ms: int) -> None:
        await self._database.execute(
            f"UPDATE text_out SET {_FORGET} WHERE state NOT IN ('waiting', 'sending')"
            " AND body IS NOT NULL AND created_ms < $1",
            now_ms - KEEP_BODY_MS,
        )
        await self._database.execute(
            "DELETE FROM text_out WHERE state NOT IN ('waiting', 'sending') AND created_ms < $1",
            now_ms - KEEP_MS,
        )


_OUTGOING = "seq, event_id, room_id, line, number, body, created_ms, state, road, origin, file"
# What a text said.
_FORGET = "body = NULL, file = NULL"


_INSERT_OUT = (
    "INSERT INTO text_out"
    " (event_id, room_id, line, number, body, state, created_ms, origin, file)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
    " ON CONFLICT (event_id) DO NOTHING RETURNING event_id, seq"
)


def _values(text: OutgoingText) -> tuple[object, ...]:
    """What `_INSERT_OUT` wants after the event id."""
    return (
        text.room_id,
        text.line,
        text.number,
        text.body,
        text.state,
        text.created_ms,
        text.origin,
        None if text.file is None else text.file.to_json(),
    )


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
        origin=row["origin"],
        file=None if row["file"] is None else RoomFile.from_json(row["file"]),
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
        if len(texts) == 1:  # of one user, as most lines have: it may share its commit
            text = texts[0]
            row = await self._database.change(_INSERT_IN, text.key, *_values_in(text))
            return [] if row is None else [replace(text, seq=row["seq"])]

        async def insert(connection: Connection) -> list[IncomingText]:
            fresh = []
            for text in texts:
                row = await connection.fetchrow(_INSERT_IN, text.key, *_values_in(text))
                if row is not None:
                    fresh.append(replace(text, seq=row["seq"]))
            return fresh

        return await self._database.commit(insert) if texts else []

    async def open(self) -> list[IncomingText]:
        """Texts that no room has yet, oldest first."""
        rows = await self._database.fetch(
            f"SELECT {_INCOMING} FROM text_in WHERE state = 'waiting' ORDER BY seq"
        )
        return [_incoming(row) for row in rows]

    async def has(self, key: str) -> bool:
        """Whether a text of this key has been stored."""
        found = await self._database.fetchval("SELECT 1 FROM text_in WHERE key = $1 LIMIT 1", key)
        return found is not None

    async def fold(self, texts: Sequence[IncomingText]) -> None:
        """Keep back texts that wait."""

        async def mark(connection: Connection) -> None:
            for text in texts:
                await connection.execute(
                    "UPDATE text_in SET state = 'folded' WHERE seq = $1", text.seq
                )

        await self._database.commit(mark)

    async def folded_parties(self) -> list[Party]:
        """For whom texts are folded, and do not know."""
        rows = await self._database.fetch(
            "SELECT DISTINCT line, number, user_id FROM text_in WHERE state = 'folded'"
        )
        return [Party(row["line"], row["number"], row["user_id"]) for row in rows]

    async def folded(self, party: Party) -> tuple[int, int]:
        """How many texts are folded, told or not, and the last one's `seq`."""
        row = await self._database.fetchrow(
            f"SELECT COUNT(*) AS count, MAX(seq) AS last FROM text_in WHERE {_FOLDED}",
            *_key(party),
        )
        assert row is not None, "an aggregate has one row"
        return row["count"], row["last"] or 0

    async def told(self, party: Party, last: int) -> None:
        """The user knows of what is folded, up to a `seq`."""
        await self._database.execute(
            f"UPDATE text_in SET state = 'told' WHERE {_FOLDED} AND seq <= $4", *_key(party), last
        )

    async def unfold(self, party: Party, count: int) -> list[IncomingText]:
        """Let the oldest folded texts wait for the homeserver like others."""
        rows = await self._database.write(
            "UPDATE text_in SET state = 'waiting' WHERE seq IN"
            f" (SELECT seq FROM text_in WHERE {_FOLDED} ORDER BY seq LIMIT $4)"
            f" RETURNING {_INCOMING}",
            *_key(party),
            count,
        )
        return sorted((_incoming(row) for row in rows), key=lambda text: text.seq)

    async def done(self, text: IncomingText, state: str, *, event_id: str | None = None) -> None:
        """It is "sent", or "refused" by the homeserver for good.

        Args:
            event_id: by which it was said, where `read` shall find it.
        """
        await self._database.execute(
            "UPDATE text_in SET state = $3, body = NULL, event_id = $4"
            " WHERE key = $1 AND user_id = $2",
            text.key,
            text.user_id,
            state,
            event_id,
        )

    async def read(self, party: Party, event_id: str) -> list[str] | None:
        """A user has read everything up to the text that an event says.

        Returns:
            What senders want to be told of that, each given out once; None if no text is known by
            that event.
        """

        async def forget(connection: Connection) -> list[str] | None:
            last = await connection.fetchval(
                "SELECT seq FROM text_in WHERE event_id = $1 AND user_id = $2",
                event_id,
                party.user_id,
            )
            if last is None:
                return None
            rows = await connection.fetch(
                "SELECT key, wanted FROM text_in WHERE line = $1 AND number = $2 AND user_id = $3"
                " AND wanted IS NOT NULL AND state = 'sent' AND seq <= $4 ORDER BY seq",
                *_key(party),
                last,
            )
            for row in rows:  # the copies of the line's other users too
                await connection.execute(
                    "UPDATE text_in SET wanted = NULL WHERE key = $1", row["key"]
                )
            return [row["wanted"] for row in rows]

        return await self._database.commit(forget)

    async def prune(self, *, now_ms: int) -> None:
        await self._database.execute(
            "DELETE FROM text_in WHERE state <> 'waiting' AND created_ms < $1", now_ms - KEEP_MS
        )


_INSERT_IN = (
    "INSERT INTO text_in"
    " (key, user_id, line, number, name, msgtype, body, state, created_ms, sender, wanted)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, 'waiting', $8, $9, $10)"
    " ON CONFLICT (key, user_id) DO NOTHING RETURNING key, seq"
)
_INCOMING = "seq, key, user_id, line, number, name, msgtype, body, created_ms, state, sender"
_FOLDED = "line = $1 AND number = $2 AND user_id = $3 AND state IN ('folded', 'told')"


def _key(party: Party) -> tuple[str, str, str]:
    return party.line, party.number, party.user_id


def _values_in(text: IncomingText) -> tuple[object, ...]:
    """What `_INSERT_IN` wants after the key."""
    return (
        text.user_id,
        text.line,
        text.number,
        text.name,
        text.msgtype,
        text.body,
        text.created_ms,
        text.sender,
        text.wanted or None,
    )


def _incoming(row: Any) -> IncomingText:
    return IncomingText(
        key=row["key"],
        user_id=row["user_id"],
        line=row["line"],
        number=row["number"],
        name=row["name"],
        msgtype=row["msgtype"],
        body=row["body"] or "",
        created_ms=row["created_ms"],
        seq=row["seq"],
        state=row["state"],
        sender=row["sender"],
    )
