"""Against baresip 1.0 (Debian 12), each registered at the proxy: what passes is end to end."""

import pytest

from sip.events import (
    SessionAnswered,
    SessionOffered,
    SessionProgressed,
    SessionReanswered,
    TransferEnded,
)
from sip.uri import Uri
from tests.interop.conftest import Phones
from tests.interop.kamailio import Kamailio
from tests.interop.rtp import direction
from tests.interop.test_transfer import obeys
from tests.lab.baresip import Baresip
from tests.lab.ports import HOST


async def test_we_call_it(proxy: Kamailio, phones: Phones, telephone: Baresip) -> None:
    ours = await phones.standing(proxy, "first")
    seen = len(telephone.events)
    session = ours.dial("telephone")
    await ours.expect(SessionProgressed, lambda e: e.status == 180)
    await telephone.expect("CALL_INCOMING", since=seen)
    await telephone.accept()
    answered = await ours.expect(SessionAnswered)
    ours.rtp.learn(answered.answer)
    await ours.hears()
    await ours.hang_up(session)
    await telephone.expect("CALL_CLOSED", since=seen)


async def test_it_calls_us(proxy: Kamailio, phones: Phones, telephone: Baresip) -> None:
    ours = await phones.standing(proxy, "first")
    seen = len(telephone.events)
    await telephone.dial("first")
    call = await ours.rung()
    ours.do(call.session.ring)
    await telephone.expect("CALL_RINGING", since=seen)
    session = await ours.take(call)
    await telephone.expect("CALL_ESTABLISHED", since=seen)
    await ours.hears()
    await telephone.hang_up()
    assert (await ours.ended(session)).by_peer


async def test_it_declines(proxy: Kamailio, phones: Phones, telephone: Baresip) -> None:
    ours = await phones.standing(proxy, "first")
    seen = len(telephone.events)
    session = ours.dial("telephone")
    await telephone.expect("CALL_INCOMING", since=seen)
    await telephone.hang_up()
    assert (await ours.ended(session)).status == 486


@pytest.mark.parametrize("status", [486, 603])
async def test_we_decline(proxy: Kamailio, phones: Phones, telephone: Baresip, status: int) -> None:
    ours = await phones.standing(proxy, "first")
    seen = len(telephone.events)
    await telephone.dial("first")
    ours.do((await ours.rung()).session.reject, status)
    closed = await telephone.expect("CALL_CLOSED", since=seen)
    assert str(status) in str(closed["param"])


async def test_we_give_up(proxy: Kamailio, phones: Phones, telephone: Baresip) -> None:
    ours = await phones.standing(proxy, "first")
    seen = len(telephone.events)
    session = ours.dial("telephone")
    await telephone.expect("CALL_INCOMING", since=seen)
    await ours.expect(SessionProgressed, lambda e: e.status == 180)
    assert (await ours.hang_up(session)).status == 487
    await telephone.expect("CALL_CLOSED", since=seen)


async def test_both_hold(proxy: Kamailio, phones: Phones, telephone: Baresip) -> None:
    ours = await phones.standing(proxy, "first")
    seen = len(telephone.events)
    await telephone.dial("first")
    session = await ours.take(await ours.rung())
    await telephone.expect("CALL_ESTABLISHED", since=seen)
    # It holds us.
    for command, wanted, answer in (("hold", "sendonly", "recvonly"), ("resume", "sendrecv", "")):
        since = ours.mark
        await telephone.command(command)
        offered = await ours.expect(SessionOffered, since=since)
        assert direction(offered.offer) == wanted
        ours.do(session.accept_offer, ours.rtp.answer(offered.offer, answer or "sendrecv"))
    # We hold it.
    for wanted in ("sendonly", "sendrecv"):
        since = ours.mark
        ours.do(session.reoffer, ours.rtp.description(wanted))
        held = await ours.expect(SessionReanswered, since=since)
        assert held.status == 200
    await ours.hang_up(session)


async def test_it_transfers_us(proxy: Kamailio, phones: Phones, telephone: Baresip) -> None:
    ours, other = await phones.standing(proxy, "first"), await phones.standing(proxy, "second")
    seen = len(telephone.events)
    await telephone.dial("first")
    session = await ours.take(await ours.rung())
    await telephone.expect("CALL_ESTABLISHED", since=seen)
    await telephone.transfer("second")
    call = await obeys(ours)
    theirs = await other.take(await other.rung())
    await ours.ended(session)
    await ours.hang_up(call)
    await other.ended(theirs)


async def test_we_transfer_it(proxy: Kamailio, phones: Phones, telephone: Baresip) -> None:
    ours, other = await phones.standing(proxy, "first"), await phones.standing(proxy, "second")
    seen = len(telephone.events)
    await telephone.dial("first")
    session = await ours.take(await ours.rung())
    await telephone.expect("CALL_ESTABLISHED", since=seen)
    # It asks DNS for the target's domain: an address is what it can reach here.
    where = f"sip:second@{HOST}:{proxy.tls_port};transport=tls"
    ours.do(session.transfers.ask, Uri.parse(where))
    theirs = await other.take(await other.rung())
    assert (await ours.expect(TransferEnded)).succeeded
    await ours.ended(session)
    await other.hang_up(theirs)
