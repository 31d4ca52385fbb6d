"""Opus (RFC 6716, RFC 7587) by libopus, at the rate of the codec on the other side.

Opus is one format for all rates: it can be decoded to 8 kHz and encoded from 8 kHz whatever the
far end does. Running it at the telephone's rate takes half the time of 48 kHz and a resampler, and
sounds better, since no bits go to an upper band that is empty.

The library is the one that PyAV's wheel carries, loaded without importing PyAV (20 MB); else the
system's. It is called through cffi with no compiled part of ours. Arguments of PCM are declared as
bytes, so that they are handed over as they are.
"""

import ctypes.util
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cffi import FFI

from media.codec.base import CodecError

RATES = (8000, 16000, 48000)
BITRATES: Mapping[int, int] = MappingProxyType({8000: 32_000, 16000: 48_000, 48000: 48_000})
"""bit/s for each rate of PCM: what more would bring is not heard (docs/benchmarks.md)."""
THIN_BITRATE = 12_000  # bit/s for a thin link: 0.5 MOS below what is heard of the above
COPIES = 8_000  # bit/s more for copies of lost speech; with less, libopus leaves them out at times
COMPLEXITY = 5  # 0.03 PESQ below 9, at two thirds of its time

_MAX_PAYLOAD = 1275  # bytes (RFC 6716 §3.4)
_MAX_DURATION_MS = 120
_LEAST_LOSS = 0.01
_DTX_PAYLOAD = 2  # bytes: an encoder that has nothing to say gives no more
_NO_PARAMETERS: Mapping[str, str] = MappingProxyType({})

# opus_defines.h
_APPLICATION_VOIP = 2048
_SET_BITRATE = 4002
_SET_MAX_BANDWIDTH = 4004
_SET_VBR = 4006
_SET_COMPLEXITY = 4010
_SET_INBAND_FEC = 4012
_SET_PACKET_LOSS_PERC = 4014
_SET_DTX = 4016
_SET_SIGNAL = 4024
_SIGNAL_VOICE = 3001
_BANDWIDTHS = ((8000, 1101), (12000, 1102), (16000, 1103), (24000, 1104), (48000, 1105))

_DECLARATIONS = """
typedef struct OpusEncoder OpusEncoder;
typedef struct OpusDecoder OpusDecoder;
const char *opus_strerror(int error);
const char *opus_get_version_string(void);
OpusEncoder *opus_encoder_create(int32_t rate, int channels, int application, int *error);
int32_t opus_encode(OpusEncoder *st, const char *pcm, int samples, unsigned char *data,
                    int32_t max_data);
int opus_encoder_ctl(OpusEncoder *st, int request, ...);
void opus_encoder_destroy(OpusEncoder *st);
OpusDecoder *opus_decoder_create(int32_t rate, int channels, int *error);
int opus_decode(OpusDecoder *st, const char *data, int32_t len, char *pcm, int samples, int fec);
void opus_decoder_destroy(OpusDecoder *st);
"""


class OpusUnavailable(RuntimeError):
    """No libopus was found; the text says what to install."""


@cache
def library() -> tuple[FFI, Any]:
    """libopus and the means to call it; raises `OpusUnavailable`."""
    ffi = FFI()
    ffi.cdef(_DECLARATIONS)
    for path in _candidates():
        try:
            return ffi, ffi.dlopen(path)
        except OSError:
            continue
    raise OpusUnavailable(
        "libopus not found: neither in the av package (pip install av) nor on the system "
        "(Debian: apt install libopus0)"
    )


def _candidates() -> list[str]:
    """Where libopus may be, best first."""
    found: list[str] = []
    spec = find_spec("av")  # finds the package without running it
    if spec is not None and spec.origin is not None:
        package = Path(spec.origin).parent
        for folder in (package.parent / "av.libs", package / ".dylibs"):
            found.extend(str(path) for path in sorted(folder.glob("libopus[-.]*")))
    found.append("libopus.so.0")
    system = ctypes.util.find_library("opus")
    if system is not None:
        found.append(system)
    return found


