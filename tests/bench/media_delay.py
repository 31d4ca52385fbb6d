"""What the media path adds to the way of a sound, in one direction, on a quiet line.

One call through a real worker process over loopback: a browser's end (ICE, DTLS-SRTP, Opus) and a
PBX's end (SDES-SRTP). Each says a short tone twice a second. A tone's first sample left its end at
some moment, counted from the packet that carried it, and reached the other at another; the
difference is what we added: jitter buffer, codecs' look-ahead, the wait for the next 20 ms tick,
and the machine. A relay adds well under a millisecond by this measure beside the codec's
look-ahead, so it is not the packets' own length that is seen.
"""

import asyncio
import selectors
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from media import codec
from media.local import LocalPlane
from media.plane import (
    AnswerReady,
    Connected,
    MediaEvent,
    OfferReady,
    SessionSettings,
    Side,
)
from media.rtp import build
from tests.bench.distribution import Distribution
from tests.lab.ports import HOST, Ports
from tests.media import sound
from tests.media.party import CLOCKS, FRAME, RATES, Browser, Pbx

PERIOD = 25  # frames from one tone to the next
TONE = 5  # frames that it lasts
LOUD = 0.2  # of the tone's amplitude: here it begins
LEVEL = 10_000.0
CASES = (("opus", "96 opus/48000/2"), ("g722", "9 G722/8000"), ("pcmu", "0 PCMU/8000"))
Send = Callable[[bytes], None]


@dataclass
class Beeper:
    """Says a tone every so often and remembers when each began."""

    name: str
    payload_type: int
    began: list[float] = field(default_factory=list)
    count: int = 0

    def __post_init__(self) -> None:
        rate = RATES[self.name]
        silence = bytes(2 * int(rate * FRAME))
        tone = sound.frames(sound.tone(1000.0, rate, TONE * FRAME, LEVEL), rate)
        self._frames = [*tone, *[silence] * (PERIOD - TONE)]
        self._encoder = codec.encoder(self.name, rate, {})

    def packet(self, now: float) -> bytes:
        """The next one, sent at `now`."""
        place = self.count % PERIOD
        if place == 0:
            self.began.append(now)
        payload = self._encoder.encode(self._frames[place])
        clock = int(CLOCKS[self.name] * FRAME)
        packet = build(
            self.payload_type, self.count & 0xFFFF, self.count * clock, 7, payload, place == 0
        )
        self.count += 1
        return packet


@dataclass
class Listener:
    """When each packet came, and what it held."""

    name: str
    arrivals: list[tuple[float, bytes]] = field(default_factory=list)

    def began(self) -> list[float]:
        """The moment at which the first sample of each tone was there."""
        rate = RATES[self.name]
        decoder = codec.decoder(self.name, rate)
        moments, quiet_until = [], 0.0
        for at, payload in self.arrivals:
            samples = np.abs(sound.samples(decoder.decode(payload)))
            loud = np.flatnonzero(samples > LOUD * LEVEL)
            if len(loud) and at > quiet_until:
                moments.append(at + float(loud[0]) / rate)
                quiet_until = at + TONE * FRAME + 0.1
        return moments


async def measure(*, seconds: float, say: Callable[[str], None]) -> list[Distribution]:
    """Both directions of each case."""
    found = []
    ports = Ports().pick_range(40)
    for name, text in CASES:
        plane = LocalPlane(listen=(HOST,), ports=(ports[0], ports[-1]), workers=1)
        await plane.start()
        try:
            there, back = await one_call(plane, name, text, seconds)
        finally:
            await plane.stop()
        say(f"Opus ↔ {name} done")
        found.append(Distribution(f"added, Opus → {name}", tuple(there), 50))
        found.append(Distribution(f"added, {name} → Opus", tuple(back), 50))
    return found


