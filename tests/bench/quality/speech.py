"""What is said in a call: sentences of several voices by espeak-ng (Debian), at the rates we need.

Sentences are Harvard ones (IEEE 1969), phonetically balanced, in a man's and a woman's voice of
unlike pitch, with the pauses that people make.
"""

import io
import shutil
import subprocess
import wave
from dataclasses import dataclass
from functools import cache

import av

from media.codec.pcm import audioop

SECONDS = 8
_LEVEL = 1640  # effective value of a sample: -26 dBov, as ITU-T P.56 has it for speech


@dataclass(frozen=True, slots=True)
class Talker:
    """A voice of espeak-ng and what it says."""

    name: str
    voice: str
    pitch: int
    text: str


TALKERS = (
    Talker(
        "man",
        "en-us+m3",
        38,
        "The birch canoe slid on the smooth planks. ... Glue the sheet to the dark blue "
        "background. ... It is easy to tell the depth of a well. Four hours of steady work faced "
        "us.",
    ),
    Talker(
        "woman",
        "en-gb-x-rp+f2",
        62,
        "Rice is often served in round bowls. ... The juice of lemons makes fine punch. "
        "... The box was thrown beside the parked truck. A large size in stockings is hard to "
        "sell.",
    ),
    Talker(
        "young woman",
        "en-us+f5",
        78,
        "The boy was there when the sun rose. ... A rod is used to catch pink salmon. "
        "... The source of the huge river is the clear spring. Kick the ball straight.",
    ),
    Talker(
        "old man",
        "en-gb+m7",
        22,
        "Smoky fires lack flame and heat. ... The soft cushion broke the man's fall. "
        "... The salt breeze came across from the sea. The girl at the booth sold fifty bonds.",
    ),
)


@cache
def say(talker: Talker, rate: int) -> bytes:
    """Mono PCM of 16 bits, `SECONDS` long; raises `FileNotFoundError` without espeak-ng."""
    program = shutil.which("espeak-ng")
    if program is None:
        raise FileNotFoundError("espeak-ng is missing. As root: apt-get install espeak-ng")
    command = [program, "-v", talker.voice, "-p", str(talker.pitch), "-s", "165", "--stdout"]
    spoken = subprocess.run([*command, talker.text], capture_output=True, check=True).stdout
    with wave.open(io.BytesIO(spoken)) as file:
        pcm, source = file.readframes(1 << 24), file.getframerate()
    sound = resample(pcm, source, rate)
    size = 2 * SECONDS * rate
    sound = audioop.mul(sound, 2, _LEVEL / audioop.rms(sound, 2))
    return sound[:size] + bytes(max(0, size - len(sound)))


def resample(pcm: bytes, source: int, rate: int) -> bytes:
    """Through swresample, which filters as it should."""
    if source == rate:
        return pcm
    resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
    frame = av.AudioFrame(format="s16", layout="mono", samples=len(pcm) // 2)
    frame.sample_rate = source
    frame.planes[0].update(pcm)
    pieces = [*resampler.resample(frame), *resampler.resample(None)]
    return b"".join(bytes(piece.planes[0])[: 2 * piece.samples] for piece in pieces)
