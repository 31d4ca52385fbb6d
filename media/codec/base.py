"""What a codec is to the rest: an encoder for one direction, a decoder for the other.

PCM is mono, 16 bits, the machine's byte order, as `bytes`, at a rate that is fixed when the codec
is opened. A call needs a decoder of the side it hears and an encoder for the side it speaks to, so
the two are separate and nobody pays for the half that is not used.
"""

from typing import Protocol


class CodecError(ValueError):
    """A payload that cannot be decoded: the far end's mistake."""


class Encoder(Protocol):
    """PCM to payloads of one stream."""

    @property
    def rate(self) -> int:
        """Samples per second that it takes."""

    def encode(self, pcm: bytes) -> bytes:
        """One payload. Empty: nothing needs to be sent for this frame (discontinuous
        transmission)."""

    def expect_loss(self, fraction: float) -> None:
        """Prepare for this share of the packets to be lost."""


class Decoder(Protocol):
    """Payloads of one stream to PCM."""

    @property
    def rate(self) -> int:
        """Samples per second that it gives."""

    def decode(self, payload: bytes) -> bytes:
        """The sound of one payload; raises `CodecError`."""

    def conceal(self, samples: int, following: bytes | None = None) -> bytes:
        """As many samples in place of what did not come.

        `following`: the payload right after the gap, which may carry a copy (RFC 6716 §2.1.7).
        """
