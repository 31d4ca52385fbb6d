"""PESQ and ViSQOL of pairs of sounds. Runs in the environment of requirements/quality.lock, and so
imports nothing of ours.

    python score.py < jobs.jsonl > scores.jsonl

A job: {"reference": path, "degraded": path, "rate": 8000 or 16000, "visqol": whether}, raw PCM in
the files. An answer, in the order of the jobs: {"pesq": MOS-LQO, "visqol": MOS-LQO or null,
"delay": s}. PESQ is narrowband (ITU-T P.862.1) at 8 kHz, wideband (P.862.2) at 16. ViSQOL is at
16 kHz, in speech mode.
"""

import contextlib
import functools
import json
import os
import sys
from multiprocessing import Pool
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pesq import PesqError, pesq
from scipy.signal import correlate, resample_poly

_SEARCH_WINDOW = 15  # of ViSQOL's patches: the sounds are aligned beforehand


Sound = NDArray[np.float64]


def aligned(reference: Sound, degraded: Sound, rate: int) -> tuple[Sound, float]:
    """The degraded sound cut to where the reference is, and its delay in seconds."""
    energy = [
        np.sqrt(np.convolve(x**2, np.ones(rate // 100), "same")) for x in (reference, degraded)
    ]
    sums = correlate(energy[1], energy[0], mode="valid", method="fft")
    lag = int(np.argmax(sums))
    low, high = max(0, lag - rate // 50), min(len(degraded) - len(reference), lag + rate // 50)
    fine = correlate(degraded[low : high + len(reference)], reference, mode="valid", method="fft")
    lag = low + int(np.argmax(fine))
    return degraded[lag : lag + len(reference)], lag / rate


@functools.cache
def _visqol() -> Any:
    with open(os.devnull, "w") as void, contextlib.redirect_stderr(void):
        from visqol import VisqolApi

        api = VisqolApi()
        api.create(mode="speech", search_window=_SEARCH_WINDOW)
    return api


def score(job: dict[str, Any]) -> dict[str, Any]:
    rate = job["rate"]
    reference, degraded = (
        np.fromfile(job[name], np.int16).astype(float) / 32768 for name in ("reference", "degraded")
    )
    if not degraded.any():  # nothing was heard
        return {"pesq": 1.0, "visqol": 1.0 if job["visqol"] else None, "delay": 0.0}
    padded = np.concatenate((np.zeros(rate // 2), degraded, np.zeros(rate)))
    if len(padded) < len(reference):
        padded = np.concatenate((padded, np.zeros(len(reference))))
    degraded, delay = aligned(reference, padded, rate)
    try:
        result = pesq(rate, reference, degraded, "nb" if rate == 8000 else "wb")
    except PesqError:
        result = 1.0  # nothing that it takes for speech
    visqol = None
    if job["visqol"]:
        pair = [resample_poly(x, 16000 // rate, 1) for x in (reference, degraded)]
        visqol = _visqol().measure_from_arrays(*pair, 16000).moslqo
    return {"pesq": round(float(result), 3), "visqol": visqol, "delay": round(delay - 0.5, 3)}


if __name__ == "__main__":
    jobs = [json.loads(line) for line in sys.stdin]
    with Pool(os.cpu_count()) as pool:
        for answer in pool.imap(score, jobs):
            sys.stdout.write(json.dumps(answer) + "\n")
