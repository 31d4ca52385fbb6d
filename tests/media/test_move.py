"""Our own machine changes its address in a call, in virtual time."""

import pytest

from media.ice.events import Transmit
from media.negotiate import read_sdes, read_webrtc
from media.plane import AudioLost, Failed, OfferReady, Side
from media.sdp import Crypto
from media.webrtc import LocalSocket
from tests.media.session_lab import BRIDGE, BROWSER, Lab, heard_tones
from tests.media.test_recovery import Moving

ADDRESSES = "10.0.0.21", "10.0.0.22"


class Moved(Moving):
    """A call that is up, whose trunk answers our offers."""

    first_trunk_offers = 0

    def __init__(self, direction: str) -> None:
        super().__init__(direction)
        self.first_trunk_offers = len(self.trunk_offers())

    def trunk_offers(self) -> list[str]:
        offers = [e.sdp for e in self.of(OfferReady) if e.side is Side.SDES]
        return offers[self.first_trunk_offers :]

    def take_trunk_offer(self) -> None:
        self.session.answer(Side.SDES, self.pbx.answer(self.trunk_offers()[-1]), self.now)


def keys_by_suite(sdp: str) -> dict[str, bytes]:
    lines = [Crypto.parse(line) for line in read_sdes(sdp).cryptos]
    return {line.suite: line.key for line in lines}


@pytest.mark.parametrize("direction", ["out", "in"])
def test_a_bridge_that_moves_twice_is_heard_again(direction: str) -> None:
    lab = Moved(direction)
    for count, address in enumerate(ADDRESSES, 1):
        lab.move_bridge(address)
        lab.talk(0.1)
        (trunk,) = lab.trunk_offers()[count - 1 :]
        assert read_sdes(trunk).address == address
        lab.take_trunk_offer()
        assert len(lab.offers()) == count
        hosts = [c for c in read_webrtc(lab.offers()[-1]).candidates if "typ host" in c]
        assert [c.split()[4] for c in hosts] == [address]
        lab.take_restart()
        assert lab.until_heard() <= 1
        lab.talk(3.0)
    assert not lab.of(Failed)
    assert not lab.of(AudioLost)
    heard_tones(lab, ("pcmu", 0), ("pcmu", 0))


@pytest.mark.parametrize("direction", ["out", "in"])
def test_the_browser_is_found_before_it_has_heard_of_the_restart(direction: str) -> None:
    """Our checks from the new address have its password, and it answers them."""
    lab = Moved(direction)
    lab.move_bridge(ADDRESSES[0])
    lab.take_trunk_offer()
    assert lab.until_heard() <= 1.5


def test_the_trunk_keeps_its_keys_when_we_move() -> None:
    lab = Lab()
    lab.call_out()
    before = keys_by_suite(lab.offer(Side.SDES))
    lab.move_bridge(ADDRESSES[0])
    after = keys_by_suite(lab.offer(Side.SDES))
    assert after[lab.pbx.suite] == before[lab.pbx.suite]


def test_an_address_that_comes_beside_ours_disturbs_nobody() -> None:
    lab = Moved("out")
    both = (LocalSocket(2, BRIDGE, 40002), LocalSocket(3, ADDRESSES[0], 40003))
    lab.bridge_at[3] = (ADDRESSES[0], 40003)
    lab.session.move(both, BRIDGE, lab.now)
    lab.talk(2.0)
    assert not lab.offers()
    assert not lab.trunk_offers()
    # What came is of use when the old one goes.
    lab.cut_off.add(BRIDGE)
    lab.bridge_at[0], lab.bridge_at[1] = (ADDRESSES[0], 40000), (ADDRESSES[0], 40001)
    lab.session.move(both[1:], ADDRESSES[0], lab.now)
    lab.take_trunk_offer()
    lab.run(0.01)
    lab.take_restart()
    assert lab.until_heard() <= 0.2


def test_a_bridge_that_moves_while_the_phone_rings_is_found_by_both() -> None:
    lab = Lab()
    lab.session.offer(Side.WEBRTC, lab.browser.offer(), lab.now)
    first = lab.offer(Side.SDES)
    lab.move_bridge(ADDRESSES[0])
    lab.session.answer(Side.SDES, lab.pbx.answer(first), lab.now)
    again = lab.offer(Side.SDES)
    assert f"IN IP4 {ADDRESSES[0]}" in again
    lab.session.answer(Side.SDES, lab.pbx.answer(again), lab.now)
    lab.browser.accept(lab.answer(Side.WEBRTC), lab.now)
    lab.run(0.5)
    lab.talk(1.0)
    heard_tones(lab, ("opus", 111), ("pcmu", 0))


def test_nothing_leaves_from_a_socket_that_is_gone() -> None:
    lab = Moved("out")
    lab.move_bridge(ADDRESSES[0])
    outputs = lab.session.poll()
    for _ in range(20):
        lab.run(0.1)
        outputs += lab.session.poll()
    assert {o.socket for o in outputs if isinstance(o, Transmit)} <= set(lab.bridge_at)


def test_a_session_that_is_over_does_not_move() -> None:
    lab = Moved("out")
    lab.session.close(lab.now)
    lab.pump()
    lab.session.move((LocalSocket(9, ADDRESSES[0], 40009),), ADDRESSES[0], lab.now)
    assert not lab.session.poll()
    assert BROWSER not in lab.bridge_at.values()
