"""Debian's rtpengine in user space, between two ends of ours: a peer that knows every suite."""

import secrets
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sip.events import Body
from tests.bench.media.ng import Ng, NgError, Value
from tests.lab.ports import HOST, Ports
from tests.lab.process import Process

# It offers these of its own accord, and the first of them encrypt nothing or with what nobody has.
_NEVER = ("NULL_HMAC_SHA1_80", "NULL_HMAC_SHA1_32", "F8_128_HMAC_SHA1_80", "F8_128_HMAC_SHA1_32")


class Rtpengine:
    """The daemon, steered by its `ng` protocol."""

    def __init__(self, log: Path, ports: Ports) -> None:
        program = shutil.which("rtpengine")
        assert program is not None, "no rtpengine: run `python -m tests.lab.setup`"
        control, media = ports.pick(), ports.pick_range(100)
        self._ng = Ng((HOST, control))
        self._process = Process(
            "rtpengine",
            [
                program, "--config-file=none", "--table=-1", f"--interface=lo0/{HOST}",
                f"--listen-ng={HOST}:{control}", f"--port-min={media[0]}",
                f"--port-max={media[-1]}", "--foreground", "--log-stderr", "--num-threads=1",
                "--delete-delay=0",
            ],
            log=log,
        )  # fmt: skip

    async def start(self) -> None:
        async def ready() -> bool:
            try:
                return (await self._ng.do("ping"))["result"] == "pong"
            except NgError:
                return False

        await self._process.start(ready)

    async def stop(self) -> None:
        self._ng.close()
        await self._process.stop()

    @asynccontextmanager
    async def call(self) -> AsyncIterator["EngineCall"]:
        call = EngineCall(self._ng)
        yield call
        await call.delete()


class EngineCall:
    """One call through it: an offer, and the answer to what it made of the offer."""

    def __init__(self, ng: Ng) -> None:
        self._ng = ng
        self._id = secrets.token_hex(8)

    async def offer(self, body: Body, profile: str) -> Body:
        return await self._do("offer", body, profile, from_tag="a")

    async def answer(self, body: Body, profile: str) -> Body:
        return await self._do("answer", body, profile, from_tag="a", to_tag="b")

    async def _do(self, command: str, body: Body, profile: str, **tags: Value) -> Body:
        done = await self._ng.do(
            command,
            call_id=self._id,
            sdp=body.data.decode(),
            transport_protocol=profile,
            ICE="remove",
            SDES=["pad", *(f"no-{suite}" for suite in _NEVER)],
            replace=["origin"],
            **tags,
        )
        assert isinstance(done["sdp"], str)
        return Body(body.content_type, done["sdp"].encode())

    async def delete(self) -> None:
        await self._ng.do("delete", call_id=self._id, from_tag="a")
