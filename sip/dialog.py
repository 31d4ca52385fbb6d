"""The dialog (RFC 3261 §12): what two user agents remember of each other between requests.

One class for both ends: who was client and who was server of the first request matters only when
the dialog is made. Sequence numbers, route set and remote target change here and nowhere else.
"""

from contextlib import suppress

from sip.errors import RemoteError
from sip.headers import MAGIC_COOKIE, CSeq, Headers
from sip.message import MAX_FORWARDS, Message, Request, Response
from sip.uri import NameAddr, Uri


class Dialog:
    """One peer relationship.

    Attributes:
        call_id: of all its requests.
        local: our address with our tag.
        remote: the peer's address with its tag, if it has one.
        target: where requests go (the peer's Contact).
        route: proxies that they pass, the nearest first.
        allows: methods that the peer takes, in lower case; empty until it says.
    """

    def __init__(
        self,
        *,
        call_id: str,
        local: NameAddr,
        remote: NameAddr,
        target: Uri,
        route: tuple[NameAddr, ...],
        local_seq: int,
        remote_seq: int | None,
    ) -> None:
        self.call_id = call_id
        self.local = local
        self.remote = remote
        self.target = target
        self.route = route
        self.allows: frozenset[str] = frozenset()
        self._local_seq = local_seq
        self._remote_seq = remote_seq

    @classmethod
    def from_response(cls, request: Request, response: Response) -> "Dialog":
        """Make the dialog of a client (§12.1.2)."""
        dialog = cls(
            call_id=request.headers.call_id,
            local=request.headers.from_,
            remote=response.headers.to,
            # A 2xx without a good Contact is against the standard, yet its ACK must go somewhere.
            target=request.uri,
            route=(),
            local_seq=request.headers.cseq.number,
            remote_seq=None,
        )
        dialog.confirm(response)
        return dialog

    @classmethod
    def from_request(cls, request: Request, *, tag: str, local_seq: int = 0) -> "Dialog":
        """Make the dialog of a server (§12.1.1), or that of a subscriber (RFC 6665 §4.4.1).

        Args:
            local_seq: the last number that we used, for a subscriber.

        Raises:
            RemoteError: the request has no Contact.
        """
        contact = request.headers.contact
        if contact is None:
            if request.headers.via.branch.startswith(MAGIC_COOKIE):
                raise RemoteError("no Contact")
            contact = request.headers.from_  # RFC 2543 did not ask for one
        dialog = cls(
            call_id=request.headers.call_id,
            local=request.headers.to.with_tag(tag),
            remote=request.headers.from_,
            target=contact.uri,
            route=tuple(request.headers.record_route),
            local_seq=local_seq,
            remote_seq=request.headers.cseq.number,
        )
        dialog.refresh_target(request)
        return dialog

    @property
    def remote_tag(self) -> str:
        return self.remote.tag or ""

    def next_seq(self) -> int:
        self._local_seq += 1
        return self._local_seq

    def request(self, method: str) -> Request:
        """Build the next request within the dialog (§12.2.1.1)."""
        return self._build(CSeq(self.next_seq(), method))

    def ack(self, number: int) -> Request:
        """Build the ACK of a 2xx, which repeats the number of its INVITE (§13.2.2.4)."""
        return self._build(CSeq(number, "ACK"))

    def admit(self, request: Request) -> None:
        """Check the order of a request of the peer (§12.2.2).

        Raises:
            RemoteError: it is older than one that we have seen.
        """
        number = request.headers.cseq.number
        if self._remote_seq is not None and number < self._remote_seq:
            raise RemoteError("out of order", status=500)
        self._remote_seq = number

    def refresh_target(self, message: Message) -> None:
        """Take the Contact of a target refresh request, or of its 2xx (§12.2) if it is readable."""
        with suppress(RemoteError):
            contact = message.headers.contact
            if contact is not None:
                self.target = contact.uri
        if "Allow" in message.headers:
            self.allows = message.headers.tokens("Allow")

    def confirm(self, response: Response) -> None:
        """Take route set and target of the 2xx over those of an early response (§13.2.2.4)."""
        with suppress(RemoteError):
            self.route = tuple(reversed(response.headers.record_route))
        self.refresh_target(response)

    def _build(self, cseq: CSeq) -> Request:
        uri = self.target
        routes = list(self.route)
        if routes and "lr" not in routes[0].uri.parameters:
            # A strict router (§12.2.1.1): its URI takes the place of the target, which goes last.
            uri = routes.pop(0).uri
            routes.append(NameAddr(self.target))
        headers = Headers([("Max-Forwards", str(MAX_FORWARDS))])
        for route in routes:
            headers.add("Route", route)
        headers.add("From", self.local)
        headers.add("To", self.remote)
        headers.add("Call-ID", self.call_id)
        headers.add("CSeq", cseq)
        return Request(cseq.method, uri, headers)
