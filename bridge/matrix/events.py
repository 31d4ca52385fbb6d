"""The room events that we read, parsed once at the edge (client-server API, "Room events" and
"Voice over IP").

`parse_event` turns a raw dictionary from a transaction or from `/messages` into a `RoomEvent`;
`parse_call_event`, `parse_text` and their like turn that into what the rest of the bridge
speaks. None of them raises for what the dictionary holds: whatever cannot be read is None, and the
one who asked decides whether that deserves a line in the log. Strings are bounded and free of
control characters, since they end up in SIP, in SQL and in logs.

Clients differ, and the parser takes the union of what was seen: `version` is the integer 0 for the
old protocol and anything else for version 1; version 0 has no party; nheko sends an empty `sdpMid`;
a hang-up without a reason is `user_hangup`; a missing or odd `lifetime` is the 60 s that every
client uses.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bridge.matrix.file import RoomFile, parse_file
from media.plane import IceCandidate

# Messages that are about a file. A sticker is an event of its own with the content of a picture.
FILE_TYPES = ("m.image", "m.audio", "m.video", "m.file", "m.sticker")
_POLLS = ("m.poll.start", "org.matrix.msc3381.poll.start")

# An event is at most 64 KiB (client-server API, "Size limits"), which bounds bodies and SDP.
# Identifiers are at most 255.
_MAX_ID = 255
# A browser has a few candidates for each interface; nothing honest comes near this.
_MAX_CANDIDATES = 100
_MAX_CANDIDATE = 1024
_DEFAULT_LIFETIME_MS = 60_000
# Of one event; a homeserver sends those of a room together.
_MAX_RECEIPTS = 1000
# The longest lifetime that we believe. Nheko says two minutes; nothing rings for an hour.
_MAX_LIFETIME_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class RoomEvent:
    """An event of a room as the homeserver gave it to us.

    Attributes:
        content: as sent; any shape inside, so read it through the parsers below.
        state_key: None for an event that is not state.
        age_ms: how old the event was at `received_at`, from `unsigned.age`, else from
            `origin_server_ts`.
        received_at: monotonic time at which `age_ms` was true: when the event was handed to us.
        previous: content of the state that this one replaces, where the homeserver says.
        origin_ms: `origin_server_ts`, 0 if missing.
        waited_ms: how long we had the event before it was handed on, for the timeline of a call.
        redacts: of an `m.room.redaction`, what it takes back.
    """

    event_id: str
    room_id: str
    sender: str
    type: str
    content: Mapping[str, Any] = field(repr=False)
    state_key: str | None = None
    age_ms: int | None = None
    received_at: float = 0.0
    previous: Mapping[str, Any] | None = field(default=None, repr=False)
    origin_ms: int = 0
    waited_ms: int = 0
    redacts: str | None = None

    def age_at(self, now: float) -> int | None:
        """The event's age at monotonic time `now`, milliseconds; None if nobody knows."""
        if self.age_ms is None:
            return None
        return self.age_ms + max(0, round((now - self.received_at) * 1000))


@dataclass(frozen=True, slots=True)
class CallInvite:
    """`m.call.invite`: somebody calls.

    Attributes:
        party_id: the calling device; None in version 0.
        version: 0 or 1.
        invitee: the user meant, None for whoever is in the room.
        age_ms: the event's age at arrival; compare with `lifetime_ms` before ringing anything.
        received_at: monotonic time of the arrival.
        capable: whether the device names its capabilities, whatever they are.
    """

    call_id: str
    party_id: str | None
    version: int
    lifetime_ms: int
    invitee: str | None
    sdp: str = field(repr=False)
    age_ms: int | None = None
    received_at: float = 0.0
    capable: bool = True

    def remaining_ms(self, now: float) -> int:
        """How long this may still ring at monotonic time `now`; zero or less when it is stale."""
        waited = max(0, round((now - self.received_at) * 1000))
        return self.lifetime_ms - (self.age_ms or 0) - waited


