"""What Chromium makes of what we say: `python -m tests.bench.quality.chromium`, a minute.

Debian's Chromium speaks Opus to an end of ours, once for each thing that our descriptions and
reports may say of the far end. What it sends is read from the packets: the band and the length of a
packet stand in the first byte of Opus (RFC 6716 §3.1), whether there is a copy of the packet before
in the second (§4.2.4). `docs/media.md` holds a run.
"""

import asyncio
import contextlib
import shutil
import socket
import tempfile
import time
import wave
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import click
from playwright.async_api import Page, Route, async_playwright

from media.rtcp import ReceiverReport, ReportBlock, SourceDescription
from tests.bench.quality.speech import TALKERS, say
from tests.lab.browser import FLAGS, NO_FEATURES, NO_NAMES, ORIGIN
from tests.media.party import Browser as End

SETTLING = 4.0  # seconds: it takes two reports until Chromium believes in a loss
LISTENING = 6.0
REPORT_EVERY = 1.0
OFFER = """async () => {
  const pc = window.pc = new RTCPeerConnection();
  const mic = await navigator.mediaDevices.getUserMedia({ audio: true });
  pc.addTrack(mic.getAudioTracks()[0], mic);
  await pc.setLocalDescription();
  while (pc.iceGatheringState !== "complete") await new Promise((r) => setTimeout(r, 20));
  return pc.localDescription.sdp;
}"""
ANSWER = "(sdp) => window.pc.setRemoteDescription({ type: 'answer', sdp })"
NARROW = ";maxplaybackrate=8000;maxaveragebitrate=40000"


@dataclass(frozen=True, slots=True)
class Said:
    """What the far end of Chromium says of itself.

    Attributes:
        more: behind `minptime=10`, of a=fmtp.
        lines: more lines of the description.
        loss: share that its reports call lost.
    """

    title: str
    more: str = ";useinbandfec=1"
    lines: tuple[str, ...] = ()
    loss: float = 0.0


WISHES = (
    Said("nothing but that it understands copies"),
    Said("the same, 5 % lost", loss=0.05),
    Said("no copies wanted, 5 % lost", more="", loss=0.05),
    Said("phone at 8 kHz, 40,000 bit/s", more=";useinbandfec=1" + NARROW),
    Said("the same, 5 % lost", more=";useinbandfec=1" + NARROW, loss=0.05),
    Said("phone at 8 kHz, no bitrate", more=";useinbandfec=1;maxplaybackrate=8000"),
    Said(
        "phone at 8 kHz, thin: 18,000 bit/s, packets of 60 ms, 5 % lost",
        more=";useinbandfec=1;maxplaybackrate=8000;maxaveragebitrate=18000",
        lines=("a=ptime:60", "a=maxptime:60"),
        loss=0.05,
    ),
)


async def _run(end: End, wire: socket.socket, seconds: float, loss: float) -> None:
    """Keep the call up, and report."""
    start = reported = time.monotonic()
    while (now := time.monotonic()) < start + seconds:
        with contextlib.suppress(BlockingIOError):
            while True:
                data, source = wire.recvfrom(2048)
                end.receive(data, source, now)
        deadline = end.end.deadline()
        if deadline is not None and deadline <= now:
            end.end.handle_timer(now)
        transmits = end.poll()
        if now >= reported + REPORT_EVERY and end.ear.packets:
            reported = now
            transmits += end.say_rtcp(_report(end, loss), now)
        for transmit in transmits:
            wire.sendto(transmit.data, transmit.destination)
        await asyncio.sleep(0.01)


def _report(end: End, loss: float) -> bytes:
    last = end.ear.packets[-1]
    block = ReportBlock(last.ssrc, round(loss * 256), 0, last.sequence, 0, 0, 0)
    return bytes(ReceiverReport(77, (block,))) + bytes(SourceDescription(77, "end"))


