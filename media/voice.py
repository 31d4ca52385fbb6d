"""What we say ourselves toward one far end: PCM of ours in its codec, a slot of 20 ms at a time."""

from media.codec import RATES, encoder
from media.format import Format


class Voice:
    """An encoder for sound of our own.

    Args:
        sink: what the far end takes.
        rate: of the PCM, if the codec can run at it; else the codec's lowest. Tones need no more
            than 8 kHz.
    """

    def __init__(self, sink: Format, rate: int = 8000) -> None:
        self.rate = rate if rate in RATES[sink.codec] else min(RATES[sink.codec])
        self._encoder = encoder(sink.codec, self.rate, sink.fmtp)

    def encode(self, pcm: bytes) -> bytes:
        """The payload of a packet of 20 ms; empty if there is nothing to send."""
        return self._encoder.encode(pcm)
