"""The line stays up: registered, refreshed, noticed when it is lost, registered again, and put down
properly.

On a bridge and a PBX of their own, which are started here, stopped, broken and started again.
"""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest_asyncio

from tests.lab.conftest import PhoneOf, User
from tests.lab.lab import Lab, number
from tests.lab.matrix import Event, MatrixUser
from tests.lab.peer import Peer
from tests.lab.process import PATIENCE, children, eventually, port_open


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def own(lab: Lab) -> AsyncIterator[Lab]:
    """The lab with its second bridge, PBX and peer up and registered."""
    await lab.up(lab.postgres)
    await lab.up(lab.other_pbx)
    await lab.up(lab.other_peer)
    await lab.up(lab.other)
    await lab.other_pbx.registered("ringback")
    await lab.other_peer.registered()
    yield lab


async def test_every_trunk_of_the_main_bridge_is_registered(lab: Lab) -> None:
    for account in ("ringback", "office", "late", "short", "tag32", "sha256", "opus"):
        assert await lab.pbx.contact(account), f"{account} is not registered"


async def test_the_better_digest_is_taken(lab: Lab, peer: Peer) -> None:
    """The peer challenges with SHA-256 and with MD5 (RFC 8760 §2.4)."""
    register = await peer.registered()
    assert "algorithm=SHA-256" in register["Authorization"].replace('"', "")
    assert lab


async def test_md5_is_answered_when_there_is_nothing_better(own: Lab) -> None:
    """By a bridge that has not seen better of this trunk: what once asked for more is not believed
    with less.
    """
    peer = own.other_peer
    peer.algorithms = ("MD5",)
    await own.other.stop()
    since = peer.mark
    await own.other.start()
    try:
        register = await peer.registered(since=since)
    finally:
        peer.algorithms = ("SHA-256", "MD5")
    assert "SHA-256" not in register["Authorization"]
    await own.other_pbx.registered("ringback")


async def test_the_pbx_sees_us_alive(lab: Lab) -> None:
    """Its OPTIONS are answered."""
    shown = await lab.pbx.command("pjsip show contacts")
    row = next(line for line in shown.splitlines() if "ringback/" in line)
    assert "Avail" in row


async def test_a_registration_is_refreshed_in_time(own: Lab) -> None:
    peer = own.other_peer
    peer.expires = 6
    since = peer.mark
    peer.disconnect()
    try:
        first = await peer.registered(since=since)
        second = await peer.registered(since=peer.received.index(first) + 1)
        third = await peer.registered(since=peer.received.index(second) + 1)
    finally:
        peer.expires = 300
    assert second.at - first.at < 6
    assert third.at - second.at < 6
    assert third.connection == first.connection


async def test_a_cut_connection_is_registered_again(own: Lab) -> None:
    peer = own.other_peer
    since = peer.mark
    cut = time.monotonic()
    peer.disconnect()
    again = await peer.registered(since=since)
    assert again.at - cut < 10


async def test_the_delay_between_attempts_grows(own: Lab) -> None:
    """While the registrar refuses, the attempts come at growing distances. As these are drawn by
    lot, only every other one is surely the longer.
    """
    peer = own.other_peer
    peer.refuses_with = "503 Service Unavailable"
    since = peer.mark

    def attempts() -> list[float]:
        return [m.at for m in peer.received[since:] if m.method == "REGISTER"]

    peer.disconnect()
    try:
        await eventually(lambda: len(attempts()) >= 4, within=120, what="four attempts")
    finally:
        peer.refuses_with = None
    gaps = [after - before for before, after in pairwise(attempts())]
    assert gaps[0] < gaps[2], f"the attempts came at {gaps} s"
    await peer.registered(since=since, within=120)


async def test_a_restarted_pbx_is_found_again_and_the_user_is_told(own: Lab, user: User) -> None:
    frank, pbx = await user("frank"), own.other_pbx
    seen = frank.mark
    await pbx.stop()
    try:
        down = await told(frank, "down", since=seen)
    finally:
        await pbx.resume()
    await pbx.registered("ringback", within=120)
    back = await told(frank, "back", since=seen)
    assert back.room == down.room


