"""A media session between a browser and a PBX, in virtual time."""

import os
from collections.abc import Callable
from dataclasses import replace

import pytest

from media.dtls import Certificate
from media.ice.events import Transmit
from media.ice.server import Server
from media.plane import (
    AnswerReady,
    Closed,
    Connected,
    Digit,
    Failed,
    Failure,
    Flowing,
    IceCandidate,
    OfferReady,
    Refused,
    SessionSettings,
    Side,
)
from media.sdp import Crypto, Direction, Sdp
from media.session import GATHERING_LIMIT
from media.srtp import SUITES
from tests.media.party import FRAME, Browser, Pbx, Voice, audio_formats
from tests.media.session_lab import BRIDGE, BROWSER, LATENCY, PBX, Lab, heard_tones


@pytest.fixture
def lab() -> Lab:
    return Lab()


# --- calls that work


def test_call_out_opus_to_pcmu_is_heard_at_both_ends(lab: Lab) -> None:
    lab.call_out()
    lab.run(0.5)
    lab.talk(2.0)
    heard_tones(lab, ("opus", 111), ("pcmu", 0))
    assert [type(e) for e in lab.events] == [OfferReady, AnswerReady, Connected, Flowing, Flowing]


def test_call_in_pcma_to_opus_is_heard_at_both_ends(lab: Lab) -> None:
    lab.pbx.formats = ("8 PCMA/8000", "101 telephone-event/8000")
    lab.call_in()
    lab.run(0.5)
    lab.talk(2.0, pbx="pcma")
    heard_tones(lab, ("opus", 111), ("pcma", 8))


def test_call_in_without_an_offer_is_heard_at_both_ends(lab: Lab) -> None:
    lab.call_in_without_offer()
    lab.run(0.5)
    lab.talk(2.0)
    heard_tones(lab, ("opus", 111), ("pcmu", 0))
    assert [type(e) for e in lab.events] == [OfferReady, OfferReady, Connected, Flowing, Flowing]


def test_the_browser_connects_while_our_offer_waits_for_its_answer(lab: Lab) -> None:
    lab.ask()
    lab.run(0.5)
    assert [type(e) for e in lab.events] == [OfferReady, OfferReady, Connected]
    lab.session.answer(Side.SDES, lab.pbx.answer(lab.offer(Side.SDES)), lab.now)
    lab.talk(1.0)
    heard_tones(lab, ("opus", 111), ("pcmu", 0))


@pytest.mark.parametrize("suite", SessionSettings().suites)
def test_every_suite_carries_sound(suite: str) -> None:
    lab = Lab()
    lab.pbx = Pbx(address=PBX, suite=suite)
    lab.call_out()
    lab.run(0.5)
    lab.talk(0.8)
    heard_tones(lab, ("opus", 111), ("pcmu", 0))
    assert lab.session is not None
    lab.session.close(lab.now)
    (closed,) = lab.of(Closed)
    assert closed.report.sdes.cipher == suite


def test_equal_codecs_pass_untouched(lab: Lab) -> None:
    lab.pbx.formats = ("111 opus/48000/2", "110 telephone-event/48000")
    lab.call_out()
    lab.run(0.5)
    lab.talk(1.0, pbx="opus")
    heard_tones(lab, ("opus", 111), ("opus", 111))
    said = Voice("opus", 111, 600.0)
    payloads = {said.next()[12:] for _ in range(30)}
    assert {p.payload for p in lab.pbx.ear.of(111)[:25]} <= payloads
    lab.session.close(lab.now)
    assert not lab.of(Closed)[0].report.transcoding


def test_browser_without_opus_gets_pcmu_passed_through(lab: Lab) -> None:
    lab.browser.formats = ("0 PCMU/8000", "126 telephone-event/8000")
    lab.call_out()
    lab.run(0.5)
    lab.talk(1.0, browser="pcmu")
    heard_tones(lab, ("pcmu", 0), ("pcmu", 0))


def test_the_pbx_gets_packets_as_long_as_it_asks_for(lab: Lab) -> None:
    lab.pbx.packet_ms = 30
    lab.call_out()
    lab.run(0.5)
    lab.talk(1.0)
    assert {len(packet.payload) for packet in lab.pbx.ear.of(0)} == {240}
    heard_tones(lab, ("opus", 111), ("pcmu", 0))


