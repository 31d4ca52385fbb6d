"""Recordings as packets and as files: what players find in them."""

import io
from array import array
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.codec import RATES, decoder, encoder
from media.format import Format
from media.ogg import OggOpus
from media.order import (
    RecordEnd,
)
from media.plane import (
    Side,
)
from media.recorder import SILENCE, Recorder
from media.rtp import RtpPacket
from media.tape import opus_duration
from media.waveform import MOST, Waveform
from tests.media.sound import frames, frequency, tone

FORMATS = {
    "opus": Format("opus", 111, 48000),
    "g722": Format("g722", 9, 8000),
    "pcma": Format("pcma", 8, 8000),
    "pcmu": Format("pcmu", 0, 8000),
}


def spoken(name: str, hertz: float, seconds: float = 1.0, level: float = 8000.0) -> list[RtpPacket]:
    form, rate = FORMATS[name], RATES[name][0]
    coder = encoder(name, rate, {})
    step = form.clock_rate // 50
    return [
        RtpPacket(form.payload_type, i, i * step, 7, coder.encode(frame), i == 0)
        for i, frame in enumerate(frames(tone(hertz, rate, seconds, level), rate))
    ]


class Run:
    """A recorder with its clock."""

    def __init__(self, *names: str, **changes: float | None) -> None:
        self.now = 100.0
        self.names = dict(zip(Side, names, strict=False))
        limits: dict[str, float | None] = {"max_seconds": 60.0, "silence": None, **changes}
        self.recorder = Recorder(
            sides={side: FORMATS[name] for side, name in self.names.items()},
            max_seconds=limits["max_seconds"] or 0.0,
            max_bytes=int(limits.get("max_bytes") or 1_000_000),
            silence=limits["silence"],
            now=self.now,
        )

    def feed(self, *sides: list[RtpPacket | None]) -> None:
        for heard in zip(*sides, strict=True):
            for (side, name), packet in zip(self.names.items(), heard, strict=True):
                if packet is not None:
                    self.recorder.push(side, packet, FORMATS[name], self.now)
            self.now += 0.02
            self.recorder.tick(self.now)

    def packets(self) -> list[bytes]:
        self.recorder.finish(RecordEnd.STOPPED, self.now)
        return self.recorder.take()


def as_file(packets: list[bytes]) -> bytes:
    ogg = OggOpus(4711)
    return b"".join([ogg.begin(), *(ogg.add(packet) for packet in packets), ogg.end()])


def played(data: bytes) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], int]:
    """What FFmpeg makes of a file."""
    with av.open(io.BytesIO(data), "r") as container:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=48000)
        pieces = [
            f.to_ndarray()[0] for x in container.decode(audio=0) for f in resampler.resample(x)
        ]
    return np.concatenate(pieces).astype(np.float64), 48000


