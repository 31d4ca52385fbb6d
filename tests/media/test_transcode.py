"""The transcoder in virtual time: clocks that drift, stalls that are made up for."""

from math import pi, sin

import pytest

from media.codec import decoder, encoder
from media.format import Format
from media.rtp import RtpPacket
from media.transcode import Transcoder
from tests.media.sound import frames, roughness, samples

SLOT = 0.020
PCMU = Format("pcmu", 0, 8000)
OPUS = Format("opus", 111, 48000)


def talk(seconds: float) -> list[bytes]:
    """Syllables of a voice and the pauses between them, as payloads of µ-law."""
    pcm = b"".join(
        int(9000 * max(0.0, sin(2 * pi * 1.5 * i / 8000)) * sin(2 * pi * 150 * i / 8000)).to_bytes(
            2, "little", signed=True
        )
        for i in range(int(seconds * 8000))
    )
    coder = encoder("pcmu", 8000, {})
    return [coder.encode(frame) for frame in frames(pcm, 8000)]


def play(subject: Transcoder, arrivals: list[tuple[float, RtpPacket]]) -> tuple[bytes, list[float]]:
    """What is heard, and the delay at each tick."""
    waiting = arrivals[::-1]
    heard, delays = b"", []
    now = 0.013
    while waiting:
        while waiting and waiting[-1][0] <= now:
            at, packet = waiting.pop()
            subject.push(packet, at)
        heard += subject.pull(now)[0]
        delays.append(subject.delay)
        now += SLOT
    return heard, delays


@pytest.mark.parametrize("drift", [1e-3, -1e-3])
def test_a_clock_that_drifts_adds_no_delay_no_loss_and_no_click(drift: float) -> None:
    """1000 ppm for a minute: five times what clocks do, three frames in all."""
    spoken = talk(2.0)
    arrivals = [
        (i * SLOT * (1 + drift), RtpPacket(0, i, i * 160, 7, spoken[i % 100], False))
        for i in range(3000)
    ]
    subject = Transcoder(PCMU, OPUS)
    heard, delays = play(subject, arrivals)
    assert max(delays[50:]) < 0.085
    assert subject.lost + subject.late + subject.dropped == 0
    listener = decoder("pcmu", 8000)
    assert roughness(heard) <= roughness(b"".join(map(listener.decode, spoken)))


def test_what_a_stall_held_up_is_said_all_the_same() -> None:
    """180 ms come at once; everything is heard, and the next stall finds room."""
    spoken = talk(2.0)

    def delay(i: int) -> float:
        stalled = i % 150 - 100
        return (9 - stalled) * SLOT if 0 <= stalled < 9 else 0.0

    arrivals = [
        (i * SLOT + delay(i), RtpPacket(0, i, i * 160, 7, spoken[i % 100], False))
        for i in range(900)
    ]
    subject = Transcoder(PCMU, OPUS)
    heard, delays = play(subject, arrivals)
    assert (subject.lost, subject.dropped) == (0, 0)
    assert subject.late <= 9  # the first stall
    assert 0.15 < delays[-1] < 0.24
    later = samples(heard)[3 * 8000 :]
    assert min(abs(later[i : i + 8000]).max() for i in range(0, len(later) - 8000, 8000)) > 8000


def test_a_sender_that_leaves_pauses_out_is_heard_with_soft_noise_in_them() -> None:
    """RFC 3389: a second of voice, one packet of comfort noise, a pause, and the voice again."""
    spoken = talk(2.0)
    voice = [RtpPacket(0, i, i * 160, 7, spoken[i % 100], False) for i in range(50)]
    hush = RtpPacket(13, 50, 50 * 160, 7, bytes([50]), False)
    again = [RtpPacket(0, i - 49, i * 160, 7, spoken[i % 100], False) for i in range(100, 150)]
    subject = Transcoder(PCMU, OPUS)
    heard, now = b"", 0.013
    for i in range(150):
        if i < 50:
            subject.push(voice[i], i * SLOT)
        elif i == 50:
            subject.comfort(hush, i * SLOT)
        elif i >= 100:
            subject.push(again[i - 100], i * SLOT)
        heard += subject.pull(now)[0]
        now += SLOT
    pause = samples(heard)[55 * 160 : 98 * 160]
    assert pause.std() == pytest.approx(32768 * 10 ** (-50 / 20), rel=0.2)
    assert (subject.lost, subject.late, subject.dropped) == (0, 0, 0)
    assert samples(heard)[110 * 160 :].std() > 1000
