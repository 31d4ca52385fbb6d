"""Session descriptions as text: real ones whole, single rules, and that only SdpError is raised."""

import contextlib
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.sdp import (
    MAX_FORMATS,
    MAX_LINES,
    Attribute,
    Crypto,
    Direction,
    Fingerprint,
    Format,
    Media,
    Origin,
    Sdp,
    SdpError,
)

CHROMIUM = """v=0
o=- 9015629116426231064 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0
a=extmap-allow-mixed
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
a=rtcp-fb:111 transport-cc
a=fmtp:111 minptime=10;usedtx=1;useinbandfec=1
a=rtpmap:63 red/48000/2
a=fmtp:63 111/111
a=rtpmap:9 G722/8000
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:13 CN/8000
a=rtpmap:110 telephone-event/48000
a=rtpmap:126 telephone-event/8000
a=candidate:1057874151 1 udp 2122260223 127.0.0.1 43482 typ host generation 0 network-id 1
"""

ASTERISK = """v=0
o=- 1808059868 1808059868 IN IP4 127.0.0.1
s=Asterisk
c=IN IP4 127.0.0.1
t=0 0
m=audio 20160 RTP/SAVP 107 9 0 8 101 103
a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:QJ0VB7BeOjnqIvd5gf2p5NbPj6xF5pOM4zBnoOJY
a=rtpmap:107 opus/48000/2
a=rtpmap:101 telephone-event/48000
a=fmtp:101 0-16
a=rtpmap:103 telephone-event/8000
a=ptime:20
a=sendrecv
"""


def test_reads_a_browsers_offer() -> None:
    sdp = Sdp.parse(CHROMIUM.replace("\n", "\r\n"))
    (audio,) = sdp.media
    assert (audio.kind, audio.port, audio.protocol) == ("audio", 9, "UDP/TLS/RTP/SAVPF")
    assert audio.formats()[0] == Format(
        111, "opus", 48000, 2, "minptime=10;usedtx=1;useinbandfec=1"
    )
    assert [f.payload_type for f in audio.formats()] == [111, 63, 9, 0, 8, 13, 110, 126]
    assert audio.formats()[0].parameter("usedtx") == "1"
    assert audio.formats()[0].parameter("cbr") is None
    assert sdp.value(audio, "ice-ufrag") == "dOHQ"
    assert sdp.fingerprints(audio) == (Fingerprint("sha-256", bytes.fromhex("1CCE3A60B2FEEB3D")),)
    assert sdp.direction(audio) is Direction.SENDRECV
    assert audio.candidates() == (
        "candidate:1057874151 1 udp 2122260223 127.0.0.1 43482 typ host generation 0 network-id 1",
    )
    assert audio.has("rtcp-mux")


def test_reads_a_pbx_offer() -> None:
    sdp = Sdp.parse(ASTERISK)
    (audio,) = sdp.media
    assert sdp.address_of(audio) == "127.0.0.1"
    assert [f.rtpmap for f in audio.formats()] == [
        "107 opus/48000/2",
        "9 G722/8000",
        "0 PCMU/8000",
        "8 PCMA/8000",
        "101 telephone-event/48000",
        "103 telephone-event/8000",
    ]
    crypto = Crypto.parse(audio.values("crypto")[0])
    assert (crypto.tag, crypto.suite, len(crypto.key)) == (1, "AES_CM_128_HMAC_SHA1_80", 30)


@pytest.mark.parametrize(
    ("lines", "packet_ms"),
    [
        ("", None),
        ("a=ptime:30\n", 30),
        ("a=ptime:30\na=maxptime:150\n", 30),
        ("a=ptime:60\na=maxptime:40\n", 40),
        ("a=maxptime:10\n", 10),
        ("a=maxptime:150\n", None),
        ("a=ptime:20.0\n", 20),
        ("a=ptime:much\n", None),
        ("a=ptime:-20\n", None),
        ("a=ptime:999999\n", None),
    ],
)
def test_reads_the_wish_for_a_packet_time(lines: str, packet_ms: int | None) -> None:
    (audio,) = Sdp.parse(ASTERISK.replace("a=ptime:20\n", lines)).media
    assert audio.packet_ms == packet_ms


