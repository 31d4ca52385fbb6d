"""A tape's pieces as PCM: decoded, concealed where one or a few are missing, and silent beyond."""

from media.codec import CodecError, Decoder, decoder
from media.tape import Piece

MOST_CONCEALED = 3  # missing pieces in a row; beyond, it is silence


class Reader:
    """Reads one side's tape in one codec.

    Args:
        rate: of the PCM; one that the codec can run at.

    Attributes:
        held: for PCM that waits for that of another side.
        is_broken: the last piece was no payload of the codec.
    """

    def __init__(self, codec: str, rate: int) -> None:
        self.codec = codec
        self.rate = rate
        self.held = bytearray()
        self.is_broken = False
        self._decoder: Decoder = decoder(codec, rate)
        self._missing = MOST_CONCEALED  # nothing to conceal yet

    def read(self, piece: Piece) -> bytes:
        """The sound of a piece, as long as it says."""
        samples = round(piece.seconds * self.rate)
        self.is_broken = False
        if piece.payload:
            try:
                pcm = self._decoder.decode(piece.payload)
            except CodecError:
                self.is_broken = True
                return bytes(2 * samples)
            self._missing = 0
            return pcm
        self._missing += 1
        if self._missing > MOST_CONCEALED:
            return bytes(2 * samples)
        return self._decoder.conceal(samples)
