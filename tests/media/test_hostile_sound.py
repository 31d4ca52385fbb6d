"""Whatever a peer sends as sound, none of what listens to it breaks: that would end the call."""

from hypothesis import given
from hypothesis import strategies as st

from media.direction import Direction
from media.ear import Ear
from media.format import Format
from media.meter import Meter
from media.order import RecordEnd
from media.plane import Side
from media.recorder import Recorder
from media.rtp import RtpPacket
from media.tape import opus_duration

FORMS = {
    111: Format("opus", 111, 48000),
    9: Format("g722", 9, 8000),
    8: Format("pcma", 8, 8000),
    0: Format("pcmu", 0, 8000),
}

packets = st.lists(
    st.builds(
        RtpPacket,
        st.sampled_from(sorted(FORMS)),
        st.integers(0, 0xFFFF),
        st.integers(0, 0xFFFF_FFFF) | st.integers(0, 4000).map(lambda n: n * 160),
        st.sampled_from([1, 2]),
        st.binary(max_size=400) | st.sampled_from([b"\xf8\xff\xfe", b"\xff" * 160, b"\x48"]),
        st.booleans(),
    ),
    max_size=25,
)


@given(packets)
def test_what_is_recorded_can_always_be_played(heard: list[RtpPacket]) -> None:
    for sides in ({Side.SDES: FORMS[0]}, {Side.SDES: FORMS[9], Side.WEBRTC: FORMS[111]}):
        recorder = Recorder(sides=sides, max_seconds=9, max_bytes=10**6, silence=None, now=0.0)
        for i, packet in enumerate(heard):
            side = Side.WEBRTC if packet.ssrc == 2 else Side.SDES
            recorder.push(side, packet, FORMS[packet.payload_type], i * 0.02)
            recorder.tick(i * 0.02)
        recorder.finish(RecordEnd.STOPPED, len(heard) * 0.02)
        assert all(opus_duration(packet) > 0 for packet in recorder.take())
        assert recorder.seconds <= len(heard) * 0.02 + 0.2


@given(packets)
def test_who_listens_is_not_upset(heard: list[RtpPacket]) -> None:
    meter = Meter(FORMS[0], 0.1, 0.0)
    ears = {number: Ear(form) for number, form in FORMS.items()}
    for i, packet in enumerate(heard):
        now = i * 0.02
        meter.push(packet, FORMS[packet.payload_type], now)
        meter.tick(now)
        ears[packet.payload_type].push(packet.payload, now)
        for ear in ears.values():
            ear.poll(now)


@given(packets, st.booleans())
def test_a_direction_without_telephone_events_goes_on(
    heard: list[RtpPacket], sending: bool
) -> None:
    subject = Direction(sources=FORMS, sink=FORMS[8], ssrc=5, sequence=0, timestamp=0)
    subject.set_sending(sending)
    for i, packet in enumerate(heard):
        subject.push(packet, i * 0.02)
        subject.tick(i * 0.02 + 0.01)
        subject.digits()
