"""One direction of one call: packets of one side in, packets for the other side out.

A `Direction` is put together of two stages at most, and its `repr` shows them:

- pass-through (`Relay`), when both sides speak the same codec: the payload is not touched and
  there is no playout buffer; the header is rewritten and the packet leaves at once. Loss shows to
  the far end as the loss it is. - transcoding (`Transcoder`): playout buffer → decoder → encoder,
  one frame for each tick of 20 ms. Both codecs run at one rate of PCM, so that there is no
  resampling.

What a side sends may change in the middle of a call: the format goes by the payload type of each
packet. What leaves is one stream all the while (`Outlet`): one SSRC, sequence numbers without gaps
of our making, timestamps that follow the clock.

Digits (RFC 4733) are received, told, and made anew for the far end; the sound that comes with a
digit is dropped, so that it is not heard twice.

Pure: packets are authentic RTP in and plain RTP out, `now` is given, nothing is random.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import floor, log10

from media.codec import CodecError, common_rate, decoder, encoder
from media.codec.pcm import audioop, fade, fade_in, shorten
from media.dtmf import DigitReceiver, DigitSender, Pressed, Released
from media.jitter import Outcome, PlayoutBuffer
from media.rtp import RtpPacket, build, sequence_difference

SLOT = 0.020  # seconds: one tick
_MAX_CATCH_UP = 5  # slots sent at once after a delay of ours; the rest is skipped
_SURPLUS = 0.025  # seconds of needless delay, from where on it is cut
_QUIET_SLOTS = 50  # silence is sent for a second before nothing is
_MAX_DIGITS = 64  # not collected by the caller
_REST_PIECES = 50  # a sender that rests says so again every 400 ms
_DTX_PAYLOAD = 2  # bytes of Opus: nothing but "I am silent"
_MAX_GAP = 3000  # sequence numbers; beyond, the source has started anew
_MAX_MISORDER = 100
_TAKEN_MASK = (1 << 128) - 1


@dataclass(frozen=True, slots=True)
class Format:
    """One payload format of one side, as negotiated there.

    Attributes:
        codec: "opus", "g722", "pcma" or "pcmu".
        payload_type: the number by which the receiving end knows it (RFC 3264 §5.1).
        clock_rate: of RTP timestamps: 48000 for Opus, 8000 for the others (RFC 3551 §4.5.2).
        dtmf_payload_type: of the telephone-event that goes with it; None: the side takes none.
        dtmf_clock: clock of those events' durations.
        fmtp: parameters that the side gave for the codec (RFC 7587 §6.1).
        ptime_ms: packet time that we send with: a multiple of 20; others count as 20.
    """

    codec: str
    payload_type: int
    clock_rate: int
    dtmf_payload_type: int | None = None
    dtmf_clock: int = 8000
    fmtp: Mapping[str, str] = field(default_factory=dict)
    ptime_ms: int = 20

    def __str__(self) -> str:
        return f"{self.codec}/{self.clock_rate}"


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a direction has done since it was made."""

    packets_received: int = 0
    packets_sent: int = 0
    octets_sent: int = 0  # payload only, as in a sender report
    frames_lost: int = 0  # never came, concealed
    frames_late: int = 0  # had not come in time; the sound was stretched
    packets_discarded: int = 0  # unknown payload type, too late, undecodable
    delay_ms: float = 0.0  # of the playout buffer, now
    level_dbov: float | None = None  # mean level of what was decoded; None when passed through


def pass_through(source: Format, sink: Format) -> bool:
    """Whether packets of `source` can go to `sink` without decoding."""
    return source.codec == sink.codec and source.clock_rate == sink.clock_rate


