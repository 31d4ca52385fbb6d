"""Digits between a browser and Asterisk through a whole media plane, in each way that a PBX may
have them: telephone-events, tones in the sound, and SIP INFO. And prompts and recordings.
"""

import asyncio
import wave
from collections.abc import AsyncIterator
from pathlib import Path

import av
import pytest
import pytest_asyncio

from media.local import LocalPlane
from media.order import Play, Played, PlayEnd, Record, Recorded, SoundFile
from media.plane import Side
from tests.interop.conftest import Phones
from tests.interop.media_call import Call
from tests.lab.asterisk import TONE, Asterisk
from tests.lab.ports import HOST, Ports
from tests.lab.process import eventually
from tests.media.sound import frequency, tone


@pytest_asyncio.fixture(loop_scope="session")
async def plane(ports: Ports) -> AsyncIterator[LocalPlane]:
    given = ports.pick_range(20)
    plane = LocalPlane(listen=(HOST,), ports=(given[0], given[-1]), workers=1)
    await plane.start()
    yield plane
    await plane.stop()


@pytest.mark.parametrize("account", ["first", "inband", "info"])
async def test_digits_pass_both_ways_and_none_twice(
    pbx: Asterisk, phones: Phones, plane: LocalPlane, account: str
) -> None:
    """The PBX reads four digits, tells us, and sends them back."""
    call = Call(plane, await phones.standing(pbx, account), by_info=account == "info")
    seen = len(pbx.ami.events)
    await call.dial("2001")
    await pbx.reaches("Read", since=seen)
    for digit in "42*7":
        call.press(digit)
        await asyncio.sleep(0.35)
    read = await pbx.ami.expect("Digits", since=seen)
    assert read["Value"] == "42*7"
    await eventually(lambda: len(call.digits) >= 4, what="digits of the PBX")
    await asyncio.sleep(0.5)
    assert call.digits == "42*7"
    assert call.heard == "42*7"
    await call.hang_up()


async def test_a_file_is_heard_by_the_pbx_and_its_tone_is_recorded(
    pbx: Asterisk, phones: Phones, plane: LocalPlane, tmp_path: Path
) -> None:
    prompt, recording = tmp_path / "prompt.wav", tmp_path / "said.ogg"
    with wave.open(str(prompt), "wb") as out:
        out.setparams((1, 2, 16000, 0, "NONE", ""))
        out.writeframes(tone(880.0, 16000, 1.5))
    call = Call(plane, await phones.standing(pbx, "second"))
    await call.dial("1001")
    call.perform(Record(str(recording), Side.SDES, max_seconds=1.5))
    call.perform(Play(Side.SDES, SoundFile(str(prompt))))
    assert (await call.until(Played)).reason is PlayEnd.FINISHED
    recorded = await call.until(Recorded)
    await call.hang_up()
    await pbx.quiet()
    heard = pbx.recording("second")
    assert heard.heard(880)
    with av.open(str(recording)) as container:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=8000)
        decoded = [f for each in container.decode(audio=0) for f in resampler.resample(each)]
    pcm = b"".join(bytes(f.planes[0])[: 2 * f.samples] for f in decoded)
    assert frequency(pcm[-8000:], 8000) == pytest.approx(TONE, abs=1)
    assert recorded.seconds == pytest.approx(1.5, abs=0.03)
    assert recorded.level_dbov == pytest.approx(-15.05, abs=3)
