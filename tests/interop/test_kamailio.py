"""Against Kamailio 5.6 (Debian 12) as registrar, and as a proxy that stays in the path."""

import pytest

from sip.events import (
    MessageReceived,
    RegistrationFailed,
    SessionAnswered,
    SessionConfirmed,
    SessionEnded,
    SessionOffered,
    SessionProgressed,
    SessionReanswered,
)
from tests.interop.conftest import Phones
from tests.interop.kamailio import Kamailio
from tests.interop.phone import Phone
from tests.interop.relay import Relay
from tests.interop.rtp import direction
from tests.lab.process import eventually

# --- registration


@pytest.mark.parametrize("digest", ["MD5", "SHA-256"])
async def test_registers_with_the_digest_that_is_asked_for(
    proxies: dict[str, Kamailio], phones: Phones, digest: str
) -> None:
    proxy = proxies[digest]
    since = proxy.mark()
    ours = await phones.own(proxy, "alone")
    assert (await ours.registered()).expires > 250
    proof = await proxy.seen("REGISTER", "Authorization: Digest", since=since)
    assert f"algorithm={digest}" in proof
    await ours.stop()
    await proxy.seen("REGISTER", "Expires: 0", since=since)


async def test_a_wrong_password_is_told(proxy: Kamailio, phones: Phones) -> None:
    ours = await phones.own(proxy, "alone", password="guess")
    assert (await ours.expect(RegistrationFailed)).status == 401
    assert "password" in ours.client.status.text


async def test_a_lost_connection_is_registered_anew_at_once(
    proxy: Kamailio, phones: Phones
) -> None:
    async with Relay(proxy.tls_port) as relay:
        ours = await phones.own(proxy, "alone", port=relay.port)
        await ours.registered()
        other = await phones.standing(proxy, "second")
        since = ours.mark
        relay.cut()
        await ours.registered(since=since, within=5)
        # Called through the new connection.
        other.dial("alone")
        await ours.rung()
        await ours.stop()


async def test_too_short_a_registration_is_asked_for_again(proxy: Kamailio, phones: Phones) -> None:
    """423 with Min-Expires, where the registrar sends it: Kamailio raises the time instead."""
    ours = await phones.own(proxy, "alone", expires=20)
    assert (await ours.registered()).expires >= 58


# --- calls through the proxy


async def test_a_call_through_the_proxy(proxy: Kamailio, phones: Phones) -> None:
    """407 is answered, and every request of the dialog goes along the recorded route."""
    ours, other = await phones.standing(proxy, "first"), await phones.standing(proxy, "second")
    since = proxy.mark()
    session = ours.dial("second")
    call = await other.rung()
    assert call.caller.uri.user == "first"
    other.do(call.session.ring)
    await ours.expect(SessionProgressed, lambda e: e.status == 180)
    theirs = await other.take(call)
    ours.rtp.learn((await ours.expect(SessionAnswered)).answer)
    for _ in range(10):
        ours.rtp.say()
        other.rtp.say()
    await ours.hears(10)
    await ours.hang_up(session)
    assert (await other.ended(theirs)).by_peer
    assert await proxy.seen("INVITE", "Proxy-Authorization: Digest", since=since)
    for method in ("ACK", "BYE"):
        request = await proxy.seen(f"{method} sip:second@127.0.0.1", since=since)
        assert f"Route: <sip:127.0.0.1:{proxy.tls_port};transport=tls;lr=on" in request


async def test_the_callee_hangs_up_through_the_proxy(proxy: Kamailio, phones: Phones) -> None:
    ours, other = await phones.standing(proxy, "first"), await phones.standing(proxy, "second")
    since = proxy.mark()
    session = ours.dial("second")
    theirs = await other.take(await other.rung())
    await ours.expect(SessionAnswered)
    await other.hang_up(theirs)
    assert (await ours.ended(session)).by_peer
    bye = await proxy.seen("BYE sip:first@127.0.0.1", since=since)
    assert f"Route: <sip:127.0.0.1:{proxy.tls_port};transport=tls;lr=on" in bye


async def test_one_of_two_phones_answers(proxy: Kamailio, phones: Phones) -> None:
    """Two early dialogs; the phone that lost the race is cancelled."""
    ours = await phones.standing(proxy, "first")
    left, right = await phones.own(proxy, "twice"), await phones.own(proxy, "twice")
    await left.registered()
    await right.registered()
    session = ours.dial("twice")
    calls = [await phone.rung() for phone in (left, right)]
    for phone, call in zip((left, right), calls, strict=True):
        phone.do(call.session.ring)
    await eventually(lambda: len(ours.all(SessionProgressed, lambda e: e.status == 180)) == 2)
    await left.take(calls[0])
    await ours.expect(SessionAnswered)
    lost = await right.ended(calls[1].session)
    assert (lost.status, lost.by_peer) == (487, True)
    await ours.hang_up(session)
    assert (await left.ended(calls[0].session)).by_peer


