"""The load: a process that is the browser and the PBX of every call, `python -m ….generator`.

Steered by lines of JSON on standard input, each answered by one on standard output:

    {"op": "offer", "call": N, "browser": codec, "pbx": codec}   → the browser's offer
    {"op": "pbx", "call": N, "sdp": offer}                       → the PBX's answer
    {"op": "browser", "call": N, "sdp": answer}                  → once ICE and DTLS are up
    {"op": "run", "seconds": S, "from": F}                       → what was seen, see `analysis`
    {"op": "reset"}                                              → all calls forgotten

Descriptions, ICE and DTLS are those of the tests' parties. What is played is encrypted before it is
played, so that a packet costs one `send`; what arrives is kept with the kernel's time of arrival
and read when the run is over. The packets of all calls are spread evenly over 20 ms, the two legs
of a call at places that have nothing to do with each other, each at its own place in the speech.
"""

import contextlib
import gc
import json
import random
import select
import sys
import time
from dataclasses import dataclass, field
from socket import AF_INET, SO_RCVBUF, SOCK_DGRAM, SOL_SOCKET, socket
from typing import Any

from media.rtcp import ReceiverReport, SenderReport, SourceDescription, ntp_time
from media.rtp import build
from media.srtp import Srtp
from tests.bench.media import analysis
from tests.bench.media.analysis import Arrival, Leg
from tests.bench.media.speech import CLOCKS, FRAMES, Speech
from tests.lab.ports import HOST
from tests.media.party import Browser, Pbx

_LINES = {
    "opus": ("111 opus/48000/2", "110 telephone-event/48000"),
    "g722": ("9 G722/8000", "101 telephone-event/8000"),
    "pcmu": ("0 PCMU/8000", "101 telephone-event/8000"),
}
_PAYLOAD_TYPES = {"opus": 111, "g722": 9, "pcmu": 0}
_PERIOD = 0.020
_SETUP_LIMIT = 12.0
_REPORTS = 5.0  # seconds between RTCP packets
_CHORES = 0.5  # seconds between looks at the timers of ICE
_SO_TIMESTAMPNS = 35  # asm-generic/socket.h; the module does not name it
_RECEIVE_BUFFER = 4 * 1024 * 1024


@dataclass
class _End:
    """One leg: a socket, what is played on it, what arrived."""

    rtp: socket
    codec: str
    rtcp: socket | None = None  # of a PBX that has its RTCP beside
    payload_type: int = 0
    ssrc: int = field(default_factory=lambda: random.getrandbits(32))
    start: int = field(default_factory=lambda: random.randrange(FRAMES))  # in the speech
    wire: list[bytes] = field(default_factory=list)
    sent: list[float] = field(default_factory=list)
    arrived: list[tuple[float, bytes]] = field(default_factory=list)
    next_report: float = 0.0
    octets: int = 0

    def prepare(self, srtp: Srtp, payloads: list[bytes], count: int) -> None:
        """Encrypt what will be played."""
        step = CLOCKS[self.codec] // 50
        for i in range(count):
            payload = payloads[(self.start + i) % FRAMES]
            data = build(self.payload_type, i, i * step, self.ssrc, payload, i == 0)
            protected = srtp.protect(data)
            assert protected is not None
            self.wire.append(protected)

    def report(self, srtp: Srtp, now: float) -> None:
        count = len(self.sent)
        step = CLOCKS[self.codec] // 50
        ntp = ntp_time(time.time())
        data = bytes(SenderReport(self.ssrc, ntp, count * step, count, 100 * count))
        protected = srtp.protect_rtcp(data + bytes(SourceDescription(self.ssrc, "load")))
        if protected:
            with contextlib.suppress(ConnectionRefusedError):  # not everybody has a port for it
                (self.rtcp or self.rtp).send(protected)
        self.next_report = now + _REPORTS


