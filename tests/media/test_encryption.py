"""No downgrade: every policy against every kind of offer, answer and re-offer of a trunk.

What counts is what leaves for the trunk: each packet either opens under the agreed keys or, where
that was agreed on, is readable as it is; and the report and the event say which.
"""

import os
from dataclasses import dataclass, field

import pytest

from media.ice.events import Transmit
from media.plane import (
    AnswerReady,
    Closed,
    Encryption,
    Failed,
    Failure,
    OfferReady,
    Refused,
    SessionSettings,
    Side,
    Unencrypted,
)
from media.rtp import RtpPacket, build, is_rtcp
from media.sdp import Crypto, Media, Sdp
from media.srtp import Srtp
from tests.media.party import Browser
from tests.media.session_lab import BROWSER, PBX, Lab

REQUIRED, PREFERRED, OFF = Encryption
SUITE = "AES_CM_128_HMAC_SHA1_80"
GOOD, BAD = SUITE, "F8_128_HMAC_SHA1_80"
SILENCE = b"\xf8\xff\xfe"  # of Opus

# What a trunk may offer: its audio sections, each with its profile and the suite of its key.
OFFERS: dict[str, tuple[tuple[str, str], ...]] = {
    "plain": (("RTP/AVP", ""),),
    "encrypted": (("RTP/SAVP", GOOD),),
    "best effort": (("RTP/AVP", GOOD),),
    "unknown suite": (("RTP/SAVP", BAD),),
    "best effort, unknown suite": (("RTP/AVP", BAD),),
    "keyless": (("RTP/SAVP", ""),),
    "both": (("RTP/SAVP", GOOD), ("RTP/AVP", "")),
    "both, plain first": (("RTP/AVP", ""), ("RTP/SAVP", GOOD)),
    "both, unknown suite": (("RTP/SAVP", BAD), ("RTP/AVP", "")),
}
SRTP, CLEAR, NOTHING = "srtp", "clear", "nothing"
TAKEN = {
    "plain": (NOTHING, CLEAR, CLEAR),
    "encrypted": (SRTP, SRTP, NOTHING),
    "best effort": (SRTP, SRTP, CLEAR),
    "unknown suite": (NOTHING, NOTHING, NOTHING),
    "best effort, unknown suite": (NOTHING, CLEAR, CLEAR),
    "keyless": (NOTHING, NOTHING, NOTHING),
    "both": (SRTP, SRTP, CLEAR),
    "both, plain first": (SRTP, SRTP, CLEAR),
    "both, unknown suite": (NOTHING, CLEAR, CLEAR),
}
"""What becomes of each, by policy."""

every_offer = pytest.mark.parametrize("offer", OFFERS)
every_policy = pytest.mark.parametrize("policy", Encryption, ids=lambda policy: policy.value)


@dataclass
class Trunk:
    """A trunk that describes itself as it likes, and looks at what comes."""

    key: bytes = field(default_factory=lambda: os.urandom(30))
    tags: dict[str, int] = field(default_factory=dict)  # by suite, of its first line
    srtp: Srtp | None = None
    opened: int = 0
    readable: int = 0
    garbled: int = 0
    sequence: int = 0

    def describe(self, sections: tuple[tuple[str, str], ...], tag: int = 1) -> str:
        self.tags.clear()
        lines = ["v=0", "o=- 9 1 IN IP4 10.0.0.3", "s=-", f"c=IN IP4 {PBX[0]}", "t=0 0"]
        for number, (profile, suite) in enumerate(sections):
            kind, _, protocol = profile.rpartition(" ")
            payload = "t38" if kind == "image" else "0"
            lines.append(f"m={kind or 'audio'} {PBX[1]} {protocol} {payload}")
            if suite:
                self.tags.setdefault(suite, tag + number)
                lines.append(f"a=crypto:{Crypto(tag + number, suite, self.key)}")
        return "".join(f"{line}\r\n" for line in lines)

    def key_from(self, audio: Media, *, answers: bool = False) -> None:
        """Take the bridge's key out of its answer, or out of the line of its offer."""
        lines = [Crypto.parse(line) for line in audio.values("crypto")]
        if answers:  # one line at the most, with the tag of what was offered and another key
            assert [line.tag for line in lines] in ([], [self.tags.get(SUITE)])
            assert not [line for line in lines if line.key == self.key]
        theirs = next((line for line in lines if line.suite == SUITE), None)
        self.srtp = None if theirs is None else Srtp(SUITE, self.key, theirs.key)

    def receive(self, data: bytes) -> None:
        open_it = None
        if self.srtp is not None:
            open_it = self.srtp.unprotect_rtcp if is_rtcp(data) else self.srtp.unprotect
        if open_it is not None and open_it(data) is not None:
            self.opened += 1
        elif is_rtcp(data) or RtpPacket.parse(data).payload in (b"\xff" * 160, b"\xd5" * 160):
            self.readable += 1
        else:
            self.garbled += 1

    def say(self, *, clear: bool) -> bytes:
        self.sequence += 1
        packet = build(0, self.sequence, 160 * self.sequence, 77, b"\xff" * 160)
        secret = packet if clear or self.srtp is None else self.srtp.protect(packet)
        assert secret is not None
        return secret


