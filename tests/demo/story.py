"""The acts of the demonstration: a call out, a call in, a text each way, on real parts."""

import asyncio
import json
from typing import Any

from tests.demo.report import Act, End, Heard, Step
from tests.lab import asterisk, browser
from tests.lab.asterisk import Asterisk, SipMessage
from tests.lab.browser import BrowserCall, Phone
from tests.lab.ringback import Ringback

LEVEL = -15.05  # of both tones, dBFS
TALK = 5.0  # seconds that are listened to
QUIET = ("REGISTER", "OPTIONS", "SUBSCRIBE", "NOTIFY")


class Story:
    """One Matrix user, one bridge, one PBX.

    Args:
        account: the bridge's account at the PBX.
        number: what the user dials; the PBX answers it with a tone and records what it hears.
        echo: a number whose text comes back.
    """

    def __init__(
        self,
        *,
        phone: Phone,
        bridge: Ringback,
        pbx: Asterisk,
        account: str,
        number: str,
        echo: str,
    ) -> None:
        self._phone = phone
        self._bridge = bridge
        self._pbx = pbx
        self._account = account
        self._number = number
        self._echo = echo

    async def call_out(self) -> Act:
        """The user dials; the PBX plays 440 Hz and hears 880 Hz."""
        room = await self._phone.direct(self._bridge.ghost(self._number))
        seen, heard_log, trace = await self._phone.mark(), self._bridge.mark, self._pbx.mark()
        call = await self._phone.place(room)
        await call.state("connected")
        heard = await self._talk(call)
        title = f"A call out: {self._phone.user} dials {self._number}"
        return await self._act(title, call, seen, heard_log, trace, heard)

    async def call_in(self) -> Act:
        """The PBX rings the user's number; the user answers after a second."""
        seen, heard_log, trace = await self._phone.mark(), self._bridge.mark, self._pbx.mark()
        await self._pbx.call(self._account, caller='"Carol" <+15550100>')
        call = await self._phone.rung(seen)
        await asyncio.sleep(1)
        await call.answer()
        await call.state("connected")
        heard = await self._talk(call)
        title = f"A call in: Carol (+1 555 0100) rings {self._phone.user}"
        return await self._act(title, call, seen, heard_log, trace, heard)

    async def texts(self) -> Act:
        """A text to a number that sends it back."""
        room = await self._phone.direct(self._bridge.ghost(self._echo))
        seen, trace = await self._phone.mark(), self._pbx.mark()
        said = "Grüße from Matrix 🎉"
        await self._phone.say(room, said)
        wanted = f"echo: {said}"
        ghost = self._bridge.ghost(self._echo)
        limit = asyncio.get_running_loop().time() + 15
        came = False
        while not came and asyncio.get_running_loop().time() < limit:
            new = (await self._phone.events())[seen:]
            came = any(
                event.get("sender") == ghost and event["content"].get("body") == wanted
                for event in new
                if event["what"] == "event"
            )
            await asyncio.sleep(0.1)
        steps = [*await self._matrix_steps(seen), *self._sip_steps(trace)]
        return Act(
            f"A text each way: {self._phone.user} writes to {self._echo}, which answers",
            steps,
            texts=[
                (f"sent      “{said}”", any(s.lane == 1 and s.rightward for s in steps)),
                (f"received  “{wanted}”", came),
            ],
        )

    # --- what was heard and seen

    async def _talk(self, call: BrowserCall) -> list[Heard]:
        """Let both ends talk, hang up, and compare what was sent with what was heard."""
        await asyncio.sleep(TALK)
        at_browser = (await call.heard()).steady(2.0)
        await call.hang_up()
        await call.state("ended")
        await self._pbx.quiet()
        at_pbx = self._pbx.recording(self._newest_recording()).steady(2.0)
        return [
            Heard("at the browser", asterisk.TONE, LEVEL, at_browser.frequency, at_browser.level),
            Heard("at the PBX", browser.TONE, LEVEL, at_pbx.frequency, at_pbx.level),
        ]

    def _newest_recording(self) -> str:
        recordings = (self._pbx.folder / "recordings").glob("heard-*.wav")
        newest = max(recordings, key=lambda path: path.stat().st_mtime)
        return newest.stem.removeprefix("heard-")

    async def _act(
        self,
        title: str,
        call: BrowserCall,
        seen: int,
        logged: int,
        trace: int,
        heard: list[Heard],
    ) -> Act:
        record = await self._record(logged)
        media, moments = record["media"], record["timeline_ms"]
        ends = [
            _end("browser ⇄ Ringback", media["webrtc"]),
            _end("Ringback ⇄ Asterisk", media["sdes"]),
        ]
        steps = [*await self._matrix_steps(seen), *self._sip_steps(trace)]
        times = [
            (text, moments[last] - moments[first])
            for text, first, last in TIMES[record["direction"]]
            if first in moments and last in moments
        ]
        about = await call.about()
        if about["outbound"] and about["heardAt"]:
            times.append(("call button → first sound in the browser", _since(about)))
        return Act(title, steps, times, ends, heard)

    async def _record(self, since: int) -> dict[str, Any]:
        """The bridge's own record of the call that just ended."""
        line = await self._bridge.logged("bridge.call.record", '{"call"', since=since)
        return dict(json.loads(line[line.index("{") :]))

    async def _matrix_steps(self, since: int) -> list[Step]:
        steps = []
        for event in (await self._phone.events())[since:]:
            kind = str(event.get("type", ""))
            if event["what"] == "event" and kind.startswith(("m.call.", "m.room.message")):
                ours = event["sender"] == self._phone.user
                text = "m.text" if kind == "m.room.message" else kind
                steps.append(Step(event["at"] / 1000, 0, ours, text))
        return steps

    def _sip_steps(self, since: int) -> list[Step]:
        return [
            Step(message.at, 1, not message.sent, _title(message))
            for message in self._pbx.sip(since)
            if message.method not in QUIET
        ]


TIMES = {
    "out": (
        ("m.call.invite delivered to us → INVITE on the wire", "invite_received", "invite_sent"),
        ("200 received → m.call.answer on its way", "ok_received", "matrix_answer_out"),
        ("200 received → audio from both ends", "ok_received", "flowing"),
    ),
    "in": (
        ("INVITE received → m.call.invite accepted by the homeserver", "offered", "ringing"),
        ("answer in the browser → audio from both ends", "answered", "flowing"),
    ),
}


def _title(message: SipMessage) -> str:
    parts = message.first.split(" ", 2)
    return " ".join(parts[1:]) if message.status else parts[0]


def _end(name: str, side: dict[str, Any]) -> End:
    return End(
        name,
        side["codec"],
        side["cipher"],
        side["transport"],
        side["packets_received"],
        side["packets_lost"],
    )


def _since(about: dict[str, Any]) -> float:
    return float(about["heardAt"]) - float(about["started"])
