"""The trunk's side of our media plane by itself: its offers and answers, its packets, real ports.

What `media.session` does with them is done here in a few lines, so that encryption can be tried
against any peer without a browser.
"""

import asyncio
import os

from media.plane import (
    Encryption,
)
from media.port import Ports as Sockets
from media.rtcp import SenderReport, SourceDescription
from media.rtp import build, is_rtcp
from media.sdes import SdesEnd
from media.sdes_terms import SdesSettled, SdesTerms
from media.srtp import SUITES
from media.webrtc import LocalSocket
from sip.events import Body
from tests.lab.ports import HOST, Ports
from tests.lab.process import PATIENCE, eventually

SILENCE = b"\xff" * 160  # 20 ms of PCMU
TYPE = "application/sdp"


class AudioLine:
    """One end of one call.

    Attributes:
        heard: packets that were authentic, or plain where that was agreed on.
        control: the same of RTCP.
    """

    def __init__(
        self,
        ports: Ports,
        encryption: Encryption = Encryption.REQUIRED,
        suites: tuple[str, ...] = tuple(SUITES),
    ) -> None:
        self.heard = 0
        self.control = 0
        given = ports.pick_range(2)
        self._sockets = Sockets(given[0], given[-1]).bind_pair(HOST, 0.0)
        rtp, rtcp = (LocalSocket(i, HOST, s.getsockname()[1]) for i, s in enumerate(self._sockets))
        self._terms = SdesTerms(
            codecs=("pcmu",),
            encryption=encryption,
            suites=suites,
            address=HOST,
            port=rtp.port,
            random=os.urandom,
        )
        self._end = SdesEnd(rtp=rtp, rtcp=rtcp)
        self._sequence = 0
        loop = asyncio.get_running_loop()
        for number, one in enumerate(self._sockets):
            loop.add_reader(one.fileno(), self._read, number)

    def close(self) -> None:
        for one in self._sockets:
            asyncio.get_running_loop().remove_reader(one.fileno())
            one.close()
        self._end.close()

    # --- descriptions

    def offer(self) -> Body:
        return Body(TYPE, self._terms.offer(None).encode())

    def answered(self, answer: Body | None) -> None:
        """Take the peer's answer; raises `NegotiationError`."""
        assert answer is not None, "the peer described nothing"
        self._settle(self._terms.answered(answer.data.decode()))

    def take(self, offer: Body | None) -> Body:
        """Answer the peer's offer; raises `NegotiationError`."""
        assert offer is not None, "the peer described nothing"
        self._terms.take_offer(offer.data.decode())
        text, settled = self._terms.answer()
        self._settle(settled)
        return Body(TYPE, text.encode())

    def _settle(self, settled: SdesSettled) -> None:
        if settled.keys is None:
            self._end.set_clear()
        else:
            self._end.set_keys(*settled.keys)
        remote = settled.remote
        self._end.set_remote(remote.address, remote.port, remote.rtcp)

    @property
    def cipher(self) -> str:
        """What was agreed on: a suite, or "none"."""
        return self._end.srtp.name if self._end.srtp is not None else ""

    @property
    def discarded(self) -> int:
        return self._end.srtp.discarded if self._end.srtp is not None else 0

    # --- packets

    def _read(self, number: int) -> None:
        data, source = self._sockets[number].recvfrom(2048)
        plain = self._end.receive(data, source[:2], number)
        if plain is not None and is_rtcp(plain):
            self.control += 1
        elif plain is not None:
            self.heard += 1

    def say(self) -> None:
        """Send 20 ms of silence."""
        self._sequence += 1
        transmit = self._end.send(build(0, self._sequence, 160 * self._sequence, 5, SILENCE), 0.0)
        assert transmit is not None, "there is nowhere to send to"
        self._sockets[transmit.socket].sendto(transmit.data, transmit.destination)

    def report(self) -> None:
        """Send a sender report of what was said."""
        said = SenderReport(5, 1 << 32, 160 * self._sequence, self._sequence, 160 * self._sequence)
        transmit = self._end.send_rtcp(bytes(said) + bytes(SourceDescription(5, "line")), 0.0)
        assert transmit is not None, "there is nowhere to send to"
        self._sockets[transmit.socket].sendto(transmit.data, transmit.destination)

    async def echoes(self, *, within: float = PATIENCE) -> None:
        """Speak to an echo, until ten packets have come back."""
        since, limit = self.heard, within
        for _ in range(25):
            self.say()
            await asyncio.sleep(0.02)
        await eventually(lambda: self.heard >= since + 10, within=limit, what="echo")
