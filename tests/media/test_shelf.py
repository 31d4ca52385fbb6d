"""The sounds of a worker: handed over once, told as failed whatever goes wrong, bounded."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from media import file, shelf
from media.control import Message
from media.file import SoundFileError
from media.shelf import Shelf


class Worker:
    """Takes what it is told."""

    def __init__(self) -> None:
        self.told: list[Message] = []
        self.shelf = Shelf(tell=self._hear, drained=self._drained)
        self._news = asyncio.Event()

    def _hear(self, message: Message) -> None:
        self.told.append(message)
        self._news.set()

    async def _drained(self) -> None:
        pass

    async def until_told(self, count: int) -> list[Message]:
        async with asyncio.timeout(10):
            while len(self.told) < count:
                self._news.clear()
                await self._news.wait()
        return self.told


def _some(path: object) -> Iterator[list[bytes]]:
    yield [b"abc"] * 2
    yield [b"de"]


@pytest.fixture
def sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(file, "read", _some)
    path = tmp_path / "a.wav"
    path.write_bytes(b"")
    return str(path)


async def test_a_file_is_handed_over_in_pieces_and_once(sound: str) -> None:
    worker = Worker()
    name = worker.shelf.provide(sound)
    told = await worker.until_told(4)
    assert {message["name"] for message in told} == {name}
    assert [message["error"] for message in told] == [None, None, None, ""]
    assert worker.shelf.provide(sound) == name
    assert len(worker.told) == 4


async def test_a_file_that_was_changed_is_another_one(sound: str) -> None:
    worker = Worker()
    before = worker.shelf.provide(sound)
    await worker.until_told(4)
    os.truncate(sound, 6)
    assert worker.shelf.provide(sound) != before
    await worker.until_told(8)


@pytest.mark.parametrize("error", [SoundFileError("no sound in it"), RuntimeError("a bug")])
async def test_whatever_goes_wrong_is_told_and_tried_again_next_time(
    sound: str, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def broken(path: object) -> Iterator[list[bytes]]:
        yield [b"abc"]
        raise error

    monkeypatch.setattr(file, "read", broken)
    worker = Worker()
    name = worker.shelf.provide(sound)
    *_, last, forgotten = await worker.until_told(4)
    assert last["error"]
    assert "a bug" not in last["error"]
    assert forgotten == {"op": "forget", "name": name}
    worker.shelf.provide(sound)
    await worker.until_told(8)


async def test_what_was_not_played_for_long_goes_when_there_is_too_much(
    sound: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf, "MOST_BYTES", 30)  # each takes 14
    other, third = tmp_path / "b.wav", tmp_path / "c.wav"
    other.write_bytes(b"")
    third.write_bytes(b"")
    worker = Worker()
    worker.shelf.provide(sound)
    await worker.until_told(4)
    old = worker.shelf.provide(str(other))
    await worker.until_told(8)
    worker.shelf.provide(sound)
    worker.shelf.provide(str(third))
    *_, last = await worker.until_told(13)
    assert last == {"op": "forget", "name": old}


@pytest.mark.parametrize("name", ["none.wav", "", "a\0b"])
async def test_a_file_that_is_not_there_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(SoundFileError, match="file"):
        Worker().shelf.provide(str(tmp_path / name))