class _Call:
    def __init__(self, browser_codec: str, pbx_codec: str) -> None:
        self.browser_end = _End(_bound(), browser_codec)
        rtp, rtcp = _bound_pair()
        self.pbx_end = _End(rtp, pbx_codec, rtcp)
        address = self.browser_end.rtp.getsockname()
        self.browser = Browser(offers=True, address=address, now=time.monotonic())
        self.browser.formats = _LINES[browser_codec]
        if browser_codec == "opus":
            self.browser.parameters = ("111 minptime=10;useinbandfec=1",)
        self.pbx = Pbx(address=rtp.getsockname())
        self.pbx.formats = _LINES[pbx_codec]

    @property
    def ends(self) -> tuple[_End, _End]:
        return self.browser_end, self.pbx_end

    def take_pbx(self, sdp: str) -> str:
        answer = self.pbx.answer(sdp)
        self.pbx_end.payload_type = int(self.pbx.formats[0].split()[0])
        host, port = self.pbx.far
        self.pbx_end.rtp.connect((host, port))
        if self.pbx_end.rtcp is not None:
            self.pbx_end.rtcp.connect((host, port + 1))
        return answer

    def take_browser(self, sdp: str) -> None:
        self.browser_end.payload_type = _PAYLOAD_TYPES[self.browser_end.codec]
        self.browser.accept(sdp, time.monotonic())

    def handle_browser(self, data: bytes, source: tuple[str, int]) -> None:
        self.browser.end.receive(data, source, 0, time.monotonic())
        self.flush()

    def connect_browser(self, now: float) -> None:
        """From here on packets need no address; a first report finds out which it is."""
        report = bytes(ReceiverReport(self.browser_end.ssrc)) + bytes(
            SourceDescription(self.browser_end.ssrc, "load")
        )
        first = self.browser.end.send_rtcp(report, now)
        assert first is not None
        self.browser_end.rtp.connect(first.destination)
        self.browser_end.rtp.send(first.data)

    def flush(self) -> None:
        for out in self.browser.poll():
            self.browser_end.rtp.sendto(out.data, out.destination)

    def chores(self, now: float) -> None:
        due = self.browser.end.deadline()
        if due is not None and due <= now:
            self.browser.end.handle_timer(now)
            self.flush()

    def srtp(self, end: _End) -> Srtp:
        found = self.browser.end.srtp if end is self.browser_end else self.pbx.srtp
        assert found is not None
        return found

    def close(self) -> None:
        for end in self.ends:
            end.rtp.close()
            if end.rtcp is not None:
                end.rtcp.close()