class Outlet:
    """The stream that leaves: numbers its packets and keeps its clock, in slots of 20 ms."""

    def __init__(self, ssrc: int, sequence: int, timestamp: int, clock_rate: int) -> None:
        self.packets = 0
        self.octets = 0
        self.clock_rate = clock_rate
        self.ssrc = ssrc
        self.sequence = sequence & 0xFFFF  # of the next packet
        self.timestamp = timestamp & 0xFFFF_FFFF  # of the present slot
        self.at: float | None = None  # when that slot began; None: nothing has happened yet

    @property
    def slot_units(self) -> int:
        return int(SLOT * self.clock_rate)

    def slots_due(self, now: float) -> int:
        """How many slots should have begun since the present one; a tick may be early or late."""
        return 1 if self.at is None else floor((now - self.at) / SLOT + 0.5)

    def advance(self, slots: int, now: float) -> None:
        """Go on by some slots."""
        if self.at is None:
            self.at = now
            return
        self.at += slots * SLOT
        self.timestamp = (self.timestamp + slots * self.slot_units) & 0xFFFF_FFFF

    def settle(self, now: float) -> None:
        """Lean toward the ticks as they come, so that none stands on the edge between two slots."""
        if self.at is not None:
            self.at += 0.1 * (now - self.at)

    def send(
        self,
        payload_type: int,
        payload: bytes,
        *,
        timestamp: int | None = None,
        marker: bool = False,
    ) -> bytes:
        """The next packet."""
        when = self.timestamp if timestamp is None else timestamp
        packet = build(payload_type, self.sequence, when, self.ssrc, payload, marker)
        self.sequence = (self.sequence + 1) & 0xFFFF
        self.packets += 1
        self.octets += len(payload)
        return packet

    def timestamp_at(self, now: float) -> int:
        """The stream's timestamp at any time."""
        elapsed = 0.0 if self.at is None else now - self.at
        return int(self.timestamp + elapsed * self.clock_rate) & 0xFFFF_FFFF


class Relay:
    """Pass-through: each packet leaves with its payload as it came.

    Sequence numbers and timestamps are moved by a constant, so that gaps and their order stay. The
    constant is found anew where the stream was broken: `anchor` says so.
    """

    def __init__(self, source: Format, sink: Format, outlet: Outlet) -> None:
        self._sink = sink
        self._outlet = outlet
        self._ssrc: int | None = None
        self._anchored = False
        self._newest = 0
        self._taken = 0  # bit n: the number n behind the newest is not to be given again
        self._sequence_offset = 0
        self._timestamp_offset = 0
        self.discarded = 0

    def __repr__(self) -> str:
        return "relay"

    def anchor(self) -> None:
        """Join the next packet to what was sent last."""
        self._anchored = False

    def push(self, packet: RtpPacket, now: float) -> list[bytes]:
        fresh = not self._anchored or packet.ssrc != self._ssrc
        ahead = 0 if fresh else sequence_difference(packet.sequence, self._newest)
        if fresh or not -_MAX_MISORDER <= ahead <= _MAX_GAP:
            self._set_anchor(packet, now)
            fresh, ahead = True, 1
        elif ahead > 0:
            self._taken = (self._taken << ahead | 1) & _TAKEN_MASK
        elif self._taken >> -ahead & 1:
            self.discarded += 1  # its number has gone already, to itself or to something else
            return []
        else:
            self._taken |= 1 << -ahead
        outlet = self._outlet
        sequence = (packet.sequence + self._sequence_offset) & 0xFFFF
        timestamp = (packet.timestamp + self._timestamp_offset) & 0xFFFF_FFFF
        if ahead > 0:
            self._newest = packet.sequence
            outlet.sequence = (sequence + 1) & 0xFFFF
            outlet.timestamp = timestamp
            outlet.at = now
        outlet.packets += 1
        outlet.octets += len(packet.payload)
        return [
            build(
                self._sink.payload_type,
                sequence,
                timestamp,
                outlet.ssrc,
                packet.payload,
                fresh or packet.marker,
            )
        ]

    def _set_anchor(self, packet: RtpPacket, now: float) -> None:
        outlet = self._outlet
        if outlet.at is not None:
            outlet.advance(max(1, outlet.slots_due(now)), now)
        self._anchored = True
        self._ssrc = packet.ssrc
        self._newest = packet.sequence
        self._taken = _TAKEN_MASK
        self._sequence_offset = outlet.sequence - packet.sequence
        self._timestamp_offset = outlet.timestamp - packet.timestamp