def test_the_answering_pbx_may_send_another_codec_than_its_first(lab: Lab) -> None:
    lab.call_out()
    lab.run(0.5)
    lab.talk(1.0, pbx="pcma")
    heard_tones(lab, ("opus", 111), ("pcmu", 0))


def test_digits_reach_the_pbx_in_its_own_clock(lab: Lab) -> None:
    lab.call_out()
    lab.run(0.5)
    lab.talk(0.2)
    for packet in lab.voices["browser"].digit(110, 5, 4800):
        lab.put(lab.browser.say(packet, lab.now), BROWSER)
    lab.talk(0.6)
    events = lab.pbx.ear.of(101)
    assert {p.payload[0] for p in events} == {5}
    assert events[-1].payload[1] & 0x80
    assert int.from_bytes(events[-1].payload[2:4]) == pytest.approx(800, abs=160)
    assert [(d.side, d.digit) for d in lab.of(Digit)] == [(Side.WEBRTC, "5")]


def test_report_tells_what_happened(lab: Lab) -> None:
    lab.call_out()
    lab.run(0.5)
    lab.talk(0.5)
    lab.voices["pbx"].skip()
    lab.talk(0.5)
    lab.session.receive(b"\x80\x00" + bytes(40), ("10.6.6.6", 666), 0, lab.now)
    lab.session.close(lab.now)
    (closed,) = lab.of(Closed)
    report = closed.report
    assert report.transcoding
    assert report.webrtc.codec == "opus/48000"
    assert report.webrtc.transport == "udp host→host"
    assert report.webrtc.packets_received == pytest.approx(50, abs=2)
    assert report.webrtc.packets_lost == 0
    assert report.sdes.codec == "PCMU/8000"
    assert (report.sdes.packets_lost, report.sdes.packets_discarded) == (1, 1)
    assert report.sdes.level_dbov == pytest.approx(-13.3, abs=1)
    assert report.connected_after == pytest.approx(0.1, abs=0.1)
    assert report.flowing_after is not None


def test_rtcp_flows_to_both(lab: Lab) -> None:
    lab.call_out()
    lab.run(0.5)
    lab.talk(6.0)
    assert lab.browser.ear.control
    assert lab.pbx.ear.control


# --- descriptions


def test_a_browser_that_hides_its_address_behind_a_name_is_found(lab: Lab) -> None:
    offer = lab.browser.offer()
    hidden = offer.replace(f" {BROWSER[0]} ", " 5f0e3a9c-2c2b-4d0a.local ")
    assert hidden != offer
    lab.session.offer(Side.WEBRTC, hidden, lab.now)
    lab.session.answer(Side.SDES, lab.pbx.answer(lab.offer(Side.SDES)), lab.now)
    lab.browser.accept(lab.answer(Side.WEBRTC), lab.now)
    lab.run(0.5)
    lab.talk(0.8)
    heard_tones(lab, ("opus", 111), ("pcmu", 0))


def test_answer_to_the_browser_waits_for_the_pbx(lab: Lab) -> None:
    lab.session.offer(Side.WEBRTC, lab.browser.offer(), lab.now)
    lab.run(3.0)
    assert [type(e) for e in lab.events] == [OfferReady]


def test_our_answer_is_complete_and_offers_one_digit_clock(lab: Lab) -> None:
    lab.call_out()
    sdp = lab.answer(Side.WEBRTC)
    assert "a=end-of-candidates" in sdp
    assert "a=msid:ringback audio" in sdp
    assert "a=setup:active" in sdp
    assert [f.payload_type for f in audio_formats(sdp)] == [111, 110]


def test_trickled_candidates_may_come_before_and_after_the_offer() -> None:
    for early in (True, False):
        lab = Lab()
        candidates = [IceCandidate(c) for c in lab.browser.end.candidates()]
        if early:
            lab.session.add_candidates(Side.WEBRTC, candidates, lab.now)
        offer = lab.browser.offer(candidates=False)
        lab.session.offer(Side.WEBRTC, offer, lab.now)
        lab.session.answer(Side.SDES, lab.pbx.answer(lab.offer(Side.SDES)), lab.now)
        if not early:
            lab.session.add_candidates(Side.WEBRTC, [*candidates, IceCandidate("")], lab.now)
        lab.browser.accept(lab.answer(Side.WEBRTC), lab.now)
        lab.run(1.0)
        assert lab.of(Connected)