class OpusEncoder:
    """PCM to Opus, for voice.

    Args:
        rate: of the PCM: 8000, 16000 or 48000.
        fmtp: what the far end said of itself (RFC 7587 §6.1): `maxplaybackrate`,
            `maxaveragebitrate`, `useinbandfec`, `usedtx` and `cbr` are heeded. We send mono
            whatever it says of stereo. `usedtx` only on a thin link: libopus takes a steady tone
            and some music for a pause.
    """

    def __init__(
        self,
        rate: int,
        fmtp: Mapping[str, str] = _NO_PARAMETERS,
        *,
        bitrate: int | None = None,
        complexity: int = COMPLEXITY,
    ) -> None:
        if rate not in RATES:
            raise ValueError(f"Opus has no rate of {rate}")
        self.rate = rate
        self._ffi, self._lib = library()
        error = self._ffi.new("int *")
        state = self._lib.opus_encoder_create(rate, 1, _APPLICATION_VOIP, error)
        if error[0] != 0:
            raise MemoryError("opus_encoder_create failed")
        self._state = self._ffi.gc(state, self._lib.opus_encoder_destroy)
        self._output = self._ffi.new("unsigned char[]", _MAX_PAYLOAD)
        self._bytes = self._ffi.buffer(self._output)
        self._spares_pauses = fmtp.get("usedtx") == "1"
        self._dtx = False
        self._fec = fmtp.get("useinbandfec") == "1"
        self._copying = False
        self._full = self._bitrate = BITRATES[rate] if bitrate is None else bitrate
        self._limit = number_in(fmtp, "maxaveragebitrate", 510_000, 6000, 510_000)
        playback = number_in(fmtp, "maxplaybackrate", 48000, 8000, 48000)
        self._set(_SET_COMPLEXITY, complexity)
        self._set(_SET_SIGNAL, _SIGNAL_VOICE)
        self._set(_SET_BITRATE, min(self._bitrate, self._limit))
        self._set(_SET_MAX_BANDWIDTH, _bandwidth(playback))
        self._set(_SET_VBR, fmtp.get("cbr") != "1")
        self._set(_SET_INBAND_FEC, self._fec)

    def encode(self, pcm: bytes) -> bytes:
        length = self._lib.opus_encode(self._state, pcm, len(pcm) // 2, self._output, _MAX_PAYLOAD)
        if length < 0:
            raise ValueError(f"a frame of {len(pcm) // 2} samples is not for Opus")
        if length <= _DTX_PAYLOAD and self._dtx:
            return b""
        return bytes(self._bytes[0:length])

    def expect_loss(self, fraction: float) -> None:
        """With `useinbandfec`, copies of speech are carried in the next packet from 1 % on."""
        copying = self._fec and fraction >= _LEAST_LOSS
        if copying is not self._copying:
            self._copying = copying
            self._apply_bitrate()
        self._set(_SET_PACKET_LOSS_PERC, max(0, min(100, round(fraction * 100))))

    def set_thin(self, thin: bool) -> None:
        """Go over to the bitrate for a thin link, or back."""
        self._bitrate = THIN_BITRATE if thin else self._full
        self._apply_bitrate()
        self._dtx = thin and self._spares_pauses
        self._set(_SET_DTX, self._dtx)

    def _apply_bitrate(self) -> None:
        self._set(_SET_BITRATE, min(self._bitrate + COPIES * self._copying, self._limit))

    def _set(self, request: int, value: int) -> None:
        self._lib.opus_encoder_ctl(self._state, request, self._ffi.cast("int32_t", value))


class OpusDecoder:
    """Opus to PCM at 8000, 16000 or 48000; stereo comes out as mono."""

    def __init__(self, rate: int) -> None:
        if rate not in RATES:
            raise ValueError(f"Opus has no rate of {rate}")
        self.rate = rate
        self._ffi, self._lib = library()
        error = self._ffi.new("int *")
        state = self._lib.opus_decoder_create(rate, 1, error)
        if error[0] != 0:
            raise MemoryError("opus_decoder_create failed")
        self._state = self._ffi.gc(state, self._lib.opus_decoder_destroy)
        self._max_samples = rate * _MAX_DURATION_MS // 1000
        self._output = self._ffi.new("char[]", 2 * self._max_samples)
        self._bytes = self._ffi.buffer(self._output)

    def decode(self, payload: bytes) -> bytes:
        if not payload:
            raise CodecError("empty Opus payload")
        return self._run(payload, self._max_samples, 0)

    def conceal(self, samples: int, following: bytes | None = None) -> bytes:
        if following:
            try:
                return self._run(following, samples, 1)
            except CodecError:
                pass  # it is no use as a copy either
        return self._run(self._ffi.NULL, samples, 0)

    def _run(self, payload: Any, samples: int, fec: int) -> bytes:
        length = len(payload) if payload else 0
        count = self._lib.opus_decode(self._state, payload, length, self._output, samples, fec)
        if count < 0:
            raise CodecError("not an Opus payload")
        return bytes(self._bytes[0 : 2 * count])


def number_in(fmtp: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    """A parameter as a number within bounds; the default when it is missing or makes no sense."""
    text = fmtp.get(name, "")
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        return default
    return max(low, min(high, int(text)))


def _bandwidth(playback_rate: int) -> int:
    """The widest band that a far end playing at this rate can make use of (RFC 7587 §3.1.1)."""
    for rate, bandwidth in _BANDWIDTHS:
        if playback_rate <= rate:
            return bandwidth
    return _BANDWIDTHS[-1][1]
