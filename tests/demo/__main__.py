"""`make demo`: the main job on real parts, then everything stays up for one's own client.

    python -m tests.demo [--once] [--page FILE]

`--once` ends after the report, with the exit status saying whether everything was as it should be.
"""

import asyncio
import contextlib
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, TypeVar

import click

from tests.demo.report import Act, lines, to_page, to_terminal
from tests.demo.story import Story
from tests.lab.asterisk import Account, Asterisk
from tests.lab.browser import Browser, Phone
from tests.lab.certificate import Authority
from tests.lab.ports import HOST, Ports
from tests.lab.ringback import Ringback, line, pbx_trunk
from tests.lab.synapse import DOMAIN, Synapse
from tests.standin.twilio import Twilio

T = TypeVar("T")

NUMBER, ECHO = "+15555551001", "+15555551000"
HOUSE = "+493012345678"
SMS = "+15557654321"
HOOK_SECRET = "demo-hook-secret"
NUMBERS = (
    ("1000", "an echo of yourself"),
    ("1001", "a tone"),
    ("2001", "dial four digits and hear them again"),
    ("3000", "busy"),
    ("3001", "rings and is never answered"),
    ("3003", "early media: a tone before the answer"),
    ("4010", "hangs up after ten seconds"),
)

STAY = """
{b}It stays up. Be alice yourself:{/b}

  In Element (or any client with voice calls) choose {accent}<URL>{/accent} as the homeserver
  and sign in as {accent}alice{/accent}, password {accent}alice-secret{/accent}.

  Start a direct chat with {accent}<BOT>{/accent} and write {accent}call 1000{/accent},
  or with {accent}<GHOST>{/accent} at once, and press the voice call button.

<NUMBERS>

  To be rung:  <CONSOLE> \\
                 -rx 'channel originate PJSIP/ringback extension 1001@lab'

  Logs: <LOG>
        <PBX_LOG>

Ctrl-C ends everything and removes it."""


