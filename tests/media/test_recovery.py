"""A path to the browser that is lost, and found again by an ICE restart, in virtual time."""

import pytest

from media.ice.events import Transmit
from media.negotiate import read_webrtc
from media.plane import (
    Connected,
    Failed,
    Failure,
    OfferReady,
    Refused,
    Side,
)
from media.recovery import AGAIN, INSIST, Recovery
from tests.media.party import Browser
from tests.media.session_lab import BROWSER, Lab, heard_tones

ADDRESSES = ("10.0.0.12", 50012), ("10.0.0.13", 50013)


class Moving(Lab):
    """A call that is up, and a browser that answers our offers."""

    first_offers = 0
    refusals = 0  # of the checks of either side

    def put(self, transmits: list[Transmit], source: tuple[str, int]) -> None:
        self.refusals += sum(each.data[:2] == b"\x01\x11" for each in transmits)
        super().put(transmits, source)

    def __init__(self, direction: str) -> None:
        super().__init__()
        self.pbx.formats = ("0 PCMU/8000",)
        self.browser.formats = ("0 PCMU/8000",)  # cheap
        if direction == "out":
            self.call_out()
        else:
            self.call_in()
            self.first_offers = 1
        self.run(0.5)
        self.talk(1.0, browser="pcmu")

    def offers(self) -> list[str]:
        """Ours to the browser within the call."""
        offers = [e.sdp for e in self.of(OfferReady) if e.side is Side.WEBRTC]
        return offers[self.first_offers :]

    def take_restart(self) -> None:
        """The browser takes our latest offer, and its answer arrives."""
        sdp = self.offers()[-1]
        self.browser.end.roll_back(self.now)  # as a polite browser does
        remote = read_webrtc(sdp)
        end = self.browser.end
        # In libwebrtc, who offers a restart controls from then on.
        end.set_remote(remote.ufrag, remote.pwd, remote.candidates, self.now, controlling=False)
        self.restart_browser()
        text = self.browser.sdp("active" if self.first_offers else "passive")
        end.begin(client=True, fingerprints=remote.fingerprints, now=self.now)
        self.session.answer(Side.WEBRTC, text, self.now)

    def offer_restart(self) -> None:
        """The browser offers one itself."""
        self.browser.end.restart(self.now)
        self.browser.end._agent._take_role(True, self.now)  # as libwebrtc does
        self.restart_browser()
        self.session.offer(Side.WEBRTC, self.browser.offer(), self.now)

    def until_heard(self) -> float:
        """Seconds until both hear each other."""
        self.browser.ear.packets.clear()
        start, before = self.now, self.session._report().webrtc.packets_received
        while self.now - start < 20:
            self.talk(0.1)
            received = self.session._report().webrtc.packets_received
            if self.browser.ear.packets and received > before:
                return self.now - start
        raise AssertionError("nothing was heard again")


@pytest.mark.parametrize("direction", ["out", "in"])
def test_a_phone_that_changes_its_network_twice_is_heard_again(direction: str) -> None:
    lab = Moving(direction)
    for count, address in enumerate(ADDRESSES, 1):
        lab.move_browser(address)
        lab.talk(5.0)
        assert len(lab.offers()) == count
        lab.talk(15.0)  # no network at all for a while: the call is held, one offer is enough
        assert len(lab.offers()) == count
        lab.take_restart()
        assert lab.until_heard() <= 3
        lab.talk(2.0)
    assert not lab.of(Failed)
    assert len(lab.of(Connected)) == 1
    heard_tones(lab, ("pcmu", 0), ("pcmu", 0))


@pytest.mark.parametrize("direction", ["out", "in"])
@pytest.mark.parametrize("offerer", ["bridge", "browser"])
@pytest.mark.parametrize("tie_breaker", [0, 2**64 - 1])
def test_after_a_restart_nobody_quarrels_over_the_role(
    direction: str, offerer: str, tie_breaker: int
) -> None:
    """A refused check is repeated by Chromium only after 0.3 to 0.7 seconds."""
    lab = Moving(direction)
    assert lab.session._webrtc is not None
    lab.session._webrtc._agent._checks._tie_breaker = tie_breaker
    lab.move_browser(ADDRESSES[0])
    if offerer == "bridge":
        lab.talk(5.0)
        lab.take_restart()
    else:
        lab.offer_restart()
        lab.browser.accept(lab.answers(Side.WEBRTC)[-1].sdp, lab.now)
    assert lab.until_heard() <= 0.2
    assert lab.refusals == 0


