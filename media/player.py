"""What one far end hears of ours in place of the other side: a tone or a sound, 20 ms at a time."""

from media.codec.opus import number_in
from media.format import Format
from media.sound import BITRATE, SoundSource
from media.tone import ToneSource
from media.voice import Voice

_SLOT = 0.020


class Player:
    """Plays a source toward a far end, whatever codec that takes at the moment.

    Attributes:
        seconds: for how long it has been heard.
        is_over: the source is at its end.
    """

    def __init__(self, source: ToneSource | SoundSource) -> None:
        self.seconds = 0.0
        self.is_over = False
        self._source = source
        self._sink: Format | None = None
        self._voice: Voice | None = None

    @property
    def error(self) -> str:
        """Why there was nothing to play, or no more; empty if that is not so."""
        return self._source.error if isinstance(self._source, SoundSource) else ""

    def pull(self, sink: Format) -> bytes:
        """The payload for the next 20 ms; empty if there is nothing to send."""
        if sink != self._sink:
            self._sink, self._voice = sink, None
        source = self._source
        payload: bytes | None
        if isinstance(source, SoundSource) and _takes_frames(sink):
            payload = source.frame()
        else:
            if self._voice is None:
                self._voice = Voice(sink, 16000 if isinstance(source, SoundSource) else 8000)
            pcm = source.pcm(self._voice.rate)
            payload = None if pcm is None else self._voice.encode(pcm)
        if payload is None:
            self.is_over = True
            return b""
        self.seconds += _SLOT
        return payload


def _takes_frames(sink: Format) -> bool:
    """Whether our frames can go there as they are."""
    limit = number_in(sink.fmtp, "maxaveragebitrate", BITRATE, 6000, 510_000)
    return sink.codec == "opus" and limit >= BITRATE
