"""Files to be played: what is read, what is refused, and with which words."""

import os
import wave
from itertools import chain
from pathlib import Path

import av
import pytest

from media import file
from media.codec import decoder
from media.file import SoundFileError
from tests.media.sound import frequency, tone


def write_wav(path: Path, *, rate: int = 8000, seconds: float = 1.0, channels: int = 1) -> Path:
    pcm = tone(440.0, rate, seconds)
    if channels == 2:
        pcm = b"".join(pcm[i : i + 2] * 2 for i in range(0, len(pcm), 2))
    with wave.open(str(path), "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(pcm)
    return path


def write_with(path: Path, codec: str, source: Path) -> Path:
    """The sound of another file, in whatever the suffix of `path` asks for."""
    with av.open(str(source)) as read, av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=48000)
        assert isinstance(stream, av.AudioStream)
        for frame in chain(read.decode(audio=0), [None]):
            for packet in stream.encode(frame):
                out.mux(packet)
    return path


def heard(path: Path) -> tuple[float, float]:
    """Pitch and length of what is read."""
    frames = [frame for piece in file.read(path) for frame in piece]
    listener = decoder("opus", 48000)
    pcm = b"".join(listener.decode(frame) for frame in frames)
    return frequency(pcm[9600:], 48000), len(frames) / 50


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (16000, 1), (44100, 2), (48000, 2)])
def test_wave_files_are_read(tmp_path: Path, rate: int, channels: int) -> None:
    pitch, seconds = heard(write_wav(tmp_path / "a.wav", rate=rate, channels=channels))
    assert pitch == pytest.approx(440, abs=1)
    assert seconds == pytest.approx(1.0, abs=0.021)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.opus", "libopus"), ("a.ogg", "libopus"), ("a.flac", "flac")]
)
def test_compressed_files_are_read(tmp_path: Path, name: str, codec: str) -> None:
    source = write_wav(tmp_path / "a.wav", rate=48000)
    pitch, seconds = heard(write_with(tmp_path / name, codec, source))
    assert pitch == pytest.approx(440, abs=1)
    assert seconds == pytest.approx(1.0, abs=0.05)


def test_a_long_file_comes_in_pieces_and_has_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file, "MAX_SECONDS", 5)
    path = write_wav(tmp_path / "a.wav", seconds=7.0)
    assert [len(piece) for piece in file.read(path)] == [25] * 10


def test_what_is_no_sound_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"not a sound at all")
    with pytest.raises(SoundFileError, match="cannot be read"):
        list(file.read(path))


def test_a_version_changes_with_the_file(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav")
    first = file.version(str(path))
    assert file.version(str(path)) == first
    write_wav(path, seconds=0.5)
    assert file.version(str(path)) != first


def test_what_is_no_file_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(SoundFileError, match="No such file"):
        file.version(str(tmp_path / "missing.wav"))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SoundFileError, match="is not a file"):
        file.version(str(tmp_path / "pipe"))
