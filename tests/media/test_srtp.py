import os

import pytest

from media.rtp import build
from media.srtp import MOST_SOURCES, SUITES, Srtp
from tests.media import reference_srtp
from tests.media.reference_srtp import ReferenceSrtp

every_suite = pytest.mark.parametrize("suite", SUITES)

SENDER_REPORT = bytes.fromhex("80c80006 4d617273 4e545031 4e545032 52545020 0000042a 0000e930")


def pair(suite: str) -> tuple[Srtp, Srtp]:
    ours, theirs = (os.urandom(SUITES[suite].master_length) for _ in range(2))
    return Srtp(suite, ours, theirs), Srtp(suite, theirs, ours)


def reference(suite: str, master: bytes) -> ReferenceSrtp:
    made_of = SUITES[suite]
    tag_length = None if made_of.is_gcm else made_of.tag_length
    return ReferenceSrtp(master, made_of.key_length, tag_length)


def packet(sequence: int, ssrc: int = 0xCAFEBABE, payload: bytes = b"\xab" * 160) -> bytes:
    return build(0, sequence & 0xFFFF, sequence * 160 & 0xFFFFFFFF, ssrc, payload)


# --- the reference itself, against the RFCs


@pytest.mark.parametrize(
    ("key", "salt", "cipher_key", "authentication_key", "session_salt"),
    [
        pytest.param(
            "e1f97a0d3e018be0d64fa32c06de4139",
            "0ec675ad498afeebb6960b3aabe6",
            "c61e7a93744f39ee10734afe3ff7a087",
            "cebe321f6ff7716b6fd4ab49af256a156d38baa48f0a0acf3c34e2359e6cdbce"
            "e049646c43d9327ad175578ef72270986371c10c9a369ac2f94a8c5fbcdddc25"
            "6d6e919a48b610ef17c2041e474035766b68642c59bbfc2f34db60dbdfb2",
            "30cbbc08863d8c85d49db34a9ae1",
            id="RFC 3711 B.3",
        ),
        pytest.param(
            "f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6",
            "3b04803de51ee7c96423ab5b78d2",
            "5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4",
            "fd9c32d39ed5fbb5a9dc96b30818454d1313dc05",
            "fa31791685ca444a9e07c6c64e93",
            id="RFC 6188 7.2",
        ),
    ],
)
def test_reference_derives_the_keys_of_the_rfcs(
    key: str, salt: str, cipher_key: str, authentication_key: str, session_salt: str
) -> None:
    for label, wanted in enumerate((cipher_key, authentication_key, session_salt)):
        expected = bytes.fromhex(wanted)
        made = reference_srtp.derive(bytes.fromhex(key), bytes.fromhex(salt), label, len(expected))
        assert made == expected


@pytest.mark.parametrize(
    ("key", "first", "last"),
    [
        pytest.param(
            "2b7e151628aed2a6abf7158809cf4f3c",
            "e03ead0935c95e80e166b16dd92b4eb4d23513162b02d0f72a43a2fe4a5f97ab"
            "41e95b3bb0a2e8dd477901e4fca894c0",
            "ec8cdf7398607cb0f2d21675ea9ea1e4362b7c3c6773516318a077d7fc5073ae"
            "6a2cc3787889374fbeb4c81b17ba6c44",
            id="RFC 3711 B.2",
        ),
        pytest.param(
            "57f82fe3613fd170a85ec93c40b1f0922ec4cb0dc025b58272147cc438944a98",
            "92bdd28a93c3f52511c677d08b5515a49da71b2378a854f67050756ded165bac"
            "63c4868b7096d88421b563b8c94c9a31",
            "cea518c90fd91ced9cbb18c078a547113dbc4814f4da5f00a08772b63c6a046d"
            "6eb246913062a16891433e97dd01a57f",
            id="RFC 6188 7.1",
        ),
    ],
)
def test_reference_makes_the_keystreams_of_the_rfcs(key: str, first: str, last: str) -> None:
    salt = bytes.fromhex("f0f1f2f3f4f5f6f7f8f9fafbfcfd")
    iv = reference_srtp.counter_iv(salt, bytes(4), 0)
    assert iv.hex() == "f0f1f2f3f4f5f6f7f8f9fafbfcfd0000"
    stream = reference_srtp.keystream(bytes.fromhex(key), iv, 0xFF02 * 16)
    assert stream[: 3 * 16].hex() == first
    assert stream[0xFEFF * 16 :].hex() == last


