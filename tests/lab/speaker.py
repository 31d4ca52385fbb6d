"""The sound of the scripted peer: a telephone's tone and ear on a UDP socket (SDES, PCMU)."""

import asyncio
from types import TracebackType

from tests.lab import audio
from tests.lab.ports import HOST
from tests.media.party import FRAME, Ear, Pbx, Voice

TONE = 1000.0


class Speaker(asyncio.DatagramProtocol):
    """`async with Speaker() as speaker`: it speaks from its first answer on."""

    def __init__(self) -> None:
        self._pbx: Pbx
        self._transport: asyncio.DatagramTransport
        self._voice = Voice("pcmu", 0, TONE)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Speaker":
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(HOST, 0))
        self._transport = transport
        self._pbx = Pbx(address=transport.get_extra_info("sockname"))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._transport.close()

    def answer(self, offer: str) -> str:
        """Our answer; what is sent and heard goes by it at once."""
        answer = self._pbx.answer(offer)
        if self._task is None:
            self._task = asyncio.create_task(self._speak())
        return answer

    def heard(self) -> audio.Sound:
        """What was heard since the last time."""
        heard = audio.from_pcm(*self._pbx.ear.pcm("pcmu", 0))
        self._pbx.ear = Ear()
        return heard

    def datagram_received(self, data: bytes, addr: object) -> None:
        if self._task is not None:
            self._pbx.receive(data)

    async def _speak(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            for transmit in self._pbx.say(self._voice.next()):
                self._transport.sendto(transmit.data, transmit.destination)
            due += FRAME
            await asyncio.sleep(due - loop.time())
