import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.errors import LocalError, RemoteError
from sip.events import Reason
from sip.headers import CSeq, Headers, RAck, SessionExpires, Via, reason_value
from sip.uri import NameAddr, Parameters


@given(st.integers(0, 2**31 - 1), st.sampled_from(["INVITE", "MESSAGE", "x-y"]))
def test_cseq_reads_back(number: int, method: str) -> None:
    cseq = CSeq(number, method)
    assert CSeq.parse(str(cseq)) == cseq
    rack = RAck(number, cseq)
    assert RAck.parse(str(rack)) == rack


@given(
    st.sampled_from(["example.net", "192.0.2.1", "2001:db8::1"]),
    st.none() | st.integers(0, 65535),
    st.sampled_from(["", ";branch=z9hG4bK1", ";rport;branch=z9hG4bK1;alias", ";received=::1"]),
)
def test_via_reads_back(host: str, port: int | None, parameters: str) -> None:
    via = Via("TLS", host, port, Parameters.parse(parameters))
    assert Via.parse(str(via)) == via


def test_via_of_the_torture_tests_is_read() -> None:
    via = Via.parse("SIP  / 2.0 / udp   192.0.2.2 : 5060 ;branch=390skdjuw")
    assert (via.transport, via.host, via.port, via.branch) == (
        "UDP",
        "192.0.2.2",
        5060,
        "390skdjuw",
    )


@pytest.mark.parametrize(
    "text", ["", "SIP/2.0/TLS", "SIP/3.0/TLS a", "HTTP/2.0/TLS a", "SIP/2.0/TLS a:99999"]
)
def test_a_broken_via_is_refused(text: str) -> None:
    with pytest.raises(RemoteError):
        Via.parse(text)


@pytest.mark.parametrize("text", ["INVITE", "1", "-1 INVITE", "2147483648 INVITE", "1 IN VITE"])
def test_a_broken_cseq_is_refused(text: str) -> None:
    with pytest.raises(RemoteError):
        CSeq.parse(text)


def test_a_broken_rack_is_refused() -> None:
    with pytest.raises(RemoteError):
        RAck.parse("1 INVITE")


def test_session_expires_knows_its_refresher() -> None:
    assert SessionExpires.parse("90;refresher=UAC") == SessionExpires(90, "uac")
    assert SessionExpires.parse("90;refresher=nobody") == SessionExpires(90, None)
    assert str(SessionExpires(90, "uas")) == "90;refresher=uas"
    with pytest.raises(RemoteError):
        SessionExpires.parse("soon")


def test_names_compare_without_case_and_compact_names_are_expanded() -> None:
    headers = Headers([("f", "<sip:a@b>;tag=1"), ("VIA", "SIP/2.0/TLS x;branch=y")])
    assert headers.from_.tag == "1"
    assert headers.get("From") == headers.get("from")
    assert headers.via.branch == "y"
    assert "To" not in headers
    assert len(headers) == 2


@pytest.mark.parametrize("value", ["x\r\nEvil: yes", "x\ny", "x\ry"])
def test_a_value_cannot_begin_another_field(value: str) -> None:
    with pytest.raises(LocalError):
        Headers().add("Subject", value)
    with pytest.raises(LocalError):
        Headers([("Subject", "a")]).set("Subject", value)


def test_a_name_must_be_a_token() -> None:
    with pytest.raises(LocalError):
        Headers().add("Sub ject", "x")


def test_fields_are_replaced_removed_and_put_first() -> None:
    headers = Headers([("Ann", "1"), ("Ben", "2"), ("ann", "3")])
    headers.set("Ann", 4)
    headers.put_first("Cid", "5")
    assert list(headers) == [("Cid", "5"), ("Ben", "2"), ("Ann", "4")]
    other = headers.copy()
    other.remove("ben")
    assert "Ben" in headers
    assert headers != other
    assert "4" not in repr(headers)


def test_lists_are_cut_over_all_fields() -> None:
    headers = Headers([("Supported", "timer, 100REL"), ("Supported", "path")])
    assert headers.tokens("supported") == {"timer", "100rel", "path"}
    assert headers.integer("Expires") is None


