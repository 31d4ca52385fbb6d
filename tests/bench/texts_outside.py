"""What a bridge has around it when its texts are measured: a homeserver and a provider that know no
more than a bridge asks for, in one process of their own, so that there is one clock.

    python -m tests.bench.texts_outside SETTINGS

It reads orders from its standard input, a line of JSON each, and writes an answer for each.
"""

import asyncio
import base64
import hashlib
import hmac
import itertools
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from urllib.parse import parse_qs, unquote, urlencode

from tests.bench.texts_http import Client, request, serve

HOST = "127.0.0.1"
DOMAIN = "bench.example"
USER = f"@alice:{DOMAIN}"
BOT = f"@ringback:{DOMAIN}"
OURS = "+15557654321"
ACCOUNT = "AC0123456789abcdef0123456789abcdef"
TOKEN = "bench-token"
SECRET = "bench-hook-secret"
HS_TOKEN = "bench-hs-token"
PUBLIC = "https://texts.bench.example"
HOOK = f"/road/twilio/{SECRET}"
# What mautrix's client reads of each room before it speaks there.
STATE = {
    "room_id": f"!room:{DOMAIN}",
    "event_id": "$state",
    "sender": BOT,
    "origin_server_ts": 1,
    "state_key": "",
    "content": {"users_default": 100, "room_version": "11"},
}
# Hooks that a provider has under way at once; the bridge takes 64.
AT_ONCE = 48
# Events in a push, as Synapse sends them.
IN_A_PUSH = 100
LIMIT = 120.0  # seconds for one order


@dataclass(frozen=True, slots=True)
class Settings:
    """Ports of ours and of the bridge.

    Attributes:
        says_states: whether the bridge shows in the room what became of a text.
    """

    homeserver: int
    provider: int
    listener: int
    hooks: int
    says_states: bool


class Arrivals:
    """Counts what was to come, by its words."""

    def __init__(self, expected: Sequence[str]) -> None:
        self.times: dict[str, list[float]] = {word: [] for word in expected}
        self._missing = len(expected)
        self.complete = asyncio.Event()

    def note(self, word: str) -> None:
        times = self.times.get(word)
        if times is None:
            return
        times.append(time.monotonic())
        if len(times) == 1:
            self._missing -= 1
            if not self._missing:
                self.complete.set()

    def tally(self) -> dict[str, int]:
        return {
            "lost": sum(not times for times in self.times.values()),
            "doubled": sum(len(times) > 1 for times in self.times.values()),
        }


