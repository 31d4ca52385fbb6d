"""A call between a browser, made of parts, and a PBX, through a whole media plane: what the bridge
does for one, in a few lines.
"""

import asyncio
import socket
import time
from contextlib import suppress
from typing import TypeVar

from media.dtmf import DIGITS, DigitReceiver, Released
from media.local import LocalPlane
from media.order import Order, TakeDigit
from media.plane import AnswerReady, Connected, Digit, MediaEvent, OfferReady, SessionSettings, Side
from sip.events import (
    Body,
    DigitReceived,
    SessionAnswered,
    SessionConfirmed,
    SessionOffered,
    SessionReanswered,
)
from sip.session import Session
from tests.interop.phone import Phone
from tests.lab.ports import HOST
from tests.lab.process import eventually
from tests.media.party import FRAME, Browser, Voice

T = TypeVar("T")

VOICE = 300.0  # Hz
SDP = "application/sdp"
OPUS = 111
EVENTS = 110  # the browser's payload type of telephone-events


class Call:
    """See the module's head.

    Args:
        by_info: digits of the browser leave as SIP INFO.

    Attributes:
        digits: those of the PBX, however it said them.
        ear: of the browser.
        media: what the plane said.
        offers: the PBX's within the call.
    """

    def __init__(self, plane: LocalPlane, phone: Phone, *, by_info: bool = False) -> None:
        self.digits = ""
        self.media: list[MediaEvent] = []
        self.offers: list[str] = []
        self._phone, self._by_info = phone, by_info
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((HOST, 0))
        self._socket.setblocking(False)
        self._browser = Browser(
            offers=True, address=self._socket.getsockname(), now=time.monotonic()
        )
        self.ear = self._browser.ear
        self._voice = Voice("opus", OPUS, VOICE)
        settings = SessionSettings(codecs=("pcmu",), digits_in_media=not by_info)
        self._plane_session = plane.open(settings, self._hear)
        self._session: Session | None = None
        self._asked = False  # for our offer, which is answered in the ACK
        self._said = phone.mark
        self._task: asyncio.Task[None] | None = None

    def _hear(self, event: MediaEvent) -> None:
        self.media.append(event)
        if isinstance(event, Digit) and event.side is Side.SDES:
            self.digits += event.digit
        elif isinstance(event, Digit) and self._by_info and self._session is not None:
            self._phone.do(self._session.send_digit, event.digit, event.duration_ms)
        elif isinstance(event, AnswerReady | OfferReady) and event.side is Side.SDES:
            self._describe(event)
        elif isinstance(event, OfferReady):
            answer = self._browser.answer(event.sdp, time.monotonic())
            self._plane_session.answer(Side.WEBRTC, answer)

    def _describe(self, event: AnswerReady | OfferReady) -> None:
        """Our description within the call: an answer, or an offer that the PBX asked for or not."""
        session, body = self._session, Body(SDP, event.sdp.encode())
        if session is None:
            return  # the first one, which `dial` waits for
        if isinstance(event, AnswerReady) or self._asked:
            self._asked = False
            self._phone.do(session.accept_offer, body)
        else:
            self._phone.do(session.reoffer, body)

    async def until(self, kind: type[T]) -> T:
        """The first event of a kind."""

        def found() -> list[T]:
            return [event for event in self.media if isinstance(event, kind)]

        return (await eventually(found, every=0.01, what=kind.__name__))[0]

    def move(self, address: str) -> None:
        """Our machine has this address instead of the one before."""
        self._plane_session.move((address,), address)

    def perform(self, order: Order) -> None:
        self._plane_session.perform(order)

    async def dial(self, user: str) -> None:
        self._plane_session.offer(Side.WEBRTC, self._browser.offer())
        offer = await self.until(OfferReady)
        session = self._phone.dial(user, Body(SDP, offer.sdp.encode()))
        answered = await self._phone.expect(SessionAnswered, lambda e: e.session is session)
        assert answered.answer is not None
        self._session = session
        self._plane_session.answer(Side.SDES, answered.answer.data.decode())
        answer = await self.until(AnswerReady)
        self._browser.accept(answer.sdp, time.monotonic())
        self._task = asyncio.create_task(self._live())
        await self.until(Connected)

    async def _live(self) -> None:
        """Speak, hear, and take digits from INFO, every 20 ms."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            now = time.monotonic()
            with suppress(BlockingIOError):
                while True:
                    data, source = self._socket.recvfrom(2048)
                    self._browser.receive(data, source, now)
            self._browser.end.handle_timer(now)
            self._say(self._voice.next())
            self._follow()
            due += FRAME
            await asyncio.sleep(max(0.0, due - loop.time()))

    def _follow(self) -> None:
        """Hand on what the PBX said since the last time."""
        for event in self._phone.events[self._said :]:
            if getattr(event, "session", None) is not self._session:
                continue
            match event:
                case DigitReceived(digit=digit, duration_ms=duration):
                    self._plane_session.perform(TakeDigit(Side.SDES, digit, duration))
                case SessionOffered(offer=None):
                    self._asked = True
                    self._plane_session.ask(Side.SDES)
                case SessionOffered(offer=Body(data=data)):
                    self.offers.append(data.decode())
                    self._plane_session.offer(Side.SDES, data.decode())
                case (
                    SessionConfirmed(body=Body(data=data))
                    | SessionReanswered(answer=Body(data=data))
                ):
                    self._plane_session.answer(Side.SDES, data.decode())
        self._said = self._phone.mark

    async def hears(self, frequency: float, *, within: float = 5.0) -> None:
        """Wait until the browser hears nothing but this tone for half a second."""

        def is_heard() -> bool:
            enough = len(self.ear.of(OPUS)) >= 30
            return enough and abs(self.ear.frequency("opus", OPUS) - frequency) < 2

        self.ear.packets.clear()
        await eventually(is_heard, within=within, every=0.1, what=f"{frequency:.0f} Hz")

    def _say(self, packet: bytes) -> None:
        for sent in [*self._browser.say(packet, time.monotonic()), *self._browser.poll()]:
            self._socket.sendto(sent.data, sent.destination)

    def press(self, digit: str) -> None:
        for packet in self._voice.digit(EVENTS, DIGITS.index(digit), 4800):
            self._say(packet)

    @property
    def heard(self) -> str:
        """Digits that came to the browser."""
        receiver = DigitReceiver()
        told = [
            event
            for i, packet in enumerate(self._browser.ear.of(EVENTS))
            for event in receiver.receive(packet, 48000, i * FRAME)
        ]
        return "".join(event.digit for event in told if isinstance(event, Released))

    async def hang_up(self) -> None:
        if self._session is not None:
            await self._phone.hang_up(self._session)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._plane_session.close()
        self._socket.close()
