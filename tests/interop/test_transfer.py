"""Transfers in all roles: three phones of ours through Kamailio and through Asterisk, and Asterisk
as the one who transfers.
"""

import pytest

from sip.events import (
    SessionAnswered,
    SessionConfirmed,
    SessionEnded,
    TransferEnded,
    TransferProgressed,
    TransferRequested,
)
from sip.session import Session
from tests.interop.conftest import Phones
from tests.interop.kamailio import Kamailio
from tests.interop.phone import Phone
from tests.lab.asterisk import Asterisk


async def connected(caller: Phone, callee: Phone) -> tuple[Session, Session]:
    """A call between two phones that are registered at the same server."""
    since = caller.mark, callee.mark
    session = caller.dial(callee.trunk.username)
    theirs = await callee.take(await callee.rung(since=since[1]))
    await caller.expect(SessionAnswered, since=since[0])
    return session, theirs


async def obeys(phone: Phone) -> Session:
    """Do what a REFER asks."""
    asked = await phone.expect(TransferRequested)
    phone.do(asked.session.transfers.accept)
    call = phone.client.agent.invite(
        asked.target,
        phone.rtp.description(),
        now=phone.now,
        replaces=asked.replaces,
        referred_by=asked.referred_by,
        transferor=asked.session,
    )
    phone.client.pump()
    return call


async def three(server: Asterisk | Kamailio, phones: Phones) -> list[Phone]:
    """Phones that take what offers come: a PBX tells by one who is at the other end now."""
    found = [await phones.standing(server, name) for name in ("first", "second", "third")]
    for phone in found:
        phone.agrees()
    return found


# --- between phones, end to end through a proxy


async def test_blind_through_the_proxy(proxy: Kamailio, phones: Phones) -> None:
    first, second, third = await three(proxy, phones)
    session, theirs = await connected(first, second)
    first.do(session.transfers.ask, third.uri("third"))
    call = await obeys(second)
    rung = await third.rung()
    assert rung.referred_by is not None
    assert rung.referred_by.uri.user == "first"
    third.do(rung.session.ring)
    assert (await first.expect(TransferProgressed, lambda e: e.status >= 180)).status == 180
    await third.take(rung)
    assert (await first.expect(TransferEnded)).succeeded
    assert (await first.ended(session)).status == 200
    await second.ended(theirs)
    await second.hang_up(call)
    await third.ended(rung.session)


async def test_blind_to_one_who_refuses(proxy: Kamailio, phones: Phones) -> None:
    first, second, third = await three(proxy, phones)
    session, theirs = await connected(first, second)
    first.do(session.transfers.ask, third.uri("third"))
    await obeys(second)
    third.do((await third.rung()).session.reject, 486)
    ended = await first.expect(TransferEnded)
    assert (ended.status, ended.succeeded) == (486, False)
    assert session.established
    await first.hang_up(session)
    await second.ended(theirs)


async def test_attended_through_the_proxy(proxy: Kamailio, phones: Phones) -> None:
    first, second, third = await three(proxy, phones)
    session, theirs = await connected(first, second)
    asked, answered = await connected(first, third)
    since = third.mark
    first.do(session.transfers.ask, replaces=asked)
    call = await obeys(second)
    rung = await third.rung(since=since)
    assert rung.replaces is answered
    await third.take(rung)
    assert (await first.expect(TransferEnded)).succeeded
    for phone, over in ((first, session), (first, asked), (second, theirs), (third, answered)):
        await phone.ended(over)
    await second.hang_up(call)
    await third.ended(rung.session)


# --- by way of a PBX, which does it itself


