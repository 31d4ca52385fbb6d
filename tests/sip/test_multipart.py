"""Bodies of several parts, and the session description among them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.errors import RemoteError
from sip.events import Body
from sip.headers import Headers
from sip.message import Response
from sip.multipart import MAX_DEPTH, MAX_PARTS, description_of, media_type, parts_of
from sip.uri import NO_PARAMETERS
from tests.sip.world import OFFER

SDP_PART = b"Content-Type: application/sdp\r\n\r\n" + OFFER.data
ISUP_PART = b"Content-Type: application/ISUP;version=x\r\n\r\n\x01\x00\n--not\xff"


def joined(*parts: bytes, kind: str = "mixed", boundary: str = "b1") -> Body:
    delimiter = f"--{boundary}".encode()
    data = b"".join(delimiter + b"\r\n" + part + b"\r\n" for part in parts)
    return Body(f'multipart/{kind}; boundary="{boundary}"', data + delimiter + b"--\r\n")


def message(body: Body, disposition: str | None = None) -> Response:
    headers = Headers([("Content-Type", body.content_type)])
    if disposition is not None:
        headers.add("Content-Disposition", disposition)
    return Response(200, "OK", headers, body.data)


def status_of(body: Body, disposition: str | None = None) -> int:
    with pytest.raises(RemoteError) as caught:
        description_of(message(body, disposition))
    return caught.value.status


def test_parts_come_out_as_they_went_in() -> None:
    sdp, isup, bare = parts_of(joined(SDP_PART, ISUP_PART, b"\r\nhello"))
    assert sdp.body == OFFER
    assert isup.data == b"\x01\x00\n--not\xff"
    assert bare.body == Body("text/plain", b"hello")


def test_preamble_epilogue_padding_and_bare_line_feeds_are_tolerated() -> None:
    data = b"pre\n--x \nX-A: b\n\none\r\n\r\n--xy\n--x\n\ntwo\n--x--\nepi"
    one, two = parts_of(Body("Multipart/Mixed;boundary=x", data))
    assert (one.headers.get("X-A"), one.data) == ("b", b"one\r\n\r\n--xy")
    assert two.data == b"two"


def test_a_missing_last_boundary_loses_nothing() -> None:
    (part,) = parts_of(Body("multipart/mixed;boundary=x", b"--x\r\n" + SDP_PART))
    assert part.body == OFFER


@pytest.mark.parametrize(
    "body",
    [
        Body("text/plain", b"--x\r\n\r\n\r\n--x--"),
        Body("multipart/mixed", b"--x\r\n\r\n\r\n--x--"),
        Body(f"multipart/mixed;boundary={'x' * 71}", b""),
        Body("multipart/mixed;boundary=x", b"nothing"),
        Body("multipart/mixed;boundary=x", b"--x--"),
        Body("multipart/mixed;boundary=x", b"--x\r\nno header field\r\n\r\n\r\n--x--"),
        Body("multipart/mixed;boundary=x", b"--x\r\n\r\na\r\n" * (MAX_PARTS + 1) + b"--x--"),
    ],
)
def test_what_has_no_parts_or_too_many_is_malformed(body: Body) -> None:
    with pytest.raises(RemoteError) as caught:
        parts_of(body)
    assert caught.value.status == 400


def test_a_description_is_found_alone_beside_others_and_deep_inside() -> None:
    inner = joined(ISUP_PART, SDP_PART, boundary="b2")
    nested = f"Content-Type: {inner.content_type}\r\n\r\n".encode() + inner.data
    assert description_of(message(OFFER)) == OFFER
    assert description_of(message(joined(ISUP_PART, SDP_PART))) == OFFER
    assert description_of(message(joined(nested))) == OFFER
    assert description_of(Response(200, "OK")) is None


def test_nesting_has_an_end() -> None:
    body = OFFER
    for level in range(MAX_DEPTH + 1):
        part = f"Content-Type: {body.content_type}\r\n\r\n".encode() + body.data
        body = joined(part, boundary=f"b{level}")
    assert status_of(body) == 415


def test_of_alternatives_the_last_that_we_understand_is_taken() -> None:
    other = SDP_PART.replace(b"s=offer", b"s=other")
    body = joined(other, SDP_PART, ISUP_PART, kind="alternative")
    assert description_of(message(body)) == OFFER


def test_what_must_be_understood_and_is_not_is_415() -> None:
    unknown = Body("application/x-new", b"x")
    assert status_of(unknown) == 415
    assert status_of(joined(ISUP_PART)) == 415
    assert status_of(OFFER, "early-session") == 415
    required = b"Content-Disposition: signal;handling=required\r\n" + ISUP_PART
    assert status_of(joined(SDP_PART, required)) == 415


def test_what_may_be_left_alone_is() -> None:
    optional = "signal;Handling=optional"
    assert description_of(message(Body("application/x-new", b"x"), optional)) is None
    assert description_of(message(joined(ISUP_PART), optional)) is None
    assert description_of(message(OFFER, "session")) == OFFER


def test_a_media_type_is_cut_from_its_parameters() -> None:
    kind, parameters = media_type(' Application/SDP ; charset="utf-8"')
    assert (kind, parameters.get("charset")) == ("application/sdp", "utf-8")
    assert media_type("") == ("", NO_PARAMETERS)


@given(st.lists(st.sampled_from([b"--b1", b"\r\n", b"\n", b"--", b"A: b", b"x", b" "])))
def test_any_bytes_give_parts_or_a_remote_error(pieces: list[bytes]) -> None:
    try:
        parts = parts_of(Body("multipart/mixed;boundary=b1", b"".join(pieces)))
    except RemoteError:
        return
    assert parts
