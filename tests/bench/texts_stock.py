"""The smallest bridge of texts that mautrix's stock `AppService` allows, as a measure: its handler,
its client, and nothing stored. It answers before the work is safe, knows no repeat after a restart,
and shows nothing of what became of a text.

    python -m tests.bench.texts_stock SETTINGS
"""

import asyncio
import base64
import json
import sys
from urllib.parse import parse_qsl

import aiohttp
from aiohttp import web
from mautrix.appservice import AppService
from mautrix.types import Event, EventType, MessageEvent, RoomID, UserID

from tests.bench.texts_outside import (
    ACCOUNT,
    BOT,
    DOMAIN,
    HOOK,
    HOST,
    HS_TOKEN,
    OURS,
    TOKEN,
    Settings,
)


class Stock:
    """Rooms by number, in memory."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._rooms: dict[str, RoomID] = {}
        self._numbers: dict[RoomID, str] = {}
        self._service = AppService(
            server=f"http://{HOST}:{settings.homeserver}",
            domain=DOMAIN,
            as_token="bench-as-token",
            hs_token=HS_TOKEN,
            bot_localpart="ringback",
            id="stock",
        )
        self._http: aiohttp.ClientSession | None = None
        self._making = asyncio.Lock()

    async def run(self) -> None:
        self._http = aiohttp.ClientSession()
        self._service.matrix_event_handler(self._handle)
        await self._service.start(HOST, self._settings.listener)
        app = web.Application()
        app.router.add_post(HOOK, self._take)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, HOST, self._settings.hooks).start()
        print("ready", flush=True)  # noqa: T201 - read by who started us
        await asyncio.Event().wait()

    async def _handle(self, event: Event) -> None:
        if not isinstance(event, MessageEvent) or event.type != EventType.ROOM_MESSAGE:
            return
        number = self._numbers.get(event.room_id)
        if number is None:
            return
        assert self._http is not None, "running"
        login = base64.b64encode(f"{ACCOUNT}:{TOKEN}".encode()).decode()
        async with self._http.post(
            f"http://{HOST}:{self._settings.provider}/2010-04-01/Accounts/{ACCOUNT}/Messages.json",
            data={"To": number, "From": OURS, "Body": event.content.body},
            headers={"Authorization": f"Basic {login}"},
        ) as answer:
            await answer.read()

    async def _take(self, request: web.Request) -> web.Response:
        fields = dict(parse_qsl((await request.read()).decode()))
        number = fields["From"]
        ghost = UserID(f"@tel_{number.removeprefix('+')}:{DOMAIN}")
        intent = self._service.intent.user(ghost)
        async with self._making:
            room = self._rooms.get(number)
            if room is None:
                room = self._rooms[number] = await intent.create_room(invitees=[UserID(BOT)])
                self._numbers[room] = number
        await intent.send_text(room, fields["Body"])
        return web.Response(text="<Response/>")


async def main() -> None:
    """Run until ended."""
    await Stock(Settings(**json.loads(sys.argv[1]))).run()  # made here: it wants a running loop


if __name__ == "__main__":
    asyncio.run(main())
