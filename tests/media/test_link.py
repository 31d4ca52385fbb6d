"""What a browser's candidates tell of its network."""

import pytest

from media.link import Link, link_of

CABLE = "candidate:1 1 udp 2122260223 192.168.0.4 5000 typ host generation 0 network-id 1"
WIFI = f"{CABLE} network-cost 10"
MOBILE = f"{CABLE} network-cost 900"
SILENT = "candidate:0 1 UDP 2122252543 192.168.0.4 5000 typ host"


@pytest.mark.parametrize(
    ("candidates", "link"),
    [
        ((), Link.UNKNOWN),
        ((SILENT,), Link.UNKNOWN),
        ((CABLE,), Link.LOCAL),
        ((WIFI, CABLE, SILENT), Link.LOCAL),
        ((WIFI, MOBILE), Link.MOBILE),
        ((f"{CABLE} network-cost 50",), Link.UNKNOWN),
        ((f"{CABLE} network-cost 99999",), Link.MOBILE),
        ((f"{CABLE} network-cost x",), Link.MOBILE),
        (("network-id", ""), Link.UNKNOWN),
    ],
)
def test_the_worst_network_counts(candidates: tuple[str, ...], link: Link) -> None:
    assert link_of(candidates) is link
