"""What is said is heard: tones found by measurement at the other end, digits found as digits.

The browser says 880 Hz, the PBX 440 Hz, the telephone and the scripted peer 1000 Hz, the first two
at −15.05 dBFS; what arrives must be within 1 Hz and 3 dB of that.
"""

import asyncio
import itertools
import re
import signal

import pytest

from tests.bench.strangers import RATE, in_use, shoot
from tests.lab import audio, baresip, browser, speaker
from tests.lab.asterisk import TONE, Asterisk
from tests.lab.audio import Sound
from tests.lab.baresip import Baresip
from tests.lab.browser import BrowserCall, Phone
from tests.lab.conftest import PhoneOf, User
from tests.lab.lab import CODECS, Lab, number
from tests.lab.peer import SDP_TYPE, Peer
from tests.lab.process import children
from tests.lab.ringback import Ringback
from tests.lab.speaker import Speaker
from tests.lab.wire import Datagram, Wire, besiege
from tests.media.forged import forgeries

LEVEL = -15.05
NAMES = {"opus": "opus/48000/2", "g722": "G722/8000", "pcma": "PCMA/8000", "pcmu": "PCMU/8000"}


def assert_tone(sound: Sound, frequency: float, level: float | None = LEVEL) -> None:
    steady = sound.steady()
    assert steady.seconds >= 1.9, f"only {steady.seconds:.1f} s were heard"
    assert steady.frequency == pytest.approx(frequency, abs=1.0)
    if level is not None:
        assert steady.level == pytest.approx(level, abs=3.0)


async def dial(bridge: Ringback, phone: Phone, extension: str) -> BrowserCall:
    """Call a number from the browser until it is answered."""
    room = await phone.direct(bridge.ghost(number(extension)))
    call = await phone.place(room)
    await call.state("connected")
    return call


async def end(call: BrowserCall, pbx: Asterisk) -> None:
    await call.hang_up()
    await pbx.quiet()


@pytest.mark.parametrize("codec", CODECS)
async def test_a_tone_is_heard_both_ways_with_each_codec(
    codec: str, bridge: Ringback, pbx: Asterisk, phone_of: PhoneOf
) -> None:
    before = pbx.mark()
    phone = await phone_of(codec)
    call = await dial(bridge, phone, "1001")
    await asyncio.sleep(3)
    heard, stats = await call.heard(), await call.stats()
    await end(call, pbx)
    assert_tone(heard, TONE)
    assert_tone(pbx.recording(codec), browser.TONE)
    assert stats["packetsLost"] == 0
    answer = await pbx.seen("SIP/2.0 200", since=before, method="INVITE")
    assert "RTP/SAVP" in answer.body
    assert re.search(r"a=crypto:\d+ AES_CM_128_HMAC_SHA1_80 ", answer.body)
    first = answer.body.split("RTP/SAVP ")[1].split()[0]
    assert f"a=rtpmap:{first} {NAMES[codec]}" in answer.body


async def test_a_call_from_the_pbx_is_heard_both_ways(pbx: Asterisk, phone_of: PhoneOf) -> None:
    phone = await phone_of("alice")
    seen = await phone.mark()
    placed = await pbx.call("ringback", exten="1001", record_as="in")
    call = await phone.rung(seen)
    await call.answer()
    await call.state("connected")
    await asyncio.sleep(3)
    heard = await call.heard()
    await placed.hang_up()
    await call.state("ended")
    assert_tone(heard, TONE)
    assert_tone(pbx.recording("in"), browser.TONE)


async def test_the_short_authentication_tag_is_spoken_too(pbx: Asterisk, phone_of: PhoneOf) -> None:
    """The PBX offers AES_CM_128_HMAC_SHA1_32 and nothing else."""
    before = pbx.mark()
    phone = await phone_of("tag32")
    seen = await phone.mark()
    placed = await pbx.call("tag32", exten="1001", record_as="tag32")
    call = await phone.rung(seen)
    await call.answer()
    await call.state("connected")
    await asyncio.sleep(3)
    heard = await call.heard()
    await call.hang_up()
    await placed.ended()
    assert_tone(heard, TONE)
    assert_tone(pbx.recording("tag32"), browser.TONE)
    answer = await pbx.seen("SIP/2.0 200", since=before, method="INVITE")
    assert "AES_CM_128_HMAC_SHA1_32" in answer.body


