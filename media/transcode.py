"""Transcoding, when the sides speak different codecs: playout buffer → decoder → encoder, one frame
for each tick of 20 ms. Both codecs run at one rate of PCM, so that there is no resampling.
"""

from media.codec import CodecError, common_rate, decoder, encoder
from media.codec.noise import ComfortNoise, level_of
from media.codec.opus import OpusEncoder
from media.codec.pcm import audioop, fade, fade_in, shorten, stretch
from media.format import Format
from media.jitter import Outcome, PlayoutBuffer
from media.outlet import SLOT
from media.rtp import RtpPacket

_SURPLUS = 0.040  # seconds of needless delay, from where on pauses are shortened
_GREAT_SURPLUS = 0.060  # and speech as well, a little at a time
_DEFICIT = 0.010  # seconds of missing delay, from where on pauses are stretched
_GREAT_DEFICIT = 0.015  # and speech
_SPARED = 3  # frames of speech between two that are shortened or stretched
_PAUSE = 0.1  # of the loudness of speech: what is under it is a pause
_FORGET = 0.998  # of the loudness of speech that is known, with each frame
_REST_PIECES = 50  # a sender that rests says so again every 400 ms
_THIN_SLOTS = 3  # to a packet: 60 ms, so that headers take 10 kbit/s and not 30
_NOISE_PIECES = 1500  # half a minute; a sender may say but once how its pauses sound
_DTX_PAYLOAD = 2  # bytes of Opus: nothing but "I am silent"


class Transcoder:
    """Playout buffer → decoder → encoder: packets in, one frame of PCM out for each slot."""

    def __init__(self, source: Format, sink: Format) -> None:
        self.discarded = 0
        self.rate = common_rate(source.codec, sink.codec)
        self._opus = source.codec == "opus"
        self._source = source
        self._sink = sink
        self._buffer = PlayoutBuffer(source.clock_rate)
        self._decoder = decoder(source.codec, self.rate)
        self._encoder = encoder(sink.codec, self.rate, sink.fmtp)
        self._slot_bytes = 2 * int(SLOT * self.rate)
        self._payload_bytes = self._usual_bytes = 2 * sink.ptime_ms * self.rate // 1000
        self._held = b""  # decoded, not yet played
        self._frame = int(SLOT * self.rate)  # samples in the last packet
        self._silent = True
        self._rest = 0  # pieces of noise still to make, since the sender announced silence
        self._noise: ComfortNoise | None = None
        self._noise_left = 0  # pieces of it still to make
        self._energy = 0.0
        self._measured = 0
        self._loudness = 0.0  # of speech, of late
        self._spared = 0  # frames since one was shortened or stretched

    def __repr__(self) -> str:
        return f"buffer → {self._source.codec} → {self.rate} Hz → {self._sink.codec}"

    def push(self, packet: RtpPacket, now: float) -> None:
        self._buffer.push(packet, now)

    def skip(self, packet: RtpPacket, now: float) -> None:
        """Note a packet of the stream that has no sound to play."""
        self._buffer.skip(packet, now)

    def comfort(self, packet: RtpPacket, now: float) -> None:
        """Take a packet of comfort noise: a pause begins or goes on, and sounds like that."""
        level = level_of(packet.payload)
        if self._noise is None or self._noise.level != level:
            self._noise = ComfortNoise(level)
        self._noise_left = _NOISE_PIECES
        self._buffer.skip(packet, now, rests=True)

    def expect_loss(self, fraction: float) -> None:
        self._encoder.expect_loss(fraction)

    def set_thin(self, thin: bool) -> None:
        """Send sparingly, for a thin link, or as usual; of the codecs only Opus can."""
        if isinstance(self._encoder, OpusEncoder):
            self._encoder.set_thin(thin)
            self._payload_bytes = _THIN_SLOTS * self._slot_bytes if thin else self._usual_bytes

    def pull(self, now: float) -> tuple[bytes, bool]:
        """20 ms of PCM, and whether there was any sound to play."""
        held = self._held
        sound = False
        while len(held) < self._slot_bytes:
            piece = self._next(now)
            if piece is None:
                held += bytes(self._slot_bytes - len(held))
                break
            sound = True
            held += piece
        self._held = held[self._slot_bytes :]
        return held[: self._slot_bytes], sound

    @property
    def is_idle(self) -> bool:
        """Whether nothing but silence comes out until something goes in."""
        return (
            self._silent
            and not self._held
            and not self._rest
            and not self._has_noise
            and self._buffer.is_empty
        )

    @property
    def payload_bytes(self) -> int:
        """PCM in one packet to send."""
        return self._payload_bytes

    def encode(self, pcm: bytes) -> bytes:
        return self._encoder.encode(pcm)

    @property
    def lost(self) -> int:
        return self._buffer.lost

    @property
    def late(self) -> int:
        return self._buffer.late

    @property
    def dropped(self) -> int:
        return self._buffer.discarded + self.discarded

    @property
    def delay(self) -> float:
        return self._buffer.delay + len(self._held) / 2 / self.rate

    @property
    def level(self) -> tuple[float, int]:
        """Sum of mean squares of decoded packets, and their number."""
        return self._energy, self._measured

    def _next(self, now: float) -> bytes | None:
        """The next piece of sound; None: silence."""
        packet = self._buffer.pop(now)
        if isinstance(packet, RtpPacket):
            return self._decode(packet.payload)
        if packet is Outcome.LOST:
            return self._decoder.conceal(self._frame, self._buffer.following())
        if packet is Outcome.LATE or self._rest:
            self._rest = max(0, self._rest - 1)
            return self._decoder.conceal(self._frame)
        noise = self._pause()
        if self._silent:
            return noise
        self._silent = True
        last = fade(self._decoder.conceal(self._frame), 1.0, 0.0)
        return last if noise is None else audioop.add(last, noise, 2)

    @property
    def _has_noise(self) -> bool:
        return self._buffer.resting and self._noise_left > 0

    def _pause(self) -> bytes | None:
        """What the sender's pauses sound like; None: like nothing."""
        if self._noise is None or not self._has_noise:
            return None
        self._noise_left -= 1
        return self._noise.next(self._frame)

    def _decode(self, payload: bytes) -> bytes:
        try:
            pcm = self._decoder.decode(payload)
        except CodecError:
            self.discarded += 1
            return self._decoder.conceal(self._frame)
        self._frame = len(pcm) // 2
        self._buffer.played(self._frame / self.rate)
        self._rest = 0
        if self._opus and len(payload) <= _DTX_PAYLOAD:
            self._rest = _REST_PIECES
            self._buffer.rest()
        level = audioop.rms(pcm, 2)
        self._energy += level * level
        self._measured += 1
        if self._silent:
            self._silent = False
            pcm = fade_in(pcm, self.rate)
        return self._fit(pcm, level)

    def _fit(self, pcm: bytes, level: int) -> bytes:
        """Bring the delay nearer to the buffer's target: at once in pauses, little by little in
        speech."""
        self._loudness = max(float(level), self._loudness * _FORGET)
        self._spared += 1
        if len(pcm) < self._slot_bytes:
            return pcm
        pause = level < _PAUSE * self._loudness
        if not pause and self._spared <= _SPARED:
            return pcm
        if self._buffer.surplus > (_SURPLUS if pause else _GREAT_SURPLUS):
            self._spared = 0
            return shorten(pcm, self.rate)
        if self._buffer.deficit > (_DEFICIT if pause else _GREAT_DEFICIT):
            self._spared = 0
            return stretch(pcm, self.rate)
        return pcm