class World(Lab):
    """A call whose trunk is a `Trunk`."""

    def __init__(self, policy: Encryption) -> None:
        super().__init__(SessionSettings(encryption=policy, suites=(SUITE,), codecs=("pcmu",)))
        self.trunk = Trunk()
        self.pbx = self.trunk  # type: ignore[assignment]  # receives in its place
        self._number = 0

    def is_called(self, sections: tuple[tuple[str, str], ...]) -> str:
        """The trunk calls with such an offer; what became of it."""
        self.session.offer(Side.SDES, self.trunk.describe(sections), self.now)
        if self.of(Failed):
            return NOTHING
        self.browser = Browser(offers=False, address=BROWSER, now=self.now)
        answer = self.browser.answer(self.offer(Side.WEBRTC), self.now)
        self.session.answer(Side.WEBRTC, answer, self.now)
        self._take_answer()
        self.run(0.1)
        return self.talk_silently()

    def calls(self, sections: tuple[tuple[str, str], ...], tag: int = 1) -> str:
        """We call, and the trunk answers so."""
        self.session.offer(Side.WEBRTC, self.browser.offer(), self.now)
        offer = Sdp.parse(self.offer(Side.SDES))
        self.trunk.key_from(offer.media[0])
        self.session.answer(Side.SDES, self.trunk.describe(sections, tag), self.now)
        if self.of(Failed):
            return NOTHING
        self.browser.accept(self.answer(Side.WEBRTC), self.now)
        self.run(0.1)
        return self.talk_silently()

    def is_re_offered(self, sections: tuple[tuple[str, str], ...]) -> str:
        before = len(self.of(AnswerReady))
        self.session.offer(Side.SDES, self.trunk.describe(sections), self.now)
        if len(self.of(AnswerReady)) == before:
            return NOTHING
        self._take_answer()
        return self.talk_silently()

    def _take_answer(self) -> None:
        answer = [e for e in self.of(AnswerReady) if e.side is Side.SDES][-1]
        (audio,) = [m for m in Sdp.parse(answer.sdp).media if m.port]
        self.trunk.key_from(audio, answers=True)

    def talk_silently(self) -> str:
        """Both speak for a moment; what passed toward the trunk."""
        trunk = self.trunk
        self.run(0.02)  # for what is on the wire
        trunk.opened = trunk.readable = trunk.garbled = 0
        for _ in range(5):
            self._number += 1
            packet = build(111, self._number, 960 * self._number, 5, SILENCE)
            self.put(self.browser.say(packet, self.now), BROWSER)
            data = trunk.say(clear=False)
            self.put([Transmit(0, ("10.0.0.1", 40000), data)], PBX)
            self.run(0.02)
        assert not trunk.garbled
        assert bool(trunk.opened) != bool(trunk.readable)
        return SRTP if trunk.opened else CLEAR

    def finish(self, passed: set[str]) -> None:
        """The report says what passed; where nothing did, nothing at all left for the trunk."""
        self.run(0.5)
        trunk = self.trunk
        if not passed:
            assert not trunk.opened + trunk.readable + trunk.garbled
        elif passed == {SRTP}:
            assert not trunk.readable + trunk.garbled
        self.session.close(self.now)
        self.pump()
        if CLEAR not in passed:
            assert not trunk.readable + trunk.garbled
        (closed,) = self.of(Closed)
        report = closed.report.sdes
        assert report.in_clear == (CLEAR in passed)
        assert len(self.of(Unencrypted)) == (CLEAR in passed)
        if SRTP not in passed:
            assert report.cipher == ("none" if CLEAR in passed else "")
        if passed:
            assert report.packets_received > 0


