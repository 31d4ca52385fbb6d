"""Offers and answers of both sides, against descriptions that real clients and PBXs sent."""

import pytest

from media import crypto, negotiate
from media.link import Link
from media.negotiate import (
    EVENTS_48000,
    OPUS,
    PCMU,
    NegotiationError,
    SdesLocal,
    WebrtcLocal,
)
from media.plane import (
    Failure,
)
from media.sdp import Crypto, Direction, Format, Sdp

CHROMIUM = """v=0
o=- 9015629116426231064 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0
a=msid-semantic: WMS 9a049e7f
m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126
c=IN IP4 0.0.0.0
a=rtcp:9 IN IP4 0.0.0.0
a=ice-ufrag:dOHQ
a=ice-pwd:IlPqjPcNGH4vlYyuq0c1UkSK
a=ice-options:trickle
a=fingerprint:sha-256 1C:CE:3A:60:B2:FE:EB:3D
a=setup:actpass
a=mid:0
a=sendrecv
a=msid:9a049e7f f9b2021f
a=rtcp-mux
a=rtpmap:111 opus/48000/2
a=fmtp:111 minptime=10;usedtx=1;useinbandfec=1
a=rtpmap:63 red/48000/2
a=rtpmap:9 G722/8000
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:13 CN/8000
a=rtpmap:110 telephone-event/48000
a=rtpmap:126 telephone-event/8000
"""
VIDEO = "m=video 9 UDP/TLS/RTP/SAVPF 96 97\nc=IN IP4 0.0.0.0\na=mid:1\na=rtpmap:96 VP8/90000\n"
NHEKO = """v=0
o=- 5991200977818367052 0 IN IP4 0.0.0.0
s=-
t=0 0
a=ice-options:trickle
a=group:BUNDLE audio0
m=audio 9 UDP/TLS/RTP/SAVPF 111
c=IN IP4 0.0.0.0
a=setup:actpass
a=ice-ufrag:kOyMTCMVMoAdBBg2z4k7Wgq2bvKXRfgh
a=ice-pwd:Fiyi7+FkDCsgMoh2y2c+NvUQHR34DBdn
a=rtcp-mux
a=sendrecv
a=rtpmap:111 OPUS/48000/2
a=fmtp:111 sprop-stereo=0;sprop-maxcapturerate=48000
a=mid:audio0
a=fingerprint:sha-256 1A:EA:44:AB
"""
CRYPTO_80 = "1 AES_CM_128_HMAC_SHA1_80 inline:QJ0VB7BeOjnqIvd5gf2p5NbPj6xF5pOM4zBnoOJY"
ASTERISK = f"""v=0
o=- 1808059868 1808059868 IN IP4 127.0.0.1
s=Asterisk
c=IN IP4 192.0.2.9
t=0 0
m=audio 20160 RTP/SAVP 107 9 0 8 117 101 103 104
a=crypto:{CRYPTO_80}
a=rtpmap:107 opus/48000/2
a=rtpmap:9 G722/8000
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:117 speex/16000
a=rtpmap:101 telephone-event/48000
a=fmtp:101 0-16
a=rtpmap:103 telephone-event/8000
a=fmtp:103 0-16
a=rtpmap:104 telephone-event/16000
a=fmtp:104 0-16
a=ptime:20
a=sendrecv
"""

HOST = "candidate:1 1 udp 2130706431 192.0.2.7 40000 typ host"
BROWSER_FACING = WebrtcLocal(77, 3, "uf", "pwpwpw", "sha-256 AB:CD", (HOST,), True, 0x1234)
TRUNK_FACING = SdesLocal(88, 2, "192.0.2.7", 40010)
OURS = Crypto(1, "AES_CM_128_HMAC_SHA1_80", bytes(30))


