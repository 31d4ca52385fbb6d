"""What the audio path costs, without sockets: microseconds for each stage, CPU for a call.

    python -m tests.bench.media_path

CPU of one thread of this process, medians of repeated runs. A call is both directions, 50 packets
a second each; its figure is CPU milliseconds for each second of the call, and includes SRTP of
both sides, playout buffer, decoding, encoding and the building of packets.
"""

import os
import statistics
import sys
import time
from array import array
from collections.abc import Callable
from math import pi, sin

from media import rtp
from media.codec import RATES, common_rate, decoder, encoder
from media.direction import Direction
from media.format import Format
from media.jitter import PlayoutBuffer
from media.rtp import RtpPacket
from media.srtp import SUITES, Srtp

SECONDS = 10
RUNS = 5
FRAMES = SECONDS * 50

FORMATS = {
    "opus": Format("opus", 111, 48000, 110, 48000, {"useinbandfec": "1"}),
    "g722": Format("g722", 9, 8000, 101),
    "pcma": Format("pcma", 8, 8000, 101),
    "pcmu": Format("pcmu", 0, 8000, 101),
}


def voice(rate: int, seconds: int) -> bytes:
    """Something that costs an encoder what speech does: a moving pitch with harmonics, in
    syllables."""
    samples = array("h")
    phase = 0.0
    for i in range(rate * seconds):
        t = i / rate
        phase += 2 * pi * (120 + 30 * sin(2 * pi * 0.7 * t)) / rate
        level = max(0.0, sin(2 * pi * 2.5 * t)) * 5000
        samples.append(int(level * sum(sin(n * phase) / n for n in (1, 2, 3, 4, 5, 7, 11))))
    return samples.tobytes()


def frames(rate: int) -> list[bytes]:
    size = 2 * rate // 50
    sound = voice(rate, SECONDS)
    return [sound[i : i + size] for i in range(0, len(sound), size)]


def clock(run: Callable[[], object]) -> float:
    """Median CPU seconds of a run."""
    times = []
    for _ in range(RUNS):
        start = time.thread_time()
        run()
        times.append(time.thread_time() - start)
    return statistics.median(times)


def stage(name: str, count: int, run: Callable[[], object]) -> None:
    sys.stdout.write(f"  {name:<42} {clock(run) / count * 1e6:7.2f} µs\n")


def bench_packets() -> None:
    payload = bytes(160)
    wire = [rtp.build(0, i & 0xFFFF, i * 160, 7, payload) for i in range(20_000)]
    packets = [RtpPacket.parse(data) for data in wire]
    stage("rtp: parse", len(wire), lambda: [RtpPacket.parse(data) for data in wire])
    stage("rtp: build", len(wire), lambda: [bytes(packet) for packet in packets])

    def play() -> None:
        buffer = PlayoutBuffer(8000)
        for i, packet in enumerate(packets):
            buffer.push(packet, i * 0.02)
            buffer.pop(i * 0.02 + 0.01)

    stage("jitter: push and pop", len(packets), play)
    for name, suite in SUITES.items():
        key = os.urandom(suite.master_length)

        def protect(name: str = name, key: bytes = key) -> list[bytes]:
            context = Srtp(name, key, key)
            return [data for packet in wire if (data := context.protect(packet))]

        secret = protect()

        def unprotect(
            name: str = name, key: bytes = key, secret: list[bytes] = secret
        ) -> list[bytes | None]:
            context = Srtp(name, key, key)
            return [context.unprotect(packet) for packet in secret]

        stage(f"srtp: protect {name}", len(wire), protect)
        stage(f"srtp: unprotect {name}", len(wire), unprotect)


def bench_codecs() -> None:
    for name, rates in RATES.items():
        for rate in rates:
            bench_codec(name, rate)


def bench_codec(name: str, rate: int) -> None:
    pcm = frames(rate)
    coder, listener = encoder(name, rate, {}), decoder(name, rate)
    payloads = [coder.encode(frame) for frame in pcm]

    def conceal() -> None:
        for i in range(0, FRAMES - 2, 2):
            listener.decode(payloads[i])
            listener.conceal(rate // 50, payloads[i + 2])

    stage(f"{name} {rate} Hz: encode", FRAMES, lambda: [coder.encode(frame) for frame in pcm])
    stage(f"{name} {rate} Hz: decode", FRAMES, lambda: [listener.decode(p) for p in payloads])
    stage(f"{name} {rate} Hz: decode one, conceal one", FRAMES // 2, conceal)


def wire_of(name: str) -> list[bytes]:
    """Ten seconds of packets of one side."""
    form = FORMATS[name]
    rate = RATES[name][0]
    coder = encoder(name, rate, form.fmtp)
    step = form.clock_rate // 50
    return [
        rtp.build(form.payload_type, i, i * step, 1, coder.encode(frame))
        for i, frame in enumerate(frames(rate))
    ]


class Leg:
    """Both ends of one side's SRTP, and a second's packets after another that came from it."""

    def __init__(self, suite: str, name: str) -> None:
        key = os.urandom(SUITES[suite].master_length)
        self.inner = Srtp(suite, key, key)
        far = Srtp(suite, key, key)
        self.arriving = [data for packet in wire_of(name) if (data := far.protect(packet))]


def bench_call(one: str, other: str) -> tuple[float, Direction]:
    """CPU milliseconds for each second of a call, and one of its directions afterwards."""
    times = []
    direction: Direction
    for _ in range(RUNS):
        legs = (Leg("AEAD_AES_128_GCM", one), Leg("AES_CM_128_HMAC_SHA1_80", other))
        forms = (FORMATS[one], FORMATS[other])
        directions = [
            Direction(
                sources={forms[i].payload_type: forms[i]},
                sink=forms[1 - i],
                ssrc=9,
                sequence=0,
                timestamp=0,
            )
            for i in (0, 1)
        ]
        direction = directions[0]
        start = time.thread_time()
        for i in range(FRAMES):
            for side in (0, 1):
                now = i * 0.02 + side * 0.007
                data = legs[side].inner.unprotect(legs[side].arriving[i])
                assert data is not None, "our own packet is authentic"
                out = directions[side].push(RtpPacket.parse(data), now)
                for packet in out:
                    legs[1 - side].inner.protect(packet)
            for side in (0, 1):
                for packet in directions[side].tick(i * 0.02 + 0.012):
                    legs[1 - side].inner.protect(packet)
        times.append(time.thread_time() - start)
    return statistics.median(times) / SECONDS * 1000, direction


def main() -> None:
    sys.stdout.write("One packet or frame of 20 ms:\n")
    bench_packets()
    bench_codecs()
    sys.stdout.write("One call, both directions, SRTP on both sides, no sockets:\n")
    for one, other in (("opus", "pcmu"), ("opus", "g722"), ("g722", "pcma"), ("opus", "opus"),
                       ("pcmu", "pcmu")):  # fmt: skip
        cost, direction = bench_call(one, other)
        rate = common_rate(one, other)
        sys.stdout.write(
            f"  {one:>5} ↔ {other:<5} {cost:6.2f} ms of CPU per call-second"
            f"   ({direction!r}, at {rate} Hz, buffer {direction.statistics.delay_ms:.0f} ms)\n"
        )


if __name__ == "__main__":
    main()