GALLIA = bytes.fromhex("8040f17b8041f8d35501a0b2") + b"Gallia est omnis divisa in partes tres"
MARS = bytes.fromhex(
    "81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61"
    "deadbeef deadbeef deadbeef deadbeef deadbeef"
)
QUID_PRO_QUO = b"Quid pro quo"


@pytest.mark.parametrize(
    ("key_length", "secret"),
    [
        (
            16,
            "f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833"
            "899d7f27beb16a9152cf765ee4390cce",
        ),
        (
            32,
            "32b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b"
            "7aa3db36dfffd6b0f9bb7878d7a76c13",
        ),
    ],
)
def test_reference_makes_the_packets_of_rfc_7714_16(key_length: int, secret: str) -> None:
    iv = reference_srtp.gcm_iv(QUID_PRO_QUO, GALLIA[8:12], 0xF17B)
    assert iv.hex() == "51753c6580c2726f20718414"
    made = reference_srtp.gcm_protect(bytes(range(key_length)), QUID_PRO_QUO, GALLIA, 0xF17B)
    assert made.hex() == GALLIA[:12].hex() + secret


@pytest.mark.parametrize(
    ("key_length", "secret"),
    [
        (
            16,
            "63e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b4686303ded"
            "0bb9275bc84aa45896cf4d2fc5abf87245d9eade800005d4",
        ),
        (
            32,
            "d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50a2eaa5c1110555be8415f658c61de047"
            "6f1b6fad1d1eb30c4446839f57ff6f6cb26ac3be800005d4",
        ),
    ],
)
def test_reference_makes_the_packets_of_rfc_7714_17(key_length: int, secret: str) -> None:
    iv = reference_srtp.gcm_iv(QUID_PRO_QUO, MARS[4:8], 0x5D4)
    assert iv.hex() == "517524055203726f207170bb"
    key = bytes(range(key_length))
    made = reference_srtp.gcm_protect_rtcp(key, QUID_PRO_QUO, MARS, 0x5D4)
    assert made.hex() == MARS[:8].hex() + secret


# --- ours against the reference


def test_protects_the_known_packet_of_libsrtp() -> None:
    master = bytes.fromhex("e1f97a0d3e018be0d64fa32c06de41390ec675ad498afeebb6960b3aabe6")
    srtp = Srtp("AES_CM_128_HMAC_SHA1_80", master, master)
    plain = bytes.fromhex("800f1234decafbadcafebabe" + "ab" * 16)
    secret = bytes.fromhex(
        "800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb"
    )
    assert srtp.protect(plain) == secret
    assert srtp.unprotect(secret) == plain


@every_suite
def test_every_bit_is_as_the_reference_has_it(suite: str) -> None:
    master = os.urandom(SUITES[suite].master_length)
    srtp, slow = Srtp(suite, master, master), reference(suite, master)
    for sequence in range(65530, 65545):  # over the roll-over
        plain = packet(sequence, payload=os.urandom(33))
        secret = slow.protect(plain, sequence >> 16)
        assert srtp.protect(plain) == secret
        assert srtp.unprotect(secret) == plain
    for index in (1, 2, 3):
        secret = slow.protect_rtcp(SENDER_REPORT, index)
        assert srtp.protect_rtcp(SENDER_REPORT) == secret
        assert srtp.unprotect_rtcp(secret) == SENDER_REPORT


# --- what a stranger can do


@every_suite
def test_no_changed_bit_passes(suite: str) -> None:
    ours, theirs = pair(suite)
    secret = ours.protect(packet(1, payload=b"12345678"))
    assert secret is not None
    for position in range(len(secret)):
        forged = bytearray(secret)
        forged[position] ^= 0x10
        assert theirs.unprotect(bytes(forged)) is None
    assert theirs.not_authentic + theirs.refused == len(secret)
    assert theirs.unprotect(secret) == packet(1, payload=b"12345678")


@every_suite
def test_a_packet_passes_once(suite: str) -> None:
    ours, theirs = pair(suite)
    secrets = [ours.protect(packet(i)) for i in range(300)]
    assert all(secret and theirs.unprotect(secret) for secret in secrets)
    assert not any(secret and theirs.unprotect(secret) for secret in secrets)
    assert theirs.replayed == 300
    report = ours.protect_rtcp(SENDER_REPORT)
    assert report is not None
    assert theirs.unprotect_rtcp(report) == SENDER_REPORT
    assert theirs.unprotect_rtcp(report) is None
    assert theirs.replayed == 301


@every_suite
def test_packets_out_of_order_pass(suite: str) -> None:
    ours, theirs = pair(suite)
    secrets = [ours.protect(packet(i)) for i in range(65500, 65580)]
    for i in range(0, 80, 4):
        for secret in reversed(secrets[i : i + 4]):
            assert secret is not None
            assert theirs.unprotect(secret) is not None


