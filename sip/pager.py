"""MESSAGE outside of dialogs (RFC 3428, which calls it the pager): texts out and in, and what
became of them (`sip.imdn`).

A text in is answered only when the user says that it is stored; then its sender is notified too, if
it asked. A text out that carries a key of the user's is sent with Call-ID and tag derived from it,
so that a repeat after doubt can be known as such by the peer, and its notifications by us.

What a MESSAGE carries inside a message/cpim is told as if it came bare. Notifications are answered
here: they belong to a text of ours or to nothing, and are never notified of themselves.
"""

import hashlib

from sip.core import Core, Submission, with_body
from sip.cpim import MESSAGE_CPIM, Cpim
from sip.errors import LocalError, RemoteError
from sip.events import Body, MessageNotified, MessageReceived, MessageSent
from sip.identity import is_nameless, read_identity
from sip.imdn import (
    MESSAGE_IMDN,
    Imdn,
    Kind,
    NotificationsWanted,
    Status,
    Wish,
    read_wanted,
    with_wishes,
)
from sip.message import body_of
from sip.multipart import media_type
from sip.presentation import Presentation, present, shown
from sip.transaction import AnyServer, Failure, Listener, Outcome, State
from sip.uri import NameAddr, Uri

# What a text may be; what is inside a message/cpim is the user's to refuse (RFC 3428 §7).
TEXT_TYPES = f"text/plain, {MESSAGE_CPIM}, {MESSAGE_IMDN}"

# Notifications under way at once; a peer that sends faster than it takes answers gets fewer.
MAX_NOTIFYING = 32

# Texts that wait until they are stored: at a hundred a second that is the patience of no sender.
MAX_RECEIVED = 200


class Pager:
    """The MESSAGE usage of one account."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._sending: dict[str, Submission] = {}
        self._received: dict[str, tuple[AnyServer, NotificationsWanted | None]] = {}
        self._notifying = 0

    # --- out

    def send(
        self,
        target: Uri,
        body: Body,
        *,
        sender: Presentation,
        key: str | None,
        wishes: frozenset[Wish],
        sent_at: str,
        now: float,
    ) -> str:
        """Send a text; its outcome comes as `MessageSent`. A key that is under way is not sent
        twice.

        Raises:
            LocalError: the text cannot be written.
        """
        if key is None:
            call_id, tag = self._core.ids.call_id(), self._core.ids.tag()
        else:
            digest = hashlib.sha256(f"{self._core.trunk.name}\0{key}".encode()).hexdigest()
            call_id, tag = digest[:32], digest[32:48]
        if call_id in self._sending:
            return call_id
        if wishes:
            body = with_wishes(
                body,
                id=call_id,
                wishes=wishes,
                sender=shown(self._core.trunk, sender),
                recipient=NameAddr(target),
                sent_at=sent_at,
            )

        def receive(outcome: Outcome, now: float) -> None:
            if outcome.status >= 200:
                self._sending.pop(call_id, None)
                answered = not isinstance(outcome, Failure)
                self._core.emit(MessageSent(call_id, outcome.status, outcome.reason, answered))

        submission = self._submission(target, body, sender, receive, call_id=call_id, tag=tag)
        self._sending[call_id] = submission
        submission.start(now, flow=self._core.current)
        return call_id

    def notify(
        self,
        wanted: NotificationsWanted,
        kind: Kind,
        status: Status,
        *,
        sender: Presentation,
        now: float,
    ) -> None:
        """Tell the sender of a text what became of it; nobody is told whether that arrived.

        It goes to whom the text came from, at the trunk's domain and nowhere else.
        """
        if is_nameless(wanted.sender) or self._notifying >= MAX_NOTIFYING:
            return
        call_id = self._core.ids.call_id()
        address = shown(self._core.trunk, sender)
        body = wanted.notify(kind, status, sender=address, id=call_id)

        def receive(outcome: Outcome, now: float) -> None:
            if outcome.status >= 200:
                self._notifying -= 1

        target = Uri("sip", wanted.sender.uri.user, self._core.trunk.domain)
        tag = self._core.ids.tag()
        submission = self._submission(target, body, sender, receive, call_id=call_id, tag=tag)
        self._notifying += 1
        submission.start(now, flow=self._core.current)

    def _submission(
        self,
        target: Uri,
        body: Body,
        sender: Presentation,
        listener: Listener,
        *,
        call_id: str,
        tag: str,
    ) -> Submission:
        address, told = present(self._core.trunk, sender)
        request = self._core.request(
            "MESSAGE",
            target,
            sender=address.with_tag(tag),
            to=NameAddr(target),
            call_id=call_id,
            seq=1,
        )
        for name, value in told:
            request.headers.add(name, value)
        seq = 1

        def next_seq() -> int:
            nonlocal seq
            seq += 1
            return seq

        return Submission(self._core, with_body(request, body), listener, next_seq=next_seq)

    # --- in

    def receive(self, transaction: AnyServer, now: float) -> None:
        """Take a text and hold its answer back; or take a notification.

        Raises:
            RemoteError: it is neither.
        """
        self._forget_expired()
        if len(self._received) >= MAX_RECEIVED:
            raise RemoteError("too many texts at once", status=503)
        headers = transaction.request.headers
        sender = headers.from_
        body = body_of(transaction.request) or Body("text/plain", b"")
        wanted = None
        if media_type(body.content_type)[0] == MESSAGE_CPIM:
            cpim = Cpim.parse(body.data)
            body = cpim.body
            wanted = read_wanted(cpim, sender=sender.without_tag(), recipient=headers.to)
        if media_type(body.content_type)[0] == MESSAGE_IMDN:
            imdn = Imdn.parse(body.data)
            self._core.respond(transaction, 200, now)
            self._core.emit(MessageNotified(imdn.message_id, imdn.kind, imdn.status, sender))
            return
        id = self._core.ids.tag()
        self._received[id] = (transaction, wanted)
        identity = (sender.tag or "", str(sender.uri), headers.call_id, str(headers.cseq.number))
        self._core.emit(
            MessageReceived(
                id,
                key=hashlib.sha256("\0".join(identity).encode()).hexdigest(),
                target=transaction.request.uri,
                to=headers.to,
                sender=sender,
                identity=read_identity(headers, trusted=self._core.trunk.trust_identity),
                body=body,
                called_party=headers.called_party,
                wanted=wanted,
            )
        )

    def answer(self, id: str, status: int, *, sender: Presentation, now: float) -> None:
        """Answer a text, and notify its sender of the delivery if that was asked; too late, or
        twice, does nothing.

        Raises:
            LocalError: `status` is no final response.
        """
        if not 200 <= status <= 699:
            raise LocalError(f"{status} is no final response")
        transaction, wanted = self._received.pop(id, (None, None))
        if transaction is None:
            return
        headers = [("Accept", TEXT_TYPES)] if status == 415 else []
        self._core.respond(transaction, status, now, headers=headers)
        if status < 300 and wanted is not None and Wish.POSITIVE_DELIVERY in wanted.wishes:
            self.notify(wanted, Kind.DELIVERY, Status.DELIVERED, sender=sender, now=now)

    def _forget_expired(self) -> None:
        for id in [i for i, (t, _) in self._received.items() if t.state is State.TERMINATED]:
            del self._received[id]