class Generator:
    """See the module's head."""

    def __init__(self) -> None:
        self.speech = Speech.read_aloud()
        self._payloads = {name: self.speech.payloads(name) for name in _LINES}
        self._calls: dict[int, _Call] = {}
        self._epoll = select.epoll()
        self._by_fd: dict[int, tuple[_Call, _End]] = {}

    def handle(self, wish: dict[str, Any]) -> dict[str, Any]:
        match wish["op"]:
            case "offer":
                call = self._calls[wish["call"]] = _Call(wish["browser"], wish["pbx"])
                for end in call.ends:
                    self._by_fd[end.rtp.fileno()] = (call, end)
                    self._epoll.register(end.rtp.fileno(), select.EPOLLIN)
                return {"sdp": call.browser.offer()}
            case "pbx":
                return {"sdp": self._calls[wish["call"]].take_pbx(wish["sdp"])}
            case "browser":
                call = self._calls[wish["call"]]
                call.take_browser(wish["sdp"])
                return {"up": self._connect(call)}
            case "run":
                return self._run(wish["seconds"], wish["from"])
            case "reset":
                self._reset()
        return {}

    def _reset(self) -> None:
        for call in self._calls.values():
            for end in call.ends:
                self._epoll.unregister(end.rtp.fileno())
            call.close()
        self._calls.clear()
        self._by_fd.clear()
        gc.collect()

    def _connect(self, call: _Call) -> bool:
        """Go on until the browser is up, with the others' ICE beside."""
        limit = time.monotonic() + _SETUP_LIMIT
        while not call.browser.end.is_up:
            now = time.monotonic()
            if now > limit:
                return False
            for each in self._calls.values():
                each.chores(now)
            call.flush()
            self._read(0.005)
        call.connect_browser(time.monotonic())
        return True

    def _read(self, timeout: float) -> None:
        """Take what has arrived, one datagram of each socket."""
        if not select.select([self._epoll], [], [], timeout)[0]:  # in µs; epoll's own is in ms
            return
        for fd, _ in self._epoll.poll(0):
            call, end = self._by_fd[fd]
            try:
                data, extra, _, source = end.rtp.recvmsg(2048, 64)
            except OSError:
                continue
            if end is call.browser_end and data[0] < 128:
                call.handle_browser(data, source)
            elif extra:
                stamp = extra[0][2]
                seconds = int.from_bytes(stamp[:8], sys.byteorder)
                at = seconds + int.from_bytes(stamp[8:16], sys.byteorder) / 1e9
                end.arrived.append((at, data))

    def _run(self, seconds: float, since: float) -> dict[str, Any]:
        """Play for so long; what counts begins after `since` seconds."""
        legs = [(call, end) for call in self._calls.values() for end in call.ends]
        for call, end in legs:
            count = int(seconds / _PERIOD) + 2
            end.prepare(call.srtp(end), self._payloads[end.codec], count)
            end.arrived.clear()
        self._say({"playing": True})
        places = list(range(len(legs)))
        random.Random(4).shuffle(places)  # the same for every engine
        order = [legs[place] for place in places]
        gc.freeze()
        gc.disable()
        began, late = self._play(order, seconds)
        gc.enable()
        gc.unfreeze()
        found = analysis.read([_seen(c, self.speech) for c in self._calls.values()], began + since)
        found["generator_late_ms"] = analysis.percentile(late, 0.99) * 1000
        return found

    def _play(self, order: list[tuple[_Call, _End]], seconds: float) -> tuple[float, list[float]]:
        count = len(order)
        gap = _PERIOD / count
        start = time.monotonic() + 0.05
        wall = time.time() - time.monotonic()
        for i, (_, end) in enumerate(order):
            end.next_report = start + 1.0 + i * _REPORTS / count
        late: list[float] = []
        turn, chores = 0, start
        last = int(seconds / _PERIOD) * count
        while turn < last:
            now = time.monotonic()
            due = start + turn * gap
            while due <= now and turn < last:
                call, end = order[turn % count]
                end.sent.append(time.time())
                end.rtp.send(end.wire[turn // count])
                late.append(now - due)
                if now >= end.next_report:
                    end.report(call.srtp(end), now)
                turn += 1
                due = start + turn * gap
                now = time.monotonic()
            if now >= chores:
                chores = now + _CHORES
                for call in self._calls.values():
                    call.chores(now)
            self._read(max(0.0, due - now))
        return start + wall, late

    def _say(self, what: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(what) + "\n")
        sys.stdout.flush()

    def serve(self) -> None:
        for line in sys.stdin:
            self._say(self.handle(json.loads(line)))


def _seen(call: _Call, speech: Speech) -> tuple[Leg, Leg]:
    """A call's two legs for the analysis, with what arrived decrypted."""
    legs = []
    for end in call.ends:
        srtp = call.srtp(end)
        arrivals = []
        for at, data in end.arrived:
            if not 192 <= data[1] <= 223 and (plain := srtp.unprotect(data)) is not None:
                arrivals.append(Arrival.of(at, plain))
        offset = end.start * 160 * 2
        said = (speech.narrow + speech.narrow)[offset : offset + len(speech.narrow)]
        legs.append(Leg(end.codec, end.sent, arrivals, said))
    return legs[0], legs[1]


def _bound(port: int = 0) -> socket:
    one = socket(AF_INET, SOCK_DGRAM)
    one.setsockopt(SOL_SOCKET, SO_RCVBUF, _RECEIVE_BUFFER)
    one.setsockopt(SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    try:
        one.bind((HOST, port))
    except OSError:
        one.close()
        raise
    return one


def _bound_pair() -> tuple[socket, socket]:
    """An even port and the one above."""
    for _ in range(200):
        first = random.randrange(32_768, 60_000) & ~1
        try:
            rtp = _bound(first)
        except OSError:
            continue
        try:
            return rtp, _bound(first + 1)
        except OSError:
            rtp.close()
    raise OSError("no two ports in a row are free")


if __name__ == "__main__":
    Generator().serve()
