"""What playing, recording and listening for tones cost a worker: `python -m tests.bench.prompts`.

CPU; each line is the median of five runs over ten seconds of sound, without sockets and SRTP.
"""

import statistics
import sys
import time
from collections.abc import Callable

from media.codec import RATES, encoder
from media.country import cadence
from media.detector import ToneDetector
from media.format import Format
from media.order import (
    Tone,
)
from media.plane import (
    Side,
)
from media.player import Player
from media.recorder import Recorder
from media.rtp import RtpPacket
from media.sound import RATE, Sound, SoundSource, pack
from media.tone import ToneSource
from tests.media.sound import frames, tone

SECONDS = 10
FORMATS = {
    "opus": Format("opus", 111, 48000, 110, 48000),
    "g722": Format("g722", 9, 8000, 101),
    "pcmu": Format("pcmu", 0, 8000, 101),
}


def _cost(work: Callable[[], object]) -> str:
    """Milliseconds per second of a call."""
    costs = []
    for _ in range(5):
        began = time.process_time()
        work()
        costs.append((time.process_time() - began) / SECONDS * 1000)
    return f"{statistics.median(costs):6.2f} ms per call-second"


def _hum() -> Sound:
    sound, coder = Sound(), encoder("opus", RATE, {})
    hum = frames(tone(440.0, RATE, SECONDS), RATE)
    sound.add(pack([coder.encode(frame) for frame in hum]))
    sound.is_whole = True
    return sound


def _said(name: str) -> list[RtpPacket]:
    form, rate = FORMATS[name], RATES[name][0]
    coder, step = encoder(name, rate, {}), form.clock_rate // 50
    said = frames(tone(600.0, rate, SECONDS), rate)
    return [
        RtpPacket(form.payload_type, i, i * step, 7, coder.encode(frame), i == 0)
        for i, frame in enumerate(said)
    ]


def _play(source: ToneSource | SoundSource, sink: Format) -> Callable[[], object]:
    player = Player(source)
    return lambda: [player.pull(sink) for _ in range(50 * SECONDS)]


def _record(*names: str) -> Callable[[], object]:
    said = {name: _said(name) for name in names}

    def work() -> None:
        sides = {side: FORMATS[name] for side, name in zip(Side, names, strict=False)}
        recorder = Recorder(sides=sides, max_seconds=60, max_bytes=10**7, silence=None, now=0.0)
        for i in range(50 * SECONDS):
            for side, name in zip(Side, names, strict=False):
                recorder.push(side, said[name][i], FORMATS[name], i * 0.02)
            if i % 5 == 4:
                recorder.tick(i * 0.02)

    return work


def _say(what: str, cost: str) -> None:
    sys.stdout.write(f"{what:28s} {cost}\n")


def main() -> None:
    for name, sink in FORMATS.items():
        _say(f"play a file to {name:12s}", _cost(_play(SoundSource(_hum(), None), sink)))
    for name, sink in FORMATS.items():
        ringback = ToneSource(cadence(Tone.RINGBACK, "DE"), None)
        _say(f"play a tone to {name:12s}", _cost(_play(ringback, sink)))
    for names in (("opus",), ("pcmu",), ("g722",), ("opus", "pcmu"), ("opus", "g722")):
        _say(f"record {' and '.join(names):20s}", _cost(_record(*names)))
    detector, pcm = ToneDetector(8000), frames(tone(440.0, 8000, SECONDS), 8000)
    _say(f"{'listen for tones':27s}", _cost(lambda: [detector.listen(frame) for frame in pcm]))


if __name__ == "__main__":
    main()
