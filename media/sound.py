"""A recorded sound in the form in which it is kept and played: Opus frames of 20 ms.

A browser is sent the frames as they are; for everybody else they are decoded at the rate of the
codec there. Ten minutes take three megabytes, where PCM would take sixty.
"""

from struct import Struct

from media.codec import Decoder, decoder
from media.codec.base import CodecError

BITRATE = 40_000  # bit/s: speech and music on hold without audible loss
RATE = 48_000

_LENGTH = Struct("!H")


class Sound:
    """Frames, which may still be coming while they are played.

    Attributes:
        error: why it cannot be had, in words for a person.
    """

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.is_whole = False
        self.error = ""

    def add(self, packed: bytes) -> None:
        """Take more frames, as `pack` wrote them; raises `ValueError`."""
        self.frames += unpack(packed)


def pack(frames: list[bytes]) -> bytes:
    """Frames one behind the other, each with its length before it."""
    return b"".join(_LENGTH.pack(len(frame)) + frame for frame in frames)


def unpack(packed: bytes) -> list[bytes]:
    """What `pack` wrote; raises `ValueError`."""
    frames = []
    at = 0
    while at < len(packed):
        start = at + _LENGTH.size
        if start > len(packed):
            raise ValueError("a frame without its length")
        (length,) = _LENGTH.unpack_from(packed, at)
        at = start + length
        if at > len(packed):
            raise ValueError("a frame without its end")
        frames.append(packed[start:at])
    return frames


class SoundSource:
    """A sound as it is played, 20 ms at a time.

    Args:
        repeat: how often; None: without end.
    """

    def __init__(self, sound: Sound, repeat: int | None) -> None:
        self._sound = sound
        self._left = repeat
        self._next = 0
        self._decoder: Decoder | None = None

    @property
    def error(self) -> str:
        return self._sound.error

    def frame(self) -> bytes | None:
        """The next frame, empty if it has not come yet; None at the end."""
        frames = self._sound.frames
        if self._next == len(frames):
            if self._sound.error:
                return None
            if not self._sound.is_whole:
                return b""
            if self._left is not None:
                self._left -= 1
            if self._left == 0 or not frames:
                return None
            self._next = 0
        self._next += 1
        return frames[self._next - 1]

    def pcm(self, rate: int) -> bytes | None:
        """The same, decoded."""
        frame = self.frame()
        if frame is None:
            return None
        if self._decoder is None or self._decoder.rate != rate:
            self._decoder = decoder("opus", rate)
        if frame:
            try:
                return self._decoder.decode(frame)
            except CodecError:
                pass  # silence, like one that has not come
        return bytes(2 * rate // 50)
