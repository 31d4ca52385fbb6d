"""Sound files, read for playing: whatever FFmpeg reads, as frames of a `Sound`.

For the control process, in a thread: decoding is long work, and FFmpeg 20 MB that no worker needs.
Files are those that the user of the plane names; nothing that a caller sends is read here.
"""

import stat
from collections.abc import Iterator
from os import PathLike
from os import stat as read_stat
from typing import Any

from media.codec.opus import OpusEncoder
from media.sound import BITRATE, RATE

MAX_SECONDS = 600
_FRAMES = 25  # in one piece
_FRAME_BYTES = 2 * RATE // 50
_PROMPT_COMPLEXITY = 8  # encoded once, played often


class SoundFileError(Exception):
    """The file cannot be played; the text is for a person."""


def version(path: str) -> str:
    """Names what a file holds at the moment; raises `SoundFileError`."""
    try:
        found = read_stat(path)
    except OSError as error:
        raise SoundFileError(f"{path}: {error.strerror or error}") from None
    except ValueError:  # a zero byte
        raise SoundFileError(f"{path!r} is no name of a file") from None
    if not stat.S_ISREG(found.st_mode):
        raise SoundFileError(f"{path} is not a file")
    return f"{found.st_mtime_ns:x}.{found.st_size:x}"


def read(path: str | PathLike[str]) -> Iterator[list[bytes]]:
    """A file's frames, half a second at a time; raises `SoundFileError`.

    What comes after ten minutes is left out. The last frame is filled up with silence.
    """
    encoder = OpusEncoder(RATE, bitrate=BITRATE, complexity=_PROMPT_COMPLEXITY)
    pcm = bytearray()
    frames: list[bytes] = []
    left = MAX_SECONDS * 50
    for piece in _decode(str(path)):
        pcm += piece
        while len(pcm) >= _FRAME_BYTES and left:
            frames.append(encoder.encode(bytes(pcm[:_FRAME_BYTES])))
            del pcm[:_FRAME_BYTES]
            left -= 1
            if len(frames) == _FRAMES:
                yield frames
                frames = []
        if not left:
            break
    if pcm and left:
        frames.append(encoder.encode(bytes(pcm.ljust(_FRAME_BYTES, b"\0"))))
    if frames:
        yield frames


def _decode(path: str) -> Iterator[bytes]:
    """Mono 16-bit PCM at 48 kHz."""
    import av  # only where something is played

    try:
        with av.open(path, metadata_errors="ignore") as container:
            if not container.streams.audio:
                raise SoundFileError(f"{path} has no sound in it")
            resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
            for frame in container.decode(container.streams.audio[0]):
                yield from _resampled(resampler, frame)
            yield from _resampled(resampler, None)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise SoundFileError(f"{path} cannot be read: {error}") from None


def _resampled(resampler: Any, frame: Any) -> Iterator[bytes]:
    for piece in resampler.resample(frame):
        yield bytes(piece.planes[0])[: 2 * piece.samples]