async def _listen(page: Page, said: Said) -> list[bytes]:
    """The payloads of some seconds."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        wire.setblocking(False)
        wire.bind(("127.0.0.1", 0))
        now = time.monotonic()
        end = End(offers=False, address=wire.getsockname(), now=now)
        end.formats = ("111 opus/48000/2",)
        end.parameters = (f"111 minptime=10{said.more}",)
        answer = end.answer(await page.evaluate(OFFER), now)
        answer += "".join(f"{line}\r\n" for line in said.lines)
        await page.evaluate(ANSWER, answer)
        await _run(end, wire, SETTLING, said.loss)
        before = len(end.ear.of(111))
        await _run(end, wire, LISTENING, said.loss)
        return [packet.payload for packet in end.ear.of(111)[before:]]


def _band(payload: bytes) -> str:
    config = payload[0] >> 3
    if config < 12:
        return ("4 kHz", "6 kHz", "8 kHz")[config // 4]
    if config < 16:
        return "12 kHz" if config < 14 else "20 kHz"
    return ("4 kHz", "8 kHz", "12 kHz", "20 kHz")[config % 16 // 4]


def _frame_ms(payload: bytes) -> float:
    config = payload[0] >> 3
    if config < 12:
        return (10, 20, 40, 60)[config % 4]
    return (10, 20)[config % 2] if config < 16 else (2.5, 5, 10, 20)[config % 4]


def _frames(payload: bytes) -> tuple[int, int]:
    """How many frames are in a packet, and where the first one begins (§3.2)."""
    code = payload[0] & 3
    if code < 2:
        return 1 + code, 1
    count = 2 if code == 2 else payload[1] & 0x3F
    at = 1 if code == 2 else 2
    if code == 3 and payload[1] & 0x40:  # padding
        at += 1
    if code == 2 or payload[1] & 0x80:  # each frame but the last says how long it is
        for _ in range(count - 1):
            at += 1 if payload[at] < 252 else 2
    return count, at


def _packet_ms(payload: bytes) -> float:
    return _frames(payload)[0] * _frame_ms(payload)


def _has_copy(payload: bytes) -> bool:
    _, first = _frames(payload)
    if payload[0] >> 3 >= 16 or len(payload) <= first:
        return False  # CELT has none
    speech = max(1, round(_frame_ms(payload) / 20))  # pieces of SILK in a frame
    return bool(payload[first] >> (7 - speech) & 1)


def _row(said: Said, payloads: list[bytes]) -> str:
    speech = [p for p in payloads if len(p) > 2]
    if not speech:
        return f"| {said.title} | nothing came |"
    bands = sorted({_band(p) for p in speech}, key=lambda b: -sum(_band(p) == b for p in speech))
    copies = sum(map(_has_copy, speech)) / len(speech)
    rate = 8 * sum(map(len, payloads)) / LISTENING
    length = median(map(_packet_ms, speech))
    return f"| {said.title} | {bands[0]} | {rate:,.0f} | {length:.0f} ms | {copies:.0%} |"


async def _main() -> None:
    program = shutil.which("chromium")
    if program is None:
        raise click.ClickException("chromium is missing. As root: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        voice = Path(folder) / "voice.wav"
        with wave.open(str(voice), "wb") as file:
            file.setparams((1, 2, 48000, 0, "NONE", ""))
            file.writeframes(say(TALKERS[0], 48000))
        flags = [f"--disable-features={NO_FEATURES}", f"--host-resolver-rules={NO_NAMES}"]
        flags.append(f"--use-file-for-fake-audio-capture={voice}")
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(
                executable_path=program, args=[*FLAGS, *flags]
            )
            click.echo(f"Chromium {browser.version}\n")
            click.echo("| its far end says | band | bit/s | packets | with a copy |")
            click.echo("| --- | --- | --- | --- | --- |")
            for said in WISHES:
                context = await browser.new_context(permissions=["microphone"])
                page = await context.new_page()
                await page.route(f"{ORIGIN}/**", _serve)
                await page.goto(f"{ORIGIN}/")
                click.echo(_row(said, await _listen(page, said)))
                await context.close()
            await browser.close()


async def _serve(route: Route) -> None:
    await route.fulfill(body="<!doctype html>", content_type="text/html")


if __name__ == "__main__":
    asyncio.run(_main())
