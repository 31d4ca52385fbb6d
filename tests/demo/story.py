"""The acts of the demonstration: a call out, a call in, a text each way by SIP and by a provider's
web hook. All parts are real but the provider, which is a stand-in.
"""

import asyncio
import json
import time
from typing import Any

from tests.demo.report import TEXT_LANES, Act, End, Heard, Step
from tests.lab import asterisk, browser
from tests.lab.asterisk import Asterisk, SipMessage
from tests.lab.browser import BrowserCall, Phone
from tests.lab.process import eventually
from tests.lab.ringback import Ringback
from tests.standin.standin import Fate, StandIn

LEVEL = -15.05  # of both tones, dBFS
TALK = 5.0  # seconds that are listened to
QUIET = ("REGISTER", "OPTIONS", "SUBSCRIBE", "NOTIFY")


class Story:
    """One Matrix user, one bridge, one PBX.

    Args:
        account: the bridge's account at the PBX.
        number: what the user dials; the PBX answers it with a tone and records what it hears.
        echo: a number whose text comes back.
        provider: takes and brings the texts of `sms`, a number of the user's.
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
        provider: StandIn,
        sms: str,
    ) -> None:
        self._phone = phone
        self._bridge = bridge
        self._pbx = pbx
        self._account = account
        self._number = number
        self._echo = echo
        self._provider = provider
        self._sms = sms

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
        came = await self._room_of(wanted, self._bridge.ghost(self._echo), since=seen) is not None
        steps = [*await self._matrix_steps(seen), *self._sip_steps(trace)]
        return Act(
            f"A text each way: {self._phone.user} writes to {self._echo}, which answers",
            steps,
            texts=[
                (f"sent      “{said}”", any(s.lane == 1 and s.rightward for s in steps)),
                (f"received  “{wanted}”", came),
            ],
        )

    async def hook(self) -> Act:
        """A provider pushes a text, the user answers, the provider says that it arrived."""
        seen, friend = await self._phone.mark(), "+15550177"
        said, answer = "Are you there?", "Yes 👍"
        steps = [Step(time.time(), 1, False, "web hook, signed")]
        tries = await self._provider.deliver(self._provider.text("1", friend, self._sms, said))
        steps.append(Step(time.time(), 1, True, "200: stored"))
        room = await self._room_of(said, self._bridge.ghost(friend), since=seen)
        assert room is not None, "the text came into no room"
        await self._phone.say(room, answer)
        taken = await eventually(
            lambda: next(iter(self._provider.taken), None), what="the answer at the provider"
        )
        assert taken is not None
        steps.append(Step(time.time(), 1, True, "POST Messages"))
        await self._provider.tell(taken, Fate.DELIVERED)
        steps.append(Step(time.time(), 1, False, "delivered, signed"))
        return Act(
            f"A text by web hook: Carol ({friend}) writes to {self._sms} at an SMS provider",
            [*await self._matrix_steps(seen), *steps],
            texts=[
                (f"received  “{said}”", tries == 1),
                (f"sent      “{answer}”", (taken.to, taken.body) == (friend, answer)),
            ],
            lanes=TEXT_LANES,
        )

    async def _room_of(self, body: str, sender: str, *, since: int) -> str | None:
        """The room in which somebody says this, within 15 seconds."""
        limit = time.monotonic() + 15
        while time.monotonic() < limit:
            for event in (await self._phone.events())[since:]:
                if (event["what"], event.get("sender")) != ("event", sender):
                    continue
                if event["content"].get("body") == body:
                    return str(event["room"])
            await asyncio.sleep(0.1)
        return None

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
