"""Messages, the awkward ones above all (in the spirit of RFC 4475; all of them written here)."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.errors import LocalError, RemoteError
from sip.events import Body
from sip.headers import Headers
from sip.message import Request, Response, body_of, parse_message, response_to
from sip.uri import Uri

GOOD = (
    b"INVITE sip:bob@example.net SIP/2.0\r\n"
    b"Via: SIP/2.0/TLS 192.0.2.1:5061;rport;branch=z9hG4bK1\r\n"
    b"From: <sip:alice@example.net>;tag=a\r\n"
    b"To: <sip:bob@example.net>\r\n"
    b"Call-ID: c1\r\n"
    b"CSeq: 7 INVITE\r\n"
    b"Max-Forwards: 70\r\n"
    b"Content-Type: text/plain\r\n"
    b"Content-Length: 5\r\n"
    b"\r\n"
    b"hello"
)


def refused(data: bytes) -> int:
    with pytest.raises(RemoteError) as caught:
        parse_message(data)
    return caught.value.status


def test_a_request_is_read() -> None:
    request = parse_message(GOOD)
    assert isinstance(request, Request)
    assert (request.method, request.uri.user, request.body) == ("INVITE", "bob", b"hello")
    assert request.headers.cseq.number == 7
    assert body_of(request) == Body("text/plain", b"hello")


def test_a_message_reads_back_what_it_writes() -> None:
    request = parse_message(GOOD)
    assert isinstance(request, Request)
    assert parse_message(bytes(request)) == request
    response = response_to(request, 180, to_tag="t")
    assert parse_message(bytes(response)).headers.to.tag == "t"
    assert b"SIP/2.0 180 Ringing\r\n" in bytes(response)


@given(st.binary(max_size=400))
def test_any_bytes_are_a_message_or_the_peers_fault(data: bytes) -> None:
    with suppress(RemoteError):
        parse_message(data)


@given(st.integers(0, len(GOOD) - 1), st.binary(min_size=0, max_size=3))
def test_any_damage_to_a_message_is_survived(at: int, instead: bytes) -> None:
    try:
        message = parse_message(GOOD[:at] + instead + GOOD[at + len(instead) :])
    except RemoteError:
        return
    bytes(message)  # what was read can be written


def test_folded_compact_and_oddly_spaced_fields_are_read() -> None:
    message = parse_message(
        b"OPTIONS sip:desk@example.org;strange=yes SIP/2.0\r\n"
        b"t :\r\n\tsip:desk@example.org ;  tag   =   north-7\r\n"
        b'FROM   : "The \\\\ \\"Duke\\""    <sip:duke@example.org>\r\n ;\r\n tag = south-8\r\n'
        b"mAx-FORWARDS: 007\r\n"
        b"i: fold@192.0.2.77\r\n"
        b"l: 2\r\n"
        b"CSEQ: 00041\r\n    OPTIONS\r\n"
        b"V:  SIP /2.0 /  TLS   edge.example.org :5061  ;\r\n branch =  z9hG4bKone  ,\r\n"
        b"   SIP/2.0/UDP 10.1.2.3 ;branch=\r\n z9hG4bKtwo\r\n"
        b"X-Long-Story:   once upon\r\n   a time\r\n"
        b"X-Nothing:\r\n"
        b"\r\nok-and-more"
    )
    headers = message.headers
    assert headers.to.tag == "north-7"
    assert headers.from_.display_name == 'The \\ "Duke"'
    assert headers.integer("Max-Forwards") == 7
    assert headers.cseq.number == 41
    assert (headers.via.transport, headers.via.port, headers.via.branch) == (
        "TLS",
        5061,
        "z9hG4bKone",
    )
    assert len(headers.elements("Via")) == 2
    assert headers.get("x-long-story") == "once upon a time"
    assert message.body == b"ok"


def test_a_strange_but_lawful_method_and_quoted_controls_are_read() -> None:
    message = parse_message(
        b"*odd.Method-!%_+`'~1 sip:~user'(of)*many!marks=+$,;/?&:p,a=s$s@example.org SIP/2.0\r\n"
        b"Via: SIP/2.0/TCP example.org;branch=z9hG4bK_!-.%*`'~+\r\n"
        b'To: "tab:\\\x09 bell:\\\x07 zero:\\\x00 delete:\\\x7f" <sip:odd@example.org>\r\n'
        b"From: a~ b' c*.- <sip:plain@example.org>;x''~+*=_!.-%;tag=!_.\r\n"
        b"Call-ID: '~word*(with)<odd>:\"[marks]?{}/\\@host~\r\n"
        b"CSeq: 2147483647 *odd.Method-!%_+`'~1\r\n"
        b"Max-Forwards: 255\r\n"
        b"Content-Length: 0\r\n"
        b"\r\n"
    )
    assert message.headers.to.display_name == "tab:\x09 bell:\x07 zero:\x00 delete:\x7f"
    assert parse_message(bytes(message)) == message


def test_utf8_is_read_and_latin1_is_not_a_reason_to_drop_a_call() -> None:
    assert (
        parse_message(GOOD.replace(b"From: ", "From: Jürgen ".encode())).headers.from_.display_name
        == "Jürgen"
    )
    latin = parse_message(GOOD.replace(b"From: ", "From: Jürgen ".encode("latin-1")))
    assert latin.headers.from_.display_name == "Jürgen"


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        (b"SIP/2.0\r\n", b"SIP/7.0\r\n", 505),
        (b"INVITE sip", b"INVITE  sip", 400),
        (b"INVITE sip", b" INVITE sip", 400),
        (b"INVITE sip:bob@example.net", b"INVITE <sip:bob@example.net>", 400),
        (b"INVITE sip:bob@example.net", b"INVITE sip:bob@example.net; lr", 400),
        (b"7 INVITE", b"7 OPTIONS", 400),
        (b"7 INVITE", b"36893488147419103232 INVITE", 400),
        (b"Max-Forwards: 70", b"Max-Forwards: 300000000000", 400),
        (b"Max-Forwards: 70", b"Max-Forwards: -1", 400),
        (b"Call-ID: c1\r\n", b"", 400),
        (b"Call-ID: c1\r\n", b"Call-ID:\r\n", 400),
        (b"To: <sip:bob@example.net>\r\n", b"", 400),
        (b"Call-ID: c1\r\n", b"Call-ID: c1\r\nCall-ID: c2\r\n", 400),
        (b"From: <sip:alice", b"From: <sip:alice>, <sip:x", 400),
        (
            b"From: <sip:alice@example.net>;tag=a",
            b'From: "alice <sip:alice@example.net>;tag=a',
            400,
        ),
        (b"Via: ", b"Via: nonsense, ", 400),
        (b"Max-Forwards: 70", b"Max-Forwards 70", 400),
        (b"Max-Forwards: 70", b"Max Forwards: 70", 400),
        (b"Max-Forwards: 70", b"Subject: a\rb", 400),
        (b"Content-Length: 5", b"Content-Length: 6", 400),
        (b"Content-Length: 5", b"Content-Length: -5", 400),
    ],
)
def test_a_broken_request_gets_its_status(old: bytes, new: bytes, status: int) -> None:
    assert old in GOOD
    assert refused(GOOD.replace(old, new, 1)) == status


def test_too_many_fields_are_refused() -> None:
    assert (
        refused(GOOD.replace(b"Max-Forwards: 70", b"X: 1\r\n" * 300 + b"Max-Forwards: 70")) == 513
    )


@pytest.mark.parametrize(
    "line", [b"SIP/2.0 099 x", b"SIP/2.0 999 x", b"SIP/2.0 4294967301 x", b"SIP/2.0  200 OK"]
)
def test_a_broken_response_is_refused(line: bytes) -> None:
    assert refused(GOOD.replace(b"INVITE sip:bob@example.net SIP/2.0", line)) == 400


@pytest.mark.parametrize("line", [b"SIP/2.0 200 ", b"SIP/2.0 200", b"sip/2.0 200 \xe2\x82\xac"])
def test_a_response_may_have_any_reason_or_none(line: bytes) -> None:
    response = parse_message(GOOD.replace(b"INVITE sip:bob@example.net SIP/2.0", line))
    assert isinstance(response, Response)
    assert response.status == 200


def test_a_response_copies_what_it_must_and_adds_a_tag_once() -> None:
    request = parse_message(GOOD.replace(b"CSeq", b"Timestamp: 54\r\nCSeq"))
    assert isinstance(request, Request)
    trying = response_to(request, 100)
    assert trying.headers.to.tag is None
    assert trying.headers.get("Timestamp") == "54"
    tagged = response_to(request, 486, to_tag="x")
    assert tagged.headers.to.tag == "x"
    assert tagged.reason == "Busy Here"
    again = response_to(Request("BYE", request.uri, tagged.headers), 299, to_tag="y")
    assert again.headers.to.tag == "x"
    assert again.reason == "Unknown"


def test_the_start_line_cannot_begin_a_field() -> None:
    with pytest.raises(LocalError):
        bytes(Response(200, "OK\r\nEvil: yes", Headers()))
    assert b"\r\n" not in bytes(Request("OPTIONS", Uri("sip", "a\r\nb", "h"))).split(b" SIP/2.0")[0]
