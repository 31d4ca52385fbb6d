"""The Matrix client of a person: Debian's Chromium with a page around matrix-js-sdk, driven by
Playwright.

A browser process has one microphone, which plays a file for ever; so one `Browser` is one voice. A
`Phone` is one
signed-in device in a page of its own.
"""

import base64
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.async_api import Browser as Chromium
from playwright.async_api import Page, Playwright, Route, async_playwright

from tests.lab import audio, cache
from tests.lab.process import PATIENCE

TONE = 880.0
"""What the microphone hears, at −15.05 dBFS."""

ORIGIN = (
    "http://localhost"  # a secure context by its name; nothing listens there, the driver answers
)
RATE = 48_000
LOOPBACK = "--allow-loopback-in-peer-connection"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-pings",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-domain-reliability",
    "--disable-client-side-phishing-detection",
    "--disable-dev-shm-usage",
    "--metrics-recording-only",
    "--disable-audio-output",
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--disable-backgrounding-occluded-windows",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    LOOPBACK,
]
NO_FEATURES = (
    "LocalNetworkAccessChecks,WebRtcHideLocalIpsWithMdns,Translate,OptimizationHints,MediaRouter"
)
NO_NAMES = "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"


class Browser:
    """One Chromium whose microphone plays a tone.

    Args:
        loopback: whether calls may go over 127.0.0.1; else over the machine's other addresses.
    """

    def __init__(self, folder: Path, *, tone: float = TONE, loopback: bool = True) -> None:
        self._flags = [flag for flag in FLAGS if loopback or flag != LOOPBACK]
        self._folder = folder
        self._tone = tone
        self._playwright: Playwright | None = None
        self._chromium: Chromium | None = None

    async def start(self) -> None:
        bundle = cache.page_bundle()
        program = shutil.which("chromium")
        if program is None or not bundle.exists():
            raise RuntimeError("no browser or no page: run `python -m tests.lab.setup`")
        self._folder.mkdir(parents=True, exist_ok=True)
        voice = audio.tone(self._tone, seconds=30).save(self._folder / "voice.wav")
        self._playwright = await async_playwright().start()
        self._chromium = await self._playwright.chromium.launch(
            executable_path=program,
            args=[
                *self._flags,
                f"--disable-features={NO_FEATURES}",
                f"--host-resolver-rules={NO_NAMES}",
                f"--use-file-for-fake-audio-capture={voice}",
            ],
        )

    async def stop(self) -> None:
        if self._chromium is not None:
            await self._chromium.close()
        if self._playwright is not None:
            await self._playwright.stop()

    async def phone(self, url: str, user: str, password: str) -> "Phone":
        """Sign a new device in and wait until it can be called."""
        assert self._chromium is not None, "not started"
        context = await self._chromium.new_context(permissions=["microphone"])
        page = await context.new_page()
        console: list[str] = []
        page.on("console", lambda message: console.append(message.text[:300]))
        page.on("pageerror", lambda error: console.append(f"ERROR {error}"))
        bundle = cache.page_bundle()

        async def serve(route: Route) -> None:
            if route.request.url.endswith(".js"):
                await route.fulfill(path=bundle, content_type="text/javascript")
            else:
                html = '<!doctype html><meta charset="utf-8"><script src="/page.js"></script>'
                await route.fulfill(body=html, content_type="text/html")

        await page.route(f"{ORIGIN}/**", serve)
        await page.goto(f"{ORIGIN}/")
        phone = Phone(page, console)
        signed_in = await phone.run("login", url, user, password)
        phone.user, phone.device = signed_in["user"], signed_in["device"]
        return phone


class Phone:
    """One signed-in device in a browser."""

    def __init__(self, page: Page, console: list[str]) -> None:
        self._page = page
        self.console = console
        self.user = ""
        self.device = ""

    async def close(self) -> None:
        await self.run("logout")
        await self._page.context.close()

    async def run(self, name: str, *arguments: object) -> Any:
        """A function of the page's `lab`."""
        try:
            return await self._page.evaluate(
                "([name, rest]) => window.lab[name](...rest)", [name, list(arguments)]
            )
        except Exception as error:
            error.add_note("browser console:\n  " + "\n  ".join(self.console[-25:]))
            raise

    async def events(self) -> list[dict[str, Any]]:
        return list(await self._page.evaluate("() => window.lab.events"))

    async def mark(self) -> int:
        return int(await self._page.evaluate("() => window.lab.events.length"))

    async def direct(self, user: str) -> str:
        """The direct room with somebody who has joined it."""
        return str(await self.run("direct", user))

    async def say(self, room: str, text: str) -> None:
        await self.run("say", room, text)

    async def place(self, room: str) -> "BrowserCall":
        return BrowserCall(self, await self.run("place", room))

    async def rung(
        self, since: int = 0, *, caller: str | None = None, within: float = PATIENCE
    ) -> "BrowserCall":
        """Wait for a call, of a user when one is named; `since` is of `mark()`."""
        arguments = (since, int(within * 1000), caller)
        return BrowserCall(self, await self.run("incoming", *arguments))


@dataclass(frozen=True, slots=True)
class BrowserCall:
    """One call of a phone."""

    phone: Phone
    index: int

    async def answer(self) -> None:
        await self.phone.run("answer", self.index)

    async def reject(self) -> None:
        await self.phone.run("reject", self.index)

    async def hang_up(self) -> None:
        await self.phone.run("hangUp", self.index)

    async def digit(self, digit: str) -> None:
        await self.phone.run("digit", self.index, digit)

    async def hold(self, held: bool) -> None:
        await self.phone.run("hold", self.index, held)

    async def state(self, wanted: str, *, within: float = PATIENCE) -> None:
        """Wait until the call is `connected`, `ended`, …"""
        await self.phone.run("state", self.index, wanted, int(within * 1000))

    async def about(self) -> dict[str, Any]:
        return dict(await self.phone.run("call", self.index))

    async def stats(self) -> dict[str, Any]:
        return dict(await self.phone.run("stats", self.index))

    async def forget(self) -> None:
        """Forget what was heard until now."""
        await self.phone.run("forget", self.index)

    async def heard(self) -> audio.Sound:
        """What was heard since the call began, or since `forget`."""
        pcm = base64.b64decode(await self.phone.run("heard", self.index))
        return audio.from_pcm(pcm, RATE)
