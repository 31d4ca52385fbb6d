"""A recording as it is made: what one side says, or both mixed, as Opus packets.

What a browser says is stored as it came, packet by packet; it is decoded beside that only to know
how loud it is. Where a packet is missing stands one without content, which lets whoever plays it
conceal the loss (RFC 7845 §4.1), and longer silence is a packet of silence. Everything else is
decoded and encoded again. The packets are collected in `take`; who makes a file of them is outside.
"""

from media.codec import common_rate
from media.codec.opus import OpusEncoder
from media.codec.pcm import audioop
from media.format import Format
from media.meter import Loudness, slots
from media.order import RecordEnd
from media.plane import Side
from media.reader import MOST_CONCEALED, Reader
from media.rtp import RtpPacket
from media.tape import DELAY, Piece, Tape
from media.waveform import Waveform

BITRATE = 24_000  # bit/s, of what is encoded here
SILENCE = bytes((0xF8, 0xFF, 0xFE))  # 20 ms of it, for any Opus decoder
_SLOT = 0.020
_BEHIND = 0.5  # seconds of the silence that ended it, for the ear
_LEVEL_RATE = 8000
_EMPTY_20_MS = ((9, 12), (15, 16), (31, 32))  # 20 ms configurations of SILK, hybrid and CELT


class Recorder:
    """See the module's head.

    Args:
        sides: whom to record, with what each is expected to send.
        max_seconds, max_bytes: where it ends by itself.
        silence: seconds without a loud sound after which it does; None: never.
    """

    def __init__(
        self,
        *,
        sides: dict[Side, Format],
        max_seconds: float,
        max_bytes: int,
        silence: float | None,
        now: float,
    ) -> None:
        self.end: RecordEnd | None = None
        self.seconds = 0.0
        self.size = 0  # bytes of packets
        self._forms = sides
        self._max_seconds = max_seconds
        self._max_bytes = max_bytes
        self._silence = silence
        self._loudness = Loudness()
        self._waveform = Waveform()
        self._packets: list[bytes] = []
        self._tail: list[tuple[bytes, float]] = []  # silence that may turn out to be the end
        self._cut = 0.0  # seconds of it
        self._tapes = {side: Tape(form, now) for side, form in sides.items()}
        self._toc = SILENCE[0]
        self._missing = 0  # pieces in a row
        self._readers: dict[Side, Reader] = {}
        self._rate = 0
        self._encoder: OpusEncoder | None = None

    @property
    def level_dbov(self) -> float | None:
        """The mean level."""
        return self._loudness.mean_dbov(without=round(self._cut / _SLOT))

    @property
    def waveform(self) -> tuple[int, ...]:
        return self._waveform.values(without=round(self._cut / _SLOT))

    def push(self, side: Side, packet: RtpPacket, form: Format, now: float) -> None:
        """Take a packet of sound."""
        tape = self._tapes.get(side)
        if tape is not None:
            tape.push(packet, form, now)

    def tick(self, now: float) -> None:
        """To be called now and then: take what has become due."""
        if self.end is not None:
            return
        pieces = {side: tape.pull(now) for side, tape in self._tapes.items()}
        if len(pieces) == 1:
            for side, said in pieces.items():
                for piece in said:
                    self._store(side, piece)
        else:
            self._mix(pieces)
        is_silent = self._silence is not None and self._loudness.quiet_for >= self._silence
        if is_silent and self.end is None:
            self.end = RecordEnd.SILENCE
            self._cut_tail()
        if self.seconds >= self._max_seconds - _SLOT / 2:
            self.end = self.end or RecordEnd.LIMIT

    def finish(self, reason: RecordEnd, now: float) -> None:
        """End it here, if it did not end itself."""
        self.tick(now + DELAY)
        if self.end is None:
            self.end = reason
        self._keep_tail()

    def take(self) -> list[bytes]:
        """Packets since the last call of this."""
        packets, self._packets = self._packets, []
        return packets

    # --- one side

    def _store(self, side: Side, piece: Piece) -> None:
        if piece.form.codec != "opus":
            self._encode(side, piece)
            return
        reader = self._reader(side, piece.form, _LEVEL_RATE)
        self._measure(reader.read(piece), _LEVEL_RATE)
        if piece.payload and not reader.is_broken:  # else nobody could play it
            self._toc, self._missing = piece.payload[0], 0
            self._put(piece.payload, piece.seconds)
        else:
            self._missing += 1
            lost = self._missing <= MOST_CONCEALED
            for _ in range(max(1, round(piece.seconds / _SLOT))):
                self._put(_empty(self._toc) if lost else SILENCE, _SLOT)

    def _encode(self, side: Side, piece: Piece) -> None:
        rate = common_rate(piece.form.codec, "opus")
        reader = self._reader(side, piece.form, rate)
        reader.held += reader.read(piece)
        self._encode_held(rate, [reader])

    # --- both

    def _mix(self, pieces: dict[Side, list[Piece]]) -> None:
        forms = {side: said[-1].form for side, said in pieces.items() if said}
        self._forms = {**self._forms, **forms}
        one, other = (form.codec for form in self._forms.values())
        rate = min(common_rate(one, other), 16000)
        readers = []
        for side, said in pieces.items():
            for piece in said:
                reader = self._reader(side, piece.form, rate)
                reader.held += reader.read(piece)
            readers.append(self._reader(side, self._forms[side], rate))
        self._encode_held(rate, readers)

    def _encode_held(self, rate: int, readers: list[Reader]) -> None:
        if rate != self._rate or self._encoder is None:
            self._rate, self._encoder = rate, OpusEncoder(rate, bitrate=BITRATE)
        size = 2 * int(_SLOT * rate)
        while all(len(reader.held) >= size for reader in readers):
            pcm = bytes(size)
            for reader in readers:
                pcm = audioop.add(pcm, bytes(reader.held[:size]), 2)
                del reader.held[:size]
            self._measure(pcm, rate)
            self._put(self._encoder.encode(pcm), _SLOT)

    # --- parts

    def _reader(self, side: Side, form: Format, rate: int) -> Reader:
        reader = self._readers.get(side)
        if reader is None or (reader.codec, reader.rate) != (form.codec, rate):
            reader = self._readers[side] = Reader(form.codec, rate)
        return reader

    def _put(self, packet: bytes, seconds: float) -> None:
        too_long = self.seconds + seconds > self._max_seconds + _SLOT / 2
        if self.end is not None or too_long or self.size + len(packet) > self._max_bytes:
            self.end = self.end or RecordEnd.LIMIT
            return
        if self._silence is not None and self._loudness.quiet_for > _BEHIND:
            self._tail.append((packet, seconds))
        else:
            self._keep_tail()
            self._packets.append(packet)
        self.seconds += seconds
        self.size += len(packet)

    def _keep_tail(self) -> None:
        """The silence was a pause."""
        self._packets += [packet for packet, _ in self._tail]
        self._tail.clear()

    def _cut_tail(self) -> None:
        """The silence was the end."""
        for packet, seconds in self._tail:
            self._cut += seconds
            self.seconds -= seconds
            self.size -= len(packet)
        self._tail.clear()

    def _measure(self, pcm: bytes, rate: int) -> None:
        for slot in slots(pcm, rate):
            self._loudness.add(slot)
            self._waveform.add(self._loudness.peak)


def _empty(toc: int) -> bytes:
    """A packet of 20 ms without content, of the same mode as another: it is concealed."""
    config = toc >> 3
    for empty, end in _EMPTY_20_MS:
        if config < end:
            return bytes((empty << 3,))
    raise AssertionError("a configuration has five bits")