def test_contacts_leave_out_the_star() -> None:
    assert Headers([("Contact", "*")]).contact is None
    headers = Headers([("m", "<sip:a@b>;expires=5, <sip:c@d>")])
    assert [contact.uri.user for contact in headers.contacts] == ["a", "c"]


def test_reason_prefers_q850_and_survives_nonsense() -> None:
    headers = Headers([("Reason", 'SIP;cause=200;text="x, y", nonsense, Q.850;cause=16')])
    assert headers.reason == Reason("Q.850", 16)
    assert Headers([("Reason", 'sip;cause=486;text="Busy"')]).reason == Reason("SIP", 486, "Busy")
    assert Headers([("Reason", "rubbish")]).reason is None
    assert Headers().reason is None


def test_reason_is_written_with_its_text_quoted() -> None:
    written = reason_value(Reason("Q.850", 17, 'a "b"'))
    assert written == 'Q.850;cause=17;text="a \\"b\\""'
    assert Headers([("Reason", written)]).reason == Reason("Q.850", 17, 'a "b"')


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5", 5), ("18000;duration=3600", 18000), ("120 (busy)", 120), ("x", None)],
)
def test_retry_after_is_read_without_its_comment(text: str, seconds: int | None) -> None:
    assert Headers([("Retry-After", text)]).retry_after == seconds


def test_the_called_party_is_read_or_left() -> None:
    headers = Headers([("P-Called-Party-ID", "<sip:+4930111222@example.net>")])
    assert headers.called_party == NameAddr.parse("<sip:+4930111222@example.net>")
    assert Headers([("P-Called-Party-ID", "<>")]).called_party is None
    assert Headers().called_party is None


def test_a_changed_field_is_read_anew() -> None:
    headers = Headers(
        [("Via", "SIP/2.0/TLS a;branch=1"), ("CSeq", "1 INVITE"), ("To", "<sip:a@b>")]
    )
    assert (headers.via.branch, headers.cseq.number, headers.to.tag) == ("1", 1, None)
    other = headers.copy()
    headers.put_first("Via", "SIP/2.0/TLS b;branch=2")
    headers.set("CSeq", "2 INVITE")
    headers.set("To", headers.to.with_tag("t"))
    assert (headers.via.branch, headers.cseq.number, headers.to.tag) == ("2", 2, "t")
    headers.remove("CSeq")
    with pytest.raises(RemoteError):
        _ = headers.cseq
    assert (other.via.branch, other.cseq.number, other.to.tag) == ("1", 1, None)


def test_a_value_and_its_text_mean_the_same() -> None:
    via = Via.parse("SIP/2.0/TLS 192.0.2.1:5061;rport;branch=z9hG4bK1")
    headers = Headers([("Via", "SIP/2.0/TLS a;branch=1")])
    headers.add("Via", via)  # below the first
    assert headers.via.branch == "1"
    headers.put_first("Via", via)
    assert headers.via == via == Headers([("Via", str(via))]).via


def test_fields_are_taken_from_another_message_as_they_stand() -> None:
    request = Headers.parse(["v:SIP/2.0/TLS a;branch=1", "V: SIP/2.0/TLS b", "To: <sip:a@b>"])
    answer = Headers([("To", "<sip:c@d>")])
    answer.take(request, "Via", "From", "To")
    assert list(answer) == [
        ("To", "<sip:c@d>"),
        ("Via", "SIP/2.0/TLS a;branch=1"),
        ("Via", "SIP/2.0/TLS b"),
        ("To", "<sip:a@b>"),
    ]
    assert (answer.via.branch, answer.to.uri.user) == ("1", "c")
    assert answer.repeated(["from", "to", "via"]) == "to"


def test_lines_are_read_as_fields_with_folded_ones_joined() -> None:
    headers = Headers.parse(["s: one", "\t two", " three", "X-Y :z", "L:5"])
    assert list(headers) == [("Subject", "one two three"), ("X-Y", "z"), ("Content-Length", "5")]


@pytest.mark.parametrize(
    "line", [" folded: before any field", "no colon", "Subject", "a b: c", ":"]
)
def test_a_line_that_is_no_field_is_refused(line: str) -> None:
    with pytest.raises(RemoteError):
        Headers.parse([line])
