"""MESSAGE outside of dialogs (RFC 3428, which calls it the pager): texts out and in.

A text in is answered only when the user says that it is stored. A text out that carries a key of
the user's is sent with Call-ID and tag derived from it, so that a repeat after doubt can be known
as such by the peer.
"""

import hashlib

from sip.core import Core, Submission, with_body
from sip.errors import LocalError
from sip.events import Body, MessageReceived, MessageSent
from sip.identity import read_identity
from sip.message import body_of
from sip.presentation import Presentation, present
from sip.transaction import AnyServer, Failure, Outcome, State
from sip.uri import NameAddr, Uri


class Pager:
    """The MESSAGE usage of one account."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._sending: dict[str, Submission] = {}
        self._received: dict[str, AnyServer] = {}

    def send(
        self, target: Uri, body: Body, *, sender: Presentation, key: str | None, now: float
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
        request = with_body(request, body)
        seq = 1

        def next_seq() -> int:
            nonlocal seq
            seq += 1
            return seq

        def receive(outcome: Outcome, now: float) -> None:
            if outcome.status >= 200:
                self._sending.pop(call_id, None)
                answered = not isinstance(outcome, Failure)
                self._core.emit(MessageSent(call_id, outcome.status, outcome.reason, answered))

        submission = Submission(self._core, request, receive, next_seq=next_seq)
        self._sending[call_id] = submission
        submission.start(now, flow=self._core.current)
        return call_id

    def receive(self, transaction: AnyServer, now: float) -> None:
        """Take a text and hold its answer back."""
        self._forget_expired()
        headers = transaction.request.headers
        sender = headers.from_
        id = self._core.ids.tag()
        self._received[id] = transaction
        identity = (sender.tag or "", str(sender.uri), headers.call_id, str(headers.cseq.number))
        self._core.emit(
            MessageReceived(
                id,
                key=hashlib.sha256("\0".join(identity).encode()).hexdigest(),
                target=transaction.request.uri,
                to=headers.to,
                sender=sender,
                identity=read_identity(headers, trusted=self._core.trunk.trust_identity),
                body=body_of(transaction.request) or Body("text/plain", b""),
                called_party=headers.called_party,
            )
        )

    def answer(self, id: str, status: int, *, now: float) -> None:
        """Answer a text; too late, or twice, does nothing.

        Raises:
            LocalError: `status` is no final response.
        """
        if not 200 <= status <= 699:
            raise LocalError(f"{status} is no final response")
        transaction = self._received.pop(id, None)
        if transaction is not None:
            # §7: a refusal of the kind of text says which kinds are welcome.
            headers = [("Accept", "text/plain")] if status == 415 else []
            self._core.respond(transaction, status, now, headers=headers)

    def _forget_expired(self) -> None:
        for id in [i for i, t in self._received.items() if t.state is State.TERMINATED]:
            del self._received[id]
