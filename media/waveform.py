"""The outline of a sound, as a client draws it beside a voice message (MSC3246).

At most 100 values from 0 to 1024, the loudest of their stretch each, whatever the length: when
there are twice as many, neighbours are joined.
"""

MOST = 100
FULL = 1024


class Waveform:
    """Collects the peaks of pieces of equal length."""

    def __init__(self) -> None:
        self._peaks: list[int] = []
        self._width = 1  # pieces in one peak
        self._count = 0  # in the last one

    def add(self, peak: int) -> None:
        """The next piece's loudest sample, 0 to 32768."""
        if self._count % self._width == 0:
            if len(self._peaks) == 2 * MOST:
                self._peaks = _halved(self._peaks)
                self._width *= 2
                self._count = 0
            self._peaks.append(peak)
        else:
            self._peaks[-1] = max(self._peaks[-1], peak)
        self._count += 1

    def values(self, *, without: int = 0) -> tuple[int, ...]:
        """The outline of all pieces but the last few."""
        peaks = self._peaks[: len(self._peaks) - without // self._width]
        if len(peaks) > MOST:
            edges = [i * len(peaks) // MOST for i in range(MOST + 1)]
            peaks = [max(peaks[edges[i] : edges[i + 1]]) for i in range(MOST)]
        return tuple(min(FULL, peak * FULL // 32767) for peak in peaks)


def _halved(peaks: list[int]) -> list[int]:
    return [max(peaks[i : i + 2]) for i in range(0, len(peaks), 2)]