@pytest.mark.parametrize("direction", ["out", "in"])
def test_our_offer_restarts_ice_and_changes_nothing_else(direction: str) -> None:
    lab = Moving(direction)
    before = read_webrtc(lab.browser.remote_sdp)
    lab.cut_off.add(BROWSER[0])
    lab.talk(5.0)
    (sdp,) = lab.offers()
    after = read_webrtc(sdp)
    assert (after.ufrag, after.pwd) != (before.ufrag, before.pwd)
    assert after.setup == "actpass"
    assert (after.mid, after.fingerprints, after.grouped) == (
        before.mid,
        before.fingerprints,
        before.grouped,
    )
    assert [f.name for f in after.formats] == ["PCMU"]


def test_a_lost_path_is_waited_for_half_a_minute_and_no_longer() -> None:
    lab = Moving("out")
    lab.cut_off.add(BROWSER[0])
    lab.talk(30.0)
    assert not lab.of(Failed)
    lab.talk(5.0)
    (failed,) = lab.of(Failed)
    assert failed.failure is Failure.NO_CONNECTIVITY
    assert "path" in failed.text


def test_a_path_that_comes_back_by_itself_needs_no_answer() -> None:
    lab = Moving("out")
    lab.cut_off.add(BROWSER[0])
    lab.talk(20.0)
    lab.cut_off.clear()
    lab.talk(20.0)
    assert not lab.of(Failed)
    heard_tones(lab, ("pcmu", 0), ("pcmu", 0))


def test_an_answer_that_brings_no_path_is_followed_by_another_offer() -> None:
    lab = Moving("out")
    lab.cut_off.add(BROWSER[0])
    lab.talk(5.0)
    lab.take_restart()
    lab.talk(AGAIN + 0.5)
    assert len(lab.offers()) == 2
    lab.cut_off.clear()
    lab.take_restart()
    assert lab.until_heard() <= 3


def test_an_answer_that_does_not_take_up_the_restart_leaves_all_as_it_was() -> None:
    lab = Moving("out")
    lab.cut_off.add(BROWSER[0])
    lab.talk(5.0)
    assert lab.offers()
    lab.session.answer(Side.WEBRTC, lab.browser.sdp("passive"), lab.now)
    lab.cut_off.clear()
    assert lab.until_heard() <= 3


@pytest.mark.parametrize("what", ["stranger", "rubbish"])
def test_an_answer_that_is_no_use_is_refused_and_the_old_path_may_come_back(what: str) -> None:
    lab = Moving("out")
    lab.cut_off.add(BROWSER[0])
    lab.talk(5.0)
    other = Browser(offers=True, address=BROWSER, now=lab.now)
    sdp = other.sdp("passive") if what == "stranger" else "v=rubbish"
    lab.session.answer(Side.WEBRTC, sdp, lab.now)
    assert [r.side for r in lab.of(Refused)] == [Side.WEBRTC]
    lab.cut_off.clear()
    assert lab.until_heard() <= 3


@pytest.mark.parametrize("direction", ["out", "in"])
@pytest.mark.parametrize("address", [(BROWSER[0], 61000), ("10.0.0.99", 61000)])
def test_a_new_binding_of_the_nat_is_followed_without_a_restart(
    direction: str, address: tuple[str, int]
) -> None:
    lab = Moving(direction)
    for seconds in (5.0, 5.7, 6.4):
        lab.talk(seconds)
        host, port = address
        address = lab.browser_at[0] = host, port + 1  # what was sent to the old one is lost
        assert lab.until_heard() <= 3
    assert not lab.offers()


# --- both offer at once