async def test_a_pbx_that_falls_silent_is_noticed(own: Lab, user: User) -> None:
    """Its connection stays open and nothing answers on it any more."""
    frank, pbx = await user("frank"), own.other_pbx
    seen = frank.mark
    pbx.process.send_signal(signal.SIGSTOP)
    try:
        await told(frank, "down", since=seen, within=100)
    finally:
        pbx.process.send_signal(signal.SIGCONT)
    await told(frank, "back", since=seen, within=120)


async def test_a_refused_password_is_told_and_a_restart_tries_it_at_once(
    own: Lab, user: User
) -> None:
    """By itself the bridge tries a refused password rarely, lest the PBX lock the account."""
    frank, pbx = await user("frank"), own.other_pbx
    seen = frank.mark
    await pbx.set_password("ringback", "something else")
    await own.other.stop()
    await own.other.start()
    try:
        down = await told(frank, "down", since=seen)
    finally:
        await pbx.set_password("ringback")
    assert "password" in down.body
    await own.other.stop()
    await own.other.start()
    await pbx.registered("ringback")


async def test_sigterm_ends_calls_and_unregisters(own: Lab, user: User, phone_of: PhoneOf) -> None:
    """A call is up and another rings; both ends of both are ended, then the line is given back."""
    frank, phone = await user("frank"), await phone_of("frank")
    pbx, bridge = own.other_pbx, own.other
    before, seen = pbx.mark(), frank.mark
    placed = await phone.place(await phone.direct(bridge.ghost(number("1001"))))
    await placed.state("connected")
    ringing = await pbx.call("ringback", caller='"Dora" <+15550122>')
    rung = await frank.rung(since=seen)
    status = await bridge.stop()
    assert status == 0, bridge.process.tail()
    try:
        bye = await pbx.seen("BYE", since=before)
        assert not bye.sent
        await placed.state("ended")
        await rung.expect("m.call.hangup")
        assert (await ringing.result())["Response"] == "Failure"
        assert not await pbx.contact("ringback")
        await pbx.quiet()
        assert not await port_open("127.0.0.1", bridge.port)
    finally:
        await bridge.start()
        await pbx.registered("ringback")


async def test_texts_from_before_the_start_are_sent_after_it(own: Lab, user: User) -> None:
    """Said while the bridge was down, and sent once when it is up again."""
    frank, pbx, bridge = await user("frank"), own.other_pbx, own.other
    room = await frank.direct(bridge.ghost(number("1005")))
    await bridge.stop()
    before = pbx.mark()
    try:
        await frank.say(room, "said while nobody listened")
    finally:
        await bridge.start()
    message = await pbx.seen("MESSAGE", since=before)
    assert message.body.strip() == "said while nobody listened"
    await asyncio.sleep(1)
    sent = {m.header("Call-ID") for m in pbx.sip(before) if m.first.startswith("MESSAGE")}
    assert len(sent) == 1


async def test_a_killed_bridge_leaves_nobody_behind_and_comes_back(own: Lab) -> None:
    """No word to anybody: its workers end by themselves, and the line is back at the next start."""
    bridge, pbx = own.other, own.other_pbx
    workers = children(bridge.process.pid)
    assert workers
    await bridge.process.stop(signal.SIGKILL)
    await eventually(
        lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers),
        what="the workers' end",
    )
    before = pbx.mark()
    await bridge.start()
    await pbx.seen("SIP/2.0 200", since=before, method="REGISTER")


async def told(user: MatrixUser, what: str, *, since: int, within: float = PATIENCE) -> Event:
    """The bot's line about the trunk being `down` or `back`."""
    return await user.wait(
        "m.room.message",
        lambda e: f"” is {what}" in e.body and e.sender != user.id,
        since=since,
        within=within,
    )
