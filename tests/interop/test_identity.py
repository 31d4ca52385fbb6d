"""Who calls, as Asterisk hands it on from one phone of ours to the other; receipts through
Kamailio."""

import pytest

from sip.events import Body, IncomingSession, MessageNotified, MessageReceived, MessageSent
from sip.identity import Identity, Source
from sip.imdn import Status, Wish
from sip.presentation import Presentation
from sip.trunk import CallerId
from tests.interop.conftest import Phones
from tests.interop.kamailio import Kamailio
from tests.lab.asterisk import Asterisk

ANN = Presentation("+15550199", "Ann")


async def seen(pbx: Asterisk, phones: Phones, form: CallerId, who: Presentation) -> IncomingSession:
    """What the called phone is told of a call."""
    called = await phones.own(pbx, "called", trust_identity=True)
    caller = await phones.own(pbx, "caller", caller_id=form)
    await called.registered()
    await caller.registered()
    session = caller.dial("called", caller=who)
    call = await called.rung()
    await caller.hang_up(session)
    await called.over()
    return call


def shown(identity: Identity) -> tuple[str, str] | None:
    address = identity.address
    return None if address is None else (address.uri.user, address.display_name)


@pytest.mark.parametrize("form", [CallerId.ASSERTED, CallerId.REMOTE_PARTY])
async def test_a_pbx_that_trusts_us_hands_our_number_on(
    pbx: Asterisk, phones: Phones, form: CallerId
) -> None:
    call = await seen(pbx, phones, form, ANN)
    assert shown(call.identity) == ("+15550199", "Ann")
    assert call.identity.source is Source.ASSERTED
    assert call.caller.uri.user == "+15550199"


@pytest.mark.parametrize("form", [CallerId.ASSERTED, CallerId.REMOTE_PARTY])
async def test_a_pbx_that_trusts_us_withholds_our_number(
    pbx: Asterisk, phones: Phones, form: CallerId
) -> None:
    who = Presentation("+15550199", "Ann", withheld=True)
    call = await seen(pbx, phones, form, who)
    assert call.identity.withheld
    assert call.identity.address is None
    assert "15550199" not in str(call.caller)
    assert "caller@" not in str(call.caller)


async def test_a_field_that_the_pbx_does_not_know_does_no_harm(
    pbx: Asterisk, phones: Phones
) -> None:
    call = await seen(pbx, phones, CallerId.PREFERRED, ANN)
    assert call.identity.address is not None
    assert call.identity.address.uri.user == "caller"


async def test_an_anonymous_from_is_let_in_by_its_credentials(
    pbx: Asterisk, phones: Phones
) -> None:
    who = Presentation("+15550199", "Ann", withheld=True)
    call = await seen(pbx, phones, CallerId.PREFERRED, who)
    assert call.identity.address is None
    assert "caller@" not in str(call.caller)


async def test_our_number_in_from_is_let_in_by_its_credentials(
    pbx: Asterisk, phones: Phones
) -> None:
    call = await seen(pbx, phones, CallerId.FROM, ANN)
    assert shown(call.identity) == ("+15550199", "Ann")


async def test_receipts_through_the_proxy(proxy: Kamailio, phones: Phones) -> None:
    ours, other = await phones.standing(proxy, "first"), await phones.standing(proxy, "second")

    def store(event: object) -> None:
        if isinstance(event, MessageReceived):
            other.do(other.client.agent.answer_message, event.id, 200)

    other.react = store
    text = Body("text/plain;charset=UTF-8", "Grüße 👋".encode())
    id = ours.client.agent.send_message(
        ours.uri("second"),
        text,
        now=ours.now,
        wishes=frozenset({Wish.POSITIVE_DELIVERY, Wish.DISPLAY}),
        sent_at="2026-01-01T00:00:00Z",
    )
    ours.client.pump()
    assert (await ours.expect(MessageSent)).status == 200
    received = await other.expect(MessageReceived)
    assert received.body == text
    assert (await ours.expect(MessageNotified)).id == id
    assert received.wanted is not None
    other.do(other.client.agent.notify_displayed, received.wanted)
    shown = await ours.expect(MessageNotified, lambda e: e.status is Status.DISPLAYED)
    assert shown.id == id
