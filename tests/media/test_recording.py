"""The file of a recording: whole or not there."""

import asyncio
import os
import threading
from pathlib import Path

import pytest

from media import recording
from media.recorder import SILENCE
from media.recording import Recording


async def test_a_file_has_its_name_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.ogg"
    made = Recording(str(path))
    for _ in range(5):
        made.add([SILENCE] * 50)
    assert not path.exists()
    assert made.seconds == pytest.approx(5.0)
    size, error = await made.finish()
    assert (size, error) == (path.stat().st_size, "")
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["a.ogg"]
    assert path.read_bytes().count(b"OggS") == 7


async def test_what_a_crash_leaves_does_not_look_like_a_recording(tmp_path: Path) -> None:
    made = Recording(str(tmp_path / "a.ogg"))
    made.add([SILENCE] * 200)
    await made._last
    (left,) = os.listdir(tmp_path)
    assert left.startswith(".a.ogg.")
    assert left.endswith(".part")
    await made.finish(keep=False)
    assert os.listdir(tmp_path) == []


async def test_a_folder_that_is_missing_is_told_in_words(tmp_path: Path) -> None:
    made = Recording(str(tmp_path / "none" / "a.ogg"))
    made.add([SILENCE] * 200)
    size, error = await made.finish()
    assert size == 0
    assert "No such file" in error


async def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Recording(str(tmp_path / "a.ogg"))
    await made._last

    def full(fd: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    made.add([SILENCE] * 200)
    size, error = await made.finish()
    assert (size, "No space left" in error) == (0, True)
    assert os.listdir(tmp_path) == []


async def test_a_disk_that_hangs_costs_a_bounded_amount(tmp_path: Path) -> None:
    made = Recording(str(tmp_path / "a.ogg"))
    big = b"\xfb\x06" + bytes(1270)
    for _ in range(2000):  # the loop has no turn to write any of it
        made.add([big] * 2)
    assert made._unwritten <= recording._MOST_UNWRITTEN
    size, error = await made.finish()
    assert (size, error) == (0, "The disk is too slow.")
    assert os.listdir(tmp_path) == []


async def test_a_disk_that_hangs_at_the_end_is_told_and_leaves_nothing_when_it_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    monkeypatch.setattr(os, "fsync", lambda fd: answers.wait(10))
    made = Recording(str(tmp_path / "a.ogg"))
    made.add([SILENCE] * 200)
    assert await made.finish(limit=0.01) == (0, "The disk is too slow.")
    answers.set()
    await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))
    assert os.listdir(tmp_path) == []