def _wanted(offer: str, policy: Encryption) -> str:
    return TAKEN[offer][list(Encryption).index(policy)]


@every_policy
@every_offer
def test_what_a_trunk_offers(policy: Encryption, offer: str) -> None:
    world = World(policy)
    wanted = _wanted(offer, policy)
    assert world.is_called(OFFERS[offer]) == wanted
    if wanted == NOTHING:
        insists = policy is OFF and offer != "plain"
        (failed,) = world.of(Failed)
        assert failed.failure is (Failure.ONLY_SRTP if insists else Failure.NO_SRTP)
        assert not world.of(OfferReady)  # nobody is rung for it
    world.finish({wanted} - {NOTHING})


@pytest.mark.parametrize("policy", [REQUIRED, PREFERRED], ids=lambda policy: policy.value)
@every_offer
def test_an_encrypted_call_stays_encrypted(policy: Encryption, offer: str) -> None:
    world = World(policy)
    assert world.is_called(OFFERS["encrypted"]) == SRTP
    wanted = _wanted(offer, REQUIRED)
    assert world.is_re_offered(OFFERS[offer]) == wanted
    if wanted == NOTHING:
        assert [e.failure for e in world.of(Refused)] == [Failure.NO_SRTP]
        assert world.talk_silently() == SRTP
    world.finish({SRTP})


@pytest.mark.parametrize("policy", [PREFERRED, OFF], ids=lambda policy: policy.value)
@every_offer
def test_a_plain_call_becomes_encrypted_where_both_may(policy: Encryption, offer: str) -> None:
    world = World(policy)
    assert world.is_called(OFFERS["plain"]) == CLEAR
    wanted = _wanted(offer, policy)
    assert world.is_re_offered(OFFERS[offer]) == wanted
    if wanted == NOTHING:
        assert world.talk_silently() == CLEAR
    world.finish({CLEAR, wanted} - {NOTHING})


@every_policy
@pytest.mark.parametrize(
    ("sections", "tag", "wanted"),
    [
        ((("RTP/SAVP", GOOD),), 1, (SRTP, SRTP, NOTHING)),
        ((("RTP/AVP", GOOD),), 1, (SRTP, SRTP, NOTHING)),
        ((("RTP/AVP", ""),), 1, (NOTHING, CLEAR, CLEAR)),
        ((("RTP/SAVP", ""),), 1, (NOTHING, NOTHING, NOTHING)),
        ((("RTP/SAVP", BAD),), 1, (NOTHING, NOTHING, NOTHING)),
        ((("RTP/AVP", BAD),), 1, (NOTHING, NOTHING, NOTHING)),
        ((("RTP/SAVP", GOOD),), 2, (NOTHING, NOTHING, NOTHING)),
        ((("RTP/AVP", GOOD),), 2, (NOTHING, NOTHING, NOTHING)),
    ],
)
def test_what_a_trunk_answers(
    policy: Encryption, sections: tuple[tuple[str, str], ...], tag: int, wanted: tuple[str, ...]
) -> None:
    world = World(policy)
    expected = wanted[list(Encryption).index(policy)]
    assert world.calls(sections, tag) == expected
    (audio,) = Sdp.parse(next(e.sdp for e in world.of(OfferReady))).media
    assert audio.protocol == ("RTP/SAVP" if policy is REQUIRED else "RTP/AVP")
    assert audio.has("crypto") == (policy is not OFF)
    world.finish({expected} - {NOTHING})


@every_policy
def test_an_answer_to_our_offer_in_an_encrypted_call_cannot_be_plain(policy: Encryption) -> None:
    if policy is OFF:
        policy = PREFERRED
    world = World(policy)
    assert world.calls(OFFERS["best effort"]) == SRTP
    world.session.ask(Side.SDES, world.now)
    world.session.answer(Side.SDES, world.trunk.describe(OFFERS["plain"]), world.now)
    assert [e.failure for e in world.of(Failed)] == [Failure.NO_SRTP]
    world.finish({SRTP})


