"""Asterisk's manager interface: actions in, events out (plain text over TCP, loopback only)."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.lab.process import PATIENCE, eventually


@dataclass(frozen=True, slots=True)
class AmiEvent:
    """One event; `at` is when we read it (monotonic)."""

    name: str
    fields: Mapping[str, str]
    at: float

    def __getitem__(self, key: str) -> str:
        return self.fields.get(key, "")


class Ami:
    """One session with the manager. Keeps every event since its start."""

    def __init__(self) -> None:
        self.events: list[AmiEvent] = []
        self._answers: dict[str, asyncio.Future[Mapping[str, str]]] = {}
        self._number = 0
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None

    async def connect(self, host: str, port: int, user: str, secret: str) -> None:
        reader, self._writer = await asyncio.open_connection(host, port)
        await reader.readline()  # the greeting, with a version
        self._reading = asyncio.create_task(self._read(reader))
        await self.act("Login", Username=user, Secret=secret)

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
        if self._writer is not None:
            self._writer.close()
        self._reading = self._writer = None

    async def act(self, action: str, /, *variables: str, **fields: object) -> Mapping[str, str]:
        """Do an action; its answer, or `RuntimeError` when the PBX refuses. `variables` are
        name=value.
        """
        assert self._writer is not None, "not connected"
        self._number += 1
        name = f"lab-{self._number}"
        lines = [f"Action: {action}", f"ActionID: {name}"]
        lines += [f"{key}: {value}" for key, value in fields.items()]
        lines += [f"Variable: {variable}" for variable in variables]
        answer = self._answers[name] = asyncio.get_running_loop().create_future()
        self._writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        async with asyncio.timeout(PATIENCE):
            fields_answered = await answer
        if fields_answered.get("Response") not in {"Success", "Follows"}:
            raise RuntimeError(f"{action}: {fields_answered.get('Message')}")
        return {**fields_answered, "ActionID": name}

    async def expect(
        self,
        name: str,
        where: Callable[[AmiEvent], bool] = lambda event: True,
        *,
        since: int = 0,
        within: float = PATIENCE,
    ) -> AmiEvent:
        """The first event of this name for which `where` holds, from index `since` on."""

        def found() -> AmiEvent | None:
            for event in self.events[since:]:
                if event.name == name and where(event):
                    return event
            return None

        event = await eventually(found, within=within, what=f"PBX event {name}")
        assert event is not None
        return event

    async def _read(self, reader: asyncio.StreamReader) -> None:
        packet: dict[str, str] = {}
        while line := await reader.readline():
            text = line.decode(errors="replace").rstrip("\r\n")
            if text:
                key, _, value = text.partition(": ")
                packet[key] = f"{packet[key]}\n{value}" if key in packet else value
                continue
            answer = self._answers.pop(packet.get("ActionID", ""), None)
            if "Event" in packet:
                name = packet["Event"]
                if name == "UserEvent":
                    name = packet.get("UserEvent", name)
                self.events.append(AmiEvent(name, packet, time.monotonic()))
            if answer is not None and "Response" in packet and not answer.done():
                answer.set_result(packet)
            elif answer is not None:
                self._answers[packet["ActionID"]] = answer
            packet = {}