async def test_blind_by_the_pbx_for_us(pbx: Asterisk, phones: Phones) -> None:
    first, second, third = await three(pbx, phones)
    session, theirs = await connected(first, second)
    first.do(session.transfers.ask, first.uri("third"))
    rung = await third.rung()
    third.do(rung.session.ring)
    await third.take(rung)
    assert (await first.expect(TransferEnded)).succeeded
    assert (await first.ended(session)).status == 200
    assert theirs.established
    third.rtp.learn(rung.offer)
    second.rtp.say()
    await second.hang_up(theirs)
    await third.ended(rung.session)


async def test_blind_to_a_number_of_the_pbx(pbx: Asterisk, phones: Phones) -> None:
    first, second, _ = await three(pbx, phones)
    since = len(pbx.ami.events)
    session, theirs = await connected(first, second)
    # Only what is joined can be transferred.
    await pbx.ami.expect("BridgeEnter", lambda e: e["BridgeNumChannels"] == "2", since=since)
    first.do(session.transfers.ask, first.uri("1000"))
    await second.echoes()
    assert (await first.expect(TransferEnded)).succeeded
    await first.ended(session)
    await second.hang_up(theirs)


async def test_blind_to_a_number_that_is_none(pbx: Asterisk, phones: Phones) -> None:
    first, second, _ = await three(pbx, phones)
    session, theirs = await connected(first, second)
    first.do(session.transfers.ask, first.uri("9999"))
    ended = await first.expect(TransferEnded)
    assert (ended.status, ended.succeeded) == (404, False)
    assert session.established
    assert theirs.established
    await first.hang_up(session)
    await second.ended(theirs)


async def test_attended_by_the_pbx_for_us(pbx: Asterisk, phones: Phones) -> None:
    first, second, third = await three(pbx, phones)
    session, theirs = await connected(first, second)
    asked, answered = await connected(first, third)
    first.do(session.transfers.ask, replaces=asked)
    assert (await first.expect(TransferEnded)).succeeded
    for over in (session, asked):
        await first.ended(over)
    assert theirs.established
    assert answered.established
    await second.hang_up(theirs)
    await third.ended(answered)


async def test_the_pbx_cannot_transfer_what_is_not_bridged(pbx: Asterisk, phones: Phones) -> None:
    first = await phones.standing(pbx, "first")
    session = await first.call("1000")
    first.do(session.transfers.ask, first.uri("1005"))
    ended = await first.expect(TransferEnded)
    assert (ended.status, ended.succeeded) == (400, False)
    assert session.established
    await first.hang_up(session)


async def test_the_pbx_transfers_us(pbx: Asterisk, phones: Phones) -> None:
    first = await phones.standing(pbx, "first")
    since = len(pbx.ami.events)
    session = await first.call("6000")
    call = await obeys(first)
    await first.expect(SessionAnswered, lambda e: e.session is call)
    told = await pbx.ami.expect("Transferred", since=since)
    assert told["Status"] == "SUCCESS"
    await first.ended(session)
    await first.hang_up(call)


async def test_we_decline_to_be_transferred(pbx: Asterisk, phones: Phones) -> None:
    first = await phones.standing(pbx, "first")
    since = len(pbx.ami.events)
    session = await first.call("6000")
    asked = await first.expect(TransferRequested)
    first.do(asked.session.transfers.decline)
    told = await pbx.ami.expect("Transferred", since=since)
    assert told["Status"] == "FAILURE"
    await first.ended(session)


@pytest.mark.parametrize("follow", [False, True])
async def test_the_pbx_sends_us_elsewhere(pbx: Asterisk, phones: Phones, follow: bool) -> None:
    """302, followed only where the trunk's setting says so."""
    first = await phones.own(pbx, "alone", follow_redirects=follow)
    await first.registered()
    session = first.dial("6001")
    if follow:
        await first.expect(SessionAnswered, lambda e: e.session is session)
        await first.hang_up(session)
    else:
        ended = await first.ended(session)
        assert ended.status == 302
        assert [contact.uri.user for contact in ended.contacts] == ["1005"]
    assert not first.all(SessionConfirmed)
    assert len(first.all(SessionEnded)) == 1
