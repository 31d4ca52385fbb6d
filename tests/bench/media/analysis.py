"""What the load saw: packets that did not come, and how long sound took.

Loss is counted in packets that should have left the engine and did not: gaps in its numbering, and
what is missing from fifty a second.

Delay is measured twice. *Per packet*: from the sending of a packet at the one end to the arrival of
that which holds its place at the other; which that is, is settled for a call by its median one,
which comes within 20 ms of the newest. An engine that holds sound back for a whole number of
frames, as a playout buffer does, shows what it adds beyond these; what comes earlier or later than
usual shows.
*Of the sound*: where what arrives fits best onto what was said (the peak of their correlation), so
that everything is in it: playout buffer, codecs' look-ahead, and the wait.
"""

import statistics
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from media import codec
from media.rtp import RtpPacket

_CORRELATED = 6  # calls of a run whose sound is looked at
_LISTEN = 4.0  # seconds of it
_RATE = 8000
_LONGEST = 0.6  # seconds of delay that are looked for


@dataclass(frozen=True, slots=True)
class Arrival:
    """One packet of the engine."""

    at: float
    sequence: int
    payload: bytes

    @classmethod
    def of(cls, at: float, plain: bytes) -> "Arrival":
        packet = RtpPacket.parse(plain)
        return cls(at, packet.sequence, packet.payload)


@dataclass(frozen=True)
class Leg:
    """One end of a call.

    Attributes:
        sent: when each packet left, 20 ms apart.
        arrived: what came from the engine.
        said: from the first packet on, PCM at 8 kHz.
    """

    codec: str
    sent: list[float]
    arrived: list[Arrival]
    said: bytes


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def read(calls: Sequence[tuple[Leg, Leg]], since: float) -> dict[str, Any]:
    """Loss and delays of all calls, from the moment `since`."""
    expected = missing = 0
    delays: list[float] = []
    sounds: list[float] = []
    for number, call in enumerate(calls):
        for source, sink in (call, call[::-1]):
            arrived = [a for a in sink.arrived if a.at >= since]
            until = source.sent[-1] - 0.1
            wanted = max(0, round((until - since) / 0.020))
            heard = len({a.sequence for a in arrived if a.at <= until})
            expected += wanted
            missing += max(0, wanted - heard - 1)  # one for the edges
            delays += _packet_delays(source.sent, arrived)
            if number < _CORRELATED and arrived:
                sounds.append(_sound_delay(source, sink, since))
    return {
        "expected": expected,
        "missing": missing,
        "delay_p50_ms": percentile(delays, 0.50) * 1000,
        "delay_p99_ms": percentile(delays, 0.99) * 1000,
        "sound_ms": statistics.median(sounds) * 1000 if sounds else float("nan"),
    }


def _packet_delays(sent: list[float], arrived: list[Arrival]) -> list[float]:
    """Of each packet that arrived, counted from the one that was sent as many places before it as
    the median one comes behind the newest of its time."""
    if not arrived:
        return []
    first = arrived[0].sequence
    placed = [((a.sequence - first + 0x8000 & 0xFFFF) - 0x8000, a.at) for a in arrived]
    middle, at = sorted(placed, key=lambda one: one[1] - 0.020 * one[0])[len(placed) // 2]
    shift = bisect_right(sent, at) - 1 - middle
    return [at - sent[n + shift] for n, at in placed if 0 <= n + shift < len(sent)]


def _sound_delay(source: Leg, sink: Leg, since: float) -> float:
    """Seconds that the sound took, codecs' look-ahead included."""
    decoder = codec.decoder(sink.codec, _RATE)
    heard: list[bytes] = []
    gap: list[float] = []
    first = 0.0
    for each in sorted(sink.arrived, key=lambda a: a.at):
        pcm = decoder.decode(each.payload)
        if each.at < since or len(heard) * 0.020 >= _LISTEN:
            continue
        first = first or each.at
        gap.append(each.at - first - 0.020 * len(heard))
        heard.append(pcm)
    start = first + statistics.median(gap) - source.sent[0]  # on the source's axis
    before = max(0, int((start - _LONGEST) * _RATE))
    said = np.frombuffer(source.said, "h")[before : int((start + _LISTEN) * _RATE)].astype(float)
    sound = np.frombuffer(b"".join(heard), "h").astype(float)
    size = 1 << int(len(said) + len(sound)).bit_length()
    spectrum = np.fft.rfft(said, size).conj() * np.fft.rfft(sound, size)
    fit = np.fft.irfft(spectrum, size)
    at = int(np.argmax(fit))
    lead = at if at < size // 2 else at - size  # samples of `said` before `sound` begins, negative
    return float(start + (lead - before) / _RATE)
