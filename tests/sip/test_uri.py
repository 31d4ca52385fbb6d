"""Addresses: what is read is what was meant, and what is written reads the same."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sip import grammar
from sip.errors import LocalError, RemoteError
from sip.headers import Headers
from sip.uri import MAX_PARAMETERS, NameAddr, Parameters, Uri

# Text that UTF-8 can carry.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
names = st.text("abcXYZ019-.", min_size=1, max_size=6)
hosts = st.sampled_from(["example.net", "192.0.2.1", "2001:db8::1", "a_b.local", "x"])
parameters = st.lists(
    st.tuples(names, st.none() | st.text("abcXYZ019-.+*_", min_size=1, max_size=6)),
    max_size=3,
).map(lambda pairs: Parameters(tuple(pairs)))
uris = st.builds(
    Uri,
    st.sampled_from(["sip", "sips"]),
    texts,
    hosts,
    st.none() | st.integers(1, 65535),
    parameters,
)


@given(uris)
def test_uri_reads_back_what_it_writes(uri: Uri) -> None:
    assert Uri.parse(str(uri)) == uri


@given(st.builds(NameAddr, uris, texts, parameters))
def test_name_addr_reads_back_what_it_writes(address: NameAddr) -> None:
    assert NameAddr.parse(str(address)) == address


@settings(max_examples=40)
@given(st.lists(st.builds(NameAddr, uris, texts, parameters), max_size=3))
def test_a_list_of_addresses_reads_back(addresses: list[NameAddr]) -> None:
    pieces = grammar.split(", ".join(map(str, addresses)), ",")
    assert [NameAddr.parse(piece) for piece in pieces] == addresses


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_the_peers_fault(text: str) -> None:
    for parse in (Uri.parse, NameAddr.parse, Parameters.parse):
        with suppress(RemoteError):
            parse(text)


def test_parts_of_a_sip_uri() -> None:
    uri = Uri.parse(
        "sips:+1555%2a;phone-context=x:pw@[2001:db8::9]:5061;transport=TLS;lr?Subject=hi"
    )
    assert (uri.scheme, uri.user, uri.password) == ("sips", "+1555*;phone-context=x", "pw")
    assert (uri.host, uri.port) == ("2001:db8::9", 5061)
    assert uri.parameters.get("Transport") == "TLS"
    assert uri.parameters.get("lr") == ""
    assert uri.parameters.get("maddr") is None
    assert uri.headers == "Subject=hi"


def test_a_tel_uri_has_its_number_as_user() -> None:
    uri = Uri.parse("tel:+1-555-0100;phone-context=example.net")
    assert (uri.scheme, uri.user, uri.host) == ("tel", "+1-555-0100", "")
    assert str(uri) == "tel:+1-555-0100;phone-context=example.net"


def test_an_unknown_scheme_is_kept_whole() -> None:
    uri = Uri.parse("urn:service:sos")
    assert (uri.scheme, uri.user) == ("urn", "service:sos")
    assert str(uri) == "urn:service:sos"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "alice",
        "sip:",
        "sip:alice@",
        "sip:alice@example.net:99999",
        "sip:alice@example.net:",
        "sip:alice@exa mple.net",
        "sip:alice@example.net;x y",
        "sip:a%ff@example.net",
        "sip:[::1",
        "tel:",
        "tel:+1@example.net",
        "urn:with space",
    ],
)
def test_a_broken_uri_is_refused(text: str) -> None:
    with pytest.raises(RemoteError):
        Uri.parse(text)


def test_two_quoted_names_with_commas_and_quotes_are_two_addresses() -> None:
    text = r'"Alice \"A\", B" <sip:a@b.example>;tag=1, "Bob" <sip:c@d.example>, <sip:e@f.example>'
    addresses = Headers([("Contact", text)]).contacts
    assert [a.display_name for a in addresses] == ['Alice "A", B', "Bob", ""]
    assert addresses[0].tag == "1"


def test_parameters_without_brackets_belong_to_the_header() -> None:
    address = NameAddr.parse("sip:alice@example.net;tag=x")
    assert address.tag == "x"
    assert len(address.uri.parameters) == 0


def test_an_unquoted_display_name_is_taken() -> None:
    assert NameAddr.parse("Alice of Wonderland <sip:a@b>").display_name == "Alice of Wonderland"


@pytest.mark.parametrize("text", ['"Alice <sip:a@b>', "<sip:a@b", "<sip:a@b> x", 'a"b"c <sip:a@b>'])
def test_a_broken_address_is_refused(text: str) -> None:
    with pytest.raises(RemoteError):
        NameAddr.parse(text)


def test_uris_are_equivalent_without_regard_to_case_and_order() -> None:
    one = Uri.parse("sip:alice@Example.net:5061;transport=TLS;x=1")
    assert one.equivalent(Uri.parse("sip:alice@example.NET:5061;y=2;transport=tls"))
    assert not one.equivalent(Uri.parse("sip:Alice@example.net:5061;transport=tls"))
    assert not one.equivalent(Uri.parse("sip:alice@example.net:5061"))
    assert not one.equivalent(Uri.parse("sips:alice@example.net:5061;transport=tls"))


def test_parameters_are_replaced_in_place_and_removed() -> None:
    parameters = Parameters.parse(";a=1;b;c=3")
    assert str(parameters.with_("B", "2")) == ";a=1;b=2;c=3"
    assert str(parameters.with_("d")) == ";a=1;b;c=3;d"
    assert str(parameters.without("A")) == ";b;c=3"
    assert list(parameters) == ["a", "b", "c"]
    assert Parameters.parse('x="a;b\\"c"').get("x") == 'a;b"c'


@pytest.mark.parametrize(
    ("name", "value"), [("a b", "1"), ("a", "1;b"), ("a", "x\r\ny"), ("a", "<")]
)
def test_a_parameter_that_says_more_than_it_should_is_refused(name: str, value: str) -> None:
    with pytest.raises(LocalError):
        Parameters().with_(name, value)


def test_the_password_stays_out_of_the_representation() -> None:
    assert "hunter2" not in repr(Uri.parse("sip:alice:hunter2@example.net"))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "lr", "x-y"]), st.none() | st.sampled_from(["", "1", "[::1]"])
        )
    )
)
def test_plain_parameters_mean_what_spaced_ones_do(pairs: list[tuple[str, str | None]]) -> None:
    plain = "".join(f";{name}" if value is None else f";{name}={value}" for name, value in pairs)
    spaced = plain.replace(";", " ; ").replace("=", " = ")
    assert Parameters.parse(plain) == Parameters.parse(spaced) == Parameters(tuple(pairs))


def test_more_parameters_than_any_field_has_are_refused() -> None:
    assert len(Parameters.parse(";a" * MAX_PARAMETERS)) == MAX_PARAMETERS
    for text in (";a" * (MAX_PARAMETERS + 1), "; a" * (MAX_PARAMETERS + 1)):
        with pytest.raises(RemoteError):
            Parameters.parse(text)


def test_escapes_that_are_none_are_kept() -> None:
    assert Uri.parse("sip:%zz%4%41%c3%A4%@b").user == "%zz%4Aä%"
