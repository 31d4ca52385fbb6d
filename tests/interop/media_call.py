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
from sip.events import Body, DigitReceived, SessionAnswered
from sip.session import Session
from tests.interop.phone import Phone
from tests.lab.ports import HOST
from tests.lab.process import eventually
from tests.media.party import FRAME, Browser, Voice

T = TypeVar("T")

EVENTS = 110  # the browser's payload type of telephone-events


class Call:
    """See the module's head.

    Args:
        by_info: digits of the browser leave as SIP INFO.

    Attributes:
        digits: those of the PBX, however it said them.
    """

    def __init__(self, plane: LocalPlane, phone: Phone, *, by_info: bool = False) -> None:
        self.digits = ""
        self._phone, self._by_info = phone, by_info
        self._events: list[MediaEvent] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((HOST, 0))
        self._socket.setblocking(False)
        self._browser = Browser(
            offers=True, address=self._socket.getsockname(), now=time.monotonic()
        )
        self._voice = Voice("opus", 111, 300.0)
        settings = SessionSettings(codecs=("pcmu",), digits_in_media=not by_info)
        self._media = plane.open(settings, self._hear)
        self._session: Session | None = None
        self._said = phone.mark
        self._task: asyncio.Task[None] | None = None

    def _hear(self, event: MediaEvent) -> None:
        self._events.append(event)
        if isinstance(event, Digit) and event.side is Side.SDES:
            self.digits += event.digit
        elif isinstance(event, Digit) and self._by_info and self._session is not None:
            self._phone.do(self._session.send_digit, event.digit, event.duration_ms)

    async def until(self, kind: type[T]) -> T:
        """The first event of a kind."""

        def found() -> list[T]:
            return [event for event in self._events if isinstance(event, kind)]

        return (await eventually(found, within=10, every=0.01, what=kind.__name__))[0]

    def perform(self, order: Order) -> None:
        self._media.perform(order)

    async def dial(self, user: str) -> None:
        self._media.offer(Side.WEBRTC, self._browser.offer())
        offer = await self.until(OfferReady)
        session = self._phone.dial(user, Body("application/sdp", offer.sdp.encode()))
        answered = await self._phone.expect(SessionAnswered, lambda e: e.session is session)
        assert answered.answer is not None
        self._session = session
        self._media.answer(Side.SDES, answered.answer.data.decode())
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
            for info in self._phone.all(DigitReceived, since=self._said):
                order = TakeDigit(Side.SDES, info.digit, info.duration_ms)
                self._media.perform(order)
            self._said = self._phone.mark
            due += FRAME
            await asyncio.sleep(max(0.0, due - loop.time()))

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
        self._media.close()
        self._socket.close()