async def test_strangers_keep_no_browser_from_connecting(
    bridge: Ringback, pbx: Asterisk, phone_of: PhoneOf
) -> None:
    """ClientHellos, alerts and garbage at every port in use, before the handshake and after it."""
    phone = await phone_of("pcmu")
    siege = asyncio.create_task(shoot(bridge.media_ports, RATE))
    call = await dial(bridge, phone, "1001")
    await asyncio.sleep(3)
    heard, stats = await call.heard(), await call.stats()
    siege.cancel()
    assert await siege > 1000
    await end(call, pbx)
    assert_tone(heard, TONE)
    assert_tone(pbx.recording("pcmu"), browser.TONE)
    assert stats["packetsLost"] == 0


async def test_forged_handshake_records_keep_no_browser_from_connecting(
    bridge: Ringback, pbx: Asterisk, phone_of: PhoneOf
) -> None:
    """Under the browser's own address, with its first check and after each one that follows."""
    forged = itertools.cycle(forgeries(3))
    shots = 0

    def shoot_on(wire: Wire, one: Datagram) -> None:
        nonlocal shots
        if one.is_check and one.destination in bridge.media_ports and wire.is_open:
            for _ in range(20):
                wire.shoot(next(forged), one.destination, one.source)
                shots += 1

    phone = await phone_of("pcmu")
    async with Wire(bridge.media_ports, shoot_on) as wire:
        call = await dial(bridge, phone, "1001")
        await asyncio.sleep(3)
        heard = await call.heard()
        await end(call, pbx)
    assert shots > 100 or not wire.is_open
    assert_tone(heard, TONE)
    assert_tone(pbx.recording("pcmu"), browser.TONE)


async def test_forged_replayed_and_broken_packets_change_nothing_of_a_call(
    bridge: Ringback, pbx: Asterisk, phone_of: PhoneOf
) -> None:
    """Each comes from elsewhere, and under the address of who sent the packet that it was made of,
    to both ends of the bridge: none is passed on, none moves the sound elsewhere, none is heard."""
    logged = bridge.mark
    call = await dial(bridge, await phone_of("pcmu"), "1001")
    async with Wire(bridge.media_ports) as wire:
        await asyncio.sleep(1.5)
        before = [each for each in wire.passed if each.destination in bridge.media_ports]
        places = {each.destination for each in wire.passed if each.source in bridge.media_ports}
        wire.passed.clear()
        await call.forget()
        ports = in_use(bridge.media_ports)
        siege = asyncio.create_task(besiege(wire, before, ports, 1000))
        await asyncio.sleep(3)
        siege.cancel()
        shots = await siege
        ours = [each for each in wire.passed if each.source in bridge.media_ports]
    heard, stats = await call.heard(), await call.stats()
    await end(call, pbx)
    assert shots > 500
    assert wire.is_open == bool(before), "the wire was not heard"
    # Checks go to whom a check of the browser was replayed from; they are answered by nobody.
    places |= {place + 1 for place in places}  # the PBX hears RTCP there, every few seconds
    assert {each.destination for each in ours if each.is_media} <= places
    assert len([each for each in ours if each.is_media]) < 2 * 50 * 4.5
    assert_tone(heard, TONE)
    assert_tone(pbx.recording("pcmu"), browser.TONE)
    assert stats["packetsLost"] == 0
    record = await bridge.logged("bridge.call.record", '"strays":', since=logged)
    assert '"failure"' not in record


@pytest.mark.parametrize("direction", ["out", "in"])
async def test_a_call_without_encryption_is_heard_and_told_where_it_is_allowed(
    direction: str, bridge: Ringback, pbx: Asterisk, phone_of: PhoneOf, user: User
) -> None:
    """The PBX knows no SRTP for this account, and its trunk has `insecure_rtp: fallback`."""
    before, logged = pbx.mark(), bridge.mark
    phone, watched = await phone_of("clear"), await user("clear")
    told = watched.mark
    if direction == "out":
        call = await dial(bridge, phone, "1001")
    else:
        seen = await phone.mark()
        await pbx.call("clear", exten="1001", record_as="clear")
        call = await phone.rung(seen)
        await call.answer()
        await call.state("connected")
    await watched.notice(None, "not encrypted", since=told)
    await asyncio.sleep(3)
    heard = await call.heard()
    await end(call, pbx)
    assert_tone(heard, TONE)
    assert_tone(pbx.recording("clear"), browser.TONE)
    answer = await pbx.seen("SIP/2.0 200", since=before, method="INVITE")
    assert "RTP/AVP" in answer.body
    assert "a=crypto" not in answer.body
    await bridge.logged('"in_clear":true', since=logged)
    await bridge.logged("phone PCMU/8000 unencrypted", since=logged)


