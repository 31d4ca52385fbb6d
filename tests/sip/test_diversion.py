"""The way that a call came."""

import pytest

from sip.diversion import Diversion, last_diverter, read_diversions, read_history
from sip.events import Reason
from sip.headers import Headers
from tests.sip.effort import LIMIT, effort


def history(*values: str) -> Headers:
    return Headers([("History-Info", value) for value in values])


def test_forwardings_are_read_in_the_order_of_the_message() -> None:
    headers = Headers(
        [
            (
                "Diversion",
                '"Ann" <sip:+15550122@x>;reason="user-busy";counter=2, <tel:+1>;reason=Unknown',
            ),
            ("Diversion", "<sip:+15550133@x>;privacy=full;reason=no-answer"),
            ("Diversion", '"Bo" <sip:+15550144@x>;privacy=name;counter=x'),
            ("Diversion", "nonsense"),
        ]
    )
    first, second, third, fourth = read_diversions(headers)
    assert first.address is not None
    assert (first.address.uri.user, first.reason, first.counter) == ("+15550122", "user-busy", 2)
    assert (second.reason, second.counter) == ("unknown", 1)
    assert third == Diversion(None, "no-answer")
    assert fourth.address is not None
    assert (fourth.address.display_name, fourth.counter) == ("", 1)


def test_targets_are_read_in_the_order_of_their_indices() -> None:
    """The example of RFC 7044 §5.2 with a retargeting by 302, its fields turned round."""
    headers = history(
        "<sip:bob@192.0.2.7>;index=1.2.1;rc=1.2",
        "<sip:office@example.com;cause=480>;index=1.2;mp=1",
        "<sip:bob@example.com?Reason=SIP%3Bcause%3D302>;index=1",
        "<sip:bob@192.0.2.4?Reason=SIP%3Bcause%3D302%3Btext%3D%22Moved%22&Privacy=history>"
        ";index=1.1;rc=1",
    )
    entries = read_history(headers)
    assert [entry.index for entry in entries] == [(1,), (1, 1), (1, 2), (1, 2, 1)]
    assert entries[0].reason == Reason("SIP", 302)
    assert entries[0].address is not None
    assert str(entries[0].address.uri) == "sip:bob@example.com"
    assert (entries[1].address, entries[1].reason) == (None, Reason("SIP", 302, "Moved"))
    assert (entries[2].cause, entries[2].origin, entries[2].mapped) == (480, (1,), True)
    assert (entries[3].origin, entries[3].mapped) == ((1, 2), False)
    diverter = last_diverter(entries)
    assert diverter is not None
    assert diverter.uri.user == "bob"


@pytest.mark.parametrize(
    ("values", "user"),
    [
        (["<sip:a@x>;index=1, <sip:b@x>;index=1.1"], None),
        (["<sip:a@x>;index=1, <sip:b@x;cause=486>;index=1.1"], "a"),
        (["<sip:a@x?Reason=SIP%3Bcause%3D302>;index=1, <sip:b@x>;index=1.1"], "a"),
        (["<sip:a@x>;index=1, <sip:b@x;cause=302>;index=1.1;mp=1, <sip:c@x>;index=1.1.1;mp=1.1"],
         "b"),
        (["<sip:b@x>;index=1.1;mp=1"], None),
        (["<sip:a@x?Reason=SIP%3Bcause%3D302>;index=1"], None),
    ],
)  # fmt: skip
def test_who_forwarded_it_last(values: list[str], user: str | None) -> None:
    diverter = last_diverter(read_history(history(*values)))
    assert (None if diverter is None else diverter.uri.user) == user


@pytest.mark.parametrize(
    "value",
    ["", "x", "<sip:a@x>", "<sip:a@x>;index=", "<sip:a@x>;index=1..2", "<sip:a@x>;index=1.x",
     "<sip:a@x>;index=" + "1." * 30 + "1", "<sip:a@x>;index=" + "9" * 500, "<>;index=1"],
)  # fmt: skip
def test_what_cannot_be_read_is_left_out(value: str) -> None:
    assert read_history(history(value)) == ()


def test_a_long_way_is_cut_and_costs_nothing() -> None:
    value = ", ".join(f"<sip:a@x?Reason=SIP%3Bcause%3D302>;index=1.{i}" for i in range(1200))
    headers = history(value)
    assert effort(lambda: read_history(headers)) < LIMIT
    assert len(read_history(headers)) == 20
