"""Bad networks in a seed: which packets of a stream are lost, and how late the others come.

Loss is random (each packet on its own) or bursty (Gilbert's two states: in the
bad one everything is lost, for three packets on average). Jitter is what a radio link does:
every packet a little late, and now and then a stall, after which all that waited comes at once.
Order is kept, as almost every path keeps it.
"""

from dataclasses import dataclass
from random import Random

FRAME = 0.020
BURST = 3.0  # packets lost in a row, on average
_STALLS = 0.6  # per second
_WARM_UP = 50  # packets at the start that are not lost: the call is being set up


@dataclass(frozen=True, slots=True)
class Network:
    """One direction of a path.

    Attributes:
        loss: share of the packets.
        jitter: the longest stall, in seconds; single packets are late by up to a quarter of it.
    """

    loss: float = 0.0
    bursty: bool = False
    jitter: float = 0.0

    def __str__(self) -> str:
        loss = (
            f"{self.loss:.0%} {'bursty' if self.bursty else 'random'}" if self.loss else "no loss"
        )
        return f"{loss}, {self.jitter * 1000:.0f} ms" if self.jitter else loss

    def fates(self, count: int, seed: int) -> list[float | None]:
        """For each packet its delay in seconds, or None if it is lost."""
        chance = Random(f"{self} {seed}")
        speech = count - _WARM_UP
        lost = self._losses(speech, chance)
        while abs(sum(lost) - self.loss * speech) > 0.1 * self.loss * speech + 1:
            lost = self._losses(
                speech, chance
            )  # eight seconds are short: have the share all the same
        delays = self._delays(count, chance)
        return [
            None if gone else delay
            for gone, delay in zip([False] * _WARM_UP + lost, delays, strict=True)
        ]

    def _losses(self, count: int, chance: Random) -> list[bool]:
        if not self.bursty:
            return [chance.random() < self.loss for _ in range(count)]
        recover = 1.0 / BURST
        fail = recover * self.loss / (1.0 - self.loss)
        lost, bad = [], False
        for _ in range(count):
            bad = chance.random() >= recover if bad else chance.random() < fail
            lost.append(bad)
        return lost

    def _delays(self, count: int, chance: Random) -> list[float]:
        delays = []
        free = 0.0  # when the path is free again
        for i in range(count):
            sent = i * FRAME
            if self.jitter and chance.random() < _STALLS * FRAME:
                free = max(free, sent + chance.uniform(0.2, 1.0) * self.jitter)
            own = min(chance.expovariate(1.0) * self.jitter / 16, self.jitter / 4)
            free = max(free, sent + own if self.jitter else sent)
            delays.append(free - sent)
        return delays


NETWORKS = (
    Network(),
    *(Network(loss) for loss in (0.01, 0.03, 0.05, 0.10)),
    *(Network(loss, bursty=True) for loss in (0.01, 0.03, 0.05, 0.10)),
    *(Network(jitter=jitter) for jitter in (0.020, 0.050, 0.100, 0.200)),
    Network(0.03, jitter=0.050),
    Network(0.05, bursty=True, jitter=0.100),
)
"""Every cell of the table."""
