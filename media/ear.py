"""Listens for digits as tones in packets that nobody else decodes: those that are passed on as they
are, and those that go nowhere because a side is on hold or not there.

Of a side that takes no telephone-events only; all others say digits in packets of their own.
"""

from media.codec import CodecError, decoder
from media.detector import ToneDetector
from media.dtmf import Pressed, Released
from media.format import Format

_RATE = 8000
_PATIENCE = 0.1  # seconds without a packet, after which a digit has ended with the sound


class Ear:
    """Hears the packets of one format."""

    def __init__(self, source: Format) -> None:
        self._decoder = decoder(source.codec, _RATE)
        self._detector = ToneDetector(_RATE)
        self._heard_at = 0.0

    @property
    def active(self) -> bool:
        """Whether a digit is going on, and `poll` is wanted."""
        return self._detector.active

    def push(self, payload: bytes, now: float) -> list[Pressed | Released]:
        """What began or ended with a packet, in the order of arrival."""
        self._heard_at = now
        try:
            pcm = self._decoder.decode(payload)
        except CodecError:
            return []
        return self._detector.listen(pcm)[0]

    def poll(self, now: float) -> list[Pressed | Released]:
        """To be called with each tick: ends a digit behind which nothing came."""
        if not self.active or now - self._heard_at < _PATIENCE:
            return []
        return self._detector.listen(bytes(2 * int(_PATIENCE * _RATE)))[0]
