"""Encrypted audio against peers of other makes: which offers they take, which they make, and that
what passes opens. Our side is the media plane's own (`AudioLine`)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from media.negotiate import NegotiationError
from media.plane import (
    Encryption,
    Failure,
)
from media.srtp import SUITES
from sip.events import SessionAnswered, SessionConfirmed, SessionEnded
from tests.interop.audio_line import AudioLine
from tests.interop.conftest import Phones
from tests.interop.kamailio import Kamailio
from tests.interop.phone import Phone
from tests.interop.rtpengine import Rtpengine
from tests.lab.asterisk import Asterisk
from tests.lab.baresip import Baresip
from tests.lab.ports import Ports
from tests.lab.process import eventually

REQUIRED, PREFERRED, OFF = Encryption
STOCK = "AES_CM_128_HMAC_SHA1_80"

every_suite = pytest.mark.parametrize("suite", SUITES)


class Lines:
    """Makes ends of calls, and closes them."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._made: list[AudioLine] = []

    def make(
        self, encryption: Encryption = REQUIRED, suites: tuple[str, ...] = tuple(SUITES)
    ) -> AudioLine:
        self._made.append(AudioLine(self._ports, encryption, suites))
        return self._made[-1]

    def close(self) -> None:
        for line in self._made:
            line.close()


@pytest_asyncio.fixture(loop_scope="session")
async def lines(ports: Ports) -> AsyncIterator[Lines]:
    lines = Lines(ports)
    yield lines
    lines.close()


async def _calls(phone: Phone, line: AudioLine, user: str = "1000") -> str:
    """Call the echo: the cipher that came of it, or the status of the refusal."""
    session = phone.dial(user, line.offer())
    await phone.expect(
        SessionAnswered | SessionEnded,  # type: ignore[arg-type]  # isinstance takes both
        lambda event: event.session is session,
    )
    if ended := phone.all(SessionEnded, lambda event: event.session is session):
        return str(ended[0].status)
    (answered,) = phone.all(SessionAnswered, lambda event: event.session is session)
    line.answered(answered.answer)
    await line.echoes()
    await phone.hang_up(session)
    return line.cipher


# What the PBX demands of its account, and what becomes of our offer by our own policy.
@pytest.mark.parametrize(
    ("account", "policy", "outcome"),
    [
        ("first", REQUIRED, STOCK),
        ("first", PREFERRED, STOCK),
        ("first", OFF, "488"),
        ("besteffort", REQUIRED, STOCK),
        ("besteffort", PREFERRED, STOCK),
        ("besteffort", OFF, "none"),
        ("plain", REQUIRED, "488"),
        ("plain", PREFERRED, "none"),
        ("plain", OFF, "none"),
    ],
)
async def test_our_offers_to_asterisk(
    pbx: Asterisk, phones: Phones, lines: Lines, account: str, policy: Encryption, outcome: str
) -> None:
    phone = await phones.standing(pbx, account)
    assert await _calls(phone, lines.make(policy)) == outcome


@pytest.mark.parametrize(
    ("account", "policy", "outcome"),
    [
        ("first", REQUIRED, STOCK),
        ("first", PREFERRED, STOCK),
        ("besteffort", REQUIRED, STOCK),
        ("besteffort", PREFERRED, STOCK),
        ("besteffort", OFF, "none"),
        ("plain", PREFERRED, "none"),
        ("plain", OFF, "none"),
    ],
)
async def test_offers_of_asterisk(
    pbx: Asterisk, phones: Phones, lines: Lines, account: str, policy: Encryption, outcome: str
) -> None:
    phone = await phones.standing(pbx, account)
    line, since = lines.make(policy), phone.mark
    call = await pbx.call(account, exten="1000")
    incoming = await phone.rung(since=since)
    phone.do(incoming.session.answer, line.take(incoming.offer))
    await phone.expect(SessionConfirmed, lambda event: event.session is incoming.session)
    await line.echoes()
    assert line.cipher == outcome
    await call.hang_up()
    await phone.ended(incoming.session)


# --- Asterisk with what Debian leaves out


@every_suite
async def test_asterisk_with_every_suite_answers_with_each(
    equipped: Asterisk, phones: Phones, lines: Lines, suite: str
) -> None:
    phone = await phones.standing(equipped, "first")
    assert await _calls(phone, lines.make(REQUIRED, (suite,))) == suite
    await equipped.quiet()


async def test_of_all_suites_asterisk_takes_our_first(
    equipped: Asterisk, phones: Phones, lines: Lines
) -> None:
    phone = await phones.standing(equipped, "first")
    assert await _calls(phone, lines.make()) == next(iter(SUITES))
    await equipped.quiet()


