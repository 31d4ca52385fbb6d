"""The mailbox of a line: message waiting (RFC 3842), asked for by SUBSCRIBE or told unasked.

Most PBXs tell a registered phone unasked. Where a mailbox is named in the trunk's settings, it is
subscribed to (RFC 6665): anew with each flow, since the notifier knows our end of the old one only,
refreshed in time, and begun again after whatever ends it, later each time. A notifier that knows no
such event, or wants nobody to subscribe, is left alone until the next flow. A subscription is
matched by Call-ID and our tag; the first NOTIFY makes the dialog, and those of other forks are
refused (RFC 3842 §3.9).

Deviation: a NOTIFY of message-summary that belongs to no subscription is taken (RFC 6665 §4.1.3
says 481), because it is what PBXs send.
"""

import logging
import re
from enum import Enum

from sip import grammar
from sip.core import Core, Submission
from sip.dialog import Dialog
from sip.errors import RemoteError
from sip.events import Body, MessagesWaiting
from sip.message import Request, Response, body_of
from sip.subscription import EventName, SubscriptionState
from sip.transaction import PATIENCE, AnyServer, Failure, Outcome, Timers
from sip.uri import NameAddr, Uri

logger = logging.getLogger(__name__)

MESSAGE_SUMMARY = "message-summary"
SUMMARY_TYPE = "application/simple-message-summary"

# RFC 3842 §3.4 speaks of hours to days; an hour costs nothing and finds a dead subscription.
EXPIRES = 3600

# No notifier means it when it wants more than a week between refreshes, or less than a minute.
MIN_EXPIRES = 60
MAX_EXPIRES = 7 * 86_400

# Seconds until the next attempt: 30, 60, 120, … up to an hour. Nobody waits for a light on a phone.
FIRST_DELAY = 30.0
LONGEST_DELAY = 3600.0

# Answers that will not change by asking again.
_NEVER = (405, 489, 501)

# RFC 6665 §4.1.3: reasons after which we may subscribe again at once, and those after which we
# must not.
_AGAIN_AT_ONCE = ("deactivated", "timeout")
_NOT_AGAIN = ("rejected", "noresource", "invariant")

# More than a mailbox holds.
_MOST = 99_999

# msg-summary-line = message-context-class ":" new "/" old [ "(" new-urgent "/" old-urgent ")" ]
_COUNTS = re.compile(r"([0-9]+)\s*/\s*([0-9]+)(?:\s*\(\s*([0-9]+)\s*/\s*([0-9]+)\s*\))?")


def read_summary(body: Body) -> MessagesWaiting:
    """Read a message summary (RFC 3842 §5.2); of the classes of messages, voice counts.

    Raises:
        RemoteError: it is of another type, or is none.
    """
    if body.content_type.partition(";")[0].strip().lower() != SUMMARY_TYPE:
        accept = [("Accept", SUMMARY_TYPE)]
        raise RemoteError("not a message summary", status=415, headers=accept)
    fields: dict[str, str] = {}
    for line in body.data.decode(errors="replace").splitlines():
        name, colon, value = line.partition(":")
        if not colon:
            break  # an empty line: what follows is about single messages
        fields.setdefault(name.strip().lower(), value.strip())
    waiting = fields.get("messages-waiting", "").lower()
    if waiting not in ("yes", "no"):
        raise RemoteError("a message summary says whether messages wait")
    return MessagesWaiting(
        waiting == "yes", _account(fields.get("message-account")), *_counts(fields)
    )


def _counts(fields: dict[str, str]) -> tuple[int | None, int | None, int, int]:
    match = _COUNTS.fullmatch(fields.get("voice-message", ""))
    if match is None:
        return None, None, 0, 0
    new, old, urgent_new, urgent_old = (
        grammar.number(count or "0", what="a number of messages", limit=_MOST)
        for count in match.groups()
    )
    return new, old, urgent_new, urgent_old


def _account(text: str | None) -> Uri | None:
    try:
        return None if text is None else NameAddr.parse(text).uri
    except RemoteError:
        return None  # it is only for people


