"""Who calls: what counts, from whom, and what must never be believed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.headers import Headers
from sip.identity import (
    Identity,
    Source,
    Verstat,
    read_identity,
    read_privacy,
    read_remote_party,
)
from sip.uri import NameAddr
from tests.sip.effort import LIMIT, effort
from tests.sip.forged import CLAIMS, FROMS, HONEST, NAMES, TRUE_NUMBER

CAROL = '"Carol" <sip:+15550100@example.net>;tag=1'
ASSERTED = "P-Asserted-Identity"


def read(caller: str, *headers: tuple[str, str], trusted: bool = True) -> Identity:
    return read_identity(Headers([("From", caller), *headers]), trusted=trusted)


def shown(identity: Identity) -> tuple[str, str] | None:
    address = identity.address
    return None if address is None else (address.uri.user, address.display_name)


# --- forged


@pytest.mark.parametrize("claims", CLAIMS)
def test_on_a_trunk_that_is_not_trusted_only_from_counts(claims: list[tuple[str, str]]) -> None:
    identity = read(HONEST, *claims, trusted=False)
    assert shown(identity) == (TRUE_NUMBER, "Mallory")
    assert identity.source is Source.FROM
    assert identity.verstat is None
    assert not identity.diverted
    assert identity.diverter is None
    assert identity.history == ()


@pytest.mark.parametrize("caller", FROMS)
def test_from_never_says_that_it_was_verified(caller: str) -> None:
    assert read(caller, trusted=False).verstat is None


@pytest.mark.parametrize("trusted", [True, False])
def test_an_identity_header_verifies_nothing(trusted: bool) -> None:
    (claims,) = [claims for claims in CLAIMS if claims[0][0] == "Identity"]
    identity = read(HONEST, *claims, trusted=trusted)
    assert identity.verstat is None
    assert [passport.attestation for passport in identity.passports] == ["A"]


def test_a_verification_is_only_of_the_number_that_it_stands_beside() -> None:
    caller = "<sip:+15550100;verstat=TN-Validation-Passed@x>"
    assert read(caller, (ASSERTED, "<tel:+15550911>")).verstat is None
    two = f"<sip:+15550911@x>, <tel:{TRUE_NUMBER};verstat=TN-Validation-Passed>"
    assert shown(read(caller, (ASSERTED, two))) == (TRUE_NUMBER, "")
    other = "<sip:+15550911;verstat=TN-Validation-Passed@x>, <tel:+15550100>"
    assert read(caller, (ASSERTED, other)).verstat is None


def test_contradicting_verifications_are_a_failed_one() -> None:
    both = (
        "<sip:+15550911;verstat=TN-Validation-Passed@x>,"
        " <tel:+15550911;verstat=TN-Validation-Failed>"
    )
    assert read(CAROL, (ASSERTED, both)).verstat is Verstat.FAILED


def test_there_are_forty_of_them() -> None:
    assert len(NAMES) + len(CLAIMS) + len(FROMS) >= 40


# --- P-Asserted-Identity and Remote-Party-ID


@pytest.mark.parametrize(
    ("headers", "number", "name", "source"),
    [
        ([(ASSERTED, '"Dora" <sip:+15550111@x>')], "+15550111", "Dora", Source.ASSERTED),
        ([(ASSERTED, "<sip:+15550111@x>")], "+15550111", "Carol", Source.ASSERTED),
        ([(ASSERTED, '"Dora" <sip:dora@x>, <tel:+1-555-0111>')], "+1-555-0111", "Dora",
         Source.ASSERTED),
        ([(ASSERTED, "<sip:dora@x>"), (ASSERTED, "tel:+15550111")], "+15550111", "Carol",
         Source.ASSERTED),
        ([(ASSERTED, "<>"), (ASSERTED, "<sip:dora@x>")], "dora", "Carol", Source.ASSERTED),
        ([(ASSERTED, "<sip:anonymous@anonymous.invalid>")], "+15550100", "Carol", Source.FROM),
        ([(ASSERTED, "<mailto:dora@x>")], "+15550100", "Carol", Source.FROM),
        ([("Remote-Party-ID", '"Dora" <sip:+15550111@x>;screen=no')], "+15550111", "Dora",
         Source.REMOTE_PARTY),
        ([("Remote-Party-ID", '"Dora" <sip:+15550111@x>;privacy=name')], "+15550111", "",
         Source.REMOTE_PARTY),
        ([("Remote-Party-ID", "<sip:+15550111@x>;party=called")], "+15550100", "Carol",
         Source.FROM),
        ([("Remote-Party-ID", "<sip:a@x>;party=called, <sip:b@x>;party=calling")], "b", "",
         Source.REMOTE_PARTY),
        ([("Remote-Party-ID", "<sip:unknown@x>")], "+15550100", "Carol", Source.FROM),
        ([("Remote-Party-ID", "<>")], "+15550100", "Carol", Source.FROM),
        ([("Remote-Party-ID", "<sip:b@x>"), (ASSERTED, "<sip:a@x>")], "a", "Carol",
         Source.ASSERTED),
    ],
)  # fmt: skip
def test_a_trusted_trunk_says_who_calls(
    headers: list[tuple[str, str]], number: str, name: str, source: Source
) -> None:
    identity = read(CAROL, *headers)
    assert shown(identity) == (number, name)
    assert identity.source is source


def test_what_a_remote_party_id_says_of_itself() -> None:
    value = '"Dora" <sip:+15550111@x>;party=calling;screen=yes;privacy="full-network"'
    party = read_remote_party(Headers([("Remote-Party-ID", value)]))
    assert party is not None
    assert (party.party, party.screen, party.privacy) == ("calling", True, "full")
    assert read_remote_party(Headers()) is None


# --- withheld


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize(
    ("caller", "headers"),
    [
        ('"Anonymous" <sip:anonymous@anonymous.invalid>;tag=1', []),
        ("sip:anonymous@anonymous.invalid", []),
        ("<sip:Anonymous@provider.example>", []),
        ("<sip:anonymous@192.0.2.1:5060;user=phone>", []),
        ('"Restricted" <sip:restricted@gw.example>', []),
        ("<sip:Restricted@gw.example>", []),
        ("<sip:private@gw.example>", []),
        ("<tel:anonymous>", []),
        ("<sip:+15550100@anonymous.invalid>", []),
        ("<sip:+15550100@ANONYMOUS.INVALID.>", []),
        ('"Anonymous" <sip:c8oqz84zk7z@privacy.example>', []),
        ('"ANONYMOUS" <sip:+15550100@provider.example>', []),
        (CAROL, [("Privacy", "id")]),
        (CAROL, [("Privacy", "ID;critical")]),
        (CAROL, [("Privacy", "header;session;user;id")]),
        (CAROL, [("Privacy", "user")]),
        (CAROL, [("Privacy", "none"), ("Privacy", "id")]),
        (CAROL, [("Remote-Party-ID", "<sip:+15550100@x>;privacy=full")]),
        (CAROL, [("Remote-Party-ID", "<sip:+15550100@x>;party=calling;privacy=uri")]),
    ],
)
def test_whoever_does_not_want_to_be_shown_is_not(
    caller: str, headers: list[tuple[str, str]], trusted: bool
) -> None:
    network = (ASSERTED, "<tel:+15550111;verstat=TN-Validation-Passed>")
    identity = read(caller, network, *headers, trusted=trusted)
    assert identity.address is None
    assert identity.withheld
    assert identity.verstat is None


@pytest.mark.parametrize(
    "caller",
    ["<sip:unknown@unknown.invalid>", "<sip:Unavailable@x>", "<sip:192.0.2.1>"],
)
def test_a_number_that_nobody_knows_is_not_withheld_and_may_be_asserted(caller: str) -> None:
    identity = read(caller)
    assert identity.address is None
    assert not identity.withheld
    assert shown(read(caller, (ASSERTED, "<tel:+15550111>"))) == ("+15550111", "")


@pytest.mark.parametrize("privacy", ["none", "header", "session", "critical", "", "header;session"])
def test_other_wishes_for_privacy_do_not_hide_the_caller(privacy: str) -> None:
    assert shown(read(CAROL, ("Privacy", privacy))) == ("+15550100", "Carol")


def test_privacy_is_a_set_of_tokens() -> None:
    headers = Headers([("Privacy", "id; Critical"), ("privacy", "history")])
    assert read_privacy(headers) == {"id", "critical", "history"}
    assert read_privacy(Headers()) == frozenset()


# --- verstat


@pytest.mark.parametrize(
    ("text", "verstat"),
    [
        ("TN-Validation-Passed", Verstat.PASSED),
        ("tn-validation-passed-a", Verstat.PASSED_A),
        ("TN-Validation-Passed-B", Verstat.PASSED_B),
        ("TN-Validation-Passed-C", Verstat.PASSED_C),
        ("TN-Validation-Failed", Verstat.FAILED),
        ("TN-Validation-Failed-B", Verstat.FAILED),
        ("No-TN-Validation", Verstat.NONE),
        ("TN-Validation-Passed-D", None),
        ("", None),
    ],
)
@pytest.mark.parametrize(
    "form",
    ["<tel:+15550111;verstat={}>", "<sip:+15550111;verstat={}@x;user=phone>",
     "<sip:+15550111@x;user=phone;verstat={}>", "<tel:+15550111;npdi;VerStat={}>"],
)  # fmt: skip
def test_what_the_network_found(text: str, verstat: Verstat | None, form: str) -> None:
    assert read(CAROL, (ASSERTED, form.format(text))).verstat is verstat
    assert read(form.format(text)).verstat is verstat


def test_only_an_attested_number_is_vouched_for() -> None:
    assert {value for value in Verstat if value.vouches_for_number} == {
        Verstat.PASSED,
        Verstat.PASSED_A,
    }


# --- diversion


def test_who_forwarded_the_call_is_the_latest_diversion() -> None:
    headers = [
        ("Diversion", '"Ann" <sip:+15550122@x>;reason=no-answer'),
        ("Diversion", "<sip:+15550133@x>;reason=unconditional"),
        ("History-Info", "<sip:z@x>;index=1, <sip:me@x;cause=302>;index=1.1;mp=1"),
    ]
    diverter = read(CAROL, *headers).diverter
    assert diverter is not None
    assert diverter.uri.user == "+15550122"
    diverter = read(CAROL, headers[2]).diverter
    assert diverter is not None
    assert diverter.uri.user == "z"
    hidden = read(CAROL, ("Diversion", "<sip:+15550122@x>;privacy=full"), headers[1])
    assert hidden.diverted
    assert hidden.diverter is None
    assert not read(CAROL, ("Privacy", "history"), headers[2]).diverted


# --- the wire


def test_real_calls_of_a_pbx_that_is_ours() -> None:
    """From traces of Asterisk 22 with `send_pai=yes`, one of them over a trunk with `from_user`."""
    named = '"Carol" <sip:+15550100@127.0.0.1>'
    assert shown(read(f"{named};tag=f4b6", (ASSERTED, named))) == ("+15550100", "Carol")
    trunk = "<sip:pbx@127.0.0.1>;tag=f89c35a2-9800-4beb-80ef-2d281016d52f"
    assert shown(read(trunk, (ASSERTED, named))) == ("+15550100", "Carol")
    assert shown(read(trunk, (ASSERTED, named), trusted=False)) == ("pbx", "")
    withheld = '"Anonymous" <sip:anonymous@anonymous.invalid>;tag=1'
    assert read(withheld, (ASSERTED, named), ("Privacy", "id")).address is None


IDENTITY_FIELDS = (
    ASSERTED, "Privacy", "Remote-Party-ID", "Diversion", "History-Info", "Identity",
)  # fmt: skip
_FIELDS = st.sampled_from(IDENTITY_FIELDS)
_PIECES = st.sampled_from(
    ["<sip:", "<tel:", "+15550100", "anonymous", "@x", ">", ";", ",", '"', "\\", "=", "verstat",
     "TN-Validation-Passed", "privacy", "full", "index=", "1.1", "?Reason=", "%", "a.b.c", "{["]
)  # fmt: skip
_VALUES = st.lists(_PIECES, max_size=12).map("".join) | st.text(max_size=30)


@given(fields=st.lists(st.tuples(_FIELDS, _VALUES), max_size=6), trusted=st.booleans())
def test_nothing_in_these_fields_can_spoil_a_call(
    fields: list[tuple[str, str]], trusted: bool
) -> None:
    clean = [
        (name, "".join(c for c in value if c.isprintable() or c == " ")) for name, value in fields
    ]
    identity = read(CAROL, *clean, trusted=trusted)
    if not trusted:
        assert identity.address in (None, NameAddr.parse(CAROL))
        assert identity.verstat is None


@pytest.mark.parametrize("name", IDENTITY_FIELDS)
@pytest.mark.parametrize(
    "value", ["<", '"', '"\\', ",", ";", "<a:b>,", "a;", "id;", "%", "(", "<sip:a@x>;a=1,"]
)
def test_no_field_takes_long(name: str, value: str) -> None:
    headers = Headers([("From", CAROL), (name, value * (65000 // len(value)))])
    assert effort(lambda: read_identity(headers, trusted=True)) < LIMIT
