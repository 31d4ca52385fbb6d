"""The ends of the calls whose sound is judged, a process of its own: `python -m ….player`.

The load generator of `tests.bench.media`, with one thing more to ask for:

    {"op": "speak", "calls": {N: {"talker": T, "network": [loss, bursty, jitter], "place": P,
                                  "seed": S}}, "folder": F}
        → {"heard": [[N, flow, path], …], "behind": S}

Both ends of a call say the same sentences at the same time. The network is bad at one place:
`sent`, between either end and the engine, or `received`, between the engine and the browser, which
then reports the loss as browsers do, once a second from the start. Packets that a network loses are
not sent, or not listened to; the seed decides which, the same for every engine. What each end heard
is left in the folder as PCM. `behind` is how late, in seconds, one in a hundred packets was sent
for want of a processor: a few milliseconds, or the machine has been heard and not the network.
"""

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from media.negotiate import read_webrtc
from media.rtcp import ReceiverReport, ReportBlock, SourceDescription
from media.rtp import RtpPacket, build
from media.srtp import Srtp
from tests.bench.media.generator import Generator, _Call, _End
from tests.bench.quality import virtual
from tests.bench.quality.network import FRAME, Network
from tests.bench.quality.speech import TALKERS
from tests.bench.quality.virtual import FORMATS, TAIL, Arrival

_REPORT_EVERY = 1.0
_NETWORKS_BEHIND = 2