class Outside:
    """Homeserver and provider."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._rooms: list[str] = []
        self._numbers = itertools.count(1)
        self._names = itertools.count(1)
        self._said = Arrivals([])  # in rooms, by the words
        self._shown = Arrivals([])  # on texts, by the event
        self._sent = Arrivals([])  # by the provider, by the words

    async def start(self) -> None:
        await serve(HOST, self._settings.homeserver, self._homeserver)
        await serve(HOST, self._settings.provider, self._provider)

    # --- what the bridge asks for

    def _homeserver(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        path, _, query = path.partition("?")
        if method == "PUT" and "/send/" in path:
            _, _, rest = path.partition("/send/")
            content = json.loads(body)
            if rest.startswith("m.room.message/"):
                self._said.note(content.get("body", ""))
            elif content.get("status") == "SUCCESS":
                self._shown.note(content["m.relates_to"]["event_id"])
            return 200, b'{"event_id": "$%d"}' % next(self._numbers)
        if path.endswith("/createRoom"):
            room = f"!room{next(self._numbers)}:{DOMAIN}"
            if "tel_" in query:  # the bot's own rooms are not for texts
                self._rooms.append(room)
            return 200, json.dumps({"room_id": room}).encode()
        if "/state/" in path:
            kind = unquote(path.partition("/state/")[2]).strip("/")
            return 200, json.dumps(STATE | {"type": kind}).encode()
        if path.endswith("/whoami"):
            return 200, json.dumps({"user_id": BOT}).encode()
        if "/join" in path:
            room = next(part for part in map(unquote, path.split("/")) if part.startswith("!"))
            return 200, json.dumps({"room_id": room}).encode()
        if path.endswith("/register"):
            return 200, b'{"user_id": "@somebody:bench.example"}'
        if path.endswith("/versions"):
            return 200, b'{"versions": ["v1.17", "v1.11", "r0.6.1"]}'
        if path.endswith("/messages"):
            return 200, b'{"chunk": []}'
        return 200, b'{"duration_ms": 1}'

    def _provider(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        self._sent.note(parse_qs(body.decode())["Body"][0])
        return 201, b'{"sid": "SM%032x", "status": "queued"}' % next(self._numbers)

    # --- orders

    async def inward(self, count: int, numbers: int, rate: float | None) -> dict[str, object]:
        """Texts from phones: hooks until the homeserver has been told all of them.

        Args:
            numbers: how many phones take turns.
            rate: per second; None for as fast as the bridge takes them.
        """
        words = [f"text {next(self._names)} to the room" for _ in range(count)]
        hooks = [
            (word, self._hook(word, f"+1555{index % numbers:07}"))
            for index, word in enumerate(words)
        ]
        self._said = Arrivals(words)
        clients = [await Client.connect(HOST, self._settings.hooks) for _ in range(AT_ONCE)]
        begun: dict[str, float] = {}
        started = time.monotonic()
        waiting = iter(enumerate(hooks))

        async def push(client: Client) -> None:
            for index, (word, hook) in waiting:
                if rate is not None:
                    await asyncio.sleep(max(0.0, started + index / rate - time.monotonic()))
                begun[word] = time.monotonic()
                status = await client.ask(hook)
                assert status == 200, f"a hook was answered {status}"

        await asyncio.gather(*(push(client) for client in clients))
        async with asyncio.timeout(LIMIT):
            await self._said.complete.wait()
        return self._result(started, begun, self._said)

    async def outward(self, count: int, rate: float | None) -> dict[str, object]:
        """Texts to phones: pushes until the provider has all of them, and each is shown as sent."""
        words = [f"text {next(self._names)} to the phone" for _ in range(count)]
        events = [
            (word, f"${word}", self._rooms[index % len(self._rooms)])
            for index, word in enumerate(words)
        ]
        self._sent = Arrivals(words)
        self._shown = Arrivals([f"${word}" for word in words])
        client = await Client.connect(HOST, self._settings.listener)
        begun: dict[str, float] = {}
        started = time.monotonic()
        together = IN_A_PUSH if rate is None else 1
        for first in range(0, count, together):
            pushed = events[first : first + together]
            if rate is not None:
                await asyncio.sleep(max(0.0, started + first / rate - time.monotonic()))
            begun |= dict.fromkeys([word for word, _, _ in pushed], time.monotonic())
            status = await client.ask(self._push([event[1:] for event in pushed], words[first:]))
            assert status == 200, f"a push was answered {status}"
        async with asyncio.timeout(LIMIT):
            await self._sent.complete.wait()
            if self._settings.says_states:
                await self._shown.complete.wait()
        return self._result(started, begun, self._sent)

    def _result(
        self, started: float, begun: dict[str, float], arrivals: Arrivals
    ) -> dict[str, object]:
        return {
            "seconds": time.monotonic() - started,
            "delays_ms": [
                (times[0] - begun[word]) * 1000 for word, times in arrivals.times.items() if times
            ],
            **arrivals.tally(),
        }

    def _hook(self, word: str, sender: str) -> bytes:
        fields = {
            "MessageSid": f"SM{next(self._numbers):032x}",
            "AccountSid": ACCOUNT,
            "From": sender,
            "To": OURS,
            "Body": word,
            "NumMedia": "0",
        }
        signed = PUBLIC + HOOK + "".join(key + fields[key] for key in sorted(fields))
        digest = hmac.digest(TOKEN.encode(), signed.encode(), hashlib.sha1)
        return request(
            "POST",
            HOST,
            HOOK,
            urlencode(fields).encode(),
            Content_Type="application/x-www-form-urlencoded",
            X_Twilio_Signature=base64.b64encode(digest).decode(),
        )

    def _push(self, events: Sequence[tuple[str, str]], words: Sequence[str]) -> bytes:
        body = {
            "events": [
                {
                    "type": "m.room.message",
                    "event_id": event_id,
                    "room_id": room,
                    "sender": USER,
                    "origin_server_ts": time.time_ns() // 1_000_000,
                    "content": {"msgtype": "m.text", "body": word},
                    "unsigned": {"age": 1},
                }
                for (event_id, room), word in zip(events, words, strict=False)
            ]
        }
        return request(
            "PUT",
            HOST,
            f"/_matrix/app/v1/transactions/{next(self._numbers)}",
            json.dumps(body).encode(),
            Authorization=f"Bearer {HS_TOKEN}",
            Content_Type="application/json",
        )


async def main() -> None:
    """Obey orders until there are no more."""
    outside = Outside(Settings(**json.loads(sys.argv[1])))
    await outside.start()
    print("ready", flush=True)  # noqa: T201 - read by who started us
    while line := await asyncio.to_thread(sys.stdin.readline):
        order = json.loads(line)
        do = outside.inward if order.pop("way") == "in" else outside.outward
        print(json.dumps(await do(**order)), flush=True)  # noqa: T201


def as_argument(settings: Settings) -> str:
    return json.dumps(asdict(settings))


if __name__ == "__main__":
    asyncio.run(main())