@pytest.mark.parametrize("text", [CHROMIUM, ASTERISK])
def test_text_of_a_parsed_description_parses_to_the_same(text: str) -> None:
    sdp = Sdp.parse(text)
    assert Sdp.parse(str(sdp)) == sdp


def test_session_level_values_count_for_media_without_their_own() -> None:
    sdp = Sdp.parse(
        "v=0\no=- 1 1 IN IP6 ::1\ns=-\nc=IN IP6 ::1\nt=0 0\na=sendonly\na=setup:active\n"
        "a=fingerprint:SHA-256 AB:CD\nm=audio 4000 RTP/SAVP 0\nm=audio 4002 RTP/SAVP 0\n"
        "c=IN IP4 192.0.2.1/127\na=inactive\na=setup:passive\n"
    )
    first, second = sdp.media
    assert sdp.direction(first) is Direction.SENDONLY
    assert sdp.direction(second) is Direction.INACTIVE
    assert (sdp.value(first, "setup"), sdp.value(second, "setup")) == ("active", "passive")
    assert (sdp.address_of(first), sdp.address_of(second)) == ("::1", "192.0.2.1")
    assert sdp.fingerprints(second) == (Fingerprint("sha-256", b"\xab\xcd"),)
    assert str(sdp.origin) == "- 1 1 IN IP6 ::1"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "v=1\n",
        "v=0\ns=-\n",  # no o=
        "v=0\no=- 1 1 IN IP4\n",
        "v=0\no=- x 1 IN IP4 h\n",
        "v=0\no=- 1 1 IN IP4 h\nm=audio 70000 RTP/SAVP 0\n",
        "v=0\no=- 1 1 IN IP4 h\nm=audio 7000 RTP/SAVP\n",
        "v=0\no=- 1 1 IN IP4 h\nm=audio ٣ RTP/SAVP 0\n",
        "v=0\no=- 1 1 IN IP4 h\nc=IN IP4\n",
        "v=0\no=- 1 1 IN IP4 h\na=:x\n",
        "v=0\no=- 1 1 IN IP4 h\nX=1\n",
        "v=0\no=- 1 1 IN IP4 h\nhello\n",
        "v=0\no=- 1 1 IN IP4 h\na=x\ry\n",
        "v=0\no=- 1 1 IN IP4 h\na=x:\ud800\n",  # JSON may hold half a character
        "v=0\no=- 1 1 IN IP4 h\n" + "m=audio 1 RTP/SAVP 0\n" * 33,
        "v=0\n" + "a=x\n" * 20000,
    ],
)
def test_refuses_what_is_no_description(text: str) -> None:
    with pytest.raises(SdpError):
        Sdp.parse(text)


def test_a_value_cannot_break_out_of_its_line() -> None:
    with pytest.raises(SdpError):
        Attribute("mid", "0\r\na=crypto:1")
    with pytest.raises(SdpError):
        Sdp(Origin(1, 1), name="x\n")
    with pytest.raises(SdpError):
        Media("audio", 1, "RTP/SAVP 0\r\na=x", ("0",))


KEY = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj"


