"""A whole call whose audio to the browser goes through our relay alone, over UDP, TCP and TLS: a
real worker, and a real TURN server."""

import re
from collections.abc import Iterator

import pytest

from media.plane import (
    IceServer,
    SessionSettings,
)
from tests.media.coturn import Coturn, serving
from tests.media.test_local import Call, running

pytestmark = pytest.mark.lab


class RelayedCall(Call):
    """Neither side learns where the other one really is."""

    def to_us(self, sdp: str) -> str:
        """The host is right, so that the relay lets it through; nobody is at the port."""
        return re.sub(r"(a=candidate:.* )\d+( typ host)", r"\g<1>9\g<2>", sdp)

    def to_browser(self, sdp: str) -> str:
        lines = sdp.split("\r\n")
        direct = [line for line in lines if "a=candidate" in line and "typ relay" not in line]
        return "\r\n".join(line for line in lines if line not in direct)


@pytest.fixture(scope="module")
def coturn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coturn]:
    with serving(tmp_path_factory.mktemp("coturn")) as coturn:
        yield coturn


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
async def test_a_call_is_heard_through_our_relay_alone(
    transport: str, coturn: Coturn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(coturn.authority))
    uri = {
        "udp": f"turn:localhost:{coturn.port}?transport=udp",
        "tcp": f"turn:localhost:{coturn.port}?transport=tcp",
        "tls": f"turns:localhost:{coturn.tls_port}",
    }[transport]
    settings = SessionSettings(ice_servers=(IceServer((uri,), "lab", "lab-turn"),))
    async with running() as plane:
        call = RelayedCall(plane, settings)
        await call.connect()
        await call.hears_tones()
        closed = await call.hang_up()
    assert closed.report.webrtc.transport == "udp relay→prflx"
