"""The speech that is played: read by espeak-ng, in a loop, encoded beforehand for each codec."""

import io
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import av

from media import codec

SECONDS = 32
FRAMES = SECONDS * 50
CLOCKS = {"opus": 48000, "g722": 8000, "pcma": 8000, "pcmu": 8000}
RATES = {"opus": 48000, "g722": 16000, "pcma": 8000, "pcmu": 8000}
_TEXT = (
    "Good morning. I am calling because of the order that we placed on Tuesday. Half of it has "
    "come, and the other half seems to be somewhere between your warehouse and our door. Could you "
    "look up the number? It is four, seven, one, nine, zero, six. We need the blue boxes first, "
    "the heavy ones can wait until the end of the month. Yes, I will hold. Thank you. No, the "
    "address has not changed: thirty two Harbour Street, on the second floor, and the bell does "
    "not work, so please tell the driver to call. That would be wonderful. Then there is the bill "
    "of last spring, which we have paid twice, I am afraid. Shall I send you the papers again? "
    "Very well, I shall do it this afternoon, and you have a pleasant day. Goodbye."
)


class SpeechError(Exception):
    """There is nothing to play; the text says what is missing."""


@dataclass(frozen=True)
class Speech:
    """The loop, as 16-bit mono PCM at 48 kHz."""

    pcm: bytes

    @classmethod
    def read_aloud(cls) -> "Speech":
        program = shutil.which("espeak-ng")
        if program is None:
            raise SpeechError(
                "espeak-ng is missing. As root: apt-get install --no-install-recommends espeak-ng"
            )
        wave = subprocess.run(
            [program, "--stdout", "-s", "150", _TEXT], check=True, capture_output=True
        ).stdout
        pcm = _resample(wave, 48000)
        size = 2 * 48000 * SECONDS
        return cls((pcm * (size // len(pcm) + 1))[:size])

    def at(self, rate: int) -> bytes:
        """At another rate."""
        if rate == 48000:
            return self.pcm
        out = _resampled([_frame(self.pcm, 48000)], rate)
        size = 2 * rate * SECONDS
        return (out + bytes(size))[:size]

    def payloads(self, name: str) -> list[bytes]:
        """20 ms each, `FRAMES` of them, to be played in a loop."""
        rate = RATES[name]
        pcm, size = self.at(rate), 2 * rate // 50
        coder = codec.encoder(name, rate, {"useinbandfec": "1"})
        return [coder.encode(pcm[i : i + size]) for i in range(0, FRAMES * size, size)]

    @cached_property
    def narrow(self) -> bytes:
        return self.at(8000)


def _frame(pcm: bytes, rate: int) -> av.AudioFrame:
    frame = av.AudioFrame(format="s16", layout="mono", samples=len(pcm) // 2)
    frame.planes[0].update(pcm)
    frame.sample_rate = rate
    return frame


def _resample(wave: bytes, rate: int) -> bytes:
    with av.open(io.BytesIO(wave), "r") as container:
        return _resampled(container.decode(audio=0), rate)


def _resampled(frames: Iterable[av.AudioFrame], rate: int) -> bytes:
    resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
    out = chain.from_iterable(resampler.resample(f) for f in chain(frames, [None]))
    return b"".join(bytes(f.planes[0])[: 2 * f.samples] for f in out)
