"""A browser joined to an SDES-SRTP trunk with aiortc, as a Python user would write it.

Run by an interpreter that has aiortc; steered by lines of JSON on standard input, each answered by
one on standard output:

    {"op": "offer", "call": N, "sdp": the browser's, "codec": the trunk's}  → offer for the PBX
    {"op": "answer", "call": N, "sdp": the PBX's}                          → answer for the browser
    {"op": "close", "call": N}

The WebRTC side is an RTCPeerConnection. The trunk's side is a datagram endpoint with pylibsrtp,
aiortc's own packets, codecs and jitter buffer (as deep as it makes it for audio), and a track each
way.
"""

import asyncio
import base64
import json
import os
import re
import sys
from typing import Any

import aioice.ice
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpCodecParameters,
    RTCSessionDescription,
)
from aiortc.codecs import get_decoder, get_encoder
from aiortc.jitterbuffer import JitterBuffer
from aiortc.mediastreams import MediaStreamError
from aiortc.rtp import RtpPacket
from pylibsrtp import Policy, Session

HOST = "127.0.0.1"
aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: [HOST]  # it skips loopback by itself

CODECS = {
    "opus": RTCRtpCodecParameters("audio/opus", 48000, 2, 111),
    "g722": RTCRtpCodecParameters("audio/G722", 8000, 1, 9),
    "pcmu": RTCRtpCodecParameters("audio/PCMU", 8000, 1, 0),
}
QUEUE = 10  # frames


class TrunkTrack(MediaStreamTrack):  # type: ignore[misc]  # the peer has no types for us
    """What the trunk says."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self.frames: asyncio.Queue[object] = asyncio.Queue(QUEUE)

    async def recv(self) -> object:
        return await self.frames.get()


class Trunk(asyncio.DatagramProtocol):
    """The SDES side of one call."""

    def __init__(self, codec: RTCRtpCodecParameters) -> None:
        self.track = TrunkTrack()
        self.key = os.urandom(30)
        self.codec = codec
        self.payload_type = codec.payloadType
        self._decoder = get_decoder(codec)
        self._encoder = get_encoder(codec)
        self._buffer = JitterBuffer(capacity=16, prefetch=4)
        self._sequence = int.from_bytes(os.urandom(2), "big") >> 1
        self._ssrc = int.from_bytes(os.urandom(4), "big")
        self._far: tuple[str, int] | None = None
        self._tx: Any = None
        self._rx: Any = None
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def offer(self) -> str:
        port = self._transport.get_extra_info("sockname")[1]
        codec = self.codec
        channels = "/2" if codec.channels == 2 else ""
        name = codec.mimeType.partition("/")[2]
        return (
            f"v=0\r\no=- 1 1 IN IP4 {HOST}\r\ns=-\r\nc=IN IP4 {HOST}\r\nt=0 0\r\n"
            f"m=audio {port} RTP/SAVP {codec.payloadType}\r\n"
            f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{base64.b64encode(self.key).decode()}\r\n"
            f"a=rtpmap:{codec.payloadType} {name}/{codec.clockRate}{channels}\r\n"
            "a=ptime:20\r\na=sendrecv\r\n"
        )

    def accept(self, sdp: str) -> None:
        keys = re.findall(r"AES_CM_128_HMAC_SHA1_80 inline:([^|\s]+)", sdp)
        key = base64.b64decode(keys[0])
        port, payload_type = re.findall(r"m=audio (\d+) RTP/SAVP (\d+)", sdp)[0]
        self._far = (HOST, int(port))
        self.payload_type = int(payload_type)
        profile = Policy.SRTP_PROFILE_AES128_CM_SHA1_80
        self._tx = Session(
            Policy(key=self.key, ssrc_type=Policy.SSRC_ANY_OUTBOUND, srtp_profile=profile)
        )
        self._rx = Session(Policy(key=key, ssrc_type=Policy.SSRC_ANY_INBOUND, srtp_profile=profile))

    def datagram_received(self, data: bytes, address: Any) -> None:
        if self._rx is None or not 128 <= data[0] <= 191 or 192 <= data[1] <= 223:
            return
        packet = RtpPacket.parse(self._rx.unprotect(data))
        if packet.payload_type != self.payload_type:
            return
        packet._data = packet.payload  # what aiortc's receiver hands to its buffer
        _, frame = self._buffer.add(packet)
        if frame is None:
            return
        for decoded in self._decoder.decode(frame):
            if not self.track.frames.full():
                self.track.frames.put_nowait(decoded)

    async def send_from(self, track: MediaStreamTrack) -> None:
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            payloads, timestamp = self._encoder.encode(frame)
            for payload in payloads:
                packet = RtpPacket(
                    payload_type=self.payload_type,
                    sequence_number=self._sequence,
                    timestamp=timestamp & 0xFFFFFFFF,
                    ssrc=self._ssrc,
                    payload=payload,
                )
                self._sequence = (self._sequence + 1) & 0xFFFF
                if self._tx is not None:
                    self._transport.sendto(self._tx.protect(packet.serialize()), self._far)

    def close(self) -> None:
        self._transport.close()


class Call:
    """One call: a peer connection, a trunk, and what runs between them."""

    def __init__(self) -> None:
        self.peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.trunk: Any = None
        self._offer = ""
        self._task: asyncio.Task[None] | None = None

    async def offer(self, sdp: str, codec: str) -> str:
        loop = asyncio.get_running_loop()
        self._offer = sdp
        _, self.trunk = await loop.create_datagram_endpoint(
            lambda: Trunk(CODECS[codec]), local_addr=(HOST, 0)
        )
        return str(self.trunk.offer())

    async def answer(self, sdp: str) -> str:
        self.trunk.accept(sdp)

        @self.peer.on("track")  # type: ignore[untyped-decorator]
        def on_track(track: MediaStreamTrack) -> None:
            self._task = asyncio.create_task(self.trunk.send_from(track))

        await self.peer.setRemoteDescription(RTCSessionDescription(self._offer, "offer"))
        self.peer.addTrack(self.trunk.track)
        await self.peer.setLocalDescription(await self.peer.createAnswer())
        return str(self.peer.localDescription.sdp)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
        await self.peer.close()
        self.trunk.close()


async def main() -> None:
    calls: dict[int, Call] = {}
    lines = asyncio.StreamReader(limit=1024 * 1024)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        wish = json.loads(line)
        call = calls.setdefault(wish["call"], Call())
        sdp = ""
        if wish["op"] == "offer":
            sdp = await call.offer(wish["sdp"], wish["codec"])
        elif wish["op"] == "answer":
            sdp = await call.answer(wish["sdp"])
        else:
            await calls.pop(wish["call"]).close()
        sys.stdout.write(json.dumps({"sdp": sdp}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
