"""A stand-in for an SMS provider that behaves as Twilio's documentation says: it takes texts by its
interface, signs what it pushes, and reports what became of a text.
"""

import asyncio
import base64
import hashlib
import hmac
import itertools
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import aiohttp
from aiohttp import web

from tests.lab.ports import HOST, Ports

ACCOUNT = "AC0123456789abcdef0123456789abcdef"
TOKEN = "lab-token"
SECRET = "lab-hook-secret-1"


class Provider:
    """One account.

    Attributes:
        sent: what it was asked to send, as forms.
        refuses: statuses that it answers with instead, one after the other.
    """

    def __init__(self, ports: Ports) -> None:
        self.port = ports.pick()
        self.hook_port = ports.pick()
        self.sent: list[dict[str, str]] = []
        self.refuses: list[int] = []
        self._numbers = itertools.count(1)
        self._runner: web.AppRunner | None = None

    @property
    def public_url(self) -> str:
        """How it reaches the bridge: without a proxy here."""
        return f"http://{HOST}:{self.hook_port}"

    def settings(self) -> dict[str, Any]:
        """What the bridge's owner writes into the configuration."""
        return {
            "hooks": {"listen": f"{HOST}:{self.hook_port}", "public_url": self.public_url},
            "roads": [
                {
                    "name": "twilio",
                    "hook_secret": SECRET,
                    "twilio": {
                        "account": ACCOUNT,
                        "token": TOKEN,
                        "url": f"http://{HOST}:{self.port}",
                    },
                }
            ],
        }

    async def start(self) -> None:
        app = web.Application()
        app.router.add_post("/2010-04-01/Accounts/{account}/Messages.json", self._send)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, self.port).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _send(self, request: web.Request) -> web.Response:
        form = dict(parse_qsl((await request.read()).decode(), keep_blank_values=True))
        login = base64.b64encode(f"{ACCOUNT}:{TOKEN}".encode()).decode()
        if request.headers.get("Authorization") != f"Basic {login}":
            return web.json_response({"code": 20003, "status": 401}, status=401)
        if self.refuses:
            return web.json_response({"code": 20429}, status=self.refuses.pop(0))
        form["MessageSid"] = f"SM{next(self._numbers):032x}"
        self.sent.append(form)
        return web.json_response({"sid": form["MessageSid"], "status": "queued"}, status=201)

    # --- hooks

    async def push(self, fields: Mapping[str, str], *, token: str = TOKEN) -> int:
        """Push one hook, signed; the status of the answer, 0 if there was none."""
        url = f"{self.public_url}/road/twilio/{SECRET}"
        signed = url + "".join(name + fields[name] for name in sorted(fields))
        digest = hmac.new(token.encode(), signed.encode(), hashlib.sha1).digest()
        headers = {"X-Twilio-Signature": base64.b64encode(digest).decode()}
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session,
                session.post(url, data=fields, headers=headers) as response,
            ):
                return response.status
        except aiohttp.ClientError:
            return 0

    async def text(self, sid: str, *, sender: str, to: str, body: str, token: str = TOKEN) -> int:
        """A text for one of our numbers."""
        fields = {"MessageSid": sid, "From": sender, "To": to, "Body": body, "NumMedia": "0"}
        return await self.push(fields, token=token)

    async def text_until_taken(self, sid: str, *, sender: str, to: str, body: str) -> None:
        """The same again and again until it is acknowledged, as providers that repeat do."""
        async with asyncio.timeout(60):
            while await self.text(sid, sender=sender, to=to, body=body) != 200:  # noqa: ASYNC110 - the bridge is another process
                await asyncio.sleep(0.1)

    async def report(self, sent: Mapping[str, str], status: str, **more: str) -> int:
        """What became of a text that we were asked to send."""
        assert sent["StatusCallback"].startswith(self.public_url)
        return await self.push(
            {
                "MessageSid": sent["MessageSid"],
                "MessageStatus": status,
                "From": sent["From"],
                "To": sent["To"],
                **more,
            }
        )
