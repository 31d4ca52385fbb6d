"""What the user agent tells its user.

`UserAgent.poll()` returns outputs in the order in which they came about: `Send` for the flow, all
others for the application. Events are frozen values; the objects that they carry (`Session`) take
the verbs.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sip.uri import NameAddr, Uri

if TYPE_CHECKING:
    from sip.identity import Identity
    from sip.imdn import Kind, NotificationsWanted, Status
    from sip.message import Message
    from sip.refer import Replaces
    from sip.session import Session


@dataclass(frozen=True, slots=True)
class Body:
    """An opaque body: the user agent carries it and never looks inside."""

    content_type: str
    data: bytes = field(repr=False)  # keys, or what people write


@dataclass(frozen=True, slots=True)
class Reason:
    """The Reason header of CANCEL, BYE and final responses (RFC 3326).

    Attributes:
        protocol: "SIP" or "Q.850".
        cause: status code or Q.850 cause.
        text: words for a person.
    """

    protocol: str
    cause: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class SipWarning:
    """The Warning header of a refusal (RFC 3261 §20.43): more than its status tells.

    Attributes:
        code: 3xx, such as 304 for media that are not available and 399 for anything else.
        text: words for a person.
        agent: who says so, "" for us.
    """

    code: int
    text: str
    agent: str = ""


@dataclass(frozen=True, slots=True)
class Send:
    """Bytes for a flow: one message to be written as it is."""

    flow: int
    message: "Message"


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """A ping for a flow, `sip.framing.PING` as it is (RFC 5626 §3.5.1); what the peer answers is
    told by `UserAgent.pong`."""

    flow: int


# --- registration (RFC 3261 §10)


@dataclass(frozen=True, slots=True)
class Registered:
    """The registrar accepted our binding.

    Attributes:
        expires: granted lifetime in seconds; a refresh is already scheduled.
        associated: addresses that are ours besides (P-Associated-URI, RFC 7315 §4.1).
    """

    expires: int
    associated: tuple[Uri, ...] = ()


@dataclass(frozen=True, slots=True)
class RegistrationFailed:
    """A REGISTER failed; the agent tries again by itself.

    Attributes:
        status: response code; 408 for a timeout, 503 for a lost flow.
        reason: reason phrase or our words.
        retry_in: seconds until the next attempt, None when it waits for a new flow.
        objection: why the challenge was not answered, in words for a person; "" otherwise.
    """

    status: int
    reason: str
    retry_in: float | None
    objection: str = ""


@dataclass(frozen=True, slots=True)
class Unregistered:
    """Our binding is removed because we asked for it."""


@dataclass(frozen=True, slots=True)
class FlowFailed:
    """The peer broke the protocol or stopped answering: the driver must close this flow and open
    another."""

    flow: int
    reason: str


# --- sessions (RFC 3261 §13)


@dataclass(frozen=True, slots=True)
class IncomingSession:
    """An INVITE of the peer opens a session; nothing but 100 was answered yet.

    Attributes:
        session: takes `ring`, `answer`, `reject`.
        target: the Request-URI: which of our lines is called.
        to: the To header, for peers whose Request-URI is only our Contact.
        caller: From, whatever else is said.
        identity: who calls, as far as the trunk may be believed.
        offer: the body, None if the INVITE had none (then our answer makes the offer).
        called_party: P-Called-Party-ID (RFC 7315), for peers that say the called number only there.
        replaces: the session whose place it takes (RFC 3891); our answer ends that.
        referred_by: who sent the caller here (RFC 3892), as the caller says.
    """

    session: "Session"
    target: Uri
    to: NameAddr
    caller: NameAddr
    identity: "Identity"
    offer: Body | None
    called_party: NameAddr | None = None
    replaces: "Session | None" = None
    referred_by: NameAddr | None = None


@dataclass(frozen=True, slots=True)
class SessionProgressed:
    """A provisional response above 100 to our INVITE: 180 rings, 183 with a body is early media.

    Attributes:
        early: the body, if any.
    """

    session: "Session"
    status: int
    early: Body | None


@dataclass(frozen=True, slots=True)
class SessionAnswered:
    """Our INVITE got its 2xx; the ACK is on its way.

    Attributes:
        answer: the body; when the 200 had none, that of the early answer that stands.
    """

    session: "Session"
    answer: Body | None


@dataclass(frozen=True, slots=True)
class SessionConfirmed:
    """Our 2xx to the peer's INVITE was acknowledged.

    Attributes:
        body: the body of the ACK: the answer when the offer was ours.
    """

    session: "Session"
    body: Body | None


@dataclass(frozen=True, slots=True)
class SessionOffered:
    """A re-INVITE or UPDATE of the peer carries a new offer; answer with `accept_offer` or
    `reject_offer`.

    Attributes:
        offer: None when the peer asks for our offer.
    """

    session: "Session"
    offer: Body | None


@dataclass(frozen=True, slots=True)
class SessionReanswered:
    """Our re-INVITE was answered.

    Attributes:
        status: 200, or the refusal; the session goes on as before then.
    """

    session: "Session"
    status: int
    answer: Body | None


@dataclass(frozen=True, slots=True)
class DigitReceived:
    """The peer sent a digit by INFO, beside the media.

    Attributes:
        digit: one of 0-9, *, #, A-D.
        duration_ms: how long it was pressed.
    """

    session: "Session"
    digit: str
    duration_ms: int


@dataclass(frozen=True, slots=True)
class DigitsRefused:
    """The peer takes no digits by INFO; said once for a session, which goes on."""

    session: "Session"
    status: int


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """The session is over, said exactly once for each session.

    Attributes:
        status: final response that ended it; 200 for a BYE or a hang-up of an established session,
            487 for CANCEL, 408 for a timeout, 503 for a lost flow.
        by_peer: True when the peer ended it.
        reason: the peer's Reason header if any (RFC 3326).
        retry_after: seconds, from a refusal's Retry-After.
        warning: from a refusal's Warning.
        contacts: where a 3xx sends the caller, the best first; nobody was called there.
    """

    session: "Session"
    status: int
    by_peer: bool
    reason: Reason | None = None
    retry_after: int | None = None
    warning: SipWarning | None = None
    contacts: tuple[NameAddr, ...] = ()


# --- transfer (RFC 3515, RFC 5589)


@dataclass(frozen=True, slots=True)
class TransferProgressed:
    """The peer, whom we asked to call somebody else, tells how that goes on.

    Attributes:
        status: provisional response to the peer's call; 180 when the other phone rings.
    """

    session: "Session"
    status: int


@dataclass(frozen=True, slots=True)
class TransferEnded:
    """The outcome of `Session.transfer`, said exactly once for each.

    After a success the session, and the one that was to be replaced, are ended by themselves. After
    anything else they go on as they were.

    Attributes:
        status: final response to the peer's call; of the REFER if the peer refused to make one; 202
            if the peer took it over and says no more; 408 and 503 if nobody can know.
        reason: reason phrase or our words.
    """

    session: "Session"
    status: int
    reason: str

    @property
    def succeeded(self) -> bool:
        return 200 <= self.status < 300 and self.status != 202


@dataclass(frozen=True, slots=True)
class TransferRequested:
    """The peer asks us to call somebody else; answer with `transfers.accept` or `transfers.decline`
    of the session within 16 seconds. The end of the session withdraws it.

    Attributes:
        target: whom to call, by `UserAgent.invite` with `transferor`.
        replaces: to be handed to that `invite`, for an attended transfer.
        referred_by: the same; who sends us, as the peer says.
    """

    session: "Session"
    target: Uri
    replaces: "Replaces | None"
    referred_by: NameAddr | None


# --- waiting messages (RFC 3842)


@dataclass(frozen=True, slots=True)
class MessagesWaiting:
    """What lies in our mailbox; said at each NOTIFY, changed or not.

    Attributes:
        waiting: whether anything new does.
        account: where to call to hear the messages, if the peer says.
        new: voice messages not heard yet, urgent ones among them; None if only `waiting` is known.
        old: voice messages that were heard.
        urgent_new: of the new ones.
        urgent_old: of the old ones.
    """

    waiting: bool
    account: Uri | None = None
    new: int | None = None
    old: int | None = None
    urgent_new: int = 0
    urgent_old: int = 0


# --- MESSAGE (RFC 3428)


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """A MESSAGE of the peer. It is answered by `UserAgent.answer_message` only after the text is
    stored safely.

    Attributes:
        id: names the request for the answer.
        key: the same for a repeat of the same text by the peer's application, however it arrives
            (From, To, Call-ID, CSeq).
        target: the Request-URI.
        to: the To header.
        sender: From, whatever else is said.
        identity: who writes, as far as the trunk may be believed.
        body: the text.
        called_party: P-Called-Party-ID.
        wanted: what the sender wants to be told; None for nothing. That it was delivered is told
            with the answer, that it was read by `UserAgent.notify_displayed`.
    """

    id: str
    key: str
    target: Uri
    to: NameAddr
    sender: NameAddr
    identity: "Identity"
    body: Body
    called_party: NameAddr | None = None
    wanted: "NotificationsWanted | None" = None


@dataclass(frozen=True, slots=True)
class MessageSent:
    """Our MESSAGE has its final outcome.

    Attributes:
        id: what `UserAgent.send_message` returned.
        status: final response; 408 for no answer, 503 for a lost flow: then nobody knows whether
            it arrived.
        reason: reason phrase.
        answered: whether a response came at all; False means in doubt.
    """

    id: str
    status: int
    reason: str
    answered: bool


@dataclass(frozen=True, slots=True)
class MessageNotified:
    """The recipient of a text says what became of it (RFC 5438). Anybody could have written that
    who knows the id.

    Attributes:
        id: what `UserAgent.send_message` returned, if the text is one of ours.
        kind: what is said of it.
        status: that.
        sender: From of the notification.
    """

    id: str
    kind: "Kind"
    status: "Status"
    sender: NameAddr


Event = (
    Registered
    | RegistrationFailed
    | Unregistered
    | FlowFailed
    | IncomingSession
    | SessionProgressed
    | SessionAnswered
    | SessionConfirmed
    | SessionOffered
    | SessionReanswered
    | DigitReceived
    | DigitsRefused
    | SessionEnded
    | TransferProgressed
    | TransferEnded
    | TransferRequested
    | MessagesWaiting
    | MessageReceived
    | MessageSent
    | MessageNotified
)

Output = Send | KeepAlive | Event
