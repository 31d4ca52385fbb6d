import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.rtcp import (
    INTERVAL,
    Goodbye,
    ReceiverReport,
    Reception,
    ReportBlock,
    Reporter,
    RtcpPacket,
    SenderReport,
    Sent,
    SourceDescription,
    ntp_time,
    parse,
)
from media.rtp import RtpError

BLOCK = ReportBlock(0xCAFEBABE, 26, -3, 0x1_0005, 160, 0x11223344, 65536)

every_packet = pytest.mark.parametrize(
    "packet",
    [
        SenderReport(1, ntp_time(1.5e9), 320, 7, 1120),
        SenderReport(1, ntp_time(1.5e9), 320, 7, 1120, (BLOCK, BLOCK)),
        ReceiverReport(1),
        ReceiverReport(1, (BLOCK,) * 31),
        SourceDescription(1, ""),
        SourceDescription(1, "a"),
        SourceDescription(1, "ab"),
        SourceDescription(1, "abc"),
        SourceDescription(1, "abcd"),
        SourceDescription(1, "ü" * 100),
        Goodbye(()),
        Goodbye((1, 2)),
    ],
)


@every_packet
def test_round_trip(packet: RtcpPacket) -> None:
    assert len(bytes(packet)) % 4 == 0
    assert parse(bytes(packet)) == [packet]


@every_packet
def test_every_cut_is_an_error(packet: RtcpPacket) -> None:
    wire = bytes(packet)
    for length in range(len(wire)):
        with pytest.raises(RtpError):
            parse(wire[:length])


@every_packet
def test_a_false_count_is_an_error_or_another_packet(packet: RtcpPacket) -> None:
    wire = bytearray(bytes(packet))
    for count in range(32):
        wire[0] = 0x80 | count
        try:
            parse(bytes(wire))
        except RtpError:
            continue


def test_reads_a_compound_packet_and_steps_over_what_it_does_not_know() -> None:
    feedback = bytes.fromhex("81ce0002 00000001 00000002")
    report, name, bye = ReceiverReport(1), SourceDescription(1, "x"), Goodbye((1,))
    wire = bytes(report) + feedback + bytes(name) + bytes(bye)
    assert parse(wire) == [report, name, bye]


def test_a_reason_for_leaving_is_left_out() -> None:
    assert parse(bytes.fromhex("81cb0002 00000001 03 627965")) == [Goodbye((1,))]


def test_padding_is_cut_off() -> None:
    wire = bytes.fromhex("a0c90002 00000001 00000004")
    assert parse(wire) == [ReceiverReport(1)]
    for padding in ("00", "09", "ff"):
        with pytest.raises(RtpError):
            parse(bytes.fromhex("a0c90002 00000001 000000" + padding))


def test_other_items_of_a_description_are_stepped_over() -> None:
    # NAME "me", then CNAME "a", in two chunks
    wire = bytes.fromhex("82ca0006 00000001 02026d65 01016100 00000002 01016200 00000000")
    assert parse(wire[: 4 + 24])[:1] == [SourceDescription(1, "a")]


@given(st.binary(max_size=120))
def test_any_bytes_give_packets_or_an_rtp_error(data: bytes) -> None:
    try:
        parse(data)
    except RtpError:
        return


