"""Orders through a real worker: files that are read for it, and what it says of them."""

from pathlib import Path

import pytest

from media.plane import (
    Play,
    Played,
    PlayEnd,
    Side,
    SoundFile,
    StopPlaying,
    Tone,
    ToneSignal,
)
from tests.media.test_file import write_wav
from tests.media.test_local import Call, running


async def test_a_file_and_a_tone_are_played_by_a_worker(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "prompt.wav", seconds=0.4)
    async with running() as plane:
        call = Call(plane)
        await call.connect()
        call.session.perform(Play(Side.SDES, SoundFile(str(path)), repeat=2))
        played = await call.until(Played)
        assert (played.side, played.reason) == (Side.SDES, PlayEnd.FINISHED)
        assert call.pbx.ear.frequency("pcmu", 0) == pytest.approx(440, abs=30)
        call.session.perform(Play(Side.WEBRTC, ToneSignal(Tone.RINGBACK), repeat=None))
        call.session.perform(Play(Side.SDES, SoundFile(str(path))))  # the worker has it now
        assert (await call.until(Played, 2)).side is Side.SDES
        call.session.perform(StopPlaying(Side.WEBRTC))
        assert (await call.until(Played, 3)).reason is PlayEnd.STOPPED
        await call.hang_up()


async def test_a_file_that_is_missing_or_no_sound_is_told(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no sound")
    async with running() as plane:
        call = Call(plane)
        await call.connect()
        call.session.perform(Play(Side.SDES, SoundFile(str(tmp_path / "none.wav"))))
        assert "No such file" in (await call.until(Played)).text
        call.session.perform(Play(Side.SDES, SoundFile(str(tmp_path / "text.wav"))))
        played = await call.until(Played, 2)
        assert (played.reason, "cannot be read" in played.text) == (PlayEnd.FAILED, True)
        await call.hang_up()
