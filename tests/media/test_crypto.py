"""Crypto lines to take and to refuse; the tables follow what PBXs themselves are tested with."""

import base64

import pytest

from media import crypto
from media.sdp import Crypto, SdpError
from media.srtp import SUITES

KEY = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj"
GCM_128 = "inB8NnWMnRLQU07OfK//MdlQJ39MjRD1UEI5aQ=="
GCM_256 = "Q5uHrOCnq3kUBhVpTB3gFAyTRb+oEWmvA00LHZse8V1YukDUUMzqQe/QwzU="
ALL = tuple(SUITES)
TAGGED = "1 AES_CM_128_HMAC_SHA1_80"


@pytest.mark.parametrize(
    ("line", "tag", "lifetime", "mki"),
    [
        (f"1 AES_CM_128_HMAC_SHA1_32 inline:{KEY}", 1, None, None),
        (f"{TAGGED} inline:{KEY}", 1, None, None),
        (f"{TAGGED} inline:{KEY}|2^32", 1, 1 << 32, None),
        (f"{TAGGED} inline:{KEY}|1048576", 1, 1 << 20, None),
        (f"{TAGGED} inline:{KEY}|2^20|1:4", 1, 1 << 20, (1, 4)),
        (f"{TAGGED} inline:{KEY}|1048576|1:32", 1, 1 << 20, (1, 32)),
        (f"{TAGGED} inline:{KEY}|1:4", 1, None, (1, 4)),
        (f"{TAGGED} inline:{KEY}|2^48", 1, 1 << 48, None),
        (f"{TAGGED} INLINE:{KEY}", 1, None, None),
        (f"  {TAGGED}   inline:{KEY}  ", 1, None, None),
        (f"0 AES_CM_128_HMAC_SHA1_80 inline:{KEY}", 0, None, None),
        (f"001 AES_CM_128_HMAC_SHA1_80 inline:{KEY}", 1, None, None),
        (f"{TAGGED} inline:{KEY} WSH=128", 1, None, None),
        (f"{TAGGED} inline:{KEY} -odd", 1, None, None),
    ],
)
def test_takes(line: str, tag: int, lifetime: int | None, mki: tuple[int, int] | None) -> None:
    taken = crypto.read(line, ALL)
    assert (taken.tag, taken.lifetime, taken.mki) == (tag, lifetime, mki)
    assert taken.suite in line
    assert taken.key == base64.b64decode(KEY)


@pytest.mark.parametrize("suite", list(SUITES))
@pytest.mark.parametrize("padding", ["", "==="])
def test_takes_every_suite_with_or_without_padding(suite: str, padding: str) -> None:
    key = bytes(range(SUITES[suite].master_length))
    text = base64.b64encode(key).decode().rstrip("=")
    taken = crypto.read(f"999999999 {suite} inline:{text}{padding}", ALL)
    assert taken == Crypto(999_999_999, suite, key)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "1",
        f"AES_CM_128_HMAC_SHA1_80 inline:{KEY}",
        f"FOO AES_CM_128_HMAC_SHA1_80 inline:{KEY}",
        f"100000000000 AES_CM_128_HMAC_SHA1_80 inline:{KEY}",
        f"1 FOO inline:{KEY}",
        f"1 inline:{KEY}",
        TAGGED,
        f"{TAGGED} inline:",
        f"{TAGGED} inline:{KEY[:20]}",
        f"{TAGGED} {KEY}",
        f"{TAGGED} inline{KEY}",
        f"{TAGGED} inline:{KEY}|2^19",
        f"{TAGGED} inline:{KEY}|1048575",
        f"{TAGGED} inline:{KEY}|much",
        f"{TAGGED} inline:{KEY}|2^32|2:4",
        f"{TAGGED} inline:{KEY}||1:4",
        f"{TAGGED} inline:{KEY}|2^32|x:4",
        f"{TAGGED} inline:{KEY}|2^32|1",
        f"{TAGGED} inline:{KEY}|2^49",
        f"{TAGGED} inline:{KEY}{KEY}",
        f"{TAGGED} inline:!!!!{KEY[4:]}",
        f"{TAGGED} inline:{KEY}|2^20|1:4;inline:{KEY}|2^20|2:4",
        f"{TAGGED} inline:{KEY} UNENCRYPTED_SRTP",
        f"{TAGGED} inline:{KEY} UNENCRYPTED_SRTCP",
        f"{TAGGED} inline:{KEY} UNAUTHENTICATED_SRTP",
        f"{TAGGED} inline:{KEY} KDR=1",
        f"1 AEAD_AES_128_GCM inline:{KEY}",
        f"1 NULL_HMAC_SHA1_80 inline:{KEY}",
        f"1 F8_128_HMAC_SHA1_80 inline:{KEY}",
        f"1 aes_cm_128_hmac_sha1_80 inline:{KEY}",
    ],
)
def test_refuses(line: str) -> None:
    with pytest.raises(SdpError):
        crypto.read(line, ALL)


def test_takes_the_first_line_that_the_settings_allow() -> None:
    lines = [
        f"1 AES_192_CM_HMAC_SHA1_80 inline:{KEY}",
        f"2 AES_256_CM_HMAC_SHA1_80 inline:{KEY}",  # too short
        f"3 AEAD_AES_256_GCM inline:{GCM_256}",
        f"7 AES_CM_128_HMAC_SHA1_32 inline:{KEY}",
        f"9 AES_CM_128_HMAC_SHA1_80 inline:{KEY}",
    ]
    everything = crypto.choose(lines, ALL)
    assert everything is not None
    assert (everything.tag, everything.suite) == (3, "AEAD_AES_256_GCM")
    narrow = crypto.choose(lines, ["AES_CM_128_HMAC_SHA1_80"])
    assert narrow is not None
    assert narrow.tag == 9
    assert crypto.choose(lines[:2], ALL) is None


def test_lines_that_share_a_tag_are_told_apart_by_their_suite() -> None:
    lines = [f"1 F8_128_HMAC_SHA1_80 inline:{KEY}", f"1 AEAD_AES_128_GCM inline:{GCM_128}"]
    chosen = crypto.choose(lines, ALL)
    assert chosen is not None
    assert (chosen.tag, chosen.suite) == (1, "AEAD_AES_128_GCM")


def test_makes_keys_of_the_suites_length() -> None:
    for name, suite in SUITES.items():
        assert crypto.make(4, name, bytes) == Crypto(4, name, bytes(suite.master_length))


OFFERED = [
    crypto.make(1, "AEAD_AES_256_GCM", lambda n: b"\1" * n),
    crypto.make(2, "AES_CM_128_HMAC_SHA1_80", lambda n: b"\2" * n),
]


def test_an_answer_is_matched_by_tag_and_suite() -> None:
    ours, theirs = crypto.match(OFFERED, [f"2 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"])
    assert ours is OFFERED[1]
    assert theirs.tag == 2


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"],  # the suite of the other line
        [f"1 AES_CM_128_HMAC_SHA1_32 inline:{KEY}"],  # never offered
        [f"3 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"],
        [f"2 AES_CM_128_HMAC_SHA1_80 inline:{KEY}", f"1 AEAD_AES_256_GCM inline:{GCM_256}"],
        [str(OFFERED[1])],
    ],
)
def test_an_answer_that_was_not_offered_is_refused(lines: list[str]) -> None:
    with pytest.raises(SdpError):
        crypto.match(OFFERED, lines)
