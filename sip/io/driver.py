"""The law of the sans-IO core in one place: after any input drain `poll()`, re-read `deadline()`.

A driver owns a user agent and its connections: at most one of our own at a time, and those that the
peer opened to our listener. Everything that moves the agent (a message, a timer, a flow made or
lost, a verb of the user) ends in `pump`, which writes what is to be written, hands events on, and
arms one timer for the next deadline.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from sip.agent import UserAgent
from sip.events import Event, FlowFailed, KeepAlive, Output, Send
from sip.framing import Malformed
from sip.io.flow import Connection
from sip.message import Message

logger = logging.getLogger(__name__)

ROUNDS_LIMIT = (
    1000  # a listener that answers each event with a new one is a bug, not a reason to hang
)


class Driver:
    """Runs one user agent on the event loop.

    Args:
        agent: the core.
        listener: gets every event but `Send` and `FlowFailed`, in order; may use the agent's verbs
            and `pump`.
        on_made: called when a connection stands and the agent knows of it.
        on_lost: called when it is gone and the agent knows of it.
        on_failed: called when the agent found it dead, before it is lost.

    Attributes:
        connection: the live one of our own, if any.
        sent_by: host and port where we listen for this trunk, which Via and Contact name then; a
            host of None is that of the connection.
        idle: set while no request of ours waits for its answer.
    """

    def __init__(
        self,
        *,
        agent: UserAgent,
        listener: Callable[[Event], None],
        on_made: Callable[[Connection], None] = lambda connection: None,
        on_lost: Callable[[Connection, str], None] = lambda connection, reason: None,
        on_failed: Callable[[Connection], None] = lambda connection: None,
    ) -> None:
        self.agent = agent
        self.connection: Connection | None = None
        self.sent_by: tuple[str | None, int] | None = None
        self.idle = asyncio.Event()
        self._connections: dict[int, Connection] = {}
        self._listener = listener
        self._on_made = on_made
        self._on_lost = on_lost
        self._on_failed = on_failed
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for: float | None = None
        self._pumping = False

    @property
    def connections(self) -> list[Connection]:
        """All that are live."""
        return list(self._connections.values())

    def now(self) -> float:
        """The clock of the agent: the loop's."""
        return asyncio.get_running_loop().time()

    def stop(self) -> None:
        """Disarm the timer."""
        self._arm(None)

    def pump(self) -> None:
        """Carry out what the agent wants done; called after every verb on it or on its sessions."""
        if self._pumping:
            return  # the outer call goes on until nothing is left
        self._pumping = True
        try:
            for _ in range(ROUNDS_LIMIT):
                outputs = self.agent.poll()
                if not outputs:
                    break
                for output in outputs:
                    self._carry_out(output)
            else:
                logger.error("the user agent and its listener keep each other busy")
        finally:
            self._pumping = False
        if self.agent.busy:
            self.idle.clear()
        else:
            self.idle.set()
        self._arm(self.agent.deadline())

    # --- FlowListener

    def flow_made(self, connection: Connection) -> None:
        if not connection.inbound:
            if self.connection is not None:  # the owner opens one after the other
                connection.abort("another connection is open already")
                return
            self.connection = connection
        self._connections[connection.id] = connection
        flow = connection.flow()
        if self.sent_by is not None:
            host, port = self.sent_by
            flow = replace(flow, local_host=host or flow.local_host, local_port=port)
        self.agent.flow_opened(flow, self.now())
        self.pump()
        self._on_made(connection)

    def flow_heard(self, connection: Connection, message: Message | Malformed) -> None:
        if self._connections.get(connection.id) is not connection:
            return
        try:
            self.agent.receive(message, connection.id, self.now())
        except Exception:
            # The core must not raise for bytes of the peer; if it does, that is our bug in this one
            # message and no reason to lose the calls on the flow.
            logger.exception("the user agent failed on a message of flow %d", connection.id)
        self.pump()

    def flow_ponged(self, connection: Connection) -> None:
        if self._connections.get(connection.id) is connection:
            self.agent.pong(connection.id)
            self.pump()

    def flow_lost(self, connection: Connection, reason: str) -> None:
        if self._connections.get(connection.id) is not connection:
            return
        del self._connections[connection.id]
        if connection is self.connection:
            self.connection = None
        self.agent.flow_closed(connection.id, self.now())
        self.pump()
        self._on_lost(connection, reason)

    # ---

    def _carry_out(self, output: Output) -> None:
        match output:
            case Send(flow, message):
                if (connection := self._connections.get(flow)) is not None:
                    connection.send(message)
            case KeepAlive(flow):
                if (connection := self._connections.get(flow)) is not None:
                    connection.ping()
            case FlowFailed(flow, reason):
                if (connection := self._connections.get(flow)) is not None:
                    self._on_failed(connection)
                    connection.abort(reason)
            case event:
                try:
                    self._listener(event)
                except Exception:
                    # One event that its hearer cannot take must not cost the others theirs.
                    logger.exception("the listener failed on %s", type(event).__name__)

    def _arm(self, deadline: float | None) -> None:
        """See that the timer fires at `deadline`, or before: most deadlines only move away."""
        if deadline is not None and self._armed_for is not None and self._armed_for <= deadline:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._armed_for = deadline
        if deadline is not None:
            self._timer = asyncio.get_running_loop().call_at(deadline, self._fire, deadline)

    def _fire(self, armed_for: float) -> None:
        self._timer = None
        self._armed_for = None
        # The loop fires up to its clock's resolution early: never tell the agent a time before the
        # deadline that it asked for, or it would ask again and again.
        now = max(self.now(), armed_for)
        deadline = self.agent.deadline()
        if deadline is not None and deadline <= now:
            self.agent.handle_timer(now)
        self.pump()