@given(st.sampled_from([200, 201, 202, 203]), st.integers(0, 31), st.binary(max_size=80))
def test_any_body_gives_packets_or_an_rtp_error(kind: int, count: int, body: bytes) -> None:
    body = body[: len(body) // 4 * 4]
    wire = bytes((0x80 | count, kind)) + (len(body) // 4).to_bytes(2, "big") + body
    try:
        parse(wire)
    except RtpError:
        return


def test_ntp_counts_from_1900() -> None:
    assert ntp_time(0.0) == 2_208_988_800 << 32
    assert ntp_time(0.5) - ntp_time(0.0) == 1 << 31


# --- reception


def receive(reception: Reception, sequences: list[int], delay: float = 0.0, ssrc: int = 1) -> None:
    for sequence in sequences:
        now = sequence * 0.02 + delay
        reception.receive(ssrc, sequence & 0xFFFF, sequence * 160 & 0xFFFFFFFF, 160, 8000, now)


def block(reception: Reception) -> ReportBlock:
    found = reception.block(8000)
    assert found is not None
    return found


def test_nothing_received_is_nothing_reported() -> None:
    assert Reception().block(8000) is None


def test_counts_loss_over_the_roll_over() -> None:
    reception = Reception()
    receive(reception, [i for i in range(65500, 65600) if i % 10])
    report = block(reception)
    assert report.packets_lost == 9  # the first was number 65501, the last 65599
    assert report.highest_sequence == 65599
    assert report.fraction_lost == 9 * 256 // 99
    assert reception.packets_received == 90
    assert reception.octets_received == 90 * 160


def test_the_fraction_is_of_the_last_interval() -> None:
    reception = Reception()
    receive(reception, [0, 1, 2, 3, 5, 6, 7, 9])
    assert block(reception).fraction_lost == 2 * 256 // 10
    receive(reception, [10, 11])
    assert block(reception).fraction_lost == 0
    assert block(reception).packets_lost == 2


def test_order_is_no_loss_and_duplicates_count_against_it() -> None:
    reception = Reception()
    receive(reception, [0, 2, 1, 3, 3])
    assert block(reception).packets_lost == -1
    assert block(reception).fraction_lost == 0


def test_jitter_is_that_of_rfc_3550() -> None:
    reception = Reception()
    expected = 0.0
    for i in range(200):
        late = 0.010 if i % 2 else 0.0
        reception.receive(1, i, i * 160, 160, 8000, i * 0.02 + late)
        if i:
            expected += (0.010 - expected) / 16
    assert reception.jitter == pytest.approx(expected)
    assert block(reception).jitter == int(expected * 8000)


def test_a_clock_in_step_has_no_jitter() -> None:
    reception = Reception()
    receive(reception, list(range(100)), delay=0.3)
    assert reception.jitter == pytest.approx(0.0, abs=1e-9)


def test_a_digit_is_no_jitter() -> None:
    reception = Reception()
    receive(reception, list(range(10)))
    for i in range(10, 20):  # one timestamp for all packets of an event
        reception.receive(1, i, 1600, 4, 8000, i * 0.02)
    for i in range(20, 30):
        reception.receive(1, i, i * 160, 160, 8000, i * 0.02)
    assert reception.jitter == pytest.approx(0.0, abs=1e-9)


def test_a_new_source_starts_anew_and_keeps_the_totals() -> None:
    reception = Reception()
    receive(reception, [0, 1, 3])
    receive(reception, [40_000, 40_001], ssrc=2)
    assert reception.packets_lost == 1
    report = block(reception)
    assert (report.ssrc, report.packets_lost, report.highest_sequence) == (2, 0, 40_001)


def test_a_wild_jump_is_no_loss() -> None:
    reception = Reception()
    receive(reception, [0, 1, 2, 30_000, 30_001])
    assert reception.packets_lost == 0


# --- reports


def reporter(ssrc: int = 1, chance: float = 0.5) -> Reporter:
    return Reporter(ssrc=ssrc, cname="c", clock_rate=8000, random=lambda: chance)


def test_reports_are_due_every_five_seconds_jittered() -> None:
    early, late = reporter(chance=0.0), reporter(chance=0.999)
    assert early.deadline() is None
    early.start(100.0)
    late.start(100.0)
    assert early.deadline() == pytest.approx(100.0 + INTERVAL / 4)
    assert late.deadline() == pytest.approx(100.0 + INTERVAL * 0.75, abs=0.01)
    early.report(102.0, None)
    late.report(102.0, None)
    assert early.deadline() == pytest.approx(102.0 + INTERVAL * 0.5)
    assert late.deadline() == pytest.approx(102.0 + INTERVAL * 1.5, abs=0.01)


def test_reports_as_a_receiver_until_something_was_sent() -> None:
    one = reporter()
    first, second = (parse(one.report(1.0, s)) for s in (None, Sent(0, 0, 0)))
    assert first == second == [ReceiverReport(1), SourceDescription(1, "c")]
    report = parse(one.report(1.0, Sent(5, 800, 960)))[0]
    assert isinstance(report, SenderReport)
    assert (report.packet_count, report.octet_count, report.rtp_timestamp) == (5, 800, 960)


def test_round_trip_time_is_measured() -> None:
    near, far = reporter(1), reporter(2)
    near.wall_offset, far.wall_offset = 1.7e9, 1.3e9  # the clocks need not agree
    near.reception.receive(2, 0, 0, 160, 8000, 10.0)
    far.reception.receive(1, 0, 0, 160, 8000, 10.0)
    far.receive(parse(near.report(10.0, Sent(1, 160, 0))), 10.040)  # 40 ms there
    near.receive(parse(far.report(13.0, Sent(1, 160, 0))), 13.025)  # 25 ms back
    assert near.round_trip == pytest.approx(0.065, abs=0.001)
    assert far.round_trip is None


def test_loss_in_the_far_ends_eyes_is_read() -> None:
    near, far = reporter(1), reporter(2)
    receive(far.reception, [0, 1, 2, 4])
    near.receive(parse(far.report(1.0, None)), 1.0)
    assert near.far_loss == pytest.approx(0.2, abs=0.01)


def test_reports_on_others_and_impossible_times_say_nothing() -> None:
    near = reporter(1)
    other = ReportBlock(99, 128, 5, 5, 0, 0, 0)
    absurd = ReportBlock(1, 0, 0, 5, 0, 1, 0)
    near.receive([ReceiverReport(2, (other,))], 1.0)
    near.receive([ReceiverReport(2, (absurd,))], 1.0)
    assert near.far_loss == 0.0
    assert near.round_trip is None


def test_leaves_with_a_goodbye() -> None:
    one = reporter()
    one.start(0.0)
    packets = parse(one.goodbye(1.0, None))
    assert packets[-1] == Goodbye((1,))
    assert one.deadline() is None


def test_a_long_name_is_our_mistake() -> None:
    with pytest.raises(ValueError, match="cname"):
        bytes(SourceDescription(1, "x" * 256))


def told(one: Reporter, *, loss: float, round_trip: float) -> bool:
    """The far end reports, a second after our report; whether the path seems full then."""
    one.report(10.0, Sent(100, 0, 0))
    ours = ntp_time(10.0 + one.wall_offset) >> 16 & 0xFFFF_FFFF
    block = ReportBlock(one.ssrc, round(loss * 256), 7, 99, 400, ours, 65536)
    one.receive([ReceiverReport(2, (block,))], 11.0 + round_trip)
    return one.is_congested


def test_a_report_without_loss_does_not_end_the_care_for_it() -> None:
    one = reporter()
    told(one, loss=0.05, round_trip=0.05)
    assert one.expected_loss == pytest.approx(0.05, abs=0.002)
    for _ in range(5):
        told(one, loss=0.0, round_trip=0.05)
    assert one.far_loss == 0.0
    assert 0.01 < one.expected_loss < 0.02
    assert (one.far_packets_lost, one.far_jitter) == (7, 0.05)


def test_a_path_that_loses_and_dawdles_is_full_until_it_has_relaxed() -> None:
    one = reporter()
    assert not told(one, loss=0.20, round_trip=0.05)  # a bad radio
    assert told(one, loss=0.0, round_trip=0.9)
    assert told(one, loss=0.0, round_trip=0.5)
    assert not told(one, loss=0.0, round_trip=0.1)


def test_what_whom_we_pass_on_to_loses_is_reported_to_the_source() -> None:
    one = reporter()
    receive(one.reception, [0, 1, 2, 4])
    report = parse(one.report(1.0, None, loss_behind=0.5))[0]
    assert isinstance(report, ReceiverReport)
    assert report.reports[0].fraction_lost == 128
    receive(one.reception, [5, 6, 8])
    report = parse(one.report(2.0, None, loss_behind=0.01))[0]
    assert isinstance(report, ReceiverReport)
    assert report.reports[0].fraction_lost == 64


def test_a_sender_that_changes_its_clock_does_not_tremble_for_that() -> None:
    reception, timestamp = Reception(), 0
    for i in range(100):
        rate = 48000 if i // 10 % 2 else 8000
        timestamp += rate // 50
        reception.receive(7, i, timestamp, 160, rate, 10.0 + 0.02 * i)
    assert reception.jitter < 1e-6


def test_the_far_ends_jitter_is_in_the_clock_of_what_we_send_it() -> None:
    reporter = Reporter(1, "us", 8000, lambda: 0.5, sent_clock_rate=48000)
    reporter.receive([ReceiverReport(7, (ReportBlock(1, 0, 0, 5, 480, 0, 0),))], 10.0)
    assert reporter.far_jitter == pytest.approx(0.010)