def test_offer_to_the_browser_waits_for_servers_for_a_second_at_most() -> None:
    lab = Lab(servers=True)
    lab.session.offer(Side.SDES, lab.pbx.offer(), lab.now)
    lab.run(GATHERING_LIMIT / 2)
    assert not lab.events
    lab.run(GATHERING_LIMIT)
    assert "a=end-of-candidates" not in lab.offer(Side.WEBRTC)


def test_offer_to_the_browser_goes_out_once_servers_are_known_to_be_none() -> None:
    lab = Lab(servers=True)
    lab.session.offer(Side.SDES, lab.pbx.offer(), lab.now)
    lab.session.add_servers([], lab.now)
    assert "a=end-of-candidates" in lab.offer(Side.WEBRTC)


def test_dead_server_does_not_keep_the_offer() -> None:
    lab = Lab(servers=True)
    lab.session.add_servers([(Server(False, "x", 3478, "udp"), "10.9.9.9")], lab.now)
    lab.session.offer(Side.SDES, lab.pbx.offer(), lab.now)
    lab.run(GATHERING_LIMIT + 0.1)
    assert "typ host" in lab.offer(Side.WEBRTC)


def test_answer_to_the_pbx_has_its_tag_and_our_own_key(lab: Lab) -> None:
    lab.pbx.key = replace(lab.pbx.key, tag=7)
    lab.call_in()
    audio = Sdp.parse(lab.answer(Side.SDES)).media[0]
    (line,) = audio.values("crypto")
    assert Crypto.parse(line).tag == 7
    assert Crypto.parse(line).key != lab.pbx.key.key


def test_offer_to_the_pbx_has_lines_in_the_order_of_the_settings() -> None:
    suites = ("AES_CM_128_HMAC_SHA1_80", "AEAD_AES_256_GCM")
    lab = Lab(SessionSettings(suites=suites))
    lab.session.offer(Side.WEBRTC, lab.browser.offer(), lab.now)
    lines = Sdp.parse(lab.offer(Side.SDES)).media[0].values("crypto")
    cryptos = [Crypto.parse(line) for line in lines]
    assert [(c.tag, c.suite) for c in cryptos] == [(1, suites[0]), (2, suites[1])]
    assert len({c.key for c in cryptos}) == 2


# --- refusals


def _fails(lab: Lab, failure: Failure) -> None:
    assert [f.failure for f in lab.of(Failed)] == [failure]


def test_answer_with_a_suite_that_was_not_offered_is_refused(lab: Lab) -> None:
    lab.session.offer(Side.WEBRTC, lab.browser.offer(), lab.now)
    answer = lab.pbx.answer(lab.offer(Side.SDES)).replace("AES_CM_128_HMAC_SHA1_80", "FOO")
    lab.session.answer(Side.SDES, answer, lab.now)
    _fails(lab, Failure.NO_SRTP)


@pytest.mark.parametrize(
    ("ours", "theirs", "failure"),
    [
        ("a=crypto:4 ", "a=crypto:1 ", Failure.NO_SRTP),
        ("a=crypto:", "a=x:", Failure.NO_SRTP),
        ("audio 20000 RTP/SAVP 0 8 101", "audio 20000 RTP/SAVP 18", Failure.NO_CODEC),
        ("m=audio", "m=image", Failure.BAD_SDP),
    ],
)
def test_an_unfit_answer_to_the_offer_that_was_asked_for_fails(
    ours: str, theirs: str, failure: Failure, lab: Lab
) -> None:
    lab.ask()
    answer = lab.pbx.answer(lab.offer(Side.SDES))
    assert ours in answer
    lab.session.answer(Side.SDES, answer.replace(ours, theirs), lab.now)
    lab.pump()
    assert [e.failure for e in lab.of(Failed)] == [failure]


