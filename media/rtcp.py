"""RTCP (RFC 3550 §6): reports on what was sent and received, and what they tell about the path.

Sender and receiver reports, SDES with the canonical name, and BYE are read and written; other
packet types (feedback, extended reports) are stepped over, as §6.1 asks. Every length is checked,
and the only error is `RtpError`.

`Reception` counts what one far end sends (§6.4.1, A.1, A.3, A.8). It is fed before the playout
buffer, so that it tells of the network and not of us. `Reporter` is the RTCP of one side: it says
when the next compound packet is due, writes it, and reads the far end's. Time comes in as `now`;
chance is injected.

Deviation: the interval is a fixed 5 s, jittered, and not computed from the number of members
(§6.3): there are always two.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from struct import Struct

from media.rtp import RtpError, sequence_difference

SENDER_REPORT = 200
RECEIVER_REPORT = 201
SOURCE_DESCRIPTION = 202
GOODBYE = 203

INTERVAL = 5.0
MAX_ROUND_TRIP = 60.0  # a longer one is a far end that fills in the field wrongly

_LONGEST = 4096  # bytes of a compound packet: more than any datagram of a call
_REMEMBERED = 0.8  # of the loss of before, with each report: one without loss does not end the need
_CROWDED_TRIP, _RELAXED_TRIP = 0.600, 0.300  # seconds there and back
_CROWDED_LOSS, _RELAXED_LOSS = 0.03, 0.01
_CNAME = 1
_NTP_EPOCH = 2_208_988_800  # 1970 in seconds since 1900
_MAX_DROPOUT = 3000  # packets; beyond it the source has started anew (RFC 3550 A.1)
_MAX_MISORDER = 100
_HALF = 0x8000_0000  # the circle of timestamps

_HEADER = Struct("!BBH")
_WORD = Struct("!I")
_SENDER_INFO = Struct("!QIII")
_BLOCK = Struct("!IIIIII")


# --- packets


@dataclass(frozen=True, slots=True)
class ReportBlock:
    """What a receiver says of one source (RFC 3550 §6.4.1).

    Attributes:
        fraction_lost: of 256, since the last report.
        packets_lost: since the start; negative with duplicates.
        jitter: in units of the timestamp's clock.
        last_report: middle 32 bits of the NTP time of the last sender report; 0: none yet.
        delay: since that report, in units of 1/65536 s.
    """

    ssrc: int
    fraction_lost: int
    packets_lost: int
    highest_sequence: int
    jitter: int
    last_report: int
    delay: int

    @classmethod
    def parse(cls, data: bytes, offset: int) -> "ReportBlock":
        ssrc, loss, highest, jitter, last_report, delay = _BLOCK.unpack_from(data, offset)
        lost = loss & 0xFF_FFFF
        if lost & 0x80_0000:
            lost -= 0x100_0000
        return cls(ssrc, loss >> 24, lost, highest, jitter, last_report, delay)

    def __bytes__(self) -> bytes:
        lost = max(-0x80_0000, min(0x7F_FFFF, self.packets_lost)) & 0xFF_FFFF
        return _BLOCK.pack(
            self.ssrc,
            self.fraction_lost << 24 | lost,
            self.highest_sequence,
            self.jitter,
            self.last_report,
            self.delay,
        )


@dataclass(frozen=True, slots=True)
class SenderReport:
    """SR (RFC 3550 §6.4.1). `ntp` is the 64 bits of the wire."""

    ssrc: int
    ntp: int
    rtp_timestamp: int
    packet_count: int
    octet_count: int
    reports: tuple[ReportBlock, ...] = ()

    def __bytes__(self) -> bytes:
        info = _SENDER_INFO.pack(
            self.ntp,
            self.rtp_timestamp,
            self.packet_count & 0xFFFF_FFFF,
            self.octet_count & 0xFFFF_FFFF,
        )
        body = _WORD.pack(self.ssrc) + info + b"".join(map(bytes, self.reports))
        return _frame(SENDER_REPORT, len(self.reports), body)


@dataclass(frozen=True, slots=True)
class ReceiverReport:
    """RR (RFC 3550 §6.4.2)."""

    ssrc: int
    reports: tuple[ReportBlock, ...] = ()

    def __bytes__(self) -> bytes:
        body = _WORD.pack(self.ssrc) + b"".join(map(bytes, self.reports))
        return _frame(RECEIVER_REPORT, len(self.reports), body)


@dataclass(frozen=True, slots=True)
class SourceDescription:
    """SDES with nothing but the canonical name of one source (RFC 3550 §6.5)."""

    ssrc: int
    cname: str

    def __bytes__(self) -> bytes:
        name = self.cname.encode()
        if len(name) > 255:
            raise ValueError("cname longer than 255 bytes")
        chunk = _WORD.pack(self.ssrc) + bytes((_CNAME, len(name))) + name
        padding = 4 - len(chunk) % 4  # one to four zero bytes end the list of items
        return _frame(SOURCE_DESCRIPTION, 1, chunk + bytes(padding))


@dataclass(frozen=True, slots=True)
class Goodbye:
    """BYE (RFC 3550 §6.6), without its reason."""

    ssrcs: tuple[int, ...]

    def __bytes__(self) -> bytes:
        return _frame(GOODBYE, len(self.ssrcs), b"".join(map(_WORD.pack, self.ssrcs)))


RtcpPacket = SenderReport | ReceiverReport | SourceDescription | Goodbye


def parse(data: bytes) -> list[RtcpPacket]:
    """Read a compound packet; types that we do not know are left out. Raises `RtpError`."""
    packets: list[RtcpPacket] = []
    position = 0
    if not 0 < len(data) <= _LONGEST:
        raise RtpError(f"RTCP packet of {len(data)} bytes")
    while position < len(data):
        if len(data) - position < 4:
            raise RtpError("RTCP header cut short")
        first, kind, words = _HEADER.unpack_from(data, position)
        if first >> 6 != 2:
            raise RtpError("not RTCP version 2")
        end = position + 4 + 4 * words
        if end > len(data):
            raise RtpError("RTCP packet longer than the datagram")
        body = data[position + 4 : end]
        if first & 0x20:
            body = _without_padding(body)
        packets.extend(_parse_body(kind, first & 0x1F, body))
        position = end
    return packets


def highest_sequence(packets: Iterable[RtcpPacket], ssrc: int) -> int | None:
    """The highest sequence number of this source that the far end reports, of 16 bits; None if it
    says nothing of it."""
    for packet in packets:
        if isinstance(packet, SenderReport | ReceiverReport):
            for block in packet.reports:
                if block.ssrc == ssrc:
                    return block.highest_sequence & 0xFFFF
    return None


def ntp_time(seconds: float) -> int:
    """Seconds since 1970 as the 64 bits of an NTP timestamp."""
    return int((seconds + _NTP_EPOCH) * 65536) << 16 & 0xFFFF_FFFF_FFFF_FFFF


def _frame(kind: int, count: int, body: bytes) -> bytes:
    return _HEADER.pack(0x80 | count, kind, len(body) // 4) + body


def _without_padding(body: bytes) -> bytes:
    padding = body[-1] if body else 0
    if padding == 0 or padding > len(body):
        raise RtpError("RTCP padding of impossible length")
    return body[:-padding]


def _parse_body(kind: int, count: int, body: bytes) -> list[RtcpPacket]:
    if kind == SENDER_REPORT:
        if len(body) < 24:
            raise RtpError("sender report cut short")
        (ssrc,) = _WORD.unpack_from(body)
        ntp, timestamp, packets, octets = _SENDER_INFO.unpack_from(body, 4)
        blocks = _parse_blocks(body, 24, count)
        return [SenderReport(ssrc, ntp, timestamp, packets, octets, blocks)]
    if kind == RECEIVER_REPORT:
        if len(body) < 4:
            raise RtpError("receiver report cut short")
        (ssrc,) = _WORD.unpack_from(body)
        return [ReceiverReport(ssrc, _parse_blocks(body, 4, count))]
    if kind == SOURCE_DESCRIPTION:
        return list(_parse_chunks(body, count))
    if kind == GOODBYE:
        if len(body) < 4 * count:
            raise RtpError("BYE cut short")
        return [Goodbye(tuple(_WORD.unpack_from(body, 4 * i)[0] for i in range(count)))]
    return []


def _parse_blocks(body: bytes, start: int, count: int) -> tuple[ReportBlock, ...]:
    if len(body) < start + _BLOCK.size * count:
        raise RtpError("report blocks cut short")
    return tuple(ReportBlock.parse(body, start + _BLOCK.size * i) for i in range(count))


def _parse_chunks(body: bytes, count: int) -> list[SourceDescription]:
    found = []
    position = 0
    for _ in range(count):
        if position + 4 > len(body):
            raise RtpError("SDES chunk cut short")
        (ssrc,) = _WORD.unpack_from(body, position)
        position += 4
        cname = ""
        while position < len(body) and body[position] != 0:
            if position + 2 > len(body) or position + 2 + body[position + 1] > len(body):
                raise RtpError("SDES item cut short")
            item, length = body[position], body[position + 1]
            if item == _CNAME:
                cname = body[position + 2 : position + 2 + length].decode(errors="replace")
            position += 2 + length
        position += 4 - position % 4  # over the zero that ends the items, to the next word
        found.append(SourceDescription(ssrc, cname))
    return found


# --- what was received


@dataclass(slots=True)
class Reception:
    """Count of what one far end sends, in the manner of RFC 3550 A.1, A.3 and A.8.

    A new SSRC, or a wild jump of the sequence numbers, is a source that starts anew: the counts of
    before are kept in the totals and the sequence is learnt again.
    """

    ssrc: int | None = None
    packets_received: int = 0
    octets_received: int = 0
    jitter: float = 0.0  # seconds
    _lost_before: int = 0  # by sources that ended
    _base: int = 0
    _highest: int = 0  # extended by the cycles
    _received: int = 0  # of this source
    _expected_prior: int = 0
    _received_prior: int = 0
    _clock_rate: int = 0
    _transit: float | None = None
    _last_timestamp: int = 0
    _last_media: float = 0.0

    def receive(
        self, ssrc: int, sequence: int, timestamp: int, octets: int, clock_rate: int, now: float
    ) -> None:
        """Count one authentic packet. `octets`: of its payload; `clock_rate`: of its timestamp."""
        if ssrc != self.ssrc or sequence != (self._highest + 1) & 0xFFFF:
            self._place(ssrc, sequence, timestamp)
        else:
            self._highest += 1  # the next one, as nearly always
        self.packets_received += 1
        self.octets_received += octets
        self._received += 1
        if clock_rate != self._clock_rate:  # another codec: its timestamps say nothing of before
            self._clock_rate, self._transit, self._last_timestamp = clock_rate, None, timestamp
        step = ((timestamp - self._last_timestamp + _HALF) & 0xFFFF_FFFF) - _HALF
        if step == 0 and self._transit is not None:
            return  # the same instant again: a telephone-event going on, not a measure of the path
        media = self._last_media + step / clock_rate
        transit = now - media
        if self._transit is not None:
            self.jitter += (abs(transit - self._transit) - self.jitter) / 16
        self._transit = transit
        self._last_timestamp = timestamp
        self._last_media = media

    def _place(self, ssrc: int, sequence: int, timestamp: int) -> None:
        """Find the place of a packet that is not the next one."""
        if ssrc != self.ssrc:
            self._restart(ssrc, sequence, timestamp)
        ahead = sequence_difference(sequence, self._highest & 0xFFFF)
        if ahead > 0:
            if ahead > _MAX_DROPOUT:
                self._restart(ssrc, sequence, timestamp)
            else:
                self._highest += ahead
        elif ahead < -_MAX_MISORDER:
            self._restart(ssrc, sequence, timestamp)

    @property
    def packets_lost(self) -> int:
        """Expected less received, over all sources so far; negative with duplicates."""
        return self._lost_before + self._expected - self._received

    @property
    def _expected(self) -> int:
        return 0 if self.ssrc is None else self._highest - self._base + 1

    def block(self, clock_rate: int, last_report: int = 0, delay: int = 0) -> ReportBlock | None:
        """The report block on this source; starts a new interval for the fraction (A.3)."""
        if self.ssrc is None:
            return None
        expected = self._expected - self._expected_prior
        lost = expected - (self._received - self._received_prior)
        self._expected_prior = self._expected
        self._received_prior = self._received
        fraction = min(255, lost * 256 // expected) if expected > 0 and lost > 0 else 0
        return ReportBlock(
            ssrc=self.ssrc,
            fraction_lost=fraction,
            packets_lost=self._expected - self._received,
            highest_sequence=self._highest & 0xFFFF_FFFF,
            jitter=int(self.jitter * clock_rate) & 0xFFFF_FFFF,
            last_report=last_report,
            delay=delay,
        )

    def _restart(self, ssrc: int, sequence: int, timestamp: int) -> None:
        self._lost_before = self.packets_lost
        self.ssrc = ssrc
        self._base = self._highest = sequence
        self._received = self._expected_prior = self._received_prior = 0
        self._transit = None
        self._last_timestamp = timestamp
        self._last_media = 0.0


# --- one side's RTCP


@dataclass(frozen=True, slots=True)
class Sent:
    """What we have sent to a side, for its sender report (RFC 3550 §6.4.1)."""

    packets: int
    octets: int
    rtp_timestamp: int  # at the time of the report


@dataclass(slots=True)
class Reporter:
    """RTCP of one side: when to report, what to say, what the far end said.

    Args:
        ssrc: of the stream that we send to that side.
        cname: our canonical name there; random for each call (RFC 7022).
        clock_rate: of the audio that is received from there, at present.
        sent_clock_rate: of the audio that we send there.
        random: gives 0 ≤ x < 1.
        wall_offset: seconds since 1970 less monotonic seconds.
    """

    ssrc: int
    cname: str
    clock_rate: int
    random: Callable[[], float]
    wall_offset: float = 0.0
    sent_clock_rate: int = 8000
    reception: Reception = field(default_factory=Reception)
    round_trip: float | None = None
    far_loss: float = 0.0  # share of our packets that the far end lost in its last interval
    far_jitter: float | None = None  # seconds, in the far end's eyes; None: it told nothing yet
    far_packets_lost: int | None = None  # of ours, all in all
    expected_loss: float = 0.0  # of packets to come: the last interval's, or the rest of worse ones
    is_congested: bool = False  # the path to the far end, by its reports
    _due: float | None = None
    _last_report: int = 0
    _last_report_at: float = 0.0

    def deadline(self) -> float | None:
        """When `report` should next be called; None before `start`."""
        return self._due

    def start(self, now: float) -> None:
        """Begin; the first report comes after half an interval (§6.2)."""
        self._schedule(now, INTERVAL / 2)

    def report(self, now: float, sent: Sent | None, loss_behind: float = 0.0) -> bytes:
        """The compound packet that is due.

        Args:
            sent: None as long as we have sent nothing.
            loss_behind: share that whom we pass the stream on to untouched says it lost of it; as
                the gaps are passed on too, ours are in it.
        """
        self._schedule(now, INTERVAL)
        return self._compound(now, sent, loss_behind)

    def goodbye(self, now: float, sent: Sent | None) -> bytes:
        """The last compound packet, with BYE."""
        self._due = None
        return self._compound(now, sent) + bytes(Goodbye((self.ssrc,)))

    def receive(self, packets: Sequence[RtcpPacket], now: float) -> None:
        """Take a compound packet of the far end, parsed."""
        for packet in packets:
            if isinstance(packet, SenderReport):
                self._last_report = packet.ntp >> 16 & 0xFFFF_FFFF
                self._last_report_at = now
            if isinstance(packet, SenderReport | ReceiverReport):
                for block in packet.reports:
                    if block.ssrc == self.ssrc:
                        self._hear(block, now)

    def _hear(self, block: ReportBlock, now: float) -> None:
        self.far_loss = block.fraction_lost / 256
        self.expected_loss = max(self.far_loss, _REMEMBERED * self.expected_loss)
        self.far_packets_lost = max(0, block.packets_lost)
        self.far_jitter = block.jitter / self.sent_clock_rate
        if block.last_report == 0:
            return
        arrival = self._ntp(now) >> 16 & 0xFFFF_FFFF
        round_trip = ((arrival - block.last_report - block.delay) & 0xFFFF_FFFF) / 65536
        if round_trip < MAX_ROUND_TRIP:
            self.round_trip = round_trip
        self._judge_congestion()

    def _judge_congestion(self) -> None:
        """A path that both loses and dawdles is full: less would come through better. Loss alone is
        a radio's, and a long way alone only far."""
        round_trip = self.round_trip or 0.0
        if self.is_congested:
            relaxed = round_trip < _RELAXED_TRIP or self.expected_loss < _RELAXED_LOSS
            self.is_congested = not relaxed
        else:
            crowded = round_trip > _CROWDED_TRIP and self.expected_loss > _CROWDED_LOSS
            self.is_congested = crowded

    def _compound(self, now: float, sent: Sent | None, loss_behind: float = 0.0) -> bytes:
        delay = int((now - self._last_report_at) * 65536) if self._last_report else 0
        block = self.reception.block(
            self.clock_rate, self._last_report, max(0, min(delay, 0xFFFF_FFFF))
        )
        if block is not None:
            fraction = max(block.fraction_lost, min(255, round(loss_behind * 256)))
            block = replace(block, fraction_lost=fraction)
        blocks = (block,) if block is not None else ()
        report: SenderReport | ReceiverReport = ReceiverReport(self.ssrc, blocks)
        if sent is not None and sent.packets:
            report = SenderReport(
                self.ssrc, self._ntp(now), sent.rtp_timestamp, sent.packets, sent.octets, blocks
            )
        return bytes(report) + bytes(SourceDescription(self.ssrc, self.cname))

    def _schedule(self, now: float, interval: float) -> None:
        self._due = now + interval * (0.5 + self.random())

    def _ntp(self, now: float) -> int:
        return ntp_time(now + self.wall_offset)
