"""Orders through a real worker: files that are read for it, and what it says of them."""

import os
import signal
from pathlib import Path

import av
import pytest

from media.order import (
    Collect,
    Collected,
    CollectEnd,
    Play,
    Played,
    PlayEnd,
    Record,
    Recorded,
    RecordEnd,
    SoundFile,
    StopPlaying,
    TakeDigit,
    Tone,
    ToneSignal,
)
from media.plane import (
    Closed,
    Side,
)
from tests.media.test_file import write_wav
from tests.media.test_local import Call, pids, running


async def test_files_tones_and_digits_go_through_a_worker(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "prompt.wav", seconds=0.1)
    (tmp_path / "text.wav").write_text("no sound")
    async with running() as plane:
        call = Call(plane)
        await call.connect()
        call.session.perform(Play(Side.SDES, SoundFile(str(path)), repeat=2))
        played = await call.until(Played)
        assert (played.side, played.reason) == (Side.SDES, PlayEnd.FINISHED)
        assert call.pbx.ear.frequency("pcmu", 0) == pytest.approx(440, abs=60)
        call.session.perform(Play(Side.WEBRTC, ToneSignal(Tone.RINGBACK), repeat=None))
        call.session.perform(Play(Side.SDES, SoundFile(str(path))))  # the worker has it now
        assert (await call.until(Played, 2)).side is Side.SDES
        call.session.perform(StopPlaying(Side.WEBRTC))
        assert (await call.until(Played, 3)).reason is PlayEnd.STOPPED
        call.session.perform(Play(Side.SDES, SoundFile(str(tmp_path / "none.wav"))))
        assert "No such file" in (await call.until(Played, 4)).text
        call.session.perform(Play(Side.SDES, SoundFile(str(tmp_path / "text.wav"))))
        played = await call.until(Played, 5)
        assert (played.reason, "cannot be read" in played.text) == (PlayEnd.FAILED, True)
        call.session.perform(Collect(Side.WEBRTC, most=2))
        call.session.perform(TakeDigit(Side.WEBRTC, "4", 100))
        call.session.perform(TakeDigit(Side.WEBRTC, "2", 100))
        assert await call.until(Collected) == Collected(Side.WEBRTC, "42", CollectEnd.FULL)
        call.session.perform(Collect(Side.WEBRTC, first_timeout=0.1))
        assert (await call.until(Collected, 2)).reason is CollectEnd.TIMEOUT
        await call.hang_up()


async def test_a_recording_is_a_file_before_its_end_is_told(tmp_path: Path) -> None:
    path, last = tmp_path / "a.ogg", tmp_path / "b.ogg"
    async with running() as plane:
        call = Call(plane)
        await call.connect()
        call.session.perform(Record(str(path), max_seconds=0.3))
        recorded = await call.until(Recorded)
        assert (recorded.path, recorded.reason) == (str(path), RecordEnd.LIMIT)
        assert recorded.size == path.stat().st_size
        with av.open(str(path)) as container:
            assert container.streams.audio[0].codec_context.name in ("opus", "libopus")
            seconds = sum(f.samples / f.sample_rate for f in container.decode(audio=0))
        assert seconds == pytest.approx(recorded.seconds, abs=0.03)
        call.session.perform(Record(str(tmp_path / "none" / "a.ogg"), max_seconds=0.1))
        recorded = await call.until(Recorded, 2)
        assert (recorded.path, recorded.reason) == (None, RecordEnd.FAILED)
        assert "No such file" in recorded.text
        call.session.perform(Record(str(last), Side.WEBRTC))
        await call.talked(0.1)
        await call.hang_up()
        assert [type(e) for e in call.events[-2:]] == [Recorded, Closed]
        assert last.exists()


async def test_a_stopping_plane_waits_for_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.ogg"
    async with running() as plane:
        call = Call(plane)
        await call.connect()
        call.session.perform(Record(str(path)))
        await call.talked(0.1)
    assert [type(e) for e in call.events[-2:]] == [Recorded, Closed]
    assert path.exists()
    await call.leave()


async def test_what_a_dead_worker_recorded_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.ogg"
    async with running() as plane:
        call = Call(plane)
        await call.connect()
        call.session.perform(Record(str(path), Side.WEBRTC))
        await call.talked(0.9)
        os.kill(pids(plane)[0], signal.SIGKILL)
        recorded = await call.until(Recorded)
        assert recorded.reason is RecordEnd.FAILED
        assert recorded.seconds >= 0.5
        assert recorded.size == path.stat().st_size
        await call.hang_up()
