"""Stand-ins at the bridge's edges that obey the interfaces of the real ones and write down what
they were told: SIP sessions and trunks, the media plane, the homeserver."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from bridge.config import LineSection
from bridge.db.interface import Database, Result, Row, Work
from bridge.db.portals import Party, PortalRow
from bridge.matrix.client import MatrixClient, Page, TurnServers
from bridge.matrix.events import RoomEvent
from bridge.matrix.homeserver import MatrixRefused, MatrixUnavailable
from bridge.numbers import PhoneNumber
from media.order import (
    Order,
)
from media.plane import (
    AnswerReady,
    Closed,
    IceCandidate,
    Listener,
    MediaEvent,
    OfferReady,
    Report,
    SessionSettings,
    Side,
)
from sip.agent import UserAgent
from sip.errors import LocalError
from sip.events import Body, IncomingSession, Reason, SipWarning
from sip.headers import Headers
from sip.identity import read_identity
from sip.imdn import NotificationsWanted, Wish
from sip.io.client import TrunkStatus
from sip.presentation import ACCOUNT, Presentation
from sip.session import Session
from sip.uri import NameAddr, Uri


class FakeSession:
    """A SIP session that writes down its verbs."""

    def __init__(self, id: str = "s1") -> None:
        self.id = id
        self.said: list[tuple[str, object]] = []
        self.untransferable = False
        self.warned: SipWarning | None = None

    def ring(self, *, now: float) -> None:
        self.said.append(("ring", None))

    def progress(self, body: Body, *, now: float) -> None:
        self.said.append(("progress", body.data.decode()))

    def answer(self, body: Body, *, now: float) -> None:
        self.said.append(("answer", body.data.decode()))

    def reject(
        self,
        status: int,
        *,
        now: float,
        reason: Reason | None = None,
        warning: SipWarning | None = None,
        retry_after: int | None = None,
    ) -> None:
        self.said.append(("reject", status))
        self.warned = warning

    def hang_up(self, *, now: float, reason: Reason | None = None) -> None:
        self.said.append(("hang_up", reason.cause if reason else None))

    def reoffer(self, body: Body, *, now: float) -> None:
        self.said.append(("reoffer", body.data.decode()))

    def accept_offer(self, body: Body, *, now: float) -> None:
        self.said.append(("accept_offer", body.data.decode()))

    def reject_offer(self, status: int, *, now: float) -> None:
        self.said.append(("reject_offer", status))

    def send_digit(self, digit: str, duration_ms: int, *, now: float) -> None:
        self.said.append(("send_digit", (digit, duration_ms)))

    @property
    def transfers(self) -> "FakeTransfers":
        return FakeTransfers(self)

    @property
    def real(self) -> Session:
        """Itself, for the events, which name the concrete class."""
        return cast(Session, self)


class FakeTransfers:
    """The transfers of a session, written down with its other verbs."""

    def __init__(self, session: FakeSession) -> None:
        self._session = session

    def ask(self, target: Uri | None, *, now: float, replaces: Session | None = None) -> None:
        if self._session.untransferable:
            raise LocalError("the session is not established")
        self._session.said.append(("transfer", str(target) if replaces is None else replaces))

    def decline(self, status: int = 603, *, now: float) -> None:
        self._session.said.append(("decline transfer", status))


def sdp_body(text: str) -> Body:
    return Body("application/sdp", text.encode())


def incoming(
    session: FakeSession,
    *,
    called: str = "ringback",
    caller: str = "<sip:+493087654321@pbx.example.org>",
    asserted: str | None = None,
    offer: str | None = "sip-offer",
    headers: Sequence[tuple[str, str]] = (),
    to: str | None = None,
    called_party: str | None = None,
) -> IncomingSession:
    """A call over a trunk that is declared trusted."""
    fields = Headers([("From", caller), *headers])
    if asserted is not None:
        fields.add("P-Asserted-Identity", asserted)
    return IncomingSession(
        session=session.real,
        target=Uri("sip", called, "192.0.2.1"),
        to=NameAddr(Uri("sip", called if to is None else to, "pbx.example.org")),
        caller=fields.from_,
        identity=read_identity(fields, trusted=True),
        offer=sdp_body(offer) if offer is not None else None,
        called_party=NameAddr.parse(called_party) if called_party else None,
    )


class FakeMediaSession:
    """Answers every verb at once, in the words of the SDP it was given: offer becomes offer'."""

    def __init__(self, settings: SessionSettings, listener: Listener) -> None:
        self.settings = settings
        self.listener = listener
        self.said: list[tuple[str, object]] = []
        self.candidates: list[IceCandidate] = []
        self.closed = False
        self.deaf = False  # says nothing of itself; the test does
        self._answered = False
        self._asked = False

    def offer(self, side: Side, sdp: str) -> None:
        self.said.append(("offer", (side, sdp)))
        if self.deaf:
            return
        if self._answered:
            self.tell(AnswerReady(side, f"{sdp}-answered"))
        else:
            self.tell(OfferReady(side.other, f"{sdp}'"))

    def answer(self, side: Side, sdp: str) -> None:
        self.said.append(("answer", (side, sdp)))
        answered, self._answered = self._answered, True
        if self.deaf or (self._asked and answered):
            return
        ready = OfferReady if self._asked else AnswerReady
        self.tell(ready(side.other, f"{sdp}'"))

    def ask(self, side: Side) -> None:
        self.said.append(("ask", side))
        self._asked = True
        if not self.deaf:
            self.tell(OfferReady(side if self._answered else side.other, "ours"))

    def add_candidates(self, side: Side, candidates: Sequence[IceCandidate]) -> None:
        self.said.append(("add_candidates", side))
        self.candidates.extend(candidates)

    def perform(self, order: Order) -> None:
        self.said.append(("perform", order))

    def close(self) -> None:
        assert not self.closed, "closed twice"
        self.said.append(("close", None))
        self.closed = True
        self.listener(Closed(Report()))

    def tell(self, event: MediaEvent) -> None:
        if not self.closed:
            self.listener(event)


