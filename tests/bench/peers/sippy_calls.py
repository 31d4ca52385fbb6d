"""Calls through sippy's user agents and its own event loop."""

from typing import Any

from sippy.CCEvents import CCEventConnect, CCEventDisconnect, CCEventRing, CCEventTry
from sippy.Core.EventDispatcher import ED2
from sippy.MsgBody import MsgBody
from sippy.SipConf import SipConf
from sippy.SipTransactionManager import SipTransactionManager
from sippy.UA import UA

from tests.bench.peers.window import OFFER, TOGETHER, free_port, serve


class Silent:
    """A log that nobody keeps; theirs writes a file."""

    def write(self, *args: object, **kwargs: object) -> None: ...


def config(port: int) -> dict[str, Any]:
    return {
        "_sip_address": "127.0.0.1",
        "_sip_port": port,
        "_sip_logger": Silent(),
        "nh_addr": ("127.0.0.1", port),
    }


class Phones:
    """Both ends, each with a transaction manager and a socket of its own."""

    def __init__(self) -> None:
        ports = free_port(), free_port()
        self.caller, self.callee = config(ports[0]), config(ports[1])
        self.address = ("127.0.0.1", ports[1])
        self.caller["_sip_tm"] = SipTransactionManager(self.caller, self.refuse)
        self.callee["_sip_tm"] = SipTransactionManager(self.callee, self.receive)
        self.left = self.open = 0

    def run(self, count: int) -> None:
        self.left = count
        for _ in range(min(TOGETHER, count)):
            self.call()
        ED2.loop()

    def call(self) -> None:
        self.left -= 1
        self.open += 1
        ua = UA(self.caller, event_cb=self.hear_caller, nh_address=self.address)
        ua.recvEvent(CCEventTry((None, "caller", "callee", MsgBody(OFFER), None, "Caller")))

    def hear_caller(self, event: object, ua: Any) -> None:
        if isinstance(event, CCEventConnect):
            ua.recvEvent(CCEventDisconnect())

    def receive(self, request: Any, transaction: Any) -> object:
        if request.getMethod() != "INVITE" or request.getHFBody("to").getTag() is not None:
            return (request.genResponse(481, "No Such Call"), None, None)
        return UA(self.callee, self.hear_callee).recvRequest(request, transaction)

    def hear_callee(self, event: object, ua: Any) -> None:
        if isinstance(event, CCEventTry):
            ua.recvEvent(CCEventRing((180, "Ringing", None)))
            ua.recvEvent(CCEventConnect((200, "OK", MsgBody(OFFER))))
        elif isinstance(event, CCEventDisconnect):
            self.done()

    def refuse(self, request: Any, transaction: Any) -> object:
        return (request.genResponse(501, "Not Implemented"), None, None)

    def done(self) -> None:
        self.open -= 1
        if self.left:
            self.call()
        elif not self.open:
            ED2.breakLoop()


def main() -> None:
    SipConf.my_uaname = "sippy"
    serve(Phones().run)


if __name__ == "__main__":
    main()