class State(Enum):
    """Where the subscription stands."""

    IDLE = "idle"  # no flow, or nothing wanted
    SUBSCRIBING = "subscribing"  # SUBSCRIBE out, without a dialog
    SUBSCRIBED = "subscribed"
    WAITING = "waiting"  # for the next attempt
    REFUSED = "refused"  # for as long as this flow stands
    ENDING = "ending"  # we unsubscribed


class Mailbox:
    """The message-summary usage of one account."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._state = State.IDLE
        self._timers = Timers()  # "refresh", "retry", "silence"
        self._call_id = ""
        self._tag = ""
        self._seq = 0
        self._dialog: Dialog | None = None
        self._expires = EXPIRES
        self._delay = FIRST_DELAY
        self._submission: Submission | None = None

    @property
    def deadline(self) -> float | None:
        return self._timers.deadline

    def line_stands(self, now: float) -> None:
        """Subscribe, if that is wanted and not done yet."""
        if self._core.trunk.mailbox is not None and self._state is State.IDLE:
            self._delay = FIRST_DELAY
            self._subscribe(now)

    def line_lost(self) -> None:
        """Forget the subscription; it is made anew when the line stands again."""
        self._forget()
        if self._state is not State.ENDING:
            self._state = State.IDLE

    def stop(self, now: float) -> None:
        """Unsubscribe for good (RFC 6665 §4.1.2.3)."""
        self._timers.clear()
        was, self._state = self._state, State.ENDING
        if was is State.SUBSCRIBED:
            self._send(0, now)

    def owns(self, request: Request) -> bool:
        """Whether a NOTIFY is of this subscription (RFC 6665 §4.4.1), or of a fork of it."""
        headers = request.headers
        return bool(self._tag) and (headers.call_id, headers.to.tag) == (self._call_id, self._tag)

    def receive(self, transaction: AnyServer, now: float) -> None:
        """Take a NOTIFY of the subscription.

        Raises:
            RemoteError: it cannot be taken.
        """
        request = transaction.request
        if EventName.of(request.headers).package != MESSAGE_SUMMARY:
            raise RemoteError("event not known", status=489)
        if self._dialog is None:
            dialog = Dialog.from_request(request, tag=self._tag, local_seq=self._seq)
        else:
            dialog = self._dialog
            if request.headers.from_.tag != dialog.remote_tag:
                raise RemoteError("one notifier is enough", status=481)
            dialog.admit(request)
        state = SubscriptionState.of(request.headers)
        self.take(transaction, now)
        if self._state is State.ENDING:
            return
        self._dialog = dialog
        dialog.refresh_target(request)
        self._timers.stop("silence")
        if state.terminated:
            self._terminated(state, now)
        else:
            self._state = State.SUBSCRIBED
            self._delay = FIRST_DELAY
            if state.expires is not None:
                self._grant(state.expires, now)

    def take(self, transaction: AnyServer, now: float) -> None:
        """Take a NOTIFY for what it says, subscribed or not.

        Raises:
            RemoteError: its body is none that we can read.
        """
        body = body_of(transaction.request)
        summary = None if body is None else read_summary(body)
        self._core.respond(transaction, 200, now)
        if summary is not None:
            self._core.emit(summary)

    def handle_timer(self, now: float) -> None:
        while (name := self._timers.take_due(now)) is not None:
            if name == "refresh":
                self._send(self._expires, now)
            elif name == "silence":
                self._try_later(None, now)
            else:
                self._subscribe(now)

    def _subscribe(self, now: float) -> None:
        """Begin a subscription, in a dialog of its own."""
        self._forget()
        self._call_id, self._tag = self._core.ids.call_id(), self._core.ids.tag()
        self._seq = 0
        self._state = State.SUBSCRIBING
        self._send(self._expires, now)

    def _send(self, expires: int, now: float) -> None:
        mailbox = self._core.trunk.mailbox
        assert mailbox is not None, "there is something to subscribe to"
        if self._dialog is not None:
            request = self._core.dress(self._dialog.request("SUBSCRIBE"))
        else:
            request = self._core.request(
                "SUBSCRIBE",
                mailbox,
                sender=NameAddr(self._core.address).with_tag(self._tag),
                to=NameAddr(mailbox),
                call_id=self._call_id,
                seq=self._next_seq(),
            )
        for name, value in (
            *self._core.target_headers,
            ("Event", MESSAGE_SUMMARY),
            ("Accept", SUMMARY_TYPE),
            ("Expires", str(expires)),
        ):
            request.headers.add(name, value)
        submission = Submission(
            self._core,
            request,
            lambda outcome, at: self._receive(submission, outcome, at),
            next_seq=self._next_seq,
        )
        self._submission = submission
        submission.start(now, flow=self._core.current)

    def _next_seq(self) -> int:
        if self._dialog is not None:
            return self._dialog.next_seq()
        self._seq += 1
        return self._seq

    def _receive(self, submission: Submission, outcome: Outcome, now: float) -> None:
        if submission is not self._submission or outcome.status < 200:
            return  # what an older SUBSCRIBE brought is no longer true
        if self._state is State.ENDING:
            return
        if isinstance(outcome, Response) and outcome.status < 300:
            self._accepted(outcome, now)
        elif isinstance(outcome, Failure) and outcome.status == 503:
            self.line_lost()
        elif outcome.status == 423 and isinstance(outcome, Response) and self._lengthen(outcome):
            self._send(self._expires, now)
        elif outcome.status == 481 and self._dialog is not None:
            self._subscribe(now)  # the notifier forgot us
        elif outcome.status in _NEVER:
            logger.warning(
                "%s: no messages waiting are told: %s", self._core.trunk.name, outcome.reason
            )
            self._forget()
            self._state = State.REFUSED
        else:
            retry_after = outcome.headers.retry_after if isinstance(outcome, Response) else None
            self._try_later(retry_after, now)

    def _accepted(self, response: Response, now: float) -> None:
        try:
            granted = response.headers.integer("Expires")
        except RemoteError:
            granted = None
        self._grant(self._expires if granted is None else granted, now)
        if self._dialog is None:
            self._timers.arm("silence", now + PATIENCE)  # RFC 6665 §4.1.2.4, timer N
        else:
            self._dialog.refresh_target(response)

    def _grant(self, expires: int, now: float) -> None:
        """Refresh between half and nine tenths of what is granted, not all lines at once."""
        seconds = max(MIN_EXPIRES, min(expires, MAX_EXPIRES))
        self._timers.arm("refresh", now + seconds * (0.5 + 0.4 * self._core.chance()))

    def _lengthen(self, response: Response) -> bool:
        """Take the Min-Expires of a 423 (RFC 6665 §4.2.1.1)."""
        try:
            minimum = response.headers.integer("Min-Expires", limit=MAX_EXPIRES)
        except RemoteError:
            return False
        if minimum is None or minimum <= self._expires:
            return False
        self._expires = minimum
        return True

    def _terminated(self, state: SubscriptionState, now: float) -> None:
        """RFC 6665 §4.1.3."""
        if state.reason in _NOT_AGAIN:
            self._forget()
            self._state = State.REFUSED
        elif state.reason in _AGAIN_AT_ONCE and self._delay == FIRST_DELAY:
            self._delay *= 2  # at once is for the first time only, until it is active again
            self._subscribe(now)
        else:
            self._try_later(state.retry_after, now)

    def _try_later(self, retry_after: int | None, now: float) -> None:
        self._forget()
        self._state = State.WAITING
        delay = self._delay * (0.75 + 0.25 * self._core.chance())
        self._delay = min(2 * self._delay, LONGEST_DELAY)
        self._timers.arm("retry", now + max(delay, min(retry_after or 0, LONGEST_DELAY)))

    def _forget(self) -> None:
        self._timers.clear()
        self._dialog = None
        self._submission = None
        self._call_id = self._tag = ""
