import pytest

from sip.io.wirelog import shown

HEAD = (
    b"INVITE sip:1000@pbx.example SIP/2.0\r\n"
    b'Authorization: Digest username="bridge", response="c0ffee"\r\n'
    b'proxy-authorization :Digest\r\n\tresponse="decaf",\r\n cnonce="abc"\r\n'
    b"Content-Type: application/sdp\r\n"
    b"To: <sip:1000@pbx.example>"
)
SDP = (
    b"v=0\r\n"
    b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:QJ0VB7BeOjnqIvd5gf2p5NbPj6xF5pOM4zBnoOJY\r\n"
    b"a=CRYPTO:2 \tAES_256_CM_HMAC_SHA1_80 inline:c2VjcmV0\r\n"
    b"k=clear:c2VjcmV0\r\n"
    b"a=key-mgmt:mikey c2VjcmV0\r\n"
    b"a=ice-pwd:c2VjcmV0\r\n"
    b"a=sendrecv\r\n"
)


def test_credentials_are_taken_out_folded_lines_included() -> None:
    text = shown(HEAD + b"\r\n\r\n")
    assert "c0ffee" not in text
    assert "decaf" not in text
    assert "abc" not in text
    assert "Authorization: (not shown)" in text
    assert "To: <sip:1000@pbx.example>" in text


def test_keys_are_taken_out_of_sdp() -> None:
    text = shown(HEAD + b"\r\n\r\n" + SDP)
    for secret in ("QJ0VB7Be", "c2VjcmV0"):
        assert secret not in text
    assert "a=crypto:1 AES_CM_128_HMAC_SHA1_80 (not shown)" in text
    assert "a=sendrecv" in text


@pytest.mark.parametrize("field", [b"Content-Type: text/plain", b"c:text/plain;charset=utf-8"])
def test_texts_of_people_are_not_shown(field: bytes) -> None:
    text = shown(b"MESSAGE sip:a@b SIP/2.0\r\n" + field + b"\r\n\r\ncode 123456")
    assert "123456" not in text
    assert "(11 octets of text/plain)" in text


def test_body_without_type_is_not_shown() -> None:
    assert "(5 octets of unknown type)" in shown(b"SIP/2.0 200 OK\r\nTo: a\r\n\r\nk=abc")


def test_broken_utf8_is_no_obstacle() -> None:
    assert shown(b"SIP/2.0 200 \xff\xfe\r\n\r\n").startswith("SIP/2.0 200 ")