async def test_a_telephone_and_the_browser_hear_each_other(
    bridge: Ringback, pbx: Asterisk, phone_of: PhoneOf, telephone: Baresip
) -> None:
    seen = len(telephone.events)
    phone = await phone_of("alice")
    call = await phone.place(await phone.direct(bridge.ghost(number("5000"))))
    await telephone.expect("CALL_INCOMING", since=seen)
    await telephone.accept()
    await call.state("connected")
    await asyncio.sleep(3)
    heard = await call.heard()
    await telephone.hang_up()
    await call.state("ended")
    await pbx.quiet()
    assert_tone(heard, baresip.TONE, None)
    assert_tone(telephone.heard(), browser.TONE)


async def test_a_phone_system_that_leaves_the_offer_to_us_is_heard_and_hears(
    peer: Peer, phone_of: PhoneOf
) -> None:
    """It calls so (third-party call control), and refreshes the call so."""
    phone = await phone_of("peer")
    since = await phone.mark()
    async with Speaker() as far:
        sent = peer.request("INVITE")
        call = await phone.rung(since)
        assert (await sent.response(at_least=180)).status == 180
        await call.answer()
        for turn in range(2):
            accepted = await sent.response()
            assert accepted.status == 200
            answer = far.answer(accepted.body)
            sent.follow("ACK", accepted, SDP_TYPE, branch=f"z9hG4bKack{turn}", body=answer)
            await call.state("connected")
            await asyncio.sleep(3)
            assert_tone(await call.heard(), speaker.TONE, None)
            assert_tone(far.heard(), browser.TONE)
            await call.forget()
            if not turn:
                sent = sent.follow("INVITE", accepted)
        await sent.follow("BYE", accepted).response()
    await call.state("ended")


async def test_an_echo_comes_back(bridge: Ringback, pbx: Asterisk, phone_of: PhoneOf) -> None:
    call = await dial(bridge, await phone_of("alice"), "1000")
    await asyncio.sleep(3)
    heard = await call.heard()
    await end(call, pbx)
    assert_tone(heard, browser.TONE)


async def test_early_media_is_heard_before_the_answer(
    bridge: Ringback, pbx: Asterisk, phone_of: PhoneOf
) -> None:
    before = pbx.mark()
    phone = await phone_of("alice")
    call = await dial(bridge, phone, "3002")
    await asyncio.sleep(3)
    heard = await call.heard()
    await end(call, pbx)
    assert_tone(heard, TONE)
    said = [message.status for message in pbx.sip(before) if message.method == "INVITE"]
    assert 183 in said
    assert 200 not in said


async def test_early_media_goes_on_into_the_answered_call(
    bridge: Ringback, pbx: Asterisk, phone_of: PhoneOf
) -> None:
    """First the PBX's tone, then, once it has answered, our own voice from its echo."""
    before = pbx.mark()
    call = await dial(bridge, await phone_of("alice"), "3003")
    await asyncio.sleep(1.5)
    early = await call.heard()
    await pbx.seen("SIP/2.0 200", since=before, method="INVITE")
    await call.forget()
    await asyncio.sleep(3)
    late = await call.heard()
    await end(call, pbx)
    assert early.heard(TONE)
    assert_tone(late, browser.TONE)


def assert_digits(heard: Sound, sent: str) -> None:
    """The browser played the digits that were sent, of which none is followed by itself.

    On a busy machine its player breaks a tone in two, or swallows one, now and then. So a digit
    that was sent twice is looked for in the record of the call, which has what we passed on.
    """
    keys = "".join(key for key, _ in itertools.groupby(audio.digits(heard)))
    assert len(keys) >= len(sent) - 1
    assert keys == "".join(digit for digit in sent if digit in keys)


