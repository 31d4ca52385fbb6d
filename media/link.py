"""What is known of the network that a browser stands on, from its ICE candidates; pure.

libwebrtc, and so Chromium and the apps built on it, adds to each candidate which of its networks it
belongs to (`network-id`) and what traffic on that costs (`network-cost`, left out where it is
nothing): 0 for a cable, 10 for Wi-Fi, 900 for a mobile network, 50 and others where it cannot tell.
Who says nothing, as Firefox, stands on a network that is not known.
"""

from collections.abc import Iterable
from enum import Enum
from itertools import pairwise
from typing import Final

_WIFI: Final = 10
_MOBILE: Final = 900
_MOST: Final = 999  # of any network; more is nothing that libwebrtc would say


class Link(Enum):
    """The worst network that an end may use in the call."""

    LOCAL = "wired or Wi-Fi"
    UNKNOWN = "unknown"
    MOBILE = "mobile"


def link_of(candidates: Iterable[str]) -> Link:
    """Judge by all candidates that came so far: a phone that has Wi-Fi and a mobile network may
    leave the one for the other in the middle of the call."""
    costs = [cost for candidate in candidates if (cost := _cost(candidate)) is not None]
    if any(cost >= _MOBILE for cost in costs):
        return Link.MOBILE
    return Link.LOCAL if costs and max(costs) <= _WIFI else Link.UNKNOWN


def _cost(candidate: str) -> int | None:
    """What the network of a candidate costs; None: it does not say."""
    words = candidate.split()
    said = dict(pairwise(words))
    if "network-id" not in said:
        return None
    text = said.get("network-cost", "0")
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 4 else _MOST
    return min(number, _MOST)
