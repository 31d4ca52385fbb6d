"""How loud a side is, and for how long it has been quiet: whether somebody is speaking, for whoever
decides what comes next."""

from math import log10

from media.codec.pcm import audioop
from media.format import Format
from media.reader import Reader
from media.rtp import RtpPacket
from media.tape import Tape

QUIET_DBOV = -45.0  # below is silence: a telephone line's noise is at -60, speech at -30
_SLOT = 0.020
_RATE = 8000


class Loudness:
    """The level of sound, slot by slot."""

    def __init__(self) -> None:
        self.quiet_for = 0.0  # seconds since the last slot that was not silence
        self.peak = 0  # of the last slot
        self._energy = 0.0
        self._measured = 0

    def add(self, slot: bytes) -> None:
        """Take 20 ms."""
        level = audioop.rms(slot, 2)
        self._energy += level * level
        self._measured += 1
        self.peak = audioop.max(slot, 2)
        is_quiet = dbov(level * level) < QUIET_DBOV
        self.quiet_for = self.quiet_for + _SLOT if is_quiet else 0.0

    def mean_dbov(self, *, without: int = 0) -> float | None:
        """The mean level of all of it, or of all but so many silent slots."""
        measured = self._measured - without
        return dbov(self._energy / measured) if measured > 0 else None

    def restart(self) -> None:
        """Begin the mean anew."""
        self._energy, self._measured = 0.0, 0


class Meter:
    """Measures what one side says.

    Args:
        form: what it is expected to send.
        interval: seconds of sound in one measure.
    """

    def __init__(self, form: Format, interval: float, now: float) -> None:
        self._tape = Tape(form, now)
        self._reader = Reader(form.codec, _RATE)
        self._loudness = Loudness()
        self._interval = interval
        self._measured = 0.0

    def push(self, packet: RtpPacket, form: Format, now: float) -> None:
        """Take a packet of sound."""
        self._tape.push(packet, form, now)

    def tick(self, now: float) -> tuple[float, float] | None:
        """To be called now and then: mean level in dBov and seconds of quiet, once an interval."""
        for piece in self._tape.pull(now):
            if piece.form.codec != self._reader.codec:
                self._reader = Reader(piece.form.codec, _RATE)
            pcm = self._reader.read(piece)
            for slot in slots(pcm, _RATE):
                self._loudness.add(slot)
            self._measured += piece.seconds
        if self._measured < self._interval - _SLOT / 2:
            return None
        level = self._loudness.mean_dbov()
        self._measured = 0.0
        self._loudness.restart()
        return (-127.0 if level is None else level), self._loudness.quiet_for


def slots(pcm: bytes, rate: int) -> list[bytes]:
    """Sound in slots of 20 ms."""
    size = 2 * int(_SLOT * rate)
    return [pcm[start : start + size] for start in range(0, len(pcm), size)]


def dbov(power: float) -> float:
    """In dB relative to the overload point; -127 stands for nothing (RFC 6465 §3)."""
    return -127.0 if power < 1e-3 else max(-127.0, 10 * log10(power / 32768**2))