class FakePlane:
    """Opens `FakeMediaSession`s and keeps them."""

    def __init__(self) -> None:
        self.sessions: list[FakeMediaSession] = []
        self.running = False
        self.readdressed = 0

    async def start(self) -> None:
        self.running = True

    async def stop(self) -> None:
        self.running = False

    def readdress(self) -> None:
        self.readdressed += 1

    def open(self, settings: SessionSettings, listener: Listener) -> FakeMediaSession:
        session = FakeMediaSession(settings, listener)
        self.sessions.append(session)
        return session


# --- trunks


class FakeAgent:
    """Opens `FakeSession`s and keeps what it was told to send."""

    def __init__(self) -> None:
        self.sessions: list[FakeSession] = []
        self.invites: list[tuple[str, str]] = []
        self.messages: list[tuple[str, str, str]] = []
        self.callers: list[Presentation] = []  # of invites, messages and answers
        self.wishes: list[tuple[frozenset[Wish], str]] = []  # of messages
        self.answers: list[tuple[str, int]] = []
        self.displayed: list[NotificationsWanted] = []
        self.broken = False

    def invite(
        self, target: Uri, offer: Body, *, now: float, caller: Presentation = ACCOUNT
    ) -> Session:
        if self.broken:
            raise LocalError("no flow")
        session = FakeSession(f"out{len(self.sessions)}")
        self.sessions.append(session)
        self.invites.append((str(target), offer.data.decode()))
        self.callers.append(caller)
        return session.real

    def send_message(
        self,
        target: Uri,
        body: Body,
        *,
        now: float,
        sender: Presentation = ACCOUNT,
        key: str | None = None,
        wishes: frozenset[Wish] = frozenset(),
        sent_at: str = "",
    ) -> str:
        if self.broken:
            raise LocalError("no flow")
        id = f"m{len(self.messages)}"
        self.messages.append((id, str(target), body.data.decode()))
        self.callers.append(sender)
        self.wishes.append((wishes, sent_at))
        assert body.content_type == "text/plain;charset=UTF-8"
        return id

    def answer_message(
        self, id: str, status: int, *, now: float, sender: Presentation = ACCOUNT
    ) -> None:
        self.answers.append((id, status))
        self.callers.append(sender)

    def notify_displayed(
        self, wanted: NotificationsWanted, *, now: float, sender: Presentation = ACCOUNT
    ) -> None:
        self.displayed.append(wanted)
        self.callers.append(sender)


class FakeTrunk:
    """A trunk that is up until it is told otherwise."""

    def __init__(self) -> None:
        self.fake = FakeAgent()
        self.agent = cast(UserAgent, self.fake)
        self.up = True
        self.why = "registered"
        self.pumped = 0

    @property
    def status(self) -> TrunkStatus:
        return TrunkStatus(self.up, datetime(2026, 1, 1, tzinfo=UTC), self.why)

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def pump(self) -> None:
        self.pumped += 1