def _lines(sdp: str) -> list[Crypto]:
    return [Crypto.parse(line) for line in Sdp.parse(sdp).media[0].values("crypto")]


def test_another_phone_may_answer_in_the_clear_after_encrypted_early_media() -> None:
    """A forked call: what was heard first is not who answers. From then on it is a plain call."""
    world = World(PREFERRED)
    assert world.calls(OFFERS["best effort"]) == SRTP
    world.session.answer(Side.SDES, world.trunk.describe(OFFERS["plain"]), world.now)
    world.trunk.srtp = None
    assert world.talk_silently() == CLEAR
    assert world.is_re_offered(OFFERS["plain"]) == CLEAR
    assert world.is_re_offered(OFFERS["best effort"]) == SRTP
    # The first key's packet counters are gone, so that it must not be used again.
    (once,) = _lines(world.of(OfferReady)[0].sdp)
    (again,) = _lines(world.answers(Side.SDES)[-1].sdp)
    assert again.key != once.key
    assert world.is_re_offered(OFFERS["plain"]) == NOTHING
    world.finish({SRTP, CLEAR})


def test_a_trunk_that_offers_our_own_key_back_gets_another() -> None:
    """Else whoever sends our packets back to us would be authentic."""
    world = World(REQUIRED)
    assert world.is_called(OFFERS["encrypted"]) == SRTP
    (ours,) = _lines(world.answers(Side.SDES)[-1].sdp)
    world.trunk.key = ours.key
    assert world.is_re_offered(OFFERS["encrypted"]) == SRTP
    (again,) = _lines(world.answers(Side.SDES)[-1].sdp)
    assert again.key != ours.key


def test_nothing_plain_is_taken_in_an_encrypted_call() -> None:
    world = World(PREFERRED)
    assert world.is_called(OFFERS["best effort"]) == SRTP
    for _ in range(20):
        world.put([Transmit(0, ("10.0.0.1", 40000), world.trunk.say(clear=True))], PBX)
        world.run(0.02)
    world.session.close(world.now)
    report = world.of(Closed)[0].report.sdes
    assert (report.packets_received, report.packets_discarded) == (5, 20)


def test_plain_packets_are_taken_from_the_trunks_host_and_one_port_of_it() -> None:
    world = World(OFF)
    assert world.is_called(OFFERS["plain"]) == CLEAR
    for source in [("203.0.113.5", PBX[1]), (PBX[0], PBX[1] + 2), ("203.0.113.5", 9)] * 10:
        world.put([Transmit(0, ("10.0.0.1", 40000), world.trunk.say(clear=True))], source)
    assert world.talk_silently() == CLEAR
    world.session.close(world.now)
    report = world.of(Closed)[0].report.sdes
    assert report.packets_discarded == 30
    assert report.packets_received == 10


# Other sections beside the audio, or instead of it: a fax, a picture, a second audio line.
BESIDE: dict[str, tuple[tuple[str, str], ...]] = {
    "encrypted, and video": (("RTP/SAVP", GOOD), ("video RTP/AVP", "")),
    "plain video, then encrypted": (("video RTP/AVP", ""), ("RTP/SAVP", GOOD)),
    "encrypted video, plain audio": (("video RTP/SAVP", GOOD), ("RTP/AVP", "")),
    "a fax, then encrypted": (("image udptl", ""), ("RTP/SAVP", GOOD)),
    "a fax, then plain": (("image udptl", ""), ("RTP/AVP", "")),
    "a fax alone": (("image udptl", ""),),
    "an encrypted fax alone": (("image RTP/SAVP", GOOD),),
    "two encrypted": (("RTP/SAVP", GOOD), ("RTP/SAVP", GOOD)),
    "two plain": (("RTP/AVP", ""), ("RTP/AVP", "")),
}
BESIDE_TAKEN = {
    "encrypted, and video": (SRTP, SRTP, NOTHING),
    "plain video, then encrypted": (SRTP, SRTP, NOTHING),
    "encrypted video, plain audio": (NOTHING, CLEAR, CLEAR),
    "a fax, then encrypted": (SRTP, SRTP, NOTHING),
    "a fax, then plain": (NOTHING, CLEAR, CLEAR),
    "a fax alone": (NOTHING, NOTHING, NOTHING),
    "an encrypted fax alone": (NOTHING, NOTHING, NOTHING),
    "two encrypted": (SRTP, SRTP, NOTHING),
    "two plain": (NOTHING, CLEAR, CLEAR),
}