class Demo:
    """Everything that is started, and what is printed about it."""

    def __init__(self, folder: Path) -> None:
        ports = Ports()
        authority = Authority(folder / "certificates")
        account = Account("ringback")
        self.pbx = Asterisk(folder / "pbx", ports, authority, (account,))
        self.synapse = Synapse(
            folder / "synapse", ports, registrations=(folder / "ringback" / "registration.yaml",)
        )
        self.hooks = f"{HOST}:{ports.pick()}"
        self.provider = Twilio(f"http://{self.hooks}/road/twilio/{HOOK_SECRET}")
        self.road: dict[str, Any] = {
            "hooks": {"listen": self.hooks, "public_url": f"http://{self.hooks}"},
            "roads": [{"name": "twilio", "hook_secret": HOOK_SECRET}],
        }
        self.bridge = Ringback(
            folder / "ringback",
            ports,
            name="ringback",
            homeserver=self.synapse.url,
            domain=DOMAIN,
            trunks=[pbx_trunk(self.pbx, authority, account)],
            lines=[
                line(
                    "house",
                    account.name,
                    [self.synapse.user_id("alice")],
                    number=HOUSE,
                    called=[account.name, HOUSE],
                ),
                line(
                    "sms",
                    account.name,
                    [self.synapse.user_id("alice")],
                    number=SMS,
                    called=["sms"],
                    texts_in="twilio",
                    texts_out="twilio",
                ),
            ],
            more=self.road,
        )
        self.browser = Browser(folder / "browser")
        self.coloured = sys.stdout.isatty()
        self.acts: list[Act] = []
        self.phone: Phone

    async def run(self, *, once: bool) -> bool:
        """The whole demonstration; whether everything was as it should be."""
        self.show("{b}Ringback: any Matrix client is your phone{/b}\n")
        async with contextlib.AsyncExitStack() as stack:
            try:
                story = await self.start(stack)
                await self.play(story)
            except BaseException as error:
                for process in (self.bridge.process, self.synapse.process, self.pbx.process):
                    if process.text():
                        error.add_note(process.tail())
                raise
            good = all(act.good for act in self.acts)
            if good:
                self.show("{good}Everything was said, heard and encrypted as it should be.{/good}")
            else:
                self.show("{bad}Something is not as it should be: see the red lines.{/bad}")
            if not once:
                await self.stay()
            self.show("\nstopping …")
        return good

    async def start(self, stack: contextlib.AsyncExitStack) -> Story:
        """Bring everything up, with a line each."""
        await self.provider.start()
        stack.push_async_callback(self.provider.stop)
        self.provider.hook_at = f"http://{self.hooks}"
        (road,) = self.road["roads"]
        road["twilio"] = {
            **self.provider.section()["twilio"],
            "url": f"http://{HOST}:{self.provider.port}",
        }
        await self.step("ringback init writes its two files", self.bridge.init())
        for name, part in (
            ("homeserver (Synapse)", self.synapse),
            ("PBX (Asterisk, TLS, SRTP demanded)", self.pbx),
        ):
            await self.step(name, part.start())
            stack.push_async_callback(part.stop)
        await self.synapse.register("alice")
        await self.step("ringback run", self.bridge.start())
        stack.push_async_callback(self.bridge.stop)
        await self.step("its line is registered", self.pbx.registered("ringback"))
        await self.step("alice's browser (Chromium)", self.browser.start())
        stack.push_async_callback(self.browser.stop)
        self.phone = await self.step(
            "alice is signed in", self.browser.phone(self.synapse.url, "alice", "alice-secret")
        )
        self.show("")
        return Story(
            phone=self.phone,
            bridge=self.bridge,
            pbx=self.pbx,
            account="ringback",
            number=NUMBER,
            echo=ECHO,
            provider=self.provider,
            sms=SMS,
        )

    async def play(self, story: Story) -> None:
        for act in (story.call_out, story.call_in, story.texts, story.hook):
            self.acts.append(await act())
            for text in lines(self.acts[-1]):
                self.show(text)

    async def stay(self) -> None:
        """Say how to join in, then wait for Ctrl-C."""
        numbers = "\n".join(f"  {{accent}}{n}{{/accent}}  {what}" for n, what in NUMBERS)
        words = {
            "URL": self.synapse.url,
            "BOT": self.bridge.bot,
            "GHOST": self.bridge.ghost("1000"),
            "NUMBERS": numbers,
            "CONSOLE": " ".join(map(str, self.pbx.console)),
            "LOG": str(self.bridge.process.log),
            "PBX_LOG": f"{self.pbx.folder}/log/full",
        }
        text = STAY
        for word, value in words.items():
            text = text.replace(f"<{word}>", value)
        self.show(text)
        ended = asyncio.Event()
        for stop in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(stop, ended.set)
        await ended.wait()

    async def step(self, name: str, work: Awaitable[T]) -> T:
        started = time.monotonic()
        self.show(f"  {name} …", end="\r" if self.coloured else "\n")
        result = await work
        self.show(f"  {{good}}✓{{/good}} {name:<44}{time.monotonic() - started:>6.1f} s")
        return result

    def show(self, text: str, end: str = "\n") -> None:
        click.echo(to_terminal(text, coloured=self.coloured) + end, nl=False)
        sys.stdout.flush()


@click.command()
@click.option("--once", is_flag=True, help="End after the report.")
@click.option(
    "--page", type=click.Path(dir_okay=False, path_type=Path), help="Write the report as HTML too."
)
def main(once: bool, page: Path | None) -> None:
    """A call each way, and a text each way by SIP and by web hook, on real parts."""
    with tempfile.TemporaryDirectory(prefix="ringback-demo-") as folder:
        demo = Demo(Path(folder))
        good = asyncio.run(demo.run(once=once))
        if page is not None:
            content = [text for act in demo.acts for text in lines(act)]
            page.write_text(to_page("Ringback: a call each way and a text each way", content))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