async def test_digits_of_the_dial_pad_reach_the_pbx_and_its_digits_reach_the_browser(
    bridge: Ringback, pbx: Asterisk, phone_of: PhoneOf
) -> None:
    seen, before = len(pbx.ami.events), bridge.mark
    phone = await phone_of("alice")
    call = await dial(bridge, phone, "2001")
    await pbx.reaches("Read", since=seen)
    for digit in "42*7":
        await call.digit(digit)
        await asyncio.sleep(0.3)
    read = await pbx.ami.expect("Digits", since=seen)
    assert read["Value"] == "42*7"
    await call.forget()
    await pbx.reaches("Wait", "20", since=seen)  # it has sent them back
    await asyncio.sleep(1)
    heard = await call.heard()
    await end(call, pbx)
    assert_digits(heard, "42*7")
    await bridge.logged("bridge.call.record", '"digits":8,', since=before)


@pytest.mark.parametrize("codec", ["pcmu"])
async def test_digits_pass_with_a_narrow_codec(
    codec: str, bridge: Ringback, pbx: Asterisk, phone_of: PhoneOf
) -> None:
    seen = len(pbx.ami.events)
    call = await dial(bridge, await phone_of(codec), "2001")
    await pbx.reaches("Read", since=seen)
    for digit in "9018":
        await call.digit(digit)
        await asyncio.sleep(0.3)
    read = await pbx.ami.expect("Digits", since=seen)
    await end(call, pbx)
    assert read["Value"] == "9018"


@pytest.mark.parametrize("way", ["inband", "info"])
async def test_digits_pass_where_the_pbx_has_no_telephone_events(
    way: str, bridge: Ringback, pbx: Asterisk, phone_of: PhoneOf
) -> None:
    """As tones in the sound, or as INFO requests, in both directions; each is one digit. Whether
    the browser's player makes a whole tone of it is another test's matter.
    """
    seen, before, mark = len(pbx.ami.events), bridge.mark, pbx.mark()
    call = await dial(bridge, await phone_of(way), "2001")
    await pbx.reaches("Read", since=seen)
    for digit in "42*7":
        await call.digit(digit)
        await asyncio.sleep(0.3)
    read = await pbx.ami.expect("Digits", since=seen)
    assert read["Value"] == "42*7"
    await pbx.reaches("Wait", "20", since=seen)  # it has sent them back
    await asyncio.sleep(1)
    await end(call, pbx)
    await bridge.logged("bridge.call.record", '"digits":8,', since=before)
    said = [message for message in pbx.sip(mark) if message.method == "INFO"]
    assert bool(said) == (way == "info")


EVERY_DIGIT = "0123456789*#ABCD"


async def test_every_digit_that_the_pbx_sends_is_heard(
    bridge: Ringback, pbx: Asterisk, phone_of: PhoneOf
) -> None:
    before, seen = bridge.mark, len(pbx.ami.events)
    call = await dial(bridge, await phone_of("alice"), "2000")
    await pbx.reaches("Wait", "20", since=seen)  # it has sent all of them
    await asyncio.sleep(1)
    heard = await call.heard()
    await end(call, pbx)
    assert_digits(heard, EVERY_DIGIT)
    await bridge.logged("bridge.call.record", '"digits":16,', since=before)


async def test_a_call_goes_over_a_relay_when_the_client_has_no_other_way(
    lab: Lab, bridge: Ringback, pbx: Asterisk, phone_of: PhoneOf
) -> None:
    phone = await phone_of("alice")
    await phone.run("relay", True)
    try:
        call = await dial(bridge, phone, "1001")
        await asyncio.sleep(3)
        heard, stats = await call.heard(), await call.stats()
        await end(call, pbx)
    finally:
        await phone.run("relay", False)
    assert stats["local"] == "relay"
    assert_tone(heard, TONE)
    assert_tone(pbx.recording("ringback"), browser.TONE)


async def test_nothing_that_the_control_process_does_can_be_heard(
    bridge: Ringback, pbx: Asterisk, phone_of: PhoneOf
) -> None:
    """The control process is stopped dead for a second and a half; the worker goes on."""
    assert children(bridge.process.pid), "there is no worker process"
    call = await dial(bridge, await phone_of("alice"), "1001")
    await asyncio.sleep(1)
    await call.forget()
    bridge.process.send_signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(1.5)
    finally:
        bridge.process.send_signal(signal.SIGCONT)
    await asyncio.sleep(1)
    heard = await call.heard()
    await end(call, pbx)
    stretches = heard.heard(TONE)
    assert len(stretches) == 1, f"the tone was broken: {stretches}"
    assert stretches[0][1] - stretches[0][0] > 2.3