class Transcoder:
    """Playout buffer → decoder → encoder: packets in, one frame of PCM out for each slot."""

    def __init__(self, source: Format, sink: Format) -> None:
        self.discarded = 0
        self.rate = common_rate(source.codec, sink.codec)
        self._opus = source.codec == "opus"
        self._source = source
        self._sink = sink
        self._buffer = PlayoutBuffer(source.clock_rate)
        self._decoder = decoder(source.codec, self.rate)
        self._encoder = encoder(sink.codec, self.rate, sink.fmtp)
        self._slot_bytes = 2 * int(SLOT * self.rate)
        self._payload_bytes = self._slot_bytes * max(
            1, sink.ptime_ms // 20 if sink.ptime_ms % 20 == 0 else 1
        )
        self._held = b""  # decoded, not yet played
        self._frame = int(SLOT * self.rate)  # samples in the last packet
        self._silent = True
        self._rest = 0  # pieces of noise still to make, since the sender announced silence
        self._energy = 0.0
        self._measured = 0

    def __repr__(self) -> str:
        return f"buffer → {self._source.codec} → {self.rate} Hz → {self._sink.codec}"

    def push(self, packet: RtpPacket, now: float) -> None:
        self._buffer.push(packet, now)

    def skip(self, packet: RtpPacket, now: float) -> None:
        """Note a packet of the stream that has no sound to play."""
        self._buffer.skip(packet, now)

    def expect_loss(self, fraction: float) -> None:
        self._encoder.expect_loss(fraction)

    def pull(self, now: float) -> tuple[bytes, bool]:
        """20 ms of PCM, and whether there was any sound to play."""
        held = self._held
        sound = False
        while len(held) < self._slot_bytes:
            piece = self._next(now)
            if piece is None:
                held += bytes(self._slot_bytes - len(held))
                break
            sound = True
            held += piece
        self._held = held[self._slot_bytes :]
        return held[: self._slot_bytes], sound

    @property
    def payload_bytes(self) -> int:
        """PCM in one packet to send."""
        return self._payload_bytes

    def encode(self, pcm: bytes) -> bytes:
        return self._encoder.encode(pcm)

    @property
    def lost(self) -> int:
        return self._buffer.lost

    @property
    def late(self) -> int:
        return self._buffer.late

    @property
    def dropped(self) -> int:
        return self._buffer.discarded + self.discarded

    @property
    def delay(self) -> float:
        return self._buffer.delay + len(self._held) / 2 / self.rate

    @property
    def level(self) -> tuple[float, int]:
        """Sum of mean squares of decoded packets, and their number."""
        return self._energy, self._measured

    def _next(self, now: float) -> bytes | None:
        """The next piece of sound; None: silence."""
        packet = self._buffer.pop(now)
        if isinstance(packet, RtpPacket):
            return self._decode(packet.payload)
        if packet is Outcome.LOST:
            return self._decoder.conceal(self._frame, self._buffer.following())
        if packet is Outcome.LATE or self._rest:
            self._rest = max(0, self._rest - 1)
            return self._decoder.conceal(self._frame)
        if self._silent:
            return None
        self._silent = True
        return fade(self._decoder.conceal(self._frame), 1.0, 0.0)

    def _decode(self, payload: bytes) -> bytes:
        try:
            pcm = self._decoder.decode(payload)
        except CodecError:
            self.discarded += 1
            return self._decoder.conceal(self._frame)
        self._frame = len(pcm) // 2
        self._buffer.played(self._frame / self.rate)
        self._rest = 0
        if self._opus and len(payload) <= _DTX_PAYLOAD:
            self._rest = _REST_PIECES
            self._buffer.rest()
        level = audioop.rms(pcm, 2)
        self._energy += level * level
        self._measured += 1
        if self._silent:
            self._silent = False
            pcm = fade_in(pcm, self.rate)
        if self._buffer.surplus > _SURPLUS and len(pcm) >= self._slot_bytes:
            pcm = shorten(pcm, self.rate)
        return pcm