def _answer(offer: str, other: str = "opus") -> Sdp:
    remote = negotiate.read_webrtc(offer)
    agreed = negotiate.choose_webrtc(remote, other)
    text, _ = negotiate.webrtc_answer(
        remote, BROWSER_FACING, agreed, setup=negotiate.webrtc_role(remote)
    )
    return Sdp.parse(text)


def _sdes_answer(offer: str, codecs: tuple[str, ...] = ("opus", "pcmu")) -> Sdp:
    remote = negotiate.read_sdes(offer)
    agreed = negotiate.choose_sdes(remote, codecs)
    return Sdp.parse(negotiate.sdes_answer(remote, TRUNK_FACING, OURS, agreed)[0])


# --- the WEBRTC side


def test_reads_what_a_browser_offers() -> None:
    remote = negotiate.read_webrtc(CHROMIUM)
    assert (remote.ufrag, remote.pwd) == ("dOHQ", "IlPqjPcNGH4vlYyuq0c1UkSK")
    assert (remote.candidates, remote.complete) == ((), False)
    assert (remote.setup, remote.mid, remote.direction) == ("actpass", "0", Direction.SENDRECV)


@pytest.mark.parametrize(
    ("other", "link", "codec", "reason"),
    [
        ("opus", Link.LOCAL, "opus", "both ends have Opus"),
        ("opus", Link.MOBILE, "opus", "both ends have Opus"),
        ("pcmu", Link.LOCAL, "PCMU", "both ends have PCMU, its network is wired or Wi-Fi"),
        ("pcma", Link.LOCAL, "PCMA", "both ends have PCMA, its network is wired or Wi-Fi"),
        (
            "pcmu",
            Link.MOBILE,
            "opus",
            "the phone has PCMU alone, the Matrix client's network is mobile",
        ),
        (
            "pcmu",
            Link.UNKNOWN,
            "opus",
            "the phone has PCMU alone, the Matrix client's network is unknown",
        ),
        (
            "g722",
            Link.LOCAL,
            "opus",
            "the phone has G722 alone, the Matrix client's network is wired or Wi-Fi",
        ),
    ],
)
def test_what_both_ends_have_passes_where_it_suits_the_link(
    other: str, link: Link, codec: str, reason: str
) -> None:
    agreed = negotiate.choose_webrtc(negotiate.read_webrtc(CHROMIUM), other, link)
    assert (agreed.send.name, agreed.reason) == (codec, reason)


def test_answer_holds_opus_and_its_own_telephone_event_alone() -> None:
    (audio,) = _answer(CHROMIUM).media
    assert [f.rtpmap for f in audio.formats()] == [
        "111 opus/48000/2",
        "110 telephone-event/48000",
    ]


def test_answer_carries_all_that_a_browser_needs() -> None:
    sdp = _answer(CHROMIUM)
    (audio,) = sdp.media
    assert str(sdp.origin) == "- 77 3 IN IP4 127.0.0.1"
    assert (audio.address, audio.port) == ("192.0.2.7", 40000)
    assert audio.candidates() == (HOST,)
    wanted = {
        "mid": "0",
        "setup": "active",
        "ice-ufrag": "uf",
        "ice-pwd": "pwpwpw",
        "fingerprint": "sha-256 AB:CD",
        "msid": "ringback audio",
        "rtcp-mux": "",
        "sendrecv": "",
        "end-of-candidates": "",
    }
    assert {name: audio.value(name) for name in wanted} == wanted
    assert "a=group:BUNDLE 0\r\n" in str(sdp)


def test_opus_is_preferred_even_when_the_trunk_has_g711() -> None:
    (audio,) = _answer(CHROMIUM, "pcmu").media
    assert audio.formats()[0].key == "opus"


def test_browser_without_opus_gets_the_trunks_g711() -> None:
    offer = CHROMIUM.replace("111 63 9 0 8 13 110 126", "9 0 8 13 126")
    for other, name in (("pcma", "PCMA"), ("pcmu", "PCMU"), ("opus", "PCMU"), ("g722", "PCMU")):
        (audio,) = _answer(offer, other).media
        assert [f.name for f in audio.formats()] == [name, "telephone-event"]
        assert audio.formats()[1].clock_rate == 8000