class Player(Generator):
    """See the module's head."""

    def handle(self, wish: dict[str, Any]) -> dict[str, Any]:
        if wish["op"] != "speak":
            return super().handle(wish)
        calls = [_Spoken(self._calls[int(n)], int(n), **what) for n, what in wish["calls"].items()]
        behind = self._converse(calls)
        folder = Path(wish["folder"])
        return {
            "heard": [heard for call in calls for heard in call.heard(folder)],
            "behind": behind,
        }

    def _converse(self, calls: "list[_Spoken]") -> float:
        with ThreadPoolExecutor(1) as beside:
            prepared = beside.submit(_schedule, calls)
            while not prepared.done():  # who is asked for consent meanwhile answers
                for each in calls:
                    each.call.chores(time.monotonic())
                self._read(0.01)
        for each in calls:
            for leg in each.call.ends:
                leg.arrived.clear()
        schedule = prepared.result()
        start = time.monotonic() + 0.1
        reports = start + 0.3
        position = 0
        behind = []
        while position < len(schedule) or time.monotonic() < start + schedule[-1][0] + TAIL:
            now = time.monotonic()
            while position < len(schedule) and start + schedule[position][0] <= now:
                _, i, end, data = schedule[position]
                calls[i].send(end, data)
                behind.append(now - start - schedule[position][0])
                position += 1
                now = time.monotonic()
            if now >= reports:
                reports += _REPORT_EVERY
                for call in calls:
                    call.call.chores(now)
                    call.report()
            due = start + schedule[position][0] if position < len(schedule) else now + 0.005
            self._read(max(0.0, min(due - now, 0.005)))
        return sorted(behind)[len(behind) * 99 // 100]


def _schedule(calls: "list[_Spoken]") -> list[tuple[float, int, int, bytes]]:
    """When, in which call, from which end, what."""
    return sorted(
        (at, i, end, data)
        for i, call in enumerate(calls)
        for at, end, data in call.packets(i * FRAME / len(calls))
    )


class _Spoken:
    """One call, and what is said in it."""

    def __init__(
        self,
        call: _Call,
        number: int,
        *,
        talker: int,
        network: tuple[float, bool, float],
        place: str,
        seed: int,
    ) -> None:
        self.call = call
        self._number = number
        self._talker = TALKERS[talker]
        self._network = Network(*network)
        self._place = place
        self._seed = seed
        self._taken: dict[int, list[Arrival]] = {}

    def packets(self, offset: float) -> list[tuple[float, int, bytes]]:
        """When, from which end, what: as it is on the wire."""
        found = []
        before = self._network if self._place == "sent" else Network()
        for which, end in enumerate(self.call.ends):
            payloads = virtual.spoken(self._talker, end.codec, before.loss, self._fmtp())
            form = FORMATS[end.codec]
            srtp = self.call.srtp(end)
            fates = before.fates(len(payloads), self._seed + which)
            for i, (payload, fate) in enumerate(zip(payloads, fates, strict=True)):
                step = int(FRAME * form.clock_rate)
                plain = build(end.payload_type, i, i * step, end.ssrc, payload, i == 0)
                data = _protected(srtp, plain)
                if fate is not None:
                    found.append((offset + i * FRAME + fate, which, data))
        return found

    def _fmtp(self) -> dict[str, str]:
        """What the engine said to the browser of its Opus."""
        remote = read_webrtc(self.call.browser.remote_sdp)
        opus = next((f for f in remote.formats if f.key == "opus"), None)
        parts = opus.parameters.split(";") if opus is not None else ()
        return {name.strip(): value for name, _, value in (p.partition("=") for p in parts)}

    def send(self, which: int, data: bytes) -> None:
        self.call.ends[which].rtp.send(data)

    def report(self) -> None:
        """What the browser's RTCP says of the network behind the engine."""
        end = self.call.browser_end
        if self._place != "received" or not end.arrived:
            return
        last = end.arrived[-1][1]
        loss = round(self._network.loss * 256)
        block = ReportBlock(int.from_bytes(last[8:12]), loss, 0, int.from_bytes(last[2:4]), 0, 0, 0)
        report = bytes(ReceiverReport(end.ssrc, (block,))) + bytes(
            SourceDescription(end.ssrc, "load")
        )
        protected = self.call.srtp(end).protect_rtcp(report)
        if protected:
            with contextlib.suppress(ConnectionRefusedError):
                end.rtp.send(protected)

    def heard(self, folder: Path) -> list[tuple[int, str, str]]:
        """What each end heard, as a file; empty where nothing came."""
        browser, pbx = self.call.ends
        found = []
        if self._place == "sent":
            found.append((self._number, "up", self._listen(pbx, browser, folder, Network())))
            found.append((self._number, "down", self._listen(browser, pbx, folder, Network())))
        else:
            # One call is listened to through several networks of the kind: that takes no time.
            for seed in range(_NETWORKS_BEHIND if self._network.loss else 1):
                path = self._listen(browser, pbx, folder, self._network, self._seed + seed)
                found.append((self._number, "air", path))
        return found

    def _arrivals(self, at: _End) -> list[Arrival]:
        """What came, in clear; SRTP takes each packet once."""
        found = self._taken.get(id(at))
        if found is not None:
            return found
        srtp = self.call.srtp(at)
        arrivals = self._taken[id(at)] = []
        for when, data in at.arrived:
            if not 192 <= data[1] <= 223 and (plain := srtp.unprotect(data)) is not None:
                packet = RtpPacket.parse(plain)
                if packet.payload_type == at.payload_type:
                    arrivals.append(Arrival(when, packet))
        return arrivals

    def _listen(self, at: _End, other: _End, folder: Path, network: Network, seed: int = 0) -> str:
        arrivals = self._arrivals(at)
        fates = network.fates(max(100, len(arrivals)), seed)
        arrived = [
            Arrival(arrival.at + fate, arrival.packet)
            for arrival, fate in zip(arrivals, fates, strict=False)
            if fate is not None
        ]
        path = folder / f"{self._number}-{at.codec}-{self._place}-{seed}.pcm"
        path.write_bytes(virtual.heard(arrived, FORMATS[at.codec], other.codec) if arrived else b"")
        return str(path)


def _protected(srtp: Srtp, plain: bytes) -> bytes:
    data = srtp.protect(plain)
    assert data is not None, "a short stream does not use its key up"
    return data


if __name__ == "__main__":
    Player().serve()
