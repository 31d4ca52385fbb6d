"""G.722 at 64 kbit/s (ITU-T G.722, RFC 3551 §4.5.2), at 16 kHz or at 8.

G.722 splits the sound into two bands of 4 kHz. With a telephone at the other end the upper one is
empty: at a rate of 8000 only the lower band is coded, with no filter and no resampling. That is
both cheaper and better than a resampler of ours would be. The payload is the same either way, one
byte for each 125 µs, and so is the RTP clock: 8000, an old mistake that the RFC keeps.
"""

from typing import Any

from G722 import G722

from media.codec.conceal import Concealer

RATES = (8000, 16000)
_BIT_RATE = 64000


class G722Encoder:
    """PCM at 16 or 8 kHz to G.722."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._state = _open(rate)

    def encode(self, pcm: bytes) -> bytes:
        return self._state.encode(memoryview(pcm).cast("h"))  # type: ignore[no-any-return]  # untyped

    def expect_loss(self, fraction: float) -> None:
        """Nothing can be prepared: there is no redundancy to add."""


class G722Decoder:
    """G.722 to PCM at 16 or 8 kHz."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._state = _open(rate)
        self._concealer = Concealer(rate)

    def decode(self, payload: bytes) -> bytes:
        return self._concealer.keep(self._state.decode(payload).tobytes())

    def conceal(self, samples: int, following: bytes | None = None) -> bytes:
        return self._concealer.conceal(samples)


def _open(rate: int) -> Any:
    if rate not in RATES:
        raise ValueError(f"G.722 has no rate of {rate}")
    return G722(rate, _BIT_RATE)