class Direction:
    """Packets of one side in, packets for the other side out.

    Args:
        sources: what the sending side may send, by payload type; telephone-event is inside each
            `Format`.
        sink: the one format that goes out.
        ssrc, sequence, timestamp: where the outgoing stream starts; random, chosen by the caller
            (RFC 3550 §5.1).
    """

    def __init__(
        self,
        *,
        sources: Mapping[int, Format],
        sink: Format,
        ssrc: int,
        sequence: int,
        timestamp: int,
    ) -> None:
        self._outlet = Outlet(ssrc, sequence, timestamp, sink.clock_rate)
        self._stage: Relay | Transcoder | None = None
        self._source: Format | None = None
        self._sending = True
        self._receiver = DigitReceiver()
        self._digits: list[tuple[str, int]] = []
        self._received = 0
        self._discarded = 0  # counts of stages that are gone are added to these
        self._lost = 0
        self._late = 0
        self._energy = 0.0
        self._measured = 0
        self._loss_expected = 0.0
        self._pcm = b""  # waits for the rest of a packet longer than a slot
        self._pcm_timestamp = 0
        self._quiet = _QUIET_SLOTS  # slots since the last sound
        self._marker = True
        self._broken = False  # the sound that leaves was cut off by something else
        self._sources: Mapping[int, Format] = {}
        self._event_clocks: dict[int, int] = {}
        self._sink = sink
        self._sender: DigitSender | None = None
        self.change(sources, sink)

    def __repr__(self) -> str:
        source = "?" if self._source is None else str(self._source)
        stage = "" if self._stage is None else f"{self._stage!r} → "
        return f"<Direction {source} → {stage}{self._sink}>"

    def change(self, sources: Mapping[int, Format], sink: Format) -> None:
        """Go on with other formats on the same outgoing stream (a re-offer)."""
        self._sources = dict(sources)
        self._event_clocks = {
            source.dtmf_payload_type: source.dtmf_clock
            for source in sources.values()
            if source.dtmf_payload_type is not None
        }
        same_events = (sink.dtmf_payload_type, sink.dtmf_clock) == (
            self._sink.dtmf_payload_type,
            self._sink.dtmf_clock,
        )
        if self._sender is None or not same_events:
            self._sender = None if sink.dtmf_payload_type is None else DigitSender(sink.dtmf_clock)
        kept = [source for source in self._sources.values() if source == self._source]
        if kept and sink == self._sink:
            self._source = kept[0]
        else:
            self._retire()
        self._sink = sink
        self._outlet.clock_rate = sink.clock_rate

    def push(self, packet: RtpPacket, now: float) -> list[bytes]:
        """Take one authentic packet; returns RTP packets to send at once (pass-through)."""
        self._received += 1
        clock = self._event_clocks.get(packet.payload_type)
        if clock is not None:
            self._hear(self._receiver.receive(packet, clock, now))
            self._leave_out(packet, now)
            return []
        source = self._sources.get(packet.payload_type)
        if source is None:
            self._discarded += 1
            self._leave_out(packet, now)
            return []
        if source is not self._source:
            self._enter(source)
        stage = self._stage
        if not self._sending or (self._sender is not None and self._receiver.active):
            self._leave_out(packet, now)
        elif isinstance(stage, Transcoder):
            stage.push(packet, now)
        elif self._dialling:
            self._leave_out(packet, now)
        elif stage is not None:
            return stage.push(packet, now)
        return []

    def tick(self, now: float) -> list[bytes]:
        """To be called every 20 ms; returns RTP packets to send (transcoded audio, digits).

        A tick that comes late makes up for those that did not come, up to 100 ms.
        """
        if self._receiver.active:
            self._hear(self._receiver.poll(now))
        if not isinstance(self._stage, Transcoder) and not self._dialling:
            return []
        due = self._outlet.slots_due(now)
        if due > _MAX_CATCH_UP:
            self._outlet.advance(due - 1, now)
            due = 1
        packets: list[bytes] = []
        for _ in range(due):
            self._outlet.advance(1, now)
            packets.extend(self._slot(now))
        self._outlet.settle(now)
        return packets

    def digits(self) -> list[tuple[str, int]]:
        """Digits that ended since the last call of this, with their duration in milliseconds."""
        digits, self._digits = self._digits, []
        return digits

    def press(self, digit: str, duration_ms: int = 100) -> None:
        """Send a digit of our own to the sink; nothing happens if it takes none."""
        if self._sender is not None:
            self._sender.press(digit, duration_ms)

    def set_sending(self, sending: bool) -> None:
        """Hold (False) or go on; while held nothing comes out, what comes in is thrown away."""
        if sending and not self._sending:
            self._marker = True
        self._sending = sending

    def expect_loss(self, fraction: float) -> None:
        """Tell the encoder what share of our packets the far end reports as lost (RTCP)."""
        self._loss_expected = fraction
        if isinstance(self._stage, Transcoder):
            self._stage.expect_loss(fraction)

    def rtp_timestamp(self, now: float) -> int:
        """The outgoing stream's timestamp at `now`, for a sender report (RFC 3550 §6.4.1)."""
        return self._outlet.timestamp_at(now)

    @property
    def statistics(self) -> Statistics:
        lost, late, discarded = self._lost, self._late, self._discarded
        energy, measured, delay = self._energy, self._measured, 0.0
        stage = self._stage
        if isinstance(stage, Transcoder):
            lost, late, discarded = (
                lost + stage.lost,
                late + stage.late,
                discarded + stage.dropped,
            )
            energy, measured = energy + stage.level[0], measured + stage.level[1]
            delay = stage.delay
        elif stage is not None:
            discarded += stage.discarded
        return Statistics(
            packets_received=self._received,
            packets_sent=self._outlet.packets,
            octets_sent=self._outlet.octets,
            frames_lost=lost,
            frames_late=late,
            packets_discarded=discarded,
            delay_ms=delay * 1000,
            level_dbov=_level(energy, measured),
        )

    @property
    def _dialling(self) -> bool:
        return self._sender is not None and self._sender.busy

    def _enter(self, source: Format) -> None:
        """The far end sends another format from here on."""
        self._retire()
        self._source = source
        if pass_through(source, self._sink):
            self._stage = Relay(source, self._sink, self._outlet)
        else:
            self._stage = Transcoder(source, self._sink)
            self._stage.expect_loss(self._loss_expected)

    def _retire(self) -> None:
        """Part with the stage, and keep its counts."""
        stage = self._stage
        if isinstance(stage, Transcoder):
            self._lost += stage.lost
            self._late += stage.late
            self._discarded += stage.dropped
            self._energy += stage.level[0]
            self._measured += stage.level[1]
        elif stage is not None:
            self._discarded += stage.discarded
        self._stage = None
        self._source = None
        self._pcm = b""

    def _leave_out(self, packet: RtpPacket, now: float) -> None:
        """A packet of the stream is not played: that is neither loss nor a gap of ours."""
        if isinstance(self._stage, Transcoder):
            self._stage.skip(packet, now)
        elif self._stage is not None:
            self._stage.anchor()

    def _hear(self, told: list[Pressed | Released]) -> None:
        for event in told:
            if isinstance(event, Pressed):
                if self._sender is not None and self._sending:
                    self._sender.press(event.digit)
            else:
                if len(self._digits) < _MAX_DIGITS:
                    self._digits.append((event.digit, event.duration_ms))
                if self._sender is not None:
                    self._sender.release(event.duration_ms)

    def _slot(self, now: float) -> list[bytes]:
        """What goes out in the present slot."""
        stage = self._stage
        pcm, sound = stage.pull(now) if isinstance(stage, Transcoder) else (b"", False)
        if self._dialling:
            self._pcm = b""
            self._broken = True
            self._quiet = 0
            return self._dial()
        if not isinstance(stage, Transcoder) or not self._sending:
            self._pcm = b""
            self._broken = True
            return []
        if self._broken:
            pcm = fade_in(pcm, stage.rate)
            self._broken = False
        return self._speak(stage, pcm, sound)

    def _dial(self) -> list[bytes]:
        assert self._sender is not None, "dialling means that there is a sender"
        assert self._sink.dtmf_payload_type is not None, "and that the sink takes events"
        return [
            self._outlet.send(
                self._sink.dtmf_payload_type,
                event.payload,
                timestamp=event.timestamp,
                marker=event.marker,
            )
            for event in self._sender.step(self._outlet.timestamp)
        ]

    def _speak(self, stage: Transcoder, pcm: bytes, sound: bool) -> list[bytes]:
        self._quiet = 0 if sound else self._quiet + 1
        if self._quiet > _QUIET_SLOTS and not self._pcm:
            self._marker = True
            return []
        if not self._pcm:
            self._pcm_timestamp = self._outlet.timestamp
        self._pcm += pcm
        if len(self._pcm) < stage.payload_bytes:
            return []
        pcm, self._pcm = self._pcm, b""
        payload = stage.encode(pcm)
        if not payload:
            self._marker = True
            return []
        marker, self._marker = self._marker, False
        return [
            self._outlet.send(
                self._sink.payload_type, payload, timestamp=self._pcm_timestamp, marker=marker
            )
        ]


def _level(energy: float, measured: int) -> float | None:
    """Mean level in dB relative to the overload point; -127 stands for nothing (RFC 6465 §3)."""
    if not measured:
        return None
    mean = energy / measured
    return -127.0 if mean < 1e-3 else max(-127.0, 10 * log10(mean / 32768**2))