def test_plain_rtp_is_refused_both_ways(lab: Lab) -> None:
    plain = lab.pbx.offer().replace("RTP/SAVP", "RTP/AVP").replace("a=crypto", "a=x-crypto")
    lab.session.offer(Side.SDES, plain, lab.now)
    _fails(lab, Failure.NO_SRTP)
    lab = Lab()
    lab.session.offer(Side.WEBRTC, lab.browser.offer(), lab.now)
    lab.session.answer(Side.SDES, plain, lab.now)
    _fails(lab, Failure.NO_SRTP)


def test_pbx_without_an_acceptable_line_rings_nobody(lab: Lab) -> None:
    offer = lab.pbx.offer().replace("AES_CM_128_HMAC_SHA1_80", "AES_256_CM_HMAC_SHA1_80")
    lab.session.offer(Side.SDES, offer, lab.now)
    _fails(lab, Failure.NO_SRTP)
    assert not lab.of(OfferReady)


def test_nothing_in_common_is_no_codec(lab: Lab) -> None:
    lab.pbx.formats = ("18 G729/8000",)
    lab.session.offer(Side.SDES, lab.pbx.offer(), lab.now)
    _fails(lab, Failure.NO_CODEC)


@pytest.mark.parametrize("side", list(Side))
def test_garbage_is_bad_sdp(lab: Lab, side: Side) -> None:
    lab.session.offer(side, "hello", lab.now)
    _fails(lab, Failure.BAD_SDP)
    lab.session.offer(side, lab.pbx.offer(), lab.now)  # and nothing more comes of it
    lab.run(1.0)
    assert len(lab.events) == 1


def test_answer_without_offer_is_bad_sdp(lab: Lab) -> None:
    lab.session.answer(Side.WEBRTC, lab.browser.offer(), lab.now)
    _fails(lab, Failure.BAD_SDP)


def test_no_path_fails_in_time() -> None:
    lab = Lab(SessionSettings(connect_timeout=8.0))
    lab.cut_off.add(BROWSER[0])
    lab.call_out()
    lab.run(7.5)
    assert not lab.of(Failed)
    lab.run(1.0)
    _fails(lab, Failure.NO_CONNECTIVITY)


def test_wrong_fingerprint_fails(lab: Lab) -> None:
    theirs = lab.browser.end.fingerprint
    offer = lab.browser.offer().replace(theirs, f"sha-256 {Certificate.generate().fingerprint}")
    lab.session.offer(Side.WEBRTC, offer, lab.now)
    lab.session.answer(Side.SDES, lab.pbx.answer(lab.offer(Side.SDES)), lab.now)
    lab.browser.accept(lab.answer(Side.WEBRTC), lab.now)
    lab.run(5.0)
    _fails(lab, Failure.DTLS)


# --- the trunk's packets


def test_a_stranger_cannot_move_the_destination(lab: Lab) -> None:
    lab.call_out()
    lab.run(0.5)
    lab.talk(0.2)
    heard = len(lab.pbx.ear.packets)
    forged = bytes([0x80, 0]) + os.urandom(170)
    lab.put([Transmit(0, (BRIDGE, 40000), forged)], ("10.6.6.6", 666))
    lab.talk(0.5)
    assert len(lab.pbx.ear.packets) - heard == pytest.approx(25, abs=2)


def test_an_authentic_packet_from_elsewhere_does(lab: Lab) -> None:
    lab.call_out()
    lab.run(0.5)
    lab.pbx.address = (PBX[0], 33333)
    voice = Voice("pcmu", 0, 1000.0)
    sent: list[tuple[str, int]] = []
    for _ in range(10):
        lab.put(lab.browser.say(Voice("opus", 111, 600.0, _ * 9).next(), lab.now), BROWSER)
        lab.put(lab.pbx.say(voice.next()), lab.pbx.address)
        for _ in range(20):
            lab.run(FRAME / 20)
            sent += [entry[3] for entry in lab._wire if entry[2] == (BRIDGE, 40000)]
    assert set(sent[-3:]) == {(PBX[0], 33333)}


# --- changes in a call


