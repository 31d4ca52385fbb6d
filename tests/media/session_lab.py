"""A media session between a browser and a PBX, in virtual time over a wire of ours."""

import heapq
import os
from typing import TypeVar

import pytest

from media.dtls import Certificate
from media.ground import Ground
from media.ice.events import Transmit
from media.plane import (
    AnswerReady,
    MediaEvent,
    OfferReady,
    SessionSettings,
    Side,
)
from media.session import Session
from media.sound import Sound
from media.webrtc import LocalSocket
from tests.media.party import FRAME, Browser, Pbx, Voice

BRIDGE, BROWSER, PBX = "10.0.0.1", ("10.0.0.2", 50000), ("10.0.0.3", 20000)
CERTIFICATE = Certificate.generate()
LATENCY = 0.002
T = TypeVar("T")


class Lab:
    """The session, both parties, and the wire between them."""

    def __init__(
        self,
        settings: SessionSettings | None = None,
        *,
        servers: bool = False,
        sounds: dict[str, Sound] | None = None,
    ) -> None:
        self.now = 1000.0
        self.settings = settings or SessionSettings()
        self.events: list[MediaEvent] = []
        self.cut_off: set[str] = set()  # hosts that nothing reaches or leaves
        self.cut: set[tuple[str, str]] = set()  # from one host to another nothing passes
        self.browser_at = {0: BROWSER}  # by the browser's number for its socket
        self.bridge_at = {0: (BRIDGE, 40000), 1: (BRIDGE, 40001), 2: (BRIDGE, 40002)}  # likewise
        self._next_address: tuple[str, int] | None = None
        self.reports_every: float | None = None  # seconds between the parties' RTCP
        self._report_at = 0.0
        self.spoken = {"browser": True, "pbx": True}
        self._wire: list[tuple[float, int, tuple[str, int], tuple[str, int], bytes]] = []
        self._count = 0
        self.pbx = Pbx(address=PBX)
        self.browser = Browser(offers=True, address=BROWSER, now=self.now)
        self.voices: dict[str, Voice] = {}
        self.session = Session(
            settings=self.settings,
            ground=Ground(
                webrtc=(LocalSocket(2, BRIDGE, 40002),),
                rtp=LocalSocket(0, BRIDGE, 40000),
                rtcp=LocalSocket(1, BRIDGE, 40001),
                address=BRIDGE,
                certificate=CERTIFICATE,
                sounds=sounds or {},
            ),
            random=os.urandom,
            now=self.now,
            servers_follow=servers,
        )

    # --- calls

    def call_out(self) -> None:
        """The browser calls, the PBX answers at once."""
        self.session.offer(Side.WEBRTC, self.browser.offer(), self.now)
        self.session.answer(Side.SDES, self.pbx.answer(self.offer(Side.SDES)), self.now)
        self.browser.accept(self.answer(Side.WEBRTC), self.now)
        self.pump()

    def call_in(self) -> None:
        """The PBX calls, the browser answers at once."""
        self._make_callee()
        self.session.offer(Side.SDES, self.pbx.offer(), self.now)
        answer = self.browser.answer(self.offer(Side.WEBRTC), self.now)
        self.session.answer(Side.WEBRTC, answer, self.now)
        self.pbx.accept(self.answer(Side.SDES))
        self.pump()

    def call_in_without_offer(self) -> None:
        """The PBX calls and wants our offer, the browser answers at once, then the PBX."""
        self.ask()
        self.session.answer(Side.SDES, self.pbx.answer(self.offer(Side.SDES)), self.now)
        self.pump()

    def ask(self) -> None:
        """The same until our offer is out."""
        self._make_callee()
        self.session.ask(Side.SDES, self.now)
        answer = self.browser.answer(self.offer(Side.WEBRTC), self.now)
        self.session.answer(Side.WEBRTC, answer, self.now)

    def _make_callee(self) -> None:
        formats = self.browser.formats
        self.browser = Browser(offers=False, address=BROWSER, now=self.now)
        self.browser.formats = formats

    def talk(self, seconds: float, browser: str = "opus", pbx: str = "pcmu") -> None:
        """Both speak for a while."""
        numbers = {"opus": 111, "pcmu": 0, "pcma": 8, "g722": 9}
        self.voices.setdefault("browser", Voice(browser, numbers[browser], 600.0))
        self.voices.setdefault("pbx", Voice(pbx, numbers[pbx], 1000.0))
        end = self.now + seconds
        while self.now < end:
            if self.spoken["browser"]:
                for said in self.browser.say(self.voices["browser"].next(), self.now):
                    self.put([said], self.browser_at[said.socket])
            if self.spoken["pbx"]:
                self.put(self.pbx.say(self.voices["pbx"].next()), PBX)
            if self.reports_every is not None and self.now >= self._report_at:
                self._report_at = self.now + self.reports_every
                for said in self.browser.say_rtcp(self.browser.ear.report(), self.now):
                    self.put([said], self.browser_at[said.socket])
                self.put(self.pbx.say_rtcp(self.pbx.ear.report()), (PBX[0], PBX[1] + 1))
            self.run(FRAME)

    def move_bridge(self, address: str) -> None:
        """Our machine has this address instead of the one before. The trunk's sockets are bound to
        none, so they send from it."""
        old = self.bridge_at[0][0]
        self.cut_off.add(old)
        number = max(self.bridge_at) + 1
        self.bridge_at = {
            0: (address, 40000),
            1: (address, 40001),
            number: (address, 40000 + number),
        }
        socket = LocalSocket(number, *self.bridge_at[number])
        self.session.move((socket,), address, self.now)

    def move_browser(self, address: tuple[str, int]) -> None:
        """The browser loses its network and has another one, which it uses when it restarts ICE."""
        self.cut_off |= {at[0] for at in self.browser_at.values()}
        self._next_address = address

    def restart_browser(self) -> None:
        """The browser gathers anew after new credentials, its own or ours."""
        if self._next_address is not None:
            number = len(self.browser_at)
            self.browser_at[number] = self._next_address
            self.browser.end._agent.add_socket(number, *self._next_address)
            self._next_address = None

    # --- the wire

    def put(self, transmits: list[Transmit], source: tuple[str, int]) -> None:
        for transmit in transmits:
            self._count += 1
            at = self.now + LATENCY
            entry = (at, self._count, source, transmit.destination, transmit.data)
            way = source[0], transmit.destination[0]
            if way not in self.cut and not set(way) & self.cut_off:
                heapq.heappush(self._wire, entry)

    def pump(self) -> None:
        """Carry what the parties put out onto the wire."""
        for output in self.session.poll():
            if isinstance(output, Transmit):
                self.put([output], self.bridge_at[output.socket])
            else:
                assert not isinstance(output, Transmit)
                self.events.append(output)  # type: ignore[arg-type]  # no streams without TURN
        for sent in self.browser.poll():
            self.put([sent], self.browser_at[sent.socket])

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            self.pump()
            times = [self.session.deadline(), self.browser.end.deadline()]
            times.append(self._wire[0][0] if self._wire else None)
            due = min((t for t in times if t is not None), default=float("inf"))
            if due > end:
                break
            self.now = max(self.now, due)
            while self._wire and self._wire[0][0] <= self.now:
                _, _, source, destination, data = heapq.heappop(self._wire)
                self._deliver(source, destination, data)
            if (deadline := self.session.deadline()) is not None and deadline <= self.now:
                self.session.handle_timer(self.now)
            if (deadline := self.browser.end.deadline()) is not None and deadline <= self.now:
                self.browser.end.handle_timer(self.now)
        self.now = end

    def _deliver(self, source: tuple[str, int], to: tuple[str, int], data: bytes) -> None:
        if to in self.bridge_at.values():
            socket = next(n for n, at in self.bridge_at.items() if at == to)
            self.session.receive(data, source, socket, self.now)
        elif to in self.browser_at.values():
            number = next(n for n, at in self.browser_at.items() if at == to)
            self.browser.receive(data, source, self.now, socket=number)
        elif to[0] == PBX[0]:
            self.pbx.receive(data)

    # --- what was said

    def offer(self, side: Side) -> str:
        """Our latest."""
        self.pump()
        offer = [e for e in self.events if isinstance(e, OfferReady)][-1]
        assert offer.side is side
        return offer.sdp

    def answers(self, side: Side) -> list[AnswerReady]:
        self.pump()
        return [e for e in self.events if isinstance(e, AnswerReady) and e.side is side]

    def answer(self, side: Side) -> str:
        (answer,) = self.answers(side)
        return answer.sdp

    def of(self, kind: type[T]) -> list[T]:
        self.pump()
        return [e for e in self.events if isinstance(e, kind)]


def heard_tones(lab: Lab, browser: tuple[str, int], pbx: tuple[str, int]) -> None:
    """Each hears the other's tone, within 1 Hz and 3 dB."""
    assert lab.browser.ear.frequency(*browser) == pytest.approx(1000, abs=1)
    assert lab.pbx.ear.frequency(*pbx) == pytest.approx(600, abs=1)
    assert lab.browser.ear.level_db(*browser) == pytest.approx(0, abs=3)
    assert lab.pbx.ear.level_db(*pbx) == pytest.approx(0, abs=3)