# --- the homeserver


@dataclass(frozen=True)
class Sent:
    room_id: str
    sender: str
    type: str
    content: Mapping[str, Any]
    txn_id: str


class FakeMatrix:
    """A homeserver in a list: remembers rooms and sends; a transaction id is taken once.

    Attributes:
        down: nobody answers; calls fail when their limit is over.
        away: calls fail at once.
        refusals: what the next sends are answered.
        gone: rooms that none of our users is in.
        said: what `recent_events` gives.
        timeline: what `history` gives, oldest first, in pages.
        slow: seconds that a send takes.
        largest: octets of a file that it takes.
        uploads: files that it took.
        read: read receipts that it took: room, event and user.
    """

    domain = "example.org"
    bot_id = "@ringback:example.org"

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.rooms: dict[str, dict[str, Any]] = {}
        self.users: dict[str, str | None] = {}
        self.joined: list[tuple[str, str]] = []
        self.left: list[tuple[str, str]] = []
        self.members: dict[str, tuple[str, ...]] = {}
        self.said: dict[str, list[RoomEvent]] = {}
        self.timeline: dict[str, list[Mapping[str, Any]]] = {}
        self.pages = 0
        self.absences = 0
        self.gone: set[str] = set()
        self.down = False
        self.away = False
        self.refusals: list[MatrixRefused] = []
        self.slow = 0.0
        self.largest = 1000
        self.uploads: list[tuple[str, bytes]] = []
        self.read: list[tuple[str, str, str]] = []
        self._txns: set[tuple[str, str]] = set()

    @property
    def real(self) -> MatrixClient:
        """Itself, for those who name the concrete class."""
        return cast(MatrixClient, self)

    async def _reach(self, within: float = 60.0) -> None:
        if self.away:
            raise MatrixUnavailable("no connection")
        if self.down:
            await asyncio.sleep(within)
            raise MatrixUnavailable("no connection")
        if self.slow:
            await asyncio.sleep(self.slow)

    async def ensure_user(self, user_id: str, display_name: str | None = None) -> None:
        await self._reach()
        self.users[user_id] = display_name or self.users.get(user_id)

    async def create_room(self, *, creator: str, invite: Sequence[str] = (), **rest: Any) -> str:
        await self._reach()
        room_id = f"!made{len(self.rooms)}:example.org"
        self.rooms[room_id] = {"creator": creator, "invite": list(invite), **rest}
        return room_id

    async def joined_rooms(self, user: str) -> tuple[str, ...]:
        await self._reach()
        return tuple(room_id for room_id, room in self.rooms.items() if room["creator"] == user)

    async def room_state(
        self, room_id: str, type: str, state_key: str = "", *, user: str | None = None
    ) -> Mapping[str, Any] | None:
        await self._reach()
        room = self.rooms[room_id]
        if type == "m.room.member":
            return {"membership": "invite"} if state_key in room["invite"] else None
        for state in room["initial_state"]:
            if (state["type"], state["state_key"]) == (type, state_key):
                found: Mapping[str, Any] = state["content"]
                return found
        return None

    async def join(self, room_id: str, user: str) -> None:
        await self._reach()
        self.joined.append((room_id, user))

    async def leave(self, room_id: str, user: str, *, reason: str = "") -> None:
        await self._reach()
        self.left.append((room_id, user))

    async def joined_members(self, room_id: str, user: str | None = None) -> tuple[str, ...]:
        await self._reach()
        return self.members.get(room_id, ())

    async def recent_events(self, room_id: str, *, user: str, limit: int = 50) -> list[RoomEvent]:
        await self._reach()
        return self.said.get(room_id, [])

    async def is_there(self) -> bool:
        self.absences += self.down
        return not self.down

    async def history(
        self, room_id: str, *, user: str, start: str | None = None, limit: int = 50
    ) -> Page:
        await self._reach(0.0)
        self.pages += 1
        if room_id in self.gone:
            raise MatrixRefused("M_FORBIDDEN", "not in room", status=403)
        events = self.timeline.get(room_id, [])
        last = len(events) if start is None else int(start)
        first = max(0, last - limit)
        return Page(tuple(reversed(events[first:last])), str(first) if first else None)

    async def turn_servers(self, user: str) -> TurnServers | None:
        await self._reach()
        return TurnServers(("turn:turn.example.org",), "u", "p", 3600)

    async def send_event(
        self,
        room_id: str,
        type: str,
        content: Mapping[str, Any],
        *,
        sender: str,
        txn_id: str,
        within: float = 60.0,
    ) -> str:
        await self._reach(within)
        if self.refusals:
            raise self.refusals.pop(0)
        if room_id in self.gone:
            raise MatrixRefused("M_FORBIDDEN", "not in room", status=403)
        if (sender, txn_id) not in self._txns:
            self._txns.add((sender, txn_id))
            self.sent.append(Sent(room_id, sender, type, dict(content), txn_id))
        return f"$sent{len(self.sent)}"

    async def event(self, room_id: str, event_id: str, *, user: str) -> RoomEvent | None:
        """One that was sent and not taken from the list by the test."""
        await self._reach()
        number = event_id.removeprefix("$sent")
        index = int(number) - 1 if number.isdecimal() else -1
        if not 0 <= index < len(self.sent) or self.sent[index].room_id != room_id:
            return None
        sent = self.sent[index]
        return RoomEvent(event_id, room_id, sent.sender, sent.type, sent.content)

    async def mark_read(self, room_id: str, event_id: str, *, user: str) -> None:
        await self._reach()
        self.read.append((room_id, event_id, user))

    async def upload(self, data: bytes, content_type: str, *, name: str, user: str) -> str:
        await self._reach()
        if len(data) > self.largest:
            raise MatrixRefused("M_TOO_LARGE", "too large", status=413)
        self.uploads.append((content_type, data))
        return f"mxc://example.org/{len(self.uploads)}"

    async def send_notice(
        self, room_id: str, text: str, *, sender: str | None = None, txn_id: str
    ) -> str:
        content = {"msgtype": "m.notice", "body": text}
        return await self.send_event(
            room_id, "m.room.message", content, sender=sender or self.bot_id, txn_id=txn_id
        )

    # --- for the tests

    def take(self) -> list[Sent]:
        """What was sent since the last time."""
        sent, self.sent = self.sent, []
        return sent

    def notices(self) -> list[str]:
        return [
            sent.content["body"] for sent in self.sent if sent.content.get("msgtype") == "m.notice"
        ]