def test_hold_by_the_pbx_stops_our_sound_and_resume_brings_it_back(lab: Lab) -> None:
    lab.call_out()
    lab.run(0.5)
    lab.talk(0.4)
    lab.pbx.direction = "sendonly"
    lab.session.offer(Side.SDES, lab.pbx.offer(), lab.now)
    (held,) = lab.answers(Side.SDES)
    sdp = Sdp.parse(held.sdp)
    assert sdp.direction(sdp.media[0]) is Direction.RECVONLY
    assert not held.send
    assert Crypto.parse(sdp.media[0].values("crypto")[0]).key  # ours, as before
    before = len(lab.pbx.ear.packets)
    lab.talk(0.5)
    assert len(lab.pbx.ear.packets) <= before + 1
    lab.pbx.direction = "sendrecv"
    lab.session.offer(Side.SDES, lab.pbx.offer(), lab.now)
    resumed = lab.answers(Side.SDES)[-1]
    assert resumed.send
    versions = [Sdp.parse(a.sdp).origin.version for a in (held, resumed)]
    assert versions[1] == versions[0] + 1
    lab.talk(0.8)
    heard_tones(lab, ("opus", 111), ("pcmu", 0))


@pytest.mark.parametrize("begin", [Lab.call_out, Lab.call_in, Lab.call_in_without_offer])
def test_a_pbx_that_asks_in_a_call_gets_our_offer_with_what_is_in_use(
    begin: Callable[[Lab], None], lab: Lab
) -> None:
    lab.pbx.formats = ("8 PCMA/8000", "101 telephone-event/8000")
    begin(lab)
    lab.run(0.5)
    lab.talk(0.4, pbx="pcma")
    said = [e.sdp for e in lab.events if isinstance(e, OfferReady | AnswerReady)
            and e.side is Side.SDES][-1]  # fmt: skip
    lab.session.ask(Side.SDES, lab.now)
    before, after = Sdp.parse(said), Sdp.parse(lab.offer(Side.SDES))
    assert after.origin.session_id == before.origin.session_id
    assert after.origin.version == before.origin.version + 1
    (audio,) = after.media
    assert audio.payloads[0] == "8"
    assert len(audio.payloads) == 6
    line, *others = map(Crypto.parse, audio.values("crypto"))
    assert line.suite == lab.pbx.suite
    assert line.key in [Crypto.parse(v).key for v in before.media[0].values("crypto")]
    assert len(others) == len(SUITES) - 1
    # It answers with what it had, so that nothing changes.
    answer = lab.pbx.sdp(Crypto(line.tag, line.suite, lab.pbx.key.key))
    lab.session.answer(Side.SDES, answer, lab.now)
    lab.talk(0.8, pbx="pcma")
    heard_tones(lab, ("opus", 111), ("pcma", 8))
    assert len(lab.answers(Side.WEBRTC)) == (begin is Lab.call_out)


def test_only_the_answer_to_what_a_holding_pbx_asked_for_ends_the_hold(lab: Lab) -> None:
    lab.call_out()
    lab.run(0.5)
    lab.talk(0.4)
    lab.pbx.direction = "sendonly"
    lab.session.offer(Side.SDES, lab.pbx.offer(), lab.now)
    lab.pump()
    for direction in ("sendonly", "sendrecv"):
        before = len(lab.pbx.ear.packets)
        lab.session.ask(Side.SDES, lab.now)
        sdp = Sdp.parse(lab.offer(Side.SDES))
        assert sdp.direction(sdp.media[0]) is Direction.SENDRECV
        lab.talk(0.5)
        assert len(lab.pbx.ear.packets) <= before + 1
        lab.pbx.direction = direction
        lab.session.answer(Side.SDES, lab.pbx.answer(lab.offer(Side.SDES)), lab.now)
        lab.talk(0.8)
        assert (len(lab.pbx.ear.packets) > before + 20) == (direction == "sendrecv")


def test_an_unfit_answer_in_a_call_ends_it(lab: Lab) -> None:
    lab.call_in()
    lab.run(0.5)
    lab.session.ask(Side.SDES, lab.now)
    lab.session.answer(Side.SDES, lab.pbx.offer().replace("a=crypto:1", "a=crypto:9"), lab.now)
    assert [e.failure for e in lab.of(Failed)] == [Failure.NO_SRTP]


def test_hold_is_not_silence() -> None:
    lab = Lab(SessionSettings(silence_timeout=3.0))
    lab.call_out()
    lab.run(0.5)
    lab.talk(0.4)
    lab.pbx.direction = "inactive"
    lab.session.offer(Side.SDES, lab.pbx.offer(), lab.now)
    lab.spoken["pbx"] = False
    lab.talk(6.0)
    assert not lab.of(Failed)


