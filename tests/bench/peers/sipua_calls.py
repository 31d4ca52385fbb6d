"""Calls through sipua's dialogs and transactions; its `Call` would bring WebRTC media with it."""

import asyncio

import sipmessage
import sipua

from tests.bench.peers.window import OFFER, free_port, keep_busy, serve

BODY = OFFER.encode()


class Callee(sipua.Application):  # type: ignore[misc]  # the peer has no types for us
    """Rings, answers, and takes the BYE."""

    async def handle_request(self, request: object) -> None:
        if request.method != "INVITE":  # type: ignore[attr-defined]
            return  # the ACK of a 2xx comes here too
        dialog = Answering.create_uas(dialog_layer=self.dialog_layer, request=request)
        await dialog.send_response(dialog.create_response(request, 180))
        response = dialog.create_response(request, 200)
        response.content_type = "application/sdp"
        response.body = BODY
        await dialog.send_response(response)


class Answering(sipua.Dialog):  # type: ignore[misc]
    """The callee's end of a call."""

    async def handle_request(self, request: object) -> None:
        if request.method == "BYE":  # type: ignore[attr-defined]
            await self.send_response(self.create_response(request, 200))
            self._dialog_layer._dialog_terminated(self)


class Phones:
    """Both ends."""

    def __init__(self) -> None:
        self.ports = free_port(), free_port()
        self.caller, self.callee = sipua.Application(), Callee()

    async def start(self) -> None:
        for application, port in zip((self.caller, self.callee), self.ports, strict=True):
            await application.listen(sipua.TransportAddress("udp", "127.0.0.1", port))

    async def call(self) -> None:
        dialog = sipua.Dialog.create_uac(
            dialog_layer=self.caller.dialog_layer,
            local_address=sipmessage.Address.parse(f"<sip:caller@127.0.0.1:{self.ports[0]}>"),
            remote_address=sipmessage.Address.parse(f"<sip:callee@127.0.0.1:{self.ports[1]}>"),
        )
        invite = dialog.create_request("INVITE")
        invite.content_type = "application/sdp"
        invite.body = BODY
        answer = await dialog.send_request(invite)
        assert answer.code == 200
        bye = await dialog.send_request(dialog.create_request("BYE"))
        assert bye.code == 200
        self.caller.dialog_layer._dialog_terminated(dialog)


def main() -> None:
    loop = asyncio.new_event_loop()
    phones = Phones()
    loop.run_until_complete(phones.start())
    serve(lambda count: loop.run_until_complete(keep_busy(count, phones.call)))


if __name__ == "__main__":
    main()
