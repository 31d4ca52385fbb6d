"""Our end of the load generator, which is a process of its own."""

import asyncio
import json
import sys
from typing import Any

from tests.bench.media.engines import Engine, EngineError, Opened

_LIMIT = 60.0


class Load:
    """The generator. One serves every engine, one after the other.

    Args:
        module: that is run.
    """

    def __init__(self, module: str = "tests.bench.media.generator") -> None:
        self._module = module
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self._module,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1024 * 1024,
        )

    async def call(self, engine: Engine, number: int, browser: str, pbx: str) -> Opened:
        """Bring one call up."""
        offer = await self.ask({"op": "offer", "call": number, "browser": browser, "pbx": pbx})

        async def answer(sdp: str) -> str:
            told = await self.ask({"op": "pbx", "call": number, "sdp": sdp})
            return str(told["sdp"])

        opened = await engine.open(offer["sdp"], pbx, answer)
        told = await self.ask({"op": "browser", "call": number, "sdp": opened.sdp})
        if not told["up"]:
            raise EngineError(f"{engine.name}: call {number} did not connect")
        return opened

    async def ask(self, wish: dict[str, Any]) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(wish).encode() + b"\n")
        return await self.hear()

    async def hear(self) -> dict[str, Any]:
        """The next line."""
        assert self._process is not None
        assert self._process.stdout is not None
        async with asyncio.timeout(_LIMIT):
            line = await self._process.stdout.readline()
        if not line:
            raise EngineError("the load generator has ended")
        told: dict[str, Any] = json.loads(line)
        return told

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()
