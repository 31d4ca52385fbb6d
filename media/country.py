"""Call progress tones as each country has them (ITU-T E.180; what each tone says: E.182).

The figures are those that administrations report to the ITU: E.180 Supplement 2, brought up to date
in "Various tones used in national networks" (annex to Operational Bulletin 781, 2003). Where a
country reports several, the one of its digital exchanges is here. For all others stands what E.180
recommends for new exchanges: 425 Hz.

A tone is written as its pieces, one after the other: `425/1000 0/4000` is a second of 425 Hz and
four of silence; `+` adds frequencies, and `*` modulates the first with the second.
"""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from media.order import Tone
from media.tone import Piece

_INFORMATION = "950/330 1400/330 1800/330 0/1000"  # E.180 §6; the same everywhere
_BEEP = "1000/400"
_BRITISH = "400+450/400 0/200 400+450/400 0/2000"

RECOMMENDED = ("425/1000 0/4000", "425/500 0/500", "425/250 0/250")

# Ringback, busy, congestion.
_TONES: Mapping[str, tuple[str, str, str]] = MappingProxyType(
    {
        "AT": ("420/1000 0/5000", "420/400 0/400", "420/200 0/200"),
        "AU": ("400*25/400 0/200 400*25/400 0/2000", "425/375 0/375", "425/375 0/375"),
        "BE": ("425/1000 0/3000", "425/500 0/500", "425/167 0/167"),
        "BR": ("425/1000 0/4000", "425/250 0/250", "425/250 0/250 425/750 0/250"),
        "CA": ("440+480/2000 0/4000", "480+620/500 0/500", "480+620/250 0/250"),
        "CH": ("425/1000 0/4000", "425/500 0/500", "425/200 0/200"),
        "CN": ("450/1000 0/4000", "450/350 0/350", "450/700 0/700"),
        "CZ": ("425/1000 0/4000", "425/330 0/330", "425/165 0/165"),
        "DE": ("425/1000 0/4000", "425/480 0/480", "425/240 0/240"),
        "DK": ("425/1000 0/4000", "425/500 0/500", "425/250 0/250"),
        "ES": ("425/1500 0/3000", "425/200 0/200", "425/200 0/200 425/200 0/200 425/200 0/600"),
        "FI": ("425/1000 0/4000", "425/300 0/300", "425/200 0/200"),
        "FR": ("440/1500 0/3500", "440/500 0/500", "440/250 0/250"),
        "GB": (_BRITISH, "400/375 0/375", "400/400 0/350 400/225 0/525"),
        "GR": ("425/1000 0/4000", "425/300 0/300", "425/200 0/200"),
        "HU": ("425/1250 0/3750", "425/300 0/300", "425/300 0/300"),
        "IE": (_BRITISH, "425/500 0/500", "425/250 0/250"),
        "IN": ("400*25/400 0/200 400*25/400 0/2000", "400/750 0/750", "400/250 0/250"),
        "IT": ("425/1000 0/4000", "425/500 0/500", "425/200 0/200"),
        "JP": ("400*16/1000 0/2000", "400/500 0/500", "400/500 0/500"),
        "MX": ("425/1000 0/4000", "425/250 0/250", "425/250 0/250"),
        "NL": ("425/1000 0/4000", "425/500 0/500", "425/250 0/250"),
        "NO": ("425/1000 0/4000", "425/500 0/500", "425/200 0/200"),
        "NZ": (_BRITISH, "400/500 0/500", "400/250 0/250"),
        "PL": ("425/1000 0/4000", "425/500 0/500", "425/500 0/500"),
        "PT": ("425/1000 0/5000", "425/500 0/500", "425/200 0/200"),
        "RU": ("425/800 0/3200", "425/400 0/400", "425/200 0/200"),
        "SE": ("425/1000 0/5000", "425/250 0/250", "425/250 0/750"),
        "TR": ("450/2000 0/4000", "450/500 0/500", f"{3 * '450/200 0/200 '}450/600 0/200"),
        "US": ("440+480/2000 0/4000", "480+620/500 0/500", "480+620/250 0/250"),
        "ZA": ("400*33/400 0/200 400*33/400 0/2000", "400/500 0/500", "400/250 0/250"),
    }
)  # fmt: skip

COUNTRIES = frozenset(_TONES)


@cache
def cadence(tone: Tone, country: str) -> tuple[Piece, ...]:
    """A country's tone; `country` as in ISO 3166-1 (`DE`), and anything else for E.180's own."""
    ringback, busy, congestion = _TONES.get(country.upper(), RECOMMENDED)
    text = {
        Tone.RINGBACK: ringback,
        Tone.BUSY: busy,
        Tone.CONGESTION: congestion,
        Tone.INFORMATION: _INFORMATION,
        Tone.BEEP: _BEEP,
    }[tone]
    return tuple(_piece(part) for part in text.split())


def _piece(text: str) -> Piece:
    tone, _, length = text.partition("/")
    if tone == "0":
        return Piece((), int(length))
    if "*" in tone:
        carrier, modulator = (int(part) for part in tone.split("*"))
        return Piece((carrier - modulator, carrier, carrier + modulator), int(length))
    return Piece(tuple(int(part) for part in tone.split("+")), int(length))