@dataclass(frozen=True, slots=True)
class CallCandidates:
    """`m.call.candidates`: trickled ICE candidates; one with an empty `candidate` marks the end."""

    call_id: str
    party_id: str | None
    candidates: tuple[IceCandidate, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class CallAnswer:
    """`m.call.answer`: the device `party_id` takes the call.

    Attributes:
        capable: whether it names its capabilities, whatever they are.
    """

    call_id: str
    party_id: str | None
    sdp: str = field(repr=False)
    version: int = 1
    capable: bool = True


@dataclass(frozen=True, slots=True)
class CallSelectAnswer:
    """`m.call.select_answer`: the caller talks with `selected_party_id` and with nobody else."""

    call_id: str
    party_id: str | None
    selected_party_id: str


@dataclass(frozen=True, slots=True)
class CallReject:
    """`m.call.reject`: declined before the answer. `reason` is an extension that some clients
    send."""

    call_id: str
    party_id: str | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class CallHangup:
    """`m.call.hangup`: over."""

    call_id: str
    party_id: str | None
    reason: str = "user_hangup"


@dataclass(frozen=True, slots=True)
class CallNegotiate:
    """`m.call.negotiate`: a re-offer (hold, ICE restart) or its answer, by `type`."""

    call_id: str
    party_id: str | None
    type: str
    sdp: str = field(repr=False)
    lifetime_ms: int = _DEFAULT_LIFETIME_MS


CallEvent = (
    CallInvite
    | CallCandidates
    | CallAnswer
    | CallSelectAnswer
    | CallReject
    | CallHangup
    | CallNegotiate
)


@dataclass(frozen=True, slots=True)
class Text:
    """`m.room.message`.

    Attributes:
        body: the plain text; of an edit, the new text.
        msgtype: "m.text", "m.notice", "m.emote", "m.image", ...; "m.sticker" and "m.poll" stand for
            events of their own.
        edits: the event that this one replaces, if it is an edit.
        replies_to: the event that this one answers.
        geo_uri: the place of an "m.location".
        file: of an "m.image", "m.audio", "m.video" or "m.file", unless it cannot be read; the body
            is then what its author says of it, "" for nothing.
    """

    body: str = field(repr=False)
    msgtype: str
    edits: str | None = None
    replies_to: str | None = None
    geo_uri: str | None = None
    file: RoomFile | None = None

    @property
    def words(self) -> str:
        """What its author wrote: a reply without the quotation that older clients put in front."""
        if self.replies_to is None:
            return self.body
        lines = self.body.split("\n")
        while lines and lines[0].startswith("> "):
            lines.pop(0)
        return "\n".join(lines).lstrip("\n") or self.body


@dataclass(frozen=True, slots=True)
class Reaction:
    """`m.reaction`: a sign on an event.

    Attributes:
        to: the event.
        key: an emoji, mostly; of clients that have their own, the address of a picture.
    """

    to: str
    key: str


@dataclass(frozen=True, slots=True)
class ReadReceipt:
    """Of `m.receipt`: a user has read a room up to an event."""

    room_id: str
    event_id: str
    user: str


@dataclass(frozen=True, slots=True)
class Membership:
    """`m.room.member`: what became of `user` in the room.

    Attributes:
        membership: "invite", "join", "leave", "ban" or "knock".
        previous: what it was before, None if the homeserver does not say.
        is_direct: the inviter means a direct chat.
    """

    user: str
    membership: str
    previous: str | None = None
    is_direct: bool = False


def parse_event(
    raw: object,
    *,
    received_at: float,
    now_ms: int,
    waited_ms: int = 0,
    room_id: str | None = None,
) -> RoomEvent | None:
    """Read one event; None if it has no usable id, room, sender, type or content.

    Args:
        raw: as `json.loads` gave it.
        received_at: monotonic seconds, now.
        now_ms: wall clock, to age an event that comes without `unsigned.age`.
        waited_ms: how long the event has been with us already; its `unsigned.age` is older by that.
        room_id: where the answer of an endpoint leaves it out of the events.
    """
    if not isinstance(raw, dict):
        return None
    event_id = _identifier(raw.get("event_id"))
    room = _identifier(raw.get("room_id", room_id))
    sender = _identifier(raw.get("sender"))
    type_ = _identifier(raw.get("type"))
    content = raw.get("content")
    if not (event_id and room and sender and type_ and isinstance(content, dict)):
        return None
    if not sender.startswith("@") or ":" not in sender:
        return None
    state_key = raw.get("state_key")
    if state_key is not None and not (isinstance(state_key, str) and _clean(state_key)):
        return None
    unsigned = _mapping(raw.get("unsigned"))
    previous = unsigned.get("prev_content", raw.get("prev_content"))
    origin_ms = _integer(raw.get("origin_server_ts")) or 0
    age_ms = _integer(unsigned.get("age"))
    if age_ms is not None:
        age_ms += waited_ms
    elif origin_ms:
        age_ms = now_ms - origin_ms
    return RoomEvent(
        event_id=event_id,
        room_id=room,
        sender=sender,
        type=type_,
        content=content,
        state_key=state_key,
        age_ms=None if age_ms is None else max(0, age_ms),
        received_at=received_at,
        previous=previous if isinstance(previous, dict) else None,
        origin_ms=origin_ms,
        waited_ms=waited_ms,
        # Beside the content up to room version 10, in it from version 11 on.
        redacts=_identifier(content.get("redacts")) or _identifier(raw.get("redacts")),
    )


def parse_call_event(event: RoomEvent) -> CallEvent | None:
    """Read an `m.call.*` event of version 0 or 1; None for any other type, a redacted or an
    unusable one."""
    if event.state_key is not None:
        return None
    content = event.content
    call_id = _identifier(content.get("call_id"))
    if not call_id:
        return None
    party_id = _identifier(content.get("party_id"))
    version = 0 if _integer(content.get("version")) == 0 else 1
    match event.type:
        case "m.call.invite":
            sdp = _sdp(content.get("offer"))
            invitee = _identifier(content.get("invitee"))
            if sdp is None:
                return None
            return CallInvite(
                call_id,
                party_id,
                version,
                _lifetime(content.get("lifetime")),
                invitee,
                sdp,
                event.age_ms,
                event.received_at,
                "capabilities" in content,
            )
        case "m.call.answer":
            sdp, capable = _sdp(content.get("answer")), "capabilities" in content
            return CallAnswer(call_id, party_id, sdp, version, capable) if sdp else None
        case "m.call.candidates":
            candidates = _candidates(content.get("candidates"))
            return CallCandidates(call_id, party_id, candidates) if candidates else None
        case "m.call.select_answer":
            selected = _identifier(content.get("selected_party_id"))
            return CallSelectAnswer(call_id, party_id, selected) if selected else None
        case "m.call.reject":
            return CallReject(call_id, party_id, _identifier(content.get("reason")))
        case "m.call.hangup":
            reason = _identifier(content.get("reason")) or "user_hangup"
            return CallHangup(call_id, party_id, reason)
        case "m.call.negotiate":
            description = _mapping(content.get("description"))
            type_, sdp = description.get("type"), _sdp(description)
            if not sdp or type_ not in ("offer", "answer", "pranswer"):
                return None
            lifetime_ms = _lifetime(content.get("lifetime"))
            return CallNegotiate(call_id, party_id, type_, sdp, lifetime_ms)
        case _:
            return None


def parse_text(event: RoomEvent) -> Text | None:
    """Read an `m.room.message`, or what a client shows as one; None for any other type, a redacted
    or an unusable one."""
    if event.state_key is not None:
        return None
    if event.type in _POLLS and event.content:
        return Text("", "m.poll")
    if event.type not in ("m.room.message", "m.sticker"):
        return None
    content = event.content
    relation = _mapping(content.get("m.relates_to"))
    edits = None
    if relation.get("rel_type") == "m.replace":
        edits = _identifier(relation.get("event_id"))
        content = _mapping(content.get("m.new_content"))
    body, msgtype = content.get("body"), _identifier(content.get("msgtype"))
    if event.type == "m.sticker":
        msgtype = event.type
    if not isinstance(body, str) or not msgtype:
        return None
    replies_to = _identifier(_mapping(relation.get("m.in_reply_to")).get("event_id"))
    geo_uri = _identifier(content.get("geo_uri"))
    if msgtype not in FILE_TYPES:
        return Text(_encodable(body), msgtype, edits, replies_to, geo_uri)
    # Without a `filename`, or where it is the same, the body is the file's name (MSC2530).
    caption = body if content.get("filename") not in (None, body) else ""
    return Text(_encodable(caption), msgtype, edits, replies_to, file=parse_file(content))


def parse_reaction(event: RoomEvent) -> Reaction | None:
    """Read an `m.reaction`; None for any other type, a redacted or an unusable one."""
    if event.type != "m.reaction" or event.state_key is not None:
        return None
    relation = _mapping(event.content.get("m.relates_to"))
    to, key = _identifier(relation.get("event_id")), relation.get("key")
    if relation.get("rel_type") != "m.annotation" or to is None:
        return None
    # Not `_identifier`: an emoji of several characters holds joiners, which are not printable.
    if not isinstance(key, str) or not key.strip() or len(key) > _MAX_ID:
        return None
    return Reaction(to, _encodable(key))


def parse_receipts(raw: object) -> list[ReadReceipt]:
    """Read an `m.receipt` as the homeserver pushes it: public receipts, threads left out; nothing
    for what is none or cannot be read."""
    event = _mapping(raw)
    room_id = _identifier(event.get("room_id"))
    if event.get("type") != "m.receipt" or room_id is None:
        return []
    found: list[ReadReceipt] = []
    for event_id, kinds in _mapping(event.get("content")).items():
        for user, receipt in _mapping(_mapping(kinds).get("m.read")).items():
            thread = _mapping(receipt).get("thread_id")
            ids = _identifier(event_id), _identifier(user)
            if None not in ids and thread in (None, "main") and len(found) < _MAX_RECEIPTS:
                found.append(ReadReceipt(room_id, event_id, user))
    return found


def parse_redaction(event: RoomEvent) -> str | None:
    """What an `m.room.redaction` takes back; None for any other type."""
    if event.type != "m.room.redaction" or event.state_key is not None:
        return None
    return event.redacts


def parse_membership(event: RoomEvent) -> Membership | None:
    """Read an `m.room.member`; None for any other type or an unusable one."""
    if event.type != "m.room.member" or not event.state_key:
        return None
    membership = _identifier(event.content.get("membership"))
    if not membership:
        return None
    previous = _identifier((event.previous or {}).get("membership"))
    is_direct = event.content.get("is_direct") is True
    return Membership(event.state_key, membership, previous, is_direct)


# --- the smallest parts


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _clean(text: str) -> bool:
    return len(text) <= _MAX_ID and text.isprintable()


def _identifier(value: object) -> str | None:
    """A non-empty, printable string of at most 255 characters, or None. Printable excludes lone
    surrogates and NUL."""
    return value if isinstance(value, str) and value and _clean(value) else None


def _encodable(text: str) -> str:
    """The text without what UTF-8 cannot carry: JSON can smuggle in half of a surrogate pair."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _sdp(description: object) -> str | None:
    sdp = _mapping(description).get("sdp")
    return _encodable(sdp) if isinstance(sdp, str) and sdp else None


def _lifetime(value: object) -> int:
    lifetime_ms = _integer(value)
    if lifetime_ms is None or lifetime_ms < 0:
        return _DEFAULT_LIFETIME_MS
    return min(lifetime_ms, _MAX_LIFETIME_MS)


def _candidates(value: object) -> tuple[IceCandidate, ...]:
    found = []
    for item in value[:_MAX_CANDIDATES] if isinstance(value, list) else ():
        line = _mapping(item).get("candidate")
        if not isinstance(line, str) or len(line) > _MAX_CANDIDATE or not line.isprintable():
            continue
        mid, index = item.get("sdpMid"), _integer(item.get("sdpMLineIndex"))
        mid = mid if isinstance(mid, str) and _clean(mid) else "0"
        found.append(IceCandidate(line, mid, index if index is not None and index >= 0 else 0))
    return tuple(found)