async def one_call(
    plane: LocalPlane, name: str, text: str, seconds: float
) -> tuple[list[float], list[float]]:
    """Milliseconds for each tone from the browser to the PBX, and back."""
    events: asyncio.Queue[MediaEvent] = asyncio.Queue(100)
    session = plane.open(SessionSettings(), events.put_nowait)
    sockets = [bound(), bound()]
    browser = Browser(offers=True, address=sockets[0].getsockname(), now=time.monotonic())
    pbx = Pbx(address=sockets[1].getsockname())
    pbx.formats = (text,)

    async def until(kind: type[MediaEvent]) -> MediaEvent:
        async with asyncio.timeout(15):
            while not isinstance(event := await events.get(), kind):
                pass
        return event

    session.offer(Side.WEBRTC, browser.offer())
    offer = await until(OfferReady)
    assert isinstance(offer, OfferReady)
    session.answer(Side.SDES, pbx.answer(offer.sdp))
    answer = await until(AnswerReady)
    assert isinstance(answer, AnswerReady)
    browser.accept(answer.sdp, time.monotonic())
    payload_type = int(pbx.formats[0].split()[0])
    parties = Parties(browser, pbx, sockets, Beeper("opus", 111), Beeper(name, payload_type))
    thread = threading.Thread(target=parties.run, daemon=True)
    thread.start()
    await until(Connected)
    await asyncio.sleep(seconds)
    parties.ended.set()
    thread.join(5)
    session.close()
    for one in sockets:
        one.close()
    return (
        delays(parties.browser_says.began, parties.at_pbx(name).began()),
        delays(parties.pbx_says.began, parties.at_browser().began()),
    )


def delays(sent: list[float], heard: list[float]) -> list[float]:
    """Milliseconds from each tone sent to the next one heard; the first second is settling."""
    found = []
    for moment in sent[2:]:
        later = [at for at in heard if moment <= at < moment + PERIOD * FRAME]
        if later:
            found.append((later[0] - moment) * 1000)
    return found


@dataclass
class Parties:
    """Both ends in one thread that does nothing else, so that its own stamps can be believed."""

    browser: Browser
    pbx: Pbx
    sockets: list[socket.socket]
    browser_says: Beeper
    pbx_says: Beeper
    ended: threading.Event = field(default_factory=threading.Event)
    stamps: list[list[float]] = field(default_factory=lambda: [[], []])

    def run(self) -> None:
        with selectors.DefaultSelector() as selector:
            for index, one in enumerate(self.sockets):
                selector.register(one, selectors.EVENT_READ, index)
            due = time.monotonic()
            turn = 0
            while not self.ended.is_set():
                now = time.monotonic()
                if now >= due:
                    self._speak(turn % 2, now)
                    turn += 1
                    due += FRAME / 2
                for key, _ in selector.select(max(0.0, due - time.monotonic())):
                    self._hear(int(key.data))
                self.browser.end.handle_timer(time.monotonic())
                self._flush()

    def _speak(self, turn: int, now: float) -> None:
        """The two ends half a frame apart, as nothing keeps them together in life."""
        if turn == 0:
            for out in self.browser.say(self.browser_says.packet(now), now):
                self.sockets[0].sendto(out.data, out.destination)
        else:
            for out in self.pbx.say(self.pbx_says.packet(now)):
                self.sockets[1].sendto(out.data, out.destination)

    def _hear(self, index: int) -> None:
        data, source = self.sockets[index].recvfrom(2048)
        now = time.monotonic()
        ear = (self.browser, self.pbx)[index].ear
        before = len(ear.packets)
        if index == 0:
            self.browser.receive(data, source, now)
            self._flush()
        else:
            self.pbx.receive(data)
        if len(ear.packets) > before:
            self.stamps[index].append(now)

    def _flush(self) -> None:
        for out in self.browser.poll():
            self.sockets[0].sendto(out.data, out.destination)

    def at_browser(self) -> Listener:
        return self._listener(0, "opus")

    def at_pbx(self, name: str) -> Listener:
        return self._listener(1, name)

    def _listener(self, index: int, name: str) -> Listener:
        packets = (self.browser, self.pbx)[index].ear.packets
        stamped = zip(self.stamps[index], packets, strict=True)
        return Listener(name, [(at, packet.payload) for at, packet in stamped])


def bound() -> socket.socket:
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind((HOST, 0))
    return one
