"""Many measurements of one thing, told as a whole: percentiles and a small picture."""

from collections.abc import Sequence
from dataclasses import dataclass

BARS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Distribution:
    """Milliseconds of one step over many repeats."""

    name: str
    values: tuple[float, ...]
    aim_ms: float | None = None

    def percentile(self, share: float) -> float:
        """Between the two nearest ranks, linearly."""
        ordered = sorted(self.values)
        place = share * (len(ordered) - 1)
        low = int(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (ordered[high] - ordered[low]) * (place - low)

    def row(self) -> str:
        """One row of a Markdown table: see `HEAD`."""
        if not self.values:
            return f"| {self.name} | 0 | | | | | | |"
        figures = " | ".join(
            f"{value:.1f}"
            for value in (
                min(self.values),
                *(self.percentile(share) for share in (0.5, 0.9, 0.99)),
                max(self.values),
            )
        )
        aim = f"{self.aim_ms:.0f}" if self.aim_ms is not None else ""
        return f"| {self.name} | {len(self.values)} | {figures} | {aim} | {picture(self.values)} |"


HEAD = (
    "| step, ms | n | min | p50 | p90 | p99 | max | aim (p50) | min … p99 |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
)


def picture(values: Sequence[float], *, width: int = 12) -> str:
    """How often what, from the smallest to the 99th percentile, in `width` bars."""
    top = Distribution("", tuple(values)).percentile(0.99)
    bottom = min(values)
    if top <= bottom:
        return BARS[-1]
    counts = [0] * width
    for value in values:
        if value <= top:
            counts[min(width - 1, int((value - bottom) / (top - bottom) * width))] += 1
    most = max(counts)
    return "`" + "".join(BARS[-(-count * (len(BARS) - 1) // most)] for count in counts) + "`"
