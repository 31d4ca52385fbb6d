import re
import unicodedata

import pytest

from bridge.call.events import EndReason
from bridge.config import LineSection, TrunkSection
from bridge.numbers import ANONYMOUS, NotANumber, PhoneNumber, clean_name
from bridge.routing import Remote, Routing
from sip.grammar import quote
from sip.identity import Verstat
from sip.presentation import Presentation
from tests.bridge.fakes import FakeSession, incoming
from tests.sip.forged import FROMS, NAMES, TRUE_NUMBER, VICTIM

HIDDEN = "[\u034f\u3164\ufe0f]"
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
        ("ringback", "desk", "desk"),
        ("ringback", "x", "house"),
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
    found = routing().called_line("home", incoming(FakeSession(), called=target, to=to))
    assert (found.name if found else None) == line


def test_a_call_for_nobody_says_in_the_log_what_was_called(
    caplog: pytest.LogCaptureFixture,
) -> None:
    routing().called_line("home", incoming(FakeSession(), called="s", to="+4930123456789"))
    assert "on trunk home no line is called s, …89: see `called`" in caplog.text


def test_the_called_party_names_the_line_where_the_request_uri_is_our_contact() -> None:
    event = incoming(FakeSession(), called="ringback", to="x", called_party="<sip:desk@pbx>")
    found = routing().called_line("home", event)
    assert found is not None
    assert found.name == "desk"
    event = incoming(FakeSession(), called="+493012345678", called_party="<sip:desk@pbx>")
    found = routing().called_line("home", event)
    assert found is not None
    assert found.name == "house"


def test_a_line_is_not_found_on_another_trunk() -> None:
    assert routing().called_line("other", incoming(FakeSession(), called="desk")) is None


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
        ('"Dora" <sip:trunk@x>', "<tel:+49-30-111222;verstat=x>", "+4930111222", "Dora"),
        ("<sip:unknown@unknown.invalid>", "<tel:+4930111222>", "+4930111222", ""),
        ('"+49 30 999999" <sip:+4930111222@x>', None, "+4930111222", ""),
        ('"030 / 111222" <sip:+4930111222@x>', None, "+4930111222", "030 / 111222"),
        ('"112" <sip:+4930111222@x>', None, "+4930111222", ""),
    ],
)
def test_who_calls(caller: str, asserted: str | None, number: str, name: str) -> None:
    rules = routing()
    remote = rules.remote(incoming(FakeSession(), caller=caller, asserted=asserted), rules.lines[0])
    assert (remote.number, remote.name) == (PhoneNumber(number), name)


def test_a_withheld_number_has_no_name_and_no_verification() -> None:
    rules = routing()
    event = incoming(
        FakeSession(),
        caller='"Dora" <sip:+4930111222;verstat=TN-Validation-Passed@x>',
        headers=[("Privacy", "id"), ("Diversion", "<sip:030999888@x>")],
    )
    remote = rules.remote(event, rules.lines[0])
    assert remote == Remote(ANONYMOUS, "", None, PhoneNumber("+4930999888"))


def test_who_forwarded_a_call_and_what_the_network_found() -> None:
    rules = routing()
    event = incoming(
        FakeSession(),
        asserted="<sip:+4930111222@x;user=phone;verstat=TN-Validation-Failed>",
        headers=[("Diversion", "<sip:anonymous@anonymous.invalid>;reason=no-answer")],
    )
    remote = rules.remote(event, rules.lines[0])
    assert remote == Remote(PhoneNumber("+4930111222"), "", Verstat.FAILED, ANONYMOUS)
    assert rules.remote(incoming(FakeSession()), rules.lines[0]).forwarded_by is None


@pytest.mark.parametrize("caller", [f"{quote(name)} <sip:{TRUE_NUMBER}@x>" for name in NAMES])
def test_a_forged_name_is_not_shown_as_it_came(caller: str) -> None:
    rules = routing()
    remote = rules.remote(incoming(FakeSession(), caller=caller), rules.lines[0])
    shown = clean_name(remote.name)
    assert remote.number == PhoneNumber(TRUE_NUMBER)
    assert len(shown) <= 64
    assert not re.search(HIDDEN, shown)
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Co", "Zl", "Zp") for c in shown)
    assert VICTIM[-4:] not in shown


@pytest.mark.parametrize("caller", FROMS)
def test_a_forged_address_shows_the_number_that_it_really_has(caller: str) -> None:
    rules = routing()
    remote = rules.remote(incoming(FakeSession(), caller=caller), rules.lines[0])
    assert remote.number == PhoneNumber(TRUE_NUMBER)


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


def test_a_line_shows_its_number_unless_it_is_to_show_something_else_or_nothing() -> None:
    rules = routing()
    house, desk = rules.lines
    assert rules.presentation(house) == Presentation("+493012345678")
    assert rules.presentation(desk) == Presentation()
    assert rules.presentation(desk, withheld=True) == Presentation(withheld=True)
    other = house.model_copy(
        update={"caller_id": "493012345679", "display_name": "Ann", "anonymous": True}
    )
    assert rules.presentation(other) == Presentation("493012345679", "Ann", True)


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