def test_lone_8000_hz_digits_are_better_than_none() -> None:
    (audio,) = _answer(CHROMIUM.replace(" 110 126", " 126")).media
    assert [f.payload_type for f in audio.formats()] == [111, 126]


@pytest.mark.parametrize("group", ["BUNDLE 1", "BUNDLED 0", "LS 0"])
def test_the_answer_bundles_nothing_that_the_offer_does_not(group: str) -> None:
    assert "a=group" not in str(_answer(CHROMIUM.replace("a=group:BUNDLE 0", f"a=group:{group}")))


def test_answer_to_nheko() -> None:
    sdp = _answer(NHEKO)
    assert [f.rtpmap for f in sdp.media[0].formats()] == ["111 OPUS/48000/2"]
    assert sdp.media[0].value("mid") == "audio0"
    assert "a=group:BUNDLE audio0\r\n" in str(sdp)


@pytest.mark.parametrize(
    "offer", [CHROMIUM + VIDEO, CHROMIUM.replace("m=audio", VIDEO + "m=audio")]
)
def test_video_is_refused_in_its_place(offer: str) -> None:
    sdp = _answer(offer)
    by_kind = {m.kind: m for m in sdp.media}
    assert [m.kind for m in sdp.media] == [m.kind for m in Sdp.parse(offer).media]
    assert (by_kind["video"].port, by_kind["video"].payloads) == (0, ("96",))
    assert by_kind["video"].value("mid") == "1"
    assert by_kind["audio"].port == 40000
    assert "a=group:BUNDLE 0\r\n" in str(sdp)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (Direction.SENDRECV, Direction.SENDRECV),
        (Direction.SENDONLY, Direction.RECVONLY),
        (Direction.RECVONLY, Direction.SENDONLY),
        (Direction.INACTIVE, Direction.INACTIVE),
    ],
)
def test_hold_is_mirrored_on_both_sides(theirs: Direction, ours: Direction) -> None:
    sdp = _answer(CHROMIUM.replace("a=sendrecv", f"a={theirs.value}"))
    assert sdp.direction(sdp.media[0]) is ours
    sdp = _sdes_answer(ASTERISK.replace("a=sendrecv", f"a={theirs.value}"))
    assert sdp.direction(sdp.media[0]) is ours


@pytest.mark.parametrize(("theirs", "ours"), [("active", "passive"), ("passive", "active")])
def test_dtls_role_is_the_one_left_over(theirs: str, ours: str) -> None:
    sdp = _answer(CHROMIUM.replace("setup:actpass", f"setup:{theirs}"))
    assert sdp.media[0].value("setup") == ours


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("v=0", "v=1"),
        ("a=ice-ufrag:dOHQ\n", ""),
        ("a=ice-ufrag:dOHQ", "a=ice-ufrag:dOH"),  # RFC 8839 §5.4: 4 to 256 of its characters
        ("a=ice-ufrag:dOHQ", "a=ice-ufrag:dO:Q"),
        ("a=ice-ufrag:dOHQ", "a=ice-ufrag:" + 257 * "d"),
        ("a=ice-pwd:IlPqjPcNGH4vlYyuq0c1UkSK", "a=ice-pwd:IlPqjPcNGH4vlYyuq0c1U"),
        ("a=ice-pwd:IlPqjPcNGH4vlYyuq0c1UkSK", "a=ice-pwd:IlPqjPcNGH4vlYyuq0c1\N{SNOWMAN}"),
        ("a=mid:0", "a=mid:0 1"),
        ("a=fingerprint:sha-256 1C:CE:3A:60:B2:FE:EB:3D\n", ""),
        ("1C:CE", "XX:CE"),
        ("a=rtcp-mux\n", ""),
        ("setup:actpass", "setup:holdconn"),
        ("m=audio 9 UDP/TLS/RTP/SAVPF", "m=audio 9 RTP/AVP"),
        ("m=audio", "m=video"),
        ("rtpmap:111 opus/48000/2", "rtpmap:111 opus"),
    ],
)
def test_unusable_webrtc_descriptions_are_refused(old: str, new: str) -> None:
    assert old in CHROMIUM
    with pytest.raises(NegotiationError) as refusal:
        negotiate.read_webrtc(CHROMIUM.replace(old, new))
    assert refusal.value.failure is Failure.BAD_SDP