def test_refresh_is_answered_with_the_same_description(lab: Lab) -> None:
    lab.call_in()
    lab.run(0.5)
    lab.talk(0.4, pbx="pcma")
    first = lab.answers(Side.SDES)[0]
    lab.session.offer(Side.SDES, lab.pbx.offer(), lab.now)
    assert lab.answers(Side.SDES)[1].sdp == first.sdp
    lab.talk(0.8, pbx="pcma")
    heard_tones(lab, ("opus", 111), ("pcma", 8))


def test_new_key_and_address_of_the_pbx_are_followed(lab: Lab) -> None:
    lab.call_in()
    lab.run(0.5)
    lab.talk(0.4, pbx="pcma")
    moved = Pbx(address=(PBX[0], 22222))
    lab.session.offer(Side.SDES, moved.offer(), lab.now)
    moved.accept(lab.answers(Side.SDES)[1].sdp)
    lab.pbx = moved
    lab.voices["pbx"] = Voice("pcma", 8, 1000.0)
    lab.talk(1.0, pbx="pcma")
    heard_tones(lab, ("opus", 111), ("pcma", 8))


def test_another_codec_of_the_pbx_is_followed(lab: Lab) -> None:
    lab.call_in()
    lab.run(0.5)
    lab.talk(0.6, pbx="pcma")
    lab.pbx.formats = ("0 PCMU/8000",)
    lab.session.offer(Side.SDES, lab.pbx.offer(), lab.now)
    lab.pbx.accept(lab.answers(Side.SDES)[-1].sdp)
    before = lab.voices["pbx"]
    lab.voices["pbx"] = Voice("pcmu", 0, 1000.0, before.sequence, before.timestamp)
    lab.talk(0.8)
    heard_tones(lab, ("opus", 111), ("pcmu", 0))


def test_bad_re_offer_is_refused_and_the_call_goes_on(lab: Lab) -> None:
    lab.call_out()
    lab.run(0.5)
    lab.talk(0.2)
    lab.session.offer(Side.SDES, lab.pbx.offer().replace("a=crypto", "a=x"), lab.now)
    assert [(r.side, r.failure) for r in lab.of(Refused)] == [(Side.SDES, Failure.NO_SRTP)]
    lab.talk(0.8)
    heard_tones(lab, ("opus", 111), ("pcmu", 0))


def test_hold_by_the_browser_is_answered_for_it_alone(lab: Lab) -> None:
    lab.call_out()
    lab.run(0.5)
    lab.browser.direction = "sendonly"
    lab.session.offer(Side.WEBRTC, lab.browser.offer(), lab.now)
    first, held = lab.answers(Side.WEBRTC)
    sdp = Sdp.parse(held.sdp)
    assert sdp.direction(sdp.media[0]) is Direction.RECVONLY
    assert sdp.media[0].value("setup") == "active"
    assert sdp.origin.version == Sdp.parse(first.sdp).origin.version + 1
    assert not held.send
    assert not lab.answers(Side.SDES)
    lab.browser.direction = "sendrecv"
    lab.session.offer(Side.WEBRTC, lab.browser.offer(), lab.now)
    assert lab.answers(Side.WEBRTC)[-1].send
    lab.talk(1.0)
    heard_tones(lab, ("opus", 111), ("pcmu", 0))


def test_silence_of_a_side_that_must_send_ends_the_session() -> None:
    for who in ("browser", "pbx"):
        lab = Lab(SessionSettings(silence_timeout=3.0))
        lab.call_out()
        lab.run(0.5)
        lab.talk(0.5)
        lab.spoken[who] = False
        lab.talk(2.0)
        assert not lab.of(Failed)
        lab.talk(2.5)
        _fails(lab, Failure.SILENCE)


def test_early_answer_may_be_quiet_while_the_phone_rings() -> None:
    lab = Lab(SessionSettings(silence_timeout=10.0))
    lab.call_out()
    lab.run(0.5)
    lab.spoken["pbx"] = False
    lab.talk(35.0)
    assert not lab.of(Failed)
    lab.talk(10.0)
    _fails(lab, Failure.SILENCE)


