"""The user agent. Work in progress: the signatures stand."""

from collections.abc import Iterable

from sip.core import Flow, Ids
from sip.events import Body, Output
from sip.framing import Malformed
from sip.message import Message
from sip.session import Session
from sip.trunk import Trunk
from sip.uri import NameAddr, Uri

__all__ = ["Flow", "Ids", "UserAgent"]


class UserAgent:
    """One account's user agent."""

    def __init__(self, trunk: Trunk, *, ids: Ids, product: str = "Ringback") -> None:
        self.sessions: list[Session] = []
        self.registered = False
        self.busy = False  # whether requests of ours still wait for their answers

    def flow_opened(self, flow: Flow, now: float) -> None: ...
    def flow_closed(self, flow_id: int, now: float) -> None: ...
    def receive(self, message: Message | Malformed, flow_id: int, now: float) -> None: ...
    def handle_timer(self, now: float) -> None: ...
    def poll(self) -> list[Output]:
        return []

    def deadline(self) -> float | None:
        return None

    def invite(
        self,
        target: Uri,
        offer: Body,
        *,
        now: float,
        caller: NameAddr | None = None,
        headers: Iterable[tuple[str, str]] = (),
    ) -> Session:
        raise NotImplementedError

    def send_message(
        self,
        target: Uri,
        body: Body,
        *,
        now: float,
        sender: NameAddr | None = None,
        key: str | None = None,
    ) -> str:
        raise NotImplementedError

    def answer_message(self, id: str, status: int, *, now: float) -> None: ...
    def unregister(self, *, now: float) -> None: ...
    def ping(self, *, now: float) -> None: ...