def test_browser_with_neither_opus_nor_g711_is_refused() -> None:
    remote = negotiate.read_webrtc(CHROMIUM.replace("111 63 9 0 8 13 110 126", "63 9 13"))
    with pytest.raises(NegotiationError) as refusal:
        negotiate.choose_webrtc(remote, "opus")
    assert refusal.value.failure is Failure.NO_CODEC


def test_webrtc_offer_and_its_answer() -> None:
    offer = Sdp.parse(negotiate.webrtc_offer(BROWSER_FACING))
    (audio,) = offer.media
    assert audio.value("setup") == "actpass"
    assert [f.key for f in audio.formats()] == ["opus", "pcmu", "pcma", "telephone-event"]
    assert audio.formats()[3].clock_rate == 48000
    answer = negotiate.read_webrtc(
        CHROMIUM.replace("setup:actpass", "setup:active").replace(
            "111 63 9 0 8 13 110 126", "111 0 8 110"
        )
    )
    agreed = negotiate.match(negotiate.WEBRTC_FORMATS, answer.formats)
    assert (agreed.send.payload_type, agreed.send_events) == (
        111,
        Format(110, "telephone-event", 48000),
    )
    assert [f.key for f in agreed.receive] == ["opus", "pcmu", "pcma"]


def test_an_end_on_a_thin_link_is_asked_to_send_sparingly() -> None:
    local = WebrtcLocal(1, 1, "u", "p", "sha-256 AB", (), False, 1, thin_link=True)
    (audio,) = Sdp.parse(negotiate.webrtc_offer(local)).media
    assert (audio.value("ptime"), audio.value("maxptime")) == ("60", "60")
    opus = audio.formats()[0].parameters.split(";")
    assert {"useinbandfec=1", "maxaveragebitrate=18000"} <= set(opus)
    assert audio.formats()[1].parameters == ""


@pytest.mark.parametrize(("thin", "bitrate"), [(False, "40000"), (True, "18000")])
def test_no_bits_are_asked_for_a_band_that_the_phone_does_not_have(
    thin: bool, bitrate: str
) -> None:
    local = WebrtcLocal(1, 1, "u", "p", "sha-256 AB", (), False, 1, narrow=True, thin_link=thin)
    (audio,) = Sdp.parse(negotiate.webrtc_offer(local)).media
    opus = audio.formats()[0].parameters.split(";")
    assert {"maxplaybackrate=8000", f"maxaveragebitrate={bitrate}"} <= set(opus)
    assert negotiate.is_narrow(PCMU)
    assert not negotiate.is_narrow(negotiate.G722)
    assert not negotiate.is_narrow(None)


def test_offer_without_candidates_says_port_9_and_is_not_complete() -> None:
    local = WebrtcLocal(1, 1, "u", "p", "sha-256 AB", (), False, 1)
    (audio,) = Sdp.parse(negotiate.webrtc_offer(local)).media
    assert (audio.address, audio.port) == ("0.0.0.0", 9)
    assert not audio.has("end-of-candidates")