def test_second_answer_of_the_trunk_is_followed_without_a_new_answer(lab: Lab) -> None:
    """183 from one phone, 200 from another."""
    lab.session.offer(Side.WEBRTC, lab.browser.offer(), lab.now)
    offer = lab.offer(Side.SDES)
    lab.session.answer(Side.SDES, Pbx(address=(PBX[0], 24680)).answer(offer), lab.now)
    lab.browser.accept(lab.answer(Side.WEBRTC), lab.now)
    lab.run(0.5)
    lab.session.answer(Side.SDES, lab.pbx.answer(offer), lab.now)
    assert len(lab.answers(Side.WEBRTC)) == 1
    lab.talk(1.0)
    heard_tones(lab, ("opus", 111), ("pcmu", 0))


def test_closing_says_goodbye_and_is_the_end(lab: Lab) -> None:
    lab.call_out()
    lab.run(0.5)
    lab.talk(0.5)
    lab.session.close(lab.now)
    lab.run(0.1)
    assert isinstance(lab.events[-1], Closed)
    assert {type(p).__name__ for p in lab.pbx.ear.control} >= {"Goodbye"}
    assert lab.session.deadline() is None
    count = len(lab.events)
    lab.put(lab.pbx.say(lab.voices["pbx"].next()), PBX)
    lab.run(1.0)
    assert len(lab.events) == count


def test_ice_restart_of_the_browser_keeps_keys_and_sound(lab: Lab) -> None:
    lab.call_out()
    lab.run(0.5)
    lab.talk(0.4)
    before = lab.browser.end.credentials
    lab.browser.end._agent.restart(lab.now)
    assert lab.browser.end.credentials != before
    lab.session.offer(Side.WEBRTC, lab.browser.offer(), lab.now)
    first, second = lab.answers(Side.WEBRTC)
    ufrags = [Sdp.parse(a.sdp).media[0].value("ice-ufrag") for a in (first, second)]
    assert ufrags[0] != ufrags[1]
    lab.browser.accept(second.sdp, lab.now)
    lab.talk(1.0)
    heard_tones(lab, ("opus", 111), ("pcmu", 0))
    assert len(lab.of(Connected)) == 1


def test_a_new_certificate_in_a_call_is_refused(lab: Lab) -> None:
    lab.call_out()
    lab.run(0.5)
    stranger = Browser(offers=True, address=BROWSER, now=lab.now)
    lab.session.offer(Side.WEBRTC, stranger.offer(), lab.now)
    assert [r.failure for r in lab.of(Refused)] == [Failure.DTLS]
    lab.talk(0.8)
    heard_tones(lab, ("opus", 111), ("pcmu", 0))


def test_a_second_offer_before_the_answer_is_refused(lab: Lab) -> None:
    lab.session.offer(Side.WEBRTC, lab.browser.offer(), lab.now)
    lab.session.offer(Side.WEBRTC, lab.browser.offer(), lab.now)
    assert [r.side for r in lab.of(Refused)] == [Side.WEBRTC]
    assert not lab.of(Failed)


def test_who_cannot_have_our_offer_now_is_refused(lab: Lab) -> None:
    lab.session.ask(Side.WEBRTC, lab.now)
    lab.session.ask(Side.SDES, lab.now)
    lab.session.ask(Side.SDES, lab.now)
    lab.session.offer(Side.SDES, lab.pbx.offer(), lab.now)
    assert [r.side for r in lab.of(Refused)] == [Side.WEBRTC, Side.SDES, Side.SDES]
    assert not lab.of(Failed)


def test_a_second_answer_of_the_browser_changes_nothing(lab: Lab) -> None:
    lab.call_in()
    lab.run(0.5)
    lab.session.answer(Side.WEBRTC, lab.browser.sdp("active"), lab.now)
    lab.talk(0.8, pbx="pcma")
    heard_tones(lab, ("opus", 111), ("pcma", 8))
    assert len(lab.answers(Side.SDES)) == 1


def test_answer_that_leaves_the_dtls_role_open_is_bad_sdp(lab: Lab) -> None:
    browser = Browser(offers=False, address=BROWSER, now=lab.now)
    lab.session.offer(Side.SDES, lab.pbx.offer(), lab.now)
    lab.offer(Side.WEBRTC)
    lab.session.answer(Side.WEBRTC, browser.sdp("actpass"), lab.now)
    _fails(lab, Failure.BAD_SDP)


