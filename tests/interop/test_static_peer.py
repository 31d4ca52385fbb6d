"""Against Asterisk as a static peer: no registration, and it connects to a port of ours."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sip.digest import Account
from sip.events import IncomingSession
from sip.io.listener import Listener, ListenerSettings
from sip.trunk import Inbound
from tests.interop.phone import Phone, account
from tests.lab.asterisk import Asterisk
from tests.lab.certificate import Authority
from tests.lab.ports import HOST

BY_CERTIFICATE = Inbound(certificate="pbx.test")
BY_DIGEST = Inbound(digest=True)


@asynccontextmanager
async def static_peer(
    pbx: Asterisk, authority: Authority, inbound: Inbound, **settings: Any
) -> AsyncIterator[tuple[Phone, str]]:
    """A phone that does not register, and the channel by which the PBX calls it."""
    trunk = account(
        authority,
        "static",
        domain=pbx.domain,
        port=pbx.tls_port,
        password=pbx.password("static"),
        register=False,
        inbound=inbound,
        authenticate_peer=Account("static", pbx.password("static")),
        **settings,
    )
    ours = Phone(trunk)
    own = authority.issue("static", ("static.test", HOST))
    listener = Listener(
        ListenerSettings(HOST, 0, own.certificate, own.key, ca_file=authority.certificate),
        clients=[ours.client],
    )
    await listener.start()
    await ours.start()
    try:
        yield ours, f"static/sip:static@{HOST}:{listener.port};transport=tls"
    finally:
        await ours.stop()
        await listener.stop()


@pytest.mark.parametrize("inbound", [BY_CERTIFICATE, BY_DIGEST])
async def test_a_pbx_that_connects_proves_itself_and_calls(
    pbx: Asterisk, authority: Authority, inbound: Inbound
) -> None:
    async with static_peer(pbx, authority, inbound) as (ours, channel):
        await ours.says("connected")
        since = pbx.mark()
        await pbx.call(channel, exten="1000")
        call = await ours.rung()
        ours.do(call.session.ring)
        session = await ours.take(call)
        await ours.echoes()
        assert (await ours.hang_up(session)).status == 200
        assert (await pbx.seen("SIP/2.0 401", since=since, method="INVITE")).sent is False


async def test_our_call_goes_back_over_the_connection_that_the_pbx_made(
    pbx: Asterisk, authority: Authority
) -> None:
    async with static_peer(pbx, authority, BY_CERTIFICATE, connect=False) as (ours, channel):
        await pbx.call(channel, exten="1000")
        await ours.take(await ours.rung())
        session = await ours.call("1000")
        await ours.echoes()
        assert (await ours.hang_up(session)).status == 200


async def test_our_own_connection_carries_calls_out_and_names_the_listener(
    pbx: Asterisk, authority: Authority
) -> None:
    async with static_peer(pbx, authority, BY_CERTIFICATE) as (ours, channel):
        await ours.says("connected")
        since = pbx.mark()
        session = await ours.call("1000")
        invite = await pbx.seen("INVITE sip:1000", since=since)
        assert channel.partition("@")[2].partition(";")[0] in invite.header("Contact")
        await ours.hang_up(session)


async def test_a_pbx_that_shows_another_name_is_not_heard(
    pbx: Asterisk, authority: Authority
) -> None:
    other = Inbound(certificate="other.test")
    async with static_peer(pbx, authority, other) as (ours, channel):
        await ours.says("connected")
        placed = await pbx.call(channel, exten="1000")
        await placed.ended()
        assert not ours.all(IncomingSession)
