"""One direction of one call: packets of one side in, packets for the other side out.

A `Direction` has one stage between what comes and what leaves, and its `repr` shows it: a `Relay`
when both sides speak the same codec, else a `Transcoder`. What a side sends may change in the
middle of a call: the format goes by the payload type of each packet. What leaves is one stream all
the while (`Outlet`).

Digits are received, told, and made anew for the far end (`Keypad`); the sound that comes with a
digit is dropped, so that it is not heard twice. Of a source that agreed on no telephone-events,
digits are found in the sound (`ToneDetector`).

Pure: packets are authentic RTP in and plain RTP out, `now` is given, nothing is random.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log10

from media.codec.noise import CLOCK as COMFORT_CLOCK
from media.codec.noise import PAYLOAD_TYPE as COMFORT_NOISE
from media.codec.pcm import fade_in
from media.detector import ToneDetector
from media.ear import Ear
from media.format import Format, pass_through
from media.keypad import Keypad
from media.outlet import Outlet
from media.player import Player
from media.relay import Relay
from media.rtp import RtpPacket
from media.transcode import Transcoder

_MAX_CATCH_UP = 5  # slots sent at once after a delay of ours; the rest is skipped
_QUIET_SLOTS = 50  # silence is sent for a second before nothing is


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


class Direction:
    """Packets of one side in, packets for the other side out.

    Args:
        sources: what the sending side may send, by payload type; telephone-event is inside each
            `Format`.
        sink: the one format that goes out.
        ssrc, sequence, timestamp: where the outgoing stream starts; random, chosen by the caller
            (RFC 3550 §5.1).
        digits: whether the far end is sent any.
    """

    def __init__(
        self,
        *,
        sources: Mapping[int, Format],
        sink: Format,
        ssrc: int,
        sequence: int,
        timestamp: int,
        digits: bool = True,
    ) -> None:
        self._outlet = Outlet(ssrc, sequence, timestamp, sink.clock_rate)
        self._stage: Relay | Transcoder | None = None
        self._source: Format | None = None
        self._sending = True
        self.lane: Relay | None = None  # while packets may go the short way, `Relay.follow`
        self._keypad = Keypad(sink, sends=digits)
        self._player: Player | None = None
        self._in_tones = False  # the source has no telephone-events: its digits are tones
        self._detector: ToneDetector | None = None  # of those, in what is transcoded
        self._ear: Ear | None = None  # and in what is not
        self.received = 0
        self._discarded = 0  # counts of stages that are gone are added to these
        self._lost = 0
        self._late = 0
        self._energy = 0.0
        self._measured = 0
        self._loss_expected = 0.0
        self._thin = False
        self._pcm = b""  # waits for the rest of a packet longer than a slot
        self._pcm_timestamp = 0
        self._quiet = _QUIET_SLOTS  # slots since the last sound
        self._marker = True
        self._broken = False  # the sound that leaves was cut off by something else
        self._sources: Mapping[int, Format] = {}
        self._event_clocks: dict[int, int] = {}
        self._sink = sink
        self.change(sources, sink)

    def __repr__(self) -> str:
        source = "?" if self._source is None else str(self._source)
        stage = "" if self._stage is None else f"{self._stage!r} → "
        return f"<Direction {source} → {stage}{self._sink}>"

    def change(self, sources: Mapping[int, Format], sink: Format) -> None:
        """Go on with other formats on the same outgoing stream (a re-offer)."""
        self.lane = None
        self._sources = dict(sources)
        self._event_clocks = {
            source.dtmf_payload_type: source.dtmf_clock
            for source in sources.values()
            if source.dtmf_payload_type is not None
        }
        self._keypad.change(sink)
        kept = [source for source in self._sources.values() if source == self._source]
        if kept and sink == self._sink:
            self._source = kept[0]
        else:
            self._retire()
        self._sink = sink
        self._outlet.clock_rate = sink.clock_rate

    def push(self, packet: RtpPacket, now: float) -> list[bytes]:
        """Take one authentic packet; returns RTP packets to send at once (pass-through).

        The lane opens behind a packet that was passed on, and closes with whatever may change the
        way of the next one.
        """
        self.lane = None
        self.received += 1
        clock = self._event_clocks.get(packet.payload_type)
        if clock is not None:
            self._keypad.receive(packet, clock, now)
            self._leave_out(packet, now)
            return []
        source = self._sources.get(packet.payload_type)
        if source is None and self._is_comfort(packet):
            self._comfort(packet, now)
            return []
        if source is None:
            self._discarded += 1
            self._leave_out(packet, now)
            return []
        if source is not self._source:
            self._enter(source)
        stage = self._stage
        if self._in_tones and not (self._sending and isinstance(stage, Transcoder)):
            ear = self._ear = self._ear or Ear(source)
            self._keypad.hear_tones(ear.push(packet.payload, now), now, passed=self._sending)
        if not self._sending or self._keypad.covers:
            self._leave_out(packet, now)
        elif isinstance(stage, Transcoder):
            stage.push(packet, now)
        elif self._keypad.busy or self._player is not None:
            self._leave_out(packet, now)
        elif stage is not None:
            self.lane = None if self._in_tones else stage
            return stage.push(packet, now)
        return []

    def _is_comfort(self, packet: RtpPacket) -> bool:
        beside = self._source
        at_its_clock = beside is not None and beside.clock_rate == COMFORT_CLOCK
        return at_its_clock and packet.payload_type == COMFORT_NOISE

    def _comfort(self, packet: RtpPacket, now: float) -> None:
        """Comfort noise needs no agreement: its number is fixed, and many send it unasked."""
        stage = self._stage
        if isinstance(stage, Transcoder) and self._sending and not self._keypad.covers:
            stage.comfort(packet, now)
        else:
            self._leave_out(packet, now)

    def tick(self, now: float) -> list[bytes]:
        """To be called every 20 ms; returns RTP packets to send (transcoded audio, digits).

        A tick that comes late makes up for those that did not come, up to 100 ms.
        """
        self._keypad.poll(now)
        if self._ear is not None and self._ear.active:
            self._keypad.hear_tones(self._ear.poll(now), now, passed=self._sending)
        occupied = self._keypad.busy or self._player is not None
        if not isinstance(self._stage, Transcoder) and not occupied:
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

    @property
    def needs_ticks(self) -> bool:
        """Whether anything is done in `tick`; a relay works without, and so does silence."""
        if self._player is not None or self._keypad.is_active:
            return True
        if self._ear is not None and self._ear.active:
            return True
        stage = self._stage
        if not isinstance(stage, Transcoder):
            return False
        return self._quiet <= _QUIET_SLOTS or bool(self._pcm) or not stage.is_idle

    @property
    def is_pressed(self) -> bool:
        """Whether the source holds a key down."""
        if self._in_tones:
            return any(one is not None and one.active for one in (self._detector, self._ear))
        return self._keypad.is_heard

    @property
    def has_digits(self) -> bool:
        """Whether `digits` has any."""
        return self._keypad.has_told

    def digits(self) -> list[tuple[str, int]]:
        """Digits that ended since the last call of this, with their duration in milliseconds."""
        return self._keypad.told()

    def press(self, digit: str, duration_ms: int = 100) -> None:
        """Send a digit of our own to the sink."""
        self.lane = None
        self._keypad.press(digit, duration_ms)

    def take_digit(self, digit: str, duration_ms: int, now: float) -> None:
        """A digit of the sending side that was said beside its media (SIP INFO)."""
        self.lane = None
        self._keypad.take(digit, duration_ms, now)

    def play(self, player: Player | None) -> None:
        """Let the sink hear something of ours in place of the source; None: the source again."""
        self.lane = None
        if player is not self._player:
            self._player = player
            self._marker = True

    def set_sending(self, sending: bool) -> None:
        """Hold (False) or go on; while held nothing comes out, what comes in is thrown away."""
        self.lane = None
        if sending and not self._sending:
            self._marker = True
        self._sending = self._keypad.sending = sending

    def expect_loss(self, fraction: float) -> None:
        """Tell the encoder what share of our packets the far end reports as lost (RTCP)."""
        self._loss_expected = fraction
        if isinstance(self._stage, Transcoder):
            self._stage.expect_loss(fraction)

    @property
    def sequence(self) -> int:
        """Of the next packet that leaves."""
        return self._outlet.sequence

    def set_thin(self, thin: bool) -> None:
        """Send what is encoded here sparingly, for a thin link, or as usual."""
        if thin is not self._thin:
            self._thin = thin
            if isinstance(self._stage, Transcoder):
                self._stage.set_thin(thin)

    @property
    def is_relay(self) -> bool:
        """Whether what comes leaves untouched, gaps and all."""
        return isinstance(self._stage, Relay)

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
            packets_received=self.received,
            packets_sent=self._outlet.packets,
            octets_sent=self._outlet.octets,
            frames_lost=lost,
            frames_late=late,
            packets_discarded=discarded,
            delay_ms=delay * 1000,
            level_dbov=_level(energy, measured),
        )

    def _enter(self, source: Format) -> None:
        """The far end sends another format from here on."""
        self._retire()
        self._source = source
        if pass_through(source, self._sink):
            self._stage = Relay(source, self._sink, self._outlet)
        else:
            self._stage = Transcoder(source, self._sink)
            self._stage.expect_loss(self._loss_expected)
            self._stage.set_thin(self._thin)
        self._in_tones = source.dtmf_payload_type is None
        if self._in_tones and isinstance(self._stage, Transcoder):
            self._detector = ToneDetector(self._stage.rate)

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
        self._detector = self._ear = None
        self._pcm = b""

    def _leave_out(self, packet: RtpPacket, now: float) -> None:
        """A packet of the stream is not played: that is neither loss nor a gap of ours."""
        if isinstance(self._stage, Transcoder):
            self._stage.skip(packet, now)
        elif self._stage is not None:
            self._stage.anchor()

    def _slot(self, now: float) -> list[bytes]:
        """What goes out in the present slot."""
        stage = self._stage
        pcm, sound = stage.pull(now) if isinstance(stage, Transcoder) else (b"", False)
        detector = self._detector
        if detector is not None and (sound or detector.active):
            told, pcm = detector.listen(pcm)
            self._keypad.hear_tones(told, now, passed=False)
        if not self._sending:  # what we have to say ourselves waits
            self._pcm = b""
            self._broken = True
            self._quiet += 1
            return []
        if self._keypad.busy:
            self._pcm = b""
            self._broken = True
            self._quiet = 0
            return self._keypad.dial(self._outlet)
        if self._player is not None:
            payload = self._player.pull(self._sink)
            if not self._player.is_over:
                self._pcm = b""
                self._broken = True
                self._quiet = 0
                return self._say(payload)
            self.play(None)
        if not isinstance(stage, Transcoder):
            self._broken = True
            return []
        if self._broken:
            pcm = fade_in(pcm, stage.rate)
            self._broken = False
        return self._speak(stage, pcm, sound)

    def _say(self, payload: bytes) -> list[bytes]:
        """A packet of the present slot; if there is none, the next one begins a spell of sound."""
        if not payload:
            self._marker = True
            return []
        marker, self._marker = self._marker, False
        return [self._outlet.send(self._sink.payload_type, payload, marker=marker)]

    def _speak(self, stage: Transcoder, pcm: bytes, sound: bool) -> list[bytes]:
        self._quiet = 0 if sound else self._quiet + 1
        if self._quiet > _QUIET_SLOTS and not self._pcm:
            self._marker = True
            return []
        if not self._pcm:
            self._pcm_timestamp = self._outlet.timestamp
        self._pcm += pcm
        size = stage.payload_bytes
        packets = []
        while len(self._pcm) >= size:
            pcm, self._pcm = self._pcm[:size], self._pcm[size:]
            payload, timestamp = stage.encode(pcm), self._pcm_timestamp
            step = size // 2 * self._sink.clock_rate // stage.rate
            self._pcm_timestamp = (timestamp + step) & 0xFFFF_FFFF
            if not payload:
                self._marker = True
                continue
            marker, self._marker = self._marker, False
            packets.append(
                self._outlet.send(
                    self._sink.payload_type, payload, timestamp=timestamp, marker=marker
                )
            )
        return packets


def _level(energy: float, measured: int) -> float | None:
    """Mean level in dB relative to the overload point; -127 stands for nothing (RFC 6465 §3)."""
    if not measured:
        return None
    mean = energy / measured
    return -127.0 if mean < 1e-3 else max(-127.0, 10 * log10(mean / 32768**2))
