"""What a phone system does to a call that is up, through a whole media plane: another one at the
far end, hold and resume, a transfer. What the browser hears is right before and after, no sound is
said to be lost that nobody sends, and nothing passes in the clear.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from media.local import LocalPlane
from media.plane import AudioLost, Failed, Refused, Unencrypted
from sip.events import SessionReanswered
from tests.interop.conftest import Phones
from tests.interop.kamailio import Kamailio
from tests.interop.media_call import VOICE, Call
from tests.interop.phone import Phone
from tests.interop.rtp import Rtp
from tests.lab import asterisk, baresip
from tests.lab.asterisk import Asterisk
from tests.lab.baresip import Baresip
from tests.lab.ports import HOST, Ports
from tests.lab.process import eventually

A_WHILE = 8.0  # seconds: longer than any silence that would be told


@pytest_asyncio.fixture(loop_scope="session")
async def plane(ports: Ports) -> AsyncIterator[LocalPlane]:
    given = ports.pick_range(20)
    plane = LocalPlane(listen=(HOST,), ports=(given[0], given[-1]), workers=1)
    await plane.start()
    yield plane
    await plane.stop()


def nothing_went_wrong(call: Call) -> None:
    wrong = AudioLost | Failed | Refused | Unencrypted
    assert not [event for event in call.media if isinstance(event, wrong)]


async def channel(pbx: Asterisk, account: str) -> str:
    """The PBX's name for the call of this account."""
    lines = (await pbx.command("core show channels concise")).splitlines()
    (name,) = (line.partition("!")[0] for line in lines if line.startswith(f"PJSIP/{account}-"))
    return name


async def talk(call: Call, other: Phone) -> None:
    """Both speak, until each has heard half a second of it."""
    call.ear.packets.clear()
    before = other.rtp.heard

    def both_hear() -> bool:
        other.rtp.say()
        return len(call.ear.packets) >= 25 and other.rtp.heard >= before + 25

    await eventually(both_hear, within=5, every=0.02, what="sound both ways")


async def test_a_call_that_the_pbx_sends_elsewhere_and_back(
    pbx: Asterisk, phones: Phones, plane: LocalPlane
) -> None:
    call = Call(plane, await phones.standing(pbx, "first"))
    await call.dial("1000")
    await call.hears(VOICE)
    for exten, tone in (("1001", asterisk.TONE), ("1000", VOICE)):
        name = await channel(pbx, "first")
        await pbx.ami.act("Redirect", Channel=name, Context="lab", Exten=exten, Priority=1)
        await call.hears(tone)
    nothing_went_wrong(call)
    await call.hang_up()


async def test_an_attendant_that_says_nothing_is_no_alarm(
    pbx: Asterisk, phones: Phones, plane: LocalPlane
) -> None:
    """The PBX waits, and sends reports at most."""
    call = Call(plane, await phones.standing(pbx, "first"))
    await call.dial("1000")
    await call.hears(VOICE)
    name = await channel(pbx, "first")
    await pbx.ami.act("Redirect", Channel=name, Context="lab", Exten="1005", Priority=1)
    await asyncio.sleep(A_WHILE)
    nothing_went_wrong(call)
    name = await channel(pbx, "first")
    await pbx.ami.act("Redirect", Channel=name, Context="lab", Exten="1000", Priority=1)
    await call.hears(VOICE)
    await call.hang_up()


@pytest.mark.parametrize("account", ["first", "held"])
async def test_held_by_the_phone_behind_the_pbx(
    pbx: Asterisk, phones: Phones, plane: LocalPlane, account: str
) -> None:
    """The PBX hands the hold on, or answers it itself and is silent."""
    other = await phones.standing(pbx, "second")
    call = Call(plane, await phones.standing(pbx, account))
    dialling = asyncio.create_task(call.dial("second"))
    session = await other.take(await other.rung())
    await dialling
    await talk(call, other)
    for wanted in ("sendonly", "sendrecv"):
        since = other.mark
        other.do(session.reoffer, other.rtp.description(wanted))
        answered = await other.expect(SessionReanswered, since=since)
        assert answered.status == 200
        other.rtp.learn(answered.answer)
        if wanted == "sendonly":
            await asyncio.sleep(A_WHILE)
    await talk(call, other)
    nothing_went_wrong(call)
    await call.hang_up()
    await other.ended(session)


async def test_held_and_resumed_by_baresip(
    proxy: Kamailio, phones: Phones, plane: LocalPlane, telephone: Baresip
) -> None:
    call = Call(plane, await phones.standing(proxy, "first"))
    seen = len(telephone.events)
    dialling = asyncio.create_task(call.dial("telephone"))
    await telephone.expect("CALL_INCOMING", since=seen)
    await telephone.accept()
    await dialling
    await call.hears(baresip.TONE)
    await telephone.command("hold")
    await eventually(lambda: call.offers, within=5, what="the offer to hold")
    await asyncio.sleep(A_WHILE)
    await telephone.command("resume")
    await eventually(lambda: len(call.offers) == 2, within=5, what="the offer to resume")
    await call.hears(baresip.TONE)
    nothing_went_wrong(call)
    await call.hang_up()
    await telephone.expect("CALL_CLOSED", since=seen)
    heard = telephone.heard()
    assert abs(heard.part(-1.0).frequency - VOICE) < 5


async def test_our_own_address_changes_in_the_call(
    pbx: Asterisk, phones: Phones, ports: Ports
) -> None:
    given = ports.pick_range(20)
    plane = LocalPlane(listen=("0.0.0.0",), ports=(given[0], given[-1]), workers=1)
    await plane.start()
    phone = await phones.standing(pbx, "first")
    call = Call(plane, phone)
    await call.dial("1000")
    await call.hears(VOICE)
    since = phone.mark
    call.move("127.0.0.2")
    answered = await phone.expect(SessionReanswered, since=since)
    assert answered.status == 200
    await call.hears(VOICE)
    nothing_went_wrong(call)
    await call.hang_up()
    await plane.stop()


async def test_a_peer_that_goes_on_from_another_port_with_another_key(
    proxy: Kamailio, phones: Phones, plane: LocalPlane
) -> None:
    """Its re-INVITE says so. Afterwards nothing goes to the old port, or opens with the old key."""
    other = await phones.standing(proxy, "second")
    call = Call(plane, await phones.standing(proxy, "first"))
    dialling = asyncio.create_task(call.dial("second"))
    session = await other.take(await other.rung())
    await dialling
    await talk(call, other)
    before, other.rtp = other.rtp, Rtp()
    await other.rtp.start()
    since = other.mark
    other.do(session.reoffer, other.rtp.description())
    answered = await other.expect(SessionReanswered, since=since)
    assert answered.status == 200
    other.rtp.learn(answered.answer)
    await talk(call, other)
    heard = before.heard
    await talk(call, other)
    assert before.heard == heard
    await asyncio.sleep(2)  # a pause is filled for a second
    call.ear.packets.clear()
    for _ in range(10):
        before.say()
        await asyncio.sleep(0.02)
    assert not call.ear.packets
    nothing_went_wrong(call)
    before.stop()
    await call.hang_up()
    await other.ended(session)
