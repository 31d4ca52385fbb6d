"""The codecs of calls, by the names that the rest uses: "opus", "g722", "pcma", "pcmu"."""

from collections.abc import Mapping
from types import MappingProxyType

from media.codec.base import CodecError, Decoder, Encoder
from media.codec.g711 import G711Decoder, G711Encoder
from media.codec.g722 import G722Decoder, G722Encoder
from media.codec.opus import OpusDecoder, OpusEncoder

__all__ = ["RATES", "CodecError", "Decoder", "Encoder", "common_rate", "decoder", "encoder"]

RATES: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {"opus": (48000, 16000, 8000), "g722": (16000, 8000), "pcma": (8000,), "pcmu": (8000,)}
)
"""Rates of PCM that each codec can run at, its own first."""


def common_rate(one: str, other: str) -> int:
    """The highest rate of PCM that both can run at: there is no resampling."""
    return max(set(RATES[one]) & set(RATES[other]))


def encoder(name: str, rate: int, fmtp: Mapping[str, str]) -> Encoder:
    """An encoder for a far end that described itself with `fmtp`; raises `ValueError`."""
    match name:
        case "opus":
            return OpusEncoder(rate, fmtp)
        case "g722":
            return G722Encoder(rate)
        case "pcma" | "pcmu":
            return G711Encoder(a_law=name == "pcma")
    raise ValueError(f"unknown codec {name!r}")


def decoder(name: str, rate: int) -> Decoder:
    """A decoder of what a far end sends; raises `ValueError`."""
    match name:
        case "opus":
            return OpusDecoder(rate)
        case "g722":
            return G722Decoder(rate)
        case "pcma" | "pcmu":
            return G711Decoder(a_law=name == "pcma")
    raise ValueError(f"unknown codec {name!r}")
