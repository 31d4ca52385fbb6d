"""Whole directions in virtual time: what one end sends goes in, what the other hears is judged."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.codec import RATES, common_rate, decoder, encoder
from media.codec.opus import OpusEncoder
from media.direction import Direction
from media.dtmf import DIGITS, DigitReceiver, Pressed, Released
from media.format import Format, packet_time_ms, pass_through
from media.rtp import RtpPacket, timestamp_difference
from tests.media.sound import frames, frequency, level_db, roughness, samples, tone

SLOT = 0.02
FORMATS = {
    "opus": Format("opus", 111, 48000, 110, 48000, {"useinbandfec": "1"}),
    "g722": Format("g722", 9, 8000, 101),
    "pcma": Format("pcma", 8, 8000, 101),
    "pcmu": Format("pcmu", 0, 8000, 101),
}
PAIRS = [(a, b) for a in FORMATS for b in FORMATS if a != b]
every_pair = pytest.mark.parametrize(("source", "sink"), PAIRS)


def direction(source: Format, sink: Format, *others: Format) -> Direction:
    return Direction(
        sources={form.payload_type: form for form in (source, *others)},
        sink=sink,
        ssrc=0xFACE,
        sequence=65_530,
        timestamp=0xFFFF_FF00,
    )


@cache
def encoded(codec: str, pcm: bytes) -> list[bytes]:
    rate = RATES[codec][0]
    coder = encoder(codec, rate, {})
    return [coder.encode(frame) for frame in frames(pcm, rate)]


def talk(
    form: Format, pcm: bytes | None = None, *, seconds: float = 1.0, first: int = 0, ssrc: int = 7
) -> list[RtpPacket]:
    """What a far end sends; a tone of 1004 Hz if nothing else is given."""
    rate = RATES[form.codec][0]
    sound = tone(1004.0, rate, seconds) if pcm is None else pcm
    step = form.clock_rate // 50
    return [
        RtpPacket(
            form.payload_type,
            (first + i) & 0xFFFF,
            (first + i) * step & 0xFFFFFFFF,
            ssrc,
            payload,
            i == 0,
        )
        for i, payload in enumerate(encoded(form.codec, sound))
    ]


class Run:
    """A direction with its clock: packets arrive by their timestamps, ticks come every 20 ms."""

    def __init__(self, subject: Direction) -> None:
        self.subject = subject
        self.now = 100.0
        self.sent: list[tuple[float, RtpPacket]] = []
        self.digits: list[tuple[str, int]] = []

    def feed(
        self,
        packets: list[RtpPacket | None],
        *,
        jitter: Callable[[int], float] = lambda i: 0.0,
    ) -> None:
        """One packet every 20 ms (None: nothing comes), ticks between them."""
        arrivals = sorted(
            (self.now + i * SLOT + jitter(i), i, packet)
            for i, packet in enumerate(packets)
            if packet is not None
        )
        for _ in range(len(packets)):
            tick = self.now + 0.011
            while arrivals and arrivals[0][0] <= tick:
                at, _, packet = arrivals.pop(0)
                self._note(at, self.subject.push(packet, at))
            self._note(tick, self.subject.tick(tick))
            self.digits += self.subject.digits()
            self.now += SLOT

    def idle(self, slots: int) -> None:
        self.feed([None] * slots)

    def _note(self, now: float, sent: list[bytes]) -> None:
        self.sent += [(now, RtpPacket.parse(data)) for data in sent]

    def audio(self, form: Format) -> list[RtpPacket]:
        return [packet for _, packet in self.sent if packet.payload_type == form.payload_type]

    def events(self, form: Format) -> list[RtpPacket]:
        return [packet for _, packet in self.sent if packet.payload_type == form.dtmf_payload_type]

    def heard(self, form: Format, rate: int) -> bytes:
        """What the far end hears, if it plays one packet behind the other."""
        listener = decoder(form.codec, rate)
        return b"".join(listener.decode(packet.payload) for packet in self.audio(form))


def assert_contiguous(packets: list[RtpPacket], step: int) -> None:
    """No gap of our own making in what leaves."""
    for before, after in itertools.pairwise(packets):
        assert (after.sequence - before.sequence) & 0xFFFF == 1
        assert timestamp_difference(after.timestamp, before.timestamp) == step


def event(
    digit: str, timestamp: int, number: int, duration: int, *, payload_type: int, end: bool = False
) -> RtpPacket:
    payload = bytes((DIGITS.index(digit), 0x8A if end else 0x0A)) + duration.to_bytes(2, "big")
    return RtpPacket(payload_type, number, timestamp, 7, payload, number == 0)


# --- sound


@every_pair
def test_a_tone_comes_through(source: str, sink: str) -> None:
    run = Run(direction(FORMATS[source], FORMATS[sink]))
    run.feed([*talk(FORMATS[source])])
    rate = common_rate(source, sink)
    heard = run.heard(FORMATS[sink], rate)
    assert len(heard) > 0.9 * 2 * rate
    settled = heard[len(heard) // 4 :]
    assert frequency(settled, rate) == pytest.approx(1004.0, abs=1.0)
    assert level_db(settled, tone(1004.0, rate, 0.5)) == pytest.approx(0.0, abs=3.0)
    level = run.subject.statistics.level_dbov
    assert level is not None
    assert level == pytest.approx(-13.3, abs=1.0)  # a sine with a peak of 10000


@every_pair
def test_what_leaves_is_contiguous_and_starts_where_it_was_told(source: str, sink: str) -> None:
    run = Run(direction(FORMATS[source], FORMATS[sink]))
    run.feed([*talk(FORMATS[source])])
    sent = [packet for _, packet in run.sent]
    assert (sent[0].ssrc, sent[0].sequence) == (0xFACE, 65_530)
    assert [packet.marker for packet in sent] == [True] + [False] * (len(sent) - 1)
    assert_contiguous(sent, FORMATS[sink].clock_rate // 50)


@pytest.mark.parametrize(
    ("source", "sink", "share"),
    [
        *((source, sink, 10) for source, sink in PAIRS),
        *(("opus", "pcmu", share) for share in (5, 20)),
        *(("g722", "pcma", share) for share in (5, 20)),
    ],
)
def test_loss_is_concealed_without_clicks(source: str, sink: str, share: int) -> None:
    """5 to 20 % lost: what leaves has no gap, and the tone goes on without a step in it."""
    rate, far = common_rate(source, sink), RATES[source][0]
    packets = talk(FORMATS[source], tone(440.0, far, 1.6))
    whole, broken = (Run(direction(FORMATS[source], FORMATS[sink])) for _ in range(2))
    whole.feed([*packets])
    broken.feed([None if i % share == 3 and i > 20 else p for i, p in enumerate(packets)])
    settled = 2 * rate // 4
    smooth = roughness(whole.heard(FORMATS[sink], rate)[settled:])
    heard = broken.heard(FORMATS[sink], rate)[settled:]
    assert roughness(heard) < 2.5 * smooth + 700
    assert frequency(heard, rate) == pytest.approx(440.0, abs=1.0)
    assert_contiguous([p for _, p in broken.sent], FORMATS[sink].clock_rate // 50)
    lost = broken.subject.statistics.frames_lost
    assert lost == pytest.approx(60 / share, abs=2)


def test_a_jitter_of_30_ms_is_settled() -> None:
    run = Run(direction(FORMATS["opus"], FORMATS["pcmu"]))
    run.feed([*talk(FORMATS["opus"], seconds=4.0)], jitter=lambda i: (i * 7919 % 31) / 1000)
    done = run.subject.statistics
    assert done.frames_lost + done.frames_late < 8
    assert_contiguous(run.audio(FORMATS["pcmu"]), 160)
    assert done.delay_ms < 80


def test_delay_at_rest_is_below_50_ms() -> None:
    run = Run(direction(FORMATS["opus"], FORMATS["pcmu"]))
    run.feed([*talk(FORMATS["opus"])])
    first_sent = run.sent[0][0]
    assert first_sent - 100.0 < 0.045
    assert 20 <= run.subject.statistics.delay_ms < 45


def test_delay_of_a_stall_is_worked_off_without_clicks() -> None:
    run = Run(direction(FORMATS["pcmu"], FORMATS["pcma"]))

    def stall(i: int) -> float:
        return (55 - i) * SLOT if 50 <= i < 55 else 0.0

    run.feed([*talk(FORMATS["pcmu"], tone(440.0, 8000, 40.0))], jitter=stall)
    assert run.subject.statistics.delay_ms < 95  # a tone has no pauses, where more would be cut
    settled = run.heard(FORMATS["pcma"], 8000)[8000:]
    assert roughness(settled) < 2.5 * roughness(tone(440.0, 8000, 1.0)) + 700
    assert_contiguous(run.audio(FORMATS["pcma"]), 160)


def test_packets_of_other_lengths_are_cut_to_20_ms() -> None:
    pcm = tone(1004.0, 8000, 1.2)
    for frame_ms in (10, 30, 60):
        coder = encoder("pcmu", 8000, {})
        step = 8 * frame_ms
        run = Run(direction(FORMATS["pcmu"], FORMATS["opus"]))
        now = 100.0
        for i, frame in enumerate(frames(pcm, 8000, frame_ms)):
            run.subject.push(RtpPacket(0, i, i * step, 7, coder.encode(frame)), now)
            while run.now + 0.001 < now + frame_ms / 1000:
                run.idle(1)
            now += frame_ms / 1000
        assert run.subject.statistics.frames_lost == 0
        assert_contiguous(run.audio(FORMATS["opus"]), 960)
        heard = run.heard(FORMATS["opus"], 8000)[4000:]
        assert frequency(heard, 8000) == pytest.approx(1004.0, abs=1.0)


@pytest.mark.parametrize(
    ("codec", "packet_ms"),
    [("pcmu", 10), ("pcmu", 30), ("pcmu", 60), ("g722", 30), ("opus", 10), ("opus", 40)],
)
def test_the_sink_may_want_packets_of_another_length(codec: str, packet_ms: int) -> None:
    source = FORMATS["opus" if codec != "opus" else "pcma"]
    sink = replace(FORMATS[codec], ptime_ms=packet_ms)
    run = Run(direction(source, sink))
    run.feed([*talk(source)])
    step = packet_ms * sink.clock_rate // 1000
    assert_contiguous(run.audio(sink), step)
    assert len(run.audio(sink)) >= 900 // packet_ms
    if codec != "opus":
        assert {len(packet.payload) for packet in run.audio(sink)} == {8 * packet_ms}
    heard = run.heard(sink, 8000)
    assert frequency(heard[-8000:], 8000) == pytest.approx(1004.0, abs=3.0)
    assert roughness(heard[1600:]) < 2.5 * roughness(tone(1004.0, 8000, 1.0))


@pytest.mark.parametrize(
    ("codec", "wish", "packet_ms"),
    [
        ("pcmu", None, 20),
        ("pcmu", 30, 30),
        ("pcmu", 50, 40),
        ("pcmu", 200, 60),
        ("pcmu", 0, 10),
        ("opus", 30, 20),
        ("opus", 120, 60),
    ],
)
def test_a_wish_for_a_packet_time_is_met_within_reason(
    codec: str, wish: int | None, packet_ms: int
) -> None:
    assert packet_time_ms(codec, wish) == packet_ms


def test_the_end_of_a_stream_fades_and_is_marked_when_it_goes_on() -> None:
    run = Run(direction(FORMATS["opus"], FORMATS["pcmu"]))
    packets = talk(FORMATS["opus"], seconds=5.0)
    run.feed([p if i < 50 or i >= 200 else None for i, p in enumerate(packets)])
    sent = run.audio(FORMATS["pcmu"])
    assert len(sent) < 250 - 80  # silence was sent for a second, and then nothing
    marked = [i for i, packet in enumerate(sent) if packet.marker]
    assert len(marked) == 2
    pause = timestamp_difference(sent[marked[1]].timestamp, sent[marked[1] - 1].timestamp)
    assert pause == pytest.approx(94 * 160, abs=2 * 160)
    assert all((b.sequence - a.sequence) & 0xFFFF == 1 for a, b in itertools.pairwise(sent))
    assert roughness(run.heard(FORMATS["pcmu"], 8000)) < 2.5 * roughness(tone(1004.0, 8000, 1.0))


def test_noise_of_a_sender_with_dtx_goes_on() -> None:
    source = FORMATS["opus"]
    coder = OpusEncoder(48000, {"usedtx": "1"})
    coder.set_thin(True)
    packets: list[RtpPacket | None] = []
    number = 0
    quiet = tone(300.0, 48000, 4.0, level=2.0)
    for i, frame in enumerate(frames(tone(1004.0, 48000, 1.0) + quiet, 48000)):
        payload = coder.encode(frame)
        packets.append(RtpPacket(111, number, i * 960, 7, payload) if payload else None)
        number += bool(payload)
    assert packets.count(None) > 50
    run = Run(direction(source, FORMATS["pcmu"]))
    run.feed(packets)
    assert run.subject.statistics.frames_lost == 0
    assert_contiguous(run.audio(FORMATS["pcmu"])[:100], 160)
    run.idle(150)  # it never comes back from its silence
    count = len(run.sent)
    run.idle(50)
    assert len(run.sent) == count


def test_late_ticks_are_made_up_for() -> None:
    packets = talk(FORMATS["opus"])
    subject = direction(FORMATS["opus"], FORMATS["pcmu"])
    sent: list[RtpPacket] = []
    for i, packet in enumerate(packets):
        now = 100.0 + i * SLOT
        subject.push(packet, now)
        if i % 3 == 2:
            sent += map(RtpPacket.parse, subject.tick(now + 0.011))
    assert len(sent) > 44
    assert_contiguous(sent, 160)


@pytest.mark.parametrize("first", [0.001, 0.010, 0.0105, 0.018])
def test_ticks_a_little_early_or_late_change_nothing(first: float) -> None:
    packets = talk(FORMATS["opus"], seconds=2.0)
    subject = direction(FORMATS["opus"], FORMATS["pcmu"])
    sent = []
    for i, packet in enumerate(packets):
        now = 100.0 + i * SLOT
        subject.push(packet, now)
        jitter = first if i < 3 else (0.0, 0.004, 0.001)[i % 3]
        sent.append(len(subject.tick(now + jitter)))
    assert set(sent[10:]) == {1}


# --- pass-through


@pytest.mark.parametrize("codec", FORMATS)
def test_the_same_codec_passes_untouched_and_at_once(codec: str) -> None:
    source, sink = FORMATS[codec], Format(codec, 96, FORMATS[codec].clock_rate)
    assert pass_through(source, sink)
    subject = direction(source, sink)
    packets = talk(source)
    out = []
    for i, packet in enumerate(packets):
        (data,) = subject.push(packet, 100.0 + i * SLOT)
        out.append(RtpPacket.parse(data))
        assert subject.tick(100.0 + i * SLOT) == []
    assert [p.payload for p in out] == [p.payload for p in packets]
    assert {p.payload_type for p in out} == {96}
    assert (out[0].sequence, out[0].timestamp, out[0].ssrc) == (65_530, 0xFFFF_FF00, 0xFACE)
    assert_contiguous(out, source.clock_rate // 50)
    assert subject.statistics.level_dbov is None
    assert "relay" in repr(subject)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(-3, 4),  # steps of the sequence number
            st.sampled_from([0, 0, 0, 0, 8, 101]),  # payload type
            st.sampled_from([7, 7, 7, 7, 9]),  # source
            st.booleans(),  # marker
            st.sampled_from(["", "", "", "hold", "resume", "press"]),
        ),
        max_size=40,
    )
)
def test_the_short_way_leads_to_the_same_place(
    steps: list[tuple[int, int, int, bool, str]],
) -> None:
    form = FORMATS["pcmu"]
    short, long = direction(form, form), direction(form, form)
    number, now = 100, 0.0
    for step, payload_type, ssrc, marker, act in steps:
        for one in (short, long):
            if act == "press":
                one.press("5")
            elif act:
                one.set_sending(act == "resume")
        number, now = number + step, now + 0.02
        payload = bytes(160) if payload_type != 101 else b"\x05\x8a\x03\x20"
        packet = RtpPacket(payload_type, number, number * 160, ssrc, payload, marker)
        left = long.push(packet, now)
        if short.lane is not None:
            plain = bytes(packet)
            passed = short.lane.follow(plain, plain[1], number, number * 160, ssrc, now)
            if passed is not None:
                assert [passed] == left
                continue
        assert short.push(packet, now) == left


def test_loss_and_order_pass_as_they_are() -> None:
    subject = direction(FORMATS["pcmu"], FORMATS["pcmu"])
    packets = talk(FORMATS["pcmu"])
    order = [0, 1, 2, 5, 4, 6, 9]  # 3, 7 and 8 are lost, 4 is late
    out = [
        RtpPacket.parse(data) for i in order for data in subject.push(packets[i], 100 + i * SLOT)
    ]
    assert [(p.sequence - 65_530) & 0xFFFF for p in out] == order
    assert [timestamp_difference(p.timestamp, 0xFFFF_FF00) // 160 for p in out] == order


def test_a_new_source_goes_on_in_the_same_stream() -> None:
    subject = direction(FORMATS["pcmu"], FORMATS["pcmu"])
    run = Run(subject)
    run.feed([*talk(FORMATS["pcmu"], seconds=0.4, first=30_000)])
    run.feed([*talk(FORMATS["pcmu"], seconds=0.4, first=5, ssrc=8)])  # another SSRC
    run.feed([*talk(FORMATS["pcmu"], seconds=0.4, first=40_000, ssrc=8)])  # a wild jump
    sent = [packet for _, packet in run.sent]
    assert len(sent) == 60
    assert_contiguous(sent, 160)
    assert [i for i, packet in enumerate(sent) if packet.marker] == [0, 20, 40]


def test_no_number_is_ever_given_twice() -> None:
    """Two texts under one number and one key would be readable (RFC 3711 §9.1)."""
    subject = direction(FORMATS["pcmu"], FORMATS["pcmu"])
    packets = talk(FORMATS["pcmu"], seconds=2.0)
    order = [10, 12, 9, 8, 13, 11, 40, 39, 41]
    out = [
        RtpPacket.parse(data) for i in order for data in subject.push(packets[i], 100 + i * SLOT)
    ]
    subject.set_sending(False)
    subject.push(packets[42], 101.0)
    subject.set_sending(True)
    order = [50, 49, 43, 51]
    out += [
        RtpPacket.parse(data) for i in order for data in subject.push(packets[i], 102 + i * SLOT)
    ]
    numbers = [p.sequence for p in out]
    assert len(numbers) == len(set(numbers))


# --- changes


def test_the_source_may_change_its_codec_at_any_time() -> None:
    """Opus, then PCMU (passes), then G.722, all agreed, toward PCMU: one contiguous stream."""
    sink = FORMATS["pcmu"]
    run = Run(direction(FORMATS["opus"], sink, FORMATS["pcmu"], FORMATS["g722"]))
    for codec in ("opus", "pcmu", "g722", "opus", "pcmu"):
        first = 1000 * len(run.sent)
        run.feed([*talk(FORMATS[codec], seconds=0.6, first=first)])
    sent = [packet for _, packet in run.sent]
    assert {p.payload_type for p in sent} == {0}
    assert all((b.sequence - a.sequence) & 0xFFFF == 1 for a, b in itertools.pairwise(sent))
    steps = [timestamp_difference(b.timestamp, a.timestamp) for a, b in itertools.pairwise(sent)]
    assert min(steps) > 0
    assert sum(step != 160 for step in steps) <= 5
    heard = run.heard(sink, 8000)
    assert frequency(heard, 8000) == pytest.approx(1004.0, abs=1.0)
    assert len(sent) > 0.9 * 5 * 30


def test_a_re_offer_goes_on_in_the_same_stream() -> None:
    run = Run(direction(FORMATS["opus"], FORMATS["pcmu"]))
    run.feed([*talk(FORMATS["opus"])])
    before = run.sent[-1][1]
    other = Format("pcma", 8, 8000, 100)
    run.subject.change({111: FORMATS["opus"]}, other)
    run.feed([*talk(FORMATS["opus"], first=50)])
    after = run.audio(other)[0]
    assert after.ssrc == before.ssrc
    assert (after.sequence - before.sequence) & 0xFFFF == 1
    assert 0 < timestamp_difference(after.timestamp, before.timestamp) < 10 * 160
    assert run.subject.statistics.packets_sent == len(run.sent)


def test_a_re_offer_that_changes_nothing_is_not_heard() -> None:
    run = Run(direction(FORMATS["opus"], FORMATS["pcmu"]))
    packets = talk(FORMATS["opus"])
    run.feed([*packets[:25]])
    same = Format("opus", 111, 48000, 110, 48000, {"useinbandfec": "1"})
    run.subject.change({111: same}, Format("pcmu", 0, 8000, 101))
    run.feed([*packets[25:]])
    assert_contiguous(run.audio(FORMATS["pcmu"]), 160)
    assert run.subject.statistics.frames_late == 0


def test_nothing_is_sent_while_on_hold() -> None:
    for sink in ("pcmu", "opus"):
        run = Run(direction(FORMATS["opus"], FORMATS[sink]))
        packets = talk(FORMATS["opus"], seconds=3.0)
        run.feed([*packets[:50]])
        run.subject.set_sending(False)
        count = len(run.sent)
        run.feed([*packets[50:100]])
        assert len(run.sent) == count
        run.subject.set_sending(True)
        run.feed([*packets[100:]])
        first, again = run.sent[count - 1][1], run.sent[count][1]
        assert (again.sequence - first.sequence) & 0xFFFF == 1
        assert again.marker
        pause = timestamp_difference(again.timestamp, first.timestamp) / FORMATS[sink].clock_rate
        assert pause == pytest.approx(1.0, abs=0.09)
        assert run.subject.statistics.frames_lost == 0


def test_what_was_not_agreed_is_not_played() -> None:
    run = Run(direction(FORMATS["opus"], FORMATS["pcmu"]))
    packets = talk(FORMATS["opus"])
    noise = RtpPacket(13, 20, 20 * 960, 7, b"\x40")
    run.feed([noise if i == 20 else p for i, p in enumerate(packets)])
    done = run.subject.statistics
    assert (done.packets_discarded, done.frames_lost) == (1, 0)
    stranger = direction(FORMATS["opus"], FORMATS["opus"])
    assert stranger.push(RtpPacket(0, 1, 1, 7, b"x"), 1.0) == []


def test_a_broken_payload_is_concealed() -> None:
    run = Run(direction(FORMATS["opus"], FORMATS["pcmu"]))
    packets = talk(FORMATS["opus"])
    bad = packets[20]
    packets[20] = RtpPacket(111, bad.sequence, bad.timestamp, 7, b"\xff\xff\xff")
    run.feed([*packets])
    assert run.subject.statistics.packets_discarded == 1
    assert_contiguous(run.audio(FORMATS["pcmu"]), 160)


# --- digits

DTMF_PAIRS = [
    ("opus", "pcmu"),
    ("pcmu", "opus"),
    ("pcmu", "pcmu"),
    ("opus", "opus"),
    ("g722", "pcma"),
]
DTMF_SINKS: Mapping[str, Format] = {
    name: Format(form.codec, form.payload_type, form.clock_rate, 100, form.clock_rate)
    for name, form in FORMATS.items()
}


def dial(source: Format, digit: str, at: int, *, slots: int = 5) -> list[RtpPacket]:
    """An ordinary digit in place of the packets from number `at` on."""
    assert source.dtmf_payload_type is not None
    clock, number = source.dtmf_clock, source.dtmf_payload_type
    start = at * source.clock_rate // 50
    return [
        event(
            digit,
            start,
            at + i,
            min(i + 1, slots) * clock // 50,
            payload_type=number,
            end=i + 1 >= slots,
        )
        for i in range(slots + 2)
    ]


def read_digits(packets: list[RtpPacket], clock: int) -> list[Pressed | Released]:
    receiver = DigitReceiver()
    return [
        told for i, p in enumerate(packets) for told in receiver.receive(p, clock, 100.0 + i * SLOT)
    ]


@pytest.mark.parametrize(("source", "sink"), DTMF_PAIRS)
def test_a_digit_is_made_anew_for_the_far_end(source: str, sink: str) -> None:
    form, to = FORMATS[source], DTMF_SINKS[sink]
    run = Run(direction(form, to))
    packets = talk(form, seconds=2.0)
    packets[40:47] = dial(form, "5", 40)
    run.feed([*packets])
    assert run.digits == [("5", 100)]
    told = read_digits(run.events(to), to.dtmf_clock)
    assert told[0] == Pressed("5")
    assert isinstance(told[1], Released)
    assert 100 <= told[1].duration_ms <= 140
    sent = [packet for _, packet in run.sent]
    numbers = [packet.sequence for packet in sent]
    assert [(b - a) & 0xFFFF for a, b in itertools.pairwise(numbers)] == [1] * (len(sent) - 1)
    audio = run.audio(to)
    times = [timestamp_difference(p.timestamp, audio[0].timestamp) for p in audio]
    assert times == sorted(set(times))
    assert times[-1] == pytest.approx(98 * to.clock_rate / 50, abs=3 * to.clock_rate / 50)
    assert run.subject.statistics.frames_lost == 0


@pytest.mark.parametrize(("source", "sink"), DTMF_PAIRS)
def test_the_sound_of_a_digit_is_not_heard_with_it(source: str, sink: str) -> None:
    """A gateway that sends events and lets the tone through as well."""
    form, to = FORMATS[source], DTMF_SINKS[sink]
    rate = RATES[form.codec][0]
    parts = (tone(300.0, rate, 0.8), tone(1477.0, rate, 0.14), tone(300.0, rate, 1.0))
    packets = talk(form, b"".join(parts))
    digit = dial(form, "3", 40)
    subject = direction(form, to)
    listener = decoder(to.codec, 8000)
    out: list[RtpPacket] = []
    sequence = 0
    for i, packet in enumerate(packets):
        now = 100.0 + i * SLOT
        arriving = [digit[i - 40]] if 40 <= i < 47 else []
        for each in (*arriving, packet):
            renumbered = RtpPacket(
                each.payload_type, sequence, each.timestamp, 7, each.payload, each.marker
            )
            sequence += 1
            out += map(RtpPacket.parse, subject.push(renumbered, now))
        out += map(RtpPacket.parse, subject.tick(now + 0.011))
    heard = b"".join(listener.decode(p.payload) for p in out if p.payload_type == to.payload_type)
    import numpy as np

    x = np.frombuffer(heard, np.int16).astype(float)[4000:]
    spectrum = np.abs(np.fft.rfft(x * np.hanning(len(x))))
    hertz = np.fft.rfftfreq(len(x), 1 / 8000)
    digit_tone = spectrum[(hertz > 1450) & (hertz < 1500)].max()
    assert digit_tone < 0.05 * spectrum.max()
    assert [event.digit for event in read_digits([p for p in out if p.payload_type == 100],
                                                 to.dtmf_clock)] == ["3", "3"]  # fmt: skip


def test_end_packets_alone_become_a_whole_digit() -> None:
    form, to = FORMATS["opus"], DTMF_SINKS["pcmu"]
    source = Format("opus", 111, 48000, 126, 8000)
    run = Run(direction(source, to))
    packets = talk(form, seconds=1.5)
    run.feed([*packets[:30]])
    for i in range(3):
        end = event("9", 30 * 960, 30 + i, 160, payload_type=126, end=True)
        run.subject.push(end, run.now)
    after = [RtpPacket(111, p.sequence + 2, p.timestamp, 7, p.payload) for p in packets[31:]]
    run.feed([*after])
    assert run.digits == [("9", 20)]
    assert read_digits(run.events(to), 8000) == [Pressed("9"), Released("9", 100)]
    assert len(run.events(to)) == 7
    assert run.subject.statistics.frames_lost == 0


def test_a_digit_of_ours_is_sent() -> None:
    for source in ("opus", "pcmu"):
        run = Run(direction(FORMATS[source], DTMF_SINKS["pcmu"]))
        packets = talk(FORMATS[source])
        run.feed([*packets[:20]])
        run.subject.press("1")
        run.subject.press("2", 200)
        run.feed([*packets[20:]])
        told = read_digits(run.events(DTMF_SINKS["pcmu"]), 8000)
        assert told == [Pressed("1"), Released("1", 100), Pressed("2"), Released("2", 200)]


def test_digits_are_sent_before_there_is_any_sound() -> None:
    run = Run(direction(FORMATS["opus"], DTMF_SINKS["pcmu"]))
    run.subject.press("1")
    run.idle(20)
    assert len(run.events(DTMF_SINKS["pcmu"])) == 7


def test_a_far_end_without_events_gets_the_sound_as_it_is() -> None:
    to = Format("pcmu", 0, 8000)
    run = Run(direction(FORMATS["opus"], to))
    packets = talk(FORMATS["opus"], seconds=2.0)
    packets[40:47] = dial(FORMATS["opus"], "5", 40)
    run.feed([*packets])
    run.subject.press("1")
    assert run.digits == [("5", 100)]
    assert {p.payload_type for _, p in run.sent} == {0}


def test_no_digit_is_sent_on_hold() -> None:
    run = Run(direction(FORMATS["opus"], DTMF_SINKS["pcmu"]))
    run.subject.set_sending(False)
    run.feed([*dial(FORMATS["opus"], "5", 0)])
    assert run.digits == [("5", 100)]
    assert run.sent == []


# --- for the reports


def test_the_sender_reports_clock_follows_the_stream() -> None:
    run = Run(direction(FORMATS["opus"], FORMATS["pcmu"]))
    run.feed([*talk(FORMATS["opus"])])
    at, last = run.sent[-1]
    there = run.subject.rtp_timestamp(at + 0.5)
    assert timestamp_difference(there, last.timestamp) == pytest.approx(4000, abs=2)
    done = run.subject.statistics
    assert done.packets_sent == len(run.sent)
    assert done.octets_sent == sum(len(packet.payload) for _, packet in run.sent)
    assert done.packets_received == 50


def test_expected_loss_reaches_the_encoder_before_and_after_it_is_made() -> None:
    plain = Run(direction(FORMATS["pcmu"], FORMATS["opus"]))
    early, late = (Run(direction(FORMATS["pcmu"], FORMATS["opus"])) for _ in range(2))
    early.subject.expect_loss(0.2)
    packets = talk(FORMATS["pcmu"])
    for run in (plain, early, late):
        run.feed([packets[0]])
        if run is late:
            late.subject.expect_loss(0.2)
        run.feed([*packets[1:]])
    assert plain.heard(FORMATS["opus"], 8000) != early.heard(FORMATS["opus"], 8000)
    assert early.heard(FORMATS["opus"], 8000) == late.heard(FORMATS["opus"], 8000)


def test_the_path_of_a_call_can_be_read() -> None:
    run = Run(direction(FORMATS["opus"], FORMATS["pcmu"]))
    assert repr(run.subject) == "<Direction ? → pcmu/8000>"
    run.feed([*talk(FORMATS["opus"], seconds=0.1)])
    assert (
        repr(run.subject) == "<Direction opus/48000 → buffer → opus → 8000 Hz → pcmu → pcmu/8000>"
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([111, 110, 0, 9, 101, 13]),
            st.integers(0, 0xFFFF),
            st.integers(0, 0xFFFFFFFF),
            st.sampled_from([7, 7, 7, 8]),
            st.binary(max_size=40),
            st.floats(0.0, 0.05),
        ),
        max_size=40,
    )
)
def test_whatever_comes_in_what_leaves_is_a_stream(
    steps: list[tuple[int, int, int, int, bytes, float]],
) -> None:
    subject = direction(FORMATS["opus"], DTMF_SINKS["pcmu"], FORMATS["pcmu"], FORMATS["g722"])
    now, sent = 100.0, []
    for payload_type, sequence, timestamp, ssrc, payload, wait in steps:
        sent += subject.push(RtpPacket(payload_type, sequence, timestamp, ssrc, payload), now)
        now += wait
        sent += subject.tick(now)
    packets = [RtpPacket.parse(data) for data in sent]
    assert {packet.ssrc for packet in packets} <= {0xFACE}
    assert {packet.payload_type for packet in packets} <= {0, 100}
    numbers = [packet.sequence for packet in packets]
    assert len(numbers) == len(set(numbers))


def test_a_thin_link_gets_one_packet_for_60_ms_and_then_the_usual_again() -> None:
    run = Run(direction(FORMATS["pcmu"], FORMATS["opus"]))
    packets = talk(FORMATS["pcmu"], seconds=3.0)
    run.subject.set_thin(True)
    run.feed([*packets[:75]])
    thin = run.audio(FORMATS["opus"])
    run.subject.set_thin(False)
    run.feed([*packets[75:]])
    assert 20 <= len(thin) <= 26
    assert_contiguous(thin, 3 * 960)
    assert_contiguous(run.audio(FORMATS["opus"])[len(thin) + 1 :], 960)
    assert frequency(run.heard(FORMATS["opus"], 8000)[-16_000:], 8000) == pytest.approx(1004, abs=3)


def test_a_codec_of_one_rate_knows_no_thin_link() -> None:
    run = Run(direction(FORMATS["opus"], FORMATS["pcmu"]))
    run.subject.set_thin(True)
    run.feed([*talk(FORMATS["opus"])])
    assert_contiguous(run.audio(FORMATS["pcmu"]), 160)


def test_comfort_noise_is_understood_unasked() -> None:
    run = Run(direction(FORMATS["pcmu"], FORMATS["opus"]))
    spoken = talk(FORMATS["pcmu"], seconds=1.0)
    hush = RtpPacket(13, 50, 50 * 160, 7, bytes([45]), False)
    run.feed([*spoken, hush, *[None] * 49])
    assert run.subject.statistics.packets_discarded == 0
    assert run.subject.statistics.frames_late == 0
    heard = run.heard(FORMATS["opus"], 8000)
    assert len(heard) >= 2 * 8000 * 1.8
    assert 50 < samples(heard[-8000:-800]).std() < 400
