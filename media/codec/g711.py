"""G.711 A-law and µ-law (ITU-T G.711, RFC 3551 §4.5.14): one byte a sample at 8 kHz."""

from media.codec.conceal import Concealer
from media.codec.pcm import audioop

RATE = 8000


class G711Encoder:
    """PCM at 8 kHz to A-law or µ-law."""

    rate = RATE

    def __init__(self, *, a_law: bool) -> None:
        self._compress = audioop.lin2alaw if a_law else audioop.lin2ulaw

    def encode(self, pcm: bytes) -> bytes:
        return self._compress(pcm, 2)

    def expect_loss(self, fraction: float) -> None:
        """Nothing can be prepared: each sample stands alone."""


class G711Decoder:
    """A-law or µ-law to PCM at 8 kHz."""

    rate = RATE

    def __init__(self, *, a_law: bool) -> None:
        self._expand = audioop.alaw2lin if a_law else audioop.ulaw2lin
        self._concealer = Concealer(RATE)

    def decode(self, payload: bytes) -> bytes:
        return self._concealer.keep(self._expand(payload, 2))

    def conceal(self, samples: int, following: bytes | None = None) -> bytes:
        if following is None:
            return self._concealer.conceal(samples)
        return self._concealer.lead_up(samples, self._expand(following, 2))
