import pytest

from bridge.call.events import EndReason
from bridge.config import LineSection, TrunkSection
from bridge.numbers import ANONYMOUS, NotANumber, PhoneNumber
from bridge.routing import Routing
from sip.uri import NameAddr, Uri
from tests.bridge.fakes import FakeSession, incoming

ALICE, BOB = "@alice:example.org", "@bob:example.org"


def routing() -> Routing:
    trunk = TrunkSection(
        name="home", domain="pbx.example.org", username="ringback", password="secret"
    )
    house = LineSection(
        name="house", trunk="home", number="+493012345678", called=("+493012345678", "ringback"),
        region="DE", users=(ALICE,),
    )  # fmt: skip
    desk = LineSection(name="desk", trunk="home", called=("desk",), users=(ALICE, BOB))
    return Routing(lines=(house, desk), trunks={"home": trunk})


@pytest.mark.parametrize(
    ("target", "to", "line"),
    [
        ("+493012345678", "x", "house"),
        ("03012345678", "x", "house"),
        ("00493012345678", "x", "house"),
        ("+493012345678;phone-context=example.org", "x", "house"),
        ("desk", "x", "desk"),
        ("f3a9c0", "desk", "desk"),
        ("f3a9c0", "x", None),
        ("", "", None),
        ("+4930123456789", "x", None),
    ],
)
def test_the_called_address_names_the_line(target: str, to: str, line: str | None) -> None:
    found = routing().called_line(
        "home", Uri("sip", target, "192.0.2.1"), NameAddr(Uri("sip", to, "pbx.example.org"))
    )
    assert (found.name if found else None) == line


def test_a_line_is_not_found_on_another_trunk() -> None:
    to = NameAddr(Uri("sip", "desk", "pbx.example.org"))
    assert routing().called_line("other", Uri("sip", "desk", "192.0.2.1"), to) is None


def test_lines_of_a_user_keep_the_order_of_the_file() -> None:
    assert [line.name for line in routing().lines_of(ALICE)] == ["house", "desk"]
    assert [line.name for line in routing().lines_of(BOB)] == ["desk"]
    assert routing().lines_of("@carol:example.org") == []


@pytest.mark.parametrize(
    ("caller", "asserted", "number", "name"),
    [
        ('"Carol" <sip:03087654321@x>', None, "+493087654321", "Carol"),
        ('"Trunk" <sip:trunk@x>', '"Dora" <sip:+4930111222@x>', "+4930111222", "Dora"),
        ('"Dora" <sip:trunk@x>', "<sip:+4930111222@x>", "+4930111222", "Dora"),
        ("<sip:anonymous@anonymous.invalid>", "<sip:+4930111222@x>", "", ""),
        ("<sip:+4930111222@anonymous.invalid>", None, "", ""),
        ("<sip:alice@x>", "<sip:anonymous@x>", "alice", ""),
    ],
)
def test_who_calls(caller: str, asserted: str | None, number: str, name: str) -> None:
    rules = routing()
    remote = rules.remote(incoming(FakeSession(), caller=caller, asserted=asserted), rules.lines[0])
    assert (remote.number, remote.name) == (PhoneNumber(number), name)


@pytest.mark.parametrize(
    ("line", "number", "user", "reason"),
    [
        ("house", "+15551234567", ALICE, None),
        ("house", "+15551234567", BOB, EndReason.NOT_ALLOWED),
        ("house", "110", ALICE, EndReason.NOT_ALLOWED),
        ("desk", "112", BOB, EndReason.NOT_ALLOWED),
        ("desk", "110", BOB, None),
        ("house", "", ALICE, EndReason.UNKNOWN_NUMBER),
    ],
)
def test_what_may_not_leave(line: str, number: str, user: str, reason: EndReason | None) -> None:
    rules = routing()
    section = rules.line(line)
    assert section is not None
    refusal = rules.refusal(section, PhoneNumber(number), user)
    assert (refusal.reason if refusal else None) == reason


def test_targets_are_at_the_trunks_domain() -> None:
    rules = routing()
    line = rules.lines[0]
    assert str(rules.target(line, PhoneNumber("+15551234567"))) == (
        "sip:+15551234567@pbx.example.org"
    )
    assert str(rules.target(line, PhoneNumber("*43#"))) == "sip:*43%23@pbx.example.org"


def test_nothing_typed_is_no_number() -> None:
    rules = routing()
    with pytest.raises(NotANumber):
        rules.read(ANONYMOUS.text, rules.lines[0])