def test_loss_on_the_way_is_concealed_and_counted(lab: Lab) -> None:
    lab.call_out()
    lab.run(0.5)
    lab.talk(0.4)
    for _ in range(5):
        lab.voices["pbx"].skip()
        lab.talk(0.2)
    heard_tones(lab, ("opus", 111), ("pcmu", 0))
    lab.session.close(lab.now)
    assert lab.of(Closed)[0].report.sdes.packets_lost == 5


# --- codecs


def test_a_browser_at_home_gets_what_the_phone_has_and_a_mobile_one_opus() -> None:
    """The candidates may come after the offer; the answer waits for the phone anyway."""
    for cost, codec in ((10, "PCMU/8000"), (900, "opus/48000")):
        lab = Lab()
        lab.session.offer(Side.WEBRTC, lab.browser.offer(candidates=False), lab.now)
        said = [
            IceCandidate(f"{each} generation 0 network-id 1 network-cost {cost}")
            for each in lab.browser.end.candidates()
        ]
        lab.session.add_candidates(Side.WEBRTC, said, lab.now)
        lab.session.answer(Side.SDES, lab.pbx.answer(lab.offer(Side.SDES)), lab.now)
        lab.browser.accept(lab.answer(Side.WEBRTC), lab.now)
        lab.run(0.5)
        lab.session.close(lab.now)
        report = lab.of(Closed)[0].report
        assert report.webrtc.codec == codec
        assert report.transcoding is (cost == 900)
        assert report.webrtc.codec_reason
        assert report.sdes.codec_reason == "chosen by the far end out of our offer"


# --- ticks


@pytest.mark.parametrize("calls_out", [True, False])
def test_the_browser_is_told_what_band_the_phone_has(calls_out: bool, lab: Lab) -> None:
    lab.call_out() if calls_out else lab.call_in()
    assert "maxplaybackrate=8000" in lab.browser.remote_sdp  # the phone has G.711 alone


def test_a_call_that_passes_through_needs_no_ticks() -> None:
    lab = Lab(SessionSettings(codecs=("pcmu",)))
    lab.browser.formats = ("0 PCMU/8000",)
    lab.call_out()
    lab.talk(1.0, browser="pcmu")
    assert lab.session.next_tick is None
    assert len(lab.pbx.ear.of(0)) > 40


def test_silence_needs_no_ticks_and_sound_after_it_is_heard(lab: Lab) -> None:
    lab.call_out()
    lab.talk(0.5)
    lab.run(1.5)
    assert lab.session.next_tick is None
    lab.talk(1.0)
    heard_tones(lab, ("opus", 111), ("pcmu", 0))


@pytest.mark.parametrize("drift", [-1e-3, 1e-3])
def test_sound_waits_in_the_playout_buffer_and_for_nothing_else(drift: float) -> None:
    """Whatever the phase of the packets, and while their clock runs away from ours."""
    lab = Lab()
    lab.call_out()
    lab.run(0.5071)
    voice = Voice("opus", 111, 600.0)
    start, waits = lab.now, []
    for i in range(150):
        lab.run(start + i * FRAME * (1 + drift) - lab.now)
        before = lab.pbx.ear.packets[-1:]
        lab.put(lab.browser.say(voice.next(), lab.now), BROWSER)
        arrival = lab.now + LATENCY
        while lab.now < arrival + FRAME / 2 and lab.pbx.ear.packets[-1:] == before:
            lab.run(0.0005)
        waits.append(lab.now - LATENCY - arrival)
    assert max(waits[50:]) < 0.002
    assert lab.session.deadline() is not None


def test_jitter_is_measured_by_the_clock_of_what_comes() -> None:
    """A trunk may answer with several codecs, and send another than the first of them."""
    lab = Lab()
    lab.pbx.formats = ("111 opus/48000/2", "0 PCMU/8000", "101 telephone-event/8000")
    lab.call_out()
    lab.talk(1.0, pbx="pcmu")
    lab.session.close(lab.now)
    (closed,) = lab.of(Closed)
    assert closed.report.sdes.jitter_ms < 1.0
