"""An hour of a call whose ends' clocks differ by 200 ppm, in virtual time.

python -m tests.bench.quality.drift
"""

import sys

import numpy as np

from media.codec import encoder
from media.rtp import RtpPacket
from media.transcode import Transcoder
from tests.bench.quality.network import FRAME
from tests.bench.quality.speech import TALKERS, say
from tests.bench.quality.virtual import FORMATS

HOUR = int(3600 / FRAME)
_RATE = 8000


def bend(pcm: bytes) -> float:
    """The sharpest bend in the sound: what a click is made of."""
    return float(np.abs(np.diff(np.frombuffer(pcm, np.int16).astype(float), 2)).max())


def run(drift: float) -> str:
    """Speech without end, each packet a little later or earlier than the last."""
    spoken = b"".join(say(talker, _RATE) for talker in TALKERS)
    size = 2 * int(FRAME * _RATE)
    coder = encoder("pcmu", _RATE, {})
    payloads = [coder.encode(spoken[i : i + size]) for i in range(0, len(spoken), size)]
    subject = Transcoder(FORMATS["pcmu"], FORMATS["opus"])
    step = int(FRAME * _RATE)
    said, now, delays, before, sharpest = 0, 0.013, [], b"", 0.0
    for tick in range(HOUR):
        while (at := said * FRAME * (1 + drift)) <= now:
            payload = payloads[said % len(payloads)]
            subject.push(
                RtpPacket(0, said & 0xFFFF, said * step & 0xFFFFFFFF, 7, payload, False), at
            )
            said += 1
        heard, _ = subject.pull(now)
        now += FRAME
        if tick > 1 / FRAME:
            delays.append(subject.delay)
            sharpest = max(sharpest, bend(before[-8:] + heard))
        before = heard
    lost = subject.lost + subject.late + subject.dropped
    return (
        f"{drift * 1e6:+.0f} ppm: delay {min(delays) * 1000:.0f} to {max(delays) * 1000:.0f} ms,"
        f" {delays[-1] * 1000:.0f} at the end; {lost} frames lost or late;"
        f" sharpest bend {sharpest:.0f}, of the speech itself {bend(spoken):.0f}\n"
    )


if __name__ == "__main__":
    for parts in (200, -200):
        sys.stdout.write(run(parts * 1e-6))
