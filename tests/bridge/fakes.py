"""Stand-ins at the bridge's edges that obey the interfaces of the real ones and write down what
they were told: SIP sessions and trunks, the media plane, the homeserver."""

from collections.abc import Sequence
from typing import cast

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
from sip.events import Body, IncomingSession, Reason
from sip.session import Session
from sip.uri import NameAddr, Uri


class FakeSession:
    """A SIP session that writes down its verbs."""

    def __init__(self, id: str = "s1") -> None:
        self.id = id
        self.said: list[tuple[str, object]] = []

    def ring(self, *, now: float) -> None:
        self.said.append(("ring", None))

    def progress(self, body: Body, *, now: float) -> None:
        self.said.append(("progress", body.data.decode()))

    def answer(self, body: Body, *, now: float) -> None:
        self.said.append(("answer", body.data.decode()))

    def reject(self, status: int, *, now: float, reason: Reason | None = None) -> None:
        self.said.append(("reject", status))

    def hang_up(self, *, now: float, reason: Reason | None = None) -> None:
        self.said.append(("hang_up", reason.cause if reason else None))

    def reoffer(self, body: Body, *, now: float) -> None:
        self.said.append(("reoffer", body.data.decode()))

    def accept_offer(self, body: Body, *, now: float) -> None:
        self.said.append(("accept_offer", body.data.decode()))

    def reject_offer(self, status: int, *, now: float) -> None:
        self.said.append(("reject_offer", status))

    @property
    def real(self) -> Session:
        """Itself, for the events, which name the concrete class."""
        return cast(Session, self)


def sdp_body(text: str) -> Body:
    return Body("application/sdp", text.encode())


def incoming(
    session: FakeSession,
    *,
    called: str = "ringback",
    caller: str = "<sip:+493087654321@pbx.example.org>",
    asserted: str | None = None,
    offer: str | None = "sip-offer",
) -> IncomingSession:
    return IncomingSession(
        session=session.real,
        target=Uri.parse(f"sip:{called}@192.0.2.1"),
        to=NameAddr.parse(f"<sip:{called}@pbx.example.org>"),
        caller=NameAddr.parse(caller),
        asserted=NameAddr.parse(asserted) if asserted else None,
        offer=sdp_body(offer) if offer is not None else None,
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
        self._answered = True
        if not self.deaf:
            self.tell(AnswerReady(side.other, f"{sdp}'"))

    def add_candidates(self, side: Side, candidates: Sequence[IceCandidate]) -> None:
        self.said.append(("add_candidates", side))
        self.candidates.extend(candidates)

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

    async def start(self) -> None:
        self.running = True

    async def stop(self) -> None:
        self.running = False

    def open(self, settings: SessionSettings, listener: Listener) -> FakeMediaSession:
        session = FakeMediaSession(settings, listener)
        self.sessions.append(session)
        return session