def test_a_browser_that_called_us_gets_its_way() -> None:
    lab = Moving("out")
    lab.move_browser(ADDRESSES[0])
    lab.talk(5.0)
    assert len(lab.offers()) == 1
    lab.offer_restart()
    lab.browser.accept(lab.answers(Side.WEBRTC)[-1].sdp, lab.now)
    assert lab.until_heard() <= 3
    lab.talk(AGAIN + 1)
    assert len(lab.offers()) == 1


def test_a_browser_that_called_us_may_hold_while_our_restart_waits() -> None:
    lab = Moving("out")
    lab.cut_off.add(BROWSER[0])
    lab.talk(5.0)
    before = read_webrtc(lab.browser.remote_sdp)
    lab.session.offer(Side.WEBRTC, lab.browser.offer(), lab.now)
    answer = read_webrtc(lab.answers(Side.WEBRTC)[-1].sdp)
    assert (answer.ufrag, answer.pwd) == (before.ufrag, before.pwd)
    lab.talk(AGAIN + 0.5)
    assert len(lab.offers()) == 2


def test_a_browser_that_we_called_yields() -> None:
    lab = Moving("in")
    lab.move_browser(ADDRESSES[0])
    lab.talk(5.0)
    lab.offer_restart()
    lab.run(0.5)
    assert not lab.answers(Side.WEBRTC)
    lab.take_restart()
    assert lab.until_heard() <= 3
    assert not lab.answers(Side.WEBRTC)


def test_a_browser_that_we_called_and_that_insists_gets_its_way_in_the_end() -> None:
    lab = Moving("in")
    lab.move_browser(ADDRESSES[0])
    lab.talk(5.0)
    lab.offer_restart()
    lab.talk(INSIST + 0.1)
    lab.browser.accept(lab.answers(Side.WEBRTC)[-1].sdp, lab.now)
    assert lab.until_heard() <= 3


# --- the times alone


def test_times_of_a_path_that_flaps() -> None:
    recovery = Recovery(insists=True, limit=30)
    assert recovery.deadline() is None
    recovery.lost(100.0)
    recovery.lost(101.0)
    assert recovery.offers(100.0)
    recovery.offered(100.0)
    assert not recovery.offers(129.0)
    assert not recovery.is_over(129.9)
    recovery.found()
    assert recovery.deadline() is None
    recovery.lost(140.0)
    assert not recovery.offers(140.0)  # the one before may still be answered
    recovery.found()
    recovery.lost(161.0)
    assert recovery.offers(161.0)
    assert recovery.is_over(191.0)


def test_an_answer_that_comes_late_has_time_to_bring_a_path() -> None:
    recovery = Recovery(insists=False, limit=30)
    recovery.lost(100.0)
    recovery.offered(100.0)
    recovery.settled(129.0)
    assert not recovery.is_over(138.0)
    assert recovery.is_over(139.0)


def test_nothing_is_due_on_a_path_that_works() -> None:
    recovery = Recovery(insists=True, limit=30)
    recovery.settled(100.0)
    assert recovery.deadline() is None
    assert recovery.meet("offer", 100.0)
    assert recovery.yields(200.0) is None
    assert not recovery.is_over(1e9)


@pytest.mark.parametrize("direction", ["out", "in"])
@pytest.mark.parametrize("speaks", [True, False])
def test_a_nat_that_gives_the_browser_another_port_is_followed(
    direction: str, speaks: bool
) -> None:
    """The browser knows nothing of it, and once its nomination was answered it does not repeat it
    (RFC 8445 §8.1.1; libwebrtc does)."""
    lab = Moving(direction)
    checks = lab.browser.end._agent._checks
    checks.once = lambda checklist, pair: pair.base.transmit(  # type: ignore[method-assign]
        checks._request(checklist, pair, nominate=False), pair.address
    )
    lab.talk(3.0)
    lab.spoken["browser"] = speaks
    lab.browser_at[0] = (BROWSER[0], 50099)
    lab.browser.ear.packets.clear()
    start = lab.now
    while not lab.browser.ear.packets and lab.now < start + 20:
        lab.talk(0.1)
    assert lab.now - start <= 3.0
    assert not lab.offers()
