"""Calls through aiosipua's user agents."""

import asyncio

from aiosipua import SipUAC, SipUAS, parse_sdp
from aiosipua.transport import UdpSipTransport

from tests.bench.peers.window import OFFER, free_port, keep_busy, serve

SDP = parse_sdp(OFFER)


class Phones:
    """Both ends."""

    def __init__(self) -> None:
        self.ports = free_port(), free_port()
        caller, callee = (UdpSipTransport(local_addr=("127.0.0.1", port)) for port in self.ports)
        self.uac = SipUAC(caller)
        self.caller = SipUAS(caller, uac=self.uac)
        self.callee = SipUAS(callee, uac=SipUAC(callee))
        self.callee.on_invite = self.answer
        self.callee.on_bye = self.end
        self.over: dict[str, asyncio.Future[None]] = {}

    async def start(self) -> None:
        await self.caller.start()
        await self.callee.start()

    async def call(self) -> None:
        callee = f"127.0.0.1:{self.ports[1]}"
        call = self.uac.send_invite(
            f"sip:caller@127.0.0.1:{self.ports[0]}",
            f"sip:callee@{callee}",
            ("127.0.0.1", self.ports[1]),
            SDP,
        )
        over = self.over[call.call_id] = asyncio.get_running_loop().create_future()
        await call.wait_answered()
        call.hangup(self.uac)
        await over

    def answer(self, call: object) -> None:
        call.ringing()  # type: ignore[attr-defined]  # the peer has no types for us
        call.accept(SDP)  # type: ignore[attr-defined]

    def end(self, call: object, request: object) -> None:
        self.over.pop(call.call_id).set_result(None)  # type: ignore[attr-defined]


def main() -> None:
    loop = asyncio.new_event_loop()
    phones = Phones()
    loop.run_until_complete(phones.start())
    serve(lambda count: loop.run_until_complete(keep_busy(count, phones.call)))


if __name__ == "__main__":
    main()
