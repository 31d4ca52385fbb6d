import pytest

from sip.dialog import Dialog
from sip.errors import RemoteError
from sip.message import Request, Response, parse_message

INVITE = (
    b"INVITE sip:bob@example.net SIP/2.0\r\n"
    b"Via: SIP/2.0/TLS 192.0.2.1;branch=z9hG4bK1\r\n"
    b"From: <sip:alice@example.net>;tag=a\r\n"
    b"To: <sip:bob@example.net>\r\n"
    b"Call-ID: c1\r\n"
    b"CSeq: 7 INVITE\r\n"
    b"Contact: <sip:alice@192.0.2.1:5061;transport=tls>\r\n"
    b"Allow: INVITE, UPDATE\r\n"
    b"Record-Route: <sip:p1;lr>, <sip:p2;lr>\r\n\r\n"
)
OK = (
    INVITE.replace(b"INVITE sip:bob@example.net SIP/2.0", b"SIP/2.0 200 OK")
    .replace(b"To: <sip:bob@example.net>", b"To: <sip:bob@example.net>;tag=b")
    .replace(b"<sip:alice@192", b"<sip:bob@192")
)


def request(data: bytes = INVITE) -> Request:
    message = parse_message(data)
    assert isinstance(message, Request)
    return message


def response(data: bytes = OK) -> Response:
    message = parse_message(data)
    assert isinstance(message, Response)
    return message


def test_the_callers_dialog_reverses_the_route_and_counts_on() -> None:
    dialog = Dialog.from_response(request(), response())
    bye = dialog.request("BYE")
    assert str(bye.uri) == "sip:bob@192.0.2.1:5061;transport=tls"
    assert bye.headers.get_all("Route") == ["<sip:p2;lr>", "<sip:p1;lr>"]
    assert (bye.headers.from_.tag, bye.headers.to.tag) == ("a", "b")
    assert str(bye.headers.cseq) == "8 BYE"
    assert str(dialog.ack(7).headers.cseq) == "7 ACK"
    assert dialog.allows == {"invite", "update"}
    assert dialog.remote_tag == "b"


def test_the_callees_dialog_keeps_the_route_and_begins_to_count() -> None:
    dialog = Dialog.from_request(request(), tag="mine")
    bye = dialog.request("BYE")
    assert bye.headers.get_all("Route") == ["<sip:p1;lr>", "<sip:p2;lr>"]
    assert (bye.headers.from_.tag, bye.headers.to.tag) == ("mine", "a")
    assert bye.headers.from_.uri.user == "bob"
    assert str(bye.headers.cseq) == "1 BYE"


def test_an_older_request_is_out_of_order() -> None:
    dialog = Dialog.from_request(request(), tag="mine")
    dialog.admit(request())
    dialog.admit(request(INVITE.replace(b"7 INVITE", b"9 INVITE")))
    with pytest.raises(RemoteError) as caught:
        dialog.admit(request(INVITE.replace(b"7 INVITE", b"8 INVITE")))
    assert caught.value.status == 500


def test_a_strict_router_takes_the_place_of_the_target() -> None:
    strict = OK.replace(b"<sip:p2;lr>", b"<sip:p2>")
    bye = Dialog.from_response(request(), response(strict)).request("BYE")
    assert str(bye.uri) == "sip:p2"
    assert bye.headers.get_all("Route") == [
        "<sip:p1;lr>",
        "<sip:bob@192.0.2.1:5061;transport=tls>",
    ]


def test_an_invite_without_contact_makes_no_dialog() -> None:
    bare = b"\r\n".join(line for line in INVITE.split(b"\r\n") if b"Contact" not in line)
    with pytest.raises(RemoteError):
        Dialog.from_request(request(bare), tag="mine")


def test_a_2xx_without_a_readable_contact_still_gets_its_ack() -> None:
    broken = OK.replace(b"Contact: <sip:bob@192.0.2.1:5061;transport=tls>", b"Contact: <>")
    broken = broken.replace(b"<sip:p1;lr>, <sip:p2;lr>", b"<<")
    dialog = Dialog.from_response(request(), response(broken))
    assert str(dialog.ack(7).uri) == "sip:bob@example.net"


def test_a_target_refresh_moves_the_target() -> None:
    dialog = Dialog.from_request(request(), tag="mine")
    dialog.refresh_target(request(INVITE.replace(b"192.0.2.1:5061", b"192.0.2.7:5061")))
    assert dialog.request("BYE").uri.host == "192.0.2.7"