@pytest.mark.parametrize(
    ("text", "lifetime", "mki", "parameters"),
    [
        (f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}", None, None, ()),
        (f"1 AES_CM_128_HMAC_SHA1_32 inline:{KEY}|2^32", 2**32, None, ()),
        (f"10 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|1800000", 1_800_000, None, ()),
        (f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^31|1:4", 2**31, (1, 4), ()),
        (f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|1:4", None, (1, 4), ()),
        (f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} WSH=64 -X", None, None, ("WSH=64", "-X")),
    ],
)
def test_crypto_lines_read_and_write(
    text: str, lifetime: int | None, mki: tuple[int, int] | None, parameters: tuple[str, ...]
) -> None:
    crypto = Crypto.parse(text)
    assert len(crypto.key) == 30
    assert (crypto.lifetime, crypto.mki, crypto.parameters) == (lifetime, mki, parameters)
    assert str(crypto) == text


def test_crypto_key_may_lack_its_padding() -> None:
    padded = Crypto.parse("2 AEAD_AES_128_GCM inline:inB8NnWMnRLQU07OfK//MdlQJ39MjRD1UEI5aQ==")
    bare = Crypto.parse("2 AEAD_AES_128_GCM inline:inB8NnWMnRLQU07OfK//MdlQJ39MjRD1UEI5aQ")
    assert bare == padded
    assert len(bare.key) == 28


def test_crypto_key_stays_out_of_repr() -> None:
    assert "key" not in repr(Crypto.parse(f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"))


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
TOKEN = st.text(string.ascii_letters + string.digits + "-.", min_size=1, max_size=12)
LINE = TEXT.filter(lambda t: not any(c in t for c in "\r\n\0"))
NUMBER = st.integers(0, 10**30)
ADDRESS = st.sampled_from(["127.0.0.1", "::1", "pbx.example"])
ATTRIBUTES = st.lists(st.builds(Attribute, TOKEN, st.none() | LINE), max_size=5).map(tuple)
MEDIA = st.builds(
    Media,
    TOKEN,
    st.integers(0, 65535),
    TOKEN,
    st.lists(TOKEN, min_size=1, max_size=5).map(tuple),
    st.none() | ADDRESS,
    ATTRIBUTES,
)
SDP = st.builds(
    Sdp,
    st.builds(Origin, NUMBER, NUMBER, ADDRESS, TOKEN),
    st.lists(MEDIA, max_size=3).map(tuple),
    st.none() | ADDRESS,
    ATTRIBUTES,
    LINE.filter(bool),
)


@given(SDP)
def test_every_description_survives_its_text(sdp: Sdp) -> None:
    assert Sdp.parse(str(sdp)) == sdp


def _look_at_everything(text: str) -> None:
    sdp = Sdp.parse(text)
    for media in sdp.media:
        media.formats()
        media.candidates()
        sdp.direction(media)
        sdp.fingerprints(media)
        sdp.address_of(media)
        for value in media.values("crypto"):
            Crypto.parse(value)


@given(
    st.lists(
        st.one_of(
            st.sampled_from(CHROMIUM.splitlines() + ASTERISK.splitlines()),
            st.builds("{}={}".format, st.sampled_from("voscmabtx"), TEXT),
            st.builds(
                "a={}:{}".format,
                st.sampled_from(["rtpmap", "fmtp", "crypto", "fingerprint", "candidate"]),
                st.lists(TEXT | st.sampled_from(["1", "inline:", "|", "2^", "sha-256"])).map(
                    " ".join
                ),
            ),
        ),
        max_size=12,
    )
)
def test_garbage_raises_sdp_error_and_nothing_else(lines: list[str]) -> None:
    with contextlib.suppress(SdpError):
        _look_at_everything("v=0\no=- 1 1 IN IP4 h\n" + "\n".join(lines))


@given(TEXT)
def test_any_text_as_crypto_raises_sdp_error_and_nothing_else(text: str) -> None:
    try:
        crypto = Crypto.parse(text)
    except SdpError:
        return
    assert Crypto.parse(str(crypto)) == crypto


def test_a_description_of_many_lines_or_formats_is_refused() -> None:
    head = "v=0\r\no=- 1 1 IN IP4 a\r\n"
    with pytest.raises(SdpError, match="too many lines"):
        Sdp.parse(head + "a=x\r\n" * MAX_LINES)
    formats = " ".join(["0"] * MAX_FORMATS)
    assert Sdp.parse(f"{head}m=audio 9 RTP/AVP {formats}\r\n").media
    with pytest.raises(SdpError, match="words"):
        Sdp.parse(f"{head}m=audio 9 RTP/AVP {formats} 0\r\n")