def test_an_answer_may_number_payload_types_its_own_way() -> None:
    theirs = (Format(96, "opus", 48000, 2), Format(97, "telephone-event", 48000))
    agreed = negotiate.match((OPUS, PCMU, EVENTS_48000), theirs)
    assert agreed.send.payload_type == 96
    assert agreed.send_events == theirs[1]
    assert {f.payload_type for f in agreed.receive} == {96, 111}
    assert {f.payload_type for f in agreed.receive_events} == {97, 110}


# --- the SDES side


def test_sdes_offer_is_savp_with_lines_and_codecs_in_the_settings_order() -> None:
    cryptos = [
        crypto.make(1, "AEAD_AES_256_GCM", bytes),
        crypto.make(2, "AES_CM_128_HMAC_SHA1_80", bytes),
    ]
    formats = negotiate.sdes_formats(("g722", "opus", "pcma"))
    text, direction = negotiate.sdes_offer(TRUNK_FACING, cryptos, formats)
    sdp = Sdp.parse(text)
    assert direction is Direction.SENDRECV
    (audio,) = sdp.media
    assert (audio.protocol, audio.port, sdp.address) == ("RTP/SAVP", 40010, "192.0.2.7")
    assert audio.payloads == ("9", "111", "8", "101", "110")
    assert [Crypto.parse(v) for v in audio.values("crypto")] == cryptos
    assert [f.rtpmap for f in audio.formats()][3:] == [
        "101 telephone-event/8000",
        "110 telephone-event/48000",
    ]
    assert audio.value("ptime") == "20"


def test_an_offer_in_a_call_keeps_the_sections_and_the_numbers_in_use() -> None:
    theirs = negotiate.read_sdes(
        "v=0\r\no=- 1 1 IN IP4 10.0.0.9\r\ns=-\r\nc=IN IP4 10.0.0.9\r\nt=0 0\r\n"
        "m=video 4000 RTP/AVP 96\r\n"
        "m=audio 5000 RTP/AVP 101 0 96\r\na=rtcp-mux\r\n"
        f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{'A' * 40}\r\n"
        "a=rtpmap:101 opus/48000/2\r\na=rtpmap:96 telephone-event/48000\r\n"
    )
    codecs = ("pcmu", "opus")
    agreed = negotiate.choose_sdes(theirs, codecs, OPUS)
    formats = negotiate.sdes_formats(codecs, agreed)
    # Ours for digits at 8 kHz would be 101, which is Opus in this call.
    assert [f.rtpmap for f in formats] == [
        "101 opus/48000/2", "0 PCMU/8000", "96 telephone-event/48000",
    ]  # fmt: skip
    line = crypto.make(1, "AES_CM_128_HMAC_SHA1_80", bytes)
    sdp = Sdp.parse(negotiate.sdes_offer(TRUNK_FACING, [line], formats, theirs)[0])
    assert [(m.kind, m.port, m.protocol) for m in sdp.media] == [
        ("video", 0, "RTP/AVP"), ("audio", 40010, "RTP/AVP"),
    ]  # fmt: skip
    assert sdp.media[1].has("rtcp-mux")


def test_only_the_clocks_in_use_have_digits() -> None:
    assert [f.payload_type for f in negotiate.sdes_formats(("pcmu",))] == [0, 101]
    assert [f.payload_type for f in negotiate.sdes_formats(("opus",))] == [111, 110]


@pytest.mark.parametrize(
    ("codecs", "payloads"),
    [
        (("opus", "pcmu"), ("107", "101")),
        (("g722", "opus"), ("9", "103")),
        (("pcma",), ("8", "103")),
    ],
)
def test_sdes_answer_takes_one_codec_and_the_digits_of_its_clock(
    codecs: tuple[str, ...], payloads: tuple[str, ...]
) -> None:
    (audio,) = _sdes_answer(ASTERISK, codecs).media
    assert audio.payloads == payloads
    assert audio.values("crypto") == [str(OURS)]
    assert not audio.has("rtcp-mux")


