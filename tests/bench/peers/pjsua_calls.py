"""Calls through PJSUA2, which is C++ with a Python binding: an endpoint that calls itself.

It cannot do without media: sockets are opened and its SDP negotiated, but no sound device runs.
"""

import time

import pjsua2 as pj

from tests.bench.peers.window import free_port, serve

# The wheel is built for four calls, which are two with both ends.
AT_ONCE = 2

# Each call has four media sockets, and the library has room for 64 and keeps a closed one for half
# a second. Waiting costs no CPU.
PAUSE = 0.06


class Call(pj.Call):  # type: ignore[misc]  # the peer has no types for us
    """Either end of a call."""

    def __init__(self, phone: "Phone", id: int = pj.PJSUA_INVALID_ID) -> None:
        super().__init__(phone, id)
        self.phone = phone
        self.ours = id == pj.PJSUA_INVALID_ID

    def onCallState(self, prm: object) -> None:
        state = self.getInfo().state
        if state == pj.PJSIP_INV_STATE_CONFIRMED and self.ours:
            self.hangup(pj.CallOpParam())
        elif state == pj.PJSIP_INV_STATE_DISCONNECTED:
            self.phone.over(self)


class Phone(pj.Account):  # type: ignore[misc]
    """The account."""

    def __init__(self, endpoint: object, port: int) -> None:
        super().__init__()
        self.endpoint = endpoint
        self.target = f"sip:callee@127.0.0.1:{port}"
        self.calls: set[Call] = set()
        self.dead: list[Call] = []
        self.left = 0
        self.next_at = 0.0

    def run(self, count: int) -> None:
        self.left = count
        while self.left or self.calls:
            ready = time.monotonic() >= self.next_at
            if self.left and ready and sum(call.ours for call in self.calls) < AT_ONCE:
                self.place()
            self.endpoint.libHandleEvents(10)  # type: ignore[attr-defined]
            self.dead.clear()

    def place(self) -> None:
        self.left -= 1
        self.next_at = time.monotonic() + PAUSE
        call = Call(self)
        self.calls.add(call)
        call.makeCall(self.target, pj.CallOpParam(True))

    def onIncomingCall(self, prm: object) -> None:
        call = Call(self, prm.callId)  # type: ignore[attr-defined]
        self.calls.add(call)
        answer = pj.CallOpParam()
        answer.statusCode = 180
        call.answer(answer)
        answer.statusCode = 200
        call.answer(answer)

    def over(self, call: Call) -> None:
        self.calls.discard(call)
        self.dead.append(call)  # not to be destroyed within its own callback


def main() -> None:
    endpoint = pj.Endpoint()
    endpoint.libCreate()
    settings = pj.EpConfig()
    settings.logConfig.level = settings.logConfig.consoleLevel = 0
    settings.uaConfig.threadCnt = 0
    endpoint.libInit(settings)
    port = free_port()
    transport = pj.TransportConfig()
    transport.port = port
    transport.boundAddress = transport.publicAddress = "127.0.0.1"
    endpoint.transportCreate(pj.PJSIP_TRANSPORT_UDP, transport)
    endpoint.libStart()
    endpoint.audDevManager().setNoDev()
    account = pj.AccountConfig()
    account.idUri = f"sip:caller@127.0.0.1:{port}"
    phone = Phone(endpoint, port)
    phone.create(account)
    serve(phone.run)


if __name__ == "__main__":
    main()
