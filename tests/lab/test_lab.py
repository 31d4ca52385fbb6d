"""The ruler itself: the lab's parts among each other, without the bridge."""

import asyncio

import pytest

from tests.lab import audio, baresip, browser
from tests.lab.asterisk import TONE, Asterisk
from tests.lab.baresip import Baresip
from tests.lab.browser import Browser
from tests.lab.lab import Lab


def test_frequency_level_and_digits_are_measured() -> None:
    sound = audio.tone(1004.2, seconds=1.0, rate=8000, amplitude=0.1)
    assert sound.frequency == pytest.approx(1004.2, abs=0.1)
    assert sound.level == pytest.approx(-23.01, abs=0.05)
    assert audio.digits(audio.tone(697, 1209, seconds=0.1)) == "1"
    assert audio.digits(sound) == ""


async def test_a_telephone_and_the_pbx_hear_each_other(pbx: Asterisk, telephone: Baresip) -> None:
    seen = len(telephone.events)
    await telephone.dial("1001")
    await telephone.expect("CALL_ESTABLISHED", since=seen)
    await asyncio.sleep(2.5)
    await telephone.hang_up()
    await pbx.quiet()
    heard = telephone.heard().steady(1.5)
    assert heard.frequency == pytest.approx(TONE, abs=1)
    assert heard.level == pytest.approx(-15.05, abs=1)
    assert pbx.recording("alice").steady(1.5).frequency == pytest.approx(baresip.TONE, abs=1)


async def test_two_browsers_hear_each_other(
    lab: Lab, browser_pair: tuple[Browser, Browser]
) -> None:
    first, second = browser_pair
    caller = await first.phone(lab.synapse.url, "mallory", "mallory-secret")
    callee = await second.phone(lab.synapse.url, "grace", "grace-secret")
    call = await caller.place(await caller.direct(callee.user))
    answered = await callee.rung()
    await answered.answer()
    await call.state("connected")
    await asyncio.sleep(2.5)
    heard = (await call.heard()).steady(1.5), (await answered.heard()).steady(1.5)
    await call.hang_up()
    await answered.state("ended")
    assert heard[0].frequency == pytest.approx(660, abs=1)
    assert heard[1].frequency == pytest.approx(browser.TONE, abs=1)
    assert [sound.level for sound in heard] == pytest.approx([-15.05, -15.05], abs=1)
    await caller.close()
    await callee.close()
