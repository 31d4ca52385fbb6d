"""Three media planes behind one interface: ours, rtpengine, and aiortc as a Python user joins it.

Each joins a browser (ICE, DTLS-SRTP) and a PBX (SDES-SRTP) on loopback. A call is opened with the
browser's offer; the engine's offer for the PBX is put to `answer`, and the engine's answer for the
browser is in `Opened`. Addresses and keys of both legs are in these descriptions.

Each engine runs in processes of its own, whose numbers are in `pids`, so that its CPU and memory
can be told from everybody else's.
"""

import asyncio
import json
import os
import random
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from media.local import LocalPlane, LocalSession
from media.plane import (
    AnswerReady,
    Closed,
    Connected,
    Failed,
    MediaEvent,
    OfferReady,
    Report,
    SessionSettings,
    Side,
)
from tests.bench.media.ng import Ng, NgError
from tests.lab.ports import HOST, Ports

MEDIA_PORTS = 1000
LIMIT = 15.0  # seconds for whatever an engine is asked
AIORTC = Path(__file__).with_name("aiortc_plane.py")

Answer = Callable[[str], Awaitable[str]]
"""The PBX: takes an offer, gives its answer."""


class EngineError(Exception):
    """An engine cannot be had, or does not do what it is asked."""


@dataclass
class Opened:
    """A call that an engine holds.

    Attributes:
        sdp: the answer for the browser.
        close: ends the call; what the engine says of it, if it is ours.
    """

    sdp: str
    close: Callable[[], Awaitable[Report | None]]


