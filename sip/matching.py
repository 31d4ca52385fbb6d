"""All transactions of an agent, and the rules by which messages find theirs (RFC 3261 §17.1.3,
§17.2.3).

Nothing in here is done once for each transaction when a message comes: messages find theirs by
keys, timers come from an `Agenda`, and a machine that is over says so itself.

What a peer can make us keep has limits. A request that the user has not answered counts as open;
beyond the limits a new one is refused (503). One that is answered only waits for repetitions; of
those the oldest is forgotten when there are too many, so that a flood of requests which are refused
at once leaves room for a good one.
"""

from collections import defaultdict

from sip.agenda import Agenda
from sip.headers import MAGIC_COOKIE
from sip.message import Request, Response
from sip.transaction import (
    AnyClient,
    AnyServer,
    ClientTransaction,
    Failure,
    InviteClientTransaction,
    InviteServerTransaction,
    Listener,
    Sender,
    ServerTransaction,
    State,
)

# A call rings for half a minute and anything else is answered within a moment: so many open
# requests on one connection are an attack or a loop, not telephony.
MAX_OPEN_PER_FLOW = 500

# On all flows together; a request and its headers are some ten kilobytes.
MAX_OPEN = 2000

# What is answered lingers for up to 32 s (timers H, L and J), seven kilobytes each; but a peer that
# repeats does so in the first seconds, and these are the requests of ten at a hundred each second.
MAX_LINGERING = 1000

_Key = tuple[object, ...]


class Transactions:
    """The transactions of one agent."""

    def __init__(self) -> None:
        self._clients: dict[_Key, AnyClient] = {}
        self._servers: dict[_Key, AnyServer] = {}
        self._identities: dict[_Key, AnyServer] = {}
        self._client_keys: dict[AnyClient, _Key] = {}
        self._server_keys: dict[AnyServer, tuple[_Key, _Key]] = {}
        self._waiting: set[AnyClient] = set()
        self._open: defaultdict[int, set[AnyServer]] = defaultdict(set)
        self._open_count = 0
        self._lingering: dict[AnyServer, None] = {}  # in the order in which they were answered
        self._agenda: Agenda[AnyClient | AnyServer] = Agenda()

    @property
    def deadline(self) -> float | None:
        return self._agenda.deadline

    @property
    def waiting(self) -> bool:
        """Whether a request of ours has no final response yet."""
        return bool(self._waiting)

    def is_full(self, flow: int) -> bool:
        """Whether the peer must not open another transaction on this flow."""
        return self._open_count >= MAX_OPEN or len(self._open.get(flow, ())) >= MAX_OPEN_PER_FLOW

    def __len__(self) -> int:
        return len(self._clients) + len(self._servers)

    def start(
        self,
        request: Request,
        *,
        flow: int,
        reliable: bool,
        send: Sender,
        listener: Listener,
        now: float,
    ) -> AnyClient:
        """Send a request in a transaction of its own; its Via carries the branch."""
        kind = InviteClientTransaction if request.method == "INVITE" else ClientTransaction
        client = kind(
            request,
            flow=flow,
            reliable=reliable,
            send=send,
            listener=listener,
            changed=self._client_changed,
        )
        key = self._client_keys[client] = _client_key(request)
        self._clients[key] = client
        self._waiting.add(client)
        client.start(now)
        return client

    def serve(
        self, request: Request, *, flow: int, reliable: bool, send: Sender, now: float
    ) -> AnyServer:
        """Open the transaction of a request that found none."""
        kind = InviteServerTransaction if request.method == "INVITE" else ServerTransaction
        server = kind(
            request, flow=flow, reliable=reliable, send=send, changed=self._server_changed
        )
        key, identity = _server_key(request, request.method), _identity(request)
        self._server_keys[server] = key, identity
        self._servers[key] = server
        self._identities.setdefault(identity, server)
        self._open[flow].add(server)
        self._open_count += 1
        if isinstance(server, ServerTransaction):
            server.start(now)
        return server

    def receive_response(self, response: Response, now: float, *, flow: int) -> bool:
        """Hand a response to its transaction; False if there is none (§17.1.3).

        It is believed only on the flow that its request went out on: nobody else was asked.
        """
        client = self._clients.get(_client_key(response))
        if client is None or client.flow != flow:
            return False
        client.receive(response, now)
        return True

    def receive_request(self, request: Request, now: float) -> bool:
        """Hand a repeated request or an ACK to its transaction; False if it is new (§17.2.3)."""
        method = "INVITE" if request.method == "ACK" else request.method
        server = self._servers.get(_server_key(request, method))
        return server is not None and server.receive(request, now)

    def find_cancelled(self, cancel: Request) -> InviteServerTransaction | None:
        """Find the INVITE that a CANCEL is about (§9.2)."""
        server = self._servers.get(_server_key(cancel, "INVITE"))
        return server if isinstance(server, InviteServerTransaction) else None

    def is_merged(self, request: Request) -> bool:
        """Whether the same request is already here by another path (§8.2.2.2)."""
        return request.headers.to.tag is None and _identity(request) in self._identities

    def flow_closed(self, flow: int, now: float) -> None:
        """Fail at once what would otherwise wait for its timeout."""
        for client in [client for client in self._clients.values() if client.flow == flow]:
            client.fail(Failure(503, "connection lost"), now)
        for server in [server for server in self._servers.values() if server.flow == flow]:
            server.flow_lost()

    def handle_timer(self, now: float) -> None:
        while (due := self._agenda.take_due(now)) is not None:
            due.handle_timer(now)
            self._agenda.set(due, due.deadline)

    # --- what the machines say of themselves

    def _client_changed(self, client: AnyClient) -> None:
        self._agenda.set(client, client.deadline)
        if not client.waiting:
            self._waiting.discard(client)
        if client.state is State.TERMINATED:
            key = self._client_keys.pop(client, None)
            if key is not None and self._clients.get(key) is client:
                del self._clients[key]

    def _server_changed(self, server: AnyServer) -> None:
        self._agenda.set(server, server.deadline)
        if server.open:
            return
        self._close(server)
        if server.state is State.TERMINATED:
            self._remove(server)
        else:
            self._lingering[server] = None
            if len(self._lingering) > MAX_LINGERING:
                next(iter(self._lingering)).forget()

    def _close(self, server: AnyServer) -> None:
        of_flow = self._open.get(server.flow)
        if of_flow is not None and server in of_flow:
            self._open_count -= 1
            of_flow.remove(server)
            if not of_flow:
                del self._open[server.flow]

    def _remove(self, server: AnyServer) -> None:
        self._lingering.pop(server, None)
        keys = self._server_keys.pop(server, None)
        if keys is None:
            return  # it had said so before
        key, identity = keys
        if self._servers.get(key) is server:
            del self._servers[key]
        if self._identities.get(identity) is server:
            del self._identities[identity]


def _client_key(message: Request | Response) -> _Key:
    """§17.1.3; our branches are unique, but a CANCEL has that of its INVITE."""
    headers = message.headers
    return (headers.via.branch, headers.cseq.method)


def _server_key(request: Request, method: str) -> _Key:
    via = request.headers.via
    if via.branch.startswith(MAGIC_COOKIE):
        return (via.branch, via.host.lower(), via.port, method)
    # §17.2.3: an element of RFC 2543, whose branch is not unique.
    return (*_identity(request), str(request.uri), str(via), method)


def _identity(request: Request) -> _Key:
    headers = request.headers
    cseq = headers.cseq
    method = "INVITE" if cseq.method == "ACK" else cseq.method
    return (headers.call_id, headers.from_.tag, cseq.number, method)