@every_suite
@pytest.mark.parametrize("size", [0, 1, 8, 11, 12, 13, 20, 27, 1501, 65535])
def test_malformed_lengths_give_nothing(suite: str, size: int) -> None:
    _, theirs = pair(suite)
    junk = (b"\x80\x00" * size)[:size]
    assert theirs.unprotect(junk) is None
    assert theirs.unprotect_rtcp(junk) is None
    assert theirs.discarded == 2


def test_never_sends_two_texts_under_one_number() -> None:
    ours, _ = pair("AES_CM_128_HMAC_SHA1_80")
    assert ours.protect(packet(7)) is not None
    assert ours.protect(packet(7, payload=b"another")) is None


# --- keys


@every_suite
def test_the_key_must_fit_the_suite(suite: str) -> None:
    good = bytes(SUITES[suite].master_length)
    for bad in (good[:-1], good + b"\0", b""):
        with pytest.raises(ValueError, match="takes a key of"):
            Srtp(suite, bad, good)
        with pytest.raises(ValueError, match="takes a key of"):
            Srtp(suite, good, bad)


def test_unknown_suite_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown SRTP suite"):
        Srtp("F8_128_HMAC_SHA1_80", bytes(30), bytes(30))


def test_master_lengths_are_those_of_the_standards() -> None:
    lengths = {name: suite.master_length for name, suite in SUITES.items()}
    assert lengths == {
        "AEAD_AES_256_GCM": 44,
        "AEAD_AES_128_GCM": 28,
        "AES_256_CM_HMAC_SHA1_80": 46,
        "AES_CM_128_HMAC_SHA1_80": 30,
        "AES_256_CM_HMAC_SHA1_32": 46,
        "AES_CM_128_HMAC_SHA1_32": 30,
    }


def test_keys_are_not_shown() -> None:
    key = b"sixteen letters and fourteen !"
    shown = repr(Srtp("AES_CM_128_HMAC_SHA1_80", key, key))
    assert shown == "<Srtp AES_CM_128_HMAC_SHA1_80>"


def test_a_kept_key_keeps_its_roll_over_counter() -> None:
    suite = "AES_CM_128_HMAC_SHA1_80"
    ours_key, theirs_key, new = os.urandom(30), os.urandom(30), os.urandom(30)
    ours, theirs = Srtp(suite, ours_key, theirs_key), Srtp(suite, theirs_key, ours_key)
    for sequence in (65534, 65535, 65536, 65537):
        secret = ours.protect(packet(sequence))
        assert secret is not None
        assert theirs.unprotect(secret) is not None
    ours.change_keys(ours_key, new)
    theirs.change_keys(new, ours_key)
    secret = ours.protect(packet(65538))
    assert secret == reference(suite, ours_key).protect(packet(65538), 1)
    assert secret is not None
    assert theirs.unprotect(secret) == packet(65538)
    back = theirs.protect(packet(1))
    assert back == reference(suite, new).protect(packet(1))
    assert back is not None
    assert ours.unprotect(back) == packet(1)


@every_suite
def test_nothing_passes_once_the_keys_are_forgotten(suite: str) -> None:
    ours, theirs = pair(suite)
    secret = ours.protect(packet(1))
    assert secret is not None
    for one in (ours, theirs, ours):  # twice does no harm
        one.close()
    assert ours.protect(packet(2)) is None
    assert ours.protect_rtcp(SENDER_REPORT) is None
    assert theirs.unprotect(secret) is None
    with pytest.raises(ValueError, match="closed"):
        ours.change_keys(bytes(44), bytes(44))


def test_who_has_the_keys_cannot_fill_memory_with_sources() -> None:
    ours, theirs = pair("AES_CM_128_HMAC_SHA1_80")
    passed = 0
    for source in range(MOST_SOURCES + 50):
        secret = ours.protect(packet(1, ssrc=source))
        report = ours.protect_rtcp(SENDER_REPORT[:4] + source.to_bytes(4) + SENDER_REPORT[8:])
        assert secret is not None
        assert report is not None
        opened = theirs.unprotect_rtcp(report) is not None
        assert opened == (theirs.unprotect(secret) is not None)
        passed += opened
    assert passed == MOST_SOURCES
    assert theirs.refused == 100
    secret = ours.protect(packet(2, ssrc=0))
    assert secret is not None
    assert theirs.unprotect(secret) == packet(2, ssrc=0)