every_neighbour = pytest.mark.parametrize("sections", BESIDE)


@every_policy
@every_neighbour
def test_sections_beside_the_audio_move_no_policy(policy: Encryption, sections: str) -> None:
    wanted = BESIDE_TAKEN[sections][list(Encryption).index(policy)]
    world = World(policy)
    assert world.is_called(BESIDE[sections]) == wanted
    if wanted != NOTHING:
        answer = Sdp.parse(world.answers(Side.SDES)[-1].sdp)
        assert len(answer.media) == len(BESIDE[sections])
        assert sum(bool(media.port) for media in answer.media) == 1
    world.finish({wanted} - {NOTHING})


@pytest.mark.parametrize("policy", [REQUIRED, PREFERRED], ids=lambda policy: policy.value)
@every_neighbour
def test_nor_in_an_encrypted_call(policy: Encryption, sections: str) -> None:
    """A fax machine on the line asks for T.38 so (RFC 3362)."""
    world = World(policy)
    assert world.is_called(OFFERS["encrypted"]) == SRTP
    wanted = BESIDE_TAKEN[sections][0]
    assert world.is_re_offered(BESIDE[sections]) == wanted
    if wanted == NOTHING:
        assert len(world.of(Refused)) == 1
        assert world.talk_silently() == SRTP
    world.finish({SRTP})


@every_policy
@pytest.mark.parametrize(
    ("sections", "tag", "wanted"),
    [
        ((("RTP/SAVP", GOOD), ("RTP/AVP", "")), 1, (SRTP, SRTP, CLEAR)),
        ((("RTP/AVP", ""), ("RTP/SAVP", GOOD)), 0, (SRTP, SRTP, CLEAR)),
        ((("RTP/AVP", ""), ("RTP/AVP", "")), 1, (NOTHING, CLEAR, CLEAR)),
        ((("RTP/AVP", ""), ("RTP/SAVP", BAD)), 1, (NOTHING, NOTHING, CLEAR)),
        ((("video RTP/SAVP", GOOD), ("RTP/AVP", "")), 1, (NOTHING, CLEAR, CLEAR)),
        ((("image udptl", ""),), 1, (NOTHING, NOTHING, NOTHING)),
    ],
)
def test_an_answer_with_more_sections_than_our_offer_is_no_way_down(
    policy: Encryption, sections: tuple[tuple[str, str], ...], tag: int, wanted: tuple[str, ...]
) -> None:
    world = World(policy)
    expected = wanted[list(Encryption).index(policy)]
    assert world.calls(sections, tag) == expected
    world.finish({expected} - {NOTHING})


@pytest.mark.parametrize(
    "again", ["plain", "keyless", "unknown suite", "best effort, unknown suite"]
)
def test_where_encryption_is_required_no_fork_and_no_later_answer_is_plain(again: str) -> None:
    """Early media in SRTP, then a 200 of another phone, or of the same one, that has none."""
    world = World(REQUIRED)
    assert world.calls(OFFERS["encrypted"]) == SRTP
    world.session.answer(Side.SDES, world.trunk.describe(OFFERS[again]), world.now)
    assert [e.failure for e in world.of(Failed)] == [Failure.NO_SRTP]
    world.finish({SRTP})


def test_another_phone_may_answer_with_keys_of_its_own() -> None:
    world = World(REQUIRED)
    assert world.calls(OFFERS["encrypted"]) == SRTP
    offer = Sdp.parse(world.of(OfferReady)[0].sdp)
    world.trunk.key = os.urandom(30)
    world.trunk.key_from(offer.media[0])
    world.session.answer(Side.SDES, world.trunk.describe(OFFERS["encrypted"]), world.now)
    assert world.talk_silently() == SRTP
    world.finish({SRTP})