def test_answer_with_several_codecs_may_be_followed_by_any_of_them() -> None:
    answer = negotiate.read_sdes(
        ASTERISK.replace("107 9 0 8 117 101 103 104", "9 107 0 101").replace(":107", ":107")
    )
    agreed = negotiate.match(
        negotiate.sdes_formats(("opus", "g722", "pcma", "pcmu")), answer.formats
    )
    assert agreed.send.key == "g722"
    # Asterisk's 101 is at 48 kHz here: the only digits it left us.
    assert agreed.send_events == Format(101, "telephone-event", 48000, 1, "0-16")
    assert {f.key for f in agreed.receive} == {"opus", "g722", "pcmu"}


def test_answer_with_nothing_that_was_offered_is_refused() -> None:
    answer = negotiate.read_sdes(ASTERISK)
    with pytest.raises(NegotiationError) as refusal:
        negotiate.match((Format(18, "G729", 8000),), answer.formats)
    assert refusal.value.failure is Failure.NO_CODEC


@pytest.mark.parametrize(
    ("old", "new", "failure"),
    [
        (f"a=crypto:{CRYPTO_80}\n", "", Failure.NO_SRTP),
        ("m=audio 20160", "m=audio 0", Failure.BAD_SDP),
        ("m=audio", "m=image", Failure.BAD_SDP),
        ("RTP/SAVP", "UDP/TLS/RTP/SAVP", Failure.NO_SRTP),
        ("RTP/SAVP", "RTP/XAVP", Failure.NO_SRTP),
        ("RTP/SAVP", "rtp/savp", Failure.NO_SRTP),
        ("a=crypto", "a=CRYPTO", Failure.NO_SRTP),
        ("c=IN IP4 192.0.2.9\n", "", Failure.BAD_SDP),
    ],
)
def test_unusable_sdes_descriptions_are_refused(old: str, new: str, failure: Failure) -> None:
    with pytest.raises(NegotiationError) as refusal:
        negotiate.read_sdes(ASTERISK.replace(old, new))
    assert refusal.value.failure is failure


def test_trunk_without_an_allowed_codec_is_refused() -> None:
    with pytest.raises(NegotiationError) as refusal:
        _sdes_answer(ASTERISK.replace("107 9 0 8 117", "117"))
    assert refusal.value.failure is Failure.NO_CODEC


def test_best_effort_offer_gets_its_encrypted_section() -> None:
    plain = "m=audio 20170 RTP/AVP 0\n"
    (refused, taken) = _sdes_answer(ASTERISK.replace("m=audio", plain + "m=audio", 1)).media
    assert (refused.port, taken.port) == (0, 40010)
    (only,) = _sdes_answer(ASTERISK.replace("RTP/SAVP", "RTP/AVP")).media
    assert only.protocol == "RTP/AVP"


def test_rtcp_goes_where_the_trunk_says() -> None:
    assert negotiate.read_sdes(ASTERISK).rtcp == 20161
    assert negotiate.read_sdes(ASTERISK + "a=rtcp:30000\n").rtcp == 30000
    muxed = negotiate.read_sdes(ASTERISK + "a=rtcp-mux\n")
    assert muxed.rtcp is None
    assert _sdes_answer(ASTERISK + "a=rtcp-mux\n").media[0].has("rtcp-mux")
    assert negotiate.read_sdes(ASTERISK + "a=rtcp:x\n").rtcp == 20161
    assert negotiate.read_sdes(ASTERISK.replace("20160", "65535")).rtcp == 0


def test_zero_address_is_a_hold() -> None:
    remote = negotiate.read_sdes(ASTERISK.replace("192.0.2.9", "0.0.0.0"))
    assert remote.direction is Direction.SENDONLY


def test_a_re_offer_keeps_the_codec_in_use() -> None:
    remote = negotiate.read_sdes(ASTERISK)
    agreed = negotiate.choose_sdes(remote, ("opus", "pcmu"), PCMU)
    assert agreed.send.key == "pcmu"