async def test_both_phones_answer_at_once(proxy: Kamailio, phones: Phones) -> None:
    """A fork with two 2xx: the first is the call, the late one is acknowledged and ended."""
    ours = await phones.standing(proxy, "first")
    left, right = await phones.own(proxy, "twice"), await phones.own(proxy, "twice")
    await left.registered()
    await right.registered()
    session = ours.dial("twice")
    calls = [await phone.rung() for phone in (left, right)]
    for phone, call in zip((left, right), calls, strict=True):
        phone.do(call.session.answer, phone.rtp.answer(call.offer))
    for phone in (left, right):
        await phone.expect(SessionConfirmed)
    ended = await eventually(lambda: [*left.all(SessionEnded), *right.all(SessionEnded)])
    assert [(e.status, e.by_peer) for e in ended] == [(200, True)]
    assert len(ours.all(SessionAnswered)) == 1
    assert session.established
    await ours.hang_up(session)
    for phone in (left, right):
        assert (await phone.expect(SessionEnded)).by_peer


async def test_a_forked_call_is_given_up(proxy: Kamailio, phones: Phones) -> None:
    ours = await phones.standing(proxy, "first")
    left, right = await phones.own(proxy, "twice"), await phones.own(proxy, "twice")
    await left.registered()
    await right.registered()
    session = ours.dial("twice")
    calls = [await phone.rung() for phone in (left, right)]
    assert (await ours.hang_up(session)).status == 487
    for phone, call in zip((left, right), calls, strict=True):
        assert (await phone.ended(call.session)).status == 487


async def test_refusals_of_two_phones_become_one(proxy: Kamailio, phones: Phones) -> None:
    ours = await phones.standing(proxy, "first")
    left, right = await phones.own(proxy, "twice"), await phones.own(proxy, "twice")
    await left.registered()
    await right.registered()
    session = ours.dial("twice")
    for phone, status in ((left, 486), (right, 603)):
        call = await phone.rung()
        phone.do(call.session.reject, status)
    ended = await ours.ended(session)
    assert (ended.status, ended.by_peer) == (603, True)


async def test_nobody_is_there(proxy: Kamailio, phones: Phones) -> None:
    ours = await phones.standing(proxy, "first")
    assert (await ours.ended(ours.dial("nobody"))).status == 404
    assert (await ours.text("nobody", "hello")).status == 480


# --- changes of a session through the proxy


@pytest.mark.parametrize("side", ["caller", "callee"])
async def test_hold_and_resume_through_the_proxy(
    proxy: Kamailio, phones: Phones, side: str
) -> None:
    ours, other = await phones.standing(proxy, "first"), await phones.standing(proxy, "second")
    session = ours.dial("second")
    theirs = await other.take(await other.rung())
    await ours.expect(SessionAnswered)
    holder, holding = (ours, session) if side == "caller" else (other, theirs)
    held, being_held = (other, theirs) if side == "caller" else (ours, session)
    for wanted, answered in (("sendonly", "recvonly"), ("sendrecv", "sendrecv")):
        marks = holder.mark, held.mark
        holder.do(holding.reoffer, holder.rtp.description(wanted))
        offered = await held.expect(SessionOffered, since=marks[1])
        assert direction(offered.offer) == wanted
        held.do(being_held.accept_offer, held.rtp.answer(offered.offer, answered))
        reanswered = await holder.expect(SessionReanswered, since=marks[0])
        assert (reanswered.status, direction(reanswered.answer)) == (200, answered)
        await held.expect(SessionConfirmed, since=marks[1])
    await ours.hang_up(session)


async def test_both_sides_hold_at_once(proxy: Kamailio, phones: Phones) -> None:
    """Glare: both are refused with 491 and offer again, one after the other (RFC 3261 §14.1)."""
    ours, other = await phones.standing(proxy, "first"), await phones.standing(proxy, "second")
    session = ours.dial("second")
    theirs = await other.take(await other.rung())
    await ours.expect(SessionAnswered)
    pairs = ((ours, session), (other, theirs))
    for phone, own in pairs:

        def accept(event: object, phone: Phone = phone, own: object = own) -> None:
            if isinstance(event, SessionOffered):
                phone.do(event.session.accept_offer, phone.rtp.answer(event.offer, "recvonly"))

        phone.react = accept
    since = proxy.mark()
    for phone, own in pairs:
        phone.do(own.reoffer, phone.rtp.description("sendonly"))
    for phone, _ in pairs:
        assert (await phone.expect(SessionReanswered)).status == 200
    assert await proxy.seen("SIP/2.0 491", since=since)
    await ours.hang_up(session)


# --- the rest


async def test_texts_through_the_proxy(proxy: Kamailio, phones: Phones) -> None:
    ours, other = await phones.standing(proxy, "first"), await phones.standing(proxy, "second")

    def store(event: object) -> None:
        if isinstance(event, MessageReceived):
            other.do(other.client.agent.answer_message, event.id, 200)

    other.react = store
    assert (await ours.text("second", "Grüße 👋")).status == 200
    assert other.all(MessageReceived)[0].body.data.decode() == "Grüße 👋"


async def test_options_are_answered(proxy: Kamailio, phones: Phones) -> None:
    ours = await phones.standing(proxy, "first")
    since = proxy.mark()
    ours.do(ours.client.agent.ping)
    await proxy.seen("OPTIONS sip:proxy.test", since=since)
    await ours.over()