class Engine(Protocol):
    """A media plane under test."""

    name: str

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes that carry packets."""

    async def start(self) -> None:
        """Bring it up; raises `EngineError`."""

    async def open(self, offer: str, codec: str, answer: Answer) -> Opened:
        """Join the browser of `offer` to a PBX that speaks `codec`: "opus", "g722", "pcma" or
        "pcmu". Raises `EngineError`."""

    async def stop(self) -> None:
        """End it with all of its calls."""


def media_ports() -> tuple[int, int]:
    """First and last of a range for one engine, below what the kernel gives to others."""
    first = random.randrange(10_000, 31_000 - MEDIA_PORTS) & ~1
    return first, first + MEDIA_PORTS - 1


# --- ours


class Ringback:
    """The local plane with its worker processes, as the bridge runs it."""

    name = "Ringback"

    def __init__(self, workers: int | None = None) -> None:
        self._plane = LocalPlane(listen=(HOST,), ports=media_ports(), workers=workers)

    @property
    def pids(self) -> tuple[int, ...]:
        return self._plane.pids

    async def start(self) -> None:
        try:
            await self._plane.start()
        except OSError as error:
            raise EngineError(str(error)) from None

    async def open(self, offer: str, codec: str, answer: Answer) -> Opened:
        call = _OurCall(self._plane, codec)
        call.session.offer(Side.WEBRTC, offer)
        wanted = await call.until(OfferReady)
        call.session.answer(Side.SDES, await answer(wanted.sdp))
        return Opened((await call.until(AnswerReady)).sdp, call.close)

    async def stop(self) -> None:
        await self._plane.stop()


class _OurCall:
    def __init__(self, plane: LocalPlane, codec: str) -> None:
        self._events: asyncio.Queue[MediaEvent] = asyncio.Queue()
        settings = SessionSettings(codecs=(codec,), silence_timeout=600.0)
        self.session: LocalSession = plane.open(settings, self._events.put_nowait)

    async def until(self, kind: type[Any]) -> Any:
        """The next event of a kind; raises `EngineError` if the session fails before."""
        async with asyncio.timeout(LIMIT):
            while True:
                event = await self._events.get()
                if isinstance(event, kind):
                    return event
                if isinstance(event, Failed | Closed):
                    raise EngineError(f"our session ended: {event}")

    async def connected(self) -> None:
        await self.until(Connected)

    async def close(self) -> Report:
        self.session.close()
        async with asyncio.timeout(LIMIT):
            while not isinstance(event := await self._events.get(), Closed):
                pass
        return event.report


# --- rtpengine


class Rtpengine:
    """Debian's rtpengine in user space with its defaults, steered by its `ng` protocol."""

    name = "rtpengine"

    def __init__(self, log: Path = Path(os.devnull)) -> None:
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self._ng: Ng | None = None
        self._count = 0

    @property
    def pids(self) -> tuple[int, ...]:
        return () if self._process is None else (self._process.pid,)

    async def start(self) -> None:
        program = shutil.which("rtpengine")
        if program is None:
            raise EngineError(
                "rtpengine is missing. As root: apt-get install --no-install-recommends"
                " rtpengine-daemon"
            )
        first, last = media_ports()
        control = Ports().pick()
        with self._log.open("w") as log:
            self._process = await asyncio.create_subprocess_exec(
                program,
                "--config-file=none",
                "--table=-1",  # no kernel module
                f"--interface={HOST}",
                f"--listen-ng={HOST}:{control}",
                f"--port-min={first}",
                f"--port-max={last}",
                "--foreground",
                "--log-stderr",
                "--log-level=5",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._ng = Ng((HOST, control))
        for _ in range(50):
            try:
                await self._ng.do("ping")
            except NgError:
                continue
            return
        raise EngineError("rtpengine did not come up")

    async def open(self, offer: str, codec: str, answer: Answer) -> Opened:
        if self._ng is None:
            raise EngineError("not started")
        self._count += 1
        call: dict[str, Any] = {"call_id": f"call-{self._count}", "from_tag": "browser"}
        browser = "opus" if "opus" in offer else "PCMU"
        wanted = {"opus": "opus", "g722": "G722", "pcma": "PCMA", "pcmu": "PCMU"}[codec]
        codecs: dict[str, Any] = {}
        if wanted != browser:
            codecs = {"codec": {"mask": [browser], "transcode": [wanted]}}
        told = await self._ng.do(
            "offer",
            **call,
            sdp=offer,
            transport_protocol="RTP/SAVP",
            ICE="remove",
            rtcp_mux=["demux"],
            DTLS="off",
            SDES=["pad", *(f"no-{suite}" for suite in _UNWANTED)],
            **codecs,
        )
        told = await self._ng.do(
            "answer",
            **call,
            to_tag="pbx",
            sdp=await answer(str(told["sdp"])),
            transport_protocol="UDP/TLS/RTP/SAVPF",
            ICE="force",
            rtcp_mux=["require"],
        )

        async def close() -> None:
            if self._ng is not None:
                await self._ng.do("delete", call_id=call["call_id"])

        return Opened(str(told["sdp"]), close)

    async def stop(self) -> None:
        if self._ng is not None:
            self._ng.close()
        await _end(self._process)


# All but AES_CM_128_HMAC_SHA1_80, which every engine and every PBX has.
_UNWANTED = (
    "NULL_HMAC_SHA1_80",
    "NULL_HMAC_SHA1_32",
    "F8_128_HMAC_SHA1_80",
    "F8_128_HMAC_SHA1_32",
    "AES_CM_128_HMAC_SHA1_32",
    "AES_192_CM_HMAC_SHA1_80",
    "AES_192_CM_HMAC_SHA1_32",
    "AES_256_CM_HMAC_SHA1_80",
    "AES_256_CM_HMAC_SHA1_32",
    "AEAD_AES_128_GCM",
    "AEAD_AES_256_GCM",
)


# --- aiortc


class Aiortc:
    """`aiortc_plane`, run by an interpreter that has aiortc.

    Args:
        python: of the environment made from `requirements/media-peers.lock`.
    """

    name = "aiortc"

    def __init__(self, python: Path) -> None:
        self._python = python
        self._process: asyncio.subprocess.Process | None = None
        self._count = 0

    @property
    def pids(self) -> tuple[int, ...]:
        return () if self._process is None else (self._process.pid,)

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            self._python,
            AIORTC,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1024 * 1024,
        )

    async def open(self, offer: str, codec: str, answer: Answer) -> Opened:
        self._count += 1
        call = self._count
        told = await self._ask({"op": "offer", "call": call, "sdp": offer, "codec": codec})
        sdp = await answer(told["sdp"])
        told = await self._ask({"op": "answer", "call": call, "sdp": sdp})

        async def close() -> None:
            await self._ask({"op": "close", "call": call})

        return Opened(told["sdp"], close)

    async def _ask(self, message: dict[str, Any]) -> Any:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise EngineError("not started")
        process.stdin.write(json.dumps(message).encode() + b"\n")
        async with asyncio.timeout(LIMIT):
            line = await process.stdout.readline()
        if not line:
            raise EngineError("the aiortc plane has ended")
        return json.loads(line)

    async def stop(self) -> None:
        await _end(self._process)


async def _end(process: asyncio.subprocess.Process | None) -> None:
    if process is None or process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(5.0):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def engines(peers: Path | None) -> list[Callable[[], Engine]]:
    """How to make each that can be had; aiortc needs the interpreter of the peers' environment."""
    made: list[Callable[[], Engine]] = [Ringback, Rtpengine]
    if peers is not None:
        made.append(lambda: Aiortc(peers))
    return made