# --- tables in memory, for tests on virtual time, where there is no thread for a database


class MemoryPortals:
    def __init__(self) -> None:
        self.rows: dict[str, PortalRow] = {}

    async def all(self) -> list[PortalRow]:
        return list(self.rows.values())

    async def put(self, row: PortalRow) -> None:
        self.rows[row.room_id] = row

    async def begin(self, party: Party) -> None:
        pass

    async def begun(self) -> list[Party]:
        return []

    async def forget_begun(self, party: Party) -> None:
        pass

    async def delete(self, room_id: str) -> None:
        self.rows.pop(room_id, None)


class MemoryGhosts:
    def __init__(self) -> None:
        self.rows: dict[str, str] = {}

    async def name(self, number: str) -> str | None:
        return self.rows.get(number)

    async def put(self, number: str, display_name: str) -> None:
        self.rows[number] = display_name


class MemoryNotices:
    """Keeps the notices that are left for users."""

    def __init__(self) -> None:
        self.left: list[tuple[str, str, str]] = []

    async def leave_notice(
        self, line: LineSection, number: PhoneNumber, user: str, text: str, *, name: str, key: str
    ) -> None:
        self.left.append((user, number.text, text))


class FaultyDatabase(Database):
    """A real database that goes away when it is told to.

    Attributes:
        fault: "" for none, "away" if nothing is done, "doubt" if it is done and the answer is lost.
    """

    def __init__(self, real: Database) -> None:
        super().__init__()
        self.real = real
        self.fault = ""

    async def commit(self, work: Work[Result]) -> Result:
        return await self._ask(lambda: self.real.commit(work))

    async def write(self, query: str, *arguments: object) -> list[Row]:
        return await self._ask(lambda: self.real.write(query, *arguments))

    async def change(self, query: str, key: str, *arguments: object) -> Row | None:
        return await self._ask(lambda: self.real.change(query, key, *arguments))

    async def execute(self, query: str, *arguments: object) -> None:
        await self._ask(lambda: self.real.execute(query, *arguments))

    async def fetch(self, query: str, *arguments: object) -> list[Row]:
        return await self._ask(lambda: self.real.fetch(query, *arguments))

    async def _ask(self, ask: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        if self.fault == "away":
            raise self._note_away("told to be")
        result = await ask()
        if self.fault == "doubt":
            raise self._note_away("told to be")
        return result

    async def stop(self) -> None:
        await self.real.stop()