def pitch(pcm: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    return frequency(array("h", [int(x) for x in pcm]).tobytes(), 48000)


@pytest.mark.parametrize("name", FORMATS)
def test_one_side_is_recorded_whatever_its_codec(name: str) -> None:
    run = Run(name)
    run.feed([*spoken(name, 600.0, 2.0)])
    pcm, rate = played(as_file(run.packets()))
    assert len(pcm) / rate == pytest.approx(2.0, abs=0.03)
    assert pitch(pcm[rate // 2 : -rate // 2]) == pytest.approx(600, abs=1)
    assert run.recorder.seconds == pytest.approx(2.0, abs=0.02)
    assert run.recorder.level_dbov == pytest.approx(-15.3, abs=1)


def test_what_a_browser_says_is_stored_as_it_came() -> None:
    run = Run("opus")
    said = spoken("opus", 600.0)
    run.feed([*said])
    assert run.packets()[: len(said)] == [packet.payload for packet in said]


@pytest.mark.parametrize(
    ("one", "other"), [("opus", "pcmu"), ("opus", "g722"), ("pcma", "g722"), ("opus", "opus")]
)
def test_both_sides_are_mixed(one: str, other: str) -> None:
    run = Run(one, other)
    run.feed([*spoken(one, 600.0)], [*spoken(other, 1000.0)])
    pcm, rate = played(as_file(run.packets()))
    spectrum = np.abs(np.fft.rfft(pcm[rate // 4 : rate // 4 + rate // 2]))
    assert sorted(np.argsort(spectrum)[-2:] * 2) == pytest.approx([600, 1000], abs=4)


def test_one_who_is_silent_does_not_hold_up_the_other() -> None:
    run = Run("opus", "pcmu")
    run.feed([None] * 50, [*spoken("pcmu", 1000.0)])
    pcm, rate = played(as_file(run.packets()))
    assert len(pcm) / rate == pytest.approx(1.0, abs=0.03)
    assert pitch(pcm[rate // 4 : -rate // 4]) == pytest.approx(1000, abs=2)


def test_lost_packets_of_a_browser_are_concealed_by_whoever_plays_it() -> None:
    run = Run("opus")
    said: list[RtpPacket | None] = [*spoken("opus", 600.0, 2.0)]
    for lost in (30, 31, 60):
        said[lost] = None
    run.feed(said)
    packets = run.packets()
    assert [len(packets[lost]) for lost in (30, 31, 60)] == [1, 1, 1]
    pcm, rate = played(as_file(packets))
    assert len(pcm) / rate == pytest.approx(2.0, abs=0.03)
    assert np.sqrt(np.mean(pcm[int(0.6 * rate) : int(0.64 * rate)] ** 2)) > 1000


def test_long_silence_of_a_browser_is_silence() -> None:
    run = Run("opus")
    run.feed([*spoken("opus", 600.0, 0.4), *[None] * 50])
    packets = run.packets()
    assert packets[30:60] == [SILENCE] * 30
    pcm, rate = played(as_file(packets))
    assert len(pcm) / rate == pytest.approx(1.4, abs=0.03)
    assert np.abs(pcm[-rate // 2 :]).max() < 30


def test_it_ends_at_its_limits() -> None:
    run = Run("pcmu", max_seconds=1.0)
    run.feed([*spoken("pcmu", 600.0, 2.0)])
    assert run.recorder.end is RecordEnd.LIMIT
    assert run.recorder.seconds == pytest.approx(1.0, abs=0.03)
    run = Run("pcmu", max_bytes=1000)
    run.feed([*spoken("pcmu", 600.0, 2.0)])
    assert run.recorder.end is RecordEnd.LIMIT
    assert 900 < run.recorder.size <= 1000


def test_it_never_goes_beyond_its_limits_however_late_it_is_looked_at() -> None:
    run = Run("pcmu", max_seconds=1.0)
    for i, packet in enumerate(spoken("pcmu", 600.0, 3.0)):
        run.recorder.push(Side.WEBRTC, packet, FORMATS["pcmu"], 100.0 + i * 0.02)
    run.recorder.tick(104.0)
    assert run.recorder.end is RecordEnd.LIMIT
    assert run.recorder.seconds == pytest.approx(1.0, abs=1e-6)
    assert len(run.recorder.take()) == 50


@pytest.mark.parametrize("name", ["opus", "pcmu"])
def test_it_ends_after_silence(name: str) -> None:
    run = Run(name, silence=1.0)
    faint = spoken(name, 600.0, 2.0, level=20.0)
    run.feed([*spoken(name, 600.0, 1.0)])
    step = FORMATS[name].clock_rate // 50
    later = [replace(p, sequence=p.sequence + 50, timestamp=p.timestamp + 50 * step) for p in faint]
    run.feed([*later])
    assert run.recorder.end is RecordEnd.SILENCE
    assert run.recorder.seconds == pytest.approx(1.5, abs=0.1)  # half a second is enough
    assert run.recorder.level_dbov == pytest.approx(-17.0, abs=1.5)
    assert len(run.recorder.waveform) == round(run.recorder.seconds / 0.02)
    packets = run.packets()
    assert sum(map(opus_duration, packets)) == pytest.approx(run.recorder.seconds)
    assert sum(map(len, packets)) == run.recorder.size


@pytest.mark.parametrize("name", ["opus", "pcmu"])
def test_a_pause_that_does_not_end_it_is_kept(name: str) -> None:
    run = Run(name, silence=1.0)
    run.feed([*spoken(name, 600.0, 0.5), *[None] * 45])
    step = FORMATS[name].clock_rate // 50
    again = spoken(name, 600.0, 0.5)
    run.feed(
        [
            replace(p, sequence=p.sequence + 25, timestamp=(70 + i) * step)
            for i, p in enumerate(again)
        ]
    )
    run.feed([None] * 45)
    pcm, rate = played(as_file(run.packets()))
    assert run.recorder.end is RecordEnd.STOPPED
    assert len(pcm) / rate == pytest.approx(0.5 + 0.9 + 0.5 + 0.9, abs=0.05)
    loud = np.flatnonzero(np.abs(pcm) > 1000)
    assert (loud[-1] - loud[0]) / rate == pytest.approx(1.9, abs=0.1)


def test_garbage_in_a_payload_is_silence() -> None:
    run = Run("opus", "pcmu")
    garbage = [RtpPacket(111, i, i * 960, 7, b"\xff\xff\xff", False) for i in range(20)]
    run.feed([*garbage], [None] * 20)
    assert all(opus_duration(packet) == 0.02 for packet in run.packets())


def test_what_no_decoder_takes_is_not_stored() -> None:
    run = Run("opus")
    said: list[RtpPacket | None] = [*spoken("opus", 600.0, 0.4)]
    garbage = b"\x7b\x83\xff\xff\xff"  # three frames of 20 ms, so it says
    said[10] = RtpPacket(111, 10, 10 * 960, 7, garbage, False)
    run.feed(said)
    packets = run.packets()
    assert garbage not in packets
    listener = decoder("opus", 48000)
    assert all(listener.decode(packet) for packet in packets)


# --- the outline


def test_an_outline_never_has_more_than_a_hundred_values() -> None:
    for count in (0, 1, 99, 100, 101, 199, 200, 201, 1000, 12345):
        waveform = Waveform()
        for i in range(count):
            waveform.add(32767 if i == count - 1 else 0)
        values = waveform.values()
        assert len(values) == min(count, MOST)
        assert all(value == 0 for value in values[:-1])
        assert values[-1:] == ((1024,) if count else ())


@given(st.lists(st.integers(0, 32768), max_size=1000))
def test_the_loudest_is_in_every_outline(peaks: list[int]) -> None:
    waveform = Waveform()
    for peak in peaks:
        waveform.add(peak)
    assert max(waveform.values(), default=0) == min(1024, max(peaks, default=0) * 1024 // 32767)


# --- the file


def test_a_file_is_what_the_standard_says(tmp_path: Path) -> None:
    coder = encoder("opus", 48000, {})
    packets = [coder.encode(frame) for frame in frames(tone(440.0, 48000, 2.5), 48000)]
    data = as_file(packets)
    pages = data.split(b"OggS")[1:]
    assert len(pages) == 2 + 3
    assert [page[1] for page in pages] == [2, 0, 0, 0, 4]
    granules = [int.from_bytes(page[2:10], "little") for page in pages]
    assert granules == [0, 0, 48000, 96000, 120000]
    assert [int.from_bytes(page[14:18], "little") for page in pages] == [0, 1, 2, 3, 4]
    with av.open(io.BytesIO(data), "r") as container:
        read = [bytes(p) for p in container.demux(audio=0) if p.size]
    assert read == packets


def test_large_packets_take_pages_of_their_own() -> None:
    big = b"\xfb\x06" + bytes(1270)
    data = as_file([big] * 120)
    for page in data.split(b"OggS")[1:]:
        assert page[22] <= 255
    assert data.count(b"OggS") > 4


def test_an_empty_recording_is_a_file_too() -> None:
    assert as_file([]).count(b"OggS") == 3


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_every_packet_of_ours_decodes_at_every_rate(rate: int) -> None:
    listener = decoder("opus", rate)
    assert len(listener.decode(SILENCE)) == 2 * rate // 50
    for toc in (9, 15, 31):
        assert len(listener.decode(bytes((toc << 3,)))) == 2 * rate // 50
