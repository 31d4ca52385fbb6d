"""Event and Subscription-State as values."""

import pytest

from sip.errors import RemoteError
from sip.headers import Headers
from sip.subscription import EventName, SubscriptionState


def test_an_event_is_its_package_and_an_id() -> None:
    assert EventName.of(Headers([("o", "Refer;id=93809824")])) == EventName("refer", "93809824")
    assert EventName.of(Headers([("Event", " message-summary ")])) == EventName("message-summary")
    assert EventName.of(Headers()) == EventName("")
    assert str(EventName("refer", "7")) == "refer;id=7"
    assert str(EventName("refer")) == "refer"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("active;expires=599", SubscriptionState("active", 599)),
        ("Terminated;reason=NoResource", SubscriptionState("terminated", reason="noresource")),
        (
            "terminated;reason=probation;retry-after=10",
            SubscriptionState("terminated", reason="probation", retry_after=10),
        ),
        ("active;expires=soon", SubscriptionState("active")),
        ("pending", SubscriptionState("pending")),
    ],
)
def test_a_state_is_read(text: str, expected: SubscriptionState) -> None:
    state = SubscriptionState.of(Headers([("Subscription-State", text)]))
    assert state == expected
    assert SubscriptionState.of(Headers([("Subscription-State", str(state))])) == expected


def test_a_state_that_is_left_out_is_active() -> None:
    assert SubscriptionState.of(Headers()) == SubscriptionState("active")


def test_a_state_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(RemoteError):
        SubscriptionState.of(Headers([("Subscription-State", 'active;"')]))
