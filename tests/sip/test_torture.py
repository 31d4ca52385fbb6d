"""RFC 4475 and RFC 5118: what each message must come to, layer by layer.

The framer's frames are asserted for every way to cut the stream; what the parser reads and what a
registered user agent answers follow from the frames, so those are asserted once.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from sip.errors import RemoteError
from sip.events import Event, IncomingSession, MessageReceived
from sip.framing import PONG, Broken, Frame, Framer, Malformed, Ping, frame_datagram
from sip.headers import Headers
from sip.message import Message, Request, Response, parse_message
from tests.corpus import messages
from tests.sip.world import Phone, Script, World


@dataclass(frozen=True)
class Outcome:
    """What comes of a message on a stream.

    Attributes:
        frames: kinds of frames, in order.
        answers: status codes that the user agent sends, in order; a 100 is not counted.
        event: what the user hears, if anything.
        open: whether the flow stays open.
        waits: whether the framer still waits for the rest.
        cseq: stands in the answers as it came.
    """

    frames: tuple[type[Frame], ...] = (Request,)
    answers: tuple[int, ...] = ()
    event: type[Event] | None = None
    open: bool = True
    waits: bool = False


def answered(status: int) -> Outcome:
    return Outcome(answers=(status,))


RINGS = Outcome(event=IncomingSession)
DISCARDED = Outcome(frames=(Response,))
UNREADABLE = Outcome(frames=(Malformed,), answers=(400,))
INCOMPLETE = Outcome(frames=(), waits=True)  # whoever reads the stream closes it after a while
UNFRAMED = Outcome(frames=(Broken,), answers=(400,), open=False)

# A registrar's cases are refused by a user agent for their method (§8.2.1), before all else.
NO_REGISTRAR = answered(405)

RFC4475 = {
    # 3.1.1 valid messages
    "wsinv": answered(481),  # its To has a tag, and there is no such dialog
    "intmeth": answered(501),
    "esc01": RINGS,
    "escnull": NO_REGISTRAR,
    "esc02": answered(501),  # the method is "RE%47IST%45R", which is not REGISTER
    "lwsdisp": answered(200),
    "longreq": RINGS,
    # What follows the first message is the next one, whose own end is then found too early.
    "dblreq": Outcome(frames=(Request, Request, Malformed), answers=(405, 400)),
    "semiuri": answered(200),
    "transports": answered(200),
    "mpart01": Outcome(event=MessageReceived),
    "unreason": DISCARDED,
    "noreason": DISCARDED,
    # 3.1.2 invalid messages
    "badinv01": UNREADABLE,
    "clerr": INCOMPLETE,
    "ncl": UNFRAMED,
    "scalar02": UNREADABLE,
    "scalarlg": Outcome(frames=(Malformed,)),
    "quotbal": UNREADABLE,
    "ltgtruri": UNREADABLE,
    "lwsruri": UNREADABLE,
    "lwsstart": UNREADABLE,
    "trws": UNREADABLE,
    "escruri": UNREADABLE,
    "baddate": RINGS,  # the Date means nothing to a call
    "regbadct": NO_REGISTRAR,
    "badaspec": UNREADABLE,
    "baddn": INCOMPLETE,  # as published: without the empty line
    "badvers": Outcome(frames=(Malformed,), answers=(505,)),
    "mismatch01": UNREADABLE,
    "mismatch02": Outcome(frames=(Malformed,), answers=(501,)),
    "bigcode": Outcome(frames=(Malformed,)),
    # 3.2 transaction layer
    "badbranch": UNREADABLE,
    # 3.3 application layer
    "insuf": UNREADABLE,
    "unkscm": answered(416),
    "novelsc": answered(416),
    "unksm2": NO_REGISTRAR,
    "bext01": answered(420),
    "invut": answered(415),
    "regaut01": NO_REGISTRAR,
    "multi01": UNREADABLE,
    "mcl01": UNFRAMED,
    "bcast": DISCARDED,
    "zeromf": answered(200),
    "cparam01": NO_REGISTRAR,
    "cparam02": NO_REGISTRAR,
    "regescrt": NO_REGISTRAR,
    "sdp01": answered(406),
    # 3.4 backward compatibility: on a stream its body, which no length announces, is left over
    "inv2543": Outcome(event=IncomingSession, waits=True),
}

RFC5118 = {
    "ipv6-good": NO_REGISTRAR,
    "ipv6-bad": UNREADABLE,
    "port-ambiguous": NO_REGISTRAR,
    "port-unambiguous": NO_REGISTRAR,
    "via-received-param-with-delim": answered(481),  # a BYE of no dialog
    "via-received-param-no-delim": answered(200),
    "ipv6-in-sdp": RINGS,
    "mult-ip-in-header": answered(481),
    "mult-ip-in-sdp": RINGS,
    "ipv4-mapped-ipv6": RINGS,
    "ipv6-bug-abnf-3-colons": answered(200),
    "ipv6-correct-abnf-2-colons": answered(200),
}

MESSAGES = messages("rfc4475") | messages("rfc5118")
OUTCOMES = RFC4475 | RFC5118

each = pytest.mark.parametrize("name", OUTCOMES)


def headers_of(name: str) -> Headers:
    return parse_message(MESSAGES[name]).headers


def request_of(name: str) -> Request:
    message = parse_message(MESSAGES[name])
    assert isinstance(message, Request)
    return message


def shown(frame: Frame) -> object:
    """A frame in a form that can be compared."""
    if isinstance(frame, Malformed | Broken):
        answerable = None if frame.request is None else bytes(frame.request)
        return type(frame), str(frame.error), frame.error.status, answerable
    return frame


def fed(chunks: list[bytes]) -> list[object]:
    framer = Framer()
    return [shown(frame) for chunk in chunks for frame in framer.feed(chunk)]


def registered() -> tuple[World, Phone, Script]:
    world = World()
    phone, pbx = world.phone(register=True), Script(world)
    world.link(phone, pbx)
    world.settle()
    contact = "<sip:alice@198.51.100.1:40001;transport=tls>;expires=300"
    pbx.reply(pbx.last_request("REGISTER"), 200, headers=[("Contact", contact)])
    assert phone.agent.registered
    phone.events.clear()
    world.wire.clear()
    return world, phone, pbx


def answers(world: World, name: str) -> Iterator[Message]:
    return (message for _, sender, message in world.wire if sender == name)


def test_all_messages_are_here() -> None:
    assert (len(RFC4475), len(RFC5118)) == (49, 12)
    assert OUTCOMES.keys() == MESSAGES.keys()


# --- the stream


@each
def test_each_message_makes_its_frames(name: str) -> None:
    framer = Framer()
    frames = framer.feed(MESSAGES[name])
    assert tuple(type(frame) for frame in frames) == OUTCOMES[name].frames
    assert framer.waiting == OUTCOMES[name].waits


@each
def test_no_cut_of_the_stream_changes_the_frames(name: str) -> None:
    data = MESSAGES[name]
    whole = fed([data])
    assert fed([bytes((byte,)) for byte in data]) == whole
    for cut in range(1, len(data)):
        assert fed([data[:cut], data[cut:]]) == whole


@each
def test_line_ends_before_a_message_are_keepalives(name: str) -> None:
    frames = fed([MESSAGES[name]])
    for count in range(1, 6):
        data = PONG * count + MESSAGES[name]
        expected = [Ping()] * (count // 2) + frames
        assert fed([data]) == fed([bytes((byte,)) for byte in data]) == expected


# --- the registered user agent


@each
def test_each_message_is_answered_once(name: str) -> None:
    world, phone, pbx = registered()
    pbx.send_bytes(MESSAGES[name])
    sent = list(answers(world, "alice"))
    assert all(isinstance(message, Response) for message in sent)
    finals = [m.status for m in sent if isinstance(m, Response) and m.status != 100]
    assert tuple(finals) == OUTCOMES[name].answers
    kinds = [type(event) for event in phone.events]
    if OUTCOMES[name].open:
        event = OUTCOMES[name].event
        assert kinds == ([] if event is None else [event])
    assert phone.agent.registered == OUTCOMES[name].open


@pytest.mark.parametrize(
    ("name", "field"),
    [("intmeth", "Allow"), ("bext01", "Unsupported"), ("invut", "Accept"), ("esc02", "Allow")],
)
def test_a_refusal_says_what_would_do(name: str, field: str) -> None:
    world, _, pbx = registered()
    pbx.send_bytes(MESSAGES[name])
    (answer,) = answers(world, "alice")
    assert field in answer.headers


def test_a_refusal_of_what_cannot_be_read_copies_it() -> None:
    world, _, pbx = registered()
    pbx.send_bytes(MESSAGES["quotbal"])
    (answer,) = answers(world, "alice")
    to = headers_lines(MESSAGES["quotbal"])["To"]
    assert (answer.headers.get("To") or "").startswith(to)


def headers_lines(data: bytes) -> dict[str, str]:
    head = data.partition(b"\r\n\r\n")[0].decode()
    fields = (line.partition(":") for line in head.split("\r\n")[1:])
    return {name: value.strip() for name, _, value in fields}


# --- the datagram


def test_on_a_datagram_the_end_is_known() -> None:
    for name in ("clerr", "ncl", "mcl01"):
        frame = frame_datagram(MESSAGES[name])
        assert isinstance(frame, Malformed)
        assert frame.error.status == 400
        assert frame.request is not None
    double = frame_datagram(MESSAGES["dblreq"])
    assert isinstance(double, Request)
    assert (double.method, double.body) == ("REGISTER", b"")
    old = frame_datagram(MESSAGES["inv2543"])
    assert isinstance(old, Request)
    assert old.body.startswith(b"v=0\r\n")


# --- what is read


def test_white_space_and_folding_mean_nothing() -> None:
    headers = headers_of("wsinv")
    assert headers.integer("Max-Forwards") == 68
    assert (headers.cseq.number, headers.cseq.method) == (9, "INVITE")
    vias = headers.elements("Via")
    assert len(vias) == 3
    assert (headers.via.transport, headers.via.host, headers.via.branch) == (
        "UDP",
        "192.0.2.2",
        "390skdjuw",
    )
    assert headers.to.tag == "1918181833n"
    assert headers.from_.display_name == 'J Rosenberg \\"'
    assert headers.from_.tag == "98asjd8"


def test_odd_characters_are_kept() -> None:
    request = request_of("intmeth")
    assert request.method == "!interesting-Method0123456789_*+`.%indeed'~"
    assert request.uri.user == "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"
    assert request.uri.password == "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"
    assert request.headers.to.display_name == "BEL:\x07 NUL:\x00 DEL:\x7f"


def test_escapes_are_undone_once() -> None:
    request = request_of("esc01")
    assert request.uri.user == "sips:user@example.com"
    assert request.headers.to.uri.user == "user"
    assert request.headers.from_.uri.user == "I have spaces"
    assert [contact.uri.user for contact in request.headers.contacts] == ["caller"]
    assert headers_of("escnull").to.uri.user == "null-\x00-null"
    assert [contact.uri.user for contact in headers_of("escnull").contacts] == ["\0", "\0\0"]
    assert len(headers_of("esc02").contacts) == 2
    assert request_of("esc02").method == "RE%47IST%45R"


def test_a_semicolon_in_the_user_part_begins_no_parameter() -> None:
    request = request_of("semiuri")
    assert request.uri.user == "user;par=u@example.net"
    assert request.uri.host == "example.com"


def test_unknown_transports_are_read() -> None:
    vias = headers_of("transports").elements("Via")
    assert [via.split()[0] for via in vias] == [
        "SIP/2.0/UDP", "SIP/2.0/SCTP", "SIP/2.0/TLS", "SIP/2.0/UNKNOWN", "SIP/2.0/TCP",
    ]  # fmt: skip


def test_bodies_and_reasons_are_carried_as_they_are() -> None:
    assert b"\x00" in request_of("mpart01").body
    unreason = parse_message(MESSAGES["unreason"])
    assert isinstance(unreason, Response)
    assert unreason.reason == "= 2**3 * 5**2 но сто девяносто девять - простое"
    noreason = parse_message(MESSAGES["noreason"])
    assert isinstance(noreason, Response)
    assert (noreason.status, noreason.reason) == (100, "")


def test_long_values_are_read_to_their_end() -> None:
    headers = headers_of("longreq")
    assert len(headers.elements("Via")) == 34
    assert headers.to.display_name.endswith("extreme proportion")
    assert len(headers.call_id) == 141


def test_an_address_with_headers_but_without_brackets_is_refused() -> None:
    with pytest.raises(RemoteError):
        _ = headers_of("regbadct").contacts


def test_contact_parameters_belong_to_the_uri_only_within_brackets() -> None:
    (one,) = headers_of("cparam01").contacts
    (two,) = headers_of("cparam02").contacts
    assert "unknownparam" in one.parameters
    assert "unknownparam" in two.uri.parameters
    (escaped,) = headers_of("regescrt").contacts
    assert escaped.uri.headers is not None


def test_unknown_schemes_are_read() -> None:
    assert headers_of("unksm2").to.uri.scheme == "isbn"
    assert headers_of("unksm2").from_.uri.scheme == "http"


def test_addresses_of_ipv6_are_told_from_ports() -> None:
    good = request_of("ipv6-good")
    assert (good.uri.host, good.uri.port) == ("2001:db8::10", None)
    assert (good.headers.via.host, good.headers.via.port) == ("2001:db8::9:1", None)
    assert good.headers.contacts[0].uri.host == "2001:db8::1"
    ambiguous = request_of("port-ambiguous").uri
    assert (ambiguous.host, ambiguous.port) == ("2001:db8::10:5070", None)
    unambiguous = request_of("port-unambiguous").uri
    assert (unambiguous.host, unambiguous.port) == ("2001:db8::10", 5070)
    mapped = headers_of("ipv4-mapped-ipv6")
    assert (mapped.via.host, mapped.via.port) == ("::ffff:192.0.2.10", 19823)
    assert request_of("ipv6-bug-abnf-3-colons").uri.host == "2001:db8:::192.0.2.1"
    assert request_of("ipv6-correct-abnf-2-colons").uri.host == "2001:db8::192.0.2.1"


def test_received_is_read_with_and_without_brackets() -> None:
    with_ = headers_of("via-received-param-with-delim").via
    without = headers_of("via-received-param-no-delim").via
    assert with_.parameters.get("received") == "[2001:db8::9:255]"
    assert without.parameters.get("received") == "2001:db8::9:255"
    assert (with_.branch, without.branch) == ("z9hG4bKas3-111", "z9hG4bKas3")


def test_addresses_of_both_kinds_stand_side_by_side() -> None:
    vias = headers_of("mult-ip-in-header").elements("Via")
    assert [via.split()[1].partition(";")[0] for via in vias] == [
        "[2001:db8::9:1]:6050",
        "192.0.2.1",
        "[2001:db8::9:255]",
    ]
    for name in ("ipv6-in-sdp", "mult-ip-in-sdp", "ipv4-mapped-ipv6"):
        request = request_of(name)
        assert b"IP6" in request.body
        assert b"[" not in request.body