@pytest.mark.parametrize("suite", [None, "AEAD_AES_256_GCM", "AES_256_CM_HMAC_SHA1_80"])
async def test_asterisk_with_every_suite_offers_them(
    equipped: Asterisk, phones: Phones, lines: Lines, suite: str | None
) -> None:
    """By itself it wants AES-128 first; with less allowed we take what is left."""
    phone = await phones.standing(equipped, "first")
    line, since = lines.make(REQUIRED, (suite,) if suite else tuple(SUITES)), phone.mark
    call = await equipped.call("first", exten="1000")
    incoming = await phone.rung(since=since)
    phone.do(incoming.session.answer, line.take(incoming.offer))
    await phone.expect(SessionConfirmed, lambda event: event.session is incoming.session)
    await line.echoes()
    assert line.cipher == (suite or STOCK)
    await call.hang_up()
    await phone.ended(incoming.session)
    await equipped.quiet()


# --- baresip 1.0, which answers with what it likes


@pytest.mark.parametrize(
    ("suites", "cipher"),
    [
        (tuple(SUITES), "AEAD_AES_256_GCM"),
        (("AES_CM_128_HMAC_SHA1_32",), "AES_CM_128_HMAC_SHA1_32"),
        (("AES_256_CM_HMAC_SHA1_80",), None),
    ],
)
async def test_baresip_answers_with_what_it_likes(
    proxy: Kamailio,
    phones: Phones,
    lines: Lines,
    telephone: Baresip,
    suites: tuple[str, ...],
    cipher: str | None,
) -> None:
    """What it does not know it answers with a suite of its own, and would then speak plain RTP."""
    phone, line = await phones.standing(proxy, "first"), lines.make(REQUIRED, suites)
    seen = len(telephone.events)
    session = phone.dial("telephone", line.offer())
    await telephone.expect("CALL_INCOMING", since=seen)
    await telephone.accept()
    answered = await phone.expect(SessionAnswered, lambda event: event.session is session)
    if cipher is None:
        with pytest.raises(NegotiationError) as refusal:
            line.answered(answered.answer)
        assert refusal.value.failure is Failure.NO_SRTP
        assert line.cipher == ""
    else:
        line.answered(answered.answer)
        assert line.cipher == cipher
        await eventually(lambda: line.heard >= 10, what="sound")
    await phone.hang_up(session)


# --- rtpengine, which knows every suite


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def rtpengine(folder: Path, ports: Ports) -> AsyncIterator[Rtpengine]:
    engine = Rtpengine(folder / "rtpengine.log", ports)
    await engine.start()
    yield engine
    await engine.stop()


async def _speak(one: AudioLine, other: AudioLine) -> None:
    """Both hear each other, and have each other's reports."""
    for _ in range(15):
        one.say()
        other.say()
        await asyncio.sleep(0.02)
    one.report()
    other.report()
    await eventually(lambda: one.heard >= 10 and other.heard >= 10, what="both")
    await eventually(lambda: one.control and other.control, what="reports")
    assert one.discarded == other.discarded == 0


@every_suite
async def test_rtpengine_answers_with_every_suite(
    rtpengine: Rtpengine, lines: Lines, suite: str
) -> None:
    ours, far = lines.make(REQUIRED, (suite,)), lines.make(OFF)
    async with rtpengine.call() as call:
        offer = await call.offer(ours.offer(), "RTP/AVP")
        ours.answered(await call.answer(far.take(offer), "RTP/SAVP"))
        assert (ours.cipher, far.cipher) == (suite, "none")
        await _speak(ours, far)


@every_suite
async def test_rtpengine_offers_every_suite(rtpengine: Rtpengine, lines: Lines, suite: str) -> None:
    ours, far = lines.make(REQUIRED, (suite,)), lines.make(OFF)
    async with rtpengine.call() as call:
        offer = await call.offer(far.offer(), "RTP/SAVP")
        far.answered(await call.answer(ours.take(offer), "RTP/AVP"))
        assert (ours.cipher, far.cipher) == (suite, "none")
        await _speak(ours, far)


async def test_of_all_suites_rtpengine_takes_the_best(rtpengine: Rtpengine, lines: Lines) -> None:
    ours, far = lines.make(), lines.make()
    async with rtpengine.call() as call:
        offer = await call.offer(ours.offer(), "RTP/SAVP")
        ours.answered(await call.answer(far.take(offer), "RTP/SAVP"))
        assert ours.cipher == "AEAD_AES_256_GCM"
        await _speak(ours, far)
